import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { COMPLETE, PREVIOUS } from '../loader/places.ts'
import { describe, leftOut } from './harness.ts'
import { type Hub, type HubFile, hub, randomFile, sha256 } from './hub.ts'
import { type Ended, fetchedPaths, load, startLoader, wrongFiles } from './loader.ts'
import { scratch } from './scratch.ts'
import { until } from './until.ts'

const MODEL = 'org/model'
const MB = 1_000_000
const ARGS = ['--segment', '1', '--connections', '4']

interface There {
  readonly there: Hub
  readonly folder: string
  /** Loads what `main` is now. */
  next(files: readonly HubFile[], ...more: readonly string[]): Promise<Ended>
}

async function withModel(files: readonly HubFile[], use: (there: There) => Promise<void>): Promise<void> {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: files } } } })
  const folder = scratch({})
  const run = (...more: readonly string[]): Promise<Ended> =>
    load([MODEL, '--to', folder, ...ARGS, ...more], { HF_ENDPOINT: there.url })
  const first = await run()
  assert.is(first.code, 0, first.stderr)
  there.clearLog()
  await use({
    there,
    folder,
    next(files, ...more) {
      there.setRepository(MODEL, { revisions: { main: files } })
      return run(...more)
    },
  })
}

/** Of the model, without our notes. */
const names = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((name) => !name.startsWith('.cache'))
    .sort()

const LARGE = randomFile('model-1.bin', 3 * MB, 1)
const OTHER = randomFile('model-2.bin', 2 * MB, 2)
const CONFIG = randomFile('config.json', 900, 3)
const named = (path: string, { bytes }: HubFile): HubFile => ({ path, bytes })

