/** A schema as a CRD has it; `$ref`, `allOf` and `x-from` occur only on the way there. */
export interface Schema {
  readonly description?: string
  readonly type?: string
  readonly format?: string
  readonly default?: unknown
  readonly enum?: readonly string[]
  readonly pattern?: string
  readonly minimum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly maxItems?: number
  readonly required?: readonly string[]
  readonly properties?: Schemas
  readonly additionalProperties?: Schema
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly $ref?: string
  readonly 'x-from'?: string
  readonly 'x-kubernetes-int-or-string'?: boolean
  readonly 'x-kubernetes-list-type'?: string
  readonly 'x-kubernetes-list-map-keys'?: readonly string[]
  readonly 'x-kubernetes-map-type'?: string
  readonly 'x-kubernetes-validations'?: readonly {
    readonly rule: string
    readonly message: string
    readonly fieldPath?: string
  }[]
}

export type Schemas = Readonly<Record<string, Schema>>

/** What this project reads of a CustomResourceDefinition. */
export interface Crd {
  readonly spec: {
    readonly versions: readonly [
      {
        readonly additionalPrinterColumns: readonly { readonly name: string; readonly priority?: number }[]
        readonly schema: { readonly openAPIV3Schema: Schema }
      },
    ]
  }
}

/** The schema at the end of these property names; one that is not there is a bug. */
export function schemaAt(schema: Schema, ...path: readonly string[]): Schema {
  return path.reduce((at, name) => {
    const next = at.properties?.[name]
    if (!next) throw new Error(`no field ${path.join('.')} in the schema`)
    return next
  }, schema)
}

/** One that is not there is a bug. */
export function definitionIn(definitions: Schemas, name: string): Schema {
  const definition = definitions[name]
  if (!definition) throw new Error(`no definition ${name}`)
  return definition
}

/** The same record with each value changed. */
export const mapped = <From, To>(
  record: Readonly<Record<string, From>>,
  change: (value: From, key: string) => To,
): Record<string, To> => Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value, key)]))
