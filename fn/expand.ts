import type { ArksModel, Plain } from '../crds/arksmodel.ts'
import { SHARDS } from '../crds/names.ts'
import { type Place, placeText, valueAt } from '../crds/place.ts'
import type { Problem } from '../crds/problems.ts'
import { ACCESS_MODES } from '../crds/rules.ts'
import { shown } from '../crds/wording.ts'
import { canonical } from './canonical.ts'
import { claim } from './claim.ts'
import type { Settings } from './config.ts'
import { type DigestsOf, job } from './job.ts'
import type { Manifest } from './manifest.ts'
import { asList, isPlain, withoutNulls } from './merge.ts'

/** What one model becomes, besides itself. */
export interface Expansion {
  /** The claim stands with the first of the models that share it. */
  readonly claim: Manifest | undefined
  readonly job: Manifest | undefined
}

/** Every model with its claim and Job; there are no problems with any of them. */
export function expand(
  models: readonly ArksModel[],
  settings: Settings,
  digestsOf: DigestsOf,
): ReadonlyMap<ArksModel, Expansion> {
  const claims = claimsByModel(models, settings)
  return new Map(models.map((model) => [model, { claim: claims.get(model), job: job(model, settings, digestsOf) }]))
}

function claimsByModel(models: readonly ArksModel[], settings: Settings): Map<ArksModel, Manifest> {
  const sharers = new Map<string, [ArksModel, ...ArksModel[]]>()
  for (const model of models) {
    const known = sharers.get(claimKey(model))
    if (known === undefined) sharers.set(claimKey(model), [model])
    else known.push(model)
  }
  const claims = new Map<ArksModel, Manifest>()
  for (const group of sharers.values()) {
    const spec = group.find(({ storage }) => storage.claimSpec !== undefined)?.storage.claimSpec
    if (spec !== undefined) claims.set(group[0], claim(group, spec, settings))
  }
  return claims
}

/** No namespace is the namespace `default`, as kustomize has it. */
const namespaceOf = (model: ArksModel): string => model.namespace ?? 'default'

const claimKey = (model: ArksModel): string => `${namespaceOf(model)}/${model.storage.claimName}`

const nameOf = (model: ArksModel): string =>
  model.namespace === undefined ? model.name : `${model.namespace}/${model.name}`

/** What models do to each other, by the model that comes later; and to a claim, whichever of them has its spec. */
export function collisions(models: readonly ArksModel[]): ReadonlyMap<ArksModel, readonly Problem[]> {
  const identities = new Set<string>()
  const specs = new Map<string, { readonly model: ArksModel; readonly spec: Plain }>()
  const paths = new Map<string, ArksModel>()
  const claims = new Map<string, ArksModel>()
  const problems = new Map<ArksModel, readonly Problem[]>()
  const claimSpecs = specsByClaim(models)
  for (const model of models) {
    const identity = `${namespaceOf(model)}/${model.name}`
    if (identities.has(identity)) problems.set(model, [again(model)])
    else
      problems.set(model, [
        ...otherSpelling(model, claims),
        ...otherSpec(model, specs),
        ...samePath(model, paths),
        ...shardsApart(model, claimSpecs.get(claimKey(model))),
      ])
    identities.add(identity)
  }
  return problems
}

const again = ({ name }: ArksModel): Problem => ({
  path: 'metadata.name',
  message: `must not be used by two models, got "${name}" again`,
})

/** One without a namespace is applied to any: its claim would not be beside it. */
function otherSpelling(model: ArksModel, claims: Map<string, ArksModel>): readonly Problem[] {
  const known = claims.get(claimKey(model))
  if (known === undefined) claims.set(claimKey(model), model)
  if (known === undefined || known.namespace === model.namespace) return []
  const message = `must be ${known.namespace === undefined ? 'absent' : `"${known.namespace}"`} as that of ${nameOf(known)}, which uses the claim "${model.storage.claimName}" too`
  return [{ path: 'metadata.namespace', message }]
}

function otherSpec(
  model: ArksModel,
  specs: Map<string, { readonly model: ArksModel; readonly spec: Plain }>,
): readonly Problem[] {
  if (model.storage.claimSpec === undefined) return []
  const spec = withoutNulls(model.storage.claimSpec)
  const known = specs.get(claimKey(model))
  if (known === undefined) specs.set(claimKey(model), { model, spec })
  const place = known === undefined ? undefined : difference(spec, known.spec)
  if (known === undefined || place === undefined) return []
  const path = placeText(['spec', 'storage', 'pvc', 'spec', ...place])
  const [here, there] = [spec, known.spec].map((each) => valueAt(each, place))
  const message = `must equal that of ${nameOf(known.model)}, which uses the claim "${model.storage.claimName}" too: ${shown(there)}, got ${shown(here)}`
  return [{ path, message }]
}

/** The first place at which two values differ. */
function difference(a: unknown, b: unknown): Place | undefined {
  if (!isPlain(a) || !isPlain(b)) return canonical(a ?? null) === canonical(b ?? null) ? undefined : []
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const below = difference(a[key], b[key])
    if (below !== undefined) return [key, ...below]
  }
  return undefined
}

/** Only models with a source write: one without is another name for what is there. */
function samePath(model: ArksModel, paths: Map<string, ArksModel>): readonly Problem[] {
  if (model.source.kind === 'volume') return []
  const path = model.storage.subPath ?? `models/${namespaceOf(model)}/${model.name}`
  const key = `${claimKey(model)}/${path}`
  const known = paths.get(key)
  if (known === undefined) paths.set(key, model)
  if (known === undefined) return []
  const message = `must differ from that of ${nameOf(known)}: both would write /models/${path} of the claim "${model.storage.claimName}"`
  return [{ path: 'spec.storage.subPath', message }]
}

/** The first spec of each claim. */
const specsByClaim = (models: readonly ArksModel[]): ReadonlyMap<string, Plain> =>
  new Map(
    models
      .toReversed()
      .flatMap((model) =>
        model.storage.claimSpec === undefined ? [] : [[claimKey(model), model.storage.claimSpec] as const],
      ),
  )

/** The pods of several shards may run on several nodes. Of modes that are refused themselves there is nothing to say. */
function shardsApart({ source, storage }: ArksModel, spec: Plain | undefined): readonly Problem[] {
  if (source.kind === 'volume' || source.shards === 1) return []
  const modes = asList(spec?.['accessModes'])
  const known = ACCESS_MODES.filter((mode) => modes.includes(mode))
  if (known.length === 0 || known.includes('ReadWriteMany')) return []
  const message = `must be "1" where the claim "${storage.claimName}" has no access mode ReadWriteMany, got "${source.shards}"`
  return [{ path: placeText(['metadata', 'annotations', SHARDS]), message }]
}
