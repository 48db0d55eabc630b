import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from '../cluster.ts'

/** Sees models become ready over a watch of its own, as any other watcher would. */
export interface Readiness {
  /** When this one's phase was first seen to be Ready, in milliseconds, monotonic. */
  at(name: string): number | undefined
  /** Until all of them have been seen. */
  all(names: readonly string[]): Promise<void>
  stop(): Promise<void>
}

const LOOK_MS = 50
const LONGEST_MS = 300_000

export function readiness(cluster: Cluster): Readiness {
  const seen = new Map<string, number>()
  const stopping = new AbortController()
  const watching = watch(cluster, seen, stopping.signal)
  watching.catch(() => {})
  return {
    at: (name) => seen.get(name),
    async all(names) {
      const isSeen = (): boolean => names.every((name) => seen.has(name))
      for (const end = performance.now() + LONGEST_MS; !isSeen(); ) {
        if (performance.now() > end) throw new Error(`not ready: ${names.filter((name) => !seen.has(name)).join(' ')}`)
        await Promise.race([sleep(LOOK_MS), watching])
      }
    },
    async stop() {
      stopping.abort()
      await watching.catch(() => {})
    },
  }
}

/** The server ends a watch whose reader is slow; the next one goes on from there. */
async function watch(cluster: Cluster, seen: Map<string, number>, signal: AbortSignal): Promise<never> {
  let from = ''
  for (;;) {
    for await (const line of cluster.lines(`/apis/arks.ai/v1/arksmodels?watch=true${from}`, signal)) {
      const version = /"resourceVersion":"(\d+)"/.exec(line)?.[1]
      if (version !== undefined) from = `&resourceVersion=${version}`
      if (!line.includes('"phase":"Ready"')) continue
      const name = /"name":"(bench-\d+)"/.exec(line)?.[1]
      if (name !== undefined && !seen.has(name)) seen.set(name, performance.now())
    }
    if (signal.aborted) throw new Error('the watch was ended')
  }
}
