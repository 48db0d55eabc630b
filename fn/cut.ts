import { entryAt, type MapNode, type Node } from './node.ts'
import { read } from './read.ts'
import type { Read } from './read-any.ts'

/** A stretch of text that holds one object, or none (comments, blank lines). */
export interface Slot {
  readonly place: 'document' | 'block-item' | 'flow-item'
  /** Everything that goes when the object goes: its separator line, or its dash and the comments right above it. */
  readonly start: number
  /** Where reading begins: behind the separator, or at the dash. */
  readonly body: number
  readonly end: number
  /** Of the dash, in a block sequence. */
  readonly column: number
  /** Counted from 1, for messages. */
  readonly document: number
  /** What the text says its kind is: undefined where only a parser can tell, '' for no object at all. */
  readonly kind: string | undefined
}

/** The `items` of a ResourceList or of a List. */
export interface Sequence {
  readonly style: 'block' | 'flow'
  readonly slots: readonly Slot[]
  /** Of the text between the key `items` and what follows the last item. */
  readonly start: number
  readonly end: number
}

export interface ResourceList extends Sequence {
  readonly document: Slot
  readonly functionConfig: Section | undefined
  readonly results: Section | undefined
}

/** A top-level key of the ResourceList with its value. */
export interface Section {
  readonly start: number
  readonly end: number
  /** Where the list had to go through the parser. */
  readonly value?: Node
}

export type Cut =
  | { readonly kind: 'stream'; readonly slots: readonly Slot[] }
  | { readonly kind: 'resource-list'; readonly list: ResourceList }
  | { readonly kind: 'unreadable'; readonly at: number; readonly document: number; readonly message: string }

/** Cuts the text at the borders of its objects without reading them, so that what is not ours stays as it came. */
export async function cut(text: string): Promise<Cut> {
  const slots = documents(text)
  const first = slots.find((slot) => slot.kind !== '')
  if (first === undefined) return { kind: 'stream', slots }
  if (first.kind === undefined ? text.includes('ResourceList') : first.kind === 'ResourceList') {
    const list = await resourceList(text, first)
    if (list !== undefined) return list
  }
  return { kind: 'stream', slots }
}

/** The documents of a stream. `---` and `...` at the start of a line end a document wherever they stand (YAML 1.2, 9.1). */
function documents(text: string): Slot[] {
  const slots: Slot[] = []
  const starts: number[] = [text.charCodeAt(0) === 0xfeff ? 1 : 0]
  for (let at = starts[0] ?? 0; at !== -1; at = nextLine(text, at)) {
    if (isMarker(text, at, '---') && !isPrologue(text, starts.at(-1) ?? 0, at)) starts.push(at)
    else if (isMarker(text, at, '...')) {
      const next = text.indexOf('\n', at)
      if (next !== -1) starts.push(next + 1)
    }
  }
  starts.forEach((start, index) => {
    const end = starts[index + 1] ?? text.length
    if (start < end) slots.push(documentSlot(text, start, end, slots.filter(({ kind }) => kind !== '').length + 1))
  })
  return slots
}

/** The next line that could hold a marker. */
function nextLine(text: string, at: number): number {
  const dash = text.indexOf('\n---', at)
  const dot = text.indexOf('\n...', at)
  const next = dash === -1 || (dot !== -1 && dot < dash) ? dot : dash
  return next === -1 ? -1 : next + 1
}

const isMarker = (text: string, at: number, marker: string): boolean =>
  text.startsWith(marker, at) && /^[ \t\r\n]?$/.test(text.charAt(at + 3))

