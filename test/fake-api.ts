import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Access } from '../controller/access.ts'
import { isRecord, valueAt } from '../crds/place.ts'
import type { Certificates } from './certificates.ts'

/** An API server that keeps its objects in memory and misbehaves when it is told to. */
export interface FakeApi {
  /** The same after a restart. */
  readonly url: string
  /** As anybody, without TLS. */
  readonly access: Access
  /** Every request so far, in the order in which they came. */
  readonly log: readonly Asked[]
  /** Taken by the first request that they are for. */
  readonly faults: Fault[]
  /** Resources (`arksmodels`) that are not served, as before their CRD. */
  readonly missing: Set<string>
  /** Who is let in; everybody at first. Others get 401. */
  admits: (asked: Asked) => boolean
  readonly revision: number
  /** TCP connections: open now, and accepted so far. */
  readonly sockets: { readonly open: number; readonly accepted: number; readonly mostOpen: number }
  /** Those that are being served; not those that a fault keeps open. */
  readonly watches: number
  /** Creates or replaces the object, status and all, and returns it as it is stored. */
  put(object: ApiObject): Stored
  /** The object of this kind and name, in the namespace `default` unless it says otherwise. */
  get(object: ApiObject): Stored | undefined
  remove(object: ApiObject): void
  /** As `put` or `remove` without an event: what a server that loses events does. */
  silently(change: () => void): void
  /** Sends all watches a bookmark. */
  bookmark(): void
  /** Ends all watches, in good order or by a reset: what happens from now on is not told to them. */
  endWatches(how: 'end' | 'reset'): void
  /** Forgets the past: a watch from before now gets 410, in the form that is said. */
  compact(form?: GoneForm): void
  /** Lists that are under way cannot be continued. */
  expireContinues(): void
  /** The next revision; a lower one is a store that was set back. */
  setRevision(revision: number): void
  start(): Promise<void>
  /** Closes everything; what is stored stays. */
  stop(): Promise<void>
}

/** 410 as HTTP's status, as the last line of the stream, or as a line of a stream that then stays open. */
export type GoneForm = 'status' | 'stream' | 'open'

export interface Asked {
  readonly verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete'
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly body: unknown
  readonly headers: IncomingHttpHeaders
  /** Of a client that showed one. */
  readonly certificate: string | undefined
  /** Milliseconds, monotonic. */
  readonly at: number
}

export interface Fault {
  readonly when: (asked: Asked) => boolean
  /** Once if absent. */
  readonly times?: number
  readonly do: Misbehaviour
}

export type Misbehaviour =
  /** No answer at all, and none coming. */
  | { readonly kind: 'hang' }
  | { readonly kind: 'reset' }
  /** Done, but the answer is a reset. */
  | { readonly kind: 'reset-after' }
  | {
      readonly kind: 'status'
      readonly code: number
      readonly reason?: string
      readonly message?: string
      /** Seconds. */
      readonly retryAfter?: number
    }
  /** This body, whatever was asked; 200 if no code is given. */
  | { readonly kind: 'body'; readonly text: string | Uint8Array; readonly code?: number; readonly type?: string }
  /** The head of a watch, then this, then its end, or nothing more, or the watch as usual. */
  | { readonly kind: 'write'; readonly text: string; readonly next: 'end' | 'reset' | 'silence' | 'go-on' }
  /** In the middle of the first event. */
  | { readonly kind: 'cut'; readonly how: 'end' | 'reset' }
  /** All events, byte by byte. */
  | { readonly kind: 'trickle'; readonly pauseMs: number }

export interface ApiObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly namespace?: string }
  readonly [field: string]: unknown
}

export interface Stored extends ApiObject {
  readonly metadata: ApiObject['metadata'] & {
    readonly namespace: string
    readonly uid: string
    readonly resourceVersion: string
  }
}

export interface FakeApiOptions {
  /** Serves https; any certificate that a client shows is taken. */
  readonly certificates?: Certificates
  /** Before every answer. */
  readonly delayMs?: number
  /** Under which all is served: `/k8s/clusters/c-1`. */
  readonly prefix?: string
  /**
   * Whether a watch may bring what there is first; otherwise one that asks for it is refused, as by an older server.
   * `endless`: without the bookmark that says that it was all, as where something on the way has taken the question away.
   */
  readonly streams?: boolean | 'endless'
}

