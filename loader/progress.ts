import type { Meter } from './meter.ts'

/** What the parts of a load tell about how far they are. */
export interface Progress {
  readonly meter: Meter
  commit: string | undefined
  totalBytes: number
  /** Was there when the load began. */
  presentBytes: number
  /** Taken from elsewhere on the volume. */
  reusedBytes: number
  files: number
  filesDone: number
  retries: number
  /** Why the old revision could not stay until the new one is complete, where it was so. */
  inPlace: InPlace | undefined
}

export type InPlace = 'no space' | 'no renames'

export interface Snapshot {
  readonly commit?: string
  readonly totalBytes: number
  readonly doneBytes: number
  readonly reusedBytes: number
  readonly receivedBytes: number
  readonly files: number
  readonly filesDone: number
  readonly retries: number
}

export const newProgress = (meter: Meter): Progress => ({
  meter,
  commit: undefined,
  totalBytes: 0,
  presentBytes: 0,
  reusedBytes: 0,
  files: 0,
  filesDone: 0,
  retries: 0,
  inPlace: undefined,
})

export function snapshot(progress: Progress): Snapshot {
  const { meter, commit, totalBytes, presentBytes, reusedBytes, files, filesDone, retries } = progress
  const receivedBytes = meter.receivedBytes()
  const doneBytes = Math.max(
    0,
    Math.min(totalBytes, presentBytes + reusedBytes + receivedBytes - meter.discardedBytes()),
  )
  return {
    ...(commit === undefined ? {} : { commit }),
    totalBytes,
    doneBytes,
    reusedBytes,
    receivedBytes,
    files,
    filesDone,
    retries,
  }
}

const WINDOW_MS = 15_000

/** Bytes per second over the last seconds. To be asked regularly. */
export function speedometer(meter: Meter): () => number {
  const samples = [{ at: meter.now(), bytes: meter.receivedBytes() }]
  return () => {
    const latest = { at: meter.now(), bytes: meter.receivedBytes() }
    samples.push(latest)
    while (samples.length > 2 && latest.at - (samples[0]?.at ?? 0) > WINDOW_MS) samples.shift()
    const [first = latest] = samples
    const elapsed = latest.at - first.at
    return elapsed <= 0 ? 0 : Math.round(((latest.bytes - first.bytes) * 1000) / elapsed)
  }
}
