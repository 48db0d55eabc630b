import { createHash } from 'node:crypto'
import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { catalogue } from '../controller/catalogue.ts'
import type { Memory } from '../controller/memory.ts'
import type { Subject } from '../controller/observed.ts'
import { type Around, reconcile, type Written } from '../controller/reconcile.ts'
import {
  canonical,
  type Explanation,
  FIELD_MANAGER,
  seenClaim,
  seenJob,
  seenModel,
  seenPod,
} from '../controller/seen.ts'
import { type Progress, parseStatus, type Status } from '../controller/stored.ts'
import { API_VERSION, KIND, MODEL_LABEL, WORKER_JOB } from '../crds/names.ts'
import { isRecord, valueAt } from '../crds/place.ts'
import { describe } from './harness.ts'

const START = Date.parse('2026-01-05T10:00:00Z')
const SECOND = 1_000
const MINUTE = 60 * SECOND

type Kind = 'model' | 'claim' | 'job' | 'pod'
type Plain = Readonly<Record<string, unknown>>

/** A cluster with one model `m`, its store a Map, its clock a number. */
interface World {
  now: number
  /** What an Event says about any object of a kind. */
  events: Partial<Record<Subject['kind'], Explanation>>
  /** Top-level fields of a status that the CRD knows; undefined: all. */
  kept: readonly string[] | undefined
  /** What happens between the look and the write. */
  meanwhile: () => void
  /** Puts an object there, with what the server adds to it. */
  put(kind: Kind, name: string, object: Plain): void
  take(kind: Kind, name: string): void
  has(kind: Kind, name: string): boolean
  /** As another client, whose field manager this is. */
  writeStatus(manager: string, status: unknown): void
  reconcile(): Promise<number | undefined>
  /** Looks for as long as it asks to be called again within so many ms. */
  pass(ms: number): Promise<void>
  /** A new process. */
  restart(): void
  memory(): Memory
  status(): Status
  reason(): string
  readonly patches: unknown[]
  readonly written: Written[]
  readonly asked: Subject[]
  readonly intrusions: string[]
  readonly followed: (readonly string[])[]
}

const KEY = 'ns/m'

function world(): World {
  const held = new Map<string, Plain>()
  /** By uid. */
  const births = new Map<unknown, number>()
  let version = 100
  let memories = new Map<string, Memory>()
  const idOf = (kind: Kind, name: string): string => `${kind}/${name}`
  const trimmed = <T>(kind: Kind, seen: (object: unknown) => T | undefined): { get(key: string): T | undefined } => ({
    get: (key) => seen(held.get(idOf(kind, key.slice('ns/'.length)))),
  })
  const related = catalogue({
    caches: {
      models: trimmed('model', seenModel),
      claims: trimmed('claim', seenClaim),
      jobs: trimmed('job', seenJob),
      pods: trimmed('pod', seenPod),
    },
    onNews: () => {},
    digest: (text) => createHash('sha256').update(text).digest('hex'),
  })
  const tell = (kind: Kind, before: unknown, after: unknown): void => {
    const key = `ns/${valueAt(after ?? before, ['metadata', 'name'])}`
    if (kind === 'model') related.modelChanged({ key, before: seenModel(before), after: seenModel(after) })
    if (kind === 'claim') related.claimChanged({ key, before: seenClaim(before), after: seenClaim(after) })
    if (kind === 'job') related.jobChanged({ key, before: seenJob(before), after: seenJob(after) })
    if (kind === 'pod') related.podChanged({ key, before: seenPod(before), after: seenPod(after) })
  }
  const store = (kind: Kind, name: string, object: Plain | undefined): void => {
    const before = held.get(idOf(kind, name))
    if (object === undefined) held.delete(idOf(kind, name))
    else held.set(idOf(kind, name), object)
    tell(kind, before, object)
  }
  const setStatus = (manager: string, status: unknown): boolean => {
    const model = held.get('model/m')
    if (model === undefined) return false
    const known = here.kept
    const kept = isRecord(status) && known ? Object.fromEntries(known.map((key) => [key, status[key]])) : status
    // What changes nothing is no write.
    if (JSON.stringify(kept) === JSON.stringify(model['status'])) return true
    const time = new Date(here.now).toISOString()
    store('model', 'm', {
      ...model,
      status: kept,
      metadata: {
        ...metadataOf(model),
        resourceVersion: String(++version),
        managedFields: [{ manager, operation: 'Update', subresource: 'status', time }],
      },
    })
    return true
  }
  const around: Around = {
    catalogue: related,
    get memories() {
      return memories
    },
    now: () => here.now,
    async explain(subject) {
      here.asked.push(subject)
      return here.events[subject.kind]
    },
    async write(model, patch) {
      here.meanwhile()
      here.patches.push(patch)
      const found = held.get('model/m')
      if (found === undefined) return 'gone'
      if (metadataOf(found)['resourceVersion'] !== model.resourceVersion) return 'conflict'
      setStatus(FIELD_MANAGER, patched(found['status'], patch))
      return seenModel(held.get('model/m')) ?? 'gone'
    },
    onWritten: (told) => here.written.push(told),
    onIntrusion: ({ statusWriter = '' }) => here.intrusions.push(statusWriter),
    follow: (_, seen) => here.followed.push(seen?.pods.map(({ name }) => name) ?? []),
  }
  const here: World = {
    now: START,
    events: {},
    kept: undefined,
    meanwhile: () => {},
    put(kind, name, object) {
      const before = held.get(idOf(kind, name))
      const uid = metadataOf(object)['uid'] ?? `${kind}-${name}`
      const born = births.get(uid) ?? here.now
      births.set(uid, born)
      store(kind, name, {
        ...object,
        ...(kind === 'model' && before && { status: before['status'] }),
        metadata: {
          creationTimestamp: new Date(born).toISOString(),
          uid,
          ...(kind === 'model' && before && { managedFields: metadataOf(before)['managedFields'] }),
          ...metadataOf(object),
          namespace: 'ns',
          name,
          resourceVersion: String(++version),
        },
      })
    },
    take: (kind, name) => store(kind, name, undefined),
    has: (kind, name) => held.has(idOf(kind, name)),
    writeStatus: (manager, status) => assert.ok(setStatus(manager, status)),
    async reconcile() {
      return (await reconcile(around, KEY))?.afterMs
    },
    async pass(ms) {
      const end = here.now + ms
      for (;;) {
        const again = await here.reconcile()
        if (again === undefined || here.now + again > end) break
        here.now += again
      }
      here.now = end
    },
    restart() {
      memories = new Map()
    },
    memory() {
      const memory = memories.get(KEY)
      if (memory === undefined) throw new Error('nothing is remembered')
      return memory
    },
    status: () => parseStatus(seenModel(held.get('model/m'))?.status ?? '{}'),
    reason: () => here.status().conditions.find(({ type }) => type === 'Ready')?.reason ?? '',
    patches: [],
    written: [],
    asked: [],
    intrusions: [],
    followed: [],
  }
  return here
}

