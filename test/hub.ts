import { createCipheriv, createHash, hash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Certificates, certificates } from './certificates.ts'

/** A Hugging Face Hub with its CDN on loopback, in this process, which fails in the ways that `faults` says. */

export interface HubFile {
  /** As the listing gives it, which need not be a path that a folder can hold. */
  readonly path: string
  readonly bytes: Buffer
  /** Whether it is redirected to the CDN; if absent, from 1 KiB on. */
  readonly lfs?: boolean
  /** What the listing and `X-Linked-Size` say in place of the true size. */
  readonly statedSize?: number
}

/** A listing of which only the pages asked for are made. */
export interface Generated {
  readonly count: number
  at(index: number): HubFile
  find(path: string): HubFile | undefined
}

export type Files = readonly HubFile[] | Generated

export interface Repository {
  /** Branches and tags. */
  readonly revisions: Readonly<Record<string, Files>>
  /** Seen with a token that may read it only. */
  readonly private?: boolean
  /** Listed for everybody, its files for tokens that may read it. */
  readonly gated?: boolean
  readonly disabled?: boolean
}

export interface HubOptions {
  readonly repositories?: Readonly<Record<string, Repository>>
  /** For each valid token the private and gated repositories that it may read. */
  readonly tokens?: Readonly<Record<string, readonly string[]>>
  /** A path below which the Hub lies, such as `/artifactory/api/huggingfaceml/x`. */
  readonly base?: string
  /** Entries of the listing in a page; 1000 if absent. */
  readonly pageSize?: number
  /** The Hub serves the bytes of LFS files itself. */
  readonly mirror?: boolean
  /** Over https, with `Hub.ca`. */
  readonly tls?: boolean
}

export type Origin = 'hub' | 'cdn' | 'third' | 'plain'
export type Endpoint = 'revision' | 'tree' | 'resolve' | 'cdn' | 'third' | 'plain' | 'none'
/** `bytes` is any answer with content of a file, whichever origin gives it. */
export type Target = Endpoint | 'bytes'

export interface Limits {
  /** Where it applies; each kind says what absence means. */
  readonly on?: Target | readonly Target[]
  /** Of the file, whole or as a pattern. */
  readonly path?: string | RegExp
  /** Of the listing, from 1. */
  readonly page?: number
  /** Only where this byte of the file is among those asked for. */
  readonly covers?: number
  /** How often it would have applied before it does; 0 if absent. */
  readonly skip?: number
  /** How often it applies; always if absent. */
  readonly times?: number
}

/** `on` is `bytes` if absent. Those with `after` apply to longer bodies only: n bytes of the body are sent before. */
export type BodyFault =
  /** The connection is reset (closed, under TLS). */
  | { readonly kind: 'cut'; readonly after: number }
  /** Ends cleanly, under a `Content-Length` of what should come (`whole`, the default) or of what does come. */
  | { readonly kind: 'short'; readonly after: number; readonly announced?: 'whole' | 'sent' }
  /** Sends no more for ever. */
  | { readonly kind: 'stall'; readonly after: number }
  /** One byte differs: at this offset of the file, its middle if absent. Applies where that byte is sent. */
  | { readonly kind: 'flip'; readonly at?: number }
  /** 200 and the whole file in answer to a `Range`. */
  | { readonly kind: 'whole' }
  /** `Content-Range` is this, is left out if empty, starts one byte later if absent; the body is what was asked for. */
  | { readonly kind: 'wrong-range'; readonly value?: string }
  | { readonly kind: 'rate'; readonly bytesPerSecond: number }

/** `on` is everywhere if absent. */
export type RequestFault =
  | { readonly kind: 'latency'; readonly ms: number }
  /** The connection ends without a byte of an answer. */
  | { readonly kind: 'drop'; readonly reset?: boolean }
  | {
      readonly kind: 'status'
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string
    }
  /** Runs before the answer is sent, which is already decided. */
  | { readonly kind: 'call'; readonly run: (request: Request) => void | Promise<void> }

