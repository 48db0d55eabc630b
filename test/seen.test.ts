import fc from 'fast-check'
import * as assert from 'uvu/assert'
import type { Observed } from '../controller/observed.ts'
import {
  canonical,
  type JobEnd,
  type PodEnd,
  type SeenJob,
  type SeenModel,
  type SeenPod,
  seenClaim,
  seenJob,
  seenModel,
  seenPod,
  type Waiting,
  type Wanted,
} from '../controller/seen.ts'
import { status } from '../controller/status.ts'
import type { Plain } from '../crds/arksmodel.ts'
import { asList, isPlain } from '../fn/merge.ts'
import { APPLIED, JOB, laidOver, nowOf, observedOf, STATUS_ROWS } from './data/status-rows.ts'
import { describe } from './harness.ts'
import { at } from './objects.ts'

function must<T>(seen: T | undefined): T {
  if (seen === undefined) throw new Error('it must be seen')
  return seen
}

const modelOf = (text: string): SeenModel => must(seenModel(laidOver(APPLIED.model, text)))
const jobOf = (text: string): SeenJob => must(seenJob(laidOver(APPLIED.job, text)))
const podOf = (text: string): SeenPod => must(seenPod(laidOver(APPLIED.pod, text)))

describe('a model that is seen', (test) => {
  test('is what the function rendered', () => {
    assert.equal(modelOf(''), {
      namespace: 'default',
      name: 'qwen-7b',
      uid: 'a2500000-0000-4000-8000-000000000001',
      resourceVersion: '100',
      createdAt: Date.parse('2026-01-05T10:00:00Z'),
      isDeleting: false,
      generation: 3,
      problem: undefined,
      wants: { model: 'Qwen/Qwen2.5-7B-Instruct-1M', revision: undefined, include: [], exclude: [] },
      hasSource: true,
      claim: 'qwen-7b',
      path: '/models/models/default/qwen-7b',
      workerJob: JOB,
      status: '{"observedGeneration":-1,"phase":"Pending"}',
      statusWriter: undefined,
    } satisfies SeenModel)
  })

  test('lies where applications look', () => {
    assert.is(modelOf('spec: {storage: {subPath: ./a//b/}}').path, '/models/a/b')
  })

  test('wants what its Job is told', () => {
    const { loads } = jobOf('')
    assert.equal(modelOf('').wants, loads)
  })

  test('names its claim, or storage and no claim, or no storage', () => {
    assert.is(modelOf('spec: {storage: {pvc: {name: null}}}').claim, 'qwen-7b')
    assert.is(modelOf('spec: {storage: {pvc: null}}').claim, undefined)
    assert.is(modelOf('spec: {storage: null}').claim, undefined)
  })

  test('was not rendered without the annotation, nor with an empty one', () => {
    assert.is(modelOf('metadata: {annotations: null}').workerJob, undefined)
    assert.is(modelOf('metadata: {annotations: {arks.ai/worker-job: ""}}').workerJob, undefined)
  })

  test('has a problem where an older CRD let it in', () => {
    assert.match(
      modelOf('spec: {source: {huggingface: {revision: "a b"}}}').problem ?? '',
      /^spec\.source\.huggingface\.revision: must be /,
    )
  })

  test('knows who wrote its status last', () => {
    const fields = [
      '{manager: kubectl, operation: Apply, time: "2026-01-05T12:00:00Z"}',
      '{manager: operator, operation: Update, subresource: status, time: "2026-01-05T11:00:00Z"}',
      '{manager: ours, operation: Update, subresource: status, time: "2026-01-05T10:00:00Z"}',
    ]
    for (const order of [fields, fields.toReversed()]) {
      assert.is(modelOf(`metadata: {managedFields: [${order.join(', ')}]}`).statusWriter, 'operator')
    }
    assert.is(modelOf(`metadata: {managedFields: [${fields[0]}]}`).statusWriter, undefined)
  })

  test('writes its status as the API server does', () => {
    assert.is(canonical({ b: [{ d: 1, c: undefined }], a: null }), '{"a":null,"b":[{"d":1}]}')
  })
})

