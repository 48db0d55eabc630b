import http, { type Agent, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { json } from '../crds/json.ts'
import { valueAt } from '../crds/place.ts'
import { VERSION } from '../crds/version.ts'
import type { Access, Credentials } from './access.ts'
import { type Read as Binary, status } from './messages.ts'
import { PROTOBUF } from './protobuf.ts'

/** Requests to the API server over HTTP/1.1: a stream of HTTP/2 that is lost in the network would take all with it. */
export interface Client {
  /** The answer as parsed JSON, or what of it is wanted. Throws an `ApiError`. */
  request(call: Call): Promise<unknown>
  /** A watch whose answer has begun. Throws an `ApiError` where the server refuses. */
  watch(call: WatchCall): Promise<Events>
  /** Ends everything that is under way, and takes no more. */
  close(): void
}

export type Verb = 'get' | 'list' | 'create' | 'update' | 'patch'

export interface Call {
  readonly verb: Verb
  /** Behind the server's own path, with its slash in front. */
  readonly path: string
  readonly query?: Query
  readonly body?: unknown
  /** Of the body; `application/json` if absent, `application/merge-patch+json` for a patch. */
  readonly contentType?: string
  /** From the call to the last byte of its answer. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** A connection that nothing else uses. */
  readonly lane?: 'lease'
  /** Of an answer in protobuf, which is then asked for: what is wanted of it. Without: JSON. */
  readonly binary?: Binary | undefined
}

export interface WatchCall {
  readonly path: string
  readonly query?: Query
  /** Until the head of the answer. */
  readonly headersMs?: number
  /** Without a byte, while the next is awaited. */
  readonly silenceMs?: number
  readonly signal?: AbortSignal
  /** Of an event in protobuf, which is then asked for: what is wanted of it. Without: JSON. */
  readonly binary?: Binary | undefined
}

/** What is undefined is left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>

/**
 * To be read once: each event as parsed JSON, or what of it is wanted, and undefined for one that cannot be read. One that
 * the server did not end is left out. Throws an `ApiError` where the stream breaks.
 */
export interface Events extends AsyncIterable<unknown> {
  /** From our side; whoever reads comes to the end. */
  close(): void
}

/** The server's refusal, or that there was no answer. */
export class ApiError extends Error {
  /** HTTP's; 0 if there was no answer. */
  readonly code: number
  /** Of the server's Status, or the system's own code: `Conflict`, `ECONNRESET`. */
  readonly reason: string
  readonly retryAfterMs: number | undefined
  /** The server's own words, or the system's. */
  readonly said: string

  constructor(what: string, { code, reason, said, retryAfterMs, cause }: Refusal) {
    super(`${what}: ${[code || '', reason].join(' ').trim()}${said === '' ? '' : `: ${said}`}`, { cause })
    this.name = 'ApiError'
    this.code = code
    this.reason = reason
    this.retryAfterMs = retryAfterMs
    this.said = said
  }
}

export interface Refusal {
  readonly code: number
  readonly reason: string
  readonly said: string
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

export interface Answered {
  readonly verb: Verb | 'watch'
  /** HTTP's; `<error>` if there was no answer. */
  readonly code: string
  /** To the end of the answer; of a watch, to its head. */
  readonly seconds: number
}

export interface ClientOptions {
  readonly access: Access
  /** Once for each attempt. */
  readonly onAnswer?: (answered: Answered) => void
}

/** What goes over the wire for each verb. */
export const METHODS = {
  get: 'GET',
  list: 'GET',
  watch: 'GET',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
} as const

const TIMEOUT_MS = 30_000
/** The server sends a bookmark each minute. */
const SILENCE_MS = 75_000
const MOST_CONNECTIONS = 10
const MOST_OF_AN_ERROR = 64 * 1024
const MOST_OF_AN_ANSWER = 128 * 1024 * 1024
/** An object has at most 1.5 MiB in etcd; escaped it may be some times larger. */
const MOST_OF_AN_EVENT = 16 * 1024 * 1024
/** A wrong number in a header must not stop us for days. */
const LONGEST_RETRY_AFTER_MS = 10 * 60_000

export function client({ access, onAnswer = () => {} }: ClientOptions): Client {
  const isSecure = access.server.startsWith('https:')
  const agent = (maxSockets: number): Agent =>
    isSecure ? new https.Agent({ keepAlive: true, maxSockets }) : new http.Agent({ keepAlive: true, maxSockets })
  const agents = { lease: agent(1), rest: agent(MOST_CONNECTIONS), watch: agent(Number.POSITIVE_INFINITY) }
  const underway = new Set<Ending>()
  let isClosed = false

  const sent = (ask: Ask, { tls, headers, proxy }: Credentials): Exchange =>
    exchange({
      url: `${access.server}${ask.path}${search(ask.query)}`,
      isSecure,
      options: {
        ...(isSecure ? tls : {}),
        method: METHODS[ask.verb],
        agent: proxy ?? agents[ask.lane],
        headers: {
          ...HEADERS,
          Accept: ask.accept,
          ...(ask.body === undefined ? {} : { 'Content-Type': ask.contentType }),
          ...headers,
        },
      },
      body: ask.body,
    })

  const attempt = async <T>(ask: Ask, trial: Trial, read: Read<T>): Promise<T> => {
    trial.credentials = await ended(ask.ending, granted(access, ask))
    const { answer, isReused, end } = sent(ask, trial.credentials)
    const stop = (): void => end(ask.ending.signal.reason)
    ask.ending.signal.addEventListener('abort', stop)
    if (ask.ending.signal.aborted) stop()
    try {
      const message = await answer
      trial.code = message.statusCode ?? 0
      if (trial.code < 200 || trial.code > 299) throw await refusal(message, ask)
      return await read(message, () => ask.ending.signal.removeEventListener('abort', stop))
    } catch (error) {
      trial.isReused = isReused()
      ask.ending.signal.removeEventListener('abort', stop)
      throw error
    }
  }

  /** A connection that had been idle may have been closed while the request was on its way; a token may be old. */
  const answered = async <T>(ask: Ask, read: Read<T>): Promise<T> => {
    let [isRenewed, isResent] = [false, false]
    for (;;) {
      const trial: Trial = { credentials: undefined, code: 0, isReused: false }
      const started = performance.now()
      const report = (code: number): void =>
        onAnswer({ verb: ask.verb, code: code === 0 ? '<error>' : `${code}`, seconds: since(started) })
      try {
        const result = await attempt(ask, trial, read)
        report(trial.code)
        return result
      } catch (cause) {
        const error = cause instanceof ApiError ? cause : unanswered(cause, ask)
        report(error.code)
        if (error.reason === TIMEOUT) dropIdle(agents[ask.lane])
        if (error.code === 401 && !isRenewed && trial.credentials !== undefined) {
          access.renew(trial.credentials)
          isRenewed = true
        } else if (trial.isReused && /^(ECONNRESET|EPIPE)$/.test(error.reason) && isRepeatable(ask) && !isResent) {
          isResent = true
        } else {
          throw error
        }
      }
    }
  }

  const begun = (ms: number, what: string, signal: AbortSignal | undefined): Ending => {
    const ending = newEnding(ms, what, signal)
    underway.add(ending)
    ending.signal.addEventListener('abort', () => underway.delete(ending))
    if (isClosed) ending.end(closed(what))
    return ending
  }

  return {
    async request({ verb, path, query, body, contentType, timeoutMs = TIMEOUT_MS, signal, lane, binary }) {
      const what = `cannot ${verb} ${path}`
      const ending = begun(timeoutMs, what, signal)
      const type = contentType ?? (verb === 'patch' ? 'application/merge-patch+json' : JSON_TYPE)
      const accept = binary === undefined ? JSON_TYPE : `${PROTOBUF},${JSON_TYPE}`
      const sending = { ...textOf(body), contentType: type, accept }
      const ask: Ask = { verb, path, query, ...sending, lane: lane ?? 'rest', ending, what }
      try {
        return await answered(ask, async (message, release) => {
          const whole = await bytes(message, MOST_OF_AN_ANSWER)
          const answer = binary !== undefined && isBinary(message) ? read(whole, binary, ask) : parsed(whole, ask)
          release()
          return answer
        })
      } finally {
        ending.over()
        underway.delete(ending)
      }
    },

    async watch({ path, query, headersMs = TIMEOUT_MS, silenceMs = SILENCE_MS, signal, binary }) {
      const what = `cannot watch ${path}`
      const ending = begun(headersMs, what, signal)
      const over = (): void => {
        ending.over()
        underway.delete(ending)
      }
      const accept = binary === undefined ? JSON_TYPE : `${PROTOBUF};stream=watch,${JSON_TYPE}`
      const ask: Ask = { ...WATCH, accept, path, query, ending, what }
      try {
        return await answered(ask, async (message) => {
          const form = binary !== undefined && isBinary(message) ? frames(binary) : lines
          return events(message, ask, { ...form, silenceMs, over })
        })
      } catch (error) {
        over()
        throw error
      }
    },

    close() {
      isClosed = true
      for (const ending of underway) ending.end(closed(ending.what))
      for (const each of Object.values(agents)) each.destroy()
    },
  }
}

const JSON_TYPE = 'application/json'
const HEADERS = { 'User-Agent': `arksmodel-controller/${VERSION}` }
const TIMEOUT = 'Timeout'
const WATCH = { verb: 'watch', lane: 'watch', body: undefined, isVersioned: false, contentType: '' } as const

interface Ask {
  readonly verb: Verb | 'watch'
  readonly path: string
  readonly query: Query | undefined
  readonly body: string | undefined
  /** It names the resourceVersion that it is meant for, so that a second one does no harm. */
  readonly isVersioned: boolean
  readonly contentType: string
  readonly accept: string
  readonly lane: 'lease' | 'rest' | 'watch'
  readonly ending: Ending
  /** The beginning of an error's message. */
  readonly what: string
}

/** What became known of one attempt. */
interface Trial {
  credentials: Credentials | undefined
  code: number
  isReused: boolean
}

/** `release` takes the exchange out of the hands of the call's ending, when its answer has been read. */
type Read<T> = (message: IncomingMessage, release: () => void) => Promise<T>

const since = (started: number): number => (performance.now() - started) / 1000

const isRepeatable = ({ verb, isVersioned }: Ask): boolean => METHODS[verb] === 'GET' || isVersioned

function textOf(body: unknown): Pick<Ask, 'body' | 'isVersioned'> {
  if (body === undefined) return { body: undefined, isVersioned: false }
  return { body: JSON.stringify(body), isVersioned: valueAt(body, ['metadata', 'resourceVersion']) !== undefined }
}

function search(query: Query = {}): string {
  const given = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) given.set(name, `${value}`)
  return given.size === 0 ? '' : `?${given}`
}

/** What ends a call before its time: the caller's signal, a limit, or the end of the client. */
interface Ending {
  /** Its reason is an `ApiError`. */
  readonly signal: AbortSignal
  readonly what: string
  end(reason: ApiError): void
  /** From now on the limit is this one, anew with each `refresh`. */
  limit(ms: number, said: string): void
  refresh(): void
  /** There is nothing left to end. */
  over(): void
}

function newEnding(ms: number, what: string, signal: AbortSignal | undefined): Ending {
  const controller = new AbortController()
  const limited = (after: number, said: string): NodeJS.Timeout =>
    setTimeout(() => end(gone(TIMEOUT, said, what)), after)
  let timer = limited(ms, `no answer within ${ms / 1000} s`)
  let isOver = false
  const over = (): void => {
    isOver = true
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
  const end = (reason: ApiError): void => {
    over()
    controller.abort(reason)
  }
  const abort = (): void => end(gone('Aborted', '', what))
  signal?.addEventListener('abort', abort)
  if (signal?.aborted === true) abort()
  return {
    signal: controller.signal,
    what,
    end,
    limit(after, said) {
      clearTimeout(timer)
      if (!isOver) timer = limited(after, said)
    },
    refresh() {
      if (!isOver) timer.refresh()
    },
    over,
  }
}

const closed = (what: string): ApiError => gone('Closed', 'the client was closed', what)

const gone = (reason: string, said: string, what: string): ApiError => new ApiError(what, { code: 0, reason, said })

function ended<T>({ signal }: Ending, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

async function granted(access: Access, { what }: Ask): Promise<Credentials> {
  try {
    return await access.credentials()
  } catch (cause) {
    throw new ApiError(what, { code: 0, reason: 'NoCredentials', said: messageOf(cause), cause })
  }
}

interface Exchange {
  /** Its head; the body is still to be read. */
  readonly answer: Promise<IncomingMessage>
  /** Whether it went over a connection that had been used before. */
  isReused(): boolean
  /** Whoever waits or reads gets the error. */
  end(error: Error): void
}

interface Sending {
  readonly url: string
  readonly isSecure: boolean
  readonly options: https.RequestOptions
  readonly body: string | undefined
}

function exchange({ url, isSecure, options, body }: Sending): Exchange {
  const request = (isSecure ? https : http).request(url, options)
  let message: IncomingMessage | undefined
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('error', reject)
    request.on('response', (response) => {
      message = response
      // Heard by whoever reads it; until then it would be nobody's, which ends the process.
      response.on('error', () => {})
      resolve(response)
    })
  })
  request.end(body)
  return {
    answer,
    isReused: () => request.reusedSocket,
    end(error) {
      message?.destroy(error)
      request.destroy(error)
    },
  }
}

/** When one connection leads nowhere, those that idle beside it mostly do so too. */
function dropIdle(agent: Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
}

async function bytes(message: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of message) {
    if (!Buffer.isBuffer(chunk)) continue
    chunks.push(chunk)
    length += chunk.length
    if (length > limit) throw new TooLong(chunks)
  }
  return Buffer.concat(chunks)
}

