import { SHARDS } from './names.ts'
import { isRecord } from './place.ts'

/**
 * What a schema cannot say. `scope` is the value that the rule looks at, with `[]` for each item of a list and, at the
 * end, `{}` for each member of a map; `field` is the member of it that a problem is about.
 */
export interface Rule {
  readonly scope: string
  readonly field?: string
  /** The rule is one for the names of the members, not for their values. */
  readonly about?: 'key'
  readonly message: string
  readonly holds: (self: unknown) => boolean
}

export const ACCESS_MODES: readonly string[] = ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod']
const EFFECTS: readonly string[] = ['NoSchedule', 'PreferNoSchedule', 'NoExecute']
/** Lt and Gt behind a feature gate of the server. */
const OPERATORS: readonly string[] = ['Exists', 'Equal', 'Lt', 'Gt']
const DNS_POLICIES: readonly string[] = ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None']
const PREEMPTION_POLICIES: readonly string[] = ['PreemptLowerPriority', 'Never']

const MOST_SHARDS = 64

const KEY =
  'must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team"'

/** The rules of arksmodel.yaml in TypeScript: same order, same scopes, same messages. */
export const MODEL_RULES: readonly Rule[] = [
  {
    scope: 'spec',
    field: 'model',
    message:
      'must be the id of a repository on the Hub such as "Qwen/Qwen2.5-7B-Instruct" when the source is huggingface',
    holds: (spec) => member(member(spec, 'source'), 'huggingface') === undefined || hubId(text(member(spec, 'model'))),
  },
  {
    scope: 'spec.source',
    message: 'must have the member `huggingface`, or be left out when the model is on the volume already',
    holds: (source) => member(source, 'huggingface') !== undefined,
  },
  {
    scope: 'spec.source.huggingface.endpoint',
    message: 'must be an http or https URL such as "https://hf-mirror.com", without user, password or query',
    holds: (endpoint) => URL_WITHOUT_USER.test(text(endpoint)),
  },
  {
    scope: 'spec.source.huggingface.exclude[]',
    message: 'must not be empty',
    holds: (pattern) => /[^ \t\r\n]/.test(text(pattern)),
  },
  {
    scope: 'spec.source.huggingface.include[]',
    message: 'must not be empty',
    holds: (pattern) => /[^ \t\r\n]/.test(text(pattern)),
  },
  {
    scope: 'spec.source.huggingface.revision',
    message: 'must be a branch, a tag or a commit, without spaces and without ".."',
    holds: (revision) => /^[^ \t\r\n]+$/.test(text(revision)) && !text(revision).includes('..'),
  },
  {
    scope: 'spec.source.huggingface.tokenSecretRef',
    field: 'name',
    message: 'must be the name of a Secret, not the token itself',
    holds: (ref) => !token(text(member(ref, 'name'))),
  },
  {
    scope: 'spec.source.huggingface.tokenSecretRef',
    field: 'name',
    message:
      'must be the name of a Secret: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part',
    holds: (ref) => token(text(member(ref, 'name'))) || subdomain(text(member(ref, 'name'))),
  },
  {
    scope: 'spec.source.huggingface.tokenSecretRef.key',
    message: 'must be a key of a Secret such as "HF_TOKEN"',
    holds: (key) => configKey(text(key)),
  },
  {
    scope: 'spec.storage.pvc.name',
    message:
      'must be the name of a claim: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part',
    holds: (name) => name === '' || subdomain(text(name)),
  },
  {
    scope: 'spec.storage.subPath',
    message: 'must be a path relative to the root of the volume, without ".." in it',
    holds: (path) => !text(path).startsWith('/') && !text(path).split('/').includes('..'),
  },
]

/** What Kubernetes itself refuses when the model, or what is made of it, is applied. */
export const KUBERNETES_RULES: readonly Rule[] = [
  {
    scope: 'metadata.name',
    message:
      'must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part',
    holds: (name) => subdomain(text(name)),
  },
  {
    scope: 'metadata.namespace',
    message:
      'must be a name for a namespace: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends',
    holds: (name) => name === '' || label(text(name)),
  },
  {
    scope: 'spec.storage.pvc.spec.accessModes[]',
    message: 'must be one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod',
    holds: (mode) => ACCESS_MODES.includes(text(mode)),
  },
  ...labelRules('metadata.labels'),
  ...annotationRules('metadata.annotations'),
]

/** What the function reads in annotations, which no rule of the CRD can see. */
export const ANNOTATION_RULES: readonly Rule[] = [
  {
    scope: 'metadata.annotations',
    field: SHARDS,
    message: `must be a whole number from 1 to ${MOST_SHARDS}, without sign or leading zeros`,
    holds: (annotations) => shardCount(member(annotations, SHARDS)) !== undefined,
  },
]

