import { type ArksModel, type Plain, parseArksModel } from '../crds/arksmodel.ts'
import { GENERATED_FROM, KIND, WORKER_JOB } from '../crds/names.ts'
import { type Place, placeText } from '../crds/place.ts'
import type { Problem } from '../crds/problems.ts'
import { canonical } from './canonical.ts'
import { type Config, parseConfig, type Settings } from './config.ts'
import { cut } from './cut.ts'
import { collisions, type Expansion, expand } from './expand.ts'
import { type Finding, finding, objectRef, type Spot } from './finding.ts'
import {
  type Gathered,
  type GatheredInput,
  gather,
  type Input,
  type Item,
  Lines,
  type Located,
  spotOf,
  type Unread,
} from './gather.ts'
import type { Manifest } from './manifest.ts'
import { asPlain, isPlain, withoutNulls } from './merge.ts'
import { annotationOf, annotationsOf, namespaceOf } from './metadata.ts'
import { itemNode, type Node, toJson } from './node.ts'
import { Places } from './place.ts'
import { read } from './read.ts'
import { allNames, allNamespaces, currentName, digests, isRenamed, references } from './references.ts'
import { draft, refusals } from './refusals.ts'
import { sealed } from './seal.ts'
import { settingsAmong, unnamedSettings } from './settings.ts'
import { checked, stamp, stamped, stampOf } from './stamp.ts'
import { type Change, type Changes, resourceList, stream, withResults } from './write.ts'

export interface Options {
  /** The function config of a pipe; a ResourceList brings its own. */
  readonly config: Input | undefined
  /** Only recompute the names of Jobs that were made earlier. */
  readonly seal: boolean
}

export interface Outcome {
  readonly stdout: string
  /** None: all went well. */
  readonly findings: readonly Finding[]
  /** What a user may not expect and is no problem. */
  readonly notes: readonly Finding[]
}

/** Text in, text out: the whole function without a process. */
export async function run(inputs: readonly Input[], options: Options): Promise<Outcome> {
  const gathered = await gather(inputs)
  const config = await configOf(gathered, options)
  const isRead = gathered.findings.every(({ object }) => object !== undefined)
  const list = inputs.length === 1 && isRead ? gathered.inputs[0] : undefined
  const failed = (findings: readonly Finding[]): Outcome => ({ stdout: returned(list, findings), findings, notes: [] })
  const configured = config.ok ? [] : config.findings
  const early = [...gathered.findings, ...misplacedLists(inputs, gathered), ...nothing(inputs, gathered), ...configured]
  const isSeal = config.ok && config.value.kind === 'seal'
  if (!config.ok || early.length > 0) return failed([...early, ...(isSeal ? [] : findingsOf(modelsOf(gathered)))])
  const changes = config.value.kind === 'seal' ? sealed(gathered) : await expanded(gathered, config.value.settings)
  return changes.ok
    ? { stdout: written(gathered, changes), findings: [], notes: changes.notes }
    : failed(changes.findings)
}

/**
 * An orchestrator gets a list that can be read back as it was, with the results. A pipe gets nothing: half a stream
 * would be applied.
 */
const returned = (input: GatheredInput | undefined, findings: readonly Finding[]): string =>
  input?.list === undefined ? '' : withResults(input, findings)

export type Changed =
  | {
      readonly ok: true
      readonly changes: Changes
      readonly more: readonly Plain[]
      readonly notes: readonly Finding[]
    }
  | { readonly ok: false; readonly findings: readonly Finding[] }

function written({ inputs }: Gathered, { changes, more }: Extract<Changed, { ok: true }>): string {
  const [first] = inputs
  return first?.list === undefined ? stream(inputs, changes) : resourceList(first, first.list, changes, more)
}

function nothing([first]: readonly Input[], { inputs, findings }: Gathered): readonly Finding[] {
  const isEmpty = inputs.every(({ list, slots }) => list === undefined && slots.every(({ kind }) => kind === ''))
  return isEmpty && findings.length === 0
    ? [finding({ file: first?.name }, { path: '', message: 'must hold at least one object, got nothing' })]
    : []
}

