import { createHash, randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { PHASES } from '../crds/arksmodel.ts'
import type { Access } from './access.ts'
import { announcement } from './announce.ts'
import type { Options } from './arguments.ts'
import { ask } from './ask.ts'
import { catalogue, phaseIn } from './catalogue.ts'
import { ApiError, type Client, client } from './client.ts'
import { type Elector, elector } from './elector.ts'
import { type Recorder, recorder } from './events.ts'
import { explanation } from './explain.ts'
import type { Log } from './log.ts'
import type { Memory } from './memory.ts'
import type { Metrics } from './metrics.ts'
import type { Subject } from './observed.ts'
import { follower } from './progress.ts'
import { type Queue, queue } from './queue.ts'
import { reconcile, type Written } from './reconcile.ts'
import type { Explanation, SeenModel } from './seen.ts'
import { regarding, writeStatus } from './status-writer.ts'
import { type Watches, watches } from './watches.ts'

export interface Controller {
  /** Why it is of no use any more, for a liveness probe. */
  alive(): string | undefined
  /** Why it is not to be counted on yet, for a readiness probe. */
  ready(): string | undefined
  /** Finishes what is in work and gives the lease back. */
  stop(): Promise<void>
}

export interface Surroundings {
  readonly options: Options
  readonly access: Access
  readonly log: Log
  readonly metrics: Metrics
  /** The lease is lost: the process must end, for another one writes now. */
  readonly onDeposed: (why: string) => void
}

/** What more of the same may follow within this time becomes one write. */
const GATHER_MS = 200
/** A burst of statuses goes first. */
const EVENTS_MS = 500
const DRAIN_MS = 20_000
const FLUSH_MS = 2_000
const RELEASE_MS = 5_000
const LOOK_MS = 20
const REFRESH_MS = 60_000
const LEASE = 'arksmodel-controller'

/** All parts put together; it works as soon as everything is listed and, where there are others, it leads. */
export function controller(around: Surroundings): Controller {
  const { options, access, log, metrics } = around
  const { host } = new URL(access.server)
  const api = client({
    access,
    onAnswer: ({ verb, code }) => metrics.requested({ verb, code, host }),
  })
  const identity = `${hostname()}_${randomBytes(8).toString('hex')}`
  const events = recorder({
    client: api,
    instance: identity,
    now: Date.now,
    after,
    delayMs: EVENTS_MS,
    suffix: () => randomBytes(8).toString('hex'),
    log,
    onDropped: metrics.eventDropped,
  })
  const caches = watches({
    client: api,
    namespaces: options.namespaces,
    log,
    metrics,
    onModel: (change) => related.modelChanged(change),
    onClaim: (change) => related.claimChanged(change),
    onJob: (change) => related.jobChanged(change),
    onPod: (change) => related.podChanged(change),
  })
  const memories = new Map<string, Memory>()
  const related = catalogue({
    caches,
    digest: (text) => createHash('sha256').update(text).digest('hex'),
    isSent: (key, status) => memories.get(key)?.sent === status,
    onNews: (key, isFinal) => (isFinal ? keys.add(key) : keys.addAfter(key, GATHER_MS)),
  })
  const progress = follower({
    ask,
    clock,
    after,
    onProgress(key, told) {
      const memory = memories.get(key)
      if (memory === undefined) return
      memory.progress = told
      keys.add(key)
    },
  })
  const keys: Queue = workQueue(around, (key) => {
    // Nothing is planned for one that is gone.
    if (caches.models.get(key) === undefined) keys.forget(key)
    return reconcile(
      {
        catalogue: related,
        memories,
        now: Date.now,
        explain: (subject) => explained(api, log, subject),
        write: async (model, patch) => {
          if (options.isDryRun) return model
          // The process is about to end, or to lead again.
          if (election?.isLeading() === false) return 'conflict'
          return writeStatus(
            { client: api, put: caches.models.put, onConflict: metrics.statusConflicted },
            model,
            patch,
          )
        },
        onWritten: (told) => announce(around, events, told),
        onIntrusion(model) {
          metrics.foreignStatusWritten()
          log.debug('Another controller has written this status', { ...named(model), by: model.statusWriter })
        },
        follow: (each, seen) => progress.follow(each, options.asksProgress && seen !== undefined ? seen.pods : []),
      },
      key,
    )
  })
  const stopping = new AbortController()
  let mayWrite = false
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const resume = (): void => {
    if (!mayWrite || caches.unsynced() !== undefined) return
    keys.resume()
    begin()
  }
  const election = elected(around, {
    api,
    identity,
    onStarted() {
      mayWrite = true
      resume()
    },
  })
  mayWrite ||= election === undefined
  const synced = async (): Promise<void> => {
    while (caches.unsynced() !== undefined) await sleep(LOOK_MS, undefined, { signal: stopping.signal })
    log.info('Synced', {
      models: caches.models.size(),
      claims: caches.claims.size(),
      jobs: caches.jobs.size(),
      pods: caches.pods.size(),
    })
    resume()
    await begun
    while (keys.depth + keys.active > 0) await sleep(LOOK_MS, undefined, { signal: stopping.signal })
    log.debug('All models have been looked at')
    // V8 would keep what the start took. Only there with --expose-gc.
    globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  }
  const refresh = setInterval(events.refresh, REFRESH_MS)
  synced().catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error
  })
  metrics.maxConcurrentReconciles(options.workers)
  metrics.beforeText(() => tellState(metrics, caches, keys))

  return {
    alive: caches.stuck,
    ready: () => (stopping.signal.aborted ? 'stopping' : caches.unsynced()),
    async stop() {
      stopping.abort()
      clearInterval(refresh)
      progress.stop()
      await keys.drain(DRAIN_MS)
      await events.flush(FLUSH_MS)
      // A server that does not answer must not hold us past the grace period.
      await Promise.race([election?.release(), sleep(RELEASE_MS)])
      await caches.stop()
      api.close()
    },
  }
}

