import { setTimeout as sleep } from 'node:timers/promises'

const LOOK_MS = 2
const LONGEST_MS = 30_000

/** Waits for what can be seen from here. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + LONGEST_MS
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${LONGEST_MS} ms`)
    await sleep(LOOK_MS)
  }
}
