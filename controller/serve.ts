import { createServer, type Server } from 'node:http'
import { isIPv6 } from 'node:net'
import { shown } from '../crds/wording.ts'

/** Where to listen. Without a host on every address; port 0 is one that is free. */
export type Bind = { readonly kind: 'off' } | { readonly kind: 'on'; readonly host?: string; readonly port: number }

export interface Trouble {
  readonly kind: 'problem'
  readonly message: string
}

export interface Content {
  readonly type: string
  readonly body: string
}

export interface Serving {
  readonly metricsBind: Bind
  readonly healthBind: Bind
  readonly metrics: () => Promise<Content>
  /** Why the process is of no use any more. Kubernetes then starts it again. */
  readonly alive: () => string | undefined
  /** Why it is not to be counted on yet, or not any more. */
  readonly ready: () => string | undefined
  /** Of a connection; the server goes on. */
  readonly onError: (error: Error) => void
}

export interface Served {
  readonly kind: 'served'
  /** The port that was taken; absent where it is off. */
  readonly metricsPort: number | undefined
  readonly healthPort: number | undefined
  close(): Promise<void>
}

/** `:8080`, `127.0.0.1:8081`, `[::1]:9`, `localhost:80`; `0` is off. */
export function parseBind(text: string): Bind | Trouble {
  if (text === '0') return { kind: 'off' }
  const [, brackets, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]\s/]*)):([0-9]{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port > LAST_PORT || (brackets !== undefined && !isIPv6(brackets)))
    return {
      kind: 'problem',
      message: `must be an address such as ":8080", "127.0.0.1:8080" or "[::1]:8080", or "0" for none, got ${shown(text)}`,
    }
  const host = brackets ?? plain ?? ''
  return host === '' ? { kind: 'on', port } : { kind: 'on', host, port }
}

const LAST_PORT = 65_535

/** Metrics for Prometheus and health for the kubelet, each on an address of its own. */
export async function serve(serving: Serving): Promise<Served | Trouble> {
  const metrics = await listening('metrics', serving.metricsBind, serving.onError, {
    '/metrics': async () => ({ status: 200, ...(await serving.metrics()) }),
  })
  if (isTrouble(metrics)) return metrics
  const health = await listening('health', serving.healthBind, serving.onError, {
    '/healthz': async () => verdict(serving.alive()),
    '/readyz': async () => verdict(serving.ready()),
  })
  if (isTrouble(health)) {
    await closed(metrics)
    return health
  }
  return {
    kind: 'served',
    metricsPort: portOf(metrics),
    healthPort: portOf(health),
    async close() {
      await Promise.all([closed(metrics), closed(health)])
    },
  }
}

interface Answer extends Content {
  readonly status: number
}

type Paths = Readonly<Record<string, () => Promise<Answer>>>

const verdict = (why: string | undefined): Answer =>
  why === undefined ? plain(200, 'ok') : plain(503, why.replaceAll('\n', ' '))

const plain = (status: number, text: string): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${text}\n`,
})

async function listening(
  what: string,
  bind: Bind,
  onError: (error: Error) => void,
  paths: Paths,
): Promise<Server | undefined | Trouble> {
  if (bind.kind === 'off') return undefined
  const server = createServer(LIMITS, (request, response) => {
    const { method = '', url = '' } = request
    const send = ({ status, type, body }: Answer): void => {
      const headers = { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), 'Cache-Control': 'no-store' }
      response.writeHead(status, status === 405 ? { ...headers, Allow: 'GET, HEAD' } : headers).end(body)
    }
    const failed = (error: unknown): void => {
      send(plain(500, 'this is a bug, see the log'))
      onError(error instanceof Error ? error : new Error(String(error)))
    }
    answer(paths, method, url).then(send, failed)
  })
  return new Promise((resolve) => {
    server.once('error', (error) => resolve({ kind: 'problem', message: refusal(what, bind, error) }))
    server.listen(bind.port, bind.host, () => resolve(server.removeAllListeners('error').on('error', onError)))
  })
}

/** Nobody who asks for health or metrics sends much or takes long. */
const LIMITS = { requestTimeout: 10_000, headersTimeout: 10_000, maxHeaderSize: 16_384 } as const

async function answer(paths: Paths, method: string, url: string): Promise<Answer> {
  const [path = ''] = url.split('?')
  const found = paths[path]
  if (found === undefined) return plain(404, Object.keys(paths).join(', '))
  return method === 'GET' || method === 'HEAD' ? found() : plain(405, 'GET, HEAD')
}

const WHY: ReadonlyMap<unknown, string> = new Map([
  ['EADDRINUSE', 'another program listens there'],
  ['EADDRNOTAVAIL', 'this machine has no such address'],
  ['EAFNOSUPPORT', 'this machine has no such address'],
  ['EACCES', 'a port below 1024 is not allowed here'],
  ['ENOTFOUND', 'there is no such host'],
  ['EAI_AGAIN', 'the name of the host cannot be looked up'],
])

function refusal(what: string, { host = '', port }: Extract<Bind, { kind: 'on' }>, error: Error): string {
  const code = 'code' in error ? error.code : undefined
  const address = `${isIPv6(host) ? `[${host}]` : host}:${port}`
  return `cannot serve ${what} on ${address}: ${WHY.get(code) ?? error.message}`
}

const isTrouble = (server: Server | undefined | Trouble): server is Trouble =>
  server !== undefined && 'kind' in server && server.kind === 'problem'

function portOf(server: Server | undefined): number | undefined {
  const address = server?.address()
  return typeof address === 'object' && address !== null ? address.port : undefined
}

function closed(server: Server | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (server === undefined) return resolve()
    server.close(() => resolve())
    // Prometheus keeps its connection for the next time.
    server.closeAllConnections()
  })
}
