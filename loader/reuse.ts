import { constants, copyFileSync, linkSync, mkdirSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setImmediate as breath } from 'node:timers/promises'
import { attempt } from './failure.ts'
import { type MarkedFile, parseMarker } from './marker.ts'
import { COMPLETE } from './places.ts'
import type { Digest } from './plan.ts'
import { plainFile, readText } from './volume.ts'

/** Finds a file with these bytes that a marker on the volume vouches for; its path is absolute. */
export type Elsewhere = (digest: Digest, size: number) => string | undefined

const MAX_DEPTH = 8
const MAX_FOLDERS = 20_000

/**
 * Looks for markers below `root`. No file's contents are looked at: they are verified when they are taken.
 */
export async function elsewhere(
  root: string | undefined,
  own: string,
  previous: readonly MarkedFile[],
): Promise<Elsewhere> {
  const index = indexOf([
    { folder: own, files: previous },
    ...(root === undefined ? [] : await markersBelow(root, own)),
  ])
  return ({ hex }, size) => index.get(hex)?.find((file) => attempt(() => plainFile(file))?.size === size)
}

interface Found {
  readonly folder: string
  readonly files: readonly MarkedFile[]
}

function indexOf(found: readonly Found[]): ReadonlyMap<string, readonly string[]> {
  const index = new Map<string, string[]>()
  for (const { folder, files } of found)
    for (const { path, digest } of files) {
      const same = index.get(digest.hex) ?? []
      same.push(join(folder, path))
      index.set(digest.hex, same)
    }
  return index
}

/** A volume may have many folders and be slow: leases are renewed and signals are heard meanwhile. */
async function markersBelow(root: string, own: string): Promise<readonly Found[]> {
  const found: Found[] = []
  const mine = real(own)
  let left = MAX_FOLDERS
  const visit = async (folder: string, depth: number): Promise<void> => {
    if (left-- <= 0 || real(folder) === mine) return
    await breath()
    const marker = parseMarker(attempt(() => readText({ folder }, COMPLETE)))
    if (marker !== undefined) {
      found.push({ folder, files: marker.files })
      return
    }
    if (depth === MAX_DEPTH) return
    for (const entry of attempt(() => readdirSync(folder, { withFileTypes: true })) ?? [])
      if (entry.isDirectory() && !entry.name.startsWith('.')) await visit(join(folder, entry.name), depth + 1)
  }
  await visit(root, 0)
  return found
}

const real = (folder: string): string => attempt(() => realpathSync(folder)) ?? folder

/** Smaller ones, such as settings, may be edited by hand, and a link would be edited with them. */
const LINKED_BYTES = 1024 * 1024

export const isLinked = (size: number): boolean => size >= LINKED_BYTES

/**
 * Gives a file a second name where its partial would be, without moving its bytes: as a copy that shares them, or else
 * as a link. False where the filesystem can do neither, or there is a partial already.
 */
export function sharedAs(partial: string, from: string, size: number): boolean {
  const made = attempt(() => {
    mkdirSync(dirname(partial), { recursive: true })
    return plainFile(partial) === undefined
  })
  if (made !== true) return false
  const cloned = attempt(() => copyFileSync(from, partial, constants.COPYFILE_FICLONE_FORCE) ?? true)
  if (cloned) return true
  // A clone that failed may leave an empty file.
  attempt(() => rmSync(partial, { force: true }))
  return isLinked(size) && (attempt(() => linkSync(from, partial) ?? true) ?? false)
}

/** Whether a file can stand in a folder too without taking room there. */
export const isOnVolumeOf = (file: string, folder: string): boolean =>
  attempt(() => statSync(file).dev === statSync(folder).dev) ?? false
