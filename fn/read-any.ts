import { type Alias, isAlias, isMap, isScalar, isSeq, type Pair, parseDocument, type YAMLMap } from 'yaml'
import type { Entry, MapNode, Node } from './node.ts'
import { plainScalar } from './scalar.ts'

export type Read =
  | { readonly kind: 'node'; readonly node: Node }
  | { readonly kind: 'empty' }
  | { readonly kind: 'unreadable'; readonly at: number; readonly message: string }

/** What aliases may expand to: without a limit, a few bytes of text become gigabytes of values. */
const MAX_EXPANDED = 10_000
const MAX_DEPTH = 100

class Unreadable extends Error {
  readonly at: number
  constructor(at: number, message: string) {
    super(message)
    this.at = at
  }
}

interface Context {
  readonly anchors: Map<string, Node>
  readonly text: string
  /** Of the document in the text. */
  readonly offset: number
  expanded: number
}

/**
 * One YAML document of any style. Scalars are taken as text and resolved as kubectl resolves them; aliases become
 * copies, merge keys are merged. A position is an offset into the whole text.
 */
export function readAny(text: string, start: number, end: number): Read {
  try {
    const document = parseDocument(text.slice(start, end), OPTIONS)
    const error = document.errors[0]
    if (error !== undefined) return { kind: 'unreadable', at: start + error.pos[0], message: sentence(error.message) }
    if (document.contents === null) return { kind: 'empty' }
    const context: Context = { anchors: new Map(), text, offset: start, expanded: 0 }
    return { kind: 'node', node: converted(document.contents, context, 0) }
  } catch (problem) {
    if (problem instanceof Unreadable) return { kind: 'unreadable', at: problem.at, message: problem.message }
    // The parser calls itself once a level: its stack ends long before the text of a nest of brackets does.
    if (problem instanceof RangeError) return { kind: 'unreadable', at: start, message: TOO_DEEP }
    throw problem
  }
}

/** Under the failsafe schema every scalar is text, so that it can be resolved as kubectl does. */
const OPTIONS = { schema: 'failsafe', prettyErrors: false, logLevel: 'silent', strict: false } as const
const TOO_DEEP = `must not be nested deeper than ${MAX_DEPTH} levels`

const sentence = (message: string): string => message.charAt(0).toLowerCase() + message.slice(1)

function converted(source: unknown, context: Context, depth: number): Node {
  const node = nodeOf(source, context, depth)
  const anchor = isAlias(source) || !hasAnchor(source) ? undefined : source.anchor
  if (anchor !== undefined) context.anchors.set(anchor, node)
  return node
}

const hasAnchor = (source: unknown): source is { readonly anchor: string } =>
  typeof source === 'object' && source !== null && 'anchor' in source && typeof source.anchor === 'string'

function nodeOf(source: unknown, context: Context, depth: number): Node {
  if (isAlias(source)) return aliased(source, context)
  const [from = 0, to = 0] = isScalar(source) || isMap(source) || isSeq(source) ? (source.range ?? []) : []
  const place = { start: context.offset + from, end: context.offset + to }
  if (depth > MAX_DEPTH) throw new Unreadable(place.start, TOO_DEEP)
  if (isMap(source)) {
    const map = { ...mapOf(source, context, depth), ...place }
    return map.style === 'flow'
      ? map
      : {
          ...map,
          end: blockEnd(
            context.text,
            map.entries.map(({ value }) => value),
            place.end,
          ),
        }
  }
  if (isSeq(source)) {
    const items = source.items.map((item) => converted(item, context, depth + 1))
    if (source.flow === true) return { kind: 'seq', style: 'flow', items, ...place }
    return { kind: 'seq', style: 'block', items, start: place.start, end: blockEnd(context.text, items, place.end) }
  }
  if (!isScalar(source)) return { kind: 'scalar', value: null, ...place }
  const text = typeof source.value === 'string' ? source.value : ''
  const resolved = source.tag === undefined ? source.type === 'PLAIN' : RESOLVED_TAGS.test(source.tag)
  return { kind: 'scalar', value: resolved ? plainScalar(text) : text, ...place }
}

/** Behind the line that the last child ends on. */
function blockEnd(text: string, children: readonly Node[], fallback: number): number {
  const end = Math.max(...children.map((child) => child.end), 0) || fallback
  if (text[end - 1] === '\n') return end
  const found = text.indexOf('\n', end)
  return found === -1 ? text.length : found + 1
}

const RESOLVED_TAGS = /^tag:yaml\.org,2002:(?:int|float|bool|null)$/

function aliased(source: Alias, context: Context): Node {
  const start = context.offset + (source.range?.[0] ?? 0)
  const found = context.anchors.get(source.source)
  if (found === undefined) throw new Unreadable(start, `alias *${source.source} has no anchor before it`)
  context.expanded += weight(found)
  if (context.expanded > MAX_EXPANDED) {
    throw new Unreadable(start, `aliases must not expand to more than ${MAX_EXPANDED} values`)
  }
  return { ...found, start, end: context.offset + (source.range?.[1] ?? 0), alias: true }
}

const weights = new WeakMap<Node, number>()

function weight(node: Node): number {
  const known = weights.get(node)
  if (known !== undefined) return known
  const children = node.kind === 'map' ? node.entries.map(({ value }) => value) : node.kind === 'seq' ? node.items : []
  const sum = children.reduce((total, child) => total + weight(child), 1)
  weights.set(node, sum)
  return sum
}

function mapOf(source: YAMLMap, context: Context, depth: number): Omit<MapNode, 'start' | 'end'> {
  const entries: Entry[] = []
  const merged: Entry[] = []
  let column = 0
  for (const pair of source.items) {
    const entry = entryOf(pair, context, depth)
    if (entries.length + merged.length === 0) column = columnOf(context.text, entry.keyStart)
    if (entry.key === '<<') merged.push(...mergedEntries(entry.value))
    else entries.push(entry)
  }
  const own = new Set(entries.map(({ key }) => key))
  const first = new Map(merged.reverse().map((entry) => [entry.key, entry]))
  for (const entry of first.values())
    if (!own.has(entry.key)) entries.push({ ...entry, value: { ...entry.value, alias: true } })
  return { kind: 'map', style: source.flow === true ? 'flow' : 'block', column, entries }
}

const columnOf = (text: string, at: number): number => at - (text.lastIndexOf('\n', at - 1) + 1)

function mergedEntries(value: Node): readonly Entry[] {
  if (value.kind === 'map') return value.entries
  return value.kind === 'seq' ? value.items.flatMap((item) => (item.kind === 'map' ? item.entries : [])) : []
}

function entryOf(pair: Pair, context: Context, depth: number): Entry {
  const key = isScalar(pair.key) && typeof pair.key.value === 'string' ? pair.key.value : undefined
  const range = isScalar(pair.key) ? pair.key.range : undefined
  if (key === undefined || range === undefined || range === null)
    throw new Unreadable(context.offset, 'keys must be text')
  const keyStart = context.offset + range[0]
  const colonEnd = context.text.indexOf(':', context.offset + range[1]) + 1
  return { key, keyStart, colonEnd, value: converted(pair.value, context, depth + 1) }
}
