import { valueAt } from '../crds/place.ts'
import { ApiError, type Client, type Events, type Query, TOO_LONG } from './client.ts'
import { keyOf } from './key-of.ts'
import { type Binary, INITIAL_EVENTS_END } from './messages.ts'

/** A collection of the API server, kept up to date here by list and watch. */
export interface Reflector<T extends Item> {
  /** The key is `namespace/name`. */
  get(key: string): T | undefined
  values(): Iterable<T>
  readonly size: number
  /** After the first whole list, in whichever way it came. */
  isSynced(): boolean
  /**
   * The answer to a write of ours, which is kept unless the cache holds something newer; as what it was understood, or
   * undefined if it was not.
   */
  put(object: unknown): T | undefined
  /** Milliseconds since the server was last heard of: a list's page, an event, a bookmark. */
  silentMs(): number
  /** From any state. When it resolves nothing is open, and nothing will be opened. */
  stop(): Promise<void>
}

/** What is kept of an object. */
export interface Item {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
}

export interface Source<T extends Item> {
  /** Of the collection: `/apis/batch/v1/jobs`, or that of one namespace. */
  readonly path: string
  readonly labelSelector?: string | undefined
  /** Reads what `trimmed` needs out of protobuf. Without: it comes as JSON. */
  readonly binary?: Binary
  /** Whether the watch may bring what there is as well, instead of a list: out of the server's memory, one by one. */
  readonly isStreamed?: boolean
  /** Undefined for what is no object that we can use. The items of a list have neither apiVersion nor kind. */
  readonly trimmed: (object: unknown) => T | undefined
}

/** Appeared (no `before`), changed, or gone (no `after`). */
export interface Change<T> {
  /** The cache's own text of it: whoever keeps this one keeps no other. */
  readonly key: string
  readonly before: T | undefined
  readonly after: T | undefined
}

export interface ReflectorOptions<T extends Item> {
  readonly client: Pick<Client, 'request' | 'watch'>
  readonly source: Source<T>
  /** May throw: that is counted and told to `onHandlerError`, no more. */
  readonly onChange: (change: Change<T>) => void
  /** Monotonic, in milliseconds. */
  readonly now: () => number
  /** Rejects, or resolves early, when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<unknown>
  /** From 0 to 1. */
  readonly random: () => number
  readonly timing?: Partial<Timing>
  /** What went wrong and is tried again. */
  readonly onTrouble?: (error: ApiError, retryInMs: number) => void
  readonly onHandlerError?: (error: unknown) => void
  /** Once for each change of state, `served` only after one of the others. */
  readonly onCollection?: (state: CollectionState) => void
  readonly onCount?: (counted: Counted) => void
}

export type CollectionState =
  | { readonly kind: 'served' }
  /** Its CRD is not there. */
  | { readonly kind: 'missing'; readonly message: string }
  | { readonly kind: 'forbidden'; readonly message: string }

/** A drift is a difference between server and cache that no event explains: there must be none. */
export type Counted = 'relist' | 'watchRestart' | 'badLine' | 'badObject' | 'handlerError' | 'drift'

export interface Timing {
  readonly pageSize: number
  readonly listMs: number
  readonly headersMs: number
  readonly silenceMs: number
  /** Until a stream has brought all that there is: a server that took it for a plain watch never says so. */
  readonly beginningMs: number
  /** How long a watch is asked for: between these. */
  readonly watchSeconds: readonly [number, number]
  /** A watch that ends sooner and brought nothing counts as a failure. */
  readonly shortWatchMs: number
  readonly firstPauseMs: number
  readonly longestPauseMs: number
  /** While the collection is not served. */
  readonly longestMissingPauseMs: number
  /** After so much health the pauses start small again. */
  readonly healthyMs: number
  /** Between two audits: between these. */
  readonly auditMs: readonly [number, number]
  /** How long the watch may take to reach what an audit's list has seen. */
  readonly auditSettleMs: number
}

export const TIMING: Timing = {
  pageSize: 100,
  listMs: 30_000,
  headersMs: 30_000,
  silenceMs: 75_000,
  beginningMs: 120_000,
  watchSeconds: [300, 600],
  shortWatchMs: 1000,
  firstPauseMs: 800,
  longestPauseMs: 30_000,
  longestMissingPauseMs: 5000,
  healthyMs: 120_000,
  auditMs: [30 * 60_000, 60 * 60_000],
  auditSettleMs: 150_000,
}