/** A ResourceList is a whole input of its own. */
const misplacedLists = (inputs: readonly Input[], gathered: Gathered): readonly Finding[] =>
  gathered.inputs.flatMap(({ input, list }) =>
    list === undefined || inputs.length === 1
      ? []
      : [finding({ file: input.name }, { path: '', message: 'must be the only input: it is a ResourceList' })],
  )

type Configured =
  | { readonly ok: true; readonly value: Config }
  | { readonly ok: false; readonly findings: readonly Finding[] }

async function configOf(gathered: Gathered, options: Options): Promise<Configured> {
  if (options.seal) return { ok: true, value: { kind: 'seal' } }
  const [first, second] = settingsAmong(gathered)
  if (options.config !== undefined) return configFile(options.config, first)
  const given = checkedConfig(gathered.functionConfig, undefined)
  if (!given.ok || given.value.kind === 'seal') return given
  const unnamed = unnamedSettings(gathered)
  if (unnamed.length > 0) return { ok: false, findings: unnamed }
  if (first === undefined) return given
  const { spec, data } = gathered.functionConfig ?? {}
  if (second !== undefined || spec !== undefined || data !== undefined)
    return {
      ok: false,
      findings: [finding(spotOf(second ?? first), { path: '', message: 'must be the only function config' })],
    }
  return checkedConfig(first.object, first)
}

async function configFile({ name, text }: Input, other: Item | undefined): Promise<Configured> {
  const unreadable = (message: string, at?: number): Configured => ({
    ok: false,
    findings: [
      finding({ file: name, ...(at === undefined ? {} : { line: new Lines(text).of(at) }) }, { path: '', message }),
    ],
  })
  if (other !== undefined)
    return {
      ok: false,
      findings: [finding(spotOf(other), { path: '', message: `must not be there beside --config ${name}` })],
    }
  const documents = await cut(text)
  if (documents.kind === 'unreadable') return unreadable(documents.message, documents.at)
  if (documents.kind === 'resource-list') return unreadable('must be a function config, got a ResourceList')
  const [slot, second] = documents.slots.filter(({ kind }) => kind !== '')
  if (second !== undefined) return unreadable('must be the only function config', second.body)
  const found = slot === undefined ? undefined : await read(text, slot.body, slot.end)
  if (found?.kind === 'unreadable') return unreadable(found.message, found.at)
  const object = found?.kind === 'node' ? asPlain(toJson(found.node)) : {}
  if (Object.keys(object).length === 0) return unreadable('must be a function config, got no object')
  if (object['kind'] === KIND) return unreadable('must be a function config, got an ArksModel')
  return checkedConfig(object, undefined, name)
}

function checkedConfig(object: Plain | undefined, item: Item | undefined, file?: string): Configured {
  const spot: Spot = item === undefined ? { object: objectRef(object ?? {}), file } : spotOf(item)
  if (room(object, MAX_TEXT) < 0) return { ok: false, findings: [finding(spot, { path: '', message: TOO_LARGE })] }
  const parsed = parseConfig(object)
  if (parsed.ok) return parsed
  return { ok: false, findings: parsed.problems.map((problem) => finding(spot, problem)) }
}

async function expanded(gathered: Gathered, settings: Settings): Promise<Changed> {
  const renamed = await renamedObjects(gathered)
  const current = modelsOf(gathered).map((each) =>
    each.model === undefined ? each : { ...each, model: withCurrentNames(each.item.object, each.model, renamed) },
  )
  const read = withRefusals(current, settings)
  const pairs = read.flatMap(({ item, model, problems }) =>
    model === undefined || problems.length > 0 ? [] : [{ item, model }],
  )
  const items = new Map(pairs.map(({ model, item }) => [model, item]))
  const suffixed = gathered.suffixed.map(({ object }) => object)
  const digestsOf = (model: ArksModel, spec: Plain): readonly string[] =>
    suffixed.length === 0 ? [] : digests(items.get(model)?.object ?? {}, references(spec), suffixed)
  const expansions = expand([...items.keys()], settings, digestsOf)
  const made = pairs.map(({ model, item }) => ({ model, item, ...expansions.get(model) }))
  const findings = [...findingsOf(read), ...(await namesakes(made, gathered.others))]
  return findings.length > 0 ? { ok: false, findings } : changed(gathered, made)
}

