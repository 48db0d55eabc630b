import type { Entry, MapNode, Node, ScalarNode, SeqNode } from './node.ts'
import { plainKey, plainScalar } from './scalar.ts'

interface Line {
  /** Column of the first character that is not a space. */
  readonly indent: number
  readonly start: number
  /** Behind the last character, without the line break. */
  readonly end: number
  /** Behind the line break. */
  readonly next: number
}

interface Reader {
  readonly text: string
  readonly lines: readonly Line[]
  at: number
  depth: number
  /** Behind the last line of content that was read. */
  consumed: number
}

/** Deeper ones are for the full parser to refuse: this one calls itself once a level. */
const MAX_DEPTH = 100

/** Not an error: the text is outside the subset and goes to the full parser. */
class Declined extends Error {}

const KEY = /([A-Za-z0-9_./-]+|"[^"\\\n]*"|'[^'\n]*'):(?=[ \r\n]|$)/y
const DOUBLE = /"(?:[^"\\\n]|\\["\\/bfnrt])*"/y
const SINGLE = /'(?:[^'\n]|'')*'/y

/**
 * Reads the plain block YAML that people and kustomize write; `undefined` for anything else (anchors, tags, flow
 * collections, text over several lines without `|`). It exists for start-up time: the full parser costs more to load
 * than all of the rest. What it does read, it reads as the full parser does; a property test holds the two together.
 */
export function readPlain(text: string, start: number, end: number): Node | undefined {
  const lines = significant(text, start, end)
  const first = lines?.[0]
  if (lines === undefined || first === undefined) return undefined
  const reader: Reader = { text, lines, at: 0, depth: 0, consumed: start }
  try {
    const node = blockNode(reader, first.indent)
    return peek(reader) === undefined ? node : undefined
  } catch (error) {
    if (error instanceof Declined) return undefined
    throw error
  }
}

function significant(text: string, start: number, end: number): Line[] | undefined {
  const lines: Line[] = []
  for (let at = start; at < end; ) {
    const found = text.indexOf('\n', at)
    const next = found === -1 || found >= end ? end : found + 1
    const breakAt = next > at && text[next - 1] === '\n' ? next - 1 : next
    const lineEnd = breakAt < next && breakAt > at && text[breakAt - 1] === '\r' ? breakAt - 1 : breakAt
    let content = at
    while (content < lineEnd && text[content] === ' ') content++
    if (text[content] === '\t') return undefined
    lines.push({ indent: content - at, start: at, end: lineEnd, next })
    at = next
  }
  const first = lines.findIndex((line) => !isBlank(text, line))
  return first === -1 ? [] : lines.slice(first)
}

const isEmpty = (line: Line): boolean => line.start + line.indent >= line.end

const isBlank = (text: string, line: Line | undefined): boolean =>
  line !== undefined && (isEmpty(line) || text[line.start + line.indent] === '#')

function peek(reader: Reader): Line | undefined {
  while (isBlank(reader.text, reader.lines[reader.at])) reader.at++
  return reader.lines[reader.at]
}

function blockNode(reader: Reader, column: number): Node {
  const line = peek(reader)
  if (line === undefined || line.indent !== column || reader.depth === MAX_DEPTH) throw new Declined()
  reader.depth++
  const node = isDash(reader.text, line.start + column, line.end) ? blockSeq(reader, column) : blockMap(reader, column)
  reader.depth--
  return node
}

const isDash = (text: string, at: number, end: number): boolean =>
  text[at] === '-' && (at + 1 === end || text[at + 1] === ' ')

