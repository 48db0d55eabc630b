import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import * as assert from 'uvu/assert'
import type { Phase, Plain } from '../crds/arksmodel.ts'
import { REASONS, type Reason, terminationText } from '../crds/termination.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { certificates } from './certificates.ts'
import { MERGE, startCluster } from './cluster.ts'
import { conditionOf, kubectl, permit, phaseOf, says, startController, watchModels } from './controller.ts'
import { describe, leftOut } from './harness.ts'
import { hub, randomFile } from './hub.ts'
import { type Kubelet, loadedAfter, type StandIn, startKubelet, type Trouble } from './kubelet.ts'
import { at, nameOf, objects, ofKind, title } from './objects.ts'
import { controlPlane } from './parts.ts'
import { expanded } from './process.ts'
import { scratch } from './scratch.ts'
import { eventually } from './until.ts'

/** Why a model is not ready, as a real API server, its Job controller, its binder and the loader bring it about. */

const USER = 'arksmodel-controller'
const SPACE = 'reasons'
/** Longer than this file takes. */
const FOREVER = loadedAfter(600_000)
const FILES = [randomFile('config.json', 700, 2)]

type Mark = 'Reconciling' | 'Stalled'
type Want = readonly [phase: Phase, mark: Mark, reason: string, message: string | RegExp]

interface Case {
  readonly want: Want
  readonly namespace?: string
  /** YAML, as everything of the model. */
  readonly model?: string
  readonly source?: string
  readonly storage?: string
  readonly instance?: string
  /** Of the function's config. */
  readonly settings?: string
  readonly trouble?: Trouble
  /** In place of the loader; a success at once if absent. */
  readonly standIn?: StandIn | 'its own command'
  readonly isUnbound?: boolean
  /** What of the rendered is applied, and how. */
  readonly applied?: Change
  /** What happens to it then. */
  readonly afterwards?: (name: string) => Promise<void>
  /** It does not stay like this: another attempt follows, or another word. */
  readonly isRestless?: boolean
  /** After this it becomes Ready by itself. */
  readonly healed?: (name: string) => Promise<void>
}

const CLAIM = '{accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}'
const withClass = (name: string): string => `{pvc: {spec: ${CLAIM.replace('}}}', `}}, storageClassName: ${name}}`)}}}`
const HUB = '{huggingface: {}}'

const written = (name: string, each: Omit<Case, 'want'>): string => `
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: ${name}, namespace: ${each.namespace ?? SPACE}}
spec:
  model: ${each.model ?? 'org/model'}
  source: ${each.source ?? HUB}
  storage: ${each.storage ?? `{pvc: {spec: ${CLAIM}}}`}
${each.instance === undefined ? '' : `  instanceSpec: ${each.instance}`}
`

const config = (settings: string): string => `
apiVersion: fn.arks.ai/v1alpha1
kind: ExpandArksModels
metadata: {name: settings}
spec: {${settings}}
`

const endsWith = (reason: Reason, message: string): StandIn => {
  const { exitCode, retryable } = REASONS[reason]
  return { ms: 0, exitCode, message: terminationText({ v: 1, reason, message, retryable }) }
}

type Change = (rendered: readonly Plain[]) => readonly Plain[]

const without =
  (kind: string): Change =>
  (rendered) =>
    rendered.filter((object) => object['kind'] !== kind)

/** With this change of the Job. */
const withJob =
  (change: (job: Plain) => Plain): Change =>
  (rendered) =>
    rendered.map((object) => (object['kind'] === 'Job' ? change(object) : object))

const withSpec = (more: Plain): Change => withJob((job) => ({ ...job, spec: { ...asPlain(job['spec']), ...more } }))

const withPodSpec = (more: (pod: Plain) => Plain): Change =>
  withJob((job) => {
    const [spec, template] = [asPlain(job['spec']), asPlain(at(job, 'spec', 'template'))]
    const pod = asPlain(template['spec'])
    return { ...job, spec: { ...spec, template: { ...template, spec: { ...pod, ...more(pod) } } } }
  })

const withFinalizer: Change = withJob((job) => ({
  ...job,
  metadata: { ...asPlain(job['metadata']), finalizers: ['example.com/hold'] },
}))

/** Its container does not end when it is asked to. */
const stubborn: Change = withPodSpec((pod) => {
  const command = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done']
  return { containers: [{ ...asPlain(at(pod, 'containers', 0)), command, args: [] }] }
})

const failed = (reason: string, message: string | RegExp): Want => ['Failed', 'Stalled', reason, message]
const stuck = (reason: string, message: string | RegExp): Want => ['ModelLoading', 'Reconciling', reason, message]

