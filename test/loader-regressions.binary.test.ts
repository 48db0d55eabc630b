import { type ChildProcess, spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { markerText } from '../loader/marker.ts'
import { ARKS, COMPLETE, PLACED, PREVIOUS, partial, STATE, staged } from '../loader/places.ts'
import { filesBelow } from '../loader/volume.ts'
import { describe, leftOut } from './harness.ts'
import { type Fault, type Hub, type HubFile, hub, randomFile, sha256 } from './hub.ts'
import { type Ended, LOADER, type Loading, load, preloaded, startLoader, wrongFiles } from './loader.ts'
import { contents, scratch } from './scratch.ts'
import { until } from './until.ts'

/** What went wrong once, each as what must hold. */

const MODEL = 'org/model'
const OTHER = 'org/other'
const MB = 1_000_000
const MIB = 1024 * 1024
const ARGS = ['--segment', '1', '--connections', '4']

interface There {
  readonly there: Hub
  /** Of the model; `root` is above it. */
  readonly folder: string
  readonly root: string
  start(more?: readonly string[], env?: Readonly<Record<string, string>>): Loading
  run(more?: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended>
}

async function withModel(files: readonly HubFile[], use: (there: There) => Promise<void>): Promise<void> {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: files } } } })
  const root = scratch({ 'model/.keep': '' })
  const folder = join(root, 'model')
  const start: There['start'] = (more = [], env = {}) =>
    startLoader([MODEL, '--to', folder, ...ARGS, ...more], { HF_ENDPOINT: there.url, ...env })
  await use({ there, folder, root, start, run: (more, env) => start(more, env).ended })
}

const named = (path: string, { bytes }: HubFile): HubFile => ({ path, bytes })

const setFiles = (there: Hub, files: readonly HubFile[]): void =>
  there.setRepository(MODEL, { revisions: { main: files } })

/** Loads another model below `root`. */
async function beside(there: Hub, root: string, files: readonly HubFile[]): Promise<string> {
  const folder = join(root, 'other')
  there.setRepository(OTHER, { revisions: { main: files } })
  const { code, stderr } = await load([OTHER, '--to', folder, ...ARGS], { HF_ENDPOINT: there.url })
  assert.is(code, 0, stderr)
  there.clearLog()
  return folder
}

function assertLoaded({ code, stdout, stderr }: Ended, folder: string, files: readonly HubFile[]): void {
  assert.is(code, 0, stdout + stderr)
  assert.equal(wrongFiles(folder, files), [])
  assert.ok(existsSync(join(folder, COMPLETE)))
}

/** As on object storage that is mounted as a folder. */
const CANNOT_APPEND = `
require('node:fs').appendFileSync = () => {
  throw Object.assign(new Error('cannot append'), { code: 'EOPNOTSUPP' })
}
`

const CANNOT_RENAME = `
require('node:fs').renameSync = () => {
  throw Object.assign(new Error('cannot rename'), { code: 'EOPNOTSUPP' })
}
`

/** Too small for two revisions and what waits: then a file goes to its place at once. */
const ofSize = (bytes: number): string => `
const fs = require('node:fs')
const { statfsSync } = fs
const used = (folder) =>
  fs.readdirSync(folder, { recursive: true })
    .map((name) => fs.statSync(folder + '/' + name))
    .reduce((sum, seen) => sum + (seen.isFile() ? seen.size : 0), 0)
fs.statfsSync = (folder, options) =>
  Object.assign(statfsSync(folder, options), { bsize: 1n, bavail: BigInt(Math.max(0, ${bytes} - used(folder))) })
`