describe('a claim that is seen', (test) => {
  test('has a phase, or none yet', () => {
    assert.is(seenClaim(APPLIED.claim)?.phase, 'Bound')
    assert.is(seenClaim(laidOver(APPLIED.claim, 'status: null'))?.phase, '')
  })

  test('is being deleted', () => {
    const claim = seenClaim(laidOver(APPLIED.claim, 'metadata: {deletionTimestamp: "2026-01-05T10:00:00Z"}'))
    assert.is(claim?.isDeleting, true)
  })
})

interface Told {
  readonly why: string
  readonly args: readonly unknown[]
  readonly command?: readonly unknown[]
  readonly want: Wanted | undefined
}

const ALL = { model: 'a/b', revision: undefined, include: [], exclude: [] }

/** What the arguments of a Job's container say that it loads. */
const TOLD: Readonly<Record<string, Told>> = {
  'a model': { why: 'the first argument', args: ['a/b', '--to', '/models/x'], want: ALL },
  'revision and patterns': {
    why: 'each flag has a value of its own',
    args: [
      'a/b',
      '--to',
      '/m',
      '--revision',
      'v1',
      '--include',
      '*.json',
      '--include',
      'b',
      '--exclude',
      'c',
      '--reuse',
      '/m',
    ],
    want: { ...ALL, revision: 'v1', include: ['*.json', 'b'], exclude: ['c'] },
  },
  'escaped references': {
    why: 'the function writes $$( for $(, so that Kubernetes puts nothing in its place',
    args: ['a/b', '--include', '$$(HOME)/$$(x', '--revision', '$$(R)'],
    want: { ...ALL, include: ['$(HOME)/$(x'], revision: '$(R)' },
  },
  'dollars that are no references': {
    why: 'Kubernetes makes one of two',
    args: ['a/b', '--include', '$a$$b'],
    want: { ...ALL, include: ['$a$b'] },
  },
  'a pattern that looks like a flag': {
    why: 'it is the value of the flag before it',
    args: ['a/b', '--include', '--include', '--reuse', '/models'],
    want: { ...ALL, include: ['--include'] },
  },
  'a flag without a value': { why: 'nothing follows', args: ['a/b', '--revision'], want: ALL },
  'a path to the loader': {
    why: 'it may stand behind a wrapper',
    args: ['a/b'],
    command: ['tini', '--', 'arksmodel-loader'],
    want: ALL,
  },
  'another command': { why: 'who knows what it loads', args: ['a/b'], command: ['sh', '-c'], want: undefined },
  'no command': { why: 'the image knows', args: ['a/b'], command: [], want: undefined },
  'no arguments': { why: 'nothing is said', args: [], want: undefined },
  'flags first': { why: 'not as the function writes it', args: ['--to', '/m', 'a/b'], want: undefined },
}

