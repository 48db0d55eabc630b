import { createHash } from 'node:crypto'
import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { type Catalogue, catalogue, phaseIn, type Shown } from '../controller/catalogue.ts'
import { indexOf } from '../controller/index-of.ts'
import { keyOf } from '../controller/key-of.ts'
import type { Change } from '../controller/reflector.ts'
import { FIELD_MANAGER, type SeenClaim, type SeenJob, type SeenModel, type SeenPod } from '../controller/seen.ts'
import { modelLabel } from '../crds/names.ts'
import { describe } from './harness.ts'

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

const SEEN = { namespace: 'ns', resourceVersion: '1', createdAt: 0, isDeleting: false }

const aModel = (over: Partial<SeenModel> & { readonly name: string }): SeenModel => ({
  ...SEEN,
  uid: `uid-of-${over.name}`,
  generation: 1,
  problem: undefined,
  wants: { model: 'org/model', revision: undefined, include: [], exclude: [] },
  hasSource: true,
  claim: over.name,
  path: `/models/models/ns/${over.name}`,
  workerJob: `job-of-${over.name}`,
  status: '{}',
  statusWriter: undefined,
  ...over,
})

const aClaim = (over: Partial<SeenClaim> & { readonly name: string }): SeenClaim => ({
  ...SEEN,
  uid: `claim-${over.name}`,
  phase: 'Bound',
  ...over,
})

const aJob = (over: Partial<SeenJob> & { readonly name: string }): SeenJob => ({
  ...SEEN,
  uid: `uid-of-${over.name}`,
  hash: undefined,
  model: undefined,
  loads: undefined,
  claim: undefined,
  isSuspended: false,
  failed: 0,
  completions: 1,
  startedAt: undefined,
  end: undefined,
  ...over,
})

const aPod = (over: Partial<SeenPod> & { readonly name: string; readonly job: string }): SeenPod => ({
  ...SEEN,
  uid: `uid-of-${over.name}`,
  owner: `uid-of-${over.job}`,
  index: 0,
  phase: 'Running',
  ip: undefined,
  reason: '',
  message: '',
  unscheduled: undefined,
  disrupted: undefined,
  waiting: undefined,
  isRunning: true,
  end: undefined,
  ...over,
})

const COMPLETE = { kind: 'Complete', at: 5, reason: '', message: '' } as const
const READY = '{"phase":"Ready"}'
const LONG = 'a-name-that-is-longer-than-a-label-of-fifty-three-characters-may-be'

interface Kept {
  readonly namespace: string
  readonly name: string
  readonly uid: string
}

interface Store<T extends Kept> {
  readonly held: Map<string, T>
  set(object: T): void
  remove(name: string): void
}

interface Cluster {
  /** The status that we have sent, of whichever model. */
  sent: string | undefined
  readonly related: Catalogue
  readonly models: Store<SeenModel>
  readonly claims: Store<SeenClaim>
  readonly jobs: Store<SeenJob>
  readonly pods: Store<SeenPod>
  /** How often the caches were asked. */
  readonly looks: () => number
  /** Told since the last call, sorted; with an exclamation mark where it is final. */
  readonly news: () => readonly string[]
}

/** Tells of changes as the reflector does: the cache first, and one that is made anew goes before it comes. */
function store<T extends Kept>(report: (change: Change<T>) => void): Store<T> {
  const held = new Map<string, T>()
  const removeKey = (key: string): void => {
    const before = held.get(key)
    if (before === undefined) return
    held.delete(key)
    report({ key, before, after: undefined })
  }
  return {
    held,
    set(after) {
      const key = keyOf(after)
      if (held.get(key)?.uid !== after.uid) removeKey(key)
      const before = held.get(key)
      held.set(key, after)
      report({ key, before, after })
    },
    remove: (name) => removeKey(`ns/${name}`),
  }
}