describe('on a volume that cannot append', (test) => {
  test('what waits of another revision is never put in place', () => {
    const revision = (seed: number): readonly HubFile[] => [
      randomFile('a.bin', 3_500_000, seed),
      randomFile('b.bin', 20_000, 50 + seed),
    ]
    return withModel(revision(1), async ({ there, folder, run }) => {
      assert.is((await run([], preloaded(CANNOT_APPEND))).code, 0)
      const waiting = join(folder, staged('a.bin'))
      mkdirSync(dirname(waiting), { recursive: true })
      writeFileSync(waiting, randomFile('a.bin', 3_500_000, 2).bytes)
      setFiles(there, revision(3))
      assertLoaded(await run([], preloaded(CANNOT_APPEND + ofSize(12 * MB))), folder, revision(3))
    })
  })

  test('a shard that was complete is not when another revision has gone over it', async () => {
    const revision = (seed: number): readonly HubFile[] => [
      randomFile('a.bin', 300_000, seed),
      randomFile('b.bin', 290_000, 50 + seed),
    ]
    await withModel([], async ({ there, folder, start, run }) => {
      there.setRepository(MODEL, { revisions: { main: revision(1), dev: revision(2) } })
      const env = preloaded(CANNOT_APPEND)
      assert.is((await run(['--shard', '1/2'], env)).code, 0)
      const [first = '', last = ''] = existsSync(join(folder, 'a.bin')) ? ['a.bin', 'b.bin'] : ['b.bin', 'a.bin']
      const next = revision(2).filter(({ path }) => path === first)
      there.faults.push({ kind: 'stall', after: 1000, path: last })
      const { child, ended } = start(['--revision', 'dev'], env)
      await until('the other revision is there in part', () => wrongFiles(folder, next).length === 0)
      child.kill('SIGKILL')
      await ended
      there.faults = []
      const other = await run(['--shard', '0/2'], env)
      assert.is(other.code, 0, other.stderr)
      if (existsSync(join(folder, COMPLETE))) assert.equal(wrongFiles(folder, revision(1)), [])
      assertLoaded(await run(['--shard', '1/2'], env), folder, revision(1))
    })
  })
})

/** Notes at each opening how many files below the folder are open for writing in the whole process. */
function openings(folder: string): { readonly program: string; readonly counts: () => readonly number[] } {
  const notes = join(scratch({ notes: '' }), 'notes')
  const program = `
const fs = require('node:fs')
const { appendFileSync, openSync, readdirSync, readFileSync, readlinkSync } = fs
const WRITES = 3
const isWritten = (fd) => {
  try {
    const [, flags] = /^flags:\\s+([0-7]+)$/m.exec(readFileSync('/proc/self/fdinfo/' + fd, 'latin1'))
    return (parseInt(flags, 8) & WRITES) !== 0 && readlinkSync('/proc/self/fd/' + fd).startsWith(${JSON.stringify(folder)})
  } catch {
    return false
  }
}
fs.openSync = (...args) => {
  const fd = openSync(...args)
  // The look opens files too, to read them.
  if (/^[aw]/.test(args[1]) && isWritten(fd)) appendFileSync(${JSON.stringify(notes)}, readdirSync('/proc/self/fd').filter(isWritten).length + ' ')
  return fd
}
`
  return { program, counts: () => readFileSync(notes, 'utf8').trim().split(' ').map(Number) }
}

if (process.platform !== 'linux')
  leftOut('files open for writing', { name: '/proc', why: 'only Linux has it', how: 'use Linux', couldBeHad: false })
else
  describe('files open for writing', (test) => {
    const FILES = [
      ...Array.from({ length: 30 }, (_, index) => randomFile(`small-${index}.json`, 2000, index)),
      ...Array.from({ length: 6 }, (_, index) => randomFile(`large-${index}.bin`, 1_500_000, 50 + index)),
    ]
    const mostAtOnce = async (volume: string): Promise<number> => {
      const folder = scratch({})
      await using there = await hub({ repositories: { [MODEL]: { revisions: { main: FILES } } } })
      there.faults.push({ kind: 'latency', ms: 50, on: 'bytes' })
      const { program, counts } = openings(folder)
      const args = [MODEL, '--to', folder, '--segment', '1', '--connections', '16', '--workers', '6']
      assertLoaded(await load(args, { HF_ENDPOINT: there.url, ...preloaded(program + volume) }), folder, FILES)
      return Math.max(...counts())
    }

    test('are 4 at most on a volume that cannot append', async () => {
      const most = await mostAtOnce(CANNOT_APPEND)
      assert.ok(most > 1 && most <= 4, `${most} files`)
    })

    test('are more where that costs nothing', async () => {
      const most = await mostAtOnce('')
      assert.ok(most > 4, `${most} files`)
    })
  })

describe('on a volume that cannot rename', (test) => {
  const REVISION = [randomFile('m.bin', 50_000, 1), randomFile('config.json', 900, 2)]

  test('a change of revision tells that it is made in place', () =>
    withModel(REVISION, async ({ there, folder, run }) => {
      const env = preloaded(CANNOT_RENAME)
      const first = await run([], env)
      assertLoaded(first, folder, REVISION)
      assert.not.match(first.stdout + first.termination?.message, /cannot rename/)
      const next = [randomFile('m.bin', 60_000, 3), randomFile('config.json', 900, 2)]
      setFiles(there, next)
      const ended = await run([], env)
      assertLoaded(ended, folder, next)
      assert.match(ended.stdout, /This volume cannot rename: the new revision replaces the old one file by file/)
      assert.match(
        ended.termination?.message ?? '',
        /^Loaded "org\/model": 2 files \(the old revision was replaced file by file, because the volume cannot rename\), /,
      )
    }))

  test('a file that is lost and brought again is no change of revision', () =>
    withModel(REVISION, async ({ folder, run }) => {
      const env = preloaded(CANNOT_RENAME)
      assertLoaded(await run([], env), folder, REVISION)
      rmSync(join(folder, 'm.bin'))
      const ended = await run([], env)
      assertLoaded(ended, folder, REVISION)
      assert.not.match(ended.stdout + ended.termination?.message, /cannot rename/)
    }))
})