interface ReadModel {
  readonly item: Located
  /** Undefined where the object is none. */
  readonly model: ArksModel | undefined
  readonly problems: readonly Problem[]
}

interface Pair {
  readonly item: Located
  readonly model: ArksModel
}

type Made = Pair & Partial<Expansion>

function modelsOf(gathered: Gathered): readonly ReadModel[] {
  const items: Located[] = [...gathered.models]
  const config = gathered.functionConfig
  if (config?.['kind'] === KIND && !items.some((item) => isSameObject(item.object, config)))
    items.push({ object: config })
  return items.map((item) => {
    if (room(item.object, MAX_TEXT) < 0) return { item, model: undefined, problems: [{ path: '', message: TOO_LARGE }] }
    const parsed = parseArksModel(item.object)
    const invalid = parsed.ok ? [] : parsed.problems.map((each) => clearer(item.object, each))
    const problems = [...invalid, ...unknownTo(invalid, [...withoutClaim(item.object), ...tokenAsText(item.object)])]
    return {
      item,
      model: parsed.ok ? parsed.value : undefined,
      problems: [...problems, ...unknownTo(problems, nulls(item.object))],
    }
  })
}

/** More than any API server takes. Aliases repeat a text in a few characters. */
const MAX_TEXT = 3 * 1024 * 1024
const TOO_LARGE = 'must be at most 3 MiB, with all of its aliases written out'

/** What is left of this much room. */
function room(value: unknown, left: number): number {
  if (typeof value === 'string') return left - value.length
  if (typeof value !== 'object' || value === null) return left - 1
  let rest = left
  for (const [key, member] of Object.entries(value)) {
    rest = room(member, rest - key.length)
    if (rest < 0) break
  }
  return rest
}

const findingsOf = (models: readonly ReadModel[]): readonly Finding[] =>
  models.flatMap(({ item, problems }) => problems.map((each) => finding(spotOf(item), each)))

/** All problems at once: what the API server would refuse is said of the parts that are right so far. */
function withRefusals(models: readonly ReadModel[], settings: Settings): readonly ReadModel[] {
  const drafts = models.map((each) => ({ ...each, draft: each.model ?? draft(each.item.object) }))
  const clashes = collisions(
    drafts.filter(({ problems }) => unknownTo(problems, PLACES).length === PLACES.length).map((each) => each.draft),
  )
  return drafts.map(({ item, model, problems, draft }) => {
    const more = [...refusals(draft, settings), ...(clashes.get(draft) ?? [])]
    return { item, model, problems: [...problems, ...unknownTo(problems, more)] }
  })
}

/** What tells one model and its files from another. */
const PLACES = ['metadata.name', 'metadata.namespace', 'spec.storage.pvc.name', 'spec.storage.subPath'].map((path) => ({
  path,
}))

/** One cause, one problem: not what is about the same field, one above or one below. */
function unknownTo<T extends { readonly path: string }>(
  problems: readonly Problem[],
  others: readonly T[],
): readonly T[] {
  const known = new Set(problems.map(({ path }) => path))
  const above = new Set(problems.flatMap(({ path }) => outer(path)))
  return others.filter(({ path }) => !above.has(path) && !outer(path).some((each) => known.has(each)))
}

