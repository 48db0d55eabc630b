import { clean, LONGEST_NAME } from './clean.ts'
import { chain, type Log } from './log.ts'
import type { After } from './queue.ts'
import { microTime } from './times.ts'

/** What an Event is about, as it was when it happened. */
export interface Regarding {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
}

export interface Happening {
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  /** What the controller did or tried, in CamelCase. */
  readonly action: string
  /** For people; made fit: one line of at most 1,024 bytes. */
  readonly note: string
}

export interface Recorder {
  /** Never throws and never waits: what cannot be told is counted. */
  record(regarding: Regarding, happening: Happening): void
  /** Sends the counts that are due and forgets what is over. To be called about once a minute. */
  refresh(): void
  /** Sends what is left, for `ms` at the longest. */
  flush(ms: number): Promise<void>
}

/** The part of the client that Events need. What it throws may carry the status as `code`. */
export interface EventClient {
  request(call: {
    readonly verb: 'create' | 'patch'
    readonly path: string
    readonly body: unknown
    readonly contentType: string
  }): Promise<unknown>
}

export interface Recording {
  readonly client: EventClient
  /** Which of the replicas this is. */
  readonly instance: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly after: After
  /** How long they are held back, so that what is more urgent goes first. */
  readonly delayMs?: number
  /** Hexadecimal and never the same twice. */
  readonly suffix: () => string
  readonly log: Pick<Log, 'debug'>
  readonly onDropped: () => void
}

const CONTROLLER = 'arks.ai/arksmodel-controller'

/** After so long without another one the same is told as a new Event. This and the next three are client-go's. */
const SERIES_ENDS_MS = 6 * 60_000
/** A series that goes on is told again so often. */
const SERIES_EVERY_MS = 30 * 60_000
const BURST = 25
const ONE_MORE_EVERY_MS = 5 * 60_000

const MOST_REMEMBERED = 4_096
const MOST_WAITING = 1_000
const MOST_IN_FLIGHT = 2

/** One Event of the API: what is to stand there, and how much of it was sent. */
interface Entry {
  readonly key: string
  readonly name: string
  readonly regarding: Regarding
  readonly happening: Happening
  readonly firstAt: number
  lastAt: number
  count: number
  sentCount: number
  attempts: number
  attemptedAt: number
  isSending: boolean
  isOver: boolean
}

/** How many more new Events an object may have, as of a time. */
interface Allowance {
  left: number
  at: number
}

/** Events as client-go's recorder writes them, with its filter for objects that cause too many. */
export function recorder({ client, instance, now, after, delayMs = 0, suffix, log, onDropped }: Recording): Recorder {
  const entries = new Map<string, Entry>()
  const allowances = new Map<string, Allowance>()
  const waiting = new Set<Entry>()
  let inFlight = 0
  let cancelSend: (() => void) | undefined
  let onIdle = (): void => undefined

  const record = (regarding: Regarding, told: Happening): void => {
    const happening = { ...told, note: fit(told.note) }
    const { type, reason, action, note } = happening
    const key = JSON.stringify([regarding.uid, type, reason, action, note])
    const known = entries.get(key)
    if (known !== undefined && now() - known.lastAt < SERIES_ENDS_MS) {
      known.count++
      known.lastAt = now()
      remember(entries, key, known)
      sendIfDue(known)
      return
    }
    if (known !== undefined) end(known)
    if (!isAllowed(regarding.uid)) {
      dropped(regarding, reason, 'the object has too many')
      return
    }
    const entry = newEntry(key, { regarding, happening, suffix: suffix(), now: now() })
    const oldest = remember(entries, key, entry)
    if (oldest !== undefined) end(oldest)
    sendIfDue(entry)
  }

  const isAllowed = (uid: string): boolean => {
    const last = allowances.get(uid) ?? { left: BURST, at: now() }
    const earned = Math.max(0, now() - last.at) / ONE_MORE_EVERY_MS
    const left = Math.min(BURST, last.left + earned)
    remember(allowances, uid, { left: left < 1 ? left : left - 1, at: now() })
    return left >= 1
  }

  const dropped = ({ namespace, name }: Regarding, reason: string, why: string): void => {
    onDropped()
    log.debug('Event dropped', { namespace, name, reason, why })
  }

  /** Its last count is still sent. */
  const end = (entry: Entry): void => {
    entry.isOver = true
    forget(entry)
    sendIfDue(entry)
  }

  /** The same key may stand for a newer one by now. */
  const forget = (entry: Entry): void => {
    if (entries.get(entry.key) === entry) entries.delete(entry.key)
  }

  const sendIfDue = (entry: Entry): void => {
    if (entry.isSending || waiting.has(entry) || !isDue(entry, now())) return
    if (waiting.size >= MOST_WAITING) {
      if (entry.sentCount === 0) forget(entry)
      dropped(entry.regarding, entry.happening.reason, 'too many wait')
      return
    }
    waiting.add(entry)
    sendSoon()
  }

  const sendSoon = (): void => {
    if (delayMs === 0) sendNext()
    else
      cancelSend ??= after(delayMs, () => {
        cancelSend = undefined
        sendAll()
      })
  }

  const sendAll = (): void => {
    for (let sent = 0; sent < MOST_IN_FLIGHT; sent++) sendNext()
  }

  const sendNext = (): void => {
    const [entry] = waiting
    if (entry === undefined || inFlight >= MOST_IN_FLIGHT) return
    waiting.delete(entry)
    inFlight++
    entry.isSending = true
    void send(entry).then((isSent) => {
      entry.isSending = false
      inFlight--
      if (isSent) sendIfDue(entry)
      sendNext()
      if (inFlight === 0) onIdle()
    })
  }

  const send = async (entry: Entry): Promise<boolean> => {
    const { count } = entry
    entry.attempts++
    entry.attemptedAt = now()
    try {
      if (entry.sentCount === 0) await create(entry)
      else await patch(entry)
      entry.sentCount = count
      return true
    } catch (error) {
      // It would only ever be patched.
      if (entry.sentCount === 0) forget(entry)
      dropped(entry.regarding, entry.happening.reason, chain(error))
      return false
    }
  }

  const create = (entry: Entry): Promise<unknown> =>
    client.request({
      verb: 'create',
      path: eventsPath(entry),
      body: event(entry, instance),
      contentType: 'application/json',
    })

  const patch = async (entry: Entry): Promise<void> => {
    try {
      await client.request({
        verb: 'patch',
        path: `${eventsPath(entry)}/${entry.name}`,
        body: { series: series(entry) },
        contentType: 'application/merge-patch+json',
      })
    } catch (error) {
      if (!isNotFound(error)) throw error
      // The API server keeps an Event for an hour only, a series may take longer.
      await create(entry)
    }
  }

  const refresh = (): void => {
    for (const entry of [...entries.values()]) {
      if (now() - entry.lastAt >= SERIES_ENDS_MS) end(entry)
      else sendIfDue(entry)
    }
  }

  const flush = async (ms: number): Promise<void> => {
    for (const entry of [...entries.values()]) end(entry)
    cancelSend?.()
    cancelSend = undefined
    sendAll()
    if (inFlight === 0) return
    await new Promise<void>((resolve) => {
      const cancel = after(ms, resolve)
      onIdle = () => {
        cancel()
        resolve()
      }
    })
    for (const entry of waiting) dropped(entry.regarding, entry.happening.reason, 'the controller ends')
    waiting.clear()
  }

  return { record, refresh, flush }
}