function blockMap(reader: Reader, column: number, startsInLine?: number): MapNode {
  const { text } = reader
  const entries: Entry[] = []
  const keys = new Set<string>()
  let inLine = startsInLine
  const start = inLine ?? (reader.lines[reader.at]?.start ?? 0) + column
  for (let line = peek(reader); line !== undefined; line = peek(reader)) {
    if (inLine === undefined && line.indent !== column) {
      if (line.indent > column) throw new Declined()
      break
    }
    const keyStart = inLine ?? line.start + column
    inLine = undefined
    KEY.lastIndex = keyStart
    const key = KEY.exec(text)
    if (key === null || KEY.lastIndex > line.end) throw new Declined()
    const name = /^["']/.test(key[0]) ? (key[1] ?? '').slice(1, -1) : plainKey(key[1] ?? '')
    if (keys.has(name)) throw new Declined()
    keys.add(name)
    const colonEnd = KEY.lastIndex
    const value = entryValue(reader, line, colonEnd, column)
    entries.push({ key: name, keyStart, colonEnd, value })
  }
  return { kind: 'map', style: 'block', column, entries, start, end: reader.consumed }
}

function entryValue(reader: Reader, line: Line, colonEnd: number, column: number): Node {
  const { text } = reader
  let at = colonEnd
  while (at < line.end && text[at] === ' ') at++
  if (at < line.end && text[at] !== '#') {
    if (text[at] === '|') return literal(reader, line, at, column)
    return oneLine(reader, line, at, column)
  }
  if (at < line.end && text[at - 1] !== ' ') throw new Declined()
  take(reader, line)
  const next = peek(reader)
  if (next !== undefined && next.indent > column) return blockNode(reader, next.indent)
  if (next !== undefined && next.indent === column && isDash(text, next.start + column, next.end))
    return blockSeq(reader, column)
  return { kind: 'scalar', value: null, start: colonEnd, end: colonEnd }
}

function take(reader: Reader, line: Line): void {
  reader.at++
  reader.consumed = line.next
}

function oneLine(reader: Reader, line: Line, at: number, column: number): Node {
  take(reader, line)
  const node = inlineValue(reader.text, at, line.end)
  const next = peek(reader)
  // A deeper line would continue the value: plain text over several lines.
  if (next !== undefined && next.indent > column) throw new Declined()
  return node
}

function blockSeq(reader: Reader, column: number): SeqNode {
  const { text } = reader
  const items: Node[] = []
  const start = (reader.lines[reader.at]?.start ?? 0) + column
  for (let line = peek(reader); line !== undefined; line = peek(reader)) {
    if (line.indent < column) break
    if (line.indent > column) throw new Declined()
    const dash = line.start + column
    if (!isDash(text, dash, line.end)) break
    let at = dash + 1
    while (at < line.end && text[at] === ' ') at++
    if (at === line.end || text[at] === '#') throw new Declined()
    items.push(seqItem(reader, line, at, column))
  }
  return { kind: 'seq', style: 'block', items, start, end: reader.consumed }
}

function seqItem(reader: Reader, line: Line, at: number, column: number): Node {
  const { text } = reader
  if (isDash(text, at, line.end)) throw new Declined()
  KEY.lastIndex = at
  if (KEY.exec(text) !== null && KEY.lastIndex <= line.end) return blockMap(reader, at - line.start, at)
  if (text[at] === '|') return literal(reader, line, at, column)
  return oneLine(reader, line, at, column)
}

/** A value that ends on its line. */
function inlineValue(text: string, at: number, lineEnd: number): Node {
  const first = text[at]
  if (first === '"' || first === "'") return quotedValue(text, at, lineEnd)
  const pair = text.slice(at, at + 2)
  if (pair === '{}' || pair === '[]') {
    onlyComment(text, at + 2, lineEnd)
    const place = { style: 'flow', start: at, end: at + 2 } as const
    return pair === '{}' ? { kind: 'map', column: 0, entries: [], ...place } : { kind: 'seq', items: [], ...place }
  }
  let end = at
  for (let index = at; index < lineEnd; index++) {
    const character = text[index]
    if (character === '#' && text[index - 1] === ' ') break
    if (character !== ' ') end = index + 1
  }
  const plain = text.slice(at, end)
  if (!/^(?:[A-Za-z0-9_./$(+~<=^;\\]|-[!-~])[ -~]*$/.test(plain) || /: |:$/.test(plain)) throw new Declined()
  return { kind: 'scalar', value: plainScalar(plain), start: at, end }
}

function quotedValue(text: string, at: number, lineEnd: number): ScalarNode {
  const pattern = text[at] === '"' ? DOUBLE : SINGLE
  pattern.lastIndex = at
  const found = pattern.exec(text)
  const end = pattern.lastIndex
  if (found === null || end > lineEnd) throw new Declined()
  onlyComment(text, end, lineEnd)
  const raw = found[0]
  if (/[^ -~]/.test(raw)) throw new Declined()
  const value: unknown = text[at] === '"' ? JSON.parse(raw) : raw.slice(1, -1).replaceAll("''", "'")
  if (typeof value !== 'string') throw new Declined()
  return { kind: 'scalar', value, start: at, end }
}

function onlyComment(text: string, at: number, lineEnd: number): void {
  if (!/^ *$|^ +#/.test(text.slice(at, lineEnd))) throw new Declined()
}

/** `|`, `|-` and `|+` with the indentation of the first line. */
function literal(reader: Reader, header: Line, at: number, column: number): ScalarNode {
  const { text, lines } = reader
  const chomp = /^\|([-+]?) *$/.exec(text.slice(at, header.end))?.[1]
  if (chomp === undefined || chomp === '+') throw new Declined()
  take(reader, header)
  const first = lines[reader.at]
  if (first === undefined || first.indent <= column || isEmpty(first)) throw new Declined()
  const content: string[] = []
  for (let line: Line | undefined = first; line !== undefined; line = lines[reader.at]) {
    if (isEmpty(line)) {
      if (line.indent > first.indent) throw new Declined()
      reader.at++
    } else if (line.indent < first.indent) {
      if (line.indent > column) throw new Declined()
      break
    } else take(reader, line)
    content.push(text.slice(Math.min(line.start + first.indent, line.end), line.end))
  }
  while (content.at(-1) === '') content.pop()
  if (content.some((line) => /[^ -~]/.test(line))) throw new Declined()
  const last = reader.consumed
  const isOpen = text[last - 1] !== '\n'
  const end = isOpen ? last : text[last - 2] === '\r' ? last - 2 : last - 1
  return { kind: 'scalar', value: content.join('\n') + (chomp === '-' || isOpen ? '' : '\n'), start: at, end }
}