describe('a Job that is seen', (test) => {
  test('is what the function rendered', () => {
    assert.equal(jobOf(''), {
      namespace: 'default',
      name: JOB,
      uid: '10b00000-0000-4000-8000-000000000001',
      resourceVersion: '102',
      createdAt: Date.parse('2026-01-05T10:00:00Z'),
      isDeleting: false,
      hash: '22b669b55c',
      model: 'qwen-7b',
      loads: { ...ALL, model: 'Qwen/Qwen2.5-7B-Instruct-1M' },
      claim: 'qwen-7b',
      isSuspended: false,
      failed: 0,
      completions: 1,
      startedAt: Date.parse('2026-01-05T10:00:01Z'),
      end: undefined,
      path: '/models/models/default/qwen-7b',
    } satisfies SeenJob)
  })

  for (const [name, { why, args, command = ['arksmodel-loader'], want }] of Object.entries(TOLD)) {
    test(`loads what it is told: ${name}`, () => {
      const container = JSON.stringify({ name: 'worker', command, args })
      assert.equal(jobOf(`spec: {template: {spec: {containers: [${container}]}}}`).loads, want, why)
    })
  }

  test('is told by its worker, not by what stands beside it', () => {
    const beside = '{name: proxy, command: [arksmodel-loader], args: [other/b]}'
    const worker = '{name: worker, command: [arksmodel-loader], args: [a/b]}'
    assert.is(jobOf(`spec: {template: {spec: {containers: [${beside}, ${worker}]}}}`).loads?.model, 'a/b')
    assert.is(jobOf(`spec: {template: {spec: {containers: [${beside}]}}}`).loads, undefined)
  })

  const AT = Date.parse('2026-01-05T10:20:00Z')
  const condition = (type: string, status = 'True'): string =>
    `{type: ${type}, status: "${status}", reason: Why, message: words, lastTransitionTime: "2026-01-05T10:20:00Z"}`
  const ENDS: Readonly<Record<string, readonly [conditions: readonly string[], kind: JobEnd['kind'] | undefined]>> = {
    complete: [[condition('SuccessCriteriaMet'), condition('Complete')], 'Complete'],
    failed: [[condition('FailureTarget'), condition('Failed')], 'Failed'],
    'about to fail': [[condition('FailureTarget')], 'Failed'],
    'about to be complete': [[condition('SuccessCriteriaMet')], undefined],
    suspended: [[condition('Suspended')], undefined],
    'not complete': [[condition('Complete', 'False'), condition('Failed', 'Unknown')], undefined],
  }
  for (const [name, [conditions, kind]] of Object.entries(ENDS)) {
    test(`has an end or none: ${name}`, () => {
      const { end } = jobOf(`status: {conditions: [${conditions.join(', ')}]}`)
      assert.equal(end, kind && { kind, at: AT, reason: 'Why', message: 'words' })
    })
  }
})

interface Containers {
  readonly why: string
  /** Statuses as YAML. */
  readonly init?: string
  readonly all: string
  readonly waiting?: Waiting
  readonly isRunning?: boolean
  readonly end?: PodEnd
}

const ended = (name: string, exitCode: number, message = name): string =>
  `{name: ${name}, state: {terminated: {exitCode: ${exitCode}, reason: Error, message: "${message}", finishedAt: "2026-01-05T10:00:00Z"}}}`
const waiting = (name: string, reason: string): string => `{name: ${name}, state: {waiting: {reason: ${reason}}}}`
const running = (name: string): string => `{name: ${name}, state: {running: {startedAt: "2026-01-05T10:00:00Z"}}}`
const end = (exitCode: number, message: string): PodEnd => ({
  exitCode,
  at: Date.parse('2026-01-05T10:00:00Z'),
  reason: 'Error',
  message,
})

const CONTAINERS: Readonly<Record<string, Containers>> = {
  'the worker runs': { why: 'nothing is wrong', all: running('worker'), isRunning: true },
  'the worker runs beside another': {
    why: 'their order says nothing',
    all: `${running('proxy')}, ${running('worker')}`,
    isRunning: true,
  },
  'only the other runs': {
    why: 'the worker is what counts',
    all: `${running('proxy')}, ${waiting('worker', 'ErrImagePull')}`,
    waiting: { reason: 'ErrImagePull', message: '', image: 'arksai/arksmodel:0.1.0' },
  },
  'an init container is waited for': {
    why: 'the worker waits for it, which is no reason of its own',
    init: waiting('setup', 'ImagePullBackOff'),
    all: waiting('worker', 'PodInitializing'),
    waiting: { reason: 'ImagePullBackOff', message: '', image: '' },
  },
  'an init container runs': {
    why: 'there is no better reason',
    init: running('setup'),
    all: waiting('worker', 'PodInitializing'),
    waiting: { reason: 'PodInitializing', message: '', image: 'arksai/arksmodel:0.1.0' },
  },
  'an init container failed': {
    why: 'the worker never ran',
    init: ended('setup', 3),
    all: waiting('worker', 'PodInitializing'),
    waiting: { reason: 'PodInitializing', message: '', image: 'arksai/arksmodel:0.1.0' },
    end: end(3, 'setup'),
  },
  'an init container is done': {
    why: 'that is no end',
    init: ended('setup', 0),
    all: running('worker'),
    isRunning: true,
  },
  'the worker is done': { why: 'its words count', all: ended('worker', 0), end: end(0, 'worker') },
  'the worker and another failed': {
    why: "the worker's words count",
    all: `${ended('proxy', 1)}, ${ended('worker', 11)}`,
    end: end(11, 'worker'),
  },
  'another failed': {
    why: 'nobody else can say',
    all: `${ended('proxy', 1)}, ${running('worker')}`,
    isRunning: true,
    end: end(1, 'proxy'),
  },
  nothing: { why: 'the kubelet has not seen it', all: '' },
}

