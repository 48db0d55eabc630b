import type { Reason } from '../crds/termination.ts'
import type { FromHub } from './failure.ts'
import type { Digest } from './plan.ts'

/** What the main thread has a worker do, and what comes back. All of it can be cloned. */

/** A range of a file, into a slot. */
export interface Range {
  /** Of the file, on the endpoint. */
  readonly url: string
  readonly path: string
  readonly size: number
  readonly digest: Digest
  readonly start: number
  readonly length: number
  readonly slot: number
}

/** All of a file. */
export type Whole = Omit<Range, 'start' | 'length' | 'slot'>

export interface Opening {
  readonly path: string
  /** Absolute. */
  readonly partial: string
  readonly size: number
  readonly digest: Digest
  /** Whether what is there already is gone on from. */
  readonly resumes: boolean
  /** What is there already is removed in any case. */
  readonly isBegunAgain: boolean
  /** Whether the data are made to reach the disk while the file grows, so that its end is not long in coming. */
  readonly flushes: boolean
}

export interface Appending {
  readonly path: string
  readonly slot: number
  readonly length: number
}

export interface Closing {
  readonly path: string
  /** Where the file goes when it is what it has to be. */
  readonly target: string
  /** Whether it is on the disk for good when the answer comes. */
  readonly durable: boolean
}

export interface Orders {
  /** Answers with the length that is there. */
  readonly open: readonly [Opening, number]
  readonly receive: readonly [Range, 'received' | 'whole-only']
  /** For a server that knows no ranges: all of it in one stream, straight into the partial. */
  readonly stream: readonly [Whole, undefined]
  readonly append: readonly [Appending, undefined]
  /** Takes the rest from a file on the volume. */
  readonly copy: readonly [{ readonly path: string; readonly from: string }, undefined]
  /** False: the bytes are not those that the digest stands for, and are deleted. */
  readonly close: readonly [Closing, boolean]
  /** Lets go of a file that is begun again, if it is open. Answers with how much of it there was. */
  readonly drop: readonly [{ readonly path: string }, number]
  readonly matches: readonly [{ readonly file: string; readonly size: number; readonly digest: Digest }, boolean]
  readonly sync: readonly [readonly string[], undefined]
  /** Lets go of all open files; what they hold is on the disk then. */
  readonly release: readonly [undefined, undefined]
}

export type Kind = keyof Orders

export interface Order<K extends Kind = Kind> {
  readonly id: number
  readonly kind: K
  readonly argument: Orders[K][0]
}

export interface Failed {
  readonly reason: Reason
  readonly message: string
  readonly from: FromHub
  /** Of the volume, and it may pass. */
  readonly isFault: boolean
}

export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failed: Failed }
  | { readonly id: number; readonly bug: string }
  | { readonly trouble: Failed }

export interface WorkerOptions {
  readonly meter: SharedArrayBuffer
  readonly slots: SharedArrayBuffer
  readonly slotBytes: number
  readonly endpoint: string
  readonly token: string | undefined
  readonly idleMs: number
  readonly patienceMs: number
  readonly repo: string
  readonly revision: string
}
