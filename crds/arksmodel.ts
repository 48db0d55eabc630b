import { SHARDS, TOKEN_KEY } from './names.ts'
import { isRecord } from './place.ts'
import { modelProblems, type Problem } from './problems.ts'
import { shardCount } from './rules.ts'

/** What a controller writes to `status.phase`. */
export const PHASES = ['Pending', 'StorageCreating', 'ModelLoading', 'Ready', 'Failed'] as const
export type Phase = (typeof PHASES)[number]

/** Conditions in the order in which they are written. The last two only while the model is not ready, never both. */
export const CONDITION_TYPES = ['StorageCreated', 'ModelLoaded', 'Ready', 'Reconciling', 'Stalled'] as const
export type ConditionType = (typeof CONDITION_TYPES)[number]

/** An ArksModel that passed the schema and the rules, with every default filled in. */
export interface ArksModel {
  readonly name: string
  readonly namespace: string | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** A Hub id where the source is Hugging Face, else any text. */
  readonly model: string
  readonly source: Source
  readonly storage: Storage
  readonly imagePullSecrets: readonly Plain[]
  /** As it stands in the object: Kubernetes' own types, checked by the schema. */
  readonly instanceSpec: Plain
}

export type Source =
  | {
      readonly kind: 'huggingface'
      readonly token: { readonly secretName: string; readonly key: string } | undefined
      readonly revision: string | undefined
      readonly endpoint: string | undefined
      readonly include: readonly string[]
      readonly exclude: readonly string[]
      /** How many pods load it together, from the annotation `arks.ai/shards`. */
      readonly shards: number
    }
  /** The model is on the volume already. */
  | { readonly kind: 'volume' }

export interface Storage {
  readonly claimName: string
  /** Absent: the claim exists already. */
  readonly claimSpec: Plain | undefined
  /** Below the volume's root, which is `.`; without empty segments. Absent: models/<namespace>/<name>. */
  readonly subPath: string | undefined
}

/** A JSON object. */
export interface Plain {
  readonly [key: string]: unknown
}

export type Parsed =
  | { readonly ok: true; readonly value: ArksModel }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** One ArksModel as YAML or JSON readers give it. `tokenSecretRef` may be text, as the first documents had it. */
export function parseArksModel(input: unknown): Parsed {
  const problems = modelProblems(input)
  return problems.length > 0 ? { ok: false, problems } : { ok: true, value: readArksModel(input) }
}

/** Of an object that has passed before. */
export function readArksModel(input: unknown): ArksModel {
  const object = plain(input)
  const metadata = plain(object['metadata'])
  const spec = plain(object['spec'])
  const storage = plain(spec['storage'])
  const claim = plain(storage['pvc'])
  const name = text(metadata['name']) ?? ''
  const annotations = texts(metadata['annotations'])
  return {
    name,
    namespace: text(metadata['namespace']),
    labels: texts(metadata['labels']),
    annotations,
    model: text(spec['model']) ?? '',
    source: source(plain(spec['source'])['huggingface'], shardCount(annotations[SHARDS]) ?? 1),
    storage: {
      claimName: text(claim['name']) ?? name,
      claimSpec: claim['spec'] === undefined || claim['spec'] === null ? undefined : plain(claim['spec']),
      subPath: cleanPath(text(storage['subPath'])),
    },
    imagePullSecrets: list(spec['imagePullSecrets']).map(plain),
    instanceSpec: plain(spec['instanceSpec']),
  }
}

function source(input: unknown, shards: number): Source {
  if (input === undefined || input === null) return { kind: 'volume' }
  const huggingface = plain(input)
  return {
    kind: 'huggingface',
    token: token(huggingface['tokenSecretRef']),
    revision: text(huggingface['revision']),
    endpoint: text(huggingface['endpoint']),
    include: list(huggingface['include']).map(String),
    exclude: list(huggingface['exclude']).map(String),
    shards,
  }
}

function token(reference: unknown): { secretName: string; key: string } | undefined {
  if (typeof reference === 'string') return reference === '' ? undefined : { secretName: reference, key: TOKEN_KEY }
  const secretName = text(plain(reference)['name'])
  return secretName === undefined ? undefined : { secretName, key: text(plain(reference)['key']) ?? TOKEN_KEY }
}

/** One spelling for one place, so that two models on it are seen to be. */
function cleanPath(path: string | undefined): string | undefined {
  const segments = path?.split('/').filter((segment) => segment !== '' && segment !== '.')
  return segments?.length === 0 ? '.' : segments?.join('/')
}

/** Kubernetes' API types do not tell empty text from none. */
const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

const plain = (value: unknown): Plain => (isRecord(value) ? value : {})

const texts = (value: unknown): Record<string, string> =>
  Object.fromEntries(
    Object.entries(plain(value)).flatMap(([key, each]) => (typeof each === 'string' ? [[key, each]] : [])),
  )