/** `on` is `resolve` if absent. */
export type ResolveFault =
  /** The digest in `X-Linked-Etag`, or in `ETag` of a file without it and on the CDN; 64 zeros if absent. */
  | { readonly kind: 'wrong-etag'; readonly value?: string }
  /** The signed URL is good for so long and so many requests. */
  | { readonly kind: 'expiry'; readonly ms?: number; readonly uses?: number }
  /** To another origin, to http, to itself, by a relative 307 as of small files on the real Hub, or to this location. */
  | { readonly kind: 'redirect'; readonly to: 'third' | 'plain' | 'loop' | 'relative' | { readonly location: string } }

/** `on` is `tree`. The next page is said to be here; `third` is another origin. */
export interface TreeFault {
  readonly kind: 'link'
  readonly to: 'third' | { readonly location: string }
}

export type Fault = Limits & (BodyFault | RequestFault | ResolveFault | TreeFault)
export type Faults = Fault[]

/** Kept up to date until its answer has ended. */
export interface Request {
  readonly origin: Origin
  readonly endpoint: Endpoint
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly range?: string
  readonly authorization?: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** 0 until a header was sent. */
  readonly status: number
  /** Of the body, as the system took them: those of a connection that was cut may not have arrived. */
  readonly bytesSent: number
  /** Whether the body is content of a file. */
  readonly content: boolean
  readonly file?: string
  readonly page?: number
  readonly requestId: string
  /** Of the monotonic clock, in milliseconds; absent until the answer has ended in whatever way. */
  readonly startedAt: number
  readonly endedAt?: number
}

