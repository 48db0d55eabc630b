import type { Plain } from '../crds/arksmodel.ts'
import { GENERATED_FROM, GROUP, KIND } from '../crds/names.ts'
import { blockList, type Cut, cut, type ResourceList, readList, type Section, type Sequence, type Slot } from './cut.ts'
import { type Finding, fileOf, finding, objectRef, type Spot } from './finding.ts'
import { asPlain } from './merge.ts'
import { entryAt, type MapNode, type Node, toJson } from './node.ts'
import { read } from './read.ts'

/** One text to read: standard input or a file. */
export interface Input {
  /** The file as the user named it; absent for standard input. */
  readonly name: string | undefined
  readonly text: string
}

/** An object that this function reads. All others are text to it. */
export interface Item {
  readonly input: GatheredInput
  readonly slot: Slot
  readonly node: MapNode
  readonly object: Plain
}

export interface Unread {
  readonly input: GatheredInput
  readonly slot: Slot
}

export interface GatheredInput {
  readonly input: Input
  readonly list: ResourceList | undefined
  /** Of the stream, or of the ResourceList. */
  readonly slots: readonly Slot[]
  /** The `items` of Lists in a stream, by the place of their first item. */
  readonly sequences: Sequence[]
}

export interface Gathered {
  readonly inputs: readonly GatheredInput[]
  readonly models: readonly Item[]
  /** Claims and Jobs of an earlier run. */
  readonly generated: readonly Item[]
  readonly configs: readonly Item[]
  /** Secrets and ConfigMaps whose names kustomize will give a suffix made from their contents. */
  readonly suffixed: readonly Item[]
  /** What may be a claim or a Job of somebody else: unread. */
  readonly others: readonly Unread[]
  readonly functionConfig: Plain | undefined
  readonly findings: readonly Finding[]
}

type Category = 'model' | 'generated' | 'config' | 'suffixed'

const CONFIG_KINDS = ['ExpandArksModels', 'SealWorkerJobs']
const OWN_KINDS = ['PersistentVolumeClaim', 'Job']

/** Reads what is ours in these texts and leaves the rest unread. */
export async function gather(inputs: readonly Input[]): Promise<Gathered> {
  const gathering = new Gathering()
  for (const input of inputs) await gathering.add(input)
  return gathering.result()
}

class Gathering {
  readonly #inputs: GatheredInput[] = []
  readonly #items: Record<Category, Item[]> = { model: [], generated: [], config: [], suffixed: [] }
  readonly #others: Unread[] = []
  readonly #findings: Finding[] = []
  #functionConfig: Plain | undefined

  result(): Gathered {
    const { model, generated, config, suffixed } = this.#items
    return {
      inputs: this.#inputs,
      models: model,
      generated,
      configs: config,
      suffixed,
      others: this.#others,
      functionConfig: this.#functionConfig,
      findings: this.#findings,
    }
  }

  async add(input: Input): Promise<void> {
    if (input.text.includes('\u0000'))
      return this.#report(input, { document: 1 }, 'must be YAML or JSON text, got binary data')
    const found: Cut = await cut(input.text)
    if (found.kind === 'unreadable') return this.#unreadable(input, found.document, found)
    const list = found.kind === 'resource-list' ? found.list : undefined
    const slots = found.kind === 'resource-list' ? found.list.slots : found.slots
    const gathered: GatheredInput = { input, list, slots, sequences: [] }
    this.#inputs.push(gathered)
    await this.#slots(gathered, slots)
    if (list !== undefined) await this.#config(gathered, list)
    else await this.#lastDocument(gathered)
  }

