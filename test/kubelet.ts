import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Termination, terminationText } from '../crds/termination.ts'
import { certificates } from './certificates.ts'
import { type Answer, type Cluster, MERGE } from './cluster.ts'
import {
  type Data,
  type Exit,
  type Prepared,
  prepared,
  type Running,
  type Source,
  type StandIn,
  started,
  stoodIn,
} from './kubelet-container.ts'
import {
  type Claim,
  type Course,
  containerId,
  disruption,
  type Metadata,
  neverScheduledStatus,
  nowText,
  type Pod,
  type State,
  type Status,
  scheduledStatus,
  since,
  unscheduledStatus,
} from './kubelet-status.ts'
import { scratch } from './scratch.ts'

/**
 * The scheduler, the kubelet and the provisioner of a cluster with one node. The pods of Jobs run for real, as
 * processes of this machine, each with a loopback address of its own. They have one container and are never run
 * again; init containers, memory limits and images are taken for granted.
 */

export type { StandIn } from './kubelet-container.ts'
export type { Claim, Pod } from './kubelet-status.ts'

export interface KubeletOptions {
  readonly cluster: Cluster
  /** Of what the claims hold: a folder for each. */
  readonly volumes: string
  /** Goes before what pods say: `HF_ENDPOINT` brings all of them to a Hub on loopback. */
  readonly env?: Readonly<Record<string, string>>
  /** How many pods run at once; 110 if absent, as on a real node. */
  readonly capacity?: number
  /** Which claims get a volume, and where they name a class that does not exist, the class; all if absent. */
  readonly bindsClaim?: (claim: Claim) => boolean
  /** Asked again and again as long as it keeps the pod from running. */
  readonly trouble?: (pod: Pod) => Trouble | undefined
  /** In place of the pod's own command. */
  readonly standIn?: (pod: Pod) => StandIn | undefined
}

export type Trouble = Hindrance | Blow

/** Before a container runs. */
export type Hindrance =
  /** The scheduler's whole message. */
  | { readonly kind: 'unschedulable'; readonly message: string }
  /** ErrImagePull with this message, then ImagePullBackOff. */
  | { readonly kind: 'no-image'; readonly message: string }
  | { readonly kind: 'invalid-image-name' }
  /** CreateContainerError if no other reason is given. */
  | { readonly kind: 'not-created'; readonly message: string; readonly reason?: string }

/** To a container that runs. */
export type Blow =
  | { readonly kind: 'out-of-memory' }
  | { readonly kind: 'evicted'; readonly message: string }
  | { readonly kind: 'preempted'; readonly message: string }

/** `namespace/name` */
export type Key = string

export interface Kubelet {
  /** Looks again at what waits for `bindsClaim`, `trouble` or a Secret, which it does now and then by itself too. */
  look(): void
  strike(pod: Key, blow: Blow): Promise<void>
  /** What a pod has printed, or the end of it. */
  log(pod: Key): string
  /** Of a claim that is or was there. */
  folder(claim: Key): string
  /** Kills what runs. Pods and claims stay as they are. */
  stop(): Promise<void>
}

/** A loader that has loaded a model after so many milliseconds. */
export const loadedAfter = (ms: number, more: Partial<Termination> = {}): StandIn => ({
  ms,
  exitCode: 0,
  message: terminationText({
    v: 1,
    reason: 'Loaded',
    message: '1 file, 1.0 GB, 1.0 GB received in 1 s',
    retryable: false,
    commit: '0123456789abcdef0123456789abcdef01234567',
    totalBytes: 1_000_000_000,
    doneBytes: 1_000_000_000,
    reusedBytes: 0,
    files: 1,
    filesDone: 1,
    retries: 0,
    seconds: 1,
    ...more,
  }),
})

