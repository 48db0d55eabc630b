import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { REASONS } from '../crds/termination.ts'
import { COMPLETE } from '../loader/places.ts'
import { describe, leftOut } from './harness.ts'
import { type Hub, type HubFile, hub, randomFile } from './hub.ts'
import { type Ended, fetchedBytes, filesIn, load, pathsOf, sizeOf, startLoader, wrongFiles } from './loader.ts'
import type { Missing } from './parts-cache.ts'
import { type Folder, type Mounter, s3Folder } from './s3.ts'
import { scratch } from './scratch.ts'
import { until } from './until.ts'

/** The same loads onto storage of every kind: disks, and object stores that are mounted as a folder. */

const MODEL = 'org/model'
const TOKENIZER = randomFile('tokenizer.json', 2_500_000, 4)
const LARGE = randomFile('model.safetensors', 40_000_000)
const FILES: readonly HubFile[] = [
  LARGE,
  randomFile('config.json', 900, 2),
  { path: 'empty', bytes: Buffer.alloc(0) },
  randomFile('deep/er/part é.bin', 70_000, 3),
  TOKENIZER,
]
const SMALL = FILES.filter((file) => file !== LARGE)
/** One file is another of the same size, one is new, one is gone. */
const LATER: readonly HubFile[] = [
  ...FILES.filter((file) => file !== TOKENIZER && file.path !== 'deep/er/part é.bin'),
  randomFile(TOKENIZER.path, TOKENIZER.bytes.length, 5),
  randomFile('deep/added.bin', 80_000, 6),
]
const CONNECTIONS = 8
const MIB = 1024 * 1024
const ARGS = ['--segment', '1', '--connections', String(CONNECTIONS)]