const metadataOf = (object: unknown): Plain => {
  const metadata = valueAt(object, ['metadata'])
  return isRecord(metadata) ? metadata : {}
}

/** As RFC 7396 says it. */
function patched(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = patched(result[key], value)
  }
  return result
}

interface ModelLike {
  readonly job?: string | undefined
  readonly generation?: number
  readonly uid?: string
  readonly model?: string
  readonly isDeleting?: boolean
}

const aModel = ({
  job = 'j1',
  generation = 1,
  uid = 'model-m',
  model = 'org/model',
  isDeleting,
}: ModelLike): Plain => ({
  apiVersion: API_VERSION,
  kind: KIND,
  metadata: {
    generation,
    uid,
    ...(job !== '' && { annotations: { [WORKER_JOB]: job } }),
    ...(isDeleting && { deletionTimestamp: '2026-01-05T10:00:00Z' }),
  },
  spec: {
    model,
    source: { huggingface: {} },
    storage: { pvc: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } } },
  },
  status: { observedGeneration: -1, phase: 'Pending' },
})

const aClaim = (phase: string, uid = 'claim-1'): Plain => ({ metadata: { uid }, status: { phase } })

const aJob = (status: Plain, { uid = 'job-1', suspend = false } = {}): Plain => ({
  metadata: { uid, labels: { [MODEL_LABEL]: 'm' } },
  spec: { suspend },
  status,
})

const STARTED = { active: 1, startTime: '2026-01-05T10:00:00Z' }
const ENDED = '2026-01-05T10:00:20Z'
const COMPLETE = {
  startTime: '2026-01-05T10:00:00Z',
  completionTime: ENDED,
  conditions: [{ type: 'Complete', status: 'True', lastTransitionTime: ENDED }],
}
const FAILED = {
  startTime: '2026-01-05T10:00:00Z',
  conditions: [{ type: 'Failed', status: 'True', reason: 'BackoffLimitExceeded', lastTransitionTime: ENDED }],
}

const LOADED = {
  v: 1,
  reason: 'Loaded',
  message: 'All there',
  retryable: false,
  commit: 'c0ffee',
  totalBytes: 1000,
  files: 3,
}