export function reflector<T extends Item>(options: ReflectorOptions<T>): Reflector<T> {
  const { client, source, onChange, now, sleep, random } = options
  const { onTrouble = () => {}, onHandlerError = () => {}, onCollection = () => {}, onCount = () => {} } = options
  const timing = { ...TIMING, ...options.timing }
  const items = new Map<string, T>()
  const stopping = new AbortController()
  const { signal } = stopping

  /** Up to where all is known; undefined when it has to begin anew. */
  let position: string | undefined
  /** The newest resourceVersion that any object or list has shown. */
  let newest = '0'
  let isSynced = false
  let heard = now()
  /** Since when nothing has failed; undefined while that has still to be seen. */
  let healthySince: number | undefined
  let pauseMs = timing.firstPauseMs
  let collection: CollectionState['kind'] = 'served'
  let lists = 0
  /** Whether the next beginning is to be a stream. */
  let isStreamed = source.isStreamed === true
  /** What events were about while an audit is under way. */
  let touched: Set<string> | undefined

  const hear = (): void => {
    heard = now()
    healthySince ??= heard
  }

  const report = (change: Change<T>): void => {
    try {
      onChange(change)
    } catch (error) {
      onCount('handlerError')
      onHandlerError(error)
    }
  }

  const remove = (key: string): void => {
    const before = items.get(key)
    if (before === undefined) return
    items.delete(key)
    report({ key, before, after: undefined })
  }

  /** Whether something newer is known of it. */
  const isPast = (key: string, resourceVersion: string): boolean => {
    const cached = items.get(key)
    return cached !== undefined && order(resourceVersion, cached.resourceVersion) < 0
  }

  /** One of the same name that was made anew is another object. */
  const keep = (after: T): void => {
    const key = keyOf(after)
    const cached = items.get(key)
    if (cached !== undefined && order(after.resourceVersion, cached.resourceVersion) <= 0) return
    if (cached !== undefined && cached.uid !== after.uid) remove(key)
    const before = items.get(key)
    items.set(key, after)
    newest = later(newest, after.resourceVersion)
    report({ key, before, after })
  }

  const trimmed = (object: unknown): T | undefined => {
    const item = trial(() => source.trimmed(object))
    if (item === undefined) onCount('badObject')
    return item
  }

  const page = async (next: string | undefined, limit: number | undefined): Promise<Page> => {
    const query = { labelSelector: source.labelSelector, limit, continue: next }
    const { path, binary } = source
    const call = { verb: 'list', path, query, timeoutMs: timing.listMs, signal } as const
    const answer = await client.request({ ...call, binary: binary?.list })
    hear()
    return parsedPage(answer)
  }

  /** The whole collection as it was at one moment. What is trimmed is all that is held of a page. */
  async function* pages(): AsyncGenerator<ListPage<T>> {
    let next: string | undefined
    let limit: number | undefined = timing.pageSize
    let isFirst = true
    do {
      let found: Page
      try {
        found = await page(next, limit)
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
        const smaller: number = limit === undefined ? timing.pageSize : limit >> 2
        if (error.reason === TOO_LONG && smaller > 0) {
          limit = smaller
          continue
        }
        // The server has forgotten the moment of the first page.
        if (next === undefined || error.code !== GONE) throw error
        limit = undefined
        isFirst = true
        next = undefined
        continue
      }
      const kept = found.items.map(trimmed).filter((item) => item !== undefined)
      yield { version: found.version, isFirst, items: kept }
      isFirst = false
      next = found.next
    } while (isFirst || next !== undefined)
  }

  /** Takes in a whole collection, in whatever pieces it comes. */
  const listing = (): Listing<T> => {
    const listed = new Set<string>()
    return {
      take(item) {
        listed.add(keyOf(item))
        keep(item)
      },
      drop({ key, resourceVersion }) {
        if (isPast(key, resourceVersion)) return
        listed.delete(key)
        remove(key)
      },
      end(version) {
        for (const [key, { resourceVersion }] of items)
          if (!listed.has(key) && order(resourceVersion, version) <= 0) remove(key)
        newest = later(newest, version)
        position = version
        lists++
        if (isSynced) onCount('relist')
        isSynced = true
        isStreamed = source.isStreamed === true
        // It is held as long as the watch.
        listed.clear()
      },
    }
  }

  const list = async (): Promise<void> => {
    const known = newest
    let all = listing()
    let version = ''
    for await (const { version: seen, isFirst, items: found } of pages()) {
      if (isFirst) {
        all = listing()
        version = seen
        if (order(version, known) < 0) forgetVersions()
      }
      for (const item of found) all.take(item)
    }
    all.end(version)
  }

  /** The server's store was set back, so that what is newer here never was. */
  const forgetVersions = (): void => {
    newest = '0'
    for (const [key, item] of items) items.set(key, { ...item, resourceVersion: '0' })
  }

  const opened = (from: Query): Promise<Events> => {
    const [least, most] = timing.watchSeconds
    return client.watch({
      path: source.path,
      query: {
        watch: true,
        allowWatchBookmarks: true,
        labelSelector: source.labelSelector,
        timeoutSeconds: Math.round(least + random() * (most - least)),
        ...from,
      },
      headersMs: timing.headersMs,
      silenceMs: timing.silenceMs,
      signal,
      binary: source.binary?.event,
    })
  }

  /** Ends when the server ends it. */
  const watch = async (events: Events, beginning?: Beginning<T>): Promise<void> => {
    serve()
    const start = now()
    healthySince ??= start
    const isFruitful = await read(events, beginning).finally(() => {
      if (!signal.aborted) onCount('watchRestart')
    })
    if (signal.aborted) return
    if (!isFruitful && now() - start < timing.shortWatchMs) throw broken('EndedAtOnce', 'nothing came')
  }

  /** Whether anything was about an object. */
  const read = async (events: Events, beginning: Beginning<T> | undefined): Promise<boolean> => {
    let [isFruitful, isBegun] = [false, beginning === undefined]
    const latest = now() + timing.beginningMs
    try {
      for await (const each of events) {
        if (signal.aborted) return true
        hear()
        const event = eventOf(each)
        if (beginning !== undefined && !isBegun) isBegun = begin(event, beginning)
        else if (take(event)) isFruitful = true
        if (!isBegun && now() > latest) break
      }
    } finally {
      events.close()
    }
    if (!isBegun && !signal.aborted) throw broken('EndedEarly', 'it ended before all had come')
    return isFruitful || beginning !== undefined
  }

  /** Whether that was the last of what there was. */
  const begin = ({ type, object }: WatchEvent, { all, known }: Beginning<T>): boolean => {
    if (type === 'ERROR') throw refusal(object)
    const meta = metaOf(object)
    if (meta === undefined) throw broken(UNREADABLE, WITHOUT_VERSION)
    if (type === 'BOOKMARK') {
      if (valueAt(object, ['metadata', 'annotations', INITIAL_EVENTS_END]) !== 'true') return false
      if (order(meta.resourceVersion, known) < 0) {
        forgetVersions()
        throw broken('SetBack', `the server has come to ${meta.resourceVersion} only, and was at ${known}`)
      }
      all.end(meta.resourceVersion)
      return true
    }
    const item = type === 'DELETED' ? undefined : trimmed(object)
    if (item === undefined) all.drop({ key: keyOf(meta), resourceVersion: meta.resourceVersion })
    else all.take(item)
    return false
  }

  /** What there is, and what happens from then on, in one. */
  const stream = async (): Promise<void> => {
    const known = newest
    const from = { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }
    let events: Events
    try {
      events = await opened(from)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // A list may come from elsewhere than out of the memory that the server has not filled yet.
      if (isTransient(error) || isUnsupported(error)) isStreamed = false
      if (!isUnsupported(error)) throw error
      return
    }
    // Whatever ends it before it is whole, such as that we are too slow: the next beginning comes in pages.
    isStreamed = false
    await watch(events, { all: listing(), known })
  }

  /** Whether it was about an object. */
  const take = ({ type, object }: WatchEvent): boolean => {
    if (type === 'ERROR') {
      const error = refusal(object)
      if (!isTransient(error)) position = undefined
      throw error
    }
    const meta = metaOf(object)
    if (meta === undefined) throw broken(UNREADABLE, WITHOUT_VERSION)
    position = meta.resourceVersion
    newest = later(newest, meta.resourceVersion)
    if (type === 'BOOKMARK') return false
    const key = keyOf(meta)
    touched?.add(key)
    if (type === 'DELETED') {
      if (!isPast(key, meta.resourceVersion)) remove(key)
    } else {
      const item = trimmed(object)
      if (item === undefined) remove(key)
      else keep(item)
    }
    return true
  }

  const serve = (): void => {
    if (collection === 'served') return
    collection = 'served'
    onCollection({ kind: 'served' })
  }

  const miss = (state: Exclude<CollectionState, { readonly kind: 'served' }>): void => {
    if (collection === state.kind) return
    collection = state.kind
    onCollection(state)
  }

  /** How long to wait before the next attempt. */
  const pauseAfter = (error: ApiError): number => {
    if (healthySince !== undefined && heard - healthySince >= timing.healthyMs) pauseMs = timing.firstPauseMs
    healthySince = undefined
    const longest = error.code === NOT_FOUND ? timing.longestMissingPauseMs : timing.longestPauseMs
    const pause = Math.min(pauseMs * (1 + random()), longest)
    pauseMs = Math.min(pauseMs * 2, timing.longestPauseMs)
    return Math.max(pause, error.retryAfterMs ?? 0)
  }

  const fail = (error: ApiError): number => {
    if (isLost(error)) position = undefined
    if (UNREADABLES.includes(error.reason)) onCount('badLine')
    if (error.code === NOT_FOUND) miss({ kind: 'missing', message: error.said })
    if (error.code === FORBIDDEN) miss({ kind: 'forbidden', message: error.said })
    const pause = pauseAfter(error)
    onTrouble(error, pause)
    return pause
  }

  const follow = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        if (position === undefined && isStreamed) await stream()
        else if (position === undefined) {
          await list()
          serve()
        } else await watch(await opened({ resourceVersion: position }))
      } catch (error) {
        if (signal.aborted) return
        await rest(fail(error instanceof ApiError ? error : unforeseen(error)))
      }
    }
  }

  const rest = async (ms: number): Promise<void> => {
    await sleep(ms, signal).catch(() => {})
  }

  const audits = async (): Promise<void> => {
    while (!signal.aborted) {
      const [least, most] = timing.auditMs
      await rest(least + random() * (most - least))
      if (signal.aborted) return
      await audit().catch((error: unknown) => {
        // The next one tells as much, and that the server cannot be reached is known from the watch.
        if (error instanceof ApiError && error.code === FORBIDDEN) onTrouble(error, timing.auditMs[0])
      })
      touched = undefined
    }
  }

  /** What a list shows otherwise than the cache has it, and no event was about by the time the watch came so far. */
  const audit = async (): Promise<void> => {
    if (position === undefined) return
    const begun = lists
    touched = new Set()
    let listed = new Set<string>()
    let different: T[] = []
    let version = ''
    for await (const { version: seen, isFirst, items: found } of pages()) {
      if (isFirst) [listed, different] = [new Set(), []]
      version = seen
      for (const item of found) {
        listed.add(keyOf(item))
        if (isOlder(items.get(keyOf(item)), item)) different.push(item)
      }
    }
    const missing = [...items.keys()].filter((key) => !listed.has(key))
    if (different.length + missing.length > 0) await settled(version)
    if (signal.aborted || lists !== begun || position === undefined) return
    for (const item of different) {
      if (touched.has(keyOf(item)) || !isOlder(items.get(keyOf(item)), item)) continue
      onCount('drift')
      keep(item)
    }
    for (const key of missing) {
      const cached = items.get(key)
      if (cached === undefined || touched.has(key) || order(cached.resourceVersion, version) > 0) continue
      onCount('drift')
      remove(key)
    }
  }

  /** Until the watch has come as far as this version, or should have. */
  const settled = async (version: string): Promise<void> => {
    const end = now() + timing.auditSettleMs
    while (!signal.aborted && now() < end && (position === undefined || order(position, version) < 0))
      await rest(timing.auditSettleMs / SETTLE_LOOKS)
  }

  const underway = Promise.all([follow(), audits()])

  return {
    get: (key) => items.get(key),
    values: () => items.values(),
    get size() {
      return items.size
    },
    isSynced: () => isSynced,
    put(object) {
      const item = trimmed(object)
      if (item === undefined) return undefined
      // What the watch has passed and the cache does not hold has been deleted.
      const isPassed = position !== undefined && order(item.resourceVersion, position) <= 0
      if (items.has(keyOf(item)) || !isPassed) keep(item)
      return item
    },
    silentMs: () => now() - heard,
    async stop() {
      stopping.abort()
      await underway
    },
  }
}

