import type { Plain } from '../crds/arksmodel.ts'
import type { Sequence, Slot } from './cut.ts'
import { type Edit, edited } from './edit.ts'
import { type Finding, result } from './finding.ts'
import type { GatheredInput } from './gather.ts'
import { block, blockItem, flow } from './print.ts'

/** What becomes of one slot; a slot without a change stays as it came. */
export interface Change {
  readonly drop: boolean
  /** New objects that stand before it. */
  readonly before: readonly Plain[]
  /** Inside of it, as places in the whole text. */
  readonly edits: readonly Edit[]
}

export type Changes = ReadonlyMap<Slot, Change>

/** All inputs as one stream of documents. */
export function stream(inputs: readonly GatheredInput[], changes: Changes): string {
  const writer = new StreamWriter(startsBare(inputs[0]))
  for (const input of inputs) {
    if (input.input.text.charCodeAt(0) === 0xfeff) writer.mark()
    for (const slot of input.slots) {
      const change = changes.get(slot)
      for (const object of change?.before ?? []) writer.generated(object)
      if (change?.drop !== true) writer.piece(slotText(input, slot, changes))
    }
  }
  return writer.text()
}

const startsBare = (first: GatheredInput | undefined): boolean => {
  const slot = first?.slots[0]
  return first === undefined || slot === undefined || slot.body === slot.start
}

const SEPARATOR = '---\n'

class StreamWriter {
  readonly #bare: boolean
  readonly #pieces: string[] = []
  #bom = ''

  /** `bare`: the first document has no `---` above it, and neither will what comes to stand there. */
  constructor(bare: boolean) {
    this.#bare = bare
  }

  text(): string {
    return this.#bom + this.#pieces.join('')
  }

