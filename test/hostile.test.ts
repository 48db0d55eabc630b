import { createHash } from 'node:crypto'
import * as assert from 'uvu/assert'
import { catalogue } from '../controller/catalogue.ts'
import { ApiError } from '../controller/client.ts'
import { reconcile } from '../controller/reconcile.ts'
import { type Change, type Item, reflector } from '../controller/reflector.ts'
import { type SeenJob, type SeenModel, type SeenPod, seenJob, seenModel, seenPod } from '../controller/seen.ts'
import { type Judgement, status } from '../controller/status.ts'
import { APPLIED, JOB, judgementOf, laidOver, nowOf, observedOf, type Row, STATUS_ROWS } from './data/status-rows.ts'
import { describe } from './harness.ts'
import { until } from './until.ts'

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

function rowOf(name: string): Row {
  const row = STATUS_ROWS[name]
  if (row === undefined) throw new Error(`there is no row "${name}"`)
  return row
}

function must<T>(seen: T | undefined): T {
  if (seen === undefined) throw new Error('it must be seen')
  return seen
}

const COMPLETE_ROW = rowOf('11 complete')

const ready = ({ status: { conditions } }: Judgement): string | undefined => {
  const found = conditions.find(({ type }) => type === 'Ready')
  return found && `${found.status} ${found.reason}: ${found.message}`
}

/** The status once more, over what was written of another row. */
const after = (row: Row, before: Judgement): Judgement => {
  const seen = observedOf(row)
  return status({ ...seen, model: { ...seen.model, status: JSON.stringify(before.status) } }, nowOf(row))
}

describe('it is not Ready', (test) => {
  const moved: Row = { ...COMPLETE_ROW, model: 'spec: {storage: {subPath: elsewhere}}' }
  const complaint =
    /^Unknown NotRendered: Job \S+ loads into \/models\/models\/default\/qwen-7b, not into \/models\/elsewhere; /

  test('where the spec names another path than its Job loads into', () => {
    assert.match(ready(judgementOf(moved)) ?? '', complaint)
  })

  test('where it does so after the Job is gone', () => {
    const gone: Row = { ...moved, job: 'none' }
    assert.match(
      ready(after(gone, judgementOf(COMPLETE_ROW))) ?? '',
      /^Unknown NotRendered: .* not into \/models\/elsewhere; /,
    )
  })

  test('of the Job of another model that it was copied from', () => {
    const copied: Row = { ...COMPLETE_ROW, model: 'metadata: {name: copy}' }
    assert.match(
      ready(judgementOf(copied)) ?? '',
      /^Unknown NotRendered: .* not into \/models\/models\/default\/copy; /,
    )
  })

  test('but is where the path is written otherwise or nobody knows it', () => {
    const args = (...to: readonly string[]): string =>
      `spec: {template: {spec: {containers: [{name: worker, command: [arksmodel-loader], args: [Qwen/Qwen2.5-7B-Instruct-1M, ${to.join(', ')}]}]}}}`
    const complete = [COMPLETE_ROW.job ?? ''].flat()
    for (const to of [['--to', '/models/./elsewhere//'], ['--to=/models/elsewhere'], ['--to', '$(SOMEWHERE)'], []]) {
      assert.is(judgementOf({ ...moved, job: [...complete, args(...to)] }).status.phase, 'Ready', to.join(' '))
    }
  })
})

describe('a load that failed', (test) => {
  const again: Row = {
    ...COMPLETE_ROW,
    job: 'status: {conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded, lastTransitionTime: "2026-01-05T10:30:00Z"}]}',
    now: '10:31:00',
  }

  test('ends what an earlier one of the same name had made Ready', () => {
    const before = after(again, judgementOf(COMPLETE_ROW))
    assert.is(before.status.phase, 'Failed')
    assert.match(ready(after({ ...again, job: 'none' }, before)) ?? '', /WaitingForWorker/)
    const atWork = { ...again, job: 'metadata: {uid: another}' }
    assert.is(after(atWork, before).status.phase, 'ModelLoading')
    const mended = [COMPLETE_ROW.job ?? ''].flat().map((text) => text.replaceAll('T10:20:00Z', 'T10:50:00Z'))
    assert.is(after({ ...COMPLETE_ROW, job: mended, now: '10:51:00' }, before).status.phase, 'Ready')
  })
})

