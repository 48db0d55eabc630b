import type { ArksModel, Plain } from '../crds/arksmodel.ts'
import { WORKER_JOB } from '../crds/names.ts'
import { type Edit, edited, removeEntry, setEntry } from './edit.ts'
import type { Item } from './gather.ts'
import { asPlain } from './merge.ts'
import { entryAt, mapAt } from './node.ts'
import { block, blockItem, flow } from './print.ts'
import type { Scalar } from './scalar.ts'

/** What the function writes into a model: which Job counts, the claim's name, the token's Secret as an object. */
export interface Stamp {
  readonly workerJob: string | undefined
  readonly claimName: string
  readonly tokenSecret: string | undefined
}

export const stampOf = (model: ArksModel, workerJob: string | undefined): Stamp => ({
  workerJob,
  claimName: model.storage.claimName,
  tokenSecret: model.source.kind === 'huggingface' ? model.source.token?.secretName : undefined,
})

/** The edits that stamp the model and leave the rest of its text alone. */
export function stamp(item: Item, { workerJob, claimName, tokenSecret }: Stamp): readonly Edit[] {
  return [...annotation(item, WORKER_JOB, workerJob), ...claim(item, claimName), ...token(item, tokenSecret)]
}

/** The edits that give an annotation this value, or take it away. */
export function annotation({ input, node }: Item, key: string, value: string | undefined): readonly Edit[] {
  const { text } = input.input
  const metadata = mapAt(node, 'metadata')
  if (metadata === undefined) return []
  const annotations = mapAt(metadata, 'annotations')
  const entry = entryAt(annotations, key)
  if (value !== undefined) {
    if (annotations === undefined || annotations.entries.length === 0)
      return [setEntry(text, metadata, 'annotations', { [key]: value })]
    return isScalar(entry?.value, value) ? [] : [setEntry(text, annotations, key, value)]
  }
  if (annotations === undefined || entry === undefined) return []
  const parent = entryAt(metadata, 'annotations')
  const isOnly = annotations.entries.length === 1 && parent !== undefined
  return [isOnly ? removeEntry(text, metadata, parent) : removeEntry(text, annotations, entry)]
}

function claim({ input, node }: Item, name: string): readonly Edit[] {
  const path = ['spec', 'storage', 'pvc']
  const pvc = mapAt(node, ...path)
  const storage = mapAt(node, 'spec', 'storage')
  const known = entryAt(pvc, 'name')?.value
  if (isScalar(known, name) || storage === undefined) return []
  const { text } = input.input
  return [
    pvc === undefined || pvc.entries.length === 0
      ? setEntry(text, storage, 'pvc', { name })
      : setEntry(text, pvc, 'name', name),
  ]
}

function token({ input, node }: Item, name: string | undefined): readonly Edit[] {
  const huggingface = mapAt(node, 'spec', 'source', 'huggingface')
  const reference = entryAt(huggingface, 'tokenSecretRef')?.value
  if (huggingface === undefined || reference?.kind !== 'scalar' || name === undefined) return []
  return [setEntry(input.input.text, huggingface, 'tokenSecretRef', { name })]
}

const isScalar = (node: { kind: string; value?: Scalar } | undefined, value: string): boolean =>
  node?.kind === 'scalar' && node.value === value

/**
 * Where anchors stand in the text, an edit can change more than its own place: a model that then does not read as it
 * has to is printed anew.
 */
export async function checked(
  item: Item,
  edits: readonly Edit[],
  want: Plain,
  reread: (text: string) => Promise<unknown>,
  same: (a: unknown, b: unknown) => boolean,
): Promise<readonly Edit[]> {
  const { slot, input } = item
  const now = edited(input.input.text, edits, slot.body, slot.end)
  if (same(await reread(now), want)) return edits
  return [{ start: slot.body, end: slot.end, text: printed(item, want) }]
}

function printed({ slot }: Item, object: Plain): string {
  if (slot.place === 'flow-item') return flow(object)
  return slot.place === 'block-item'
    ? blockItem(object, slot.column)
    : `${slot.body > slot.start ? '\n' : ''}${block(object)}`
}

/** The object as it is to be after stamping. */
export function stamped(object: Plain, { workerJob, claimName, tokenSecret }: Stamp): Plain {
  const metadata = asPlain(object['metadata'])
  const { [WORKER_JOB]: _, ...others } = asPlain(metadata['annotations'])
  const annotations = workerJob === undefined ? others : { ...others, [WORKER_JOB]: workerJob }
  const spec = asPlain(object['spec'])
  const storage = asPlain(spec['storage'])
  const pvc = { ...asPlain(storage['pvc']), name: claimName }
  const source = asPlain(spec['source'])
  const huggingface = asPlain(source['huggingface'])
  const isText = typeof huggingface['tokenSecretRef'] === 'string' && tokenSecret !== undefined
  const newSource = isText
    ? { source: { ...source, huggingface: { ...huggingface, tokenSecretRef: { name: tokenSecret } } } }
    : {}
  const newAnnotations = Object.keys(annotations).length === 0 ? {} : { annotations }
  const { annotations: __, ...otherMetadata } = metadata
  return {
    ...object,
    metadata: { ...otherMetadata, ...newAnnotations },
    spec: { ...spec, ...newSource, storage: { ...storage, pvc } },
  }
}