/** A smaller page may do. */
export const TOO_LONG = 'AnswerTooLong'

class TooLong extends Error {
  readonly start: Buffer

  constructor(chunks: readonly Buffer[]) {
    super('the answer is too long')
    this.start = Buffer.concat(chunks)
  }
}

/** Whatever was asked for, some proxies answer otherwise. */
const isBinary = ({ headers }: IncomingMessage): boolean => headers['content-type']?.startsWith(PROTOBUF) === true

function parsed(answer: Buffer, { what }: Ask): unknown {
  const text = answer.toString()
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ApiError(what, { code: 0, reason: 'NotJson', said: text.slice(0, MOST_SAID), cause })
  }
}

function read(answer: Buffer, binary: Binary, { what }: Ask): unknown {
  const found = binary(answer)
  if (found === undefined) throw new ApiError(what, { code: 0, reason: 'NotProtobuf', said: 'it cannot be read' })
  return found
}

const MOST_SAID = 1000

async function refusal(message: IncomingMessage, { what }: Ask): Promise<ApiError> {
  const { statusCode: code = 0, headers } = message
  const body = await bytes(message, MOST_OF_AN_ERROR).catch((error: unknown) =>
    error instanceof TooLong ? error.start : Buffer.alloc(0),
  )
  const said = isBinary(message) ? status(body) : json(body.toString())
  return new ApiError(what, {
    code,
    ...stated(said, code, isBinary(message) ? '' : body.toString()),
    ...later(headers['retry-after'], said),
  })
}

