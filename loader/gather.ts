import { constants } from 'node:fs'
import { copyFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, Fault } from './failure.ts'
import { eachOf, type Fetching, fetchAll } from './fetch.ts'
import { calmly, leftOf, makeWay, previousOn, removePlain } from './finish.ts'
import { type Known, known as knownOn } from './known.ts'
import type { MarkedFile, Marker } from './marker.ts'
import { partial, staged } from './places.ts'
import { bytesOf, type RemoteFile } from './plan.ts'
import type { InPlace } from './progress.ts'
import { elsewhere, isLinked, isOnVolumeOf } from './reuse.ts'
import { free, hasRoom, isEnough, notEnough, plainFile, remove, type Seen } from './volume.ts'

export interface Gathering extends Omit<Fetching, 'elsewhere' | 'targetOf' | 'onDone'> {
  /** All of the model. */
  readonly files: readonly RemoteFile[]
  /** Those that are to be brought. */
  readonly wanted: readonly RemoteFile[]
  readonly reuse: string | undefined
  /** Whether others bring the rest at the same time. */
  readonly isShard: boolean
  readonly check: () => void
  readonly say: (sentence: string) => void
  /** What was there already. */
  readonly onPresent: (file: RemoteFile) => void
  readonly onMissing: (files: readonly RemoteFile[]) => void
}

/**
 * Brings all that is wanted onto the volume, verified and on the disk for good: to where it belongs, or beside it, when
 * there is an older model that must stay whole until the new one is.
 */
export async function gather(gathering: Gathering): Promise<Known> {
  const { volume, files, pool, progress, lease } = gathering
  const { folder } = volume
  const previous = previousOn(volume)
  const known = knownOn(volume, previous === undefined ? [] : [previous])
  const missing = await missingOf(gathering, known)
  gathering.onMissing(missing)
  if (missing.length === 0) return known

  const isMissing = new Set(missing.map(key))
  const find = await elsewhere(
    gathering.reuse,
    folder,
    // A file that should be right where it is and is not need not be looked at again.
    (previous?.files ?? []).filter((file) => !isMissing.has(key(file))),
  )
  const roomFor = (file: RemoteFile, begun: Seen | undefined): number => {
    const from = volume.links && isLinked(file.size) ? find(file.digest, file.size) : undefined
    if (from !== undefined && isOnVolumeOf(from, folder)) return 0
    return file.size - Math.min(begun?.size ?? 0, file.size)
  }
  let needed = 0
  for (const file of missing) needed += roomFor(file, volume.appends ? await begunOf(file, gathering) : undefined)
  // Before a look at what others have: they go on meanwhile, and what they write must not count twice.
  const space = free(folder)
  const others = await leftToOthers(gathering)
  for (const { file, begun } of others) needed += roomFor(file, begun)
  const fits = isEnough(space, needed)
  const isStaging = previous !== undefined && volume.renames && fits
  if (!isStaging) {
    if (!fits) makeRoom(gathering, { previous, missing, needed, count: missing.length + others.length })
    else if (previous !== undefined && previous.commit !== gathering.commit) changeInPlace(gathering, 'no renames')
    makeWay(volume, files)
  }

  const targetOf = (file: RemoteFile): string => (isStaging ? staged(file.path) : file.path)
  const noted = (file: RemoteFile): MarkedFile => {
    const { mtimeMs = 0, inode = 0 } = plainFile(join(folder, targetOf(file))) ?? {}
    return { ...file, mtimeMs, inode }
  }
  const unsynced: RemoteFile[] = []
  await fetchAll(
    missing.toSorted((a, b) => a.size - b.size),
    {
      ...gathering,
      elsewhere: find,
      targetOf,
      onDone(file, isDurable) {
        progress.filesDone++
        if (isDurable) known.add([noted(file)])
        else unsynced.push(file)
      },
    },
  )
  await eachOf(chunks(unsynced), pool.hands.length, async (some) => {
    const places = some.map(targetOf)
    try {
      await pool.idlest().order(
        'sync',
        places.map((place) => join(folder, place)),
      )
    } catch (error) {
      // Whoever comes next would take for right what the volume still shows of them.
      if (error instanceof Fault) for (const place of places) attempt(() => remove(volume, place))
      throw error
    }
  })
  known.add(unsynced.map(noted))
  lease.check()
  return known
}

const key = ({ path, digest }: RemoteFile): string => `${digest.hex} ${path}`

const CHUNK = 64

const chunks = <T>(items: readonly T[]): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / CHUNK) }, (_, index) => items.slice(index * CHUNK, (index + 1) * CHUNK))

