import type { Result } from 'kpt-functions'
import type { Plain } from '../crds/arksmodel.ts'
import type { Problem } from '../crds/problems.ts'
import { withoutTokens } from '../crds/wording.ts'
import { asPlain, asText } from './merge.ts'
import { annotationsOf } from './metadata.ts'

/** A problem of the user's, with the place that it is about. */
export interface Finding extends Problem {
  readonly object: ObjectRef | undefined
  /** As the user named it, or as kpt's path annotation has it. */
  readonly file: string | undefined
  /** In a text that holds several: counted from 1. */
  readonly document: number | undefined
  readonly line: number | undefined
}

export interface ObjectRef {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string | undefined
  readonly name: string
}

export interface Spot {
  readonly object?: ObjectRef
  readonly file?: string | undefined
  readonly document?: number
  readonly line?: number
}

/** Whatever is found: no token stands in it, and no name is without end. */
export const finding = (spot: Spot, { path, message }: Problem): Finding => ({
  object: spot.object === undefined ? undefined : presentable(spot.object),
  file: spot.file,
  document: spot.document,
  line: spot.line,
  path: short(path),
  message: withoutTokens(message),
})

const presentable = ({ apiVersion, kind, namespace, name }: ObjectRef): ObjectRef => ({
  apiVersion: short(apiVersion),
  kind: short(kind),
  namespace: namespace === undefined ? undefined : short(namespace),
  name: short(name),
})

/** Longer than any name of Kubernetes, with the path to it. */
const LONGEST = 400

const short = (text: string): string => withoutTokens(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text)

/** `models/qwen.yaml: ArksModel models/qwen: spec.model: must be present` */
export function line({ file, object, document, line: number, path, message }: Finding): string {
  const place = [
    document === undefined ? undefined : `document ${document}`,
    number === undefined ? undefined : `line ${number}`,
  ]
  const parts = [
    file,
    place.filter((part) => part !== undefined).join(', ') || undefined,
    object === undefined ? undefined : nameOf(object),
    path === '' ? undefined : path,
    message,
  ]
  return visible(parts.filter((part) => part !== undefined).join(': '))
}

const nameOf = ({ kind, namespace, name }: ObjectRef): string =>
  `${kind === '' ? 'object' : kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`

/** Line breaks, and what a terminal would obey, as JSON has them: these are texts of somebody else's. */
export const visible = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16)
    return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`
  })

/** The finding as the KRM function specification has it. kpt prints the path itself: `message` does not repeat it. */
export function result(found: Finding): Result {
  const { file, object, path } = found
  return {
    message: line({ ...found, file: undefined, object: undefined, path: '' }),
    severity: 'error',
    ...(object === undefined ? {} : { resourceRef: { ...object, namespace: object.namespace ?? '' } }),
    ...(path === '' ? {} : { field: { path } }),
    ...(file === undefined ? {} : { file: { path: file } }),
  }
}

/** The annotation by which kpt says which file an object is from. */
export const PATH_ANNOTATIONS: readonly string[] = ['internal.config.kubernetes.io/path', 'config.kubernetes.io/path']

export function objectRef(object: Plain): ObjectRef {
  const metadata = asPlain(object['metadata'])
  return {
    apiVersion: asText(object['apiVersion']) ?? '',
    kind: asText(object['kind']) ?? '',
    namespace: asText(metadata['namespace']),
    name: asText(metadata['name']) ?? '(without a name)',
  }
}

export function fileOf(object: Plain): string | undefined {
  const annotations = annotationsOf(object)
  return asText(PATH_ANNOTATIONS.map((key) => annotations[key]).find((path) => path !== undefined))
}