describe('the space for a model in shards', (test) => {
  const FILES = [randomFile('a.bin', 6 * MB, 1), randomFile('b.bin', 6 * MB, 2)] as const

  test('must do for all of them before the first byte', () =>
    withModel(FILES, async ({ there, run }) => {
      for (const shard of ['0/2', '1/2']) {
        const { code, termination } = await run(['--shard', shard], preloaded(ofSize(12 * MB)))
        assert.is(code, 20)
        assert.match(termination?.message ?? '', /must have 16\.2 MB free for 2 files, has 1[12]\.\d MB$/)
      }
      // One byte shows that files may be read.
      assert.ok(there.bytesSent() <= 2)
    }))

  test('need not do again for what others have brought or begun', () =>
    withModel(FILES, async ({ there, folder, start, run }) => {
      const env = preloaded(ofSize(17 * MB))
      there.faults.push({ kind: 'stall', after: 900_000, path: 'b.bin', skip: 3 })
      const { child, ended } = start(['--shard', '1/2'], env)
      const begun = join(folder, partial('b.bin', { kind: 'sha256', hex: sha256(FILES[1].bytes) }))
      await until('it is begun', () => (statSync(begun, { throwIfNoEntry: false })?.size ?? 0) >= 2 * MIB)
      child.kill('SIGTERM')
      await ended
      there.faults = []
      assert.is((await run(['--shard', '0/2'], env)).code, 0)
      assertLoaded(await run(['--shard', '1/2'], env), folder, FILES)
    }))
})

/**
 * Lets the first `times` that the volume is asked to take `m.bin` fail: at the write with which it would grow beyond 1 MB,
 * or when it is closed; then it is gone, as where it would have been sent only now. Answers with how often it did.
 */
function faulty({ at, code, times }: { at: 'write' | 'close'; code: string; times: number }): {
  readonly program: string
  readonly count: () => number
} {
  const count = join(scratch({ count: '' }), 'count')
  const program = `
const fs = require('node:fs')
const { closeSync, fstatSync, readFileSync, readlinkSync, rmSync, writeFileSync, writeSync } = fs
const nameOf = (fd) => readlinkSync('/proc/self/fd/' + fd)
const fail = () => {
  writeFileSync(${JSON.stringify(count)}, '.', { flag: 'a' })
  throw Object.assign(new Error('of the test'), { code: '${code}' })
}
const isDue = (name) => /[/]m[.]bin[.][^/]*[.]incomplete$/.test(name) && readFileSync(${JSON.stringify(count)}).length < ${times}
if ('${at}' === 'close')
  fs.closeSync = (fd) => {
    const [name, { size }] = [nameOf(fd), fstatSync(fd)]
    closeSync(fd)
    if (size === 0 || !isDue(name)) return
    rmSync(name)
    fail()
  }
else
  fs.writeSync = (fd, ...rest) => (fstatSync(fd).size >= 1e6 && isDue(nameOf(fd)) ? fail() : writeSync(fd, ...rest))
`
  return { program, count: () => readFileSync(count).length }
}

