import fc from 'fast-check'
import * as assert from 'uvu/assert'
import {
  type Elector,
  elector,
  type LeaseCall,
  type LeaseClient,
  TIMING,
  timingProblem,
} from '../controller/elector.ts'
import { microTime } from '../controller/times.ts'
import { isRecord } from '../crds/place.ts'
import { describe } from './harness.ts'
import { type VirtualTime, virtualTime } from './virtual-time.ts'

const PATH = '/apis/coordination.k8s.io/v1/namespaces/arks/leases'
const NAMED = `${PATH}/arksmodel-controller`
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/
const SPEC_KEYS = ['acquireTime', 'holderIdentity', 'leaseDurationSeconds', 'leaseTransitions', 'renewTime']
const START_MS = Date.UTC(2026, 0, 1)

interface Stored {
  readonly metadata: Readonly<Record<string, unknown>>
  readonly spec: Readonly<Record<string, unknown>>
}

/** What happens to a request on its way. Without `answersIn` the answer is lost, without `arrivesIn` it never arrives. */
interface Fate {
  readonly arrivesIn?: number
  readonly answersIn?: number
  readonly code?: number
}

const WELL: Fate = { arrivesIn: 1, answersIn: 1 }
const SILENT: Fate = {}

/** The Lease of an API server; as strict as that. */
function leaseServer(): {
  readonly answer: (call: LeaseCall) => unknown
  readonly stored: () => Stored | undefined
  readonly spec: () => Readonly<Record<string, unknown>>
  readonly edit: (spec: Readonly<Record<string, unknown>>) => void
  readonly remove: () => void
  readonly log: string[]
} {
  let lease: Stored | undefined
  let version = 0
  const log: string[] = []
  const store = (metadata: Readonly<Record<string, unknown>>, spec: Readonly<Record<string, unknown>>): Stored => {
    lease = { metadata: { ...metadata, resourceVersion: `${++version}` }, spec }
    return structuredClone(lease)
  }
  const checked = (body: unknown): Stored => {
    const { metadata, spec } = isRecord(body) ? body : {}
    if (!isRecord(metadata) || !isRecord(spec)) throw refusal(400)
    assert.equal(Object.keys(spec).sort(), SPEC_KEYS)
    if (![spec['acquireTime'], spec['renewTime']].every((each) => MICRO_TIME.test(String(each)))) throw refusal(400)
    if (!Number.isInteger(spec['leaseDurationSeconds'])) throw refusal(422)
    return structuredClone({ metadata, spec })
  }
  return {
    log,
    stored: () => lease,
    spec: () => lease?.spec ?? {},
    remove: () => {
      lease = undefined
    },
    edit: (spec) => {
      store(lease?.metadata ?? {}, { ...lease?.spec, ...spec })
    },
    answer({ verb, path, body }) {
      log.push(verb)
      assert.is(path, verb === 'create' ? PATH : NAMED)
      if (verb === 'get') {
        if (lease === undefined) throw refusal(404)
        return structuredClone(lease)
      }
      const { metadata, spec } = checked(body)
      if (verb === 'create') {
        if (lease !== undefined) throw refusal(409)
        assert.is(metadata['name'], 'arksmodel-controller')
        return store({ ...metadata, uid: `u${version}`, labels: { kept: 'yes' } }, spec)
      }
      if (lease === undefined) throw refusal(404)
      if (metadata['resourceVersion'] !== lease.metadata['resourceVersion']) throw refusal(409)
      return store(metadata, spec)
    },
  }
}

const refusal = (code: number): Error => Object.assign(new Error(`the server said ${code}`), { code })

interface Candidate {
  readonly elector: Elector
  /** `what@ms`. */
  readonly events: string[]
  readonly troubles: string[]
  /** Neither its timers nor its answers reach it for so long. */
  readonly freeze: (ms: number) => void
  readonly isFrozen: () => boolean
  /** Of its requests from now on. */
  fate: (call: LeaseCall) => Fate
}

