import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { Observed } from '../../controller/observed.ts'
import { type SeenJob, seenClaim, seenJob, seenModel, seenPod, type Why } from '../../controller/seen.ts'
import { type Judgement, status } from '../../controller/status.ts'
import type { Progress } from '../../controller/stored.ts'
import type { Phase, Plain } from '../../crds/arksmodel.ts'
import { WORKER_JOB } from '../../crds/names.ts'
import { asPlain, merged, withoutNulls } from '../../fn/merge.ts'
import { objects } from '../objects.ts'
import type { Mark } from '../verdicts.ts'

/** YAML; several are laid over one another. */
type Text = string | readonly string[]

/**
 * What the cluster holds and what the status is then. Objects are YAML laid over those of a model qwen-7b which was
 * rendered and applied at 10:00:00; a null takes a field away, a list stands for the whole list.
 */
export interface Row {
  readonly why: string
  readonly model?: Text
  /** Left out: Bound. */
  readonly claim?: Text
  /** Left out: at work since 10:00:01. */
  readonly job?: Text
  /** Each laid over a pod that runs since 10:00:02. Left out: there is none. */
  readonly pods?: readonly Text[]
  /** Other Jobs with the model's label. */
  readonly stale?: readonly Text[]
  readonly rivals?: readonly { readonly name: string; readonly job?: Text }[]
  readonly filler?: Observed['filler']
  /** The Event that stands for an object, by `job`, `claim` or `pod`. */
  readonly events?: Readonly<Partial<Record<'job' | 'claim' | 'pod', Why>>>
  readonly intruder?: string
  readonly progress?: Progress
  /** Since when the reason is what it is; left out: it has come up just now. */
  readonly since?: string
  /** Left out: 10:00:30. */
  readonly now?: string
  /** The status is as the API server made it: nobody has written one. */
  readonly isUnwritten?: true
  readonly want: Want
}

export interface Want {
  readonly phase: Phase
  /** S: made and bound; or status and reason. */
  readonly storage: string
  /** M: loaded; V: on the volume already; or status and reason, with a message where it is not that of the row. */
  readonly loaded: string
  readonly mark: Mark
  /** Of Ready, and of Reconciling or Stalled. */
  readonly reason: string
  readonly message: string
}

export const JOB = 'arks-worker-qwen-7b-22b669b55c'
const HASH = '22b669b55c'
const OLDER_JOB = 'arks-worker-qwen-7b-0123456789'
const NONE = 'none'

const CLAIM_UID = 'c1a10000-0000-4000-8000-000000000001'
const JOB_UID = '10b00000-0000-4000-8000-000000000001'
const POD_UID = '90d00000-0000-4000-8000-000000000001'

const rendered = objects(readFileSync('test/golden/expands-the-first-example/expected.yaml', 'utf8'))
const renderedOf = (kind: string): Plain => asPlain(rendered.find((each) => each['kind'] === kind))

const MODEL = laidOver(
  renderedOf('ArksModel'),
  `
metadata:
  uid: a2500000-0000-4000-8000-000000000001
  resourceVersion: "100"
  generation: 3
  creationTimestamp: "2026-01-05T10:00:00Z"
status: {observedGeneration: -1, phase: Pending}`,
)

const CLAIM = laidOver(
  renderedOf('PersistentVolumeClaim'),
  `
metadata:
  uid: ${CLAIM_UID}
  resourceVersion: "101"
  creationTimestamp: "2026-01-05T10:00:00Z"
  finalizers: [kubernetes.io/pvc-protection]
  annotations: {pv.kubernetes.io/bind-completed: "yes"}
spec: {volumeMode: Filesystem, volumeName: pvc-${CLAIM_UID}}
status: {phase: Bound, accessModes: [ReadWriteOnce], capacity: {storage: 30Gi}}`,
)

const JOB_AT_WORK = laidOver(
  renderedOf('Job'),
  `
metadata:
  uid: ${JOB_UID}
  resourceVersion: "102"
  generation: 1
  creationTimestamp: "2026-01-05T10:00:00Z"
spec:
  completions: 1
  parallelism: 1
  completionMode: NonIndexed
  suspend: false
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: ${JOB_UID}}}
  template: {metadata: {labels: {batch.kubernetes.io/job-name: ${JOB}, batch.kubernetes.io/controller-uid: ${JOB_UID}}}}
status: {active: 1, ready: 0, terminating: 0, startTime: "2026-01-05T10:00:01Z", uncountedTerminatedPods: {}}`,
)

const POD = laidOver(
  {},
  `
apiVersion: v1
kind: Pod
metadata:
  name: ${JOB}-x7k2p
  generateName: ${JOB}-
  namespace: default
  uid: ${POD_UID}
  resourceVersion: "103"
  creationTimestamp: "2026-01-05T10:00:02Z"
  labels:
    arks.ai/model: qwen-7b
    batch.kubernetes.io/job-name: ${JOB}
    batch.kubernetes.io/controller-uid: ${JOB_UID}
  ownerReferences:
  - {apiVersion: batch/v1, kind: Job, name: ${JOB}, uid: ${JOB_UID}, controller: true, blockOwnerDeletion: true}
spec:
  restartPolicy: Never
  nodeName: node-1
  containers:
  - {name: worker, image: "arksai/arksmodel:0.1.0"}
status:
  phase: Running
  podIP: 10.1.0.7
  startTime: "2026-01-05T10:00:02Z"
  conditions:
  - {type: PodScheduled, status: "True", lastProbeTime: null, lastTransitionTime: "2026-01-05T10:00:02Z"}
  containerStatuses:
  - name: worker
    ready: true
    restartCount: 0
    state: {running: {startedAt: "2026-01-05T10:00:04Z"}}`,
)

/** Each as the API server gives it, nothing laid over it. */
export const APPLIED: Readonly<Record<'model' | 'claim' | 'job' | 'pod', Plain>> = {
  model: MODEL,
  claim: CLAIM,
  job: JOB_AT_WORK,
  pod: POD,
}

// Claims.
const PENDING = '{spec: {volumeName: null}, status: {phase: Pending, accessModes: null, capacity: null}}'
const LOST = 'status: {phase: Lost}'
const DELETING = 'metadata: {deletionTimestamp: "2026-01-05T10:00:00Z", deletionGracePeriodSeconds: 0}'
const ANOTHER_UID = 'metadata: {uid: c1a10000-0000-4000-8000-000000000002}'
const MADE_AGAIN = 'metadata: {uid: c1a10000-0000-4000-8000-000000000002, creationTimestamp: "2026-01-05T10:30:00Z"}'
const PENDING_AGAIN: Text = [PENDING, MADE_AGAIN]

// Jobs.
const NOT_STARTED = 'status: {active: null, startTime: null}'
const SUSPENDED = `
spec: {suspend: true}
status:
  active: 0
  startTime: null
  conditions: [{type: Suspended, status: "True", reason: JobSuspended, message: Job suspended}]`
const JOB_DELETING =
  'metadata: {deletionTimestamp: "2026-01-05T10:00:20Z", finalizers: [foregroundDeletion], deletionGracePeriodSeconds: 0}'
const COMPLETE = `
status:
  active: 0
  succeeded: 1
  completionTime: "2026-01-05T10:20:00Z"
  conditions:
  - {type: SuccessCriteriaMet, status: "True", reason: CompletionsReached, lastTransitionTime: "2026-01-05T10:20:00Z"}
  - {type: Complete, status: "True", reason: CompletionsReached, lastTransitionTime: "2026-01-05T10:20:00Z"}`
const AGAIN_COMPLETE = COMPLETE.replaceAll('T10:20:00Z', 'T10:50:00Z')
const SUCCESS_MET = `
status:
  active: 0
  conditions:
  - {type: SuccessCriteriaMet, status: "True", reason: CompletionsReached, lastTransitionTime: "2026-01-05T10:20:00Z"}`

const failedJobAt = (at: string, reason: string, message: string): string =>
  failedJob(reason, message).replaceAll('T10:00:20Z', `T${at}Z`)

const failedJob = (reason: string, message: string, types: readonly string[] = ['FailureTarget', 'Failed']): string => `
status:
  active: 0
  failed: 1
  conditions:
${types
  .map(
    (type) =>
      `  - {type: ${type}, status: "True", reason: ${reason}, lastTransitionTime: "2026-01-05T10:00:20Z",` +
      ` message: ${JSON.stringify(message)}}`,
  )
  .join('\n')}`
const POLICY_MESSAGE = `Container worker for pod default/${JOB}-x7k2p failed with exit code 11 matching FailJob rule at index 1`
const POLICY = failedJob('PodFailurePolicy', POLICY_MESSAGE)
const BACKOFF_MESSAGE = 'Job has reached the specified backoff limit'
const BACKOFF = failedJob('BackoffLimitExceeded', BACKOFF_MESSAGE)

// Pods.
const NEW_POD = 'status: {phase: Pending, podIP: null, conditions: null, containerStatuses: null}'

const unscheduled = (reason: string, message: string): string => `
spec: {nodeName: null}
status:
  phase: Pending
  podIP: null
  containerStatuses: null
  conditions: [{type: PodScheduled, status: "False", reason: ${reason}, message: ${JSON.stringify(message)}}]`
const NO_CPU = '0/3 nodes are available: 3 Insufficient cpu.'
const UNSCHEDULABLE = unscheduled('Unschedulable', NO_CPU)
const GATED = unscheduled('SchedulingGated', 'Scheduling is blocked due to non-empty scheduling gates')

