import type { Since } from './observed.ts'
import { type Explanation, FIELD_MANAGER, type SeenModel } from './seen.ts'
import type { Progress } from './stored.ts'

/** What one process knows of a model beside what the cluster shows. Losing it costs patience, never the truth. */
export interface Memory {
  /** Of the model: one that is made anew under the same name is another. */
  readonly uid: string
  since: Since | undefined
  /** The last write: what was wanted, but for times, and what the server made of it, which an older CRD cuts. */
  written: { readonly wanted: string; readonly got: string } | undefined
  /** The status that was sent last; its answer may come behind the news of it. */
  sent: string | undefined
  readonly explained: Record<string, Explanation>
  /** By uid, when its Events were read, and how often. */
  readonly asked: Record<string, { readonly at: number; readonly times: number }>
  /** The uid of the Job that `progress` is of. */
  job: string | undefined
  progress: Progress | undefined
  progressAt: number
  intrusions: Intrusions | undefined
}

interface Intrusions {
  readonly by: string
  readonly count: number
  readonly lastAt: number
  /** What stood there then. */
  readonly status: string
}

export const emptyMemory = (uid: string): Memory => ({
  uid,
  since: undefined,
  written: undefined,
  sent: undefined,
  explained: {},
  asked: {},
  job: undefined,
  progress: undefined,
  progressAt: Number.NEGATIVE_INFINITY,
  intrusions: undefined,
})

/** After so much peace all is forgotten. */
const PEACE_MS = 10 * 60_000
/** One write may be a person's, or the last of a controller that is being replaced. */
const TOLERATED = 2
const FIRST_PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 5 * 60_000

/** Notes that another field manager has put its own status over ours. True: this one was not known yet. */
export function noteIntrusion(memory: Memory, model: SeenModel, now: number): boolean {
  const { written, intrusions } = memory
  const by = model.statusWriter
  // One that stands there until we may write again is one, however often the rest of the object changes meanwhile.
  const last = written?.got ?? intrusions?.status
  if (last === undefined || by === undefined || by === FIELD_MANAGER || model.status === last) return false
  const before = intrusions !== undefined && now - intrusions.lastAt < PEACE_MS ? intrusions.count : 0
  memory.intrusions = { by, count: before + 1, lastAt: now, status: model.status }
  memory.written = undefined
  return true
}

/** The field manager that does it again and again. */
export const intruder = (memory: Memory, now: number): string | undefined =>
  peaceAt(memory, now) === undefined ? undefined : memory.intrusions?.by

/** When the intruder is forgotten, if it does nothing more; undefined: there is none. */
export function peaceAt({ intrusions }: Memory, now: number): number | undefined {
  if (intrusions === undefined || intrusions.count <= TOLERATED) return undefined
  const at = intrusions.lastAt + PEACE_MS
  return at > now ? at : undefined
}

/** Two that write over each other would do so as fast as the server lets them. In milliseconds since the epoch. */
export function mayWriteAt({ intrusions }: Memory): number {
  if (intrusions === undefined) return Number.NEGATIVE_INFINITY
  return intrusions.lastAt + Math.min(FIRST_PAUSE_MS * 2 ** (intrusions.count - 1), LONGEST_PAUSE_MS) - FIRST_PAUSE_MS
}

const LEAST_PERCENT = 5
const LEAST_MS = 30_000

/** What is worth a write of its own. */
export function progressToTell(memory: Memory, written: Progress | undefined, now: number): Progress | undefined {
  const { progress, progressAt } = memory
  if (progress === undefined || written === undefined) return progress
  const isFar = Math.abs(progress.percent - written.percent) >= LEAST_PERCENT
  return isFar || now - progressAt >= LEAST_MS ? progress : written
}

/** Of objects that are gone nothing has to be known. */
export function forgetOthers({ explained, asked }: Memory, uids: readonly string[]): void {
  for (const known of [explained, asked])
    for (const uid of Object.keys(known)) if (!uids.includes(uid)) delete known[uid]
}

/** Where the clock was set back, what was then is now: nobody is to wait for the clock to come there again. */
export function forgetFuture(memory: Memory, now: number): void {
  const { since, intrusions, asked } = memory
  if (since !== undefined && since.at > now) memory.since = { ...since, at: now }
  if (intrusions !== undefined && intrusions.lastAt > now) memory.intrusions = { ...intrusions, lastAt: now }
  for (const [uid, each] of Object.entries(asked)) if (each.at > now) asked[uid] = { ...each, at: now }
  memory.progressAt = Math.min(memory.progressAt, now)
}
