import type { Phase } from '../crds/arksmodel.ts'
import { HOPELESS_EXIT_CODES, REASONS } from '../crds/termination.ts'
import { disruption, endOf, jobCause, lastFailed, NODE_LOST, podCause } from './cause.ts'
import { clean, cleanNames, cleanWord, LONGEST_NAME } from './clean.ts'
import type { Part } from './conditions.ts'
import { type Look, latched, type Subject } from './observed.ts'
import type { SeenJob, SeenModel, SeenPod, Waiting, Wanted, Why } from './seen.ts'

export interface Verdict {
  readonly phase: Phase
  readonly storage: Part
  readonly loaded: Part
  /** Why it is ready, or is not. */
  readonly ready: Why
  readonly mark: Mark
  /** Until when nothing else is said, if nothing happens. */
  readonly until?: number
  readonly unexplained?: { readonly subject: Subject; readonly from: number }
}

/** `waiting` is stalled `ms` after `from`; without `from`, after the reason came up. */
export type Mark =
  | { readonly kind: 'ready' }
  | { readonly kind: 'reconciling' }
  | { readonly kind: 'stalled' }
  | { readonly kind: 'waiting'; readonly ms: number; readonly from?: number }

/** Undefined: this one does not stand in the way. Each is total: it does not rely on an earlier one having passed. */
export type Obstacle = (seen: Look) => Verdict | undefined

const SECOND = 1_000
const MINUTE = 60 * SECOND
/** What a tool is about to apply. */
const MISSING_MS = 5 * MINUTE
/** What storage, scheduler and registry may take. */
const STARTING_MS = 10 * MINUTE
/** Whoever is refused the model is told so within this time, before anything is written. */
const LOOKING_MS = 30 * SECOND
/** What only a hand can mend, if it was not applied a moment later. */
const CONFIG_MS = MINUTE
/** How far the watches may be apart. */
const NEWS_MS = 10 * SECOND
/** What is explained by its status within this time is not asked about. */
const UNEXPLAINED_MS = 5 * SECOND
/** A pod that starts within this time is not told of apart: each write is one more for etcd and all who watch. */
const QUICK_MS = 5 * SECOND
/** So long after a new attempt has begun it is more important why the last one failed. */
const ATTEMPT_MS = MINUTE

/** The first that applies is the status. The last one always applies. */
export const obstacles: readonly Obstacle[] = [
  anotherController,
  specInvalid,
  storageNotNamed,
  claimLost,
  claimDeleting,
  claimMissing,
  fillerNotReady,
  onVolumeAlready,
  pathShared,
  jobLoadsAnother,
  outdated,
  overwritten,
  claimReplaced,
  jobFailed,
  modelLoaded,
  jobMissing,
  jobDeleting,
  jobSuspended,
  podRefused,
  claimPending,
  podLost,
  podUnschedulable,
  podGated,
  podCannotStart,
  podMisconfigured,
  podStarting,
  podMissing,
  loadRetrying,
  loading,
]

function anotherController(seen: Look): Verdict | undefined {
  if (seen.intruder === undefined) return undefined
  const message = `Another controller writes this status (field manager ${quoted(seen.intruder)}); only one may run`
  return stopped(seen, { reason: 'AnotherController', message })
}

function specInvalid(seen: Look): Verdict | undefined {
  const { problem } = seen.model
  return problem === undefined ? undefined : stopped(seen, { reason: 'InvalidSpec', message: clean(problem) })
}

function storageNotNamed({ model }: Look): Verdict | undefined {
  if (model.claim !== undefined) return undefined
  const why = { reason: 'CreateFailed', message: 'Failed to create model storage: no storage PVC specified' }
  return { phase: 'Failed', storage: no(why), loaded: no(WAITING_FOR_STORAGE), ready: why, mark: STALLED }
}

function claimLost(seen: Look): Verdict | undefined {
  if (seen.claim?.phase !== 'Lost') return undefined
  const why = lostClaim(seen.claim.name)
  return { phase: 'Failed', storage: no(why), loaded: no(why), ready: why, mark: STALLED }
}

function claimDeleting({ claim }: Look): Verdict | undefined {
  if (!claim?.isDeleting) return undefined
  const why = deletingClaim(claim.name)
  return { phase: 'StorageCreating', storage: no(why), loaded: no(why), ready: why, mark: waiting(STARTING_MS) }
}

