import type { Plain } from '../crds/arksmodel.ts'
import { HASH_LABEL, RELOAD, WORKER_JOB } from '../crds/names.ts'
import { changedBehind } from './behind.ts'
import { type Edit, setEntry } from './edit.ts'
import { type Finding, finding, objectRef } from './finding.ts'
import { type Gathered, type Item, spotOf } from './gather.ts'
import { asPlain, withoutNulls } from './merge.ts'
import { annotationOf, namespaceOf } from './metadata.ts'
import { mapAt } from './node.ts'
import { byNames, digests, isOfSameTenant, references } from './references.ts'
import type { Changed } from './run.ts'
import { unusedSettings } from './settings.ts'
import { annotation } from './stamp.ts'
import { workerHash } from './worker-hash.ts'
import type { Change } from './write.ts'

/**
 * Renames every generated Job after what it now is. What was changed above the function (an image, template labels,
 * a patch) would keep the old name, and the API server would refuse the next apply: the template is immutable.
 */
export function sealed(gathered: Gathered): Changed {
  const changes = new Map<Item['slot'], Change>()
  const findings = gathered.models
    .filter(isUnexpanded)
    .map((model) => missing(model, `metadata.annotations["${WORKER_JOB}"]`, 'expand the model first'))
  const suffixed = gathered.suffixed.map(({ object }) => object)
  const ofKind = (kind: string): readonly Item[] => gathered.generated.filter(({ object }) => object['kind'] === kind)
  const jobs = ofKind('Job')
  const { workers, workerless } = matched(jobs, gathered.models)
  const claimNamed = byNames(ofKind('PersistentVolumeClaim'))
  for (const job of jobs) {
    const old = hashOf(job.object)
    const models = workers.get(job) ?? []
    for (const model of models) {
      const problems = changedBehind(model.object, job.object, claimNamed)
      findings.push(...problems.map((problem) => finding(spotOf(model), problem)))
    }
    const hash = hashNow(job.object, models, suffixed)
    if (old === undefined) findings.push(missing(job, `metadata.labels["${HASH_LABEL}"]`, 'it is a part of the name'))
    if (old === undefined || hash === old) continue
    const name = objectRef(job.object).name.replace(old, hash)
    changes.set(job.slot, { drop: false, before: [], edits: renamed(job, name, hash) })
    for (const model of models) {
      changes.set(model.slot, { drop: false, before: [], edits: annotation(model, WORKER_JOB, name) })
    }
  }
  findings.push(...workerless.map(withoutJob), ...unusedSettings(gathered))
  return findings.length > 0 ? { ok: false, findings } : { ok: true, changes, more: [], notes: [] }
}

/**
 * The models of each Job, and those that name none of them. kustomize corrects a model's reference at the very end:
 * until then it names the Job as the Job was once called.
 */
function matched(
  jobs: readonly Item[],
  models: readonly Item[],
): { readonly workers: ReadonlyMap<Item, readonly Item[]>; readonly workerless: readonly Item[] } {
  const jobNamed = byNames(jobs)
  const workers = new Map<Item, Item[]>()
  const workerless: Item[] = []
  for (const model of models) {
    const reference = annotationOf(model.object, WORKER_JOB)
    if (reference === undefined) continue
    const own = jobNamed(namespaceOf(model.object), reference).filter(
      ({ object }) => reference === objectRef(object).name || isOfSameTenant(object, model.object),
    )
    if (own.length === 0) workerless.push(model)
    for (const job of own) workers.set(job, [...(workers.get(job) ?? []), model])
  }
  return { workers, workerless }
}

const missing = (item: Item, path: string, why: string): Finding =>
  finding(spotOf(item), { path, message: `must be present: ${why}` })

const withoutJob = (model: Item): Finding =>
  finding(spotOf(model), {
    path: `metadata.annotations["${WORKER_JOB}"]`,
    message: `must name a Job of the input, got "${annotationOf(model.object, WORKER_JOB)}"`,
  })

const isUnexpanded = ({ object }: Item): boolean =>
  asPlain(object['spec'])['source'] !== undefined && annotationOf(object, WORKER_JOB) === undefined

function hashNow(job: Plain, models: readonly Item[], suffixed: readonly Plain[]): string {
  // Without its model in the input, the Job itself knows what the model said.
  const sources = models.length === 0 ? [job] : models.map(({ object }) => object)
  const reload = sources.map((object) => annotationOf(object, RELOAD)).find((value) => value !== undefined)
  const spec = withoutNulls(asPlain(job['spec']))
  return workerHash({ spec, reload, digests: digests(job, references(spec), suffixed) })
}

function hashOf(job: Plain): string | undefined {
  const hash = asPlain(asPlain(job['metadata'])['labels'])[HASH_LABEL]
  return typeof hash === 'string' && objectRef(job).name.includes(hash) ? hash : undefined
}

function renamed({ input, node }: Item, name: string, hash: string): readonly Edit[] {
  const { text } = input.input
  const metadata = mapAt(node, 'metadata')
  const labels = mapAt(metadata, 'labels')
  return [
    ...(metadata === undefined ? [] : [setEntry(text, metadata, 'name', name)]),
    ...(labels === undefined ? [] : [setEntry(text, labels, HASH_LABEL, hash)]),
  ]
}
