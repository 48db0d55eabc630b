import { type ArksModel, type Plain, parseArksModel } from '../crds/arksmodel.ts'
import type { Problem } from '../crds/problems.ts'
import { type Config, parseConfig } from './config.ts'
import { canonical } from './digest.ts'
import { type Expansion, expand } from './expand.ts'
import { type Finding, fileOf, finding, objectRef, type Spot } from './finding.ts'
import { type Gathered, gather, type Input, type Item, type Unread } from './gather.ts'
import type { Manifest } from './manifest.ts'
import { asPlain, isPlain, withoutNulls } from './merge.ts'
import { type Node, toJson } from './node.ts'
import { Places } from './place.ts'
import { read } from './read.ts'
import { currentName, digests, isRenamed, references } from './references.ts'
import { sealed } from './seal.ts'
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
}

/** Text in, text out: the whole function without a process. */
export async function run(inputs: readonly Input[], options: Options): Promise<Outcome> {
  if (inputs.every(({ text }) => text.trim() === '')) {
    return failed(undefined, [
      finding({ file: inputs[0]?.name }, { path: '', message: 'must hold at least one object, got nothing' }),
    ])
  }
  const gathered = await gather(inputs)
  const findings = [...gathered.findings, ...mixed(gathered)]
  if (findings.length > 0) return failed(gathered, findings)
  const config = await configured(gathered, options)
  if (!config.ok) return failed(gathered, config.findings)
  const changes = config.value.kind === 'seal' ? sealed(gathered) : await expanded(gathered, config.value.settings)
  return changes.ok ? { stdout: written(gathered, changes), findings: [] } : failed(gathered, changes.findings)
}

export type Changed =
  | { readonly ok: true; readonly changes: Changes; readonly more: readonly Plain[] }
  | { readonly ok: false; readonly findings: readonly Finding[] }

function written({ inputs }: Gathered, { changes, more }: Extract<Changed, { ok: true }>): string {
  const [first] = inputs
  return first?.list === undefined ? stream(inputs, changes) : resourceList(first, first.list, changes, more)
}

/** An orchestrator gets its list back as it was, with the results. A pipe gets nothing: half a stream would be applied. */
function failed(gathered: Gathered | undefined, findings: readonly Finding[]): Outcome {
  const first = gathered?.inputs[0]
  return { stdout: first?.list === undefined ? '' : withResults(first, findings), findings }
}

/** A ResourceList is a whole input of its own. */
function mixed({ inputs }: Gathered): readonly Finding[] {
  const list = inputs.find((input) => input.list !== undefined)
  if (list === undefined || inputs.length === 1) return []
  return [finding({ file: list.input.name }, { path: '', message: 'must be the only input: it is a ResourceList' })]
}

type Configured =
  | { readonly ok: true; readonly value: Config }
  | { readonly ok: false; readonly findings: readonly Finding[] }

async function configured(gathered: Gathered, options: Options): Promise<Configured> {
  if (options.seal) return { ok: true, value: { kind: 'seal' } }
  const [first, second] = settingsAmong(gathered)
  if (options.config !== undefined) return configFile(options.config, first)
  const given = checkedConfig(gathered.functionConfig, undefined)
  if (!given.ok || given.value.kind === 'seal' || first === undefined) return given
  const { spec, data } = gathered.functionConfig ?? {}
  if (second !== undefined || spec !== undefined || data !== undefined)
    return {
      ok: false,
      findings: [finding(spotOf(second ?? first), { path: '', message: 'must be the only function config' })],
    }
  return checkedConfig(first.object, first)
}

/**
 * Settings that travel among the objects, so that overlays can patch them: all those of a stream. In a list the files
 * of a kpt package, and what is marked as local, stay what they are.
 */
function settingsAmong({ inputs, configs }: Gathered): readonly Item[] {
  if (inputs[0]?.list === undefined) return configs
  return configs.filter(
    ({ object }) => object['kind'] === 'ExpandArksModels' && fileOf(object) === undefined && !isLocal(object),
  )
}

const isLocal = (object: Plain): boolean =>
  asPlain(asPlain(object['metadata'])['annotations'])['config.kubernetes.io/local-config'] === 'true'

