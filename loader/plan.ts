import { isRecord } from '../crds/place.ts'
import { Failure } from './failure.ts'
import { type Filter, wanted } from './patterns.ts'

/** Of a file's bytes: SHA-256 of large ones, of small ones the SHA-1 that Git knows a blob by. */
export interface Digest {
  readonly kind: 'sha256' | 'gitSha1'
  /** Lower-case hexadecimal. */
  readonly hex: string
}

/** One file of a revision. */
export interface RemoteFile {
  /** Relative, with `/`, and safe below any folder. */
  readonly path: string
  readonly size: number
  readonly digest: Digest
}

export interface Shard {
  /** From 0. */
  readonly index: number
  readonly count: number
}

/**
 * One entry of the Hub's listing; undefined for a folder, and for what somebody pushed together with a folder that a
 * downloader made: it would stand where our own notes stand.
 * Throws where it is none, or where its path would leave the folder.
 */
export function remoteFile(entry: unknown, repo: string): RemoteFile | undefined {
  if (!isRecord(entry)) throw unreadable(repo)
  const { type, path, size, oid, lfs } = entry
  if (type === 'directory') return undefined
  if (typeof path !== 'string' || typeof oid !== 'string') throw unreadable(repo)
  if (!isSafe(path))
    throw new Failure('InvalidSpec', `"${repo}" has a file whose path must not be used: ${JSON.stringify(path)}`)
  if (isReserved(path)) return undefined
  const pointsTo = isRecord(lfs) ? lfs : undefined
  const bytes = pointsTo?.['size'] ?? size
  const sha256 = pointsTo?.['oid']
  if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0) throw unreadable(repo)
  if (pointsTo === undefined) return { path, size: bytes, digest: { kind: 'gitSha1', hex: hexadecimal(oid, 40, repo) } }
  const hex = typeof sha256 === 'string' ? sha256.replace(/^sha256:/, '') : ''
  return { path, size: bytes, digest: { kind: 'sha256', hex: hexadecimal(hex, 64, repo) } }
}

function hexadecimal(text: string, length: number, repo: string): string {
  if (text.length !== length || !/^[0-9a-f]*$/.test(text)) throw unreadable(repo)
  return text
}

const unreadable = (repo: string): Failure => new Failure('NetworkError', `The listing of "${repo}" cannot be read`)

/** Where our own files and those of huggingface_hub stand in a model's folder. */
const RESERVED = ['.cache/arks', '.cache/huggingface']

/** Whatever the case: some volumes do not tell them apart. */
export function isReserved(path: string): boolean {
  const name = path.toLowerCase()
  return RESERVED.some((folder) => name === folder || name.startsWith(`${folder}/`) || folder.startsWith(`${name}/`))
}

const MAX_SEGMENT_BYTES = 255

export const isSafe = (path: string): boolean =>
  // Half a character of UTF-16 can neither be asked for nor be stored.
  !/[\\\0\p{Cs}]/u.test(path) &&
  path.split('/').every((each) => !['', '.', '..'].includes(each) && Buffer.byteLength(each) <= MAX_SEGMENT_BYTES)

/** Those that the filter leaves, small ones first, so that what is refused is refused early. */
export function selected(files: readonly RemoteFile[], filter: Filter, repo: string): readonly RemoteFile[] {
  const isWanted = wanted(filter)
  const left = files.filter(({ path }) => isWanted(path))
  if (left.length === 0)
    throw new Failure(
      'NoMatchingFiles',
      files.length === 0
        ? `"${repo}" has no files at this revision`
        : `${files.length === 1 ? 'Not the one file' : `None of the ${files.length} files`} of "${repo}" is left by --include ${list(filter.include)} and --exclude ${list(filter.exclude)}`,
    )
  const paths = new Set(left.map(({ path }) => path))
  const both = left.flatMap(({ path }) => foldersOf(path)).find((folder) => paths.has(folder))
  if (both !== undefined)
    throw new Failure('InvalidSpec', `"${repo}" has both a file and a folder ${JSON.stringify(both)}`)
  return left.toSorted((a, b) => a.size - b.size || (a.path < b.path ? -1 : 1))
}

/** From the outermost on. */
export const foldersOf = (path: string): string[] => [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index))

const list = (patterns: readonly string[]): string => (patterns.length === 0 ? '(none)' : JSON.stringify(patterns))

/**
 * The part of the files that one shard loads: each file goes, largest first, to the shard that has least so far. All
 * shards come to the same division, because they see the same commit.
 */
export function share(files: readonly RemoteFile[], { index, count }: Shard): readonly RemoteFile[] {
  const loads = Array.from({ length: count }, () => 0)
  const mine = new Set<RemoteFile>()
  for (const file of files.toSorted((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1))) {
    const least = loads.indexOf(Math.min(...loads))
    // An empty file counts too, or all of them would go to one shard.
    loads[least] = (loads[least] ?? 0) + file.size + 1
    if (least === index) mine.add(file)
  }
  return files.filter((file) => mine.has(file))
}

export const bytesOf = (files: readonly { readonly size: number }[]): number =>
  files.reduce((sum, { size }) => sum + size, 0)
