import { mkdirSync, statSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import type { Missing, Part } from './parts-cache.ts'
import { fusermount3, rclone, s3fs, versitygw } from './parts-fuse.ts'
import { answers, onFreePort, type Programs, programs } from './parts-running.ts'

/** An object store on loopback, mounted as a folder: what a volume of a cluster can be as well. */

export interface Folder {
  readonly kind: 'folder'
  readonly path: string
  /** What the server keeps of it, seen without the mount: a file for each object. */
  readonly objects: string
  /** Unmounts and ends the server. A process that forgets it leaves nothing behind either. */
  readonly close: () => Promise<void>
}

export type Mounter = 'rclone' | 's3fs'

export async function s3Folder(kind: Mounter): Promise<Folder | Missing> {
  const server = await versitygw()
  if (server.kind === 'missing') return server
  const mounter = await mounters[kind]()
  return mounter.kind === 'missing' ? mounter : onFreePort((port) => start(server, mounter, port))
}

/** How a program mounts a bucket at a path, and stays in the foreground. */
interface Mounting {
  readonly kind: 'mounting'
  readonly program: Part
  readonly args: (at: Bucket) => readonly string[]
  readonly env: (at: Bucket) => Readonly<Record<string, string>>
}

interface Bucket {
  readonly url: string
  readonly path: string
  readonly scratch: string
}

const BUCKET = 'bucket'
const KEY = 'access'
const SECRET = 'secret-of-the-test'

/** No content is cached: what is closed is in the store. Of s3fs nothing is: what others change is seen at once. */
const mounters: Readonly<Record<Mounter, () => Promise<Mounting | Missing>>> = {
  rclone: async () => {
    const [program, helper] = [await rclone(), await fusermount3()]
    if (program.kind === 'missing') return program
    if (helper.kind === 'missing') return helper
    return {
      kind: 'mounting',
      program,
      args: ({ path }) => ['mount', `store:${BUCKET}`, path, ...RCLONE_FLAGS],
      env: ({ url, scratch }) => ({
        PATH: [dirname(helper.path), process.env['PATH']].join(delimiter),
        RCLONE_CONFIG: join(scratch, 'rclone.conf'),
        RCLONE_CACHE_DIR: join(scratch, 'rclone'),
        RCLONE_CONFIG_STORE_TYPE: 's3',
        RCLONE_CONFIG_STORE_PROVIDER: 'Other',
        RCLONE_CONFIG_STORE_ENDPOINT: url,
        RCLONE_CONFIG_STORE_FORCE_PATH_STYLE: 'true',
        // Otherwise versitygw removes a folder when its last object goes, under the next one that is put there: rclone hears
        // "ExistingObjectIsDirectory", and whoever writes EIO. Of s3fs all folders are objects.
        RCLONE_CONFIG_STORE_DIRECTORY_MARKERS: 'true',
        RCLONE_CONFIG_STORE_ACCESS_KEY_ID: KEY,
        RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY: SECRET,
      }),
    }
  },
  s3fs: async () => {
    const program = await s3fs()
    if (program.kind === 'missing') return program
    return {
      kind: 'mounting',
      program,
      args: ({ url, path, scratch }) => [
        BUCKET,
        path,
        '-f',
        ...[...S3FS_OPTIONS, `url=${url}`, `tmpdir=${scratch}`].flatMap((option) => ['-o', option]),
      ],
      env: () => ({ AWSACCESSKEYID: KEY, AWSSECRETACCESSKEY: SECRET }),
    }
  },
}

/**
 * Folders are listed again after the usual five minutes: with none, rclone 1.75 starts a timer again and again while a
 * file is written, and stops answering.
 */
const RCLONE_FLAGS = ['--vfs-cache-mode=off', '--attr-timeout=0s', '--poll-interval=0']

const S3FS_OPTIONS = [
  'use_path_request_style',
  'use_cache=',
  'max_stat_cache_size=0',
  'attr_timeout=0',
  'entry_timeout=0',
  'negative_timeout=0',
]

async function start(server: Part, { program, args, env }: Mounting, port: number): Promise<Folder> {
  const running = programs(program.name, { mount: 'mount' })
  const path = join(running.folder, 'mount')
  const objects = join(running.folder, 'buckets', BUCKET)
  const meta = join(running.folder, 'metadata')
  const url = `http://127.0.0.1:${port}`
  for (const folder of [path, objects, meta]) mkdirSync(folder, { recursive: true })
  try {
    const keys = ['--access', KEY, '--secret', SECRET]
    // Not every file system has the extended attributes in which it would keep what is said of an object.
    running.run(server.path, ['--port', `127.0.0.1:${port}`, ...keys, 'posix', '--sidecar', meta, dirname(objects)])
    await running.until('answer of the object store', () => answers(url))
    const at = { url, path, scratch: running.folder }
    running.run(program.path, args(at), env(at))
    await mounted(running, path)
    return { kind: 'folder', path, objects, close: running.stop }
  } catch (error) {
    await running.stop()
    throw error
  }
}

function mounted({ folder, until }: Programs, path: string): Promise<true> {
  const outside = statSync(folder).dev
  return until(`mount at ${path}`, () => statSync(path).dev !== outside || undefined)
}
