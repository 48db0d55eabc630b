import { setTimeout as sleep } from 'node:timers/promises'
import type { Plain } from '../../crds/arksmodel.ts'
import { isRecord } from '../../crds/place.ts'
import { terminationText } from '../../crds/termination.ts'
import type { Cluster } from '../cluster.ts'
import { nowText, scheduledStatus } from '../kubelet-status.ts'
import { at, objects, ofKind } from '../objects.ts'
import { expanded } from '../process.ts'

/** Models with claim, Job and pod as a cluster has them; the Job controller, the binder and the kubelet are played. */

export interface Fleet {
  /** All that one applies for these, each with its claim bound and its pod running, whole models at once. */
  load(indexes: readonly number[], pace: Pace): Promise<void>
  /** Their pods have ended well, which says nothing yet. */
  endPods(indexes: readonly number[]): Promise<void>
  /** When the Job was said to be complete. */
  complete(index: number): Promise<Completed>
  /** As if all had happened long ago. */
  finished(indexes: readonly number[]): Promise<void>
}

export interface Pace {
  /** Models begun per second; all at once if absent. */
  readonly perSecond?: number
  /** How long the claim waits for its volume, and the pod for its node. */
  readonly stepMs: number
}

/** In milliseconds, monotonic. */
export interface Completed {
  readonly sentAt: number
  readonly answeredAt: number
}

export const modelName = (index: number): string => `bench-${String(index).padStart(5, '0')}`

export const NAMESPACES: readonly string[] = ['models-0', 'models-1', 'models-2', 'models-3']

/** A real server answers so many at a time about as fast as more. */
const AT_ONCE = 24