const waitingPod = (reason: string, message = ''): string => `
status:
  phase: Pending
  podIP: null
  containerStatuses:
  - name: worker
    ready: false
    restartCount: 0
    state: {waiting: {reason: ${reason}${message === '' ? '' : `, message: ${JSON.stringify(message)}`}}}`

interface Ended {
  readonly exitCode: number
  readonly reason?: string
  readonly message?: string
  /** The last digit of its uid. */
  readonly pod?: number
  readonly at?: string
  readonly more?: string
}

const endedPod = ({ exitCode, reason, message = '', pod = 1, at = '10:00:19', more = '' }: Ended): string => `
metadata: {name: ${JOB}-x7k2${pod}, uid: ${POD_UID.slice(0, -1)}${pod}}
status:
  phase: ${exitCode === 0 ? 'Succeeded' : 'Failed'}
  containerStatuses:
  - name: worker
    ready: false
    restartCount: 0
    state:
      terminated:
        exitCode: ${exitCode}
        reason: ${reason ?? (exitCode === 0 ? 'Completed' : 'Error')}
        message: ${JSON.stringify(message)}
        startedAt: "2026-01-05T10:00:04Z"
        finishedAt: "2026-01-05T${at}Z"
${more}`

const termination = (reason: string, message: string, retryable = false): string =>
  JSON.stringify({ v: 1, reason, message, retryable })

/** Of the next attempt. */
const second = (pod: string): Text => [pod, `metadata: {name: ${JOB}-second, uid: ${POD_UID.slice(0, -1)}9}`]

// What was written before.
const LOADED_BEFORE = `status:
  phase: Ready
  observedGeneration: 3
  worker:
    jobName: ${JOB}
    hash: "${HASH}"
    pvcUID: ${CLAIM_UID}
    loadedAt: "2026-01-05T10:20:00Z"
    model: Qwen/Qwen2.5-7B-Instruct-1M`
const NO_SOURCE = `{metadata: {annotations: {${WORKER_JOB}: null}}, spec: {source: null}}`
const NOT_RENDERED = `metadata: {annotations: {${WORKER_JOB}: null}}`

// What is wanted again and again.
const MISSING = 'PersistentVolumeClaim qwen-7b does not exist yet'
const WAITS = 'False/WaitingForStorage: Wait for the storage'
const READY: Want = {
  phase: 'Ready',
  storage: 'S',
  loaded: 'M',
  mark: 'D',
  reason: 'Ready',
  message: 'The model is ready now',
}
const ON_VOLUME: Want = { ...READY, loaded: 'V' }
const REPLACED: Want = {
  phase: 'ModelLoading',
  storage: 'S',
  loaded: 'False/StorageReplaced',
  mark: 'X',
  reason: 'StorageReplaced',
  message: `Storage qwen-7b was recreated after the model was loaded; delete Job ${JOB} to load it again`,
}
const REPLACED_PENDING: Want = { ...REPLACED, phase: 'StorageCreating', storage: 'False/StorageBinding' }
const LOADING: Want = loadingAs('ModelLoading', 'The model is loading now')
const DELETED_CLAIM: Want = {
  phase: 'StorageCreating',
  storage: 'False/StorageTerminating',
  loaded: 'False/StorageTerminating',
  mark: 'R',
  reason: 'StorageTerminating',
  message: 'Storage qwen-7b is being deleted',
}
const LOST_CLAIM: Want = {
  phase: 'Failed',
  storage: 'False/StorageLost',
  loaded: 'False/StorageLost',
  mark: 'X',
  reason: 'StorageLost',
  message: 'Storage qwen-7b is lost: its PersistentVolume is gone',
}
const UNNAMED: Want = {
  phase: 'Failed',
  storage: 'False/CreateFailed',
  loaded: WAITS,
  mark: 'X',
  reason: 'CreateFailed',
  message: 'Failed to create model storage: no storage PVC specified',
}
const MISSING_CLAIM: Want = {
  phase: 'StorageCreating',
  storage: 'False/StorageMissing',
  loaded: WAITS,
  mark: 'R',
  reason: 'StorageMissing',
  message: MISSING,
}
const GONE_CLAIM: Want = {
  ...MISSING_CLAIM,
  loaded: 'False/StorageMissing: PersistentVolumeClaim qwen-7b is gone; the loaded model is lost',
}
const WAITING_FOR_WORKER: Want = loadingAs('WaitingForWorker', `Wait for Job ${JOB} to be applied`)
const UNRENDERED: Want = loadingAs('NotRendered', 'No Job loads this model; render it with arksmodel-fn')
const OVERWRITTEN: Want = {
  ...loadingAs(
    'Overwritten',
    `Something else was loaded into /models/models/default/qwen-7b after this one; delete Job ${JOB} to load it again`,
  ),
  mark: 'X',
}
const SHARED: Want = loadingAs(
  'PathShared',
  'Also loaded into /models/models/default/qwen-7b of storage qwen-7b: model other',
)

function loadingAs(reason: string, message: string): Want {
  return { phase: 'ModelLoading', storage: 'S', loaded: `False/${reason}`, mark: 'R', reason, message }
}

/** While the claim is not bound. */
const unbound = (want: Want): Want => ({ ...want, phase: 'StorageCreating', storage: 'False/StorageBinding' })

const binding = (said = ''): Want => ({
  phase: 'StorageCreating',
  storage: 'False/StorageBinding',
  loaded: WAITS,
  mark: 'R',
  reason: 'StorageBinding',
  message: `Storage qwen-7b is not bound yet${said === '' ? '' : `: ${said}`}`,
})

const failedAs = (reason: string, message: string): Want => ({
  phase: 'Failed',
  storage: 'S',
  loaded: 'False/ModelLoadFailed',
  mark: 'X',
  reason,
  message: `Failed to load the model: ${message}`,
})

const stalledAs = (reason: string, message: string): Want => ({ ...loadingAs(reason, message), mark: 'X' })

const UNNAMED_SPEC = 'spec: {storage: null}'
const SOME_JOB = { 'not started': NOT_STARTED, 'at work': '', suspended: SUSPENDED }
const ANY_JOB = { absent: NONE, ...SOME_JOB }
const SECOND_JOB_UID = '10b00000-0000-4000-8000-000000000002'
const JOB_MADE_AGAIN = `
metadata: {uid: ${SECOND_JOB_UID}, creationTimestamp: "2026-01-05T10:40:00Z"}
status: {startTime: "2026-01-05T10:40:01Z"}`
const OF_JOB_MADE_AGAIN = `metadata:
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: ${JOB}, uid: ${SECOND_JOB_UID}, controller: true}]`
const OLDER = `
metadata:
  name: ${OLDER_JOB}
  uid: 10b00000-0000-4000-8000-000000000003
  labels: {arks.ai/worker-hash: "0123456789"}
`
const ANOTHER_REVISION = `
spec:
  template:
    spec:
      containers:
      - name: worker
        command: [arksmodel-loader]
        args: [Qwen/Qwen2.5-7B-Instruct-1M, --revision, v2, --to, /models/models/$(NAMESPACE)/$(MODEL)]
`
const LATER: Readonly<Record<string, readonly string[]>> = {
  'one that loaded another revision': [OLDER, AGAIN_COMPLETE, ANOTHER_REVISION],
  'one of which nobody can tell what it does': [
    OLDER,
    AGAIN_COMPLETE,
    ANOTHER_REVISION.replace('arksmodel-loader', 'other'),
  ],
  'one that broke off': [
    OLDER,
    failedJobAt('10:50:00', 'BackoffLimitExceeded', 'Job has reached the specified backoff limit'),
    ANOTHER_REVISION,
  ],
}
const NOT_LATER: Readonly<Record<string, readonly string[]>> = {
  'one that loaded the same': [OLDER, AGAIN_COMPLETE],
  'one that was refused before it wrote': [
    OLDER,
    'status: {startTime: "2026-01-05T10:49:50Z"}',
    failedJobAt(
      '10:50:00',
      'PodFailurePolicy',
      `Container worker for pod default/${OLDER_JOB}-x7k2p failed with exit code 13 matching FailJob rule at index 0`,
    ),
    ANOTHER_REVISION,
  ],
  'one that never began': [OLDER, 'status: {startTime: null}', ANOTHER_REVISION],
  'one into another path': [OLDER, AGAIN_COMPLETE, ANOTHER_REVISION.replace('/models/models', '/models/others')],
}
const REFUSED_LATE = `Container worker for pod default/${OLDER_JOB}-x7k2p failed with exit code 10 matching FailJob rule at index 1`
const AT_WORK: Want = loadingAs(
  'Overwritten',
  `Job ${OLDER_JOB} of another render is at work in /models/models/default/qwen-7b; delete it`,
)
const OUTDATED: Want = {
  ...loadingAs(
    'Overwritten',
    `Job ${OLDER_JOB} was at work in /models/models/default/qwen-7b after this one; delete Job ${JOB} to load it again`,
  ),
  mark: 'X',
}
const OLDER_ONLY = loadingAs(
  'WaitingForWorker',
  `Wait for Job ${JOB} to be applied; of an older render: ${OLDER_JOB}`,
)
const TERMINATING = loadingAs('WorkerTerminating', `Job ${JOB} is being deleted`)
const SUSPENDED_JOB = loadingAs('Suspended', `Job ${JOB} is suspended`)
const NO_POD = loadingAs('WorkerPending', 'Wait for the worker pod to start')
const UNSCHEDULABLE_POD = loadingAs('PodUnschedulable', `Worker pod cannot be scheduled: ${NO_CPU}`)
const GATED_POD = loadingAs(
  'SchedulingGated',
  'Worker pod is gated: Scheduling is blocked due to non-empty scheduling gates',
)
const PULL = 'failed to pull and unpack image "arksai/arksmodel:0.1.0": not found'
const PULLING = loadingAs('ErrImagePull', `Worker pod is starting: ErrImagePull: ${PULL}`)
const BACKING_OFF = stalledAs(
  'ImagePullBackOff',
  'Worker pod cannot start: ImagePullBackOff: Back-off pulling image "arksai/arksmodel:0.1.0"',
)
const MISCONFIGURED: Readonly<Record<string, readonly [reason: string, message: string]>> = {
  'no Secret': ['CreateContainerConfigError', 'secret "hf-token" not found'],
  'no key in the Secret': ['CreateContainerConfigError', "couldn't find key HF_TOKEN in Secret default/hf-token"],
  CreateContainerError: ['CreateContainerError', 'failed to generate container: no such device'],
  RunContainerError: ['RunContainerError', 'exec: "arksmodel-loader": executable file not found in $PATH'],
  CrashLoopBackOff: ['CrashLoopBackOff', 'back-off restarting failed container'],
}
const ANOTHER = 'Another controller writes this status (field manager "operator"); only one may run'
const UNFIT_SPEC = 'spec: {source: {huggingface: null}}'
const UNFIT: Want = {
  ...stalledAs(
    'InvalidSpec',
    'spec.source: must have the member `huggingface`, or be left out when the model is on the volume already',
  ),
  phase: 'Pending',
  storage: 'False/StorageMissing',
}
const EDITED = `Job ${JOB} loads Qwen/Qwen2.5-7B-Instruct-1M, not Qwen/Other; render the model again`
const WITH_PATTERN = `
spec:
  template:
    spec:
      containers:
      - name: worker
        command: [arksmodel-loader]
        args: [Qwen/Qwen2.5-7B-Instruct-1M, --to, /models/x, --include, "*.gguf"]`