export const isWatch = ({ verb }: Asked): boolean => verb === 'watch'
/** A watch that brings what there is first. */
export const isStreamed = ({ query }: Asked): boolean => query['sendInitialEvents'] === 'true'
export const isList = ({ verb }: Asked): boolean => verb === 'list'
export const isWrite = ({ verb }: Asked): boolean => ['create', 'update', 'patch'].includes(verb)

/** What a fault of kind `write` may send. */
export const errorLine = (code: number, reason: string, message = ''): string =>
  `${JSON.stringify({ type: 'ERROR', object: statusOf({ code, reason, message }) })}\n`

interface Resource {
  readonly kind: string
  readonly isCustom: boolean
  readonly hasStatus: boolean
}

const RESOURCES: Readonly<Record<string, Resource>> = {
  '/apis/arks.ai/v1/arksmodels': { kind: 'ArksModel', isCustom: true, hasStatus: true },
  '/apis/batch/v1/jobs': { kind: 'Job', isCustom: false, hasStatus: true },
  '/api/v1/persistentvolumeclaims': { kind: 'PersistentVolumeClaim', isCustom: false, hasStatus: true },
  '/api/v1/pods': { kind: 'Pod', isCustom: false, hasStatus: true },
  '/api/v1/events': { kind: 'Event', isCustom: false, hasStatus: false },
  '/apis/events.k8s.io/v1/events': { kind: 'Event', isCustom: false, hasStatus: false },
  '/apis/coordination.k8s.io/v1/leases': { kind: 'Lease', isCustom: false, hasStatus: false },
}

interface Happened {
  readonly revision: number
  readonly collection: string
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: Stored
  /** As it was before, for those that select by labels. */
  readonly before: Stored | undefined
}

interface Watching {
  readonly target: Target
  readonly selector: string
  readonly response: ServerResponse
  readonly send: (line: string) => void
}

interface Target {
  readonly collection: string
  readonly resource: Resource
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly isStatus: boolean
}

class Refused extends Error {
  readonly code: number
  readonly reason: string

  constructor(code: number, reason: string, message: string) {
    super(message)
    this.code = code
    this.reason = reason
  }
}

