import { mkdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setImmediate as breath } from 'node:timers/promises'
import { isRecord } from '../crds/place.ts'
import { codeOf, Failure, on } from './failure.ts'
import type { Known } from './known.ts'
import { type MarkedFile, type Marker, markedFile, markerText, parsed, parseMarker } from './marker.ts'
import {
  ARKS,
  COMPLETE,
  DOWNLOAD,
  digestInPartial,
  HUGGINGFACE,
  metadata,
  PLACED,
  PREVIOUS,
  STAGED,
  STATE,
  staged,
  startOf,
  VERIFIED,
} from './places.ts'
import { bytesOf, foldersOf, type RemoteFile } from './plan.ts'
import { filesBelow, linkAmong, plainFile, readText, remove, syncFolder, type Volume, writeWhole } from './volume.ts'

export interface Finishing {
  readonly volume: Volume
  /** What the folder will hold. */
  readonly marker: Omit<Marker, 'v' | 'files' | 'totalBytes' | 'completedAt'>
  readonly files: readonly RemoteFile[]
  readonly known: Known
  /** Throws when the folder is no longer ours, or the load is to end. */
  readonly check: () => void
}

/**
 * All files are on the volume: those of a new commit take their places, those that no longer belong go, and the marker
 * comes last. It can be killed at any step and be done again.
 */
export async function finish({ volume, marker, files, known, check }: Finishing): Promise<void> {
  const { folder } = volume
  const left = makeWay(volume, files)
  await calmly(files, check, (file) => swapIn(volume, file))
  await calmly(left, check, (file) => {
    removePlain(folder, file.path)
    const note = metadata(file.path)
    if (note !== undefined) {
      remove(volume, note)
      removeEmptyFolders(folder, note)
    }
  })
  const marked: MarkedFile[] = []
  await calmly(files, check, (file) => marked.push(markedAt(volume, file, known)))
  writeNotes(volume)
  await calmly(marked, check, (file) => noteForPython(volume, marker.commit, file))
  await calmly(new Set(files.map(({ path }) => dirname(join(folder, path)))), check, syncFolder)
  check()
  const complete: Marker = {
    v: 1,
    ...marker,
    files: marked.sort((a, b) => (a.path < b.path ? -1 : 1)),
    totalBytes: bytesOf(files),
    completedAt: new Date().toISOString(),
  }
  // Before the marker: a later load must look again what its branch stands for.
  remove(volume, STATE)
  writeWhole(volume, COMPLETE, markerText(complete))
  removeWhatOnlyTheLoadNeeded(volume)
}

const AT_ONCE = 64

/** One after the other, with pauses in which leases are renewed and signals are heard. */
export async function calmly<T>(items: Iterable<T>, check: () => void, use: (item: T) => void): Promise<void> {
  let count = 0
  for (const item of items) {
    use(item)
    if (++count % AT_ONCE !== 0) continue
    await breath()
    check()
  }
}

/** The marker of what is there, or was there before a load that has not come to its end. */
export const previousOn = (volume: Volume): Marker | undefined =>
  parseMarker(readText(volume, COMPLETE)) ?? parseMarker(readText(volume, PREVIOUS))

/**
 * The folder is no model from here on, until it is the next one. What will be put into it is noted first, and what is left
 * of others gives way where it must: a file where there will be a folder, or the other way round. Answers with all that is
 * left of others.
 */
export function makeWay(volume: Volume, files: readonly RemoteFile[]): readonly RemoteFile[] {
  const { folder } = volume
  withdrawMarker(volume)
  const left = leftOf(volume, previousOn(volume), files)
  notePlaced(volume, files)
  const folders = new Set(files.flatMap(({ path }) => foldersOf(path)))
  const paths = new Set(files.map(({ path }) => path))
  for (const { path } of left)
    if (folders.has(path) || foldersOf(path).some((each) => paths.has(each))) removePlain(folder, path)
  return left
}

/** What was put into the folder and is none of these files. */
export function leftOf(
  volume: Volume,
  previous: Marker | undefined,
  files: readonly RemoteFile[],
): readonly RemoteFile[] {
  const paths = new Set(files.map(({ path }) => path))
  const begun = placed(volume).filter(({ path, size }) => plainFile(join(volume.folder, path))?.size === size)
  const untouched = (previous?.files ?? []).filter((file) => isAsMarked(volume.folder, file))
  const all = new Map([...untouched, ...begun].map((file) => [file.path, file]))
  return [...all.values()].filter(({ path }) => !paths.has(path))
}

/** What was edited since is its editor's. */
export function isAsMarked(folder: string, { path, size, mtimeMs }: MarkedFile): boolean {
  const seen = plainFile(join(folder, path))
  return seen?.size === size && (mtimeMs === undefined || mtimeMs === seen.mtimeMs)
}

function withdrawMarker(volume: Volume): void {
  const text = readText(volume, COMPLETE)
  if (text === undefined) return
  if (volume.renames) {
    const [from, to] = [join(volume.folder, COMPLETE), join(volume.folder, PREVIOUS)]
    on(`rename ${from}`, () => {
      try {
        renameSync(from, to)
      } catch (error) {
        // Another shard was first.
        if (codeOf(error) !== 'ENOENT') throw error
      }
    })
  } else {
    writeWhole(volume, PREVIOUS, text)
    remove(volume, COMPLETE)
  }
  syncFolder(join(volume.folder, ARKS))
}

