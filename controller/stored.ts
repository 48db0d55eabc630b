import { CONDITION_TYPES, PHASES, type Phase } from '../crds/arksmodel.ts'
import { isRecord, valueAt } from '../crds/place.ts'
import type { Condition } from './conditions.ts'
import { timestamp } from './times.ts'

export interface Status {
  readonly phase: Phase
  /** The generation that was looked at; -1 where nobody has looked yet. */
  readonly observedGeneration: number
  readonly conditions: readonly Condition[]
  readonly worker?: Worker
  readonly model?: LoadedModel
  readonly progress?: Progress
}

/** What "loaded" is a fact about: this Job and this claim. */
export interface Worker {
  readonly jobName: string
  readonly hash?: string
  readonly pvcUID: string
  readonly loadedAt?: string
  /** What the Job was told to load. */
  readonly model?: string
  readonly revision?: string
  /** Something else was loaded into the same path: nothing that ended until then counts any more. */
  readonly revokedAt?: string
}

export interface LoadedModel {
  readonly path: string
  readonly commit?: string
  readonly files?: number
  readonly bytes?: number
}

export interface Progress {
  /** Whose progress it is. */
  readonly jobName?: string
  readonly percent: number
  readonly loadedBytes: number
  readonly totalBytes: number
  readonly bytesPerSecond?: number
}

let last: { readonly text: string; readonly status: Status } | undefined

/** What is there already, as far as it can be understood. One model's is asked for several times in a row. */
export function parseStatus(text: string): Status {
  if (last?.text !== text) last = { text, status: parsed(text) }
  return last.status
}

function parsed(text: string): Status {
  const status: unknown = JSON.parse(text)
  const phase = PHASES.find((each) => each === valueAt(status, ['phase'])) ?? 'Pending'
  const observed = valueAt(status, ['observedGeneration'])
  const [worker, model, progress] = [workerIn(status), modelIn(status), progressIn(status)]
  return {
    phase,
    observedGeneration: typeof observed === 'number' ? observed : -1,
    conditions: conditionsIn(valueAt(status, ['conditions'])),
    ...(worker && { worker }),
    ...(model && { model }),
    ...(progress && { progress }),
  }
}

function conditionsIn(value: unknown): readonly Condition[] {
  if (!Array.isArray(value)) return []
  return value.flatMap((each: unknown) => {
    const type = CONDITION_TYPES.find((name) => name === valueAt(each, ['type']))
    const truth = (['True', 'False', 'Unknown'] as const).find((name) => name === valueAt(each, ['status']))
    if (type === undefined || truth === undefined) return []
    const generation = valueAt(each, ['observedGeneration'])
    return [
      {
        type,
        status: truth,
        reason: textIn(each, 'reason') ?? '',
        message: textIn(each, 'message') ?? '',
        observedGeneration: typeof generation === 'number' ? generation : -1,
        lastTransitionTime: textIn(each, 'lastTransitionTime') ?? timestamp(0),
      },
    ]
  })
}

function workerIn(status: unknown): Worker | undefined {
  const worker = valueAt(status, ['worker'])
  const [jobName, pvcUID] = [textIn(worker, 'jobName'), textIn(worker, 'pvcUID')]
  if (jobName === undefined || pvcUID === undefined) return undefined
  return { jobName, pvcUID, ...textsIn(worker, ['hash', 'loadedAt', 'model', 'revision', 'revokedAt']) }
}

function modelIn(status: unknown): LoadedModel | undefined {
  const model = valueAt(status, ['model'])
  const path = textIn(model, 'path')
  return path === undefined
    ? undefined
    : { path, ...textsIn(model, ['commit']), ...numbersIn(model, ['files', 'bytes']) }
}

function progressIn(status: unknown): Progress | undefined {
  const progress = valueAt(status, ['progress'])
  const { percent, loadedBytes, totalBytes, ...others } = numbersIn(progress, [
    'percent',
    'loadedBytes',
    'totalBytes',
    'bytesPerSecond',
  ])
  if (percent === undefined || loadedBytes === undefined || totalBytes === undefined) return undefined
  return { ...textsIn(progress, ['jobName']), percent, loadedBytes, totalBytes, ...others }
}

function textIn(object: unknown, key: string): string | undefined {
  const value = valueAt(object, [key])
  return typeof value === 'string' ? value : undefined
}

const textsIn = <K extends string>(object: unknown, keys: readonly K[]): { [key in K]?: string } =>
  picked(object, keys, (value) => (typeof value === 'string' ? value : undefined))

const numbersIn = <K extends string>(object: unknown, keys: readonly K[]): { [key in K]?: number } =>
  picked(object, keys, (value) => (typeof value === 'number' ? value : undefined))

function picked<K extends string, V>(
  object: unknown,
  keys: readonly K[],
  take: (value: unknown) => V | undefined,
): { [key in K]?: V } {
  const found: { [key in K]?: V } = {}
  if (!isRecord(object)) return found
  for (const key of keys) {
    const value = take(object[key])
    if (value !== undefined) found[key] = value
  }
  return found
}
