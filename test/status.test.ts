import fc from 'fast-check'
import * as assert from 'uvu/assert'
import type { Condition } from '../controller/conditions.ts'
import { type Look, latched, type Observed } from '../controller/observed.ts'
import {
  canonical,
  type SeenClaim,
  type SeenJob,
  type SeenModel,
  type SeenPod,
  seenPod,
  type Why,
} from '../controller/seen.ts'
import { type Judgement, status } from '../controller/status.ts'
import { parseStatus, type Status } from '../controller/stored.ts'
import { CONDITION_TYPES } from '../crds/arksmodel.ts'
import {
  APPLIED,
  JOB,
  judgementOf,
  laidOver,
  nowOf,
  objectOf,
  observedOf,
  type Row,
  STATUS_ROWS,
  type Want,
} from './data/status-rows.ts'
import { describe } from './harness.ts'
import { at } from './objects.ts'

describe('the state table', (test) => {
  for (const [name, row] of Object.entries(STATUS_ROWS)) {
    if (row.isUnwritten) continue
    test(name, () => assert.equal(found(judgementOf(row).status), wanted(row), row.why))
  }

  test('has every row', () => {
    const numbers = new Set(Object.keys(STATUS_ROWS).map((name) => Number(/^\d+/.exec(name)?.[0])))
    for (let row = 0; row <= 26; row += 1) assert.ok(numbers.has(row), `row ${row}`)
  })

  test('is what kstatus makes of it', () => {
    for (const [name, row] of Object.entries(STATUS_ROWS)) {
      const word = { R: 'InProgress', X: 'Failed', D: 'Current' }[row.want.mark]
      assert.is(kstatus(objectOf(row)), word, name)
    }
  })
})

describe('time', (test) => {
  for (const [name, row] of Object.entries(STATUS_ROWS)) {
    if (!name.includes(', just before ')) continue
    test(`tells when to look again: ${name}`, () => assert.is(judgementOf(row).changesAt, nowOf(row) + 1000))
  }

  test('takes back no Stalled that a new clock knows nothing of', () => {
    for (const [name, row] of Object.entries(STATUS_ROWS)) {
      const { status: before } = judgementOf(row)
      const restarted = status({ ...withStatus(observedOf(row), before), since: undefined }, nowOf(row))
      if (row.want.mark === 'X') assert.equal(found(restarted.status), found(before), name)
    }
  })

  test('begins anew with a changed spec: what belongs to it is about to be applied', () => {
    const row = rowOf('14 bound, Job missing, at 10:05:00')
    const { status: stalled, since } = judgementOf(row)
    const seen = withStatus(observedOf(row), stalled)
    const changed = { ...seen, model: { ...seen.model, generation: 4 }, since }
    assert.is(status(changed, nowOf(row) + 60_000).status.conditions[3]?.type, 'Reconciling')
  })

  test('moves lastTransitionTime with `status` only', () => {
    for (const [name, row] of Object.entries(STATUS_ROWS)) {
      const { status: before } = judgementOf(row)
      const later = status(withStatus(observedOf(row), before), nowOf(row) + 1000).status
      for (const { type, status: truth, lastTransitionTime } of later.conditions) {
        const was = before.conditions.find((each) => each.type === type)
        const isSame = was?.status === truth
        assert.is(lastTransitionTime === was?.lastTransitionTime, isSame, `${name}: ${type}`)
      }
    }
  })
})

