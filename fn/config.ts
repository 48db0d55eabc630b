import type { Plain } from '../crds/arksmodel.ts'
import { CONFIG_API_VERSION, KIND } from '../crds/names.ts'
import { configProblems, type Problem } from '../crds/problems.ts'
import { VERSION } from '../crds/version.ts'
import { kind as kindOf, shown, unknownField } from '../crds/wording.ts'
import { asPlain, asText, isPlain } from './merge.ts'

/** What one run does, with every default filled in. */
export type Config =
  | { readonly kind: 'expand'; readonly settings: Settings }
  | { readonly kind: 'seal' }
  /** kustomize hands a generator's own resource in as its config: the model is data, the settings are the defaults. */
  | { readonly kind: 'model'; readonly settings: Settings }

export interface Settings {
  readonly image: string
  readonly imagePullPolicy: string | undefined
  readonly imagePullSecrets: readonly Plain[]
  readonly instanceSpec: Plain
  readonly endpoint: string | undefined
  readonly proxy: { readonly http?: string; readonly https?: string; readonly noProxy?: string }
  readonly caBundle: { readonly configMapName: string; readonly key: string } | undefined
  /** Retain: the claim carries the annotations that keep Flux, Argo CD and kpt from deleting it. */
  readonly retention: 'Retain' | 'Delete'
  readonly backoffLimit: number
}

export type ParsedConfig =
  | { readonly ok: true; readonly value: Config }
  | { readonly ok: false; readonly problems: readonly Problem[] }

export const DEFAULTS: Settings = {
  image: `arksai/arksmodel:${VERSION}`,
  imagePullPolicy: undefined,
  imagePullSecrets: [],
  instanceSpec: {},
  endpoint: undefined,
  proxy: {},
  caBundle: undefined,
  retention: 'Retain',
  backoffLimit: 20,
}

export function parseConfig(input: unknown): ParsedConfig {
  if (input === undefined || input === null || Object.keys(asPlain(input)).length === 0) return expand({})
  const { apiVersion, kind } = asPlain(input)
  if (kind === KIND) return { ok: true, value: { kind: 'model', settings: DEFAULTS } }
  if (kind === 'ConfigMap')
    return apiVersion === 'v1' ? fromConfigMap(asPlain(input)) : wrong('apiVersion', 'must be v1', apiVersion)
  if (kind !== 'ExpandArksModels' && kind !== 'SealWorkerJobs')
    return wrong(
      'kind',
      `must be ExpandArksModels or SealWorkerJobs of ${CONFIG_API_VERSION}, or ConfigMap of v1`,
      kind,
    )
  if (apiVersion !== CONFIG_API_VERSION) return wrong('apiVersion', `must be ${CONFIG_API_VERSION}`, apiVersion)
  const problems = configProblems(input)
  if (problems.length > 0) return { ok: false, problems }
  return kind === 'SealWorkerJobs' ? { ok: true, value: { kind: 'seal' } } : expand(asPlain(asPlain(input)['spec']))
}

/** kpt's `configMap:` and `-- key=value`: all values are text, so only the flat fields can be given. */
function fromConfigMap(object: Plain): ParsedConfig {
  const data = asPlain(object['data'])
  const around = Object.entries(object).flatMap(([field, value]): Problem[] => {
    if (!CONFIG_MAP_FIELDS.includes(field)) return [{ path: field, message: unknownField(field, CONFIG_MAP_FIELDS) }]
    return field !== 'data' || value === null || isPlain(value)
      ? []
      : [{ path: 'data', message: `must be a map, got ${kindOf(value)}` }]
  })
  const limit = data['backoffLimit']
  const spec = typeof limit === 'string' && /^\d+$/.test(limit) ? { ...data, backoffLimit: Number(limit) } : data
  const problems = configProblems({
    apiVersion: CONFIG_API_VERSION,
    kind: 'ExpandArksModels',
    metadata: { name: 'data' },
    spec,
  }).filter(({ path }) => !NOT_FLAT.some((field) => path.startsWith(`spec.${field}`)))
  const deep = NOT_FLAT.filter((field) => data[field] !== undefined).map((field) => ({
    path: `data.${field}`,
    message: 'must be set in an ExpandArksModels file: a ConfigMap holds text alone',
  }))
  if (problems.length + around.length + deep.length === 0) return expand(spec)
  return {
    ok: false,
    problems: [
      ...around,
      ...deep,
      ...problems.map(({ path, message }) => ({ path: path.replace(/^spec/, 'data'), message })),
    ],
  }
}

const NOT_FLAT = ['caBundle', 'imagePullSecrets', 'instanceSpec', 'proxy']

const CONFIG_MAP_FIELDS = ['apiVersion', 'kind', 'metadata', 'data', 'immutable']

const wrong = (path: string, message: string, found: unknown): ParsedConfig => ({
  ok: false,
  problems: [{ path, message: found === undefined ? message : `${message}, got ${shown(found)}` }],
})

function expand(spec: Plain): ParsedConfig {
  const { caBundle, proxy } = spec
  const settings: Settings = {
    image: asText(spec['image']) ?? DEFAULTS.image,
    imagePullPolicy: asText(spec['imagePullPolicy']),
    imagePullSecrets: Array.isArray(spec['imagePullSecrets']) ? spec['imagePullSecrets'].map(asPlain) : [],
    instanceSpec: asPlain(spec['instanceSpec']),
    endpoint: asText(spec['endpoint']),
    proxy: texts(asPlain(proxy)),
    caBundle: bundle(asPlain(caBundle)),
    retention: spec['retention'] === 'Delete' ? 'Delete' : 'Retain',
    backoffLimit: typeof spec['backoffLimit'] === 'number' ? spec['backoffLimit'] : DEFAULTS.backoffLimit,
  }
  return { ok: true, value: { kind: 'expand', settings } }
}

const texts = (value: Plain): Record<string, string> =>
  Object.fromEntries(Object.entries(value).flatMap(([key, each]) => (typeof each === 'string' ? [[key, each]] : [])))

function bundle(value: Plain): Settings['caBundle'] {
  const configMapName = asText(value['configMapName'])
  return configMapName === undefined ? undefined : { configMapName, key: asText(value['key']) ?? 'ca.crt' }
}
