import type { Explanation, SeenClaim, SeenJob, SeenModel, SeenPod } from './seen.ts'
import type { Progress, Status } from './stored.ts'

/** All that a status is made of. */
export interface Observed {
  readonly model: SeenModel
  readonly claim: SeenClaim | undefined
  /** The Job that the model's annotation names. */
  readonly job: SeenJob | undefined
  /** Others that carry the model's label. */
  readonly stale: readonly SeenJob[]
  /** The Job's own. */
  readonly pods: readonly SeenPod[]
  /** Other models that are loaded into the same path of the same claim. */
  readonly rivals: readonly Rival[]
  /** For a model without a source: the one that loads into its path, and whether that is ready. */
  readonly filler: { readonly name: string; readonly isReady: boolean } | undefined
  /** What Events say about objects, by uid. */
  readonly explained: Readonly<Record<string, Explanation>>
  /** What the pods tell of late; absent: nothing new. */
  readonly progress: Progress | undefined
  /** The field manager that writes the same status over and over. */
  readonly intruder: string | undefined
  /** Since when the reason is what it is. */
  readonly since: Since | undefined
}

export interface Rival {
  readonly name: string
  readonly job: SeenJob | undefined
}

export interface Since {
  readonly reason: string
  /** What is said of another spec or another Job has its own time. */
  readonly generation: number
  readonly job: string | undefined
  readonly at: number
  /** An earlier process has said already that it is stalled for this. */
  readonly wasStalled: boolean
}

export interface Subject {
  readonly kind: 'Job' | 'PersistentVolumeClaim' | 'Pod'
  readonly namespace: string
  readonly uid: string
}

/** What obstacles look at. */
export interface Look extends Observed {
  readonly previous: Status
  readonly now: number
}

/** Whether the Job that counts has filled the claim that counts, also where the Job is gone. */
export function latched({ model, claim, previous: { worker } }: Look): boolean {
  return (
    worker?.loadedAt !== undefined &&
    worker.revokedAt === undefined &&
    worker.jobName === model.workerJob &&
    worker.pvcUID === claim?.uid
  )
}

/** Whether another model's Job was at work in the same path after this one was loaded. */
export function isDisturbed(seen: Look): boolean {
  const { job, previous } = seen
  if (job?.end?.kind !== 'Complete' && !latched(seen)) return false
  const start = job?.startedAt ?? Date.parse(previous.worker?.loadedAt ?? '')
  return seen.rivals.some(
    ({ job: other }) => other?.startedAt !== undefined && (other.end === undefined || other.end.at >= start),
  )
}

/** When what is loaded was loaded, in milliseconds; 0: it is not. */
export const loadedAt = ({ job, previous }: Look): number =>
  job?.end?.at ?? (Date.parse(previous.worker?.loadedAt ?? '') || 0)