/** As the Status says, or what a proxy says instead of one. */
function stated(status: unknown, code: number, otherwise: string): Pick<Refusal, 'reason' | 'said'> {
  const [reason, said] = [valueAt(status, ['reason']), valueAt(status, ['message'])]
  return {
    reason: typeof reason === 'string' && reason !== '' ? reason : (http.STATUS_CODES[code] ?? ''),
    said: (typeof said === 'string' ? said : otherwise).slice(0, MOST_SAID),
  }
}

function later(header: string | undefined, status: unknown): Pick<Refusal, 'retryAfterMs'> {
  const stated = Number(valueAt(status, ['details', 'retryAfterSeconds']) ?? 0) * 1000
  const asked =
    header === undefined ? 0 : /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  const ms = Math.min(Math.max(stated || 0, asked || 0), LONGEST_RETRY_AFTER_MS)
  return ms > 0 ? { retryAfterMs: ms } : {}
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function unanswered(cause: unknown, { what }: Ask): ApiError {
  if (cause instanceof TooLong) return new ApiError(what, { code: 0, reason: TOO_LONG, said: cause.message, cause })
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  return new ApiError(what, {
    code: 0,
    reason: typeof code === 'string' ? code : 'Unanswered',
    said: messageOf(cause),
    cause,
  })
}

interface Form {
  /** All events that are whole now. Throws `TooLong` when one becomes longer than any can be. */
  readonly cut: () => (chunk: Buffer) => Iterable<Buffer>
  readonly read: (bytes: Buffer) => unknown
}

/** Cut before they are decoded: no character of UTF-8 is then cut, and only the line feed ends a line. */
const lines: Form = {
  read: (line) => json(line.toString()),
  cut() {
    let [parts, held]: [Buffer[], number] = [[], 0]
    return function* whole(chunk) {
      let start = 0
      for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
        parts.push(chunk.subarray(start, end))
        yield joined(parts)
        start = end + 1
        parts = []
        held = 0
      }
      parts.push(chunk.subarray(start))
      held += chunk.length - start
      if (held > MOST_OF_AN_EVENT) throw new TooLong(parts)
    }
  },
}

