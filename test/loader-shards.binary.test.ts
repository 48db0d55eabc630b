import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { ARKS, COMPLETE, shardMarker } from '../loader/places.ts'
import { describe } from './harness.ts'
import { type Hub, type HubFile, hub, randomFile } from './hub.ts'
import { type Ended, type Loading, load, startLoader, wrongFiles } from './loader.ts'
import { scratch } from './scratch.ts'
import { until } from './until.ts'

const MODEL = 'org/model'
const MB = 1_000_000
const model = (seed: number): readonly HubFile[] => [
  ...[3, 2, 2, 1, 1].map((size, index) => randomFile(`model-${index}.bin`, size * MB, 10 * seed + index)),
  randomFile('config.json', 900, seed),
  randomFile('deep/tokenizer.json', 90_000, seed),
]
const FILES = model(1)
const COUNT = 3
const ALL = Array.from({ length: COUNT }, (_, index) => index)

interface There {
  readonly there: Hub
  readonly folder: string
  start(index: number, count?: number): Loading
  run(index: number, count?: number): Promise<Ended>
}

async function withHub(use: (there: There) => Promise<void>, files: readonly HubFile[] = FILES): Promise<void> {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: files } } } })
  const folder = scratch({})
  const start = (index: number, count = COUNT): Loading =>
    startLoader([MODEL, '--to', folder, '--segment', '1', '--connections', '2', '--shard', `${index}/${count}`], {
      HF_ENDPOINT: there.url,
    })
  await use({ there, folder, start, run: (index, count) => start(index, count).ended })
}

const codes = (ends: readonly Ended[]): readonly (number | null)[] => ends.map(({ code }) => code)
const said = (ends: readonly Ended[]): string => ends.map(({ stderr, stdout }) => stderr + stdout).join('\n')

/** How often each byte came, but for those that show that files may be read. */
const isOnce = ({ log, bytesSent }: Hub, files: readonly HubFile[]): boolean => {
  const asked = log.filter(({ content, range }) => content && range === 'bytes=0-0').length
  return bytesSent() - asked === files.reduce((sum, { bytes }) => sum + bytes.length, 0)
}

function assertComplete(folder: string, files: readonly HubFile[], commit: string): void {
  assert.equal(wrongFiles(folder, files), [])
  assert.equal(readdirSync(join(folder, ARKS)), ['complete.json'])
  const marker = JSON.parse(readFileSync(join(folder, COMPLETE), 'utf8'))
  assert.is(marker.commit, commit)
  assert.equal(marker.files.map(({ path }: { path: string }) => path).sort(), files.map(({ path }) => path).sort())
}

