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
    // Directives need the end of the document before them to be marked.
    else if (/^(?:[ \t]*(?:#[^\n]*)?\r?\n)*%/.test(text)) this.#add(`...\n${text}`)
    else this.#add(separated || this.#endsDocument ? text : SEPARATOR + text)
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
  const inner = sequences.filter(({ start }) => start >= slot.start && start < slot.end)
  const edits = [
    ...(changes.get(slot)?.edits ?? []),
    ...inner.flatMap((sequence) => rebuilt(input.text, sequence, changes)),
  ]
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
  let foot = end
  for (let at = foot; at > start; foot = at) {
    at = text.lastIndexOf('\n', at - 2) + 1
    if (text[at + column + 2] !== '#' || text.slice(at, at + column + 2).trim() !== '') break
  }
  const isFoot = foot < end && place === 'block-item'
  return isFoot && KPT_ID.test(text.slice(start, end)) ? foot : end
}

/** kpt numbers what it sends to a function, but not what it prints for a pipe; kustomize knows no paths. */
const KPT_ID = /config\.kubernetes\.io\/path: [\s\S]*config\.k8s\.io\/id: /

function flowSequence(text: string, { slots, start, end }: Sequence, changes: Changes, more: readonly Plain[]): Edit {
  let at = start
  const pieces: string[] = []
  for (const slot of slots) {
    const gap = text.slice(at, slot.start).replace(',', '')
    const change = changes.get(slot)
    for (const object of change?.before ?? []) pieces.push(gap + flow(object))
    if (change?.drop !== true) pieces.push(gap + edited(text, change?.edits ?? [], slot.start, slot.end))
    at = slot.end
  }
  pieces.push(...more.map(flow))
  return { start, end, text: pieces.join(',') + text.slice(at, end).replace(',', '') }
}

/** The ResourceList as it came, with these findings as its `results`. */
export function withResults({ input, list }: GatheredInput, findings: readonly Finding[]): string {
  const { text } = input
  const results = findings.map(result)
  const document = list?.document
  const brace = document === undefined ? -1 : text.slice(document.body, document.end).search(/\S/)
  if (document !== undefined && text[document.body + brace] === '{') {
    const at = document.body + brace + 1
    return `${text.slice(0, at)}"results": ${flow(results)}, ${text.slice(at)}`
  }
  const old = list?.results
  const kept = old === undefined ? text : text.slice(0, old.start) + text.slice(old.end)
  return `${kept}${kept === '' || kept.endsWith('\n') ? '' : '\n'}${block({ results })}`
}
