import type { Plain } from '../crds/arksmodel.ts'
import { canonical } from './canonical.ts'
import { sha256 } from './digest.ts'
import { asPlain } from './merge.ts'
import { annotationOf, namespaceOf } from './metadata.ts'

type Kind = 'Secret' | 'ConfigMap'

export interface Reference {
  readonly kind: Kind
  readonly name: string
}

/** Which field of a pod's spec names what: the same ones in which kustomize puts the suffixed name. */
const FIELDS: Readonly<Record<string, readonly [Kind, string]>> = {
  secretKeyRef: ['Secret', 'name'],
  secretRef: ['Secret', 'name'],
  secret: ['Secret', 'secretName'],
  configMapKeyRef: ['ConfigMap', 'name'],
  configMapRef: ['ConfigMap', 'name'],
  configMap: ['ConfigMap', 'name'],
  imagePullSecrets: ['Secret', 'name'],
}

/** The Secrets and ConfigMaps that a pod reads. */
export function references(value: unknown): readonly Reference[] {
  if (Array.isArray(value)) return value.flatMap(references)
  return Object.entries(asPlain(value)).flatMap(([key, child]) => {
    const meant = Array.isArray(child) ? child : [child]
    return [...meant.flatMap((each) => reference(key, each)), ...references(child)]
  })
}

function reference(field: string, value: unknown): readonly Reference[] {
  const projected = field === 'secret' && typeof asPlain(value)['name'] === 'string'
  const [kind, nameField] = FIELDS[field] ?? []
  const name = nameField === undefined ? undefined : asPlain(value)[projected ? 'name' : nameField]
  return kind === undefined || typeof name !== 'string' ? [] : [{ kind, name }]
}

const PREFIX = 'internal.config.kubernetes.io/'

/**
 * Digests of the contents of those of these Secrets and ConfigMaps that are meant by the references of an object.
 * kustomize resolves such names at the very end: until then an object may be known by any of its earlier names.
 */
export function digests(owner: Plain, refs: readonly Reference[], suffixed: readonly Plain[]): readonly string[] {
  const found = refs.flatMap(({ kind, name }) => {
    const meant = suffixed.filter((each) => each['kind'] === kind && isNamed(each, name) && isBeside(each, owner))
    const own = meant.filter((each) => isOfSameTenant(each, owner))
    return (own.length > 0 ? own : meant).map((each) => digest(kind, name, each))
  })
  return [...new Set(found)].sort()
}

/** What kustomize calls by now what an object may still know by an earlier name. */
export function currentName(
  owner: Plain,
  { kind, name }: { readonly kind: Kind | 'PersistentVolumeClaim'; readonly name: string },
  renamed: readonly Plain[],
): string {
  const meant = renamed.filter(
    (each) => each['kind'] === kind && isNamed(each, name) && isBeside(each, owner) && isOfSameTenant(each, owner),
  )
  const [only] = meant
  const current = meant.length === 1 ? asPlain(only?.['metadata'])['name'] : undefined
  return typeof current === 'string' ? current : name
}

export const isRenamed = (object: Plain): boolean => annotation(object, 'previousNames') !== undefined

const digest = (kind: Kind, name: string, { data, stringData, binaryData }: Plain): string =>
  sha256(canonical({ kind, name, data, stringData, binaryData }))

/** Whether kustomize calls it so, or did. */
export const isNamed = (object: Plain, name: string): boolean => allNames(object).includes(name)

export const allNames = (object: Plain): readonly string[] => [
  String(asPlain(object['metadata'])['name']),
  ...earlier(object, 'previousNames'),
]

/** Finds by the namespace and any name that an object has or had; looking through all for each takes the square. */
export function byNames<T extends { readonly object: Plain }>(
  list: readonly T[],
): (namespace: string, name: string) => readonly T[] {
  const found = new Map<string, T[]>()
  for (const each of list) {
    for (const name of new Set(allNames(each.object))) {
      const key = `${namespaceOf(each.object)}/${name}`
      const known = found.get(key)
      if (known === undefined) found.set(key, [each])
      else known.push(each)
    }
  }
  return (namespace, name) => found.get(`${namespace}/${name}`) ?? []
}

/** Whether kustomize gave both the same prefixes and suffixes. */
export const isOfSameTenant = (object: Plain, owner: Plain): boolean =>
  ['prefixes', 'suffixes'].every((key) => annotation(object, key) === annotation(owner, key))

const isBeside = (object: Plain, owner: Plain): boolean => allNamespaces(object).includes(namespaceOf(owner))

/** Those in which it is, or was before kustomize moved it. */
export const allNamespaces = (object: Plain): readonly string[] => [
  namespaceOf(object),
  ...earlier(object, 'previousNamespaces'),
]

const earlier = (object: Plain, key: string): readonly string[] => (annotation(object, key) ?? '').split(',')

const annotation = (object: Plain, key: string): string | undefined => annotationOf(object, `${PREFIX}${key}`)
