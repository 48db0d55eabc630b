import * as assert from 'uvu/assert'
import { type Follower, follower, type Told, together } from '../controller/progress.ts'
import type { SeenPod } from '../controller/seen.ts'
import type { Progress } from '../controller/stored.ts'
import { describe } from './harness.ts'
import { type VirtualTime, virtualTime } from './virtual-time.ts'

const SECOND = 1_000

function aPod(name: string, over: Partial<SeenPod> = {}): SeenPod {
  return {
    namespace: 'ns',
    name,
    uid: `uid-of-${name}`,
    resourceVersion: '1',
    createdAt: 0,
    isDeleting: false,
    owner: 'job',
    job: 'job',
    index: 0,
    phase: 'Running',
    ip: name,
    reason: '',
    message: '',
    unscheduled: undefined,
    disrupted: undefined,
    waiting: undefined,
    isRunning: true,
    end: undefined,
    ...over,
  }
}

const told = (doneBytes: number, totalBytes: number, bytesPerSecond = 0): Told => ({
  doneBytes,
  totalBytes,
  bytesPerSecond,
})

const ended = (message: string): Partial<SeenPod> => ({
  phase: 'Succeeded',
  isRunning: false,
  end: { exitCode: 0, at: 0, reason: 'Completed', message },
})

const loaded = (totalBytes: unknown): string =>
  JSON.stringify({ v: 1, reason: 'Loaded', message: '', retryable: false, totalBytes })

interface Subject {
  readonly time: VirtualTime
  readonly following: Follower
  /** `ip@seconds` of each question. */
  readonly asked: string[]
  /** `key percent` of each answer that became progress. */
  readonly heard: string[]
  /** What pods say by their IP; a promise comes later. */
  readonly answers: Map<string, Told | undefined | Promise<Told | undefined>>
}

function subject(perSecond = 20): Subject {
  const time = virtualTime()
  const asked: string[] = []
  const heard: string[] = []
  const answers: Subject['answers'] = new Map()
  const following = follower({
    async ask(ip) {
      asked.push(`${ip}@${time.now() / SECOND}`)
      return answers.get(ip)
    },
    onProgress: (key: string, { percent }: Progress) => heard.push(`${key} ${percent}`),
    clock: time.now,
    after: time.after,
    perSecond,
  })
  return { time, following, asked, heard, answers }
}

describe('follower', (test) => {
  test('asks every 5 s, first after 5 s', async () => {
    const { time, following, asked, heard, answers } = subject()
    answers.set('p', told(1, 2))
    following.follow('a', [aPod('p')])
    await time.pass(4_999)
    assert.equal(asked, [])
    await time.pass(10_001)
    assert.equal(asked, ['p@5', 'p@10', 'p@15'])
    assert.equal(heard, ['a 50', 'a 50', 'a 50'])
  })

  test('to be told again to follow changes no time', async () => {
    const { time, following, asked } = subject()
    for (let second = 0; second < 11; second++) {
      following.follow('a', [aPod('p')])
      await time.pass(SECOND)
    }
    assert.equal(asked, ['p@5', 'p@10'])
  })

  test('asks each in its turn and no more of them in a second than may be', async () => {
    const { time, following, asked } = subject(2)
    for (let model = 0; model < 20; model++) following.follow(`m${model}`, [aPod(`p${model}`)])
    await time.pass(25 * SECOND)
    assert.is(asked.length, 41)
    assert.equal(asked.slice(0, 4), ['p0@5', 'p1@5.5', 'p2@6', 'p3@6.5'])
    const turns = asked.map((each) => each.split('@')[0])
    assert.equal(turns.slice(20, 40), turns.slice(0, 20), 'each once before one comes again')
  })

  test('those that come later wait for their own time, those before them for theirs', async () => {
    const { time, following, asked } = subject()
    following.follow('a', [aPod('p')])
    await time.pass(2 * SECOND)
    following.follow('b', [aPod('q')])
    await time.pass(8 * SECOND)
    assert.equal(asked, ['p@5', 'q@7', 'p@10'])
  })

  test('asks only pods that run and have an address', async () => {
    const { time, following, asked } = subject()
    following.follow('a', [
      aPod('waiting', { isRunning: false, phase: 'Pending' }),
      aPod('ended', ended('')),
      aPod('going', { isDeleting: true }),
      aPod('without', { ip: undefined }),
      aPod('running'),
    ])
    await time.pass(5 * SECOND)
    assert.equal(asked, ['running@5'])
  })

  test('no pods: asks no longer, and begins anew after that', async () => {
    const { time, following, asked } = subject()
    following.follow('a', [aPod('p')])
    await time.pass(6 * SECOND)
    following.follow('a', [])
    await time.pass(60 * SECOND)
    assert.equal(asked, ['p@5'])
    assert.is(time.timers(), 0)
    following.follow('a', [aPod('p')])
    await time.pass(5 * SECOND)
    assert.equal(asked, ['p@5', 'p@71'])
  })

  test('an answer that comes when it is no longer followed is not told', async () => {
    const { time, following, heard, answers } = subject()
    const late = Promise.withResolvers<Told>()
    answers.set('p', late.promise)
    following.follow('a', [aPod('p')])
    await time.pass(5 * SECOND)
    following.follow('a', [])
    late.resolve(told(1, 2))
    await time.pass(SECOND)
    assert.equal(heard, [])
  })

  test('nor when another load of the same model is followed by then', async () => {
    const { time, following, heard, answers } = subject()
    const late = Promise.withResolvers<Told>()
    answers.set('p', late.promise)
    following.follow('a', [aPod('p')])
    await time.pass(5 * SECOND)
    following.follow('a', [])
    following.follow('a', [aPod('q')])
    late.resolve(told(1, 2))
    await time.pass(SECOND)
    assert.equal(heard, [])
  })

  test('nor for pods that took the place of those which were asked', async () => {
    const { time, following, heard, answers } = subject()
    const late = Promise.withResolvers<Told>()
    answers.set('p', late.promise)
    following.follow('a', [aPod('p')])
    await time.pass(5 * SECOND)
    following.follow('a', [aPod('q')])
    late.resolve(told(1, 2))
    await time.pass(SECOND)
    assert.equal(heard, [])
  })

  test('no answer keeps silence, and costs nobody else their turn', async () => {
    const { time, following, heard, answers } = subject()
    answers.set('p', new Promise(() => {}))
    answers.set('q', told(1, 4))
    following.follow('a', [aPod('p')])
    following.follow('b', [aPod('q')])
    following.follow('c', [aPod('r')])
    await time.pass(11 * SECOND)
    assert.equal(heard, ['b 25', 'b 25'])
  })

  test('a loader that does not know yet how much there is keeps silence', async () => {
    const { time, following, heard, answers } = subject()
    answers.set('p', told(0, 0))
    following.follow('a', [aPod('p')])
    await time.pass(6 * SECOND)
    assert.equal(heard, [])
  })

  test('shards are summed as soon as each was heard of, and one that is silent once counts as before', async () => {
    const { time, following, heard, answers } = subject()
    answers.set('p', told(10, 100))
    following.follow('a', [aPod('p'), aPod('q')])
    await time.pass(5 * SECOND)
    assert.equal(heard, [])
    answers.set('q', told(90, 100))
    await time.pass(5 * SECOND)
    answers.set('q', undefined)
    answers.set('p', told(30, 100))
    await time.pass(5 * SECOND)
    assert.equal(heard, ['a 50', 'a 60'])
  })

  test('asks nobody once it is stopped', async () => {
    const { time, following, asked } = subject()
    following.follow('a', [aPod('p')])
    following.stop()
    following.follow('b', [aPod('q')])
    await time.pass(60 * SECOND)
    assert.equal(asked, [])
    assert.is(time.timers(), 0)
  })
})