describe('a pod that is seen', (test) => {
  for (const [name, { why, init, all, ...want }] of Object.entries(CONTAINERS)) {
    test(name, () => {
      const pod = podOf(`status: {initContainerStatuses: [${init ?? ''}], containerStatuses: [${all}]}`)
      assert.equal(
        { waiting: pod.waiting, isRunning: pod.isRunning, end: pod.end },
        { waiting: undefined, isRunning: false, end: undefined, ...want },
        why,
      )
    })
  }

  const OWNERS: Readonly<Record<string, readonly [owners: string, uid: string | undefined]>> = {
    'its Job': ['{kind: Job, name: x, uid: a, controller: true}', 'a'],
    nobody: ['', undefined],
    'a ReplicaSet': ['{kind: ReplicaSet, name: x, uid: a, controller: true}', undefined],
    'a Job that does not control it': ['{kind: Job, name: x, uid: a}', undefined],
    'a Job beside what controls it': [
      '{kind: Job, name: x, uid: a}, {kind: StatefulSet, name: x, uid: b, controller: true}',
      undefined,
    ],
  }
  for (const [name, [owners, uid]] of Object.entries(OWNERS)) {
    test(`is of ${name}`, () =>
      assert.is(seenPod(laidOver(APPLIED.pod, `metadata: {ownerReferences: [${owners}]}`))?.owner, uid))
  }

  test('has the index of its shard, or is the first', () => {
    const index = (text: string): number =>
      podOf(`metadata: {annotations: {batch.kubernetes.io/job-completion-index: "${text}"}}`).index
    assert.is(podOf('').index, 0)
    assert.is(index('7'), 7)
    assert.is(index('seven'), 0, 'the order of shards is one also where it makes no sense')
  })

  test('has no node, and why', () => {
    const pod = podOf(
      'status: {conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: no}]}',
    )
    assert.equal(pod.unscheduled, { reason: 'Unschedulable', message: 'no' })
    assert.is(podOf('').unscheduled, undefined)
  })
})

/** Values that no schema would let through, and some that one would. */
const ODD: readonly unknown[] = [
  null,
  true,
  -1,
  1e300,
  '',
  'text',
  '\ud800\u001b[31m',
  'x'.repeat(10_000),
  [],
  [null],
  [[], {}, 1],
  {},
  { name: null },
  { toString: 1, valueOf: null },
  '+275760-09-13T00:00:00.000Z',
  '0000-01-01T00:00:00Z',
  JSON.parse('{"__proto__": {"a": 1}, "constructor": 1}'),
]

const SEEN: Readonly<Record<keyof typeof APPLIED, (object: unknown) => unknown>> = {
  model: seenModel,
  claim: seenClaim,
  job: seenJob,
  pod: seenPod,
}

/** Every place in an object, from the root on. */
function allPlaces(value: unknown): readonly (readonly string[])[] {
  const entries = isPlain(value)
    ? Object.entries(value)
    : asList(value).map((each, index) => [`${index}`, each] as const)
  return [[], ...entries.flatMap(([key, each]) => allPlaces(each).map((place) => [key, ...place]))]
}

function replaced(value: unknown, [step, ...rest]: readonly string[], by: unknown): unknown {
  if (step === undefined) return by
  if (Array.isArray(value)) return value.map((each, index) => (`${index}` === step ? replaced(each, rest, by) : each))
  return isPlain(value) ? { ...value, [step]: replaced(value[step], rest, by) } : value
}