export async function startKubelet(options: KubeletOptions): Promise<Kubelet> {
  const { cluster, volumes, env = {}, capacity = 110, bindsClaim = () => true } = options
  const { trouble = () => undefined, standIn = () => undefined } = options
  const stopping = new AbortController()
  const bells = newBells()
  const lives = new Map<string, Life>()
  const claims = new Map<Key, Claim>()
  const claimFolders = new Map<Key, string>()
  const provisioned = new Set<string>()
  const running = new Set<Running>()
  const scratchFolder = scratch({})
  let [lastIp, seats] = [0, 0]

  // Pods have other users than we.
  for (const folder of [volumes, scratchFolder]) chmodSync(folder, 0o711)
  const killAll = (): void => {
    for (const each of running) each.kill('SIGKILL')
  }
  process.on('exit', killAll)
  const logs = await served((key) => lifeOf(key).running?.log() ?? '')
  await addNode(cluster, logs.port)
  const followed = [
    follow<Pod>('/api/v1/pods', { see: seePod, lose: losePod }),
    follow<Claim>('/api/v1/persistentvolumeclaims', { see: seeClaim, lose: loseClaim }),
  ]

  return {
    look() {
      for (const claim of claims.values()) seeClaim(claim)
      bells.ringAll()
    },
    async strike(key, blow) {
      const life = lifeOf(key)
      if (life.running === undefined) throw new Error(`pod ${key} does not run`)
      await struck(life, blow)
    },
    log: (key) => lifeOf(key).running?.log() ?? '',
    folder(key) {
      const folder = claimFolders.get(key)
      if (folder === undefined) throw new Error(`no claim ${key}`)
      return folder
    },
    async stop() {
      stopping.abort()
      bells.ringAll()
      killAll()
      await Promise.all([...followed, ...[...running].map(({ ended }) => ended), logs.close()])
      process.off('exit', killAll)
    },
  }

  /** Again as long as nobody answers: an API server may crash, and comes back. */
  async function ask(method: string, path: string, body?: unknown, headers?: Texts): Promise<Answer> {
    for (;;) {
      try {
        const answer = await cluster.request(method, path, body, headers)
        if (answer.status < 500 || stopping.signal.aborted) return answer
      } catch (error) {
        if (stopping.signal.aborted) throw error
      }
      await sleep(RESYNC_MS)
    }
  }

  function lifeOf(key: Key): Life {
    const life = [...lives.values()].findLast(({ pod }) => keyOf(pod) === key)
    if (life === undefined) throw new Error(`no pod ${key}`)
    return life
  }

  /** Sees every object that is there and each change, as long as we run. */
  async function follow<T extends Listed>(path: string, { see, lose }: Eyes<T>): Promise<void> {
    const known = new Map<string, T>()
    const take = ({ type, object }: Change<T>): void => {
      if (type === 'DELETED') known.delete(object.metadata.uid)
      else known.set(object.metadata.uid, object)
      if (type === 'DELETED') lose(object)
      else see(object)
    }
    while (!stopping.signal.aborted) {
      try {
        const list: List<T> = parsed(await ask('GET', path))
        const there = new Set(list.items.map(({ metadata }) => metadata.uid))
        for (const object of [...known.values()].filter(({ metadata }) => !there.has(metadata.uid)))
          take({ type: 'DELETED', object })
        for (const object of list.items) take({ type: 'MODIFIED', object })
        const from = new URLSearchParams({ watch: 'true', resourceVersion: list.metadata.resourceVersion })
        for await (const line of cluster.lines(`${path}?${from}`, stopping.signal)) {
          const change: Change<T> = JSON.parse(line)
          // 410, or what else makes a new list necessary.
          if (change.type === 'ERROR') break
          take(change)
        }
      } catch (error) {
        if (stopping.signal.aborted) return
        // A connection that is lost is nothing to complain of.
        if (!(error instanceof Error && 'code' in error)) console.error(`${path}: ${error}`)
        await sleep(RESYNC_MS)
      }
    }
  }

  function seePod(pod: Pod): void {
    const life = lives.get(pod.metadata.uid)
    if (life !== undefined) {
      life.pod = pod
      bells.ring(pod.metadata.uid)
      return
    }
    // What ran under another kubelet is not ours.
    if (pod.status?.phase !== 'Pending' || (pod.spec.nodeName ?? NODE) !== NODE) return
    const born: Life = { pod, isGone: false }
    lives.set(pod.metadata.uid, born)
    void live(born).catch((error: unknown) => {
      if (!stopping.signal.aborted) console.error(`pod ${keyOf(pod)}:`, error)
    })
  }

  function losePod({ metadata }: Pod): void {
    const life = lives.get(metadata.uid)
    if (life === undefined) return
    life.isGone = true
    bells.ring(metadata.uid)
    lives.delete(metadata.uid)
  }

  function seeClaim(claim: Claim): void {
    const { uid } = claim.metadata
    claims.set(keyOf(claim), claim)
    claimFolders.set(keyOf(claim), join(volumes, uid))
    bells.ring(keyOf(claim))
    if (claim.spec.volumeName !== undefined || claim.metadata.deletionTimestamp !== undefined) return
    if (provisioned.has(uid) || !bindsClaim(claim)) return
    provisioned.add(uid)
    provision(ask, claim, join(volumes, uid)).catch(async (error: unknown) => {
      if (stopping.signal.aborted) return
      console.error(`claim ${keyOf(claim)}:`, error)
      await sleep(RESYNC_MS)
      provisioned.delete(uid)
      if (claims.get(keyOf(claim))?.metadata.uid === uid) seeClaim(claim)
    })
  }

  /** What it held goes with it, as with most classes. */
  function loseClaim(claim: Claim): void {
    claims.delete(keyOf(claim))
    bells.ring(keyOf(claim))
    if (!provisioned.delete(claim.metadata.uid)) return
    rmSync(join(volumes, claim.metadata.uid), { recursive: true, force: true })
    ask('DELETE', `/api/v1/persistentvolumes/${volumeName(claim)}`).catch((error: unknown) => {
      if (!stopping.signal.aborted) console.error(`volume of claim ${keyOf(claim)}:`, error)
    })
  }

  /** From a pod's creation to the end of its object. */
  async function live(life: Life): Promise<void> {
    const uid = life.pod.metadata.uid
    for (let message = unschedulable(life.pod); message !== undefined; message = unschedulable(life.pod)) {
      await say(life, unscheduledStatus(message))
      await bells.heard([uid, ...claimsOf(life.pod)], RESYNC_MS)
      if (stopping.signal.aborted || life.isGone) return
      if (isLeaving(life)) {
        await say(life, neverScheduledStatus())
        return remove(life)
      }
    }
    seats++
    try {
      await bind(life)
      await run(life)
    } finally {
      seats--
    }
    while (!isLeaving(life)) await bells.heard([uid])
    await remove(life)
  }

  /** What a scheduler says. */
  function unschedulable(pod: Pod): string | undefined {
    const found = trouble(pod)
    if (found?.kind === 'unschedulable') return found.message
    const why =
      claimsOf(pod)
        .map((key) => unusable(key, claims.get(key)))
        .find((each) => each !== undefined) ??
      (Object.entries(pod.spec.nodeSelector ?? {}).some(([label, value]) => NODE_LABELS[label] !== value)
        ? "1 node(s) didn't match Pod's node affinity/selector"
        : seats >= capacity
          ? '1 Too many pods'
          : undefined)
    return why && `0/1 nodes are available: ${why}. ${PREEMPTION}`
  }

  async function bind(life: Life): Promise<void> {
    if (life.pod.spec.nodeName !== undefined) return
    const { name, namespace, uid } = life.pod.metadata
    const target = { apiVersion: 'v1', kind: 'Node', name: NODE }
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name, namespace, uid }, target }
    const { status, body } = await ask('POST', `${pathOf(life.pod)}/binding`, binding)
    // Gone or being deleted: the watch tells.
    if (status !== 201 && status !== 404 && status !== 409) throw new Error(`cannot bind: ${JSON.stringify(body)}`)
  }

  async function run(life: Life): Promise<void> {
    const course = { ip: address(++lastIp), startTime: nowText() }
    const tell: Tell = (state, more) => say(life, scheduledStatus(life.pod, { ...course, state, ...more }))
    const folder = join(scratchFolder, life.pod.metadata.uid)
    mkdirSync(folder)
    const start = await awaited(life, { ip: course.ip, folder }, tell)
    if (start !== undefined) await through(life, start, tell)
    rmSync(folder, { recursive: true, force: true })
  }

  /** Undefined for a pod that was deleted before. */
  async function awaited(life: Life, place: Attempt, tell: Tell): Promise<Started | undefined> {
    let waiting: State = { waiting: { reason: 'ContainerCreating' } }
    await tell(waiting)
    for (let isFirst = true; !isLeaving(life); isFirst = false) {
      const next = await startable(life, place, isFirst)
      if (isLeaving(life)) break
      if (next.kind !== 'waiting') return next
      const { kind: _, ...rest } = next
      waiting = { waiting: rest }
      await tell(waiting)
      await bells.heard([life.pod.metadata.uid], RESYNC_MS)
    }
    await tell(waiting, { isGivenUp: true })
    return undefined
  }

  /** From the container's start to its end. */
  async function through(life: Life, start: Started, tell: Tell): Promise<void> {
    const startedAt = nowText()
    const worker = start.kind === 'ready' ? started(start) : stoodIn(start.standIn)
    life.running = worker
    running.add(worker)
    await tell({ running: { startedAt } })
    const blow = trouble(life.pod)
    if (blow !== undefined && isBlow(blow)) await struck(life, blow)
    const { exitCode, reason, message } = await ended(life, worker)
    running.delete(worker)
    const { fate } = life
    const terminated = {
      exitCode,
      reason: fate?.kind === 'out-of-memory' ? 'OOMKilled' : (reason ?? (exitCode === 0 ? 'Completed' : 'Error')),
      ...(message !== '' && { message }),
      startedAt,
      finishedAt: nowText(),
      containerID: containerId(life.pod),
    }
    const evicted = fate?.kind === 'evicted' && { reason: 'TerminationByKubelet', message: fate.message }
    await tell({ terminated }, evicted ? { evicted } : {})
  }

  async function startable(life: Life, { ip, folder }: Attempt, isFirst: boolean): Promise<Prepared | StoodIn> {
    const [container] = life.pod.spec.containers
    if (container === undefined) throw new Error('must have a container')
    const hindered = hindrance(trouble(life.pod), container.image, isFirst)
    if (hindered !== undefined) return { kind: 'waiting', ...hindered }
    const instead = standIn(life.pod)
    const claimFolder = (namespace: string, claim: string): string => claimFolders.get(`${namespace}/${claim}`) ?? ''
    const start = await prepared(life.pod, container, { ip, folder, read, claimFolder, env })
    return start.kind === 'ready' && instead ? { kind: 'stand-in', standIn: instead } : start
  }

  async function read(source: Source, namespace: string, name: string): Promise<Data | undefined> {
    const answer = await ask('GET', `/api/v1/namespaces/${namespace}/${source}s/${name}`)
    if (answer.status === 404) return undefined
    const { data = {}, binaryData = {} } = parsed<Readonly<Record<string, Texts | undefined>>>(answer)
    const decoded = (texts: Texts, encoding: BufferEncoding) =>
      Object.entries(texts).map(([key, text]) => [key, Buffer.from(text, encoding)] as const)
    return new Map([...decoded(data, source === 'secret' ? 'base64' : 'utf8'), ...decoded(binaryData, 'base64')])
  }

  /** Deletion ends it early: it gets the time that the deletion gives. */
  async function ended(life: Life, worker: Running): Promise<Exit> {
    let exit: Exit | undefined
    void worker.ended.then((end) => {
      exit = end
      bells.ring(life.pod.metadata.uid)
    })
    let [isAsked, timer]: [boolean, NodeJS.Timeout | undefined] = [false, undefined]
    while (exit === undefined) {
      const { deletionTimestamp, deletionGracePeriodSeconds: grace = 0 } = life.pod.metadata
      if (life.isGone || (deletionTimestamp !== undefined && grace === 0)) worker.kill('SIGKILL')
      else if (deletionTimestamp !== undefined && !isAsked) {
        isAsked = true
        worker.kill('SIGTERM')
        timer = setTimeout(() => worker.kill('SIGKILL'), grace * 1000)
      }
      await bells.heard([life.pod.metadata.uid])
    }
    clearTimeout(timer)
    return exit
  }

  async function struck(life: Life, blow: Blow): Promise<void> {
    life.fate = blow
    switch (blow.kind) {
      case 'out-of-memory':
      case 'evicted':
        life.running?.kill('SIGKILL')
        return
      case 'preempted': {
        const condition = disruption({ reason: 'PreemptionByScheduler', message: blow.message })
        const status = { conditions: [condition] }
        await ask('PATCH', `${pathOf(life.pod)}/status`, { status }, STRATEGIC)
        await ask('DELETE', pathOf(life.pod))
        return
      }
      default: {
        const _: never = blow
        return _
      }
    }
  }

  async function say(life: Life, next: Status): Promise<void> {
    const status = since(life.said, next)
    if (stopping.signal.aborted || life.isGone || JSON.stringify(status) === JSON.stringify(life.said)) return
    const { uid } = life.pod.metadata
    const answer = await ask('PATCH', `${pathOf(life.pod)}/status`, { metadata: { uid }, status }, STRATEGIC)
    if (answer.status === 404) life.isGone = true
    else life.pod = parsed(answer)
    life.said = status
  }

  async function remove(life: Life): Promise<void> {
    if (stopping.signal.aborted || life.isGone) return
    const { uid } = life.pod.metadata
    await ask('DELETE', pathOf(life.pod), { gracePeriodSeconds: 0, preconditions: { uid } })
  }

  function isLeaving({ pod, isGone }: Life): boolean {
    return stopping.signal.aborted || isGone || pod.metadata.deletionTimestamp !== undefined
  }
}