interface Row {
  readonly why: string
  readonly pods: readonly SeenPod[]
  readonly told?: Readonly<Record<string, Told>>
  readonly want: Progress | undefined
}

const ROWS: Readonly<Record<string, Row>> = {
  nobody: { why: '', pods: [], want: undefined },
  'one that is silent': { why: 'nothing is known', pods: [aPod('p')], want: undefined },
  'one of two that is silent': {
    why: 'the sum would jump',
    pods: [aPod('p'), aPod('q')],
    told: { p: told(1, 2) },
    want: undefined,
  },
  two: {
    why: 'speeds add up as well',
    pods: [aPod('p'), aPod('q')],
    told: { p: told(1, 4, 10), q: told(2, 4, 5) },
    want: { percent: 37, loadedBytes: 3, totalBytes: 8, bytesPerSecond: 15 },
  },
  'all done': {
    why: 'what is not verified and in its place is not loaded',
    pods: [aPod('p')],
    told: { p: told(4, 4) },
    want: { percent: 99, loadedBytes: 4, totalBytes: 4, bytesPerSecond: 0 },
  },
  'one that has ended': {
    why: 'it has all of its part',
    pods: [aPod('p', ended(loaded(4))), aPod('q')],
    told: { q: told(0, 4, 5) },
    want: { percent: 50, loadedBytes: 4, totalBytes: 8, bytesPerSecond: 5 },
  },
  'one that has failed': {
    why: 'another one does its part',
    pods: [aPod('p', { phase: 'Failed', isRunning: false }), aPod('q')],
    told: { p: told(3, 4), q: told(1, 4) },
    want: { percent: 25, loadedBytes: 1, totalBytes: 4, bytesPerSecond: 0 },
  },
  'one that ended without a word': {
    why: 'how much it had is not known',
    pods: [aPod('p', ended(''))],
    want: undefined,
  },
  'one that ended with text for a number': { why: '', pods: [aPod('p', ended(loaded('4')))], want: undefined },
  'one that ended with half a byte': {
    why: 'the API server refuses such a status',
    pods: [aPod('p', ended(loaded(0.5)))],
    want: undefined,
  },
  'one that ended with more than can be counted': { why: '', pods: [aPod('p', ended(loaded(1e300)))], want: undefined },
  'several that have more together than can be counted': {
    why: 'each number is one that the API server takes, their sum is not',
    pods: [aPod('p'), aPod('q')],
    told: { p: told(1, Number.MAX_SAFE_INTEGER), q: told(1, Number.MAX_SAFE_INTEGER) },
    want: undefined,
  },
  'several that are too fast together': {
    why: '',
    pods: [aPod('p'), aPod('q')],
    told: { p: told(1, 2, Number.MAX_SAFE_INTEGER), q: told(1, 2, Number.MAX_SAFE_INTEGER) },
    want: { percent: 50, loadedBytes: 2, totalBytes: 4, bytesPerSecond: Number.MAX_SAFE_INTEGER },
  },
  'nothing to load': { why: 'no part of nothing', pods: [aPod('p')], told: { p: told(0, 0) }, want: undefined },
}

describe('together', (test) => {
  for (const [name, { why, pods, told: said = {}, want }] of Object.entries(ROWS)) {
    test(name, () => {
      const byUid = new Map(Object.entries(said).map(([pod, each]) => [`uid-of-${pod}`, each]))
      assert.equal(together(pods, byUid), want, why)
    })
  }
})
