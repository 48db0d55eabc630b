import { entryAt, type Node, textAt } from './node.ts'
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
  const beyond = slots[MAX_OBJECTS]
  if (beyond !== undefined) return unreadable(beyond, `must be one of at most ${MAX_OBJECTS} documents`)
  const [first, second] = slots.filter((slot) => slot.kind !== '')
  if (first === undefined) return { kind: 'stream', slots }
  if (first.kind === undefined ? text.includes('ResourceList') : first.kind === 'ResourceList') {
    const list = await resourceList(text, first)
    if (list !== undefined)
      return list.kind === 'unreadable' || second === undefined ? list : unreadable(second, NOT_ALONE)
  }
  const other = slots.find((slot) => slot.kind === 'ResourceList')
  return other === undefined ? { kind: 'stream', slots } : unreadable(other, NOT_ALONE)
}

/** Each costs memory, however little stands in it. */
const MAX_OBJECTS = 500_000

/** An orchestrator wants one list back, with results where there are some: nothing else has a place in it. */
export const NOT_ALONE = 'must be the only document: a ResourceList is a whole input'

const unreadable = ({ body, document }: Slot, message: string): Cut => ({
  kind: 'unreadable',
  at: body,
  document,
  message,
})

/** The documents of a stream. `---` and `...` at the start of a line end a document wherever they stand (YAML 1.2, 9.1). */
function documents(text: string): Slot[] {
  const slots: Slot[] = []
  let start = text.charCodeAt(0) === 0xfeff ? 1 : 0
  let document = 1
  let isOpen = false
  const close = (end: number): void => {
    if (start < end) {
      const body = isMarker(text, start, '---') ? start + 3 : start
      const kind = kindAt(text, body, end, false)
      slots.push({ place: 'document', start, body, end, column: 0, document, kind })
      if (kind !== '') document++
    }
    start = end
  }
  for (const { at, marker } of markers(text, start)) {
    if (slots.length > MAX_OBJECTS) return slots
    if (marker === '...') close(nextStart(text, at, text.length))
    else if (isOpen || !isPrologue(text.slice(start, at))) close(at)
    isOpen = marker === '---'
  }
  close(text.length)
  return slots
}

/** The lines that are or begin with a marker, in one pass. */
function* markers(text: string, start: number): Generator<{ readonly at: number; readonly marker: string }> {
  const next = (marker: string, from: number): number => {
    let at = from
    do at = text.indexOf(`\n${marker}`, at) + 1 || text.length + 1
    while (at <= text.length && !isMarker(text, at, marker))
    return at
  }
  const first = (marker: string): number => (isMarker(text, start, marker) ? start : next(marker, start))
  let dashes = first('---')
  let dots = first('...')
  while (dashes <= text.length || dots <= text.length) {
    if (dashes < dots) {
      yield { at: dashes, marker: '---' }
      dashes = next('---', dashes)
    } else {
      yield { at: dots, marker: '...' }
      dots = next('...', dots)
    }
  }
}

const isMarker = (text: string, at: number, marker: string): boolean =>
  text.startsWith(marker, at) && /^[ \t\r\n]?$/.test(text.charAt(at + 3))

