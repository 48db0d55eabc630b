import { createHash, type Hash } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { attempt, codeOf, Failure, on, storageFailure } from './failure.ts'
import type { Meter } from './meter.ts'
import type { Opening } from './orders.ts'
import { isPartialOfPython } from './places.ts'
import type { Digest } from './plan.ts'

/** A file that grows at its end, with the digest of what it holds so far. */
export interface Partial {
  length(): number
  /** From memory that starts at a page, if it says so: that can go to a disk without a copy. */
  append(chunk: Uint8Array, isAligned?: boolean): void
  restart(): void
  copyFrom(file: string): void
  /** False: the bytes are not the right ones, and are deleted. Otherwise they are at `target`. */
  close(target: string, durable: boolean): Promise<boolean>
  /** As it is, for a later attempt. */
  release(): void
  /** Whatever the volume says to it: it is begun again. */
  drop(): Promise<void>
}

/** After so much the disk is told to begin: what it has to write at the end stays short. */
const FLUSH_BYTES = 256 * 1024 * 1024
/** What is hashed is still in the processor's cache when it is written. */
const WRITE_BYTES = 64 * 1024
const READ_BYTES = 4 * 1024 * 1024

export function openPartial(opening: Opening, meter: Meter): Partial {
  const { path, partial, size, digest, resumes, isBegunAgain, flushes } = opening
  const what = `write "${path}"`
  let hash = hashOf(digest, size)
  let length = 0
  let flushed = 0
  let flushing: Promise<void> | undefined
  let flushError: unknown
  const open = (): { readonly fd: number; direct: number | undefined } =>
    on(what, () => ({
      fd: openSync(partial, resumes ? 'a+' : 'w'),
      direct: flushes && size >= LARGE_BYTES && isOnDisk(partial) ? directly(partial) : undefined,
    }))
  // Only once, also where it fails: the number may be that of another file already.
  let isShut = false
  const shut = (): void => {
    if (isShut) return
    isShut = true
    undirect()
    closeSync(file.fd)
  }
  const undirect = (): void => {
    if (file.direct !== undefined) closeSync(file.direct)
    file.direct = undefined
  }
  on(what, () => {
    mkdirSync(dirname(partial), { recursive: true })
    // What is there may have another name too, and must not be emptied under it.
    if (!resumes || isBegunAgain) rmSync(partial, { force: true })
    else if (size >= WORTH_ADOPTING_BYTES) adopt(partial, digest)
  })
  let file = open()

  const restart = (): void => {
    on(what, () => {
      shut()
      rmSync(partial, { force: true })
    })
    file = open()
    isShut = false
    hash = hashOf(digest, size)
    length = 0
    flushed = 0
  }

  const flush = (): void => {
    flushed = length
    flushing = new Promise((resolve) =>
      fdatasync(file.fd, (error) => {
        flushing = undefined
        flushError ??= error ?? undefined
        resolve()
      }),
    )
  }

  const write = (piece: Uint8Array): void =>
    on(what, () => {
      for (let at = 0; at < piece.length; ) {
        const written = writeSync(file.fd, piece, at, piece.length - at)
        if (written === 0) throw new Failure('InsufficientStorage', `The volume takes no more of "${path}"`)
        at += written
      }
    })

  /** Answers with how much of it was taken: what is left is the end of the file, or all where it is not possible. */
  const writeDirectly = (chunk: Uint8Array): number => {
    if (file.direct === undefined || length % BLOCK_BYTES !== 0) return 0
    const whole = chunk.length - (chunk.length % BLOCK_BYTES)
    try {
      // A short write is gone on with, and at the end of the space it is an error then.
      return whole === 0 ? 0 : writeSync(file.direct, chunk, 0, whole)
    } catch (error) {
      if (codeOf(error) !== 'EINVAL') throw storageFailure(error, what)
      on(what, undirect)
      return 0
    }
  }

  const append = (chunk: Uint8Array, isAligned = false): void => {
    if (flushError !== undefined) throw storageFailure(flushError, what)
    const taken = isAligned ? writeDirectly(chunk) : 0
    hash.update(chunk.subarray(0, taken))
    length += taken
    flushed += taken
    if (taken > 0 && taken % BLOCK_BYTES !== 0) throw new Failure('StorageError', `A write of "${path}" was cut off`)
    copied(chunk.subarray(taken))
  }

  const copied = (chunk: Uint8Array): void => {
    for (let start = 0; start < chunk.length; start += WRITE_BYTES) {
      const piece = chunk.subarray(start, start + WRITE_BYTES)
      hash.update(piece)
      write(piece)
    }
    length += chunk.length
    if (flushes && length - flushed >= FLUSH_BYTES && flushing === undefined) flush()
  }

  // What is begun again is empty, although some volumes go on to show what was there until the first write.
  const { size: existing, nlink } = resumes ? on(what, () => fstatSync(file.fd)) : { size: 0, nlink: 1 }
  // Cut to whole blocks, or nothing more could go directly.
  const kept = file.direct === undefined || existing === size ? existing : existing - (existing % BLOCK_BYTES)
  // What has a second name is somebody's model, and is never written to.
  if (existing > size || (existing < size && nlink > 1)) restart()
  else if (existing > 0) {
    if (kept < existing) on(what, () => ftruncateSync(file.fd, kept))
    length = on(`read "${path}"`, () => eachPiece(file.fd, 0, kept, meter, (piece) => hash.update(piece)))
    flushed = length
    if (length !== kept) restart()
  }

  return {
    length: () => length,
    append,
    restart,
    copyFrom(from) {
      on(`copy ${from}`, () => {
        const source = openSync(from, 'r')
        try {
          eachPiece(source, length, size, meter, append)
        } finally {
          closeSync(source)
        }
      })
    },
    async close(target, durable) {
      await flushing
      if (flushError !== undefined) throw storageFailure(flushError, what)
      // The second look is at what a stranger may have written into the same file.
      const isRight = length === size && fstatSync(file.fd).size === size && hash.digest('hex') === digest.hex
      if (isRight && durable) await reached(file.fd, what)
      on(what, () => {
        shut()
        if (!isRight) rmSync(partial, { force: true })
        else if (partial !== target) {
          mkdirSync(dirname(target), { recursive: true })
          renameSync(partial, target)
        }
      })
      return isRight
    },
    release() {
      if (isShut) return
      on(what, () => {
        try {
          if (flushError !== undefined) throw flushError
          fsyncSync(file.fd)
        } catch (error) {
          // What the volume still shows of it may not be on it.
          if (codeOf(error) === 'EIO') attempt(() => rmSync(partial, { force: true }))
          throw error
        } finally {
          shut()
        }
      })
    },
    async drop() {
      await flushing
      attempt(shut)
    },
  }
}

