import type { Duplicates, Read } from './read-any.ts'
import { readPlain } from './read-plain.ts'

/** Readers need up to a kilobyte of memory for a word of text. No Kubernetes object is larger than 3 MiB. */
const MAX_TEXT = 8 * 1024 * 1024

/** One YAML document or one item with its dash; the full parser is loaded when it is needed. */
export async function read(
  text: string,
  start: number,
  end: number,
  duplicates: Duplicates = 'refused',
): Promise<Read> {
  if (end - start > MAX_TEXT) return unreadable(start, 'must be at most 8 MiB')
  const node = readPlain(text, start, end)
  if (node !== undefined) return { kind: 'node', node, anchors: [] }
  if (nesting(text, start, end) > 200) return unreadable(start, 'must not be nested deeper than 100 levels')
  const { readAny } = await import('./read-any.ts')
  return readAny(text, start, end, duplicates)
}

const unreadable = (at: number, message: string): Read => ({ kind: 'unreadable', at, message })

/** At least as deep as the text's flow collections nest: brackets inside of quotes count too. */
function nesting(text: string, start: number, end: number): number {
  let depth = 0
  let deepest = 0
  for (let at = start; at < end; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth)
    else if ((code === 0x5d || code === 0x7d) && depth > 0) depth--
  }
  return deepest
}
