import { readdirSync, readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { referenceText, SETTINGS } from '../crds/reference.ts'
import { MODEL_RULES } from '../crds/rules.ts'
import { type Crd, type Schema, schemaAt } from '../crds/schema.ts'
import { DEFAULTS } from '../fn/config.ts'
import { INSTANCE_FIELDS } from '../fn/job.ts'
import { describe } from './harness.ts'

const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')

const text = read('docs/reference.md')
const [ofModel = '', ofSettings = ''] = text.split(/^## Settings/m)

/** The row of each field, by its path. */
const rows = (part: string): ReadonlyMap<string, string> =>
  new Map([...part.matchAll(/^\| `([\w.[\]]+)` \|(.*)\|$/gm)].map(([, path = '', row = '']) => [path, row]))

/** What there is below a schema, as the reference spells it: an item has a row only where it has fields. */
function paths(schema: Schema, path = ''): readonly string[] {
  const named = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const at = `${path && `${path}.`}${name}`
    return [at, ...paths(field, at)]
  })
  return [...named, ...(schema.items ? paths(schema.items, `${path}[]`) : [])]
}

const crd: Crd = parse(read('crds/arksmodel.yaml'))
const model = crd.spec.versions[0].schema.openAPIV3Schema

describe('docs/reference.md', (test) => {
  test('is what reference.ts makes', () => {
    const settings = SETTINGS.map((file) => read(`crds/${file}`))
    const made = referenceText(read('crds/arksmodel.source.yaml'), settings, JSON.parse(read('crds/kubernetes.json')))
    assert.is(made, text, 'run `node crds/reference.ts`')
  })

  test("names every field of the CRD, but for those in Kubernetes' own types", () => {
    const told = rows(ofModel)
    const linked = [...told].filter(([, row]) => row.includes('](https://kubernetes.io/')).map(([path]) => path)
    const inside = (path: string): boolean =>
      linked.some((at) => path.startsWith(`${at}.`) || path.startsWith(`${at}[`))
    const fields = paths(model)
    assert.equal(
      fields.filter((path) => !told.has(path) && !inside(path)),
      [],
      'there, and not told of',
    )
    assert.equal(
      [...told.keys()].filter((path) => !fields.includes(path) || inside(path)),
      [],
      'told of, and not there, or not ours',
    )
    assert.ok(linked.includes('spec.storage.pvc.spec') && linked.includes('spec.instanceSpec.tolerations'))
    assert.not.ok(linked.includes('spec.source'), 'what is ours is told of here')
    for (const field of Object.keys(INSTANCE_FIELDS)) assert.ok(told.has(`spec.instanceSpec.${field}`), field)
  })

  test('says what is required and what each default is', () => {
    const told = rows(ofModel)
    assert.match(told.get('spec.model') ?? '', '| required |')
    assert.match(told.get('status.phase') ?? '', '| required |')
    assert.match(told.get('status') ?? '', '`{"observedGeneration":-1,"phase":"Pending"}`')
    assert.not.match(told.get('spec.source') ?? 'required', 'required')
  })

  test('describes every field', () => {
    for (const [path, row] of [...rows(ofModel), ...rows(ofSettings)]) {
      assert.match(row, /\| \S.{5,} $/, path)
    }
  })

  test('holds every rule with its message', () => {
    const rules = text.match(/^`spec[\w.[\]]*` must .*:$/gm) ?? []
    assert.is(rules.length, MODEL_RULES.length)
    for (const { scope, field, message } of MODEL_RULES) {
      const at = `\`${field === undefined ? scope : `${scope}.${field}`}\` ${message}`
      assert.ok(
        rules.some((rule) => rule.startsWith(at)),
        at,
      )
    }
    const written = text.match(/^(!?has|!?self)[^\n]+/gm) ?? []
    assert.is(written.length, MODEL_RULES.length, 'each with the rule itself')
  })

  test('holds every column', () => {
    const columns = crd.spec.versions[0].additionalPrinterColumns
    for (const { name, priority = 0 } of columns) {
      assert.match(text, `| ${name.toUpperCase()} | ${priority > 0 ? '`-o wide` ' : ''}|`)
    }
  })

  test("names every setting of the function, and takes instanceSpec from the model's", () => {
    const parts = ofSettings.split(/^### /m).slice(1)
    assert.is(parts.length, SETTINGS.length)
    for (const [index, file] of SETTINGS.entries()) {
      const schema: Schema = parse(read(`crds/${file}`))
      assert.equal([...rows(parts[index] ?? '').keys()], [...paths(schema)], file)
    }
    const settings: Schema = parse(read('crds/expandarksmodels.yaml'))
    assert.equal(
      Object.keys(schemaAt(settings, 'spec').properties ?? {}).sort(),
      Object.keys(DEFAULTS).sort(),
      'what the function reads is what the schema has',
    )
    assert.match(rows(ofSettings).get('spec.instanceSpec') ?? '', '(#specinstancespec)')
    assert.match(text, /^### spec\.instanceSpec$/m)
  })

  test('leads to headings that exist', () => {
    const slug = (heading: string): string =>
      heading
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-')
    const documents = new Set(readdirSync(new URL('../docs/', import.meta.url)))
    for (const [, file = '', at = ''] of text.matchAll(/\]\(([\w.-]*)#([\w-]+)\)/g)) {
      if (file !== '') assert.ok(documents.has(file), file)
      const headings = (file === '' ? text : read(`docs/${file}`)).match(/^#+ .*$/gm) ?? []
      assert.ok(
        headings.some((heading) => slug(heading.replace(/^#+ /, '')) === at),
        `${file}#${at}`,
      )
    }
  })
})
