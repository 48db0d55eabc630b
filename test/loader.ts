import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseTermination, type Termination } from '../crds/termination.ts'
import type { HubFile } from './hub.ts'
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
