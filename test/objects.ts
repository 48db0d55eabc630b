import { parseAllDocuments } from 'yaml'
import type { Plain } from '../crds/arksmodel.ts'
import { asPlain } from '../fn/merge.ts'

/** The objects of a stream, as values. Throws where it is no YAML: a test must not go on with half of an object. */
export function objects(text: string): readonly Plain[] {
  const documents = parseAllDocuments(text)
  for (const { errors } of documents) if (errors[0] !== undefined) throw errors[0]
  return documents.map((document) => asPlain(document.toJS())).filter((object) => object['kind'] !== undefined)
}

/** A member of an object, however deep. */
export const at = (value: unknown, ...path: readonly (string | number)[]): unknown =>
  path.reduce<unknown>(
    (found, step) => (Array.isArray(found) ? found[Number(step)] : asPlain(found)[String(step)]),
    value,
  )

export const nameOf = (object: Plain): string => String(at(object, 'metadata', 'name'))

export const ofKind = (list: readonly Plain[], kind: string): readonly Plain[] =>
  list.filter((object) => object['kind'] === kind)

/** `Job models/arks-worker-…` */
export const title = (object: Plain): string =>
  `${object['kind']} ${at(object, 'metadata', 'namespace') ?? 'default'}/${nameOf(object)}`