interface Life {
  pod: Pod
  isGone: boolean
  said?: Status
  running?: Running
  fate?: Blow
}

interface Attempt {
  readonly ip: string
  readonly folder: string
}

type Started = Extract<Prepared, { kind: 'ready' }> | StoodIn

type Tell = (state: State, more?: Pick<Course, 'evicted' | 'isGivenUp'>) => Promise<void>

interface StoodIn {
  readonly kind: 'stand-in'
  readonly standIn: StandIn
}

interface Listed {
  readonly metadata: Metadata
}

interface List<T> {
  readonly metadata: { readonly resourceVersion: string }
  readonly items: readonly T[]
}

interface Change<T> {
  readonly type: string
  readonly object: T
}

interface Eyes<T> {
  readonly see: (object: T) => void
  readonly lose: (object: T) => void
}

type Texts = Readonly<Record<string, string>>
type Ask = Cluster['request']

const NODE = 'node'
const NODE_LABELS: Readonly<Record<string, string>> = {
  'kubernetes.io/hostname': NODE,
  'kubernetes.io/os': 'linux',
  'kubernetes.io/arch': 'amd64',
}
const PREEMPTION = 'preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.'
const STRATEGIC = { 'content-type': 'application/strategic-merge-patch+json' }
/** A kubelet does not hear of everything that a pod waits for, and tries again. */
const RESYNC_MS = 250

