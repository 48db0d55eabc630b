/** What the function writes and the controller looks up, spelled once. */

export const GROUP = 'arks.ai'
export const API_VERSION = 'arks.ai/v1'
export const KIND = 'ArksModel'
export const CONFIG_API_VERSION = 'fn.arks.ai/v1alpha1'

export const MODEL_LABEL = 'arks.ai/model'
export const HASH_LABEL = 'arks.ai/worker-hash'
/** On the model: the Job that counts. Others with its label are stale. */
export const WORKER_JOB = 'arks.ai/worker-job'
/** On the model: any text; a new one is a new Job. */
export const RELOAD = 'arks.ai/reload'
/** On the model: how many pods load it together. */
export const SHARDS = 'arks.ai/shards'
/** On everything generated: dropped and made again on every run. */
export const GENERATED_FROM = 'arks.ai/generated-from'

/** The container that podFailurePolicy and the controller name. */
export const WORKER_CONTAINER = 'worker'
/** Upstream's volume and mount: its applications look for the weights below it. */
export const MODELS_VOLUME = 'models'
export const MODELS_PATH = '/models'

/** The key of a token Secret, as upstream reads it. */
export const TOKEN_KEY = 'HF_TOKEN'

/** Of a label value and of a Job's name: 53 and not 63, so that a name prefix of an overlay still fits. */
const MAX = 53
const JOB_PREFIX = 'arks-worker-'

/** The marker of an object made from these models: `namespace/name`, several joined by a comma. */
export const marker = (models: readonly ModelIdentity[]): string =>
  models.map(({ name, namespace }) => (namespace === undefined ? name : `${namespace}/${name}`)).join(',')

export interface ModelIdentity {
  readonly name: string
  readonly namespace: string | undefined
}

/**
 * The model's name as a label value: itself up to 53 characters, else cut, with a digest of the whole.
 * The whole name stands in the annotation of the same key.
 */
export function modelLabel(name: string, digest: (text: string) => string): string {
  if (name.length <= MAX) return name
  const tail = digest(name).slice(0, 10)
  return `${trimmed(name.slice(0, MAX - tail.length - 1))}-${tail}`
}

/**
 * `arks-worker-<model>-<hash>`, at most 53 characters: the model's part is cut, the hash never.
 * Dots become dashes: pods take the Job's name as their host name and the API server warns about dots there.
 */
export function jobName(model: string, hash: string): string {
  const room = MAX - JOB_PREFIX.length - hash.length - 1
  return `${JOB_PREFIX}${trimmed(model.replaceAll('.', '-').slice(0, room))}-${hash}`
}

const trimmed = (text: string): string => text.replace(/[-_.]+$/, '')
