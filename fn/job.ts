import type { ArksModel, Plain } from '../crds/arksmodel.ts'
import {
  GENERATED_FROM,
  HASH_LABEL,
  jobName,
  MODEL_LABEL,
  MODELS_PATH,
  MODELS_VOLUME,
  marker,
  RELOAD,
  WORKER_CONTAINER,
} from '../crds/names.ts'
import { HOPELESS_EXIT_CODES } from '../crds/termination.ts'
import type { Settings } from './config.ts'
import { inheritedAnnotations, inheritedLabels, labelOf, type Manifest, ownLabels, renames } from './manifest.ts'
import { asList, asPlain, merged, mergedInstanceSpec, withoutNulls } from './merge.ts'
import { workerHash } from './worker-hash.ts'

/** Of the generated Secrets and ConfigMaps that a Job of this spec reads. */
export type DigestsOf = (model: ArksModel, spec: Plain) => readonly string[]

type HuggingFace = Extract<ArksModel['source'], { kind: 'huggingface' }>

/** Where each of the 42 fields of `spec.instanceSpec` lands in the Job. */
export const INSTANCE_FIELDS = {
  activeDeadlineSeconds: 'job',
  labels: 'template',
  annotations: 'template',
  env: 'container',
  lifecycle: 'container',
  livenessProbe: 'container',
  readinessProbe: 'container',
  resources: 'container',
  securityContext: 'container',
  startupProbe: 'container',
  volumeMounts: 'container',
  affinity: 'pod',
  automountServiceAccountToken: 'pod',
  dnsConfig: 'pod',
  dnsPolicy: 'pod',
  enableServiceLinks: 'pod',
  hostAliases: 'pod',
  hostIPC: 'pod',
  hostNetwork: 'pod',
  hostPID: 'pod',
  hostUsers: 'pod',
  initContainers: 'pod',
  nodeName: 'pod',
  nodeSelector: 'pod',
  os: 'pod',
  overhead: 'pod',
  podSecurityContext: 'pod',
  preemptionPolicy: 'pod',
  priority: 'pod',
  priorityClassName: 'pod',
  resourceClaims: 'pod',
  runtimeClassName: 'pod',
  schedulerName: 'pod',
  schedulingGates: 'pod',
  serviceAccountName: 'pod',
  setHostnameAsFQDN: 'pod',
  shareProcessNamespace: 'pod',
  subdomain: 'pod',
  terminationGracePeriodSeconds: 'pod',
  tolerations: 'pod',
  topologySpreadConstraints: 'pod',
  volumes: 'pod',
} as const

/** Kubernetes gives it to each pod of an Indexed Job, unless the container has a variable of this name. */
const SHARD_INDEX = 'JOB_COMPLETION_INDEX'

export const CA_VOLUME = 'ca-bundle'
export const CA_PATH = '/etc/arksmodel/ca'

/**
 * The Job that loads this model.
 * No TTL, hook, suspend, force or owner: every tool that applies manifests would run it again or lose it.
 */
export function job(model: ArksModel, settings: Settings, digestsOf: DigestsOf): Manifest | undefined {
  if (model.source.kind === 'volume') return undefined
  const spec = jobSpec(model, model.source, settings)
  const reload = model.annotations[RELOAD]
  const hash = workerHash({ spec, reload, digests: digestsOf(model, spec) })
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: jobName(model.name, hash),
      namespace: model.namespace,
      labels: { ...inheritedLabels(model), [MODEL_LABEL]: labelOf(model), [HASH_LABEL]: hash, ...ownLabels('worker') },
      annotations: {
        ...inheritedAnnotations(model),
        ...renames(model),
        [GENERATED_FROM]: marker([model]),
        // For the seal, which may not see the model.
        ...(reload === undefined ? {} : { [RELOAD]: reload }),
      },
    },
    spec,
  }
}

function jobSpec(model: ArksModel, source: HuggingFace, settings: Settings): Plain {
  const instance = instanceSpec(model, settings)
  return {
    backoffLimit: settings.backoffLimit,
    activeDeadlineSeconds: instance['activeDeadlineSeconds'],
    ...completions(source),
    podFailurePolicy: {
      rules: [
        // A drained or preempted pod is not a failed attempt. `status` is spelled out: older servers add it to the list.
        { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
        {
          action: 'FailJob',
          onExitCodes: { containerName: WORKER_CONTAINER, operator: 'In', values: HOPELESS_EXIT_CODES },
        },
      ],
    },
    template: {
      metadata: {
        labels: { ...asPlain(instance['labels']), [MODEL_LABEL]: labelOf(model), ...templateLabels() },
        annotations: { ...asPlain(instance['annotations']), [MODEL_LABEL]: model.name },
      },
      spec: podSpec(model, source, settings, instance),
    },
  }
}

/** All shards at once, each in a pod of its own. */
const completions = ({ shards }: HuggingFace): Plain =>
  shards === 1 ? {} : { completionMode: 'Indexed', completions: shards, parallelism: shards }

/** What a restricted namespace demands, and what a loader needs. A null in a config takes a line away. */
const BUILT_IN = {
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  terminationGracePeriodSeconds: 60,
  podSecurityContext: {
    runAsNonRoot: true,
    runAsUser: 65532,
    runAsGroup: 65532,
    fsGroup: 65532,
    fsGroupChangePolicy: 'OnRootMismatch',
    seccompProfile: { type: 'RuntimeDefault' },
  },
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  },
}

/** Not merged with what a user asks for: half of ours and half of theirs can be a request above its limit. */
const RESOURCES = { requests: { cpu: '1', memory: '512Mi' }, limits: { memory: '1Gi' } }

