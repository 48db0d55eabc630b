import type { Plain } from '../crds/arksmodel.ts'
import { asPlain } from './merge.ts'

export const annotationsOf = (object: Plain): Plain => asPlain(asPlain(object['metadata'])['annotations'])

export function annotationOf(object: Plain, key: string): string | undefined {
  const value = annotationsOf(object)[key]
  return typeof value === 'string' ? value : undefined
}

/** No namespace is the namespace `default`, as kustomize has it. */
export function namespaceOf(object: Plain): string {
  const { namespace } = asPlain(object['metadata'])
  return typeof namespace === 'string' && namespace !== '' ? namespace : 'default'
}
