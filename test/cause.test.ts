import * as assert from 'uvu/assert'
import { jobCause, lastFailed, podCause } from '../controller/cause.ts'
import { type SeenPod, seenJob, seenPod, type Why } from '../controller/seen.ts'
import { REASONS } from '../crds/termination.ts'
import { APPLIED, laidOver } from './data/status-rows.ts'
import { describe } from './harness.ts'

interface End {
  readonly exitCode?: number
  readonly reason?: string
  readonly message?: string
  readonly finishedAt?: string
}

/** A failed pod; `more` is YAML of its status. */
function failed({ exitCode = 1, reason = 'Error', message = '', finishedAt }: End, more = ''): SeenPod {
  const terminated = JSON.stringify({ exitCode, reason, message, finishedAt })
  const statuses = `status: {phase: Failed, containerStatuses: [{name: worker, state: {terminated: ${terminated}}}]}`
  const pod = seenPod(laidOver(APPLIED.pod, [statuses, more]))
  if (pod === undefined) throw new Error('it must be a pod')
  return pod
}

const said = (fields: Readonly<Record<string, unknown>>): string =>
  JSON.stringify({ v: 1, reason: 'GatedRepo', message: 'gated', retryable: false, ...fields })

const UNKNOWN = 'ModelLoadFailed'

const disrupted = (reason: string, message = ''): string =>
  `status: {conditions: [{type: DisruptionTarget, status: "True", reason: ${reason}, message: "${message}"}]}`

interface Case {
  readonly why: string
  readonly pod: SeenPod
  readonly want: Why
}

