import {
  type SchemaError,
  type Validator,
  validateExpandArksModels,
  validateModel,
  validateSealWorkerJobs,
} from './generated/validate.js'
import { inOrder, isRecord, type Place, places, placeText, valueAt, within } from './place.ts'
import { CONFIG_RULES, KUBERNETES_RULES, MODEL_RULES, type Rule } from './rules.ts'
import { type Finding, withFound, worded } from './wording.ts'

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
  return findings(config, validateExpandArksModels, CONFIG_RULES).map(problem)
}

const RULES: readonly Rule[] = [...MODEL_RULES, ...KUBERNETES_RULES]

const TOKEN_REF: Place = ['spec', 'source', 'huggingface', 'tokenSecretRef']

function findings(input: unknown, validate: Validator, rules: readonly Rule[]): readonly Finding[] {
  const value = hasNull(input) ? withoutNulls(input) : input
  const wrong = errors(validate, value).map((error) => worded(error, value))
  const broken = rules
    .flatMap((rule) => brokenAt(rule, value))
    .filter(({ place }) => !wrong.some((finding) => within(finding.place, place)))
  const all = [...wrong, ...broken, ...(value === input ? [] : unknownNulls(validate, input))]
  const order = inOrder(input)
  return all.toSorted((a, b) => order(a.place, b.place))
}

function brokenAt({ scope, field, message, holds }: Rule, root: unknown): readonly Finding[] {
  return places(root, scope)
    .filter((place) => !holds(valueAt(root, place)))
    .map((place) => (field === undefined ? place : [...place, field]))
    .map((place) => ({ place, message: withFound(message, valueAt(root, place), place) }))
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

const withoutTokens = (text: string): string => text.replace(/hf_[A-Za-z0-9]{8,}/g, 'hf_…')