/** The model's instanceSpec over the config's over the built-in one. */
export function instanceSpec(model: ArksModel, settings: Settings): Plain {
  const configured = mergedInstanceSpec(settings.instanceSpec, model.instanceSpec)
  return withoutNulls({ resources: RESOURCES, ...merged(BUILT_IN, configured) })
}

/** Few and constant: the template is immutable. */
function templateLabels(): Record<string, string> {
  const { 'app.kubernetes.io/managed-by': _, ...labels } = ownLabels('worker')
  return labels
}

function podSpec(model: ArksModel, source: HuggingFace, settings: Settings, instance: Plain): Plain {
  const { podSecurityContext, volumes, initContainers, ...others } = fieldsOf(instance, 'pod')
  const pullSecrets = [...settings.imagePullSecrets, ...model.imagePullSecrets]
  return {
    restartPolicy: 'Never',
    ...others,
    securityContext: podSecurityContext,
    imagePullSecrets: pullSecrets.length === 0 ? undefined : unique(pullSecrets),
    initContainers,
    containers: [container(model, source, settings, instance)],
    volumes: [
      { name: MODELS_VOLUME, persistentVolumeClaim: { claimName: model.storage.claimName } },
      ...(settings.caBundle === undefined
        ? []
        : [{ name: CA_VOLUME, configMap: { name: settings.caBundle.configMapName } }]),
      ...asList(volumes),
    ],
  }
}

function container(model: ArksModel, source: HuggingFace, settings: Settings, instance: Plain): Plain {
  const { env, resources, securityContext, volumeMounts, ...others } = fieldsOf(instance, 'container')
  return {
    name: WORKER_CONTAINER,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: ['arksmodel-loader'],
    args: loaderArgs(model, source),
    env: [...ownEnv(model, source, settings), ...asList(env)],
    ports: [{ name: 'http', containerPort: 8080 }],
    resources,
    securityContext,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    ...others,
    volumeMounts: [
      { name: MODELS_VOLUME, mountPath: MODELS_PATH },
      ...(settings.caBundle === undefined ? [] : [{ name: CA_VOLUME, mountPath: CA_PATH, readOnly: true }]),
      ...asList(volumeMounts),
    ],
  }
}

/** What the loader is told: which model, where to, which files, where some may lie already, which part is this pod's. */
export function loaderArgs(model: ArksModel, source: HuggingFace): string[] {
  const flag = (name: string, values: readonly string[]): string[] => values.flatMap((value) => [name, literal(value)])
  return [
    literal(model.model),
    '--to',
    modelPath(model),
    ...flag('--revision', source.revision === undefined ? [] : [source.revision]),
    ...flag('--include', source.include),
    ...flag('--exclude', source.exclude),
    '--reuse',
    MODELS_PATH,
    ...(source.shards === 1 ? [] : ['--shard', `$(${SHARD_INDEX})/${source.shards}`]),
  ]
}

/**
 * Where applications look for the model. Name and namespace are left to Kubernetes, so that they are the final ones
 * wherever an overlay moves the model.
 */
const modelPath = ({ storage }: ArksModel): string =>
  storage.subPath === undefined
    ? `${MODELS_PATH}/models/$(NAMESPACE)/$(MODEL)`
    : `${MODELS_PATH}/${literal(storage.subPath)}`

/** Kubernetes expands `$(NAME)` in arguments, and makes `$` of `$$`. */
const literal = (text: string): string => text.replaceAll('$', '$$$$')

function ownEnv(model: ArksModel, source: HuggingFace, settings: Settings): Plain[] {
  const endpoint = source.endpoint ?? settings.endpoint
  const { proxy, caBundle } = settings
  const values = {
    HF_ENDPOINT: endpoint,
    HTTP_PROXY: proxy.http,
    HTTPS_PROXY: proxy.https,
    NO_PROXY: proxy.noProxy,
    NODE_EXTRA_CA_CERTS: caBundle === undefined ? undefined : `${CA_PATH}/${caBundle.key}`,
  }
  const token = source.token
  return [
    ...(model.storage.subPath === undefined
      ? [field('NAMESPACE', 'metadata.namespace'), field('MODEL', `metadata.annotations['${MODEL_LABEL}']`)]
      : []),
    ...(token === undefined
      ? []
      : [{ name: 'HF_TOKEN', valueFrom: { secretKeyRef: { name: token.secretName, key: token.key } } }]),
    ...Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }])),
  ]
}

const field = (name: string, fieldPath: string): Plain => ({ name, valueFrom: { fieldRef: { fieldPath } } })

/** Names of variables that the function sets for this model: no `instanceSpec.env` may set them too. */
export function reservedEnv(model: ArksModel, settings: Settings): ReadonlySet<string> {
  const { source } = model
  if (source.kind === 'volume') return new Set()
  const own = ownEnv(model, source, settings).map(({ name }) => String(name))
  return new Set(source.shards === 1 ? own : [...own, SHARD_INDEX])
}

type Place = (typeof INSTANCE_FIELDS)[keyof typeof INSTANCE_FIELDS]

const fieldsOf = (instance: Plain, place: Place): Plain =>
  Object.fromEntries(
    Object.entries(INSTANCE_FIELDS).flatMap(([name, where]) =>
      where === place && instance[name] !== undefined ? [[name, instance[name]]] : [],
    ),
  )

const unique = (list: readonly Plain[]): readonly Plain[] =>
  list.filter((item, index) => list.findIndex((other) => other['name'] === item['name']) === index)
