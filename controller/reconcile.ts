import { isRecord } from '../crds/place.ts'
import type { Catalogue, Shown } from './catalogue.ts'
import {
  emptyMemory,
  forgetFuture,
  forgetOthers,
  intruder,
  type Memory,
  mayWriteAt,
  noteIntrusion,
  peaceAt,
  progressToTell,
} from './memory.ts'
import { mergePatch } from './merge-patch.ts'
import type { Observed, Subject } from './observed.ts'
import type { Again } from './queue.ts'
import { canonical, type Explanation, type SeenModel } from './seen.ts'
import { type Judgement, LOADING, status } from './status.ts'
import { parseStatus, type Status } from './stored.ts'

/** What a reconcile may do. Each may throw, and the key is tried again later. */
export interface Around {
  readonly catalogue: Pick<Catalogue, 'shown'>
  readonly memories: Map<string, Memory>
  /** In milliseconds since the epoch. */
  readonly now: () => number
  /** What the Events of an object say; undefined: nothing. */
  readonly explain: (subject: Subject) => Promise<Explanation | undefined>
  /** Sends the patch of a status on top of this model's resourceVersion; what the server made of it, or why not. */
  readonly write: (model: SeenModel, patch: unknown) => Promise<SeenModel | 'conflict' | 'gone'>
  readonly onWritten: (written: Written) => void
  readonly onIntrusion: (model: SeenModel) => void
  /** Which pods to ask for progress; none: no longer. */
  readonly follow: (key: string, seen: Observed | undefined) => void
}

export interface Written {
  readonly model: SeenModel
  readonly before: Status
  readonly after: Status
}

/** Events are read again after so long while they are all that explains a model, then after longer and longer. */
const EXPLAIN_AGAIN_MS = 30_000
const LONGEST_PAUSE_MS = 5 * 60_000
const CONFLICT_MS = 1_000

/** Brings the status of one model up to date. When to look again, unless something happens before. */
export async function reconcile(around: Around, key: string): Promise<Again | undefined> {
  const { catalogue, memories, follow } = around
  const shown = catalogue.shown(key)
  if (shown === undefined || shown.model.isDeleting) {
    memories.delete(key)
    follow(key, undefined)
    return undefined
  }
  const { model } = shown
  const memory = remembered(memories, key, shown)
  forgetFuture(memory, around.now())
  const before = parseStatus(model.status)
  const told = before.progress?.jobName === shown.job?.name ? before.progress : undefined
  if (noteIntrusion(memory, model, around.now())) around.onIntrusion(model)
  const seen = (): Observed => ({
    ...shown,
    explained: memory.explained,
    progress: progressToTell(memory, told, around.now()),
    intruder: intruder(memory, around.now()),
    since: memory.since,
  })
  const judgement = await judged(around, memory, seen)
  follow(key, isLoading(judgement.status) ? seen() : undefined)
  memory.since = judgement.since
  const wait = isYoung(around, model, before, judgement)
    ? model.createdAt + YOUNG_MS
    : await written(around, memory, { model, before, after: judgement.status })
  return soonest(
    [wait, judgement.changesAt, askAgainAt(memory, judgement), peaceAt(memory, around.now())],
    around.now(),
  )
}

/** One apply brings one object after the other. Until they are there the CRD's own default says what there is to say. */
const YOUNG_MS = 2_000
const MISSING: readonly string[] = ['StorageMissing', 'WaitingForWorker']

function isYoung(around: Around, model: SeenModel, before: Status, { status: { conditions } }: Judgement): boolean {
  const isMissing = conditions.some(({ type, reason }) => type === 'Ready' && MISSING.includes(reason))
  // Where the clock of the server is ahead of ours by more, nobody can tell how young it is.
  return isMissing && before.observedGeneration === -1 && Math.abs(around.now() - model.createdAt) < YOUNG_MS
}

function remembered(memories: Map<string, Memory>, key: string, { model, claim, job, pods }: Shown): Memory {
  const known = memories.get(key)
  const memory = known?.uid === model.uid ? known : emptyMemory(model.uid)
  memories.set(key, memory)
  if (memory.job !== job?.uid) memory.progress = undefined
  memory.job = job?.uid
  forgetOthers(
    memory,
    [model, claim, job, ...pods].flatMap((each) => each?.uid ?? []),
  )
  return memory
}

/** Once more with what Events say, where nothing else explains it. */
async function judged(around: Around, memory: Memory, seen: () => Observed): Promise<Judgement> {
  const first = status(seen(), around.now())
  const at = askAgainAt(memory, first)
  if (first.unexplained === undefined || at === undefined || at > around.now()) return first
  const { subject } = first.unexplained
  memory.asked[subject.uid] = { at: around.now(), times: (memory.asked[subject.uid]?.times ?? 0) + 1 }
  const why = await around.explain(subject)
  if (why === undefined) return first
  memory.explained[subject.uid] = why
  return status(seen(), around.now())
}

function askAgainAt({ asked }: Memory, { unexplained }: Judgement): number | undefined {
  if (unexplained === undefined) return undefined
  const before = asked[unexplained.subject.uid]
  if (before === undefined) return unexplained.from
  return Math.max(unexplained.from, before.at + Math.min(EXPLAIN_AGAIN_MS * 2 ** (before.times - 1), LONGEST_PAUSE_MS))
}

/** Sends what differs. When to try again, if it could not be sent now. */
async function written(around: Around, memory: Memory, { model, before, after }: Written): Promise<number | undefined> {
  const stored: unknown = JSON.parse(model.status)
  // Fields that are not ours stay.
  const wanted = { ...(isRecord(stored) ? stored : {}), ...NONE, ...after }
  const text = canonical(wanted)
  if (text === model.status) return undefined
  const said = withoutTimes(text)
  if (memory.written?.wanted === said && memory.written.got === model.status) return undefined
  const at = mayWriteAt(memory)
  if (at > around.now()) return at
  memory.sent = text
  const answer = await around.write(model, mergePatch(stored, wanted))
  // The cache has something newer by now, or knows in a moment that it is gone.
  if (answer === 'conflict' || answer === 'gone') return around.now() + CONFLICT_MS
  // One text for all, where they are the same: there are as many as models.
  const { status: got } = answer
  if (got === text) memory.sent = got
  memory.written = { wanted: got === text ? got : said, got }
  if (canonical(before.progress) !== canonical(after.progress)) memory.progressAt = around.now()
  around.onWritten({ model, before, after })
  return undefined
}

/** Where the server keeps no conditions, each look would give them another time. */
const withoutTimes = (status: string): string => status.replaceAll(/"lastTransitionTime":"[^"]*"/g, '')

/** What goes away when it is not said again. */
const NONE = { worker: undefined, model: undefined, progress: undefined }

const isLoading = ({ conditions }: Status): boolean =>
  conditions.some(({ type, reason }) => type === 'Ready' && LOADING.includes(reason))

function soonest(times: readonly (number | undefined)[], now: number): Again | undefined {
  const known = times.filter((each) => each !== undefined)
  return known.length === 0 ? undefined : { afterMs: Math.max(1, Math.min(...known) - now) }
}
