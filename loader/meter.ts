/** What all threads of a load count together. */
export interface Meter {
  readonly shared: SharedArrayBuffer
  /** Monotonic and the same in all threads, in ms. */
  now(): number
  /** Bytes of content have come over the network. */
  received(bytes: number): void
  receivedBytes(): number
  /** Bytes that were there are thrown away, and are received again. */
  discarded(bytes: number): void
  discardedBytes(): number
  /** Something else came that shows that the other side is alive. */
  progressed(): void
  lastProgress(): number
  /** Ends all that looks at `isStopped`. */
  stop(): void
  isStopped(): boolean
}

const RECEIVED = 0
const PROGRESS = 1
const STOPPED = 2
const DISCARDED = 3
const CELLS = 4

/** With the memory of another thread's meter it is the same meter. */
export function meter(
  shared: SharedArrayBuffer = new SharedArrayBuffer(CELLS * BigInt64Array.BYTES_PER_ELEMENT),
): Meter {
  const cells = new BigInt64Array(shared)
  const now = (): number => Number(process.hrtime.bigint() / 1_000_000n)
  const progressed = (): void => {
    Atomics.store(cells, PROGRESS, BigInt(now()))
  }
  return {
    shared,
    now,
    received(bytes) {
      Atomics.add(cells, RECEIVED, BigInt(bytes))
      progressed()
    },
    receivedBytes: () => Number(Atomics.load(cells, RECEIVED)),
    discarded(bytes) {
      Atomics.add(cells, DISCARDED, BigInt(bytes))
    },
    discardedBytes: () => Number(Atomics.load(cells, DISCARDED)),
    progressed,
    lastProgress: () => Number(Atomics.load(cells, PROGRESS)),
    stop() {
      Atomics.store(cells, STOPPED, 1n)
    },
    isStopped: () => Atomics.load(cells, STOPPED) === 1n,
  }
}