const CASES: Readonly<Record<string, Case>> = {
  'the loader says why': {
    why: 'its own words come first',
    pod: failed({ exitCode: 11, message: said({}) }),
    want: { reason: 'GatedRepo', message: 'gated' },
  },
  'the loader says why, and was killed then': {
    why: 'what it says it knows',
    pod: failed({ exitCode: 137, reason: 'OOMKilled', message: said({}) }, disrupted('EvictionByEvictionAPI')),
    want: { reason: 'GatedRepo', message: 'gated' },
  },
  'with terminal escapes': {
    why: 'kubectl prints it to a terminal',
    pod: failed({
      message: said({ message: '\u001b[31mred\u001b[0m\n\u001b]8;;http://a\u0007link\u001b]8;;\u0007\u0007' }),
    }),
    want: { reason: 'GatedRepo', message: 'red link' },
  },
  'with too many words': {
    why: 'a condition is no log',
    pod: failed({ message: said({ message: 'x'.repeat(3900) }) }),
    want: { reason: 'GatedRepo', message: `${'x'.repeat(999)}…` },
  },
  'with members of other types': {
    why: 'they are of no account here',
    pod: failed({ message: said({ commit: 5, files: 'many', totalBytes: -1, status: {} }) }),
    want: { reason: 'GatedRepo', message: 'gated' },
  },
  'a reason that is every object’s': {
    why: 'it is a text like any other',
    pod: failed({ message: said({ reason: 'constructor' }) }),
    want: { reason: UNKNOWN, message: said({ reason: 'constructor' }) },
  },
  'a reason that is a number': {
    why: 'it is a text like any other',
    pod: failed({ message: said({ reason: 11 }) }),
    want: { reason: UNKNOWN, message: said({ reason: 11 }) },
  },
  'a message that is an object': {
    why: 'it is a text like any other',
    pod: failed({ message: said({ message: { a: 1 } }) }),
    want: { reason: UNKNOWN, message: said({ message: { a: 1 } }) },
  },
  'another version': {
    why: 'nobody knows what it means',
    pod: failed({ message: said({ v: 2 }) }),
    want: { reason: UNKNOWN, message: said({ v: 2 }) },
  },
  'a log': {
    why: 'FallbackToLogsOnError',
    pod: failed({ message: 'Traceback:\n  line 1\n\u001b[31mKeyError\u001b[0m\n' }),
    want: { reason: UNKNOWN, message: 'Traceback: line 1 KeyError' },
  },
  'a long log': {
    why: 'its end says more',
    pod: failed({ message: `${'x'.repeat(2048)}${'y'.repeat(299)}` }),
    want: { reason: UNKNOWN, message: `…${'y'.repeat(299)}` },
  },
  'far too much': {
    why: 'no kubelet keeps so much, but nobody checks',
    pod: failed({ message: `{"v":1,"reason":"GatedRepo","message":"${'x'.repeat(1_000_000)}` }),
    want: { reason: UNKNOWN, message: `…${'x'.repeat(299)}` },
  },
  'only an exit code': {
    why: 'better than nothing',
    pod: failed({ exitCode: 139 }),
    want: { reason: UNKNOWN, message: 'The worker ended with exit code 139' },
  },
  'an exit code with a word': {
    why: 'the runtime’s',
    pod: failed({ exitCode: 128, reason: 'StartError' }),
    want: { reason: UNKNOWN, message: 'The worker ended with exit code 128 (StartError)' },
  },
  'only controls': {
    why: 'the same as no message',
    pod: failed({ exitCode: 3, message: '\u0000\u001b[2J\n' }),
    want: { reason: UNKNOWN, message: 'The worker ended with exit code 3' },
  },
  'out of memory': {
    why: 'the log knows nothing of it',
    pod: failed({ exitCode: 137, reason: 'OOMKilled', message: '{"level":30}\n' }),
    want: {
      reason: 'OutOfMemory',
      message: 'The worker ran out of memory; raise spec.instanceSpec.resources.limits.memory',
    },
  },
  'stopped, nobody says by whom': {
    why: 'the loader was asked to end',
    pod: failed({ exitCode: 40, message: said({ reason: 'Interrupted', message: 'asked to end' }) }),
    want: { reason: 'Interrupted', message: 'asked to end' },
  },
  'stopped for another pod': {
    why: 'the cluster knows more than the loader',
    pod: failed(
      { exitCode: 40, message: said({ reason: 'Interrupted', message: 'asked to end' }) },
      disrupted('PreemptionByScheduler'),
    ),
    want: { reason: 'Preempted', message: 'The worker pod had to make room for a pod of higher priority' },
  },
  'evicted through the API': {
    why: 'a drain',
    pod: failed({ exitCode: 137 }, disrupted('EvictionByEvictionAPI', 'Eviction API: evicting')),
    want: { reason: 'Evicted', message: 'The worker pod was evicted: Eviction API: evicting' },
  },
  'node gone': {
    why: 'its pod is collected',
    pod: failed({ exitCode: 137 }, disrupted('DeletionByPodGC', 'PodGC: node no longer exists')),
    want: {
      reason: 'NodeLost',
      message: 'The node of the worker pod is gone or does not answer: PodGC: node no longer exists',
    },
  },
  'refused by the node': {
    why: 'no container ever was',
    pod: failed({}, 'status: {containerStatuses: null, reason: OutOfcpu, message: Node does not have enough cpu}'),
    want: { reason: 'OutOfcpu', message: 'Node does not have enough cpu' },
  },
  'refused by the node without words': {
    why: 'a word is better than nothing',
    pod: failed({}, 'status: {containerStatuses: null, reason: NodeAffinity}'),
    want: { reason: 'NodeAffinity', message: 'The pod was ended: NodeAffinity' },
  },
  'past its deadline': {
    why: 'of the pod, not of the Job',
    pod: failed({}, 'status: {reason: DeadlineExceeded, message: Pod was active on the node longer than the deadline}'),
    want: { reason: 'DeadlineExceeded', message: 'Pod was active on the node longer than the deadline' },
  },
}