  async #slots(gathered: GatheredInput, slots: readonly Slot[]): Promise<void> {
    const { text } = gathered.input
    const ours = new Finder(text, `${GROUP}/`)
    const markers = new Finder(text, GENERATED_FROM)
    const hashes = new Finder(text, 'needsHashSuffix')
    for (const slot of slots) {
      const { kind } = slot
      if (kind === '') continue
      const mentions = ours.isIn(slot)
      const marked = markers.isIn(slot)
      const own = kind !== undefined && OWN_KINDS.includes(kind)
      if (mentions && (kind === undefined || kind.endsWith('List'))) await this.#listOrObject(gathered, slot)
      else if ((own && marked) || kind === KIND || (mentions && CONFIG_KINDS.includes(kind ?? '')))
        await this.#object(gathered, slot)
      else if (hashes.isIn(slot)) await this.#object(gathered, slot)
      else if (own || kind === undefined) this.#others.push({ input: gathered, slot })
      if (!mentions && kind === undefined && slot.place === 'document') await this.#foreign(gathered, slot)
    }
  }

  /** A document that is not plain block YAML and does not speak of us: it only has to be an object. */
  async #foreign({ input }: GatheredInput, slot: Slot): Promise<void> {
    const { text } = input
    const first = /[^\s]/.exec(text.slice(slot.body, slot.end))?.index ?? 0
    if (/^["']?[A-Za-z_][\w./-]*["']?:(?:\s|$)/.test(text.slice(slot.body + first, slot.body + first + 300))) return
    if (text[slot.body + first] === '{' && text.slice(slot.body, slot.end).trimEnd().endsWith('}')) return
    const found = await read(text, slot.body, slot.end)
    if (found.kind === 'unreadable') return this.#unreadable(input, slot.document, found)
    if (found.kind === 'node' && found.node.kind !== 'map') this.#notAnObject(input, slot, found.node)
  }

  #notAnObject(input: Input, slot: Slot, node: Node): void {
    const what = node.kind === 'seq' ? 'a list' : 'text'
    const spot = { document: slot.document, line: lineOf(input.text, node.start) }
    this.#report(input, spot, `must be a Kubernetes object, got ${what}`)
  }

  async #listOrObject(gathered: GatheredInput, slot: Slot): Promise<void> {
    const { text } = gathered.input
    if (slot.place !== 'document') return this.#object(gathered, slot)
    const plain = slot.kind === undefined ? undefined : blockList(text, slot)
    const sequence = plain ?? (await this.#readSequence(gathered, slot))
    if (sequence === undefined) return
    gathered.sequences.push(sequence)
    await this.#slots(gathered, sequence.slots)
  }

  /** The items of a List; undefined where the document is no List, which then has been taken as the object it is. */
  async #readSequence(gathered: GatheredInput, slot: Slot): Promise<Sequence | undefined> {
    const found = await read(gathered.input.text, slot.body, slot.end)
    if (found.kind === 'node' && found.node.kind === 'map') {
      const kind = entryAt(found.node, 'kind')?.value
      const isList = kind?.kind === 'scalar' && String(kind.value).endsWith('List')
      if (isList) return readList(gathered.input.text, slot, found)
    }
    await this.#object(gathered, slot)
    return undefined
  }

  async #object(gathered: GatheredInput, slot: Slot): Promise<void> {
    const { input } = gathered
    const found = await read(input.text, slot.body, slot.end)
    if (found.kind === 'unreadable') {
      const text = input.text.slice(slot.start, slot.end)
      const isOurs = [KIND, GENERATED_FROM, ...CONFIG_KINDS].some((word) => text.includes(word))
      return isOurs ? this.#unreadable(input, slot.document, found) : undefined
    }
    if (found.kind === 'empty') return
    const node = found.node.kind === 'seq' && slot.place === 'block-item' ? found.node.items[0] : found.node
    if (node?.kind !== 'map') return this.#notAnObject(input, slot, found.node)
    const item: Item = { input: gathered, slot, node, object: asPlain(toJson(node)) }
    if (isSelected(item.object)) this.#selected(item)
    for (const category of categories(item.object)) this.#items[category].push(item)
  }

  /** With selectors kpt hides what an earlier render made: each render would add another copy. */
  #selected(item: Item): void {
    const message =
      'must be rendered without `selectors` and `exclude` in the Kptfile: they hide what was generated before'
    this.#findings.push(finding({ object: objectRef(item.object), file: fileOf(item.object) }, { path: '', message }))
  }

  async #config({ input }: GatheredInput, list: ResourceList): Promise<void> {
    const section: Section | undefined = list.functionConfig
    if (section === undefined) return
    this.#functionConfig = asPlain(
      section.value === undefined ? await this.#readSection(input, list, section) : toJson(section.value),
    )
  }

  async #readSection(input: Input, { document }: ResourceList, { start, end }: Section): Promise<unknown> {
    const found = await read(input.text, start, end)
    if (found.kind === 'unreadable') this.#unreadable(input, document.document, found)
    return found.kind === 'node' ? asPlain(toJson(found.node))['functionConfig'] : undefined
  }

  /** A stream that was cut off ends in its last document: that one is always read. */
  async #lastDocument({ input, slots }: GatheredInput): Promise<void> {
    const last = slots.findLast((slot) => slot.kind !== '')
    if (last === undefined) return
    const found = await read(input.text, last.body, last.end)
    const known = this.#findings.some(({ document, file }) => document === last.document && file === input.name)
    if (found.kind === 'unreadable' && !known && isAtEnd(input.text, found.at))
      this.#unreadable(input, last.document, found)
  }

  #unreadable(input: Input, document: number, { at, message }: { at: number; message: string }): void {
    this.#report(input, { document, line: lineOf(input.text, at) }, message)
  }

  #report(input: Input, spot: Spot, message: string): void {
    this.#findings.push(finding({ ...spot, file: input.name }, { path: '', message }))
  }
}

function* categories(object: Plain): Generator<Category> {
  const { apiVersion, kind } = object
  const metadata = asPlain(object['metadata'])
  const annotations = asPlain(metadata['annotations'])
  if (kind === KIND && String(apiVersion).split('/')[0] === GROUP) yield 'model'
  if (CONFIG_KINDS.includes(String(kind)) && String(apiVersion).startsWith('fn.')) yield 'config'
  if (annotations['internal.config.kubernetes.io/needsHashSuffix'] !== undefined) yield 'suffixed'
  const own = (apiVersion === 'v1' && kind === 'PersistentVolumeClaim') || (apiVersion === 'batch/v1' && kind === 'Job')
  if (own && annotations[GENERATED_FROM] !== undefined) yield 'generated'
}

const isSelected = (object: Plain): boolean =>
  Object.keys(asPlain(asPlain(object['metadata'])['annotations'])).some((key) => key.endsWith('/kpt-resource-id'))

const isAtEnd = (text: string, at: number): boolean => !/\n[^\n]*\S/.test(text.slice(at))

const lineOf = (text: string, at: number): number => text.slice(0, at).split('\n').length

/** Answers for slots in ascending order whether they hold the word, in one pass over the text. */
class Finder {
  readonly #text: string
  readonly #word: string
  #next: number

  constructor(text: string, word: string) {
    this.#text = text
    this.#word = word
    this.#next = text.indexOf(word)
  }

  isIn(slot: Slot): boolean {
    while (this.#next !== -1 && this.#next < slot.start) this.#next = this.#text.indexOf(this.#word, slot.start)
    return this.#next !== -1 && this.#next < slot.end
  }
}
