import net, { type Socket } from 'node:net'
import tls from 'node:tls'
import type { Headers } from './answers.ts'
import { Trouble } from './failure.ts'
import { idle, unreached, type WebOptions } from './web.ts'

/** What was asked for, and where it goes. */
export interface Wanted {
  readonly url: string
  readonly first: number
  readonly last: number
  /** Of the whole file. */
  readonly size: number
  /** Called with pieces in order; each is only good until it returns. */
  readonly use: (piece: Uint8Array) => void
}

/**
 * `done`: all bytes have come. `refused`: an answer without content. `unusual`: an answer that only a whole HTTP client
 * should read; nothing of it has been used.
 */
export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly status: number; readonly headers: Headers }
  | { readonly kind: 'unusual' }

/**
 * Receives ranges at a third of the cost of `node:http`, which is the most expensive part of a load: the system reads
 * into one buffer that is used again and again. It knows one kind of answer, the simplest; everything else is left to
 * the ordinary client.
 */
export interface Bulk {
  get(wanted: Wanted): Promise<Outcome>
  abort(): void
}

const BUFFER_BYTES = 1024 * 1024
const MAX_HEAD_BYTES = 32 * 1024
const END_OF_HEAD = '\r\n\r\n'

type Listener = (piece: Uint8Array) => void

interface Connection {
  readonly socket: Socket
  readonly origin: string
  /** Whom its bytes go to, while there is a request. */
  listener: Listener | undefined
  fail: ((error: Error) => void) | undefined
  isUsed: boolean
}

export function bulk({ endpoint, token, idleMs }: WebOptions): Bulk {
  // For all connections: what is read is used before anything else is read.
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  const idleOnes: Connection[] = []
  const all = new Set<Connection>()
  let isAborted = false
  const { origin: trusted } = new URL(endpoint)

  const connect = (url: URL): Connection => {
    const connection: Connection = {
      origin: url.origin,
      listener: undefined,
      fail: undefined,
      isUsed: false,
      socket: open(url, buffer, (piece) => {
        // Nobody asked: a server that talks by itself is left.
        if (connection.listener === undefined) connection.socket.destroy()
        else connection.listener(piece)
      }),
    }
    const { socket } = connection
    all.add(connection)
    socket.setTimeout(idleMs, () => {
      const { bytesRead } = socket
      // A disk that held this thread up holds up what has come, too: it is looked at before the connection is blamed.
      setImmediate(() => {
        if (socket.bytesRead === bytesRead) socket.destroy(idle(url, idleMs))
      })
    })
    socket.on('error', (error) => connection.fail?.(unreached(error, url)))
    socket.on('close', () => {
      all.delete(connection)
      const at = idleOnes.indexOf(connection)
      if (at !== -1) idleOnes.splice(at, 1)
      connection.fail?.(new Trouble('NetworkError', `${url.host} closed the connection`))
    })
    return connection
  }

  const idleTo = (origin: string): Connection | undefined => {
    const at = idleOnes.findLastIndex((each) => each.origin === origin)
    return at === -1 ? undefined : idleOnes.splice(at, 1)[0]
  }

  const request = (url: URL, { first, last }: Wanted): string =>
    [
      `GET ${url.pathname}${url.search} HTTP/1.1`,
      `Host: ${url.host}`,
      'User-Agent: arksmodel-loader',
      'Accept: */*',
      'Accept-Encoding: identity',
      `Range: bytes=${first}-${last}`,
      ...(token !== undefined && url.origin === trusted ? [`Authorization: Bearer ${token}`] : []),
      END_OF_HEAD.slice(2),
    ].join('\r\n')

  const exchange = (connection: Connection, wanted: Wanted): Promise<Outcome | 'stale'> =>
    new Promise((resolve, reject) => {
      const { socket } = connection
      const leave = (isReusable: boolean): void => {
        connection.listener = undefined
        connection.fail = undefined
        connection.isUsed = true
        if (isReusable) idleOnes.push(connection)
        else socket.destroy()
      }
      let head: Buffer = Buffer.alloc(0)
      let left = wanted.last - wanted.first + 1

      const takeBody = (piece: Uint8Array, isReusable: boolean): void => {
        const mine = piece.subarray(0, left)
        left -= mine.length
        if (mine.length > 0) wanted.use(mine)
        if (left > 0) return
        // More than it said it would send: whatever that is, it is not ours.
        leave(isReusable && mine.length === piece.length)
        resolve({ kind: 'done' })
      }

      const takeHead = (piece: Uint8Array): void => {
        const before = head.length
        // A copy of the beginning only: behind the head there may be a megabyte of content.
        head = Buffer.concat([head, piece.subarray(0, MAX_HEAD_BYTES)])
        const end = head.indexOf(END_OF_HEAD)
        if (end === -1 && head.length < MAX_HEAD_BYTES) return
        const found = end === -1 ? undefined : parseHead(head.toString('latin1', 0, end))
        if (found !== undefined && isSimple(found, wanted)) {
          connection.listener = (more) => takeBody(more, found.isReusable)
          takeBody(piece.subarray(end + END_OF_HEAD.length - before), found.isReusable)
          return
        }
        leave(false)
        if (found === undefined || found.status < 300) resolve({ kind: 'unusual' })
        else resolve({ kind: 'refused', status: found.status, headers: found.headers })
      }

      connection.listener = takeHead
      connection.fail = (error) => {
        connection.listener = undefined
        connection.fail = undefined
        // A connection that was kept may be closed by the server at the moment it is used again.
        if (connection.isUsed && head.length === 0) resolve('stale')
        else reject(error)
      }
      socket.write(request(new URL(wanted.url), wanted))
    })

  return {
    async get(wanted) {
      const url = new URL(wanted.url)
      for (;;) {
        if (isAborted) throw new Trouble('NetworkError', `The request to ${url.host} was ended`)
        const outcome = await exchange(idleTo(url.origin) ?? connect(url), wanted)
        if (outcome !== 'stale') return outcome
      }
    },
    abort() {
      isAborted = true
      for (const { socket } of all) socket.destroy()
    },
  }
}

