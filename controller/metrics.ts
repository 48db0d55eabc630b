import { PHASES, type Phase } from '../crds/arksmodel.ts'
import { type Answered, METHODS } from './client.ts'
import type { Result } from './queue.ts'

export interface QueueState {
  readonly depth: number
  readonly activeWorkers: number
  /** The sum over all keys in work. */
  readonly unfinishedSeconds: number
  readonly longestSeconds: number
}

export interface CacheState {
  readonly objects: number
  /** Since the API server was last heard of. */
  readonly silentSeconds: number
}

export interface Requested extends Pick<Answered, 'verb' | 'code'> {
  readonly host: string
}

/** What is counted, one recorder each. None throws, whatever the value. */
export interface Metrics {
  reconciled(result: Result, seconds: number): void
  maxConcurrentReconciles(count: number): void
  queueAdded(): void
  /** A key's turn came after so long. */
  queueWaited(seconds: number): void
  queueWorked(seconds: number): void
  queueRetried(): void
  queue(state: QueueState): void
  requested(request: Requested): void
  leading(name: string, isLeading: boolean): void
  /** All models there are. A phase that is left out has none. */
  phases(counts: Readonly<Partial<Record<Phase, number>>>): void
  loaded(bytes: number): void
  /** For the first time, so long after the model was created. */
  becameReady(seconds: number): void
  watchRestarted(resource: string): void
  relisted(resource: string): void
  drifted(resource: string, objects: number): void
  cache(resource: string, state: CacheState): void
  eventDropped(): void
  statusConflicted(): void
  foreignStatusWritten(): void
  /** `look` runs before each answer, for what is true only at the moment it is asked for. */
  beforeText(look: () => void): void
  text(): Promise<{ readonly type: string; readonly body: string }>
}

const CONTROLLER = 'arksmodel'

/** Those of controller-runtime: dashboards and alerts are written for them. */
const RECONCILE_SECONDS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2,
  2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
]
const QUEUE_SECONDS = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1000]
/** From a model that lies in a cache next door to a day of a slow line. */
const READY_SECONDS = [1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400]

/** Without prom-client, which costs 20 MB, where nobody asks for metrics. */
export const noMetrics: Metrics = {
  reconciled: () => undefined,
  maxConcurrentReconciles: () => undefined,
  queueAdded: () => undefined,
  queueWaited: () => undefined,
  queueWorked: () => undefined,
  queueRetried: () => undefined,
  queue: () => undefined,
  requested: () => undefined,
  leading: () => undefined,
  phases: () => undefined,
  loaded: () => undefined,
  becameReady: () => undefined,
  watchRestarted: () => undefined,
  relisted: () => undefined,
  drifted: () => undefined,
  cache: () => undefined,
  eventDropped: () => undefined,
  statusConflicted: () => undefined,
  foreignStatusWritten: () => undefined,
  beforeText: () => undefined,
  text: async () => ({ type: 'text/plain; version=0.0.4; charset=utf-8', body: '' }),
}

