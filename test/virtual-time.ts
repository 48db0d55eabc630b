import { setImmediate as macrotask } from 'node:timers/promises'

/** Time that passes only when a test says so. */
export interface VirtualTime {
  readonly now: () => number
  readonly after: (ms: number, call: () => void) => () => void
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
  /** Timers that are set. */
  readonly timers: () => number
  /** Lets all happen that happens within so many ms. */
  readonly pass: (ms: number) => Promise<void>
}

interface Timer {
  readonly at: number
  readonly call: () => void
}

const LONGEST_MS = 2 ** 31 - 1

export function virtualTime(): VirtualTime {
  const timers = new Set<Timer>()
  let now = 0
  const after = (ms: number, call: () => void): (() => void) => {
    // As Node does.
    const timer = { at: now + (ms > LONGEST_MS ? 1 : ms), call }
    timers.add(timer)
    return () => timers.delete(timer)
  }
  const next = (end: number): Timer | undefined => {
    let first: Timer | undefined
    for (const timer of timers) if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer
    return first
  }
  return {
    now: () => now,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const cancel = after(ms, resolve)
        signal?.addEventListener('abort', () => {
          cancel()
          reject(signal.reason)
        })
      }),
    timers: () => timers.size,
    async pass(ms) {
      const end = now + ms
      await macrotask()
      for (let timer = next(end); timer !== undefined; timer = next(end)) {
        timers.delete(timer)
        now = Math.max(now, timer.at)
        timer.call()
        // All that follows without a timer comes first.
        await macrotask()
      }
      now = end
    },
  }
}