const SIDECAR_FAILED = `
status:
  phase: Failed
  containerStatuses:
  - name: worker
    state: {terminated: {exitCode: 0, reason: Completed, finishedAt: "2026-01-05T10:00:10Z",
      message: '{"v":1,"reason":"Loaded","message":"12 files, 14 GiB","retryable":false}'}}
  - name: proxy
    state: {terminated: {exitCode: 1, reason: Error, finishedAt: "2026-01-05T10:00:12Z", message: sidecar says no}}`

const revoked = (at: string): string => `
status:
  phase: ModelLoading
  observedGeneration: 3
  worker: {jobName: ${JOB}, pvcUID: ${CLAIM_UID}, revokedAt: "2026-01-05T${at}Z"}`

const loadedBy = (job: string, at: string): string => `
status:
  phase: Ready
  observedGeneration: 3
  model: {path: /models/models/default/qwen-7b}
  worker: {jobName: ${job}, pvcUID: ${CLAIM_UID}, loadedAt: "2026-01-05T${at}Z"}`

const retrying = (message: string, attempt = 2): Want =>
  loadingAs('ModelLoadRetrying', `The model is loading now (attempt ${attempt}); previous attempt failed: ${message}`)

type Rows = Readonly<Record<string, Row>>

/** Both sides of a grace: it is going on until a second before, and stalled from then on. */
const around = (end: string, rows: Rows): Rows =>
  Object.fromEntries(
    Object.entries(rows).flatMap(([name, row]): readonly [string, Row][] => [
      [`${name}, just before ${end}`, { ...row, now: timeText(msOf(end) - 1000), want: { ...row.want, mark: 'R' } }],
      [`${name}, at ${end}`, { ...row, now: end, want: { ...row.want, mark: 'X' } }],
    ]),
  )

/** A row for each item, by `prefix item`. */
const each = <T>(prefix: string, items: Readonly<Record<string, T>>, row: (item: T) => Row): Rows =>
  Object.fromEntries(Object.entries(items).map(([name, item]) => [`${prefix} ${name}`, row(item)]))

type Told = readonly [exitCode: number, reason: string, message: string]

/** Of loads that no retry helps. */
const FINAL: Readonly<Record<string, Told>> = {
  gated: [11, 'GatedRepo', '"Qwen/Qwen2.5-7B-Instruct-1M" is gated: ask for access on its page'],
  'repository not found': [12, 'RepositoryNotFound', 'The Hub knows no "Qwen/Qwen2.5-7B", or the token may not see it'],
  'repository disabled': [12, 'RepositoryDisabled', 'The Hub has disabled access to "Qwen/Qwen2.5-7B-Instruct-1M"'],
  'revision not found': [13, 'RevisionNotFound', '"Qwen/Qwen2.5-7B-Instruct-1M" has no revision "v9"'],
  authentication: [10, 'AuthenticationFailed', 'The Hub does not know the token'],
  'no matching files': [14, 'NoMatchingFiles', 'No file of "Qwen/Qwen2.5-7B-Instruct-1M" matches "*.gguf"'],
  'not enough space': [20, 'InsufficientStorage', 'The volume has 10 GiB free, the model takes 15 GiB'],
  arguments: [2, 'InvalidSpec', '"--to" must be an absolute path'],
}

/** Of loads that are tried again. */
const RETRYABLE: Readonly<Record<string, Told>> = {
  'storage error': [21, 'StorageError', 'Cannot write "model.safetensors": EIO'],
  network: [30, 'NetworkError', 'huggingface.co cannot be reached: ENOTFOUND'],
  'rate limited': [31, 'RateLimited', 'The Hub answers 429'],
  checksum: [22, 'ChecksumMismatch', '"model.safetensors" came twice with other bytes than listed'],
  'bug of the loader': [70, 'InternalError', 'Error: out of ideas'],
}

const EVICTED = `  reason: Evicted
  message: "The node was low on resource: memory. "
  conditions: [{type: DisruptionTarget, status: "True", reason: TerminationByKubelet, message: "The node was low on resource: memory."}]`
const EVICTED_SAYS = 'The worker pod was evicted: The node was low on resource: memory.'
const disrupted = (reason: string, message: string): string =>
  `  conditions: [{type: DisruptionTarget, status: "True", reason: ${reason}, message: ${JSON.stringify(message)}}]`

const refused = (message: string): NonNullable<Row['events']> => ({
  job: { reason: 'FailedCreate', message: `Error creating: ${message}` },
})

const POD_SECURITY =
  'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "worker" must set securityContext.allowPrivilegeEscalation=false)'
const QUOTA =
  'exceeded quota: compute, requested: limits.memory=1Gi, used: limits.memory=8Gi, limited: limits.memory=8Gi'
const WEBHOOK = 'admission webhook "validate.kyverno.svc-fail" denied the request: images must be signed'

const REFUSALS: Readonly<Record<string, readonly [said: string, reason: string, message: string]>> = {
  'pod forbidden by Pod Security': [
    `pods "${JOB}-x7k2p" is forbidden: ${POD_SECURITY}`,
    'PodSecurityViolation',
    POD_SECURITY,
  ],
  'pod forbidden by quota': [`pods "${JOB}-x7k2p" is forbidden: ${QUOTA}`, 'QuotaExceeded', QUOTA],
  'pod forbidden by webhook': [WEBHOOK, 'AdmissionDenied', WEBHOOK],
  'pod forbidden for its service account': [
    `pods "${JOB}-" is forbidden: error looking up service account default/x: serviceaccount "x" not found`,
    'PodRefused',
    'error looking up service account default/x: serviceaccount "x" not found',
  ],
}

const otherJob = (more: string): Text => [
  more,
  'metadata: {name: arks-worker-other-0123456789, uid: 10b00000-0000-4000-8000-000000000009}',
]
const OTHER_AT_WORK = otherJob('status: {startTime: "2026-01-05T10:25:00Z"}')
const OTHER_BEFORE = otherJob(
  'status: {startTime: "2026-01-05T09:00:00Z", completionTime: "2026-01-05T09:30:00Z", conditions: [{type: Complete, status: "True"}]}',
)
const OTHER_WAITS = otherJob('status: {startTime: null, active: null}')

const indexed = (index: number, pod: string): Text => [
  pod,
  `metadata:
  name: ${JOB}-${index}-abcde
  uid: ${POD_UID.slice(0, -1)}${index}
  annotations: {batch.kubernetes.io/job-completion-index: "${index}"}`,
]

