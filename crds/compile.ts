import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { _, Ajv, type CodeKeywordDefinition, stringify } from 'ajv'
import standalone from 'ajv/dist/standalone/index.js'
import { parse } from 'yaml'
import { type Crd, mapped, type Schema, type Schemas, schemaAt } from './schema.ts'

/** JSON Schema as far as it is needed here. */
interface Strict {
  readonly type?: string | readonly string[]
  readonly required?: readonly string[]
  readonly properties?: Stricts
  readonly known?: readonly string[]
  readonly integer?: number
  readonly quantity?: string
  readonly additionalProperties?: Strict
  readonly items?: Strict
  readonly enum?: readonly string[]
  readonly $ref?: string
}

type Stricts = Readonly<Record<string, Strict>>

/** Exports of the generated module, by the schema that each is made of. */
const VALIDATORS = {
  validateModel: 'arks#/$defs/ArksModel',
  validateExpandArksModels: 'arks#/$defs/ExpandArksModels',
  validateSealWorkerJobs: 'arks#/$defs/SealWorkerJobs',
} as const

const OPTIONS = {
  allErrors: true,
  allowUnionTypes: true,
  code: { source: true, esm: true, lines: true },
  inlineRefs: false,
  logger: false,
  messages: false,
  strictTypes: false,
  // Code points instead of UTF-16 units would need a module of ajv at run time, for limits that nobody comes near.
  unicode: false,
} as const

const DECLARATIONS = `export interface SchemaError {
  readonly instancePath: string
  readonly keyword: string
  readonly params: Readonly<Record<string, unknown>>
}

export interface Validator {
  (value: unknown): boolean
  errors?: readonly SchemaError[] | null
}

${Object.keys(VALIDATORS)
  .map((name) => `export declare const ${name}: Validator`)
  .join('\n')}
`

/** All schemas in one, each object under its own name in `$defs`: equal ones once. */
function schemas(): { readonly $id: string; readonly $defs: Stricts } {
  const crd: Crd = parse(read('arksmodel.yaml'))
  const root = crd.spec.versions[0].schema.openAPIV3Schema
  const config = (file: string): Strict => {
    const schema = strict(parse(read(file)), { instanceSpec: schemaAt(root, 'spec', 'instanceSpec') })
    return { ...schema, properties: { ...schema.properties, metadata: METADATA } }
  }
  const roots = {
    ArksModel: modelSchema(root),
    ExpandArksModels: config('expandarksmodels.yaml'),
    SealWorkerJobs: config('sealworkerjobs.yaml'),
  }
  return { $id: 'arks', $defs: shared(roots) }
}

/** The text of the generated module. */
export function moduleText(): string {
  return slim(standalone.default(validators(), VALIDATORS))
}

export function validators(): Ajv {
  return new Ajv(OPTIONS).addKeyword(KNOWN).addKeyword(INTEGER).addKeyword(QUANTITY).addSchema(schemas())
}

/** `additionalProperties: false` whose errors bring the names that are known, for whoever has to suggest one. */
const KNOWN: CodeKeywordDefinition = {
  keyword: 'known',
  type: 'object',
  schemaType: 'array',
  code(cxt) {
    const { data, gen, schema } = cxt
    const names = gen.scopeValue('obj', { key: JSON.stringify(schema), ref: schema, code: stringify(schema) })
    gen.forIn('name', data, (name) => {
      cxt.setParams({ name, names })
      gen.if(_`!${names}.includes(${name})`, () => cxt.error())
    })
  },
  error: { message: '', params: ({ params }) => _`{name: ${params['name']}, known: ${params['names']}}` },
}

/** A whole number of that many bits. */
const INTEGER: CodeKeywordDefinition = {
  keyword: 'integer',
  schemaType: 'number',
  code(cxt) {
    const { data, schema } = cxt
    const limit = 2 ** (schema - 1)
    cxt.pass(_`Number.isInteger(${data}) && ${data} >= ${-limit} && ${data} < ${limit}`)
  },
  error: { message: '', params: ({ schema }) => _`{bits: ${stringify(schema)}}` },
}

/** A whole number, or text of this pattern: one error whatever is wrong. */
const QUANTITY: CodeKeywordDefinition = {
  keyword: 'quantity',
  schemaType: 'string',
  code(cxt) {
    const { data, gen, schema } = cxt
    const pattern = gen.scopeValue('pattern', { key: schema, ref: new RegExp(schema), code: _`new RegExp(${schema})` })
    cxt.pass(_`Number.isInteger(${data}) || (typeof ${data} == "string" && ${pattern}.test(${data}))`)
  },
  error: { message: '', params: () => _`{}` },
}