export interface Hub {
  /** The endpoint, with its base path. */
  readonly url: string
  readonly cdnUrl: string
  /** The origin of `redirect` to `third`, and the one without TLS. */
  readonly thirdUrl: string
  readonly plainUrl: string
  /** PEM; only with `tls`. */
  readonly ca?: string
  readonly log: readonly Request[]
  /** What carried a token to another origin than the Hub's. */
  readonly leaks: readonly Request[]
  /** To be added to, emptied and replaced at any time; the first that matches of each kind applies. */
  faults: Faults
  /** Content of files from all origins, or of this file. */
  bytesSent(path?: string): number
  /** The most answers with content that were under way at once since the log was cleared. */
  mostAtOnce(): number
  /** Forgets `log` and `leaks` and with them what was sent. */
  clearLog(): void
  /** Replaces what its revisions point to; earlier commits can still be had. */
  setRepository(id: string, repository: Repository): void
  removeRepository(id: string): void
  /** Leaves a relative 307 behind. */
  rename(from: string, to: string): void
  /** 40 hexadecimal digits; of `main` if absent. */
  commit(id: string, revision?: string): string
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Paths that a listing must not make anybody write to. */
export const HOSTILE_PATHS: readonly string[] = [
  '../x',
  'a/../../x',
  '/etc/x',
  'a\\b',
  'a//b',
  '',
  '.',
  'a/.',
  'a/',
  'nul\0byte',
  '.cache/arks/lease.json',
  '.cache/huggingface/download/x.metadata',
]

export const sha256 = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex')

export const gitBlobSha1 = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** The same bytes for the same size and seed, and the same beginning for another size. */
export function randomFile(path: string, size: number, seed = 1): HubFile {
  const key = Buffer.alloc(16)
  key.writeUInt32BE(seed)
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(Math.min(size, 4 << 20))
  const bytes = Buffer.allocUnsafeSlow(size)
  for (let at = 0; at < size; at += zeros.length) cipher.update(zeros.subarray(0, size - at)).copy(bytes, at)
  return { path, bytes }
}

/** `parts/000000.txt` and so on, each with its own few bytes. */
export function manyFiles(count: number): Generated {
  const at = (index: number): HubFile => {
    const number = String(index).padStart(6, '0')
    return { path: `parts/${number}.txt`, bytes: Buffer.from(`part ${number}\n`) }
  }
  const find = (path: string): HubFile | undefined => {
    const index = Number(/^parts\/(\d{6,})\.txt$/.exec(path)?.[1] ?? Number.NaN)
    return index < count && at(index).path === path ? at(index) : undefined
  }
  return { count, at, find }
}

export async function hub(options: HubOptions = {}): Promise<Hub> {
  const { base = '', pageSize = 1000, mirror = false, tls = false, tokens = {} } = options
  const repositories = new Map<string, Stored>()
  const renames = new Map<string, string>()
  const signatures = new Map<string, Signed>()
  const applied = new WeakMap<Fault, number>()
  const log: Entry[] = []
  const leaks: Entry[] = []
  let requests = 0
  let underWay = 0
  let most = 0

  const secrets = tls ? certificates() : undefined
  const [hubSite, cdnSite, thirdSite, plainSite] = await Promise.all([
    site('hub', secrets),
    site('cdn', secrets),
    site('third', secrets),
    site('plain', undefined),
  ])
  const sites = { hub: hubSite, cdn: cdnSite, third: thirdSite, plain: plainSite }

  const self: Hub = {
    url: sites.hub.url + base,
    cdnUrl: sites.cdn.url,
    thirdUrl: sites.third.url,
    plainUrl: sites.plain.url,
    ...(secrets === undefined ? {} : { ca: secrets.ca }),
    log,
    leaks,
    faults: [],
    bytesSent: (path) =>
      log
        .filter(({ content, file }) => content && (path === undefined || path === file))
        .reduce((sum, entry) => sum + entry.bytesSent, 0),
    mostAtOnce: () => most,
    clearLog() {
      log.length = 0
      leaks.length = 0
      most = underWay
    },
    setRepository(id, { revisions, ...access }) {
      const earlier = repositories.get(id)
      const commits = new Map(earlier?.commits)
      const heads = new Map<string, string>()
      for (const [name, files] of Object.entries(revisions)) {
        const tree = treeOf(files)
        commits.set(tree.commit, tree)
        heads.set(name, tree.commit)
      }
      repositories.set(id, { access, commits, heads })
    },
    removeRepository: (id) => void repositories.delete(id),
    rename(from, to) {
      const stored = repositories.get(from)
      if (stored === undefined) throw new Error(`no repository "${from}"`)
      repositories.delete(from)
      repositories.set(to, stored)
      renames.set(from, to)
    },
    commit(id, revision = 'main') {
      const commit = repositories.get(id)?.heads.get(revision)
      if (commit === undefined) throw new Error(`no revision "${revision}" of "${id}"`)
      return commit
    },
    close: async () => void (await Promise.all(Object.values(sites).map(({ server }) => closed(server)))),
    [Symbol.asyncDispose]: () => self.close(),
  }
  for (const [id, repository] of Object.entries(options.repositories ?? {})) self.setRepository(id, repository)
  return self

  async function site(origin: Origin, secrets: Certificates | undefined): Promise<Site> {
    const listener = (request: IncomingMessage, response: ServerResponse): void => void serve(origin, request, response)
    const server = secrets === undefined ? createServer(listener) : createTlsServer(secrets, listener)
    server.keepAliveTimeout = 60_000
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error(`${origin} must listen on a port`)
    return { server, url: `${secrets === undefined ? 'http' : 'https'}://127.0.0.1:${address.port}` }
  }

  async function serve(origin: Origin, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request
    requests++
    const entry: Entry = {
      origin,
      endpoint: origin === 'hub' ? 'none' : origin,
      method,
      url,
      ...(headers.range === undefined ? {} : { range: headers.range }),
      ...(headers.authorization === undefined ? {} : { authorization: headers.authorization }),
      headers,
      status: 0,
      bytesSent: 0,
      content: false,
      requestId: `Root=1-${requests.toString(16).padStart(8, '0')}-${hash('md5', String(requests)).slice(0, 24)}`,
      startedAt: performance.now(),
    }
    log.push(entry)
    const leaving = new AbortController()
    response.once('close', () => leaving.abort())
    response.on('error', () => leaving.abort())
    try {
      const answer = origin === 'hub' ? fromHub(entry) : fromCdn(entry)
      entry.content = answer.content === true
      if (entry.content) most = Math.max(most, ++underWay)
      await deliver(entry, answer, response, leaving.signal)
    } catch (error) {
      if (!leaving.signal.aborted) {
        if (!isLeft(error)) console.error(error)
        response.destroy()
      }
    } finally {
      if (entry.content) underWay--
      entry.endedAt = performance.now()
    }
  }

  function fromHub(entry: Entry): Answer {
    if (entry.method !== 'GET' && entry.method !== 'HEAD') return refusal(405, undefined, 'Method not allowed')
    if (!entry.url.startsWith(`${base}/`)) return refusal(404, undefined, 'Not Found')
    const [path = '', query = ''] = entry.url.slice(base.length).split(/\?(.*)/s)
    const [, id, revision, rest] = decoded(RESOLVE.exec(path) ?? API.exec(path)) ?? []
    if (id === undefined) return refusal(404, undefined, 'Not Found')
    const kind = RESOLVE.test(path) ? 'resolve' : path.includes('/tree/') ? 'tree' : 'revision'
    entry.endpoint = kind

    const renamed = renames.get(id)
    if (renamed !== undefined) {
      const location = base + path.replace(id, renamed) + (query === '' ? '' : `?${query}`)
      return redirection(307, location)
    }
    const access = accessed(id, entry.authorization)
    if (access.refused !== undefined) return access.refused
    const { stored, allowed } = access
    if (stored.access.disabled === true) return refusal(403, undefined, 'Access to this resource is disabled.')
    if (kind === 'resolve' && stored.access.gated === true && !allowed) return gated(id, entry.authorization)
    const tree = stored.commits.get(stored.heads.get(revision ?? 'main') ?? revision ?? '')
    if (tree === undefined) return refusal(404, 'RevisionNotFound', `Invalid rev id: ${revision}`)
    if (kind === 'revision') return described(id, stored, tree)
    if (kind === 'tree') return listed(entry, tree, { path, query: new URLSearchParams(query) })
    return resolved(entry, tree, { id, path: rest ?? '', cached: path.startsWith(CACHE) })
  }

  function accessed(id: string, authorization: string | undefined): Access {
    const token = authorization?.replace(/^Bearer /, '')
    const readable = token === undefined ? [] : Object.hasOwn(tokens, token) ? tokens[token] : undefined
    if (readable === undefined) {
      return { refused: refusal(401, undefined, 'Invalid credentials in Authorization header') }
    }
    const stored = repositories.get(id)
    const allowed = readable.includes(id)
    if (stored !== undefined && (stored.access.private !== true || allowed)) return { stored, allowed }
    return {
      refused:
        token === undefined
          ? refusal(401, 'RepoNotFound', 'Invalid username or password.')
          : refusal(404, 'RepoNotFound', 'Repository not found'),
    }
  }

  function described(id: string, { access, heads }: Stored, { commit }: Tree): Answer {
    const { private: hidden = false, gated: restricted = false, disabled = false } = access
    const gates = restricted ? 'manual' : false
    const tags: readonly string[] = [...heads.keys()]
    return json({ _id: hash('md5', id).slice(0, 24), id, private: hidden, gated: gates, disabled, sha: commit, tags })
  }

  function listed(entry: Entry, tree: Tree, { path, query }: { path: string; query: URLSearchParams }): Answer {
    const recursive = query.get('recursive')?.toLowerCase() === 'true'
    const cursor = Buffer.from(query.get('cursor') ?? '', 'base64url').toString()
    const [, start = '0', page = '1'] = /^(\d+):(\d+)$/.exec(cursor) ?? []
    entry.page = Number(page)
    const end = Math.min(tree.count, Number(start) + pageSize)
    const entries = Array.from({ length: Math.max(0, end - Number(start)) }, (_, index) =>
      tree.entry(Number(start) + index),
    ).filter((one) => recursive || !one.path.includes('/'))
    const headers: Record<string, string> = {}
    if (end < tree.count) {
      const next = new URLSearchParams(query)
      next.set('cursor', Buffer.from(`${end}:${entry.page + 1}`).toString('base64url'))
      const fault = take('link', entry)
      const location = `${base}${path}?${next}`
      const other = fault?.to === 'third' ? self.thirdUrl + location : fault?.to.location
      headers['Link'] = `<${other ?? sites.hub.url + location}>; rel="next"`
    }
    return json(entries, headers)
  }

  function resolved(entry: Entry, tree: Tree, { id, path, cached }: Wanted): Answer {
    const common = { 'X-Repo-Commit': tree.commit }
    const file = tree.find(path)
    if (file === undefined) return refusal(404, 'EntryNotFound', 'Entry not found', common)
    entry.file = path
    entry.size = file.bytes.length
    const large = isLarge(file)
    const digest = take('wrong-etag', entry)
    const etag = `"${digest === undefined ? digestOf(file) : (digest.value ?? '0'.repeat(64))}"`
    const linked = large ? { 'X-Linked-Etag': etag, 'X-Linked-Size': String(sizeOf(file)) } : {}
    const fault = take('redirect', entry, ({ to }) => to !== 'relative' || !cached)
    if (fault?.to === 'relative') {
      const target = `${base}${CACHE}${id}/${tree.commit}/${path.split('/').map(encodeURIComponent).join('/')}`
      return redirection(307, `${target}?etag=${encodeURIComponent(etag)}`, { ...common, ...linked })
    }
    if (fault?.to === 'loop') return redirection(302, sites.hub.url + entry.url, { ...common, ...linked })
    if (typeof fault?.to === 'object') return redirection(302, fault.to.location, { ...common, ...linked })
    if (fault === undefined && (mirror || !large)) {
      return content(entry, file.bytes, { ...common, ...linked, ETag: etag, 'Content-Type': 'text/plain' })
    }
    const origin = fault === undefined ? self.cdnUrl : fault.to === 'third' ? self.thirdUrl : self.plainUrl
    return redirection(302, origin + signed(entry, file), { ...common, ...linked })
  }

  /** A path on any origin but the Hub. */
  function signed(entry: Entry, file: HubFile): string {
    const fault = take('expiry', entry)
    const until = Date.now() + (fault?.ms ?? 3_600_000)
    const signature = hash('sha256', `signature ${requests}`)
    signatures.set(signature, { file, until, left: fault?.uses ?? Number.POSITIVE_INFINITY })
    const digest = digestOf(file)
    const query = new URLSearchParams({
      'response-content-disposition': `inline; filename*=UTF-8''${file.path}`,
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Expires': '3600',
      'X-Amz-Signature': signature,
      Expires: String(Math.floor(until / 1000)),
    })
    return `/repos/${digest.slice(0, 2)}/${digest.slice(2, 4)}/${digest}?${query}`
  }

  function fromCdn(entry: Entry): Answer {
    const query = new URL(entry.url, 'http://cdn').searchParams
    const known = signatures.get(query.get('X-Amz-Signature') ?? '')
    if (known !== undefined) {
      entry.file = known.file.path
      entry.size = known.file.bytes.length
    }
    if (entry.authorization !== undefined) {
      leaks.push(entry)
      return xml(400, 'InvalidArgument', 'Only one auth mechanism allowed')
    }
    if (known === undefined) return xml(403, 'SignatureDoesNotMatch', 'The request signature does not match')
    if (Date.now() >= known.until || known.left-- <= 0) return xml(403, 'AccessDenied', 'Request has expired')
    const fault = take('redirect', entry)
    if (fault !== undefined) {
      const { to } = fault
      if (typeof to === 'object') return redirection(302, to.location)
      if (to === 'relative') return redirection(307, entry.url)
      return redirection(302, sites[to === 'loop' ? entry.origin : to].url + entry.url)
    }
    const { bytes } = known.file
    // S3 gives objects that came in parts an ETag that is no digest of them.
    const parts = `${hash('md5', digestOf(known.file))}-${Math.max(1, Math.ceil(bytes.length / (64 << 20)))}`
    const digest = take('wrong-etag', entry)
    const etag = `"${digest === undefined ? parts : (digest.value ?? '0'.repeat(64))}"`
    return content(entry, bytes, { ETag: etag, 'Content-Type': 'application/octet-stream' })
  }

  function content(entry: Entry, bytes: Buffer, headers: Readonly<Record<string, string>>): Answer {
    const common = { ...headers, 'Accept-Ranges': 'bytes' }
    const asked = requested(entry.range, bytes.length)
    entry.content = true
    if (asked === undefined || take('whole', entry) !== undefined) {
      return { status: 200, more: common, body: bytes, offset: 0, content: true }
    }
    if (asked === 'unsatisfiable') {
      return { status: 416, more: { ...common, 'Content-Range': `bytes */${bytes.length}` }, body: Buffer.alloc(0) }
    }
    const { start, end } = asked
    const fault = take('wrong-range', entry)
    const range = fault?.value ?? `bytes ${start + (fault === undefined ? 0 : 1)}-${end}/${bytes.length}`
    const more = { ...common, ...(range === '' ? {} : { 'Content-Range': range }) }
    return { status: 206, more, body: bytes.subarray(start, end + 1), offset: start, content: true }
  }

  async function deliver(entry: Entry, plan: Answer, response: ServerResponse, signal: AbortSignal): Promise<void> {
    await take('call', entry)?.run(entry)
    const latency = take('latency', entry)
    if (latency !== undefined) await sleep(latency.ms, undefined, { signal })
    const drop = take('drop', entry)
    if (drop !== undefined) {
      if (drop.reset === true) reset(response)
      response.destroy()
      return
    }
    const status = take('status', entry)
    if (status !== undefined && entry.content) {
      entry.content = false
      underWay--
    }
    const answer: Answer =
      status === undefined
        ? plan
        : { status: status.status, more: status.headers ?? {}, body: Buffer.from(status.body ?? `${status.status}`) }
    const { body } = answer
    const silent = entry.method === 'HEAD' || answer.status === 204 || answer.status === 304
    const longer = ({ after }: { readonly after: number }): boolean => !silent && after < body.length
    const cut = take('cut', entry, longer)
    const short = cut === undefined ? take('short', entry, longer) : undefined
    const stall = cut === undefined && short === undefined ? take('stall', entry, longer) : undefined
    const stop = cut?.after ?? short?.after ?? stall?.after ?? body.length
    const { offset = 0 } = answer
    const flippedAt = (at: number | undefined): number => (at ?? Math.floor((entry.size ?? 0) / 2)) - offset
    const flip = take('flip', entry, ({ at }) => !silent && flippedAt(at) >= 0 && flippedAt(at) < stop)
    const rate = take('rate', entry)

    const length = short?.announced === 'sent' ? stop : body.length
    const id = entry.origin === 'hub' ? 'X-Request-Id' : 'x-amz-request-id'
    response.writeHead(answer.status, { 'Content-Length': length, [id]: entry.requestId, ...answer.more })
    entry.status = answer.status
    if (silent) {
      response.end()
      return
    }
    response.flushHeaders()
    const began = performance.now()
    const step = rate === undefined ? 1 << 20 : Math.max(1, Math.ceil(rate.bytesPerSecond / 50))
    for (let at = 0; at < stop; at += step) {
      const piece = altered(body.subarray(at, Math.min(stop, at + step)), flip && flippedAt(flip.at) - at)
      if (rate !== undefined) {
        const wait = began + ((at + piece.length) * 1000) / rate.bytesPerSecond - performance.now()
        if (wait > 0) await sleep(wait, undefined, { signal })
      }
      await written(response, piece, signal)
      entry.bytesSent += piece.length
    }
    if (cut !== undefined) {
      // A reset throws away what the other side has not read yet.
      await sleep(5, undefined, { signal })
      reset(response)
    } else if (short !== undefined && length > stop) {
      response.socket?.end()
    } else if (stall === undefined) {
      response.end()
    }
    if (!response.writableFinished && !signal.aborted) {
      await new Promise<void>((resolve) => {
        response.once('finish', resolve)
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }

  /** The first fault of the kind that applies now, which then counts as applied. */
  function take<K extends Fault['kind']>(
    kind: K,
    entry: Entry,
    applies: (fault: Extract<Fault, { kind: K }>) => boolean = () => true,
  ): Extract<Fault, { kind: K }> | undefined {
    for (const fault of self.faults) {
      if (!isOf(fault, kind) || !matches(fault, entry) || !applies(fault)) continue
      const { skip = 0, times = Number.POSITIVE_INFINITY } = fault
      const count = applied.get(fault) ?? 0
      if (count >= skip + times) continue
      applied.set(fault, count + 1)
      if (count >= skip) return fault
    }
    return undefined
  }
}

const ID = '((?:[^/]+/)?[^/]+)'
const CACHE = '/api/resolve-cache/models/'
const API = new RegExp(`^/api/models/${ID}(?:/(?:revision|tree)/([^/]+))?$`)
const RESOLVE = new RegExp(`^(?:${CACHE}${ID}/([0-9a-f]{40})|/${ID}/resolve/([^/]+))/(.*)$`)

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

interface Entry extends Mutable<Request> {
  /** True size of the file that is asked for. */
  size?: number
}

interface Answer {
  readonly status: number
  readonly more: Readonly<Record<string, string>>
  readonly body: Buffer
  /** Of the body in the file. */
  readonly offset?: number
  readonly content?: boolean
}

interface Site {
  readonly server: Server
  readonly url: string
}

interface Stored {
  readonly access: Omit<Repository, 'revisions'>
  readonly heads: ReadonlyMap<string, string>
  readonly commits: ReadonlyMap<string, Tree>
}

type Access =
  | { readonly refused: Answer }
  | { readonly refused?: undefined; readonly stored: Stored; readonly allowed: boolean }

interface Tree {
  readonly commit: string
  readonly count: number
  entry(index: number): TreeEntry
  find(path: string): HubFile | undefined
}

interface TreeEntry {
  readonly type: 'file' | 'directory'
  readonly oid: string
  readonly size: number
  readonly path: string
  readonly lfs?: { readonly oid: string; readonly size: number; readonly pointerSize: number }
}

interface Wanted {
  readonly id: string
  readonly path: string
  readonly cached: boolean
}

interface Signed {
  readonly file: HubFile
  readonly until: number
  left: number
}

const isOf = <K extends Fault['kind']>(fault: Fault, kind: K): fault is Extract<Fault, { kind: K }> =>
  fault.kind === kind

const DEFAULT_TARGETS: Readonly<Partial<Record<Fault['kind'], Target>>> = {
  cut: 'bytes',
  short: 'bytes',
  stall: 'bytes',
  flip: 'bytes',
  whole: 'bytes',
  'wrong-range': 'bytes',
  rate: 'bytes',
  'wrong-etag': 'resolve',
  expiry: 'resolve',
  redirect: 'resolve',
  link: 'tree',
}

function matches({ kind, on = DEFAULT_TARGETS[kind], path, page, covers }: Fault, entry: Entry): boolean {
  const targets = typeof on === 'string' ? [on] : on
  if (targets?.some((target) => target === entry.endpoint || (target === 'bytes' && entry.content)) === false) {
    return false
  }
  if (typeof path === 'string' && path !== entry.file) return false
  if (path instanceof RegExp && (entry.file === undefined || entry.file.search(path) < 0)) return false
  if (page !== undefined && page !== entry.page) return false
  if (covers === undefined) return true
  if (entry.size === undefined) return false
  const asked = requested(entry.range, entry.size) ?? { start: 0, end: entry.size - 1 }
  return asked !== 'unsatisfiable' && asked.start <= covers && covers <= asked.end
}

/** Of a `Range` header; absent where it asks for no single range of bytes. */
function requested(
  range: string | undefined,
  size: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range ?? '') ?? []
  if (first === '' && last === '') return undefined
  if (first === '')
    return last === '0' || size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - Number(last)), end: size - 1 }
  if (last !== '' && Number(last) < Number(first)) return undefined
  if (Number(first) >= size) return 'unsatisfiable'
  return { start: Number(first), end: last === '' ? size - 1 : Math.min(size - 1, Number(last)) }
}

/** The groups that took part, each segment decoded; absent where it did not match or cannot be decoded. */
function decoded(match: RegExpExecArray | null): readonly string[] | undefined {
  try {
    return match?.filter((group) => group !== undefined).map(decodeURIComponent)
  } catch {
    return undefined
  }
}

function json(value: unknown, more: Readonly<Record<string, string>> = {}): Answer {
  const headers = { 'Content-Type': 'application/json; charset=utf-8', ...more }
  return { status: 200, more: headers, body: Buffer.from(JSON.stringify(value)) }
}

function refusal(
  status: number,
  code: string | undefined,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  const more = {
    ...headers,
    'Content-Type': 'application/json; charset=utf-8',
    ...(code === undefined ? {} : { 'X-Error-Code': code }),
    'X-Error-Message': encodeURI(message).replaceAll('%20', ' '),
    ...(status === 401 ? { 'WWW-Authenticate': 'Bearer realm="Authentication required", charset="UTF-8"' } : {}),
  }
  return { status, more, body: Buffer.from(JSON.stringify({ error: message })) }
}

function gated(id: string, authorization: string | undefined): Answer {
  return authorization === undefined
    ? refusal(
        401,
        'GatedRepo',
        `Access to model ${id} is restricted. You must have access to it and be authenticated to access it. Please log in.`,
      )
    : refusal(
        403,
        'GatedRepo',
        `Access to model ${id} is restricted and you are not in the authorized list. Ask for access on its page.`,
      )
}

function redirection(status: 302 | 307, location: string, more: Readonly<Record<string, string>> = {}): Answer {
  const body = Buffer.from(`Found. Redirecting to ${location}`)
  return { status, more: { ...more, Location: location, 'Content-Type': 'text/plain; charset=utf-8' }, body }
}

function xml(status: number, code: string, message: string): Answer {
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`
  return { status, more: { 'Content-Type': 'application/xml' }, body: Buffer.from(text) }
}

function treeOf(files: Files): Tree {
  if ('count' in files) {
    const commit = hash('sha1', `${files.count} ${digestOf(files.at(0))}`)
    return {
      commit,
      count: files.count,
      entry: (index) => fileEntry(files.at(index)),
      find: (path) => files.find(path),
    }
  }
  const byPath = new Map(files.map((file) => [file.path, file]))
  const commit = hash(
    'sha1',
    JSON.stringify([...byPath.values()].map((file) => [file.path, digestOf(file), sizeOf(file)])),
  )
  const seen = new Set<string>()
  const entries = files.flatMap((file) => {
    const parents = [...file.path.matchAll(/\//g)].map(({ index }) => file.path.slice(0, index))
    const made = parents.filter((path) => path !== '' && !seen.has(path))
    for (const path of made) seen.add(path)
    const folders = made.map((path): TreeEntry => ({ type: 'directory', oid: hash('sha1', path), size: 0, path }))
    return [...folders, fileEntry(file)]
  })
  const entry = (index: number): TreeEntry => {
    const found = entries[index]
    if (found === undefined) throw new Error(`no entry ${index} of ${entries.length}`)
    return found
  }
  return { commit, count: entries.length, entry, find: (path) => byPath.get(path) }
}

function fileEntry(file: HubFile): TreeEntry {
  const { path } = file
  const size = sizeOf(file)
  const oid = digestOf(file)
  if (!isLarge(file)) return { type: 'file', oid, size, path }
  // What git holds of an LFS file is this text.
  const pointer = Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${size}\n`)
  return { type: 'file', oid: gitBlobSha1(pointer), size, path, lfs: { oid, size, pointerSize: pointer.length } }
}