describe('back at an earlier render', (test) => {
  const first = observedOf(rowOf('11 complete'))
  const [own] = first.job === undefined ? [] : [first.job]
  assert.ok(own)
  const minute = 60_000
  const start = nowOf(rowOf('11 complete'))
  const later: SeenJob = {
    ...own,
    name: 'arks-worker-qwen-7b-later',
    uid: 'later',
    hash: 'later',
    startedAt: start + minute,
    end: undefined,
    ...(own.loads && { loads: { ...own.loads, revision: 'v2' } }),
  }
  const there = {
    ...first.model,
    generation: 4,
    workerJob: later.name,
    wants: { ...first.model.wants, revision: 'v2' },
  }
  const refused = (failed: number): SeenJob => ({
    ...later,
    failed,
    end: {
      kind: 'Failed',
      at: start + minute + 2000,
      reason: 'PodFailurePolicy',
      message: `Container worker for pod models/${later.name}-x7k2p failed with exit code 13 matching FailJob rule at index 0`,
    },
  })
  /** Each look goes on from the status of the one before; a minute lies between them. */
  const reasons = (...looks: readonly Partial<Observed>[]): readonly string[] => {
    let known = status(first, start).status
    return looks.map((look, index) => {
      const seen = { ...first, stale: [], pods: [], ...look }
      known = status(
        withStatus({ ...seen, model: { ...first.model, ...look.model } }, known),
        start + (index + 2) * minute,
      ).status
      return String(at(known.conditions[2], 'reason'))
    })
  }
  const atLater = { model: there, job: later, stale: [own] }
  const again: SeenJob = { ...own, uid: 'again', startedAt: start + 5 * minute, end: undefined }
  const ended = (job: SeenJob): SeenJob => ({
    ...job,
    end: { kind: 'Complete', at: (job.startedAt ?? 0) + minute, reason: '', message: '' },
  })

  test('is not ready by what was written down, when the later Job was at work and is pruned', () => {
    assert.equal(reasons({ ...atLater, stale: [] }, { job: again }, { job: ended(again) }), [
      'WorkerPending',
      'ModelLoading',
      'Ready',
    ])
  })

  test('is not ready when the later Job is deleted by hand', () => {
    assert.equal(reasons(atLater, { job: own, stale: [later] }, { job: own }, { job: ended(again) }), [
      'WorkerPending',
      'Overwritten',
      'Overwritten',
      'Ready',
    ])
  })

  test('is not ready when its own Job is deleted as told', () => {
    assert.equal(reasons(atLater, { job: own, stale: [ended(later)] }, { job: undefined, stale: [ended(later)] }), [
      'WorkerPending',
      'Overwritten',
      'WaitingForWorker',
    ])
  })

  test('is ready when the later Job was refused before it wrote, and not when it had tried before', () => {
    const back = { job: own, stale: [refused(1)] }
    assert.equal(reasons(atLater, { ...atLater, job: refused(1) }, back, { job: undefined }).slice(2), [
      'Ready',
      'Ready',
    ])
    assert.equal(
      reasons(atLater, { ...atLater, job: refused(2) }, { ...back, stale: [refused(2)] }).at(-1),
      'Overwritten',
    )
  })

  test('goes forward again to what is there', () => {
    const done = { ...atLater, job: ended(later) }
    assert.equal(reasons(atLater, done, { job: own, stale: [ended(later)] }, done), [
      'WorkerPending',
      'Ready',
      'Overwritten',
      'Ready',
    ])
  })
})

