import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { ARKS, COMPLETE, partial } from '../loader/places.ts'
import { describe } from './harness.ts'
import { type Hub, type HubFile, hub, randomFile, sha256 } from './hub.ts'
import { type Loading, load, startLoader, wrongFiles } from './loader.ts'
import { scratch, write } from './scratch.ts'
import { until } from './until.ts'

const MODEL = 'org/model'
const MB = 1_000_000
const LARGE = randomFile('model.safetensors', 8 * MB)
const FILES: readonly HubFile[] = [LARGE, randomFile('config.json', 900, 2)]
const TOTAL = FILES.reduce((sum, { bytes }) => sum + bytes.length, 0)

async function withHub(use: (there: Hub, env: Readonly<Record<string, string>>) => Promise<void>): Promise<void> {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: FILES } } } })
  await use(there, { HF_ENDPOINT: there.url })
}

const args = (folder: string, ...more: readonly string[]): readonly string[] => [
  MODEL,
  '--to',
  folder,
  '--segment',
  '1',
  '--connections',
  '2',
  ...more,
]

const leaseIn = (folder: string, name = 'lease'): string => join(folder, ARKS, `${name}.json`)

const partialIn = (folder: string): string =>
  join(folder, partial(LARGE.path, { kind: 'sha256', hex: sha256(LARGE.bytes) }))

const sizeAt = (file: string): number => (existsSync(file) ? statSync(file).size : 0)

/** What it has said so far. */
function heard({ child }: Loading): () => string {
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return () => said
}

const WAITING = /Another loader is at work in .*; waiting for it/

/** The first has begun, and the second waits for it. */
async function oneAtWork(
  there: Hub,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly folder: string; readonly first: Loading; readonly second: Loading }> {
  there.faults.push({ kind: 'rate', bytesPerSecond: 2 * MB })
  const folder = scratch({})
  const first = startLoader(args(folder), env)
  await until('the first is at work', () => sizeAt(partialIn(folder)) > MB)
  const second = startLoader(args(folder), env)
  const said = heard(second)
  await until('the second waits', () => WAITING.test(said()))
  return { folder, first, second }
}

describe('two loaders on one folder', (test) => {
  test('wait for each other, and the second has nothing to do', () =>
    withHub(async (there, env) => {
      const { folder, first, second } = await oneAtWork(there, env)
      assert.is(first.child.exitCode, null)
      const [one, two] = await Promise.all([first.ended, second.ended])
      assert.equal([one.code, two.code], [0, 0], `${one.stderr}${two.stderr}`)
      assert.is(there.bytesSent(), TOTAL + 1)
      assert.match(two.termination?.message ?? '', /is complete already/)
      assert.equal(wrongFiles(folder, FILES), [])
      assert.equal(readdirSync(join(folder, ARKS)), ['complete.json'])
    }))

  test('that start together fetch each byte once', () =>
    withHub(async (there, env) => {
      const folder = scratch({})
      const all = await Promise.all(Array.from({ length: 3 }, () => load(args(folder), env)))
      assert.equal(
        all.map(({ code }) => code),
        [0, 0, 0],
        all.map(({ stderr }) => stderr).join(''),
      )
      assert.is(there.bytesSent(), TOTAL + 1)
      assert.equal(wrongFiles(folder, FILES), [])
    }))

  test('take over at once from one that was killed here', () =>
    withHub(async (there, env) => {
      const { folder, first, second } = await oneAtWork(there, env)
      there.faults = []
      const had = sizeAt(partialIn(folder))
      first.child.kill('SIGKILL')
      const began = performance.now()
      const { code, stderr } = await second.ended
      assert.is(code, 0, stderr)
      assert.ok(performance.now() - began < 10_000, 'long before the lease lapses')
      assert.ok((await first.ended).code === null && had > MB)
      assert.ok(there.bytesSent() < TOTAL + 3 * MB, 'it goes on from what is there')
      assert.equal(wrongFiles(folder, FILES), [])
    }))

  test('one that waits ends when it is told to', () =>
    withHub(async (_, env) => {
      const folder = scratch({})
      foreign(folder, 'lease')
      const waiting = startLoader(args(folder), env)
      const said = heard(waiting)
      await until('it waits', () => WAITING.test(said()))
      const began = performance.now()
      waiting.child.kill('SIGTERM')
      const { code, termination } = await waiting.ended
      assert.is(code, 40)
      assert.is(termination?.reason, 'Interrupted')
      assert.ok(performance.now() - began < 2000)
      assert.is(JSON.parse(readFileSync(leaseIn(folder), 'utf8')).host, 'elsewhere', 'the lease is left')
    }))
})

/** A lease of another machine, which may or may not be at work. */
function foreign(folder: string, name: string, holder: Readonly<Record<string, unknown>> = {}): void {
  mkdirSync(dirname(leaseIn(folder)), { recursive: true })
  const text = { id: 'x', host: 'elsewhere', kernel: 'y', pid: 1, ...holder }
  writeFileSync(leaseIn(folder, name), JSON.stringify(text))
}

const age = (folder: string, name: string): void => {
  const then = Date.now() / 1000 - 31
  utimesSync(leaseIn(folder, name), then, then)
}

