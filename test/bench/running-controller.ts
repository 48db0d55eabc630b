import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../parts-running.ts'
import { atExit } from './farewell.ts'

/** The built controller as a process of its own, and what can be seen of it from outside. */

export interface Way {
  readonly program: string
  readonly kubeconfig: string
  readonly args: readonly string[]
  /** For Node. */
  readonly nodeOptions: string
}

export interface RunningController {
  /** In milliseconds, monotonic. */
  readonly startedAt: number
  /** When the log first said this. */
  logged(message: string): Promise<number>
  /** When it had looked at so many models and had nothing left to do. */
  drained(models: number): Promise<number>
  counts(): Promise<Counts>
  /** In bytes; only where there is /proc. */
  memory(): { readonly resident: number; readonly peak: number }
  /** Taken so far by all its threads. */
  processorSeconds(): number
  stop(): Promise<void>
}

/** Since the start. */
export interface Counts {
  /** Status, and Events again. */
  readonly patches: number
  /** New Events. */
  readonly posts: number
  readonly gets: number
  /** Of statuses that came too late. */
  readonly conflicts: number
}

export const hasProc = (): boolean => existsSync('/proc/self/status')

const LOOK_MS = 50
const LONGEST_MS = 300_000
/** Of /proc, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

export async function runningController({ program, kubeconfig, args, nodeOptions }: Way): Promise<RunningController> {
  const port = await freePort()
  const flags = ['--kubeconfig', kubeconfig, '--metrics-bind-address', `127.0.0.1:${port}`, ...args]
  const startedAt = performance.now()
  const child = spawn(process.execPath, [program, ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], NODE_OPTIONS: nodeOptions },
  })
  const callOff = atExit(() => child.kill('SIGKILL'))
  const ended = new Promise<never>((_, reject) => {
    child.once('exit', (code, signal) => reject(new Error(`the controller has ended with ${code ?? signal}`)))
    child.once('error', reject)
  })
  ended.catch(() => {})
  const logged = reading(child, ended)
  const scraped = async (): Promise<Samples> => {
    const answer = await Promise.race([fetch(`http://127.0.0.1:${port}/metrics`), ended])
    return samples(await answer.text())
  }
  return {
    startedAt,
    logged,
    async drained(models) {
      for (const end = performance.now() + LONGEST_MS; performance.now() < end; await sleep(LOOK_MS)) {
        const seen = await scraped()
        const busy = seen('workqueue_depth') + seen('controller_runtime_active_workers')
        if (busy === 0 && seen('controller_runtime_reconcile_total') >= models) return performance.now()
      }
      throw new Error(`the queue was not empty within ${LONGEST_MS / 1000} s`)
    },
    async counts() {
      const seen = await scraped()
      const requests = (method: string): number => seen('rest_client_requests_total', `method="${method}"`)
      return {
        patches: requests('PATCH'),
        posts: requests('POST'),
        gets: requests('GET'),
        conflicts: seen('arksmodel_status_conflicts_total'),
      }
    },
    memory() {
      const text = readFileSync(`/proc/${child.pid}/status`, 'utf8')
      const bytes = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1])
      return { resident: bytes('VmRSS'), peak: bytes('VmHWM') }
    },
    processorSeconds() {
      // Behind the program's name, which may hold spaces.
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
    },
    async stop() {
      child.kill('SIGTERM')
      await ended.catch(() => {})
      callOff()
    },
  }
}

/** The log goes nowhere else: a bench of thousands of models would fill a disk. */
function reading({ stderr }: ChildProcess, ended: Promise<never>): (message: string) => Promise<number> {
  const seen = new Map<string, number>()
  const awaited = new Map<string, (at: number) => void>()
  if (stderr !== null)
    createInterface({ input: stderr }).on('line', (line) => {
      const message = /"message":"([^"]*)"/.exec(line)?.[1]
      if (message === undefined) console.error(line)
      if (/"level":"error"/.test(line)) console.error(line)
      if (message === undefined || seen.has(message) || !AWAITED.has(message)) return
      seen.set(message, performance.now())
      awaited.get(message)?.(performance.now())
    })
  return (message) => {
    const at = seen.get(message)
    if (at !== undefined) return Promise.resolve(at)
    return Promise.race([new Promise<number>((resolve) => awaited.set(message, resolve)), ended])
  }
}

const AWAITED = new Set(['Synced', 'Leading'])

type Samples = (name: string, label?: string) => number

/** The sum over what a metric has been split into. */
function samples(text: string): Samples {
  const lines = text.split('\n')
  return (name, label = '') =>
    lines.reduce((sum, line) => {
      const isMeant = line.startsWith(name) && /^[{ ]/.test(line.slice(name.length)) && line.includes(label)
      return isMeant ? sum + Number(line.slice(line.lastIndexOf(' ') + 1)) : sum
    }, 0)
}
