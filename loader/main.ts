import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { REASONS, type Termination, terminationText } from '../crds/termination.ts'
import { VERSION } from '../crds/version.ts'
import { withoutTokens } from '../crds/wording.ts'
import { HELP, type LoadRequest, parseArguments, type Request, tokenOf } from './arguments.ts'
import { codeOf, Failure, type Trouble } from './failure.ts'
import { load } from './load.ts'
import { meter as newMeter } from './meter.ts'
import { pool as newPool, type Pool, sharedPages } from './pool.ts'
import { newProgress, type Progress, snapshot } from './progress.ts'
import { report as newReport, type Report } from './report.ts'
import { serve } from './serve.ts'
import { markerOf, verify } from './verify.ts'
import { amount } from './volume.ts'
import { isProxied, knowsProxies, web as newWeb } from './web.ts'
import { work } from './worker.ts'

const MOST_WORKERS = 4
/** Where Kubernetes looks for a container's last words. */
const TERMINATION_LOG = '/dev/termination-log'
const PORT = 8080
/** After SIGTERM, for the disk to take what is there. Kubernetes gives 60 s by the Job. */
const STOP_MS = 30_000

async function main(): Promise<number> {
  const request = parseArguments(process.argv.slice(2), process.env)
  switch (request.kind) {
    case 'help':
      process.stdout.write(HELP)
      return 0
    case 'version':
      process.stdout.write(`${VERSION}\n`)
      return 0
    case 'wrong':
      return wrong(request)
    case 'verify':
      return verified(request)
    case 'load':
      return loaded(request)
    default: {
      const _: never = request
      return _
    }
  }
}

function wrong({
  message,
  terminationLog,
}: Pick<Extract<Request, { kind: 'wrong' }>, 'message' | 'terminationLog'>): number {
  process.stderr.write(`error: ${message}\narksmodel-loader --help shows what it takes\n`)
  leave(terminationLog, { v: 1, reason: 'InvalidSpec', message, retryable: false })
  return REASONS.InvalidSpec.exitCode
}

async function verified({ folder, format, terminationLog }: Extract<Request, { kind: 'verify' }>): Promise<number> {
  const progress = newProgress(newMeter())
  return underReport({ repo: folder, format, progress, token: undefined, terminationLog }, async (course) => {
    const marker = markerOf(folder)
    const request = { endpoint: marker.endpoint, repo: marker.repo, revision: marker.revision, ...SMALL }
    return verify(folder, marker, course.pool(request, undefined), progress)
  })
}

const SMALL = { connections: 1, segmentBytes: 4096, idleMs: 0, patienceMs: 0, workers: undefined }

async function loaded(request: LoadRequest): Promise<number> {
  const progress = newProgress(newMeter())
  const { repo, format, terminationLog, endpoint, revision, patienceMs, idleMs } = request
  const token = tokenOfRequest(request)
  if (token instanceof Failure) return wrong({ message: token.message, terminationLog })
  return underReport({ repo, format, progress, token, terminationLog }, async (course) => {
    const { report, signal } = course
    if (isProxied(process.env) && !knowsProxies(process.versions.node))
      throw new Failure('InvalidSpec', `A proxy takes Node 22.21, 24.5 or newer, this is Node ${process.versions.node}`)
    const web = newWeb({ endpoint, token, idleMs })
    signal.addEventListener('abort', web.abort)
    const port = request.port ?? (process.env['KUBERNETES_SERVICE_HOST'] === undefined ? 0 : PORT)
    const server =
      port === 0
        ? undefined
        : await serve({
            port,
            repo,
            progress,
            onError: (error) => report.say(`Progress is not served: ${error.message}`),
          })
    const onTrouble = (trouble: Trouble): void => course.onTrouble(trouble)
    try {
      const { message } = await load(
        {
          source: { endpoint, repo, revision, hasToken: token !== undefined },
          filter: request.filter,
          folder: resolve(request.to),
          reuse: request.reuse === undefined ? undefined : resolve(request.reuse),
          shard: request.shard,
          slots: request.connections,
          slotBytes: request.segmentBytes,
        },
        {
          web,
          waits: { meter: progress.meter, patienceMs, onTrouble, signal },
          progress,
          pool: () => course.pool(request, token),
          say: report.say,
        },
      )
      return message
    } finally {
      web.abort()
      server?.close()
      // Somebody may hold a connection and say nothing.
      server?.closeAllConnections()
    }
  })
}

function tokenOfRequest({ token, tokenFile }: LoadRequest): string | undefined | Failure {
  if (token !== undefined || tokenFile === undefined) return token
  try {
    return tokenOf(readFileSync(tokenFile.path, 'utf8'), tokenFile.called)
  } catch (error) {
    if (error instanceof Failure) return error
    const code = codeOf(error)
    if (tokenFile.absent.includes(code)) return undefined
    return new Failure('InvalidSpec', `${tokenFile.called}: must be a file that can be read: ${code}`)
  }
}