describe('what was loaded', (test) => {
  const complete = rowOf('11 complete')

  test('is written down once it is', () => {
    const { worker } = judgementOf(complete).status
    assert.equal(worker, {
      jobName: JOB,
      hash: '22b669b55c',
      pvcUID: observedOf(complete).claim?.uid,
      loadedAt: '2026-01-05T10:20:00Z',
      model: 'Qwen/Qwen2.5-7B-Instruct-1M',
    })
  })

  test('stays so without the Job', () => {
    const after = status(
      { ...withStatus(observedOf(complete), judgementOf(complete).status), job: undefined },
      nowOf(complete),
    )
    assert.is(after.status.phase, 'Ready')
    assert.equal(after.status.worker, judgementOf(complete).status.worker)
  })

  test('is lost with the claim', () => {
    const seen = withStatus(observedOf(complete), judgementOf(complete).status)
    const gone = status({ ...seen, claim: undefined, job: undefined }, nowOf(complete))
    const again = seen.claim && { ...seen.claim, uid: 'another', createdAt: nowOf(complete) }
    const empty = status({ ...withStatus(seen, gone.status), claim: again, job: undefined }, nowOf(complete))
    assert.is(gone.status.phase, 'Pending')
    assert.is(at(empty.status.conditions[2], 'reason'), 'WaitingForWorker')
  })

  test('comes from the terminations of all shards', () => {
    const pods = observedOf(rowOf('24 running')).pods
    const [pod] = pods
    if (pod === undefined) return assert.unreachable('the row has a pod')
    const shard = (index: number, files: number): SeenPod => ({
      ...pod,
      uid: `${index}`,
      index,
      phase: 'Succeeded',
      end: {
        exitCode: 0,
        at: 0,
        reason: 'Completed',
        message: JSON.stringify({
          v: 1,
          reason: 'Loaded',
          message: '',
          retryable: false,
          commit: 'abc',
          files,
          totalBytes: 10 * files,
        }),
      },
    })
    const { model, progress } = status(
      { ...observedOf(complete), pods: [shard(0, 2), shard(1, 3)] },
      nowOf(complete),
    ).status
    assert.equal(model, { path: '/models/models/default/qwen-7b', commit: 'abc', files: 5, bytes: 50 })
    assert.equal(progress, { jobName: JOB, percent: 100, loadedBytes: 50, totalBytes: 50 })
  })

  test('is overwritten by one that was at work in the path since', () => {
    const reason = (name: string): unknown => {
      const row = rowOf(`two models on one path, the other ${name}`)
      const seen = withStatus(observedOf(row), judgementOf(row).status)
      return at(status({ ...seen, rivals: [] }, nowOf(row) + 1000).status.conditions[2], 'reason')
    }
    assert.is(reason('at work'), 'Overwritten')
    assert.is(reason('before'), 'Ready')
    assert.is(reason('waiting'), 'Ready')
  })
})

/** Whose Events are read, and from when on. */
const UNEXPLAINED: Readonly<Record<string, readonly [kind: string | undefined, from?: string]>> = {
  '18 no pod yet': ['Job', '10:00:06'],
  '18 Job not started': ['Job', '10:00:05'],
  '18 pod of which nobody has said anything': [undefined],
  '17 pending, no pod': ['Job', '10:00:06'],
  '17 pending, pod has no node': ['PersistentVolumeClaim', '10:00:06'],
  '21 ContainerCreating': ['Pod', '10:00:17'],
  '21 ErrImagePull': [undefined],
  '22 ImagePullBackOff': [undefined],
  '24 running': [undefined],
  '25 next one is not there yet': ['Job', '10:10:19'],
  '11 complete': [undefined],
  '16 bound, Job suspended': [undefined],
}

describe('Events', (test) => {
  for (const [name, [kind, from]] of Object.entries(UNEXPLAINED)) {
    test(`are ${kind === undefined ? 'not read' : `those of the ${kind}`}: ${name}`, () => {
      const { unexplained } = judgementOf(rowOf(name))
      assert.is(unexplained?.subject.kind, kind)
      assert.is(unexplained && new Date(unexplained.from).toISOString().slice(11, 19), from)
    })
  }
})

describe('a pod that is being deleted', (test) => {
  test('on a node that is gone is not said to be loading', () => {
    const seen = observedOf(rowOf('24 running'))
    const disrupted = { reason: 'DeletionByTaintManager', message: 'Taint manager: deleting due to NoExecute taint' }
    const pods = seen.pods.map((pod) => ({ ...pod, isDeleting: true, disrupted }))
    const hours = 5 * 3_600_000
    assert.is.not(status({ ...seen, pods }, T0 + hours).status.conditions[2]?.reason, 'ModelLoading')
  })
})

