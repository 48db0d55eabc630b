import { readFileSync, writeFileSync } from 'node:fs'
import { parse } from 'yaml'
import { definitionIn, type Schema, type Schemas } from './schema.ts'

/** What docs/reference.md says of a CRD's source, beside its schema. */
interface Source {
  readonly spec: {
    readonly group: string
    readonly names: { readonly kind: string; readonly plural: string; readonly shortNames: readonly string[] }
    readonly versions: readonly [
      {
        readonly name: string
        readonly additionalPrinterColumns: readonly Column[]
        readonly schema: { readonly openAPIV3Schema: Schema }
      },
    ]
  }
}

interface Column {
  readonly name: string
  readonly description?: string
  readonly jsonPath: string
  readonly priority?: number
}

interface Field {
  readonly path: string
  readonly schema: Schema
  readonly required: boolean
}

/**
 * docs/reference.md: each field of the source and of the function's settings, with its type, default and rules. A type
 * of Kubernetes is linked and not taken apart: its own pages say more of it.
 */
export function referenceText(source: string, settings: readonly string[], definitions: Schemas): string {
  const { group, names, versions }: Source['spec'] = parse(source).spec
  const [{ name: version, additionalPrinterColumns: columns, schema }] = versions
  const root = schema.openAPIV3Schema
  const all = fieldsIn(root)
  const below = (path: string): readonly Field[] =>
    all.filter((field) => field.path.startsWith(`${path}.`) && (path === INSTANCE || !inInstance(field)))
  return [
    HEAD,
    `## ${names.kind}`,
    `\`apiVersion: ${group}/${version}\`. ${markdown(root.description)} \`kubectl get ${names.shortNames[0]}\` is short for \`kubectl get ${names.plural}.${group}\`.`,
    fieldTable(
      all.filter(({ path }) => !path.includes('.')),
      definitions,
    ),
    '### spec',
    fieldTable(below('spec'), definitions),
    `### ${INSTANCE}`,
    INSTANCE_HEAD,
    fieldTable(below(INSTANCE), definitions),
    '### Rules',
    RULES_HEAD,
    ...rules(all),
    '### status',
    fieldTable(below('status'), definitions),
    '### Columns',
    COLUMNS_HEAD,
    columnTable(columns),
    '## Settings of the function',
    SETTINGS_HEAD,
    ...settings.flatMap((text) => settingsSection(parse(text), definitions)),
    '',
  ].join('\n\n')
}

const HEAD = `<!-- Made by \`node crds/reference.ts\` from crds/arksmodel.source.yaml, crds/expandarksmodels.yaml and crds/sealworkerjobs.yaml: change those. -->

# Reference

Each field of an ArksModel and of the function's settings. "Required" means: where the object around the field is given.
\`[]\` stands for each item of a list. \`kubectl explain arksmodel.spec\` says the same of a cluster's own version.`

const INSTANCE = 'spec.instanceSpec'

const INSTANCE_HEAD = `The types and the meaning are Kubernetes' own; the first sentence of its description is given here. Where each field lands
in the Job is told in [function.md](function.md#where-each-field-of-specinstancespec-lands).`

const RULES_HEAD = `What the API server and the function refuse beyond wrong types. A message begins with the field; the rule is the CEL that
the API server evaluates, in which \`self\` is the field that the rule stands on.`

const COLUMNS_HEAD = 'What `kubectl get` shows beside the name.'

const SETTINGS_HEAD = `An example with all of them and their defaults is in [function.md](function.md#settings); what \`SealWorkerJobs\` is for is told
in [function.md](function.md#overlays).`

const TABLE_HEAD = '| field | type | without it | what it is |\n| --- | --- | --- | --- |'

const inInstance = ({ path }: Field): boolean => path.startsWith(`${INSTANCE}.`)

function fieldsIn(parent: Schema, path = ''): readonly Field[] {
  const { properties = {}, items, required = [] } = parent
  const inner: readonly Field[] = [
    ...Object.entries(properties).map(([name, schema]) => ({
      path: `${path && `${path}.`}${name}`,
      schema,
      required: required.includes(name),
    })),
    ...(items ? [{ path: `${path}[]`, schema: items, required: false }] : []),
  ]
  return inner.flatMap((field) => [field, ...fieldsIn(field.schema, field.path)])
}

/** The row of a list says what its items are. */
function fieldTable(fields: readonly Field[], definitions: Schemas): string {
  const rows = fields.filter(({ path }) => !path.endsWith('[]')).map((field) => fieldRow(field, definitions))
  return [TABLE_HEAD, ...rows].join('\n')
}

function fieldRow({ path, schema, required }: Field, definitions: Schemas): string {
  const { origin, type } = described(schema, path, definitions)
  const without = required ? 'required' : 'default' in schema ? `\`${JSON.stringify(schema.default)}\`` : ''
  return row(`\`${path}\``, type, without, markdown(schema.description ?? origin.description))
}

