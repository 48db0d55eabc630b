import * as assert from 'uvu/assert'
import type { Call } from '../controller/client.ts'
import { explanation, telling } from '../controller/explain.ts'
import type { Subject } from '../controller/observed.ts'
import { describe } from './harness.ts'

const at = (minute: number): string => `2026-01-05T10:${String(minute).padStart(2, '0')}:00Z`

const event = (reason: string, over: object): unknown => ({ type: 'Normal', reason, message: `of ${reason}`, ...over })

interface Row {
  readonly why: string
  /** Left out: of a Job. */
  readonly kind?: Subject['kind']
  readonly events: readonly unknown[]
  /** The reason; undefined: none of them. */
  readonly want: string | undefined
}

const ROWS: Readonly<Record<string, Row>> = {
  'none at all': { why: 'they are kept for an hour', events: [], want: undefined },
  'what is no Event': { why: '', events: [null, 'text', 7, []], want: undefined },
  'the newest of a Job': {
    why: 'in whatever order the server lists them',
    events: [
      event('Old', { lastTimestamp: at(1) }),
      event('New', { lastTimestamp: at(3) }),
      event('Middle', { lastTimestamp: at(2) }),
    ],
    want: 'New',
  },
  'a complaint of a Job that is over': {
    why: 'a pod that was made at last ends it',
    events: [
      event('FailedCreate', { type: 'Warning', lastTimestamp: at(1) }),
      event('SuccessfulCreate', { lastTimestamp: at(2) }),
    ],
    want: 'SuccessfulCreate',
  },
  'a warning of a claim': {
    why: 'the binder repeats that it works on it',
    kind: 'PersistentVolumeClaim',
    events: [
      event('ProvisioningFailed', { type: 'Warning', lastTimestamp: at(1) }),
      event('ExternalProvisioning', { lastTimestamp: at(2) }),
    ],
    want: 'ProvisioningFailed',
  },
  'the newest of several warnings': {
    why: '',
    kind: 'Pod',
    events: [
      event('FailedMount', { type: 'Warning', lastTimestamp: at(1) }),
      event('FailedAttachVolume', { type: 'Warning', lastTimestamp: at(3) }),
      event('Scheduled', { lastTimestamp: at(4) }),
    ],
    want: 'FailedAttachVolume',
  },
  'no warning of a claim': {
    why: 'what goes on is better than nothing',
    kind: 'PersistentVolumeClaim',
    events: [event('WaitForFirstConsumer', { lastTimestamp: at(1) })],
    want: 'WaitForFirstConsumer',
  },
  'one that repeats itself in a series': {
    why: 'its first time is long ago',
    events: [
      event('Repeated', {
        eventTime: '2026-01-05T10:00:00.000000Z',
        series: { lastObservedTime: '2026-01-05T10:09:00.000000Z' },
      }),
      event('Once', { eventTime: '2026-01-05T10:05:00.000000Z' }),
    ],
    want: 'Repeated',
  },
  'one with nothing but its creation': {
    why: 'each client fills other fields',
    events: [
      event('Made', { lastTimestamp: null, eventTime: null, metadata: { creationTimestamp: at(5) } }),
      event('Older', { lastTimestamp: at(4) }),
    ],
    want: 'Made',
  },
  'one without any time': {
    why: 'it is the oldest',
    events: [event('Timeless', { lastTimestamp: 'soon' }), event('Timed', { lastTimestamp: at(1) })],
    want: 'Timed',
  },
}

describe('telling', (test) => {
  for (const [name, { why, kind = 'Job', events, want }] of Object.entries(ROWS)) {
    test(name, () => assert.is(telling(events, { kind })?.reason, want, why))
  }

  test('what an Event lacks, or has as something else, is empty, and its time absent', () => {
    assert.equal(telling([{ reason: 7, message: null }], { kind: 'Job' }), { reason: '', message: '' })
  })
})

describe('explanation', (test) => {
  const subject = { kind: 'Job', namespace: 'ns', uid: 'u' } as const

  test('asks for the Events of this very object, and for no more than it reads', async () => {
    const calls: Call[] = []
    const client = {
      async request(call: Call) {
        calls.push(call)
        return { items: [event('FailedCreate', { lastTimestamp: at(1) })] }
      },
    }
    assert.equal(await explanation(client, subject), {
      reason: 'FailedCreate',
      message: 'of FailedCreate',
      at: Date.parse(at(1)),
    })
    assert.equal(calls, [
      {
        verb: 'list',
        path: '/api/v1/namespaces/ns/events',
        query: { fieldSelector: 'involvedObject.uid=u', limit: 100 },
        timeoutMs: 5_000,
      },
    ])
  })

  for (const answer of [undefined, {}, { items: 'none' }, { items: null }]) {
    test(`an answer such as ${JSON.stringify(answer)} explains nothing`, async () => {
      assert.is(await explanation({ request: async () => answer }, subject), undefined)
    })
  }
})