const keyOf = ({ metadata }: Listed): Key => `${metadata.namespace}/${metadata.name}`

const pathOf = ({ metadata }: Pod): string => `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`

const claimsOf = ({ metadata, spec }: Pod): readonly Key[] =>
  (spec.volumes ?? []).flatMap(({ persistentVolumeClaim: claim }) =>
    claim === undefined ? [] : [`${metadata.namespace}/${claim.claimName}`],
  )

function unusable(key: Key, claim: Claim | undefined): string | undefined {
  const name = key.slice(key.indexOf('/') + 1)
  if (claim === undefined) return `persistentvolumeclaim "${name}" not found`
  if (claim.metadata.deletionTimestamp !== undefined) return `persistentvolumeclaim "${name}" is being deleted`
  if (claim.status?.phase === 'Lost') return `persistentvolumeclaim "${name}" bound to non-existent persistentvolume`
  return claim.status?.phase === 'Bound' ? undefined : 'pod has unbound immediate PersistentVolumeClaims'
}

const isBlow = (trouble: Trouble): trouble is Blow =>
  trouble.kind === 'out-of-memory' || trouble.kind === 'evicted' || trouble.kind === 'preempted'

/** What a container waits for, in the kubelet's words. */
function hindrance(
  trouble: Trouble | undefined,
  image: string,
  isFirst: boolean,
): { readonly reason: string; readonly message: string } | undefined {
  switch (trouble?.kind) {
    case 'no-image': {
      const { message } = trouble
      if (isFirst) return { reason: 'ErrImagePull', message }
      return { reason: 'ImagePullBackOff', message: `Back-off pulling image "${image}": ErrImagePull: ${message}` }
    }
    case 'invalid-image-name': {
      const why = `couldn't parse image name "${image}": invalid reference format`
      return { reason: 'InvalidImageName', message: `Failed to apply default image tag "${image}": ${why}` }
    }
    case 'not-created':
      return { reason: trouble.reason ?? 'CreateContainerError', message: trouble.message }
    default:
      return undefined
  }
}

