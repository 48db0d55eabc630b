import type { Plain } from '../crds/arksmodel.ts'
import { isRecord } from '../crds/place.ts'
import { canonical } from './canonical.ts'

/** `over` on top of `under`: maps by key, everything else replaced. A null replaces too: see `withoutNulls`. */
export function merged(under: Plain, over: Plain): Plain {
  const result = new Map(Object.entries(under))
  for (const [key, value] of Object.entries(over)) {
    const below = result.get(key)
    result.set(key, isPlain(value) && isPlain(below) ? merged(below, value) : value)
  }
  return Object.fromEntries(result)
}

/** As the API server stores it: a null in a patch or a manifest is the absence of the field. */
export function withoutNulls(value: Plain): Plain {
  const entries = Object.entries(value).filter(([, member]) => member !== null && member !== undefined)
  return Object.fromEntries(entries.map(([key, member]) => [key, cleaned(member)]))
}

function cleaned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(cleaned)
  return isPlain(value) ? withoutNulls(value) : value
}

/** Fields that hold one of several alternatives: half of one and half of another would be refused. */
const WHOLE = ['livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle']

/** The defaults of the function config under the model's own instanceSpec; `env` and `tolerations` add up. */
export function mergedInstanceSpec(defaults: Plain, own: Plain): Plain {
  const result = merged(defaults, own)
  const env = added(defaults['env'], own['env'], 'env', sameName)
  const tolerations = added(defaults['tolerations'], own['tolerations'], 'tolerations', sameValue)
  const whole = Object.fromEntries(WHOLE.flatMap((key) => (own[key] === undefined ? [] : [[key, own[key]]])))
  return { ...result, ...whole, ...env, ...tolerations }
}

function added(under: unknown, over: unknown, key: string, same: (a: unknown, b: unknown) => boolean): Plain {
  if (!Array.isArray(under) || !Array.isArray(over)) return {}
  const kept = under.filter((item) => !over.some((mine) => same(item, mine)))
  return { [key]: [...kept, ...over] }
}

/** The model's variable takes the place of a default of the same name: Kubernetes lists are maps by name there. */
const sameName = (a: unknown, b: unknown): boolean => isPlain(a) && isPlain(b) && a['name'] === b['name']

const sameValue = (a: unknown, b: unknown): boolean => canonical(a) === canonical(b)

export const isPlain = (value: unknown): value is Plain => isRecord(value)

export const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** Kubernetes' API types do not tell empty text from none. */
export const asText = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined

export const asPlain = (value: unknown): Plain => (isPlain(value) ? value : {})