const NOT_FOUND = 404
const FORBIDDEN = 403
const GONE = 410
const SETTLE_LOOKS = 50
const UNREADABLE = 'Unreadable'
/** Here, and by the client. */
const UNREADABLES = [UNREADABLE, 'EventTooLong']
const WITHOUT_VERSION = 'an event without a resourceVersion'

/** Of two decimal numbers of any length: negative, zero or positive. */
function order(one: string, other: string): number {
  if (one.length !== other.length) return one.length - other.length
  return one === other ? 0 : one < other ? -1 : 1
}

const later = (one: string, other: string): string => (order(one, other) < 0 ? other : one)

const isOlder = (cached: Item | undefined, { uid, resourceVersion }: Item): boolean =>
  cached === undefined || order(cached.resourceVersion, resourceVersion) < 0 || cached.uid !== uid

function trial<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

interface Page {
  readonly version: string
  readonly next: string | undefined
  readonly items: readonly unknown[]
}

interface Listing<T> {
  take(item: T): void
  /** If what is known of it is not newer. */
  drop(gone: { readonly key: string; readonly resourceVersion: string }): void
  /** What it did not bring is gone. */
  end(version: string): void
}

interface Beginning<T> {
  readonly all: Listing<T>
  /** The newest resourceVersion that was known before. */
  readonly known: string
}

