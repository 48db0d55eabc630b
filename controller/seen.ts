import { type ArksModel, type Parsed, parseArksModel, readArksModel } from '../crds/arksmodel.ts'
import {
  API_VERSION,
  HASH_LABEL,
  KIND,
  MODEL_LABEL,
  MODELS_PATH,
  MODELS_VOLUME,
  WORKER_CONTAINER,
  WORKER_JOB,
} from '../crds/names.ts'
import { isRecord, type Place, valueAt } from '../crds/place.ts'
import { either } from './key-of.ts'

/** Under this name the API server notes what this controller wrote. */
export const FIELD_MANAGER = 'arksmodel-controller'

/** An annotation of an Indexed Job's pods. */
export const COMPLETION_INDEX = 'batch.kubernetes.io/job-completion-index'

/** What is kept of the API's objects: only what `status` reads. Times are in milliseconds since the epoch. */

interface Seen {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
  readonly createdAt: number
  readonly isDeleting: boolean
}

export interface SeenModel extends Seen {
  readonly generation: number
  /** The first thing wrong with an object that an older CRD let in. */
  readonly problem: string | undefined
  readonly wants: Wanted
  /** Whether a Job is to load it, or it is on the volume already. */
  readonly hasSource: boolean
  /** Absent: the spec names no storage at all. */
  readonly claim: string | undefined
  /** Where the model lies in a pod that mounts the claim at /models. */
  readonly path: string
  /** What the function wrote; absent: it was not rendered. */
  readonly workerJob: string | undefined
  /** `status` as canonical JSON: half the memory of the object. */
  readonly status: string
  /** The field manager that wrote `status` last. */
  readonly statusWriter: string | undefined
}