describe('progress', (test) => {
  const half = { jobName: JOB, percent: 50, loadedBytes: 50, totalBytes: 100 }
  const loading = rowOf('24 running, progress')

  test('stands beside what is loading, and stays while nobody tells more', () => {
    const { status: first } = judgementOf(loading)
    assert.equal(first.progress, half)
    const next = status({ ...withStatus(observedOf(loading), first), progress: undefined }, nowOf(loading))
    assert.equal(next.status.progress, half)
  })

  test('is the same at the second look while another model is at work in the path', () => {
    const row = rowOf('12 latched, Job at work')
    const other = { name: 'other', job: observedOf(row).job }
    const seen: Observed = { ...observedOf(row), rivals: [other], progress: half }
    const { status: first } = status(seen, nowOf(row))
    assert.equal(status(withStatus(seen, first), nowOf(row)).status, first)
  })

  test('is not that of an older render', () => {
    const { status: first } = judgementOf(loading)
    const seen = withStatus(observedOf(loading), first)
    const workerJob = 'arks-worker-qwen-7b-ffffffffff'
    const job = seen.job && { ...seen.job, name: workerJob, uid: 'new', hash: 'ffffffffff' }
    const model = { ...seen.model, workerJob }
    assert.is(status({ ...seen, model, job, pods: [], progress: undefined }, nowOf(loading)).status.progress, undefined)
  })
})

/** What changes from one try to the next is not in the status: each write is a message to all who watch. */
const TRIES: Readonly<Record<string, readonly [row: string, (seen: Observed, first: boolean) => Observed]>> = {
  'the back-off of the kubelet': [
    '24 running',
    (seen, first) => ({
      ...seen,
      pods: seen.pods.map((pod) => ({
        ...pod,
        phase: 'Pending',
        isRunning: false,
        waiting: {
          image: '',
          reason: 'CrashLoopBackOff',
          message: `back-off ${first ? '10s' : '5m0s'} restarting failed container=worker pod=${pod.name}_default(1)`,
        },
      })),
    }),
  ],
  'the name of a pod that is not valid': [
    '18 no pod yet',
    refusedPod((pod) => `Error creating: Pod "${pod}" is invalid: spec.containers[0].image: Required value`),
  ],
  'the name of a pod that a webhook refuses': [
    '18 no pod yet',
    refusedPod(
      (pod) =>
        `Error creating: admission webhook "kyverno" denied the request: resource Pod/default/${pod} was blocked due to policies`,
    ),
  ],
}

function refusedPod(message: (pod: string) => string): (seen: Observed, first: boolean) => Observed {
  return (seen, first) => ({
    ...seen,
    explained: {
      [seen.job?.uid ?? '']: { reason: 'FailedCreate', message: message(`${JOB}-${first ? 'x7k2p' : 'b9d4w'}`) },
    },
  })
}

describe('a message', (test) => {
  for (const [name, [row, seen]] of Object.entries(TRIES)) {
    test(`does not change with ${name}`, () => {
      const said = (first: boolean): unknown =>
        status(seen(observedOf(rowOf(row)), first), nowOf(rowOf(row))).status.conditions[2]
      assert.equal(said(false), said(true))
    })
  }
})

/** Lists that anybody may make long. */
const CROWDS: Readonly<Record<string, (seen: Observed, count: number) => Observed>> = {
  'models on one path': (seen, count) => ({
    ...seen,
    rivals: Array.from({ length: count }, (_, index) => ({ name: `${'r'.repeat(60)}${index}`, job: undefined })),
  }),
  'stale Jobs': (seen, count) => ({
    ...seen,
    job: undefined,
    stale: Array.from({ length: count }, (_, index) => ({ ...anyJob(seen), name: `${JOB}${index}` })),
  }),
  patterns: (seen, count) => ({
    ...seen,
    model: { ...seen.model, wants: { ...seen.model.wants, include: Array(count).fill('*.safetensors') } },
    job: { ...anyJob(seen), loads: { ...seen.model.wants, include: ['*.gguf'] } },
  }),
}

function anyJob({ job }: Observed): SeenJob {
  if (job === undefined) throw new Error('the row must have a Job')
  return job
}

