/** The keys of models that are to be looked at. A key waits once, however often it is added. */
export interface Queue {
  add(key: string): void
  /** Not before `ms` from now; an earlier time that is known already stays, a later one gives way. */
  addAfter(key: string, ms: number): void
  /** Drops what is planned for a key that is gone, and its back-off. What its work in progress asks for still counts. */
  forget(key: string): void
  /** Keys that wait for a worker, without those that wait for their time. */
  readonly depth: number
  /** Keys in work. */
  readonly active: number
  unfinishedSeconds(): number
  longestRunningSeconds(): number
  isPaused(): boolean
  /** Begins the work that was put off by the option `isPaused`. */
  resume(): void
  /** Takes no more and drops what waits; resolves when those in work are done, or after `ms`. */
  drain(ms: number): Promise<void>
}

export interface Again {
  /** 0: soon, with the back-off of a failure. Absent: when something happens. */
  readonly afterMs?: number
}

/** As controller-runtime names them. */
export type Result = 'success' | 'error' | 'requeue' | 'requeue_after'

/** Calls once after so many ms, unless what it returns is called before. */
export type After = (ms: number, call: () => void) => () => void

export interface QueueHooks {
  /** A key waits that did not wait before. */
  readonly added?: (key: string) => void
  readonly started?: (key: string, waitedSeconds: number) => void
  readonly done?: (key: string, tookSeconds: number, result: Result) => void
  /** A key was added for later, for whatever reason: client-go counts all of these as retries. */
  readonly retried?: (key: string) => void
}

export interface QueueOptions {
  /** Never runs twice at once for one key: what is added meanwhile runs once behind it. */
  readonly process: (key: string) => Promise<Again | undefined>
  /** An error ends here. One with a `retryAfterMs` is not tried again before that. */
  readonly onError: (key: string, error: unknown, retryInMs: number) => void
  /** Monotonic, in ms. */
  readonly clock: () => number
  readonly after: After
  /** From 0 to less than 1. */
  readonly random: () => number
  readonly workers?: number
  /** Collects keys until `resume`. */
  readonly isPaused?: boolean
  readonly hooks?: QueueHooks
}

const WORKERS = 10
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 300_000
const JITTER = 0.2
/** Work that waits for nothing hands the event loop back so often: the lease has to be renewed. */
const SLICE_MS = 20

export function queue({ workers = WORKERS, hooks = {}, clock, after, random, ...options }: QueueOptions): Queue {
  /** Since when, in the order of their turn. */
  const waiting = new Map<string, number>()
  /** Since when, of those that are in work and get another turn. */
  const again = new Map<string, number>()
  const inWork = new Map<string, number>()
  const failures = new Map<string, number>()
  const onIdle: (() => void)[] = []
  let isPaused = options.isPaused ?? false
  let isDrained = false
  let isScheduled = false
  let lastTurn = Number.NEGATIVE_INFINITY
  /** Kept from one key to the next: a new one would walk over the holes of all that were taken before. */
  let turns: Iterator<[string, number]> | undefined

  const add = (key: string): void => {
    if (isDrained || waiting.has(key) || again.has(key)) return
    const now = clock()
    if (inWork.has(key)) again.set(key, now)
    else waiting.set(key, now)
    tell(() => hooks.added?.(key))
    schedule()
  }
  const plans = agenda({ clock, after, onDue: add })
  const addAfter = (key: string, ms: number): void => {
    if (isDrained) return
    tell(() => hooks.retried?.(key))
    if (ms > 0) plans.put(key, clock() + ms)
    else add(key)
  }

  /** Not at once: who adds a key may not be done with what it adds it for. */
  const schedule = (): void => {
    if (isScheduled || isPaused || waiting.size === 0) return
    isScheduled = true
    if (clock() - lastTurn < SLICE_MS) queueMicrotask(startWork)
    else after(0, newTurn)
  }
  const newTurn = (): void => {
    lastTurn = clock()
    startWork()
  }
  const startWork = (): void => {
    isScheduled = false
    while (inWork.size < workers) {
      const next = taken()
      if (next === undefined) return
      void work(...next)
    }
  }
  const taken = (): [string, number] | undefined => {
    if (waiting.size === 0) return undefined
    turns ??= waiting.entries()
    const turn = turns.next()
    if (turn.done) return undefined
    waiting.delete(turn.value[0])
    return turn.value
  }

  const work = async (key: string, since: number): Promise<void> => {
    const start = clock()
    inWork.set(key, start)
    tell(() => hooks.started?.(key, (start - since) / 1000))
    const result = await processed(key)
    inWork.delete(key)
    tell(() => hooks.done?.(key, (clock() - start) / 1000, result))
    const addedAt = again.get(key)
    again.delete(key)
    if (addedAt !== undefined) waiting.set(key, addedAt)
    if (inWork.size === 0) for (const resolve of onIdle.splice(0)) resolve()
    schedule()
  }
  const processed = async (key: string): Promise<Result> => {
    try {
      const afterMs = (await options.process(key))?.afterMs
      if (afterMs !== undefined && !(afterMs > 0)) {
        addAfter(key, retryMs(key))
        return 'requeue'
      }
      failures.delete(key)
      if (afterMs === undefined) return 'success'
      addAfter(key, afterMs)
      return 'requeue_after'
    } catch (error) {
      const ms = Math.max(retryMs(key), retryAfterMs(error))
      addAfter(key, ms)
      tell(() => options.onError(key, error, ms))
      return 'error'
    }
  }
  const retryMs = (key: string): number => {
    const before = failures.get(key) ?? 0
    failures.set(key, before + 1)
    return Math.min(FIRST_RETRY_MS * 2 ** before, LAST_RETRY_MS) * (1 - JITTER + 2 * JITTER * random())
  }
  const runningMs = (): readonly number[] => {
    const now = clock()
    return Array.from(inWork.values(), (start) => now - start)
  }

  return {
    add,
    addAfter,
    forget(key) {
      waiting.delete(key)
      again.delete(key)
      failures.delete(key)
      plans.drop(key)
    },
    get depth() {
      return waiting.size + again.size
    },
    get active() {
      return inWork.size
    },
    unfinishedSeconds: () => runningMs().reduce((sum, ms) => sum + ms, 0) / 1000,
    longestRunningSeconds: () => Math.max(0, ...runningMs()) / 1000,
    isPaused: () => isPaused,
    resume() {
      isPaused = false
      schedule()
    },
    drain(ms) {
      isDrained = true
      waiting.clear()
      again.clear()
      plans.clear()
      if (inWork.size === 0) return Promise.resolve()
      return new Promise((resolve) => {
        const cancel = after(ms, resolve)
        onIdle.push(() => {
          cancel()
          resolve()
        })
      })
    },
  }
}