function cluster(): Cluster {
  const told: string[] = []
  let looks = 0
  const models = store<SeenModel>((change) => related.modelChanged(change))
  const claims = store<SeenClaim>((change) => related.claimChanged(change))
  const jobs = store<SeenJob>((change) => related.jobChanged(change))
  const pods = store<SeenPod>((change) => related.podChanged(change))
  const counted = <T extends Kept>({ held }: Store<T>): { readonly get: (key: string) => T | undefined } => ({
    get(key) {
      looks++
      return held.get(key)
    },
  })
  const related = catalogue({
    caches: { models: counted(models), claims: counted(claims), jobs: counted(jobs), pods: counted(pods) },
    onNews: (key, isFinal) => told.push(`${key.replace(/^ns\//, '')}${isFinal ? '!' : ''}`),
    digest,
    isSent: (_, status) => status === all.sent,
  })
  const all: Cluster = {
    sent: undefined,
    related,
    models,
    claims,
    jobs,
    pods,
    looks: () => looks,
    news: () => told.splice(0).sort(),
  }
  return all
}

/** A cluster that holds these, of which nothing is news any more. */
function holding(...models: readonly SeenModel[]): Cluster {
  const all = cluster()
  for (const model of models) all.models.set(model)
  all.news()
  return all
}

/** On one path of one claim. */
const shared = (name: string, over: Partial<SeenModel> = {}): SeenModel =>
  aModel({ name, claim: 'shared', path: '/models/x', ...over })

const names = (all: readonly { readonly name: string }[]): readonly string[] => all.map(({ name }) => name).sort()

describe('catalogue: news of models', (test) => {
  test('one that appears may wait for what is applied with it; one that goes may not', () => {
    const all = cluster()
    all.models.set(aModel({ name: 'a' }))
    assert.equal(all.news(), ['a'])
    all.models.remove('a')
    assert.equal(all.news(), ['a!'])
    assert.is(all.related.shown('ns/a'), undefined)
  })

  test('one that is made anew is news twice, and nothing of the old one is left', () => {
    const all = holding(aModel({ name: 'a', claim: 'old', workerJob: 'old' }))
    all.models.set(aModel({ name: 'a', uid: 'another', claim: 'new', workerJob: 'new' }))
    assert.equal(all.news(), ['a', 'a!'])
    all.claims.set(aClaim({ name: 'old' }))
    all.jobs.set(aJob({ name: 'old' }))
    assert.equal(all.news(), [])
    all.claims.set(aClaim({ name: 'new' }))
    all.jobs.set(aJob({ name: 'new' }))
    assert.equal(all.news(), ['a', 'a'])
  })

  test('what we wrote ourselves is no news', () => {
    const all = holding(aModel({ name: 'a' }))
    all.sent = READY
    all.models.set(aModel({ name: 'a', resourceVersion: '2', status: READY }))
    assert.equal(all.news(), [])
  })

  test('what another one has put over it is news, whoever seems to have written it', () => {
    const all = holding(aModel({ name: 'a', status: READY }))
    all.sent = READY
    all.models.set(aModel({ name: 'a', status: '{}', statusWriter: FIELD_MANAGER }))
    assert.equal(all.news(), ['a'])
  })

  const changed: Readonly<Record<string, Partial<SeenModel>>> = {
    'the spec': { generation: 2 },
    'a new render': { workerJob: 'another' },
    'a deletion': { isDeleting: true },
    'another status': { status: '{}' },
  }
  for (const [what, over] of Object.entries(changed)) {
    test(`${what} is news, also behind our own write`, () => {
      const all = holding(aModel({ name: 'a' }))
      all.sent = READY
      all.models.set(aModel({ name: 'a', resourceVersion: '2', status: READY, ...over }))
      assert.equal(all.news(), ['a'])
    })
  }

  test('one that comes into a path, leaves it, or is deleted is news for those in it', () => {
    const all = holding(shared('a'), shared('b', { path: '/models/y' }), aModel({ name: 'c', claim: 'shared' }))
    all.models.set(shared('new'))
    assert.equal(all.news(), ['a', 'new'])
    all.models.set(shared('new', { path: '/models/y', generation: 2 }))
    assert.equal(all.news(), ['a', 'b', 'new'])
    all.models.set(shared('new', { path: '/models/y', isDeleting: true, generation: 3 }))
    assert.equal(all.news(), ['b', 'new'])
    all.models.remove('new')
    assert.equal(all.news(), ['b', 'new!'])
  })

  test('one that becomes Ready by our own write is news for those that name its path', () => {
    const all = holding(shared('filler'), shared('user', { hasSource: false, workerJob: undefined }))
    all.sent = READY
    all.models.set(shared('filler', { status: READY, resourceVersion: '2' }))
    assert.equal(all.news(), ['user'])
    all.models.set(shared('filler', { status: READY, resourceVersion: '3' }))
    assert.equal(all.news(), [])
  })

  test('many that share a claim, each with a path of its own, are no news for one another', () => {
    const all = cluster()
    const count = 2_000
    for (let index = 0; index < count; index++) all.models.set(aModel({ name: `m${index}`, claim: 'shared' }))
    assert.is(all.news().length, count)
    const before = all.looks()
    for (let index = 0; index < count; index++) all.related.shown(`ns/m${index}`)
    assert.ok(all.looks() - before < 10 * count, `${all.looks() - before} looks into the caches`)
  })
})

