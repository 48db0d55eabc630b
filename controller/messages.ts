import { HASH_LABEL, MODEL_LABEL } from '../crds/names.ts'
import {
  bare,
  bytes,
  decoded,
  eachBytes,
  flag,
  inline,
  type Message,
  map,
  number,
  object,
  objects,
  text,
  texts,
  time,
} from './protobuf.ts'
import { COMPLETION_INDEX } from './seen.ts'

/** An annotation of the bookmark behind the last object that there was. */
export const INITIAL_EVENTS_END = 'k8s.io/initial-events-end'

/**
 * What `seen.ts` reads of the built-in kinds, by the numbers that their fields have in `generated.proto` of k8s.io/api
 * and k8s.io/apimachinery. A number is never given to another field.
 */

const METADATA = object('metadata', {
  1: text('name'),
  3: text('namespace'),
  5: text('uid'),
  6: text('resourceVersion'),
  8: time('creationTimestamp'),
  9: time('deletionTimestamp'),
  11: map('labels', [MODEL_LABEL, HASH_LABEL]),
  12: map('annotations', [COMPLETION_INDEX, INITIAL_EVENTS_END]),
  13: objects('ownerReferences', { 1: text('kind'), 3: text('name'), 4: text('uid'), 6: flag('controller') }),
})

const CLAIM: Message = { 1: METADATA, 3: object('status', { 1: text('phase') }) }

/** Jobs and pods have the same ones. */
const CONDITIONS = objects('conditions', {
  1: text('type'),
  2: text('status'),
  4: time('lastTransitionTime'),
  5: text('reason'),
  6: text('message'),
})

/** A Job is known by what it runs, a pod that waits by its image. */
const CONTAINER: Message = { 1: text('name'), 3: texts('command'), 4: texts('args') }
const IMAGE: Message = { 1: text('name'), 2: text('image') }

/** In JSON the source of a volume is not below a key of its own. */
const VOLUME: Message = {
  1: text('name'),
  2: inline({ 10: object('persistentVolumeClaim', { 1: text('claimName') }) }),
}

const TEMPLATE = object('template', {
  1: object('metadata', { 12: map('annotations', [MODEL_LABEL]) }),
  2: object('spec', { 1: objects('volumes', VOLUME), 2: objects('containers', CONTAINER) }),
})

const JOB: Message = {
  1: METADATA,
  2: object('spec', { 2: number('completions'), 6: TEMPLATE, 10: flag('suspend') }),
  3: object('status', { 1: CONDITIONS, 2: time('startTime'), 3: time('completionTime'), 6: number('failed') }),
}

const STATE = object('state', {
  1: object('waiting', { 1: text('reason'), 2: text('message') }),
  2: object('running', {}),
  3: object('terminated', { 1: number('exitCode'), 3: text('reason'), 4: text('message'), 6: time('finishedAt') }),
})

const CONTAINER_STATUS: Message = { 1: text('name'), 2: STATE }

const POD: Message = {
  1: METADATA,
  2: object('spec', { 2: objects('containers', IMAGE), 20: objects('initContainers', IMAGE) }),
  3: object('status', {
    1: text('phase'),
    2: CONDITIONS,
    3: text('message'),
    4: text('reason'),
    6: text('podIP'),
    8: objects('containerStatuses', CONTAINER_STATUS),
    10: objects('initContainerStatuses', CONTAINER_STATUS),
  }),
}

const STATUS: Message = {
  3: text('message'),
  4: text('reason'),
  5: object('details', { 5: number('retryAfterSeconds') }),
  6: number('code'),
}

/** Takes bytes to what they stand for; undefined: they are no such thing. */
export type Read = (bytes: Uint8Array) => unknown

/** How the list of a kind and the events of its watch are read. */
export interface Binary {
  readonly list: Read
  readonly event: Read
}

const LIST: Message = {
  1: object('metadata', { 2: text('resourceVersion'), 3: text('continue') }),
  2: eachBytes('items'),
}

const EVENT: Message = { 1: text('type'), 2: inline({ 1: bytes('raw') }) }

function binary(kind: string, item: Message): Binary {
  return {
    list(all) {
      const { metadata, items } = decoded(all, `${kind}List`, LIST) ?? {}
      if (metadata === undefined) return undefined
      // One without items is empty, and one item that cannot be read is nothing against the others.
      const each = Array.isArray(items) ? items : []
      return { metadata, items: each.map((one) => (one instanceof Uint8Array ? bare(one, item) : undefined)) }
    },
    event(one) {
      const { type, raw } = bare(one, EVENT) ?? {}
      if (!(raw instanceof Uint8Array)) return undefined
      return { type, object: type === 'ERROR' ? status(raw) : decoded(raw, kind, item) }
    },
  }
}

export const claims: Binary = binary('PersistentVolumeClaim', CLAIM)
export const jobs: Binary = binary('Job', JOB)
export const pods: Binary = binary('Pod', POD)

/** The server's refusals. */
export const status: Read = (bytes) => decoded(bytes, 'Status', STATUS)