function claimMissing(seen: Look): Verdict | undefined {
  const { claim, job, model, previous } = seen
  if (claim !== undefined || model.claim === undefined) return undefined
  const why = missingClaim(model.claim)
  const wasLoaded =
    job?.end?.kind === 'Complete' ||
    (previous.worker?.loadedAt !== undefined && previous.worker.jobName === model.workerJob)
  const isGone = `PersistentVolumeClaim ${model.claim} is gone; the loaded model is lost`
  const loaded = wasLoaded
    ? { reason: why.reason, message: isGone }
    : isNotRendered(seen)
      ? NOT_RENDERED
      : WAITING_FOR_STORAGE
  const phase = job === undefined ? 'Pending' : 'StorageCreating'
  // Without both, what is missing is the render.
  const ready = loaded === NOT_RENDERED ? NOT_RENDERED : why
  return { phase, storage: no(why), loaded: no(loaded), ready, mark: waiting(MISSING_MS) }
}

/** A model without a source may name what another model loads: it is as ready as that one. */
function fillerNotReady(seen: Look): Verdict | undefined {
  const { model, filler } = seen
  if (model.hasSource || filler === undefined || filler.isReady) return undefined
  return storing(seen, {
    reason: 'WaitingForModel',
    message: `Wait for model ${filler.name}, which is loaded into the same path`,
  })
}

function onVolumeAlready({ model, claim }: Look): Verdict | undefined {
  if (model.hasSource || claim === undefined) return undefined
  const loaded = { status: 'True', reason: 'ModelLoadSucceeded', message: 'The model is in existing storage' } as const
  // Also where the claim is not bound: the first pod that uses it may be the application.
  return { phase: 'Ready', storage: created(claim.name), loaded, ready: READY, mark: { kind: 'ready' } }
}

function pathShared(seen: Look): Verdict | undefined {
  const { model, rivals } = seen
  const [first] = rivals
  if (first === undefined) return undefined
  const others = cleanNames(rivals.map(({ name }) => name))
  const message = `Also loaded into ${clean(model.path)} of storage ${model.claim}: model ${others}`
  return storing(seen, { reason: 'PathShared', message }, waiting(CONFIG_MS))
}

/** The spec was changed and not rendered: the Job that it names loads what it said before. */
function jobLoadsAnother(seen: Look): Verdict | undefined {
  const { model, job, previous } = seen
  const { wants, workerJob } = model
  if (!model.hasSource || workerJob === undefined) return undefined
  const message = (found: string, wanted: string): string =>
    `Job ${clean(workerJob, LONGEST_NAME)} loads ${clean(found, LONGEST_SPEC)}, not ${clean(wanted, LONGEST_SPEC)}; render the model again`
  if (job?.claim !== undefined && job.claim !== model.claim) {
    return storing(seen, notRendered(message(`into storage ${job.claim}`, `into ${model.claim}`)), waiting(MISSING_MS))
  }
  const told = job === undefined ? (counts(seen) ? previous.worker : undefined) : job.loads
  const loads = told?.model && { ...NO_PATTERNS, ...told, model: told.model, revision: told.revision }
  const isCut = !model.status.includes('"observedGeneration":')
  if (loads && !isSame(wants, loads, { isCut, hasPatterns: job !== undefined })) {
    return storing(seen, notRendered(message(named(loads), named(wants))), waiting(MISSING_MS))
  }
  const path = job === undefined ? (counts(seen) ? previous.model?.path : undefined) : job.path
  if (path === undefined || isSamePath(path, model.path)) return undefined
  return storing(seen, notRendered(message(`into ${path}`, `into ${model.path}`)), waiting(MISSING_MS))
}

/** Another Job has been at work in the path since, of this model or of another one, which may be gone. */
function overwritten(seen: Look): Verdict | undefined {
  const { claim, job, model, previous } = seen
  const { worker } = previous
  if (worker?.revokedAt === undefined || worker.pvcUID !== claim?.uid || job?.end?.kind !== 'Complete') return undefined
  const { at } = job.end
  // The other one may have begun in the same second.
  const isWhatWasLoaded = worker.jobName === job.name && Date.parse(worker.loadedAt ?? '') === at
  if (at > Date.parse(worker.revokedAt) && !isWhatWasLoaded) return undefined
  const message = `Something else was loaded into ${model.path} after this one; ${again(job.name)}`
  return storing(seen, { reason: 'Overwritten', message }, STALLED)
}

