import { type Plain, parseArksModel } from '../crds/arksmodel.ts'
import { HASH_LABEL, RELOAD, WORKER_CONTAINER, WORKER_JOB } from '../crds/names.ts'
import { type Edit, setEntry } from './edit.ts'
import { type Finding, fileOf, finding, objectRef } from './finding.ts'
import type { Gathered, Item } from './gather.ts'
import { loaderArgs } from './job.ts'
import { asPlain, withoutNulls } from './merge.ts'
import { mapAt } from './node.ts'
import { digests, references } from './references.ts'
import type { Changed } from './run.ts'
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
  for (const job of gathered.generated.filter(({ object }) => object['kind'] === 'Job')) {
    const old = hashOf(job.object)
    const models = gathered.models.filter((model) => isWorkerOf(job.object, model.object))
    findings.push(
      ...models.filter((model) => !isLoadedBy(job.object, model.object)).map((model) => changedBehind(model, job)),
    )
    const hash = hashNow(job.object, models, suffixed)
    if (old === undefined) findings.push(missing(job, `metadata.labels["${HASH_LABEL}"]`, 'it is a part of the name'))
    if (old === undefined || hash === old) continue
    const name = objectRef(job.object).name.replace(old, hash)
    changes.set(job.slot, { drop: false, before: [], edits: renamed(job, name, hash) })
    for (const model of models) {
      changes.set(model.slot, { drop: false, before: [], edits: annotation(model, WORKER_JOB, name) })
    }
  }
  return findings.length > 0 ? { ok: false, findings } : { ok: true, changes, more: [] }
}

/** Whether the Job was told what the model says now. A patch of the Job may have told it more, of other things. */
function isLoadedBy(job: Plain, model: Plain): boolean {
  const parsed = parseArksModel(model)
  if (!parsed.ok || parsed.value.source.kind === 'volume') return false
  const wanted = loaderArgs(parsed.value, parsed.value.source)
  const containers = asPlain(asPlain(asPlain(job['spec'])['template'])['spec'])['containers']
  const worker = items(containers).find((each) => asPlain(each)['name'] === WORKER_CONTAINER)
  const args = items(asPlain(worker)['args'])
  const more = args.slice(wanted.length)
  return (
    wanted.every((word, index) => args[index] === word) && !more.some((word) => WHAT_TO_LOAD.includes(String(word)))
  )
}

const WHAT_TO_LOAD = ['--to', '--revision', '--include', '--exclude']

const items = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** kustomize runs Components before the patches beside them: such a patch reaches the model and not its Job. */
const changedBehind = ({ object, input }: Item, job: Item): Finding =>
  finding(
    { object: objectRef(object), file: input.input.name ?? fileOf(object) },
    {
      path: 'spec',
      message: `must not be changed behind the function: the Job "${objectRef(job.object).name}" still loads what it was; patch models below the function`,
    },
  )

const missing = ({ object, input }: Item, path: string, why: string): Finding =>
  finding(
    { object: objectRef(object), file: input.input.name ?? fileOf(object) },
    { path, message: `must be present: ${why}` },
  )

const isUnexpanded = ({ object }: Item): boolean =>
  asPlain(object['spec'])['source'] !== undefined && annotationOf(object, WORKER_JOB) === undefined

function hashNow(job: Plain, models: readonly Item[], suffixed: readonly Plain[]): string {
  const reload = models.map(({ object }) => annotationOf(object, RELOAD)).find((value) => value !== undefined)
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

/** kustomize corrects the model's reference at the very end: until then it names the Job as the Job was once called. */
function isWorkerOf(job: Plain, model: Plain): boolean {
  const reference = annotationOf(model, WORKER_JOB)
  const earlier = (annotationOf(job, 'internal.config.kubernetes.io/previousNames') ?? '').split(',')
  const [left, right] = [objectRef(job), objectRef(model)]
  if (reference === undefined || (left.namespace ?? 'default') !== (right.namespace ?? 'default')) return false
  if (reference === left.name) return true
  return earlier.includes(reference) && PREFIXES.every((key) => annotationOf(job, key) === annotationOf(model, key))
}

const PREFIXES = ['internal.config.kubernetes.io/prefixes', 'internal.config.kubernetes.io/suffixes']

function annotationOf(object: Plain, key: string): string | undefined {
  const value = asPlain(asPlain(object['metadata'])['annotations'])[key]
  return typeof value === 'string' ? value : undefined
}
