/** Pods and claims as far as the test kubelet reads them, and what a kubelet and a scheduler write about a pod. */

export interface Metadata {
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly deletionTimestamp?: string
  readonly deletionGracePeriodSeconds?: number
}

export interface Pod {
  readonly metadata: Metadata
  readonly spec: {
    readonly nodeName?: string
    readonly nodeSelector?: Readonly<Record<string, string>>
    readonly serviceAccountName?: string
    readonly terminationGracePeriodSeconds?: number
    readonly securityContext?: Security & { readonly fsGroup?: number }
    readonly containers: readonly Container[]
    readonly volumes?: readonly Volume[]
  }
  readonly status?: { readonly phase?: string }
}

export interface Container {
  readonly name: string
  readonly image: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly Variable[]
  readonly envFrom?: readonly VariablesFrom[]
  readonly securityContext?: Security
  readonly terminationMessagePath?: string
  readonly terminationMessagePolicy?: string
  readonly volumeMounts?: readonly Mount[]
}

interface Security {
  readonly runAsUser?: number
  readonly runAsGroup?: number
}

interface Reference {
  readonly name: string
  readonly optional?: boolean
}

export interface Variable {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string }
    readonly secretKeyRef?: Reference & { readonly key: string }
    readonly configMapKeyRef?: Reference & { readonly key: string }
  }
}

export interface VariablesFrom {
  readonly prefix?: string
  readonly secretRef?: Reference
  readonly configMapRef?: Reference
}

export interface Mount {
  readonly name: string
  readonly mountPath: string
  readonly subPath?: string
}

interface Item {
  readonly key: string
  readonly path: string
}

export interface Volume {
  readonly name: string
  readonly persistentVolumeClaim?: { readonly claimName: string }
  readonly configMap?: Reference & { readonly items?: readonly Item[] }
  readonly secret?: { readonly secretName: string; readonly optional?: boolean; readonly items?: readonly Item[] }
}

export interface Claim {
  readonly metadata: Metadata
  readonly spec: {
    readonly accessModes: readonly string[]
    readonly resources: { readonly requests: { readonly storage: string } }
    readonly storageClassName?: string
    readonly volumeMode?: string
    readonly volumeName?: string
  }
  readonly status?: { readonly phase?: string }
}

export type State =
  | { readonly waiting: { readonly reason: string; readonly message?: string } }
  | { readonly running: { readonly startedAt: string } }
  | { readonly terminated: Terminated }

export interface Terminated {
  readonly exitCode: number
  readonly reason: string
  readonly message?: string
  readonly startedAt: string
  readonly finishedAt: string
  readonly containerID: string
}

export interface Condition {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly lastTransitionTime: string
  /** Null takes away what was said before. */
  readonly reason: string | null
  readonly message: string | null
}

export interface Status {
  readonly phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed'
  readonly conditions: readonly Condition[]
  readonly reason?: string
  readonly message?: string
  readonly startTime?: string
  readonly hostIP?: string
  readonly podIP?: string
  readonly podIPs?: readonly { readonly ip: string }[]
  readonly containerStatuses?: readonly object[]
}

/** What happened to a pod from outside: it stands beside what became of its container. */
export interface Disruption {
  readonly reason: string
  readonly message: string
}

export const nowText = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z')

/** What a scheduler with one node writes. */
export const unscheduledStatus = (message: string): Status => ({
  phase: 'Pending',
  conditions: [condition('PodScheduled', 'False', { reason: 'Unschedulable', message })],
})

/** What the garbage collector of pods writes when a pod is deleted that no kubelet has. */
export const neverScheduledStatus = (): Status => ({ phase: 'Failed', conditions: [] })

export interface Course {
  readonly ip: string
  readonly startTime: string
  readonly state: State
  readonly evicted?: Disruption
  /** Deleted before its container ran. */
  readonly isGivenUp?: boolean
}

export function scheduledStatus(pod: Pod, course: Course): Status {
  const { ip, startTime, state, evicted } = course
  const phase = phaseOf(course)
  const names = pod.spec.containers.map(({ name }) => name)
  const isReady = phase === 'Running'
  const unready = {
    reason: phase === 'Succeeded' ? 'PodCompleted' : phase === 'Failed' ? 'PodFailed' : 'ContainersNotReady',
    ...(phase === 'Pending' && { message: `containers with unready status: [${names.join(' ')}]` }),
  }
  const ready = (type: string): Condition => condition(type, isReady ? 'True' : 'False', isReady ? {} : unready)
  return {
    phase,
    ...(evicted && { reason: 'Evicted', message: evicted.message }),
    conditions: [
      condition('PodReadyToStartContainers', hasSandbox(state) ? 'True' : 'False'),
      condition('Initialized', 'True', phase === 'Succeeded' ? { reason: 'PodCompleted' } : {}),
      ready('Ready'),
      ready('ContainersReady'),
      condition('PodScheduled', 'True'),
      ...(evicted ? [condition('DisruptionTarget', 'True', evicted)] : []),
    ],
    startTime,
    hostIP: '127.0.0.1',
    podIP: ip,
    podIPs: [{ ip }],
    containerStatuses: pod.spec.containers.map(({ name, image }) => ({
      name,
      image,
      imageID: 'waiting' in state ? '' : image,
      ...('waiting' in state ? {} : { containerID: containerId(pod) }),
      state,
      lastState: {},
      ready: isReady,
      started: isReady,
      restartCount: 0,
    })),
  }
}

/** Images are pulled when the pod's network is there already. */
const hasSandbox = (state: State): boolean =>
  'running' in state || ('waiting' in state && state.waiting.reason !== 'ContainerCreating')

function phaseOf({ state, isGivenUp }: Course): Status['phase'] {
  if (isGivenUp) return 'Failed'
  if ('waiting' in state) return 'Pending'
  if ('running' in state) return 'Running'
  return state.terminated.exitCode === 0 ? 'Succeeded' : 'Failed'
}

export const containerId = ({ metadata }: Pod): string =>
  `containerd://${metadata.uid.replaceAll('-', '').padEnd(64, '0')}`

/** The same conditions, each with the time since which it has been so. */
export const since = (before: Status | undefined, status: Status): Status => ({
  ...status,
  conditions: status.conditions.map((each) => {
    const earlier = before?.conditions.find(({ type }) => type === each.type)
    return earlier?.status === each.status ? { ...each, lastTransitionTime: earlier.lastTransitionTime } : each
  }),
})

export const disruption = ({ reason, message }: Disruption): Condition =>
  condition('DisruptionTarget', 'True', { reason, message })

const condition = (
  type: string,
  status: Condition['status'],
  { reason = null, message = null }: Partial<Pick<Condition, 'reason' | 'message'>> = {},
): Condition => ({ type, status, lastTransitionTime: nowText(), reason, message })