interface ListPage<T> {
  readonly version: string
  /** Everything before it is void. */
  readonly isFirst: boolean
  readonly items: readonly T[]
}

function parsedPage(answer: unknown): Page {
  const [metadata, items] = [valueAt(answer, ['metadata']), valueAt(answer, ['items'])]
  const [version, next] = [valueAt(metadata, ['resourceVersion']), valueAt(metadata, ['continue'])]
  // An empty list of Go is null.
  if (typeof version !== 'string' || !(Array.isArray(items) || items === null))
    throw broken(UNREADABLE, 'an answer that is no list')
  return { version, next: typeof next === 'string' && next !== '' ? next : undefined, items: items ?? [] }
}

interface WatchEvent {
  readonly type: string
  readonly object: unknown
}

const TYPES = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']

function eventOf(event: unknown): WatchEvent {
  const type = valueAt(event, ['type'])
  if (typeof type !== 'string' || !TYPES.includes(type)) throw broken(UNREADABLE, 'what is no event')
  return { type, object: valueAt(event, ['object']) }
}

type Meta = Pick<Item, 'namespace' | 'name' | 'resourceVersion'>

/** A bookmark has no name. */
function metaOf(object: unknown): Meta | undefined {
  const metadata = valueAt(object, ['metadata'])
  const resourceVersion = textAt(metadata, 'resourceVersion')
  if (!/^\d+$/.test(resourceVersion)) return undefined
  return { namespace: textAt(metadata, 'namespace'), name: textAt(metadata, 'name'), resourceVersion }
}