interface CandidateOptions {
  readonly server: ReturnType<typeof leaseServer>
  readonly time: VirtualTime
  readonly skewMs?: number
  readonly fate?: (call: LeaseCall) => Fate
  readonly onStarted?: () => void
  readonly onNewLeader?: (identity: string) => void
  readonly random?: () => number
}

function candidate(identity: string, { server, time, skewMs = 0, ...options }: CandidateOptions): Candidate {
  let thawsAt = 0
  const thawed = async (): Promise<void> => {
    while (time.now() < thawsAt) await time.sleep(thawsAt - time.now())
  }
  const sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    assert.ok(Number.isInteger(ms) && ms > 0, `slept ${ms} ms`)
    await time.sleep(ms, signal)
    await thawed()
  }
  const request = async (call: LeaseCall): Promise<unknown> => {
    assert.ok(Number.isInteger(call.timeoutMs) && call.timeoutMs > 0, `time-out of ${call.timeoutMs} ms`)
    assert.is(call.lane, 'lease')
    const { arrivesIn, answersIn, code } = self.fate(call)
    if (arrivesIn === undefined) return new Promise(() => {})
    await time.sleep(arrivesIn)
    try {
      if (code !== undefined) throw refusal(code)
      return server.answer(call)
    } finally {
      await (answersIn === undefined ? new Promise(() => {}) : time.sleep(answersIn))
      await thawed()
    }
  }
  const client: LeaseClient = { request }
  const events: string[] = []
  const troubles: string[] = []
  const note = (what: string): void => {
    events.push(`${what}@${time.now()}`)
  }
  const self: Omit<Candidate, 'elector'> = {
    events,
    troubles,
    freeze: (ms) => {
      thawsAt = time.now() + ms
    },
    isFrozen: () => time.now() < thawsAt,
    fate: options.fate ?? (() => WELL),
  }
  const started = elector({
    client,
    namespace: 'arks',
    name: 'arksmodel-controller',
    identity,
    clock: time.now,
    wallClock: () => START_MS + skewMs + time.now(),
    sleep,
    random: options.random ?? (() => 0.5),
    onStarted: () => {
      note('started')
      options.onStarted?.()
    },
    onStopped: (why) => note(`stopped: ${why}`),
    onNewLeader: (leader) => {
      note(`leader ${leader}`)
      options.onNewLeader?.(leader)
    },
    onTrouble: (error) => troubles.push(String(error)),
  })
  return Object.assign(self, { elector: started })
}

const isActing = ({ elector, isFrozen }: Candidate): boolean => !isFrozen() && elector.isLeading()

