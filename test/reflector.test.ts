import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { type ApiError, client } from '../controller/client.ts'
import {
  type Change,
  type CollectionState,
  type Counted,
  type Item,
  type Reflector,
  type ReflectorOptions,
  reflector,
  TIMING,
} from '../controller/reflector.ts'
import { valueAt } from '../crds/place.ts'
import {
  type ApiObject,
  errorLine,
  type FakeApi,
  type FakeApiOptions,
  fakeApi,
  isList,
  isStreamed,
  isWatch,
  type Misbehaviour,
} from './fake-api.ts'
import { describe } from './harness.ts'
import { until } from './until.ts'

const MODELS = '/apis/arks.ai/v1/arksmodels'

interface Model extends Item {
  readonly says: string
}

const model = (name: string, says = '', labels: Readonly<Record<string, string>> = {}): ApiObject => ({
  apiVersion: 'arks.ai/v1',
  kind: 'ArksModel',
  metadata: { name, labels },
  spec: { model: says },
})

function trimmed(object: unknown): Model | undefined {
  const text = (...place: readonly string[]): string => String(valueAt(object, place) ?? '')
  const says = text('spec', 'model')
  if (says === 'unusable') throw new Error('it is unusable')
  const [namespace, name] = [text('metadata', 'namespace'), text('metadata', 'name')]
  return { namespace, name, uid: text('metadata', 'uid'), resourceVersion: text('metadata', 'resourceVersion'), says }
}

interface Scene {
  readonly api: FakeApi
  readonly it: Reflector<Model>
  /** `+a=x`, `~a=y`, `-a`. */
  readonly changes: readonly string[]
  readonly counts: readonly Counted[]
  /** How long it wanted to wait, in milliseconds. */
  readonly pauses: readonly number[]
  readonly troubles: readonly ApiError[]
  readonly states: readonly CollectionState[]
  /** Until all that the server has is here, and nothing else. */
  same(): Promise<void>
}

interface Setting extends Partial<Pick<ReflectorOptions<Model>, 'timing' | 'onChange' | 'now' | 'random'>> {
  readonly server?: FakeApiOptions
  readonly labelSelector?: string
  readonly isStreamed?: boolean
  /** Before the reflector is there. */
  readonly before?: (api: FakeApi) => void
  /** No pause lasts longer, whatever it wanted to be. */
  readonly mostMs?: number
}

const NEVER_MS = 1_000_000_000

const shown = ({ before, after }: Change<Model>): string =>
  after === undefined ? `-${before?.name}` : `${before === undefined ? '+' : '~'}${after.name}=${after.says}`