const ROWS_OF_STORAGE: Rows = {
  '0 nobody has looked yet': {
    why: 'the default of the CRD, which no tool may take for done',
    isUnwritten: true,
    want: { ...LOADING, phase: 'Pending' },
  },

  '1 no storage named, nothing there': { why: 'row 1', model: UNNAMED_SPEC, claim: NONE, job: NONE, want: UNNAMED },
  '1 no storage named, all loaded': { why: 'row 1: any Job', model: UNNAMED_SPEC, job: COMPLETE, want: UNNAMED },
  '1 only a path named': {
    why: 'row 1: a path is no storage',
    model: 'spec: {storage: {pvc: null, subPath: a}}',
    claim: NONE,
    job: NONE,
    want: UNNAMED,
  },

  ...each('2 lost, Job', { ...ANY_JOB, complete: COMPLETE, failed: POLICY }, (job) => ({
    why: 'row 2: any Job',
    claim: LOST,
    job,
    want: LOST_CLAIM,
  })),
  '2 lost, no source': { why: 'row 2 comes before row 7', model: NO_SOURCE, claim: LOST, job: NONE, want: LOST_CLAIM },
  '2 lost and being deleted': {
    why: 'row 2 comes before row 3',
    claim: [DELETING, LOST],
    want: LOST_CLAIM,
  },

  ...each('3 claim being deleted, Job', { ...ANY_JOB, complete: COMPLETE, failed: POLICY }, (job) => ({
    why: 'row 3: any Job',
    claim: DELETING,
    job,
    want: DELETED_CLAIM,
  })),
  '3 claim being deleted, latched': {
    why: 'row 3 comes before row 12: nobody may start on it any more',
    model: LOADED_BEFORE,
    claim: DELETING,
    job: NONE,
    want: DELETED_CLAIM,
  },
  '3 claim being deleted before it was bound': {
    why: 'row 3: pods hold it',
    claim: [DELETING, PENDING],
    want: DELETED_CLAIM,
  },
  ...around('10:10:00', {
    '3 claim being deleted': { why: '10 minutes', claim: DELETING, since: '10:00:00', want: DELETED_CLAIM },
  }),

  '4 nothing applied yet': {
    why: 'row 4',
    claim: NONE,
    job: NONE,
    want: { ...MISSING_CLAIM, phase: 'Pending' },
  },
  ...around('10:05:00', {
    '4 nothing applied': {
      why: '5 minutes',
      claim: NONE,
      job: NONE,
      since: '10:00:00',
      want: { ...MISSING_CLAIM, phase: 'Pending' },
    },
    '5 claim missing, Job at work': { why: '5 minutes', claim: NONE, since: '10:00:00', want: MISSING_CLAIM },
    '6 claim gone, Job complete': { why: '5 minutes', claim: NONE, job: COMPLETE, since: '10:00:00', want: GONE_CLAIM },
  }),
  '4 no source, no claim': {
    why: 'without a source too there is no model without storage',
    model: NO_SOURCE,
    claim: NONE,
    job: NONE,
    want: { ...MISSING_CLAIM, phase: 'Pending' },
  },
  ...each('5 claim missing, Job', { ...SOME_JOB, failed: POLICY }, (job) => ({
    why: 'row 5: any Job that has loaded nothing',
    claim: NONE,
    job,
    want: MISSING_CLAIM,
  })),
  '6 claim gone, latched, Job gone': {
    why: 'row 6: Pending if there is no Job',
    model: LOADED_BEFORE,
    claim: NONE,
    job: NONE,
    want: { ...GONE_CLAIM, phase: 'Pending' },
  },
  '6 claim gone, latched, Job made again': {
    why: 'row 6: what was loaded is lost, whatever the Job does now',
    model: LOADED_BEFORE,
    claim: NONE,
    want: GONE_CLAIM,
  },
  '6 claim gone, latched for an older render': {
    why: 'row 5: what another Job loaded is not what is wanted',
    model: LOADED_BEFORE.replace(`jobName: ${JOB}`, `jobName: ${OLDER_JOB}`),
    claim: NONE,
    want: MISSING_CLAIM,
  },

  ...each('7 no source, claim', { bound: '', pending: PENDING }, (claim) => ({
    why: 'row 7: the first pod that uses the claim may be the application',
    model: NO_SOURCE,
    claim,
    job: NONE,
    want: ON_VOLUME,
  })),
  '7 no source, filled by a model that is ready': {
    why: 'as ready as the one that loads it',
    model: NO_SOURCE,
    job: NONE,
    filler: { name: 'loader', isReady: true },
    want: ON_VOLUME,
  },
  '7 no source, filled by a model that is not ready': {
    why: 'Ready would be a lie: the files are on their way',
    model: NO_SOURCE,
    job: NONE,
    filler: { name: 'loader', isReady: false },
    want: loadingAs('WaitingForModel', 'Wait for model loader, which is loaded into the same path'),
  },
  '7 no source, filler not ready, unbound, a day later': {
    why: 'the other model says what is wrong',
    model: NO_SOURCE,
    claim: PENDING,
    job: NONE,
    filler: { name: 'loader', isReady: false },
    since: '10:00:00',
    now: '23:59:59',
    want: unbound(loadingAs('WaitingForModel', 'Wait for model loader, which is loaded into the same path')),
  },

  '8 claim made again and not bound, Job complete': {
    why: 'row 8',
    claim: PENDING_AGAIN,
    job: COMPLETE,
    now: '10:30:01',
    want: REPLACED_PENDING,
  },
  '8 claim of another uid and not bound, Job complete and latched': {
    why: 'row 8, whatever the clocks say',
    model: LOADED_BEFORE,
    claim: [PENDING, ANOTHER_UID],
    job: COMPLETE,
    now: '10:30:01',
    want: REPLACED_PENDING,
  },
  ...around('10:20:15', {
    '8 claim not seen to be bound, Job complete': {
      why: 'the news of the binding may come after that of the Job',
      claim: PENDING,
      job: COMPLETE,
      since: '10:20:05',
      want: REPLACED_PENDING,
    },
  }),
  '9 claim newer than the end of the Job': {
    why: 'row 9',
    claim: MADE_AGAIN,
    job: COMPLETE,
    now: '10:30:01',
    want: REPLACED,
  },
  '9 claim of another uid than latched': {
    why: 'row 9, whatever the clocks say',
    model: LOADED_BEFORE,
    claim: ANOTHER_UID,
    job: COMPLETE,
    now: '10:30:01',
    want: REPLACED,
  },
  '9 claim made again, Job gone': {
    why: 'row 14: nothing is loaded and nothing loads',
    model: LOADED_BEFORE,
    claim: MADE_AGAIN,
    job: NONE,
    now: '10:30:01',
    want: WAITING_FOR_WORKER,
  },
  '9 claim made again, Job made again under its name and at work': {
    why: 'this is the way out of row 9',
    model: LOADED_BEFORE,
    claim: MADE_AGAIN,
    job: JOB_MADE_AGAIN,
    pods: [OF_JOB_MADE_AGAIN],
    now: '10:41:00',
    want: LOADING,
  },
  '9 claim made again, Job made again under its name and complete': {
    why: 'the later end counts',
    model: LOADED_BEFORE,
    claim: MADE_AGAIN,
    job: [JOB_MADE_AGAIN, AGAIN_COMPLETE],
    now: '10:51:00',
    want: READY,
  },
}

