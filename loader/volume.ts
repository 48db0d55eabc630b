import { randomUUID } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { attempt, codeOf, Failure, on, storageFailure } from './failure.ts'
import { ARKS } from './places.ts'

/** A model's folder, and what its filesystem can do. */
export interface Volume {
  readonly folder: string
  /** A file can be gone on with. Otherwise each is written in one go, and begun again after a kill. */
  readonly appends: boolean
  readonly renames: boolean
  /** A file can have two names, so that the second takes no room. */
  readonly links: boolean
  /** Through FUSE every flush of a file may send all of it to a server. */
  readonly flushes: boolean
}

const FUSE = 0x65735546

/**
 * What the volume can do is tried, not guessed: object storage as a folder refuses in its own ways, some only when a
 * file is closed.
 */
export function volumeAt(folder: string): Volume {
  const ours = join(folder, ARKS)
  on(`make the folder ${ours}`, () => makeFolder(ours))
  const name = join(ours, `probe-${randomUUID()}`)
  try {
    on(`write to ${ours}`, () => writeFileSync(name, 'a'))
    const appends = works(() => appendFileSync(name, 'b')) && readFileSync(name, 'latin1') === 'ab'
    const links = works(() => linkSync(name, `${name}-linked`))
    const renames = works(() => renameSync(name, `${name}-renamed`))
    const { type } = on(`read the state of the volume at ${folder}`, () => statfsSync(folder))
    return { folder, appends, renames, links, flushes: appends && type !== FUSE }
  } finally {
    for (const each of [name, `${name}-linked`, `${name}-renamed`]) attempt(() => rmSync(each, { force: true }))
  }
}

/** With those above it. Node's own way says ENOENT where the volume is read-only. */
function makeFolder(folder: string): void {
  const isThere = (): boolean => statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true
  if (isThere()) return
  makeFolder(dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    // Another loader was first.
    if (!isThere()) throw error
  }
}

/** What says nothing of what the volume can do. */
const TROUBLES = ['ENOSPC', 'EDQUOT', 'EROFS', 'ESTALE']

function works(change: () => void): boolean {
  try {
    change()
    return true
  } catch (error) {
    if (TROUBLES.includes(codeOf(error))) throw storageFailure(error, 'write to the volume')
    if (codeOf(error) === '') throw error
    return false
  }
}

/** Left over for names, markers and what the filesystem keeps of them. */
const RESERVE_BYTES = 4 * 1024 * 1024

/** Object storage names sizes beyond all measure, which is enough too. */
export const isEnough = (free: number, bytes: number): boolean => bytes === 0 || free >= bytes + RESERVE_BYTES

/** Whether this many bytes more will fit. */
export const hasRoom = ({ folder }: Volume, bytes: number): boolean => isEnough(free(folder), bytes)

export const free = (folder: string): number => {
  const { bavail, bsize } = on(`read the state of the volume at ${folder}`, () => statfsSync(folder, { bigint: true }))
  return Number(bavail * bsize)
}

/** `1.5 GB`: powers of 1,000, as disks and the Hub count. */
export function amount(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)))
  const value = bytes / 1000 ** power
  return `${power === 0 ? value : value.toFixed(value < 100 ? 1 : 0)} ${units[power]}`
}

/** The whole text or none of it, and on the disk when this returns. */
export function writeWhole({ folder, renames }: Volume, name: string, text: string): void {
  const file = join(folder, name)
  on(`write ${file}`, () => {
    mkdirSync(dirname(file), { recursive: true })
    if (!renames) return writeOver(file, text)
    // Process numbers are no names: in their containers all loaders have the same one.
    const first = `${file}.${randomUUID()}.new`
    try {
      writeSynced(first, text)
      renameSync(first, file)
    } catch (error) {
      attempt(() => rmSync(first, { force: true }))
      throw error
    }
    syncFolder(dirname(file))
  })
}

/** Without a moment in which there is no such file, where the volume lets files be written again. */
function writeOver(file: string, text: string): void {
  const whole = (): void => {
    try {
      writeSynced(file, text)
    } catch (error) {
      // It may be seen and not be on the volume, and must not be taken for right: it may say that the model is complete.
      attempt(() => rmSync(file, { force: true }))
      throw error
    }
  }
  try {
    whole()
  } catch (error) {
    if (TROUBLES.includes(codeOf(error))) throw error
    whole()
  }
}

function writeSynced(file: string, text: string): void {
  const fd = openSync(file, 'w')
  try {
    writeFileSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** A rename is lost with the power until its folder is on the disk. Not all filesystems know that of folders. */
export function syncFolder(folder: string): void {
  works(() => {
    const fd = openSync(folder, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  })
}

/** Undefined where there is no such file. */
export function readText({ folder }: Pick<Volume, 'folder'>, name: string): string | undefined {
  try {
    return readFileSync(join(folder, name), 'utf8')
  } catch (error) {
    if (MISSING.includes(codeOf(error))) return undefined
    throw storageFailure(error, `read ${join(folder, name)}`)
  }
}

export interface Seen {
  readonly size: number
  readonly mtimeMs: number
  /** Stays with the bytes through renames; another file of the same size and time has another. */
  readonly inode: number
  /** How many there are of it; its bytes stay until the last goes. */
  readonly names: number
}

/** Undefined unless there is a plain file. A link to one is none: what it points to may be anybody's. */
export function plainFile(file: string): Seen | undefined {
  try {
    const seen = lstatSync(file)
    return seen.isFile() ? { size: seen.size, mtimeMs: seen.mtimeMs, inode: seen.ino, names: seen.nlink } : undefined
  } catch (error) {
    if (MISSING.includes(codeOf(error))) return undefined
    throw storageFailure(error, `read ${file}`)
  }
}

/** The first of these folders that is a link: what is behind it may be anybody's. */
export const linkAmong = (folder: string, folders: Iterable<string>): string | undefined =>
  [...folders].find((each) => {
    try {
      return lstatSync(join(folder, each)).isSymbolicLink()
    } catch (error) {
      if (MISSING.includes(codeOf(error))) return false
      throw storageFailure(error, `read ${join(folder, each)}`)
    }
  })

const MISSING = ['ENOENT', 'ENOTDIR']

/** The paths of all files below a folder, relative to it; none where there is no such folder. */
export function filesBelow({ folder }: Pick<Volume, 'folder'>, name: string): readonly string[] {
  const top = join(folder, name)
  try {
    return readdirSync(top, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(top, join(entry.parentPath, entry.name)))
  } catch (error) {
    if (MISSING.includes(codeOf(error))) return []
    throw storageFailure(error, `read ${top}`)
  }
}

/** A folder with all in it. Without complaint where it is not there. */
export const remove = ({ folder }: Pick<Volume, 'folder'>, name: string): void =>
  on(`remove ${join(folder, name)}`, () => rmSync(join(folder, name), { recursive: true, force: true }))

export const notEnough = (folder: string, needed: number, files: number): Failure =>
  new Failure(
    'InsufficientStorage',
    `The volume at ${folder} must have ${amount(needed + RESERVE_BYTES)} free for ${files} ${files === 1 ? 'file' : 'files'}, has ${amount(free(folder))}`,
  )