/** Directives belong to the document that they stand above. */
const isPrologue = (text: string, start: number, at: number): boolean =>
  start < at && /^(?:%|(?:[ \t]*(?:#[^\n]*)?\r?\n)+%)/.test(text.slice(start, Math.min(at, start + 10_000)))

function documentSlot(text: string, start: number, end: number, document: number): Slot {
  let body = start
  if (isMarker(text, start, '---')) body = start + 3
  else if (isPrologue(text, start, end)) body = start
  const kind = kindAt(text, body, end)
  return { place: 'document', start, body, end, column: 0, document, kind }
}

/** The first line that is neither blank nor a comment. */
function firstLine(text: string, start: number, end: number): number {
  for (let at = start; at < end; ) {
    let content = at
    while (text[content] === ' ' || text[content] === '\t' || text[content] === '\r') content++
    if (content < end && text[content] !== '#' && text[content] !== '\n') return at
    at = nextStart(text, at, end)
  }
  return end
}

const BLOCK_KEY = /([ ]*)(?:- +)?(?:[A-Za-z0-9_./-]+|"[^"\n]*"|'[^'\n]*'):[ \t\r\n]/y

/** The value of the object's own `kind` as far as plain block text shows it. */
function kindAt(text: string, start: number, end: number): string | undefined {
  const first = firstLine(text, start, end)
  if (first === end) return ''
  BLOCK_KEY.lastIndex = first
  const key = BLOCK_KEY.exec(text)
  if (key === null || BLOCK_KEY.lastIndex > end + 1) return undefined
  const dash = /^ *- +/.exec(key[0])
  const column = dash === null ? (key[1] ?? '').length : dash[0].length
  const own = /^(?: *- +)? *["']?kind["']?:/.test(key[0])
    ? first
    : lineWith(text, first, end, `\n${' '.repeat(column)}kind:`)
  if (own === -1) return undefined
  return /kind["']?:[ ]+(["']?)([A-Za-z0-9]+)\1[ \t\r]*(?:$| #)/.exec(lineAt(text, own, end))?.[2]
}

function lineWith(text: string, start: number, end: number, needle: string): number {
  const at = text.indexOf(needle, start)
  return at === -1 || at >= end ? -1 : at + 1
}

function lineAt(text: string, start: number, end: number): string {
  const found = text.indexOf('\n', start)
  return text.slice(start, found === -1 || found > end ? end : found)
}

async function resourceList(text: string, document: Slot): Promise<Cut | undefined> {
  const list = blockList(text, document)
  if (list !== undefined) return { kind: 'resource-list', list }
  const whole = await read(text, document.body, document.end)
  if (whole.kind === 'unreadable') return { ...whole, document: document.document }
  if (whole.kind === 'empty' || whole.node.kind !== 'map') return undefined
  if (entryText(whole.node, 'kind') !== 'ResourceList') return undefined
  const sequence = readList(text, document, whole)
  if (sequence === undefined) {
    return {
      kind: 'unreadable',
      at: document.body,
      document: document.document,
      message: 'a ResourceList must have `items`, a list',
    }
  }
  const section = (key: string): Section | undefined => {
    const entry = entryAt(whole.node, key)
    return entry === undefined ? undefined : { start: entry.keyStart, end: entry.value.end, value: entry.value }
  }
  const sections = { functionConfig: section('functionConfig'), results: section('results') }
  return { kind: 'resource-list', list: { ...sequence, document, ...sections } }
}

const entryText = (node: MapNode, key: string): unknown => {
  const value = entryAt(node, key)?.value
  return value?.kind === 'scalar' ? value.value : undefined
}

const TOP_LEVEL = /(?:^|\n)([^\s#-][^\n]*)/g
const KNOWN = new Set(['apiVersion', 'kind', 'metadata', 'items', 'functionConfig', 'results'])

/** The list where plain lines show all of its borders; undefined where they do not. */
export function blockList(text: string, document: Slot): ResourceList | undefined {
  const sections = topLevel(text, document)
  const items = sections?.get('items')
  if (sections === undefined || items === undefined) return undefined
  const from = nextStart(text, items.start, items.end)
  if (!/^items:[ \t]*(?:#.*)?\r?$/.test(lineAt(text, items.start, items.end))) return undefined
  const slots = blockItems(text, from, items.end, document)
  if (slots === undefined) return undefined
  return {
    document,
    style: 'block',
    slots,
    start: from,
    end: items.end,
    functionConfig: sections.get('functionConfig'),
    results: sections.get('results'),
  }
}

function topLevel(text: string, document: Slot): Map<string, Section> | undefined {
  const sections = new Map<string, { start: number; end: number }>()
  let last: { start: number; end: number } | undefined
  TOP_LEVEL.lastIndex = document.body
  for (let found = TOP_LEVEL.exec(text); found !== null; found = TOP_LEVEL.exec(text)) {
    const start = found.index + (found[0].startsWith('\n') ? 1 : 0)
    if (start >= document.end) break
    const key = /^([A-Za-z]+):(?=[ \t\r]|$)/.exec(found[1] ?? '')?.[1]
    if (key === undefined || !KNOWN.has(key) || sections.has(key)) return undefined
    if (last !== undefined) last.end = start
    last = { start, end: document.end }
    sections.set(key, last)
    // The next search begins at the line break that ended this line.
    TOP_LEVEL.lastIndex = start + (found[1] ?? '').length
  }
  return sections
}

const nextStart = (text: string, at: number, end: number): number => {
  const found = text.indexOf('\n', at)
  return found === -1 || found >= end ? end : found + 1
}

function blockItems(text: string, start: number, end: number, { document }: Slot): Slot[] | undefined {
  const first = firstLine(text, start, end)
  if (first === end) return undefined
  const column = /^ */.exec(lineAt(text, first, end))?.[0].length ?? 0
  const dash = `${' '.repeat(column)}-`
  const dashes: number[] = []
  for (let at = first; at !== -1 && at < end; at = text.indexOf(`\n${dash}`, at) + 1 || -1) {
    if (!text.startsWith(dash, at) || !/[ \r\n]/.test(text.charAt(at + dash.length))) return undefined
    dashes.push(at)
  }
  const starts = dashes.map((at) => commentsAbove(text, at, start, column))
  return dashes.map((body, index) => {
    const until = starts[index + 1] ?? end
    const kind = kindAt(text, body, until)
    return { place: 'block-item', start: starts[index] ?? body, body, end: until, column, document, kind }
  })
}

/** A comment right above a dash is about the item below; one with a blank line behind it is about the item above. */
function commentsAbove(text: string, dash: number, from: number, column: number): number {
  let start = dash
  while (start > from) {
    const line = text.lastIndexOf('\n', start - 2) + 1
    const comment = /^( *)#/.exec(text.slice(line, start))
    if (line < from || comment === null || (comment[1] ?? '').length > column) break
    start = line
  }
  return start
}

/** The list as the parser sees it. */
export function readList(
  text: string,
  { document }: Slot,
  whole: Extract<Read, { kind: 'node' }>,
): Sequence | undefined {
  const items = entryAt(whole.node, 'items')?.value
  if (items?.kind !== 'seq') return undefined
  const { style, start, end } = items
  if (style === 'flow') {
    const slots = items.items.map((item) => flowSlot(item, document))
    return { style, slots, start: start + 1, end: end - 1 }
  }
  const dashes = items.items.map((item) => text.lastIndexOf('-', item.start - 1))
  const lines = dashes.map((dash) => text.lastIndexOf('\n', dash) + 1)
  const slots = lines.map((line, index): Slot => {
    const column = (dashes[index] ?? line) - line
    return {
      place: 'block-item',
      start: line,
      body: line,
      end: lines[index + 1] ?? end,
      column,
      document,
      kind: undefined,
    }
  })
  return { style, slots, start: lines[0] ?? start, end }
}

const flowSlot = (item: Node, document: number): Slot => ({
  place: 'flow-item',
  start: item.start,
  body: item.start,
  end: item.end,
  column: 0,
  document,
  kind: undefined,
})