/** What tells one load from another, as far as both a spec and a Job say it. */
export interface Wanted {
  readonly model: string
  readonly revision: string | undefined
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

export interface SeenClaim extends Seen {
  readonly phase: string
}

export interface SeenJob extends Seen {
  readonly hash: string | undefined
  /** Of the label: the model's name, cut where it is long. */
  readonly model: string | undefined
  /** Absent where the Job runs another program than the loader. */
  readonly loads: Wanted | undefined
  /** Where the loader puts it; absent: nobody can tell. */
  readonly path?: string
  readonly claim: string | undefined
  readonly isSuspended: boolean
  readonly failed: number
  /** How many pods have to succeed. */
  readonly completions: number
  /** When it was started, or started again after it was suspended. */
  readonly startedAt: number | undefined
  readonly end: JobEnd | undefined
}

export interface JobEnd {
  readonly kind: 'Complete' | 'Failed'
  readonly at: number
  readonly reason: string
  readonly message: string
}

export interface SeenPod extends Seen {
  /** The uid and the name of the Job that made it. */
  readonly owner: string
  readonly job: string
  /** Of an Indexed Job. */
  readonly index: number
  readonly phase: string
  readonly ip: string | undefined
  readonly reason: string
  readonly message: string
  /** Why it has no node. */
  readonly unscheduled: Why | undefined
  /** Why the cluster took it away. */
  readonly disrupted: Why | undefined
  /** Of the first container that does not start. */
  readonly waiting: Waiting | undefined
  readonly isRunning: boolean
  readonly end: PodEnd | undefined
}

export interface Why {
  readonly reason: string
  readonly message: string
}

export interface Waiting extends Why {
  readonly image: string
}

/** What an Event said, and when. */
export interface Explanation extends Why {
  /** Absent: the Event bears no time. */
  readonly at?: number
}

export interface PodEnd extends Why {
  readonly exitCode: number
  readonly at: number
}

export function seenModel(object: unknown): SeenModel | undefined {
  const seen = seenObject(object)
  if (seen === undefined) return undefined
  const generation = number(object, ['metadata', 'generation']) ?? 0
  const status = canonical(valueAt(object, ['status']) ?? {})
  const parsed = read(object, valueAt(object, ['status', 'observedGeneration']) === generation ? status : undefined)
  return {
    ...seen,
    generation,
    problem: problem(parsed),
    wants: wants(parsed, object),
    hasSource: isRecord(valueAt(object, ['spec', 'source'])),
    claim: isRecord(valueAt(object, ['spec', 'storage', 'pvc']))
      ? either(seen.name, nonEmpty(object, ['spec', 'storage', 'pvc', 'name']) ?? seen.name)
      : undefined,
    path: `${MODELS_PATH}/${pathBelow(parsed, seen)}`,
    workerJob: nonEmpty(object, ['metadata', 'annotations', WORKER_JOB]),
    status,
    statusWriter: statusWriter(valueAt(object, ['metadata', 'managedFields'])),
  }
}

export function seenClaim(object: unknown): SeenClaim | undefined {
  const seen = seenObject(object)
  return seen && { ...seen, phase: text(object, ['status', 'phase']) }
}

export function seenJob(object: unknown): SeenJob | undefined {
  const seen = seenObject(object)
  if (seen === undefined) return undefined
  const pod = valueAt(object, ['spec', 'template', 'spec'])
  const told = toldIn(named(valueAt(pod, ['containers']), WORKER_CONTAINER))
  const path = told && pathIn(told, object)
  const model = nonEmpty(object, ['metadata', 'labels', MODEL_LABEL])
  const claim = nonEmpty(named(valueAt(pod, ['volumes']), MODELS_VOLUME), ['persistentVolumeClaim', 'claimName'])
  return {
    ...seen,
    hash: nonEmpty(object, ['metadata', 'labels', HASH_LABEL]),
    model,
    loads: told && loads(told),
    ...(path !== undefined && { path }),
    claim: model === undefined || claim === undefined ? claim : either(model, claim),
    // One that was let go has no start until the Job controller has taken note of it.
    isSuspended: valueAt(object, ['spec', 'suspend']) === true || condition(object, 'Suspended', 'True') !== undefined,
    failed: number(object, ['status', 'failed']) ?? 0,
    completions: number(object, ['spec', 'completions']) ?? 1,
    startedAt: time(object, ['status', 'startTime']),
    end: jobEnd(object),
  }
}

export function seenPod(object: unknown): SeenPod | undefined {
  const seen = seenObject(object)
  const owner = list(valueAt(object, ['metadata', 'ownerReferences'])).find(
    (each) => valueAt(each, ['kind']) === 'Job' && valueAt(each, ['controller']) === true,
  )
  if (seen === undefined || owner === undefined) return undefined
  const containers = [
    ...list(valueAt(object, ['status', 'initContainerStatuses'])),
    ...list(valueAt(object, ['status', 'containerStatuses'])),
  ]
  const worker = named(containers, WORKER_CONTAINER)
  return {
    ...seen,
    owner: text(owner, ['uid']),
    job: text(owner, ['name']),
    index: Number(text(object, ['metadata', 'annotations', COMPLETION_INDEX])) || 0,
    phase: text(object, ['status', 'phase']),
    ip: nonEmpty(object, ['status', 'podIP']),
    reason: text(object, ['status', 'reason']),
    message: text(object, ['status', 'message']),
    unscheduled: why(condition(object, 'PodScheduled', 'False')),
    disrupted: why(condition(object, 'DisruptionTarget', 'True')),
    waiting: waiting(containers, object),
    isRunning: isRecord(valueAt(worker, ['state', 'running'])),
    // One that restarts beside the worker may end in whatever way when that is done.
    end: podEnd(text(object, ['status', 'phase']) === 'Succeeded' ? [] : containers, worker),
  }
}

/** JSON with sorted keys, as the API server writes custom resources: mostly there is nothing to sort. */
export const canonical = (value: unknown): string => JSON.stringify(isSorted(value) ? value : sorted(value))

function isSorted(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isSorted)
  if (!isRecord(value)) return true
  let last = ''
  for (const key of Object.keys(value)) {
    if (key < last || !isSorted(value[key])) return false
    last = key
  }
  return true
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isRecord(value)) return value
  return Object.fromEntries(
    Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  )
}

function seenObject(object: unknown): Seen | undefined {
  const [namespace, name] = [text(object, ['metadata', 'namespace']), text(object, ['metadata', 'name'])]
  const [uid, resourceVersion] = [text(object, ['metadata', 'uid']), text(object, ['metadata', 'resourceVersion'])]
  if (namespace === '' || name === '' || uid === '' || resourceVersion === '') return undefined
  return {
    namespace: shared(namespace),
    name,
    uid,
    resourceVersion,
    createdAt: time(object, ['metadata', 'creationTimestamp']) ?? 0,
    isDeleting: time(object, ['metadata', 'deletionTimestamp']) !== undefined,
  }
}