const ROWS_OF_ENDS: Rows = {
  ...each('10', FINAL, ([exitCode, reason, message]) => ({
    why: 'row 10: the loader says why',
    job: POLICY,
    pods: [endedPod({ exitCode, message: termination(reason, message) })],
    want: failedAs(reason, message),
  })),
  ...each('10 retries used up,', RETRYABLE, ([exitCode, reason, message]) => ({
    why: 'row 10: the last attempt says why',
    job: BACKOFF,
    pods: [
      endedPod({ exitCode: 30, message: termination('NetworkError', 'first', true), pod: 1, at: '10:00:05' }),
      endedPod({ exitCode, message: termination(reason, message, true), pod: 2, at: '10:00:19' }),
    ],
    want: failedAs(reason, message),
  })),
  '10 pending claim': {
    why: 'row 10: Pending or Bound',
    claim: PENDING,
    job: BACKOFF,
    want: { ...failedAs('ModelLoadFailed', BACKOFF_MESSAGE), storage: 'False/StorageBinding' },
  },
  '10 only FailureTarget': {
    why: 'row 10: nothing that follows can make a success of it',
    job: failedJob('PodFailurePolicy', POLICY_MESSAGE, ['FailureTarget']),
    pods: [endedPod({ exitCode: 11, message: termination('GatedRepo', 'gated') })],
    want: failedAs('GatedRepo', 'gated'),
  },
  '10 pods gone': { why: "the Job's own words", job: POLICY, want: failedAs('ModelLoadFailed', POLICY_MESSAGE) },
  '10 nobody says why': {
    why: 'row 10',
    job: failedJob('BackoffLimitExceeded', ''),
    want: failedAs('ModelLoadFailed', 'Unknown failure reason'),
  },
  '10 latched': {
    why: 'somebody asked for a reload and it failed',
    model: LOADED_BEFORE,
    job: POLICY,
    pods: [endedPod({ exitCode: 11, message: termination('GatedRepo', 'gated') })],
    want: failedAs('GatedRepo', 'gated'),
  },
  '10 suspended and being deleted': {
    why: 'row 10 comes before rows 15 and 16',
    job: [JOB_DELETING, 'spec: {suspend: true}', BACKOFF],
    want: failedAs('ModelLoadFailed', BACKOFF_MESSAGE),
  },
  '10 the end of a log': {
    why: 'a container that is killed leaves no message of its own',
    job: BACKOFF,
    pods: [endedPod({ exitCode: 1, message: 'Traceback\n  at main\nError: no such file\n' })],
    want: failedAs('ModelLoadFailed', 'Traceback at main Error: no such file'),
  },
  '10 an exit code and nothing else': {
    why: 'better than nothing',
    job: BACKOFF,
    pods: [endedPod({ exitCode: 3 })],
    want: failedAs('ModelLoadFailed', 'The worker ended with exit code 3'),
  },
  '10 out of memory': {
    why: 'the kernel says nothing to the loader',
    job: BACKOFF,
    pods: [endedPod({ exitCode: 137, reason: 'OOMKilled', message: '{"level":30}\n{"level":30}\n' })],
    want: failedAs('OutOfMemory', 'The worker ran out of memory; raise spec.instanceSpec.resources.limits.memory'),
  },
  '10 evicted': {
    why: 'by the kubelet',
    job: BACKOFF,
    pods: [endedPod({ exitCode: 137, more: EVICTED })],
    want: failedAs('Evicted', EVICTED_SAYS),
  },
  '10 evicted before it started': {
    why: 'no container has a status',
    job: BACKOFF,
    pods: [`status:\n  phase: Failed\n  containerStatuses: null\n${EVICTED}`],
    want: failedAs('Evicted', EVICTED_SAYS),
  },
  '10 drained': {
    why: 'the loader says no more than that it was asked to end',
    job: BACKOFF,
    pods: [
      endedPod({
        exitCode: 40,
        message: termination('Interrupted', 'The load was asked to end', true),
        more: disrupted('EvictionByEvictionAPI', 'Eviction API: evicting'),
      }),
    ],
    want: failedAs('Evicted', 'The worker pod was evicted: Eviction API: evicting'),
  },
  '10 preempted': {
    why: 'by the scheduler',
    job: BACKOFF,
    pods: [endedPod({ exitCode: 137, more: disrupted('PreemptionByScheduler', 'default-scheduler: preempting') })],
    want: failedAs(
      'Preempted',
      'The worker pod had to make room for a pod of higher priority: default-scheduler: preempting',
    ),
  },
  ...each('10 node lost,', { taint: 'DeletionByTaintManager', collected: 'DeletionByPodGC' }, (reason) => ({
    why: 'nobody else can say',
    job: BACKOFF,
    pods: [endedPod({ exitCode: 137, more: disrupted(reason, 'gone') })],
    want: failedAs('NodeLost', 'The node of the worker pod is gone or does not answer: gone'),
  })),
  '10 deadline exceeded': {
    why: 'the pods were ended from outside',
    job: failedJob('DeadlineExceeded', 'Job was active longer than specified deadline'),
    pods: [endedPod({ exitCode: 40, message: termination('Interrupted', 'The load was asked to end', true) })],
    want: failedAs('DeadlineExceeded', 'Job was active longer than specified deadline'),
  },
  '10 one of several shards': {
    why: 'the one that failed says why',
    job: POLICY,
    pods: [
      indexed(0, 'status: {phase: Succeeded}'),
      endedPod({ exitCode: 20, message: termination('InsufficientStorage', 'full'), pod: 2 }),
      indexed(3, 'status: {phase: Running}'),
    ],
    want: failedAs('InsufficientStorage', 'full'),
  },
  '10 a container beside the loader failed': {
    why: 'the loader was done: its words are no reason',
    job: BACKOFF,
    pods: [SIDECAR_FAILED],
    want: failedAs('ModelLoadFailed', 'sidecar says no'),
  },

  '11 complete': { why: 'row 11', job: COMPLETE, now: '10:20:01', want: READY },
  '11 complete and being deleted': {
    why: 'row 11 comes before row 15',
    job: [JOB_DELETING, COMPLETE],
    now: '10:20:01',
    want: READY,
  },
  '11 complete and suspended': {
    why: 'row 11 comes before row 16',
    job: ['spec: {suspend: true}', COMPLETE],
    now: '10:20:01',
    want: READY,
  },
  '11 complete after failures': {
    why: 'what failed before is of no account',
    job: COMPLETE,
    pods: [
      endedPod({ exitCode: 30, message: termination('NetworkError', 'lost', true) }),
      second('status: {phase: Succeeded}'),
    ],
    now: '10:20:01',
    want: READY,
  },
  '11 claim as old as the end of the Job': {
    why: 'times are whole seconds',
    claim: 'metadata: {creationTimestamp: "2026-01-05T10:20:00Z"}',
    job: COMPLETE,
    now: '10:20:01',
    want: READY,
  },
  ...each('12 latched, Job', { ...ANY_JOB, 'being deleted': JOB_DELETING }, (job) => ({
    why: 'row 12: loaded is a fact about the Job and the claim',
    model: LOADED_BEFORE,
    job,
    now: '11:00:00',
    want: READY,
  })),
  '12 latched for an older render': {
    why: 'what another Job loaded is not what is wanted',
    model: LOADED_BEFORE.replace(`jobName: ${JOB}`, `jobName: ${OLDER_JOB}`),
    pods: [''],
    now: '11:00:00',
    want: LOADING,
  },
}

const ROWS_OF_JOBS: Rows = {
  '13 pending, Job missing': { why: 'row 13', claim: PENDING, job: NONE, want: unbound(WAITING_FOR_WORKER) },
  '14 bound, Job missing': { why: 'row 14', job: NONE, want: WAITING_FOR_WORKER },
  ...each('13 pending, only', { 'a stale Job': OLDER }, (stale) => ({
    why: 'row 13: a Job of an older render loads what is not wanted',
    claim: PENDING,
    job: NONE,
    stale: [stale],
    want: unbound(OLDER_ONLY),
  })),
  '14 bound, only stale Jobs': {
    why: 'row 14; in the order of their names',
    job: NONE,
    stale: [
      OLDER.replace(OLDER_JOB, 'arks-worker-qwen-7b-abcdef0123'),
      [OLDER.replace(OLDER_JOB, 'arks-worker-qwen-7b-00000fffff'), COMPLETE],
    ],
    want: loadingAs(
      'WaitingForWorker',
      `Wait for Job ${JOB} to be applied; ` +
        'of an older render: arks-worker-qwen-7b-00000fffff, arks-worker-qwen-7b-abcdef0123',
    ),
  },
  ...around('10:05:00', {
    '13 pending, Job missing': {
      why: '5 minutes',
      claim: PENDING,
      job: NONE,
      since: '10:00:00',
      want: unbound(WAITING_FOR_WORKER),
    },
    '14 bound, Job missing': { why: '5 minutes', job: NONE, since: '10:00:00', want: WAITING_FOR_WORKER },
    '14 not rendered': { why: '5 minutes', model: NOT_RENDERED, job: NONE, since: '10:00:00', want: UNRENDERED },
  }),
  '4 not rendered, nothing there': {
    why: 'the claim would have come with the render',
    model: NOT_RENDERED,
    claim: NONE,
    job: NONE,
    want: {
      ...UNRENDERED,
      phase: 'Pending',
      storage: 'False/StorageMissing',
    },
  },
  '14 not rendered, pending': {
    why: 'row 13 without the annotation',
    model: NOT_RENDERED,
    claim: PENDING,
    job: NONE,
    want: unbound(UNRENDERED),
  },

  '15 bound, Job being deleted': { why: 'row 15', job: JOB_DELETING, pods: [''], want: TERMINATING },
  '15 pending, Job being deleted, much later': {
    why: 'row 15: never stalled',
    claim: PENDING,
    job: JOB_DELETING,
    since: '10:00:00',
    now: '22:00:00',
    want: { ...TERMINATING, storage: 'False/StorageBinding' },
  },
  '16 bound, Job suspended': { why: 'row 16', job: SUSPENDED, want: SUSPENDED_JOB },
  '16 bound, Job suspended, much later': {
    why: 'row 16: Kueue may take a day',
    job: SUSPENDED,
    since: '10:00:00',
    now: '23:59:00',
    want: SUSPENDED_JOB,
  },
  '16 pending, Job suspended': { why: 'row 16', claim: PENDING, job: SUSPENDED, want: unbound(SUSPENDED_JOB) },
  '16 suspended and being deleted': {
    why: 'row 15 comes before row 16',
    job: [JOB_DELETING, 'spec: {suspend: true}'],
    want: TERMINATING,
  },

  '17 pending, Job not started': { why: 'row 17', claim: PENDING, job: NOT_STARTED, want: binding() },
  '17 pending, no pod': { why: 'row 17', claim: PENDING, want: binding() },
  '17 pending, pod has no node': {
    why: "row 17: the scheduler's words where the binder has none",
    claim: PENDING,
    pods: [unscheduled('Unschedulable', '0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.')],
    want: binding('0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.'),
  },
  '17 pending, binder waits for the pod, pod has no node': {
    why: 'what the binder says of every claim explains nothing',
    claim: PENDING,
    pods: [UNSCHEDULABLE],
    events: {
      claim: { reason: 'WaitForFirstConsumer', message: 'waiting for first consumer to be created before binding' },
    },
    want: binding(NO_CPU),
  },
  '17 pending, binder waits for the first consumer': {
    why: "row 17: the binder's own words",
    claim: PENDING,
    events: {
      claim: { reason: 'WaitForFirstConsumer', message: 'waiting for first consumer to be created before binding' },
    },
    want: binding('waiting for first consumer to be created before binding'),
  },
  '17 pending, no such class': {
    why: "row 17: the binder's own words before the scheduler's",
    claim: PENDING,
    pods: [unscheduled('Unschedulable', '0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.')],
    events: { claim: { reason: 'ProvisioningFailed', message: 'storageclass.storage.k8s.io "fast" not found' } },
    want: binding('storageclass.storage.k8s.io "fast" not found'),
  },
  '17 pending, no volume fits': {
    why: 'row 17: without a class',
    claim: PENDING,
    events: {
      claim: {
        reason: 'FailedBinding',
        message: 'no persistent volumes available for this claim and no storage class is set',
      },
    },
    want: binding('no persistent volumes available for this claim and no storage class is set'),
  },
  '17 pending, image not pulled': {
    why: 'row 17: any pod',
    claim: PENDING,
    pods: [waitingPod('ImagePullBackOff', 'Back-off pulling image')],
    want: binding(),
  },
  '17 pending, pod runs': { why: 'row 17: any pod', claim: PENDING, pods: [''], want: binding() },
  '17 pending, pod failed': {
    why: 'row 17: any pod',
    claim: PENDING,
    pods: [endedPod({ exitCode: 30 })],
    want: binding(),
  },
  '17 claim without a status': { why: 'as the API server makes it', claim: 'status: null', want: binding() },
  ...around('10:10:00', {
    '17 pending, Job not started': { why: '10 minutes', claim: PENDING, job: NOT_STARTED, want: binding() },
  }),
  ...around('10:10:01', {
    '17 pending, pod has no node': {
      why: '10 minutes from when the Job was let go',
      claim: [PENDING, 'metadata: {creationTimestamp: "2026-01-04T10:00:00Z"}'],
      pods: [UNSCHEDULABLE],
      want: binding(NO_CPU),
    },
  }),

  '18 Job not started': { why: 'row 18', job: NOT_STARTED, want: NO_POD },
  '18 no pod yet': { why: 'row 18', want: NO_POD },
  '18 pod of which nobody has said anything': { why: 'row 18', pods: [NEW_POD], want: NO_POD },
  '18 no pod yet, for 4 seconds': { why: 'most are there in a moment, and each word is a write', now: '10:00:05', want: LOADING },
  '18 no pod yet, for 5 seconds': { why: 'row 18', now: '10:00:06', want: NO_POD },
  '18 only a pod of another Job': {
    why: 'pods count by their owner',
    pods: ['metadata: {ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: x, uid: y, controller: true}]}'],
    want: NO_POD,
  },
  ...around('10:10:01', { '18 no pod': { why: '10 minutes', want: NO_POD } }),
  ...around('10:40:00', {
    '18 no pod after it was suspended': {
      why: 'from when it was let go',
      job: 'status: {startTime: "2026-01-05T10:30:00Z"}',
      want: NO_POD,
    },
  }),
}