const aPod = (state: Plain, phase: string, job = 'job-1'): Plain => ({
  metadata: { uid: `pod-of-${job}`, ownerReferences: [{ kind: 'Job', controller: true, uid: job, name: 'j1' }] },
  spec: { containers: [{ name: 'worker', image: 'image' }] },
  status: { phase, podIP: '10.0.0.1', containerStatuses: [{ name: 'worker', state }] },
})

const RUNNING = aPod({ running: {} }, 'Running')
const SUCCEEDED = aPod({ terminated: { exitCode: 0, message: JSON.stringify(LOADED) } }, 'Succeeded')

/** A model that is rendered and applied, and nothing of it is at work. */
function applied(): World {
  const here = world()
  here.put('model', 'm', aModel({}))
  here.put('claim', 'm', aClaim('Pending'))
  here.put('job', 'j1', aJob({}))
  return here
}

function loading(): World {
  const here = applied()
  here.put('claim', 'm', aClaim('Bound'))
  here.put('job', 'j1', aJob(STARTED))
  here.put('pod', 'p', RUNNING)
  return here
}

async function ready(): Promise<World> {
  const here = loading()
  await here.reconcile()
  here.now = START + 21 * SECOND
  here.put('pod', 'p', SUCCEEDED)
  here.put('job', 'j1', aJob(COMPLETE))
  await here.reconcile()
  here.patches.splice(0)
  here.written.splice(0)
  here.followed.splice(0)
  return here
}

const progressOf = (percent: number): Progress => ({ percent, loadedBytes: percent * 10, totalBytes: 1000 })

const keysOf = (value: unknown): readonly string[] => (isRecord(value) ? Object.keys(value).sort() : [])

const readyTypes = ['StorageCreated', 'ModelLoaded', 'Ready']

describe('reconcile: what is written', (test) => {
  test('the first look writes all conditions, the second one nothing', async () => {
    const here = applied()
    await here.reconcile()
    assert.equal(here.status().observedGeneration, 1)
    assert.equal(
      here.status().conditions.map(({ type }) => type),
      [...readyTypes, 'Reconciling'],
    )
    assert.equal(keysOf(here.patches[0]), ['conditions', 'observedGeneration', 'phase'])
    here.now += MINUTE
    await here.reconcile()
    assert.is(here.patches.length, 1)
    assert.is(here.written.length, 1)
  })

  test('from the first look to Ready there are three writes', async () => {
    const here = applied()
    await here.reconcile()
    here.put('claim', 'm', aClaim('Bound'))
    here.put('job', 'j1', aJob(STARTED))
    here.put('pod', 'p', RUNNING)
    await here.reconcile()
    here.now += 21 * SECOND
    here.put('pod', 'p', SUCCEEDED)
    here.put('job', 'j1', aJob(COMPLETE))
    await here.reconcile()
    assert.is(here.patches.length, 3)
    const { phase, conditions, worker, model, progress } = here.status()
    assert.is(phase, 'Ready')
    assert.equal(
      conditions.map(({ type }) => type),
      readyTypes,
    )
    assert.equal(worker, { jobName: 'j1', pvcUID: 'claim-1', loadedAt: ENDED, model: 'org/model' })
    assert.equal(model, { path: '/models/models/ns/m', commit: 'c0ffee', files: 3, bytes: 1000 })
    assert.equal(progress, { jobName: 'j1', percent: 100, loadedBytes: 1000, totalBytes: 1000 })
  })

  test('what is not said any more is taken away with a null', async () => {
    const here = await ready()
    here.put('claim', 'm', aClaim('Bound', 'claim-2'))
    await here.reconcile()
    assert.equal(valueAt(here.patches[0], ['progress']), null)
    assert.equal(valueAt(here.patches[0], ['model']), null)
    assert.is(here.status().progress, undefined)
    assert.is(here.status().model, undefined)
  })

  test('fields of others stay', async () => {
    const here = applied()
    here.writeStatus('somebody', { phase: 'Pending', theirs: { a: 1 }, conditions: [{ type: 'Theirs' }] })
    await here.reconcile()
    assert.is(valueAt(here.patches[0], ['theirs']), undefined)
    here.now += MINUTE
    await here.reconcile()
    assert.is(here.patches.length, 1)
  })

  test('a change of progress alone sends progress alone', async () => {
    const here = loading()
    await here.reconcile()
    here.memory().progress = progressOf(40)
    await here.reconcile()
    assert.equal(here.patches.at(-1), { progress: { jobName: 'j1', ...progressOf(40) } })
  })

  test('what is sent is known before its answer comes, for the watch may be faster', async () => {
    const here = applied()
    const sent: (string | undefined)[] = []
    here.meanwhile = () => sent.push(here.memory().sent)
    await here.reconcile()
    assert.equal(sent, [canonical(here.status())])
  })

  test('a new generation is acknowledged in the status and in each condition', async () => {
    const here = await ready()
    here.put('model', 'm', aModel({ generation: 2 }))
    await here.reconcile()
    assert.is(here.status().phase, 'Ready')
    assert.equal(
      [here.status(), ...here.status().conditions].map(({ observedGeneration }) => observedGeneration),
      [2, 2, 2, 2],
    )
  })

  for (const kept of [['phase'], ['phase', 'conditions'], []]) {
    test(`a server that keeps no more than [${kept}] of a status is not written to again and again`, async () => {
      const here = applied()
      here.kept = kept
      const lookOften = async (): Promise<void> => {
        for (let look = 0; look < 5; look++) {
          await here.reconcile()
          here.now += SECOND
        }
      }
      await lookOften()
      assert.is(here.patches.length, 1)
      here.put('claim', 'm', aClaim('Lost'))
      await lookOften()
      assert.is(here.patches.length, 2)
    })
  }

  test('a status of an older version is completed, and what it knew of the load stays known', async () => {
    const here = loading()
    here.writeStatus('somebody', {
      phase: 'Ready',
      observedGeneration: 1,
      conditions: [{ type: 'Loaded', status: 'True' }, { type: 'Ready', status: 'True' }, 'nonsense', null],
      worker: { jobName: 'j1', pvcUID: 'claim-1', loadedAt: '2026-01-01T00:00:00Z' },
      progress: { percent: 'much' },
    })
    await here.reconcile()
    assert.is(here.status().phase, 'Ready')
    assert.equal(
      here.status().conditions.map(({ type }) => type),
      readyTypes,
    )
    assert.is(here.status().worker?.loadedAt, '2026-01-01T00:00:00Z')
    await here.reconcile()
    assert.is(here.patches.length, 1)
  })
})

