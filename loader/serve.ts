import { createServer, type Server } from 'node:http'
import { type Progress, snapshot, speedometer } from './progress.ts'
import { percent } from './report.ts'

export interface Serving {
  readonly port: number
  readonly repo: string
  readonly progress: Progress
  /** The load goes on without it. */
  readonly onError: (error: Error) => void
}

/**
 * `/progress` for the controller, `/metrics` for Prometheus, `/healthz` for probes. They tell nothing that the pod's
 * object does not tell, so they ask for no password.
 */
export async function serve({ port, repo, progress, onError }: Serving): Promise<Server> {
  const speed = speedometer(progress.meter)
  const timer = setInterval(speed, 1_000)
  timer.unref()
  const metrics = await metricsOf(progress)
  const answer = async (path: string): Promise<{ readonly type: string; readonly body: string } | undefined> => {
    if (path === '/healthz') return { type: 'text/plain', body: 'ok\n' }
    if (path === '/metrics') return metrics()
    if (path !== '/progress') return undefined
    const now = snapshot(progress)
    const body = { v: 1, repo, ...now, percent: percent(now), bytesPerSecond: speed() }
    return { type: 'application/json', body: `${JSON.stringify(body)}\n` }
  }
  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?')
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end()
      return
    }
    answer(path).then(
      (found) => {
        if (found === undefined) response.writeHead(404).end('/progress, /metrics, /healthz\n')
        else response.writeHead(200, { 'Content-Type': found.type, 'Cache-Control': 'no-store' }).end(found.body)
      },
      (error: unknown) => response.writeHead(500).end(`${error}\n`),
    )
  })
  server.on('error', onError)
  server.on('close', () => clearInterval(timer))
  server.listen(port)
  // It must not keep the process when the load is done.
  server.unref()
  return server
}

async function metricsOf(progress: Progress): Promise<() => Promise<{ readonly type: string; readonly body: string }>> {
  const { Registry, Gauge, Counter, collectDefaultMetrics } = (await import('prom-client')).default
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const gauges = {
    totalBytes: new Gauge({
      name: 'arksmodel_loader_total_bytes',
      help: 'Size of what is loaded',
      registers: [registry],
    }),
    doneBytes: new Gauge({ name: 'arksmodel_loader_done_bytes', help: 'Of it on the volume', registers: [registry] }),
    reusedBytes: new Gauge({
      name: 'arksmodel_loader_reused_bytes',
      help: 'Of it taken from elsewhere on the volume',
      registers: [registry],
    }),
    files: new Gauge({ name: 'arksmodel_loader_files', help: 'Number of files', registers: [registry] }),
    filesDone: new Gauge({ name: 'arksmodel_loader_files_done', help: 'Of them whole', registers: [registry] }),
  }
  const counters = {
    receivedBytes: new Counter({
      name: 'arksmodel_loader_received_bytes_total',
      help: 'Content that came over the network',
      registers: [registry],
    }),
    retries: new Counter({
      name: 'arksmodel_loader_retries_total',
      help: 'Requests made again',
      registers: [registry],
    }),
  }
  return async () => {
    const now = snapshot(progress)
    for (const name of ['totalBytes', 'doneBytes', 'reusedBytes', 'files', 'filesDone'] as const)
      gauges[name].set(now[name])
    for (const name of ['receivedBytes', 'retries'] as const) {
      counters[name].reset()
      counters[name].inc(now[name])
    }
    return { type: registry.contentType, body: await registry.metrics() }
  }
}
