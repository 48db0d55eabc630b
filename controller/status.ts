import type { ConditionType } from '../crds/arksmodel.ts'
import { parseTermination } from '../crds/termination.ts'
import { conditions, type Part } from './conditions.ts'
import { isDisturbed, type Look, loadedAt, type Observed, type Since, type Subject } from './observed.ts'
import { hasRefused, laterJob, obstacles, type Verdict } from './obstacles.ts'
import { type LoadedModel, type Progress, parseStatus, type Status, type Worker } from './stored.ts'
import { timestamp } from './times.ts'

export interface Judgement {
  readonly status: Status
  /** When time alone makes another one of it. */
  readonly changesAt: number | undefined
  readonly since: Since
  /** Whose Events are worth reading, and from when on. */
  readonly unexplained: { readonly subject: Subject; readonly from: number } | undefined
}

/** What an ArksModel's status is, from all that can be seen. Pure: `now` in milliseconds since the epoch. */
export function status(seen: Observed, now: number): Judgement {
  const previous = parseStatus(seen.model.status)
  const at: Look = { ...seen, previous, now }
  const verdict = firstOf(at)
  const { generation } = seen.model
  const since = sinceOf(at, verdict)
  const stallsAt = stalling(verdict, since)
  const isStalled = stallsAt !== undefined && now >= stallsAt
  const worker = workerOf(at, verdict)
  const model = modelOf(at, verdict)
  const progress = progressOf(at, verdict, model)
  return {
    status: {
      phase: verdict.phase,
      observedGeneration: generation,
      conditions: conditions(parts(verdict, isStalled), previous.conditions, { generation, now }),
      ...(worker && { worker }),
      ...(model && { model }),
      ...(progress && { progress }),
    },
    changesAt: earlier(isStalled ? undefined : stallsAt, verdict.until),
    since,
    unexplained: verdict.unexplained,
  }
}

const earlier = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.min(a, b)

function sinceOf({ since, model, previous, now }: Look, { ready }: Verdict): Since {
  const { generation, workerJob: job } = model
  if (since?.reason === ready.reason && since.generation === generation && since.job === job) return since
  const wasStalled = previous.conditions.some(
    ({ type, reason, message, observedGeneration }) =>
      type === 'Stalled' && reason === ready.reason && message === ready.message && observedGeneration === generation,
  )
  return { reason: ready.reason, generation, job, at: now, wasStalled: since === undefined && wasStalled }
}

function firstOf(seen: Look): Verdict {
  for (const obstacle of obstacles) {
    const verdict = obstacle(seen)
    if (verdict !== undefined) return verdict
  }
  throw new Error(`no obstacle and not ready: models/${seen.model.name}`)
}

/** When it is stalled; undefined: never. */
function stalling({ mark }: Verdict, since: Since): number | undefined {
  if (mark.kind === 'ready' || mark.kind === 'reconciling') return undefined
  if (mark.kind === 'stalled' || since.wasStalled) return Number.NEGATIVE_INFINITY
  return (mark.from ?? since.at) + mark.ms
}

function parts({ storage, loaded, ready, mark }: Verdict, isStalled: boolean): ReadonlyMap<ConditionType, Part> {
  const always: readonly [ConditionType, Part][] = [
    ['StorageCreated', storage],
    ['ModelLoaded', loaded],
  ]
  if (mark.kind === 'ready') return new Map([...always, ['Ready', { ...ready, status: 'True' }]])
  return new Map([
    ...always,
    ['Ready', { ...ready, status: isStalled ? 'False' : 'Unknown' }],
    [isStalled ? 'Stalled' : 'Reconciling', { ...ready, status: 'True' }],
  ])
}

