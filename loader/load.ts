import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { isRecord } from '../crds/place.ts'
import { Failure } from './failure.ts'
import { calmly, type Finishing, finish, isAsMarked, previousOn, removeUseless } from './finish.ts'
import { type Gathering, gather } from './gather.ts'
import { checkAccess, commitOf, filesOf, isCommit, type Source } from './hub.ts'
import type { Known } from './known.ts'
import { type Lease, lease } from './lease.ts'
import { type Marker, markerText, parsed, parseMarker } from './marker.ts'
import type { Waits } from './patience.ts'
import type { Filter } from './patterns.ts'
import { ARKS, COMPLETE, STATE, shardMarker } from './places.ts'
import { bytesOf, foldersOf, type RemoteFile, type Shard, selected, share } from './plan.ts'
import type { Pool } from './pool.ts'
import type { InPlace, Progress } from './progress.ts'
import { filesBelow, linkAmong, readText, remove, type Volume, volumeAt, writeWhole } from './volume.ts'
import type { Web } from './web.ts'

export interface Load {
  readonly source: Source
  readonly filter: Filter
  /** Absolute. */
  readonly folder: string
  /** Below which other models may have the same files. */
  readonly reuse: string | undefined
  readonly shard: Shard | undefined
  readonly slots: number
  readonly slotBytes: number
}

export interface Around {
  readonly web: Web
  readonly waits: Waits
  readonly progress: Progress
  /** Threads, started when they are needed. */
  readonly pool: () => Pool
  /** One sentence for people. */
  readonly say: (sentence: string) => void
}

/** What a load comes to: a sentence that can be told. */
export interface Loaded {
  readonly commit: string
  readonly message: string
}

/** From nothing, or from whatever an earlier attempt or another program left, to a whole and verified model. */
export async function load(request: Load, around: Around): Promise<Loaded> {
  const { folder, shard } = request
  const { say, waits, progress } = around
  const early = await alreadyLoaded(request, around)
  if (early !== undefined) return early
  const volume = volumeAt(folder)
  if (!volume.appends) say('This volume cannot go on with a file: what breaks off is begun again')
  const held = await lease(volume, {
    name: leaseName(shard),
    conflictsWith: (name) => isForeign(name, shard),
    signal: waits.signal,
    onWait: (holder) => say(`Another loader is at work in ${folder}: ${holder}; waiting for it`),
  })
  let started: Pool | undefined
  const pool = (): Pool => (started ??= around.pool())
  try {
    return await loadedAlone(request, { ...around, pool }, volume, held)
  } catch (error) {
    // No thread must write any more when the next one comes in.
    progress.meter.stop()
    await started?.end()
    // Whatever went wrong then did so because two were at work.
    if (isLost(held)) throw new Failure('Interrupted', `Another loader has taken over ${folder}`)
    if (error instanceof Failure && progress.inPlace !== undefined)
      throw new Failure(error.reason, `${error.message}; ${AFTERWARDS[progress.inPlace]}`, error.from)
    throw error
  } finally {
    held.release()
  }
}

const AFTERWARDS: Readonly<Record<InPlace, string>> = {
  'no space': 'the old revision was removed first, for want of space',
  'no renames': 'the old revision was replaced file by file, because the volume cannot rename',
}

function isLost(held: Lease): boolean {
  try {
    held.confirm()
    return false
  } catch (error) {
    return error instanceof Failure && error.reason === 'Interrupted'
  }
}

const leaseName = (shard: Shard | undefined): string =>
  shard === undefined ? 'lease' : `lease-${shard.index}-of-${shard.count}`

/** Shards of one division work beside each other, and nobody else: two writers must never meet in one file. */
const isForeign = (name: string, shard: Shard | undefined): boolean =>
  /^lease(-\d+-of-\d+)?$/.test(name) && (shard === undefined || !name.endsWith(`-of-${shard.count}`))