const clock = (): number => performance.now()

function after(ms: number, call: () => void): () => void {
  const timer = setTimeout(call, ms)
  return () => clearTimeout(timer)
}

interface Electing {
  readonly api: Client
  readonly identity: string
  readonly onStarted: () => void
}

/** Undefined: there are no others. */
function elected(
  { options, access, log, metrics, onDeposed }: Surroundings,
  { api, identity, onStarted }: Electing,
): Elector | undefined {
  if (!options.leaderElect || options.isDryRun) return undefined
  const namespace = options.leaseNamespace ?? access.namespace
  const lease = `${namespace}/${LEASE}`
  metrics.leading(LEASE, false)
  return elector({
    client: api,
    namespace,
    name: LEASE,
    identity,
    clock,
    wallClock: Date.now,
    random: Math.random,
    sleep: async (ms, signal) => {
      await sleep(ms, undefined, { signal })
    },
    onStarted() {
      metrics.leading(LEASE, true)
      log.info('Leading', { lease, identity })
      onStarted()
    },
    onStopped(why) {
      metrics.leading(LEASE, false)
      onDeposed(why)
    },
    onNewLeader(leader) {
      if (leader !== identity) log.info('Another one leads', { lease, leader })
    },
    onTrouble: (error) => log.warn('Cannot renew or take the lease; trying again', { lease, error }),
  })
}

function workQueue(
  { options, log, metrics }: Surroundings,
  process: (key: string) => ReturnType<typeof reconcile>,
): Queue {
  return queue({
    process,
    workers: options.workers,
    clock,
    after,
    random: Math.random,
    isPaused: true,
    onError(key, error, retryInMs) {
      const [namespace, name] = key.split('/')
      const retryInSeconds = Math.round(retryInMs / 100) / 10
      // Only what is no answer of the server may be a bug.
      const stack = error instanceof Error && !(error instanceof ApiError) ? error.stack : undefined
      log.error('Cannot bring the status up to date; trying again', { namespace, name, error, retryInSeconds, stack })
    },
    hooks: {
      added: metrics.queueAdded,
      started: (_, seconds) => metrics.queueWaited(seconds),
      done(_, seconds, result) {
        metrics.queueWorked(seconds)
        metrics.reconciled(result, seconds)
      },
      retried: metrics.queueRetried,
    },
  })
}

/** Without an explanation the status is true, too. */
async function explained(api: Client, log: Log, subject: Subject): Promise<Explanation | undefined> {
  try {
    return await explanation(api, subject)
  } catch (error) {
    log.warn('Cannot read Events', { namespace: subject.namespace, about: subject.kind, error })
    return undefined
  }
}

function announce({ log, metrics, options }: Surroundings, events: Recorder, { model, before, after }: Written): void {
  const told = announcement(before, after)
  const verb = options.isDryRun ? 'Would write status' : 'Status written'
  if (told === undefined) {
    log.debug(verb, { ...named(model), phase: after.phase, percent: after.progress?.percent })
    return
  }
  log[told.level](options.isDryRun ? `Would write: ${told.message}` : told.message, {
    ...named(model),
    phase: after.phase,
    reason: told.reason,
  })
  if (options.isDryRun) return
  if (told.event !== undefined) events.record(regarding(model), told.event)
  const isNew = after.phase === 'Ready' && after.worker?.loadedAt !== before.worker?.loadedAt
  if (isNew) metrics.loaded(after.model?.bytes ?? 0)
  if (isNew && before.worker?.loadedAt === undefined) metrics.becameReady((Date.now() - model.createdAt) / 1000)
}

function tellState(metrics: Metrics, caches: Watches, keys: Queue): void {
  const phases = Object.fromEntries(PHASES.map((phase) => [phase, 0]))
  for (const { status } of caches.models.values()) {
    const phase = phaseIn(status)
    if (Object.hasOwn(phases, phase)) phases[phase] = (phases[phase] ?? 0) + 1
  }
  metrics.phases(phases)
  metrics.queue({
    depth: keys.depth,
    activeWorkers: keys.active,
    unfinishedSeconds: keys.unfinishedSeconds(),
    longestSeconds: keys.longestRunningSeconds(),
  })
  const { models, claims, jobs, pods } = caches
  for (const [name, each] of Object.entries({ arksmodels: models, persistentvolumeclaims: claims, jobs, pods })) {
    metrics.cache(name, { objects: each.size(), silentSeconds: each.silentMs() / 1000 })
  }
}

const named = ({ namespace, name }: SeenModel): { readonly namespace: string; readonly name: string } => ({
  namespace,
  name,
})
