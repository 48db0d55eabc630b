import { modelLabel } from '../crds/names.ts'
import { indexOf } from './index-of.ts'
import { either, keyOf } from './key-of.ts'
import type { Observed, Rival } from './observed.ts'
import type { Change } from './reflector.ts'
import type { SeenClaim, SeenJob, SeenModel, SeenPod } from './seen.ts'

/** A cache of one kind of object; the key is `namespace/name`. */
export interface Cache<T> {
  get(key: string): T | undefined
}

export interface Caches {
  readonly models: Cache<SeenModel>
  readonly claims: Cache<SeenClaim>
  readonly jobs: Cache<SeenJob>
  readonly pods: Cache<SeenPod>
}

/** What the cluster shows of a model; what only this process knows is added by `reconcile`. */
export type Shown = Omit<Observed, 'explained' | 'progress' | 'intruder' | 'since'>

/** Finds what belongs together in the caches, and which models a change is news for. */
export interface Catalogue {
  shown(key: string): Shown | undefined
  modelChanged(change: Change<SeenModel>): void
  claimChanged(change: Change<SeenClaim>): void
  jobChanged(change: Change<SeenJob>): void
  podChanged(change: Change<SeenPod>): void
}

export interface CatalogueOptions {
  readonly caches: Caches
  /** A model to look at. What is final is told at once; all else may wait for more of the same. */
  readonly onNews: (key: string, isFinal: boolean) => void
  /** Hexadecimal sha256. */
  readonly digest: (text: string) => string
  /**
   * Whether we have sent just this status: what comes back is no news. Who wrote it is not seen from `managedFields`:
   * they know nothing of what is only taken away, and of two in the same second not the later. Absent: all is news.
   */
  readonly isSent?: (key: string, status: string) => boolean
}

