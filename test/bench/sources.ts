import { randomBytes } from 'node:crypto'
import { closeSync, openSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hubRepository, type Serving, type Web, webServer } from '../web.ts'
import type { Served } from './contenders.ts'
import { remove, temporary } from './farewell.ts'

export interface Source {
  readonly model: Served
  readonly web: Web
  /** Of the files as the server has them. */
  readonly folder: string
}

export interface Shape {
  readonly count: number
  /** Of each file. */
  readonly bytes: number
}

const MEMORY = '/dev/shm'
/** For the contenders, and for what the system keeps of what they write. */
const SPARE_BYTES = 4e9

/** Serves files with random bytes while `use` lasts. They are in memory, so that the only disk is the destination's. */
export async function withSource<T>(
  { count, bytes }: Shape,
  serving: Pick<Serving, 'rate'>,
  use: (source: Source) => Promise<T>,
): Promise<T> {
  const folder = temporary(hasRoom(count * bytes) ? MEMORY : tmpdir())
  try {
    for (let index = 0; index < count; index++) write(join(folder, name(index, count)), bytes)
    const repository = await hubRepository('bench/model', folder)
    const web = await webServer(folder, { ...serving, repositories: [repository] })
    if (web.kind === 'missing') throw new Error(`${web.name}: ${web.why}`)
    try {
      const { id, sha: commit, files } = repository
      return await use({ model: { id, commit, endpoint: web.url, files }, web, folder })
    } finally {
      await web.close()
    }
  } finally {
    remove(folder)
  }
}

export function hasRoom(bytes: number): boolean {
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    return Math.min(bavail * bsize, process.availableMemory()) > bytes + SPARE_BYTES
  } catch {
    return false
  }
}

function name(index: number, count: number): string {
  const number = (value: number): string => String(value).padStart(5, '0')
  return `model-${number(index + 1)}-of-${number(count)}.safetensors`
}

const BLOCK = randomBytes(16 * 2 ** 20)
let blocks = 0

/** No two blocks are the same: a filesystem might keep them once. */
function write(file: string, size: number): void {
  const fd = openSync(file, 'wx')
  for (let at = 0; at < size; at += BLOCK.length) {
    for (let page = 0; page < BLOCK.length; page += 4096) BLOCK.writeUInt32LE(blocks, page)
    blocks++
    writeSync(fd, BLOCK, 0, Math.min(BLOCK.length, size - at))
  }
  closeSync(fd)
}