describe('shards', (test) => {
  test('at the same time load each file once, and the last one completes the model', () =>
    withHub(async ({ there, folder, run }) => {
      const ends = await Promise.all(ALL.map((index) => run(index)))
      assert.equal(codes(ends), [0, 0, 0], said(ends))
      assertComplete(folder, FILES, there.commit(MODEL))
      assert.ok(isOnce(there, FILES), `${there.bytesSent()} bytes`)
      assert.is(said(ends).match(/all shards are complete/g)?.length, 1)
      there.clearLog()
      const again = await Promise.all(ALL.map((index) => run(index)))
      assert.equal(codes(again), [0, 0, 0])
      assert.equal([...new Set(there.log.map(({ endpoint }) => endpoint))], ['revision'])
    }))

  test('one after the other come to the same', () =>
    withHub(async ({ there, folder, run }) => {
      for (const index of ALL) {
        assert.not.ok(existsSync(join(folder, COMPLETE)))
        assert.is((await run(index)).code, 0)
      }
      assertComplete(folder, FILES, there.commit(MODEL))
      assert.ok(isOnce(there, FILES))
    }))

  test('of which one is killed wait for it', () =>
    withHub(async ({ there, folder, start, run }) => {
      there.faults.push({ kind: 'stall', after: 400_000, path: 'model-0.bin', times: 1, skip: 1 })
      // The largest file goes to the first.
      const first = start(0)
      const others = await Promise.all([run(1), run(2)])
      assert.equal(codes(others), [0, 0], said(others))
      await until('it stalls', () => there.bytesSent('model-0.bin') > 400_000)
      first.child.kill('SIGKILL')
      assert.is((await first.ended).code, null)
      assert.not.ok(existsSync(join(folder, COMPLETE)))
      there.faults = []
      const again = await run(0)
      assert.is(again.code, 0, said([again]))
      assert.match(again.termination?.message ?? '', /all shards are complete/)
      assertComplete(folder, FILES, there.commit(MODEL))
    }))

  test('that are more than there are files complete it all the same', () =>
    withHub(
      async ({ there, folder, run }) => {
        const ends = await Promise.all(ALL.map((index) => run(index)))
        assert.equal(codes(ends), [0, 0, 0], said(ends))
        assertComplete(folder, FILES.slice(0, 2), there.commit(MODEL))
      },
      FILES.slice(0, 2),
    ))

  test('come to one commit, though the branch moves between their starts', () =>
    withHub(async ({ there, folder, run }) => {
      const commit = there.commit(MODEL)
      assert.is((await run(0)).code, 0)
      there.setRepository(MODEL, { revisions: { main: model(2) } })
      assert.equal(codes(await Promise.all([run(1), run(2)])), [0, 0])
      assertComplete(folder, FILES, commit)
      // The next time it is the new one, and the old one stays whole until the last shard.
      assert.equal(codes([await run(2), await run(0)]), [0, 0])
      assert.equal(wrongFiles(folder, FILES), [])
      assert.is((await run(1)).code, 0)
      assertComplete(folder, model(2), there.commit(MODEL))
    }))

  test('come to one commit, though the branch moves while they ask for it', () =>
    withHub(async ({ there, folder, run }) => {
      let asked = 0
      there.faults.push({
        kind: 'call',
        on: 'revision',
        run() {
          // Each answer is decided already, and the next will be another.
          there.setRepository(MODEL, { revisions: { main: model(++asked % 2 === 0 ? 1 : 2) } })
        },
      })
      const ends = await Promise.all(ALL.map((index) => run(index)))
      assert.equal(codes(ends), [0, 0, 0], said(ends))
      assert.ok(existsSync(join(folder, COMPLETE)), said(ends))
      assertComplete(folder, FILES, JSON.parse(readFileSync(join(folder, COMPLETE), 'utf8')).commit)
    }))

  test('remember the commit for as long as one of them is complete', () =>
    withHub(async ({ there, folder, run }) => {
      const commit = there.commit(MODEL)
      assert.is((await run(0)).code, 0)
      const state = join(folder, ARKS, 'state.json')
      const long = readFileSync(state, 'utf8').replace(/"resolvedAt":\d+/, '"resolvedAt":1000')
      rmSync(state)
      writeFileSync(state, long)
      there.setRepository(MODEL, { revisions: { main: model(2) } })
      assert.equal(codes([await run(1), await run(2)]), [0, 0])
      assertComplete(folder, FILES, commit)
    }))

  test('that come back are not counted as complete until they are', () =>
    withHub(async ({ there, folder, start, run }) => {
      assert.equal(codes([await run(0), await run(1)]), [0, 0])
      // A file of the first is lost, and the first is at it again while the last one ends.
      rmSync(join(folder, 'model-0.bin'))
      there.faults.push({ kind: 'rate', bytesPerSecond: MB / 2, path: 'model-0.bin' })
      const first = start(0)
      await until('it has begun', () => !existsSync(join(folder, shardMarker(0, COUNT))))
      const last = await run(2)
      assert.is(last.code, 0, said([last]))
      assert.not.ok(existsSync(join(folder, COMPLETE)))
      const ended = await first.ended
      assert.is(ended.code, 0, said([ended]))
      assertComplete(folder, FILES, there.commit(MODEL))
    }))

  test('that are complete and have lost a file have it fetched by the last one', () =>
    withHub(async ({ there, folder, run }) => {
      assert.equal(codes([await run(0), await run(1)]), [0, 0])
      rmSync(join(folder, 'model-0.bin'))
      assert.is((await run(2)).code, 0)
      assertComplete(folder, FILES, there.commit(MODEL))
    }))

  test('heal what was complete', () =>
    withHub(async ({ there, folder, run }) => {
      assert.equal(codes(await Promise.all(ALL.map((index) => run(index)))), [0, 0, 0])
      rmSync(join(folder, 'model-0.bin'))
      const { ino } = statSync(join(folder, 'model-1.bin'))
      assert.equal(codes(await Promise.all(ALL.map((index) => run(index)))), [0, 0, 0])
      assertComplete(folder, FILES, there.commit(MODEL))
      assert.is(statSync(join(folder, 'model-1.bin')).ino, ino)
    }))

  test('of another number wait, and so does one that loads all', () =>
    withHub(async ({ there, folder, start }) => {
      there.faults.push({ kind: 'rate', bytesPerSecond: MB })
      const first = start(0)
      await until('it is at work', () => there.bytesSent() > MB / 2)
      const other = start(1, 2)
      let heard = ''
      other.child.stdout?.on('data', (chunk: Buffer) => (heard += chunk.toString()))
      other.child.stderr?.on('data', (chunk: Buffer) => (heard += chunk.toString()))
      await until('it waits', () => /Another loader is at work/.test(heard))
      const asked = there.log.length
      assert.is(first.child.exitCode, null)
      there.faults = []
      assert.equal(codes([await first.ended, await other.ended]), [0, 0])
      assert.ok(there.log.length > asked)
      // The files of the one division are there for the other.
      assert.is((await load([MODEL, '--to', folder], { HF_ENDPOINT: there.url })).code, 0)
      assertComplete(folder, FILES, there.commit(MODEL))
      assert.ok(isOnce(there, FILES))
    }))
})