describe('reconcile: what comes between', (test) => {
  test('a conflict is looked at again, and never told', async () => {
    const here = applied()
    here.meanwhile = () => here.put('model', 'm', aModel({ generation: 2 }))
    assert.is(await here.reconcile(), SECOND)
    assert.is(here.written.length, 0)
    here.meanwhile = () => {}
    await here.reconcile()
    assert.is(here.status().observedGeneration, 2)
    assert.is(here.intrusions.length, 0)
  })

  test('a model that goes while its status is written is forgotten', async () => {
    const here = applied()
    here.meanwhile = () => here.take('model', 'm')
    await here.reconcile()
    assert.is(here.written.length, 0)
    assert.is(await here.reconcile(), undefined)
    assert.throws(() => here.memory(), /nothing is remembered/)
    assert.equal(here.followed.at(-1), [])
  })

  test('one that is being deleted is left alone', async () => {
    const here = loading()
    await here.reconcile()
    here.put('model', 'm', aModel({ isDeleting: true, generation: 2 }))
    assert.is(await here.reconcile(), undefined)
    assert.is(here.patches.length, 1)
    assert.equal(here.followed.at(-1), [])
    assert.throws(() => here.memory(), /nothing is remembered/)
  })

  test('one that is made anew has all its patience again', async () => {
    const here = world()
    here.put('model', 'm', aModel({}))
    await here.pass(4 * MINUTE)
    assert.is(here.reason(), 'StorageMissing')
    here.take('model', 'm')
    here.put('model', 'm', aModel({ uid: 'another' }))
    await here.pass(2 * MINUTE)
    assert.is(here.status().conditions.at(-1)?.type, 'Reconciling')
    await here.pass(4 * MINUTE)
    assert.is(here.status().conditions.at(-1)?.type, 'Stalled')
  })

  test('an error of the server is thrown, for the queue to try again', async () => {
    const here = applied()
    here.meanwhile = () => {
      throw new Error('503')
    }
    await here.reconcile().then(
      () => assert.unreachable(),
      (error: unknown) => assert.match(String(error), /503/),
    )
    here.meanwhile = () => {}
    await here.reconcile()
    assert.is(here.status().observedGeneration, 1)
  })
})