export async function fakeApi(options: FakeApiOptions = {}): Promise<FakeApi> {
  const { certificates, delayMs = 0, prefix = '', streams = false } = options
  const objects = new Map<string, Map<string, Stored>>()
  const log: Asked[] = []
  const faults: Fault[] = []
  const missing = new Set<string>()
  const sockets = new Set<Socket>()
  const watches = new Set<Watching>()
  const continues = new Map<string, { readonly version: number; readonly rest: readonly Stored[] }>()
  let history: Happened[] = []
  let revision = 1000
  let compacted = 0
  let goneForm: GoneForm = 'status'
  let isSilent = false
  const count = { accepted: 0, mostOpen: 0 }
  let port = 0

  const collection = (path: string): Map<string, Stored> => {
    const known = objects.get(path) ?? new Map<string, Stored>()
    objects.set(path, known)
    return known
  }

  const happen = (event: Omit<Happened, 'revision'>): void => {
    if (isSilent) return
    const happened = { ...event, revision }
    history.push(happened)
    for (const watching of watches) tell(watching, happened)
  }

  const store = (path: string, object: ApiObject): Stored => {
    const namespace = object.metadata.namespace ?? 'default'
    const key = `${namespace}/${object.metadata.name}`
    const before = collection(path).get(key)
    const same = before !== undefined && JSON.stringify(before) === JSON.stringify(stamped(object, before))
    if (same) return before
    revision++
    const { resourceVersion: _, ...metadata } = stamped(object, before).metadata
    const isOtherSpec = JSON.stringify(object['spec']) !== JSON.stringify(before?.['spec'])
    const generation = (Number(before?.metadata['generation']) || 0) + (isOtherSpec || before === undefined ? 1 : 0)
    const stored = { ...object, metadata: { ...metadata, generation, resourceVersion: `${revision}` } }
    collection(path).set(key, stored)
    happen({ collection: path, type: before === undefined ? 'ADDED' : 'MODIFIED', object: stored, before })
    return stored
  }

  const drop = (path: string, key: string): void => {
    const before = collection(path).get(key)
    if (before === undefined) return
    revision++
    collection(path).delete(key)
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: `${revision}` } }
    happen({ collection: path, type: 'DELETED', object, before })
  }

  const list = (target: Target, query: Asked['query']): unknown => {
    const limit = Number(query['limit'] ?? 0) || Number.POSITIVE_INFINITY
    const token = query['continue']
    const begun = token === undefined ? undefined : continues.get(token)
    if (token !== undefined && begun === undefined)
      throw new Refused(
        410,
        'Expired',
        'The provided continue parameter is too old to display a consistent list result',
      )
    const all = begun?.rest ?? selected(target, query['labelSelector'] ?? '')
    const version = begun?.version ?? revision
    const metadata: Record<string, unknown> = { resourceVersion: `${version}` }
    if (all.length > limit) {
      const next = randomUUID()
      continues.set(next, { version, rest: all.slice(limit) })
      Object.assign(metadata, { continue: next, remainingItemCount: all.length - limit })
    }
    const items = all.slice(0, limit).map((object) => (target.resource.isCustom ? object : bare(object)))
    return { kind: `${target.resource.kind}List`, apiVersion: apiVersionOf(target.collection), metadata, items }
  }

  const selected = (target: Target, selector: string): readonly Stored[] =>
    [...collection(target.collection).entries()]
      .filter(([, object]) => target.namespace === undefined || object.metadata.namespace === target.namespace)
      .filter(([, object]) => matches(object, selector))
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([, object]) => object)

  const tell = ({ target, selector, send }: Watching, { collection: path, type, object, before }: Happened): void => {
    if (path !== target.collection) return
    if (target.namespace !== undefined && object.metadata.namespace !== target.namespace) return
    const [was, is] = [before !== undefined && matches(before, selector), matches(object, selector)]
    if (type === 'DELETED' ? !was : !was && !is) return
    const shown = type === 'DELETED' || !is ? 'DELETED' : was ? 'MODIFIED' : 'ADDED'
    send(`${JSON.stringify({ type: shown, object })}\n`)
  }

  /** What there is, and that this was all. */
  const sendAll = ({ target, selector, send }: Watching): void => {
    for (const object of selected(target, selector)) send(`${JSON.stringify({ type: 'ADDED', object })}\n`)
    if (streams !== 'endless') send(bookmark(target, { 'k8s.io/initial-events-end': 'true' }))
  }

  const bookmark = ({ resource, collection: path }: Target, annotations?: Readonly<Record<string, string>>): string => {
    const metadata = { resourceVersion: `${revision}`, ...(annotations && { annotations }) }
    return `${JSON.stringify({ type: 'BOOKMARK', object: { kind: resource.kind, apiVersion: apiVersionOf(path), metadata } })}\n`
  }

  const watch = (asked: Asked, target: Target, response: ServerResponse, fault: Misbehaviour | undefined): void => {
    const isStream = isStreamed(asked)
    if (isStream && streams === false)
      throw new Refused(422, 'Invalid', 'sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch')
    const from = isStream ? revision : Number(asked.query['resourceVersion'] ?? 0)
    if (from > revision) throw new Refused(504, 'Timeout', `Too large resource version: ${from}, current: ${revision}`)
    const isGone = from < compacted
    if (isGone && goneForm === 'status') throw new Refused(410, 'Expired', `too old resource version: ${from}`)
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.flushHeaders()
    if (isGone) {
      response.write(errorLine(410, 'Expired', `too old resource version: ${from}`))
      if (goneForm === 'stream') response.end()
      return
    }
    if (fault?.kind === 'write') {
      response.write(fault.text)
      if (fault.next === 'end') response.end()
      if (fault.next === 'reset') setImmediate(() => reset(response.socket))
      if (fault.next !== 'go-on') return
    }
    const watching = { target, selector: asked.query['labelSelector'] ?? '', response, send: sender(response, fault) }
    watches.add(watching)
    const timer = setTimeout(() => response.end(), Number(asked.query['timeoutSeconds'] ?? 1800) * 1000)
    // Who has gone while we took our time does not tell again.
    timer.unref()
    response.on('close', () => {
      clearTimeout(timer)
      watches.delete(watching)
    })
    if (isStream) sendAll(watching)
    else for (const event of history) if (event.revision > from) tell(watching, event)
  }

  const write = (asked: Asked, target: Target): { readonly code: number; readonly object: Stored } => {
    const { verb, body } = asked
    const path = target.collection
    if (!isRecord(body)) throw new Refused(400, 'BadRequest', 'the body is no object')
    if (verb === 'create') {
      const given = objectOf({ apiVersion: apiVersionOf(path), kind: target.resource.kind, ...body }, target)
      const key = `${given.metadata.namespace ?? 'default'}/${given.metadata.name}`
      if (collection(path).has(key)) throw new Refused(409, 'AlreadyExists', `"${given.metadata.name}" already exists`)
      return { code: 201, object: store(path, given) }
    }
    const before = found(target)
    if (verb === 'patch' && !/merge-patch\+json/.test(asked.headers['content-type'] ?? ''))
      throw new Refused(415, 'UnsupportedMediaType', 'the body of the request was in an unknown format')
    const version = valueAt(body, ['metadata', 'resourceVersion'])
    if (version !== undefined && version !== before.metadata.resourceVersion)
      throw new Refused(
        409,
        'Conflict',
        'the object has been modified; please apply your changes to the latest version',
      )
    const whole = verb === 'patch' ? merged(before, body) : body
    if (!isRecord(whole)) throw new Refused(400, 'BadRequest', 'the body is no object')
    const { status, ...rest } = target.isStatus ? before : whole
    const kept = (target.isStatus ? whole : target.resource.hasStatus ? before : whole)['status']
    const object = objectOf({ ...rest, ...(kept === undefined ? {} : { status: kept }) }, target)
    return { code: 200, object: store(path, object) }
  }

  const found = ({ collection: path, namespace, name }: Target): Stored => {
    const object = collection(path).get(`${namespace}/${name}`)
    if (object === undefined) throw new Refused(404, 'NotFound', `"${name}" not found`)
    return object
  }

  const answer = (asked: Asked, response: ServerResponse): void => {
    const fault = taken(faults, asked)
    if (fault !== undefined && isInstead(fault, response)) return
    try {
      if (!api.admits(asked)) throw new Refused(401, 'Unauthorized', 'Unauthorized')
      if (!asked.path.startsWith(`${prefix}/`)) throw new Refused(404, '', '404 page not found')
      const target = targetOf(asked.path.slice(prefix.length))
      if (target === undefined || missing.has(target.collection.split('/').at(-1) ?? ''))
        throw new Refused(404, 'NotFound', 'the server could not find the requested resource')
      if (asked.verb === 'watch') {
        watch(asked, target, response, fault)
      } else {
        const { code, object } = done(asked, target)
        if (fault?.kind === 'reset-after') reset(response.socket)
        else response.writeHead(code, { 'Content-Type': 'application/json' }).end(JSON.stringify(object))
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      refuse(response, error)
    }
  }

  const done = (asked: Asked, target: Target): { readonly code: number; readonly object: unknown } => {
    switch (asked.verb) {
      case 'list':
        return { code: 200, object: list(target, asked.query) }
      case 'get':
        return { code: 200, object: found(target) }
      case 'delete':
        drop(target.collection, `${target.namespace}/${found(target).metadata.name}`)
        return { code: 200, object: { kind: 'Status', apiVersion: 'v1', status: 'Success' } }
      default:
        return write(asked, target)
    }
  }

  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {})
    request.on('end', () => {
      const asked = askedOf(request, Buffer.concat(chunks).toString())
      log.push(asked)
      if (delayMs === 0) answer(asked, response)
      else setTimeout(() => answer(asked, response), delayMs)
    })
  }

  const newServer = () => {
    const settings = { keepAliveTimeout: 60_000, requestTimeout: 0 }
    const server =
      certificates === undefined
        ? createServer(settings, serve)
        : createSecureServer({ ...settings, ...certificates, requestCert: true, rejectUnauthorized: false }, serve)
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      count.accepted++
      count.mostOpen = Math.max(count.mostOpen, sockets.size)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    })
    return server
  }
  let server: ReturnType<typeof newServer> | undefined

  const api: FakeApi = {
    get url() {
      return `${certificates === undefined ? 'http' : 'https'}://127.0.0.1:${port}${prefix}`
    },
    get access() {
      return accessTo(api.url)
    },
    log,
    faults,
    missing,
    admits: () => true,
    get revision() {
      return revision
    },
    get sockets() {
      return { ...count, open: sockets.size }
    },
    get watches() {
      return watches.size
    },
    put: (object) => store(pathOf(object), object),
    get: (object) => collection(pathOf(object)).get(keyOf(object)),
    remove: (object) => drop(pathOf(object), keyOf(object)),
    silently(change) {
      isSilent = true
      change()
      isSilent = false
    },
    bookmark() {
      for (const { target, send } of watches) send(bookmark(target))
    },
    endWatches(how) {
      for (const { response } of watches) {
        if (how === 'end') response.end()
        else reset(response.socket)
      }
      watches.clear()
    },
    compact(form = 'status') {
      revision++
      goneForm = form
      compacted = revision
      history = []
    },
    expireContinues: () => continues.clear(),
    setRevision(next) {
      revision = next
      history = []
      compacted = 0
    },
    async start() {
      const starting = newServer()
      server = starting
      await new Promise<void>((resolve, reject) => {
        starting.on('error', reject)
        starting.listen(port, '127.0.0.1', resolve)
      })
      const address = starting.address()
      if (typeof address === 'object' && address !== null) port = address.port
    },
    async stop() {
      const stopping = server
      server = undefined
      if (stopping === undefined) return
      const closed = new Promise((resolve) => stopping.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
  await api.start()
  return api
}

/** To a server that asks for nothing. */
export const accessTo = (server: string): Access => ({
  kind: 'access',
  server,
  namespace: 'default',
  description: 'a test',
  credentials: async () => ({ tls: {}, headers: {}, proxy: undefined }),
  renew() {},
})

const METHOD_VERBS = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const

function askedOf(request: IncomingMessage, body: string): Asked {
  const url = new URL(request.url ?? '/', 'http://any')
  const query = Object.fromEntries(url.searchParams)
  const method = request.method
  const isNamed = targetOf(url.pathname.replace(/^.*?(?=\/apis?\/)/, ''))?.name !== undefined
  const read = query['watch'] === 'true' ? 'watch' : isNamed ? 'get' : 'list'
  const verb =
    method === 'POST' || method === 'PUT' || method === 'PATCH' || method === 'DELETE' ? METHOD_VERBS[method] : read
  return {
    verb,
    path: url.pathname,
    query,
    body: parsed(body),
    headers: request.headers,
    certificate: certificateOf(request.socket),
    at: performance.now(),
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text === '' ? undefined : text
  }
}

const isSecure = (socket: Socket): socket is TLSSocket => 'getPeerX509Certificate' in socket

const certificateOf = (socket: Socket): string | undefined =>
  isSecure(socket) ? socket.getPeerX509Certificate()?.toString() : undefined

function taken(faults: Fault[], asked: Asked): Misbehaviour | undefined {
  const index = faults.findIndex(({ when }) => when(asked))
  const fault = faults[index]
  if (fault === undefined) return undefined
  const left = (fault.times ?? 1) - 1
  faults.splice(index, 1, ...(left > 0 ? [{ ...fault, times: left }] : []))
  return fault.do
}

/** `/apis/batch/v1[/namespaces/x]/jobs[/name[/status]]` */
const PATH = /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+))?\/([a-z]+)(?:\/([^/]+))?(\/status)?$/

