import { type ArksModel, type Plain, parseArksModel } from '../crds/arksmodel.ts'
import { MODEL_LABEL, MODELS_VOLUME, SHARDS, WORKER_CONTAINER } from '../crds/names.ts'
import { placeText } from '../crds/place.ts'
import type { Problem } from '../crds/problems.ts'
import { canonical } from './canonical.ts'
import { objectRef } from './finding.ts'
import { loaderArgs } from './job.ts'
import { asList, asPlain, withoutNulls } from './merge.ts'
import { annotationOf, namespaceOf } from './metadata.ts'
import { isNamed, isOfSameTenant, isRenamed } from './references.ts'

/**
 * What a model says now and its Job or claim does not. kustomize runs Components before the patches beside them: such
 * a patch reaches the model and nothing that was made from it.
 */
export function changedBehind(model: Plain, job: Plain, claimNamed: ClaimNamed): readonly Problem[] {
  const parsed = parseArksModel(model)
  if (!parsed.ok) return parsed.problems
  const { value } = parsed
  if (value.source.kind === 'volume') return [behind('spec.source', 'loads the model', job)]
  const pod = asPlain(asPlain(job['spec'])['template'])
  const spec = asPlain(pod['spec'])
  const worker = asPlain(named(spec['containers'], WORKER_CONTAINER))
  const mounted = asPlain(asPlain(named(spec['volumes'], MODELS_VOLUME))['persistentVolumeClaim'])['claimName']
  const called = annotationOf(pod, MODEL_LABEL)
  const { claimName } = value.storage
  const meant = claimNamed(namespaceOf(model), claimName).map(({ object }) => object)
  // A claim that tenants share has no prefix in common with them.
  const claim = meant.find((each) => isOfSameTenant(each, model)) ?? meant[0]
  const isMounted = mounted === claimName || (claim !== undefined && isNamed(claim, String(mounted)))
  return [
    ...(called !== undefined && value.name.includes(called)
      ? []
      : [behind('metadata.name', `calls it "${called}"`, job)]),
    ...told(worker, value, value.source, job),
    ...(isMounted ? [] : [behind('spec.storage.pvc.name', `mounts "${mounted}"`, job)]),
    ...claimSpec(value, claim),
    ...token(worker, value.source, isRenamed(model), job),
    ...endpoint(worker, value.source, job),
  ]
}

/** The generated claims of this namespace that have or had this name. */
type ClaimNamed = (namespace: string, name: string) => readonly { readonly object: Plain }[]

type HuggingFace = Extract<ArksModel['source'], { kind: 'huggingface' }>

const BELOW = 'patch models below the function'

const behind = (path: string, does: string, job: Plain): Problem => ({
  path,
  message: `must not be changed behind the function: the Job "${objectRef(job).name}" ${does}; ${BELOW}`,
})

/** The number of pods and the part that each of them loads belong together: a shard without a pod is never loaded. */
function told(worker: Plain, model: ArksModel, source: HuggingFace, job: Plain): readonly Problem[] {
  const { completions = 1 } = asPlain(job['spec'])
  if (completions !== source.shards)
    return [behind(placeText(['metadata', 'annotations', SHARDS]), `has \`completions: ${completions}\``, job)]
  return isTold(worker, model, source) ? [] : [behind('spec', 'still loads what it was', job)]
}

/** A patch of the Job may have told the loader more, of other things. */
function isTold(worker: Plain, model: ArksModel, source: HuggingFace): boolean {
  const args = asList(worker['args'])
  const wanted = loaderArgs(model, source)
  const more = args.slice(wanted.length)
  return (
    wanted.every((word, index) => args[index] === word) && !more.some((word) => WHAT_TO_LOAD.includes(String(word)))
  )
}

const WHAT_TO_LOAD = ['--to', '--revision', '--include', '--exclude', '--shard']

function claimSpec({ storage }: ArksModel, claim: Plain | undefined): readonly Problem[] {
  if (storage.claimSpec === undefined || claim === undefined) return []
  if (canonical(withoutNulls(storage.claimSpec)) === canonical(withoutNulls(asPlain(claim['spec'])))) return []
  const message = `must equal the spec of its claim "${objectRef(claim).name}": patch the model alone, below the function`
  return [{ path: 'spec.storage.pvc.spec', message }]
}

/**
 * A model without a token may have got its variable from the settings. Inside kustomize names are not yet what they
 * will be: there only the key is compared.
 */
function token(worker: Plain, source: HuggingFace, isRenamed: boolean, job: Plain): readonly Problem[] {
  if (source.token === undefined) return []
  const variable = asPlain(named(worker['env'], 'HF_TOKEN'))
  const { name, key } = asPlain(asPlain(variable['valueFrom'])['secretKeyRef'])
  const isSame = key === source.token.key && (isRenamed || name === source.token.secretName)
  return isSame ? [] : [behind('spec.source.huggingface.tokenSecretRef', 'reads another token', job)]
}

/** The one of a model that names none may come from the settings. */
function endpoint(worker: Plain, { endpoint }: HuggingFace, job: Plain): readonly Problem[] {
  const { value } = asPlain(named(worker['env'], 'HF_ENDPOINT'))
  return endpoint === undefined || endpoint === value
    ? []
    : [behind('spec.source.huggingface.endpoint', 'loads from elsewhere', job)]
}

const named = (list: unknown, name: string): unknown => asList(list).find((each) => asPlain(each)['name'] === name)