/** Back at an earlier render whose Job is still there: what a later Job of this model has put into the path since counts. */
function outdated(seen: Look): Verdict | undefined {
  const { job, model } = seen
  if (job?.end?.kind !== 'Complete' || !model.hasSource) return undefined
  const later = laterJob(seen)
  if (later !== undefined && later.end === undefined) {
    const message = `Job ${later.name} of another render is at work in ${clean(model.path)}; delete it`
    return storing(seen, { reason: 'Overwritten', message }, waiting(CONFIG_MS))
  }
  const name = later?.name ?? loadedLater(seen, job.end.at)
  if (name === undefined) return undefined
  const message = `Job ${clean(name, LONGEST_NAME)} was at work in ${clean(model.path)} after this one; ${again(job.name)}`
  return storing(seen, { reason: 'Overwritten', message }, STALLED)
}

/** A Job of another render that may have changed what the one that counts has loaded. */
export function laterJob(seen: Look): SeenJob | undefined {
  const at = sinceWhen(seen)
  return at === undefined ? undefined : seen.stale.find((other) => wroteAfter(other, seen.model, at))
}

/** Whether what was written down of a load holds, also where its Job is gone. */
const counts = (seen: Look): boolean => latched(seen) && laterJob(seen) === undefined

/** When what the model is ready by was loaded. */
function sinceWhen(seen: Look): number | undefined {
  const { job, previous } = seen
  if (job?.end?.kind === 'Complete') return job.end.at
  return latched(seen) ? Date.parse(previous.worker?.loadedAt ?? '') : undefined
}

function wroteAfter(other: SeenJob, { claim, path, wants }: SeenModel, at: number): boolean {
  const { end, startedAt } = other
  if (startedAt === undefined || other.claim !== claim) return false
  // Where nobody can tell it may be here.
  if (other.path !== undefined && !isSamePath(other.path, path)) return false
  if (other.loads && isSame(wants, other.loads, { isCut: false, hasPatterns: true })) return false
  return end === undefined || (end.at > at && !hasRefused(other))
}

/** It ended so early that it has only looked at what is wanted. */
export function hasRefused({ end, startedAt = 0, failed, completions }: SeenJob): boolean {
  if (end?.kind !== 'Failed' || failed > 1 || completions > 1 || end.at - startedAt > LOOKING_MS) return false
  return REFUSALS.includes(Number(/ exit code (\d+) matching FailJob rule/.exec(end.message)?.[1]))
}

const REFUSALS = HOPELESS_EXIT_CODES.filter((code) => code !== REASONS.InsufficientStorage.exitCode)

/** The name of a Job that is gone, as it was written down when the model was ready by it. */
function loadedLater({ claim, job, stale, model, previous }: Look, at: number): string | undefined {
  const { worker } = previous
  const isLater =
    worker?.loadedAt !== undefined &&
    worker.jobName !== job?.name &&
    // One that is there has been asked.
    !stale.some(({ name }) => name === worker.jobName) &&
    worker.pvcUID === claim?.uid &&
    isSamePath(previous.model?.path ?? '', model.path) &&
    Date.parse(worker.loadedAt) > at
  return isLater ? worker.jobName : undefined
}

function claimReplaced(seen: Look): Verdict | undefined {
  const { claim, job, previous } = seen
  if (claim === undefined || job?.end?.kind !== 'Complete') return undefined
  const { worker } = previous
  // The Job may have been deleted and made again since, under the same name: then its later end counts.
  const wasLoadedElsewhere =
    worker?.loadedAt !== undefined &&
    worker.jobName === job.name &&
    worker.pvcUID !== claim.uid &&
    job.end.at <= Date.parse(worker.loadedAt)
  const message = `Storage ${claim.name} was recreated after the model was loaded; ${again(job.name)}`
  const why = { reason: 'StorageReplaced', message }
  if (claim.createdAt > job.end.at || wasLoadedElsewhere) return storing(seen, why, STALLED)
  // What is bound never goes back; but the news of its binding may come after the news of the Job.
  return claim.phase === 'Bound' ? undefined : storing(seen, why, waiting(NEWS_MS))
}