export function fleet(cluster: Cluster): Fleet {
  const rendered = objects(expanded(MODEL))
  const template = JSON.stringify(rendered)
  const jobUids = new Map<number, string>()

  const inTurn = turns(AT_ONCE)
  const send = async (method: string, path: string, body: unknown): Promise<unknown> => {
    const type = method === 'PATCH' ? MERGE : {}
    const url = `${path}?fieldManager=kube-controller-manager`
    const answer = await inTurn(() => cluster.request(method, url, body, type))
    if (answer.status > 299) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  const patchStatus = (path: string, status: object): Promise<unknown> => send('PATCH', `${path}/status`, { status })

  const own = (index: number): Own => {
    const namespace = namespaceOf(index)
    const text = template.replaceAll(modelName(0), modelName(index)).replaceAll('"models-0"', `"${namespace}"`)
    const list: readonly Plain[] = JSON.parse(text)
    const [claim, job, model] = ['PersistentVolumeClaim', 'Job', 'ArksModel'].map((kind) => ofKind(list, kind)[0])
    return { namespace, claim, job, model }
  }
  const claimPath = ({ namespace }: Own): string => `/api/v1/namespaces/${namespace}/persistentvolumeclaims`
  const jobPath = (namespace: string): string => `/apis/batch/v1/namespaces/${namespace}/jobs`
  const podPath = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`

  const createClaim = (each: Own): Promise<unknown> => send('POST', claimPath(each), each.claim)
  const createModel = (each: Own): Promise<unknown> =>
    send('POST', `/apis/arks.ai/v1/namespaces/${each.namespace}/arksmodels`, each.model)
  const createJob = async (index: number, { namespace, job }: Own): Promise<void> => {
    jobUids.set(index, String(at(await send('POST', jobPath(namespace), job), 'metadata', 'uid')))
  }
  const bind = (index: number, each: Own): Promise<unknown> =>
    patchStatus(`${claimPath(each)}/${modelName(index)}`, {
      phase: 'Bound',
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '30Gi' },
    })
  const createPod = (index: number, { namespace, job }: Own): Promise<unknown> =>
    send('POST', podPath(namespace), pod(job, jobUids.get(index) ?? ''))
  const patchPod = (index: number, state: Parameters<typeof scheduledStatus>[1]['state']): Promise<unknown> => {
    const namespace = namespaceOf(index)
    const name = `${jobNameOf(index)}${POD_SUFFIX}`
    const metadata = { name, namespace, uid: jobUids.get(index) ?? '' }
    const seen = { metadata, spec: { containers: [{ name: 'worker', image: IMAGE }] } }
    // What is not an address of this machine's own cannot be asked for progress by mistake.
    const ip = `192.0.2.${1 + (index % 250)}`
    return patchStatus(`${podPath(namespace)}/${name}`, scheduledStatus(seen, { ip, startTime: nowText(), state }))
  }
  const run = (index: number): Promise<unknown> => patchPod(index, { running: { startedAt: nowText() } })
  const endPod = (index: number): Promise<unknown> => patchPod(index, { terminated: terminated() })
  const patchJob = (index: number, status: object): Promise<unknown> =>
    patchStatus(`${jobPath(namespaceOf(index))}/${jobNameOf(index)}`, status)

  const firstJob = String(at(ofKind(rendered, 'Job')[0], 'metadata', 'name'))
  const jobNameOf = (index: number): string => firstJob.replace(modelName(0), modelName(index))

  return {
    async load(indexes, { perSecond, stepMs }) {
      const started = performance.now()
      const one = async (index: number, place: number): Promise<void> => {
        if (perSecond !== undefined) await sleep(Math.max(0, started + (1000 * place) / perSecond - performance.now()))
        const each = own(index)
        await createClaim(each)
        await createJob(index, each)
        await createModel(each)
        await sleep(stepMs)
        await bind(index, each)
        await createPod(index, each)
        await patchJob(index, { active: 1, ready: 0, startTime: nowText(), uncountedTerminatedPods: {} })
        await sleep(stepMs)
        await run(index)
        await patchJob(index, { ready: 1 })
      }
      await Promise.all(indexes.map(one))
    },
    endPods: (indexes) => inParallel(indexes, endPod),
    async complete(index) {
      const sentAt = performance.now()
      await patchJob(index, complete())
      return { sentAt, answeredAt: performance.now() }
    },
    finished: (indexes) =>
      inParallel(indexes, async (index) => {
        const each = own(index)
        await createClaim(each)
        await bind(index, each)
        await createJob(index, each)
        await createPod(index, each)
        await endPod(index)
        await patchJob(index, { startTime: nowText(), ...complete() })
        await createModel(each)
      }),
  }
}

const IMAGE = 'arksai/arksmodel:0.1.0'
const MERGE = { 'content-type': 'application/merge-patch+json' }
const POD_SUFFIX = '-x7k2p'

const namespaceOf = (index: number): string => NAMESPACES[index % NAMESPACES.length] ?? ''

interface Own {
  readonly namespace: string
  readonly claim: unknown
  readonly job: unknown
  readonly model: unknown
}

const MODEL = `apiVersion: arks.ai/v1
kind: ArksModel
metadata:
  name: ${modelName(0)}
  namespace: models-0
  labels:
    team: research
    kustomize.toolkit.fluxcd.io/name: models
    kustomize.toolkit.fluxcd.io/namespace: flux-system
spec:
  model: Qwen/Qwen2.5-7B-Instruct
  source:
    huggingface:
      revision: main
      include:
      - '*.safetensors'
      - '*.json'
      tokenSecretRef:
        name: hf-token
  storage:
    pvc:
      name: ${modelName(0)}
      spec:
        accessModes:
        - ReadWriteOnce
        resources:
          requests:
            storage: 30Gi
        storageClassName: local-path
  instanceSpec:
    nodeSelector:
      disk: nvme
    tolerations:
    - key: models
      operator: Exists
`

/** As the Job controller makes it, on a node already. */
function pod(job: unknown, uid: string): unknown {
  const name = String(at(job, 'metadata', 'name'))
  const template = at(job, 'spec', 'template')
  const own = { 'batch.kubernetes.io/controller-uid': uid, 'batch.kubernetes.io/job-name': name }
  return {
    metadata: {
      name: `${name}${POD_SUFFIX}`,
      annotations: at(template, 'metadata', 'annotations'),
      labels: { ...record(at(template, 'metadata', 'labels')), ...own, 'controller-uid': uid, 'job-name': name },
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name, uid, controller: true, blockOwnerDeletion: true }],
    },
    spec: { ...record(at(template, 'spec')), nodeName: 'node-0' },
  }
}

const record = (value: unknown): object => (isRecord(value) ? value : {})

const terminated = () => ({
  exitCode: 0,
  reason: 'Completed',
  startedAt: nowText(),
  finishedAt: nowText(),
  containerID: `containerd://${'0123456789abcdef'.repeat(4)}`,
  message: terminationText({
    v: 1,
    reason: 'Loaded',
    message: 'The model is complete',
    retryable: false,
    commit: '0123456789abcdef0123456789abcdef01234567',
    totalBytes: 15_231_233_024,
    doneBytes: 15_231_233_024,
    reusedBytes: 0,
    files: 14,
    filesDone: 14,
    retries: 0,
    seconds: 123.4,
  }),
})

/** What the Job controller writes, in one step. */
function complete(): object {
  const now = nowText()
  const condition = (type: string): object => ({
    type,
    status: 'True',
    lastProbeTime: now,
    lastTransitionTime: now,
    reason: 'CompletionsReached',
    message: 'Reached expected number of succeeded pods',
  })
  return {
    active: null,
    ready: 0,
    terminating: 0,
    succeeded: 1,
    completionTime: now,
    uncountedTerminatedPods: {},
    conditions: [condition('SuccessCriteriaMet'), condition('Complete')],
  }
}

async function inParallel(indexes: readonly number[], work: (index: number) => Promise<unknown>): Promise<void> {
  const rest = indexes.values()
  const worker = async (): Promise<void> => {
    for (const index of rest) await work(index)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

/** Lets so many work at the same time, and the others wait. */
function turns(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let free = most
  const waiting: (() => void)[] = []
  return async (work) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}