export async function metrics(): Promise<Metrics> {
  const { Registry, Counter, Gauge, Histogram, collectDefaultMetrics } = (await import('prom-client')).default
  const registry = new Registry()
  const registers = [registry]
  // Waking up every 10 ms, as is the default, takes 0.4 % of a core.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LAG_EVERY_MS })

  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers })
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Gauge({ name, help, labelNames, registers })
  const histogram = <L extends string>(name: string, help: string, buckets: number[], ...labelNames: L[]) =>
    new Histogram({ name, help, buckets, labelNames, registers })

  const reconciles = counter(
    'controller_runtime_reconcile_total',
    'Total number of reconciliations per controller',
    'controller',
    'result',
  )
  const reconcileErrors = counter(
    'controller_runtime_reconcile_errors_total',
    'Total number of reconciliation errors per controller',
    'controller',
  )
  const reconcileSeconds = histogram(
    'controller_runtime_reconcile_time_seconds',
    'Length of time per reconciliation per controller',
    RECONCILE_SECONDS,
    'controller',
  )
  const activeWorkers = gauge(
    'controller_runtime_active_workers',
    'Number of currently used workers per controller',
    'controller',
  )
  const maxWorkers = gauge(
    'controller_runtime_max_concurrent_reconciles',
    'Maximum number of concurrent reconciles per controller',
    'controller',
  )

  const depth = gauge('workqueue_depth', 'Keys that wait for their turn', 'name', 'controller')
  const adds = counter('workqueue_adds_total', 'Keys added', 'name', 'controller')
  const queueSeconds = histogram(
    'workqueue_queue_duration_seconds',
    'How long a key waited for its turn',
    QUEUE_SECONDS,
    'name',
    'controller',
  )
  const workSeconds = histogram(
    'workqueue_work_duration_seconds',
    'How long a key was in work',
    QUEUE_SECONDS,
    'name',
    'controller',
  )
  const unfinished = gauge(
    'workqueue_unfinished_work_seconds',
    'Sum of the times that the keys now in work have been so',
    'name',
    'controller',
  )
  const longest = gauge(
    'workqueue_longest_running_processor_seconds',
    'How long the key that is longest in work has been so',
    'name',
    'controller',
  )
  const queueRetries = counter('workqueue_retries_total', 'Keys added for later', 'name', 'controller')

  const requests = counter(
    'rest_client_requests_total',
    'Requests to the API server by status code, method and host',
    'code',
    'method',
    'host',
  )
  const master = gauge(
    'leader_election_master_status',
    'Whether this process holds the lease: 1 leader, 0 standby',
    'name',
  )

  const phase = gauge('arksmodel_phase', 'Number of models in a phase', 'phase')
  const loadBytes = counter('arksmodel_load_bytes_total', 'Size of the models whose load ended well')
  const readySeconds = histogram(
    'arksmodel_ready_seconds',
    'From the creation of a model until it was ready for the first time',
    READY_SECONDS,
  )
  const watchRestarts = counter('arksmodel_watch_restarts_total', 'Watches opened again', 'resource')
  const relists = counter('arksmodel_relists_total', 'Lists read again from the beginning', 'resource')
  const drift = counter(
    'arksmodel_cache_drift_total',
    'Objects in which a list differed from the cache without an event: always 0 unless events were lost',
    'resource',
  )
  const cacheObjects = gauge('arksmodel_cache_objects', 'Objects in the cache', 'resource')
  const watchSilent = gauge(
    'arksmodel_watch_silent_seconds',
    'Time since the API server was last heard of on a watch',
    'resource',
  )
  const eventsDropped = counter('arksmodel_events_dropped_total', 'Events that were refused, failed or were too many')
  const statusConflicts = counter('arksmodel_status_conflicts_total', 'Status writes that came too late: looked again')
  const foreignWrites = counter(
    'arksmodel_foreign_status_writes_total',
    'Times that somebody else had written a status',
  )

  const controller = { controller: CONTROLLER }
  const named = { name: CONTROLLER, controller: CONTROLLER }
  const looks: (() => void)[] = []

  // A rate over a counter that comes into being with its first error does not see that error.
  for (const result of ['success', 'error', 'requeue', 'requeue_after'] as const)
    reconciles.inc({ ...controller, result }, 0)
  reconcileErrors.inc(controller, 0)
  for (const count of [adds, queueRetries]) count.inc(named, 0)
  reconcileSeconds.zero(controller)
  for (const times of [queueSeconds, workSeconds]) times.zero(named)
  for (const state of [depth, unfinished, longest]) state.set(named, 0)
  for (const workers of [activeWorkers, maxWorkers]) workers.set(controller, 0)
  for (const name of PHASES) phase.set({ phase: name }, 0)

  return {
    reconciled(result, seconds) {
      reconciles.inc({ ...controller, result })
      if (result === 'error') reconcileErrors.inc(controller)
      reconcileSeconds.observe(controller, known(seconds))
    },
    maxConcurrentReconciles: (count) => maxWorkers.set(controller, known(count)),
    queueAdded: () => adds.inc(named),
    queueWaited: (seconds) => queueSeconds.observe(named, known(seconds)),
    queueWorked: (seconds) => workSeconds.observe(named, known(seconds)),
    queueRetried: () => queueRetries.inc(named),
    queue(state) {
      depth.set(named, known(state.depth))
      activeWorkers.set(controller, known(state.activeWorkers))
      unfinished.set(named, known(state.unfinishedSeconds))
      longest.set(named, known(state.longestSeconds))
    },
    requested({ verb, code, host }) {
      // As client-go labels them.
      requests.inc({ code, method: METHODS[verb], host })
    },
    leading: (name, isLeading) => master.set({ name }, isLeading ? 1 : 0),
    phases(counts) {
      for (const name of PHASES) phase.set({ phase: name }, known(counts[name] ?? 0))
    },
    loaded: (bytes) => loadBytes.inc(known(bytes)),
    becameReady: (seconds) => readySeconds.observe(known(seconds)),
    watchRestarted: (resource) => watchRestarts.inc({ resource }),
    relisted: (resource) => relists.inc({ resource }),
    drifted: (resource, objects) => drift.inc({ resource }, known(objects)),
    cache(resource, { objects, silentSeconds }) {
      cacheObjects.set({ resource }, known(objects))
      watchSilent.set({ resource }, known(silentSeconds))
      // From the first look on they are there, at 0.
      for (const count of [watchRestarts, relists, drift]) count.inc({ resource }, 0)
    },
    eventDropped: () => eventsDropped.inc(),
    statusConflicted: () => statusConflicts.inc(),
    foreignStatusWritten: () => foreignWrites.inc(),
    beforeText: (look) => {
      looks.push(look)
    },
    async text() {
      for (const look of looks) look()
      return { type: registry.contentType, body: await registry.metrics() }
    },
  }
}

const LAG_EVERY_MS = 20

/** A clock may be set back, a report may lack its number: the library would throw. */
const known = (amount: number): number => (Number.isFinite(amount) && amount > 0 ? amount : 0)
