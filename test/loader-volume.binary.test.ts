import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { REASONS, type Reason } from '../crds/termination.ts'
import { COMPLETE, partial } from '../loader/places.ts'
import { describe, leftOut } from './harness.ts'
import { gitBlobSha1, type Hub, type HubFile, hub, randomFile, sha256 } from './hub.ts'
import {
  fetchedBytes,
  fetchedPaths,
  filesIn,
  LOADER,
  load,
  pathsOf,
  preloaded,
  sizeOf,
  startLoader,
  wrongFiles,
} from './loader.ts'
import { scratch, write } from './scratch.ts'
import { until } from './until.ts'

const MODEL = 'org/model'
const MB = 1_000_000
const CONFIG = randomFile('config.json', 900, 2)
const LARGE = randomFile('model.safetensors', 6 * MB)
const PART = randomFile('deep/er/part.bin', 70_000, 3)
const FILES: readonly HubFile[] = [LARGE, CONFIG, PART]
const ARGS = ['--segment', '1', '--connections', '4']

const arguments_ = (folder: string, ...more: readonly string[]): readonly string[] => [
  MODEL,
  '--to',
  folder,
  ...ARGS,
  ...more,
]

async function withHub(use: (there: Hub, env: Readonly<Record<string, string>>) => Promise<void>): Promise<void> {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: FILES } } } })
  await use(there, { HF_ENDPOINT: there.url })
}

const partialOf = (folder: string, { path, bytes }: HubFile): string =>
  join(folder, partial(path, { kind: 'sha256', hex: sha256(bytes) }))

const sizeAt = (file: string): number => (existsSync(file) ? statSync(file).size : 0)

function flip(file: string, at = 100): void {
  const bytes = readFileSync(file)
  bytes[at] = 255 - (bytes[at] ?? 0)
  writeFileSync(file, bytes)
}

describe('a folder that is complete', (test) => {
  test('is left alone', () =>
    withHub(async (there, env) => {
      const folder = scratch({})
      assert.is((await load(arguments_(folder), env)).code, 0)
      there.clearLog()
      const again = await load(arguments_(folder), env)
      assert.is(again.code, 0)
      assert.is(again.termination?.doneBytes, again.termination?.totalBytes)
      assert.equal(
        there.log.map(({ endpoint }) => endpoint),
        ['revision'],
      )
      there.clearLog()
      const pinned = await load(arguments_(folder, '--revision', there.commit(MODEL)), env)
      assert.is(pinned.code, 0)
      assert.is(pinned.termination?.commit, there.commit(MODEL))
      assert.equal(there.log, [])
    }))

  const harmed: Readonly<
    Record<string, { readonly harm: (folder: string) => void; readonly fetches: readonly string[] }>
  > = {
    'lacks a file': { harm: (folder) => rmSync(join(folder, 'config.json')), fetches: ['config.json'] },
    'lacks a folder': { harm: (folder) => rmSync(join(folder, 'deep'), { recursive: true }), fetches: [PART.path] },
    'has a file that was cut off': {
      harm: (folder) => truncateSync(join(folder, LARGE.path), 5 * MB),
      fetches: [LARGE.path],
    },
    'has a file that was changed': { harm: (folder) => flip(join(folder, LARGE.path)), fetches: [LARGE.path] },
    'has a file whose time was changed': {
      harm: (folder) => utimesSync(join(folder, LARGE.path), 1, 1),
      fetches: [],
    },
    'has a link instead of a file': {
      harm(folder) {
        rmSync(join(folder, 'config.json'))
        symlinkSync(join(folder, LARGE.path), join(folder, 'config.json'))
      },
      fetches: ['config.json'],
    },
    'has a marker that is cut off': { harm: (folder) => truncateSync(join(folder, COMPLETE), 100), fetches: [] },
  }
  for (const [name, { harm, fetches }] of Object.entries(harmed))
    test(`but ${name} is healed`, () =>
      withHub(async (there, env) => {
        const folder = scratch({})
        assert.is((await load(arguments_(folder), env)).code, 0)
        harm(folder)
        there.clearLog()
        const { code, stderr } = await load(arguments_(folder), env)
        assert.is(code, 0, stderr)
        assert.equal(fetchedPaths(there), fetches)
        assert.equal(wrongFiles(folder, FILES), [])
        assert.ok(lstatSync(join(folder, 'config.json')).isFile())
        there.clearLog()
        assert.is((await load(arguments_(folder), env)).code, 0)
        assert.equal(
          there.log.map(({ endpoint }) => endpoint),
          ['revision'],
          'and is complete again',
        )
      }))
})