/** What Kubernetes refuses in a Job: of a model's instanceSpec, and of the one in the function config. */
export const INSTANCE_RULES: readonly Rule[] = [
  ...labelRules('spec.instanceSpec.labels'),
  ...annotationRules('spec.instanceSpec.annotations'),
  ...labelRules('spec.instanceSpec.nodeSelector'),
  {
    scope: 'spec.instanceSpec.env[].name',
    message: 'must be the name of a variable: printable ASCII without "=", at least one character',
    holds: (name) => /^[ -<>-~]+$/.test(text(name)),
  },
  {
    scope: 'spec.instanceSpec.env[]',
    field: 'valueFrom',
    message: 'must not be there beside `value`',
    holds: (variable) => text(member(variable, 'value')) === '' || member(variable, 'valueFrom') === undefined,
  },
  {
    scope: 'spec.instanceSpec.tolerations[].effect',
    message: `must be one of ${EFFECTS.join(', ')}`,
    holds: (effect) => effect === '' || EFFECTS.includes(text(effect)),
  },
  {
    scope: 'spec.instanceSpec.tolerations[].operator',
    message: `must be one of ${OPERATORS.join(', ')}`,
    holds: (operator) => operator === '' || OPERATORS.includes(text(operator)),
  },
  {
    scope: 'spec.instanceSpec.tolerations[]',
    field: 'value',
    message: 'must be absent where the operator is Exists',
    holds: (toleration) => member(toleration, 'operator') !== 'Exists' || text(member(toleration, 'value')) === '',
  },
  {
    scope: 'spec.instanceSpec.tolerations[]',
    field: 'key',
    message: 'must be present where the operator is not Exists',
    holds: (toleration) =>
      !isRecord(toleration) || toleration['operator'] === 'Exists' || text(toleration['key']) !== '',
  },
  {
    scope: 'spec.instanceSpec.dnsPolicy',
    message: `must be one of ${DNS_POLICIES.join(', ')}`,
    holds: (policy) => policy === '' || DNS_POLICIES.includes(text(policy)),
  },
  {
    scope: 'spec.instanceSpec.preemptionPolicy',
    message: `must be one of ${PREEMPTION_POLICIES.join(', ')}`,
    holds: (policy) => policy === '' || PREEMPTION_POLICIES.includes(text(policy)),
  },
  ...['serviceAccountName', 'priorityClassName', 'runtimeClassName', 'nodeName'].map((field) => ({
    scope: `spec.instanceSpec.${field}`,
    message:
      'must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part',
    holds: (name: unknown): boolean => name === '' || subdomain(text(name)),
  })),
  ...['activeDeadlineSeconds', 'terminationGracePeriodSeconds'].map((field) => ({
    scope: `spec.instanceSpec.${field}`,
    message: 'must be at least 0',
    holds: (seconds: unknown): boolean => typeof seconds !== 'number' || seconds >= 0,
  })),
]

/** The rules of the function config. */
export const CONFIG_RULES: readonly Rule[] = [
  {
    scope: 'spec.backoffLimit',
    message: 'must be at most 2147483647',
    holds: (limit) => typeof limit !== 'number' || limit <= 2147483647,
  },
  {
    scope: 'spec.caBundle.configMapName',
    message:
      'must be the name of a ConfigMap: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part',
    holds: (name) => name === '' || subdomain(text(name)),
  },
  {
    scope: 'spec.caBundle.key',
    message: 'must be a key of a ConfigMap such as "ca.crt"',
    holds: (key) => key === '' || configKey(text(key)),
  },
  {
    scope: 'spec.endpoint',
    message: 'must be an http or https URL such as "https://hf-mirror.com", without user, password or query',
    holds: (endpoint) => URL_WITHOUT_USER.test(text(endpoint)),
  },
  {
    scope: 'spec.image',
    message: 'must be the name of an image, without spaces',
    holds: (image) => !/\s/.test(text(image)),
  },
  {
    scope: 'spec.proxy.http',
    message: 'must be an http or https URL such as "http://proxy.example.com:3128"',
    holds: (proxy) => proxyUrl(text(proxy)),
  },
  {
    scope: 'spec.proxy.https',
    message: 'must be an http or https URL such as "http://proxy.example.com:3128"',
    holds: (proxy) => proxyUrl(text(proxy)),
  },
]

/** What the annotation `arks.ai/shards` says: 1 where there is none, undefined where it is no such number. */
export function shardCount(annotation: unknown): number | undefined {
  if (annotation === undefined) return 1
  const count = /^[1-9][0-9]?$/.test(text(annotation)) ? Number(annotation) : Infinity
  return count <= MOST_SHARDS ? count : undefined
}

/** All tokens of the Hub begin so, and no name of a Secret can. */
const token = (value: string): boolean => value.startsWith('hf_')

const URL_WITHOUT_USER =
  /^https?:\/\/([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(\/[A-Za-z0-9._~%/-]*)?$/

/** What the Hub's own client takes: validate_repo_id of huggingface_hub. */
function hubId(id: string): boolean {
  const shape = /^([A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\/)?[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/
  return shape.test(id) && !id.includes('--') && !id.includes('..') && !id.endsWith('.git')
}

/** A name of at most 253 characters, as most objects have. */
export const subdomain = (name: string): boolean =>
  name.length <= 253 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(name)

/** A name of at most 63 characters, as namespaces and containers have. */
export const label = (name: string): boolean => name.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)

function labelRules(scope: string): readonly Rule[] {
  return [
    { scope: `${scope}{}`, about: 'key', message: KEY, holds: (key) => qualified(text(key)) },
    {
      scope: `${scope}{}`,
      message: 'must be at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends',
      holds: (value) => value === '' || labelPart(text(value)),
    },
  ]
}

function annotationRules(scope: string): readonly Rule[] {
  return [{ scope: `${scope}{}`, about: 'key', message: KEY, holds: (key) => qualified(text(key).toLowerCase()) }]
}

function qualified(key: string): boolean {
  const [name = '', domain, ...more] = key.split('/').reverse()
  return labelPart(name) && (domain === undefined || subdomain(domain)) && more.length === 0
}

const labelPart = (value: string): boolean =>
  value.length <= 63 && /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(value)

const configKey = (key: string): boolean => /^[A-Za-z0-9._-]+$/.test(key) && key !== '.' && !key.startsWith('..')

/** A proxy may need a user and a password. */
const proxyUrl = (url: string): boolean => /^https?:\/\/[^ \t\r\n/]+\/?$/.test(url)

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

const member = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined)
