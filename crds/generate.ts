import { readFileSync, writeFileSync } from 'node:fs'
import { parse, stringify } from 'yaml'
import { isRecord } from './place.ts'
import { definitionIn, mapped, type Schema, type Schemas } from './schema.ts'

export interface OpenApi {
  readonly components: { readonly schemas: Schemas }
}

/** The CRD as YAML text: the source with each `x-from` replaced by what it names, no reference left. */
export function crdText(source: string, definitions: Schemas): string {
  const head = '# Made by `node crds/generate.ts` from arksmodel.source.yaml and kubernetes.json: change those.\n'
  const crd = expanded(parse(source), definitions)
  return head + stringify(crd, { lineWidth: 0, indentSeq: false, aliasDuplicateObjects: false })
}

/** kubernetes.json: the definitions that the source needs, directly or through others, in the form that a CRD takes. */
export function definitionsText(source: string, document: OpenApi): string {
  const needed = new Map<string, Schema>()
  const visit = (name: string): void => {
    if (needed.has(name) || SPECIAL[name]) return
    const definition = trimmed(definitionIn(document.components.schemas, name))
    needed.set(name, ATOMIC.has(name) ? { ...definition, 'x-kubernetes-map-type': 'atomic' } : definition)
    for (const ref of values(definition, '$ref')) visit(ref)
  }
  for (const from of values(parse(source), 'x-from')) visit(from.split('/')[0] ?? '')
  const sorted = [...needed].sort(([a], [b]) => (a < b ? -1 : 1))
  return `${JSON.stringify(Object.fromEntries(sorted), undefined, 1)}\n`
}

/** controller-gen's, so that a quantity which upstream takes is taken here. */
const QUANTITY =
  '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$'

const INT_OR_STRING: Schema = {
  anyOf: [{ type: 'integer' }, { type: 'string' }],
  'x-kubernetes-int-or-string': true,
}

/** Types that a CRD writes in another way than their definition does. */
const SPECIAL: Schemas = {
  'io.k8s.apimachinery.pkg.api.resource.Quantity': { ...INT_OR_STRING, pattern: QUANTITY },
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': INT_OR_STRING,
  'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta': { type: 'object' },
}

/** What controller-gen, and so upstream, writes where Go embeds LocalObjectReference. */
const ATOMIC = new Set([
  'io.k8s.api.core.v1.ConfigMapEnvSource',
  'io.k8s.api.core.v1.ConfigMapProjection',
  'io.k8s.api.core.v1.ConfigMapVolumeSource',
  'io.k8s.api.core.v1.SecretEnvSource',
  'io.k8s.api.core.v1.SecretProjection',
])

/** Defaults that Go names by a constant: controller-gen, and so upstream, has none there. */
const NOT_DEFAULTED = new Set(['ReadWrite', 'Shared'])

function expanded(node: unknown, definitions: Schemas): unknown {
  if (Array.isArray(node)) return node.map((item) => expanded(item, definitions))
  if (!isRecord(node)) return node
  const { 'x-from': from, ...own } = node
  if (typeof from === 'string') return { ...taken(from, definitions), ...own }
  return mapped(node, (value) => expanded(value, definitions))
}

function taken(from: string, definitions: Schemas): Schema {
  const [name = '', member] = from.split('/')
  const definition = definitionIn(definitions, name)
  if (!member) return inlined(definition, definitions)
  const field = inlined(definitionIn(definition.properties ?? {}, member), definitions)
  // Upstream's instanceSpec has the lists of a pod without their keys: each is replaced as a whole.
  const { 'x-kubernetes-list-type': _type, 'x-kubernetes-list-map-keys': _keys, ...plain } = field
  return plain
}

function inlined(schema: Schema, definitions: Schemas): Schema {
  const { $ref, ...own } = schema
  const target = $ref === undefined ? {} : (SPECIAL[$ref] ?? inlined(definitionIn(definitions, $ref), definitions))
  return {
    ...target,
    ...own,
    ...(own.properties && { properties: mapped(own.properties, (field) => inlined(field, definitions)) }),
    ...(own.items && { items: withoutDescription(inlined(own.items, definitions)) }),
    ...(own.additionalProperties && {
      additionalProperties: withoutDescription(inlined(own.additionalProperties, definitions)),
    }),
  }
}

/** The list's own description says what its items are. */
function withoutDescription({ description: _, ...schema }: Schema): Schema {
  return schema
}

function trimmed(schema: Schema): Schema {
  const { properties, items, additionalProperties, required = [] } = schema
  const $ref = schema.$ref ?? schema.allOf?.[0]?.$ref
  return {
    ...(schema.description && { description: firstSentence(schema.description) }),
    ...(schema.type && { type: schema.type }),
    ...(schema.format && { format: schema.format }),
    ...($ref && { $ref: $ref.slice($ref.lastIndexOf('/') + 1) }),
    ...(required.length > 0 && { required }),
    ...(properties && {
      properties: mapped(properties, (field, name) => {
        const { default: value } = field
        // openapi-gen notes the zero value of each required field as its default; only the others are ones.
        const kept =
          value !== undefined && !isRecord(value) && !required.includes(name) && !NOT_DEFAULTED.has(`${value}`)
        return { ...trimmed(field), ...(kept && { default: value }) }
      }),
    }),
    ...(items && { items: trimmed(items) }),
    ...(additionalProperties && { additionalProperties: trimmed(additionalProperties) }),
    ...markers(schema),
  }
}

function markers(schema: Schema): Schema {
  const kept = ['x-kubernetes-list-type', 'x-kubernetes-list-map-keys', 'x-kubernetes-map-type'] as const
  return Object.fromEntries(kept.flatMap((key) => (schema[key] === undefined ? [] : [[key, schema[key]]])))
}

function firstSentence(description: string): string {
  // A server adds the values of an enum, the file in Kubernetes' repository has none.
  const text = description
    .replace(/\s+/g, ' ')
    .replace(/ Possible enum values:.*/, '')
    .trim()
  const end = text.search(/(?<!\b(e\.g|i\.e|etc|vs))\. (?=[^a-z])/)
  return end < 0 ? text : text.slice(0, end + 1)
}

function values(node: unknown, key: string): string[] {
  if (Array.isArray(node)) return node.flatMap((item) => values(item, key))
  if (!isRecord(node)) return []
  const own = node[key]
  return typeof own === 'string' ? [own] : Object.values(node).flatMap((value) => values(value, key))
}

async function main(flag?: string, from?: string): Promise<void> {
  const source = readFileSync(here('arksmodel.source.yaml'), 'utf8')
  if (flag === '--openapi' && from !== undefined) {
    const text = /^https?:/.test(from) ? await (await fetch(from)).text() : readFileSync(from, 'utf8')
    writeFileSync(here('kubernetes.json'), definitionsText(source, JSON.parse(text)))
  }
  const definitions: Schemas = JSON.parse(readFileSync(here('kubernetes.json'), 'utf8'))
  writeFileSync(here('arksmodel.yaml'), crdText(source, definitions))
}

const here = (file: string): URL => new URL(file, import.meta.url)

if (import.meta.main) await main(...process.argv.slice(2))
