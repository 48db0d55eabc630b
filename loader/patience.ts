import { setTimeout as sleep } from 'node:timers/promises'
import { Trouble } from './failure.ts'
import type { Meter } from './meter.ts'

const FIRST_MS = 400
const LONGEST_MS = 30_000

export interface Waits {
  readonly meter: Meter
  readonly patienceMs: number
  /** Each time before it waits. */
  readonly onTrouble: (trouble: Trouble) => void
  readonly signal: AbortSignal
}

/**
 * Tries until it succeeds, with growing pauses. Gives up with the last trouble once no byte has come for as long as
 * patience lasts, anywhere in the process; what is no trouble is thrown at once.
 */
export async function patiently<T>(attempt: () => Promise<T>, waits: Waits): Promise<T> {
  const { meter, patienceMs, onTrouble, signal } = waits
  const started = meter.now()
  let pause = FIRST_MS
  let seen = meter.lastProgress()
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Trouble) || signal.aborted) throw error
      if (meter.lastProgress() > seen) pause = FIRST_MS
      seen = meter.lastProgress()
      const left = Math.max(started, seen) + patienceMs - meter.now()
      const delay = Math.max(error.delay ?? 0, pause * (0.5 + Math.random() / 2))
      if (left <= 0 || (error.delay ?? 0) > left) throw error
      onTrouble(error)
      // Until the end of patience at most: the last attempt is then made at its end.
      await sleep(Math.min(delay, left), undefined, { signal })
      pause = Math.min(pause * 2, LONGEST_MS)
    }
  }
}
