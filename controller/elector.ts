import { isRecord } from '../crds/place.ts'
import { microTime } from './times.ts'

/** Who takes part in the election of the one that writes. */
export interface Elector {
  /** By the clock, too: false once the last renewal is too old, whether or not that was noticed by other means. */
  isLeading(): boolean
  /** Ends it, without `onStopped`; gives the lease back when it is ours. The work must be done by then. */
  release(): Promise<void>
}

/** What an election needs of a client. Errors tell by `code` what the server answered. */
export interface LeaseClient {
  request(call: LeaseCall): Promise<unknown>
}

export interface LeaseCall {
  readonly verb: 'get' | 'create' | 'update'
  readonly path: string
  readonly body?: unknown
  readonly timeoutMs: number
  readonly lane: 'lease'
}

export interface Timing {
  /** The others wait so long after they have seen the lease change. Whole seconds. */
  readonly leaseMs: number
  /** Without a renewal for so long it is given up. */
  readonly renewDeadlineMs: number
  /** Between two tries. */
  readonly retryMs: number
}

export interface ElectorOptions {
  readonly client: LeaseClient
  readonly namespace: string
  /** Of the Lease. */
  readonly name: string
  /** No other process has it, nor had it before. */
  readonly identity: string
  readonly onStarted: () => void
  /** The process must end: others may lead, and this elector does not try again. */
  readonly onStopped: (why: string) => void
  readonly onNewLeader?: (identity: string) => void
  /** A try that failed; it goes on. */
  readonly onTrouble?: (error: unknown) => void
  /** Monotonic, in ms: all decisions are made by it. */
  readonly clock: () => number
  /** In ms since 1970: for those who read the lease. */
  readonly wallClock: () => number
  /** Ends at once, in whatever way, when the signal is aborted or was it already. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** From 0 to less than 1. */
  readonly random: () => number
  readonly timing?: Timing
}

export const TIMING: Timing = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 }

/** Candidates wait up to so much longer, in parts of the time between two tries. */
const JITTER = 1.2
const SHORTEST_TIMEOUT_MS = 1_000

/** What is wrong with it, if anything is. */
export function timingProblem({ leaseMs, renewDeadlineMs, retryMs }: Timing): string | undefined {
  if (!(retryMs > 0)) return `the retry period must be more than 0 ms, got ${retryMs} ms`
  if (!(renewDeadlineMs > JITTER * retryMs)) {
    return `the renew deadline must be more than ${JITTER} times the retry period (${retryMs} ms), got ${renewDeadlineMs} ms`
  }
  if (!(leaseMs > renewDeadlineMs)) {
    return `the lease must last longer than the renew deadline (${renewDeadlineMs} ms), got ${leaseMs} ms`
  }
  return leaseMs % 1000 === 0 ? undefined : `the lease must last whole seconds, got ${leaseMs} ms`
}

/**
 * The algorithm of client-go. How long a lease is valid is measured from when it was seen to change, by our own clock:
 * only the speed of the clocks matters, not what they show. Our own lease counts from before the request that renewed
 * it, and is given up at the deadline, thus before another can have it.
 */
