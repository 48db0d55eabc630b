import { distance } from 'fastest-levenshtein'
import type { Plain } from '../crds/arksmodel.ts'
import { CONFIG_API_VERSION, GENERATED_FROM, GROUP, KIND } from '../crds/names.ts'
import type { Problem } from '../crds/problems.ts'
import {
  blockList,
  type Cut,
  cut,
  NOT_ALONE,
  type ResourceList,
  readList,
  type Section,
  type Sequence,
  type Slot,
} from './cut.ts'
import { type Finding, fileOf, finding, objectRef, type Spot } from './finding.ts'
import { asPlain, isPlain } from './merge.ts'
import { annotationsOf } from './metadata.ts'
import { itemNode, type MapNode, type Node, textAt, toJson } from './node.ts'
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

/** A model of the stream or list, or the one that a generator handed in as its config. */
export type Located = Pick<Item, 'object'> & Partial<Item>

/** An object without a name is found by its document. */
export function spotOf({ object, input, slot }: Located): Spot {
  const spot = { object: objectRef(object), file: input?.input.name ?? fileOf(object) }
  const { name } = asPlain(object['metadata'])
  const isNamed = typeof name === 'string' && name !== ''
  return isNamed || slot?.place !== 'document' ? spot : { ...spot, document: slot.document }
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
  /** The `items` of the Lists among the slots of a stream. */
  readonly sequences: Map<Slot, Sequence>
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
  #lines = new Lines('')
  #words = words('')

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
    this.#lines = new Lines(input.text)
    this.#words = words(input.text)
    if (input.text.includes('\u0000'))
      return this.#report(input, { document: 1 }, 'must be YAML or JSON text, got binary data')
    const found: Cut = await cut(input.text)
    if (found.kind === 'unreadable') return this.#unreadable(input, found.document, found)
    const list = found.kind === 'resource-list' ? found.list : undefined
    const slots = found.kind === 'resource-list' ? found.list.slots : found.slots
    const gathered: GatheredInput = { input, list, slots, sequences: new Map() }
    this.#inputs.push(gathered)
    await this.#slots(gathered, slots, list?.document)
    if (list !== undefined) await this.#config(gathered, list)
    await this.#last(gathered)
  }

  /** `list`: the document that these are the items of. */
  async #slots(gathered: GatheredInput, slots: readonly Slot[], list: Slot | undefined): Promise<void> {
    const { ours, kinds, markers, hashes } = this.#words
    for (const slot of slots) {
      const { kind } = slot
      if (kind === '') continue
      // A JSON writer may have escaped the slash of the group.
      const mentions = ours.isIn(slot) || kinds.isIn(slot)
      const marked = markers.isIn(slot)
      const own = kind !== undefined && OWN_KINDS.includes(kind)
      if (mentions && (kind === undefined || kind.endsWith('List'))) await this.#listOrObject(gathered, slot, list)
      else if ((own && marked) || kind === KIND || (mentions && CONFIG_KINDS.includes(kind ?? '')))
        await this.#object(gathered, slot, list)
      else if (hashes.isIn(slot) || (mentions && looksMistyped(gathered.input.text, slot)))
        await this.#object(gathered, slot, list)
      else if (own || kind === undefined) this.#others.push({ input: gathered, slot })
      if (kind === undefined && slot.place === 'document') await this.#foreign(gathered, slot)
    }
  }

  /** A document that is not plain block YAML: it only has to be an object. */
  async #foreign({ input }: GatheredInput, slot: Slot): Promise<void> {
    const { text } = input
    const first = /[^\s]/.exec(text.slice(slot.body, slot.end))?.index ?? 0
    if (/^["']?[A-Za-z_][\w./-]*["']?:(?:\s|$)/.test(text.slice(slot.body + first, slot.body + first + 300))) return
    if (text[slot.body + first] === '{' && text.slice(slot.body, slot.end).trimEnd().endsWith('}')) return
    if (this.#isReported(input, slot)) return
    const found = await read(text, slot.body, slot.end, 'allowed')
    if (found.kind === 'unreadable') return this.#unreadable(input, slot.document, found)
    if (found.kind === 'node' && found.node.kind !== 'map') this.#notAnObject(input, slot, found.node)
  }

  #isReported({ name }: Input, slot: Slot): boolean {
    const last = this.#findings.at(-1)
    return last !== undefined && last.document === slot.document && last.file === name
  }

  #notAnObject(input: Input, slot: Slot, node: Node): void {
    const what = node.kind === 'seq' ? 'a list' : 'text'
    const spot = { document: slot.document, line: this.#lines.of(node.start) }
    this.#report(input, spot, `must be a Kubernetes object, got ${what}`)
  }

  async #listOrObject(gathered: GatheredInput, slot: Slot, list: Slot | undefined): Promise<void> {
    const { text } = gathered.input
    if (slot.place !== 'document') return this.#object(gathered, slot, list)
    const plain = slot.kind === undefined ? undefined : blockList(text, slot)
    const sequence = plain ?? (await this.#readSequence(gathered, slot))
    if (sequence === undefined) return
    gathered.sequences.set(slot, sequence)
    await this.#slots(gathered, sequence.slots, slot)
  }

  /** The items of a List; undefined where the document is no List, which then has been taken as the object it is. */
  async #readSequence(gathered: GatheredInput, slot: Slot): Promise<Sequence | undefined> {
    const { input } = gathered
    const found = await read(input.text, slot.body, slot.end, 'allowed')
    const kind = found.kind === 'node' ? (textAt(found.node, 'kind') ?? '') : ''
    if (found.kind === 'node' && kind === 'ResourceList') {
      this.#unreadable(input, slot.document, { at: found.node.start, message: NOT_ALONE })
      return undefined
    }
    const sequence = found.kind === 'node' && kind.endsWith('List') ? readList(input.text, slot, found) : undefined
    if (sequence === undefined) await this.#object(gathered, slot, undefined)
    return sequence
  }

  async #object(gathered: GatheredInput, slot: Slot, list: Slot | undefined): Promise<void> {
    const { input } = gathered
    const found = await read(input.text, slot.body, slot.end)
    if (found.kind === 'unreadable')
      return (await isOurs(input.text, slot)) ? this.#unreadable(input, slot.document, found) : undefined
    if (found.kind === 'empty') return
    const node = found.node.kind === 'seq' && slot.place === 'block-item' ? found.node.items[0] : found.node
    if (node?.kind !== 'map') return this.#notAnObject(input, slot, found.node)
    const item: Item = { input: gathered, slot, node, object: asPlain(toJson(node)) }
    if (isSelected(item.object)) this.#selected(item)
    const problem = mistyped(item.object)
    if (problem !== undefined) this.#findings.push(finding(spotOf(item), problem))
    const own = [...categories(item.object)]
    for (const category of own) this.#items[category].push(item)
    const stays = list === undefined || own.every((category) => category === 'suffixed')
    const anchor = stays ? undefined : found.anchors.find((name) => isUsed(input.text, list, slot, name))
    if (anchor !== undefined) this.#shared(item, anchor)
  }

  /** What is written into this item would show in the other one, or the other one would lose its value. */
  #shared({ object, input: { input }, slot }: Item, anchor: string): void {
    const spot = {
      object: objectRef(object),
      file: input.name,
      document: slot.document,
      line: this.#lines.of(slot.body),
    }
    this.#findings.push(
      finding(spot, { path: '', message: `must not have the anchor "${anchor}": another item uses it` }),
    )
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
    const config = section.value === undefined ? await this.#readSection(input, list, section) : toJson(section.value)
    if (isPlain(config)) this.#functionConfig = config
    else if (config !== undefined && config !== null)
      this.#findings.push(
        finding(
          { file: input.name, document: list.document.document, line: this.#lines.of(section.start) },
          { path: 'functionConfig', message: 'must be a map' },
        ),
      )
  }

  async #readSection(input: Input, { document }: ResourceList, { start, end }: Section): Promise<unknown> {
    const found = await read(input.text, start, end)
    if (found.kind === 'unreadable') this.#unreadable(input, document.document, found)
    return found.kind === 'node' ? asPlain(toJson(found.node))['functionConfig'] : undefined
  }

  /** A text that was cut off ends in its last object: that one is always read. */
  async #last({ input, slots }: GatheredInput): Promise<void> {
    const last = slots.findLast((slot) => slot.kind !== '')
    if (last === undefined) return
    const found = await read(input.text, last.body, last.end, 'allowed')
    if (found.kind !== 'unreadable' || this.#isReported(input, last)) return
    // An item may use an anchor of another one.
    if ((last.place === 'document' || found.broken) && isAtEnd(input.text, found.at))
      this.#unreadable(input, last.document, found)
  }

  #unreadable(input: Input, document: number, { at, message }: { at: number; message: string }): void {
    this.#report(input, { document, line: this.#lines.of(at) }, message)
  }

  #report(input: Input, spot: Spot, message: string): void {
    this.#findings.push(finding({ ...spot, file: input.name }, { path: '', message }))
  }
}