/** To look for what others began costs a look into the folder for each file. */
const WORTH_ADOPTING_BYTES = 1024 * 1024
const LARGE_BYTES = 64 * 1024 * 1024
/** Of all disks that there are, the largest. */
const BLOCK_BYTES = 4096
const EXT4 = 0xef53
const XFS = 0x58465342

/** A filesystem on a disk, as a rule of this machine: over a network the page cache is what makes writes fast. */
const isOnDisk = (file: string): boolean => [EXT4, XFS].includes(statfsSync(dirname(file)).type)

/**
 * Past the page cache: it would cost as much time as receiving, and crowd out what others have in it. Undefined where it
 * is not possible.
 */
function directly(file: string): number | undefined {
  const { O_WRONLY, O_APPEND, O_DIRECT } = constants
  if (O_DIRECT === undefined) return undefined
  try {
    return openSync(file, O_WRONLY | O_APPEND | O_DIRECT)
  } catch {
    return undefined
  }
}

/** Not in this thread: others' ranges come in meanwhile. */
const reached = (fd: number, what: string): Promise<void> =>
  new Promise((resolve, reject) => fsync(fd, (error) => (error ? reject(storageFailure(error, what)) : resolve())))

export function hashOf({ kind }: Digest, size: number): Hash {
  return kind === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}

/** Of a file from `start` to `end`, as far as it goes. Answers with where it ended. */
export function eachPiece(
  fd: number,
  start: number,
  end: number,
  meter: Meter,
  use: (piece: Uint8Array) => void,
): number {
  const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, Math.max(1, end - start)))
  let at = start
  while (at < end) {
    if (meter.isStopped()) throw new Failure('Interrupted', 'The load was asked to end')
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, end - at), at)
    if (count === 0) break
    use(buffer.subarray(0, count))
    at += count
  }
  return at
}

/**
 * A beginning of the same file that huggingface_hub left becomes ours: it too writes from the first byte on, and the
 * digest tells in the end.
 */
function adopt(partial: string, digest: Digest): void {
  const folder = dirname(partial)
  const names = readdirSync(folder)
  if (names.includes(basename(partial))) return
  const [found] = names.filter((name) => isPartialOfPython(name, digest))
  if (found !== undefined) renameSync(join(folder, found), partial)
}