describe('a volume that reports a fault', (test) => {
  const FILES = [randomFile('m.bin', 3 * MB), randomFile('config.json', 900, 2)]

  const volumes = { 'that appends': '', 'that cannot append': CANNOT_APPEND }
  for (const [name, volume] of Object.entries(volumes))
    for (const at of ['write', 'close'] as const)
      for (const fault of ['none', 'whole'] as const)
        test(`${name}, at a ${at}, has the file begun again${fault === 'whole' ? ', where there are no ranges' : ''}`, () =>
          withModel(FILES, async ({ there, folder, run }) => {
            if (fault === 'whole') there.faults.push({ kind: 'whole' })
            const { program, count } = faulty({ at, code: 'EIO', times: 1 })
            const ended = await run([], preloaded(volume + program))
            assertLoaded(ended, folder, FILES)
            assert.is(count(), 1)
            if (fault === 'none')
              assert.match(ended.stdout, /Cannot write \\"m\.bin\\": EIO, the volume reports a fault/)
            assert.is(ended.termination?.doneBytes, 3 * MB + 900)
            assert.equal(
              filesBelow({ folder }, '').filter((path) => path.endsWith('.incomplete')),
              [],
            )
          }))

  test('has a file begun again that is written past the page cache', () => {
    const files = [randomFile('m.bin', 64 * MIB + 5)]
    return withModel(files, async ({ folder, run }) => {
      const { program, count } = faulty({ at: 'write', code: 'EIO', times: 1 })
      const ended = await run([], preloaded(program))
      assertLoaded(ended, folder, files)
      assert.is(count(), 1)
      assert.is(ended.termination?.doneBytes, 64 * MIB + 5)
    })
  })

  test('has a reused file begun again, from the network', () =>
    withModel(FILES, async ({ there, folder, root, run }) => {
      await beside(there, root, FILES)
      const { program, count } = faulty({ at: 'close', code: 'EIO', times: 1 })
      const ended = await run(['--reuse', root], preloaded(CANNOT_APPEND + program))
      assertLoaded(ended, folder, FILES)
      assert.is(count(), 1)
      assert.is(ended.termination?.doneBytes, 3 * MB + 900)
      assert.is(ended.termination?.reusedBytes, 900)
    }))

  test('again and again ends the load', () =>
    withModel(FILES, async ({ folder, run }) => {
      const { program, count } = faulty({ at: 'close', code: 'EIO', times: 100 })
      const { code, termination, stderr } = await run([], preloaded(program))
      assert.is(code, 21, stderr)
      assert.is(termination?.reason, 'StorageError')
      assert.is(termination?.message, 'Cannot write "m.bin": EIO, the volume reports a fault')
      assert.is(count(), 4)
      assert.ok((termination?.seconds ?? 0) < 30, `${termination?.seconds} s`)
      assert.not.ok(existsSync(join(folder, COMPLETE)))
      assertLoaded(await run(), folder, FILES)
    }))

  const atOnce = { ENOSPC: 20, EDQUOT: 20, EROFS: 21, EACCES: 21, ESTALE: 21 }
  for (const [code, exitCode] of Object.entries(atOnce))
    test(`that will not pass ends the load at once: ${code}`, () =>
      withModel(FILES, async ({ run }) => {
        const { program, count } = faulty({ at: 'write', code, times: 100 })
        const ended = await run([], preloaded(program))
        assert.is(ended.code, exitCode, ended.stderr)
        assert.is(count(), 1)
        assert.is(ended.termination?.retries, 0)
      }))
})

describe('notes of others', (test) => {
  const FILE = randomFile('m.bin', 2 * MB)

  const noteOf = (path: string, bytes: Buffer): string =>
    markerText({
      v: 1,
      repo: 'org/else',
      revision: 'main',
      commit: '0'.repeat(40),
      endpoint: 'http://127.0.0.1',
      include: [],
      exclude: [],
      files: [{ path, size: bytes.length, digest: { kind: 'sha256', hex: sha256(bytes) } }],
      totalBytes: bytes.length,
      completedAt: new Date(0).toISOString(),
    })

  const note = (folder: string, name: string, text: string): void => {
    mkdirSync(join(folder, ARKS), { recursive: true })
    writeFileSync(join(folder, name), text)
  }

  for (const name of [COMPLETE, PREVIOUS, PLACED])
    test(`delete nothing outside the folder: ${name}`, () =>
      withModel([FILE], async ({ folder, root, run }) => {
        const precious = Buffer.from('precious')
        mkdirSync(join(root, 'victim'))
        writeFileSync(join(root, 'victim/file'), precious)
        note(folder, name, noteOf('../victim/file', precious))
        assertLoaded(await run(), folder, [FILE])
        assert.equal(contents(join(root, 'victim')), { file: 'precious' })
      }))

  test('below --reuse take nothing from outside their folder', () =>
    withModel([FILE], async ({ folder, root, run }) => {
      writeFileSync(join(root, 'private.bin'), FILE.bytes)
      note(join(root, 'beside'), COMPLETE, noteOf('../private.bin', FILE.bytes))
      const ended = await run(['--reuse', root])
      assertLoaded(ended, folder, [FILE])
      assert.is(ended.termination?.reusedBytes, 0)
      assert.is(statSync(join(root, 'private.bin')).nlink, 1)
    }))
})