interface Reported {
  readonly repo: string
  readonly format: LoadRequest['format']
  readonly progress: Progress
  readonly token: string | undefined
  readonly terminationLog: string | undefined
}

type Workers = Pick<
  LoadRequest,
  'endpoint' | 'repo' | 'revision' | 'connections' | 'segmentBytes' | 'idleMs' | 'patienceMs' | 'workers'
>

interface Course {
  readonly report: Report
  readonly signal: AbortSignal
  readonly onTrouble: (trouble: Failure) => void
  /** The same one each time. */
  pool(workers: Workers, token: string | undefined): Pool
}

/** What a terminal would obey; a stack has lines. */
const CONTROLS = /(?!\n)\p{Cc}/gu

/** Whatever happens in `work`, it comes to one result: shown, left for Kubernetes, and told by the exit code. */
async function underReport(reported: Reported, work: (course: Course) => Promise<string>): Promise<number> {
  const { repo, format, progress, token, terminationLog } = reported
  const started = progress.meter.now()
  const clean = (text: string): string =>
    withoutTokens(token === undefined ? text : text.replaceAll(token, '…')).replace(CONTROLS, '�')
  const isText = format === undefined ? process.stderr.isTTY === true : format === 'text'
  const stopping = new AbortController()
  let threads: Pool | undefined
  const interrupted = (): Termination =>
    resultOf({ reason: 'Interrupted', message: 'The load was asked to end' }, progress, started)
  const stop = (): void => {
    if (stopping.signal.aborted) return
    progress.meter.stop()
    stopping.abort()
    void threads?.end()
    // A disk that does not answer must not keep the result from being told.
    setTimeout(() => {
      leave(terminationLog, interrupted())
      process.exit(REASONS.Interrupted.exitCode)
    }, STOP_MS).unref()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', () => {
    // A person who asks twice does not want to wait for the disk.
    if (stopping.signal.aborted) process.exit(REASONS.Interrupted.exitCode)
    stop()
  })
  process.on('uncaughtException', (error) => {
    leave(terminationLog, resultOf({ reason: 'InternalError', message: clean(`${error.stack}`) }, progress, started))
    process.stderr.write(clean(`${error.stack}\n`))
    process.exit(REASONS.InternalError.exitCode)
  })
  const report = await newReport({ progress, repo, isText, clean })
  const course: Course = {
    report,
    signal: stopping.signal,
    onTrouble(trouble) {
      progress.retries++
      report.trouble(trouble)
    },
    pool(workers, sent) {
      threads ??= newPool({
        program: __filename,
        count: workers.workers ?? Math.min(MOST_WORKERS, availableParallelism()),
        slots: workers.connections,
        worker: {
          meter: progress.meter.shared,
          slots: sharedPages(workers.connections * workers.segmentBytes),
          slotBytes: workers.segmentBytes,
          endpoint: workers.endpoint,
          token: sent,
          idleMs: workers.idleMs,
          patienceMs: workers.patienceMs,
          repo: workers.repo,
          revision: workers.revision,
        },
        onTrouble: course.onTrouble,
      })
      return threads
    },
  }
  let result: Termination
  try {
    const message = await work(course)
    result = resultOf({ reason: 'Loaded', message: clean(message) }, progress, started)
  } catch (error) {
    const { reason, message, from } = failureOf(error)
    result = stopping.signal.aborted
      ? interrupted()
      : resultOf({ reason, message: clean(message), ...from }, progress, started)
  }
  await threads?.end()
  leave(terminationLog, result)
  report.end(result)
  return REASONS[result.reason].exitCode
}

/** A bug is told like everything else, with where it happened. */
function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error
  return new Failure('InternalError', error instanceof Error ? (error.stack ?? error.message) : String(error))
}

type Ended = Pick<Termination, 'reason' | 'message' | 'status' | 'requestId'>

function resultOf(ended: Ended, progress: Progress, started: number): Termination {
  const { receivedBytes, ...now } = snapshot(progress)
  const seconds = Math.round((progress.meter.now() - started) / 100) / 10
  const { reason } = ended
  const message =
    reason === 'Loaded'
      ? `${ended.message}, ${amount(now.totalBytes)}, ${amount(receivedBytes)} received in ${seconds} s`
      : ended.message
  return { v: 1, ...ended, message, retryable: REASONS[reason].retryable, ...now, seconds }
}

function leave(file: string | undefined, termination: Termination): void {
  const place = file ?? (existsSync(TERMINATION_LOG) ? TERMINATION_LOG : undefined)
  if (place === undefined) return
  try {
    writeFileSync(place, terminationText(termination))
  } catch (error) {
    process.stderr.write(`cannot write ${place}: ${codeOf(error)}\n`)
  }
}

if (isMainThread) {
  // Whoever has stopped to listen does not make a load fail.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  void main().then((code) => {
    process.exitCode = code
  })
} else if (parentPort !== null) work(workerData, parentPort)