const LONGEST_NOTE = 1_024

function fit(note: string): string {
  const line = clean(note, Number.POSITIVE_INFINITY)
  if (new TextEncoder().encode(line).length <= LONGEST_NOTE) return line
  // `encodeInto` takes whole characters only.
  const { read } = new TextEncoder().encodeInto(line, new Uint8Array(LONGEST_NOTE - ELLIPSIS_BYTES))
  return `${line.slice(0, read)}…`
}

const ELLIPSIS_BYTES = 3

interface Beginning {
  readonly regarding: Regarding
  readonly happening: Happening
  readonly suffix: string
  readonly now: number
}

const newEntry = (key: string, { regarding, happening, suffix, now }: Beginning): Entry => ({
  key,
  name: eventName(regarding.name, suffix),
  regarding,
  happening,
  firstAt: now,
  lastAt: now,
  count: 1,
  sentCount: 0,
  attempts: 0,
  attemptedAt: 0,
  isSending: false,
  isOver: false,
})

/** No part between dots may end in a hyphen. */
const eventName = (name: string, suffix: string): string =>
  `${name.slice(0, LONGEST_NAME - 1 - suffix.length).replace(/[-.]+$/, '')}.${suffix}`

/** Puts it last, and returns what had to go for it. */
function remember<T>(things: Map<string, T>, key: string, thing: T): T | undefined {
  things.delete(key)
  things.set(key, thing)
  if (things.size <= MOST_REMEMBERED) return undefined
  const [oldest] = things
  if (oldest === undefined) return undefined
  things.delete(oldest[0])
  return oldest[1]
}

/** The first two are told at once: one is an Event, two are a series. */
const isDue = ({ count, sentCount, attempts, attemptedAt, isOver }: Entry, now: number): boolean =>
  count > sentCount && (attempts < 2 || isOver || now - attemptedAt >= SERIES_EVERY_MS)

const eventsPath = ({ regarding }: Entry): string => `/apis/events.k8s.io/v1/namespaces/${regarding.namespace}/events`

const event = (entry: Entry, instance: string): unknown => ({
  apiVersion: 'events.k8s.io/v1',
  kind: 'Event',
  metadata: { name: entry.name, namespace: entry.regarding.namespace },
  eventTime: microTime(entry.firstAt),
  ...(entry.count > 1 ? { series: series(entry) } : {}),
  reportingController: CONTROLLER,
  reportingInstance: instance.slice(0, LONGEST_INSTANCE),
  action: entry.happening.action,
  reason: entry.happening.reason,
  regarding: entry.regarding,
  note: entry.happening.note,
  type: entry.happening.type,
})

const LONGEST_INSTANCE = 128

const series = ({ count, lastAt }: Entry): unknown => ({ count, lastObservedTime: microTime(lastAt) })

const isNotFound = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 404
