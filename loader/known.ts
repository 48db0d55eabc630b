import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { on } from './failure.ts'
import { type MarkedFile, type Marker, markedFile, parsed } from './marker.ts'
import { VERIFIED } from './places.ts'
import type { RemoteFile } from './plan.ts'
import { readText, type Seen, type Volume } from './volume.ts'

/**
 * Which files need not be read to know what is in them: a marker or an earlier attempt has verified them, and it is
 * still that file, of that size and time. It goes by its path in the model, also while it waits for its place.
 */
export interface Known {
  isKnown(file: RemoteFile, seen: Seen): boolean
  /** For later attempts. */
  add(files: readonly MarkedFile[]): void
}

export function known(volume: Volume, markers: readonly Marker[]): Known {
  const lines = (readText(volume, VERIFIED) ?? '').split('\n').map((line) => markedFile(parsed(line)))
  const verified = new Set([...markers.flatMap(({ files }) => files), ...lines].flatMap(key))
  return {
    isKnown: (file, { mtimeMs, inode }) => key({ ...file, mtimeMs, inode }).some((each) => verified.has(each)),
    add(files) {
      for (const each of files.flatMap(key)) verified.add(each)
      // What cannot be appended to is read again instead.
      if (!volume.appends || files.length === 0) return
      const text = files.map(
        ({ path, size, digest, mtimeMs, inode }) =>
          `${JSON.stringify({ path, size, [digest.kind]: digest.hex, mtimeMs, inode })}\n`,
      )
      on('note what is verified', () => appendFileSync(join(volume.folder, VERIFIED), text.join('')))
    },
  }
}

const key = (file: MarkedFile | undefined): string[] =>
  file?.mtimeMs === undefined || file.inode === undefined
    ? []
    : [`${file.digest.hex} ${file.size} ${file.mtimeMs} ${file.inode} ${file.path}`]