describe('reconcile: time', (test) => {
  test('what time alone changes is looked at when it does', async () => {
    const here = world()
    here.put('model', 'm', aModel({}))
    assert.is(await here.reconcile(), 2 * SECOND)
    assert.equal(here.patches, [], 'claim and Job may be on their way')
    here.now += 2 * SECOND
    assert.is(await here.reconcile(), 5 * MINUTE - 2 * SECOND)
    here.now += 5 * MINUTE - 2 * SECOND - 1
    assert.is(await here.reconcile(), 1)
    assert.is(here.status().conditions.at(-1)?.type, 'Reconciling')
    here.now += 1
    assert.is(await here.reconcile(), undefined)
    assert.is(here.status().conditions.at(-1)?.type, 'Stalled')
  })

  test('another reason starts the clock anew, and the same one does not', async () => {
    const here = world()
    here.put('model', 'm', aModel({}))
    await here.pass(4 * MINUTE)
    here.put('claim', 'm', aClaim('Bound'))
    await here.pass(4 * MINUTE)
    assert.is(here.reason(), 'WaitingForWorker')
    assert.is(here.status().conditions.at(-1)?.type, 'Reconciling')
    await here.pass(MINUTE)
    assert.is(here.status().conditions.at(-1)?.type, 'Stalled')
  })

  test('a new process has patience again, but takes nothing back', async () => {
    const here = world()
    here.put('model', 'm', aModel({}))
    await here.pass(4 * MINUTE)
    here.restart()
    await here.pass(4 * MINUTE)
    assert.is(here.status().conditions.at(-1)?.type, 'Reconciling')
    await here.pass(2 * MINUTE)
    here.restart()
    const writes = here.patches.length
    for (let look = 0; look < 3; look++) await here.reconcile()
    assert.is(here.patches.length, writes)
    assert.is(here.status().conditions.at(-1)?.type, 'Stalled')
  })

  test('a clock that is set back an hour costs no hour of patience', async () => {
    const here = world()
    here.put('model', 'm', aModel({}))
    await here.pass(MINUTE)
    here.now -= 60 * MINUTE
    await here.pass(5 * MINUTE + SECOND)
    assert.is(here.status().conditions.at(-1)?.type, 'Stalled')
  })

  test('a clock that is set back stops neither the reading of Events nor the writes', async () => {
    const here = applied()
    await here.pass(120 * MINUTE)
    for (const turn of [1, 2, 3, 4]) {
      here.writeStatus('other', { phase: 'Failed', turn })
      await here.pass(SECOND)
    }
    here.now -= 60 * MINUTE
    const [asked, patches] = [here.asked.length, here.patches.length]
    await here.pass(2 * MINUTE)
    assert.ok(here.patches.length > patches, 'the intruder is to be said')
    await here.pass(20 * MINUTE)
    assert.is(here.reason(), 'StorageBinding', 'and to be forgotten')
    assert.ok(here.asked.length > asked)
  })
})

describe('reconcile: Events', (test) => {
  test('are asked for after 5 s without an explanation, and again after 30 s', async () => {
    const here = applied()
    here.put('job', 'j1', aJob(STARTED))
    assert.is(await here.reconcile(), 5 * SECOND)
    assert.is(here.asked.length, 0)
    here.now += 5 * SECOND
    here.events = { Job: { reason: 'FailedCreate', message: 'Error creating: exceeded quota: q' } }
    assert.is(await here.reconcile(), 30 * SECOND)
    assert.is(here.reason(), 'QuotaExceeded')
    here.now += 29 * SECOND
    await here.reconcile()
    assert.equal(
      here.asked.map(({ kind, uid }) => `${kind} ${uid}`),
      ['Job job-1'],
    )
    here.now += SECOND
    here.events = { Job: { reason: 'SuccessfulCreate', message: 'Created pod: p' } }
    await here.reconcile()
    assert.is(here.asked.length, 2)
    assert.is(here.reason(), 'StorageBinding', 'a pod that was made at last ends the complaint')
  })

  test('that cannot be read cost nothing but the explanation', async () => {
    const here = applied()
    here.put('job', 'j1', aJob(STARTED))
    await here.pass(40 * SECOND)
    assert.is(here.asked.length, 2)
    assert.is(here.reason(), 'StorageBinding')
    assert.is(here.patches.length, 1)
  })

  test('that no pod can be made are over when one was made', async () => {
    const here = applied()
    here.put('claim', 'm', aClaim('Bound'))
    here.put('job', 'j1', aJob(STARTED))
    here.events = { Job: { reason: 'FailedCreate', message: 'exceeded quota: q', at: START + SECOND } }
    await here.pass(6 * SECOND)
    assert.is(here.reason(), 'QuotaExceeded')
    const finishedAt = new Date(here.now).toISOString()
    here.put('pod', 'p', aPod({ terminated: { exitCode: 30, reason: 'Error', message: '', finishedAt } }, 'Failed'))
    await here.reconcile()
    assert.is(here.reason(), 'ModelLoadRetrying')
    assert.is(here.asked.length, 1)
  })

  test('of objects that are gone are forgotten', async () => {
    const here = loading()
    const waiting = { waiting: { reason: 'ContainerCreating', message: '' } }
    for (let attempt = 0; attempt < 20; attempt++) {
      here.take('pod', `p${attempt - 1}`)
      here.take('pod', 'p')
      const pod = aPod(waiting, 'Pending')
      here.put('pod', `p${attempt}`, { ...pod, metadata: { ...metadataOf(pod), uid: `pod-${attempt}` } })
      await here.pass(MINUTE)
    }
    assert.ok(here.asked.length >= 20)
    assert.is(Object.keys(here.memory().asked).length, 1)
  })
})

