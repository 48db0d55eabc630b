import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { COMPLETE, PREVIOUS, partial, STAGED } from '../loader/places.ts'
import { describe } from './harness.ts'
import { gitBlobSha1, type Hub, type HubFile, hub, randomFile, sha256 } from './hub.ts'
import { load, sizeOf, startLoader, wrongFiles } from './loader.ts'
import { scratch } from './scratch.ts'
import { until } from './until.ts'

const MODEL = 'org/model'
const MIB = 1024 * 1024
const CONNECTIONS = 8
/** What may be under way when a kill comes: one segment in each connection. */
const WINDOW = CONNECTIONS * MIB
const LARGE = randomFile('model.safetensors', 160_000_000)
const FILES: readonly HubFile[] = [
  LARGE,
  randomFile('config.json', 900, 2),
  randomFile('deep/er/part.bin', 70_000, 3),
  randomFile('tokenizer.json', 2_500_000, 4),
]
const SMALL_BYTES = 900 + 70_000 + 2_500_000
const ARGS = ['--segment', '1', '--connections', String(CONNECTIONS)]

/** Of the same seed always the same numbers, from 0 to 1. */
function random(seed: number): () => number {
  let count = 0
  return () => createHash('md5').update(`${seed} ${count++}`).digest().readUInt32BE() / 2 ** 32
}

const digestOf = ({ bytes }: HubFile) =>
  bytes.length >= 1024
    ? ({ kind: 'sha256', hex: sha256(bytes) } as const)
    : ({ kind: 'gitSha1', hex: gitBlobSha1(bytes) } as const)

const partialOf = (folder: string, file: HubFile): string => join(folder, partial(file.path, digestOf(file)))

const sizeAt = (file: string): number => (existsSync(file) ? statSync(file).size : 0)

/** What need not be fetched again. */
const onDisk = (folder: string, files: readonly HubFile[]): number =>
  files.reduce((sum, file) => sum + Math.max(sizeAt(join(folder, file.path)), sizeAt(partialOf(folder, file))), 0)

const args = (folder: string): readonly string[] => [MODEL, '--to', folder, ...ARGS]

const withHub = async (files: readonly HubFile[], use: (there: Hub) => Promise<void>): Promise<void> => {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: files } } } })
  await use(there)
}

interface Interruption {
  readonly there: Hub
  readonly folder: string
  readonly files: readonly HubFile[]
  readonly args: readonly string[]
  readonly signal: 'SIGKILL' | 'SIGTERM'
  readonly count: number
  /** Bytes that come before each, and more by chance. */
  readonly least?: number
  /** What each may cost. */
  readonly mostLost: number
}

async function interrupted(interruption: Interruption): Promise<void> {
  const { there, folder, files, args, signal, count, least = 0, mostLost } = interruption
  const next = random(count)
  const total = onDisk(folder, files) + sizeOf(files)
  for (let left = count; left > 0; left--) {
    const had = onDisk(folder, files)
    const threshold = Math.min(least + (next() * 1.5 * (total - had)) / (left + 1), 0.75 * (total - had))
    there.clearLog()
    const { child, ended } = startLoader(args, { HF_ENDPOINT: there.url })
    await until('bytes are sent', () => there.bytesSent() > threshold)
    const killed = performance.now()
    child.kill(signal)
    const { code, termination, stderr } = await ended
    if (signal === 'SIGKILL') assert.is(code, null, `killed, not ended: ${stderr}`)
    else {
      assert.ok(performance.now() - killed < 2000, `ended ${Math.round(performance.now() - killed)} ms after SIGTERM`)
      assert.is(code, 40, stderr)
      assert.is(termination?.reason, 'Interrupted')
      assert.is(termination?.retryable, true)
    }
    await until('the connections are gone', () => there.log.every(({ endedAt }) => endedAt !== undefined))
    const lost = there.bytesSent() - probes(there) - (onDisk(folder, files) - had)
    assert.ok(lost <= mostLost, `${lost} bytes are lost by kill ${count - left + 1} behind ${threshold}`)
  }
}

