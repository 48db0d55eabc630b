import {
  type SchemaError,
  type Validator,
  validateExpandArksModels,
  validateModel,
  validateSealWorkerJobs,
} from './generated/validate.js'
import { isRecord, type Place, places, placeText, valueAt, within } from './place.ts'
import { ANNOTATION_RULES, CONFIG_RULES, INSTANCE_RULES, KUBERNETES_RULES, MODEL_RULES, type Rule } from './rules.ts'
import { type Finding, withFound, withoutTokens, worded } from './wording.ts'

/** What is wrong in a user's object, and where: `spec.storage.pvc.spec.accessModes[0]`. */
export interface Problem {
  readonly path: string
  readonly message: string
}

/** All that is wrong with an ArksModel. Its `tokenSecretRef` may be a text, which stands for `{name: <text>}`. */
export function modelProblems(model: unknown): readonly Problem[] {
  const name = valueAt(model, TOKEN_REF)
  if (typeof name !== 'string') return findings(model, validateModel, RULES).map(problem)
  return findings(replaced(model, TOKEN_REF, { name }), validateModel, RULES)
    .map(({ place, message }) => ({ place: within(place, TOKEN_REF) ? TOKEN_REF : place, message }))
    .map(problem)
}

/** All that is wrong with a function config. */
export function configProblems(config: unknown): readonly Problem[] {
  if (valueAt(config, ['kind']) === 'SealWorkerJobs') return findings(config, validateSealWorkerJobs, []).map(problem)
  return findings(config, validateExpandArksModels, [...CONFIG_RULES, ...INSTANCE_RULES]).map(problem)
}

const RULES: readonly Rule[] = [...MODEL_RULES, ...KUBERNETES_RULES, ...ANNOTATION_RULES, ...INSTANCE_RULES]

const TOKEN_REF: Place = ['spec', 'source', 'huggingface', 'tokenSecretRef']

function findings(input: unknown, validate: Validator, rules: readonly Rule[]): readonly Finding[] {
  const value = hasNull(input) ? withoutNulls(input) : input
  const wrong = errors(validate, value).map((error) => worded(error, value))
  const known = new Set(wrong.flatMap(({ place }) => outer(place).map(placeKey)))
  const broken = rules.flatMap((rule) => brokenAt(rule, value)).filter(({ place }) => !known.has(placeKey(place)))
  return inOrder(input, [...wrong, ...broken, ...(value === input ? [] : unknownNulls(validate, input))])
}

const placeKey = (place: Place): string => place.join('\u0000')

/** This place and all that it is in. */
const outer = (place: Place): readonly Place[] => [...place.keys(), place.length].map((end) => place.slice(0, end))

/** As the findings stand in the object; what is missing comes after what is there. */
function inOrder(root: unknown, all: readonly Finding[]): readonly Finding[] {
  const indices = new Map<object, Map<string, number>>()
  const indexIn = (parent: object, step: string): number => {
    const known = indices.get(parent) ?? new Map(Object.keys(parent).map((key, index) => [key, index]))
    indices.set(parent, known)
    return known.get(step) ?? Number.MAX_SAFE_INTEGER
  }
  const position = (place: Place): readonly number[] =>
    place.map((step, index) => {
      const parent = valueAt(root, place.slice(0, index))
      return isRecord(parent) ? indexIn(parent, `${step}`) : Number(step)
    })
  return all
    .map((finding) => ({ finding, at: position(finding.place) }))
    .toSorted((a, b) => {
      const index = a.at.findIndex((step, i) => step !== b.at[i])
      return index < 0 ? a.at.length - b.at.length : (a.at[index] ?? 0) - (b.at[index] ?? -1)
    })
    .map(({ finding }) => finding)
}

function brokenAt({ scope, field, about, message, holds }: Rule, root: unknown): readonly Finding[] {
  const key = (place: Place): string => `${place.at(-1)}`
  return scoped(root, scope)
    .filter((place) => !holds(about === 'key' ? key(place) : valueAt(root, place)))
    .map((place) => (field === undefined ? place : [...place, field]))
    .map((place) => {
      const found = about === 'key' ? key(place) : valueAt(root, place)
      return { place, message: withFound(message, found, place) }
    })
}

function scoped(root: unknown, scope: string): readonly Place[] {
  if (!scope.endsWith('{}')) return places(root, scope)
  return places(root, scope.slice(0, -2)).flatMap((place) => {
    const map = valueAt(root, place)
    return isRecord(map) ? Object.keys(map).map((key) => [...place, key]) : []
  })
}

function hasNull(value: unknown): boolean {
  return value === null || (typeof value === 'object' && Object.values(value).some(hasNull))
}

/** As the API server does it before it looks at an object; what is null in a list stays. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (!isRecord(value)) return value
  const kept = Object.entries(value).filter(([, member]) => member !== null)
  return Object.fromEntries(kept.map(([name, member]) => [name, withoutNulls(member)]))
}

/** An unknown field is one even if nothing stands in it. */
function unknownNulls(validate: Validator, input: unknown): readonly Finding[] {
  return errors(validate, input)
    .filter(({ keyword }) => keyword === 'known')
    .map((error) => worded(error, input))
    .filter(({ place }) => valueAt(input, place) === null)
}

function errors(validate: Validator, value: unknown): readonly SchemaError[] {
  return validate(value) ? [] : (validate.errors ?? [])
}

function replaced(value: unknown, [name, ...rest]: Place, by: unknown): unknown {
  return name === undefined || !isRecord(value) ? by : { ...value, [name]: replaced(value[name], rest, by) }
}

/** A token may even stand where a name belongs. */
const problem = ({ place, message }: Finding): Problem => ({
  path: withoutTokens(placeText(place)),
  message: withoutTokens(message),
})