const row = (...cells: readonly string[]): string => `|${cells.map((cell) => (cell ? ` ${cell} |` : ' |')).join('')}`

/** Its type, and the schema that holds what the source itself leaves out. */
function described(schema: Schema, path: string, definitions: Schemas): { origin: Schema; type: string } {
  const from = schema['x-from']
  // The settings take this one field from the CRD.
  if (from === 'instanceSpec') return { origin: schema, type: `[${INSTANCE}](#${anchor(INSTANCE)})` }
  if (path === 'metadata') return { origin: META, type: typeLink(META_TYPE) }
  const [name = '', member] = from?.split('/') ?? []
  if (name === '') return { origin: schema, type: typeText(schema) }
  const definition = definitionIn(definitions, name)
  if (!member) return { origin: definition, type: typeLink(name) }
  const origin = definitionIn(definition.properties ?? {}, member)
  return { origin, type: typeText(origin) }
}

const META_TYPE = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta'

const META: Schema = { description: 'Name, namespace, labels and annotations.' }

const typeText = (schema: Schema): string => [kindText(schema), limitsText(schema)].filter(Boolean).join(', ')

function kindText({
  $ref,
  'x-from': from,
  type,
  format,
  items,
  maxItems,
  additionalProperties,
  ...own
}: Schema): string {
  const name = $ref ?? from
  if (name !== undefined) return typeLink(name)
  if (items) return listText(items, maxItems)
  if (additionalProperties) return `map of ${kindText(additionalProperties)}`
  if (own.enum) return own.enum.map((value) => `\`${value}\``).join(' or ')
  return `${type}${format ? ` (${format})` : ''}`
}

function listText(items: Schema, maxItems: number | undefined): string {
  const limits = limitsText(items)
  const count = maxItems === undefined ? '' : `, at most ${maxItems} of them`
  return `list of ${kindText(items)}${count}${limits && `, each ${limits}`}`
}

const limitsText = ({ minimum, minLength, maxLength }: Schema): string =>
  [
    ...(minimum === undefined ? [] : [`at least ${minimum}`]),
    // There is no other lower limit: text must not be empty.
    ...(minLength === undefined ? [] : ['not empty']),
    ...(maxLength === undefined ? [] : [`at most ${maxLength} characters`]),
  ].join(', ')

/** Kubernetes' own page of the type: its anchors are made of kind, version and group. */
function typeLink(name: string): string {
  const kind = name.slice(name.lastIndexOf('.') + 1)
  const group = /\.(?:api|apis)\.(\w+)\.v1\./.exec(name)?.[1]
  const at = group === undefined ? `${kind}-resource-core` : `${kind}-v1-${group}`
  return `[${kind}](${KUBERNETES}#${at.toLowerCase()})`
}

/** The version that kubernetes.json is of. */
const KUBERNETES = 'https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/'

function rules(fields: readonly Field[]): readonly string[] {
  return fields.flatMap(({ path, schema }) =>
    (schema['x-kubernetes-validations'] ?? []).map(
      ({ rule, message, fieldPath = '' }) =>
        `\`${path}${fieldPath}\` ${markdown(message)}${fieldPath && ` (the rule stands on \`${path}\`)`}:\n\n\`\`\`\n${rule.trim()}\n\`\`\``,
    ),
  )
}

function columnTable(columns: readonly Column[]): string {
  const rows = columns.map(({ name, description, jsonPath, priority = 0 }) =>
    row(name.toUpperCase(), priority > 0 ? '`-o wide`' : '', `\`${jsonPath}\``, markdown(description ?? AGE)),
  )
  return ['| column | shown with | where from | what it is |\n| --- | --- | --- | --- |', ...rows].join('\n')
}

const AGE = 'How long the object has been there.'

function settingsSection(schema: Schema, definitions: Schemas): readonly string[] {
  const kind = schema.properties?.['kind']?.enum?.[0]
  if (kind === undefined) throw new Error('settings without a kind')
  return [`### ${kind}`, markdown(schema.description), fieldTable(fieldsIn(schema), definitions)]
}

/** Text for a cell: what Markdown would take for its own is escaped, but for code in back-quotes. */
const markdown = (text = ''): string =>
  text
    .split(/(`[^`]*`)/)
    .map((part, index) => (index % 2 === 1 ? part : part.replace(/[*<|[\]]/g, '\\$&')))
    .join('')
    .trim()

const anchor = (heading: string): string => heading.toLowerCase().replace(/[^\w -]/g, '')

/** The settings' schemas, in the order in which they are told of. */
export const SETTINGS = ['expandarksmodels.yaml', 'sealworkerjobs.yaml'] as const

const here = (file: string): URL => new URL(file, import.meta.url)

const read = (file: string): string => readFileSync(here(file), 'utf8')

if (import.meta.main) {
  const text = referenceText(read('arksmodel.source.yaml'), SETTINGS.map(read), JSON.parse(read('kubernetes.json')))
  writeFileSync(here('../docs/reference.md'), text)
}
