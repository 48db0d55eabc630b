import { closeSync, openSync, readFileSync } from 'node:fs'
import { findIn, found, type Missing, missingPart, once, type Part, path } from './parts-cache.ts'
import { debianProgram } from './parts-debian.ts'
import { goInstall } from './parts-go.ts'

/** Parts that make a folder of an object store, for which the machine must let us mount. */

const RCLONE = '1.75.1'
const VERSITYGW = '1.8.0'

/** An S3 server that keeps its objects in a folder. */
export const versitygw: () => Promise<Part | Missing> = once(async () => {
  const there = findIn(path, 'versitygw')
  if (there) return found('versitygw', there, '--version')
  return goInstall('versitygw', VERSITYGW, 'github.com/versity/versitygw/cmd/versitygw')
})

export const rclone: () => Promise<Part | Missing> = once(async () => {
  const there = findIn(path, 'rclone')
  if (there) return cannotMount('rclone') ?? found('rclone', there, 'version')
  return cannotMount('rclone') ?? goInstall('rclone', RCLONE, 'github.com/rclone/rclone')
})

/** What rclone mounts with. */
export const fusermount3: () => Promise<Part | Missing> = once(
  async () => cannotMount('fusermount3') ?? debianProgram('fusermount3', 'fuse3', '--version'),
)

export const s3fs: () => Promise<Part | Missing> = once(
  async () => cannotMount('s3fs') ?? debianProgram('s3fs', 's3fs', '--version'),
)

function cannotMount(name: string): Missing | undefined {
  const missing = missingPart(name)
  try {
    closeSync(openSync('/dev/fuse', 'r+'))
  } catch (error) {
    return missing(`/dev/fuse cannot be opened: ${error}`, 'run as root where there is /dev/fuse', false)
  }
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return BigInt(`0x${capabilities}`) & CAP_SYS_ADMIN
    ? undefined
    : missing('this process is not allowed to mount', 'run as root with CAP_SYS_ADMIN', false)
}

const CAP_SYS_ADMIN = 1n << 21n
