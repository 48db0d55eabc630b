import { spawnSync } from 'node:child_process'
import { accessSync, constants, cpSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join, resolve } from 'node:path'
import { GENERATED_FROM } from '../crds/names.ts'
import { KUSTOMIZATIONS } from './files.ts'

/** `npm run render -- PATH`: prints what applying the folder or file would send, with the tool that it is made for. */

const FUNCTION = resolve(import.meta.dirname, '../dist/arksmodel-fn.cjs')
const COMMANDS = resolve(import.meta.dirname, '../node_modules/.bin')

/** A problem of the user's; everything else that is thrown is a bug. */
class Refused extends Error {}

interface Ended {
  readonly status: number
  readonly stdout: Buffer
}

function rendered(path: string): Ended {
  if (!existsSync(path)) throw new Refused(`${path}: must exist`)
  if (!statSync(path).isDirectory()) return withFunction([path])
  if (KUSTOMIZATIONS.some((name) => existsSync(join(path, name)))) return withKustomize(path)
  return existsSync(join(path, 'Kptfile')) ? withKpt(path) : withFunction([path])
}

/** kustomize runs the functions that a folder lists; where it lists none, and always with kubectl, ours comes behind. */
function withKustomize(folder: string): Ended {
  const kustomize = find('kustomize')
  const kubectl = find('kubectl')
  if (kustomize === undefined && kubectl === undefined)
    throw new Refused(
      `${folder}: must be built by kustomize or kubectl, and neither is on the PATH: ` +
        'install one of them, or render a folder without a kustomization',
    )
  const built =
    kustomize === undefined
      ? run(announced(kubectl ?? '', 'kustomize', folder))
      : run(announced(kustomize, 'build', '--enable-alpha-plugins', '--enable-exec', folder))
  if (built.status !== 0 && kustomize === undefined)
    note('kubectl runs no functions that a kustomization lists; kustomize does, where it is on the PATH')
  return built.status !== 0 || built.stdout.includes(GENERATED_FROM) ? built : withFunction([], built.stdout)
}

/** On a copy: kpt writes what it renders into the package. */
function withKpt(folder: string): Ended {
  const kpt = find('kpt')
  if (kpt === undefined)
    throw new Refused(`${folder}: must be rendered by kpt, which is not on the PATH: install it from https://kpt.dev`)
  const scratch = mkdtempSync(join(tmpdir(), 'arksmodel-render-'))
  try {
    const copy = join(scratch, basename(resolve(folder)))
    cpSync(folder, copy, { recursive: true })
    return run(announced(kpt, 'fn', 'render', copy, '--allow-exec', '--output', 'unwrap'))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

const withFunction = (paths: readonly string[], input?: Buffer): Ended =>
  run({ program: process.execPath, args: [FUNCTION, ...paths], input })

interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly input?: Buffer | undefined
}

function announced(program: string, ...args: readonly string[]): Command {
  note(`rendering with ${program}`)
  return { program, args }
}

function run({ program, args, input }: Command): Ended {
  const { status, stdout, error } = spawnSync(program, args, {
    input,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'inherit'],
    env: { ...process.env, PATH: [COMMANDS, process.env['PATH']].join(delimiter) },
    maxBuffer: Number.MAX_SAFE_INTEGER,
  })
  if (error !== undefined) throw new Error(`cannot run ${program}`, { cause: error })
  return { status: status ?? 1, stdout }
}

function find(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  return folders.map((folder) => join(folder, name)).find(isProgram)
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

const note = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

function main(paths: readonly string[]): number {
  const [path] = paths
  if (path === undefined || paths.length > 1) throw new Refused('must be one folder or file: npm run render -- PATH')
  const { status, stdout } = rendered(path)
  if (status === 0) process.stdout.write(stdout)
  return status
}

try {
  process.exitCode = main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof Refused)) throw error
  note(`error: ${error.message}`)
  process.exitCode = 1
}