async function configFile({ name, text }: Input, other: Item | undefined): Promise<Configured> {
  const unreadable = (message: string): Configured => ({
    ok: false,
    findings: [finding({ file: name }, { path: '', message })],
  })
  if (other !== undefined)
    return {
      ok: false,
      findings: [finding(spotOf(other), { path: '', message: `must not be there beside --config ${name}` })],
    }
  const found = await read(text, /^---[ \t]*\r?\n/.exec(text)?.[0].length ?? 0, text.length)
  if (found.kind === 'unreadable') return unreadable(found.message)
  if (found.kind === 'empty' || found.node.kind !== 'map') return unreadable('must be a function config, got no object')
  return checkedConfig(asPlain(toJson(found.node)), undefined, name)
}

function checkedConfig(object: Plain | undefined, item: Item | undefined, file?: string): Configured {
  const parsed = parseConfig(object)
  if (parsed.ok) return parsed
  const spot: Spot = item === undefined ? { object: objectRef(object ?? {}), file } : spotOf(item)
  return { ok: false, findings: parsed.problems.map((problem) => finding(spot, problem)) }
}

async function expanded(
  gathered: Gathered,
  settings: Extract<Config, { kind: 'expand' }>['settings'],
): Promise<Changed> {
  const parsed = parsedModels(gathered)
  if (!parsed.ok) return parsed
  const { items } = parsed
  const models = withCurrentTokens(parsed, await renamedSecrets(gathered))
  const suffixed = gathered.suffixed.map(({ object }) => object)
  const digestsOf = (model: ArksModel, job: Manifest): readonly string[] => {
    const item = items[models.indexOf(model)]
    return suffixed.length === 0 || item === undefined ? [] : digests(item.object, references(job.spec), suffixed)
  }
  const result = expand(models, settings, digestsOf)
  if (!result.ok) {
    return { ok: false, findings: result.problems.map(([index, problem]) => finding(spotAt(items, index), problem)) }
  }
  const taken = await namesakes(result.expansions, items, gathered.others)
  return taken.length > 0 ? { ok: false, findings: taken } : changed(gathered, models, items, result.expansions)
}

type Models =
  | { readonly ok: true; readonly models: readonly ArksModel[]; readonly items: readonly Located[] }
  | { readonly ok: false; readonly findings: readonly Finding[] }

/** A model of the stream or list, or the one that a generator handed in as its config. */
type Located = Pick<Item, 'object'> & Partial<Item>

function parsedModels(gathered: Gathered): Models {
  const items: Located[] = [...gathered.models]
  const config = gathered.functionConfig
  if (config?.['kind'] === 'ArksModel' && !items.some((item) => isSameObject(item.object, config)))
    items.push({ object: config })
  const models: ArksModel[] = []
  const findings: Finding[] = []
  for (const item of items) {
    const spot = spotOf(item)
    const missing = incomplete(item.object)
    const parsed = parseArksModel(item.object)
    const problems = parsed.ok ? missing : [...missing, ...parsed.problems]
    findings.push(...problems.map((problem) => finding(spot, problem)))
    if (parsed.ok) models.push(parsed.value)
  }
  return findings.length > 0 ? { ok: false, findings } : { ok: true, models, items }
}

/** Read only where a name can have changed: these stay text otherwise. */
async function renamedSecrets({ inputs, models }: Gathered): Promise<readonly Plain[]> {
  const [first] = inputs
  if (first?.list === undefined || !models.some(({ object }) => isRenamed(object))) return []
  const { text } = first.input
  const secrets: Plain[] = []
  for (const { kind, start, body, end } of first.slots) {
    if (kind !== 'Secret' || !text.slice(start, end).includes('previousNames')) continue
    const found = await read(text, body, end)
    if (found.kind === 'node') secrets.push(objectIn(found.node))
  }
  return secrets
}

/** As a pipe behind the whole build gets them: the Job's hash is the same wherever the function is attached. */
const withCurrentTokens = (
  { models, items }: Extract<Models, { ok: true }>,
  renamed: readonly Plain[],
): readonly ArksModel[] =>
  models.map((model, index) => {
    const { source } = model
    if (source.kind === 'volume' || source.token === undefined) return model
    const secretName = currentName(
      items[index]?.object ?? {},
      { kind: 'Secret', name: source.token.secretName },
      renamed,
    )
    return { ...model, source: { ...source, token: { ...source.token, secretName } } }
  })