async function goesOn(there: Hub, folder: string, files: readonly HubFile[], args: readonly string[]): Promise<void> {
  there.clearLog()
  there.faults = []
  const had = onDisk(folder, files)
  const { code, stderr } = await load(args, { HF_ENDPOINT: there.url })
  assert.is(code, 0, stderr)
  assert.equal(wrongFiles(folder, files), [])
  assert.is(there.bytesSent() - probes(there), sizeOf(files) - had)
  assert.equal(readdirSync(join(folder, dirname(COMPLETE))), ['complete.json'])
}

/** One byte is asked for to see that the files may be read, and by each thread to find where a large one is. */
const probes = ({ log }: Hub): number => log.filter(({ content, bytesSent }) => content && bytesSent === 1).length

describe('a load that is killed', (test) => {
  const signals = [
    ['SIGKILL', 20],
    ['SIGTERM', 10],
  ] as const
  test(`goes on after each: ${signals.map(([signal, count]) => `${count} ${signal}`).join(', ')}`, async () => {
    const runs = signals.map(([signal, count]) =>
      withHub(FILES, async (there) => {
        there.faults.push({ kind: 'rate', bytesPerSecond: 16_000_000 })
        const folder = scratch({})
        const mostLost = WINDOW + SMALL_BYTES
        await interrupted({ there, folder, files: FILES, args: args(folder), signal, count, mostLost })
        assert.ok(sizeAt(partialOf(folder, LARGE)) > 0, 'the partial is kept')
        await goesOn(there, folder, FILES, args(folder))
      }),
    )
    await Promise.all(runs)
  })

  test('loses at most 64 MiB each time, as it is run by default, of two files at once', () => {
    const files = [randomFile('model-1.safetensors', 150_000_000, 5), randomFile('model-2.safetensors', 150_000_007, 6)]
    return withHub(files, async (there) => {
      for (const [index, { path }] of files.entries())
        there.faults.push({ kind: 'rate', bytesPerSecond: 8_000_000 + 5_000_000 * index, path })
      const folder = scratch({})
      const args = [MODEL, '--to', folder]
      const limits = { count: 4, least: 50_000_000, mostLost: 64 * MIB }
      await interrupted({ there, folder, files, args, signal: 'SIGKILL', ...limits })
      assert.ok(onDisk(folder, files) > 50_000_000, `${onDisk(folder, files)} bytes are kept`)
      await goesOn(there, folder, files, args)
    })
  })

  const begun: Readonly<Record<string, (file: string, bytes: Buffer) => number>> = {
    'with a byte flipped is begun again': (file, bytes) => {
      const half = Buffer.from(bytes.subarray(0, bytes.length / 2))
      half[1000] = 255 - (half[1000] ?? 0)
      writeFileSync(file, half)
      // What was missing, and then all of it.
      return bytes.length * 1.5
    },
    'that is longer than the file is begun again': (file, bytes) => {
      writeFileSync(file, Buffer.concat([bytes, Buffer.from('more')]))
      return bytes.length
    },
    'that is right is gone on from': (file, bytes) => {
      writeFileSync(file, bytes)
      truncateSync(file, bytes.length / 2)
      return bytes.length / 2
    },
    'that has all of it is not fetched': (file, bytes) => {
      writeFileSync(file, bytes)
      return 0
    },
  }
  for (const [name, prepare] of Object.entries(begun))
    test(`a partial ${name}`, () => {
      const file = randomFile('model.safetensors', 6_000_000)
      return withHub([file], async (there) => {
        const folder = scratch({})
        const name = partialOf(folder, file)
        mkdirSync(dirname(name), { recursive: true })
        const expected = prepare(name, file.bytes)
        const { code, stderr } = await load(args(folder), { HF_ENDPOINT: there.url })
        assert.is(code, 0, stderr)
        assert.equal(wrongFiles(folder, [file]), [])
        assert.is(there.bytesSent(), expected + 1)
        assert.not.ok(existsSync(name))
      })
    })
})