describe('nobody is told that it stalls', (test) => {
  test('when a Job that was suspended for long has just been let go', () => {
    const resumed: Row = {
      why: 'the Job controller sets its start a moment later',
      job: 'status: {active: null, startTime: null, conditions: [{type: Suspended, status: "True"}]}',
      now: '11:30:00',
      want: COMPLETE_ROW.want,
    }
    assert.match(ready(judgementOf(resumed)) ?? '', /^Unknown Suspended/)
    const unbound = { ...resumed, claim: 'status: {phase: Pending}' }
    assert.match(ready(judgementOf(unbound)) ?? '', /^Unknown Suspended/)
  })

  test('that pods are refused, when the one that was made at last has succeeded', () => {
    const refused = { reason: 'FailedCreate', message: 'exceeded quota', at: Date.parse('2026-01-05T10:00:01Z') }
    const succeeded: Row = {
      why: 'the Job is complete in a moment',
      pods: [
        `status: {phase: Succeeded, containerStatuses: [{name: worker, state: {terminated: {exitCode: 0, finishedAt: "2026-01-05T10:00:20Z"}}}]}`,
      ],
      events: { job: refused },
      want: COMPLETE_ROW.want,
    }
    assert.match(ready(judgementOf(succeeded)) ?? '', /ModelLoading/)
  })
})

describe('why it failed', (test) => {
  const failed = Object.entries(STATUS_ROWS).find(([, { want }]) => want.reason === 'GatedRepo')?.[1]

  test('is still known when the pods are gone', () => {
    if (failed === undefined) throw new Error('there is no such row')
    const before = judgementOf(failed)
    assert.is(ready(after({ ...failed, pods: [] }, before)), ready(before))
  })

  test('is not what made another Job of the same name fail before', () => {
    if (failed === undefined) throw new Error('there is no such row')
    const later = [failed.job ?? ''].flat().map((text) => text.replaceAll('T10:00:20Z', 'T12:00:20Z'))
    const again: Row = { ...failed, job: later, pods: [], now: '12:01:00' }
    assert.match(ready(after(again, judgementOf(failed))) ?? '', /ModelLoadFailed/)
  })
})

describe('a model whose annotations alone change', (test) => {
  test('is looked at: what was wrong with it may be mended', () => {
    const invalid = must(seenModel(laidOver(APPLIED.model, 'metadata: {annotations: {arks.ai/shards: many}}')))
    const mended = must(seenModel(laidOver(APPLIED.model, 'metadata: {resourceVersion: "200"}')))
    assert.ok(invalid.problem)
    assert.is(mended.problem, undefined)
    const { put, news } = scene(() => true)
    put(invalid)
    news()
    put(mended)
    assert.equal(news(), ['default/qwen-7b'])
  })
})

describe('a model without its Job', (test) => {
  test('is told of, also where the clock of the server is ahead by an hour', async () => {
    const seen = observedOf({ ...COMPLETE_ROW, job: 'none' })
    const sent: unknown[] = []
    await reconcile(
      {
        catalogue: { shown: () => seen },
        memories: new Map(),
        now: () => seen.model.createdAt - 3_600_000,
        explain: async () => undefined,
        async write(model, patch) {
          sent.push(patch)
          return model
        },
        onWritten() {},
        onIntrusion() {},
        follow() {},
      },
      'default/qwen-7b',
    )
    assert.is(sent.length, 1)
  })
})

describe('a pod that succeeded', (test) => {
  test('tells what was loaded, however its sidecars ended', () => {
    const pod = seenPod(
      laidOver(
        APPLIED.pod,
        `
status:
  phase: Succeeded
  initContainerStatuses: [{name: proxy, state: {terminated: {exitCode: 137, reason: Error}}}]
  containerStatuses: [{name: worker, state: {terminated: {exitCode: 0, message: said, finishedAt: "2026-01-05T10:20:00Z"}}}]`,
      ),
    )
    assert.is(pod?.end?.message, 'said')
  })
})

