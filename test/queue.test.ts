import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { type Again, type Queue, type QueueHooks, queue } from '../controller/queue.ts'
import { describe } from './harness.ts'
import { type VirtualTime, virtualTime } from './virtual-time.ts'

interface Options {
  /** What work on a key does; without it each takes no time. */
  readonly work?: (key: string, time: VirtualTime) => Promise<Again | undefined>
  readonly workers?: number
  readonly random?: () => number
  readonly isPaused?: boolean
  readonly hooks?: QueueHooks
  readonly onError?: (key: string, error: unknown, retryInMs: number) => void
}

interface Subject {
  readonly keys: Queue
  readonly time: VirtualTime
  /** `key@ms` of each start. */
  readonly starts: string[]
}

/** Without jitter, unless the test asks for it. */
function subject({ work = async () => undefined, random = () => 0.5, onError, ...options }: Options = {}): Subject {
  const time = virtualTime()
  const starts: string[] = []
  const process = (key: string): Promise<Again | undefined> => {
    starts.push(`${key}@${time.now()}`)
    return work(key, time)
  }
  const keys = queue({
    ...options,
    process,
    random,
    clock: time.now,
    after: time.after,
    onError: onError ?? ((key, error) => assert.unreachable(`${key}: ${error}`)),
  })
  return { keys, time, starts }
}

const takes =
  (ms: number) =>
  async (_: string, time: VirtualTime): Promise<undefined> => {
    await time.sleep(ms)
  }