function targetOf(path: string): Target | undefined {
  const [, group = '', namespace, plural = '', name, status] = PATH.exec(path) ?? []
  const collection = `${group}/${plural}`
  const resource = RESOURCES[collection]
  return resource && { collection, resource, namespace, name, isStatus: status !== undefined }
}

const apiVersionOf = (collection: string): string =>
  collection
    .replace(/^\/apis?\//, '')
    .split('/')
    .slice(0, -1)
    .join('/')

function pathOf({ apiVersion, kind }: ApiObject): string {
  const found = Object.keys(RESOURCES).find(
    (path) => apiVersionOf(path) === apiVersion && RESOURCES[path]?.kind === kind,
  )
  if (found === undefined) throw new Error(`the fake API server has no ${apiVersion} ${kind}`)
  return found
}

const keyOf = ({ metadata }: ApiObject): string => `${metadata.namespace ?? 'default'}/${metadata.name}`

function stamped(object: ApiObject, before: Stored | undefined): Stored {
  const { namespace = 'default' } = object.metadata
  const known = before?.metadata
  const uid = known?.uid ?? randomUUID()
  const creationTimestamp = known?.['creationTimestamp'] ?? new Date().toISOString().replace(/\.\d+/, '')
  const kept = { generation: known?.['generation'], resourceVersion: known?.resourceVersion ?? '' }
  return { ...object, metadata: { ...object.metadata, namespace, uid, creationTimestamp, ...kept } }
}

function bare(object: Stored): unknown {
  const { apiVersion: _, kind: __, ...rest } = object
  return rest
}

function objectOf(body: Readonly<Record<string, unknown>>, { resource, namespace }: Target): ApiObject {
  const { apiVersion, kind, metadata } = body
  if (typeof apiVersion !== 'string' || kind !== resource.kind || !isRecord(metadata))
    throw new Refused(400, 'BadRequest', `the object must be a ${resource.kind} with metadata`)
  const { name } = metadata
  if (typeof name !== 'string') throw new Refused(422, 'Invalid', 'metadata.name: Required value')
  for (const place of MICRO_TIMES) {
    const time = valueAt(body, place)
    if (typeof time === 'string' && !MICRO_TIME.test(time))
      throw new Refused(400, 'BadRequest', `parsing time "${time}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse`)
  }
  return { ...body, apiVersion, kind, metadata: { ...metadata, name, namespace: namespace ?? 'default' } }
}

const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/
const MICRO_TIMES = [['spec', 'acquireTime'], ['spec', 'renewTime'], ['eventTime'], ['series', 'lastObservedTime']]

/** RFC 7386. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = merged(result[key], value)
  }
  return result
}

/** `a=b,c!=d,e,!f`. */
function matches(object: Stored, selector: string): boolean {
  const labels = valueAt(object, ['metadata', 'labels'])
  return selector
    .split(',')
    .filter((term) => term !== '')
    .every((term) => {
      const [, not = '', key = '', operator, value] = /^(!?)([^!=]+)(?:(!=|==?)(.*))?$/.exec(term) ?? []
      const label = valueAt(labels, [key])
      if (operator === undefined) return (label !== undefined) === (not === '')
      return (label === value) === (operator !== '!=')
    })
}

/** Whether there is no other answer. */
function isInstead(fault: Misbehaviour, response: ServerResponse): boolean {
  if (fault.kind === 'reset') reset(response.socket)
  if (fault.kind === 'status') refuse(response, fault)
  if (fault.kind === 'body')
    response
      .writeHead(fault.code ?? 200, fault.type === undefined ? {} : { 'content-type': fault.type })
      .end(fault.text)
  return ['hang', 'reset', 'status', 'body'].includes(fault.kind)
}

interface Refusing {
  readonly code: number
  readonly reason?: string
  readonly message?: string
  readonly retryAfter?: number
}

const statusOf = ({ code, reason = '', message = '' }: Refusing): unknown => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message,
  reason,
  code,
})