/** Directives belong to the document that they stand above. */
const isPrologue = (text: string): boolean => /^(?:[ \t]*(?:#[^\n]*)?\r?\n)*%/.test(text)

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
function kindAt(text: string, start: number, end: number, isItem: boolean): string | undefined {
  const first = firstLine(text, start, end)
  if (first === end || isMarker(text, first, '...')) return ''
  BLOCK_KEY.lastIndex = first
  const key = BLOCK_KEY.exec(text)
  if (key === null || BLOCK_KEY.lastIndex > end + 1) return undefined
  const dash = /^ *- +/.exec(key[0])
  if ((dash !== null) !== isItem) return undefined
  const column = dash === null ? (key[1] ?? '').length : dash[0].length
  const own = /^(?: *- +)? *["']?kind["']?:/.test(key[0])
    ? first
    : lineWith(text, first, end, `\n${' '.repeat(column)}kind:`)
  if (own === -1) return undefined
  return /kind["']?:[ ]+(["']?)([A-Za-z0-9]+)\1[ \t\r]*(?:$| #)/.exec(lineAt(text, own, end))?.[2]
}

function lineWith(text: string, start: number, end: number, needle: string): number {
  const at = text.slice(start, end).indexOf(needle)
  return at === -1 ? -1 : start + at + 1
}

function lineAt(text: string, start: number, end: number): string {
  const found = text.indexOf('\n', start)
  return text.slice(start, found === -1 || found > end ? end : found)
}

async function resourceList(text: string, document: Slot): Promise<Cut | undefined> {
  const list = blockList(text, document)
  if (list !== undefined) return { kind: 'resource-list', list }
  const whole = await read(text, document.body, document.end, 'allowed')
  if (whole.kind === 'unreadable') return { ...whole, document: document.document }
  if (whole.kind === 'empty' || whole.node.kind !== 'map') return undefined
  if (textAt(whole.node, 'kind') !== 'ResourceList') return undefined
  const sequence = readList(text, document, whole)
  if (sequence === undefined) return unreadable(document, 'a ResourceList must have `items`, a list')
  const section = (key: string): Section | undefined => {
    const entry = entryAt(whole.node, key)
    return entry === undefined ? undefined : { start: entry.keyStart, end: entry.value.end, value: entry.value }
  }
  const sections = { functionConfig: section('functionConfig'), results: section('results') }
  return { kind: 'resource-list', list: { ...sequence, document, ...sections } }
}

const TOP_LEVEL = /(?:^\ufeff?|\n)([^\s#-][^\n]*)/g
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
  // The line break or the byte order mark before the first line is a part of the match.
  TOP_LEVEL.lastIndex = Math.max(0, document.body - 1)
  for (let found = TOP_LEVEL.exec(text); found !== null; found = TOP_LEVEL.exec(text)) {
    const [whole, line = ''] = found
    const start = found.index + whole.length - line.length
    if (start >= document.end) break
    const key = /^([A-Za-z]+):(?=[ \t\r]|$)/.exec(line)?.[1]
    if (key === undefined || !KNOWN.has(key) || sections.has(key)) return undefined
    if (last !== undefined) last.end = start
    last = { start, end: document.end }
    sections.set(key, last)
    // The next search begins at the line break that ended this line.
    TOP_LEVEL.lastIndex = start + line.length
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
    if (dashes.push(at) > MAX_OBJECTS) return undefined
  }
  const starts = dashes.map((at) => commentsAbove(text, at, start, column))
  return dashes.map((body, index) => {
    const until = starts[index + 1] ?? end
    const kind = kindAt(text, body, until, true)
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
  const lines: number[] = []
  let column = 0
  let from = start
  for (const item of items.items) {
    const dash = dashAt(text, from)
    const line = text.lastIndexOf('\n', dash) + 1
    if (text.slice(line, dash).trim() !== '') return undefined
    lines.push(line)
    column = dash - line
    from = item.end
  }
  const first = lines[0] ?? start
  const starts = lines.map((line) => commentsAbove(text, line, first, column))
  const slots = lines.map((body, index): Slot => {
    const until = starts[index + 1] ?? end
    return { place: 'block-item', start: starts[index] ?? body, body, end: until, column, document, kind: undefined }
  })
  return { style, slots, start: first, end }
}

/** The dash of the next item of a block sequence, behind blank lines and comments. */
function dashAt(text: string, from: number): number {
  DASH.lastIndex = from
  return DASH.test(text) ? DASH.lastIndex - 1 : from
}

const DASH = /(?:[ \t\r\n]|#[^\n]*)*-/y

const flowSlot = (item: Node, document: number): Slot => ({
  place: 'flow-item',
  start: item.start,
  body: item.start,
  end: item.end,
  column: 0,
  document,
  kind: undefined,
})