describe('verify', (test) => {
  const rows: Readonly<
    Record<string, { readonly harm: (folder: string) => void; readonly code: number; readonly says: RegExp }>
  > = {
    'what is right': {
      harm: () => undefined,
      code: 0,
      says: /is "org\/model" at [0-9a-f]{40}: 3 files, all as loaded/,
    },
    'a missing file': {
      harm: (folder) => rmSync(join(folder, 'config.json')),
      code: 22,
      says: /is not what was loaded: "config\.json" is missing/,
    },
    'a truncated file': {
      harm: (folder) => truncateSync(join(folder, 'config.json'), 10),
      code: 22,
      says: /"config\.json" has 10 bytes instead of 900/,
    },
    'a flipped byte, with all else as it was': {
      harm(folder) {
        const { atime, mtime } = statSync(join(folder, LARGE.path))
        flip(join(folder, LARGE.path))
        utimesSync(join(folder, LARGE.path), atime, mtime)
      },
      code: 22,
      says: /is not what was loaded: "model\.safetensors" has other bytes/,
    },
    'two wrong files': {
      harm(folder) {
        rmSync(join(folder, 'config.json'))
        flip(join(folder, PART.path))
      },
      code: 22,
      says: /"config\.json" is missing, "deep\/er\/part\.bin" has other bytes/,
    },
    'a folder without marker': {
      harm: (folder) => rmSync(join(folder, COMPLETE)),
      code: 22,
      says: /holds no complete model: there is no \.cache\/arks\/complete\.json/,
    },
    'no folder': { harm: (folder) => rmSync(folder, { recursive: true }), code: 22, says: /holds no complete model/ },
  }
  for (const [name, { harm, code, says }] of Object.entries(rows))
    test(`tells of ${name}`, () =>
      withHub(async (_, env) => {
        const folder = scratch({})
        assert.is((await load(arguments_(folder), env)).code, 0)
        harm(folder)
        const child = spawn(process.execPath, [LOADER, 'verify', folder], { env: {} })
        let said = ''
        for (const stream of [child.stdout, child.stderr])
          stream.on('data', (chunk: Buffer) => {
            said += JSON.stringify(chunk.toString()).replaceAll(/\\+"/g, '"')
          })
        assert.is(await new Promise((done) => child.on('close', done)), code, said)
        assert.match(said, says)
      }))
})

describe('what huggingface_hub has left', (test) => {
  const left = (folder: string, file: HubFile, bytes: Buffer): void => {
    mkdirSync(dirname(join(folder, file.path)), { recursive: true })
    writeFileSync(join(folder, file.path), bytes)
    const etag = bytes.length >= 1024 ? sha256(file.bytes) : gitBlobSha1(file.bytes)
    write(folder, {
      [`.cache/huggingface/download/${file.path}.metadata`]: `${'0'.repeat(40)}\n${etag}\n${Date.now() / 1000}\n`,
      [`.cache/huggingface/download/${file.path}.lock`]: '',
    })
  }

  test('is verified and adopted', () =>
    withHub(async (there, env) => {
      const folder = scratch({})
      for (const file of FILES) left(folder, file, file.bytes)
      const before = statSync(join(folder, LARGE.path)).ino
      const { code, termination, stderr } = await load(arguments_(folder), env)
      assert.is(code, 0, stderr)
      assert.equal(fetchedPaths(there), [])
      assert.is(termination?.doneBytes, termination?.totalBytes)
      assert.is(statSync(join(folder, LARGE.path)).ino, before)
      const notes = readFileSync(join(folder, `.cache/huggingface/download/${LARGE.path}.metadata`), 'utf8').split('\n')
      assert.equal(notes.slice(0, 2), [there.commit(MODEL), sha256(LARGE.bytes)])
      assert.ok(Number(notes[2]) * 1000 >= statSync(join(folder, LARGE.path)).mtimeMs)
    }))

  test('is replaced where it is wrong', () =>
    withHub(async (there, env) => {
      const folder = scratch({})
      for (const file of FILES) left(folder, file, file.bytes)
      flip(join(folder, PART.path))
      assert.is((await load(arguments_(folder), env)).code, 0)
      assert.equal(fetchedPaths(there), [PART.path])
      assert.equal(wrongFiles(folder, FILES), [])
    }))

  test('of a file that it began is gone on from', () =>
    withHub(async (there, env) => {
      const folder = scratch({})
      const name = createHash('sha1').update(`${LARGE.path}.metadata`).digest('base64url')
      const begun = `.cache/huggingface/download/${name}=.${sha256(LARGE.bytes)}.0123abcd.incomplete`
      mkdirSync(dirname(join(folder, begun)), { recursive: true })
      writeFileSync(join(folder, begun), LARGE.bytes.subarray(0, 4 * MB))
      assert.is((await load(arguments_(folder), env)).code, 0)
      assert.is(there.bytesSent(LARGE.path), 2 * MB + 1)
      assert.equal(wrongFiles(folder, FILES), [])
      assert.not.ok(existsSync(join(folder, begun)))
    }))
})

describe("others' files", (test) => {
  const strangers = { 'notes.txt': 'mine', 'deep/own.bin': 'mine too', '.cache/other/x': 'x', 'left/over': 'y' }

  test('are never touched', () =>
    withHub(async (there, env) => {
      const folder = scratch(strangers)
      const seen = (): readonly unknown[] =>
        Object.keys(strangers).map((name) => {
          const { ino, mtimeMs, size } = statSync(join(folder, name))
          return { name, ino, mtimeMs, size }
        })
      const before = seen()
      assert.is((await load(arguments_(folder), env)).code, 0)
      // A file and a folder of the model leave, where there is something of others in it.
      there.setRepository(MODEL, { revisions: { main: [CONFIG, randomFile('new.bin', 2000, 8)] } })
      assert.is((await load(arguments_(folder), env)).code, 0)
      assert.equal(seen(), before)
      assert.equal(readdirSync(join(folder, 'deep')), ['own.bin'])
      assert.equal(readdirSync(folder).sort(), ['.cache', 'config.json', 'deep', 'left', 'new.bin', 'notes.txt'])
    }))

  test('are not written to through a link', () =>
    withHub(async (_, env) => {
      const elsewhere = scratch({ 'theirs.json': 'theirs' })
      const folder = scratch({})
      symlinkSync(join(elsewhere, 'theirs.json'), join(folder, 'config.json'))
      // Of the right size and bytes, which may still change behind our back.
      writeFileSync(join(elsewhere, 'right'), LARGE.bytes)
      symlinkSync(join(elsewhere, 'right'), join(folder, LARGE.path))
      assert.is((await load(arguments_(folder), env)).code, 0)
      assert.equal(wrongFiles(folder, FILES), [])
      assert.ok(lstatSync(join(folder, 'config.json')).isFile())
      assert.ok(lstatSync(join(folder, LARGE.path)).isFile())
      assert.is(readFileSync(join(elsewhere, 'theirs.json'), 'utf8'), 'theirs')
      assert.throws(() => readlinkSync(join(folder, LARGE.path)), /EINVAL/)
    }))

  const inTheWay: Readonly<
    Record<string, { readonly files: Readonly<Record<string, string>>; readonly below: string; readonly says: RegExp }>
  > = {
    'a file where a folder must be': {
      files: { deep: 'x' },
      below: '',
      says: /"deep\/er\/part\.bin".*(ENOTDIR|EEXIST)/,
    },
    'a folder where a file must be': {
      files: { 'config.json/x': 'x' },
      below: '',
      says: /"config\.json".*(EISDIR|ENOTEMPTY|EEXIST)/,
    },
    'a file where the model must be': { files: { model: 'x' }, below: 'model', says: /model.*(ENOTDIR|EEXIST)/ },
    'a file above it': { files: { model: 'x' }, below: 'model/a', says: /model.*(ENOTDIR|EEXIST)/ },
    'a file where our notes must be': { files: { '.cache': 'x' }, below: '', says: /\.cache.*(ENOTDIR|EEXIST)/ },
  }
  for (const [name, { files, below, says }] of Object.entries(inTheWay))
    test(`stop it: ${name}`, () =>
      withHub(async (_, env) => {
        const folder = scratch(files)
        const { code, termination, stderr } = await load(arguments_(join(folder, below)), env)
        assert.is(code, 21, stderr)
        assert.is(termination?.reason, 'StorageError')
        assert.match(termination?.message ?? '', says)
        for (const [path, text] of Object.entries(files)) assert.is(readFileSync(join(folder, path), 'utf8'), text)
      }))
})

type Call = 'fsync' | 'fsyncSync' | 'fdatasync' | 'sync' | 'closeSync'

interface Fault {
  readonly call: Call
  /** Matches what is written. */
  readonly name: RegExp
  readonly code: string
  readonly times: number
}

/** Has the first calls of a kind fail, as a volume does that only then learns what became of the writes. */
function failing({ call, name, code, times }: Fault): {
  readonly env: Readonly<Record<string, string>>
  readonly count: () => number
} {
  const count = join(scratch({ count: '' }), 'count')
  const env = preloaded(`
const fs = require('node:fs')
const promises = require('node:fs/promises')
const { appendFileSync, readFileSync, readlinkSync } = fs
const count = ${JSON.stringify(count)}
const nameOf = (fd) => readlinkSync('/proc/self/fd/' + fd)
const isDue = (name) => ${name}.test(name) && readFileSync(count).length < ${times}
const failure = () => {
  appendFileSync(count, '.')
  return Object.assign(new Error('of the test'), { code: '${code}' })
}
const original = fs.${call}
const { openSync } = fs
const { open } = promises
// What is written past the page cache is flushed at the end only.
fs.openSync = (file, flags, ...rest) => {
  if (typeof flags === 'number') throw Object.assign(new Error('of the test'), { code: 'EINVAL' })
  return openSync(file, flags, ...rest)
}
if ('${call}' === 'sync')
  promises.open = async (file, ...rest) => {
    const handle = await open(file, ...rest)
    const sync = handle.sync.bind(handle)
    handle.sync = async () => {
      if (isDue(file)) throw failure()
      await sync()
    }
    return handle
  }
else if ('${call}'.endsWith('Sync'))
  fs.${call} = (fd) => {
    const due = isDue(nameOf(fd))
    original(fd)
    if (due) throw failure()
  }
else fs.${call} = (fd, done) => (isDue(nameOf(fd)) ? done(failure()) : original(fd, done))
`)
  return { env, count: () => sizeAt(count) }
}

describe('a volume that fails when what was written is to reach it', (test) => {
  const reasons: Readonly<Record<string, Reason>> = {
    EIO: 'StorageError',
    ESTALE: 'StorageError',
    EDQUOT: 'InsufficientStorage',
    ENOSPC: 'InsufficientStorage',
  }
  const toldOf = (code: string, what: string): string =>
    reasons[code] === 'InsufficientStorage'
      ? `The volume is full: cannot ${what}: ${code}`
      : `Cannot ${what}: ${code}, ${code === 'EIO' ? 'the volume reports a fault' : 'the server has let go of the file'}`

  const partialName = /model[.]safetensors[.][0-9a-f]+[.]incomplete$/
  const markerName = /complete[.]json[.][^/]+[.]new$/
  const points: Readonly<
    Record<
      string,
      {
        readonly call: Call
        readonly name: RegExp
        readonly what: (folder: string) => string
        /** What may pass is tried again, where the file can be. */
        readonly isTriedAgain?: boolean
        /** What is fetched again then. */
        readonly again?: readonly HubFile[]
      }
    >
  > = {
    'the fsync of a large file': {
      call: 'fsync',
      name: partialName,
      what: () => `write "${LARGE.path}"`,
      isTriedAgain: true,
      again: [LARGE],
    },
    'the close of a large file': {
      call: 'closeSync',
      name: partialName,
      what: () => `write "${LARGE.path}"`,
      isTriedAgain: true,
      again: [LARGE],
    },
    'the fsync of small files': {
      call: 'sync',
      name: /config[.]json$/,
      what: (folder) => `write ${join(folder, CONFIG.path)}`,
      again: [CONFIG, PART],
    },
    'the fsync of the marker': {
      call: 'fsyncSync',
      name: markerName,
      what: (folder) => `write ${join(folder, COMPLETE)}`,
    },
    'the close of the marker': {
      call: 'closeSync',
      name: markerName,
      what: (folder) => `write ${join(folder, COMPLETE)}`,
    },
  }
  for (const [point, { call, name, what, isTriedAgain = false, again: lost = [] }] of Object.entries(points))
    for (const [code, reason] of Object.entries(reasons))
      test(`at ${point}: ${code}`, () =>
        withHub(async (there, env) => {
          const folder = scratch({})
          const { env: fault, count } = failing({ call, name, code, times: 100 })
          const { code: exitCode, termination, stderr } = await load(arguments_(folder), { ...env, ...fault })
          assert.is(exitCode, REASONS[reason].exitCode, stderr)
          assert.is(termination?.reason, reason)
          assert.is(termination?.message, toldOf(code, what(folder)))
          assert.is(count(), isTriedAgain && code === 'EIO' ? 4 : 1)
          assert.not.ok(existsSync(join(folder, COMPLETE)))
          there.clearLog()
          const again = await load(arguments_(folder), env)
          assert.is(again.code, 0, again.stderr)
          assert.equal(wrongFiles(folder, FILES), [])
          // What the volume still shows of it may not be on it, and what it never reached is not taken for right.
          if (code === 'EIO') assert.equal(fetchedPaths(there).toSorted(), lost.map(({ path }) => path).toSorted())
        }))

  // Not EIO: not all filesystems know that of folders.
  for (const [code, reason] of Object.entries(reasons).filter(([code]) => code !== 'EIO'))
    test(`at the fsync of a folder: ${code}`, () =>
      withHub(async (_, env) => {
        const folder = scratch({})
        const { env: fault, count } = failing({ call: 'fsyncSync', name: /[/]deep[/]er$/, code, times: 100 })
        const { code: exitCode, termination, stderr } = await load(arguments_(folder), { ...env, ...fault })
        assert.is(exitCode, REASONS[reason].exitCode, stderr)
        assert.is(termination?.reason, reason)
        assert.is(termination?.message, toldOf(code, 'write to the volume'))
        assert.is(count(), 1)
        assert.not.ok(existsSync(join(folder, COMPLETE)))
      }))

  test('at the fsync of a large file, once, has it begun again', () =>
    withHub(async (there, env) => {
      const folder = scratch({})
      const { env: fault, count } = failing({ call: 'fsync', name: partialName, code: 'EIO', times: 1 })
      const { code, termination, stderr } = await load(arguments_(folder), { ...env, ...fault })
      assert.is(code, 0, stderr)
      assert.is(count(), 1)
      // With the one byte that shows that files may be read.
      assert.is(there.bytesSent(LARGE.path), 2 * LARGE.bytes.length + 1)
      assert.is(termination?.doneBytes, termination?.totalBytes)
      assert.equal(wrongFiles(folder, FILES), [])
    }))

  // Of a file that is so large that it is told to reach the disk while it still grows.
  const HUGE = randomFile(LARGE.path, 275 * MB, 9)
  const early: Readonly<Record<string, { readonly times: number; readonly reason: Reason }>> = {
    EIO: { times: 1, reason: 'Loaded' },
    ESTALE: { times: 100, reason: 'StorageError' },
    EDQUOT: { times: 100, reason: 'InsufficientStorage' },
    ENOSPC: { times: 100, reason: 'InsufficientStorage' },
  }
  for (const [code, { times, reason }] of Object.entries(early))
    test(`while a file grows${reason === 'Loaded' ? ' has it begun again' : ''}: ${code}`, () =>
      withHub(async (there, env) => {
        there.setRepository(MODEL, { revisions: { main: [HUGE] } })
        const folder = scratch({})
        const { env: fault, count } = failing({ call: 'fdatasync', name: partialName, code, times })
        const ended = await load([MODEL, '--to', folder], { ...env, ...fault })
        assert.is(ended.code, REASONS[reason].exitCode, ended.stderr)
        assert.is(ended.termination?.reason, reason)
        assert.is(count(), 1)
        if (reason === 'Loaded') assert.equal(wrongFiles(folder, [HUGE]), [])
        else {
          assert.is(ended.termination?.message, toldOf(code, `write "${HUGE.path}"`))
          assert.not.ok(existsSync(join(folder, COMPLETE)))
        }
        rmSync(folder, { recursive: true })
      }))
})

/** As Mountpoint for S3: what has a name keeps it, has no other one, and is written in one go. */
const WRITES_ONLY = `
const fs = require('node:fs')
const promises = require('node:fs/promises')
const refuse = () => {
  throw Object.assign(new Error('refused by the volume'), { code: 'ENOSYS' })
}
for (const name of ['appendFileSync', 'copyFileSync', 'ftruncateSync', 'linkSync', 'renameSync', 'symlinkSync', 'truncateSync'])
  fs[name] = refuse
for (const name of ['appendFile', 'copyFile', 'link', 'rename', 'symlink', 'truncate'])
  promises[name] = async () => refuse()
const { openSync } = fs
fs.openSync = (file, flags, ...rest) =>
  flags === 'r' || flags === 'w' || flags === 'wx' ? openSync(file, flags, ...rest) : refuse()
`

const ONE_BY_ONE = ['--segment', '1', '--connections', '1', '--workers', '1']

describe('a volume on which files can only be written', (test) => {
  /** One after the other, so that what a kill costs is known. */
  const direct = (folder: string): readonly string[] => [MODEL, '--to', folder, ...ONE_BY_ONE]
  const parts = [1, 2, 3, 4].map((seed) => randomFile(`part-${seed}.bin`, 3 * MB + seed, seed))
  const first: readonly HubFile[] = [...parts, CONFIG, PART]
  const later: readonly HubFile[] = [
    ...parts.slice(0, 2),
    randomFile('part-3.bin', 3 * MB + 3, 30),
    randomFile('part-5.bin', 3 * MB, 5),
    CONFIG,
  ]
  const wrongOf = (folder: string, files: readonly HubFile[]): readonly HubFile[] => {
    const wrong = wrongFiles(folder, files)
    return files.filter(({ path }) => wrong.includes(path))
  }
  async function assertHolds(folder: string, files: readonly HubFile[]): Promise<void> {
    assert.equal(wrongFiles(folder, files), [])
    assert.equal(filesIn(folder), pathsOf(files))
    const { code, stdout } = await load(['verify', folder])
    assert.is(code, 0, stdout)
  }

  const withParts = (use: (there: Hub, env: Readonly<Record<string, string>>) => Promise<void>): Promise<void> =>
    withHub(async (there, env) => {
      there.setRepository(MODEL, { revisions: { main: first } })
      await use(there, { ...env, ...preloaded(WRITES_ONLY) })
    })

  test('takes a model, leaves it alone, and changes to another revision', () =>
    withParts(async (there, env) => {
      const folder = scratch({})
      const { code, stdout, stderr } = await load(direct(folder), env)
      assert.is(code, 0, stderr)
      assert.match(stdout, /This volume cannot go on with a file: what breaks off is begun again/)
      assert.is(fetchedBytes(there), sizeOf(first))
      await assertHolds(folder, first)

      there.clearLog()
      assert.is((await load(direct(folder), env)).code, 0)
      assert.equal(
        there.log.map(({ endpoint }) => endpoint),
        ['revision'],
      )

      there.setRepository(MODEL, { revisions: { main: later } })
      there.clearLog()
      assert.is((await load(direct(folder), env)).code, 0)
      assert.equal(fetchedPaths(there), ['part-3.bin', 'part-5.bin'])
      assert.is(fetchedBytes(there), sizeOf(later.slice(2, 4)))
      await assertHolds(folder, later)
    }))

  for (const code of ['EIO', 'EDQUOT'])
    test(`is no model where its marker may not have reached it: ${code}`, () =>
      withParts(async (_, env) => {
        const folder = scratch({})
        const { env: fault } = failing({ call: 'fsyncSync', name: /complete[.]json$/, code, times: 100 })
        // In this order: the second one takes away what the first one counts with.
        const both = { ...env, NODE_OPTIONS: `${fault['NODE_OPTIONS']} ${env['NODE_OPTIONS']}` }
        const ended = await load(direct(folder), both)
        assert.is(ended.code, code === 'EIO' ? 21 : 20, ended.stderr + ended.stdout)
        assert.match(ended.termination?.message ?? '', `complete.json: ${code}`)
        assert.not.ok(existsSync(join(folder, COMPLETE)))
        assert.is((await load(direct(folder), env)).code, 0)
        await assertHolds(folder, first)
      }))

  /** After so many bytes. */
  async function killed(
    { there, folder, env }: { there: Hub; folder: string; env: Readonly<Record<string, string>> },
    bytes: number,
  ): Promise<void> {
    there.faults.push({ kind: 'rate', bytesPerSecond: 5 * MB })
    there.clearLog()
    const { child, ended } = startLoader(direct(folder), env)
    await until('part of it is sent', () => fetchedBytes(there) > bytes)
    child.kill('SIGKILL')
    assert.is((await ended).code, null)
    assert.not.ok(existsSync(join(folder, COMPLETE)))
    await until('the connections are gone', () => there.log.every(({ endedAt }) => endedAt !== undefined))
    there.faults = []
    there.clearLog()
  }

  test('is gone on with after a kill, but for the file that broke off', () =>
    withParts(async (there, env) => {
      const folder = scratch({})
      await killed({ there, folder, env }, 7.5 * MB)
      const missing = wrongOf(folder, first)
      const [broken, ...none] = missing.filter(({ path }) => existsSync(join(folder, path)))
      assert.equal(none, [])
      assert.ok(broken !== undefined && sizeAt(join(folder, broken.path)) > 0, 'it grows where it belongs')
      assert.ok(sizeOf(missing) <= 2 * 3 * MB + 20, `${sizeOf(missing)} bytes`)
      const { code, stderr } = await load(direct(folder), env)
      assert.is(code, 0, stderr)
      assert.is(fetchedBytes(there), sizeOf(missing))
      await assertHolds(folder, first)
    }))

  test('is no model after a kill in a change of revision, until it is the next one', () =>
    withParts(async (there, env) => {
      const folder = scratch({})
      assert.is((await load(direct(folder), env)).code, 0)
      there.setRepository(MODEL, { revisions: { main: later } })
      await killed({ there, folder, env }, 1.5 * MB)
      assert.is((await load(['verify', folder])).code, REASONS.ChecksumMismatch.exitCode)
      const missing = wrongOf(folder, later)
      assert.equal(missing.map(({ path }) => path).sort(), ['part-3.bin', 'part-5.bin'])
      const { code, stderr } = await load(direct(folder), env)
      assert.is(code, 0, stderr)
      assert.is(fetchedBytes(there), sizeOf(missing))
      await assertHolds(folder, later)
    }))
})

const mounted: string[] = []
process.prependListener('exit', () => {
  for (const folder of mounted) execFileSync('umount', ['--lazy', folder])
})

function tmpfs(options: string): string {
  const folder = scratch({})
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'pipe' })
  mounted.push(folder)
  return folder
}

