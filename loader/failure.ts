import type { Reason } from '../crds/termination.ts'

/** Of the answer that ended a load. */
export interface FromHub {
  readonly status?: number
  readonly requestId?: string
}

/** Why a model cannot be loaded, as its user is told. Everything else that is thrown is a bug. */
export class Failure extends Error {
  readonly reason: Reason
  readonly from: FromHub

  constructor(reason: Reason, message: string, from: FromHub = {}) {
    super(message)
    this.reason = reason
    this.from = from
  }
}

/** What may pass when the same is tried again. When it does not, it ends the load with its reason. */
export class Trouble extends Failure {
  /** That the other side asked for, in ms. */
  readonly delay: number | undefined

  constructor(reason: Reason, message: string, from: FromHub = {}, delay?: number) {
    super(reason, message, from)
    this.delay = delay
  }
}

/** The volume has failed at what it may well do the next time, as object storage does that is asked for too much at once. */
export class Fault extends Failure {}

const NO_SPACE = ['ENOSPC', 'EDQUOT', 'EFBIG']

export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

/** What an operation on the volume threw, as a failure that names the file; what is no answer of the system passes. */
export function storageFailure(error: unknown, what: string): unknown {
  const code = codeOf(error)
  if (error instanceof Failure || !/^E[A-Z0-9]+$/.test(code) || !(error instanceof Error)) return error
  if (NO_SPACE.includes(code)) return new Failure('InsufficientStorage', `The volume is full: cannot ${what}: ${code}`)
  const message = `Cannot ${what}: ${code}${HINTS[code] ?? ''}`
  return code === 'EIO' ? new Fault('StorageError', message) : new Failure('StorageError', message)
}

/** What `work` throws, in the words of `what`. */
export function on<T>(what: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw storageFailure(error, what)
  }
}

/** Undefined where it does not work, and that it does not is no matter. */
export function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EACCES: ', permission denied',
  EPERM: ', not permitted',
  EROFS: ', the volume is read-only',
  ESTALE: ', the server has let go of the file',
  EIO: ', the volume reports a fault',
}
