import { setTimeout as sleep } from 'node:timers/promises'
import { MODEL_LABEL } from '../crds/names.ts'
import { valueAt } from '../crds/place.ts'
import type { Caches } from './catalogue.ts'
import type { Client } from './client.ts'
import type { Log } from './log.ts'
import * as messages from './messages.ts'
import type { Metrics } from './metrics.ts'
import { type Change, type CollectionState, type Item, type Reflector, reflector, type Source } from './reflector.ts'
import {
  type SeenClaim,
  type SeenJob,
  type SeenModel,
  type SeenPod,
  seenClaim,
  seenJob,
  seenModel,
  seenPod,
} from './seen.ts'

/** The collections that the controller looks at, whole or of some namespaces. */
export interface Watches extends Caches {
  readonly models: Watched<SeenModel>
  readonly claims: Watched<SeenClaim>
  readonly jobs: Watched<SeenJob>
  readonly pods: Watched<SeenPod>
  /** Names what has not been listed yet; undefined: nothing. */
  unsynced(): string | undefined
  /** Names what has been silent for long while the server answered others; undefined: nothing. */
  stuck(): string | undefined
  stop(): Promise<void>
}

export interface Watched<T extends Item> {
  get(key: string): T | undefined
  values(): Iterable<T>
  size(): number
  /** The answer to a write of ours; undefined: it is no such object. */
  put(object: unknown): T | undefined
  isSynced(): boolean
  /** Of the one that has been silent the longest. */
  silentMs(): number
  stop(): Promise<void>
}

export interface WatchOptions {
  readonly client: Client
  /** None: all. */
  readonly namespaces: readonly string[]
  readonly log: Log
  readonly metrics: Metrics
  readonly onModel: (change: Change<SeenModel>) => void
  readonly onClaim: (change: Change<SeenClaim>) => void
  readonly onJob: (change: Change<SeenJob>) => void
  readonly onPod: (change: Change<SeenPod>) => void
}

const RESOURCES = {
  arksmodels: { group: 'apis/arks.ai/v1' },
  persistentvolumeclaims: { group: 'api/v1', binary: messages.claims },
  jobs: { group: 'apis/batch/v1', labelSelector: MODEL_LABEL, binary: messages.jobs },
  // Upstream's serving pods carry the model's label, too.
  pods: {
    group: 'api/v1',
    labelSelector: `${MODEL_LABEL},app.kubernetes.io/component=worker`,
    binary: messages.pods,
  },
} as const

type ResourceName = keyof typeof RESOURCES

/** The server sends a bookmark each minute, so all of them speak. */
const STUCK_MS = 5 * 60_000
const ALIVE_MS = 2 * 60_000

export function watches(options: WatchOptions): Watches {
  const models = watched(options, 'arksmodels', { trimmed: seenModel, onChange: options.onModel })
  const claims = watched(options, 'persistentvolumeclaims', { trimmed: seenClaim, onChange: options.onClaim })
  const jobs = watched(options, 'jobs', { trimmed: seenJob, onChange: options.onJob })
  const pods = watched(options, 'pods', { trimmed: seenPod, onChange: options.onPod })
  const all = Object.entries({ arksmodels: models, persistentvolumeclaims: claims, jobs, pods })
  const names = (isSo: (each: Pick<Watched<Item>, 'isSynced' | 'silentMs'>) => boolean): string =>
    all.flatMap(([name, each]) => (isSo(each) ? [name] : [])).join(', ')
  return {
    models,
    claims,
    jobs,
    pods,
    unsynced() {
      const missing = names((each) => !each.isSynced())
      return missing === '' ? undefined : `not listed yet: ${missing}`
    },
    stuck() {
      const answersOthers = all.some(([, each]) => each.silentMs() < ALIVE_MS)
      const silent = names((each) => each.isSynced() && each.silentMs() > STUCK_MS)
      return answersOthers && silent !== '' ? `nothing heard for ${STUCK_MS / 60_000} min: ${silent}` : undefined
    },
    async stop() {
      await Promise.all(all.map(([, each]) => each.stop()))
    },
  }
}

interface Kind<T extends Item> {
  readonly trimmed: Source<T>['trimmed']
  readonly onChange: (change: Change<T>) => void
}

function watched<T extends Item>(options: WatchOptions, name: ResourceName, kind: Kind<T>): Watched<T> {
  const places = options.namespaces.length === 0 ? [undefined] : options.namespaces
  const parts = new Map(places.map((namespace) => [namespace, watch(options, { name, namespace, ...kind })]))
  const all = [...parts.values()]
  const partOf = (key: string): Reflector<T> | undefined =>
    parts.get(undefined) ?? parts.get(key.slice(0, key.indexOf('/')))
  return {
    get: (key) => partOf(key)?.get(key),
    *values() {
      for (const each of all) yield* each.values()
    },
    size: () => all.reduce((sum, each) => sum + each.size, 0),
    put: (object) => partOf(`${valueAt(object, ['metadata', 'namespace'])}/`)?.put(object),
    isSynced: () => all.every((each) => each.isSynced()),
    silentMs: () => Math.max(...all.map((each) => each.silentMs())),
    async stop() {
      await Promise.all(all.map((each) => each.stop()))
    },
  }
}

interface Part<T extends Item> extends Kind<T> {
  readonly name: ResourceName
  readonly namespace: string | undefined
}

function watch<T extends Item>(
  { client, log, metrics }: WatchOptions,
  { name, namespace, trimmed, onChange }: Part<T>,
): Reflector<T> {
  const { group, ...selected } = RESOURCES[name]
  const path = namespace === undefined ? `/${group}/${name}` : `/${group}/namespaces/${namespace}/${name}`
  const fields = { resource: name, ...(namespace !== undefined && { namespace }) }
  return reflector({
    client,
    source: { path, trimmed, isStreamed: true, ...selected },
    onChange,
    now: () => performance.now(),
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    random: Math.random,
    onTrouble: (error, retryInMs) =>
      log.warn('Cannot watch; trying again', { ...fields, error, retryInSeconds: Math.round(retryInMs / 100) / 10 }),
    onHandlerError: (error) => log.error('A change was not handled; this is a bug', { ...fields, error }),
    onCollection: (state) => tellState(log, fields, state),
    onCount(counted) {
      if (counted === 'relist') metrics.relisted(name)
      if (counted === 'watchRestart') metrics.watchRestarted(name)
      if (counted === 'drift') metrics.drifted(name, 1)
      if (counted === 'badLine' || counted === 'badObject') log.warn('The API server sent something unreadable', fields)
      if (counted === 'drift') log.error('The cache differed from the API server; this is a bug', fields)
    },
  })
}

function tellState(
  log: Log,
  fields: { readonly resource: ResourceName; readonly namespace?: string },
  state: CollectionState,
): void {
  const { kind } = state
  if (kind === 'served') log.info('It is served now', fields)
  else log.error(kind === 'missing' ? missing(fields.resource) : FORBIDDEN, { ...fields, said: state.message })
}

const FORBIDDEN = 'The API server forbids to list and watch; bind the role of the controller to its user'

const missing = (resource: ResourceName): string =>
  resource === 'arksmodels'
    ? 'The cluster does not know ArksModels: install the CRD with `kubectl apply -k kustomize/crds`; waiting for it'
    : 'The API server does not serve what is watched; waiting for it'
