/** One YAML value with its place in the text. Offsets are UTF-16 units, as JavaScript counts. */
export type Node = MapNode | SeqNode | ScalarNode

interface Place {
  readonly start: number
  /** Block collections: behind the last line of content. Others: behind the last character. */
  readonly end: number
  /** The text belongs to an anchor that is used elsewhere: an edit has to spell the value out. */
  readonly alias?: true
}

export interface MapNode extends Place {
  readonly kind: 'map'
  readonly style: 'block' | 'flow'
  /** Of the keys, in block style. */
  readonly column: number
  readonly entries: readonly Entry[]
}

export interface SeqNode extends Place {
  readonly kind: 'seq'
  readonly style: 'block' | 'flow'
  readonly items: readonly Node[]
}

export interface ScalarNode extends Place {
  readonly kind: 'scalar'
  readonly value: string | number | boolean | null
}

export interface Entry {
  readonly key: string
  readonly keyStart: number
  /** Behind the colon. */
  readonly colonEnd: number
  readonly value: Node
}

export function toJson(node: Node): unknown {
  if (node.kind === 'scalar') return node.value
  if (node.kind === 'seq') return node.items.map(toJson)
  return Object.fromEntries(node.entries.map(({ key, value }) => [key, toJson(value)]))
}

/** An item of a block list is read with its dash. */
export const itemNode = (node: Node): Node => (node.kind === 'seq' ? (node.items[0] ?? node) : node)

/** The entry at a path of map keys. */
export function entryAt(node: Node | undefined, ...path: readonly string[]): Entry | undefined {
  let entry: Entry | undefined
  let at = node
  for (const key of path) {
    entry = at?.kind === 'map' ? at.entries.find((candidate) => candidate.key === key) : undefined
    at = entry?.value
  }
  return entry
}

export const mapAt = (node: Node | undefined, ...path: readonly string[]): MapNode | undefined => {
  const found = path.length === 0 ? node : entryAt(node, ...path)?.value
  return found?.kind === 'map' ? found : undefined
}

export const textAt = (node: Node | undefined, ...path: readonly string[]): string | undefined => {
  const found = entryAt(node, ...path)?.value
  return found?.kind === 'scalar' && typeof found.value === 'string' ? found.value : undefined
}