export function elector({ client, identity, clock, timing = TIMING, ...options }: ElectorOptions): Elector {
  const { leaseMs, renewDeadlineMs, retryMs } = timing
  const problem = timingProblem(timing)
  if (problem !== undefined) throw new Error(problem)
  const requestMs = Math.max(SHORTEST_TIMEOUT_MS, renewDeadlineMs / 2)
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`
  const ending = new AbortController()
  const isEnding = (): boolean => ending.signal.aborted
  const { signal } = ending

  let seen: Lease | undefined
  let seenAt = Number.NEGATIVE_INFINITY
  /** When the request was sent that gave us the lease last. */
  let renewedAt = Number.NEGATIVE_INFINITY
  let leads = false
  let reported: string | undefined

  const isOurs = (): boolean => seen?.holder === identity
  const isAnothers = (): boolean => seen !== undefined && seen.holder !== '' && seen.holder !== identity
  const isValid = (): boolean => seen !== undefined && seenAt + seen.durationMs > clock()
  const untilDeadline = (): number => renewedAt + renewDeadlineMs - clock()
  const isFresh = (): boolean => isOurs() && untilDeadline() > 0

  const pause = async (ms: number): Promise<void> => {
    try {
      await options.sleep(Math.max(1, Math.ceil(ms)), signal)
    } catch (error) {
      if (!isEnding()) throw error
    }
  }
  /** The client has a time-out; that it does not keep it must not cost us the lease without our knowing. */
  const answer = async (call: Pick<LeaseCall, 'verb' | 'path' | 'body'>): Promise<Lease> => {
    const left = leads ? untilDeadline() : 0
    const timeoutMs = Math.max(1, Math.floor(left > 0 ? Math.min(left, requestMs) : requestMs))
    const answered = new AbortController()
    const late = async (): Promise<never> => {
      await options.sleep(timeoutMs, answered.signal)
      throw new Error(`no answer within ${timeoutMs} ms`)
    }
    try {
      const request = client.request({ ...call, timeoutMs, lane: 'lease' })
      return parseLease(await Promise.race([request, late()]))
    } finally {
      answered.abort()
    }
  }
  const look = (lease: Lease): void => {
    if (lease.text !== seen?.text) seenAt = clock()
    seen = lease
    if (lease.holder === '' || lease.holder === reported) return
    reported = lease.holder
    options.onNewLeader?.(lease.holder)
  }
  const write = async (old: Lease | undefined): Promise<void> => {
    const sentAt = clock()
    const body = written(old)
    look(
      old === undefined
        ? await answer({ verb: 'create', path: folder, body })
        : await answer({ verb: 'update', path: `${folder}/${options.name}`, body }),
    )
    if (isOurs()) renewedAt = sentAt
  }
  const written = (old: Lease | undefined): unknown => {
    const now = microTime(options.wallClock())
    const isKept = old?.holder === identity
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: old?.metadata ?? { name: options.name, namespace: options.namespace },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: leaseMs / 1000,
        acquireTime: (isKept ? old.acquireTime : undefined) ?? now,
        renewTime: now,
        leaseTransitions: old === undefined ? 0 : old.transitions + (isKept ? 0 : 1),
      },
    }
  }
  const found = async (): Promise<Lease | undefined> => {
    try {
      return await answer({ verb: 'get', path: `${folder}/${options.name}` })
    } catch (error) {
      if (codeOf(error) === 404) return undefined
      throw error
    }
  }

  const tryFast = async (): Promise<boolean> => {
    if (seen === undefined || !isOurs() || !isValid()) return false
    try {
      await write(seen)
      return isOurs()
    } catch (error) {
      options.onTrouble?.(error)
      return false
    }
  }
  const trySlowly = async (): Promise<boolean> => {
    try {
      const old = await found()
      if (old !== undefined) look(old)
      if (isEnding() || (old !== undefined && isAnothers() && (leads || isValid()))) return false
      await write(old)
      return isOurs()
    } catch (error) {
      options.onTrouble?.(error)
      return false
    }
  }
  const tried = async (): Promise<boolean> => (await tryFast()) || (!isEnding() && (await trySlowly()))

  const acquire = async (): Promise<void> => {
    while (!((await tried()) && isFresh()) && !isEnding()) await pause(retryMs * (1 + JITTER * options.random()))
  }
  /** After a time in which nothing ran the deadline is over, and yet nobody else may have taken it: it is asked once. */
  const renew = async (): Promise<boolean> => {
    do {
      if (await tried()) return true
      if (isAnothers()) return false
      await pause(Math.min(retryMs, untilDeadline()))
    } while (untilDeadline() > 0 && !isEnding())
    return false
  }
  const lead = async (): Promise<string> => {
    await acquire()
    if (isEnding()) return ''
    leads = true
    options.onStarted()
    do await pause(retryMs)
    while (!isEnding() && (await renew()))
    return isAnothers() ? `the lease is held by ${seen?.holder}` : `the lease was not renewed for ${renewDeadlineMs} ms`
  }
  const run = async (): Promise<void> => {
    let why = ''
    try {
      why = await lead()
    } catch (error) {
      why = `the election broke: ${error instanceof Error ? error.message : String(error)}`
    } finally {
      leads = false
    }
    if (!isEnding()) options.onStopped(why)
  }
  const ended = run()

  /** Another look first: a renewal without an answer may have arrived all the same. */
  const giveBack = async (): Promise<void> => {
    const old = await found()
    if (old?.holder !== identity) return
    const now = microTime(options.wallClock())
    const spec = {
      holderIdentity: '',
      leaseDurationSeconds: 1,
      acquireTime: now,
      renewTime: now,
      leaseTransitions: old.transitions,
    }
    const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: old.metadata, spec }
    await answer({ verb: 'update', path: `${folder}/${options.name}`, body })
  }
  let released: Promise<void> | undefined
  const release = async (): Promise<void> => {
    leads = false
    ending.abort()
    await ended
    if (!isOurs()) return
    try {
      await giveBack()
    } catch (error) {
      options.onTrouble?.(error)
    }
  }

  return {
    isLeading: () => leads && isFresh(),
    release() {
      released ??= release()
      return released
    },
  }
}

interface Lease {
  /** With the resourceVersion that an update must have. */
  readonly metadata: unknown
  readonly holder: string
  readonly durationMs: number
  readonly acquireTime: string | undefined
  readonly transitions: number
  /** Another text is another record. */
  readonly text: string
}

function parseLease(value: unknown): Lease {
  const metadata = isRecord(value) ? value['metadata'] : undefined
  const spec = isRecord(value) ? (value['spec'] ?? {}) : undefined
  if (!isRecord(metadata) || !isRecord(spec) || typeof metadata['resourceVersion'] !== 'string') {
    throw new Error('the answer must be a Lease')
  }
  const { holderIdentity, leaseDurationSeconds, acquireTime, leaseTransitions } = spec
  return {
    metadata,
    holder: typeof holderIdentity === 'string' ? holderIdentity : '',
    durationMs: typeof leaseDurationSeconds === 'number' ? leaseDurationSeconds * 1000 : 0,
    acquireTime: typeof acquireTime === 'string' ? acquireTime : undefined,
    transitions: typeof leaseTransitions === 'number' ? leaseTransitions : 0,
    text: JSON.stringify(spec),
  }
}

const codeOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