const LINE_FEED = 0x0a

/** Each has its length in front, in four bytes. */
const frames = (read: Binary): Form => ({
  read,
  cut() {
    let [parts, held]: [Buffer[], number] = [[], 0]
    return function* whole(chunk) {
      parts.push(chunk)
      held += chunk.length
      while (held >= LENGTH_BYTES) {
        if ((parts[0]?.length ?? 0) < LENGTH_BYTES) parts = [joined(parts)]
        const end = LENGTH_BYTES + (parts[0]?.readUInt32BE() ?? 0)
        if (end > MOST_OF_AN_EVENT) throw new TooLong(parts)
        if (held < end) return
        const all = joined(parts)
        yield all.subarray(LENGTH_BYTES, end)
        parts = [all.subarray(end)]
        held -= end
      }
    }
  },
})

const LENGTH_BYTES = 4

const joined = (parts: readonly Buffer[]): Buffer =>
  parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)

interface Reading extends Form {
  readonly silenceMs: number
  readonly over: () => void
}

function events(message: IncomingMessage, ask: Ask, { cut, read, silenceMs, over }: Reading): Events {
  const { ending, what } = ask
  ending.limit(silenceMs, `nothing came for ${silenceMs / 1000} s`)
  let isClosed = false

  async function* all(): AsyncGenerator<unknown> {
    const whole = cut()
    try {
      for await (const chunk of message) {
        if (!Buffer.isBuffer(chunk)) continue
        ending.refresh()
        for (const each of whole(chunk)) yield read(each)
      }
    } catch (error) {
      if (isClosed) return
      if (error instanceof ApiError) throw error
      throw error instanceof TooLong ? tooLong(what) : unanswered(error, ask)
    } finally {
      over()
      ending.end(gone('Closed', '', what))
    }
  }

  return {
    [Symbol.asyncIterator]: all,
    close() {
      isClosed = true
      over()
      ending.end(gone('Closed', '', what))
    },
  }
}

const tooLong = (what: string): ApiError =>
  new ApiError(what, { code: 0, reason: 'EventTooLong', said: `more than ${MOST_OF_AN_EVENT} bytes` })