function* categories(object: Plain): Generator<Category> {
  const { apiVersion, kind } = object
  const annotations = annotationsOf(object)
  const group = typeof apiVersion === 'string' && apiVersion.includes('/') ? apiVersion.split('/')[0] : undefined
  // Without a group it is one that somebody mistyped: nobody else's kind has none.
  if (kind === KIND && (group === GROUP || group === undefined)) yield 'model'
  if (typeof kind === 'string' && CONFIG_KINDS.includes(kind) && group?.startsWith('fn.')) yield 'config'
  if (annotations['internal.config.kubernetes.io/needsHashSuffix'] !== undefined) yield 'suffixed'
  const own = (apiVersion === 'v1' && kind === 'PersistentVolumeClaim') || (apiVersion === 'batch/v1' && kind === 'Job')
  if (own && annotations[GENERATED_FROM] !== undefined) yield 'generated'
}

/** An object that was meant for us: as text to be handed on it would be a model that nobody loads, or settings that nobody reads. */
function mistyped({ apiVersion, kind }: Plain): Problem | undefined {
  if (typeof kind !== 'string' || typeof apiVersion !== 'string') return undefined
  const isConfig = CONFIG_KINDS.includes(kind)
  if (apiVersion.startsWith(`${CONFIG_GROUP}/`))
    return isConfig ? undefined : { path: 'kind', message: `must be ${CONFIG_KINDS.join(' or ')}, got "${kind}"` }
  if (!apiVersion.startsWith(`${GROUP}/`)) return undefined
  if (isConfig) return { path: 'apiVersion', message: `must be ${CONFIG_API_VERSION}, got "${apiVersion}"` }
  return isNearly(kind) ? { path: 'kind', message: `must be ${KIND}, got "${kind}"` } : undefined
}