  /** A byte order mark stays where it is of use: at the start. */
  mark(): void {
    if (this.#pieces.length === 0) this.#bom = '\ufeff'
  }

  generated(object: Plain): void {
    this.#add(`${this.#isFirst && this.#bare ? '' : SEPARATOR}${block(object)}`)
  }

  piece(text: string): void {
    const separated = /^---(?:[ \t\r\n]|$)/.test(text)
    if (this.#isFirst) this.#add(this.#bare && text.startsWith(SEPARATOR) ? text.slice(SEPARATOR.length) : text)
    else if (separated || this.#endsDocument) this.#add(text)
    // Directives need the end of the document before them to be marked.
    else this.#add(/^(?:[ \t]*(?:#[^\n]*)?\r?\n)*%/.test(text) ? `...\n${text}` : SEPARATOR + text)
  }

  get #isFirst(): boolean {
    return this.#pieces.length === 0
  }

  get #endsDocument(): boolean {
    return /(?:^|\n)\.\.\.[^\n]*\n$/.test(this.#pieces.at(-1) ?? '')
  }

  #add(text: string): void {
    const last = this.#pieces.at(-1)
    if (last !== undefined && !last.endsWith('\n')) this.#pieces.push('\n')
    this.#pieces.push(text)
  }
}

/** The slot's text with its edits and those of the Lists in it. */
function slotText({ input, sequences }: GatheredInput, slot: Slot, changes: Changes): string {
  const sequence = sequences.get(slot)
  const inner = sequence === undefined ? [] : rebuilt(input.text, sequence, changes)
  const edits = [...(changes.get(slot)?.edits ?? []), ...inner]
  return edited(input.text, edits, slot.start, slot.end)
}

/** The ResourceList with its changed items; `more` come behind the last one. */
export function resourceList(
  input: GatheredInput,
  sequence: Sequence,
  changes: Changes,
  more: readonly Plain[],
): string {
  return edited(input.input.text, rebuilt(input.input.text, sequence, changes, more))
}

function rebuilt(text: string, sequence: Sequence, changes: Changes, more: readonly Plain[] = []): readonly Edit[] {
  const isChanged = sequence.slots.some((slot) => changes.has(slot) || footStart(text, slot) < slot.end)
  if (more.length === 0 && !isChanged) return []
  return sequence.style === 'block'
    ? [blockSequence(text, sequence, changes, more)]
    : [flowSequence(text, sequence, changes, more)]
}

function blockSequence(text: string, { slots, start, end }: Sequence, changes: Changes, more: readonly Plain[]): Edit {
  const first = slots[0]
  const column = first?.column ?? 0
  const pieces = slots.flatMap((slot) => {
    const change = changes.get(slot)
    const kept = change?.drop === true ? [] : [withoutFoot(text, slot, change?.edits ?? [])]
    return [...(change?.before ?? []).map((object) => blockItem(object, column)), ...kept]
  })
  const all = [...pieces, ...more.map((object) => blockItem(object, column))]
  // A key without a value is null, which kustomize takes for a resource.
  if (all.length === 0) return { start: start - (text[start - 2] === '\r' ? 2 : 1), end, text: ' []\n' }
  const gap = text.slice(start, first?.start ?? start)
  return {
    start,
    end,
    text:
      gap +
      all.map((piece, index) => (piece.endsWith('\n') || index === all.length - 1 ? piece : `${piece}\n`)).join(''),
  }
}

/**
 * The item without the comment lines at its end, where kpt sent it: kpt puts comments back from its own copy, and would
 * write those twice.
 */
function withoutFoot(text: string, slot: Slot, edits: readonly Edit[]): string {
  const foot = footStart(text, slot)
  return foot === slot.end ? edited(text, edits, slot.start, slot.end) : edited(text, edits, slot.start, foot)
}

function footStart(text: string, { start, end, column, place }: Slot): number {
  if (place !== 'block-item') return end
  let foot = end
  for (let at = foot; at > start; foot = at) {
    at = text.lastIndexOf('\n', at - 2) + 1
    if (text[at + column + 2] !== '#' || text.slice(at, at + column + 2).trim() !== '') break
  }
  return foot < end && KPT_ID.test(text.slice(start, end)) ? foot : end
}

/** kpt numbers what it sends to a function, but not what it prints for a pipe; kustomize knows no paths. */
const KPT_ID = /config\.kubernetes\.io\/path: [\s\S]*config\.k8s\.io\/id: /

function flowSequence(text: string, { slots, start, end }: Sequence, changes: Changes, more: readonly Plain[]): Edit {
  let at = start
  const pieces: string[] = []
  for (const slot of slots) {
    const gap = withoutComma(text.slice(at, slot.start))
    const change = changes.get(slot)
    for (const object of change?.before ?? []) pieces.push(gap + flow(object))
    if (change?.drop !== true) pieces.push(gap + edited(text, change?.edits ?? [], slot.start, slot.end))
    at = slot.end
  }
  pieces.push(...more.map(flow))
  return { start, end, text: pieces.join(',') + withoutComma(text.slice(at, end)) }
}

/** What stands between two items; a comma in a comment is none. */
const withoutComma = (gap: string): string => gap.replace(/^((?:[^,#]|#[^\n]*\n)*),/, '$1')

/** The ResourceList as it came, with these findings as its `results`. */
export function withResults({ input, list }: GatheredInput, findings: readonly Finding[]): string {
  const { text } = input
  if (list === undefined) return text
  const results = findings.map(result)
  const [{ body, end }, old] = [list.document, list.results]
  const brace = FLOW_MAP.exec(text.slice(body, end))?.[0].length
  if (brace !== undefined) {
    return old === undefined
      ? edited(text, [{ start: body + brace, end: body + brace, text: `"results": ${flow(results)}, ` }])
      : edited(text, [{ start: old.start, end: old.end, text: `"results": ${flow(results)}` }])
  }
  const column = /^( *)["']?items["']? *:/m.exec(text.slice(body, end))?.[1]?.length ?? 0
  const lines = block({ results }, column)
  if (old === undefined) {
    const at = body + text.slice(body, end).replace(END_MARKER, '').length
    return edited(text, [{ start: at, end: at, text: text[at - 1] === '\n' ? lines : `\n${lines}` }])
  }
  const isClosed = text[old.end - 1] === '\n' || old.end === text.length
  return edited(text, [{ ...old, text: isClosed ? lines.slice(column) : lines.slice(column, -1) }])
}

/** Up to the brace of a document that is a map in flow style. */
const FLOW_MAP = /^(?:\s|#[^\n]*\n)*\{/

const END_MARKER = /^\.\.\.(?:[ \t][^\n]*)?\r?\n?$/m