const ROWS_OF_PODS: Rows = {
  '19 unschedulable': { why: 'row 19', pods: [UNSCHEDULABLE], want: UNSCHEDULABLE_POD },
  ...around('10:10:02', { '19 unschedulable': { why: '10 minutes', pods: [UNSCHEDULABLE], want: UNSCHEDULABLE_POD } }),
  '20 gated': { why: 'row 20', pods: [GATED], want: GATED_POD },
  '20 gated, much later': {
    why: 'row 20: never stalled',
    pods: [GATED],
    since: '10:00:00',
    now: '23:00:00',
    want: GATED_POD,
  },

  '21 ContainerCreating': {
    why: 'row 21',
    pods: [waitingPod('ContainerCreating')],
    want: loadingAs('ContainerCreating', 'Worker pod is starting: ContainerCreating'),
  },
  '21 ContainerCreating, volume not mounted': {
    why: 'row 21: only the Event says it',
    pods: [waitingPod('ContainerCreating')],
    events: { pod: { reason: 'FailedMount', message: 'MountVolume.SetUp failed for volume "pvc-1": timed out' } },
    want: loadingAs(
      'ContainerCreating',
      'Worker pod is starting: ContainerCreating: MountVolume.SetUp failed for volume "pvc-1": timed out',
    ),
  },
  '21 PodInitializing': {
    why: 'row 21',
    pods: [waitingPod('PodInitializing')],
    want: loadingAs('PodInitializing', 'Worker pod is starting: PodInitializing'),
  },
  '21 ErrImagePull': { why: 'row 21: it may be a moment', pods: [waitingPod('ErrImagePull', PULL)], want: PULLING },
  ...around('10:10:02', {
    '21 ContainerCreating': {
      why: '10 minutes',
      pods: [waitingPod('ContainerCreating')],
      want: loadingAs('ContainerCreating', 'Worker pod is starting: ContainerCreating'),
    },
    '21 PodInitializing': {
      why: '10 minutes',
      pods: [waitingPod('PodInitializing')],
      want: loadingAs('PodInitializing', 'Worker pod is starting: PodInitializing'),
    },
    '21 ErrImagePull': { why: '10 minutes', pods: [waitingPod('ErrImagePull', PULL)], want: PULLING },
  }),

  '22 ImagePullBackOff': {
    why: 'row 22, with the image',
    pods: [waitingPod('ImagePullBackOff', 'Back-off pulling image "arksai/arksmodel:0.1.0"')],
    want: BACKING_OFF,
  },
  '22 ImagePullBackOff, image not told': {
    why: 'the image is what one looks for',
    pods: [waitingPod('ImagePullBackOff')],
    want: stalledAs('ImagePullBackOff', 'Worker pod cannot start: ImagePullBackOff: (image "arksai/arksmodel:0.1.0")'),
  },
  '22 ErrImagePull between two tries': {
    why: 'the kubelet goes to and fro between the two: that is no news',
    model: `status:
  phase: ModelLoading
  observedGeneration: 3
  conditions:
  - {type: Stalled, status: "True", reason: ImagePullBackOff, message: ${JSON.stringify(BACKING_OFF.message)}}`,
    pods: [waitingPod('ErrImagePull', PULL)],
    want: BACKING_OFF,
  },
  '22 InvalidImageName': {
    why: 'row 22',
    pods: [waitingPod('InvalidImageName', 'Failed to apply default image tag "A b": invalid reference format')],
    want: stalledAs(
      'InvalidImageName',
      'Worker pod cannot start: InvalidImageName: Failed to apply default image tag "A b": invalid reference format' +
        ' (image "arksai/arksmodel:0.1.0")',
    ),
  },
  '22 ErrImageNeverPull': {
    why: 'row 22',
    pods: [
      waitingPod(
        'ErrImageNeverPull',
        'Container image "arksai/arksmodel:0.1.0" is not present with pull policy of Never',
      ),
    ],
    want: stalledAs(
      'ErrImageNeverPull',
      'Worker pod cannot start: ErrImageNeverPull: ' +
        'Container image "arksai/arksmodel:0.1.0" is not present with pull policy of Never',
    ),
  },
  '22 ImageInspectError': {
    why: 'row 22',
    pods: [waitingPod('ImageInspectError', 'Failed to inspect image "arksai/arksmodel:0.1.0": broken')],
    want: stalledAs(
      'ImageInspectError',
      'Worker pod cannot start: ImageInspectError: Failed to inspect image "arksai/arksmodel:0.1.0": broken',
    ),
  },

  ...around(
    '10:01:10',
    each('23', MISCONFIGURED, ([reason, message]) => ({
      why: '60 seconds',
      pods: [waitingPod(reason, message)],
      since: '10:00:10',
      want: loadingAs(reason, `Worker pod cannot start: ${reason}: ${message}`),
    })),
  ),

  '24 running': { why: 'row 24', pods: [''], want: LOADING },
  '24 running, much later': { why: 'row 24: large models take hours', pods: [''], now: '23:00:00', want: LOADING },
  '24 running, progress': {
    why: 'progress stands beside the conditions, not in them',
    pods: [''],
    progress: { percent: 50, loadedBytes: 50, totalBytes: 100 },
    want: LOADING,
  },
  'pod being ended': {
    why: 'somebody has deleted it: the Job makes another one',
    pods: ['metadata: {deletionTimestamp: "2026-01-05T10:00:20Z", deletionGracePeriodSeconds: 60}'],
    want: loadingAs('PodTerminating', 'The worker pod is being ended'),
  },
  'pod on a node that is gone': {
    why: 'nobody is left who could say that it has ended',
    pods: [
      `{metadata: {deletionTimestamp: "2026-01-05T10:00:20Z"}, status: {conditions: [{type: DisruptionTarget, status: "True",
    reason: DeletionByTaintManager, message: "Taint manager: deleting due to NoExecute taint"}]}}`,
    ],
    want: loadingAs(
      'NodeLost',
      'The node of the worker pod is gone or does not answer: Taint manager: deleting due to NoExecute taint',
    ),
  },
  'pod on a node that is gone, for 10 minutes': {
    why: 'the Job waits for it for ever',
    pods: ['status: {phase: Unknown}'],
    since: '10:00:00',
    now: '10:10:00',
    want: stalledAs('NodeLost', 'The node of the worker pod is gone or does not answer'),
  },
  '24 two shards, one waits': {
    why: 'the one that stands still is what to know about',
    job: 'spec: {completionMode: Indexed, completions: 2, parallelism: 2}',
    pods: [indexed(0, 'status: {phase: Running}'), indexed(1, UNSCHEDULABLE)],
    want: UNSCHEDULABLE_POD,
  },
  '24 two shards, one done': {
    why: 'loading goes on',
    job: 'spec: {completionMode: Indexed, completions: 2, parallelism: 2}',
    pods: [indexed(0, 'status: {phase: Succeeded}'), indexed(1, 'status: {phase: Running}')],
    want: LOADING,
  },
  '24 three shards, two stand still': {
    why: 'the first by index, whatever the order in which they are seen',
    job: 'spec: {completionMode: Indexed, completions: 3, parallelism: 3}',
    pods: [
      indexed(2, unscheduled('Unschedulable', 'the last')),
      indexed(1, unscheduled('Unschedulable', 'the second')),
      indexed(0, 'status: {phase: Running}'),
    ],
    want: loadingAs('PodUnschedulable', 'Worker pod cannot be scheduled: the second'),
  },

  ...each('25 next one runs,', RETRYABLE, ([exitCode, reason, message]) => ({
    why: 'row 25: the loader says what went wrong',
    job: 'status: {failed: 1}',
    pods: [endedPod({ exitCode, message: termination(reason, message, true) }), second('status: {phase: Running}')],
    want: retrying(message),
  })),
  '25 next one is made': {
    why: 'row 25: pending',
    job: 'status: {failed: 1}',
    pods: [endedPod({ exitCode: 30, message: termination('NetworkError', 'lost', true) }), second(NEW_POD)],
    want: retrying('lost'),
  },
  '25 next one is not there yet': {
    why: 'the Job controller waits longer from attempt to attempt',
    job: 'status: {failed: 1}',
    pods: [endedPod({ exitCode: 30, message: termination('NetworkError', 'lost', true) })],
    since: '10:00:00',
    now: '12:00:00',
    want: retrying('lost'),
  },
  '25 next one starts': {
    why: 'for a minute it is more important why the last one failed',
    job: 'status: {failed: 1}',
    pods: [
      endedPod({ exitCode: 30, message: termination('NetworkError', 'lost', true) }),
      second(waitingPod('ContainerCreating')),
    ],
    want: retrying('lost'),
  },
  '25 next one starts, for minutes': {
    why: 'row 21: now it is about this one',
    job: 'status: {failed: 1}',
    pods: [
      endedPod({ exitCode: 30, message: termination('NetworkError', 'lost', true) }),
      second(waitingPod('ContainerCreating')),
    ],
    now: '10:03:00',
    want: loadingAs('ContainerCreating', 'Worker pod is starting: ContainerCreating'),
  },
  '25 no retry helps': {
    why: 'the Job is about to give up: nobody is told of an attempt that never comes',
    pods: [endedPod({ exitCode: 11, message: termination('GatedRepo', 'gated') })],
    now: '10:00:20',
    want: LOADING,
  },
  '25 no retry helps, and the Job goes on': {
    why: 'somebody has changed its podFailurePolicy',
    pods: [endedPod({ exitCode: 11, message: termination('GatedRepo', 'gated') })],
    want: retrying('gated'),
  },
  '25 next one has no node': {
    why: 'row 19 comes before row 25',
    job: 'status: {failed: 1}',
    pods: [endedPod({ exitCode: 30 }), second(UNSCHEDULABLE)],
    want: UNSCHEDULABLE_POD,
  },
  '25 out of memory': {
    why: 'the next attempt will be no better',
    job: 'status: {failed: 1}',
    pods: [endedPod({ exitCode: 137, reason: 'OOMKilled' }), second('status: {phase: Running}')],
    want: retrying('The worker ran out of memory; raise spec.instanceSpec.resources.limits.memory'),
  },
  '25 evicted': {
    why: 'the Job does not count it',
    pods: [endedPod({ exitCode: 137, more: EVICTED }), second('status: {phase: Running}')],
    want: retrying(EVICTED_SAYS),
  },
  '25 node lost': {
    why: 'the Job does not count it',
    pods: [
      endedPod({ exitCode: 137, more: disrupted('DeletionByTaintManager', 'gone') }),
      second('status: {phase: Running}'),
    ],
    want: retrying('The node of the worker pod is gone or does not answer: gone'),
  },
  '25 third attempt': {
    why: 'the last failure counts, by its end and not by its place',
    job: 'status: {failed: 2}',
    pods: [
      endedPod({ exitCode: 31, message: termination('RateLimited', 'later', true), pod: 3, at: '10:00:19' }),
      endedPod({ exitCode: 30, message: termination('NetworkError', 'earlier', true), pod: 4, at: '10:00:09' }),
      second('status: {phase: Running}'),
    ],
    want: retrying('later', 3),
  },
  '26 success, pods not ended yet': {
    why: 'row 26',
    job: SUCCESS_MET,
    pods: ['status: {phase: Succeeded}'],
    now: '10:20:01',
    want: LOADING,
  },
}