async function loadedAlone(request: Load, around: Around, volume: Volume, held: Lease): Promise<Loaded> {
  const { source, shard } = request
  const { progress, waits, web } = around
  const begin = async (): Promise<Loaded | string> => {
    // By the one who had it until now.
    const meanwhile = await alreadyLoaded(request, around)
    if (meanwhile !== undefined) return meanwhile
    const commit = await commitToLoad(request, around, volume)
    removeShardMarkers(request, volume, commit)
    return commit
  }
  const begun = (): Promise<Loaded | string> => (shard === undefined ? begin() : throughGate(volume, around, begin))
  let commit = await begun()
  if (typeof commit !== 'string') return commit
  let listed: readonly RemoteFile[]
  try {
    listed = await filesOf(commit, source, web, waits)
  } catch (error) {
    if (!(error instanceof Failure) || error.reason !== 'RevisionNotFound') throw error
    // The history of a branch may be written anew while an attempt still remembers what it was.
    if (!isRemembered(volume, commit)) throw error
    remove(volume, STATE)
    commit = await begun()
    if (typeof commit !== 'string') return commit
    listed = await filesOf(commit, source, web, waits)
  }
  progress.commit = commit
  const files = selected(listed, request.filter, source.repo)
  const largest = files.at(-1)
  if (largest !== undefined) await checkAccess(largest, commit, source, web, waits)
  held.check()
  const link = linkAmong(volume.folder, new Set(files.flatMap(({ path }) => foldersOf(path))))
  if (link !== undefined)
    throw new Failure('StorageError', `${join(volume.folder, link)} must be a folder of its own, not a link`)
  const before = previousOn(volume)
  if (before !== undefined && before.repo !== source.repo)
    around.say(`${volume.folder} holds "${before.repo}", which gives way to "${source.repo}"`)
  removeUseless(volume, files)
  return bring({ request, around, volume, lease: held, commit, files })
}

/**
 * One shard at a time begins or ends: all must come to the same commit, a shard that comes back must not be counted as
 * complete, and two that end together must not both put files in place.
 */
async function throughGate<T>(volume: Volume, { waits }: Around, work: (gate: Lease) => Promise<T>): Promise<T> {
  const gate = await lease(volume, {
    name: 'gate',
    conflictsWith: () => false,
    signal: waits.signal,
    onWait: () => undefined,
  })
  try {
    return await work(gate)
  } finally {
    gate.release()
  }
}

/** Undefined unless the folder holds just this. It is not enough that a marker says so: the files must be there. */
async function alreadyLoaded(request: Load, { web, waits, progress }: Around): Promise<Loaded | undefined> {
  const { source } = request
  const marker = await wholeOn(request, waits)
  if (marker === undefined) return undefined
  const commit = isCommit(source.revision) ? source.revision : await commitOf(source, web, waits)
  if (marker.commit !== commit) return undefined
  Object.assign(progress, {
    commit,
    totalBytes: marker.totalBytes,
    presentBytes: marker.totalBytes,
    files: marker.files.length,
    filesDone: marker.files.length,
  })
  return { commit, message: `"${source.repo}" is complete already` }
}

/** What the folder holds, if that is all of some commit of what is asked for. */
async function wholeOn({ source, filter, folder }: Load, { signal }: Waits): Promise<Marker | undefined> {
  const marker = parseMarker(readText({ folder }, COMPLETE))
  if (marker === undefined || !isOf(marker, source, filter)) return undefined
  let isThere = true
  await calmly(
    marker.files,
    () => signal.throwIfAborted(),
    (file) => {
      isThere &&= isAsMarked(folder, file)
    },
  )
  return isThere ? marker : undefined
}

const isOf = (marker: Marker, { repo }: Source, { include, exclude }: Filter): boolean =>
  marker.repo === repo && JSON.stringify([marker.include, marker.exclude]) === JSON.stringify([include, exclude])

const REMEMBERED_MS = 24 * 3600 * 1000

/**
 * Resolved once for all attempts and shards of a load: a branch that moves meanwhile must not mix two commits. The state
 * is there only while a load is under way; it is too old when nobody has come back for so long, unless a shard is complete.
 */
async function commitToLoad(request: Load, { web, waits }: Around, volume: Volume): Promise<string> {
  const { source } = request
  if (isCommit(source.revision)) return source.revision
  const spec = createHash('sha256')
    .update(JSON.stringify([source.endpoint, source.repo, source.revision]))
    .digest('hex')
  const state = parsed(readText(volume, STATE))
  if (isRecord(state) && state['spec'] === spec) {
    const { commit, resolvedAt } = state
    const isFresh = typeof resolvedAt === 'number' && Math.abs(Date.now() - resolvedAt) < REMEMBERED_MS
    if (typeof commit === 'string' && isCommit(commit) && (isFresh || completeShards(request, volume, commit) > 0))
      return commit
  }
  const commit = await commitOf(source, web, waits)
  writeWhole(volume, STATE, `${JSON.stringify({ spec, commit, resolvedAt: Date.now() })}\n`)
  return commit
}