/** With all that a cluster may add. */
const FULL: Readonly<Record<keyof typeof APPLIED, Plain>> = {
  model: laidOver(
    APPLIED.model,
    `
metadata: {managedFields: [{manager: a, subresource: status, time: "2026-01-05T10:00:00Z"}]}
spec: {source: {huggingface: {revision: v1, include: [a], exclude: [b], tokenSecretRef: {name: a}}}}
status: {conditions: [{type: Ready, status: "True"}], worker: {jobName: a, pvcUID: b}, model: {path: a}}`,
  ),
  claim: APPLIED.claim,
  job: laidOver(
    APPLIED.job,
    `status: {completionTime: "2026-01-05T10:00:00Z", conditions: [{type: Complete, status: "True", reason: a, message: b}]}`,
  ),
  pod: laidOver(
    APPLIED.pod,
    `
metadata: {annotations: {batch.kubernetes.io/job-completion-index: "1"}}
status:
  reason: Evicted
  message: a
  conditions: [{type: PodScheduled, status: "False", reason: a, message: b}, {type: DisruptionTarget, status: "True"}]
  initContainerStatuses: [${waiting('setup', 'ErrImagePull')}]
  containerStatuses: [${ended('worker', 1)}]`,
  ),
}

const ROWS = ['11 complete', '25 next one runs, network'].map((name) => {
  const row = STATUS_ROWS[name]
  if (row === undefined) throw new Error(`there is no row "${name}"`)
  return { seen: observedOf(row), now: nowOf(row) }
})

/** What becomes of rows of the state table with this object in the place of their own. */
const STATUS_WITH: Readonly<Record<keyof typeof APPLIED, (seen: Observed, object: unknown) => Observed>> = {
  model: (seen, object) => ({ ...seen, model: seenModel(object) ?? seen.model }),
  claim: (seen, object) => ({ ...seen, claim: seenClaim(object) }),
  job: (seen, object) => ({ ...seen, job: seenJob(object) }),
  pod: (seen, object) => ({ ...seen, pods: [seenPod(object) ?? [], seen.pods].flat() }),
}

/** Each way in which one place of an object holds an odd value, and what that breaks. */
function bugs(kind: keyof typeof APPLIED, look: (object: unknown) => void): readonly string[] {
  return allPlaces(FULL[kind]).flatMap((place) =>
    ODD.flatMap((odd) => {
      try {
        look(replaced(FULL[kind], place, odd))
        return []
      } catch (error) {
        return [`${place.join('.')} = ${JSON.stringify(odd)}: ${error}`]
      }
    }),
  )
}

describe('the wildest objects', (test) => {
  for (const kind of ['model', 'claim', 'job', 'pod'] as const) {
    test(`are seen or are not, but never a bug: ${kind}, each place, each odd value`, () =>
      assert.equal(
        bugs(kind, (object) => {
          const looks = ROWS.map(({ seen, now }) => ({ seen: STATUS_WITH[kind](seen, object), now }))
          for (const { seen, now } of looks) canonical(status(seen, now).status)
        }),
        [],
      ))

    test(`are no surprise: ${kind}, any value at all`, () => {
      const place = fc.constantFrom(...allPlaces(FULL[kind]))
      fc.assert(fc.property(place, fc.jsonValue(), (where, by) => void SEEN[kind](replaced(FULL[kind], where, by))))
      fc.assert(fc.property(fc.anything(), (object) => void SEEN[kind](object)))
    })

    test(`are not seen without a name, namespace, uid or version: ${kind}`, () => {
      for (const part of ['name', 'namespace', 'uid', 'resourceVersion']) {
        assert.is(SEEN[kind](replaced(APPLIED[kind], ['metadata', part], undefined)), undefined, part)
      }
      assert.is.not(SEEN[kind](APPLIED[kind]), undefined)
      assert.is(at(SEEN[kind](APPLIED[kind]), 'namespace'), 'default')
    })
  }
})