describe('the cause of a failed pod', (test) => {
  for (const [name, { why, pod, want }] of Object.entries(CASES)) {
    test(name, () => assert.equal(podCause(pod), want, why))
  }

  for (const [reason, { exitCode }] of Object.entries(REASONS)) {
    if (reason === 'Loaded') continue
    test(`${reason} of the loader`, () =>
      assert.equal(podCause(failed({ exitCode, message: said({ reason, message: 'why' }) })), {
        reason,
        message: 'why',
      }))
  }

  test('is not known where nobody says it', () => {
    assert.is(podCause(failed({}, 'status: {containerStatuses: null}')), undefined)
  })

  test('is never that it was loaded', () => {
    const cause = podCause(failed({ exitCode: 1, message: said({ reason: 'Loaded', message: '12 files' }) }))
    assert.is(cause?.reason, UNKNOWN)
    assert.is.not(cause?.message, '12 files')
  })

  test('has words, also where the loader found none', () => {
    for (const message of ['', ' ', '\u0000\n'])
      assert.is.not(podCause(failed({ message: said({ message }) }))?.message, '')
  })

  test('is one word, whatever stands there', () => {
    for (const more of [
      'status: {reason: "Evil\\e[31m\\nword"}',
      `status: {containerStatuses: null, reason: "${'x'.repeat(5000)}"}`,
    ]) {
      const reason = podCause(failed({}, more))?.reason ?? ''
      assert.not.match(reason, /\p{Cc}/u)
      assert.ok(reason.length <= 1024, 'what the API allows')
    }
  })
})

describe('the last failed pod', (test) => {
  const early = { ...failed({ finishedAt: '2026-01-05T10:01:00Z' }), uid: 'early' }
  const late = { ...failed({ finishedAt: '2026-01-05T10:02:00Z' }), uid: 'late' }

  test('is the one that ended last, whatever their order', () => {
    assert.is(lastFailed([early, late])?.uid, 'late')
    assert.is(lastFailed([late, early])?.uid, 'late')
  })

  test('counts from when it was made where no container ended', () => {
    const evicted = { ...late, uid: 'evicted', end: undefined, createdAt: Date.parse('2026-01-05T10:03:00Z') }
    assert.is(lastFailed([evicted, early, late])?.uid, 'evicted')
  })

  test('is none that runs or was done', () => {
    assert.is(
      lastFailed([
        { ...late, phase: 'Running' },
        { ...early, phase: 'Succeeded' },
      ]),
      undefined,
    )
    assert.is(lastFailed([]), undefined)
  })

  test('is the same for the same pods', () => {
    const twin = { ...late, uid: 'twin' }
    assert.equal(lastFailed([late, twin]), lastFailed([twin, late]))
  })
})

describe('the cause of a failed Job', (test) => {
  const job = (reason: string, message: string) => {
    const seen = seenJob(
      laidOver(
        APPLIED.job,
        `status: {conditions: [{type: Failed, status: "True", reason: "${reason}", message: ${JSON.stringify(message)}}]}`,
      ),
    )
    if (seen === undefined) throw new Error('it must be a Job')
    return seen
  }
  const gated = failed({ exitCode: 11, message: said({}) })

  test('is what its pod says', () => {
    assert.equal(jobCause(job('PodFailurePolicy', 'exit code 11'), [gated]), { reason: 'GatedRepo', message: 'gated' })
  })

  test('is what the Job says where there is no pod', () => {
    assert.equal(jobCause(job('BackoffLimitExceeded', 'limit\u001b[31m reached'), []), {
      reason: UNKNOWN,
      message: 'limit reached',
    })
    assert.equal(jobCause(job('', ''), []), { reason: UNKNOWN, message: 'Unknown failure reason' })
  })

  test('is its deadline, whatever the pods say', () => {
    assert.equal(jobCause(job('DeadlineExceeded', 'too long'), [gated]), {
      reason: 'DeadlineExceeded',
      message: 'too long',
    })
    assert.equal(jobCause(job('DeadlineExceeded', ''), [gated]), {
      reason: 'DeadlineExceeded',
      message: 'The Job took longer than its deadline',
    })
  })
})
