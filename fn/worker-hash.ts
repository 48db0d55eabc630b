import type { Plain } from '../crds/arksmodel.ts'
import { canonical } from './canonical.ts'
import { sha256 } from './digest.ts'

/**
 * What the API server lets change on a Job that exists (ValidateJobSpecUpdate): not part of the name. `completions` is:
 * it changes in an Indexed Job alone, with `parallelism`, and the immutable template says which part of it a pod does.
 */
const MUTABLE = new Set(['activeDeadlineSeconds', 'backoffLimit', 'parallelism', 'suspend', 'ttlSecondsAfterFinished'])

export interface Hashed {
  readonly spec: Plain
  /** The model's annotation `arks.ai/reload`. */
  readonly reload: string | undefined
  /** Of the contents of generated Secrets and ConfigMaps that the Job reads. */
  readonly digests: readonly string[]
}

/** Ten hex digits over everything that cannot be changed in place: a new value is a new Job. */
export function workerHash({ spec, reload, digests }: Hashed): string {
  const immutable = Object.fromEntries(Object.entries(spec).filter(([key]) => !MUTABLE.has(key)))
  const parts = { spec: immutable, reload, digests: digests.length === 0 ? undefined : [...digests].sort() }
  return sha256(canonical(parts)).slice(0, 10)
}