describe('a folder of the model that is a link', (test) => {
  for (const [link, path] of [
    ['sub', 'sub/m.bin'],
    ['sub', 'sub/deep/m.bin'],
    ['deep/sub', 'deep/sub/m.bin'],
  ] as const)
    test(`ends the load: ${link} of ${path}`, () =>
      withModel([randomFile(path, 5000), randomFile('config.json', 90)], async ({ there, folder, run }) => {
        const theirs = { 'm.bin': 'theirs', 'deep/m.bin': 'theirs too' }
        const elsewhere = scratch(theirs)
        mkdirSync(dirname(join(folder, link)), { recursive: true })
        symlinkSync(elsewhere, join(folder, link))
        const { code, termination, stderr } = await run()
        assert.is(code, 21, stderr)
        assert.is(termination?.reason, 'StorageError')
        assert.ok(termination?.message.includes(join(folder, link)), termination?.message)
        assert.equal(contents(elsewhere), theirs)
        // One byte shows that files may be read.
        assert.ok(there.bytesSent() <= 1)
      }))

  test('has nothing removed behind it when its files leave the repository', () =>
    withModel([randomFile('sub/m.bin', 5000)], async ({ there, folder, run }) => {
      assert.is((await run()).code, 0)
      const elsewhere = join(scratch({}), 'sub')
      renameSync(join(folder, 'sub'), elsewhere)
      symlinkSync(elsewhere, join(folder, 'sub'))
      setFiles(there, [randomFile('t.bin', 5000)])
      assertLoaded(await run(), folder, [randomFile('t.bin', 5000)])
      assert.ok(existsSync(join(elsewhere, 'm.bin')))
    }))
})

describe('a file that leaves the repository', (test) => {
  const [CARD, SAME, WEIGHTS] = [randomFile('README.md', 400), randomFile('same.md', 400, 2), randomFile('m.bin', 5000)]

  test('stays where it was edited since', () =>
    withModel([CARD, SAME, randomFile('left.md', 300), WEIGHTS], async ({ there, folder, run }) => {
      assert.is((await run()).code, 0)
      writeFileSync(join(folder, CARD.path), 'edited by hand')
      // As long as it was.
      writeFileSync(join(folder, SAME.path), 'x'.repeat(SAME.bytes.length))
      utimesSync(join(folder, SAME.path), 1, 1)
      setFiles(there, [WEIGHTS])
      assertLoaded(await run(), folder, [WEIGHTS])
      assert.is(readFileSync(join(folder, CARD.path), 'utf8'), 'edited by hand')
      assert.is(readFileSync(join(folder, SAME.path), 'utf8'), 'x'.repeat(SAME.bytes.length))
      assert.not.ok(existsSync(join(folder, 'left.md')))
    }))

  test('is told of where another model takes the folder', () =>
    withModel([WEIGHTS], async ({ there, folder, run }) => {
      assert.not.match((await run()).stdout, /gives way/)
      there.setRepository(OTHER, { revisions: { main: [CARD] } })
      const ended = await load([OTHER, '--to', folder, ...ARGS], { HF_ENDPOINT: there.url })
      assertLoaded(ended, folder, [CARD])
      assert.match(ended.stdout.replaceAll('\\"', '"'), /"org\/model", which gives way to "org\/other"/)
      assert.not.ok(existsSync(join(folder, WEIGHTS.path)))
    }))
})

describe('a reused file', (test) => {
  test('is a copy if it is small enough to be edited', () => {
    const SMALL = [randomFile('config.json', 900, 2), randomFile('tokenizer.json', MIB - 1, 3)]
    const LARGE = randomFile('m.bin', MIB, 4)
    return withModel([...SMALL, LARGE], async ({ there, folder, root, run }) => {
      const other = await beside(there, root, [...SMALL, LARGE])
      const ended = await run(['--reuse', root])
      assertLoaded(ended, folder, [...SMALL, LARGE])
      assert.ok((ended.termination?.reusedBytes ?? 0) >= LARGE.bytes.length)
      for (const { path } of SMALL) appendFileSync(join(other, path), 'edited')
      assert.equal(wrongFiles(folder, SMALL), [])
      appendFileSync(join(folder, 'config.json'), 'edited')
      assert.equal(wrongFiles(other, SMALL), ['config.json', 'tokenizer.json'])
      assert.is(statSync(join(other, 'config.json')).size, 900 + 'edited'.length)
    })
  })

  test('that turns out wrong costs nothing of what was begun', () => {
    const FILE = randomFile('m.bin', 6 * MB)
    return withModel([FILE], async ({ there, folder, root, run }) => {
      const other = await beside(there, root, [named('x.bin', FILE)])
      const file = join(other, 'x.bin')
      const { atime, mtime } = statSync(file)
      const bytes = readFileSync(file)
      bytes[5 * MB] = 255 - (bytes[5 * MB] ?? 0)
      writeFileSync(file, bytes)
      utimesSync(file, atime, mtime)
      const begun = join(folder, partial(FILE.path, { kind: 'sha256', hex: sha256(FILE.bytes) }))
      mkdirSync(dirname(begun), { recursive: true })
      writeFileSync(begun, FILE.bytes.subarray(0, 4 * MB))
      assertLoaded(await run(['--reuse', root]), folder, [FILE])
      // One byte shows that files may be read.
      assert.is(there.bytesSent(), 2 * MB + 1)
      assert.equal(readFileSync(file), bytes)
    })
  })
})