describe('a change of revision', (test) => {
  const rows: Readonly<
    Record<
      string,
      {
        readonly from: readonly HubFile[]
        readonly to: readonly HubFile[]
        readonly more?: readonly string[]
        readonly fetches: readonly string[]
        readonly reuses?: number
        /** Folders and files afterwards. */
        readonly leaves: readonly string[]
      }
    >
  > = {
    'fetches what is new only': {
      from: [LARGE, OTHER, CONFIG],
      to: [LARGE, randomFile('model-2.bin', 2 * MB, 9), CONFIG],
      fetches: ['model-2.bin'],
      leaves: ['config.json', 'model-1.bin', 'model-2.bin'],
    },
    'removes what has left, and folders that it leaves empty': {
      from: [LARGE, named('a/b/c.bin', OTHER), named('a/d.bin', CONFIG), named('e/f.bin', CONFIG)],
      to: [LARGE, named('a/d.bin', CONFIG)],
      fetches: [],
      leaves: ['a', 'a/d.bin', 'model-1.bin'],
    },
    'puts a folder where a file was': {
      from: [LARGE, named('part', CONFIG)],
      to: [LARGE, randomFile('part/one.bin', 5000, 8)],
      fetches: ['part/one.bin'],
      leaves: ['model-1.bin', 'part', 'part/one.bin'],
    },
    'puts a file where a folder was': {
      from: [LARGE, named('part/deep/one.bin', CONFIG), named('part/two.bin', OTHER)],
      to: [LARGE, randomFile('part', 5000, 8)],
      fetches: ['part'],
      leaves: ['model-1.bin', 'part'],
    },
    'takes renamed files from where they were': {
      from: [LARGE, OTHER],
      to: [named('weights/first.bin', LARGE), named('second.bin', OTHER), CONFIG],
      fetches: ['config.json'],
      reuses: 5 * MB,
      leaves: ['config.json', 'second.bin', 'weights', 'weights/first.bin'],
    },
    'tells files apart that have changed their names': {
      from: [randomFile('a.bin', 2 * MB, 1), randomFile('b.bin', 2 * MB, 2)],
      to: [randomFile('a.bin', 2 * MB, 2), randomFile('b.bin', 2 * MB, 1)],
      fetches: [],
      reuses: 4 * MB,
      leaves: ['a.bin', 'b.bin'],
    },
    'has one file twice': {
      from: [LARGE],
      to: [LARGE, named('copy.bin', LARGE)],
      fetches: [],
      reuses: 3 * MB,
      leaves: ['copy.bin', 'model-1.bin'],
    },
    'to fewer files by a filter': {
      from: [LARGE, OTHER, CONFIG],
      to: [LARGE, OTHER, CONFIG],
      more: ['--exclude', 'model-2*'],
      fetches: [],
      leaves: ['config.json', 'model-1.bin'],
    },
  }
  for (const [name, { from, to, more = [], fetches, reuses = 0, leaves }] of Object.entries(rows))
    test(name, () =>
      withModel(from, async ({ there, folder, next }) => {
        const { code, stderr, termination } = await next(to, ...more)
        assert.is(code, 0, stderr)
        assert.equal(fetchedPaths(there), fetches)
        assert.is(termination?.reusedBytes, reuses)
        assert.is(termination?.commit, there.commit(MODEL))
        assert.is(termination?.doneBytes, termination?.totalBytes)
        assert.equal(names(folder), leaves)
        assert.equal(
          wrongFiles(
            folder,
            to.filter(({ path }) => leaves.includes(path)),
          ),
          [],
        )
        assert.equal(readdirSync(join(folder, dirname(COMPLETE))), ['complete.json'])
        there.clearLog()
        assert.is((await next(to, ...more)).code, 0)
        assert.is(there.log.length, 1, 'complete')
      }),
    )

  test('from some files by a filter to all', () =>
    withModel([LARGE, OTHER], async ({ there, folder, next }) => {
      assert.is((await next([LARGE, OTHER], '--include', '*-1.bin')).code, 0)
      assert.equal(names(folder), ['model-1.bin'])
      assert.is((await next([LARGE, OTHER])).code, 0)
      assert.equal(fetchedPaths(there), ['model-2.bin'])
    }))

  test('shows a reader old or new bytes of each file, and a marker only with what it says', () => {
    const files = (seed: number): readonly HubFile[] => [
      CONFIG,
      ...Array.from({ length: 40 }, (_, index) => randomFile(`${index}.bin`, 20_000, 100 * seed + index)),
    ]
    return withModel(files(1), async ({ there, folder, next }) => {
      const commits = new Map([[there.commit(MODEL), files(1)]])
      const open = openSync(join(folder, '0.bin'), 'r')
      let ended = false
      const change = next(files(2)).then((result) => {
        ended = true
        return result
      })
      commits.set(there.commit(MODEL), files(2))
      const [old, fresh] = [1, 2].map((seed) => new Map(files(seed).map(({ path, bytes }) => [path, sha256(bytes)])))
      const text = (name: string): string | undefined =>
        existsSync(join(folder, name)) ? readFileSync(join(folder, name), 'utf8') : undefined
      const seen = { old: 0, fresh: 0 }
      while (!ended) {
        const before = text(COMPLETE)
        const wrong = before === undefined ? [] : wrongFiles(folder, commits.get(JSON.parse(before).commit) ?? [])
        if (before !== undefined && text(COMPLETE) === before) assert.equal(wrong, [], 'what the marker says')
        for (const [path, digest] of old ?? []) {
          const found = sha256(readFileSync(join(folder, path)))
          assert.ok(found === digest || found === fresh?.get(path), `${path} is of neither`)
          seen[found === digest ? 'old' : 'fresh']++
        }
        await turn()
      }
      assert.is((await change).code, 0)
      assert.ok(seen.old > 0)
      assert.equal(wrongFiles(folder, files(2)), [])
      const bytes = Buffer.alloc(fstatSync(open).size)
      readSync(open, bytes, 0, bytes.length, 0)
      closeSync(open)
      assert.is(sha256(bytes), old?.get('0.bin'), 'what was open stays as it was')
    })
  })

  test('has the old model stay whole while the new one comes', () =>
    withModel([LARGE, OTHER], async ({ there, folder }) => {
      there.setRepository(MODEL, { revisions: { main: [LARGE, randomFile('model-2.bin', 4 * MB, 9)] } })
      there.faults.push({ kind: 'rate', bytesPerSecond: MB / 2 })
      const { child, ended } = startLoader([MODEL, '--to', folder, ...ARGS], { HF_ENDPOINT: there.url })
      await until('bytes come', () => there.bytesSent() > MB)
      assert.ok(existsSync(join(folder, COMPLETE)))
      assert.equal(wrongFiles(folder, [LARGE, OTHER]), [])
      child.kill('SIGKILL')
      await ended
      assert.ok(existsSync(join(folder, COMPLETE)))
    }))

  test('that begins anew with the next commit takes what the last one has brought', () =>
    withModel([CONFIG], async ({ there, folder, next }) => {
      const weights = randomFile('weights.bin', 2 * MB, 5)
      there.setRepository(MODEL, { revisions: { main: [CONFIG, weights, randomFile('last.bin', 3 * MB, 6)] } })
      there.faults.push({ kind: 'stall', after: 0, path: 'last.bin', skip: 1 })
      const pinned = [MODEL, '--to', folder, ...ARGS, '--revision', there.commit(MODEL)]
      const { child, ended } = startLoader(pinned, { HF_ENDPOINT: there.url })
      await until('one file is there', () => existsSync(join(folder, '.cache/arks/staged/weights.bin')))
      child.kill('SIGKILL')
      await ended
      there.clearLog()
      there.faults = []
      const files = [randomFile('config.json', 800, 7), weights]
      const { code, stderr } = await next(files)
      assert.is(code, 0, stderr)
      assert.equal(fetchedPaths(there), ['config.json'])
      assert.equal(wrongFiles(folder, files), [])
      assert.equal(names(folder), ['config.json', 'weights.bin'])
    }))
})

