import { json } from './json.ts'
import { isRecord } from './place.ts'

/**
 * How a worker ends, as it stands in its container's termination message: the loader writes it, the controller reads
 * it, and the Job's podFailurePolicy knows the exit codes.
 */
export interface Termination {
  readonly v: 1
  readonly reason: Reason
  /** For people, in one sentence. */
  readonly message: string
  /** Whether the same pod, run again, may succeed. */
  readonly retryable: boolean
  /** Of the answer of the Hub that ended it. */
  readonly status?: number
  readonly requestId?: string
  /** What the revision stood for. */
  readonly commit?: string
  readonly totalBytes?: number
  /** Of `totalBytes`, on the volume and verified, or a beginning that the next attempt goes on from. */
  readonly doneBytes?: number
  /** Of `doneBytes`, taken from what was on the volume already. */
  readonly reusedBytes?: number
  readonly files?: number
  readonly filesDone?: number
  readonly retries?: number
  readonly seconds?: number
}

/** Every reason with its exit code. A Job ends at once with those that no retry helps. */
export const REASONS = {
  Loaded: { exitCode: 0, retryable: false },
  /** Arguments or paths that cannot be right. */
  InvalidSpec: { exitCode: 2, retryable: false },
  AuthenticationFailed: { exitCode: 10, retryable: false },
  GatedRepo: { exitCode: 11, retryable: false },
  /** Also what the Hub says of a private repository to one who may not see it. */
  RepositoryNotFound: { exitCode: 12, retryable: false },
  RepositoryDisabled: { exitCode: 12, retryable: false },
  RevisionNotFound: { exitCode: 13, retryable: false },
  NoMatchingFiles: { exitCode: 14, retryable: false },
  InsufficientStorage: { exitCode: 20, retryable: false },
  StorageError: { exitCode: 21, retryable: true },
  ChecksumMismatch: { exitCode: 22, retryable: true },
  NetworkError: { exitCode: 30, retryable: true },
  RateLimited: { exitCode: 31, retryable: true },
  /** Asked to end, as by a drain. */
  Interrupted: { exitCode: 40, retryable: true },
  InternalError: { exitCode: 70, retryable: true },
} as const

export type Reason = keyof typeof REASONS

/** Sorted, each once; 0 is not among them. */
export const HOPELESS_EXIT_CODES: readonly number[] = [
  ...new Set(
    Object.values(REASONS)
      .filter(({ exitCode, retryable }) => exitCode !== 0 && !retryable)
      .map(({ exitCode }) => exitCode),
  ),
].sort((a, b) => a - b)

/** Kubernetes keeps so many bytes of a termination message and cuts the rest off, which would be no JSON any more. */
const MAX_BYTES = 4096

/** As compact JSON of less than 4,096 bytes: where it is longer, the message for people is cut. */
export function terminationText(termination: Termination): string {
  const whole = JSON.stringify(termination)
  if (bytes(whole) < MAX_BYTES) return whole
  const characters = [...termination.message]
  let [kept, tooMany] = [0, characters.length]
  while (tooMany - kept > 1) {
    const middle = (kept + tooMany) >> 1
    if (bytes(cut(termination, characters, middle)) < MAX_BYTES) kept = middle
    else tooMany = middle
  }
  return cut(termination, characters, kept)
}

const cut = (termination: Termination, characters: readonly string[], count: number): string =>
  JSON.stringify({ ...termination, message: `${characters.slice(0, count).join('')}…` })

const bytes = (text: string): number => new TextEncoder().encode(text).length

/** Undefined for anything else that a container may leave there, such as the end of its log. */
export function parseTermination(text: string): Termination | undefined {
  const value = json(text)
  if (!isRecord(value) || value['v'] !== 1) return undefined
  const { reason, message, retryable } = value
  if (!isReason(reason) || typeof message !== 'string' || typeof retryable !== 'boolean') return undefined
  return {
    v: 1,
    reason,
    message,
    retryable,
    ...textsOf(value, ['requestId', 'commit']),
    ...numbersOf(value, [
      'status',
      'totalBytes',
      'doneBytes',
      'reusedBytes',
      'files',
      'filesDone',
      'retries',
      'seconds',
    ]),
  }
}

const isReason = (value: unknown): value is Reason => typeof value === 'string' && Object.hasOwn(REASONS, value)

const textsOf = (value: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    keys.flatMap((key) => {
      const member = value[key]
      return typeof member === 'string' ? [[key, member]] : []
    }),
  )

const numbersOf = (value: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, number> =>
  Object.fromEntries(
    keys.flatMap((key) => {
      const member = value[key]
      const isAmount = key === 'seconds' ? Number.isFinite(member) : Number.isSafeInteger(member)
      return typeof member === 'number' && isAmount && member >= 0 ? [[key, member]] : []
    }),
  )
