import * as assert from 'uvu/assert'
import { type EventClient, type Happening, type Recorder, type Regarding, recorder } from '../controller/events.ts'
import { isRecord, valueAt } from '../crds/place.ts'
import { describe } from './harness.ts'

type Call = Parameters<EventClient['request']>[0]

/** A client that is asked, and a clock that stands. */
interface World {
  readonly recorder: Recorder
  readonly calls: Call[]
  readonly dropped: string[]
  /** How often `onDropped` was called. */
  lost: number
  now: number
  /** What the client does with a call. */
  answer: (call: Call) => Promise<unknown>
  /** Of `after`. */
  readonly timers: Set<() => void>
}

const START = Date.UTC(2026, 0, 2, 3, 4, 5, 6)
const MINUTE = 60_000

function world(): World {
  const timers = new Set<() => void>()
  let names = 0
  const made: World = {
    recorder: recorder({
      client: {
        request(call) {
          made.calls.push(call)
          return made.answer(call)
        },
      },
      instance: 'controller-0',
      now: () => made.now,
      after(_ms, run) {
        timers.add(run)
        return () => timers.delete(run)
      },
      suffix: () => (names++).toString(16).padStart(16, '0'),
      log: { debug: (message, fields) => made.dropped.push(`${message}: ${fields?.['why']}`) },
      onDropped: () => {
        made.lost++
      },
    }),
    calls: [],
    dropped: [],
    lost: 0,
    now: START,
    answer: async () => ({}),
    timers,
  }
  return made
}

