import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Plain } from '../crds/arksmodel.ts'
import { asList } from '../fn/merge.ts'
import type { Cluster } from './cluster.ts'
import { at, objects, title } from './objects.ts'
import { until } from './until.ts'

/** The built controller on a cluster, and what comes of its models there. */

export const CONTROLLER: string = resolve('dist/arksmodel-controller.cjs')

/** Where its Lease is, as in the kustomization that is shipped. */
export const NAMESPACE = 'arksmodel'

export interface Line {
  readonly level: string
  readonly message: string
  readonly [field: string]: unknown
}

export interface Ended {
  /** Null: killed. */
  readonly code: number | null
  /** What it printed beside its log. */
  readonly output: string
}

export interface Controller {
  /** Its log so far. */
  readonly lines: readonly Line[]
  readonly ended: Promise<Ended>
  /** The first line for which it holds. */
  logged(what: string, holds: (line: Line) => boolean): Promise<Line>
  signal(name: NodeJS.Signals): void
  /** By SIGTERM. */
  stop(): Promise<Ended>
}

/** As the user of this kubeconfig. */
export function startController(kubeconfig: string, args: readonly string[] = []): Controller {
  const child = spawn(
    process.execPath,
    [CONTROLLER, `--kubeconfig=${kubeconfig}`, `--leader-election-namespace=${NAMESPACE}`, ...args],
    { env: { PATH: process.env['PATH'] }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const kill = (): void => {
    child.kill('SIGKILL')
  }
  process.on('exit', kill)
  const lines: Line[] = []
  let [rest, output] = ['', '']
  const read = (line: string): void => {
    if (line.startsWith('{')) lines.push(JSON.parse(line))
    else output += `${line}\n`
  }
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    const whole = `${rest}${chunk}`.split('\n')
    rest = whole.pop() ?? ''
    whole.forEach(read)
  })
  // A test that failed before it stopped its controller must be able to end.
  child.unref()
  for (const stream of [child.stdout, child.stderr]) if (stream instanceof Socket) stream.unref()
  const ended = new Promise<Ended>((done, fail) => {
    child.on('error', fail)
    child.on('close', (code) => {
      process.off('exit', kill)
      done({ code, output: output + rest })
    })
  })
  return {
    lines,
    ended,
    async logged(what, holds) {
      await until(`the controller says: ${what}`, () => {
        if (child.exitCode !== null) throw new Error(`the controller ended with ${child.exitCode}: ${output}`)
        return lines.some(holds)
      })
      return lines.find(holds) ?? { level: '', message: '' }
    },
    signal(name) {
      child.kill(name)
    },
    stop() {
      child.ref()
      child.kill('SIGTERM')
      return ended
    },
  }
}

/** A line with this message. */
export const says =
  (message: string, fields: Readonly<Record<string, unknown>> = {}) =>
  (line: Line): boolean =>
    line.message.startsWith(message) && Object.entries(fields).every(([name, value]) => line[name] === value)

/** What the kustomization that is shipped binds to the service account. */
export const rbac = (): readonly Plain[] => objects(readFileSync('kustomize/controller/rbac.yaml', 'utf8'))

/** Lets users do exactly that. */
export async function permit(cluster: Cluster, users: readonly string[]): Promise<void> {
  await cluster.createNamespace(NAMESPACE)
  const subjects = users.map((name) => ({ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name }))
  for (const object of rbac()) {
    const { status, body } = await cluster.apply('subjects' in object ? { ...object, subjects } : object)
    if (status >= 300) throw new Error(`cannot apply ${title(object)}: ${at(body, 'message')}`)
  }
}

export interface Models {
  /** Every state of the model, in order. A model that was made anew goes on in the same list. */
  states(key: string): readonly Plain[]
  /** The first state of the model, of those from this index on, for which it holds. */
  seen(key: string, what: string, holds: (model: Plain) => boolean, from?: number): Promise<Plain>
  stop(): Promise<void>
}

/** Watches all models. The cluster must know their kind. */
export function watchModels(cluster: Cluster): Models {
  const known = new Map<string, Plain[]>()
  const stopping = new AbortController()
  const statesOf = (key: string): Plain[] => {
    const states = known.get(key) ?? []
    known.set(key, states)
    return states
  }
  const watched = (async () => {
    while (!stopping.signal.aborted) {
      try {
        for await (const line of cluster.lines('/apis/arks.ai/v1/arksmodels?watch=true', stopping.signal)) {
          const { type, object } = JSON.parse(line)
          const states = statesOf(keyOf(object))
          const isNews = at(states.at(-1), 'metadata', 'resourceVersion') !== at(object, 'metadata', 'resourceVersion')
          if ((type === 'ADDED' || type === 'MODIFIED') && isNews) states.push(object)
        }
      } catch {
        // A server that opens its store anew for a changed CRD, or the end.
        if (!stopping.signal.aborted) await sleep(AGAIN_MS)
      }
    }
  })()
  return {
    states: statesOf,
    async seen(key, what, holds, from = 0) {
      const found = (): Plain | undefined => statesOf(key).slice(from).find(holds)
      await until(`${what} of ${key}`, () => found() !== undefined).catch((cause: unknown) => {
        const last = JSON.stringify(at(statesOf(key).at(-1), 'status'))
        throw new Error(`${cause instanceof Error ? cause.message : cause}; it is ${last}`, { cause })
      })
      return found() ?? {}
    },
    async stop() {
      stopping.abort()
      await watched
    },
  }
}

const AGAIN_MS = 50

/** `namespace/name` */
export const keyOf = (object: Plain): string =>
  `${at(object, 'metadata', 'namespace')}/${at(object, 'metadata', 'name')}`

export const phaseOf = (model: unknown): unknown => at(model, 'status', 'phase')

/** Status, reason and message of a condition. */
export function conditionOf(model: unknown, type: string): readonly unknown[] {
  const found = asList(at(model, 'status', 'conditions')).find((each) => at(each, 'type') === type)
  return [at(found, 'status'), at(found, 'reason'), at(found, 'message')]
}

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** As an administrator. What it waits for goes on meanwhile, for much of that is in this process. */
export const kubectl =
  (path: string, { kubeconfig }: Cluster) =>
  (args: readonly string[], input = ''): Promise<Ran> =>
    new Promise((done, fail) => {
      const child = spawn(path, [`--kubeconfig=${kubeconfig}`, `--cache-dir=${kubeconfig}.cache`, ...args])
      let [stdout, stderr] = ['', '']
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
      child.on('error', fail)
      child.on('close', (status) => done({ status, stdout, stderr }))
      child.stdin.end(input)
    })