describe('a message about an image', (test) => {
  test('names no other than the one that cannot be pulled', () => {
    const seen = observedOf(rowOf('22 ImagePullBackOff, image not told'))
    const pod = seenPod(
      laidOver(APPLIED.pod, [
        'spec: {initContainers: [{name: setup, image: "busybox:9"}]}',
        'status: {phase: Pending, initContainerStatuses: [{name: setup, state: {waiting: {reason: ImagePullBackOff}}}]}',
        'status: {containerStatuses: [{name: worker, state: {waiting: {reason: PodInitializing}}}]}',
      ]),
    )
    const pods = pod === undefined ? [] : [pod]
    const message = status({ ...seen, pods }, T0).status.conditions[2]?.message ?? ''
    assert.match(message, 'ImagePullBackOff')
    assert.not.match(message, 'arksai/arksmodel')
  })
})

describe('a message about many', (test) => {
  for (const [name, seen] of Object.entries(CROWDS)) {
    test(`fits into a table: ${name}`, () => {
      const row = rowOf('18 no pod yet')
      for (const { message } of status(seen(observedOf(row), 100), nowOf(row)).status.conditions) {
        assert.ok(message.length <= 1100, `${message.length} characters`)
      }
    })
  }
})

const T0 = Date.parse('2026-01-05T10:00:00Z')
const ms = fc.integer({ min: 0, max: 20 }).map((minutes) => T0 + minutes * 60_000)
const CLAIMS = ['claim-a', 'claim-b'] as const
const OLDER = 'arks-worker-qwen-7b-0123456789'

/** What others may have written: controls, escapes, halves of characters, and far too much. */
const nasty: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    '',
    'a plain sentence',
    'two\nlines\r\n\tand a tab',
    '\u001b[31mred\u001b[0m \u001b]8;;http://a\u0007link\u001b]8;;\u0007',
    '\u009b2J\u0085\u007f\u0000',
    'abc\u202egnp.exe\u2066x\u2069\u200f',
    '\ud800 half \udfff',
    'x'.repeat(6000),
    '模型🙂'.repeat(1500),
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
)
const reason = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom('Evicted', 'ContainerCreating', 'ErrImagePull', 'ImagePullBackOff', 'Error'),
  },
  {
    weight: 5,
    arbitrary: fc.constantFrom('Unschedulable', 'SchedulingGated', 'OOMKilled', 'CrashLoopBackOff', 'FailedCreate', ''),
  },
  { weight: 1, arbitrary: nasty },
)
const why: fc.Arbitrary<Why> = fc.record({ reason, message: nasty })
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined })
const seenObject = { namespace: fc.constant('default'), resourceVersion: fc.constant('1'), createdAt: ms }
const rarely = fc.integer({ max: 5, min: 0 }).map((each) => each === 0)
const wants = fc.record({
  model: fc.oneof(fc.constant('a/b'), fc.constant('a/b'), nasty),
  revision: maybe(fc.oneof(fc.constant('v1'), nasty)),
  include: fc.oneof(fc.constant([]), fc.array(nasty, { maxLength: 3 })),
  exclude: fc.constant([]),
})

const claim: fc.Arbitrary<SeenClaim> = fc.record({
  ...seenObject,
  name: fc.constant('qwen-7b'),
  uid: fc.constantFrom(...CLAIMS),
  isDeleting: rarely,
  phase: fc.constantFrom('Bound', 'Bound', 'Bound', 'Pending', 'Lost', ''),
})

const job: fc.Arbitrary<SeenJob> = fc.record({
  ...seenObject,
  name: fc.constant(JOB),
  uid: fc.constantFrom('job-a', 'job-b'),
  isDeleting: rarely,
  hash: maybe(fc.constant('22b669b55c')),
  model: maybe(fc.constant('qwen-7b')),
  loads: maybe(wants),
  claim: fc.constantFrom('qwen-7b', 'qwen-7b', 'qwen-7b', 'another', undefined),
  isSuspended: rarely,
  failed: fc.nat(3),
  completions: fc.constantFrom(1, 1, 2),
  startedAt: maybe(ms),
  end: maybe(fc.record({ kind: fc.constantFrom('Complete', 'Complete', 'Failed'), at: ms, reason, message: nasty })),
})