describe('reconcile: another controller', (test) => {
  const THEIRS = { phase: 'ModelLoading', conditions: [] }

  test('a status that a person has written is put right at once', async () => {
    const here = await ready()
    here.writeStatus('kubectl-edit', THEIRS)
    await here.reconcile()
    assert.equal(here.intrusions, ['kubectl-edit'])
    assert.is(here.status().phase, 'Ready')
  })

  test('the third time it is said, and our pauses grow', async () => {
    const here = loading()
    await here.reconcile()
    const pauses: number[] = []
    for (let turn = 0; turn < 12; turn++) {
      here.writeStatus('manager', THEIRS)
      const from = here.now
      const writes = here.written.length
      for (;;) {
        const again = await here.reconcile()
        if (here.written.length > writes) break
        assert.type(again, 'number')
        here.now += again ?? 0
      }
      pauses.push((here.now - from) / SECOND)
      if (turn < 2) assert.is(here.reason(), 'ModelLoading', `turn ${turn}`)
      else assert.is(here.reason(), 'AnotherController', `turn ${turn}`)
    }
    assert.equal(pauses, [0, 1, 3, 7, 15, 31, 63, 127, 255, 299, 299, 299])
    assert.is(here.intrusions.length, 12)
    assert.match(here.status().conditions.at(-1)?.message ?? '', /field manager "manager"/)
  })

  test('one status of another one is one, however often the rest of the object changes', async () => {
    const here = loading()
    await here.reconcile()
    for (const generation of [2, 3]) {
      here.writeStatus('manager', { ...THEIRS, generation })
      await here.reconcile()
    }
    here.put('model', 'm', aModel({ generation: 4 }))
    here.writeStatus('manager', { ...THEIRS, generation: 4 })
    await here.reconcile()
    for (const generation of [5, 6, 7]) {
      here.put('model', 'm', aModel({ generation }))
      await here.reconcile()
    }
    assert.is(here.intrusions.length, 3)
  })

  test('one that is so fast that all our writes are refused is noticed, too', async () => {
    const here = loading()
    await here.reconcile()
    let turn = 0
    here.meanwhile = () => here.writeStatus('manager', { ...THEIRS, turn: turn++ })
    here.writeStatus('manager', THEIRS)
    for (let look = 0; look < 10; look++) here.now += (await here.reconcile()) ?? SECOND
    assert.ok(here.intrusions.length >= 3, `${here.intrusions.length} intrusions`)
    here.meanwhile = () => {}
    await here.pass(5 * MINUTE)
    assert.is(here.reason(), 'AnotherController')
  })

  test('after ten minutes of peace it is forgotten, without anything else happening', async () => {
    const here = await ready()
    for (let turn = 0; turn < 3; turn++) {
      here.writeStatus('manager', THEIRS)
      await here.pass(5 * SECOND)
    }
    assert.is(here.reason(), 'AnotherController')
    await here.pass(9 * MINUTE)
    assert.is(here.reason(), 'AnotherController')
    await here.pass(MINUTE)
    assert.is(here.status().phase, 'Ready')
    const writes = here.patches.length
    await here.pass(60 * MINUTE)
    assert.is(here.patches.length, writes)
  })

  test('what is written by the server’s pruning of ours is no intrusion', async () => {
    const here = applied()
    here.kept = ['phase']
    for (const generation of [1, 2, 3, 4, 5]) {
      here.put('model', 'm', aModel({ generation }))
      await here.reconcile()
    }
    assert.equal(here.intrusions, [])
  })
})