const ROWS_OF_OTHERS: Rows = {
  ...around(
    '10:01:10',
    each('', REFUSALS, ([said, reason, message]) => ({
      why: "only the Job's Events tell",
      events: refused(said),
      since: '10:00:10',
      want: loadingAs(reason, `The worker pod is refused: ${message}`),
    })),
  ),
  'pod forbidden, claim pending': {
    why: 'it is never bound if its first consumer is never made',
    claim: PENDING,
    events: refused(`pods "${JOB}-x7k2p" is forbidden: ${POD_SECURITY}`),
    want: unbound(loadingAs('PodSecurityViolation', `The worker pod is refused: ${POD_SECURITY}`)),
  },
  'pod forbidden before, allowed since': {
    why: 'an Event is old news once there is a pod',
    pods: [''],
    events: refused(`pods "${JOB}-x7k2p" is forbidden: ${POD_SECURITY}`),
    want: LOADING,
  },

  'another controller': {
    why: 'two writers of one status never come to rest',
    pods: [''],
    intruder: 'operator',
    want: { ...stalledAs('AnotherController', ANOTHER), phase: 'Pending' },
  },
  'another controller, all loaded': {
    why: 'what is Ready flaps then; better one that says why',
    job: COMPLETE,
    intruder: 'operator',
    want: { ...stalledAs('AnotherController', ANOTHER), phase: 'Pending' },
  },
  'another controller, claim lost': {
    why: 'what is said of the storage is no less true',
    claim: LOST,
    intruder: 'operator',
    want: { ...stalledAs('AnotherController', ANOTHER), phase: 'Pending', storage: 'False/StorageLost' },
  },
  'spec that an older CRD let in': {
    why: 'it cannot be rendered',
    model: UNFIT_SPEC,
    claim: NONE,
    job: NONE,
    want: UNFIT,
  },

  ...around('10:01:10', {
    'two models on one path': {
      why: '60 seconds',
      job: COMPLETE,
      rivals: [{ name: 'other' }],
      since: '10:00:10',
      want: SHARED,
    },
  }),
  ...each(
    'two models on one path, the other',
    { 'at work': OTHER_AT_WORK, before: OTHER_BEFORE, waiting: OTHER_WAITS },
    (job) => ({
      why: 'the path is shared whatever the other has done',
      job: COMPLETE,
      rivals: [{ name: 'other', job }],
      now: '10:30:00',
      want: SHARED,
    }),
  ),
  'three models on one path': {
    why: 'in the order of their names',
    pods: [''],
    rivals: [{ name: 'b' }, { name: 'a' }],
    want: { ...SHARED, message: SHARED.message.replace('model other', 'model a, b') },
  },
  'two models on one path, claim lost': {
    why: 'row 2 comes first',
    claim: LOST,
    rivals: [{ name: 'other' }],
    want: LOST_CLAIM,
  },
  'two models on one path, Job failed': {
    why: 'the path is to be mended first',
    job: POLICY,
    rivals: [{ name: 'other' }],
    want: SHARED,
  },
  overwritten: {
    why: 'the other has left, what it wrote has not',
    model: revoked('10:25:00'),
    job: COMPLETE,
    now: '10:30:00',
    want: OVERWRITTEN,
  },
  'overwritten, Job made again under its name': {
    why: 'it is at work in a path of its own',
    model: revoked('10:25:00'),
    job: JOB_MADE_AGAIN,
    pods: [OF_JOB_MADE_AGAIN],
    now: '10:41:00',
    want: LOADING,
  },
  'overwritten, loaded again': {
    why: 'the later end counts',
    model: revoked('10:25:00'),
    job: [JOB_MADE_AGAIN, AGAIN_COMPLETE],
    now: '10:51:00',
    want: READY,
  },
  ...each('back at an earlier render, after', LATER, (stale) => ({
    why: 'its Job is there still and does not run again; what the later one put into the path stays',
    job: COMPLETE,
    stale: [stale],
    now: '10:55:00',
    want: OUTDATED,
  })),
  ...each('back at an earlier render, after', NOT_LATER, (stale) => ({
    why: 'what the path holds is what this Job loaded',
    job: COMPLETE,
    stale: [stale],
    now: '10:55:00',
    want: READY,
  })),
  ...around('10:56:00', {
    'back at an earlier render while a later Job is at work': {
      why: '1 minute: a tool is about to delete it',
      job: COMPLETE,
      stale: [[OLDER, ANOTHER_REVISION]],
      since: '10:55:00',
      want: AT_WORK,
    },
  }),
  ...each('back at an earlier render, its own Job gone, after', LATER, (stale) => ({
    why: 'what was written down of it holds no more',
    model: loadedBy(JOB, '10:20:00'),
    job: NONE,
    stale: [stale],
    now: '10:55:00',
    want: OLDER_ONLY,
  })),
  'back at an earlier render, its own Job made again': {
    why: 'it has to find out what is missing',
    model: loadedBy(JOB, '10:20:00'),
    job: JOB_MADE_AGAIN,
    pods: [OF_JOB_MADE_AGAIN],
    stale: [[OLDER, AGAIN_COMPLETE, ANOTHER_REVISION]],
    now: '10:55:00',
    want: LOADING,
  },
  'back at an earlier render, the later Job refused after it had begun': {
    why: 'a token may be taken away in the middle',
    job: COMPLETE,
    stale: [[OLDER, failedJobAt('10:50:00', 'PodFailurePolicy', REFUSED_LATE), ANOTHER_REVISION]],
    now: '10:55:00',
    want: OUTDATED,
  },
  'back at an earlier render, of the same load': {
    why: 'another image, or other limits, and back',
    model: loadedBy(OLDER_JOB, '10:50:00'),
    job: COMPLETE,
    stale: [[OLDER, AGAIN_COMPLETE]],
    now: '10:55:00',
    want: READY,
  },
  'back at an earlier render, the later Job gone': {
    why: 'it was written down that the model was ready by it',
    model: loadedBy(OLDER_JOB, '10:50:00'),
    job: COMPLETE,
    now: '10:55:00',
    want: OUTDATED,
  },
  'back at an earlier render, its Job run again': {
    why: 'the later end counts',
    model: loadedBy(OLDER_JOB, '10:30:00'),
    job: [COMPLETE, AGAIN_COMPLETE],
    stale: [[OLDER, COMPLETE, ANOTHER_REVISION]],
    now: '10:55:00',
    want: READY,
  },
  'a later render, ready': {
    why: 'the Job of this one ended last',
    model: loadedBy(OLDER_JOB, '10:10:00'),
    job: COMPLETE,
    stale: [[OLDER, COMPLETE.replaceAll('T10:20:00Z', 'T10:10:00Z'), ANOTHER_REVISION]],
    now: '10:30:00',
    want: READY,
  },
  'overwritten, Job gone': {
    why: 'no latch holds',
    model: revoked('10:25:00'),
    job: NONE,
    now: '10:30:00',
    want: WAITING_FOR_WORKER,
  },

  ...around('10:25:00', {
    'spec edited without rendering': {
      why: '5 minutes',
      model: 'spec: {model: Qwen/Other}',
      job: COMPLETE,
      since: '10:20:00',
      want: loadingAs('NotRendered', EDITED),
    },
  }),
  'spec edited without rendering, Job gone': {
    why: 'the latch knows what was loaded',
    model: ['spec: {model: Qwen/Other}', LOADED_BEFORE],
    job: NONE,
    want: loadingAs('NotRendered', EDITED),
  },
  'revision edited without rendering': {
    why: 'another commit is another model',
    model: 'spec: {source: {huggingface: {revision: v2}}}',
    job: COMPLETE,
    want: loadingAs(
      'NotRendered',
      `Job ${JOB} loads Qwen/Qwen2.5-7B-Instruct-1M, not Qwen/Qwen2.5-7B-Instruct-1M at v2; render the model again`,
    ),
  },
  'patterns edited without rendering': {
    why: 'other files are another model',
    model: 'spec: {source: {huggingface: {include: ["*.json"]}}}',
    job: [WITH_PATTERN, COMPLETE],
    want: loadingAs(
      'NotRendered',
      `Job ${JOB} loads Qwen/Qwen2.5-7B-Instruct-1M with *.gguf, ` +
        'not Qwen/Qwen2.5-7B-Instruct-1M with *.json; render the model again',
    ),
  },
  'claim edited without rendering': {
    why: 'the Job fills another',
    model: 'spec: {storage: {pvc: {name: new}}}',
    claim: 'metadata: {name: new}',
    job: COMPLETE,
    want: loadingAs('NotRendered', `Job ${JOB} loads into storage qwen-7b, not into new; render the model again`),
  },
  'spec edited without rendering, Job failed': {
    why: 'it is no longer what is wanted; Failed would be for good',
    model: 'spec: {model: Qwen/Other}',
    job: POLICY,
    want: loadingAs('NotRendered', EDITED),
  },
  'worker that is another program': {
    why: 'what it loads is not known',
    job: [
      'spec: {template: {spec: {containers: [{name: worker, image: x, command: [sh], args: [-c, ls]}]}}}',
      COMPLETE,
    ],
    now: '10:20:01',
    want: READY,
  },
}

