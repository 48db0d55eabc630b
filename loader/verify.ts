import { join } from 'node:path'
import { Failure } from './failure.ts'
import { eachOf } from './fetch.ts'
import { type Marker, parseMarker } from './marker.ts'
import { COMPLETE } from './places.ts'
import type { Pool } from './pool.ts'
import type { Progress } from './progress.ts'
import { plainFile, readText } from './volume.ts'

/** What `complete.json` says of a folder. Throws where there is none. */
export function markerOf(folder: string): Marker {
  const marker = parseMarker(readText({ folder }, COMPLETE))
  if (marker === undefined)
    throw new Failure('ChecksumMismatch', `${folder} holds no complete model: there is no ${COMPLETE} that can be read`)
  return marker
}

/** Reads every byte. Throws with the files that are not what was loaded. */
export async function verify(folder: string, marker: Marker, pool: Pool, progress: Progress): Promise<string> {
  progress.commit = marker.commit
  progress.totalBytes = marker.totalBytes
  progress.files = marker.files.length
  const wrong: string[] = []
  await eachOf(marker.files, pool.hands.length, async ({ path, size, digest }) => {
    const file = join(folder, path)
    const found = plainFile(file)
    if (found === undefined) wrong.push(`"${path}" is missing`)
    else if (found.size !== size) wrong.push(`"${path}" has ${found.size} bytes instead of ${size}`)
    else if (!(await pool.idlest().order('matches', { file, size, digest }))) wrong.push(`"${path}" has other bytes`)
    progress.presentBytes += size
    progress.filesDone++
  })
  if (wrong.length === 0)
    return `${folder} is "${marker.repo}" at ${marker.commit}: ${marker.files.length} files, all as loaded`
  throw new Failure('ChecksumMismatch', `${folder} is not what was loaded: ${wrong.sort().join(', ')}`)
}