function jobFailed(seen: Look): Verdict | undefined {
  const { job, pods } = seen
  if (job?.end?.kind !== 'Failed') return undefined
  const cause = jobCause(job, pods)
  const found = { reason: cause.reason, message: `${FAILED_TO_LOAD}${cause.message}` }
  const ready = (lastFailed(pods) === undefined ? saidBefore(seen, job.end.at) : undefined) ?? found
  return {
    phase: 'Failed',
    storage: storage(seen),
    loaded: no({ reason: 'ModelLoadFailed', message: ready.message }),
    ready,
    mark: STALLED,
  }
}

/** Pods are cleaned up sooner than Jobs: what the last one said was written down when it was there. */
function saidBefore({ previous, model }: Look, endedAt: number): Why | undefined {
  if (previous.phase !== 'Failed') return undefined
  return previous.conditions.find(
    ({ type, status, observedGeneration, lastTransitionTime, message }) =>
      type === 'Ready' &&
      status === 'False' &&
      observedGeneration === model.generation &&
      message.startsWith(FAILED_TO_LOAD) &&
      Date.parse(lastTransitionTime) >= endedAt,
  )
}

const FAILED_TO_LOAD = 'Failed to load the model: '

/** Also where the Job is gone, or applied again and about to find that all is there. */
function modelLoaded(seen: Look): Verdict | undefined {
  const { claim, job, model } = seen
  if (claim?.phase !== 'Bound' || !model.hasSource) return undefined
  if (job?.end?.kind !== 'Complete' && !counts(seen)) return undefined
  const loaded = { status: 'True', reason: 'ModelLoadSucceeded', message: 'Load the model successfully' } as const
  return { phase: 'Ready', storage: created(claim.name), loaded, ready: READY, mark: { kind: 'ready' } }
}

function jobMissing(seen: Look): Verdict | undefined {
  const { job, stale, model } = seen
  if (job !== undefined) return undefined
  if (model.workerJob === undefined) return storing(seen, NOT_RENDERED, waiting(MISSING_MS))
  const also = stale.length === 0 ? '' : `; of an older render: ${cleanNames(stale.map(({ name }) => name))}`
  const message = `Wait for Job ${clean(model.workerJob, LONGEST_NAME)} to be applied${also}`
  return storing(seen, { reason: 'WaitingForWorker', message }, waiting(MISSING_MS))
}

function jobDeleting(seen: Look): Verdict | undefined {
  const { job } = seen
  if (!job?.isDeleting) return undefined
  const why = { reason: 'WorkerTerminating', message: `Job ${job.name} is being deleted` }
  return { ...storing(seen, why), phase: 'ModelLoading' }
}

function jobSuspended(seen: Look): Verdict | undefined {
  const { job } = seen
  return job?.isSuspended ? storing(seen, { reason: 'Suspended', message: `Job ${job.name} is suspended` }) : undefined
}

/** Pod Security, quotas and webhooks refuse pods: only the Job's Events tell. */
function podRefused(seen: Look): Verdict | undefined {
  const { job, pods, explained } = seen
  const event = job && explained[job.uid]
  if (job === undefined || event?.reason !== 'FailedCreate' || pods.some(isActive)) return undefined
  const { at } = event
  // Of before the last attempt.
  if (at !== undefined && pods.some((pod) => at < endOf(pod))) return undefined
  const said = withoutSuffix(clean(event.message), job.name).replace(
    /^Error creating: (?:pods "[^"]*" is forbidden: )?/,
    '',
  )
  const why = { reason: refusal(said), message: `The worker pod is refused: ${said}` }
  return { ...storing(seen, why, waiting(CONFIG_MS)), unexplained: jobSubject(seen) }
}

/** Each pod of a Job ends in five other characters: what is said of one must not look like news when said of the next. */
const withoutSuffix = (said: string, job: string): string =>
  said.replaceAll(new RegExp(`\\b${job.replaceAll('.', '\\.')}-(?:[0-9]+-)?[a-z0-9]{5}\\b`, 'g'), job)

function refusal(said: string): string {
  if (/violates PodSecurity/.test(said)) return 'PodSecurityViolation'
  if (/exceeded quota|failed quota/.test(said)) return 'QuotaExceeded'
  if (/admission webhook/.test(said)) return 'AdmissionDenied'
  return 'PodRefused'
}

