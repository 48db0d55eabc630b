import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseTermination, type Termination } from '../crds/termination.ts'
import type { Hub, HubFile } from './hub.ts'
import { scratch } from './scratch.ts'

/** The built loader. */
export const LOADER: string = resolve('dist/arksmodel-loader.cjs')

export interface Loading {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
}

export interface Ended {
  /** Null: killed. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** What it left for Kubernetes. */
  readonly termination: Termination | undefined
}

const LONGEST_MS = 120_000

/** Starts the loader with nothing of this process's environment but what Node needs. */
export function startLoader(args: readonly string[], env: Readonly<Record<string, string>> = {}): Loading {
  const log = join(scratch({}), 'termination-log')
  const child = spawn(process.execPath, [LOADER, ...args, '--termination-log', log], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // A test that fails must not wait for a loader that nobody ends.
  setTimeout(() => child.kill('SIGKILL'), LONGEST_MS).unref()
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = new Promise<Ended>((done, fail) => {
    child.on('error', fail)
    child.on('close', (code) => {
      const termination = existsSync(log) ? parseTermination(readFileSync(log, 'utf8')) : undefined
      done({ code, stdout, stderr, termination })
    })
  })
  return { child, ended }
}

/** Runs it to its end. */
export const load = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  startLoader(args, env).ended

/** Has this run in the loader before anything else, in each of its threads. */
export const preloaded = (program: string): Readonly<Record<string, string>> => ({
  NODE_OPTIONS: `--require ${join(scratch({ 'before.cjs': program }), 'before.cjs')}`,
})

/** Of the files that should be there, those that are not, or have other bytes. */
export const wrongFiles = (folder: string, files: readonly HubFile[]): readonly string[] =>
  files
    .filter(({ path, bytes }) => {
      const file = join(folder, path)
      return !existsSync(file) || digest(readFileSync(file)) !== digest(bytes)
    })
    .map(({ path }) => path)

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

export const sizeOf = (files: readonly HubFile[]): number => files.reduce((sum, { bytes }) => sum + bytes.length, 0)

export const pathsOf = (files: readonly HubFile[]): readonly string[] => files.map(({ path }) => path).sort()

/** All that is below the folder but the notes of the loader; none of it is read. */
export const filesIn = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith('.cache/'))
    .sort()

/** Of content. What was asked for one byte only shows where a file is, and that it may be read. */
const contentIn = ({ log }: Hub): Hub['log'] => log.filter(({ content, range }) => content && range !== 'bytes=0-0')

export const fetchedBytes = (there: Hub, path?: string): number =>
  contentIn(there)
    .filter(({ file }) => path === undefined || file === path)
    .reduce((sum, { bytesSent }) => sum + bytesSent, 0)

export const fetchedPaths = (there: Hub): readonly string[] =>
  [...new Set(contentIn(there).map(({ file = '' }) => file))].sort()
