import { json } from '../crds/json.ts'
import { isRecord } from '../crds/place.ts'
import { parseTermination } from '../crds/termination.ts'
import type { SeenPod } from './seen.ts'
import type { Progress } from './stored.ts'

/** What a loader says of itself. */
export interface Told {
  readonly doneBytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number
}

/** Asks the pods of loading models how far they are, each model in its turn. */
export interface Follower {
  /** No pods: no longer. */
  follow(key: string, pods: readonly SeenPod[]): void
  stop(): void
}

export interface FollowerOptions {
  /** Of the pod with this IP; undefined: it does not say. Never throws. */
  readonly ask: (ip: string) => Promise<Told | undefined>
  readonly onProgress: (key: string, progress: Progress) => void
  /** Monotonic, in ms. */
  readonly clock: () => number
  readonly after: (ms: number, call: () => void) => () => void
  readonly everyMs?: number
  readonly perSecond?: number
}

/** Whoever follows a progress with their eyes wants no more. */
const EVERY_MS = 5_000
/** Each answer may become a write; so the writes of all models together have a limit. */
const PER_SECOND = 20

interface Followed {
  pods: readonly SeenPod[]
  dueAt: number
  readonly told: Map<string, Told>
}

export function follower({
  ask,
  onProgress,
  clock,
  after,
  everyMs = EVERY_MS,
  perSecond = PER_SECOND,
}: FollowerOptions): Follower {
  /** In the order in which they are due: whoever was asked goes to the end. */
  const followed = new Map<string, Followed>()
  let cancel: (() => void) | undefined
  let isStopped = false

  const schedule = (ms: number): void => {
    if (isStopped || cancel !== undefined || followed.size === 0) return
    cancel = after(ms, () => {
      cancel = undefined
      next()
    })
  }

  const next = (): void => {
    const [first] = followed
    if (first === undefined) return
    const [key, each] = first
    const wait = each.dueAt - clock()
    if (wait > 0) {
      schedule(wait)
      return
    }
    followed.delete(key)
    followed.set(key, each)
    each.dueAt = clock() + everyMs
    void asked(key, each)
    schedule(1_000 / perSecond)
  }

  const asked = async (key: string, each: Followed): Promise<void> => {
    const running = each.pods.filter(({ isRunning, ip, isDeleting }) => isRunning && ip !== undefined && !isDeleting)
    await Promise.all(
      running.map(async ({ uid, ip = '' }) => {
        const told = await ask(ip)
        // A loader that waits for its turn does not know yet how much there is.
        if (told !== undefined && told.totalBytes > 0) each.told.set(uid, told)
      }),
    )
    const progress = together(each.pods, each.told)
    if (progress !== undefined && followed.get(key) === each) onProgress(key, progress)
  }

  return {
    follow(key, pods) {
      if (pods.length === 0) {
        followed.delete(key)
        return
      }
      const known = followed.get(key)
      if (known !== undefined) known.pods = pods
      else followed.set(key, { pods, dueAt: clock() + everyMs, told: new Map() })
      schedule(everyMs)
    },
    stop() {
      isStopped = true
      cancel?.()
      followed.clear()
    },
  }
}

/** The sum over the shards; undefined until each of them has been heard of. */
export function together(pods: readonly SeenPod[], told: ReadonlyMap<string, Told>): Progress | undefined {
  const counted = pods.filter(({ phase }) => phase !== 'Failed')
  const known = counted.flatMap((pod) => (pod.phase === 'Succeeded' ? ended(pod) : told.get(pod.uid)) ?? [])
  if (known.length < counted.length || known.length === 0) return undefined
  const sum = (of: (told: Told) => number): number => known.reduce((total, each) => total + of(each), 0)
  const [loadedBytes, totalBytes] = [sum(({ doneBytes }) => doneBytes), sum(({ totalBytes }) => totalBytes)]
  if (totalBytes === 0 || !isAmount(totalBytes)) return undefined
  // What is not verified and put in its place is not loaded.
  const percent = Math.min(99, Math.floor((loadedBytes / totalBytes) * 100))
  const bytesPerSecond = Math.min(
    sum((told) => told.bytesPerSecond),
    Number.MAX_SAFE_INTEGER,
  )
  return { percent, loadedBytes, totalBytes, bytesPerSecond }
}

function ended({ end }: SeenPod): Told | undefined {
  const { totalBytes } = (end && parseTermination(end.message)) ?? {}
  return !isAmount(totalBytes) ? undefined : { doneBytes: totalBytes, totalBytes, bytesPerSecond: 0 }
}

/** The answer of `/progress`. Undefined for anything that cannot be true. */
export function toldIn(text: string): Told | undefined {
  const answer = json(text)
  if (!isRecord(answer) || answer['v'] !== 1) return undefined
  const [done, total, speed] = [answer['doneBytes'], answer['totalBytes'], answer['bytesPerSecond']]
  if (!isAmount(done) || !isAmount(total) || done > total) return undefined
  return { doneBytes: done, totalBytes: total, bytesPerSecond: speedIn(speed) }
}

const speedIn = (value: unknown): number => {
  const speed = typeof value === 'number' ? Math.round(value) : 0
  return isAmount(speed) ? speed : 0
}

/** Anything else would make a status that the API server refuses. */
const isAmount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0
