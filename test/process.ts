import { spawnSync } from 'node:child_process'
import { delimiter, resolve } from 'node:path'

/** The built function, and the folder in which tools find it as a command. */
export const FUNCTION: string = resolve('dist/arksmodel-fn.cjs')
export const COMMANDS: string = resolve('node_modules/.bin')

export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Circumstances {
  readonly input?: string
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Folders that come first on the PATH. */
  readonly path?: readonly string[]
}

/** Runs a program to its end, with the project's commands on its PATH. */
export function ran(
  program: string,
  args: readonly string[],
  { input, cwd, env, path = [] }: Circumstances = {},
): Ended {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, PATH: [...path, COMMANDS, process.env['PATH']].join(delimiter), ...env },
    input: input ?? '',
    maxBuffer: Number.MAX_SAFE_INTEGER,
  })
  if (error !== undefined) throw new Error(`cannot run ${program}`, { cause: error })
  return { status, stdout, stderr }
}

/** What a program prints; throws with its complaints where it fails. */
export function printed(program: string, args: readonly string[], circumstances: Circumstances = {}): string {
  const { status, stdout, stderr } = ran(program, args, circumstances)
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr}`)
  return stdout
}

/** What the built function prints for this input or these paths. */
export const expanded = (input: string, ...args: readonly string[]): string =>
  printed(process.execPath, [FUNCTION, ...args], { input })

/** Of kustomize, with the flags without which it leaves exec functions out and says nothing. */
export const BUILD: readonly string[] = ['build', '--enable-alpha-plugins', '--enable-exec']
