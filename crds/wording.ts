import { distance } from 'fastest-levenshtein'
import type { SchemaError } from './generated/validate.js'
import { isRecord, type Place, placeOf, valueAt } from './place.ts'

export interface Finding {
  readonly place: Place
  readonly message: string
}

/** An error of a validator in words: what must hold, then what was found. */
export function worded({ instancePath, keyword, params }: SchemaError, root: unknown): Finding {
  const place = placeOf(instancePath)
  const value = valueAt(root, place)
  const got = `got ${shown(value, place)}`
  const limit = `${params['limit']}`
  switch (keyword) {
    case 'type':
      return { place, message: `must be ${expected(params['type'])}, got ${found(params['type'], value, place)}` }
    case 'integer':
      return {
        place,
        message: `must be a whole number${Number.isInteger(value) ? ` of ${params['bits']} bits` : ''}, ${got}`,
      }
    case 'quantity':
      return { place, message: `must be a quantity such as "20Gi", ${got}` }
    case 'required':
      return { place: [...place, `${params['missingProperty']}`], message: 'must be present' }
    case 'known':
      return {
        place: [...place, `${params['name']}`],
        message: unknownField(`${params['name']}`, texts(params['known'])),
      }
    case 'enum':
      return { place, message: `must be ${oneOf(texts(params['allowedValues']))}, ${got}` }
    case 'minimum':
      return { place, message: `must be at least ${limit}, ${got}` }
    case 'minLength':
      return { place, message: 'must not be empty' }
    case 'maxLength':
      return { place, message: `must be at most ${limit} characters long, got ${length(value)}` }
    case 'maxItems':
      return { place, message: `must have at most ${limit} entries, got ${length(value)}` }
    default:
      throw new Error(`no words for the keyword ${keyword} at ${instancePath}`)
  }
}

/** The message of a rule with the text or number that broke it, where there is one to show. */
export function withFound(message: string, value: unknown, place: Place = []): string {
  const got = (typeof value === 'string' && value !== '') || typeof value === 'number' ? shown(value, place) : 'text'
  return got === 'text' ? message : `${message}, got ${got}`
}

/** Text that may hold a token of the Hub, without it. */
export const withoutTokens = (text: string): string => text.replace(/hf_[A-Za-z0-9]{8,}/g, 'hf_…')

/** Values below these never stand in a message: messages end in the logs of a pipeline. */
const SECRET: readonly (string | number)[] = ['env', 'envFrom', 'tokenSecretRef']

const LONGEST_SHOWN = 40

const EXPECTED: ReadonlyMap<unknown, string> = new Map([
  ['array', 'a list'],
  ['boolean', 'true or false'],
  ['integer', 'a whole number'],
  ['object', 'a map'],
  ['string', 'text'],
])

const expected = (type: unknown): string =>
  Array.isArray(type) ? type.map(expected).join(' or ') : (EXPECTED.get(type) ?? `${type}`)

/** Where a list or a map belongs it is the kind that matters. */
const found = (type: unknown, value: unknown, place: Place): string =>
  type === 'array' || type === 'object' ? kind(value) : shown(value, place)

/** A value as a message shows it: scalars themselves, unless they are or may be secret. */
export function shown(value: unknown, place: Place = []): string {
  const secret = place.some((step) => SECRET.includes(step))
  if (secret && (typeof value === 'number' || typeof value === 'boolean')) return `a ${typeof value}`
  return typeof value === 'string' && !secret && !revealing(value) ? JSON.stringify(cut(value)) : kind(value)
}

export function kind(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (isRecord(value)) return 'a map'
  if (typeof value === 'string') return 'text'
  return typeof value === 'number' || typeof value === 'bigint' ? `the number ${value}` : `${value}`
}

/** A token of the Hub, or a URL with a password in it. */
const revealing = (value: string): boolean => /hf_|:\/\/[^/]*@/.test(value)

function cut(value: string): string {
  const start = [...value.slice(0, 2 * LONGEST_SHOWN)]
  return start.length > LONGEST_SHOWN ? `${start.slice(0, LONGEST_SHOWN).join('')}…` : value
}

export function unknownField(field: string, known: readonly string[]): string {
  const name = cut(field)
  const [nearest] = known
    .map((other) => ({ other, far: distance(name.toLowerCase(), other.toLowerCase()) }))
    .toSorted((a, b) => a.far - b.far)
  const near = nearest !== undefined && nearest.far <= Math.max(1, name.length / 2.5)
  return `unknown field ${JSON.stringify(name)}${near ? `; did you mean "${nearest.other}"?` : ''}`
}

const oneOf = (values: readonly string[]): string =>
  values.length === 1 ? `${values[0]}` : `one of ${values.join(', ')}`

const texts = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : [])

const length = (value: unknown): number => (typeof value === 'string' || Array.isArray(value) ? value.length : 0)