const termination = fc
  .record({
    v: fc.constant(1),
    reason: fc.constantFrom('Loaded', 'GatedRepo', 'Interrupted'),
    message: nasty,
    retryable: fc.boolean(),
  })
  .map((each) => JSON.stringify({ ...each, commit: 'abc', files: 2, totalBytes: 10 }))

const pod: fc.Arbitrary<SeenPod> = fc.record({
  ...seenObject,
  name: fc.constant(`${JOB}-x7k2p`),
  uid: fc.constantFrom('pod-a', 'pod-b'),
  isDeleting: rarely,
  owner: fc.constant('job-a'),
  job: fc.constant(JOB),
  index: fc.constantFrom(0, 1, Number.NaN),
  phase: fc.constantFrom('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown', ''),
  ip: fc.constant(undefined),
  reason,
  message: nasty,
  unscheduled: maybe(why),
  disrupted: maybe(why),
  waiting: maybe(fc.record({ reason, message: nasty, image: fc.constantFrom('arksai/arksmodel:0.1.0', '') })),
  isRunning: fc.boolean(),
  end: maybe(fc.record({ exitCode: fc.nat(255), at: ms, reason, message: fc.oneof(nasty, termination) })),
})

const time = ms.map((each) => new Date(each).toISOString().replace('.000', ''))

/** Of this controller, of an older one, or of another. */
const stored = fc
  .record(
    {
      phase: fc.constantFrom('Pending', 'Ready', 'Failed', 'odd'),
      observedGeneration: fc.constantFrom(-1, 2, 3),
      conditions: fc.array(
        fc.record({
          type: fc.constantFrom(...CONDITION_TYPES, 'Other'),
          status: fc.constantFrom('True', 'False', 'Unknown'),
          reason,
          message: fc.constant('before'),
          lastTransitionTime: time,
        }),
        { maxLength: 5 },
      ),
      worker: fc.record(
        {
          jobName: fc.constantFrom(JOB, JOB, JOB, OLDER),
          pvcUID: fc.constantFrom(...CLAIMS),
          hash: fc.constant('22b669b55c'),
          loadedAt: time,
          model: fc.constantFrom('a/b', 'a/b', 'other/b'),
          revokedAt: time,
        },
        { requiredKeys: ['jobName', 'pvcUID'] },
      ),
      model: fc.record({
        path: fc.constantFrom('/models/a', '/models/b'),
        commit: fc.constant('abc'),
        bytes: fc.nat(9),
      }),
      progress: fc.record({
        jobName: fc.constantFrom(JOB, OLDER),
        percent: fc.nat(100),
        loadedBytes: fc.nat(9),
        totalBytes: fc.nat(9),
      }),
    },
    // The CRD's default has it; without it the status is one of upstream's CRD, which keeps none.
    { requiredKeys: ['observedGeneration'] },
  )
  .map(canonical)

const model: fc.Arbitrary<SeenModel> = fc.record({
  ...seenObject,
  name: fc.constant('qwen-7b'),
  uid: fc.constant('model-a'),
  isDeleting: rarely,
  generation: fc.constantFrom(3, 4),
  problem: fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: nasty }),
  wants,
  hasSource: fc.constantFrom(true, true, true, true, false),
  claim: fc.constantFrom('qwen-7b', 'qwen-7b', 'qwen-7b', 'qwen-7b', undefined),
  path: fc.constantFrom('/models/a', '/models/b'),
  workerJob: fc.oneof(
    { weight: 8, arbitrary: fc.constant(JOB) },
    { weight: 1, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: nasty.filter((each) => each !== '') },
  ),
  status: stored,
  statusWriter: fc.constant(undefined),
})