function workerOf(seen: Look, { mark }: Verdict): Worker | undefined {
  const { claim, job, previous, model } = seen
  const before = previous.worker
  if (claim === undefined) return before
  if (mark.kind === 'ready' && job?.end?.kind === 'Complete' && model.hasSource) {
    return {
      jobName: job.name,
      ...(job.hash !== undefined && { hash: job.hash }),
      pvcUID: claim.uid,
      loadedAt: timestamp(job.end.at),
      model: model.wants.model,
      ...(model.wants.revision !== undefined && { revision: model.wants.revision }),
    }
  }
  if (before?.loadedAt !== undefined && job?.end?.kind === 'Failed' && before.jobName === job.name) {
    // It was told to load it again and broke off somewhere; also when it is gone, nobody can say that all is there.
    const { loadedAt: _, ...rest } = before
    return rest
  }
  const at = whenOverwritten(seen)
  if (at !== undefined && model.workerJob !== undefined && before?.revokedAt === undefined)
    return {
      ...(before?.pvcUID === claim.uid ? before : { jobName: model.workerJob, pvcUID: claim.uid }),
      revokedAt: timestamp(at),
    }
  if (job !== undefined && hasRefused(job) && before?.revokedAt === timestamp(justBefore(job.startedAt))) {
    const { revokedAt: _, ...rest } = before
    return rest
  }
  if (!isDisturbed(seen) || model.workerJob === undefined) return before
  if (before?.revokedAt !== undefined && Date.parse(before.revokedAt) >= loadedAt(seen)) return before
  return { jobName: model.workerJob, pvcUID: claim.uid, revokedAt: timestamp(Math.max(seen.now, loadedAt(seen)) + 999) }
}

/** When another Job of this model may have begun to change what was loaded; undefined: none has. */
function whenOverwritten(seen: Look): number | undefined {
  const { job, previous } = seen
  const { worker } = previous
  const later = laterJob(seen)
  // That another one is what was loaded last stands there already.
  const isTold = worker?.jobName !== seen.model.workerJob && Date.parse(worker?.loadedAt ?? '') > loadedAt(seen)
  if (later !== undefined) return isTold ? undefined : Math.max(justBefore(later.startedAt), loadedAt(seen))
  const isAtWork =
    worker?.loadedAt !== undefined &&
    worker.pvcUID === seen.claim?.uid &&
    job?.startedAt !== undefined &&
    job.name !== worker.jobName &&
    job.end?.kind !== 'Complete' &&
    !hasRefused(job)
  return isAtWork ? justBefore(job.startedAt) : undefined
}

/** By the clock that tells when Jobs end: one that has begun in the same second may also have ended in it. */
const justBefore = (startedAt = 0): number => startedAt - 1000

function modelOf({ model, claim, job, pods, previous }: Look, { mark }: Verdict): LoadedModel | undefined {
  const { path } = model
  if (mark.kind !== 'ready') return claim?.uid === previous.worker?.pvcUID ? previous.model : undefined
  const terminations = pods.flatMap(({ phase, end }) => {
    const termination = phase === 'Succeeded' && end ? parseTermination(end.message) : undefined
    return termination?.reason === 'Loaded' ? [termination] : []
  })
  const commit = terminations.find((each) => COMMIT.test(each.commit ?? ''))?.commit
  // Of several that loaded a part each, all must be there to be counted together.
  if (commit === undefined || terminations.length < (job?.completions ?? 1))
    return previous.worker?.jobName === model.workerJob && previous.model?.path === path ? previous.model : { path }
  const files = total(terminations.map(({ files }) => files))
  const bytes = total(terminations.map(({ totalBytes }) => totalBytes))
  return { path, commit, ...(files !== undefined && { files }), ...(bytes !== undefined && { bytes }) }
}

/** Undefined where it is no number that JSON readers agree on: the API server would refuse all of the status. */
function total(numbers: readonly (number | undefined)[]): number | undefined {
  const sum = numbers.reduce<number>((all, each) => all + (each ?? 0), 0)
  return Number.isSafeInteger(sum) ? sum : undefined
}

const COMMIT = /^[\w.-]{1,64}$/

function progressOf(seen: Look, { mark, ready }: Verdict, model: LoadedModel | undefined): Progress | undefined {
  const { job, previous } = seen
  if (job === undefined) return mark.kind === 'ready' ? previous.progress : undefined
  if (mark.kind === 'ready') {
    if (model?.bytes === undefined) return undefined
    return { jobName: job.name, percent: 100, loadedBytes: model.bytes, totalBytes: model.bytes }
  }
  if (!LOADING.includes(ready.reason)) return undefined
  if (seen.progress !== undefined) return { jobName: job.name, ...seen.progress }
  const { progress } = previous
  return progress?.jobName === job.name && progress.percent < 100 ? progress : undefined
}

/** The reasons under which bytes are on their way. */
export const LOADING: readonly string[] = ['ModelLoading', 'ModelLoadRetrying']