/** The whole object, `a`, `a.b` and `a.b[0]` for `a.b[0]`. */
const outer = (path: string): readonly string[] =>
  [...path.matchAll(/^|[.[]|$/g)].map(({ index }) => path.slice(0, index))

/** Read only where a name can have changed: these stay text otherwise. */
async function renamedObjects({ inputs, models }: Gathered): Promise<readonly Plain[]> {
  const [first] = inputs
  if (first?.list === undefined || !models.some(({ object }) => isRenamed(object))) return []
  const { text } = first.input
  const renamed: Plain[] = []
  for (const { kind, start, body, end } of first.slots) {
    const isMeant = kind === 'Secret' || kind === 'PersistentVolumeClaim'
    if (!isMeant || !text.slice(start, end).includes('previousNames')) continue
    const found = await read(text, body, end)
    if (found.kind === 'node') renamed.push(objectIn(found.node))
  }
  return renamed
}

/** As a pipe behind the whole build gets them: claim and Job are the same wherever the function is attached. */
function withCurrentNames(object: Plain, model: ArksModel, renamed: readonly Plain[]): ArksModel {
  if (renamed.length === 0) return model
  const current = (kind: 'Secret' | 'PersistentVolumeClaim', name: string): string =>
    currentName(object, { kind, name }, renamed)
  const { source } = model
  const storage = { ...model.storage, claimName: current('PersistentVolumeClaim', model.storage.claimName) }
  if (source.kind === 'volume' || source.token === undefined) return { ...model, storage }
  const token = { ...source.token, secretName: current('Secret', source.token.secretName) }
  return { ...model, storage, source: { ...source, token } }
}

const isSameObject = (a: Plain, b: Plain): boolean => {
  const [left, right] = [objectRef(a), objectRef(b)]
  return left.name === right.name && left.namespace === right.namespace
}

function clearer(object: Plain, { path, message }: Problem): Problem {
  const { huggingface } = asPlain(asPlain(object['spec'])['source'])
  if (path === 'spec.source' && huggingface === null)
    return { path: 'spec.source.huggingface', message: 'must not be null: write {} for a public model' }
  const isGenerated = path === 'metadata.name' && asPlain(object['metadata'])['generateName'] !== undefined
  return { path, message: isGenerated ? `${message}: nothing can refer to a name from \`generateName\`` : message }
}

/** kustomize and kpt compare what comes back with what they sent, and stop where one is text and the other a map. */
function tokenAsText(object: Plain): readonly Problem[] {
  const { tokenSecretRef } = asPlain(asPlain(asPlain(object['spec'])['source'])['huggingface'])
  const isNumbered = Object.keys(annotationsOf(object)).some((key) => /config\.(?:k8s|kubernetes)\.io\/id$/.test(key))
  if (typeof tokenSecretRef !== 'string' || !isNumbered) return []
  const message = 'must be a map such as {name: hf-token}: text is understood in a pipe alone, not in kustomize and kpt'
  return [{ path: 'spec.source.huggingface.tokenSecretRef', message }]
}

/** The CRD lets it pass, since upstream's does, but it cannot become a Job. */
function withoutClaim(object: Plain): readonly Problem[] {
  const { name, spec } = asPlain(asPlain(asPlain(object['spec'])['storage'])['pvc'])
  if ((name ?? '') !== '' || isPlain(spec)) return []
  const message = 'must have the `spec` of a new claim, or the `name` of one that exists'
  return [{ path: 'spec.storage.pvc', message }]
}

/**
 * kubectl's client-side apply takes them for absent, a server-side apply refuses them, and a second run could not tell
 * what the first had taken away. The claim's name is filled in.
 */
function nulls({ spec }: Plain): readonly Problem[] {
  const found: Place[] = []
  const visit = (value: unknown, place: Place): void => {
    if (value === null) found.push(place)
    else if (typeof value === 'object')
      for (const [key, child] of Object.entries(value))
        visit(child, [...place, Array.isArray(value) ? Number(key) : key])
  }
  if (spec !== undefined) visit(spec, ['spec'])
  return found
    .map((place) => ({ path: placeText(place), message: 'must not be null: leave the field out' }))
    .filter(({ path }) => path !== 'spec.storage.pvc.name')
}

/** Somebody else's object under a name that we are about to use would be overwritten by the one applied last. */
async function namesakes(models: readonly Made[], others: readonly Unread[]): Promise<readonly Finding[]> {
  const made = new Map<string, { readonly manifest: Manifest; readonly item: Located }>()
  for (const { claim, job, item } of models) {
    for (const manifest of [claim, job]) if (manifest !== undefined) made.set(identity(manifest), { manifest, item })
  }
  if (made.size === 0) return []
  const names = new Set([...made.values()].map(({ manifest }) => manifest.metadata.name))
  const findings: Finding[] = []
  for (const { input, slot } of others) {
    const { text } = input.input
    const words = text.slice(slot.start, slot.end).matchAll(/name["']?:\s*["']?([a-z0-9.-]+)/g)
    if (![...words].some(([, word = '']) => names.has(word))) continue
    const found = await read(text, slot.body, slot.end)
    const object = found.kind === 'node' ? objectIn(found.node) : {}
    const ours = made.get(identity(object))
    if (ours !== undefined) findings.push(finding(spotOf(ours.item), taken(ours.manifest)))
  }
  return findings
}

function taken({ kind, metadata }: Manifest): Problem {
  if (kind === 'Job')
    return {
      path: 'metadata.name',
      message: `must leave the name "${metadata.name}" free: the input has a Job of that name`,
    }
  const message = `must be absent where the claim is given: the input has a PersistentVolumeClaim "${metadata.name}"`
  return { path: 'spec.storage.pvc.spec', message }
}

function identity(object: Plain): string {
  const { apiVersion, kind, name } = objectRef(object)
  return `${apiVersion} ${kind} ${namespaceOf(object)} ${name}`
}

async function changed(gathered: Gathered, models: readonly Made[]): Promise<Changed> {
  const changes = new Map<Item['slot'], Change>()
  for (const { slot } of gathered.generated) changes.set(slot, { drop: true, before: [], edits: [] })
  for (const { slot } of settingsAmong(gathered)) changes.set(slot, { drop: true, before: [], edits: [] })
  const places = new Places(gathered.generated.map(({ object }) => object))
  const more: Plain[] = []
  for (const { item, model, claim, job } of models) {
    const before = [claim, job].flatMap((manifest) =>
      manifest === undefined ? [] : [places.placed(manifest, item.object)],
    )
    if (isItem(item)) changes.set(item.slot, { drop: false, before, edits: await stampEdits(item, model, job) })
    else more.push(...before)
  }
  const notes = orphans(gathered, models).map((item) =>
    finding(spotOf(item), { path: '', message: 'dropped: the model that it was made from is not in the input' }),
  )
  const isLeft = more.length > 0 || gathered.inputs.some(({ slots }) => slots.some((slot) => remains(slot, changes)))
  return isLeft || notes.length === 0 || gathered.inputs[0]?.list !== undefined
    ? { ok: true, changes, more, notes }
    : { ok: false, findings: [finding({}, { path: '', message: NOTHING_LEFT })] }
}

const NOTHING_LEFT = 'must hold the models that these objects were made from: without them nothing is left'

const remains = (slot: Item['slot'], changes: Changes): boolean => slot.kind !== '' && changes.get(slot)?.drop !== true

/** Made from models that are not there: of a model that was removed, or copies that carry its marker. */
function orphans({ generated, models }: Gathered, made: readonly Made[]): readonly Item[] {
  const again = new Set(made.flatMap(({ claim, job }) => [claim, job]).flatMap((each) => each && identity(each)))
  const known = new Set(
    models.flatMap(({ object }) => {
      const names = [...allNames(object), annotationOf(object, WORKER_JOB)]
      return allNamespaces(object).flatMap((namespace) => names.map((name) => `${namespace}/${name}`))
    }),
  )
  return generated.filter(({ object }) => {
    const sources = (annotationOf(object, GENERATED_FROM) ?? '').split(',')
    const names = [...sources.map((source) => source.slice(source.lastIndexOf('/') + 1)), objectRef(object).name]
    return !again.has(identity(object)) && !names.some((name) => known.has(`${namespaceOf(object)}/${name}`))
  })
}

const isItem = (item: Located): item is Item =>
  item.slot !== undefined && item.node !== undefined && item.input !== undefined

async function stampEdits(item: Item, model: ArksModel, job: Manifest | undefined): Promise<Change['edits']> {
  const wanted = stampOf(model, job?.metadata.name)
  return checked(item, stamp(item, wanted), stamped(item.object, wanted), reread, same)
}

async function reread(text: string): Promise<unknown> {
  const found = await read(text, 0, text.length)
  return found.kind === 'node' ? objectIn(found.node) : undefined
}

const objectIn = (node: Node): Plain => asPlain(toJson(itemNode(node)))

const same = (a: unknown, b: unknown): boolean =>
  canonical(withoutNulls(asPlain(a))) === canonical(withoutNulls(asPlain(b)))