describe('a tenant', (test) => {
  test('cannot hold up the process with the arguments of a Job', () => {
    const args = ['org/model', ...Array.from({ length: 300_000 }, () => '=')]
    const worker = { name: 'worker', command: ['arksmodel-loader'], args }
    const job = { ...APPLIED.job, spec: { template: { spec: { containers: [worker] } } } }
    const start = performance.now()
    assert.is(seenJob(job)?.loads?.model, 'org/model')
    assert.ok(performance.now() - start < 2_000, 'a list that is copied for each of its members takes a minute')
  })

  test('cannot forge a pod for the Job of another namespace', () => {
    const { related, put } = scene()
    put(aModel({ name: 'm', namespace: 'default', workerJob: JOB }))
    put(must(seenJob(APPLIED.job)))
    const own = must(seenPod(APPLIED.pod))
    const forged = must(seenPod(laidOver(APPLIED.pod, 'metadata: {namespace: tenant, name: forged, uid: forged}')))
    put(own)
    put(forged)
    assert.equal(related.shown('default/m')?.pods, [own])
  })

  test('cannot hide the one that loads behind many that stand on the same path', () => {
    const { related, put, news } = scene()
    const on = { namespace: 'default', claim: 'shared', path: '/models/shared' }
    const names = Array.from({ length: 200 }, (_, index) => `alias-${index}`)
    for (const name of names) put(aModel({ ...on, name, hasSource: false }))
    put(aModel({ ...on, name: 'filler', status: '{"phase":"ModelLoading"}' }))
    for (const name of names)
      assert.equal(related.shown(`default/${name}`)?.filler, { name: 'filler', isReady: false }, name)
    news()
    put(aModel({ ...on, name: 'filler', status: '{"phase":"Ready"}', resourceVersion: '2' }))
    assert.equal(new Set(news()), new Set(['default/filler', ...names.map((name) => `default/${name}`)]))
  })

  test('cannot fill an answer so that the collection is never listed', async () => {
    const held = Array.from({ length: 10 }, (_, index) => `big-${index}`)
    const limits: (number | undefined)[] = []
    const it = reflector<Item>({
      source: {
        path: '/api/v1/bigs',
        trimmed: (object) => ({ ...NOTHING, name: String(object), resourceVersion: '5' }),
      },
      client: {
        async request({ query }) {
          const from = Number(query?.['continue'] ?? 0)
          const limit = Number(query?.['limit'] ?? held.length)
          limits.push(limit)
          if (limit > 2) throw new ApiError('cannot list', { code: 0, reason: 'AnswerTooLong', said: '' })
          const more = from + limit < held.length ? { continue: String(from + limit) } : {}
          return { metadata: { resourceVersion: '5', ...more }, items: held.slice(from, from + limit) }
        },
        watch: () => new Promise(() => {}),
      },
      onChange() {},
      now: () => 0,
      sleep: () => new Promise(() => {}),
      random: () => 0,
    })
    await until('it is synced', () => it.isSynced())
    assert.equal(
      [...it.values()].map(({ name }) => name),
      held,
    )
    assert.ok(limits.length < 20, String(limits))
  })
})

const NOTHING = { namespace: 'default', uid: 'uid' }

const aModel = (over: Partial<SeenModel> & { readonly name: string }): SeenModel => ({
  ...must(seenModel(APPLIED.model)),
  uid: over.name,
  ...over,
})

type Kept = SeenModel | SeenJob | SeenPod

interface Scene {
  readonly related: ReturnType<typeof catalogue>
  put(object: Kept): void
  /** Since it was asked last. */
  news(): readonly string[]
}

function scene(isSent: () => boolean = () => false): Scene {
  const models = new Map<string, SeenModel>()
  const jobs = new Map<string, SeenJob>()
  const pods = new Map<string, SeenPod>()
  const told: string[] = []
  const related = catalogue({
    caches: { models, claims: new Map(), jobs, pods },
    onNews: (key) => told.push(key),
    digest,
    isSent,
  })
  const kept = <T extends Kept>(cache: Map<string, T>, object: T): Change<T> => {
    const key = `${object.namespace}/${object.name}`
    const before = cache.get(key)
    cache.set(key, object)
    return { key, before, after: object }
  }
  return {
    related,
    put(object) {
      if ('wants' in object) related.modelChanged(kept(models, object))
      else if ('owner' in object) related.podChanged(kept(pods, object))
      else related.jobChanged(kept(jobs, object))
    },
    news: () => told.splice(0),
  }
}