function claimPending(seen: Look): Verdict | undefined {
  const { claim, job, pods, explained } = seen
  if (claim === undefined || claim.phase === 'Bound') return undefined
  const event = explained[claim.uid]
  const unscheduled = activePod(seen, (pod) => pod.unscheduled !== undefined)?.unscheduled?.message
  const isUsual = event === undefined || USUAL.includes(event.reason)
  const said = clean((isUsual ? undefined : event.message) ?? unscheduled ?? event?.message ?? '')
  const message = `Storage ${claim.name} is not bound yet${said === '' ? '' : `: ${said}`}`
  const from = Math.max(claim.createdAt, begun(seen))
  const isJobAsked = job !== undefined && pods.length === 0
  return {
    phase: 'StorageCreating',
    storage: storage(seen),
    loaded: no(WAITING_FOR_STORAGE),
    ready: { reason: 'StorageBinding', message },
    mark: waiting(STARTING_MS, from),
    unexplained: isJobAsked
      ? jobSubject(seen)
      : {
          subject: { kind: 'PersistentVolumeClaim', namespace: claim.namespace, uid: claim.uid },
          from: from + UNEXPLAINED_MS,
        },
  }
}

/** What a binder says of every claim that it works on. */
const USUAL: readonly string[] = ['WaitForFirstConsumer', 'WaitForPodScheduled', 'ExternalProvisioning', 'Provisioning']

/** Its node does not answer any more, or it has been told to end. */
function podLost(seen: Look): Verdict | undefined {
  const pod = activePod(seen, ({ isDeleting, phase }) => isDeleting || phase === 'Unknown')
  if (pod === undefined) return undefined
  const ending = { reason: 'PodTerminating', message: 'The worker pod is being ended' }
  const why = pod.disrupted === undefined ? ending : disruption(pod.disrupted, pod)
  return storing(seen, pod.phase === 'Unknown' ? NODE_LOST : why, waiting(STARTING_MS))
}

function podUnschedulable(seen: Look): Verdict | undefined {
  const pod = activePod(seen, ({ unscheduled }) => unscheduled !== undefined && unscheduled.reason !== GATED)
  if (pod?.unscheduled === undefined) return undefined
  const message = `Worker pod cannot be scheduled: ${clean(pod.unscheduled.message) || clean(pod.unscheduled.reason)}`
  return storing(seen, { reason: 'PodUnschedulable', message }, waiting(STARTING_MS, pod.createdAt))
}

const GATED = 'SchedulingGated'

function podGated(seen: Look): Verdict | undefined {
  const pod = activePod(seen, ({ unscheduled }) => unscheduled?.reason === GATED)
  if (pod?.unscheduled === undefined) return undefined
  return storing(seen, { reason: GATED, message: `Worker pod is gated: ${clean(pod.unscheduled.message)}` })
}

