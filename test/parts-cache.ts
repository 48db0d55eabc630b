import { spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, mkdtempSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'

/** How the real programs of tests are found on the machine, or made once and kept outside the checkout. */

export interface Part {
  readonly kind: 'part'
  readonly name: string
  /** Without a leading `v`; of our own Go programs a hash of their sources. */
  readonly version: string
  readonly path: string
  readonly origin: 'found' | 'built' | 'cached'
}

export interface Missing {
  readonly kind: 'missing'
  readonly name: string
  readonly why: string
  readonly how: string
  /** It could have been made here: with CI=true its absence is a failure. */
  readonly couldBeHad: boolean
}

export interface Wanted {
  /** The executable at the top of the kept folder. */
  readonly name: string
  readonly version: string
  /** What the folder is kept under: whatever changes the program changes it. */
  readonly key: string
}

export interface Folders {
  /** To be filled. */
  readonly into: string
  /** Where it will be used. */
  readonly folder: string
}

export const path: readonly string[] = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean)

const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'arksmodel')

/** Takes it from the cache, or has it made there. Making returns what is in its way, and nothing if all went well. */
export async function kept(
  { name, version, key }: Wanted,
  make: (folders: Folders) => Promise<Missing | undefined>,
): Promise<Part | Missing> {
  const folder = join(cache, `${name}-${key}-${process.platform}-${process.arch}`)
  const part = (origin: Part['origin']): Part => ({ kind: 'part', name, version, path: join(folder, name), origin })
  if (findIn([folder], name)) return part('cached')
  mkdirSync(cache, { recursive: true })
  const into = mkdtempSync(`${folder}.building-`)
  try {
    const failed = await make({ into, folder })
    if (failed) return failed
    // Somebody else may have been quicker: theirs is as good as ours.
    await rename(into, folder).catch(() => undefined)
  } finally {
    await rm(into, { recursive: true, force: true })
  }
  return findIn([folder], name)
    ? part('built')
    : missingPart(name)(`it is not in ${folder}`, 'remove that folder', true)
}

export async function found(name: string, path: string, ...args: readonly string[]): Promise<Part> {
  const { stdout, stderr } = await run(path, args)
  return { kind: 'part', name, version: number(stdout + stderr), path, origin: 'found' }
}

export const missingPart =
  (name: string) =>
  (why: string, how: string, couldBeHad: boolean): Missing => ({ kind: 'missing', name, why, how, couldBeHad })

/** `v1.27.16`, `{Version:v5.8.1}`, `Kubernetes v1.36.3`, `V1.90` and the like. */
export const number = (text: string): string => /\d+\.\d+(\.\d+)?(-[\w.]+)?/.exec(text)?.[0] ?? 'unknown'

export function findIn(folders: readonly string[], name: string): string | undefined {
  return folders.map((folder) => join(folder, name)).find(runnable)
}

function runnable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** In one line, as all messages about parts are. */
export const lastLines = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line && !line.startsWith('go: downloading'))
    .slice(-5)
    .join(' | ')

/** As one word of a shell script. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Surroundings {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

export function run(command: string, args: readonly string[], { cwd, env }: Surroundings = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('error', (error) => resolve({ code: 1, stdout, stderr: error.message }))
    child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }))
  })
}

export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => (made ??= make())
}
