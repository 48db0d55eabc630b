import { setTimeout as sleep } from 'node:timers/promises'

const LOOK_MS = 2
const ASK_MS = 20
/** For a machine that has much else to do. A test that waits in vain fails all the same. */
const LONGEST_MS = 120_000

/** Waits for what can be seen from here. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + LONGEST_MS
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${LONGEST_MS} ms`)
    await sleep(LOOK_MS)
  }
}

/** Waits for what has to be asked for. */
export async function eventually(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + LONGEST_MS; performance.now() < end; await sleep(ASK_MS))
    if (await holds()) return
  throw new Error(`not within ${LONGEST_MS} ms: ${what}`)
}

/** What can be waited for, and what ends the waiting. */
export function gated(): readonly [Promise<void>, () => void] {
  const { promise, resolve } = Promise.withResolvers<void>()
  return [promise, resolve]
}