function refuse(response: ServerResponse, refusing: Refusing): void {
  const { code, retryAfter } = refusing
  response
    .writeHead(code, {
      'Content-Type': 'application/json',
      ...(retryAfter === undefined ? {} : { 'Retry-After': retryAfter }),
    })
    .end(JSON.stringify(statusOf(refusing)))
}

function reset(socket: Socket | null): void {
  if (socket === null) return
  // Of TLS the connection beneath is not to be had.
  if (isSecure(socket)) socket.destroy()
  else socket.resetAndDestroy()
}

function sender(response: ServerResponse, fault: Misbehaviour | undefined): (line: string) => void {
  if (fault?.kind === 'cut') {
    return (line) => {
      if (response.writableEnded) return
      response.write(line.slice(0, line.length / 2))
      setImmediate(() => (fault.how === 'end' ? response.end() : reset(response.socket)))
    }
  }
  if (fault?.kind === 'trickle') {
    let last = Promise.resolve()
    return (line) => {
      last = last.then(async () => {
        for (const byte of Buffer.from(line)) {
          response.write(Buffer.from([byte]))
          await new Promise((resolve) => setTimeout(resolve, fault.pauseMs))
        }
      })
    }
  }
  return (line) => {
    if (!response.writableEnded) response.write(line)
  }
}