describe('elector', (test) => {
  test('the first creates the lease and renews it every two seconds', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    assert.not(one.elector.isLeading())
    await time.pass(10)
    assert.ok(one.elector.isLeading())
    assert.equal(one.events, ['leader one@4', 'started@4'])
    assert.equal(server.spec(), {
      holderIdentity: 'one',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.002000Z',
      renewTime: '2026-01-01T00:00:00.002000Z',
      leaseTransitions: 0,
    })
    await time.pass(5_000)
    assert.equal(server.log, ['get', 'create', 'update', 'update'])
    assert.is(server.spec()['acquireTime'], '2026-01-01T00:00:00.002000Z')
    assert.is(server.spec()['renewTime'], '2026-01-01T00:00:04.006000Z')
    assert.equal(server.stored()?.metadata['labels'], { kept: 'yes' }, 'what others wrote beside it stays')
    await time.pass(3_600_000)
    assert.ok(one.elector.isLeading())
    assert.is(one.events.length, 2)
    assert.equal(one.troubles, [])
  })

  test('a second waits as long as the first renews, and says who leads', async () => {
    const time = virtualTime()
    const server = leaseServer()
    candidate('one', { server, time })
    await time.pass(100)
    const two = candidate('two', { server, time })
    await time.pass(3_600_000)
    assert.not(two.elector.isLeading())
    assert.equal(two.events, ['leader one@102'])
  })

  test('candidates try after the retry period and up to 1.2 times as much', async () => {
    for (const [random, tries] of [
      [0, 11],
      [0.999999, 5],
    ] as const) {
      const time = virtualTime()
      const server = leaseServer()
      candidate('one', { server, time })
      await time.pass(100)
      const before = server.log.filter((verb) => verb === 'get').length
      candidate('two', { server, time, random: () => random })
      await time.pass(20_100)
      assert.is(server.log.filter((verb) => verb === 'get').length - before, tries)
    }
  })

  test('a leader that hears nothing of the server steps down after ten seconds, before its lease is over', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    one.fate = () => SILENT
    await time.pass(10_001 - 100)
    assert.ok(one.elector.isLeading(), 'it was renewed 10 s ago at most')
    await time.pass(1)
    assert.not(one.elector.isLeading())
    await time.pass(60_000)
    assert.equal(one.events.slice(2), ['stopped: the lease was not renewed for 10000 ms@10003'])
  })

  test('a request that the server refuses is tried again every two seconds until the deadline', async () => {
    for (const code of [0, 401, 403, 409, 429, 500, 503]) {
      const time = virtualTime()
      const server = leaseServer()
      const one = candidate('one', { server, time })
      await time.pass(100)
      one.fate = () => ({ ...WELL, code })
      await time.pass(7_000)
      assert.ok(one.elector.isLeading())
      assert.is(one.troubles.length, 6, 'three tries, each the fast and the slow way')
      one.fate = () => WELL
      await time.pass(60_000)
      assert.ok(one.elector.isLeading(), `after ${code}`)
      one.fate = () => ({ ...WELL, code })
      await time.pass(10_000)
      assert.not(one.elector.isLeading())
      assert.match(one.events.at(-1) ?? '', /^stopped: the lease was not renewed/)
    }
  })

  test('only how fast clocks go matters: one that is 20 s ahead or behind takes nothing', async () => {
    for (const skewMs of [20_000, -20_000, 3_600_000]) {
      const time = virtualTime()
      const server = leaseServer()
      const one = candidate('one', { server, time })
      await time.pass(100)
      const two = candidate('two', { server, time, skewMs })
      await time.pass(600_000)
      assert.ok(one.elector.isLeading())
      assert.not(two.elector.isLeading())
      assert.is(server.spec()['leaseTransitions'], 0)
    }
  })

  test('the lease of one that crashed is taken 15 s after it was last seen to change', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    const two = candidate('two', { server, time, random: () => 0 })
    await time.pass(10_000)
    const renewedAt = server.spec()['renewTime']
    one.freeze(Number.POSITIVE_INFINITY)
    await time.pass(14_000)
    assert.not(two.elector.isLeading())
    await time.pass(5_000)
    assert.ok(two.elector.isLeading())
    assert.is(server.spec()['holderIdentity'], 'two')
    assert.is(server.spec()['leaseTransitions'], 1)
    assert.is.not(server.spec()['acquireTime'], renewedAt)
    assert.is(two.events.at(-2)?.split('@')[0], 'leader two')
  })

  test('a lease without a duration, or of nobody, is taken at once', async () => {
    for (const spec of [{ leaseDurationSeconds: undefined }, { holderIdentity: '' }, { holderIdentity: undefined }]) {
      const time = virtualTime()
      const server = leaseServer()
      server.edit({ holderIdentity: 'gone', leaseDurationSeconds: 15, leaseTransitions: 3, ...spec })
      const one = candidate('one', { server, time })
      await time.pass(100)
      assert.ok(one.elector.isLeading())
      assert.is(server.spec()['leaseTransitions'], 4)
    }
  })

  test('the duration that the holder wrote counts, not our own', async () => {
    const time = virtualTime()
    const server = leaseServer()
    server.edit({ holderIdentity: 'slow', leaseDurationSeconds: 60, leaseTransitions: 0 })
    const one = candidate('one', { server, time })
    await time.pass(59_000)
    assert.not(one.elector.isLeading())
    await time.pass(6_000)
    assert.ok(one.elector.isLeading())
  })

  test('a release lets the successor in at its next try', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    const two = candidate('two', { server, time })
    await time.pass(10_000)
    const released = one.elector.release()
    assert.not(one.elector.isLeading(), 'before anybody else can')
    await time.pass(10)
    await released
    assert.is(server.spec()['holderIdentity'], '')
    assert.is(server.spec()['leaseDurationSeconds'], 1)
    await time.pass(4_400)
    assert.ok(two.elector.isLeading())
    assert.is(server.spec()['leaseTransitions'], 1)
    assert.equal(one.events.slice(2), [], 'who releases it knows that it has stopped')
    await one.elector.release()
  })

  test('a release during a renewal waits for it, and does not end with another leader', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    one.fate = ({ verb }) => (verb === 'update' ? { arrivesIn: 300, answersIn: 300 } : WELL)
    await time.pass(2_000)
    const released = one.elector.release()
    await time.pass(2_000)
    await released
    assert.is(server.spec()['holderIdentity'], '')
    assert.is(time.timers(), 0)
  })

  test('a release takes nothing from another, and ends though the server is silent', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    server.edit({ holderIdentity: 'other' })
    const released = one.elector.release()
    await time.pass(100)
    await released
    assert.is(server.spec()['holderIdentity'], 'other')

    server.remove()
    const two = candidate('two', { server, time })
    await time.pass(100)
    assert.ok(two.elector.isLeading())
    two.fate = () => SILENT
    const releasedToo = two.elector.release()
    await time.pass(5_000)
    await releasedToo
    assert.is(two.troubles.length, 1)
  })

  test('who is released while it acquires the lease does not start', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(1)
    const releasedSoon = one.elector.release()
    await time.pass(100)
    await releasedSoon
    assert.is(server.stored(), undefined, 'a look was under way')

    const two = candidate('two', { server, time })
    await time.pass(2)
    const released = two.elector.release()
    await time.pass(100)
    await released
    assert.is(server.spec()['holderIdentity'], '', 'a write was under way')
    assert.equal([...one.events, ...two.events], ['leader two@105'])
  })

  test('time-outs and pauses are whole milliseconds, though the clock has parts of them', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', {
      server,
      time,
      fate: () => ({ arrivesIn: 0.7, answersIn: 0.6 }),
      random: () => 0.1234,
    })
    await time.pass(20_000)
    one.fate = () => SILENT
    await time.pass(20_000)
    assert.match(one.events.at(-1) ?? '', /^stopped: the lease was not renewed/)
    assert.equal(
      [...new Set(one.troubles)].map((each) => each.replace(/\d+/, 'so many')),
      ['Error: no answer within so many ms', 'Error: no answer within so many ms'],
    )
  })

  test('a candidate that is released has nothing to give back', async () => {
    const time = virtualTime()
    const server = leaseServer()
    candidate('one', { server, time })
    await time.pass(100)
    const two = candidate('two', { server, time })
    await time.pass(100)
    const calls = server.log.length
    await two.elector.release()
    assert.is(server.log.length, calls)
    assert.is(server.spec()['holderIdentity'], 'one')
    await time.pass(60_000)
    assert.not(two.elector.isLeading())
  })

  test('a foreign write is a 409 and costs one look', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    server.edit({})
    const calls = server.log.length
    await time.pass(2_000)
    assert.equal(server.log.slice(calls), ['update', 'get', 'update'])
    assert.ok(one.elector.isLeading())
    assert.is(server.spec()['leaseTransitions'], 0)
    assert.is(one.events.length, 2)
  })

  test('a lease that is deleted is made again', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    server.remove()
    await time.pass(2_100)
    assert.is(server.spec()['holderIdentity'], 'one')
    assert.ok(one.elector.isLeading())
    assert.is(one.events.length, 2)
  })

  test('a leader that finds another name in the lease stops at once', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    for (const leaseDurationSeconds of [15, 0]) server.edit({ holderIdentity: 'other', leaseDurationSeconds })
    await time.pass(2_000)
    assert.not(one.elector.isLeading())
    assert.equal(one.events.slice(2), ['leader other@2008', 'stopped: the lease is held by other@2008'])
    assert.is(server.spec()['holderIdentity'], 'other')
  })

  test('a renewal whose answer is lost is still ours', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    let isFirst = true
    one.fate = () => {
      const fate = isFirst ? { arrivesIn: 1 } : WELL
      isFirst = false
      return fate
    }
    await time.pass(60_000)
    assert.ok(one.elector.isLeading())
    assert.is(one.troubles.length, 1)
    assert.is(server.spec()['leaseTransitions'], 0)
  })

  test('an acquisition whose answer comes too late starts nothing', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(2)
    one.freeze(12_000)
    await time.pass(12_001)
    assert.is(server.spec()['holderIdentity'], 'one')
    assert.not(one.elector.isLeading())
    assert.not(one.events.some((each) => each.startsWith('started')))
    await time.pass(5_000)
    assert.ok(one.elector.isLeading(), 'the next try renews it')
  })

  test('a process that was frozen leads no longer when it wakes, and writes only after it has looked', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    one.freeze(60_000)
    await time.pass(59_999)
    const calls = server.log.length
    assert.not(one.elector.isLeading())
    await time.pass(100)
    assert.equal(server.log.slice(calls), ['get', 'update'])
    assert.ok(one.elector.isLeading(), 'nobody else took it')
    assert.is(server.spec()['leaseTransitions'], 0)
    assert.is(one.events.length, 2)
  })

  test('a process that was frozen ends when another took over meanwhile', async () => {
    const time = virtualTime()
    const server = leaseServer()
    const one = candidate('one', { server, time })
    await time.pass(100)
    const two = candidate('two', { server, time })
    one.freeze(60_000)
    await time.pass(59_000)
    assert.ok(two.elector.isLeading())
    await time.pass(2_000)
    assert.not(one.elector.isLeading())
    assert.match(one.events.at(-1) ?? '', /^stopped: the lease is held by two@/)
    assert.ok(two.elector.isLeading())
    assert.is(server.spec()['holderIdentity'], 'two')
  })

  test('whatever ends the election ends the leadership', async () => {
    const bug = (): never => {
      throw new Error('a bug')
    }
    const time = virtualTime()
    const one = candidate('one', { server: leaseServer(), time, onStarted: bug })
    await time.pass(100)
    assert.not(one.elector.isLeading())
    assert.equal(one.events.slice(1), ['started@4', 'stopped: the election broke: a bug@4'])

    const stops: string[] = []
    const server = leaseServer()
    let sleeps = 0
    const two = elector({
      client: { request: async (call) => server.answer(call) },
      namespace: 'arks',
      name: 'arksmodel-controller',
      identity: 'two',
      clock: time.now,
      wallClock: () => START_MS,
      sleep: (ms, signal) => (++sleeps > 4 ? Promise.reject(new Error('no timers')) : time.sleep(ms, signal)),
      random: () => 0.5,
      onStarted: () => {},
      onStopped: (why) => stops.push(why),
    })
    await time.pass(60_000)
    assert.equal(stops, ['the election broke: no timers'])
    assert.not(two.isLeading())
  })

  test('an answer that is no Lease is trouble, not a lease', async () => {
    for (const answer of [undefined, 'OK', {}, { metadata: {} }, { metadata: { resourceVersion: 1 }, spec: {} }]) {
      const time = virtualTime()
      const troubles: unknown[] = []
      const one = elector({
        client: { request: async () => answer },
        namespace: 'arks',
        name: 'arksmodel-controller',
        identity: 'one',
        clock: time.now,
        wallClock: () => START_MS,
        sleep: time.sleep,
        random: () => 0.5,
        onStarted: () => assert.unreachable(),
        onStopped: () => assert.unreachable(),
        onTrouble: (error) => troubles.push(error),
      })
      await time.pass(10_000)
      assert.not(one.isLeading())
      assert.ok(troubles.length >= 3)
      await one.release()
    }
  })

  test('times have six digits', () => {
    assert.is(microTime(START_MS), '2026-01-01T00:00:00.000000Z')
    assert.is(microTime(START_MS + 7.9), '2026-01-01T00:00:00.007000Z')
  })

  const timings = {
    'the defaults of client-go': { timing: TIMING, want: undefined },
    'slower ones': { timing: { leaseMs: 60_000, renewDeadlineMs: 40_000, retryMs: 5_000 }, want: undefined },
    'a lease that ends at the deadline': {
      timing: { leaseMs: 10_000, renewDeadlineMs: 10_000, retryMs: 2_000 },
      want: 'the lease must last longer than the renew deadline (10000 ms), got 10000 ms',
    },
    'a deadline without a second try': {
      timing: { leaseMs: 15_000, renewDeadlineMs: 2_400, retryMs: 2_000 },
      want: 'the renew deadline must be more than 1.2 times the retry period (2000 ms), got 2400 ms',
    },
    'no pause': {
      timing: { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 0 },
      want: 'the retry period must be more than 0 ms, got 0 ms',
    },
    'no number': {
      timing: { leaseMs: Number.NaN, renewDeadlineMs: 10_000, retryMs: 2_000 },
      want: 'the lease must last longer than the renew deadline (10000 ms), got NaN ms',
    },
    'a part of a second': {
      timing: { leaseMs: 15_500, renewDeadlineMs: 10_000, retryMs: 2_000 },
      want: 'the lease must last whole seconds, got 15500 ms',
    },
  }
  for (const [name, { timing, want }] of Object.entries(timings)) {
    test(`timing: ${name}`, () => assert.is(timingProblem(timing), want))
  }

  test('never do two lead at once, whatever the network and the scheduler do', async () => {
    const ms = fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 0, max: 50 }) },
      { weight: 2, arbitrary: fc.integer({ min: 0, max: 6_000 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 40_000 }) },
    )
    const fate: fc.Arbitrary<Fate> = fc.oneof(
      { weight: 6, arbitrary: fc.record({ arrivesIn: ms, answersIn: ms }) },
      { weight: 1, arbitrary: fc.record({ arrivesIn: ms }) },
      { weight: 1, arbitrary: fc.constant(SILENT) },
      { weight: 1, arbitrary: fc.record({ arrivesIn: ms, answersIn: ms, code: fc.constantFrom(0, 409, 429, 500) }) },
    )
    const life = fc.record({
      fates: fc.array(fate, { minLength: 1, maxLength: 30 }),
      freezes: fc.array(fc.record({ at: fc.nat(240_000), ms: fc.nat(40_000) }), { maxLength: 4 }),
      skewMs: fc.integer({ min: -60_000, max: 60_000 }),
      random: fc.double({ min: 0, max: 0.99, noNaN: true }),
    })
    let leaders = 0
    let changes = 0
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 2, maxLength: 3 }), async (lives) => {
        const time = virtualTime()
        const server = leaseServer()
        const all: Candidate[] = []
        const check = (): void => {
          const acting = all.filter(isActing)
          assert.ok(acting.length < 2, `${acting.length} lead at ${time.now()} ms`)
          leaders += acting.length
        }
        const seen = new Set<string>()
        for (const [index, { fates, freezes, skewMs, random }] of lives.entries()) {
          let calls = 0
          const fate = (): Fate => fates[calls++ % fates.length] ?? WELL
          const one = candidate(`c${index}`, { server, time, skewMs, fate, random: () => random, onStarted: check })
          all.push(one)
          for (const { at, ms } of freezes) time.after(at, () => one.freeze(ms))
        }
        for (let step = 0; step < 1200; step++) {
          await time.pass(200)
          check()
          const holder = server.spec()['holderIdentity']
          if (typeof holder === 'string') seen.add(holder)
        }
        changes += seen.size > 1 ? 1 : 0
        for (const { events } of all)
          assert.not(
            events.some((each) => each.includes('broke')),
            events.join(),
          )
      }),
      { numRuns: 60 },
    )
    assert.ok(leaders > 0 && changes > 0, `${leaders} looks found a leader, ${changes} runs had several`)
  })
})
