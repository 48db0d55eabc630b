import { execFile, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as assert from 'uvu/assert'
import { COMPLETE, DOWNLOAD } from '../loader/places.ts'
import { describe, leftOut } from './harness.ts'
import { type Hub, type HubFile, hub, type Request, randomFile, sha256 } from './hub.ts'
import { load, pathsOf, sizeOf, wrongFiles } from './loader.ts'
import { huggingfaceHub } from './parts-python.ts'
import { contents, scratch } from './scratch.ts'
import { until } from './until.ts'

/** That the Hub's own client and the loader take each other's folders for what they are. */

const MODEL = 'org/model'
const CONFIG = randomFile('config.json', 700, 2)
const LARGE = randomFile('model.safetensors', 3_500_000)
const EARLIER: readonly HubFile[] = [
  CONFIG,
  LARGE,
  { path: 'empty', bytes: Buffer.alloc(0) },
  randomFile('onnx/deep/er/model.onnx', 1_200_000, 3),
  randomFile('onnx/deep/notes.txt', 60, 4),
  randomFile('weights of é/a #1 50%.bin', 30_000, 5),
]
const NEW_LARGE = randomFile(LARGE.path, 3_600_000, 6)
/** One file is another, one is new, one is gone. */
const LATER: readonly HubFile[] = [
  ...EARLIER.filter((file) => file !== LARGE && file.path !== 'onnx/deep/notes.txt'),
  NEW_LARGE,
  randomFile('onnx/added.txt', 90, 7),
]

/** What was asked for one byte only shows whether the files may be read. */
const contentOf = (there: Hub): readonly Request[] =>
  there.log.filter(({ content, method, range }) => content && method === 'GET' && range !== 'bytes=0-0')

const bytesOf = (requests: readonly Request[]): number => requests.reduce((sum, { bytesSent }) => sum + bytesSent, 0)

/** All that is below the folder but the notes of the programs. */
const filesIn = (folder: string): readonly string[] =>
  Object.keys(contents(folder)).filter((path) => !path.startsWith('.cache/'))

const partialsIn = (folder: string): readonly string[] =>
  existsSync(join(folder, DOWNLOAD))
    ? readdirSync(join(folder, DOWNLOAD), { encoding: 'utf8', recursive: true })
        .filter((path) => path.endsWith('.incomplete'))
        .map((path) => join(folder, DOWNLOAD, path))
    : []

const commitOn = (folder: string): unknown => JSON.parse(readFileSync(join(folder, COMPLETE), 'utf8')).commit

function overwrite(file: string, at: number, bytes: Uint8Array): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  closeSync(fd)
}

const run = promisify(execFile)
const found = await huggingfaceHub()

