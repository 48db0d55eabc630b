import type { ConditionType } from '../crds/arksmodel.ts'
import { timestamp } from './times.ts'

export type Truth = 'True' | 'False' | 'Unknown'

export interface Part {
  readonly status: Truth
  /** CamelCase, one of docs/status.md's. */
  readonly reason: string
  /** For people; the same from one look to the next. */
  readonly message: string
}

export interface Condition extends Part {
  readonly type: ConditionType
  /** When `status` last changed, not when it was last seen. */
  readonly lastTransitionTime: string
  readonly observedGeneration: number
}

/** These conditions, each with the time at which its status became what it is. */
export function conditions(
  wanted: ReadonlyMap<ConditionType, Part>,
  previous: readonly Condition[],
  { generation, now }: { readonly generation: number; readonly now: number },
): readonly Condition[] {
  return [...wanted].map(([type, { status, reason, message }]) => {
    const before = previous.find((each) => each.type === type)
    return {
      type,
      status,
      reason,
      message,
      observedGeneration: generation,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : timestamp(now),
    }
  })
}