const remount = (folder: string, options: string): void =>
  void execFileSync('mount', ['-o', `remount,${options}`, folder], { stdio: 'pipe' })

const can = (work: () => unknown): boolean => {
  try {
    work()
    return true
  } catch {
    return false
  }
}

const NOBODY = 65_534

/** As somebody without rights. The program is copied to where that one may read it. */
function loadAsNobody(folder: string, env: Readonly<Record<string, string>>): Promise<{ code: number; said: string }> {
  const open = scratch({})
  chmodSync(open, 0o755)
  execFileSync('cp', [process.execPath, LOADER, open])
  const [node = '', loader = ''] = [process.execPath, LOADER].map((name) =>
    join(open, name.slice(name.lastIndexOf('/'))),
  )
  const child = spawn(node, [loader, ...arguments_(folder)], { env, uid: NOBODY, gid: NOBODY, cwd: '/' })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return new Promise((done) => child.on('close', (code) => done({ code: code ?? -1, said })))
}

const isRoot = process.getuid?.() === 0
const missing = { how: 'run the tests as root', couldBeHad: false }

if (!isRoot) leftOut('a volume without rights', { name: 'root', why: 'other users cannot be taken on', ...missing })
else
  describe('a volume without rights', (test) => {
    test('is told of, with the folder', () =>
      withHub(async (there, env) => {
        const folder = scratch({})
        chmodSync(folder, 0o755)
        const { code, said } = await loadAsNobody(folder, env)
        assert.is(code, 21, said)
        assert.match(said, /Cannot make the folder .*: EACCES, permission denied/)
        assert.is(there.bytesSent(), 0)
      }))

    test('is told of when one folder of the model is owned by another', () =>
      withHub(async (_, env) => {
        const folder = scratch({ 'deep/x': '' })
        chmodSync(folder, 0o777)
        const { code, said } = await loadAsNobody(folder, env)
        assert.is(code, 21, said)
        assert.match(said, /deep\/er\/part\.bin.*EACCES, permission denied/)
      }))

    test('with another model that may not be read is loaded all the same', () =>
      withHub(async (there, env) => {
        const root = scratch({})
        for (const name of ['a', 'b']) mkdirSync(join(root, name), { mode: 0o777 })
        chmodSync(root, 0o755)
        chmodSync(join(root, 'b'), 0o777)
        assert.is((await load(arguments_(join(root, 'a')), env)).code, 0)
        chmodSync(join(root, 'a', 'deep'), 0o700)
        chmodSync(join(root, 'a', LARGE.path), 0o600)
        there.clearLog()
        const open = { ...env, HOME: '/' }
        const { code, said } = await loadAsNobody(`${join(root, 'b')}`, open)
        assert.is(code, 0, said)
        assert.equal(wrongFiles(join(root, 'b'), FILES), [])
      }))
  })