const observed: fc.Arbitrary<Observed> = fc
  .record({
    model,
    claim: fc.oneof({ weight: 8, arbitrary: claim }, { weight: 1, arbitrary: fc.constant(undefined) }),
    job: fc.oneof({ weight: 4, arbitrary: job }, { weight: 1, arbitrary: fc.constant(undefined) }),
    stale: fc.oneof(
      { weight: 5, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc.array(
          job.map((each) => ({ ...each, name: OLDER })),
          { maxLength: 60 },
        ),
      },
    ),
    pods: fc.array(pod, { maxLength: 3 }),
    rivals: fc.oneof(
      { weight: 6, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc.array(fc.record({ name: fc.constant('r'.repeat(60)), job: maybe(job) }), { maxLength: 40 }),
      },
    ),
    filler: maybe(fc.record({ name: fc.constant('filler'), isReady: fc.boolean() })),
    explained: fc.dictionary(fc.constantFrom('job-a', 'job-b', ...CLAIMS, 'pod-a', 'pod-b'), why, { maxKeys: 3 }),
    progress: maybe(
      fc.record({ percent: fc.nat(100), loadedBytes: fc.nat(9), totalBytes: fc.nat(9) }, { noNullPrototype: true }),
    ),
    intruder: fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: nasty }),
    since: maybe(
      fc.record({ reason, generation: fc.constant(3), job: maybe(fc.constant(JOB)), at: ms, wasStalled: rarely }),
    ),
  })
  // The Job is found by the annotation, and there is none of such a name.
  .map((seen) => (seen.model.workerJob === JOB ? seen : { ...seen, job: undefined, pods: [] }))

/** Each holds of every status, whatever is seen. */
const LAWS: Readonly<Record<string, (judged: Judgement, seen: Observed, now: number) => void>> = {
  'phase Ready is the condition Ready': ({ status: { phase, conditions } }) =>
    assert.is(phase === 'Ready', truth(conditions, 'Ready') === 'True'),

  'never both Reconciling and Stalled; ready, it has exactly the three': ({ status: { conditions } }) => {
    const types = conditions.map(({ type }) => type)
    const last = { True: [], False: ['Stalled'], Unknown: ['Reconciling'] }[truth(conditions, 'Ready') ?? 'True']
    assert.equal(types, ['StorageCreated', 'ModelLoaded', 'Ready', ...last])
  },

  'Ready repeats the reason': ({ status: { conditions } }) => {
    const [ready, mark] = [conditions[2], conditions[3]]
    if (mark === undefined) return
    assert.is(mark.status, 'True')
    assert.equal([mark.reason, mark.message], [ready?.reason, ready?.message])
  },

  'the generation is everywhere': ({ status: { observedGeneration, conditions } }, { model: { generation } }) => {
    assert.is(observedGeneration, generation)
    for (const each of conditions) assert.is(each.observedGeneration, generation)
  },

  'the same look at it comes to the same': ({ status: first }, seen, now) =>
    assert.equal(status(withStatus(seen, first), now).status, first),

  'reasons are there, and one word for terminals': ({ status: { conditions } }) => {
    for (const each of conditions) {
      assert.is.not(each.reason, '')
      assert.not.match(each.reason, UNPRINTABLE)
    }
  },

  'messages are one line that no terminal obeys': ({ status: { conditions } }) => {
    for (const each of conditions) {
      assert.not.match(each.message, UNPRINTABLE)
      assert.ok(each.message.isWellFormed())
    }
  },

  'messages hold no time': ({ status: { conditions } }) => {
    for (const each of conditions) assert.not.match(each.message, /\d{4}-\d\d-\d\dT\d\d:\d\d/)
  },

  'messages are not too long for a table': ({ status: { conditions } }) => {
    for (const { message } of conditions) assert.ok([...message].length <= 1100, `${[...message].length} characters`)
  },

  'lastTransitionTime moves with `status` only': ({ status: { conditions } }, { model: seen }, now) => {
    const before = parseStatus(seen.status).conditions
    for (const each of conditions) {
      const was = before.find(({ type }) => type === each.type)
      const time = new Date(now).toISOString().replace('.000', '')
      assert.is(each.lastTransitionTime, was?.status === each.status ? was.lastTransitionTime : time)
    }
  },

  'Failed is final: no storage named, claim lost, Job failed': ({ status: { phase } }, { model: seen, claim, job }) => {
    if (phase !== 'Failed') return
    assert.ok(seen.claim === undefined || claim?.phase === 'Lost' || job?.end?.kind === 'Failed')
  },

  'Ready is loaded into the claim that is there': ({ status: { phase, worker } }, seen, now) => {
    if (phase !== 'Ready') return
    const { claim, job } = seen
    assert.ok(claim !== undefined && !claim.isDeleting && claim.phase !== 'Lost')
    if (!seen.model.hasSource) return
    assert.is(claim.phase, 'Bound')
    const before: Look = { ...seen, previous: parseStatus(seen.model.status), now }
    assert.ok(job?.end?.kind === 'Complete' || latched(before))
    assert.is(worker?.pvcUID, claim.uid)
    assert.is(worker?.jobName, seen.model.workerJob)
    assert.ok(job?.end?.kind !== 'Complete' || claim.createdAt <= job.end.at)
  },

  'what time changes lies ahead': ({ changesAt }, _, now) => assert.ok(changesAt === undefined || changesAt > now),

  'it is JSON': ({ status: written }) => assert.equal(JSON.parse(canonical(written)), written),
}