describe('queue', (test) => {
  test('a key that is added often is worked on once, in the order of the first', async () => {
    const { keys, time, starts } = subject()
    for (const key of ['a', 'b', 'a', 'c', 'b', 'a']) keys.add(key)
    assert.is(keys.depth, 3)
    assert.equal(starts, [], 'who adds comes to its end first')
    await time.pass(0)
    assert.equal(starts, ['a@0', 'b@0', 'c@0'])
    assert.is(keys.depth, 0)
  })

  test('what is added while the key is in work runs once, behind it', async () => {
    const { keys, time, starts } = subject({ work: takes(10) })
    keys.add('a')
    await time.pass(5)
    keys.add('a')
    keys.add('a')
    await time.pass(4)
    assert.equal(starts, ['a@0'])
    await time.pass(100)
    assert.equal(starts, ['a@0', 'a@10'])
  })

  test('as many keys as there are workers are in work', async () => {
    const { keys, time, starts } = subject({ work: takes(10), workers: 2 })
    for (const key of ['a', 'b', 'c', 'd', 'e']) keys.add(key)
    await time.pass(5)
    assert.is(keys.active, 2)
    assert.is(keys.depth, 3)
    await time.pass(95)
    assert.equal(starts, ['a@0', 'b@0', 'c@10', 'd@10', 'e@20'])
  })

  test('a key that never ends holds up no other', async () => {
    const { keys, time, starts } = subject({
      work: (key) => (key === 'a' ? new Promise(() => {}) : Promise.resolve(undefined)),
      workers: 2,
    })
    for (const key of ['a', 'b', 'c', 'a']) keys.add(key)
    await time.pass(0)
    keys.add('a')
    await time.pass(3_600_000)
    assert.equal(starts, ['a@0', 'b@0', 'c@0'])
    assert.is(keys.longestRunningSeconds(), 3_600)
  })

  test('of two times for a key the earlier holds', async () => {
    const { keys, time, starts } = subject()
    keys.addAfter('a', 100)
    keys.addAfter('a', 300)
    keys.addAfter('b', 300)
    keys.addAfter('b', 100)
    keys.addAfter('c', 0)
    keys.addAfter('d', Number.NaN)
    await time.pass(1000)
    assert.equal(starts, ['c@0', 'd@0', 'a@100', 'b@100'])
  })

  test('a key is not looked at before its time, and may be in between', async () => {
    const { keys, time, starts } = subject()
    keys.addAfter('a', 100)
    await time.pass(99)
    assert.equal(starts, [])
    keys.add('a')
    await time.pass(100)
    assert.equal(starts, ['a@99', 'a@100'])
  })

  test('each of many keys comes at its time, whatever the order they are added in', async () => {
    const plan = fc.array(fc.record({ key: fc.nat(60), ms: fc.integer({ min: 1, max: 1000 }), isGone: fc.boolean() }), {
      maxLength: 200,
      size: 'max',
    })
    await fc.assert(
      fc.asyncProperty(plan, async (steps) => {
        const { keys, time, starts } = subject()
        const want = new Map<string, number>()
        for (const { key, ms, isGone } of steps) {
          if (isGone && want.delete(`${key}`)) {
            keys.forget(`${key}`)
          } else {
            keys.addAfter(`${key}`, ms)
            want.set(`${key}`, Math.min(ms, want.get(`${key}`) ?? ms))
          }
        }
        await time.pass(1000)
        assert.equal([...starts].sort(), Array.from(want, ([key, at]) => `${key}@${at}`).sort())
      }),
      { numRuns: 50 },
    )
  })

  test('there is one timer, however many times there are, and none for a time beyond what timers take', async () => {
    const { keys, time, starts } = subject()
    const month = 31 * 24 * 3_600_000
    for (let each = 100; each > 0; each--) keys.addAfter(`k${each}`, each)
    keys.addAfter('late', month)
    assert.is(time.timers(), 1)
    await time.pass(month - 1)
    assert.is(starts.length, 100)
    assert.is(time.timers(), 1)
    await time.pass(1)
    assert.is(starts.at(-1), `late@${month}`)
    assert.is(time.timers(), 0)
  })

  test('a timer that comes early is set again', async () => {
    const time = virtualTime()
    const starts: number[] = []
    const keys = queue({
      process: async () => {
        starts.push(time.now())
        return undefined
      },
      onError: () => assert.unreachable(),
      clock: time.now,
      after: (ms, call) => time.after(ms > 1 ? ms - 1 : ms, call),
      random: () => 0.5,
    })
    keys.addAfter('a', 50)
    await time.pass(49)
    assert.equal(starts, [])
    await time.pass(1)
    assert.equal(starts, [50])
  })

  test('work says when the key is to be looked at again', async () => {
    const { keys, time, starts } = subject({ work: async () => ({ afterMs: 30_000 }) })
    keys.add('a')
    await time.pass(60_000)
    assert.equal(starts, ['a@0', 'a@30000', 'a@60000'])
  })

  test('a failure is tried again after 0.1 s, then twice as long each time, up to 5 minutes', async () => {
    const waits: number[] = []
    const { keys, time, starts } = subject({
      work: () => Promise.reject(new Error('no')),
      onError: (_, __, retryInMs) => waits.push(retryInMs),
    })
    keys.add('a')
    await time.pass(3_600_000)
    assert.equal(waits.slice(0, 5), [100, 200, 400, 800, 1600])
    assert.equal(waits.slice(10, 14), [102_400, 204_800, 300_000, 300_000])
    assert.equal(starts.slice(0, 4), ['a@0', 'a@100', 'a@300', 'a@700'])
  })

  test('the time until the next try varies by a fifth', async () => {
    for (const [random, want] of [
      [0, 80],
      [0.25, 90],
      [0.75, 110],
    ] as const) {
      const waits: number[] = []
      const { keys, time } = subject({
        work: () => Promise.reject(new Error('no')),
        random: () => random,
        onError: (_, __, retryInMs) => waits.push(Math.round(retryInMs)),
      })
      keys.add('a')
      await time.pass(0)
      assert.equal(waits, [want])
    }
  })

  test('a success begins the back-off anew, each key has its own, and a throw at once counts too', async () => {
    const waits: string[] = []
    const outcomes = ['no', 'no', 'yes', 'no']
    const { keys, time } = subject({
      work: (key) => {
        if (key === 'b' || outcomes.shift() === 'no') throw new Error('no')
        return Promise.resolve({ afterMs: 1000 })
      },
      onError: (key, _, retryInMs) => waits.push(`${key} ${retryInMs}`),
    })
    keys.add('a')
    await time.pass(1350)
    keys.add('b')
    await time.pass(0)
    assert.equal(waits, ['a 100', 'a 200', 'a 100', 'b 100'])
  })

  test('"again at once" has the back-off of a failure', async () => {
    const { keys, time, starts } = subject({ work: async () => ({ afterMs: 0 }) })
    keys.add('a')
    await time.pass(1000)
    assert.equal(starts, ['a@0', 'a@100', 'a@300', 'a@700'])
  })

  test('what the server asked to wait is waited', async () => {
    const waits: number[] = []
    for (const retryAfterMs of [5000, 50, undefined, Number.NaN, 'soon']) {
      const { keys, time } = subject({
        work: () => Promise.reject(Object.assign(new Error('429'), { retryAfterMs })),
        onError: (_, __, retryInMs) => waits.push(retryInMs),
      })
      keys.add('a')
      await time.pass(0)
    }
    assert.equal(waits, [5000, 100, 100, 100, 100])
  })

  test('a key that is gone has no plans and no back-off', async () => {
    const waits: number[] = []
    const { keys, time, starts } = subject({
      work: (key) => (key === 'a' ? Promise.reject(new Error('no')) : Promise.resolve(undefined)),
      onError: (_, __, retryInMs) => waits.push(retryInMs),
    })
    keys.add('a')
    keys.addAfter('b', 10)
    await time.pass(150)
    keys.forget('a')
    assert.is(time.timers(), 0)
    keys.add('c')
    keys.forget('c')
    await time.pass(10_000)
    assert.equal(starts, ['a@0', 'b@10', 'a@100'])
    keys.add('a')
    await time.pass(0)
    assert.equal(waits, [100, 200, 100])
  })

  test('a key that is forgotten and added again has the last place and one turn', async () => {
    const { keys, time, starts } = subject()
    keys.add('a')
    keys.add('b')
    keys.forget('a')
    keys.add('a')
    await time.pass(0)
    assert.equal(starts, ['b@0', 'a@0'])
  })

  test('what a key in work waited for is forgotten with it', async () => {
    const { keys, time, starts } = subject({ work: takes(10) })
    keys.add('a')
    await time.pass(5)
    keys.add('a')
    keys.forget('a')
    await time.pass(100)
    assert.equal(starts, ['a@0'])
  })

  test('draining waits for those in work and drops all others', async () => {
    const { keys, time, starts } = subject({ work: takes(10), workers: 1 })
    keys.add('a')
    keys.add('b')
    keys.addAfter('c', 50)
    await time.pass(5)
    keys.add('a')
    let isDone = false
    const drained = keys.drain(1000).then(() => {
      isDone = true
    })
    keys.add('d')
    keys.addAfter('e', 1)
    await time.pass(4)
    assert.not(isDone)
    await time.pass(1)
    assert.ok(isDone)
    await drained
    assert.is(time.timers(), 0)
    await time.pass(10_000)
    assert.equal(starts, ['a@0'])
    assert.is(keys.depth, 0)
    await keys.drain(1000)
  })

  test('what fails or asks for more while it is drained is not planned', async () => {
    const { keys, time, starts } = subject({
      work: async (key, time) => {
        await time.sleep(10)
        if (key === 'a') throw new Error('no')
        return { afterMs: 5 }
      },
      onError: () => {},
    })
    keys.add('a')
    keys.add('b')
    await time.pass(5)
    const drained = keys.drain(1000)
    await time.pass(10_000)
    await drained
    assert.equal(starts, ['a@0', 'b@0'])
    assert.is(time.timers(), 0)
  })

  test('draining ends in time, though work does not', async () => {
    const { keys, time } = subject({ work: () => new Promise(() => {}) })
    keys.add('a')
    await time.pass(0)
    let doneAt: number | undefined
    const drained = keys.drain(20_000).then(() => {
      doneAt = time.now()
    })
    await time.pass(30_000)
    await drained
    assert.is(doneAt, 20_000)
  })

  test('a paused queue collects, also what becomes due', async () => {
    const { keys, time, starts } = subject({ isPaused: true })
    for (const key of ['a', 'b', 'a']) keys.add(key)
    keys.addAfter('c', 100)
    await time.pass(3_600_000)
    assert.equal(starts, [])
    assert.is(keys.depth, 3)
    assert.ok(keys.isPaused())
    keys.resume()
    assert.not(keys.isPaused())
    await time.pass(0)
    assert.equal(starts, ['a@3600000', 'b@3600000', 'c@3600000'])
  })

  test('hooks hear of all that happens, with the times', async () => {
    const heard: string[] = []
    const outcomes: readonly (Again | undefined | 'no')[] = ['no', { afterMs: 0 }, { afterMs: 1000 }, undefined]
    let run = 0
    const { keys, time } = subject({
      work: async (_, time) => {
        await time.sleep(10)
        const outcome = outcomes[run++]
        if (outcome === 'no') throw new Error('no')
        return outcome
      },
      workers: 1,
      hooks: {
        added: (key) => heard.push(`added ${key}`),
        started: (key, seconds) => heard.push(`started ${key} ${seconds}`),
        done: (key, seconds, result) => heard.push(`done ${key} ${seconds} ${result}`),
        retried: (key) => heard.push(`retried ${key}`),
      },
      onError: (key) => heard.push(`error ${key}`),
    })
    keys.add('a')
    keys.add('b')
    await time.pass(4)
    assert.is(keys.unfinishedSeconds(), 0.004)
    keys.add('a')
    keys.add('a')
    keys.forget('b')
    await time.pass(10_000)
    const first = ['added a', 'added b', 'started a 0', 'added a', 'retried a', 'error a', 'done a 0.01 error']
    const second = ['started a 0.006', 'retried a', 'done a 0.01 requeue']
    const third = ['added a', 'started a 0', 'retried a', 'done a 0.01 requeue_after']
    assert.equal(heard.slice(0, 7), first)
    assert.equal(heard.slice(7, 10), second)
    assert.equal(heard.slice(10, 14), third)
    assert.is(heard.at(-1), 'done a 0.01 success')
    assert.is(keys.unfinishedSeconds(), 0)
    assert.is(keys.longestRunningSeconds(), 0)
  })

  test('hooks that throw end nothing', async () => {
    const bad = (): never => {
      throw new Error('a hook')
    }
    const { keys, time, starts } = subject({
      work: (key) => (key === 'a' ? Promise.reject(new Error('no')) : Promise.resolve(undefined)),
      hooks: { added: bad, started: bad, done: bad, retried: bad },
      onError: bad,
    })
    keys.add('a')
    keys.add('b')
    await time.pass(100)
    assert.equal(starts, ['a@0', 'b@0', 'a@100'])
  })

  test('work that waits for nothing hands the event loop back every 20 ms', async () => {
    let now = 0
    const turns: number[] = []
    await new Promise<void>((resolve) => {
      let runs = 0
      const keys = queue({
        process: async () => {
          now += 6
          if (++runs === 30) resolve()
          return undefined
        },
        onError: () => assert.unreachable(),
        clock: () => now,
        after: (_, call) => {
          turns.push(now)
          const turn = setImmediate(call)
          return () => clearImmediate(turn)
        },
        random: () => 0.5,
        workers: 2,
      })
      for (let each = 0; each < 30; each++) keys.add(`k${each}`)
    })
    assert.equal(turns, [0, 24, 48, 72, 96, 120, 144, 168])
  })

  test('never two at once for a key, and nothing that is added is lost', async () => {
    const action = fc.oneof(
      { weight: 5, arbitrary: fc.record({ kind: fc.constant('add' as const), key: fc.nat(4) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('later' as const), key: fc.nat(4), ms: fc.nat(50) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(30) }) },
      { weight: 1, arbitrary: fc.constant({ kind: 'resume' as const }) },
    )
    const outcome = fc.record({
      ms: fc.nat(20),
      end: fc.constantFrom<'done' | 'fails' | 'throws' | number>('done', 'done', 'fails', 'throws', 0, 7),
    })
    const plan = fc.record({
      actions: fc.array(action, { maxLength: 40 }),
      outcomes: fc.array(outcome, { minLength: 1, maxLength: 10 }),
      workers: fc.integer({ min: 1, max: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ actions, outcomes, workers }) => {
        const inWork = new Set<string>()
        const askedAt = new Map<string, number>()
        const startedAt = new Map<string, number>()
        const errors: unknown[] = []
        let runs = 0
        let moment = 0
        const { keys, time } = subject({
          workers,
          isPaused: true,
          onError: (_, error) => errors.push(error),
          work: async (key, time) => {
            assert.not(inWork.has(key), `two at once of ${key}`)
            assert.ok(inWork.size < workers, `${inWork.size + 1} at once`)
            startedAt.set(key, moment++)
            const { ms, end } = outcomes[runs++ % outcomes.length] ?? { ms: 0, end: 'done' }
            // In the end all succeed, or nothing would ever be at rest.
            if (runs > 200) return undefined
            inWork.add(key)
            if (ms > 0) await time.sleep(ms)
            inWork.delete(key)
            if (end === 'fails' || end === 'throws') throw new Error('no')
            return end === 'done' ? undefined : { afterMs: end }
          },
        })
        for (const step of actions) {
          if (step.kind === 'pass') await time.pass(step.ms)
          else if (step.kind === 'resume') keys.resume()
          else {
            askedAt.set(`${step.key}`, moment++)
            if (step.kind === 'later') keys.addAfter(`${step.key}`, step.ms)
            else keys.add(`${step.key}`)
          }
        }
        keys.resume()
        await time.pass(1e9)
        for (const [key, at] of askedAt) assert.ok((startedAt.get(key) ?? -1) > at, `${key} was lost`)
        assert.is(keys.depth, 0)
        assert.is(keys.active, 0)
        assert.is(time.timers(), 0)
        assert.equal(
          errors.map(String).filter((each) => each !== 'Error: no'),
          [],
        )
      }),
      { numRuns: 200 },
    )
  })
})