/** Kubernetes checks metadata itself; what users get wrong there is a name or a label that is no text. */
const METADATA: Strict = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    namespace: { type: 'string' },
    labels: { type: 'object', additionalProperties: { type: 'string' } },
    annotations: { type: 'object', additionalProperties: { type: 'string' } },
  },
}

function modelSchema(root: Schema): Strict {
  return {
    ...strict(root),
    required: ['apiVersion', 'kind', 'metadata', 'spec'],
    properties: {
      apiVersion: { enum: ['arks.ai/v1'] },
      kind: { enum: ['ArksModel'] },
      metadata: { ...METADATA, required: ['name'] },
      spec: strict(schemaAt(root, 'spec')),
      status: {},
    },
  }
}

/** A CRD's schema as JSON Schema in which what the API server would prune is an error. */
function strict(schema: Schema, parts: Schemas = {}): Strict {
  const { 'x-from': part, type, items, properties, additionalProperties } = schema
  if (part !== undefined) return strict(parts[part] ?? {}, parts)
  if (schema['x-kubernetes-int-or-string'])
    return schema.pattern ? { quantity: schema.pattern } : { type: ['integer', 'string'] }
  if (type === 'integer') return { integer: schema.format === 'int32' ? 32 : 64, ...limits(schema) }
  return {
    ...(type && { type }),
    ...limits(schema),
    ...(items && { items: strict(items, parts) }),
    ...(properties && { properties: mapped(properties, (field) => strict(field, parts)) }),
    ...(additionalProperties && { additionalProperties: strict(additionalProperties, parts) }),
    ...(type === 'object' && !additionalProperties && { known: Object.keys(properties ?? {}) }),
  }
}

function limits(schema: Schema): Strict {
  const kept = ['minimum', 'minLength', 'maxLength', 'maxItems', 'required', 'enum'] as const
  return Object.fromEntries(kept.flatMap((key) => (schema[key] === undefined ? [] : [[key, schema[key]]])))
}

/**
 * With each object as a definition of its own, ajv writes one short function for each instead of one that is
 * as deep as a pod: half the code, and what a model does not use is never compiled.
 */
function shared(roots: Stricts): Stricts {
  const names = new Map<string, string>()
  const defs: Record<string, Strict> = {}
  const replaced = (schema: Strict): Strict => {
    if (!schema.properties) return inside(schema)
    const key = JSON.stringify(schema)
    const name = names.get(key) ?? `d${names.size}`
    if (!names.has(key)) {
      names.set(key, name)
      defs[name] = inside(schema)
    }
    return { $ref: `#/$defs/${name}` }
  }
  const inside = (schema: Strict): Strict => ({
    ...schema,
    ...(schema.items && { items: replaced(schema.items) }),
    ...(schema.properties && { properties: mapped(schema.properties, replaced) }),
    ...(schema.additionalProperties && { additionalProperties: replaced(schema.additionalProperties) }),
  })
  return { ...mapped(roots, inside), ...defs }
}

/**
 * ajv's code without what nothing here reads: the path into the schema with every error, the parent of every value,
 * schemas that no line refers to. Half of the size is left, and two thirds of the time it takes to load.
 */
function slim(code: string): string {
  const failing =
    /const (err\d+) = \{instancePath(?::(.*))?,schemaPath:".*",keyword:(".*"),params:(.*)\};\nif\(vErrors === null\)\{\nvErrors = \[\1\];\n\}\nelse \{\nvErrors\.push\(\1\);\n\}\nerrors\+\+;/g
  const text = code
    .replace(
      failing,
      (_, _name, path = 'instancePath', keyword, params) =>
        `vErrors = fail(vErrors, ${path}, ${keyword}, ${params});\nerrors++;`,
    )
    .replace(/,parentData:\w+,parentDataProperty:[^,]*,rootData\}/g, '}')
    .replace(/, parentData, parentDataProperty, rootData=data\}/g, '}')
    .replace(/^const (schema\d+) = .*;$/gm, (line, name) => (code.includes(`${name}.`) ? line : ''))
  if (/schemaPath|parentData|require\(/.test(text))
    throw new Error('ajv writes its code in another way than slim() knows')
  return `${text}\n${FAIL}`
}

const FAIL = `function fail(errors, instancePath, keyword, params) {
const error = {instancePath, keyword, params};
if (errors === null) return [error];
errors.push(error);
return errors;
}
`

const read = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8')

function main(): void {
  const folder = new URL('generated/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL('validate.js', folder), moduleText())
  writeFileSync(new URL('validate.d.ts', folder), DECLARATIONS)
}

if (import.meta.main) main()
