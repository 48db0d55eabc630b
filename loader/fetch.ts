import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { attempt, Failure, Fault, Trouble } from './failure.ts'
import { contentUrl, type Source } from './hub.ts'
import type { Lease } from './lease.ts'
import { patiently, type Waits } from './patience.ts'
import { partial } from './places.ts'
import type { RemoteFile } from './plan.ts'
import type { Hand, Pool } from './pool.ts'
import type { Progress } from './progress.ts'
import { type Elsewhere, sharedAs } from './reuse.ts'
import { plainFile, type Volume } from './volume.ts'

export interface Fetching {
  readonly source: Source
  readonly commit: string
  readonly volume: Volume
  readonly pool: Pool
  readonly slotBytes: number
  readonly slots: number
  readonly lease: Lease
  readonly progress: Progress
  readonly waits: Waits
  readonly elsewhere: Elsewhere
  /** Relative to the folder: where a file goes when it is whole. */
  readonly targetOf: (file: RemoteFile) => string
  /** A file is at its target. Small ones may not have reached the disk yet. */
  readonly onDone: (file: RemoteFile, isDurable: boolean) => void
}

/** What mounts object storage as a folder lets only a few files be open for writing at once: these, and the lease. */
const MOST_OPEN = 3

/** Small ones many at once, because each costs a round trip; large ones so many as there are threads to write them. */
export async function fetchAll(files: readonly RemoteFile[], fetching: Fetching): Promise<void> {
  const { slotBytes, slots, pool, volume, targetOf, elsewhere, onDone } = fetching
  const most = volume.appends ? Number.POSITIVE_INFINITY : MOST_OPEN
  const brought = new Map<string, string>()
  const one = (file: RemoteFile): Promise<void> =>
    fetchOne(file, {
      ...fetching,
      elsewhere: (digest, size) => brought.get(digest.hex) ?? elsewhere(digest, size),
      onDone(done, isDurable) {
        brought.set(done.digest.hex, join(volume.folder, targetOf(done)))
        onDone(done, isDurable)
      },
    })
  const round = async (some: readonly RemoteFile[]): Promise<void> => {
    const isSmall = ({ size }: RemoteFile): boolean => size <= slotBytes
    await eachOf(some.filter(isSmall), Math.min(slots, most), one)
    await eachOf(
      some.filter((file) => !isSmall(file)),
      Math.min(pool.hands.length, most),
      one,
    )
  }
  // A repository may have one file under several names.
  const first = new Set(new Map(files.map((file) => [file.digest.hex, file])).values())
  await round(files.filter((file) => first.has(file)))
  await round(files.filter((file) => !first.has(file)))
}

export async function eachOf<T>(items: readonly T[], atOnce: number, use: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  const lane = async (): Promise<void> => {
    for (const item of rest) await use(item)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, lane))
}

/** A file that came wrong is asked for once more, from its first byte. */
const MAX_ATTEMPTS = 2

/** A volume that so often has failed at a file will not take it. Bytes come each time, so that patience would never end. */
const MAX_FAULTS = 4
const FIRST_PAUSE_MS = 1_000

async function fetchOne(file: RemoteFile, fetching: Fetching): Promise<void> {
  const { pool, progress, waits, onDone, slotBytes } = fetching
  const hand = pool.idlest()
  let faults = 0
  await patiently(async () => {
    try {
      await bring(file, hand, { ...fetching, isBegunAgain: faults > 0 })
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      progress.meter.discarded(await hand.order('drop', { path: file.path }))
      if (++faults === MAX_FAULTS) {
        // Whoever comes next would take for right what the volume still shows of it.
        attempt(() => rmSync(placeOf(file, fetching), { force: true }))
        throw error
      }
      throw new Trouble(error.reason, error.message, error.from, FIRST_PAUSE_MS * 2 ** (faults - 1))
    }
  }, waits)
  onDone(file, file.size > slotBytes)
}

interface Bringing extends Fetching {
  /** From its first byte: what a volume that reported a fault still shows of a file may not be on it. */
  readonly isBegunAgain: boolean
}