function textAt(value: unknown, key: string): string {
  const text = valueAt(value, [key])
  return typeof text === 'string' ? text : ''
}

/** The Status that a watch ends with. */
function refusal(status: unknown): ApiError {
  const retryAfterMs = Number(valueAt(status, ['details', 'retryAfterSeconds'])) * 1000
  return new ApiError(BROKEN, {
    code: Number(valueAt(status, ['code'])) || 0,
    reason: textAt(status, 'reason'),
    said: textAt(status, 'message'),
    retryAfterMs: retryAfterMs > 0 ? retryAfterMs : undefined,
  })
}

const BROKEN = 'the watch broke off'

const broken = (reason: string, said: string): ApiError => new ApiError(BROKEN, { code: 0, reason, said })

const unforeseen = (cause: unknown): ApiError =>
  new ApiError('cannot list or watch', { code: 0, reason: 'Unforeseen', said: String(cause), cause })

const isTransient = ({ code }: ApiError): boolean => code === 429 || code >= 500

/** The API server's own words, not a proxy's, where it streams no lists: most did not before Kubernetes 1.34. */
const isUnsupported = ({ code, reason }: ApiError): boolean =>
  (code === 422 && reason === 'Invalid') || (code === 400 && reason === 'BadRequest')

/** What no watch from the same resourceVersion would get over: the server has forgotten it, or never knew it. */
const isLost = ({ code, reason, said }: ApiError): boolean =>
  [400, NOT_FOUND, GONE].includes(code) ||
  (code === 504 && /Too large resource version/.test(said)) ||
  UNREADABLES.includes(reason)