function tell(hook: () => void): void {
  try {
    hook()
  } catch {
    // It must not end the work, and there is nobody else to tell.
  }
}

function retryAfterMs(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('retryAfterMs' in error)) return 0
  return typeof error.retryAfterMs === 'number' && error.retryAfterMs > 0 ? error.retryAfterMs : 0
}

/** Times for keys, with one timer: that of the earliest. */
interface Agenda {
  put(key: string, at: number): void
  drop(key: string): void
  clear(): void
}

interface AgendaOptions {
  readonly clock: () => number
  readonly after: After
  readonly onDue: (key: string) => void
}

interface Plan {
  readonly key: string
  readonly at: number
}

/** Timers take no more. */
const LONGEST_MS = 2 ** 31 - 1

function agenda({ clock, after, onDue }: AgendaOptions): Agenda {
  const times = new Map<string, number>()
  /** Plans that were dropped or moved stay in it until they come up, or are too many. */
  let heap: Plan[] = []
  let timer: { readonly at: number; readonly cancel: () => void } | undefined

  const isStale = ({ key, at }: Plan): boolean => times.get(key) !== at
  const earliest = (): Plan | undefined => {
    let first = heap[0]
    while (first !== undefined && isStale(first)) {
      pop(heap)
      first = heap[0]
    }
    return first
  }
  const stop = (): void => {
    timer?.cancel()
    timer = undefined
  }
  const setTimer = (): void => {
    const first = earliest()
    if (first !== undefined && timer !== undefined && timer.at <= first.at) return
    stop()
    if (first === undefined) return
    const ms = Math.ceil(Math.min(Math.max(first.at - clock(), 0), LONGEST_MS))
    timer = { at: first.at, cancel: after(ms, ring) }
  }
  const ring = (): void => {
    timer = undefined
    const now = clock()
    for (let first = earliest(); first !== undefined && first.at <= now; first = earliest()) {
      pop(heap)
      times.delete(first.key)
      onDue(first.key)
    }
    setTimer()
  }
  const tidy = (): void => {
    if (heap.length <= 2 * times.size) return
    heap = Array.from(times, ([key, at]) => ({ key, at })).sort((a, b) => a.at - b.at)
  }

  return {
    put(key, at) {
      const known = times.get(key)
      if (known !== undefined && known <= at) return
      times.set(key, at)
      push(heap, { key, at })
      tidy()
      setTimer()
    },
    drop(key) {
      if (times.delete(key)) setTimer()
    },
    clear() {
      times.clear()
      heap = []
      stop()
    },
  }
}

function push(heap: Plan[], plan: Plan): void {
  let index = heap.length
  while (index > 0) {
    const above = (index - 1) >> 1
    const parent = heap[above]
    if (parent === undefined || parent.at <= plan.at) break
    heap[index] = parent
    index = above
  }
  heap[index] = plan
}

/** Drops the earliest. */
function pop(heap: Plan[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let index = 0
  for (;;) {
    const left = heap[2 * index + 1]
    const right = heap[2 * index + 2]
    const isRight = left !== undefined && right !== undefined && right.at < left.at
    const child = isRight ? right : left
    if (child === undefined || child.at >= last.at) break
    heap[index] = child
    index = 2 * index + (isRight ? 2 : 1)
  }
  heap[index] = last
}