/** What is there and known needs a look only; what is not known is read. */
async function missingOf(
  { volume, wanted, pool, check, onPresent }: Gathering,
  known: Known,
): Promise<readonly RemoteFile[]> {
  const { folder } = volume
  const missing: RemoteFile[] = []
  const unknown: RemoteFile[] = []
  const found = (file: RemoteFile, place: string): void => {
    // What waits for a place that is right already must not take it.
    if (place === file.path && plainFile(join(folder, staged(file.path))) !== undefined)
      remove(volume, staged(file.path))
    onPresent(file)
  }
  await calmly(wanted, check, (file) => {
    const places = [file.path, staged(file.path)].flatMap((place) => {
      const seen = plainFile(join(folder, place))
      return seen?.size === file.size ? [{ place, isKnown: known.isKnown(file, seen) }] : []
    })
    const place = places.find(({ isKnown }) => isKnown)?.place
    if (place !== undefined) found(file, place)
    else if (places.length > 0) unknown.push(file)
    else missing.push(file)
  })
  await eachOf(unknown, pool.hands.length, async (file) => {
    for (const place of [file.path, staged(file.path)]) {
      const seen = plainFile(join(folder, place))
      const { size, digest } = file
      if (seen?.size !== size) continue
      if (!(await pool.idlest().order('matches', { file: join(folder, place), size, digest }))) continue
      await pool.idlest().order('sync', [join(folder, place)])
      known.add([{ ...file, mtimeMs: seen.mtimeMs, inode: seen.inode }])
      return found(file, place)
    }
    missing.push(file)
  })
  // What waits with other bytes must not be taken for them when it is put in place.
  for (const { path } of missing) remove(volume, staged(path))
  return missing
}

/**
 * The beginning of a file that is there. It must be nobody else's: not the same as a file of another model, which a reuse
 * that was killed may leave, and not one into which a loader may still write that had the folder before and is only asleep.
 */
async function begunOf(file: RemoteFile, { volume, lease }: Gathering): Promise<Seen | undefined> {
  const name = join(volume.folder, partial(file.path, file.digest))
  const seen = plainFile(name)
  if (seen === undefined || !(lease.isTakenOver || (seen.names > 1 && seen.size < file.size))) return seen
  try {
    await copyFile(name, `${name}.own`, constants.COPYFILE_FICLONE)
    await rename(`${name}.own`, name)
    return seen
  } catch {
    await rm(`${name}.own`, { force: true })
    await rm(name, { force: true })
    return undefined
  }
}

/**
 * What other shards have still to bring, and what there is of it. Each fetches its own files only, but the space must do
 * for all.
 */
async function leftToOthers({
  volume,
  files,
  wanted,
  check,
}: Gathering): Promise<readonly { readonly file: RemoteFile; readonly begun: Seen | undefined }[]> {
  const mine = new Set(wanted)
  const seen = (place: string): Seen | undefined => plainFile(join(volume.folder, place))
  const left: { readonly file: RemoteFile; readonly begun: Seen | undefined }[] = []
  await calmly(files, check, (file) => {
    if (mine.has(file)) return
    const { path, size, digest } = file
    // First, because it may become whole between the two looks.
    const begun = seen(volume.renames ? partial(path, digest) : path)
    if (![path, staged(path)].some((place) => seen(place)?.size === size)) left.push({ file, begun })
  })
  return left
}

const BEFOREHAND: Readonly<Record<InPlace, string>> = {
  'no space': 'The volume has no space for the old and the new revision: the old one is removed first',
  'no renames': 'This volume cannot rename: the new revision replaces the old one file by file',
}

/** The folder is no model until the new one is complete, and whoever reads of this load is to know why. */
function changeInPlace({ volume, files, check, say, progress }: Gathering, why: InPlace): void {
  if (progress.inPlace === undefined) say(BEFOREHAND[why])
  check()
  makeWay(volume, files)
  progress.inPlace ??= why
}

/**
 * There is no space for the old and the new: the old goes first, and the folder is no model until the new is there.
 * Nothing goes where even that would not be enough.
 */
function makeRoom(
  gathering: Gathering,
  {
    previous,
    missing,
    needed,
    count,
  }: {
    readonly previous: Marker | undefined
    readonly missing: readonly RemoteFile[]
    readonly needed: number
    /** Of the files that need it. */
    readonly count: number
  },
): void {
  const { volume, files, isShard } = gathering
  const { folder } = volume
  const isMissing = new Set(missing.map(({ path }) => path))
  const reused = new Set(volume.links ? missing.map(({ digest }) => digest.hex) : [])
  const kept = files.filter(({ path }) => !isMissing.has(path))
  const old = leftOf(volume, previous, kept).filter(({ digest }) => !reused.has(digest.hex))
  // The bytes of a file that has another name too stay where they are.
  const freed = bytesOf(old.filter(({ path }) => plainFile(join(folder, path))?.names === 1))
  if (isShard || freed === 0 || !isEnough(free(folder) + freed, needed)) throw notEnough(folder, needed, count)
  changeInPlace(gathering, 'no space')
  for (const { path } of old) removePlain(folder, path)
  if (!hasRoom(volume, needed)) throw notEnough(folder, needed, count)
}
