import { Worker } from 'node:worker_threads'
import { Failure, Fault } from './failure.ts'
import type { Failed, Kind, Orders, Reply, WorkerOptions } from './orders.ts'

/** A worker thread, seen from outside. */
export interface Hand {
  order<K extends Kind>(kind: K, argument: Orders[K][0]): Promise<Orders[K][1]>
  /** How much it has to do: ranges, of which it has many at once, and what keeps it from all else. */
  load(): number
}

export interface Pool {
  readonly hands: readonly Hand[]
  /** The one with least to do. */
  idlest(): Hand
  /** A piece of the shared memory, when one is free. */
  takeSlot(): Promise<number>
  giveSlot(slot: number): void
  /** Has all files closed, and ends the threads. */
  end(): Promise<void>
}

export interface PoolOptions {
  /** The program, which tells by itself that it is started as a thread. */
  readonly program: string
  readonly count: number
  readonly slots: number
  readonly worker: WorkerOptions
  readonly onTrouble: (trouble: Failure) => void
}

/** Content is not in the heaps: without limits they take memory that nobody needs. */
const LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 }

export function pool({ program, count, slots, worker, onTrouble }: PoolOptions): Pool {
  const threads = Array.from(
    { length: count },
    () => new Worker(program, { workerData: worker, resourceLimits: LIMITS }),
  )
  const hands = threads.map((thread) => hand(thread, onTrouble))
  const free = Array.from({ length: slots }, (_, index) => index).reverse()
  const waiting: ((slot: number) => void)[] = []
  return {
    hands,
    idlest: () => hands.reduce((best, each) => (each.load() < best.load() ? each : best)),
    takeSlot: () =>
      new Promise((resolve) => {
        const slot = free.pop()
        if (slot === undefined) waiting.push(resolve)
        else resolve(slot)
      }),
    giveSlot(slot) {
      const next = waiting.shift()
      if (next === undefined) free.push(slot)
      else next(slot)
    },
    async end() {
      await Promise.allSettled(hands.map((each) => each.order('release', undefined)))
      await Promise.all(threads.map((thread) => thread.terminate()))
    },
  }
}

/** While it reads a file a thread hears of nothing else. */
const BLOCKING: readonly Kind[] = ['open', 'copy', 'matches']

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly weight: number
}

function hand(thread: Worker, onTrouble: (trouble: Failure) => void): Hand {
  const waiting = new Map<number, Waiting>()
  let last = 0
  let broken: Error | undefined
  const fail = (error: Error): void => {
    broken = error
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  thread.on('message', (reply: Reply) => {
    if ('trouble' in reply) return onTrouble(failureOf(reply.trouble))
    const order = waiting.get(reply.id)
    waiting.delete(reply.id)
    if ('value' in reply) order?.resolve(reply.value)
    else order?.reject('failed' in reply ? failureOf(reply.failed) : new Error(`in a worker: ${reply.bug}`))
  })
  thread.on('error', (error) => fail(error instanceof Error ? error : new Error(String(error))))
  thread.on('exit', () => fail(new Error('the worker has ended')))
  return {
    load: () => [...waiting.values()].reduce((sum, { weight }) => sum + weight, 0),
    order<K extends Kind>(kind: K, argument: Orders[K][0]): Promise<Orders[K][1]> {
      if (broken !== undefined) return Promise.reject(broken)
      const id = ++last
      return new Promise((resolve, reject) => {
        // The worker answers each kind with its own type: the only place where this has to be believed.
        waiting.set(id, {
          resolve: resolve as (value: unknown) => void,
          reject,
          weight: BLOCKING.includes(kind) ? 1000 : 1,
        })
        thread.postMessage({ id, kind, argument })
      })
    },
  }
}

const failureOf = ({ reason, message, from, isFault }: Failed): Failure =>
  isFault ? new Fault(reason, message, from) : new Failure(reason, message, from)

const PAGE_BYTES = 64 * 1024

/** In the types of browsers only. */
declare const WebAssembly: {
  readonly Memory: new (description: { initial: number; maximum: number; shared: true }) => { readonly buffer: unknown }
}

/** Shared memory that starts at a page, which no SharedArrayBuffer by itself does: disks take only such directly. */
export function sharedPages(bytes: number): SharedArrayBuffer {
  const count = Math.ceil(bytes / PAGE_BYTES)
  const { buffer } = new WebAssembly.Memory({ initial: count, maximum: count, shared: true })
  if (!(buffer instanceof SharedArrayBuffer)) throw new Error('shared memory must be shared')
  return buffer
}
