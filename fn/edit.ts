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
  if (map.style === 'flow') return setInFlow(map, entry, key, value)
  const eol = lineBreak(text, map.start)
  if (entry !== undefined) {
    const { start, end } = entry.value
    if (isPlain(value))
      return { start: entry.colonEnd, end: Math.max(end, entry.colonEnd), text: below(map, value, eol) }
    return start === end
      ? { start: entry.colonEnd, end: entry.colonEnd, text: ` ${scalarText(value)}` }
      : replaced(entry.value, scalarText(value))
  }
  const lines = block({ [key]: value }, map.column).replaceAll('\n', eol)
  const closed = text[map.end - 1] === '\n'
  return { start: map.end, end: map.end, text: closed ? lines : `${eol}${lines.slice(0, -eol.length)}` }
}

function setInFlow(map: MapNode, entry: Entry | undefined, key: string, value: Scalar | Plain): Edit {
  if (entry === undefined) {
    const comma = map.entries.length === 0 ? '' : ', '
    const at = map.start + 1
    return { start: at, end: at, text: flow({ [key]: value }).slice(1, -1) + comma }
  }
  const { start, end } = entry.value
  return start === end
    ? { start: entry.colonEnd, end: entry.colonEnd, text: ` ${flow(value)}` }
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
  const end = Math.max(value.end, colonEnd)
  if (text[end - 1] === '\n') return end
  const found = text.indexOf('\n', end)
  return found === -1 ? text.length : found + 1
}

const replaced = ({ start, end }: Node, text: string): Edit => ({ start, end, text })

const below = (map: MapNode, value: Plain, eol: string): string =>
  `${eol}${block(value, map.column + 2)
    .slice(0, -1)
    .replaceAll('\n', eol)}`

/** What the line above this place ends with. */
function lineBreak(text: string, at: number): string {
  const above = text.lastIndexOf('\n', at - 1)
  const found = above === -1 ? text.indexOf('\n', at) : above
  return found > 0 && text[found - 1] === '\r' ? '\r\n' : '\n'
}