const isLarge = ({ bytes, lfs = bytes.length >= 1024 }: HubFile): boolean => lfs

const sizeOf = ({ bytes, statedSize = bytes.length }: HubFile): number => statedSize

const digests = { sha256: new WeakMap<Buffer, string>(), git: new WeakMap<Buffer, string>() }

function digestOf(file: HubFile): string {
  const [known, digest] = isLarge(file) ? [digests.sha256, sha256] : [digests.git, gitBlobSha1]
  const value = known.get(file.bytes) ?? digest(file.bytes)
  known.set(file.bytes, value)
  return value
}

function altered(piece: Buffer, at: number | undefined): Buffer {
  const byte = at === undefined ? undefined : piece[at]
  if (at === undefined || byte === undefined) return piece
  const copy = Buffer.from(piece)
  copy[at] = byte ^ 0xff
  return copy
}

function written(response: ServerResponse, piece: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason)
    if (signal.aborted) return leave()
    signal.addEventListener('abort', leave, { once: true })
    response.write(piece, (error) => {
      signal.removeEventListener('abort', leave)
      if (error === undefined || error === null) resolve()
      else reject(error)
    })
  })
}

/** A write may hear that the other side has left before the response does. */
const isLeft = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ECONNRESET')

/** Node resets plain connections only. */
function reset({ socket }: ServerResponse): void {
  if (socket === null || 'encrypted' in socket) socket?.destroy()
  else socket.resetAndDestroy()
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