describe('catalogue: news of claims, Jobs and pods', (test) => {
  const claims: Readonly<
    Record<string, { readonly before?: SeenClaim; readonly after?: SeenClaim; readonly isFinal: boolean }>
  > = {
    'that appears': { after: aClaim({ name: 'a', phase: 'Pending' }), isFinal: false },
    'that is bound': {
      before: aClaim({ name: 'a', phase: 'Pending' }),
      after: aClaim({ name: 'a' }),
      isFinal: false,
    },
    'that is lost': { before: aClaim({ name: 'a' }), after: aClaim({ name: 'a', phase: 'Lost' }), isFinal: true },
    'that is being deleted': {
      before: aClaim({ name: 'a' }),
      after: aClaim({ name: 'a', isDeleting: true }),
      isFinal: true,
    },
    'that is gone': { before: aClaim({ name: 'a' }), isFinal: true },
  }
  for (const [what, { before, after, isFinal }] of Object.entries(claims)) {
    test(`a claim ${what} is news for all models on it`, () => {
      const all = holding(aModel({ name: 'a' }), aModel({ name: 'b', claim: 'a' }), aModel({ name: 'c' }))
      all.related.claimChanged({ key: 'ns/a', before, after })
      assert.equal(all.news(), isFinal ? ['a!', 'b!'] : ['a', 'b'])
    })
  }

  test('a Job that ends is told at once, whatever else happens to it may wait', () => {
    const all = holding(aModel({ name: 'a' }), aModel({ name: 'b' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a' }))
    assert.equal(all.news(), ['a'])
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a', startedAt: 1 }))
    assert.equal(all.news(), ['a'])
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a', startedAt: 1, end: COMPLETE }))
    assert.equal(all.news(), ['a!'])
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a', startedAt: 1, end: COMPLETE, isDeleting: true }))
    assert.equal(all.news(), ['a'])
    all.jobs.remove('job-of-a')
    assert.equal(all.news(), ['a'])
  })

  test('a Job without our label counts where a model names it', () => {
    const all = holding(aModel({ name: 'a' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: undefined }))
    assert.equal(all.news(), ['a'])
    assert.is(all.related.shown('ns/a')?.job?.name, 'job-of-a')
  })

  test('a Job of an older render is news for the model of its label, and stale', () => {
    const all = holding(aModel({ name: 'a' }))
    all.jobs.set(aJob({ name: 'older', model: 'a' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a' }))
    assert.equal(all.news(), ['a', 'a'])
    assert.equal(names(all.related.shown('ns/a')?.stale ?? []), ['older'])
  })

  test('a Job whose label moves to another model is news for both', () => {
    const all = holding(aModel({ name: 'a' }), aModel({ name: 'b' }))
    all.jobs.set(aJob({ name: 'older', model: 'a' }))
    all.news()
    all.jobs.set(aJob({ name: 'older', model: 'b' }))
    assert.equal(all.news(), ['a', 'b'])
    assert.equal(all.related.shown('ns/a')?.stale, [])
  })

  test('a second render: the first one’s Job becomes stale, and its pods are no longer looked at', () => {
    const all = holding(aModel({ name: 'a', workerJob: 'first' }))
    all.jobs.set(aJob({ name: 'first', model: 'a' }))
    all.jobs.set(aJob({ name: 'second', model: 'a' }))
    all.pods.set(aPod({ name: 'p1', job: 'first' }))
    all.pods.set(aPod({ name: 'p2', job: 'second' }))
    assert.equal(names(all.related.shown('ns/a')?.pods ?? []), ['p1'])
    all.models.set(aModel({ name: 'a', workerJob: 'second' }))
    const shown = all.related.shown('ns/a')
    assert.equal([shown?.job?.name, names(shown?.stale ?? []), names(shown?.pods ?? [])], ['second', ['first'], ['p2']])
    all.news()
    all.pods.set(aPod({ name: 'p1', job: 'first', resourceVersion: '2' }))
    assert.equal(all.news(), [])
  })

  test('a long name is found by its cut label', () => {
    const label = modelLabel(LONG, digest)
    assert.is.not(label, LONG)
    const all = holding(aModel({ name: LONG }), aModel({ name: `${LONG}r` }))
    all.jobs.set(aJob({ name: 'older', model: label }))
    assert.equal(all.news(), [LONG])
    assert.equal(names(all.related.shown(`ns/${LONG}`)?.stale ?? []), ['older'])
    assert.equal(all.related.shown(`ns/${LONG}r`)?.stale, [])
  })

  test('the pods of a Job that was made anew are not those of the one before', () => {
    const all = holding(aModel({ name: 'a' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a' }))
    all.pods.set(aPod({ name: 'p', job: 'job-of-a' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a', uid: 'another' }))
    assert.equal(all.related.shown('ns/a')?.pods, [])
  })

  test('a pod that was made anew for another Job is that one’s', () => {
    const all = holding(aModel({ name: 'a' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a' }))
    all.pods.set(aPod({ name: 'p', job: 'job-of-a' }))
    all.pods.set(aPod({ name: 'p', job: 'another', uid: 'anew' }))
    assert.equal(all.related.shown('ns/a')?.pods, [])
  })

  test('pods that come before their Job are there when it comes', () => {
    const all = holding(aModel({ name: 'a' }))
    all.pods.set(aPod({ name: 'p', job: 'job-of-a' }))
    assert.equal(all.news(), ['a'])
    assert.equal(all.related.shown('ns/a')?.pods, [])
    all.jobs.set(aJob({ name: 'job-of-a' }))
    assert.equal(names(all.related.shown('ns/a')?.pods ?? []), ['p'])
  })

  test('what happens in another namespace is no news', () => {
    const all = holding(aModel({ name: 'a' }))
    all.claims.set(aClaim({ name: 'a', namespace: 'other' }))
    all.jobs.set(aJob({ name: 'job-of-a', model: 'a', namespace: 'other' }))
    all.pods.set(aPod({ name: 'p', job: 'job-of-a', namespace: 'other' }))
    assert.equal(all.news(), [])
  })
})

describe('catalogue: models on one path', (test) => {
  test('rivals are those that load into the same path, each with its Job', () => {
    const all = holding(
      shared('a'),
      shared('b'),
      shared('not-rendered', { workerJob: undefined }),
      shared('going', { isDeleting: true }),
      shared('no-source', { hasSource: false }),
      shared('elsewhere', { path: '/models/y' }),
    )
    all.jobs.set(aJob({ name: 'job-of-b', model: 'b', startedAt: 1 }))
    assert.equal(all.news(), ['a', 'b', 'going', 'not-rendered'])
    const rivals = all.related.shown('ns/a')?.rivals ?? []
    assert.equal(names(rivals), ['b'])
    assert.is(rivals[0]?.job?.startedAt, 1)
    assert.equal(all.related.shown('ns/no-source')?.rivals, [])
  })

  test('a model without a source waits for all that load into its path', () => {
    const all = holding(shared('user', { hasSource: false }), shared('b'), shared('a', { status: READY }))
    assert.equal(all.related.shown('ns/user')?.filler, { name: 'a', isReady: false })
    all.models.set(shared('b', { status: READY }))
    assert.equal(all.related.shown('ns/user')?.filler, { name: 'a', isReady: true })
    all.models.remove('a')
    all.models.remove('b')
    assert.is(all.related.shown('ns/user')?.filler, undefined)
  })

  test('a phase is found where a message quotes another one', () => {
    assert.is(phaseIn('{"conditions":[{"message":"\\"phase\\":\\"Failed\\""}],"phase":"Ready"}'), 'Ready')
    assert.is(phaseIn('{}'), '')
  })
})

describe('indexOf', (test) => {
  test('holds each key of a value once, and nothing of what is removed', () => {
    const index = indexOf()
    index.add('v', 'a')
    index.add('v', 'a')
    assert.equal(index.of('v'), ['a'])
    index.remove('v', 'other')
    assert.equal(index.of('v'), ['a'])
    index.add('v', 'b')
    index.add('v', 'b')
    assert.equal(index.of('v'), ['a', 'b'])
    index.remove('v', 'a')
    assert.equal(index.of('v'), ['b'])
    index.remove('v', 'b')
    index.remove('v', 'b')
    assert.equal(index.of('v'), [])
  })
})

type Step = (all: Cluster) => void

const MODELS = ['a', 'b', LONG]
const CLAIMS = ['c1', 'c2']
const JOBS = ['j1', 'j2', 'j3']

const uid = fc.constantFrom('1', '2')
const modelSteps: fc.Arbitrary<Step> = fc
  .record({
    name: fc.constantFrom(...MODELS),
    uid,
    claim: fc.constantFrom(undefined, ...CLAIMS),
    path: fc.constantFrom('/models/x', '/models/y'),
    hasSource: fc.boolean(),
    workerJob: fc.constantFrom(undefined, ...JOBS),
    isDeleting: fc.boolean(),
    status: fc.constantFrom('{}', READY),
  })
  .map(
    (over): Step =>
      ({ models }) =>
        models.set(aModel({ ...over, generation: generationOf(models.held.get(`ns/${over.name}`), over) })),
  )
const jobSteps: fc.Arbitrary<Step> = fc
  .record({
    name: fc.constantFrom(...JOBS),
    uid,
    model: fc.constantFrom(undefined, ...MODELS.map((name) => modelLabel(name, digest))),
    startedAt: fc.constantFrom(undefined, 1, 2),
    end: fc.constantFrom(undefined, COMPLETE),
  })
  .map(
    (over): Step =>
      ({ jobs }) =>
        jobs.set(aJob({ ...over, uid: `${over.name}-${over.uid}` })),
  )
const podSteps: fc.Arbitrary<Step> = fc
  .record({ name: fc.constantFrom('p1', 'p2'), uid, job: fc.constantFrom(...JOBS), owner: uid })
  .map(
    (over): Step =>
      ({ pods }) =>
        pods.set(aPod({ ...over, owner: `${over.job}-${over.owner}`, uid: `${over.job}-${over.owner}-${over.uid}` })),
  )
const claimSteps: fc.Arbitrary<Step> = fc
  .record({ name: fc.constantFrom(...CLAIMS), uid, phase: fc.constantFrom('Pending', 'Bound', 'Lost') })
  .map(
    (over): Step =>
      ({ claims }) =>
        claims.set(aClaim(over)),
  )
const removals: fc.Arbitrary<Step> = fc
  .tuple(
    fc.constantFrom('models', 'claims', 'jobs', 'pods'),
    fc.constantFrom(...MODELS, ...CLAIMS, ...JOBS, 'p1', 'p2'),
  )
  .map(
    ([kind, name]): Step =>
      (all) =>
        all[kind].remove(name),
  )
const steps = fc.oneof(
  { weight: 4, arbitrary: modelSteps },
  { weight: 3, arbitrary: jobSteps },
  { weight: 2, arbitrary: podSteps },
  { weight: 1, arbitrary: claimSteps },
  { weight: 2, arbitrary: removals },
)

/** As the API server counts it: what stands in the spec. */
function generationOf(
  before: SeenModel | undefined,
  after: Pick<SeenModel, 'uid' | 'claim' | 'path' | 'hasSource'>,
): number {
  if (before === undefined || before.uid !== after.uid) return 1
  const isSame = before.claim === after.claim && before.path === after.path && before.hasSource === after.hasSource
  return isSame ? before.generation : before.generation + 1
}

/** By looking at all there is. */
function searched({ models, claims, jobs, pods }: Cluster, name: string): Shown | undefined {
  const model = models.held.get(`ns/${name}`)
  if (model === undefined) return undefined
  const jobNamed = (wanted: string | undefined): SeenJob | undefined =>
    [...jobs.held.values()].find((each) => each.name === wanted)
  const job = jobNamed(model.workerJob)
  const others = [...models.held.values()].filter(
    (each) =>
      each.name !== name &&
      each.claim !== undefined &&
      each.claim === model.claim &&
      each.path === model.path &&
      !each.isDeleting &&
      each.hasSource,
  )
  const [first] = others.map((each) => each.name).sort()
  return {
    model,
    claim: [...claims.held.values()].find((each) => each.name === model.claim),
    job,
    stale: [...jobs.held.values()].filter(
      (each) => each.model === modelLabel(name, digest) && each.name !== model.workerJob,
    ),
    pods: [...pods.held.values()].filter((each) => each.owner === job?.uid),
    rivals: model.hasSource
      ? others
          .filter((each) => each.workerJob !== undefined)
          .map((each) => ({ name: each.name, job: jobNamed(each.workerJob) }))
      : [],
    filler:
      model.hasSource || first === undefined
        ? undefined
        : { name: first, isReady: others.every(({ status }) => status === READY) },
  }
}

const inOrder = (shown: Shown | undefined): Shown | undefined => {
  const byName = <T extends { readonly name: string }>(all: readonly T[]): readonly T[] =>
    [...all].sort((a, b) => (a.name < b.name ? -1 : 1))
  return shown && { ...shown, stale: byName(shown.stale), pods: byName(shown.pods), rivals: byName(shown.rivals) }
}

/** Of what is shown, all that a status depends on. */
const telling = (shown: Shown | undefined): unknown => {
  const ordered = inOrder(shown)
  if (ordered === undefined) return undefined
  const { rivals, stale } = ordered
  return {
    ...ordered,
    stale: names(stale),
    rivals: rivals.map(({ name, job }) => ({ name, startedAt: job?.startedAt, isEnded: job?.end !== undefined })),
  }
}

describe('catalogue: whatever happens', (test) => {
  test('it shows what a search through everything finds, and tells of all that changed', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 30 }), (all) => {
        const here = cluster()
        here.sent = READY
        for (const step of all) {
          const before = MODELS.map((name) => searched(here, name))
          step(here)
          const news = here.news()
          for (const [index, name] of MODELS.entries()) {
            const found = searched(here, name)
            assert.equal(inOrder(here.related.shown(`ns/${name}`)), inOrder(found))
            const isOurs = found?.model.status === READY
            const old = before[index]
            const status = isOurs && old !== undefined ? old.model.status : found?.model.status
            const seen = found && { ...found, model: { ...found.model, status: status ?? '' } }
            if (JSON.stringify(telling(old)) !== JSON.stringify(telling(seen)))
              assert.ok(news.includes(name) || news.includes(`${name}!`), `${name} is not told`)
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})
