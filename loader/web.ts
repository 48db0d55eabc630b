import http, { type ClientRequest, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { announcedDigest, fromHub, header, proxyRefusal, shown } from './answers.ts'
import { codeOf, Failure, type FromHub, Trouble } from './failure.ts'

export interface WebOptions {
  /** Whose origin, and no other, is shown the token. */
  readonly endpoint: string
  readonly token: string | undefined
  /** A connection on which nothing moves for so long is given up. */
  readonly idleMs: number
}

/** The headers of an answer have come; its body is still to be read, or to be destroyed. */
export interface Answer {
  /** Where the redirects ended. */
  readonly url: string
  readonly status: number
  readonly message: IncomingMessage
  readonly from: FromHub
  /** From the first answer of the endpoint that tells. */
  readonly digest: string | undefined
}

export interface Web {
  /** GET, through redirects. Throws a `Trouble` where it comes to no answer. */
  get(url: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
  /** Ends everything that is under way. */
  abort(): void
}

const MAX_REDIRECTS = 10
const REDIRECTS = [301, 302, 303, 307, 308]

export function web({ endpoint, token, idleMs }: WebOptions): Web {
  // Without a limit of its own: how many there are at once is decided by who asks.
  const agents = {
    'http:': new http.Agent({ keepAlive: true, proxyEnv: process.env }),
    'https:': new https.Agent({ keepAlive: true, proxyEnv: process.env }),
  }
  const underway = new Set<ClientRequest>()
  const { origin } = new URL(endpoint)

  const ask = (url: URL, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:'
      const authorization = token !== undefined && url.origin === origin ? { Authorization: `Bearer ${token}` } : {}
      const request = (secure ? https : http).get(url, {
        agent: secure ? agents['https:'] : agents['http:'],
        // For each step to the connection too, which `setTimeout` leaves to the system.
        timeout: idleMs,
        headers: { 'User-Agent': 'arksmodel-loader', 'Accept-Encoding': 'identity', ...headers, ...authorization },
      })
      underway.add(request)
      let answer: IncomingMessage | undefined
      request.on('timeout', () => {
        const trouble = idle(url, idleMs)
        // Otherwise whoever reads it is only told that it broke off.
        answer?.destroy(trouble)
        request.destroy(trouble)
      })
      request.on('close', () => underway.delete(request))
      request.on('error', (error) => reject(unreached(error, url)))
      request.on('response', (message) => {
        answer = message
        resolve(message)
      })
    })

  const get = async (start: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> => {
    let url = new URL(start)
    let digest: string | undefined
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const message = await ask(url, headers)
      const status = message.statusCode ?? 0
      // Storage names what it stores in its own way, which may look like a digest of the file and be none.
      if (url.origin === origin) digest ??= announcedDigest(message.headers)
      if (!REDIRECTS.includes(status)) {
        const from = fromHub({ status, headers: message.headers })
        const encoding = header(message.headers, 'content-encoding') ?? 'identity'
        if (encoding === 'identity') return { url: url.href, status, message, from, digest }
        message.destroy()
        throw new Trouble('NetworkError', `${url.host} answered in ${encoding}, which was not asked for`, from)
      }
      discard(message)
      url = redirected(url, header(message.headers, 'location'))
    }
    throw new Trouble('NetworkError', `More than ${MAX_REDIRECTS} redirects from ${shown(start)}`)
  }

  return {
    get,
    abort() {
      for (const request of underway) request.destroy()
      for (const agent of Object.values(agents)) agent.destroy()
    },
  }
}

const PROXIES = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY']

/** Those agents of Node that read the variables; earlier ones would pass the proxy by and say nothing. */
export function knowsProxies(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21)
}

export const isProxied = (environment: Readonly<Record<string, string | undefined>>): boolean =>
  PROXIES.some((name) => (environment[name] ?? '') !== '')

const MAX_DISCARDED = 64 * 1024

/** Read, not destroyed, so that the connection can be used again; unless there is no end of it. */
function discard(message: IncomingMessage): void {
  let left = MAX_DISCARDED
  message.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) message.destroy()
  })
}

function redirected(from: URL, location: string | undefined): URL {
  if (location === undefined || !URL.canParse(location, from.href))
    throw new Trouble('NetworkError', `${shown(from.href)} redirects to no URL`)
  const to = new URL(location, from)
  if (!['http:', 'https:'].includes(to.protocol))
    throw new Failure('NetworkError', `${shown(from.href)} redirects to ${to.protocol}, which is not followed`)
  if (from.protocol === 'https:' && to.protocol === 'http:')
    throw new Failure(
      'NetworkError',
      `${shown(from.href)} redirects from https to ${shown(to.href)}, which is not followed`,
    )
  return to
}

export const idle = ({ host }: URL, idleMs: number): Trouble =>
  new Trouble('NetworkError', `Nothing came from ${host} for ${idleMs / 1000} s`)

const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/^(ENOTFOUND|EAI_)/, 'dns'],
  [/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EADDRNOTAVAIL)$/, 'connect'],
  [/CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO_|^EPROTO$/, 'tls'],
]

/** A certificate that nobody known vouches for. */
const UNKNOWN_AUTHORITY = /SELF_SIGNED|ISSUER|UNABLE_TO_VERIFY/

/** Which of the steps to an answer failed, in one word behind the system's own code. */
export function unreached(error: Error, url: URL): Error {
  if (error instanceof Failure) return error
  if (codeOf(error) === 'ERR_PROXY_TUNNEL') return untunneled(error, url)
  const code = codeOf(error) || error.message
  const cause = CAUSES.find(([pattern]) => pattern.test(code))?.[1] ?? 'connection'
  const hint = UNKNOWN_AUTHORITY.test(code)
    ? '; the certificate of a private authority goes into NODE_EXTRA_CA_CERTS'
    : elsewhere(error, url)
  return new Trouble('NetworkError', `Cannot reach ${url.host}: ${code} (${cause})${hint}`)
}

/** The system's address where it is not that of the URL: of a proxy, or of a name with a wrong one. */
function elsewhere(error: Error, { host }: URL): string {
  if (!('address' in error && 'port' in error)) return ''
  const place = `${error.address}:${error.port}`
  return place === host ? '' : ` at ${place}`
}

function untunneled(error: Error, url: URL): Failure {
  if ('proxyTunnelTimeout' in error) return idle(url, Number(error.proxyTunnelTimeout))
  const status = 'statusCode' in error ? Number(error.statusCode) : 0
  if (status === 407) return proxyRefusal()
  return new Trouble('NetworkError', `Cannot reach ${url.host}: the proxy answered with ${status} (proxy)`)
}

/** What came was the beginning of an answer. */
export function broken(error: Error, { url, from }: Pick<Answer, 'url' | 'from'>): Error {
  if (error instanceof Failure) return error
  return new Trouble(
    'NetworkError',
    `The connection to ${new URL(url).host} broke: ${codeOf(error) || error.message}`,
    from,
  )
}

/** A small body, as far as the limit and not much farther. Throws a `Trouble` where it breaks off. */
export async function text(answer: Answer, limit: number): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of answer.message) {
      if (!Buffer.isBuffer(chunk)) continue
      chunks.push(chunk)
      length += chunk.length
      if (length > limit) break
    }
  } catch (error) {
    throw error instanceof Error ? broken(error, answer) : error
  }
  return Buffer.concat(chunks).toString()
}