const CONFIG_GROUP = CONFIG_API_VERSION.split('/')[0]

/** The other kinds of the group differ in more. */
const isNearly = (kind: string): boolean => kind !== KIND && distance(kind, KIND) <= 2

/** Before it is read. */
function looksMistyped(text: string, { kind = '', body, end }: Slot): boolean {
  const group = /^(?:- +| *)["']?apiVersion["']?: *["']?((?:fn\.)?arks\.ai)\//m.exec(text.slice(body, end))?.[1]
  return group === CONFIG_GROUP || (group === GROUP && isNearly(kind))
}

const isSelected = (object: Plain): boolean =>
  Object.keys(annotationsOf(object)).some((key) => key.endsWith('/kpt-resource-id'))

const isAtEnd = (text: string, at: number): boolean => !/\n[^\n]*\S/.test(text.slice(at))

async function isOurs(text: string, { start, body, end }: Slot): Promise<boolean> {
  const found = await read(text, body, end, 'allowed')
  if (found.kind === 'node') return !categories(asPlain(toJson(itemNode(found.node)))).next().done
  return [KIND, GENERATED_FROM, ...CONFIG_KINDS].some((word) => text.slice(start, end).includes(word))
}

const isUsed = (text: string, list: Slot, { start, end }: Slot, anchor: string): boolean => {
  const others = `${text.slice(list.body, start)}\n${text.slice(end, list.end)}`
  return new RegExp(`[\\s,:[{]\\*${anchor.replace(/[^\w]/g, '\\$&')}(?![^\\s,\\]}])`).test(others)
}

/** An item of a List comes behind the List: that is still ascending. */
const words = (text: string): Readonly<Record<'ours' | 'kinds' | 'markers' | 'hashes', Finder>> => ({
  ours: new Finder(text, `${GROUP}/`),
  kinds: new Finder(text, KIND),
  markers: new Finder(text, GENERATED_FROM),
  hashes: new Finder(text, 'needsHashSuffix'),
})

/** Lines by their places: quick for places in ascending order. */
export class Lines {
  readonly #text: string
  #at = 0
  #line = 1

  constructor(text: string) {
    this.#text = text
  }

  of(at: number): number {
    if (at < this.#at) [this.#at, this.#line] = [0, 1]
    for (let found = this.#text.indexOf('\n', this.#at); found !== -1 && found < at; ) {
      this.#line++
      this.#at = found + 1
      found = this.#text.indexOf('\n', this.#at)
    }
    return this.#line
  }
}

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
