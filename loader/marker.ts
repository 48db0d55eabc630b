import { isRecord } from '../crds/place.ts'
import { attempt } from './failure.ts'
import { type Digest, isReserved, isSafe, type RemoteFile } from './plan.ts'

/** What says that a folder holds a model, whole and verified. */
export interface Marker {
  readonly v: 1
  readonly repo: string
  readonly revision: string
  readonly commit: string
  readonly endpoint: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly files: readonly MarkedFile[]
  readonly totalBytes: number
  /** RFC 3339. */
  readonly completedAt: string
}

export interface MarkedFile extends RemoteFile {
  /** When it was verified. Undefined where the volume makes times up. */
  readonly mtimeMs?: number
  /** Which file it was then. */
  readonly inode?: number
}

export function markerText(marker: Marker): string {
  const files = marker.files.map(({ path, size, digest, mtimeMs, inode }) => ({
    path,
    size,
    [digest.kind]: digest.hex,
    mtimeMs,
    inode,
  }))
  return `${JSON.stringify({ ...marker, files }, undefined, 1)}\n`
}

/** Undefined for what is none: cut off, of a later version, or somebody else's. */
export function parseMarker(text: string | undefined): Marker | undefined {
  const value = parsed(text)
  if (!isRecord(value) || value['v'] !== 1) return undefined
  const { repo, revision, commit, endpoint, include, exclude, files, totalBytes, completedAt } = value
  if (!Array.isArray(files)) return undefined
  const marked = files.map(markedFile)
  if (
    typeof repo !== 'string' ||
    typeof revision !== 'string' ||
    typeof commit !== 'string' ||
    typeof endpoint !== 'string' ||
    typeof totalBytes !== 'number' ||
    typeof completedAt !== 'string' ||
    !isTexts(include) ||
    !isTexts(exclude) ||
    !marked.every((file) => file !== undefined)
  )
    return undefined
  return { v: 1, repo, revision, commit, endpoint, include, exclude, files: marked, totalBytes, completedAt }
}

/** Undefined also for a path that no listing can have: it would lead out of the folder. */
export function markedFile(value: unknown): MarkedFile | undefined {
  if (!isRecord(value)) return undefined
  const { path, size, sha256, gitSha1, mtimeMs, inode } = value
  if (typeof path !== 'string' || typeof size !== 'number' || !isSafe(path) || isReserved(path)) return undefined
  const digest: Digest | undefined =
    typeof sha256 === 'string'
      ? { kind: 'sha256', hex: sha256 }
      : typeof gitSha1 === 'string'
        ? { kind: 'gitSha1', hex: gitSha1 }
        : undefined
  if (digest === undefined) return undefined
  return {
    path,
    size,
    digest,
    ...(typeof mtimeMs === 'number' ? { mtimeMs } : {}),
    ...(typeof inode === 'number' ? { inode } : {}),
  }
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string')

export const parsed = (text: string | undefined): unknown =>
  text === undefined ? undefined : attempt(() => JSON.parse(text))