const shows =
  ([phase, mark, reason, message]: Want) =>
  (model: Plain): boolean => {
    const [status, seenReason, seenMessage] = conditionOf(model, 'Ready')
    const text = String(seenMessage)
    return (
      phaseOf(model) === phase &&
      status === (mark === 'Stalled' ? 'False' : 'Unknown') &&
      seenReason === reason &&
      (typeof message === 'string' ? text === message : message.test(text))
    )
  }

const parts = await controlPlane()
const cluster = await startCluster({ controllerManager: true, users: [USER] })

if (parts.kind === 'missing') leftOut('the reasons on a real API server', parts)
else if (cluster.kind === 'missing') leftOut('the reasons on a real API server', cluster)
else {
  const repository = { revisions: { main: FILES } }
  const there = await hub({
    repositories: { 'org/model': repository, 'org/gated': { ...repository, gated: true } },
    tokens: {},
  })
  const troubles = new Map<string, Trouble>()
  const standIns = new Map<string, StandIn>()
  const real = new Set<string>()
  const unbound = new Set<string>()
  const run = kubectl(parts.kubectl.path, cluster)
  const models = watchModels(cluster)
  let kubelet: Kubelet

  const made = async (object: Plain): Promise<void> => {
    const { status, body } = await cluster.apply(object, { force: true })
    assert.ok(status < 300, `${title(object)}: ${at(body, 'message')}`)
  }
  const pathOf = (group: string, plural: string, name: string): string =>
    `/${group}/namespaces/${SPACE}/${plural}/${name}`
  const claimPath = (name: string): string => pathOf('api/v1', 'persistentvolumeclaims', name)
  const jobOf = async (name: string): Promise<string> => {
    const { body } = await cluster.request('GET', pathOf('apis/arks.ai/v1', 'arksmodels', name))
    return String(at(body, 'metadata', 'annotations', 'arks.ai/worker-job'))
  }
  const jobPath = async (name: string): Promise<string> => pathOf('apis/batch/v1', 'jobs', await jobOf(name))
  const patched = async (path: string, patch: object): Promise<void> => {
    const { status, body } = await cluster.request('PATCH', path, patch, MERGE)
    assert.is(status, 200, JSON.stringify(body))
  }
  const podsOf = async (name: string): Promise<readonly unknown[]> => {
    const { body } = await cluster.request(
      'GET',
      `/api/v1/namespaces/${SPACE}/pods?labelSelector=arks.ai/model=${name}`,
    )
    return asList(at(body, 'items'))
  }
  const podPath = async (name: string): Promise<string> =>
    pathOf('api/v1', 'pods', nameOf(asPlain((await podsOf(name))[0])))
  const running = async (name: string): Promise<void> => {
    await eventually(`a pod of ${name} runs`, async () =>
      (await podsOf(name)).some((pod) => phaseOf(pod) === 'Running'),
    )
  }
  const ready = async (name: string): Promise<void> => {
    await models.seen(`${SPACE}/${name}`, 'Ready', (model) => phaseOf(model) === 'Ready')
  }
  const gone = async (path: string, body?: object): Promise<void> => {
    await cluster.request('DELETE', path, body)
    await eventually(`${path} is gone`, async () => (await cluster.request('GET', path)).status === 404)
  }
  const calm = async (name: string): Promise<void> => {
    troubles.delete(`${SPACE}/${name}`)
    kubelet.look()
  }
  const secret = (name: string, stringData: Plain): Promise<void> =>
    made({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: SPACE }, stringData })

  /** What upstream's operator writes, each time after the controller's word. */
  const upstream = async (name: string): Promise<void> => {
    const key = `${SPACE}/${name}`
    const path = `${pathOf('apis/arks.ai/v1', 'arksmodels', name)}/status?fieldManager=manager`
    const theirs = { type: 'StorageCreated', status: 'True', reason: 'CreateSucceeded', message: '' }
    for (let from = 0; ; from = models.states(key).length) {
      const ours = await models.seen(key, 'our word', (model) => conditionOf(model, 'Ready')[0] !== undefined, from)
      if (conditionOf(ours, 'Ready')[1] === 'AnotherController') return
      const conditions = [{ ...theirs, lastTransitionTime: new Date().toISOString() }]
      await patched(path, { status: { phase: 'StorageCreating', conditions } })
    }
  }

  const because = (reason: string): string => `because of ${reason}`
  const fromLoader = Object.keys(REASONS).filter((reason): reason is Reason => reason !== 'Loaded')

  const CASES: Readonly<Record<string, Case>> = {
    // By the loader itself.
    'real-gated': {
      model: 'org/gated',
      standIn: 'its own command',
      want: failed('GatedRepo', /^Failed to load the model: .*org\/gated/),
    },
    'real-not-found': {
      model: 'org/nothing',
      standIn: 'its own command',
      want: failed('RepositoryNotFound', /^Failed to load the model: .*org\/nothing/),
    },
    'real-revision': {
      source: '{huggingface: {revision: v9}}',
      standIn: 'its own command',
      want: failed('RevisionNotFound', /^Failed to load the model: .*v9/),
    },
    'real-no-files': {
      source: '{huggingface: {include: ["*.gguf"]}}',
      standIn: 'its own command',
      want: failed('NoMatchingFiles', /^Failed to load the model: /),
    },
    'real-token': {
      source: '{huggingface: {tokenSecretRef: {name: wrong-token}}}',
      standIn: 'its own command',
      want: failed('AuthenticationFailed', /^Failed to load the model: /),
    },
    // In its words.
    ...Object.fromEntries(
      fromLoader.map((reason) => [
        `ends-${reason.toLowerCase()}`,
        {
          settings: 'backoffLimit: 0',
          standIn: endsWith(reason, because(reason)),
          want: failed(reason, `Failed to load the model: ${because(reason)}`),
        },
      ]),
    ),
    ...Object.fromEntries(
      fromLoader
        .filter((reason) => REASONS[reason].retryable)
        .map((reason) => [
          `retries-${reason.toLowerCase()}`,
          {
            standIn: endsWith(reason, because(reason)),
            isRestless: true,
            want: stuck(
              'ModelLoadRetrying',
              `The model is loading now (attempt 2); previous attempt failed: ${because(reason)}`,
            ),
          },
        ]),
    ),
    'ends-without-a-word': {
      settings: 'backoffLimit: 0',
      standIn: { ms: 0, exitCode: 5, message: '' },
      want: failed('ModelLoadFailed', 'Failed to load the model: The worker ended with exit code 5'),
    },
    'ends-with-escapes': {
      settings: 'backoffLimit: 0',
      standIn: endsWith('NetworkError', 'red: \u001b[31mno\u001b[0m\u0007 \u009b2J\r\nnext \u202eline'),
      want: failed('NetworkError', 'Failed to load the model: red: no 2J next line'),
    },
    'logs-escapes': {
      settings: 'backoffLimit: 0',
      standIn: { ms: 0, exitCode: 1, message: 'one\n\u001b]0;title\u0007two\u001b[2J\u0000three' },
      want: failed('ModelLoadFailed', 'Failed to load the model: one two three'),
    },
    // From outside.
    'out-of-memory': {
      settings: 'backoffLimit: 0',
      standIn: FOREVER,
      trouble: { kind: 'out-of-memory' },
      want: failed(
        'OutOfMemory',
        'Failed to load the model: The worker ran out of memory; raise spec.instanceSpec.resources.limits.memory',
      ),
    },
    evicted: {
      isRestless: true,
      standIn: FOREVER,
      trouble: { kind: 'evicted', message: 'The node was low on resource: ephemeral-storage.' },
      want: stuck(
        'ModelLoadRetrying',
        /^The model is loading now \(attempt \d+\); previous attempt failed: The worker pod was evicted: The node was low on resource: ephemeral-storage\.$/,
      ),
    },
    preempted: {
      isRestless: true,
      standIn: FOREVER,
      trouble: { kind: 'preempted', message: 'default-scheduler: preempting to accommodate a higher priority pod' },
      want: stuck(
        'ModelLoadRetrying',
        /^The model is loading now \(attempt \d+\); previous attempt failed: The worker pod had to make room for a pod of higher priority/,
      ),
    },
    deadline: {
      standIn: FOREVER,
      instance: '{activeDeadlineSeconds: 1}',
      want: failed('DeadlineExceeded', 'Failed to load the model: Job was active longer than specified deadline'),
    },
    'pod-deleted': {
      standIn: 'its own command',
      applied: stubborn,
      // Once its grace period is over it is killed.
      isRestless: true,
      afterwards: async (name) => {
        await running(name)
        await cluster.request('DELETE', await podPath(name))
      },
      want: stuck('PodTerminating', 'The worker pod is being ended'),
    },
    'pod-evicted': {
      standIn: 'its own command',
      applied: stubborn,
      isRestless: true,
      afterwards: async (name) => {
        await running(name)
        const path = await podPath(name)
        const metadata = { name: path.slice(path.lastIndexOf('/') + 1), namespace: SPACE }
        const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata }
        assert.is((await cluster.request('POST', `${path}/eviction`, eviction)).status, 201)
      },
      want: stuck('Evicted', 'The worker pod was evicted: Eviction API: evicting'),
    },
    'pod-preempted': {
      standIn: 'its own command',
      applied: stubborn,
      isRestless: true,
      trouble: { kind: 'preempted', message: 'default-scheduler: preempting to accommodate a higher priority pod' },
      want: stuck('Preempted', /^The worker pod had to make room for a pod of higher priority/),
    },
    'node-lost': {
      standIn: 'its own command',
      applied: stubborn,
      isRestless: true,
      afterwards: async (name) => {
        await running(name)
        const path = await podPath(name)
        // As the controller of nodes does, of which there is none.
        const message = 'Taint manager: deleting due to NoExecute taint'
        const condition = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager', message }
        const strategic = { 'content-type': 'application/strategic-merge-patch+json' }
        await cluster.request('PATCH', `${path}/status`, { status: { conditions: [condition] } }, strategic)
        await cluster.request('DELETE', path)
      },
      want: stuck('NodeLost', /^The node of the worker pod is gone or does not answer/),
    },
    // Before it starts.
    unschedulable: {
      trouble: { kind: 'unschedulable', message: '0/3 nodes are available: 3 Insufficient memory.' },
      want: stuck(
        'PodUnschedulable',
        'Worker pod cannot be scheduled: 0/3 nodes are available: 3 Insufficient memory.',
      ),
      healed: calm,
    },
    'no-image': {
      trouble: { kind: 'no-image', message: 'not found' },
      want: [
        'ModelLoading',
        'Stalled',
        'ImagePullBackOff',
        /^Worker pod cannot start: ImagePullBackOff: Back-off pulling image "arksai\/arksmodel:[^"]*": ErrImagePull: not found$/,
      ],
      healed: calm,
    },
    'bad-image': {
      trouble: { kind: 'invalid-image-name' },
      want: [
        'ModelLoading',
        'Stalled',
        'InvalidImageName',
        /^Worker pod cannot start: InvalidImageName: .*invalid reference format$/,
      ],
    },
    ...Object.fromEntries(
      ['ErrImageNeverPull', 'ImageInspectError'].map((reason) => [
        `waits-${reason.toLowerCase()}`,
        {
          trouble: { kind: 'not-created', reason, message: 'as the kubelet says' },
          want: ['ModelLoading', 'Stalled', reason, /as the kubelet says \(image "arksai\/arksmodel:/] as const,
        } satisfies Case,
      ]),
    ),
    ...Object.fromEntries(
      ['CreateContainerError', 'RunContainerError', 'CrashLoopBackOff'].map((reason) => [
        `waits-${reason.toLowerCase()}`,
        {
          trouble: { kind: 'not-created', reason, message: 'as the kubelet says' },
          want: stuck(reason, `Worker pod cannot start: ${reason}: as the kubelet says`),
        } satisfies Case,
      ]),
    ),
    ...Object.fromEntries(
      ['ErrImagePull', 'PodInitializing'].map((reason) => [
        `waits-${reason.toLowerCase()}`,
        {
          trouble: { kind: 'not-created', reason, message: 'as the kubelet says' },
          want: stuck(reason, /^Worker pod is starting: .*: as the kubelet says/),
        } satisfies Case,
      ]),
    ),
    'no-mount': {
      trouble: { kind: 'not-created', reason: 'ContainerCreating', message: '' },
      afterwards: async (name) => {
        await eventually('a pod', async () => (await podsOf(name)).length > 0)
        const [pod] = await podsOf(name)
        const { namespace, uid } = asPlain(at(pod, 'metadata'))
        await made({
          apiVersion: 'v1',
          kind: 'Event',
          metadata: { name: 'no-mount', namespace: SPACE },
          involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace, name: nameOf(asPlain(pod)), uid },
          type: 'Warning',
          reason: 'FailedMount',
          message: 'MountVolume.SetUp failed for volume "models": mount failed: exit status 32',
          lastTimestamp: new Date().toISOString(),
        })
      },
      want: stuck(
        'ContainerCreating',
        'Worker pod is starting: ContainerCreating: MountVolume.SetUp failed for volume "models": mount failed: exit status 32',
      ),
    },
    'no-secret': {
      source: '{huggingface: {tokenSecretRef: {name: later}}}',
      want: stuck(
        'CreateContainerConfigError',
        'Worker pod cannot start: CreateContainerConfigError: secret "later" not found',
      ),
      healed: () => secret('later', { HF_TOKEN: 'hf_x' }),
    },
    'no-key': {
      source: '{huggingface: {tokenSecretRef: {name: keyless}}}',
      want: stuck(
        'CreateContainerConfigError',
        `Worker pod cannot start: CreateContainerConfigError: couldn't find key HF_TOKEN in Secret ${SPACE}/keyless`,
      ),
      healed: () => secret('keyless', { HF_TOKEN: 'hf_x' }),
    },
    loading: { standIn: FOREVER, want: stuck('ModelLoading', 'The model is loading now') },
    // The claim.
    'claim-missing': {
      applied: without('PersistentVolumeClaim'),
      want: [
        'StorageCreating',
        'Reconciling',
        'StorageMissing',
        'PersistentVolumeClaim claim-missing does not exist yet',
      ],
      healed: (name) =>
        made({
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name, namespace: SPACE },
          spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
        }),
    },
    'nothing-applied': {
      applied: (rendered) => ofKind(rendered, 'ArksModel'),
      want: ['Pending', 'Reconciling', 'StorageMissing', 'PersistentVolumeClaim nothing-applied does not exist yet'],
    },
    'no-class': {
      isUnbound: true,
      storage: withClass('nowhere'),
      want: [
        'StorageCreating',
        'Reconciling',
        'StorageBinding',
        'Storage no-class is not bound yet: storageclass.storage.k8s.io "nowhere" not found',
      ],
    },
    'no-volume': {
      isUnbound: true,
      want: [
        'StorageCreating',
        'Reconciling',
        'StorageBinding',
        'Storage no-volume is not bound yet: no persistent volumes available for this claim and no storage class is set',
      ],
    },
    'no-provisioner': {
      isUnbound: true,
      storage: withClass('slow'),
      want: [
        'StorageCreating',
        'Reconciling',
        'StorageBinding',
        /^Storage no-provisioner is not bound yet: 0\/1 nodes are available: pod has unbound immediate PersistentVolumeClaims/,
      ],
    },
    'claim-lost': {
      standIn: FOREVER,
      afterwards: async (name) => {
        await running(name)
        const { body } = await cluster.request('GET', claimPath(name))
        const volume = `/api/v1/persistentvolumes/${at(body, 'spec', 'volumeName')}`
        await cluster.request('DELETE', volume)
        await patched(volume, { metadata: { finalizers: null } })
      },
      want: failed('StorageLost', 'Storage claim-lost is lost: its PersistentVolume is gone'),
    },
    'claim-deleted': {
      standIn: FOREVER,
      afterwards: async (name) => {
        await running(name)
        await cluster.request('DELETE', claimPath(name))
      },
      want: ['StorageCreating', 'Reconciling', 'StorageTerminating', 'Storage claim-deleted is being deleted'],
    },
    'claim-replaced': {
      afterwards: async (name) => {
        await ready(name)
        const { body } = await cluster.request('GET', claimPath(name))
        await cluster.request('DELETE', `/api/v1/namespaces/${SPACE}/pods?labelSelector=arks.ai/model=${name}`)
        await gone(claimPath(name))
        const { accessModes, resources } = asPlain(at(body, 'spec'))
        const metadata = { name, namespace: SPACE }
        await made({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata, spec: { accessModes, resources } })
      },
      want: [
        'ModelLoading',
        'Stalled',
        'StorageReplaced',
        /^Storage claim-replaced was recreated after the model was loaded; delete Job arks-worker-claim-replaced-[0-9a-f]+ to load it again$/,
      ],
    },
    // The Job.
    'job-missing': {
      applied: without('Job'),
      want: stuck('WaitingForWorker', /^Wait for Job arks-worker-job-missing-[0-9a-f]{10} to be applied$/),
    },
    'job-older': {
      standIn: FOREVER,
      afterwards: async (name) => {
        const again = objects(expanded(written(name, { source: '{huggingface: {revision: v2}}' })))
        for (const object of ofKind(again, 'ArksModel')) await made(object)
      },
      want: stuck(
        'WaitingForWorker',
        /^Wait for Job (arks-worker-job-older-[0-9a-f]+) to be applied; of an older render: (?!\1)arks-worker-job-older-[0-9a-f]+$/,
      ),
    },
    'job-suspended': {
      applied: withSpec({ suspend: true }),
      want: stuck('Suspended', /^Job arks-worker-job-suspended-[0-9a-f]+ is suspended$/),
      healed: async (name) => patched(await jobPath(name), { spec: { suspend: false } }),
    },
    'job-deleted': {
      standIn: FOREVER,
      applied: withFinalizer,
      afterwards: async (name) => {
        await running(name)
        await cluster.request('DELETE', await jobPath(name), { propagationPolicy: 'Background' })
      },
      want: stuck('WorkerTerminating', /^Job arks-worker-job-deleted-[0-9a-f]+ is being deleted$/),
    },
    // Its pods.
    violates: {
      namespace: 'restricted',
      applied: withPodSpec(() => ({ hostNetwork: true })),
      want: stuck(
        'PodSecurityViolation',
        /^The worker pod is refused: violates PodSecurity "restricted:latest": host namespaces \(hostNetwork=true\)/,
      ),
    },
    quota: {
      namespace: 'quota',
      want: stuck(
        'QuotaExceeded',
        'The worker pod is refused: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0',
      ),
    },
    limits: {
      namespace: 'limits',
      want: stuck('PodRefused', /^The worker pod is refused: .*maximum memory usage per Container is 1Mi/),
    },
    webhook: {
      namespace: 'webhook',
      want: stuck(
        'AdmissionDenied',
        'The worker pod is refused: admission webhook "pods.example.com" denied the request: no pods on Fridays',
      ),
    },
    policy: {
      namespace: 'policy',
      want: stuck(
        'PodRefused',
        /^The worker pod is refused: ValidatingAdmissionPolicy 'no-pods' with binding 'no-pods' denied request: no pods here$/,
      ),
    },
    // The model.
    'not-rendered': {
      applied: without('Job'),
      afterwards: (name) =>
        patched(pathOf('apis/arks.ai/v1', 'arksmodels', name), {
          metadata: { annotations: { 'arks.ai/worker-job': null } },
        }),
      want: stuck('NotRendered', 'No Job loads this model; render it with arksmodel-fn'),
    },
    'edited-by-hand': {
      afterwards: async (name) => {
        await ready(name)
        await patched(pathOf('apis/arks.ai/v1', 'arksmodels', name), { spec: { model: 'org/other' } })
      },
      want: stuck(
        'NotRendered',
        /^Job arks-worker-edited-by-hand-[0-9a-f]+ loads org\/model, not org\/other; render the model again$/,
      ),
    },
    'written-by-another': {
      standIn: FOREVER,
      afterwards: upstream,
      want: [
        'Pending',
        'Stalled',
        'AnotherController',
        'Another controller writes this status (field manager "manager"); only one may run',
      ],
    },
  }

  /** What the function makes of each case. */
  const rendered = new Map<string, readonly Plain[]>()
  for (const settings of new Set(Object.values(CASES).map((each) => each.settings))) {
    const of = Object.entries(CASES).filter(([, each]) => each.settings === settings)
    const texts = of.map(([name, each]) => written(name, each))
    const list = objects(expanded([...(settings === undefined ? [] : [config(settings)]), ...texts].join('---')))
    for (const [name] of of)
      rendered.set(
        name,
        list.filter((object) => nameOf(object) === name || at(object, 'metadata', 'labels', 'arks.ai/model') === name),
      )
  }
  /** What became of each `afterwards`: undefined, or why it failed. */
  const pending: Promise<unknown>[] = []
  const user = startController(await cluster.kubeconfigFor(USER), ['--leader-elect=false'])
  const hook = await refusingWebhook()

  /** As a claim that nobody has to provision. */
  const bind = (name: string): Promise<void> =>
    made({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        accessModes: ['ReadWriteMany'],
        capacity: { storage: '1Gi' },
        claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace: SPACE },
        hostPath: { path: '/nowhere' },
        storageClassName: '',
      },
    })

  const mustShow = async (name: string, { want, namespace = SPACE }: Case): Promise<void> => {
    const [phase, mark, reason, message] = want
    const key = `${namespace}/${name}`
    const model = await models.seen(key, `${phase}, ${mark}: ${reason}: ${message}`, shows(want))
    assert.equal(conditionOf(model, mark), ['True', ...conditionOf(model, 'Ready').slice(1)])
    assert.is(conditionOf(model, mark === 'Stalled' ? 'Reconciling' : 'Stalled')[0], undefined)
    assert.is(at(model, 'status', 'observedGeneration'), at(model, 'metadata', 'generation'))
  }

  describe('the reasons on a real API server', (test) => {
    test('begins with a model that an older CRD lets in', async () => {
      await permit(cluster, [USER])
      const [crd = {}] = objects(readFileSync('crds/arksmodel.yaml', 'utf8'))
      await made(asPlain(withoutRules(crd)))
      await cluster.waitForCrd('arksmodels.arks.ai')
      for (const namespace of [SPACE, 'quota', 'limits', 'webhook', 'policy']) await cluster.createNamespace(namespace)
      await cluster.createNamespace('restricted', { 'pod-security.kubernetes.io/enforce': 'restricted' })
      await eventually('an invalid model is let in', async () => {
        const [model = {}] = objects(written('invalid', { source: '{}' }))
        return (await cluster.apply(model)).status < 300
      })
      await made(crd)
      await eventually('the CRD refuses', async () => {
        const [model = {}] = objects(written('refused', { source: '{}' }))
        return (await cluster.apply(model, { dryRun: true })).status === 422
      })
      await user.logged('synced', says('Synced'))
      await mustShow('invalid', { want: ['Pending', 'Stalled', 'InvalidSpec', /^spec\.source: must /] })
    })

    test('a spec without storage', async () => {
      const [model = {}] = objects(written('no-storage', { storage: '{}' }))
      await made(model)
      const want = failed('CreateFailed', 'Failed to create model storage: no storage PVC specified')
      await mustShow('no-storage', { want })
    })

    test('a pod that nobody looks at, and one with a gate', async () => {
      const cases: Readonly<Record<string, Case>> = {
        unseen: { want: stuck('WorkerPending', 'Wait for the worker pod to start') },
        held: {
          instance: '{schedulingGates: [{name: example.com/gate}]}',
          want: stuck(
            'SchedulingGated',
            'Worker pod is gated: Scheduling is blocked due to non-empty scheduling gates',
          ),
        },
      }
      for (const [name, each] of Object.entries(cases)) {
        await bind(name)
        for (const object of objects(expanded(written(name, each)))) await made(object)
      }
      for (const [name, each] of Object.entries(cases)) await mustShow(name, each)
      for (const name of Object.keys(cases)) {
        await gone(await jobPath(name), { propagationPolicy: 'Background' })
        await eventually(`no pod of ${name}`, async () => (await podsOf(name)).length === 0)
      }
    })

    test('has what refuses pods', async () => {
      await made({
        apiVersion: 'v1',
        kind: 'ResourceQuota',
        metadata: { name: 'none', namespace: 'quota' },
        spec: { hard: { pods: '0' } },
      })
      // There is no controller of quotas to do so.
      await patched('/api/v1/namespaces/quota/resourcequotas/none/status', {
        status: { hard: { pods: '0' }, used: { pods: '0' } },
      })
      await made({
        apiVersion: 'v1',
        kind: 'LimitRange',
        metadata: { name: 'tiny', namespace: 'limits' },
        spec: { limits: [{ type: 'Container', max: { memory: '1Mi' } }] },
      })
      await made({
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingWebhookConfiguration',
        metadata: { name: 'pods' },
        webhooks: [
          {
            name: 'pods.example.com',
            admissionReviewVersions: ['v1'],
            sideEffects: 'None',
            clientConfig: { url: hook.url, caBundle: Buffer.from(hook.ca).toString('base64') },
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'webhook' } },
            rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }],
          },
        ],
      })
      await made({
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicy',
        metadata: { name: 'no-pods' },
        spec: {
          failurePolicy: 'Fail',
          matchConstraints: {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'policy' } },
            resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }],
          },
          validations: [{ expression: 'false', message: 'no pods here' }],
        },
      })
      await made({
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata: { name: 'no-pods' },
        spec: { policyName: 'no-pods', validationActions: ['Deny'] },
      })
      for (const namespace of ['quota', 'limits', 'webhook', 'policy']) {
        const spec = { containers: [{ name: 'main', image: 'image', resources: { limits: { memory: '2Mi' } } }] }
        const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'any', namespace }, spec }
        await eventually(`${namespace} refuses pods`, async () =>
          REFUSALS.includes((await cluster.create(pod, { dryRun: true })).status),
        )
      }
    })

    test('has all other models', async () => {
      await made({
        apiVersion: 'storage.k8s.io/v1',
        kind: 'StorageClass',
        metadata: { name: 'slow' },
        provisioner: 'example.com/slow',
        volumeBindingMode: 'Immediate',
      })
      await secret('keyless', { other: 'x' })
      await secret('wrong-token', { HF_TOKEN: 'hf_nobodyHasThisToken' })
      for (const [name, each] of Object.entries(CASES)) {
        const { namespace = SPACE, trouble, standIn = loadedAfter(10), isUnbound } = each
        const key = `${namespace}/${name}`
        if (trouble !== undefined) troubles.set(key, trouble)
        if (standIn !== 'its own command') standIns.set(key, standIn)
        else real.add(key)
        if (isUnbound) unbound.add(name)
      }
      const keyOfPod = (metadata: { readonly namespace: string; readonly labels?: Readonly<Record<string, string>> }) =>
        `${metadata.namespace}/${metadata.labels?.['arks.ai/model']}`
      kubelet = await startKubelet({
        cluster,
        volumes: scratch({}),
        env: { HF_ENDPOINT: there.url },
        bindsClaim: ({ metadata }) => !unbound.has(metadata.name),
        trouble: ({ metadata }) => troubles.get(keyOfPod(metadata)),
        standIn: ({ metadata }) =>
          real.has(keyOfPod(metadata)) ? undefined : (standIns.get(keyOfPod(metadata)) ?? loadedAfter(10)),
      })
      for (const [name, { applied = (list: readonly Plain[]) => list, afterwards }] of Object.entries(CASES)) {
        const list = applied(rendered.get(name) ?? [])
        assert.ok(list.length > 0, name)
        for (const object of list) await made(object)
        if (afterwards !== undefined)
          pending.push(
            afterwards(name).then(
              () => undefined,
              (error: unknown) => error,
            ),
          )
      }
    })

    for (const [name, each] of Object.entries(CASES)) test(`${name}: ${each.want[2]}`, () => mustShow(name, each))

    test('has all of that done', async () => {
      assert.equal(
        (await Promise.all(pending)).filter((error) => error !== undefined),
        [],
      )
    })

    test('says each of them once, as long as nothing happens', () => {
      for (const [name, { want, isRestless = false, namespace = SPACE }] of Object.entries(CASES)) {
        const states = models.states(`${namespace}/${name}`)
        const later = states.slice(states.findIndex(shows(want)))
        const said = new Set(later.map((model) => conditionOf(model, 'Ready').slice(1).join(': ')))
        if (!isRestless) assert.equal([...said], [conditionOf(later[0], 'Ready').slice(1).join(': ')], name)
      }
    })

    for (const [name, { healed }] of Object.entries(CASES))
      if (healed !== undefined)
        test(`${name} becomes ready by itself`, async () => {
          await healed(name)
          await ready(name)
        })

    test('two models on one path, and one of them alone afterwards', async () => {
      const storage = `{subPath: shared, pvc: {name: both, spec: ${CLAIM}}}`
      for (const name of ['first', 'second'])
        for (const object of objects(expanded(written(name, { storage })))) await made(object)
      const shares = (other: string): Want =>
        stuck('PathShared', `Also loaded into /models/shared of storage both: model ${other}`)
      await mustShow('first', { want: shares('second') })
      await mustShow('second', { want: shares('first') })
      await eventually('both Jobs are complete', async () => {
        const jobs = [
          await cluster.request('GET', await jobPath('first')),
          await cluster.request('GET', await jobPath('second')),
        ]
        return jobs.every(({ body }) => at(body, 'status', 'succeeded') === 1)
      })
      await gone(await jobPath('second'), { propagationPolicy: 'Background' })
      await gone(pathOf('apis/arks.ai/v1', 'arksmodels', 'second'))
      const message = /^Something else was loaded into \/models\/shared after this one; delete Job arks-worker-first-/
      await mustShow('first', { want: ['ModelLoading', 'Stalled', 'Overwritten', message] })
    })

    test('prints nothing that a terminal would obey', async () => {
      for (const args of [
        ['get', 'am', '-A', '-o', 'wide'],
        ['describe', 'am', '-n', SPACE],
        ['get', 'events', '-A'],
      ]) {
        const { status, stdout } = await run(args)
        assert.is(status, 0)
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
        assert.not.match(stdout.replaceAll('\n', ''), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/)
      }
    })

    test('had no trouble of its own', async () => {
      const { code, output } = await user.stop()
      assert.equal([code, output], [0, ''])
      assert.equal(
        user.lines.filter(
          ({ level, message }) => level === 'error' && !message.startsWith('The cluster does not know'),
        ),
        [],
      )
    })

    test('stops', async () => {
      await models.stop()
      await kubelet.stop()
      await cluster.stop()
      await there.close()
      hook.close()
    })
  })
}

/** A policy calls what it refuses invalid. */
const REFUSALS: readonly number[] = [403, 422]

/** The schema of a time when nobody had thought of these rules. */
function withoutRules(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutRules)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'x-kubernetes-validations')
      .map(([key, member]) => [key, withoutRules(member)]),
  )
}

interface Webhook {
  readonly url: string
  readonly ca: string
  close(): void
}

async function refusingWebhook(): Promise<Webhook> {
  const { ca, cert, key } = certificates()
  const server = createServer({ cert, key }, (request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      const uid = at(JSON.parse(text), 'request', 'uid')
      const answer = { uid, allowed: false, status: { code: 403, message: 'no pods on Fridays' } }
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `https://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/pods`,
    ca,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