/** C0 and C1, DEL, and what turns the direction of text. */
const UNPRINTABLE = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/u

describe('whatever is seen', (test) => {
  for (const [name, law] of Object.entries(LAWS)) {
    test(name, () =>
      fc.assert(
        fc.property(observed, ms, (seen, now) => law(status(seen, now), seen, now)),
        { numRuns: 1000 },
      ),
    )
  }
})

const withStatus = (seen: Observed, written: Status): Observed => ({
  ...seen,
  model: { ...seen.model, status: canonical(written) },
})

const truth = (conditions: readonly Condition[], type: string): Condition['status'] | undefined =>
  conditions.find((each) => each.type === type)?.status

function rowOf(name: string): Row {
  const row = STATUS_ROWS[name]
  if (row === undefined) throw new Error(`there is no row "${name}"`)
  return row
}

/** Phase, then each condition in its order. */
function found({ phase, conditions }: Status): readonly string[] {
  const [storage, ...others] = conditions
  return [
    phase,
    // Its message is asked for where it is one of the documents' own.
    storage?.status === 'True' ? line(storage) : `${storage?.type} ${storage?.status}/${storage?.reason}`,
    ...others.map(line),
  ]
}

const line = ({
  type,
  status: truth,
  reason,
  message,
}: Pick<Condition, 'type' | 'status' | 'reason' | 'message'>): string => `${type} ${truth}/${reason}: ${message}`

const LOADED: Readonly<Record<string, string>> = {
  M: 'True/ModelLoadSucceeded: Load the model successfully',
  V: 'True/ModelLoadSucceeded: The model is in existing storage',
}

function wanted(row: Row): readonly string[] {
  const { phase, storage, loaded, mark, reason, message }: Want = row.want
  const why = `${reason}: ${message}`
  const said = LOADED[loaded] ?? (loaded.includes(': ') ? loaded : `${loaded}: ${message}`)
  const created = `True/CreateSucceeded: Create model storage successfully(${observedOf(row).claim?.name})`
  return [
    phase,
    `StorageCreated ${storage === 'S' ? created : storage}`,
    `ModelLoaded ${said}`,
    ...{
      D: [`Ready True/${why}`],
      R: [`Ready Unknown/${why}`, `Reconciling True/${why}`],
      X: [`Ready False/${why}`, `Stalled True/${why}`],
    }[mark],
  ]
}

/** Its rules, in their order; the real library judges in test/verdicts.ts. */
function kstatus(object: unknown): string {
  if (at(object, 'metadata', 'generation') !== at(object, 'status', 'observedGeneration')) return 'InProgress'
  const conditions = at(object, 'status', 'conditions')
  const has = (type: string, status: string): boolean =>
    Array.isArray(conditions) && conditions.some((each) => at(each, 'type') === type && at(each, 'status') === status)
  if (has('Reconciling', 'True')) return 'InProgress'
  if (has('Stalled', 'True')) return 'Failed'
  return has('Ready', 'False') || has('Ready', 'Unknown') ? 'InProgress' : 'Current'
}