function open(url: URL, buffer: Buffer, use: (piece: Uint8Array) => void): Socket {
  const isSecure = url.protocol === 'https:'
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port || (isSecure ? 443 : 80))
  const onread = {
    buffer,
    callback: (length: number) => {
      use(buffer.subarray(0, length))
      return true
    },
  }
  if (!isSecure) return net.connect({ host, port, onread })
  const servername = net.isIP(host) === 0 ? host : ''
  // The option is in the documentation of tls.connect, and not in its types.
  const options: tls.ConnectionOptions & { onread: typeof onread } = { host, port, onread, servername }
  return tls.connect({ ...options, ALPNProtocols: ['http/1.1'] })
}

interface Head {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly isReusable: boolean
}

/** Undefined for what is not HTTP/1.1 to the letter. */
function parseHead(text: string): Head | undefined {
  const [first = '', ...lines] = text.split('\r\n')
  const status = /^HTTP\/1\.1 (\d{3})( |$)/.exec(first)?.[1]
  if (status === undefined) return undefined
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) return undefined
    const key = name.toLowerCase()
    // Of the headers that matter here none may come twice.
    if (FRAMING.includes(key) && headers[key] !== undefined) return undefined
    headers[key] = value
  }
  const connection = headers['connection']?.toLowerCase() ?? 'keep-alive'
  return { status: Number(status), headers, isReusable: connection === 'keep-alive' }
}

const FRAMING = ['content-length', 'content-range', 'transfer-encoding', 'content-encoding']

/** Just the bytes that were asked for, as they are, and their number in the head. */
const isSimple = ({ status, headers }: Head, { first, last, size }: Wanted): boolean =>
  status === 206 &&
  headers['content-length'] === `${last - first + 1}` &&
  [`bytes ${first}-${last}/${size}`, `bytes ${first}-${last}/*`].includes(headers['content-range'] ?? '') &&
  headers['transfer-encoding'] === undefined &&
  (headers['content-encoding'] ?? 'identity') === 'identity'