describe('reconcile: progress', (test) => {
  test('is written when it has moved by 5 %, or after 30 s', async () => {
    const here = loading()
    await here.reconcile()
    const written: string[] = []
    for (const [seconds, percent] of [
      [5, 1],
      [10, 3],
      [15, 5],
      [20, 6],
      [25, 11],
      [30, 12],
      [50, 13],
      [55, 14],
      [60, 14],
    ] as const) {
      here.now = START + seconds * SECOND
      here.memory().progress = progressOf(percent)
      const before = here.patches.length
      await here.reconcile()
      if (here.patches.length > before) written.push(`${seconds} s ${percent} %`)
    }
    assert.equal(written, ['5 s 1 %', '20 s 6 %', '25 s 11 %', '55 s 14 %'])
  })

  test('of one Job is never told of another', async () => {
    for (const name of ['j1', 'j2']) {
      const here = loading()
      await here.reconcile()
      here.memory().progress = progressOf(97)
      here.put('job', name, aJob(STARTED, { uid: 'job-2' }))
      here.put('model', 'm', aModel({ job: name }))
      here.put('pod', 'p2', aPod({ running: {} }, 'Running', 'job-2'))
      await here.reconcile()
      assert.equal(here.status().progress, undefined, name)
    }
  })

  test('of another Job is told at once, however little it differs', async () => {
    const here = loading()
    await here.reconcile()
    here.memory().progress = progressOf(10)
    await here.reconcile()
    here.put('job', 'j2', aJob(STARTED, { uid: 'job-2' }))
    here.put('model', 'm', aModel({ job: 'j2' }))
    here.put('pod', 'p2', aPod({ running: {} }, 'Running', 'job-2'))
    await here.reconcile()
    assert.is(here.status().progress, undefined)
    here.memory().progress = progressOf(11)
    await here.reconcile()
    assert.equal(here.status().progress, { jobName: 'j2', ...progressOf(11) })
  })

  test('of one that took the place of another meanwhile is that one’s', async () => {
    const here = loading()
    await here.reconcile()
    here.memory().progress = progressOf(10)
    await here.reconcile()
    here.put('job', 'j2', aJob(STARTED, { uid: 'job-2' }))
    here.put('model', 'm', aModel({ job: 'j2' }))
    here.put('pod', 'p2', aPod({ running: {} }, 'Running', 'job-2'))
    here.memory().job = 'job-2'
    here.memory().progress = progressOf(11)
    await here.reconcile()
    assert.equal(here.status().progress, { jobName: 'j2', ...progressOf(11) })
  })

  test('only the pods of a model that is loading are followed', async () => {
    const here = loading()
    await here.reconcile()
    assert.equal(here.followed, [['p']])
    here.put('job', 'j1', aJob(STARTED, { suspend: true }))
    await here.reconcile()
    assert.equal(here.followed.at(-1), [])
  })
})

describe('reconcile: what was loaded', (test) => {
  test('stays loaded for a new process when the Job and its pods are gone', async () => {
    const here = await ready()
    const before = here.status()
    here.take('pod', 'p')
    here.take('job', 'j1')
    here.restart()
    here.now += 60 * MINUTE
    await here.reconcile()
    assert.equal(here.status(), before)
    assert.equal(here.patches, [])
  })

  test('is lost with the claim that was made anew, also for a new process', async () => {
    const here = await ready()
    here.restart()
    here.now += MINUTE
    here.take('job', 'j1')
    here.put('claim', 'm', aClaim('Bound', 'claim-2'))
    await here.reconcile()
    assert.is(here.reason(), 'WaitingForWorker')
  })

  test('is overwritten by a rival, which stays so for a new process and when the rival is gone', async () => {
    const here = await ready()
    here.put('model', 'r', { ...aModel({ job: 'jr' }), spec: rivalSpec })
    here.put('model', 'm', { ...aModel({ generation: 2 }), spec: { ...rivalSpec, model: 'org/model' } })
    here.put('job', 'jr', aJob({ active: 1, startTime: '2026-01-05T10:00:30Z' }, { uid: 'job-r' }))
    here.now = START + MINUTE
    await here.reconcile()
    assert.is(here.reason(), 'PathShared')
    assert.ok(here.status().worker?.revokedAt)
    here.restart()
    here.take('model', 'r')
    here.take('job', 'jr')
    await here.reconcile()
    assert.is(here.reason(), 'Overwritten')
    const writes = here.patches.length
    await here.pass(10 * MINUTE)
    assert.is(here.patches.length, writes)
    const again = { ...COMPLETE, startTime: '2026-01-05T10:12:00Z', completionTime: '2026-01-05T10:12:30Z' }
    here.put('job', 'j1', aJob(again, { uid: 'job-again' }))
    await here.reconcile()
    assert.is(here.status().phase, 'Ready')
    assert.is(here.status().worker?.revokedAt, undefined)
  })

  test('a second render is loaded anew', async () => {
    const here = await ready()
    here.put('job', 'j2', aJob({}, { uid: 'job-2' }))
    here.put('model', 'm', aModel({ job: 'j2' }))
    await here.reconcile()
    assert.is(here.reason(), 'ModelLoading')
    assert.is(here.status().progress, undefined)
    here.put('model', 'm', aModel({ job: 'j1' }))
    await here.reconcile()
    assert.is(here.status().phase, 'Ready', 'and back again')
  })
})

