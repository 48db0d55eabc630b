import { withoutTokens } from '../crds/wording.ts'
import { clean } from './clean.ts'

export const LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type Level = (typeof LEVELS)[number]

/**
 * Scalars, lists of them, and errors. Of anything else only its kind is shown: what a library hands out may hold
 * headers, and headers hold tokens.
 */
export type Fields = Readonly<Record<string, unknown>> & {
  readonly time?: never
  readonly level?: never
  readonly message?: never
}

export interface Log {
  debug(message: string, fields?: Fields): void
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
}

export interface Logging {
  /** One JSON object a line for machines, or `time LEVEL message key=value` for people. */
  readonly format: 'json' | 'text'
  /** The lowest that is written. */
  readonly level: Level
  /** Stands in every line. */
  readonly base: Fields
  /** For text alone: whether a terminal reads it. */
  readonly hasColours: boolean
  /** Takes whole lines with their end. */
  readonly write: (lines: string) => void
  readonly now: () => number
}

export const log = (logging: Logging): Promise<Log> => (logging.format === 'json' ? jsonLog(logging) : textLog(logging))

async function jsonLog({ level, base, write, now }: Logging): Promise<Log> {
  const { pino } = (await import('pino')).default
  const lines = pino(
    {
      level,
      base: shownFields(base),
      timestamp: () => `,"time":"${iso(now())}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
    },
    { write },
  )
  return {
    debug: (message, fields) => lines.debug(shownFields(fields), hidden(message)),
    info: (message, fields) => lines.info(shownFields(fields), hidden(message)),
    warn: (message, fields) => lines.warn(shownFields(fields), hidden(message)),
    error: (message, fields) => lines.error(shownFields(fields), hidden(message)),
  }
}

const COLOURS = { debug: 90, info: 32, warn: 33, error: 31 } as const
const GREY = 90

async function textLog({ level, base, hasColours, write, now }: Logging): Promise<Log> {
  const painted = (text: string, colour: number): string => (hasColours ? `\u001b[${colour}m${text}\u001b[39m` : text)
  const line =
    (at: Level) =>
    (message: string, fields?: Fields): void => {
      if (LEVELS.indexOf(at) < LEVELS.indexOf(level)) return
      const words = [
        painted(iso(now()), GREY),
        painted(at.toUpperCase().padEnd(5), COLOURS[at]),
        clean(hidden(message), LONGEST),
        ...Object.entries({ ...shownFields(base), ...shownFields(fields) }).map(
          ([key, value]) => `${painted(`${key}=`, GREY)}${quoted(value)}`,
        ),
      ]
      write(`${words.join(' ')}\n`)
    }
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
}

/** An error and what caused it, the outermost first, in one line. */
export function chain(error: unknown): string {
  const words: string[] = []
  // A chain may lead back to its beginning.
  for (let [link, left] = [error, MOST_CAUSES]; link !== undefined && left > 0; left--) {
    const message = messageOf(link)
    // Wrapping errors often repeat what they wrap.
    if (!words.at(-1)?.endsWith(message)) words.push(message)
    link = link instanceof Error ? link.cause : undefined
  }
  return words.join(': ')
}

const MOST_CAUSES = 8
const LONGEST = 4_096

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : kindOf(error)
  // Node tells of a name with several addresses by an empty message and one error for each.
  if (error instanceof AggregateError && error.message === '')
    return [...new Set(error.errors.map(messageOf))].join(', ')
  if (error.message === '') return 'code' in error ? `${error.code}` : error.name
  return error.message
}

const iso = (at: number): string => new Date(at).toISOString()

function shownFields(fields: Fields | undefined): Readonly<Record<string, Shown>> {
  if (fields === undefined) return {}
  const known = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(known.map(([key, value]) => [key, shown(value)]))
}

type Scalar = string | number | boolean | null
type Shown = Scalar | readonly Scalar[]

const shown = (value: unknown): Shown => (Array.isArray(value) ? value.map(scalar) : scalar(value))

function scalar(value: unknown): Scalar {
  if (typeof value === 'string') return hidden(value)
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  return value instanceof Error ? hidden(chain(value)) : kindOf(value)
}

const kindOf = (value: unknown): string =>
  typeof value === 'object' && value !== null ? `[${value.constructor?.name ?? 'Object'}]` : `${String(value)}`

/** Service account tokens are JWTs, and the header that carries one may stand in another program's message. */
const hidden = (text: string): string =>
  withoutTokens(text)
    .replace(/\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?/g, 'eyJ…')
    .replace(/\b(Bearer|Basic) +[^\s"',;]+/gi, '$1 …')

function quoted(value: Shown): string {
  if (typeof value !== 'string') return clean(JSON.stringify(value), LONGEST)
  const text = clean(value, LONGEST)
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text)
}
