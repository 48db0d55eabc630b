import type { Termination } from '../crds/termination.ts'
import type { Failure } from './failure.ts'
import { type Progress, type Snapshot, snapshot, speedometer } from './progress.ts'
import { amount } from './volume.ts'

/** What people and log collectors see while it runs: a bar on a terminal or lines of JSON, never both. */
export interface Report {
  say(sentence: string): void
  trouble(failure: Failure): void
  end(result: Termination): void
}

export interface Reporting {
  readonly progress: Progress
  readonly repo: string
  readonly isText: boolean
  /** Hides what must not be shown. */
  readonly clean: (text: string) => string
}

const EVERY_MS = 5_000
const BAR_EVERY_MS = 250
/** A network that is down fails many times a second, in each connection. */
const TROUBLE_EVERY_MS = 5_000

export const report = (reporting: Reporting): Promise<Report> =>
  reporting.isText ? textReport(reporting) : jsonReport(reporting)

async function jsonReport({ progress, repo, clean }: Reporting): Promise<Report> {
  const { pino, destination, stdTimeFunctions } = (await import('pino')).default
  const log = pino(
    {
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      messageKey: 'message',
    },
    destination({ fd: 1, sync: true }),
  )
  const speed = speedometer(progress.meter)
  const timer = setInterval(() => {
    const now = snapshot(progress)
    log.info({ repo, ...now, percent: percent(now), bytesPerSecond: speed() }, 'Loading')
  }, EVERY_MS)
  const mayTell = limited(progress)
  return {
    say: (sentence) => log.info({ repo }, clean(sentence)),
    trouble(failure) {
      if (mayTell())
        log.warn({ repo, reason: failure.reason, ...failure.from, retries: progress.retries }, clean(failure.message))
    },
    end(result) {
      clearInterval(timer)
      const { message, ...fields } = result
      if (result.reason === 'Loaded') log.info({ repo, ...fields }, message)
      else log.error({ repo, ...fields }, message)
    },
  }
}

async function textReport({ progress, clean }: Reporting): Promise<Report> {
  const { SingleBar } = (await import('cli-progress')).default
  const speed = speedometer(progress.meter)
  const bar = new SingleBar({
    format: '{bar} {percentage}% {done} of {size} {speed}/s {left}',
    barsize: 30,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
    noTTYOutput: false,
    etaBuffer: 100,
    gracefulExit: false,
  })
  const line = (text: string): void => {
    if (bar.isActive) bar.stop()
    process.stderr.write(`${clean(text)}\n`)
  }
  const timer = setInterval(() => {
    const { totalBytes, doneBytes } = snapshot(progress)
    if (totalBytes === 0) return
    const rate = speed()
    const left = rate === 0 ? '' : `${duration((totalBytes - doneBytes) / rate)} left`
    const payload = { done: amount(doneBytes), size: amount(totalBytes), speed: amount(rate), left }
    if (bar.isActive) bar.update(doneBytes, payload)
    else bar.start(totalBytes, doneBytes, payload)
  }, BAR_EVERY_MS)
  const mayTell = limited(progress)
  return {
    say: line,
    trouble(failure) {
      if (mayTell()) line(`${failure.message}; trying again`)
    },
    end(result) {
      clearInterval(timer)
      if (bar.isActive) bar.stop()
      if (result.reason === 'Loaded') process.stdout.write(`${result.message}\n`)
      else process.stderr.write(`${result.reason}: ${result.message}\n`)
    },
  }
}

function limited({ meter }: Progress): () => boolean {
  let last = Number.NEGATIVE_INFINITY
  return () => {
    if (meter.now() - last < TROUBLE_EVERY_MS) return false
    last = meter.now()
    return true
  }
}

export function percent({ doneBytes, totalBytes, files }: Snapshot): number {
  // Nothing is known yet.
  if (files === 0) return 0
  return totalBytes === 0 ? 100 : Math.floor((doneBytes / totalBytes) * 1000) / 10
}

/** `1h 2m`, `3m 4s`, `5s`: the two largest units. */
function duration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`
  return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`
}