export function catalogue({ caches, onNews, digest, isSent = () => false }: CatalogueOptions): Catalogue {
  const modelsOnClaim = indexOf()
  /** Those that are loaded into it, and those that only name it. One claim may hold all models there are. */
  const loadedOnPath = indexOf()
  const namedOnPath = indexOf()
  const modelsOfJob = indexOf()
  const modelsOfLabel = indexOf()
  const jobsOfLabel = indexOf()
  const podsOfJob = indexOf()

  const indexModel = (key: string, model: SeenModel, act: 'add' | 'remove'): void => {
    const { namespace, name, claim, path, workerJob } = model
    modelsOfLabel[act](either(key, `${namespace}/${modelLabel(name, digest)}`), key)
    if (claim !== undefined) {
      modelsOnClaim[act](either(key, `${namespace}/${claim}`), key)
      const onPath = model.hasSource ? loadedOnPath : namedOnPath
      onPath[act](`${namespace}/${claim}${path}`, key)
    }
    if (workerJob !== undefined) modelsOfJob[act](`${namespace}/${workerJob}`, key)
  }

  const tell = (keys: readonly string[], isFinal: boolean): void => {
    for (const key of keys) onNews(key, isFinal)
  }

  const loadedInto = ({ namespace, claim, path }: SeenModel): readonly string[] =>
    claim === undefined ? [] : loadedOnPath.of(`${namespace}/${claim}${path}`, MOST_ON_PATH)

  /** Those with the same path of the same claim, to whom it matters what is loaded there. */
  const concerned = (model: SeenModel | undefined): readonly string[] => {
    if (model?.claim === undefined || !model.hasSource) return []
    const loaded = loadedInto(model)
    // Where they are too many none of them is ready, and one more or less of those beyond changes nothing.
    if (loaded.length === MOST_ON_PATH && !loaded.includes(keyOf(model))) return loaded
    return [...loaded, ...namedOnPath.of(`${model.namespace}/${model.claim}${model.path}`)]
  }

  const neighbours = (model: SeenModel): readonly SeenModel[] =>
    loadedInto(model).flatMap((key) => {
      const other = caches.models.get(key)
      return other === undefined || other.name === model.name || other.isDeleting ? [] : [other]
    })

  const jobNamed = (model: SeenModel): SeenJob | undefined =>
    model.workerJob === undefined ? undefined : caches.jobs.get(`${model.namespace}/${model.workerJob}`)

  const rivals = (model: SeenModel): readonly Rival[] =>
    model.hasSource
      ? neighbours(model).flatMap((other) =>
          other.workerJob !== undefined ? [{ name: other.name, job: jobNamed(other) }] : [],
        )
      : []

  const rivalsOf = (key: string): readonly string[] => {
    const model = caches.models.get(key)
    return model?.hasSource ? loadedInto(model) : []
  }

  const filler = (model: SeenModel): Observed['filler'] => {
    const fillers = model.hasSource ? [] : neighbours(model)
    const [first] = fillers.toSorted((a, b) => (a.name < b.name ? -1 : 1))
    return first && { name: first.name, isReady: fillers.every(isReady) }
  }

  return {
    shown(key) {
      const model = caches.models.get(key)
      if (model === undefined) return undefined
      const { namespace, name, claim } = model
      const job = jobNamed(model)
      return {
        model,
        claim: claim === undefined ? undefined : caches.claims.get(`${namespace}/${claim}`),
        job,
        stale: present(caches.jobs, jobsOfLabel.of(`${namespace}/${modelLabel(name, digest)}`)).filter(
          (each) => each.name !== model.workerJob,
        ),
        pods: job === undefined ? [] : present(caches.pods, podsOfJob.of(ownerOf(job.namespace, job.uid))),
        rivals: rivals(model),
        filler: filler(model),
      }
    },
    modelChanged({ key: own, before, after }) {
      if (before !== undefined) indexModel(own, before, 'remove')
      if (after !== undefined) indexModel(own, after, 'add')
      const [others, all] = [concerned(before), concerned(after)]
      const changed = after ?? before
      if (changed === undefined) return
      const isKnown = before && after && isSent(own, after.status) && isStatusAlone(before, after)
      if (!isKnown) onNews(own, after === undefined)
      if (after !== undefined && before !== undefined && isAsBefore(before, after)) return
      tell(
        [...new Set([...others, ...all])].filter((key) => key !== own),
        false,
      )
    },
    claimChanged({ key, after }) {
      tell(modelsOnClaim.of(key), after === undefined || after.isDeleting || after.phase === 'Lost')
    },
    jobChanged({ key, before, after }) {
      if (before?.model !== undefined) jobsOfLabel.remove(`${before.namespace}/${before.model}`, key)
      if (after?.model !== undefined) jobsOfLabel.add(`${after.namespace}/${after.model}`, key)
      const job = after ?? before
      if (job === undefined) return
      const named = modelsOfJob.of(key)
      const isFinal = after?.end !== undefined && before?.end === undefined
      tell(named, isFinal)
      // One that no model names may be the last render's, and a rival's Job is news for those on its path.
      const labels = [...new Set([before?.model, after?.model])].filter((label) => label !== undefined)
      const others = new Set(labels.flatMap((label) => modelsOfLabel.of(`${job.namespace}/${label}`)))
      const known = new Set(named)
      if (after?.startedAt !== before?.startedAt || after?.end?.at !== before?.end?.at)
        for (const key of named) for (const each of rivalsOf(key)) others.add(each)
      tell(
        [...others].filter((key) => !known.has(key)),
        false,
      )
    },
    podChanged({ key, before, after }) {
      if (before !== undefined) podsOfJob.remove(ownerOf(before.namespace, before.owner), key)
      if (after !== undefined) podsOfJob.add(ownerOf(after.namespace, after.owner), key)
      const pod = after ?? before
      if (pod !== undefined) tell(modelsOfJob.of(`${pod.namespace}/${pod.job}`), false)
    },
  }
}

/** A uid alone is whatever the pod of another namespace says. */
const ownerOf = (namespace: string, uid: string): string => [namespace, uid].join('/')

/** All of them are in each other's way: more than these need not be looked at, or one tenant could stop us with them. */
const MOST_ON_PATH = 50

const present = <T>(cache: Cache<T>, keys: readonly string[]): readonly T[] =>
  keys.flatMap((key) => cache.get(key) ?? [])

/** An annotation may be what is wrong with it. */
const isStatusAlone = (before: SeenModel, after: SeenModel): boolean =>
  before.problem === after.problem &&
  before.uid === after.uid &&
  before.generation === after.generation &&
  before.workerJob === after.workerJob &&
  before.isDeleting === after.isDeleting

/** For those on the same path. */
const isAsBefore = (before: SeenModel, after: SeenModel): boolean =>
  before.claim === after.claim &&
  before.path === after.path &&
  before.hasSource === after.hasSource &&
  before.workerJob === after.workerJob &&
  before.isDeleting === after.isDeleting &&
  isReady(before) === isReady(after)

const isReady = ({ status }: SeenModel): boolean => phaseIn(status) === 'Ready'

/** Of a status as canonical JSON, without reading all of it. */
export const phaseIn = (status: string): string => /"phase":"([^"]*)"/.exec(status)?.[1] ?? ''
