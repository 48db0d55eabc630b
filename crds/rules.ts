import { isRecord } from './place.ts'

/**
 * What a schema cannot say. `scope` is the value that the rule looks at, with `[]` for each item of a list; `field` is
 * the member of it that a problem is about.
 */
export interface Rule {
  readonly scope: string
  readonly field?: string
  readonly message: string
  readonly holds: (self: unknown) => boolean
}

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
]

/** The rules of the function config. */
export const CONFIG_RULES: readonly Rule[] = [
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

/** All tokens of the Hub begin so, and no name of a Secret can. */
export const token = (value: string): boolean => value.startsWith('hf_')

const ACCESS_MODES: readonly string[] = ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod']

const URL_WITHOUT_USER =
  /^https?:\/\/([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(\/[A-Za-z0-9._~%/-]*)?$/

/** What the Hub's own client takes: validate_repo_id of huggingface_hub. */
function hubId(id: string): boolean {
  const shape = /^([A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\/)?[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/
  return shape.test(id) && !id.includes('--') && !id.includes('..') && !id.endsWith('.git')
}

const subdomain = (name: string): boolean =>
  name.length <= 253 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(name)

const label = (name: string): boolean => name.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)

const configKey = (key: string): boolean => /^[A-Za-z0-9._-]+$/.test(key) && key !== '.' && !key.startsWith('..')

/** A proxy may need a user and a password. */
const proxyUrl = (url: string): boolean => /^https?:\/\/[^ \t\r\n/]+\/?$/.test(url)

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

const member = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined)
