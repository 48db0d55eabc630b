import { attempt, Failure, type FromHub, Trouble } from './failure.ts'

/** Headers by lower-case name, as Node gives them. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>

export interface Refused {
  readonly status: number
  readonly headers: Headers
  /** The beginning of it. */
  readonly body: string
}

/** What was asked for, and with which rights, to say it in words. */
export interface Asked {
  readonly repo: string
  readonly revision: string
  readonly hasToken: boolean
  /** None: the repository itself was asked for. */
  readonly path?: string
}

export function header(headers: Headers, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : value?.[0]
}

/**
 * What an answer means that is no success. The Hub says it in `X-Error-Code`; mirrors and old answers are told apart by
 * status.
 */
export function refusal(answer: Refused, asked: Asked): Failure {
  const { status, headers } = answer
  const from = fromHub(answer)
  const { repo, revision, hasToken, path } = asked
  const code = header(headers, 'x-error-code')
  const said = spoken(answer)
  if (status === 429) return rateLimit('The Hub', answer, said)
  if (status === 407) return proxyRefusal()
  if (status >= 500 || status === 408)
    return new Trouble('NetworkError', `The Hub answered with ${status}${said}`, from, wait(headers))
  if (said.includes('Access to this resource is disabled'))
    return new Failure('RepositoryDisabled', `The Hub has disabled access to "${repo}"`, from)
  if (code === 'GatedRepo')
    return new Failure(
      'GatedRepo',
      hasToken
        ? `"${repo}" is gated, and the token has no access to it: ask for access on the page of the model`
        : `"${repo}" is gated: it takes a token of somebody who has access to it`,
      from,
    )
  if (code === 'RevisionNotFound')
    return new Failure('RevisionNotFound', `"${repo}" has no revision "${revision}"`, from)
  if (code === 'EntryNotFound' || (status === 404 && path !== undefined && code === undefined))
    return new Failure('NoMatchingFiles', `"${repo}" at ${revision} has no file "${path ?? ''}"`, from)
  if (said.includes('Invalid credentials'))
    return new Failure('AuthenticationFailed', 'The Hub does not know the token', from)
  if (code === 'RepoNotFound' || status === 404 || (status === 401 && !hasToken && code !== undefined))
    return new Failure(
      'RepositoryNotFound',
      hasToken
        ? `There is no "${repo}", or the token may not see it`
        : `There is no "${repo}", or it is private and takes a token`,
      from,
    )
  if (status === 401 || status === 403)
    return new Failure(
      'AuthenticationFailed',
      `The Hub refuses ${hasToken ? 'the token' : 'access without a token'} with ${status}${said}`,
      from,
    )
  return new Trouble('NetworkError', `The Hub answered with ${status}${said}`, from)
}

/**
 * What an answer means that storage gave, to which the Hub has sent us with a URL that it signed: whether a token may see
 * the file was decided before.
 */
export function storageRefusal(answer: Omit<Refused, 'body'>, host: string, path: string): Failure {
  const { status, headers } = answer
  if (status === 429) return rateLimit(host, answer, '')
  if (status === 407) return proxyRefusal()
  const message = isUsedUp(status)
    ? `${host} refuses the URL that the Hub signed for "${path}" with ${status}`
    : `${host} answered with ${status}`
  return new Trouble('NetworkError', message, fromHub(answer), wait(headers))
}

/** What storage answers to a signed URL that has had its time, or is none any more: the Hub gives another one. */
const isUsedUp = (status: number): boolean => [400, 401, 403, 404, 410].includes(status)

/** No wait helps against it. */
export const proxyRefusal = (): Failure =>
  new Failure('NetworkError', 'The proxy refuses with 407: its URL must have a user and a password that it knows')

function rateLimit(who: string, answer: Omit<Refused, 'body'>, said: string): Trouble {
  const delay = wait(answer.headers)
  const asks = delay === undefined ? '' : ` and asks to wait ${Math.ceil(delay / 1000)} s`
  return new Trouble('RateLimited', `${who} limits the rate of requests${asks}${said}`, fromHub(answer), delay)
}

