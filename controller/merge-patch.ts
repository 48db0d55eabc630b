import { isRecord } from '../crds/place.ts'
import { canonical } from './seen.ts'

/** What makes `after` of `before` by RFC 7396; undefined: nothing has to. Lists are replaced whole. */
export function mergePatch(before: unknown, after: unknown): unknown {
  if (!isRecord(before) || !isRecord(after)) return isSame(before, after) ? undefined : after
  const patch: Record<string, unknown> = {}
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, wanted] = [before[key], after[key]]
    const change = wanted === undefined ? (old === undefined ? undefined : null) : mergePatch(old, wanted)
    if (change !== undefined) patch[key] = change
  }
  return Object.keys(patch).length === 0 ? undefined : patch
}

const isSame = (one: unknown, other: unknown): boolean => canonical(one) === canonical(other)