const rivalSpec = {
  model: 'org/other',
  source: { huggingface: {} },
  storage: { pvc: { name: 'm' }, subPath: 'models/ns/m' },
}

type Step = (here: World) => void | Promise<void>

const jobStep = (name: string): fc.Arbitrary<Step> =>
  fc
    .record({
      status: fc.constantFrom<Plain>({}, STARTED, COMPLETE, FAILED),
      suspend: fc.boolean(),
      uid: fc.nat({ max: 1 }),
    })
    .map(
      ({ status, suspend, uid }): Step =>
        (here) =>
          here.put('job', name, aJob(status, { suspend, uid: `${name}-${uid}` })),
    )
const POD_STATES: readonly (readonly [Plain, string])[] = [
  [{}, 'Pending'],
  [{ waiting: { reason: 'ContainerCreating', message: '' } }, 'Pending'],
  [{ waiting: { reason: 'ImagePullBackOff', message: 'no such image' } }, 'Pending'],
  [{ waiting: { reason: 'ErrImagePull', message: 'no such image' } }, 'Pending'],
  [{ running: {} }, 'Running'],
  [{ terminated: { exitCode: 30, message: 'no network', reason: 'Error', finishedAt: ENDED } }, 'Failed'],
  [{ terminated: { exitCode: 0, message: JSON.stringify(LOADED) } }, 'Succeeded'],
]
const everything = fc.oneof(
  { weight: 3, arbitrary: jobStep('j1') },
  { weight: 1, arbitrary: jobStep('j2') },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.constantFrom('Pending', 'Bound', 'Lost'), fc.constantFrom('claim-1', 'claim-2')).map(
      ([phase, uid]): Step =>
        (here) =>
          here.put('claim', 'm', aClaim(phase, uid)),
    ),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom('p1', 'p2'), fc.constantFrom(...POD_STATES), fc.constantFrom('j1-0', 'j1-1', 'j2-0'))
      .map(
        ([name, [state, phase], job]): Step =>
          (here) => {
            here.put('pod', name, aPod(state, phase, job))
            if (phase === 'Succeeded') here.put('job', job.slice(0, 2), aJob(COMPLETE, { uid: job }))
          },
      ),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({
        job: fc.constantFrom('j1', 'j2', ''),
        generation: fc.nat({ max: 5 }),
        model: fc.constantFrom('org/model', 7),
      })
      .map(
        ({ job, generation, model }): Step =>
          (here) =>
            here.put('model', 'm', aModel({ job, generation, model: String(model) })),
      ),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom<readonly [Kind, string]>(['claim', 'm'], ['job', 'j1'], ['job', 'j2'], ['pod', 'p1'], ['pod', 'p2'])
      .map(
        ([kind, name]): Step =>
          (here) =>
            here.take(kind, name),
      ),
  },
  { weight: 1, arbitrary: fc.constant<Step>((here) => here.restart()) },
  {
    weight: 1,
    arbitrary: fc.nat({ max: 100 }).map(
      (percent): Step =>
        async (here) => {
          await here.reconcile()
          if (here.followed.at(-1)?.length) here.memory().progress = progressOf(percent)
        },
    ),
  },
  {
    weight: 6,
    arbitrary: fc.constantFrom(0, 1, 6 * SECOND, 35 * SECOND, 4 * MINUTE, 11 * MINUTE).map(
      (ms): Step =>
        (here) =>
          here.pass(ms),
    ),
  },
)

describe('reconcile: whatever happens', (test) => {
  test('a new process finds nothing to write, and the same one neither', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(everything, { maxLength: 25 }), async (steps) => {
        const here = applied()
        here.events = {
          Job: { reason: 'FailedCreate', message: 'no', at: START },
          Pod: { reason: 'x', message: 'because', at: START },
        }
        for (const step of steps) await step(here)
        // Nothing of it is young any more; and a write may be what the next look builds on.
        await here.pass(3 * SECOND)
        await here.reconcile()
        const writes = here.patches.length
        await here.reconcile()
        assert.is(here.patches.length, writes, `the same one: ${JSON.stringify(here.patches.at(-1))}`)
        const before = here.status()
        here.restart()
        await here.reconcile()
        assert.equal(here.status(), before, 'a new one')
        assert.is(here.patches.length, writes)
        const { conditions, phase } = before
        const types = conditions.map(({ type }) => type)
        assert.is(types.includes('Stalled') || types.includes('Reconciling'), phase !== 'Ready')
        assert.not(types.includes('Stalled') && types.includes('Reconciling'))
      }),
      { numRuns: 400 },
    )
  })
})