describe('files with the same bytes', (test) => {
  const { bytes } = randomFile('', 3 * MB)
  const long = 'x'.repeat(254)
  const rows: Readonly<Record<string, readonly HubFile[]>> = {
    'in one folder, not of LFS': ['a.json', 'b.json'].map((path) => ({ path, bytes, lfs: false })),
    'in one folder, of LFS': ['a.bin', 'b.bin', 'c.bin'].map((path) => ({ path, bytes })),
    'in several folders': ['a/m.bin', 'b/m.bin', 'c/m.bin'].map((path) => ({ path, bytes })),
    'in one folder, with the longest names': ['1', '2'].map((end) => ({ path: long + end, bytes })),
    'in one folder, with the longest names, not of LFS': ['1', '2'].map((end) => ({
      path: long + end,
      bytes,
      lfs: false,
    })),
  }
  for (const [name, files] of Object.entries(rows))
    test(`are loaded, and fetched once: ${name}`, () =>
      withModel(files, async ({ there, folder, run }) => {
        there.faults.push({ kind: 'latency', ms: 50, on: 'bytes' })
        assertLoaded(await run(), folder, files)
        assert.is(there.bytesSent(), bytes.length + 1)
        there.clearLog()
        assert.is((await run()).code, 0)
        assert.is(there.bytesSent(), 0)
      }))
})

describe('the remembered commit', (test) => {
  const revision = (seed: number): readonly HubFile[] => [randomFile('m.bin', 500_000, seed)]

  test('is resolved again when it is gone and its branch is not', () =>
    withModel(revision(1), async ({ there, folder, start, run }) => {
      there.faults.push({ kind: 'stall', after: 1000, path: 'm.bin' })
      const { child, ended } = start()
      await until('bytes come', () => there.bytesSent() > 1000)
      assert.ok(existsSync(join(folder, STATE)))
      child.kill('SIGKILL')
      await ended
      there.faults = []
      there.removeRepository(MODEL)
      setFiles(there, revision(2))
      const again = await run()
      assertLoaded(again, folder, revision(2))
      assert.is(again.termination?.commit, there.commit(MODEL))
    }))

  test('is forgotten before the model is complete', () =>
    withModel(revision(1), async ({ there, folder, run }) => {
      const killed = await run(
        [],
        preloaded(`
const fs = require('node:fs')
const { renameSync } = fs
fs.renameSync = (from, to) => {
  renameSync(from, to)
  if (to.endsWith('complete.json')) process.kill(process.pid, 'SIGKILL')
}
`),
      )
      assert.is(killed.code, null)
      assert.ok(existsSync(join(folder, COMPLETE)))
      setFiles(there, revision(2))
      const again = await run()
      assertLoaded(again, folder, revision(2))
      assert.is(again.termination?.commit, there.commit(MODEL))
    }))
})

const listening = (server: Server): Promise<number> =>
  new Promise((resolve, reject) => {
    server.on('error', reject).listen(0, '127.0.0.1', () => resolve(portOf(server.address())))
  })

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('a server must have a port')
  return address.port
}

