import { VERSION } from '../crds/version.ts'
import { access } from './access.ts'
import { HELP, type Options, parseArguments } from './arguments.ts'
import { controller } from './controller.ts'
import { type Log, log as newLog } from './log.ts'
import { metrics as newMetrics, noMetrics } from './metrics.ts'
import { serve } from './serve.ts'

async function main(): Promise<number> {
  const request = parseArguments(process.argv.slice(2), process.stderr.isTTY === true)
  switch (request.kind) {
    case 'help':
      process.stdout.write(HELP)
      return 0
    case 'version':
      process.stdout.write(`${VERSION}\n`)
      return 0
    case 'wrong':
      return refused(`${request.message}\narksmodel-controller --help shows what it takes`)
    case 'run':
      return run(request)
    default: {
      const _: never = request
      return _
    }
  }
}

function refused(message: string): number {
  process.stderr.write(`error: ${message}\n`)
  return 1
}

async function run(options: Options): Promise<number> {
  const { kubeconfig, context, logFormat, logLevel } = options
  const found = await access({ kubeconfig, context })
  if (found.kind === 'problem') return refused(found.message)
  const log = await newLog({
    format: logFormat,
    level: logLevel,
    base: { controller: 'arksmodel' },
    hasColours: process.stderr.isTTY === true && process.env['NO_COLOR'] === undefined,
    write: (lines) => process.stderr.write(lines),
    now: Date.now,
  })
  const metrics = options.metricsBind.kind === 'off' ? noMetrics : await newMetrics()
  log.info('Starting', { version: VERSION, cluster: found.description, namespaces: options.namespaces })
  let isStopping = false
  return new Promise((resolve, reject) => {
    const running = controller({
      options,
      access: found,
      log,
      metrics,
      onDeposed(why) {
        // Nothing is written any more, and it is on its way out.
        if (isStopping) return
        log.error('The lease is lost; ending, for another one may write now', { why })
        resolve(1)
      },
    })
    const serving = serve({
      metricsBind: options.metricsBind,
      healthBind: options.healthBind,
      metrics: metrics.text,
      alive: running.alive,
      ready: running.ready,
      onError: (error) => log.warn('A request for metrics or health failed', { error }),
    })
    const stop = async (): Promise<number> => {
      isStopping = true
      await running.stop()
      const served = await serving
      if (served.kind === 'problem') return refused(served.message)
      await served.close()
      return 0
    }
    onSignals(log, () => stop().then(resolve, reject))
    serving.then((served) => (served.kind === 'problem' ? stop().then(resolve, reject) : undefined), reject)
  })
}

/** The first one asks, the second one does not. */
function onSignals(log: Log, stop: () => void): void {
  let isAsked = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (isAsked) process.exit(1)
      isAsked = true
      log.info('Stopping', { signal })
      stop()
    })
  }
}

main().then(
  // Timers and connections of a lost lease must not keep the process.
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`this is a bug: ${error instanceof Error ? error.stack : error}\n`)
    process.exit(2)
  },
)