function tmpfs(): Folder | Missing {
  const path = scratch({})
  const { status, error, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', path])
  if (userInfo().uid !== 0 || error !== undefined || status !== 0) {
    const why = error?.message ?? String(stderr).trim()
    return { kind: 'missing', name: 'tmpfs', why, how: 'run as root', couldBeHad: false }
  }
  let isMounted = true
  const unmount = (): void => {
    if (isMounted) execFileSync('umount', [path])
    isMounted = false
  }
  // Before its folder is removed.
  process.prependListener('exit', unmount)
  return { kind: 'folder', path, objects: path, close: async () => unmount() }
}

function disk(): Folder {
  const path = scratch({})
  return { kind: 'folder', path, objects: path, close: async () => undefined }
}

const mounters: readonly Mounter[] = ['rclone', 's3fs']

interface Storage {
  readonly name: string
  readonly folder: Folder | Missing
  /** Whether a file that broke off is gone on with. */
  readonly resumes: boolean
}

const STORAGES: readonly Storage[] = [
  { name: 'a disk', folder: disk(), resumes: true },
  { name: 'a tmpfs', folder: tmpfs(), resumes: true },
  ...(await Promise.all(
    mounters.map(async (kind) => ({
      name: `an object store mounted with ${kind}`,
      folder: await s3Folder(kind),
      resumes: kind !== 'rclone',
    })),
  )),
]

for (const { name, folder: storage, resumes } of STORAGES) {
  if (storage.kind === 'missing') leftOut(`loads onto ${name}`, storage)
  else
    describe(`${name}`, (test) => {
      test.after(storage.close)

      const at = async (
        name: string,
        use: (around: { readonly there: Hub; readonly folder: string; readonly objects: string }) => Promise<void>,
      ): Promise<void> => {
        await using there = await hub({ repositories: { [MODEL]: { revisions: { main: FILES } } } })
        // As a model's folder lies on a claim: some way down.
        const path = `models/default/${name}`
        await use({ there, folder: join(storage.path, path), objects: join(storage.objects, path) })
      }

      const args = (folder: string): readonly string[] => [MODEL, '--to', folder, ...ARGS]

      const loaded = async (there: Hub, folder: string): Promise<Ended> => {
        const ended = await load(args(folder), { HF_ENDPOINT: there.url })
        assert.is(ended.code, 0, ended.stderr + ended.stdout)
        return ended
      }

      const assertHolds = ({ folder, objects }: { folder: string; objects: string }, files: readonly HubFile[]) => {
        assert.equal(wrongFiles(folder, files), [], 'seen through the mount')
        assert.equal(wrongFiles(objects, files), [], 'seen without the mount')
        assert.equal(filesIn(folder), pathsOf(files))
        assert.ok(existsSync(join(objects, COMPLETE)))
      }

      test('takes a model once, is verified and healed, and changes to another revision', () =>
        at('life', async ({ there, folder, objects }) => {
          await loaded(there, folder)
          assertHolds({ folder, objects }, FILES)
          assert.is(fetchedBytes(there), sizeOf(FILES))

          there.clearLog()
          const { termination } = await loaded(there, folder)
          assert.is(fetchedBytes(there), 0)
          assert.is(termination?.doneBytes, sizeOf(FILES))

          const right = await load(['verify', folder])
          assert.is(right.code, 0, right.stdout)
          rmSync(join(folder, 'config.json'))
          writeFileSync(join(folder, 'tokenizer.json'), TOKENIZER.bytes.toReversed())
          const wrong = await load(['verify', folder])
          assert.is(wrong.code, REASONS.ChecksumMismatch.exitCode)
          assert.match(wrong.stdout, /config\.json.* is missing, .*tokenizer\.json.* has other bytes/)

          await loaded(there, folder)
          assertHolds({ folder, objects }, FILES)
          assert.is(fetchedBytes(there), 900 + TOKENIZER.bytes.length)

          there.setRepository(MODEL, { revisions: { main: LATER } })
          there.clearLog()
          await loaded(there, folder)
          assertHolds({ folder, objects }, LATER)
          assert.is(fetchedBytes(there), sizeOf(LATER.filter((file) => !FILES.includes(file))))
          assert.is(JSON.parse(readFileSync(join(folder, COMPLETE), 'utf8')).commit, there.commit(MODEL))
        }))

      test('goes on after a kill', () =>
        at('killed', async ({ there, folder, objects }) => {
          there.faults.push({ kind: 'rate', bytesPerSecond: 6_000_000 })
          const { child, ended } = startLoader(args(folder), { HF_ENDPOINT: there.url })
          await until('half of it is sent', () => fetchedBytes(there, LARGE.path) > LARGE.bytes.length / 2)
          child.kill('SIGKILL')
          assert.is((await ended).code, null)
          assert.not.ok(existsSync(join(objects, COMPLETE)))
          there.faults = []
          await until('the connections are gone', () => there.log.every(({ endedAt }) => endedAt !== undefined))
          const before = fetchedBytes(there, LARGE.path)
          await loaded(there, folder)
          assertHolds({ folder, objects }, FILES)
          const again = fetchedBytes(there, LARGE.path) - LARGE.bytes.length
          assert.ok(again <= (resumes ? CONNECTIONS * MIB : before), `${again} bytes are fetched again`)
        }))

      test('is written by one of two loaders', () =>
        at('two', async ({ there, folder, objects }) => {
          there.setRepository(MODEL, { revisions: { main: SMALL } })
          // As long as the second one may take to start on a machine that has much else to do.
          there.faults.push({ kind: 'latency', ms: 2000, on: 'bytes' })
          const env = { HF_ENDPOINT: there.url }
          const both = await Promise.all([load(args(folder), env), load(args(folder), env)])
          for (const { code, stdout, stderr } of both) assert.is(code, 0, stderr + stdout)
          assertHolds({ folder, objects }, SMALL)
          assert.is(fetchedBytes(there), sizeOf(SMALL))
          assert.is(both.filter(({ stdout }) => /waiting for it/.test(stdout)).length, 1)
        }))
    })
}