/** Pairs of which both apply: the one that is to be mended first is said. */
const ROWS_OF_PAIRS: Rows = {
  'another controller before an unfit spec': {
    why: 'nothing that is said stands before that is settled',
    model: UNFIT_SPEC,
    intruder: 'operator',
    want: { ...stalledAs('AnotherController', ANOTHER), phase: 'Pending' },
  },
  'an unfit spec before no storage': {
    why: 'it cannot be rendered, and Failed would be for good',
    model: [UNFIT_SPEC, UNNAMED_SPEC],
    claim: NONE,
    job: NONE,
    want: UNFIT,
  },
  'no claim before a filler that is not ready': {
    why: 'the filler waits for it too',
    model: NO_SOURCE,
    claim: NONE,
    job: NONE,
    filler: { name: 'loader', isReady: false },
    want: { ...MISSING_CLAIM, phase: 'Pending' },
  },
  'on the volume before a shared path': {
    why: 'without a source nothing is loaded',
    model: NO_SOURCE,
    job: NONE,
    rivals: [{ name: 'other' }],
    want: ON_VOLUME,
  },
  'a shared path before an edited spec': {
    why: 'rendering refuses it',
    model: 'spec: {model: Qwen/Other}',
    job: COMPLETE,
    rivals: [{ name: 'other' }],
    want: SHARED,
  },
  'an edited spec before what was overwritten': {
    why: 'to load the old one again helps nobody',
    model: ['spec: {model: Qwen/Other}', revoked('10:25:00')],
    job: COMPLETE,
    now: '10:30:00',
    want: loadingAs('NotRendered', EDITED),
  },
  'overwritten before a claim made again': {
    why: 'the way out is the same, and this was the last that happened',
    model: revoked('10:35:00').replace(CLAIM_UID, 'c1a10000-0000-4000-8000-000000000002'),
    claim: MADE_AGAIN,
    job: COMPLETE,
    now: '10:40:00',
    want: OVERWRITTEN,
  },
  'suspended before a pod that was refused': {
    why: 'no pod is wanted now',
    job: SUSPENDED,
    events: refused(`pods "${JOB}-x7k2p" is forbidden: ${QUOTA}`),
    want: SUSPENDED_JOB,
  },
  'one shard without a node before one that is gated': {
    why: 'row 19 before row 20',
    pods: [indexed(0, GATED), indexed(1, UNSCHEDULABLE)],
    want: UNSCHEDULABLE_POD,
  },
  'one shard that is gated before one without an image': {
    why: 'row 20 before row 22',
    pods: [indexed(0, waitingPod('ImagePullBackOff')), indexed(1, GATED)],
    want: GATED_POD,
  },
  'one shard without an image before one without a Secret': {
    why: 'row 22 before row 23: it does not help itself',
    pods: [
      indexed(0, waitingPod('CreateContainerConfigError', 'secret "hf-token" not found')),
      indexed(1, waitingPod('ImagePullBackOff', 'Back-off pulling image "arksai/arksmodel:0.1.0"')),
    ],
    want: BACKING_OFF,
  },
}

/** By the number of the state table, and what it does not number by what is there. */
export const STATUS_ROWS: Rows = trimmed({
  ...ROWS_OF_STORAGE,
  ...ROWS_OF_ENDS,
  ...ROWS_OF_JOBS,
  ...ROWS_OF_PODS,
  ...ROWS_OF_OTHERS,
  ...ROWS_OF_PAIRS,
})

export const nowOf = ({ now = '10:00:30' }: Row): number => msOf(now)

/** What the controller would have gathered. */
export function observedOf(row: Row): Observed {
  const model = seenModel(laidOver(MODEL, row.model ?? ''))
  if (model === undefined) throw new Error('the model of a row must be one')
  const job = jobOf(row.job)
  return {
    model,
    claim: row.claim === NONE ? undefined : seenClaim(laidOver(CLAIM, row.claim ?? '')),
    job,
    stale: (row.stale ?? []).flatMap((text) => jobOf(text) ?? []),
    pods: (row.pods ?? [])
      .flatMap((text) => seenPod(laidOver(POD, text)) ?? [])
      .filter((pod) => pod.owner === job?.uid),
    rivals: (row.rivals ?? []).map(({ name, job: other }) => ({
      name,
      job: other === undefined ? undefined : jobOf(other),
    })),
    filler: row.filler,
    explained: explained(row.events),
    progress: row.progress,
    intruder: row.intruder,
    since:
      row.since === undefined
        ? undefined
        : { reason: row.want.reason, generation: model.generation, job: model.workerJob, at: msOf(row.since), wasStalled: false },
  }
}

export const judgementOf = (row: Row): Judgement => status(observedOf(row), nowOf(row))

/** The model as a GET gives it once the status is written. */
export function objectOf(row: Row): Plain {
  const model = laidOver(MODEL, row.model ?? '')
  return row.isUnwritten ? model : { ...model, status: { ...judgementOf(row).status } }
}

const jobOf = (text: Text = ''): SeenJob | undefined =>
  text === NONE ? undefined : seenJob(laidOver(JOB_AT_WORK, text))

function explained(events: Row['events'] = {}): Observed['explained'] {
  const uids = { job: JOB_UID, claim: CLAIM_UID, pod: POD_UID }
  return Object.fromEntries(
    (['job', 'claim', 'pod'] as const).flatMap((each) => (events[each] ? [[uids[each], events[each]]] : [])),
  )
}

/** As a merge patch: a null takes a field away. */
export function laidOver(object: Plain, text: Text): Plain {
  return withoutNulls([text].flat().reduce((under, over) => merged(under, asPlain(parse(over))), object))
}

function trimmed(rows: Rows): Rows {
  return Object.fromEntries(Object.entries(rows).map(([name, row]) => [name.trim(), row]))
}

function msOf(time: string): number {
  return Date.parse(`2026-01-05T${time}Z`)
}

function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19)
}