if (!isRoot || !can(() => tmpfs('size=1m')))
  leftOut('a volume that is full', { name: 'mount', why: 'a small tmpfs cannot be mounted', ...missing })
else {
  describe('a volume that is full', (test) => {
    test('before the first byte', () =>
      withHub(async (there, env) => {
        const folder = tmpfs('size=8m')
        const { code, termination, stderr } = await load(arguments_(folder), env)
        assert.is(code, 20, stderr)
        assert.is(termination?.reason, 'InsufficientStorage')
        assert.match(termination?.message ?? '', /must have 10\.3 MB free for 3 files, has 8\.\d MB$/)
        assert.is(termination?.retryable, false)
        assert.is(there.bytesSent(), 1)
        remount(folder, 'size=16m')
        assert.is((await load(arguments_(folder), env)).code, 0)
      }))

    test('in the middle, because of others', () =>
      withHub(async (there, env) => {
        const folder = tmpfs('size=16m')
        there.faults.push({ kind: 'rate', bytesPerSecond: 2 * MB })
        const { ended } = startLoader([MODEL, '--to', folder, '--segment', '1', '--connections', '1'], env)
        await until('a part is written', () => sizeAt(partialOf(folder, LARGE)) >= 2 * MB)
        can(() => writeFileSync(join(folder, 'filler'), Buffer.alloc(20 * MB)))
        const { code, termination, stderr } = await ended
        assert.is(code, 20, stderr)
        assert.is(termination?.reason, 'InsufficientStorage')
        assert.match(termination?.message ?? '', /The volume is full: cannot write "model\.safetensors": ENOSPC/)
        there.faults = []
        const full = await load(arguments_(folder), env)
        assert.is(full.code, 20, 'and again while it is full')
        rmSync(join(folder, 'filler'))
        there.clearLog()
        assert.is((await load(arguments_(folder), env)).code, 0)
        assert.ok(there.bytesSent(LARGE.path) < 5 * MB, 'it goes on')
        assert.equal(wrongFiles(folder, FILES), [])
      }))

    test('at any of the names that it needs, the marker among them', () =>
      withHub(async (_, env) => {
        const folder = tmpfs('size=32m,nr_inodes=3')
        const ends: (number | null)[] = []
        for (let names = 3; names < 60; names++) {
          // From where it was left, so that each run comes a little further.
          remount(folder, `nr_inodes=${names}`)
          const { code, stderr, termination } = await load(arguments_(folder), env)
          ends.push(code)
          if (code === 0) break
          assert.is(code, 20, `${names} names: ${stderr}`)
          assert.match(termination?.message ?? '', /^The volume is full: cannot .*: ENOSPC$/)
          assert.not.ok(existsSync(join(folder, COMPLETE)))
        }
        assert.is(ends.at(-1), 0)
        assert.ok(ends.length > 5, `${ends.length} steps`)
        assert.equal(wrongFiles(folder, FILES), [])
      }))

    test('has a complete model left alone', () =>
      withHub(async (there, env) => {
        const folder = tmpfs('size=16m')
        assert.is((await load(arguments_(folder), env)).code, 0)
        can(() => writeFileSync(join(folder, 'filler'), Buffer.alloc(20 * MB)))
        there.clearLog()
        assert.is((await load(arguments_(folder), env)).code, 0)
        assert.equal(fetchedPaths(there), [])
      }))
  })

  describe('a read-only volume', (test) => {
    test('is told of', () =>
      withHub(async (there, env) => {
        const folder = tmpfs('size=16m,ro')
        const { code, termination, stderr } = await load(arguments_(folder), env)
        assert.is(code, 21, stderr)
        assert.match(termination?.message ?? '', /Cannot make the folder .*: EROFS, the volume is read-only$/)
        assert.is(there.bytesSent(), 0)
      }))

    test('that has our folders is told of', () =>
      withHub(async (_, env) => {
        const folder = tmpfs('size=16m')
        mkdirSync(join(folder, dirname(COMPLETE)), { recursive: true })
        remount(folder, 'ro')
        const { code, termination, stderr } = await load(arguments_(folder), env)
        assert.is(code, 21, stderr)
        assert.match(termination?.message ?? '', /Cannot write to .*: EROFS, the volume is read-only$/)
      }))

    test('with the complete model is all that is needed', () =>
      withHub(async (_, env) => {
        const folder = tmpfs('size=16m')
        assert.is((await load(arguments_(folder), env)).code, 0)
        remount(folder, 'ro')
        assert.is((await load(arguments_(folder), env)).code, 0)
      }))
  })

  if (!can(() => tmpfs('size=32m,usrquota')))
    leftOut('a quota', {
      name: 'tmpfs quota',
      why: 'this kernel has none',
      how: 'take one with CONFIG_TMPFS_QUOTA',
      couldBeHad: false,
    })
  else
    describe('a quota', (test) => {
      test('that is used up is told of, and gone on from when there is more', () =>
        withHub(async (there, env) => {
          const folder = tmpfs('size=32m,usrquota,usrquota_block_hardlimit=12M,mode=777')
          // A tmpfs does not let its quota be changed, but the same user may have other files.
          const filler = join(folder, 'filler')
          writeFileSync(filler, Buffer.alloc(9 * 1024 * 1024))
          chownSync(filler, NOBODY, NOBODY)
          const { code, said } = await loadAsNobody(folder, env)
          assert.is(code, 20, said)
          assert.match(said, /The volume is full: cannot write .*: EDQUOT/)
          assert.ok(sizeAt(partialOf(folder, LARGE)) > MB)
          assert.not.ok(existsSync(join(folder, COMPLETE)))
          rmSync(filler)
          there.clearLog()
          const again = await loadAsNobody(folder, env)
          assert.is(again.code, 0, again.said)
          assert.ok(there.bytesSent(LARGE.path) < 5 * MB, 'it goes on')
          assert.equal(wrongFiles(folder, FILES), [])
        }))
    })
}