/** A server and a reflector of its models, for as long as the play lasts. */
async function played(play: (scene: Scene) => Promise<void>, setting: Setting = {}): Promise<void> {
  const { server, timing, onChange, before, labelSelector, isStreamed = false, mostMs = 3, now, random } = setting
  const api = await fakeApi(server)
  before?.(api)
  const [changes, counts, pauses]: [string[], Counted[], number[]] = [[], [], []]
  const [troubles, states]: [ApiError[], CollectionState[]] = [[], []]
  const web = client({ access: api.access })
  const it = reflector({
    client: web,
    source: { path: MODELS, labelSelector, trimmed, isStreamed },
    onChange(change) {
      changes.push(shown(change))
      onChange?.(change)
    },
    now: now ?? (() => performance.now()),
    sleep(ms, signal) {
      if (ms < NEVER_MS) pauses.push(ms)
      return sleep(ms < NEVER_MS ? Math.min(ms, mostMs) : ms, undefined, { signal })
    },
    random: random ?? Math.random,
    timing: { shortWatchMs: 0, auditMs: [NEVER_MS, NEVER_MS], ...timing },
    onTrouble: (error) => troubles.push(error),
    onCollection: (state) => states.push(state),
    onCount: (counted) => counts.push(counted),
  })
  const same = (): Promise<void> =>
    until('the same here and there', () => {
      const there = NAMES.flatMap((name) => {
        const version = api.get(model(name))?.metadata.resourceVersion
        return version === undefined ? [] : [`default/${name} ${version}`]
      })
      const here = [...it.values()].map((item) => `${item.namespace}/${item.name} ${item.resourceVersion}`)
      return it.isSynced() && there.join() === here.sort().join()
    })
  try {
    await play({ api, it, changes, counts, pauses, troubles, states, same })
  } finally {
    await it.stop()
    web.close()
    await api.stop()
  }
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
const nine = (api: FakeApi): void => {
  for (const name of NAMES) api.put(model(name, '1'))
}
const watching = (api: FakeApi): Promise<void> => until('watch', () => api.watches === 1)
const lists = (api: FakeApi): number => api.log.filter(isList).length
/** How often it has begun anew, in whichever way. */
const beginnings = (api: FakeApi): number => api.log.filter((asked) => isList(asked) || isStreamed(asked)).length
/** By a server that can do so. */
const STREAMED = { isStreamed: true, server: { streams: true } } as const
const count = (counts: readonly Counted[], what: Counted): number => counts.filter((each) => each === what).length

describe('reflector: the usual', (test) => {
  test('lists in pages, then watches from there', () =>
    played(
      async ({ api, it, changes, same }) => {
        await watching(api)
        assert.is(it.size, 9)
        assert.is(it.get('default/c')?.says, '1')
        assert.equal(
          [...it.values()].map(({ name }) => name),
          NAMES,
        )
        api.put(model('a', '2'))
        api.remove(model('b'))
        await same()
        assert.equal(changes.slice(9), ['~a=2', '-b'])
        const asked = api.log.map(({ query: { continue: next, timeoutSeconds, ...query } }) => [
          next !== undefined,
          timeoutSeconds,
          query,
        ])
        assert.equal(asked, [
          [false, undefined, { limit: '4' }],
          [true, undefined, { limit: '4' }],
          [true, undefined, { limit: '4' }],
          [false, '450', { watch: 'true', allowWatchBookmarks: 'true', resourceVersion: '1009' }],
        ])
      },
      { before: nine, timing: { pageSize: 4 }, random: () => 0.5 },
    ))

  test('is synced after the whole list, not before', () =>
    played(
      async ({ api, it }) => {
        await until('second page', () => lists(api) === 2)
        assert.not(it.isSynced())
        assert.is(it.size, 5)
        await until('list', () => it.isSynced())
        assert.is(it.size, 9)
      },
      {
        timing: { pageSize: 5, listMs: 50 },
        before(api) {
          nine(api)
          api.faults.push({ when: ({ query }) => query['continue'] !== undefined, do: { kind: 'hang' } })
        },
      },
    ))

  test('what a selector no longer selects is gone', () =>
    played(
      async ({ api, changes }) => {
        await watching(api)
        api.put(model('a', '2', { ours: 'no' }))
        api.put(model('b', '2', { ours: 'yes' }))
        await until('changes', () => changes.length === 3)
        assert.equal(changes, ['+a=1', '-a', '+b=2'])
        assert.ok(api.log.every(({ query }) => query['labelSelector'] === 'ours=yes'))
      },
      { labelSelector: 'ours=yes', before: (api) => api.put(model('a', '1', { ours: 'yes' })) },
    ))

  test('a bookmark moves the place from which it goes on', () =>
    played(async ({ api, counts }) => {
      await watching(api)
      api.setRevision(5000)
      api.bookmark()
      api.endWatches('end')
      await until('second watch', () => api.log.filter(isWatch).length === 2)
      assert.is(api.log.at(-1)?.query['resourceVersion'], '5000')
      assert.equal(counts, ['watchRestart'])
    }))

  test('an event of what is known already is no change', () =>
    played(
      async ({ api, it, changes, same }) => {
        const line = (type: string) => `${JSON.stringify({ type, object: api.get(model('a')) })}\n`
        await watching(api)
        api.faults.push({ when: isWatch, do: { kind: 'write', text: line('ADDED') + line('MODIFIED'), next: 'go-on' } })
        api.endWatches('end')
        await until('second watch', () => api.log.filter(isWatch).length === 2)
        api.put(model('b', '2'))
        await same()
        assert.is(it.get('default/b')?.says, '2')
        assert.equal(changes.slice(9), ['~b=2'])
      },
      { before: nine },
    ))

  test('what cannot be used is counted, and not kept', () =>
    played(
      async ({ api, it, counts, changes }) => {
        await watching(api)
        assert.equal(counts, ['badObject'])
        api.put(model('b', 'unusable'))
        await until('change', () => changes.includes('-b'))
        assert.is(it.size, 0)
        assert.equal(counts, ['badObject', 'badObject'])
      },
      {
        before(api) {
          api.put(model('a', 'unusable'))
          api.put(model('b', '1'))
        },
      },
    ))

  test('says how long it has heard nothing', () => {
    let time = 1000
    return played(
      async ({ api, it }) => {
        await watching(api)
        time = 6000
        assert.is(it.silentMs(), 5000)
        api.bookmark()
        await until('bookmark', () => it.silentMs() === 0)
      },
      { now: () => time },
    )
  })
})

/** What happens while it is away is seen afterwards, by a list or without one. */
const LOSSES: Readonly<Record<string, { readonly faults: readonly Misbehaviour[]; readonly lists: number }>> = {
  'a reset in the middle of an event': { faults: [{ kind: 'cut', how: 'reset' }], lists: 1 },
  'an end in the middle of an event': { faults: [{ kind: 'cut', how: 'end' }], lists: 1 },
  'no head of a watch, twice': { faults: [{ kind: 'hang' }, { kind: 'hang' }], lists: 1 },
  'a watch that is half open': { faults: [{ kind: 'write', text: '', next: 'silence' }], lists: 1 },
  'a reset instead of a watch': { faults: [{ kind: 'reset' }, { kind: 'reset' }, { kind: 'reset' }], lists: 1 },
  '500 for a watch': { faults: [{ kind: 'status', code: 500 }], lists: 1 },
  '503 for a watch': { faults: [{ kind: 'status', code: 503 }], lists: 1 },
  '401 for a watch': { faults: [1, 2, 3, 4].map(() => ({ kind: 'status', code: 401 })), lists: 1 },
  '429 for a watch': { faults: [{ kind: 'status', code: 429, retryAfter: 2 }], lists: 1 },
  '500 in the stream': {
    faults: [{ kind: 'write', text: errorLine(500, 'InternalError'), next: 'silence' }],
    lists: 1,
  },
  '429 in the stream': {
    faults: [{ kind: 'write', text: errorLine(429, 'TooManyRequests'), next: 'end' }],
    lists: 1,
  },
  'another error in the stream': {
    faults: [{ kind: 'write', text: errorLine(403, 'Forbidden'), next: 'silence' }],
    lists: 2,
  },
  'a line that cannot be read': { faults: [{ kind: 'write', text: '{"type":\n', next: 'go-on' }], lists: 2 },
  'a line that is no event': { faults: [{ kind: 'write', text: '{"type":"EVIL"}\n', next: 'go-on' }], lists: 2 },
  '504 for a resourceVersion that is too large': {
    faults: [{ kind: 'status', code: 504, reason: 'Timeout', message: 'Too large resource version: 9, current: 8' }],
    lists: 2,
  },
  'another 504': { faults: [{ kind: 'status', code: 504, reason: 'Timeout' }], lists: 1 },
}

describe('reflector: misses nothing over', (test) => {
  const all = Object.entries(LOSSES).flatMap(([name, loss]) => [
    { name, loss, setting: {} },
    { name: `${name}, behind a stream`, loss, setting: STREAMED },
  ])
  for (const { name, loss, setting } of all)
    test(name, () =>
      played(
        async ({ api, changes, same }) => {
          await watching(api)
          for (const fault of loss.faults) api.faults.push({ when: isWatch, do: fault })
          api.endWatches('end')
          api.put(model('a', '2'))
          api.remove(model('b'))
          api.put(model('c', '2'))
          await until('faults', () => api.faults.length === 0)
          await same()
          assert.equal(changes.slice(9).sort(), ['-b', '~a=2', '~c=2'])
          assert.is(beginnings(api), loss.lists)
        },
        { before: nine, timing: { headersMs: 40, silenceMs: 40 }, ...setting },
      ),
    )

  for (const form of ['status', 'stream', 'open'] as const)
    test(`410, as ${form}`, () =>
      played(
        async ({ api, changes, counts, pauses, same }) => {
          await watching(api)
          api.endWatches('end')
          api.put(model('a', '2'))
          api.remove(model('b'))
          api.compact(form)
          await same()
          await watching(api)
          assert.equal(changes.slice(9).sort(), ['-b', '~a=2'])
          assert.is(count(counts, 'relist'), 1)
          assert.is(pauses.length, 1)
        },
        { before: nine },
      ))

  test('a server that is away and comes back, without a list', () =>
    played(
      async ({ api, changes, pauses, same }) => {
        await watching(api)
        await api.stop()
        await until('some attempts', () => pauses.length >= 4)
        api.put(model('a', '2'))
        await api.start()
        await same()
        assert.equal(changes.slice(9), ['~a=2'])
        assert.is(lists(api), 1)
      },
      { before: nine },
    ))

  test('U+2028 in an event', () =>
    played(async ({ api, it, counts }) => {
      await watching(api)
      api.put(model('a', 'x\u2028y\u2029z'))
      await until('event', () => it.size === 1)
      assert.is(it.get('default/a')?.says, 'x\u2028y\u2029z')
      assert.equal(counts, [])
    }))

  test('bytes that come slowly, without an end of the watch', () =>
    played(
      async ({ api, it, counts }) => {
        await watching(api)
        api.put(model('a', 'slow'))
        await until('event', () => it.size === 1)
        assert.equal(counts, [])
        await until('silence is cut', () => api.log.filter(isWatch).length === 2)
      },
      {
        timing: { silenceMs: 150 },
        before: (api) => api.faults.push({ when: isWatch, do: { kind: 'trickle', pauseMs: 1 } }),
      },
    ))

  test('made anew under the same name while it was away: gone, then there', () =>
    played(
      async ({ api, changes, same }) => {
        await watching(api)
        api.endWatches('end')
        api.remove(model('a'))
        api.put(model('a', 'anew'))
        api.compact()
        await same()
        assert.equal(changes.slice(9), ['-a', '+a=anew'])
      },
      { before: nine },
    ))

  test('made anew under the same name, by one event', () =>
    played(
      async ({ api, changes, same }) => {
        await watching(api)
        api.silently(() => api.remove(model('a')))
        api.put(model('a', 'anew'))
        await same()
        assert.equal(changes.slice(9), ['-a', '+a=anew'])
      },
      { before: nine },
    ))

  for (const [name, setting] of [
    ['a store that was set back', {}],
    ['a store that was set back, behind a stream', STREAMED],
  ] as const)
    test(name, () =>
      played(
        async ({ api, it, changes, same }) => {
          await watching(api)
          await same()
          api.setRevision(500)
          api.silently(() => {
            api.put(model('a', 'old'))
            api.remove(model('b'))
          })
          for (const name of NAMES.slice(2)) api.silently(() => api.put(model(name, 'old')))
          api.endWatches('end')
          await same()
          assert.is(it.get('default/a')?.says, 'old')
          assert.ok(changes.includes('-b'))
          api.put(model('a', 'later'))
          await same()
        },
        { before: nine, ...setting },
      ),
    )

  test('3,000 ends, a third of them resets: each change once, and no connection left', () =>
    played(
      async ({ api, changes, counts, same }) => {
        for (let number = 0; number < 3000; number++) {
          while (api.watches === 0) await new Promise((resolve) => setImmediate(resolve))
          api.put(model(NAMES[number % 9] ?? '', `${number}`))
          api.endWatches(number % 3 === 0 ? 'reset' : 'end')
          while (api.watches > 0) await new Promise((resolve) => setImmediate(resolve))
        }
        await same()
        assert.equal(
          changes.map((change) => change.split('=')[1]),
          Array.from({ length: 3000 }, (_, number) => `${number}`),
        )
        assert.is(count(counts, 'relist'), 0)
        assert.ok(api.sockets.mostOpen <= 2, `${api.sockets.mostOpen} connections at once`)
        assert.ok(api.sockets.accepted <= 1010, `${api.sockets.accepted} connections`)
      },
      { mostMs: 0 },
    ))
})

describe('reflector: streams', (test) => {
  /** Of all requests, without what differs from time to time. */
  const queries = (api: FakeApi): readonly Readonly<Record<string, string | undefined>>[] =>
    api.log.map(({ query: { timeoutSeconds, limit, ...query } }) => query)
  const bookmarks = { watch: 'true', allowWatchBookmarks: 'true' } as const
  const begin = { ...bookmarks, sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' } as const
  const line = (type: string, object: unknown): string => `${JSON.stringify({ type, object })}\n`
  const end = (revision: number): string =>
    line('BOOKMARK', {
      metadata: { resourceVersion: `${revision}`, annotations: { 'k8s.io/initial-events-end': 'true' } },
    })

  test('bring what there is, and go on', () =>
    played(
      async ({ api, it, changes, counts, same }) => {
        await watching(api)
        await same()
        assert.equal(
          [...it.values()].map(({ name }) => name),
          NAMES,
        )
        api.put(model('a', '2'))
        api.remove(model('b'))
        await same()
        assert.equal(changes.slice(9), ['~a=2', '-b'])
        assert.equal(queries(api), [begin])
        api.endWatches('end')
        await until('second watch', () => api.log.length === 2 && api.watches === 1)
        assert.equal(queries(api)[1], { ...bookmarks, resourceVersion: `${api.revision}` })
        assert.equal(counts, ['watchRestart'])
      },
      { ...STREAMED, before: nine },
    ))

  test('are whole with their last bookmark, and not before', () =>
    played(
      async ({ api, it }) => {
        await until('all but the end', () => it.size === 9)
        await sleep(20)
        assert.not(it.isSynced())
        assert.is(it.silentMs() < 10_000, true)
        await until('another way', () => it.isSynced())
        assert.equal([api.log.filter(isStreamed).length, lists(api)], [1, 1])
      },
      {
        ...STREAMED,
        timing: { silenceMs: 100 },
        before(api) {
          nine(api)
          const text = NAMES.map((name) => line('ADDED', api.get(model(name)))).join('')
          const inBetween = line('BOOKMARK', { metadata: { resourceVersion: '1005' } })
          api.faults.push({ when: isStreamed, do: { kind: 'write', text: text + inBetween, next: 'silence' } })
        },
      },
    ))

  test('of nothing are whole, too', () =>
    played(async ({ api, it, same }) => {
      await until('the end', () => it.isSynced())
      api.put(model('a', '1'))
      await same()
      assert.is(api.log.length, 1)
    }, STREAMED))

  test('that a server refuses are followed by pages at once', () =>
    played(
      async ({ api, changes, pauses, troubles, same }) => {
        await watching(api)
        assert.equal(queries(api), [begin, {}, { ...bookmarks, resourceVersion: '1009' }])
        api.endWatches('end')
        api.remove(model('b'))
        api.compact()
        await same()
        await watching(api)
        assert.equal(changes.slice(9), ['-b'])
        // It may be another server by then.
        assert.equal(queries(api).filter(({ sendInitialEvents }) => sendInitialEvents).length, 2)
        // The one behind 410.
        assert.equal([pauses.length, troubles.length], [1, 1])
      },
      { isStreamed: true, before: nine },
    ))

  test('that break off before their end are followed by pages, and come again later', () =>
    played(
      async ({ api, changes, troubles, same }) => {
        await same()
        await watching(api)
        assert.equal([api.log.filter(isStreamed).length, lists(api)], [1, 1])
        assert.equal(
          troubles.map(({ message }) => message),
          ['the watch broke off: EndedEarly: it ended before all had come'],
        )
        assert.is(changes.length, 9)
        api.endWatches('end')
        api.put(model('a', '2'))
        api.remove(model('b'))
        api.compact()
        await same()
        await watching(api)
        assert.equal([api.log.filter(isStreamed).length, lists(api)], [2, 1])
        assert.equal(changes.slice(9).sort(), ['-b', '~a=2'])
      },
      {
        ...STREAMED,
        before(api) {
          nine(api)
          const text = NAMES.slice(4)
            .map((name) => line('ADDED', api.get(model(name))))
            .join('')
          api.faults.push({ when: isStreamed, do: { kind: 'write', text, next: 'end' } })
        },
      },
    ))

  for (const [name, fault, isListed] of [
    ['never answers', { kind: 'hang' }, false],
    ['is reset', { kind: 'reset' }, false],
    ['finds nobody known', { kind: 'status', code: 401 }, false],
    ['is refused by a proxy', { kind: 'body', code: 400, text: '<html>' }, false],
    // A server that is just up has yet to fill its memory.
    ['is refused for now', { kind: 'status', code: 429, retryAfter: 2 }, true],
    ['finds the server out of order', { kind: 'status', code: 503 }, true],
  ] as const)
    test(`are tried again where one ${name}${isListed ? ', behind pages' : ''}`, () =>
      played(
        async ({ api, pauses, same }) => {
          await same()
          assert.is(lists(api), isListed ? 1 : 0)
          if (name === 'is refused for now') assert.ok(pauses.every((pause) => pause >= 2000))
          api.faults.length = 0
          await watching(api)
          api.endWatches('end')
          api.remove(model('b'))
          api.compact()
          await same()
          assert.is(lists(api), isListed ? 1 : 0)
        },
        {
          ...STREAMED,
          timing: { headersMs: 40 },
          before(api) {
            nine(api)
            api.faults.push({ when: isStreamed, times: 4, do: fault })
          },
        },
      ))

  test('that never come to their end are given up, whatever else they bring', () => {
    let time = 0
    return played(
      async ({ api, it, same }) => {
        await until('all but the end', () => it.size === 9)
        for (let minute = 1; minute <= 3 && !it.isSynced(); minute++) {
          time += 60_000
          api.bookmark()
          await sleep(20)
          if (minute < 3) assert.not(it.isSynced())
        }
        await same()
        assert.equal([api.log.filter(isStreamed).length, lists(api)], [1, 1])
      },
      {
        isStreamed: true,
        server: { streams: 'endless' },
        now: () => time,
        before: nine,
      },
    )
  })

  for (const [name, text] of Object.entries({
    'an error': errorLine(500, 'InternalError'),
    'what is no event': '{"type":"EVIL"}\n',
    'an object without a version': line('ADDED', { metadata: { name: 'a', namespace: 'default' } }),
  }))
    test(`are given up at ${name}`, () =>
      played(
        async ({ api, same }) => {
          await same()
          assert.equal([api.log.filter(isStreamed).length, lists(api)], [1, 1])
        },
        {
          ...STREAMED,
          before(api) {
            nine(api)
            api.faults.push({ when: isStreamed, do: { kind: 'write', text, next: 'go-on' } })
          },
        },
      ))

  test('of what came, changed and went meanwhile hold the last of it', () =>
    played(
      async ({ it, changes, counts }) => {
        await until('the end', () => it.isSynced())
        assert.equal(
          [...it.values()].map(({ name, says }) => `${name}=${says}`),
          ['a=2', 'd=2'],
        )
        assert.equal(changes, ['+a=1', '+b=1', '~a=2', '-b', '+d=1', '-d', '+d=2'])
        assert.equal(counts, ['badObject', 'badObject'])
      },
      {
        ...STREAMED,
        before(api) {
          const [a, b] = [api.put(model('a', '1')), api.put(model('b', '1'))]
          const c = api.put(model('c', 'unusable'))
          const newer = api.put(model('a', '2'))
          const d = api.put(model('d', '1'))
          const unusable = api.put(model('b', 'unusable'))
          api.remove(model('b'))
          const text = [a, b, c, newer, unusable, d].map((each) => line('ADDED', each))
          const anew = api.put(model('d', '2'))
          // The first one is older than what is known by then.
          text.push(line('DELETED', d), line('ADDED', anew), line('DELETED', d), end(api.revision))
          api.faults.push({ when: isStreamed, do: { kind: 'write', text: text.join(''), next: 'silence' } })
        },
      },
    ))

  test('find what has gone, changed and been made anew', () =>
    played(
      async ({ api, changes, counts, same }) => {
        await watching(api)
        await same()
        api.endWatches('end')
        api.remove(model('a'))
        api.remove(model('b'))
        api.put(model('b', 'anew'))
        api.put(model('c', '2'))
        api.compact()
        await same()
        await watching(api)
        assert.equal(changes.slice(9).sort(), ['+b=anew', '-a', '-b', '~c=2'])
        assert.equal(counts, ['watchRestart', 'relist'])
      },
      { ...STREAMED, before: nine },
    ))

  test('do not undo what we wrote meanwhile', () =>
    played(
      async ({ api, it, changes }) => {
        await until('the first one', () => it.size === 1)
        api.silently(() => it.put(api.put(model('b', '2'))))
        await until('the end', () => it.isSynced())
        assert.equal(changes, ['+a=1', '+b=2', '+c=1'])
      },
      {
        ...STREAMED,
        before(api) {
          for (const name of ['a', 'b', 'c']) api.put(model(name, '1'))
          api.faults.push({ when: isStreamed, do: { kind: 'trickle', pauseMs: 1 } })
        },
      },
    ))
})

describe('reflector: lists', (test) => {
  const listFault = (fault: Misbehaviour, times = 1) => ({
    before(api: FakeApi) {
      nine(api)
      api.faults.push({ when: isList, times, do: fault })
    },
  })

  for (const [name, fault] of Object.entries({
    'one that never answers': { kind: 'hang' },
    '429': { kind: 'status', code: 429, retryAfter: 2 },
    '500': { kind: 'status', code: 500 },
    '503': { kind: 'status', code: 503 },
    '401': { kind: 'status', code: 401 },
    'no JSON': { kind: 'body', text: '<html>' },
    'no list': { kind: 'body', text: '{"kind":"Status","metadata":{}}' },
  } as const))
    test(`${name}: tried again`, () =>
      played(
        async ({ same, pauses }) => {
          await same()
          if (name === '429') assert.ok(pauses.every((pause) => pause >= 2000))
        },
        { ...listFault(fault, 2), timing: { listMs: 40 } },
      ))

  test('an expired continue is one full list', () =>
    played(
      async ({ api, it, changes, troubles }) => {
        await until('list', () => it.isSynced())
        assert.equal(
          api.log.filter(isList).map(({ query }) => [query['limit'], query['continue'] !== undefined]),
          [
            ['4', false],
            ['4', true],
            [undefined, false],
          ],
        )
        assert.equal(
          changes.map((change) => change.slice(0, 2)),
          NAMES.map((name) => `+${name}`),
        )
        assert.equal(troubles, [])
      },
      {
        timing: { pageSize: 4 },
        before(api) {
          nine(api)
          api.faults.push({
            when: ({ query }) => query['continue'] !== undefined,
            do: { kind: 'status', code: 410, reason: 'Expired' },
          })
        },
      },
    ))

  test('what was gone by then does not stay from its first page', () =>
    played(
      async ({ api, it, same }) => {
        await until('second page', () => lists(api) === 2)
        api.remove(model('a'))
        api.expireContinues()
        await same()
        assert.is(it.size, 8)
      },
      {
        timing: { pageSize: 4 },
        server: { delayMs: 20 },
        before: nine,
      },
    ))

  test('a resource that is not there yet is said once, asked for often, and said when it is there', () =>
    played(
      async ({ api, states, pauses, same }) => {
        await until('attempts', () => pauses.length >= 12)
        assert.equal(
          states.map(({ kind }) => kind),
          ['missing'],
        )
        assert.ok(pauses.every((pause) => pause <= 5000))
        api.missing.clear()
        api.put(model('a', '1'))
        await same()
        assert.equal(
          states.map(({ kind }) => kind),
          ['missing', 'served'],
        )
        api.missing.add('arksmodels')
        api.endWatches('end')
        await until('missing', () => states.length === 3)
        assert.is(states[2]?.kind, 'missing')
      },
      { before: (api) => api.missing.add('arksmodels') },
    ))

  test('a user who may not list is told so in the words of the server', () =>
    played(
      async ({ states, same }) => {
        await same()
        assert.equal(states, [{ kind: 'forbidden', message: 'User "x" cannot list' }, { kind: 'served' }])
      },
      listFault({ kind: 'status', code: 403, reason: 'Forbidden', message: 'User "x" cannot list' }, 3),
    ))
})

describe('reflector: pauses', (test) => {
  test('410 for ever is no hot loop', () =>
    played(
      async ({ api, pauses }) => {
        await until('attempts', () => pauses.length >= 9)
        const seen = lists(api)
        assert.equal(pauses.slice(0, 9), [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000])
        assert.ok(seen <= pauses.length + 1, `${seen} lists and ${pauses.length} pauses`)
      },
      {
        random: () => 0,
        before: (api) => api.faults.push({ when: isWatch, times: 1e9, do: { kind: 'status', code: 410 } }),
      },
    ))

  test('they differ by as much as their length', () =>
    played(
      async ({ pauses }) => {
        await until('attempts', () => pauses.length >= 2)
        assert.equal(pauses.slice(0, 2), [1200, 2400])
      },
      {
        random: () => 0.5,
        before: (api) => api.faults.push({ when: isList, times: 1e9, do: { kind: 'status', code: 500 } }),
      },
    ))

  test('not shorter than the server asks for', () =>
    played(
      async ({ pauses, same }) => {
        await same()
        await until('pauses', () => pauses.length === 3)
        assert.equal(pauses, [2000, 3000, 9000])
      },
      {
        random: () => 0,
        before: (api) => {
          for (const retryAfter of [2, 3, 9])
            api.faults.push({ when: isWatch, do: { kind: 'status', code: 429, retryAfter } })
          api.faults.push({ when: isWatch, do: { kind: 'hang' } })
          api.put(model('a', '1'))
        },
      },
    ))

  test('none behind quiet ends', () =>
    played(async ({ api, pauses, counts }) => {
      for (let number = 1; number <= 20; number++) {
        await until('watch', () => api.log.filter(isWatch).length === number && api.watches === 1)
        api.endWatches('end')
      }
      await until('restarts', () => count(counts, 'watchRestart') === 20)
      assert.equal(pauses, [])
    }))

  test('one behind a watch that ended at once and brought nothing', () =>
    played(
      async ({ api, pauses, changes }) => {
        await watching(api)
        api.put(model('a', '1'))
        await until('event', () => changes.length === 1)
        api.endWatches('end')
        await until('second watch', () => api.log.filter(isWatch).length === 2 && api.watches === 1)
        assert.equal(pauses, [])
        api.endWatches('end')
        await until('pause', () => pauses.length === 1)
      },
      { timing: { shortWatchMs: 60_000 } },
    ))

  test('they start small again behind some health, and not behind mere silence', () => {
    let time = 0
    return played(
      async ({ api, pauses, it }) => {
        const heard = async (afterMs: number): Promise<void> => {
          time += afterMs
          api.bookmark()
          await until('bookmark', () => it.silentMs() === 0)
        }
        const failed = async (healthyMs: number, silentMs: number): Promise<void> => {
          const before = pauses.length
          await watching(api)
          // Until the answer has begun on our side, too.
          await heard(1)
          await heard(healthyMs)
          time += silentMs
          api.endWatches('reset')
          await until('pause', () => pauses.length > before)
        }
        await failed(0, 0)
        await failed(100_000, 0)
        await failed(0, 500_000)
        await failed(130_000, 10_000)
        assert.equal(pauses, [800, 1600, 3200, 800])
      },
      { random: () => 0, now: () => time },
    )
  })
})

describe('reflector: a handler that throws', (test) => {
  test('is counted, and the next event comes', () => {
    let isBroken = true
    return played(
      async ({ api, it, counts, changes, same }) => {
        await until('list', () => it.isSynced())
        assert.is(count(counts, 'handlerError'), 9)
        await watching(api)
        api.put(model('a', '2'))
        await same()
        isBroken = false
        api.endWatches('end')
        api.put(model('b', '2'))
        await same()
        assert.equal(changes.slice(9), ['~a=2', '~b=2'])
        assert.is(count(counts, 'handlerError'), 10)
        assert.is(lists(api), 1)
      },
      {
        before: nine,
        onChange() {
          if (isBroken) throw new Error('a bug')
        },
      },
    )
  })
})

describe('reflector: what we wrote ourselves', (test) => {
  test('is known at once, and no older event undoes it', () =>
    played(
      async ({ api, it, changes, same }) => {
        await watching(api)
        const [older, newer] = [{ says: '' }, { says: '' }]
        api.silently(() => {
          Object.assign(older, api.put(model('a', '2')))
          Object.assign(newer, api.put(model('a', '3')))
        })
        it.put(newer)
        assert.is(it.get('default/a')?.says, '3')
        it.put(older)
        assert.is(it.get('default/a')?.says, '3')
        const text = `${JSON.stringify({ type: 'MODIFIED', object: older })}\n`
        api.faults.push({ when: isWatch, do: { kind: 'write', text, next: 'go-on' } })
        api.endWatches('end')
        await until('second watch', () => api.log.filter(isWatch).length === 2 && api.watches === 1)
        api.put(model('b', '2'))
        await same()
        assert.equal(changes.slice(9), ['~a=3', '~b=2'])
      },
      { before: nine },
    ))

  test('does not bring back what was deleted meanwhile', () =>
    played(
      async ({ api, it, changes }) => {
        await watching(api)
        const answer = api.put(model('a', '2'))
        api.remove(model('a'))
        await until('event', () => changes.includes('-a'))
        it.put(answer)
        assert.is(it.get('default/a'), undefined)
      },
      { before: nine },
    ))

  test('is not undone by a list that is older', () =>
    played(
      async ({ api, it, changes }) => {
        await until('second page', () => lists(api) === 2)
        it.put(api.put(model('a', '2')))
        it.put(api.put(model('aa', 'new')))
        await watching(api)
        assert.is(it.get('default/a')?.says, '2')
        assert.is(it.get('default/aa')?.says, 'new')
        assert.equal(
          changes.filter((change) => /aa?=/.test(change)),
          ['+a=1', '~a=2', '+aa=new'],
        )
      },
      { before: nine, timing: { pageSize: 4 }, server: { delayMs: 20 } },
    ))

  test('versions are compared as numbers of any length', () =>
    played(async ({ api, it }) => {
      await watching(api)
      const stored = api.put(model('a', '1'))
      const at = (resourceVersion: string, says: string): unknown => ({
        ...stored,
        metadata: { ...stored.metadata, resourceVersion },
        spec: { model: says },
      })
      it.put(at('99999999999999999998', 'newer'))
      it.put(at('100000', 'older'))
      assert.is(it.get('default/a')?.says, 'newer')
      it.put(at('99999999999999999999', 'newest'))
      assert.is(it.get('default/a')?.says, 'newest')
    }))
})

describe('reflector: audits', (test) => {
  const timing = { auditMs: [5, 5], auditSettleMs: 100 } as const

  test('count what no event told, and mend it', () =>
    played(
      async ({ api, it, counts, same, changes }) => {
        await watching(api)
        api.silently(() => {
          api.put(model('a', 'lost'))
          api.remove(model('b'))
          api.remove(model('c'))
          api.put(model('c', 'anew'))
        })
        api.bookmark()
        await same()
        assert.is(count(counts, 'drift'), 3)
        assert.is(it.get('default/a')?.says, 'lost')
        assert.equal(changes.slice(9).sort(), ['+c=anew', '-b', '-c', '~a=lost'])
        assert.is(count(counts, 'relist'), 0)
      },
      { before: nine, timing },
    ))

  test('count nothing while all goes well', () =>
    played(
      async ({ api, counts, same }) => {
        await watching(api)
        for (let number = 0; lists(api) < 40; number++) {
          const name = NAMES[number % 9] ?? ''
          if (number % 5 === 0) api.remove(model(name))
          else api.put(model(name, `${number}`))
          if (number % 50 === 49) api.endWatches(number % 100 === 99 ? 'end' : 'reset')
          await new Promise((resolve) => setImmediate(resolve))
        }
        await same()
        assert.is(count(counts, 'drift'), 0)
      },
      { before: nine, timing: { ...timing, pageSize: 2 } },
    ))

  test('that fail change nothing', () =>
    played(
      async ({ api, counts, troubles }) => {
        await watching(api)
        api.faults.push({ when: isList, times: 5, do: { kind: 'status', code: 500 } })
        await until('audits', () => lists(api) >= 7)
        assert.equal([counts, troubles], [[], []])
      },
      { before: nine, timing },
    ))
})

describe('reflector: what is counted and told', (test) => {
  for (const how of ['end', 'reset'] as const)
    test(`a watch that is over by ${how}`, () =>
      played(async ({ api, counts }) => {
        await watching(api)
        api.endWatches(how)
        await until('second watch', () => api.log.filter(isWatch).length === 2 && api.watches === 1)
        assert.equal(counts, ['watchRestart'])
      }))

  test('a user who may watch and not list, though all goes well', () =>
    played(
      async ({ api, counts, troubles, same }) => {
        await until('audits', () => troubles.length >= 2)
        assert.is(troubles[0]?.code, 403)
        api.put(model('a', '2'))
        await same()
        assert.equal([counts, api.log.filter(isWatch).length], [[], 1])
      },
      {
        ...STREAMED,
        timing: { auditMs: [5, 5], auditSettleMs: 100 },
        before(api) {
          nine(api)
          api.faults.push({ when: isList, times: 1e9, do: { kind: 'status', code: 403, reason: 'Forbidden' } })
        },
      },
    ))
})

describe('reflector: stop', (test) => {
  const nothingMore = async (api: FakeApi, it: Reflector<Model>): Promise<void> => {
    const started = performance.now()
    await it.stop()
    assert.ok(performance.now() - started < 1000)
    await until('nothing open', () => api.watches === 0)
    const asked = api.log.length
    await sleep(20)
    assert.is(api.log.length, asked)
    await it.stop()
  }

  test('in a list', () =>
    played(
      async ({ api, it, changes }) => {
        await until('list', () => lists(api) === 1)
        await nothingMore(api, it)
        await until('end of the connection', () => api.sockets.open === 0)
        assert.equal(changes, [])
      },
      { before: (api) => api.faults.push({ when: isList, do: { kind: 'hang' } }) },
    ))

  test('in a watch', () =>
    played(async ({ api, it, troubles }) => {
      await watching(api)
      await nothingMore(api, it)
      assert.equal(troubles, [])
    }))

  test('before the head of a watch', () =>
    played(
      async ({ api, it }) => {
        await until('watch', () => api.log.some(isWatch))
        await nothingMore(api, it)
      },
      { before: (api) => api.faults.push({ when: isWatch, do: { kind: 'hang' } }) },
    ))

  test('in a pause', () =>
    played(
      async ({ api, it, pauses }) => {
        await until('pause', () => pauses.length === 1)
        await nothingMore(api, it)
        assert.is(lists(api), 1)
      },
      {
        mostMs: 60_000,
        before: (api) => api.faults.push({ when: isList, do: { kind: 'status', code: 500 } }),
      },
    ))

  test('before it has begun', () =>
    played(async ({ api, it }) => {
      await nothingMore(api, it)
      assert.is(it.isSynced(), false)
    }))

  test('in an audit', () =>
    played(
      async ({ api, it }) => {
        await watching(api)
        api.faults.push({ when: isList, do: { kind: 'hang' } })
        await until('audit', () => api.faults.length === 0)
        await nothingMore(api, it)
      },
      { timing: { auditMs: [3, 3] } },
    ))
})

/** Prints a line when all is there, and one when all has changed. */
const FOLLOWER = `
import { setTimeout as sleep } from 'node:timers/promises'
import { client } from './controller/client.ts'
import { reflector } from './controller/reflector.ts'
const [server, size] = process.argv.slice(1)
const access = { kind: 'access', server, credentials: async () => ({ tls: {}, headers: {} }), renew() {} }
let changed = 0
const jobs = reflector({
  client: client({ access }),
  source: {
    path: '/apis/batch/v1/jobs',
    trimmed: ({ metadata: { namespace, name, uid, resourceVersion }, status }) =>
      ({ namespace, name, uid, resourceVersion, status: status?.conditions?.[0]?.type }),
  },
  onChange({ before }) {
    if (before !== undefined && ++changed === Number(size)) finish()
  },
  now: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }),
  random: Math.random,
})
const finish = async () => {
  await jobs.stop()
  console.log(jobs.size, Math.round(process.memoryUsage().heapUsed / 1e6), Math.round(process.resourceUsage().maxRSS / 1e3))
  process.exit(0)
}
while (!jobs.isSynced()) await sleep(5)
console.log('synced')
`

describe('reflector: memory', (test) => {
  test('10,000 jobs of 4 KB, and a change of each, in a heap of 48 MB', async () => {
    const api = await fakeApi()
    const job = (number: number, status: string): ApiObject => ({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: `job-${number}`, managedFields: [{ fields: `${number}`.repeat(3000).slice(0, 3000) }] },
      spec: { template: { text: `${number}-`.repeat(1000).slice(0, 1000) } },
      status: { conditions: [{ type: status }] },
    })
    for (let number = 0; number < 10_000; number++) api.put(job(number, 'Running'))
    const flags = ['--max-old-space-size=48', '--input-type=module']
    const child = spawn(process.execPath, [...flags, '-e', FOLLOWER, api.url, '10000'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [output, complaints] = ['', '']
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (complaints += chunk))
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
    await Promise.race([until('watch', () => output.includes('synced') && api.watches === 1), ended])
    for (let number = 0; number < 10_000; number++) {
      api.put(job(number, 'Complete'))
      if (number % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    const code = await ended
    await api.stop()
    assert.is(code, 0, complaints.slice(0, 500))
    assert.match(output, /^synced\n10000 /)
    const [, , heap = '', rss = ''] = output.split(/\s/)
    assert.ok(Number(heap) < 48 && Number(rss) < 250, `heap ${heap} MB, RSS ${rss} MB`)
  })
})

describe('reflector: its limits', (test) => {
  test('are those that were measured', () => {
    assert.equal(
      [TIMING.pageSize, TIMING.silenceMs, TIMING.watchSeconds, TIMING.firstPauseMs, TIMING.longestPauseMs],
      [100, 75_000, [300, 600], 800, 30_000],
    )
  })
})