const isSameObject = (a: Plain, b: Plain): boolean => {
  const [left, right] = [objectRef(a), objectRef(b)]
  return left.name === right.name && left.namespace === right.namespace
}

/** What the CRD lets pass since upstream's does, and what cannot become a claim and a Job. */
function incomplete(object: Plain): readonly Problem[] {
  const metadata = asPlain(object['metadata'])
  const { name, spec } = asPlain(asPlain(asPlain(object['spec'])['storage'])['pvc'])
  const isNamed = metadata['name'] !== undefined && metadata['name'] !== null
  const generated = metadata['generateName'] === undefined ? '' : ': nothing can refer to a name from `generateName`'
  const hasClaim = (name ?? '') !== '' || isPlain(spec)
  return [
    ...(isNamed ? [] : [{ path: 'metadata.name', message: `must be present${generated}` }]),
    ...(hasClaim
      ? []
      : [
          {
            path: 'spec.storage.pvc',
            message: 'must have the `spec` of a new claim, or the `name` of one that exists',
          },
        ]),
  ]
}

const spotAt = (items: readonly Located[], index: number): Spot => {
  const item = items[index]
  return item === undefined ? {} : spotOf(item)
}

export const spotOf = ({ object, input }: Located): Spot => ({
  object: objectRef(object),
  file: input?.input.name ?? fileOf(object),
})

/** Somebody else's object under a name that we are about to use would be overwritten by the one applied last. */
async function namesakes(
  expansions: readonly Expansion[],
  items: readonly Located[],
  others: readonly Unread[],
): Promise<readonly Finding[]> {
  const made = new Map<string, { readonly manifest: Manifest; readonly index: number }>()
  expansions.forEach(({ claim, job }, index) => {
    for (const manifest of [claim, job]) if (manifest !== undefined) made.set(identity(manifest), { manifest, index })
  })
  const names = new Set([...made.values()].map(({ manifest }) => manifest.metadata.name))
  const findings: Finding[] = []
  for (const { input, slot } of others) {
    const { text } = input.input
    const words = text.slice(slot.start, slot.end).match(/(?<=name["']?:\s*["']?)[a-z0-9.-]+/g) ?? []
    if (!words.some((word) => names.has(word))) continue
    const found = await read(text, slot.body, slot.end)
    const object = found.kind === 'node' ? objectIn(found.node) : {}
    const ours = made.get(identity(object))
    if (ours !== undefined) findings.push(finding(spotAt(items, ours.index), taken(ours.manifest)))
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
  const { apiVersion, kind, namespace, name } = objectRef(object)
  return `${apiVersion} ${kind} ${namespace ?? 'default'} ${name}`
}

async function changed(
  gathered: Gathered,
  models: readonly ArksModel[],
  items: readonly Located[],
  expansions: readonly Expansion[],
): Promise<Changed> {
  const changes = new Map<Item['slot'], Change>()
  for (const { slot } of gathered.generated) changes.set(slot, { drop: true, before: [], edits: [] })
  for (const { slot } of settingsAmong(gathered)) changes.set(slot, { drop: true, before: [], edits: [] })
  const places = new Places(gathered.generated.map(({ object }) => object))
  const more: Plain[] = []
  for (const [index, model] of models.entries()) {
    const item = items[index]
    const { claim, job } = expansions[index] ?? {}
    if (item === undefined) continue
    const before = [claim, job].flatMap((manifest) =>
      manifest === undefined ? [] : [places.placed(manifest, item.object)],
    )
    if (isItem(item)) changes.set(item.slot, { drop: false, before, edits: await stampEdits(item, model, job) })
    else more.push(...before)
  }
  return { ok: true, changes, more }
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

/** An item of a list is read with its dash. */
const objectIn = (node: Node): Plain => asPlain(toJson(node.kind === 'seq' ? (node.items[0] ?? node) : node))

const same = (a: unknown, b: unknown): boolean =>
  canonical(withoutNulls(asPlain(a))) === canonical(withoutNulls(asPlain(b)))