describe('an answer in chunks that lacks the last one', (test) => {
  const { bytes } = randomFile('', 3 * MB)
  const files = [{ path: 'm.bin', bytes }]
  const size = bytes.length
  const listing = [{ type: 'file', path: 'm.bin', size, oid: '0'.repeat(40), lfs: { oid: sha256(bytes), size } }]
  /** Of each range: some clients take no chunks, and leave the answer to another one. */
  const CUTS = 2
  /** What is answered to a range that is none. */
  for (const invalid of [416, 200])
    test(`is whole when all bytes are there (${invalid} for no range)`, async () => {
      const wrong: string[] = []
      const cuts = new Map<number, number>()
      const server = createHttpServer(({ url = '', headers }, response) => {
        if (url.includes('/revision/')) return void response.end(JSON.stringify({ sha: 'a'.repeat(40) }))
        if (url.includes('/tree/')) return void response.end(JSON.stringify(listing))
        const [, first = '1', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
        if (Number(first) > Number(last)) {
          wrong.push(`${headers.range}`)
          response.writeHead(invalid, { 'Content-Range': `bytes */${bytes.length}` })
          return void response.end(invalid === 200 ? bytes : undefined)
        }
        const part = bytes.subarray(Number(first), Number(last) + 1)
        const count = cuts.get(Number(first)) ?? 0
        response.writeHead(206, {
          'Content-Range': `bytes ${first}-${last}/${bytes.length}`,
          'Transfer-Encoding': 'chunked',
        })
        if (part.length === 1 || count === CUTS) return void response.end(part)
        cuts.set(Number(first), count + 1)
        response.write(part, () => setTimeout(() => response.destroy(), 100))
      })
      const port = await listening(server)
      try {
        const folder = scratch({})
        const url = `http://127.0.0.1:${port}`
        const ended = await load([MODEL, '--to', folder, '--endpoint', url, ...ARGS, '--patience', '10'])
        assert.is(cuts.size, 3)
        assert.equal(wrong, [])
        assertLoaded(ended, folder, files)
      } finally {
        server.close()
        server.closeAllConnections()
      }
    })
})

/** That was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** As soon as somebody listens there. */
async function connected(port: number): Promise<Socket> {
  const found: Socket[] = []
  const look = (): void => {
    const socket = connect(port, '127.0.0.1', () => found.push(socket))
    socket.on('error', () => {
      if (found.length === 0) setTimeout(look, 5)
    })
  }
  look()
  await until(`connection to ${port}`, () => found.length > 0)
  const [socket] = found
  if (socket === undefined) throw new Error('a connection must be there')
  return socket
}

describe('a client of the port', (test) => {
  const FILE = randomFile('m.bin', 5000)
  for (const [name, text] of [
    ['says nothing', ''],
    ['says half of what it wants', 'GET /progress HTTP/1.1\r\nHost: x\r\n'],
    ['stays when it has its answer', 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'],
  ] as const)
    test(`that ${name} does not keep the process`, () =>
      withModel([FILE], async ({ there, folder, start }) => {
        const port = await freePort()
        const clients: Socket[] = []
        const run = async (): Promise<void> => {
          const client = await connected(port)
          clients.push(client)
          client.resume()
          client.write(text)
          await sleep(50)
        }
        there.faults.push({ kind: 'call', on: 'revision', run })
        const { child, ended } = start(['--port', `${port}`])
        try {
          await until('the model is complete', () => existsSync(join(folder, COMPLETE)))
          const end = await Promise.race([ended, sleep(2000, undefined, { ref: false })])
          assert.is(end?.code, 0, 'must end within two seconds')
          assert.is(end?.termination?.reason, 'Loaded')
        } finally {
          for (const client of clients) client.destroy()
          child.kill('SIGKILL')
          await ended
        }
      }))
})

describe('SIGTERM leaves a message', (test) => {
  const assertTold = ({ code, termination, stderr }: Ended): void => {
    assert.is(code, 40, stderr)
    assert.is(termination?.reason, 'Interrupted')
    assert.is(termination?.retryable, true)
  }

  test('when it comes before there is a log', () =>
    withModel([randomFile('m.bin', 5000)], async ({ run }) => {
      assertTold(
        await run(
          [],
          preloaded(`
const os = require('node:os')
const { hostname } = os
os.hostname = () => {
  os.hostname = hostname
  process.kill(process.pid, 'SIGTERM')
  return hostname()
}
`),
        ),
      )
    }))

  test('when it comes as soon as the port answers', () =>
    withModel([randomFile('m.bin', 5000)], async ({ there, start }) => {
      there.faults.push({ kind: 'latency', ms: 20_000 })
      const port = await freePort()
      const { child, ended } = start(['--port', `${port}`])
      const client = await connected(port)
      child.kill('SIGTERM')
      client.destroy()
      assertTold(await ended)
    }))
})

describe('a hub that does not answer yet', (test) => {
  test('is no reason to say nothing', () =>
    withModel([randomFile('m.bin', 5000)], async ({ there, start }) => {
      there.faults.push({ kind: 'latency', ms: 60_000 })
      const { child, ended } = start()
      let said = ''
      child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
      await until('a line comes', () => said.endsWith('\n'))
      child.kill('SIGTERM')
      assert.is((await ended).code, 40)
      const { level, repo, message, totalBytes, doneBytes, files, percent } = JSON.parse(said.split('\n')[0] ?? '')
      assert.equal(
        { level, repo, message, totalBytes, doneBytes, files, percent },
        { level: 'info', repo: MODEL, message: 'Loading', totalBytes: 0, doneBytes: 0, files: 0, percent: 0 },
      )
    }))
})

describe('nobody to read what it says', (test) => {
  const FILES = [randomFile('m.bin', 2 * MB)]
  const busy: Fault = { kind: 'status', status: 503, on: 'tree', times: 2 }
  for (const format of ['text', 'json'])
    for (const stream of ['stdout', 'stderr'] as const)
      test(`on ${stream} is no failure (${format})`, () =>
        withModel(FILES, async ({ there, folder, start }) => {
          there.faults.push(busy)
          const { child, ended } = start(['--log-format', format])
          child[stream]?.destroy()
          const end = await ended
          assertLoaded(end, folder, FILES)
          assert.is(end.termination?.reason, 'Loaded')
        }))

  const exitOf = (child: ChildProcess): Promise<number | null> => new Promise((done) => child.on('close', done))

  test('of the help is no failure', async () => {
    const child = spawn(process.execPath, [LOADER, '--help'], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.destroy()
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
    assert.is(await exitOf(child), 0, said)
    assert.is(said, '')
  })

  test('of the help behind a pipe is no failure', async () => {
    const command = 'set -o pipefail; "$0" "$1" --help | true'
    const child = spawn('bash', ['-c', command, process.execPath, LOADER], { stdio: ['ignore', 'pipe', 'pipe'] })
    assert.is(await exitOf(child), 0)
  })
})

describe('what cannot be', (test) => {
  test('8 GiB of memory for ranges are refused', async () => {
    const much = ['--connections', '64', '--segment', '128']
    const ended = await load([
      MODEL,
      '--to',
      scratch({}),
      ...much,
      '--endpoint',
      'http://127.0.0.1:9',
      '--patience',
      '1',
    ])
    assert.is(ended.code, 2, ended.stderr)
    assert.is(ended.termination?.reason, 'InvalidSpec')
    assert.match(ended.termination?.message ?? '', /connections.*segment|segment.*connections/)
  })

  test('a long request id leaves a message that Kubernetes keeps whole', () =>
    withModel([randomFile('m.bin', 5000)], async ({ there, start }) => {
      there.faults.push({ kind: 'status', status: 403, headers: { 'X-Request-Id': 'r'.repeat(5000) } })
      const { child, ended } = start()
      const { code, termination } = await ended
      assert.is(code, 10)
      assert.is(termination?.reason, 'AuthenticationFailed')
      assert.match(termination?.message ?? '', /with 403/)
      const log = child.spawnargs[child.spawnargs.indexOf('--termination-log') + 1] ?? ''
      assert.ok(statSync(log).size < 4096, `${statSync(log).size} bytes`)
    }))
})

describe('characters that control a terminal are not shown', (test) => {
  /** Sets the title of the window; the last one begins a sequence too. */
  const EVIL = '\u001b]0;title\u0007\u009b'
  const controls = ({ stdout, stderr }: Ended): readonly string[] =>
    [...(stdout + stderr)].filter((each) => each !== '\n' && /\p{Cc}/u.test(each))

  const status = (code: number, text: Partial<Extract<Fault, { kind: 'status' }>>): Fault => ({
    kind: 'status',
    status: code,
    on: 'revision',
    ...text,
  })
  const rows: Readonly<Record<string, { readonly fault: Fault; readonly says: RegExp }>> = {
    'of a path': { fault: { kind: 'flip' }, says: /ChecksumMismatch: .*title/ },
    "of the Hub's message in a header": {
      fault: status(403, { headers: { 'X-Error-Message': encodeURIComponent(EVIL) } }),
      says: /AuthenticationFailed: .*title/,
    },
    "of the Hub's message": {
      fault: status(403, { body: JSON.stringify({ error: EVIL }) }),
      says: /AuthenticationFailed: .*title/,
    },
    "of the Hub's message that is no end": {
      fault: { ...status(503, { body: JSON.stringify({ error: EVIL }) }), times: 1 },
      says: /503.*title.*trying again/,
    },
  }
  for (const [name, { fault, says }] of Object.entries(rows))
    test(name, () =>
      withModel([randomFile(`a${EVIL}.bin`, 5000)], async ({ there, run }) => {
        there.faults.push(fault)
        const ended = await run(['--log-format', 'text'])
        assert.match(ended.stderr, says)
        assert.equal(controls(ended), [])
      }),
    )
})