/** A spec that was found to be right is not looked at again, which would be most of the work of a start. */
function read(object: unknown, status: string | undefined): Parsed {
  const [metadata, spec] = [valueAt(object, ['metadata']), valueAt(object, ['spec'])]
  // The items of a list do not say what they are, and what stands in the status is no problem of the spec.
  const model = { apiVersion: API_VERSION, kind: KIND, metadata, spec }
  const wasRight = status?.includes('"reason":"Ready"') === true
  return wasRight ? { ok: true, value: readArksModel(model) } : parseArksModel(model)
}

function problem(parsed: Parsed): string | undefined {
  const [first] = parsed.ok ? [] : parsed.problems
  return first && `${first.path}: ${first.message}`
}

function wants(parsed: Parsed, object: unknown): Wanted {
  if (!parsed.ok || parsed.value.source.kind === 'volume')
    return frugal({ model: text(object, ['spec', 'model']), revision: undefined, include: [], exclude: [] })
  const { revision, include, exclude } = parsed.value.source
  return frugal({ model: parsed.value.model, revision, include, exclude })
}

/** A model and its Job say the same, and many models differ in little. */
const frugal = ({ model, revision, include, exclude }: Wanted): Wanted => ({
  model: shared(model),
  revision: revision === undefined ? undefined : shared(revision),
  include: sharedList(include),
  exclude: sharedList(exclude),
})

const pathBelow = (parsed: Parsed, { namespace, name }: Seen): string =>
  subPath(parsed.ok ? parsed.value : undefined) ?? `models/${namespace}/${name}`

const subPath = (model: ArksModel | undefined): string | undefined => model?.storage.subPath

/** The latest entry of `managedFields` about the status; of the same second, that of another than us. */
function statusWriter(managedFields: unknown): string | undefined {
  const writers = list(managedFields).filter((each) => valueAt(each, ['subresource']) === 'status')
  const latest = Math.max(...writers.map((each) => time(each, ['time']) ?? 0))
  const managers = writers.flatMap((each) =>
    (time(each, ['time']) ?? 0) === latest ? (nonEmpty(each, ['manager']) ?? []) : [],
  )
  return managers.find((manager) => manager !== FIELD_MANAGER) ?? managers[0]
}

interface Told {
  readonly model: string
  /** By their names, with their values as they are written. */
  readonly flags: ReadonlyMap<string, readonly string[]>
}

/** The arguments that the function writes: the model first, then flags, each with its value. */
function toldIn(container: unknown): Told | undefined {
  const command = list(valueAt(container, ['command']))
  const [model, ...flags] = list(valueAt(container, ['args'])).map((each) => (typeof each === 'string' ? each : ''))
  if (command.at(-1) !== 'arksmodel-loader' || model === undefined || model.startsWith('-')) return undefined
  const given = new Map<string, string[]>()
  for (let index = 0; index < flags.length; index++) {
    const [flag = '', ...joined] = (flags[index] ?? '').split('=')
    const value = joined.length > 0 ? joined.join('=') : flags[++index]
    if (value === undefined) break
    // Not a new list for each: there may be as many as an object has room for.
    const values = given.get(flag)
    if (values === undefined) given.set(flag, [value])
    else values.push(value)
  }
  return { model, flags: given }
}

function loads({ model, flags }: Told): Wanted {
  const all = (flag: string): readonly string[] => (flags.get(flag) ?? []).map(unescaped)
  return frugal({
    model: unescaped(model),
    revision: all('--revision').at(-1),
    include: all('--include'),
    exclude: all('--exclude'),
  })
}

/** With the variables that the function takes from the pod's own metadata, which are the final ones. */
function pathIn({ flags }: Told, job: unknown): string | undefined {
  const variables: Readonly<Record<string, string>> = {
    $$: '$',
    '$(NAMESPACE)': text(job, ['metadata', 'namespace']),
    '$(MODEL)': text(job, ['spec', 'template', 'metadata', 'annotations', MODEL_LABEL]),
  }
  let isKnown = true
  const path = flags
    .get('--to')
    ?.at(-1)
    ?.replaceAll(/\$\$|\$\([^()]*\)/g, (found) => {
      const value = variables[found] ?? ''
      isKnown &&= value !== ''
      return value
    })
  return path !== undefined && isKnown && path.startsWith('/') ? shared(path) : undefined
}

