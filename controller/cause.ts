import { parseTermination } from '../crds/termination.ts'
import { clean, cleanEnd, cleanWord } from './clean.ts'
import type { SeenJob, SeenPod, Why } from './seen.ts'

/** Of a log that stands in for a termination message. */
const LOG_END = 300

/** Why a Job is given up: what its last pod said, else what the Job controller says. */
export function jobCause(job: SeenJob, pods: readonly SeenPod[]): Why {
  const { reason, message } = job.end ?? { reason: '', message: '' }
  // The Job's own limit: whatever a pod says then, it was ended from outside.
  if (reason === 'DeadlineExceeded')
    return { reason, message: clean(message) || 'The Job took longer than its deadline' }
  const last = lastFailed(pods)
  const cause = last && podCause(last)
  if (cause !== undefined) return cause
  return { reason: UNKNOWN, message: clean(message) || 'Unknown failure reason' }
}

/** The pod that failed last; of a Job that ended at once, the one whose exit code ended it is the last. */
export function lastFailed(pods: readonly SeenPod[]): SeenPod | undefined {
  return pods
    .filter(({ phase }) => phase === 'Failed')
    .reduce<SeenPod | undefined>((last, pod) => (last === undefined || isLater(pod, last) ? pod : last), undefined)
}

const isLater = (a: SeenPod, b: SeenPod): boolean => endOf(a) > endOf(b) || (endOf(a) === endOf(b) && a.uid > b.uid)

/** In milliseconds since the epoch. */
export const endOf = ({ end, createdAt }: SeenPod): number => end?.at || createdAt

const UNKNOWN = 'ModelLoadFailed'

/** Why a pod failed, in the loader's own words where it had the time for some. Undefined: nobody says. */
export function podCause(pod: SeenPod): Why | undefined {
  const { end } = pod
  const termination = end && parseTermination(end.message)
  if (termination !== undefined && termination.reason !== 'Loaded' && termination.reason !== 'Interrupted')
    return said(termination)
  if (end?.reason === 'OOMKilled')
    return {
      reason: 'OutOfMemory',
      message: 'The worker ran out of memory; raise spec.instanceSpec.resources.limits.memory',
    }
  if (pod.disrupted !== undefined) return disruption(pod.disrupted, pod)
  const reason = cleanWord(pod.reason, '')
  if (reason !== '') return { reason, message: clean(pod.message) || `The pod was ended: ${reason}` }
  if (termination !== undefined && termination.reason !== 'Loaded') return said(termination)
  if (end === undefined) return undefined
  return { reason: UNKNOWN, message: cleanEnd(end.message, LOG_END) || exit(end.exitCode, end.reason) }
}

const said = ({ reason, message }: Why): Why => ({
  reason,
  message: clean(message) || `The loader ended with ${reason}`,
})

const exit = (code: number, reason: string): string =>
  `The worker ended with exit code ${code}${reason === '' || reason === 'Error' ? '' : ` (${clean(reason)})`}`

export const NODE_LOST: Why = {
  reason: 'NodeLost',
  message: 'The node of the worker pod is gone or does not answer',
}

/** Reasons of the condition DisruptionTarget, from the documentation of pod disruptions. */
export function disruption({ reason, message }: Why, pod: SeenPod): Why {
  const said = clean(pod.message) || clean(message)
  const cause =
    reason === 'PreemptionByScheduler'
      ? { reason: 'Preempted', message: 'The worker pod had to make room for a pod of higher priority' }
      : reason === 'DeletionByTaintManager' || reason === 'DeletionByPodGC'
        ? NODE_LOST
        : { reason: 'Evicted', message: 'The worker pod was evicted' }
  return said === '' ? cause : { reason: cause.reason, message: `${cause.message}: ${said}` }
}