/** The kubelet goes on trying, but what it says was not found stays so until somebody mends it. */
const HOPELESS: readonly string[] = ['ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'ImageInspectError']

function podCannotStart(seen: Look): Verdict | undefined {
  const pod = waitingPod(seen, HOPELESS)
  if (pod?.waiting !== undefined) return storing(seen, cannotStart(pod.waiting), STALLED)
  // Between two tries the kubelet says ErrImagePull again, which is no news.
  const stalled = seen.previous.conditions.find(
    ({ type, reason }) => type === 'Stalled' && reason === 'ImagePullBackOff',
  )
  const isTried = waitingPod(seen, ['ErrImagePull']) !== undefined
  return stalled && isTried ? storing(seen, { reason: stalled.reason, message: stalled.message }, STALLED) : undefined
}

const MISCONFIGURED: readonly string[] = [
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'CrashLoopBackOff',
]

function podMisconfigured(seen: Look): Verdict | undefined {
  const pod = waitingPod(seen, MISCONFIGURED)
  return pod?.waiting && storing(seen, cannotStart(pod.waiting), waiting(CONFIG_MS))
}

const cannotStart = (waiting: Waiting): Why => ({
  reason: waiting.reason,
  message: `Worker pod cannot start: ${waiting.reason}: ${said(waiting)}`,
})

/** What the kubelet says, without what changes from one try to the next, and with the image where it is about that. */
function said({ reason, message, image }: Waiting): string {
  const text = clean(message).replace(
    /^back-off \S+ restarting failed container=(\S+) pod=\S+$/,
    'container $1 fails again and again',
  )
  const isNamed = image === '' || text.includes(image) || !/Image/.test(reason)
  return isNamed ? text : `${text} (image ${quoted(image)})`.trimStart()
}

function podStarting(seen: Look): Verdict | undefined {
  const pod = activePod(seen, ({ waiting, isRunning }) => waiting !== undefined && waiting.reason !== '' && !isRunning)
  if (pod?.waiting === undefined || isNews(seen, pod.createdAt)) return undefined
  const reason = cleanWord(pod.waiting.reason, 'ContainerWaiting')
  const told = said(pod.waiting) || clean(seen.explained[pod.uid]?.message ?? '')
  const message = `Worker pod is starting: ${reason}${told === '' ? '' : `: ${told}`}`
  const subject = { kind: 'Pod', namespace: pod.namespace, uid: pod.uid } as const
  return {
    ...storing(seen, { reason, message }, waiting(STARTING_MS, pod.createdAt)),
    ...(pod.waiting.message === '' && { unexplained: { subject, from: pod.createdAt + 3 * UNEXPLAINED_MS } }),
  }
}

function podMissing(seen: Look): Verdict | undefined {
  const { job, pods } = seen
  const from = Math.max(begun(seen), ...pods.map(({ createdAt }) => createdAt))
  if (pods.some(({ phase }) => phase !== 'Pending') || isNews(seen, from)) return undefined
  const why = { reason: 'WorkerPending', message: 'Wait for the worker pod to start' }
  return {
    ...storing(seen, why, waiting(STARTING_MS, from)),
    ...(job !== undefined && pods.length === 0 && { unexplained: jobSubject(seen) }),
  }
}

/** Whether what began at this time is too young to be told of instead of the load. */
const isNews = (seen: Look, from: number): boolean => seen.now < from + newsMs(seen)

const newsMs = ({ pods }: Look): number => (lastFailed(pods) === undefined ? QUICK_MS : ATTEMPT_MS)

/** When what has not begun to run will be told of. */
function newsAt(seen: Look): { readonly until?: number } {
  const idle = seen.pods.filter((pod) => isActive(pod) && !pod.isRunning).map(({ createdAt }) => createdAt)
  const froms = seen.pods.length === 0 ? [begun(seen)] : idle
  const times = froms.map((from) => from + newsMs(seen)).filter((at) => at > seen.now)
  return times.length === 0 ? {} : { until: Math.min(...times) }
}

function loadRetrying(seen: Look): Verdict | undefined {
  const failed = seen.pods.filter(({ phase }) => phase === 'Failed')
  const last = lastFailed(failed)
  const { job, pods } = seen
  if (last === undefined || isEnding(seen, last)) return undefined
  const attempt = Math.max(failed.length, job?.failed ?? 0) + 1
  const cause = podCause(last)
  const previous = cause === undefined ? '' : `; previous attempt failed: ${cause.message}`
  const message = `The model is loading now (attempt ${attempt})${previous}`
  return {
    ...storing(seen, { reason: 'ModelLoadRetrying', message }),
    phase: 'ModelLoading',
    ...newsAt(seen),
    // The Job controller waits longer from attempt to attempt; a pod that is refused looks the same.
    ...(job !== undefined &&
      !pods.some(isActive) && { unexplained: { ...jobSubject(seen), from: endOf(last) + STARTING_MS } }),
  }
}

/** With this exit code the Job gives up, and says so in a moment. */
const isEnding = ({ pods, now }: Look, last: SeenPod): boolean =>
  HOPELESS_EXIT_CODES.includes(last.end?.exitCode ?? 0) && !pods.some(isActive) && now < endOf(last) + NEWS_MS

function loading(seen: Look): Verdict {
  const last = lastFailed(seen.pods)
  return {
    ...storing(seen, { reason: 'ModelLoading', message: 'The model is loading now' }),
    phase: 'ModelLoading',
    ...(last === undefined ? newsAt(seen) : { until: endOf(last) + NEWS_MS }),
  }
}

const WAITING_FOR_STORAGE: Why = { reason: 'WaitingForStorage', message: 'Wait for the storage' }

const NOT_RENDERED: Why = notRendered('No Job loads this model; render it with arksmodel-fn')

const READY: Why = { reason: 'Ready', message: 'The model is ready now' }

const STALLED: Mark = { kind: 'stalled' }

const RECONCILING: Mark = { kind: 'reconciling' }

function notRendered(message: string): Why {
  return { reason: 'NotRendered', message }
}

const waiting = (ms: number, from?: number): Mark => ({ kind: 'waiting', ms, ...(from !== undefined && { from }) })

/** Not ready, and what is known of the storage stands beside it. */
function storing(seen: Look, why: Why, mark: Mark = RECONCILING): Verdict {
  const phase = seen.claim?.phase === 'Bound' ? 'ModelLoading' : 'StorageCreating'
  return { phase, storage: storage(seen), loaded: no(why), ready: why, mark }
}

/** Nothing is known to be under way. */
const stopped = (seen: Look, why: Why): Verdict => ({ ...storing(seen, why, STALLED), phase: 'Pending' })

function storage({ claim, model }: Look): Part {
  if (claim === undefined) return no(missingClaim(model.claim ?? model.name))
  if (claim.phase === 'Lost') return no(lostClaim(claim.name))
  if (claim.isDeleting) return no(deletingClaim(claim.name))
  if (claim.phase === 'Bound') return created(claim.name)
  return no({ reason: 'StorageBinding', message: `Storage ${claim.name} is not bound yet` })
}

const missingClaim = (name: string): Why => ({
  reason: 'StorageMissing',
  message: `PersistentVolumeClaim ${clean(name, LONGEST_NAME)} does not exist yet`,
})

const lostClaim = (name: string): Why => ({
  reason: 'StorageLost',
  message: `Storage ${name} is lost: its PersistentVolume is gone`,
})

const deletingClaim = (name: string): Why => ({
  reason: 'StorageTerminating',
  message: `Storage ${name} is being deleted`,
})

const created = (claim: string): Part => ({
  status: 'True',
  reason: 'CreateSucceeded',
  message: `Create model storage successfully(${claim})`,
})

const no = ({ reason, message }: Why): Part => ({ status: 'False', reason, message })

const isNotRendered = ({ model }: Look): boolean => model.hasSource && model.workerJob === undefined

const isActive = ({ phase }: SeenPod): boolean => phase !== 'Succeeded' && phase !== 'Failed'

/** One whose worker waits, for one of these reasons. */
const waitingPod = (seen: Look, reasons: readonly string[]): SeenPod | undefined =>
  activePod(seen, ({ waiting, isRunning }) => !isRunning && reasons.includes(waiting?.reason ?? ''))

/** Of several that load shards, the first that is in this state. */
const activePod = (seen: Look, isSo: (pod: SeenPod) => boolean): SeenPod | undefined =>
  seen.pods.filter((pod) => isActive(pod) && isSo(pod)).sort((a, b) => a.index - b.index)[0]

/** When the Job was made, or let go after it was suspended. */
const begun = ({ job }: Look): number => job?.startedAt ?? job?.createdAt ?? 0

function jobSubject(seen: Look): NonNullable<Verdict['unexplained']> {
  const { namespace, uid } = seen.job ?? seen.model
  return { subject: { kind: 'Job', namespace, uid }, from: begun(seen) + UNEXPLAINED_MS }
}

const LONGEST_SPEC = 200

const again = (job: string): string => `delete Job ${job} to load it again`

const NO_PATTERNS = { include: [], exclude: [] }

interface Comparing {
  /** Upstream's CRD keeps neither revision nor patterns, and nothing of the status that it does not know. */
  readonly isCut: boolean
  readonly hasPatterns: boolean
}

function isSame(wants: Wanted, loads: Wanted, { isCut, hasPatterns }: Comparing): boolean {
  if (wants.model !== loads.model) return false
  if (isCut) return true
  if (wants.revision !== loads.revision) return false
  return !hasPatterns || (isEqual(wants.include, loads.include) && isEqual(wants.exclude, loads.exclude))
}

const isSamePath = (a: string, b: string): boolean => isEqual(segments(a), segments(b))

const segments = (path: string): readonly string[] => path.split('/').filter((each) => each !== '' && each !== '.')

const isEqual = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, index) => each === b[index])

const named = ({ model, revision, include, exclude }: Wanted): string =>
  [
    model,
    ...(revision === undefined ? [] : [`at ${revision}`]),
    ...include.map((each) => `with ${each}`),
    ...exclude.map((each) => `without ${each}`),
  ].join(' ')

const quoted = (text: string): string => `"${clean(text, 100)}"`