/** A load that ends early and is followed by one of another model must not leave its files for good. */
function notePlaced(volume: Volume, files: readonly RemoteFile[]): void {
  const before = placed(volume)
  const noted = new Set(before.map(({ path, size }) => `${size} ${path}`))
  const more = files.filter(({ path, size }) => !noted.has(`${size} ${path}`))
  if (more.length === 0) return
  const lines = [...before, ...more].map(({ path, size, digest }) => ({ path, size, [digest.kind]: digest.hex }))
  writeWhole(volume, PLACED, `${JSON.stringify({ files: lines })}\n`)
}

function placed(volume: Volume): readonly RemoteFile[] {
  const value = parsed(readText(volume, PLACED))
  const files = isRecord(value) ? value['files'] : undefined
  return Array.isArray(files) ? files.map(markedFile).filter((file) => file !== undefined) : []
}

function swapIn({ folder }: Volume, { path }: RemoteFile): void {
  const from = join(folder, staged(path))
  if (plainFile(from) === undefined) return
  on(`put "${path}" in its place`, () => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    renameSync(from, join(folder, path))
  })
}

function markedAt({ folder, appends }: Volume, file: RemoteFile, known: Known): MarkedFile {
  const seen = plainFile(join(folder, file.path))
  if (seen?.size !== file.size || (appends && !known.isKnown(file, seen)))
    throw new Failure('StorageError', `"${file.path}" has been changed or removed by others`)
  // Object storage gives a file its own time after it was closed.
  return appends ? { ...file, mtimeMs: seen.mtimeMs, inode: seen.inode } : file
}

/** `hf download --local-dir` then sees the file as present: commit, ETag, and a time not before that of the file. */
function noteForPython(volume: Volume, commit: string, { path, digest, mtimeMs = 0 }: MarkedFile): void {
  const note = metadata(path)
  if (note === undefined) return
  const [itsCommit, itsEtag, itsTime] = readText(volume, note)?.split('\n') ?? []
  if (itsCommit === commit && itsEtag === digest.hex && Number(itsTime) * 1000 >= mtimeMs) return
  const file = join(volume.folder, note)
  const seconds = Math.max(Date.now(), mtimeMs) / 1000 + 1
  on(`write ${file}`, () => {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, `${commit}\n${digest.hex}\n${seconds}\n`)
  })
}

/** So that neither Git nor backups take what stands beside the model. */
function writeNotes(volume: Volume): void {
  const notes = { '.gitignore': '*', 'CACHEDIR.TAG': 'Signature: 8a477f597d28d172789f06886806bc55\n' }
  for (const [name, text] of Object.entries(notes))
    if (readText(volume, `${HUGGINGFACE}/${name}`) === undefined) writeWhole(volume, `${HUGGINGFACE}/${name}`, text)
}

/** With the folders that become empty by it. A link or a folder that others have put there stays. */
export function removePlain(folder: string, path: string): void {
  if (plainFile(join(folder, path)) === undefined || linkAmong(folder, foldersOf(path)) !== undefined) return
  on(`remove "${path}"`, () => rmSync(join(folder, path), { force: true }))
  removeEmptyFolders(folder, path)
}

function removeEmptyFolders(folder: string, path: string): void {
  for (const each of foldersOf(path).reverse())
    try {
      rmdirSync(join(folder, each))
    } catch {
      // Somebody's file is in it, or it is gone already.
      return
    }
}

/** What earlier loads began and this one has no use for takes the room that it needs. */
export function removeUseless(volume: Volume, files: readonly RemoteFile[]): void {
  const sizes = new Map(files.map(({ path, size }) => [path, size]))
  for (const path of filesBelow(volume, STAGED))
    if (plainFile(join(volume.folder, staged(path)))?.size !== sizes.get(path)) {
      remove(volume, staged(path))
      removeEmptyFolders(volume.folder, staged(path))
    }
  const digests = new Set(files.map(({ digest }) => startOf(digest)))
  removePartials(volume, (digest) => !digests.has(digest))
}

function removePartials(volume: Volume, isUseless: (digest: string) => boolean): void {
  for (const path of filesBelow(volume, DOWNLOAD)) {
    const digest = digestInPartial(path)
    if (digest !== undefined && isUseless(digest)) remove(volume, `${DOWNLOAD}/${path}`)
  }
}

/** Notes that nobody can still be writing. */
const ABANDONED_MS = 60_000

function removeWhatOnlyTheLoadNeeded(volume: Volume): void {
  for (const name of [STATE, STAGED, VERIFIED, PLACED, PREVIOUS]) remove(volume, name)
  const now = plainFile(join(volume.folder, COMPLETE))?.mtimeMs ?? 0
  for (const name of filesBelow(volume, ARKS)) {
    const mtimeMs = plainFile(join(volume.folder, ARKS, name))?.mtimeMs ?? now
    const isAbandoned = /^(probe-|clock-)|\.new$/.test(name) && now - mtimeMs > ABANDONED_MS
    if (isAbandoned || name.startsWith('shard-')) remove(volume, `${ARKS}/${name}`)
  }
  removePartials(volume, () => true)
}