function completeShards({ source, filter, shard }: Load, volume: Volume, commit: string): number {
  const indices = Array.from({ length: shard?.count ?? 0 }, (_, index) => index)
  return indices.filter((index) => {
    const marker = parseMarker(readText(volume, shardMarker(index, indices.length)))
    return marker?.commit === commit && isOf(marker, source, filter)
  }).length
}

const isRemembered = (volume: Volume, commit: string): boolean => {
  const state = parsed(readText(volume, STATE))
  return isRecord(state) && state['commit'] === commit
}

/** What a shard has noted counts for this commit only, divided like this; its own note not before it has looked again. */
function removeShardMarkers({ source, filter, shard }: Load, volume: Volume, commit: string): void {
  for (const name of filesBelow(volume, ARKS).filter((each) => /^shard-\d+-of-\d+\.json$/.test(each))) {
    const marker = parseMarker(readText(volume, `${ARKS}/${name}`))
    const counts =
      marker?.commit === commit && isOf(marker, source, filter) && name.endsWith(`-of-${shard?.count}.json`)
    if (!counts || name.startsWith(`shard-${shard?.index}-`)) remove(volume, `${ARKS}/${name}`)
  }
}

interface Bringing {
  readonly request: Load
  readonly around: Around
  readonly volume: Volume
  readonly lease: Lease
  readonly commit: string
  /** All of the model. */
  readonly files: readonly RemoteFile[]
}

async function bring(bringing: Bringing): Promise<Loaded> {
  const { request, around, volume, lease, commit, files } = bringing
  const { source, shard, filter } = request
  const { progress } = around
  const { repo, revision, endpoint } = source
  const mine = shard === undefined ? files : share(files, shard)
  const totalBytes = bytesOf(mine)
  progress.totalBytes = totalBytes
  progress.files = mine.length
  const known = await gather({
    ...gatheringOf(bringing, lease),
    wanted: mine,
    onPresent({ size }) {
      progress.presentBytes += size
      progress.filesDone++
    },
    onMissing: () => undefined,
  })
  const marker = { repo, revision, commit, endpoint, include: filter.include, exclude: filter.exclude }
  const inPlace = (): string => (progress.inPlace === undefined ? '' : ` (${AFTERWARDS[progress.inPlace]})`)
  if (shard === undefined) {
    await complete(bringing, marker, { known, lease })
    return { commit, message: `Loaded "${repo}": ${progress.files} files${inPlace()}` }
  }
  const completedAt = new Date().toISOString()
  const part = (): string =>
    `Loaded shard ${shard.index} of ${shard.count} of "${repo}": ${mine.length} files${inPlace()}`
  return throughGate(volume, around, async (gate) => {
    writeWhole(
      volume,
      shardMarker(shard.index, shard.count),
      markerText({ v: 1, ...marker, files: mine, totalBytes, completedAt }),
    )
    const isLast = completeShards(request, volume, commit) === shard.count
    if (!isLast) return { commit, message: part() }
    const both = {
      ...lease,
      check() {
        lease.check()
        gate.check()
      },
    }
    await complete(bringing, marker, { known, lease: both })
    return { commit, message: `${part()}; all shards are complete` }
  })
}

/** Looks at all files once more: what others have changed meanwhile, or a shard has not left as it said, is brought now. */
async function complete(
  bringing: Bringing,
  marker: Finishing['marker'],
  { known, lease }: { readonly known: Known; readonly lease: Lease },
): Promise<void> {
  const { around, volume, files } = bringing
  const { progress } = around
  const gathering = gatheringOf(bringing, lease)
  const seen = volume.appends
    ? await gather({
        ...gathering,
        wanted: files,
        onPresent: () => undefined,
        onMissing(missing) {
          progress.totalBytes += bytesOf(missing)
          progress.files += missing.length
        },
      })
    : known
  await finish({ volume, marker, files, known: seen, check: gathering.check })
}

const gatheringOf = (
  { request, around, volume, commit, files }: Bringing,
  lease: Lease,
): Omit<Gathering, 'wanted' | 'onPresent' | 'onMissing'> => ({
  source: request.source,
  commit,
  volume,
  pool: around.pool(),
  slotBytes: request.slotBytes,
  slots: request.slots,
  lease,
  progress: around.progress,
  waits: around.waits,
  files,
  reuse: request.reuse,
  isShard: request.shard !== undefined,
  check() {
    around.waits.signal.throwIfAborted()
    lease.check()
  },
  say: around.say,
})