describe('reuse', (test) => {
  const FILES = [LARGE, CONFIG]

  interface Beside {
    readonly there: Hub
    readonly root: string
    /** Where the other model is. */
    readonly other: string
    readonly folder: string
    run(...more: readonly string[]): Promise<Ended>
  }

  async function beside(
    use: (there: Beside) => Promise<void>,
    root: string = scratch({}),
    elsewhere: string = root,
  ): Promise<void> {
    await using there = await hub({
      repositories: {
        'org/other': { revisions: { main: [named('deep/other-name.bin', LARGE), OTHER] } },
        [MODEL]: { revisions: { main: FILES } },
      },
    })
    const [other, folder] = [join(root, 'models/other'), join(elsewhere, 'models/new')]
    const env = { HF_ENDPOINT: there.url }
    assert.is((await load(['org/other', '--to', other, ...ARGS], env)).code, 0)
    there.clearLog()
    const run = (...more: readonly string[]): Promise<Ended> =>
      load([MODEL, '--to', folder, '--reuse', root, ...ARGS, ...more], env)
    await use({ there, root, other, folder, run })
    assert.equal(wrongFiles(other, [OTHER]), [], 'the other model stays as it was')
  }

  test('takes a file of another model without moving its bytes', () =>
    beside(async ({ there, other, folder, run }) => {
      const { code, termination, stderr } = await run()
      assert.is(code, 0, stderr)
      assert.equal(fetchedPaths(there), ['config.json'])
      assert.is(termination?.reusedBytes, LARGE.bytes.length)
      assert.equal(wrongFiles(folder, FILES), [])
      const [mine, theirs] = [join(folder, LARGE.path), join(other, 'deep/other-name.bin')].map((file) =>
        statSync(file),
      )
      // A link, or a copy that shares its bytes where the filesystem can do that.
      assert.ok(mine?.ino === theirs?.ino ? mine?.nlink === 2 : mine?.nlink === 1)
      // What is linked is not changed by the other model's next revision.
      there.setRepository('org/other', { revisions: { main: [randomFile('deep/other-name.bin', 100, 77), OTHER] } })
      assert.is((await load(['org/other', '--to', other, ...ARGS], { HF_ENDPOINT: there.url })).code, 0)
      assert.equal(wrongFiles(folder, FILES), [])
    }))

  test('has no use for a file that is not what its marker says', () =>
    beside(async ({ there, other, folder, run }) => {
      const file = join(other, 'deep/other-name.bin')
      const bytes = readFileSync(file)
      bytes[7] = 255 - (bytes[7] ?? 0)
      writeFileSync(file, bytes)
      const { code, termination, stderr } = await run()
      assert.is(code, 0, stderr)
      assert.equal(fetchedPaths(there), ['config.json', LARGE.path])
      assert.is(termination?.reusedBytes, 0)
      assert.equal(wrongFiles(folder, FILES), [])
      assert.equal(readFileSync(file), bytes, 'and leaves it alone')
    }))

  test('never writes into a file that a killed reuse has left linked', () =>
    beside(async ({ folder, other, run }) => {
      const theirs = join(other, 'deep/other-name.bin')
      const cut = readFileSync(theirs).subarray(0, MB)
      writeFileSync(theirs, cut)
      const name = join(
        folder,
        `.cache/huggingface/download/${LARGE.path}.${sha256(LARGE.bytes).slice(0, 40)}.incomplete`,
      )
      mkdirSync(dirname(name), { recursive: true })
      linkSync(theirs, name)
      assert.is((await run()).code, 0)
      assert.equal(wrongFiles(folder, FILES), [])
      assert.equal(readFileSync(theirs), cut)
    }))

  test('still asks whether the files may be read', () =>
    beside(async ({ there, run, folder }) => {
      there.setRepository(MODEL, { revisions: { main: [LARGE] }, gated: true })
      const { code, termination } = await run()
      assert.is(code, 11)
      assert.is(termination?.reason, 'GatedRepo')
      assert.not.ok(existsSync(join(folder, LARGE.path)))
    }))

  const isRoot = process.getuid?.() === 0
  if (!isRoot)
    leftOut('another filesystem', { name: 'root', why: 'it cannot be mounted', how: 'run as root', couldBeHad: false })
  else {
    const mounted = (size: string): string => {
      const folder = scratch({})
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder])
      process.prependListener('exit', () => void execFileSync('umount', ['--lazy', folder]))
      return folder
    }

    test('copies from another filesystem', () =>
      beside(
        async ({ there, folder, run }) => {
          const { code, termination, stderr } = await run()
          assert.is(code, 0, stderr)
          assert.equal(fetchedPaths(there), ['config.json'])
          assert.is(termination?.reusedBytes, LARGE.bytes.length)
          assert.equal(wrongFiles(folder, FILES), [])
          assert.is(statSync(join(folder, LARGE.path)).nlink, 1)
        },
        scratch({}),
        mounted('16m'),
      ))

    test('counts the room that a copy takes', () =>
      beside(
        async ({ run }) => {
          const { code, termination } = await run()
          assert.is(code, 20)
          assert.match(termination?.message ?? '', /must have 7\.2 MB free for 2 files, has 6\.\d MB/)
        },
        scratch({}),
        mounted('6m'),
      ))

    for (const [name, to, says] of [
      [
        'without the space for two is made in place',
        [randomFile('model-1.bin', 6 * MB, 9)],
        /old one is removed first/,
      ],
      [
        'without the space for two keeps what stays',
        [CONFIG, randomFile('model-2.bin', 6 * MB, 8)],
        /old one is removed first/,
      ],
      [
        'without the space for two puts a file where a folder was',
        [randomFile('part', 6 * MB, 8)],
        /old one is removed first/,
      ],
    ] as const)
      test(`a change of revision ${name}`, async () => {
        const folder = mounted('15m')
        const from = [randomFile('model-1.bin', 5 * MB, 1), randomFile('part/a.bin', MB, 2), CONFIG]
        await using there = await hub({ repositories: { [MODEL]: { revisions: { main: from } } } })
        const run = (): Promise<Ended> => load([MODEL, '--to', folder, ...ARGS], { HF_ENDPOINT: there.url })
        assert.is((await run()).code, 0)
        there.clearLog()
        there.setRepository(MODEL, { revisions: { main: to } })
        const { code, stdout, stderr, termination } = await run()
        assert.is(code, 0, stderr)
        assert.match(stdout + stderr, says)
        const told = `^Loaded "org/model": ${to.length} files \\(the old revision was removed first, for want of space\\), `
        assert.match(termination?.message ?? '', new RegExp(told))
        assert.equal(wrongFiles(folder, to), [])
        assert.equal(names(folder), to.map(({ path }) => path).sort())
        assert.equal(
          fetchedPaths(there),
          to.filter(({ path }) => path !== 'config.json').map(({ path }) => path),
        )
      })

    test('a change of revision without the space for two that fails tells that the old model is gone', async () => {
      const folder = mounted('15m')
      const from = [randomFile('model-1.bin', 5 * MB, 1), CONFIG]
      await using there = await hub({ repositories: { [MODEL]: { revisions: { main: from } } } })
      const run = (): Promise<Ended> => load([MODEL, '--to', folder, ...ARGS], { HF_ENDPOINT: there.url })
      assert.is((await run()).code, 0)
      there.setRepository(MODEL, { revisions: { main: [randomFile('model-1.bin', 9 * MB, 2)] } })
      there.faults.push({ kind: 'flip' })
      const { code, termination } = await run()
      assert.is(code, 22)
      assert.is(
        termination?.message,
        '"model-1.bin" came twice with other bytes than listed; the old revision was removed first, for want of space',
      )
      assert.not.ok(existsSync(join(folder, COMPLETE)))
    })

    test('a change of revision for which there is no space at all leaves the old model', async () => {
      const folder = mounted('15m')
      const from = [randomFile('model-1.bin', 5 * MB, 1), CONFIG]
      await using there = await hub({ repositories: { [MODEL]: { revisions: { main: from } } } })
      const run = (): Promise<Ended> => load([MODEL, '--to', folder, ...ARGS], { HF_ENDPOINT: there.url })
      assert.is((await run()).code, 0)
      // It would fit, but for what is kept for the notes.
      there.setRepository(MODEL, { revisions: { main: [randomFile('model-1.bin', 13 * MB, 2)] } })
      const { code, termination } = await run()
      assert.is(code, 20)
      assert.match(termination?.message ?? '', /must have 17\.2 MB free for 1 file, has 10\.\d MB/)
      assert.equal(wrongFiles(folder, from), [])
      assert.ok(existsSync(join(folder, COMPLETE)))
      assert.not.ok(existsSync(join(folder, PREVIOUS)))
    })
  }
})