/** Several kubelets of one machine keep apart. */
const address = (number: number): string => {
  const at = number + 1
  return `127.${process.pid % 254}.${Math.floor(at / 254) % 254}.${(at % 254) + 1}`
}

function parsed<T>({ status, body }: { readonly status: number; readonly body: unknown }): T {
  if (status >= 300) throw new Error(JSON.stringify(body))
  // The parse boundary: the API server's answers are of its schema.
  return body as T
}

interface Serving {
  readonly port: number
  close(): Promise<void>
}

/** For `kubectl logs`: the API server asks the node, and asks for no certificate that it knows. */
async function served(logOf: (key: Key) => string): Promise<Serving> {
  const server = createServer(certificates(), (request, response) => {
    const [, key = ''] = /^\/containerLogs\/([^/]+\/[^/]+)\//.exec(request.url ?? '') ?? []
    try {
      response.end(logOf(key))
    } catch (error) {
      response.writeHead(404).end(`${error}`)
    }
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function addNode(cluster: Cluster, port: number): Promise<void> {
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: NODE, labels: NODE_LABELS } }
  const { status, body } = await cluster.create(node)
  if (status !== 201 && status !== 409) throw new Error(`cannot create a node: ${JSON.stringify(body)}`)
  const amounts = { cpu: '64', memory: '256Gi', pods: '110' }
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' }
  const times = { lastHeartbeatTime: nowText(), lastTransitionTime: nowText() }
  const addresses = [{ type: 'InternalIP', address: '127.0.0.1' }]
  const path = `/api/v1/nodes/${NODE}`
  const daemonEndpoints = { kubeletEndpoint: { Port: port } }
  const state = { capacity: amounts, allocatable: amounts, conditions: [{ ...ready, ...times }], addresses }
  await cluster.request('PATCH', `${path}/status`, { status: { ...state, daemonEndpoints } }, STRATEGIC)
  // New nodes are tainted until the controller of nodes has seen that they are ready, and there is none.
  await cluster.request('PATCH', path, { spec: { taints: null } }, MERGE)
}

const volumeName = ({ metadata }: Claim): string => `pvc-${metadata.uid}`

/** A volume for this claim alone. The binder finds it. */
async function provision(ask: Ask, claim: Claim, folder: string): Promise<void> {
  const { accessModes, resources, storageClassName = '', volumeMode } = claim.spec
  const { name, namespace, uid } = claim.metadata
  if (storageClassName !== '') {
    await made(ask, '/apis/storage.k8s.io/v1/storageclasses', {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: storageClassName },
      provisioner: 'kubernetes.io/no-provisioner',
      volumeBindingMode: 'Immediate',
    })
  }
  mkdirSync(folder, { recursive: true })
  await made(ask, '/api/v1/persistentvolumes', {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: volumeName(claim) },
    spec: {
      accessModes,
      capacity: resources.requests,
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace, uid },
      hostPath: { path: folder },
      persistentVolumeReclaimPolicy: 'Retain',
      storageClassName,
      volumeMode,
    },
  })
}

async function made(ask: Ask, path: string, object: object): Promise<void> {
  const { status, body } = await ask('POST', path, object)
  if (status !== 201 && status !== 409) throw new Error(JSON.stringify(body))
}

interface Bells {
  ring(key: string): void
  ringAll(): void
  /** Until one of them rings, or for so long. */
  heard(keys: readonly string[], ms?: number): Promise<void>
}

function newBells(): Bells {
  const waiting = new Map<string, Set<() => void>>()
  const ring = (key: string): void => {
    for (const wake of [...(waiting.get(key) ?? [])]) wake()
  }
  return {
    ring,
    ringAll() {
      for (const key of [...waiting.keys()]) ring(key)
    },
    heard: (keys, ms) =>
      new Promise((resolve) => {
        const wake = (): void => {
          clearTimeout(timer)
          for (const key of keys) {
            waiting.get(key)?.delete(wake)
            if (waiting.get(key)?.size === 0) waiting.delete(key)
          }
          resolve()
        }
        const timer = ms === undefined ? undefined : setTimeout(wake, ms)
        for (const key of keys) waiting.set(key, (waiting.get(key) ?? new Set()).add(wake))
      }),
  }
}