/** Kubernetes expands `$(NAME)` in arguments, and `$$` to `$`. */
const unescaped = (argument: string): string => argument.replaceAll('$$', '$')

/**
 * Its conditions of these types are never taken back. `SuccessCriteriaMet` is no end: pods may still run; `FailureTarget`
 * is one, for nothing that follows can make a success of it.
 */
function jobEnd(object: unknown): JobEnd | undefined {
  const complete = condition(object, 'Complete', 'True')
  if (complete !== undefined)
    return {
      kind: 'Complete',
      at: time(object, ['status', 'completionTime']) ?? endedAt(complete),
      ...reasons(complete),
    }
  const failed = condition(object, 'Failed', 'True') ?? condition(object, 'FailureTarget', 'True')
  return failed === undefined ? undefined : { kind: 'Failed', at: endedAt(failed), ...reasons(failed) }
}

const endedAt = (condition: unknown): number => time(condition, ['lastTransitionTime']) ?? 0

function waiting(statuses: readonly unknown[], object: unknown): Waiting | undefined {
  const all = statuses.filter((each) => isRecord(valueAt(each, ['state', 'waiting'])))
  // The worker waits for init containers, which is no reason of its own.
  const first = all.find((each) => text(each, ['state', 'waiting', 'reason']) !== 'PodInitializing') ?? all[0]
  if (first === undefined) return undefined
  const name = text(first, ['name'])
  const specs = [...list(valueAt(object, ['spec', 'initContainers'])), ...list(valueAt(object, ['spec', 'containers']))]
  return { ...reasons(valueAt(first, ['state', 'waiting'])), image: text(named(specs, name), ['image']) }
}

/** The worker's if it ended badly, or that of another container that did, or the worker's good one. */
function podEnd(statuses: readonly unknown[], worker: unknown): PodEnd | undefined {
  const ended = [worker, ...statuses].map((each) => valueAt(each, ['state', 'terminated'])).filter(isRecord)
  const found =
    ended.find((each) => each['exitCode'] !== 0) ?? (isRecord(valueAt(worker, ENDED)) ? ended[0] : undefined)
  if (found === undefined) return undefined
  return { exitCode: number(found, ['exitCode']) ?? 0, at: time(found, ['finishedAt']) ?? 0, ...reasons(found) }
}

const ENDED: Place = ['state', 'terminated']

const reasons = (from: unknown): Why => ({
  reason: shared(text(from, ['reason'])),
  message: shared(text(from, ['message'])),
})

const why = (from: unknown): Why | undefined => (isRecord(from) ? reasons(from) : undefined)

const condition = (object: unknown, type: string, status: string): unknown =>
  list(valueAt(object, ['status', 'conditions'])).find(
    (each) => valueAt(each, ['type']) === type && valueAt(each, ['status']) === status,
  )

const named = (items: unknown, name: string): unknown => list(items).find((each) => valueAt(each, ['name']) === name)

/** The same text of thousands of objects is kept once. */
function shared(text: string): string {
  if (text.length > LONGEST_SHARED) return text
  const known = texts.get(text)
  if (known !== undefined) return known
  if (texts.size >= MOST_SHARED) texts.clear()
  texts.set(text, text)
  return text
}

const texts = new Map<string, string>()
const MOST_SHARED = 4000
/** What is longer tells of one object alone. */
const LONGEST_SHARED = 100

function sharedList(list: readonly string[]): readonly string[] {
  if (list.length === 0) return NONE
  const text = JSON.stringify(list)
  const known = lists.get(text)
  if (known !== undefined) return known
  const kept = list.map(shared)
  if (text.length > LONGEST_SHARED) return kept
  if (lists.size >= MOST_SHARED) lists.clear()
  lists.set(text, kept)
  return kept
}

const lists = new Map<string, readonly string[]>()
const NONE: readonly string[] = []

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

const text = (object: unknown, place: Place): string => nonEmpty(object, place) ?? ''

function nonEmpty(object: unknown, place: Place): string | undefined {
  const value = valueAt(object, place)
  return typeof value === 'string' && value !== '' ? value : undefined
}

function number(object: unknown, place: Place): number | undefined {
  const value = valueAt(object, place)
  return typeof value === 'number' ? value : undefined
}

function time(object: unknown, place: Place): number | undefined {
  const ms = Date.parse(text(object, place))
  return Number.isNaN(ms) ? undefined : ms
}
