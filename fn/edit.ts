import type { Plain } from '../crds/arksmodel.ts'
import { asPlain, isPlain } from './merge.ts'
import type { Entry, MapNode, Node } from './node.ts'
import { toJson } from './node.ts'
import { block, flow } from './print.ts'
import { type Scalar, scalarText } from './scalar.ts'

/** Replaces a stretch of text. Edits never overlap. */
export interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** The text, or a stretch of it, with all edits made; those at one place in the order in which they are given. */
export function edited(text: string, edits: readonly Edit[], start = 0, end: number = text.length): string {
  const sorted = edits.map((edit, index) => ({ edit, index }))
  sorted.sort((a, b) => a.edit.start - b.edit.start || a.edit.end - b.edit.end || a.index - b.index)
  const pieces: string[] = []
  let at = start
  for (const { edit } of sorted) {
    pieces.push(text.slice(at, edit.start), edit.text)
    at = edit.end
  }
  pieces.push(text.slice(at, end))
  return pieces.join('')
}

/** Gives the key this value, in the style that the map is written in; nothing else changes. */
export function setEntry(text: string, map: MapNode, key: string, value: Scalar | Plain): Edit {
  const entry = map.entries.find((candidate) => candidate.key === key)
  if (map.alias === true) return replaced(map, flow({ ...asPlain(toJson(map)), [key]: value }))
  if (map.style === 'flow') return setInFlow(text, map, entry, key, value)
  const eol = lineBreak(text, map.start)
  if (entry !== undefined) return isPlain(value) ? nested(text, map, entry, value) : inline(text, entry, value)
  const lines = block({ [key]: value }, map.column).replaceAll('\n', eol)
  const closed = text[map.end - 1] === '\n'
  return { start: map.end, end: map.end, text: closed ? lines : `${eol}${lines.slice(0, -eol.length)}` }
}

function inline(text: string, { colonEnd, value }: Entry, scalar: Scalar): Edit {
  return value.start === value.end || hasProperties(text, colonEnd, value)
    ? { start: colonEnd, end: Math.max(value.end, colonEnd), text: ` ${scalarText(scalar)}` }
    : replaced(value, scalarText(scalar))
}

/** A map in the place of what is there, with the comments around it. */
function nested(text: string, map: MapNode, { colonEnd, value }: Entry, plain: Plain): Edit {
  const eol = lineBreak(text, map.start)
  const lines = (column: number): string => block(plain, column).slice(0, -1).replaceAll('\n', eol)
  const { start, end } = value
  if (hasProperties(text, colonEnd, value)) return { start: colonEnd, end, text: eol + lines(map.column + 2) }
  const line = text.lastIndexOf('\n', start - 1) + 1
  if (start < end && line > colonEnd) return { start, end, text: lines(start - line).slice(start - line) }
  if (start < end) return { start: colonEnd, end, text: eol + lines(map.column + 2) }
  const at = endOfLine(text, colonEnd)
  return { start: at, end: at, text: eol + lines(map.column + 2) }
}

/** Its anchor or its tag, which do not belong to what takes its place. */
const hasProperties = (text: string, colonEnd: number, { start }: Node): boolean =>
  text
    .slice(colonEnd, start)
    .replace(/#[^\n]*/g, '')
    .trim() !== ''

/** Before the line break. */
function endOfLine(text: string, at: number): number {
  const found = text.indexOf('\n', at)
  const end = found === -1 ? text.length : found
  return end > at && text[end - 1] === '\r' ? end - 1 : end
}

/** A new entry goes first, spaced as the one that stood there: what is at the end may be a comma or a comment. */
function setInFlow(text: string, map: MapNode, entry: Entry | undefined, key: string, value: Scalar | Plain): Edit {
  if (entry === undefined) {
    const at = map.start + 1
    const added = flow({ [key]: value }).slice(1, -1)
    const [first] = map.entries
    if (first === undefined) return { start: at, end: at, text: added }
    const space = /^\s*/.exec(text.slice(at, first.keyStart))?.[0] ?? ''
    return { start: at, end: at, text: `${space}${added},${space === '' ? ' ' : ''}` }
  }
  const { start, end } = entry.value
  return start === end || hasProperties(text, entry.colonEnd, entry.value)
    ? { start: entry.colonEnd, end: Math.max(end, entry.colonEnd), text: ` ${flow(value)}` }
    : replaced(entry.value, flow(value))
}

/** Takes a key out that is there. */
export function removeEntry(text: string, map: MapNode, entry: Entry): Edit {
  if (map.alias === true || map.style === 'flow') {
    const { [entry.key]: _, ...others } = asPlain(toJson(map))
    return replaced(map, flow(others))
  }
  return { start: text.lastIndexOf('\n', entry.keyStart) + 1, end: lineEnd(text, entry), text: '' }
}

function lineEnd(text: string, { value, colonEnd }: Entry): number {
  if (value.kind !== 'scalar' && value.style === 'block' && value.alias === undefined) return value.end
  const found = text.indexOf('\n', Math.max(value.end, colonEnd))
  return found === -1 ? text.length : found + 1
}

const replaced = ({ start, end }: Node, text: string): Edit => ({ start, end, text })

/** What the line above this place ends with. */
function lineBreak(text: string, at: number): string {
  const above = text.lastIndexOf('\n', at - 1)
  const found = above === -1 ? text.indexOf('\n', at) : above
  return found > 0 && text[found - 1] === '\r' ? '\r\n' : '\n'
}