/** Until all that can go on without a timer or an answer has done so. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const MODEL: Regarding = {
  apiVersion: 'arks.ai/v1',
  kind: 'ArksModel',
  namespace: 'models',
  name: 'qwq',
  uid: 'f0c7',
  resourceVersion: '12',
}

const READY: Happening = { type: 'Normal', reason: 'ModelReady', action: 'Load', note: 'The model is loaded' }
const FAILED: Happening = { type: 'Warning', reason: 'ModelLoadFailed', action: 'Load', note: 'No such model' }

const PATH = '/apis/events.k8s.io/v1/namespaces/models/events'

const bodyAt = (there: World, index: number, ...place: readonly string[]): unknown =>
  valueAt(there.calls[index]?.body, place)

const verbs = ({ calls }: World): string => calls.map(({ verb }) => verb).join(' ')

const refusal = (code: number): Error => Object.assign(new Error(`status ${code}`), { code })

async function noteOf(note: string): Promise<string> {
  const there = world()
  there.recorder.record(MODEL, { ...READY, note })
  await settled()
  return `${bodyAt(there, 0, 'note')}`
}

async function nameFor(name: string): Promise<string> {
  const there = world()
  there.recorder.record({ ...MODEL, name }, READY)
  await settled()
  return `${bodyAt(there, 0, 'metadata', 'name')}`
}

describe('an Event', (test) => {
  test('is written as the API wants it', async () => {
    const there = world()
    there.recorder.record(MODEL, READY)
    await settled()
    assert.equal(there.calls, [
      {
        verb: 'create',
        path: PATH,
        contentType: 'application/json',
        body: {
          apiVersion: 'events.k8s.io/v1',
          kind: 'Event',
          metadata: { name: 'qwq.0000000000000000', namespace: 'models' },
          eventTime: '2026-01-02T03:04:05.006000Z',
          reportingController: 'arks.ai/arksmodel-controller',
          reportingInstance: 'controller-0',
          action: 'Load',
          reason: 'ModelReady',
          regarding: MODEL,
          note: 'The model is loaded',
          type: 'Normal',
        },
      },
    ])
    assert.is(there.lost, 0)
  })

  test('has six digits at a whole second too', async () => {
    const there = world()
    there.now = Date.UTC(2026, 0, 2)
    there.recorder.record(MODEL, READY)
    await settled()
    assert.is(bodyAt(there, 0, 'eventTime'), '2026-01-02T00:00:00.000000Z')
  })

  test('fits into 1,024 bytes of whole characters', async () => {
    assert.is(await noteOf('x'.repeat(1024)), 'x'.repeat(1024))
    assert.is(await noteOf('x'.repeat(1025)), `${'x'.repeat(1021)}…`)
    assert.is(await noteOf('é'.repeat(600)), `${'é'.repeat(510)}…`)
    assert.is(await noteOf(`x${'🙂'.repeat(300)}`), `x${'🙂'.repeat(255)}…`)
  })

  test('is one line that no terminal obeys', async () => {
    assert.is(await noteOf('one\r\n\u001b[31mtwo\u0000 \ud800 \u202ethree'), 'one two \ufffd three')
  })

  test('of an object with the longest name has a name that is allowed', async () => {
    const longest = await nameFor(`${'a'.repeat(63)}.`.repeat(3) + 'a'.repeat(61))
    assert.is(longest.length, 253)
    assert.ok(longest.endsWith('a.0000000000000000'))
    for (const name of [
      'a'.repeat(253),
      `${'a'.repeat(235)}.${'b'.repeat(17)}`,
      `${'a'.repeat(234)}--${'b'.repeat(17)}`,
    ]) {
      const event = await nameFor(name)
      assert.ok(event.length <= 253)
      assert.match(event, /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/)
    }
  })
})

describe('the same again', (test) => {
  test('is a series', async () => {
    const there = world()
    there.recorder.record(MODEL, READY)
    await settled()
    there.now += MINUTE
    there.recorder.record({ ...MODEL, resourceVersion: '13' }, READY)
    await settled()
    assert.equal(there.calls.slice(1), [
      {
        verb: 'patch',
        path: `${PATH}/qwq.0000000000000000`,
        contentType: 'application/merge-patch+json',
        body: { series: { count: 2, lastObservedTime: '2026-01-02T03:05:05.006000Z' } },
      },
    ])
  })

  test('is told at once, then every 30 minutes', async () => {
    const there = world()
    for (let minute = 0; minute <= 62; minute++) {
      there.recorder.record(MODEL, READY)
      there.recorder.refresh()
      await settled()
      there.now += MINUTE
    }
    assert.is(verbs(there), 'create patch patch patch')
    assert.equal(
      [1, 2, 3].map((index) => bodyAt(there, index, 'series', 'count')),
      [2, 32, 62],
    )
  })

  test('is told to its end', async () => {
    const there = world()
    for (let times = 0; times < 5; times++) {
      there.recorder.record(MODEL, READY)
      await settled()
    }
    assert.is(verbs(there), 'create patch')
    there.now += 6 * MINUTE - 1
    there.recorder.refresh()
    await settled()
    assert.is(verbs(there), 'create patch')
    there.now += 1
    there.recorder.refresh()
    await settled()
    assert.is(verbs(there), 'create patch patch')
    assert.equal(bodyAt(there, 2, 'series'), { count: 5, lastObservedTime: '2026-01-02T03:04:05.006000Z' })
  })

  test('after six minutes is a new Event, refreshed or not', async () => {
    for (const isRefreshed of [true, false]) {
      const there = world()
      there.recorder.record(MODEL, READY)
      await settled()
      there.now += 6 * MINUTE
      if (isRefreshed) there.recorder.refresh()
      there.recorder.record(MODEL, READY)
      await settled()
      assert.is(verbs(there), 'create create')
      assert.is(bodyAt(there, 1, 'metadata', 'name'), 'qwq.0000000000000001')
      assert.is(bodyAt(there, 1, 'series'), undefined)
    }
  })

  test('after six minutes does not take the count of the last series away', async () => {
    const there = world()
    for (let times = 0; times < 5; times++) {
      there.recorder.record(MODEL, READY)
      await settled()
    }
    there.now += 6 * MINUTE
    there.recorder.record(MODEL, READY)
    await settled()
    assert.is(verbs(there), 'create patch patch create')
    assert.is(bodyAt(there, 2, 'series', 'count'), 5)
  })

  test('is not what differs in anything', async () => {
    const there = world()
    there.recorder.record(MODEL, FAILED)
    there.recorder.record({ ...MODEL, uid: 'other' }, FAILED)
    there.recorder.record(MODEL, { ...FAILED, note: 'No access' })
    there.recorder.record(MODEL, { ...FAILED, reason: 'StorageLost' })
    there.recorder.record(MODEL, { ...FAILED, action: 'Look' })
    there.recorder.record(MODEL, { ...FAILED, type: 'Normal' })
    await settled()
    assert.is(verbs(there), 'create create create create create create')
  })

  test('while the first is on its way waits for it', async () => {
    const there = world()
    let answer = (): void => undefined
    there.answer = () =>
      new Promise<void>((resolve) => {
        answer = resolve
      })
    for (let times = 0; times < 4; times++) there.recorder.record(MODEL, READY)
    await settled()
    assert.is(verbs(there), 'create')
    answer()
    await settled()
    assert.is(verbs(there), 'create patch')
    assert.is(bodyAt(there, 1, 'series', 'count'), 4)
  })

  test('makes the Event anew where the API server has let it go', async () => {
    const there = world()
    there.recorder.record(MODEL, READY)
    await settled()
    there.answer = async ({ verb }) => {
      if (verb === 'patch') throw refusal(404)
    }
    there.recorder.record(MODEL, READY)
    await settled()
    assert.is(verbs(there), 'create patch create')
    assert.is(bodyAt(there, 2, 'metadata', 'name'), 'qwq.0000000000000000')
    assert.is(bodyAt(there, 2, 'series', 'count'), 2)
    assert.is(there.lost, 0)
  })
})

describe('an object with too many Events', (test) => {
  const note = (count: number): Happening => ({ ...FAILED, note: `Attempt ${count}` })

  test('has 25, then one every five minutes', async () => {
    const there = world()
    for (let count = 0; count < 40; count++) there.recorder.record(MODEL, note(count))
    await settled()
    assert.is(there.calls.length, 25)
    assert.is(there.lost, 15)
    assert.is(there.dropped[0], 'Event dropped: the object has too many')
    there.now += 5 * MINUTE - 1
    there.recorder.record(MODEL, note(40))
    await settled()
    assert.is(there.calls.length, 25)
    there.now += 2
    there.recorder.record(MODEL, note(41))
    there.recorder.record(MODEL, note(42))
    await settled()
    assert.is(there.calls.length, 26)
    there.now += 24 * 60 * MINUTE
    for (let count = 50; count < 90; count++) there.recorder.record(MODEL, note(count))
    await settled()
    assert.is(there.calls.length, 26 + 25)
  })

  test('takes nothing from others, nor from a series of its own', async () => {
    const there = world()
    for (let count = 0; count < 30; count++) there.recorder.record(MODEL, note(count))
    there.recorder.record({ ...MODEL, uid: 'other' }, READY)
    await settled()
    assert.is(there.calls.length, 26)
    there.recorder.record(MODEL, note(0))
    await settled()
    assert.is(verbs(there).endsWith(' patch'), true)
    assert.is(there.lost, 5)
  })
})

describe('Events', (test) => {
  const many = (there: World, count: number): void => {
    for (let index = 0; index < count; index++) there.recorder.record({ ...MODEL, uid: `${index}` }, READY)
  }

  test('fail without a word to anybody but the log', async () => {
    const there = world()
    there.answer = async () => {
      throw new Error('cannot create', { cause: new Error('socket hang up') })
    }
    there.recorder.record(MODEL, READY)
    await settled()
    assert.equal([there.lost, there.dropped], [1, ['Event dropped: cannot create: socket hang up']])
    there.answer = async () => ({})
    there.recorder.record(MODEL, READY)
    await settled()
    // The first one does not exist, so there is nothing to patch.
    assert.is(verbs(there), 'create create')
    assert.is(bodyAt(there, 1, 'series'), undefined)
  })

  test('fail as quietly where the client throws at once', async () => {
    const there = world()
    there.answer = () => {
      throw refusal(403)
    }
    there.recorder.record(MODEL, READY)
    await settled()
    assert.is(there.lost, 1)
  })

  test('of a series that cannot be told are not tried each time', async () => {
    const there = world()
    there.recorder.record(MODEL, READY)
    await settled()
    there.answer = async () => {
      throw refusal(500)
    }
    for (let times = 0; times < 10; times++) {
      there.recorder.record(MODEL, READY)
      await settled()
    }
    assert.is(verbs(there), 'create patch')
    there.answer = async () => ({})
    there.now += 6 * MINUTE
    there.recorder.refresh()
    await settled()
    assert.is(verbs(there), 'create patch patch')
    assert.is(bodyAt(there, 2, 'series', 'count'), 11)
  })

  test('go out two at a time, in their order', async () => {
    const there = world()
    const answers: (() => void)[] = []
    there.answer = () => new Promise((resolve) => answers.push(() => resolve({})))
    many(there, 5)
    await settled()
    for (const started of [2, 3, 4, 5, 5, 5]) {
      assert.is(there.calls.length, started)
      answers.shift()?.()
      await settled()
    }
    const uids = there.calls.map(({ body }) => valueAt(body, ['regarding', 'uid']))
    assert.equal(uids, ['0', '1', '2', '3', '4'])
  })

  test('that nobody takes are kept to a bound', async () => {
    const there = world()
    there.answer = () => new Promise(() => undefined)
    many(there, 1_002)
    assert.is(there.lost, 0)
    many(there, 1_005)
    assert.is(there.lost, 3)
    assert.is(there.dropped[0], 'Event dropped: too many wait')
  })

  test('are remembered to a bound, the latest longest', async () => {
    const there = world()
    for (let batch = 0; batch < 9; batch++) {
      for (let index = 0; index < 500; index++)
        there.recorder.record({ ...MODEL, uid: `${batch}/${index}` }, { ...READY, note: `${batch}` })
      if (batch === 4) there.recorder.record({ ...MODEL, uid: '0/1' }, { ...READY, note: '0' })
      const sent = (batch + 1) * 500 + (batch < 4 ? 0 : 1)
      await new Promise<void>((resolve) => {
        const look = (): void => {
          if (there.calls.length === sent) resolve()
          else setImmediate(look)
        }
        look()
      })
    }
    there.calls.length = 0
    there.recorder.record({ ...MODEL, uid: '0/0' }, { ...READY, note: '0' })
    there.recorder.record({ ...MODEL, uid: '0/1' }, { ...READY, note: '0' })
    there.recorder.record({ ...MODEL, uid: '8/499' }, { ...READY, note: '8' })
    await settled()
    assert.is(verbs(there), 'create patch')
  })
})

describe('at the end', (test) => {
  test('what waits is sent, and counts that were kept', async () => {
    const there = world()
    for (let times = 0; times < 5; times++) {
      there.recorder.record(MODEL, READY)
      await settled()
    }
    for (let index = 0; index < 5; index++) there.recorder.record({ ...MODEL, uid: `${index}` }, READY)
    await there.recorder.flush(1_000)
    assert.is(there.calls.length, 2 + 5 + 1)
    const counts = there.calls.map(({ body }) => (isRecord(body) ? valueAt(body, ['series', 'count']) : undefined))
    assert.ok(counts.includes(5))
    assert.is(there.timers.size, 0)
  })

  test('nothing is waited for where nothing waits', async () => {
    const there = world()
    await there.recorder.flush(1_000)
    assert.is(there.timers.size, 0)
  })

  test('an API server that does not answer is not waited for', async () => {
    const there = world()
    there.answer = () => new Promise(() => undefined)
    for (let index = 0; index < 5; index++) there.recorder.record({ ...MODEL, uid: `${index}` }, READY)
    let isOver = false
    const flushed = there.recorder.flush(1_000).then(() => {
      isOver = true
    })
    await settled()
    assert.not.ok(isOver)
    for (const run of there.timers) run()
    await flushed
    assert.is(there.calls.length, 2)
    assert.is(there.lost, 3)
  })
})
