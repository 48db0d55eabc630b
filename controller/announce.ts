import type { Part } from './conditions.ts'
import type { Happening } from './events.ts'
import type { Status } from './stored.ts'

/** What a change of status is worth telling, in the log and as an Event; undefined: nothing, as where only progress moved. */
export interface Announcement {
  readonly level: 'info' | 'warn'
  readonly reason: string
  readonly message: string
  /** Absent: the conditions say it, and soon something else. */
  readonly event: Happening | undefined
}

export function announcement(before: Status, after: Status): Announcement | undefined {
  const [old, ready] = [condition(before, 'Ready'), condition(after, 'Ready')]
  if (ready === undefined) return undefined
  const { reason, message } = ready
  const isStalled = ready.status === 'False'
  if (old?.status === ready.status && old.reason === reason && before.phase === after.phase) return undefined
  return {
    level: isStalled ? 'warn' : 'info',
    reason,
    message,
    event: isStalled
      ? { type: 'Warning', reason, action: 'UpdateStatus', note: message }
      : ready.status === 'True'
        ? { type: 'Normal', reason: 'ModelReady', action: 'UpdateStatus', note: message }
        : undefined,
  }
}

const condition = ({ conditions }: Status, type: string): Part | undefined =>
  conditions.find((each) => each.type === type)
