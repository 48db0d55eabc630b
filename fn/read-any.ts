import { type Alias, isAlias, isMap, isScalar, isSeq, type Pair, parseDocument, type YAMLMap } from 'yaml'
import type { Entry, MapNode, Node } from './node.ts'
import { plainKey, plainScalar } from './scalar.ts'

export type Read =
  /** With the anchors that its text defines. */
  | { readonly kind: 'node'; readonly node: Node; readonly anchors: readonly string[] }
  | { readonly kind: 'empty' }
  /** `broken`: no YAML at all, as of a text that was cut off. */
  | { readonly kind: 'unreadable'; readonly at: number; readonly message: string; readonly broken?: true }

/** A key that stands twice in a map: no readers agree on it, but in what is not ours it is not our business. */
export type Duplicates = 'refused' | 'allowed'

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
  readonly duplicates: Duplicates
  expanded: number
}

/**
 * One YAML document of any style. Scalars are taken as text and resolved as kubectl resolves them; aliases become
 * copies, merge keys are merged. A position is an offset into the whole text.
 */
export function readAny(text: string, start: number, end: number, duplicates: Duplicates): Read {
  try {
    const document = parseDocument(text.slice(start, end), OPTIONS)
    const error = document.errors[0]
    if (error !== undefined)
      return { kind: 'unreadable', at: start + error.pos[0], message: sentence(error.message), broken: true }
    if (document.contents === null) return { kind: 'empty' }
    const context: Context = { anchors: new Map(), text, offset: start, duplicates, expanded: 0 }
    const node = converted(document.contents, context, 0)
    return { kind: 'node', node, anchors: [...context.anchors.keys()] }
  } catch (problem) {
    if (problem instanceof Unreadable) return unreadable(problem.at, problem.message)
    // The parser calls itself once a level: its stack ends long before the text of a nest of brackets does.
    if (problem instanceof RangeError) return unreadable(start, TOO_DEEP)
    throw problem
  }
}

const unreadable = (at: number, message: string): Read => ({ kind: 'unreadable', at, message })

/**
 * Under the failsafe schema every scalar is text, so that it can be resolved as kubectl does. The parser's own search
 * for equal keys takes the square of their number.
 */
const OPTIONS = {
  schema: 'failsafe',
  prettyErrors: false,
  logLevel: 'silent',
  strict: false,
  uniqueKeys: false,
} as const
const TOO_DEEP = `must not be nested deeper than ${MAX_DEPTH} levels`

const sentence = (message: string): string =>
  `must be well-formed YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}`

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
  if (isMap(source)) return mapOf(source, context, depth)
  if (isSeq(source)) {
    const items = source.items.map((item) => converted(item, context, depth + 1))
    if (source.flow === true) return { kind: 'seq', style: 'flow', items, ...place }
    return {
      kind: 'seq',
      style: 'block',
      items,
      start: place.start,
      end: blockEnd(context.text, items.at(-1), place.end),
    }
  }
  if (!isScalar(source)) return { kind: 'scalar', value: null, ...place }
  const text = typeof source.value === 'string' ? source.value : ''
  const resolved = source.tag === undefined ? source.type === 'PLAIN' : RESOLVED_TAGS.test(source.tag)
  const end = BLOCK_SCALAR.test(source.type ?? '') ? blockScalarEnd(context.text, place) : place.end
  return { kind: 'scalar', value: resolved ? plainScalar(text) : text, start: place.start, end }
}

const BLOCK_SCALAR = /^BLOCK_/

/** Before the line break of its last line; blank lines behind that one are content only under `+`. */
function blockScalarEnd(text: string, place: { readonly start: number; readonly end: number }): number {
  const lines = text.slice(place.start, place.end).split('\n')
  const [header = '', ...content] = lines
  const isKept = /^[|>]\d?\+/.test(header)
  const indent = /^ */.exec(content.find((line) => line.trim() !== '') ?? '')?.[0].length ?? 0
  const isBlank = (line: string): boolean => /^ *\r?$/.test(line) && line.replace('\r', '').length <= indent
  if (lines.at(-1) === '') lines.pop()
  while (!isKept && lines.length > 1 && isBlank(lines.at(-1) ?? '')) lines.pop()
  const end = place.start + lines.join('\n').length
  return text[end - 1] === '\r' ? end - 1 : end
}

/** Behind the line that the last child ends on. */
function blockEnd(text: string, last: Node | undefined, fallback: number): number {
  if (last === undefined) return fallback
  if (last.kind !== 'scalar' && last.style === 'block' && last.alias === undefined) return last.end
  const found = text.indexOf('\n', last.end)
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

function mapOf(source: YAMLMap, context: Context, depth: number): MapNode {
  const [from = 0, to = 0] = source.range ?? []
  const place = { start: context.offset + from, end: context.offset + to }
  const entries: Entry[] = []
  const merged: Entry[] = []
  const own = new Set<string>()
  let last: Node | undefined
  for (const pair of source.items) {
    const entry = entryOf(pair, context, depth)
    last = entry.value
    if (isMerge(pair)) merged.push(...mergedEntries(entry.value))
    else {
      if (own.has(entry.key) && context.duplicates === 'refused')
        throw new Unreadable(entry.keyStart, `must have the key "${entry.key}" only once`)
      own.add(entry.key)
      entries.push(entry)
    }
  }
  const first = new Map(merged.reverse().map((entry) => [entry.key, entry]))
  for (const entry of first.values())
    if (!own.has(entry.key)) entries.push({ ...entry, value: { ...entry.value, alias: true } })
  if (source.flow === true) return { kind: 'map', style: 'flow', column: 0, entries, ...place }
  const end = blockEnd(context.text, last, place.end)
  return { kind: 'map', style: 'block', column: columnOf(context.text, place.start), entries, start: place.start, end }
}

const isMerge = ({ key }: Pair): boolean => isScalar(key) && key.type === 'PLAIN' && key.value === '<<'

const columnOf = (text: string, at: number): number => at - (text.lastIndexOf('\n', at - 1) + 1)

function mergedEntries(value: Node): readonly Entry[] {
  if (value.kind === 'map') return value.entries
  return value.kind === 'seq' ? value.items.flatMap((item) => (item.kind === 'map' ? item.entries : [])) : []
}

function entryOf(pair: Pair, context: Context, depth: number): Entry {
  if (!isScalar(pair.key) || typeof pair.key.value !== 'string')
    throw new Unreadable(context.offset + startOf(pair.key), 'keys must be text')
  const [from = 0, to = 0] = pair.key.range ?? []
  const key = pair.key.type === 'PLAIN' && pair.key.tag === undefined ? plainKey(pair.key.value) : pair.key.value
  const colonEnd = behindColon(context.text, context.offset + to)
  const value = converted(pair.value, context, depth + 1)
  const isAbsent = pair.value === null || (value.start === value.end && isSpace(context.text, colonEnd, value.start))
  const place = isAbsent ? { start: colonEnd, end: colonEnd } : {}
  return { key, keyStart: context.offset + from, colonEnd, value: { ...value, ...place } }
}

const isSpace = (text: string, start: number, end: number): boolean => text.slice(start, end).trim() === ''

const startOf = (source: unknown): number =>
  isScalar(source) || isMap(source) || isSeq(source) || isAlias(source) ? (source.range?.[0] ?? 0) : 0

/** The place itself where there is no colon: a key without a value. */
function behindColon(text: string, at: number): number {
  COLON.lastIndex = at
  return COLON.test(text) ? COLON.lastIndex : at
}

const COLON = /(?:[ \t\r\n]|#[^\n]*)*:/y