async function bring(file: RemoteFile, hand: Hand, bringing: Bringing): Promise<void> {
  const { progress, lease, elsewhere, isBegunAgain } = bringing
  const from = isBegunAgain ? undefined : elsewhere(file.digest, file.size)
  if (from !== undefined && (await isReused(file, from, hand, bringing))) {
    progress.reusedBytes += file.size
    return
  }
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    if (isBegunAgain) lease.check()
    const start = await opened(file, hand, bringing)
    progress.presentBytes += start
    await receive(file, start, hand, bringing)
    if (await isRight(file, hand, bringing)) return
    progress.meter.discarded(file.size)
  }
  throw new Failure('ChecksumMismatch', `"${file.path}" came twice with other bytes than listed`)
}

const placeOf = (file: RemoteFile, { volume, targetOf }: Fetching): string =>
  join(volume.folder, volume.renames ? partial(file.path, file.digest) : targetOf(file))

/** Answers with how much of it is there. */
const opened = ({ path, size, digest }: RemoteFile, hand: Hand, bringing: Bringing): Promise<number> =>
  hand.order('open', {
    path,
    partial: placeOf({ path, size, digest }, bringing),
    size,
    digest,
    resumes: bringing.volume.appends,
    isBegunAgain: bringing.isBegunAgain,
    flushes: bringing.volume.flushes,
  })

function isRight(file: RemoteFile, hand: Hand, { volume, targetOf, slotBytes, lease }: Fetching): Promise<boolean> {
  // A loader that has slept must not put anything in place that another works on.
  lease.check()
  const target = join(volume.folder, targetOf(file))
  return hand.order('close', { path: file.path, target, durable: file.size > slotBytes })
}

/** Verified like a file that is received: when it is not what the marker says, or cannot be read, it is left alone. */
async function isReused(file: RemoteFile, from: string, hand: Hand, bringing: Bringing): Promise<boolean> {
  const isShared = bringing.volume.appends && sharedAs(placeOf(file, bringing), from, file.size)
  // What was begun is not given up for a file that may be wrong.
  if (!isShared && plainFile(placeOf(file, bringing)) !== undefined) {
    const { size, digest } = file
    if (!(await hand.order('matches', { file: from, size, digest }))) return false
  }
  await opened(file, hand, bringing)
  try {
    if (!isShared) await hand.order('copy', { path: file.path, from })
  } catch (error) {
    if (!(error instanceof Failure) || error.reason !== 'StorageError') throw error
  }
  try {
    return await isRight(file, hand, bringing)
  } catch (error) {
    // Here already: nothing of it has been counted.
    await hand.order('drop', { path: file.path })
    throw error
  }
}

/**
 * Ranges come in beside each other, from all threads, and are appended in order by the one that has the file open.
 * A slot is free again when its range is appended: what is under way never exceeds the slots.
 */
async function receive(file: RemoteFile, start: number, hand: Hand, fetching: Fetching): Promise<void> {
  const { pool, slotBytes, lease, source, commit } = fetching
  const { path, size, digest } = file
  const url = contentUrl(source, commit, path)
  let appended: Promise<unknown> = Promise.resolve()
  let failure: unknown
  let isWholeOnly = false
  for (let at = start; at < size && failure === undefined && !isWholeOnly; at += slotBytes) {
    const slot = await pool.takeSlot()
    const length = Math.min(slotBytes, size - at)
    const range = pool.idlest().order('receive', { url, path, size, digest, start: at, length, slot })
    const before = appended
    appended = (async () => {
      try {
        // Both, also when one fails: a slot that is still written to must not be given to another.
        const [result, earlier] = await Promise.allSettled([range, before])
        if (earlier.status === 'rejected') throw earlier.reason
        if (result.status === 'rejected') throw result.reason
        if (result.value === 'whole-only') isWholeOnly = true
        if (isWholeOnly) return
        lease.check()
        await hand.order('append', { path, slot, length })
      } finally {
        pool.giveSlot(slot)
      }
    })()
    appended.catch((error: unknown) => {
      failure ??= error
    })
  }
  await appended
  if (isWholeOnly) await hand.order('stream', { url, path, size, digest })
}