const MAX_REQUEST_ID = 128

export function fromHub({ status, headers }: Omit<Refused, 'body'>): FromHub {
  const requestId = header(headers, 'x-request-id') ?? header(headers, 'x-amz-request-id')
  return { status, ...(requestId === undefined ? {} : { requestId: requestId.slice(0, MAX_REQUEST_ID) }) }
}

const MAX_SAID = 200

/** The other side's own words, where it has some. */
function spoken({ headers, body }: Refused): string {
  const inHeader = header(headers, 'x-error-message')
  // The body may be cut off behind it.
  const inBody = /^\s*\{.*?"error":\s*("(?:[^"\\]|\\.)*")/s.exec(body)?.[1]
  const message = inHeader === undefined ? attempt(() => String(JSON.parse(inBody ?? ''))) : unescaped(inHeader)
  // On one line, without the full stop, and without what signs a URL.
  const line = message?.replace(/\s+/g, ' ').trim().replace(SIGNED, '$1')
  const words = line?.slice(0, MAX_SAID).replace(/\.$/, '')
  return words === undefined || words === '' ? '' : `: ${words}`
}

const SIGNED = /(\bhttps?:\/\/[^\s?"'<>]+)\?[^\s"'<>]*/g

/** Headers are ASCII: the Hub escapes what is not. */
const unescaped = (text: string): string => attempt(() => decodeURIComponent(text)) ?? text

/**
 * How many ms the other side asks to wait: `Retry-After` in seconds or as a date, or the Hub's own
 * `RateLimit: "api";r=0;t=55`.
 */
export function wait(headers: Headers, now: number = Date.now()): number | undefined {
  const after = header(headers, 'retry-after')
  if (after !== undefined && /^\d+(\.\d+)?$/.test(after)) return Number(after) * 1000
  // A day or month by name: other text is a date to Date.parse too.
  if (after !== undefined && /[a-z]{3}/i.test(after) && !Number.isNaN(Date.parse(after)))
    return Math.max(0, Date.parse(after) - now)
  const left = [...(header(headers, 'ratelimit') ?? '').matchAll(/;\s*r=0\s*;\s*t=(\d+)/g)].map(([, t]) => Number(t))
  return left.length === 0 ? undefined : Math.max(...left) * 1000
}

/** The next page of a listing. */
export function nextPage(headers: Headers): string | undefined {
  for (const [, url, parameters] of (header(headers, 'link') ?? '').matchAll(/<([^>]*)>([^<]*)/g))
    if (/;\s*rel=("([^"]* )?next( [^"]*)?"|next\s*(;|,|$))/i.test(parameters ?? '')) return url
  return undefined
}

/** `bytes 0-9/100`; the size is undefined where it is `*`. */
export function contentRange(headers: Headers): { first: number; last: number; size: number | undefined } | undefined {
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header(headers, 'content-range') ?? '') ?? []
  if (first === undefined || last === undefined) return undefined
  return { first: Number(first), last: Number(last), size: size === '*' ? undefined : Number(size) }
}

/**
 * What the other side says that the file's digest is. An ETag of another length than a SHA-256 may be anything: mirrors
 * make their own.
 */
export function announcedDigest(headers: Headers): string | undefined {
  const linked = bare(header(headers, 'x-linked-etag'))
  if (linked !== undefined) return linked
  const etag = bare(header(headers, 'etag'))
  return etag !== undefined && /^[0-9a-f]{64}$/.test(etag) ? etag : undefined
}

const bare = (etag: string | undefined): string | undefined => etag?.replace(/^W\//, '').replaceAll('"', '')

/** Without the query, which in a signed URL is as good as a password, and without user and password. */
export function shown(url: string): string {
  if (!URL.canParse(url)) return '(no URL)'
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}