const MANY = 150
/** Of each revision other bytes, some files that the other has not, and a folder where it has a file. */
const revision = (seed: number): readonly HubFile[] => [
  ...Array.from({ length: MANY }, (_, index) =>
    randomFile(`parts/${index}.bin`, 300 + (index % 7), 1000 * seed + index),
  ),
  ...Array.from({ length: 20 }, (_, index) => randomFile(`only-${seed}/${index}.bin`, 400, 1000 * seed + index)),
  randomFile(seed % 2 === 0 ? 'turns' : 'turns/into/file', 500, seed),
]

describe('a change of revision that is killed', (test) => {
  const ROUNDS = 8
  test(`at ${ROUNDS} points while files take their places`, async () => {
    const next = random(7)
    await withHub(revision(0), async (there) => {
      const folder = scratch({})
      const env = { HF_ENDPOINT: there.url }
      assert.is((await load(args(folder), env)).code, 0)
      let between = 0
      for (let seed = 1; seed <= ROUNDS; seed++) {
        const files = revision(seed)
        there.setRepository(MODEL, { revisions: { main: files } })
        const staged = join(folder, STAGED, 'parts')
        const waiting = (): number => (existsSync(staged) ? readdirSync(staged).length : 0)
        const threshold = Math.floor(next() * MANY)
        const { child, ended } = startLoader(args(folder), env)
        await until('the marker is withdrawn', () => existsSync(join(folder, PREVIOUS)) || child.exitCode !== null)
        // Without pause: all of them take their places within milliseconds.
        while (waiting() > threshold && !existsSync(join(folder, COMPLETE)));
        child.kill('SIGKILL')
        await ended
        if (!existsSync(join(folder, COMPLETE))) between++
        else assert.equal(wrongFiles(folder, files), [], 'a marker stands for what is there')
        const { code, stderr } = await load(args(folder), env)
        assert.is(code, 0, stderr)
        assert.equal(wrongFiles(folder, files), [])
        const left = readdirSync(folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile() && !entry.parentPath.includes('.cache'))
          .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
        assert.equal(left.sort(), files.map(({ path }) => path).sort())
        assert.equal(
          readdirSync(join(folder, dirname(COMPLETE))).filter((name) => !/^clock-|\.new$/.test(name)),
          ['complete.json'],
        )
        assert.is(JSON.parse(readFileSync(join(folder, COMPLETE), 'utf8')).commit, there.commit(MODEL))
      }
      assert.ok(between >= ROUNDS / 3, `only ${between} kills came while there was no marker`)
    })
  })

  test('and then taken back leaves no file of it', async () => {
    const old = [randomFile('model.bin', 2_000_000, 1), randomFile('config.json', 100, 1)]
    const other = [randomFile('other.bin', 1_000_000, 2), randomFile('late.bin', 9_000_000, 3)]
    await withHub(other, async (there) => {
      const folder = scratch({})
      const env = { HF_ENDPOINT: there.url }
      there.faults.push({ kind: 'stall', after: 0, path: 'late.bin', skip: 1 })
      const { child, ended } = startLoader(args(folder), env)
      await until('the first file is there', () => existsSync(join(folder, 'other.bin')))
      child.kill('SIGKILL')
      await ended
      there.setRepository(MODEL, { revisions: { main: old } })
      const pinned = [...args(folder), '--revision', there.commit(MODEL)]
      assert.is((await load(pinned, env)).code, 0)
      assert.equal(wrongFiles(folder, old), [])
      assert.equal(readdirSync(folder).sort(), ['.cache', 'config.json', 'model.bin'])
    })
  })
})