describe('a lease', (test) => {
  const lapsed: Readonly<Record<string, (folder: string) => void>> = {
    'of another machine that has lapsed': (folder) => {
      foreign(folder, 'lease')
      age(folder, 'lease')
    },
    'of a machine with our name that has lapsed': (folder) => {
      foreign(folder, 'lease', { host: hostname() })
      age(folder, 'lease')
    },
    'that names nobody and has lapsed': (folder) => {
      write(folder, { [`${ARKS}/lease.json`]: '' })
      age(folder, 'lease')
    },
    'of one shard that has lapsed': (folder) => {
      foreign(folder, 'lease-1-of-3')
      age(folder, 'lease-1-of-3')
    },
  }
  test(`is taken over: ${Object.keys(lapsed).join(', ')}`, () =>
    withHub(async (_, env) => {
      await Promise.all(
        Object.entries(lapsed).map(async ([name, prepare]) => {
          const folder = scratch({})
          prepare(folder)
          const { code, stderr, stdout } = await load(args(folder), env)
          assert.is(code, 0, `${name}: ${stderr}`)
          assert.not.match(stdout + stderr, WAITING, name)
          assert.equal(wrongFiles(folder, FILES), [], name)
        }),
      )
    }))

  const held: Readonly<
    Record<string, { readonly lease: string; readonly holder?: object; readonly more?: readonly string[] }>
  > = {
    'of another machine': { lease: 'lease' },
    'of another machine with our name': { lease: 'lease', holder: { host: hostname(), pid: 99_999_999 } },
    'of a shard, for the whole': { lease: 'lease-1-of-3' },
    'of the whole, for a shard': { lease: 'lease', more: ['--shard', '0/3'] },
    'of a shard of another division': { lease: 'lease-0-of-2', more: ['--shard', '0/3'] },
    'of the same shard': { lease: 'lease-0-of-3', more: ['--shard', '0/3'] },
  }
  test(`is waited for until it lapses: ${Object.keys(held).join(', ')}`, () =>
    withHub(async (there, env) => {
      const waiting = Object.entries(held).map(([name, { lease, holder = {}, more = [] }]) => {
        const folder = scratch({})
        foreign(folder, lease, { ...holder })
        const loading = startLoader(args(folder, ...more), env)
        return { name, lease, folder, loading, said: heard(loading) }
      })
      for (const { name, said } of waiting) {
        await until(`${name}: it waits`, () => WAITING.test(said()))
        assert.match(said(), /, process \d+; waiting/, name)
      }
      assert.equal(there.log, [])
      for (const { lease, folder } of waiting) age(folder, lease)
      for (const { name, loading } of waiting) {
        const { code, stderr } = await loading.ended
        assert.is(code, 0, `${name}: ${stderr}`)
      }
    }))

  test('of another shard of the same division is not waited for', () =>
    withHub(async (_, env) => {
      const folder = scratch({})
      foreign(folder, 'lease-1-of-3')
      const { code, stdout, stderr } = await load(args(folder, '--shard', '0/3'), env)
      assert.is(code, 0, stderr)
      assert.not.match(stdout + stderr, WAITING)
      assert.not.ok(existsSync(join(folder, COMPLETE)))
    }))

  test('that is taken away ends its loader, which writes no more', () =>
    withHub(async (there, env) => {
      there.faults.push({ kind: 'rate', bytesPerSecond: MB / 4 })
      const folder = scratch({})
      const loading = startLoader(args(folder), env)
      await until('it is at work', () => existsSync(partialIn(folder)))
      foreign(folder, 'lease')
      // It looks again after 5 s. What is under way then would take longer than this test has.
      const { code, termination } = await loading.ended
      assert.is(code, 40)
      assert.match(termination?.message ?? '', /Another loader has taken over /)
      assert.is(JSON.parse(readFileSync(leaseIn(folder), 'utf8')).host, 'elsewhere', 'its lease is not touched')
      assert.not.ok(existsSync(join(folder, COMPLETE)))
    }))

  test('of one that slept too long is lost, and it writes no more when it wakes up', () =>
    withHub(async (there, env) => {
      there.faults.push({ kind: 'rate', bytesPerSecond: MB })
      const folder = scratch({})
      const sleeper = startLoader(args(folder), env)
      await until('it is at work', () => sizeAt(partialIn(folder)) > MB)
      sleeper.child.kill('SIGSTOP')
      const { ino } = statSync(partialIn(folder))
      const { mtimeMs } = statSync(leaseIn(folder))
      const second = startLoader(args(folder), env)
      const said = heard(second)
      await until('the second waits', () => WAITING.test(said()))
      // The lease is as if it had not been renewed for long; the sleeper does not see that of its own clock.
      const then = (mtimeMs - 31_000) / 1000
      utimesSync(leaseIn(folder), then, then)
      await until('the second is at work in a file of its own', () => statSync(partialIn(folder)).ino !== ino)
      there.faults = []
      const done = await second.ended
      assert.is(done.code, 0, done.stderr)
      const marker = readFileSync(join(folder, COMPLETE), 'utf8')
      sleeper.child.kill('SIGCONT')
      const { code, termination, stderr } = await sleeper.ended
      assert.is(code, 40, stderr)
      assert.is(termination?.reason, 'Interrupted')
      assert.match(termination?.message ?? '', /Another loader has taken over /)
      assert.equal(wrongFiles(folder, FILES), [])
      assert.is(readFileSync(join(folder, COMPLETE), 'utf8'), marker)
      there.clearLog()
      assert.match((await load(args(folder), env)).termination?.message ?? '', /is complete already/)
    }))
})