if (found.kind === 'missing') leftOut('the loader beside huggingface_hub', found)
else {
  const { hf, python } = found

  const environment = (there: Hub): Readonly<Record<string, string>> => ({
    PATH: '/usr/bin:/bin',
    HF_ENDPOINT: there.url,
    HF_HOME: scratch({}),
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
  })

  const download = async (there: Hub, folder: string, ...args: readonly string[]): Promise<void> => {
    await run(hf.path, ['download', MODEL, '--local-dir', folder, ...args], { env: environment(there) })
  }

  const loaded = async (there: Hub, folder: string, ...args: readonly string[]): Promise<void> => {
    const { code, stderr, stdout } = await load([MODEL, '--to', folder, ...args], { HF_ENDPOINT: there.url })
    assert.is(code, 0, stderr + stdout)
    assert.equal(partialsIn(folder), [])
  }

  const withHub = async (
    files: readonly HubFile[],
    use: (there: Hub, folder: string) => Promise<void>,
  ): Promise<void> => {
    await using there = await hub({ repositories: { [MODEL]: { revisions: { main: files } } }, pageSize: 2 })
    await use(there, scratch({}))
  }

  /** The commit is asked for and no file, not even whether it has changed. */
  const assertTaken = (there: Hub): void => {
    assert.ok(there.log.some(({ endpoint }) => endpoint === 'revision'))
    assert.equal(
      there.log.filter(({ file }) => file !== undefined),
      [],
    )
  }

  describe('a folder of the loader', (test) => {
    test('is complete for hf download, and stays complete', () =>
      withHub(EARLIER, async (there, folder) => {
        await loaded(there, folder)
        there.clearLog()
        await download(there, folder)
        assertTaken(there)
        assert.equal(wrongFiles(folder, EARLIER), [])
        there.clearLog()
        await loaded(there, folder)
        assert.equal(contentOf(there), [])
      }))

    test('is complete for snapshot_download, also without the network', () =>
      withHub(EARLIER, async (there, folder) => {
        await loaded(there, folder)
        there.clearLog()
        const program = `from huggingface_hub import snapshot_download as s; s("${MODEL}", local_dir=r"${folder}"`
        await run(python.path, ['-c', `${program})`], { env: environment(there) })
        assertTaken(there)
        there.clearLog()
        await run(python.path, ['-c', `${program}, local_files_only=True)`], { env: environment(there) })
        assert.equal(there.log, [])
        assert.equal(wrongFiles(folder, EARLIER), [])
      }))

    test('with some of the files is gone on with by hf download, and then by the loader', () =>
      withHub(EARLIER, async (there, folder) => {
        const some = ['--include', '*.json', '--include', 'onnx/*']
        const taken = EARLIER.filter(({ path }) => path.endsWith('.json') || path.startsWith('onnx/'))
        await loaded(there, folder, ...some)
        assert.equal(filesIn(folder), pathsOf(taken))
        there.clearLog()
        await download(there, folder, ...some)
        assertTaken(there)
        there.clearLog()
        await download(there, folder)
        const rest = EARLIER.filter((file) => file.bytes.length > 0 && !taken.includes(file))
        assert.equal(
          contentOf(there)
            .map(({ file }) => file)
            .sort(),
          pathsOf(rest),
        )
        there.clearLog()
        await loaded(there, folder)
        assert.equal(contentOf(there), [])
        assert.equal(wrongFiles(folder, EARLIER), [])
      }))

    test('gets a later commit by hf download, and is put in order by the loader', () =>
      withHub(EARLIER, async (there, folder) => {
        await loaded(there, folder)
        there.setRepository(MODEL, { revisions: { main: LATER } })
        there.clearLog()
        await download(there, folder)
        assert.equal(
          contentOf(there)
            .map(({ file }) => file)
            .sort(),
          ['model.safetensors', 'onnx/added.txt'],
        )
        there.clearLog()
        await loaded(there, folder)
        assert.equal(contentOf(there), [])
        assert.is(commitOn(folder), there.commit(MODEL))
        assert.equal(wrongFiles(folder, LATER), [])
        // Python leaves what is no longer in the repository.
        assert.equal(filesIn(folder), pathsOf(LATER))
        there.clearLog()
        await download(there, folder)
        assertTaken(there)
        assert.is((await load(['verify', folder])).code, 0)
      }))

    test('that was brought to a later commit by the loader is complete for hf download', () =>
      withHub(EARLIER, async (there, folder) => {
        await download(there, folder)
        there.setRepository(MODEL, { revisions: { main: LATER } })
        there.clearLog()
        await loaded(there, folder)
        assert.equal(
          new Set(contentOf(there).map(({ file }) => file)),
          new Set(['onnx/added.txt', 'model.safetensors']),
        )
        there.clearLog()
        await download(there, folder)
        assertTaken(there)
        assert.equal(wrongFiles(folder, LATER), [])
      }))
  })

  const DAMAGE: Readonly<Record<string, (file: string) => void>> = {
    'another byte': (file) => overwrite(file, 1_000_000, Buffer.from([255 - (LARGE.bytes[1_000_000] ?? 0)])),
    'more bytes': (file) => overwrite(file, LARGE.bytes.length, Buffer.from('more')),
    'no bytes': (file) => closeSync(openSync(file, 'w')),
    'no name': (file) => rmSync(file),
  }

  describe('a folder of huggingface_hub', (test) => {
    test('is read and marked complete', () =>
      withHub(EARLIER, async (there, folder) => {
        await download(there, folder)
        const times = EARLIER.map(({ path }) => statSync(join(folder, path)).mtimeMs)
        there.clearLog()
        await loaded(there, folder)
        assert.equal(contentOf(there), [])
        assert.equal(wrongFiles(folder, EARLIER), [])
        assert.equal(
          EARLIER.map(({ path }) => statSync(join(folder, path)).mtimeMs),
          times,
          'no file is touched',
        )
        assert.is(commitOn(folder), there.commit(MODEL))
        assert.is((await load(['verify', folder])).code, 0)
      }))

    for (const [what, damage] of Object.entries(DAMAGE))
      test(`in which one file has ${what} gets that one`, () =>
        withHub(EARLIER, async (there, folder) => {
          await download(there, folder)
          damage(join(folder, LARGE.path))
          there.clearLog()
          await loaded(there, folder)
          assert.equal([...new Set(contentOf(there).map(({ file }) => file))], [LARGE.path])
          assert.is(bytesOf(contentOf(there)), LARGE.bytes.length)
          assert.equal(wrongFiles(folder, EARLIER), [])
        }))
  })

  /** Python writes in pieces of 10 MB. */
  const HUGE = randomFile('model.safetensors', 45_000_000, 9)
  const WITH_HUGE = [CONFIG, HUGE]
  const digest = sha256(HUGE.bytes)

  /** Starts a download and kills it when so much of the large file is on the disk. */
  const begun = async (there: Hub, folder: string): Promise<string> => {
    const earlier = partialsIn(folder)
    const partial = (): string | undefined =>
      partialsIn(folder).find((file) => file.includes(digest) && !earlier.includes(file) && statSync(file).size > 0)
    there.faults = [{ kind: 'rate', bytesPerSecond: 25_000_000, path: HUGE.path }]
    const child = spawn(hf.path, ['download', MODEL, '--local-dir', folder], {
      env: environment(there),
      stdio: 'ignore',
    })
    const ended = new Promise((resolve) => child.on('exit', resolve))
    await until('bytes are on the disk', () => partial() !== undefined || child.exitCode !== null)
    child.kill('SIGKILL')
    await ended
    there.faults = []
    const file = partial()
    if (file === undefined) throw new Error('the download left no beginning')
    await until('its connections are gone', () => there.log.every(({ endedAt }) => endedAt !== undefined))
    there.clearLog()
    return file
  }

  describe('a download that was killed in huggingface_hub', (test) => {
    test('is gone on with', () =>
      withHub(WITH_HUGE, async (there, folder) => {
        const { size } = statSync(await begun(there, folder))
        await loaded(there, folder)
        assert.is(bytesOf(contentOf(there)), sizeOf([HUGE]) - size)
        assert.equal(wrongFiles(folder, WITH_HUGE), [])
      }))

    test('and had got wrong bytes is begun again', () =>
      withHub(WITH_HUGE, async (there, folder) => {
        const partial = await begun(there, folder)
        const { size } = statSync(partial)
        overwrite(partial, 1000, Buffer.from([255 - (HUGE.bytes[1000] ?? 0)]))
        await loaded(there, folder)
        assert.is(bytesOf(contentOf(there)), 2 * sizeOf([HUGE]) - size)
        assert.equal(wrongFiles(folder, WITH_HUGE), [])
      }))

    test('twice leaves nothing behind', () =>
      withHub(WITH_HUGE, async (there, folder) => {
        const first = await begun(there, folder)
        const second = await begun(there, folder)
        assert.ok(existsSync(first) && first !== second, 'Python leaves the first one')
        await loaded(there, folder)
        assert.equal(wrongFiles(folder, WITH_HUGE), [])
        there.clearLog()
        await download(there, folder)
        assertTaken(there)
      }))

    test('of a commit that has moved on leaves nothing behind', () =>
      withHub(WITH_HUGE, async (there, folder) => {
        await begun(there, folder)
        there.setRepository(MODEL, { revisions: { main: EARLIER } })
        await loaded(there, folder)
        assert.equal(wrongFiles(folder, EARLIER), [])
        assert.equal(filesIn(folder), pathsOf(EARLIER))
      }))
  })
}
