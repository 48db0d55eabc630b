import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { parseArksModel } from '../crds/arksmodel.ts'
import { moduleText, validators } from '../crds/compile.ts'
import { crdText } from '../crds/generate.ts'
import * as generated from '../crds/generated/validate.js'
import { configProblems, modelProblems, type Problem } from '../crds/problems.ts'
import { MODEL_RULES } from '../crds/rules.ts'
import type { Crd, Schema } from '../crds/schema.ts'
import { CASES, objectOf } from './data/models.ts'
import { describe } from './harness.ts'

const read = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8')

const crd: Crd = parse(read('../crds/arksmodel.yaml'))
const [version] = crd.spec.versions
const schema = version.schema.openAPIV3Schema

/** Every field below this one with its path, as test/data/upstream-fields.txt writes it. */
function fields(parent: Schema, path = ''): readonly { path: string; field: Schema; required: boolean }[] {
  const { properties = {}, items, additionalProperties, required = [] } = parent
  const inner = [
    ...Object.entries(properties).map(([name, field]) => ({
      path: `${path && `${path}.`}${name}`,
      field,
      required: required.includes(name),
    })),
    ...(items ? [{ path: `${path}[]`, field: items, required: false }] : []),
    ...(additionalProperties ? [{ path: `${path}{}`, field: additionalProperties, required: false }] : []),
  ]
  return inner.flatMap((each) => [each, ...fields(each.field, each.path)])
}

function attributes(field: Schema, required: boolean): string {
  const type = field['x-kubernetes-int-or-string'] ? (field.pattern ? 'quantity' : 'int-or-string') : field.type
  const merge =
    field['x-kubernetes-list-map-keys']?.join('+') ?? field['x-kubernetes-list-type'] ?? field['x-kubernetes-map-type']
  return [
    type,
    field.format,
    required && 'required',
    'default' in field && `default=${JSON.stringify(field.default)}`,
    merge && `merge:${merge}`,
  ]
    .filter(Boolean)
    .join(' ')
}

const lines = (problems: readonly Problem[]): readonly string[] =>
  problems.map(({ path, message }) => `${path}: ${message}`)

describe('crds/arksmodel.yaml', (file) => {
  file('is what generate.ts makes', () => {
    const made = crdText(read('../crds/arksmodel.source.yaml'), JSON.parse(read('../crds/kubernetes.json')))
    assert.is(made, read('../crds/arksmodel.yaml'), 'run `node crds/generate.ts`')
  })

  /** Where ours says something else of an upstream field, and why no upstream object minds. */
  const DIFFERENT: Readonly<Record<string, { readonly ours: string; readonly why: string }>> = {
    spec: { ours: 'object required', why: 'upstream falls over a model without a spec' },
    'spec.storage.pvc.spec': { ours: 'object', why: 'absent means that the claim exists' },
    status: {
      ours: 'object default={"observedGeneration":-1,"phase":"Pending"}',
      why: 'tools that wait must not take a fresh model for finished',
    },
    'status.conditions': { ours: 'array merge:type', why: 'upstream writes each type once' },
  }

  file("has every field of upstream's with the same type", () => {
    const ours = new Map(fields(schema).map(({ path, field, required }) => [path, attributes(field, required)]))
    for (const line of read('data/upstream-fields.txt').trim().split('\n')) {
      const space = line.indexOf(' ')
      const path = line.slice(0, space)
      assert.is(ours.get(path), DIFFERENT[path]?.ours ?? line.slice(space + 1), path)
    }
  })

  file('requires, defaults and restricts nothing in the types of Kubernetes that upstream does not', () => {
    const upstream = new Set(
      read('data/upstream-fields.txt')
        .split('\n')
        .map((line) => line.split(' ')[0]),
    )
    for (const { path, field, required } of fields(schema)) {
      if (field.enum) assert.unreachable(`${path} has an enum`)
      if (!upstream.has(path)) assert.not(required || 'default' in field, `${path} is new, so it must be optional`)
    }
  })

  file('fits into the annotation of a client-side kubectl apply, with half of it to spare', () => {
    const bytes = Buffer.byteLength(JSON.stringify(crd))
    assert.ok(bytes < 131_072, `${bytes} bytes of 262144`)
  })

  file('describes every field', () => {
    for (const { path, field } of fields(schema)) {
      if (!/[\]}]$|metadata$/.test(path)) assert.ok(field.description, path)
    }
  })

  file('shows AGE MODEL PHASE, and the rest with -o wide', () => {
    const shown = (wide: boolean): readonly string[] =>
      version.additionalPrinterColumns.filter(({ priority = 0 }) => priority > 0 === wide).map(({ name }) => name)
    assert.equal(shown(false), ['Age', 'Model', 'Phase'])
    assert.equal(shown(true), ['Progress', 'Size', 'Commit', 'PVC', 'Reason', 'Message'])
  })

  file('has the rules that rules.ts has', () => {
    const inFile = [
      { path: 'spec', field: schema.properties?.['spec'] ?? {} },
      ...fields(schema.properties?.['spec'] ?? {}, 'spec'),
    ].flatMap(({ path, field }) =>
      (field['x-kubernetes-validations'] ?? []).map(({ message, fieldPath }) => ({
        scope: path,
        field: fieldPath?.slice(1),
        message,
      })),
    )
    assert.equal(
      inFile,
      MODEL_RULES.map(({ scope, field, message }) => ({ scope, field, message })),
    )
  })
})

describe('crds/generated/validate.js', (validation) => {
  validation('is what compile.ts makes of the CRD as it is', () => {
    assert.is(read('../crds/generated/validate.js'), moduleText(), 'run `npm run build`')
  })

  validation('finds what ajv finds with the whole of its code', () => {
    const whole = validators().getSchema('arks#/$defs/ArksModel')
    for (const [name, each] of Object.entries(CASES)) {
      const object = objectOf(each)
      const valid = whole?.(object)
      assert.is(generated.validateModel(object), valid, name)
      const errors =
        whole?.errors?.map(({ instancePath, keyword, params }) => ({ instancePath, keyword, params })) ?? null
      assert.equal(generated.validateModel.errors, errors, name)
    }
  })
})

describe('modelProblems', (models) => {
  for (const [name, each] of Object.entries(CASES)) {
    models(`${name}: ${each.why}`, () => {
      assert.equal(lines(modelProblems(objectOf(each))), each.ours ?? [])
      assert.is(parseArksModel(objectOf(each)).ok, each.ours === undefined)
      const agree = (each.ours === undefined) === (each.server === undefined)
      assert.is(agree, each.differ === undefined, 'a row in which the two disagree says why, and no other does')
    })
  }

  models('takes the text of tokenSecretRef for the name of the Secret', () => {
    const model = {
      apiVersion: 'arks.ai/v1',
      kind: 'ArksModel',
      metadata: { name: 'a' },
      spec: parse('{model: a/b, source: {huggingface: {tokenSecretRef: A}}}'),
    }
    assert.is(modelProblems(model)[0]?.path, 'spec.source.huggingface.tokenSecretRef')
    assert.equal(model.spec.source.huggingface.tokenSecretRef, 'A', 'the object itself stays as it is')
  })

  models('says what is wrong with what is no object at all', () => {
    assert.equal(lines(modelProblems(5)), [': must be a map, got the number 5'])
    assert.equal(lines(modelProblems(null)), [': must be a map, got null'])
    assert.equal(lines(modelProblems({})), [
      'apiVersion: must be present',
      'kind: must be present',
      'metadata: must be present',
      'spec: must be present',
    ])
  })

  models('repeats no secret', () => {
    const secret = 'hf_aBcDeFgHiJkLmNoP'
    const places = [
      `{model: a/b, source: {huggingface: {tokenSecretRef: ${secret}}}}`,
      `{model: a/b, source: {huggingface: {tokenSecretRef: {name: ${secret}, key: [${secret}]}}}}`,
      `{model: a/b, source: {huggingface: {revision: "${secret} ", endpoint: "https://u:${secret}@x/"}}}`,
      `{model: "${secret}/a/b", source: {huggingface: {}}}`,
      `{model: m, instanceSpec: {env: ${secret}, hostNetwork: ${secret}, priority: "my ${secret}"}}`,
      `{model: m, instanceSpec: {env: [{name: A, value: {${secret}: a}}], initContainers: [{envFrom: ${secret}}]}}`,
      `{model: m, ${secret}: a, instanceSpec: {env: [{name: A, ${secret}: }]}}`,
      `{model: m, storage: {pvc: {name: "${secret}"}, subPath: "../${secret}"}}`,
    ]
    for (const place of places) {
      const found = lines(modelProblems(objectOf({ why: '', spec: place })))
      assert.ok(found.length > 0, place)
      assert.not.match(found.join('\n'), secret.slice(3))
    }
  })

  models('cuts what is long', () => {
    const [found] = modelProblems(
      objectOf({ why: '', spec: `{model: m, instanceSpec: {hostNetwork: ${'é🙂'.repeat(500)}}}` }),
    )
    assert.is(found?.message, `must be true or false, got "${'é🙂'.repeat(20)}…"`)
  })
})

const CONFIGS: Readonly<
  Record<string, { readonly spec: string; readonly kind?: string; readonly want?: readonly string[] }>
> = {
  nothing: { spec: '' },
  'an empty spec': { spec: '{}' },
  everything: {
    spec: `
      image: registry.example.com/arks:1
      imagePullPolicy: Always
      imagePullSecrets: [{name: registry}]
      instanceSpec: {resources: {limits: {memory: 1Gi}}}
      endpoint: https://hf-mirror.com
      proxy: {http: "http://user:secret@proxy:3128", https: "http://proxy:3128/", noProxy: "10.0.0.0/8,.svc"}
      caBundle: {configMapName: ca, key: bundle.pem}
      retention: Delete
      backoffLimit: 0`,
  },
  'a policy that Kubernetes has not': {
    spec: '{imagePullPolicy: Sometimes}',
    want: ['spec.imagePullPolicy: must be one of Always, IfNotPresent, Never, got "Sometimes"'],
  },
  'a retention that there is not': {
    spec: '{retention: Keep}',
    want: ['spec.retention: must be one of Retain, Delete, got "Keep"'],
  },
  'an empty image': { spec: '{image: ""}', want: ['spec.image: must not be empty'] },
  'a secret that is only a name': {
    spec: '{imagePullSecrets: [registry]}',
    want: ['spec.imagePullSecrets[0]: must be a map, got text'],
  },
  'a negative limit': {
    spec: '{backoffLimit: -1}',
    want: ['spec.backoffLimit: must be at least 0, got the number -1'],
  },
  'a limit in quotes': { spec: '{backoffLimit: "6"}', want: ['spec.backoffLimit: must be a whole number, got "6"'] },
  'a bundle without its name': {
    spec: '{caBundle: {key: ca.crt}}',
    want: ['spec.caBundle.configMapName: must be present'],
  },
  'a bundle with a name that there cannot be': {
    spec: '{caBundle: {configMapName: CA, key: a/b}}',
    want: [
      'spec.caBundle.configMapName: must be the name of a ConfigMap: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "CA"',
      'spec.caBundle.key: must be a key of a ConfigMap such as "ca.crt", got "a/b"',
    ],
  },
  'a proxy without a scheme': {
    spec: '{proxy: {https: "proxy:3128"}}',
    want: ['spec.proxy.https: must be an http or https URL such as "http://proxy.example.com:3128", got "proxy:3128"'],
  },
  'an endpoint that is none': {
    spec: '{endpoint: hub}',
    want: [
      'spec.endpoint: must be an http or https URL such as "https://hf-mirror.com", without user, password or query, got "hub"',
    ],
  },
  "what is wrong in a model's instanceSpec": {
    spec: '{instanceSpec: {resource: {}, nodeSelector: {a: 1}}}',
    want: [
      'spec.instanceSpec.resource: unknown field "resource"; did you mean "resources"?',
      'spec.instanceSpec.nodeSelector.a: must be text, got the number 1',
    ],
  },
  'an unknown field': {
    spec: '{backofLimit: 3}',
    want: ['spec.backofLimit: unknown field "backofLimit"; did you mean "backoffLimit"?'],
  },
  'a seal': { kind: 'SealWorkerJobs', spec: '' },
  'a seal with an empty spec': { kind: 'SealWorkerJobs', spec: '{}' },
  'a seal with something to set': {
    kind: 'SealWorkerJobs',
    spec: '{image: a}',
    want: ['spec.image: unknown field "image"'],
  },
}

describe('configProblems', (configs) => {
  for (const [name, { spec, kind = 'ExpandArksModels', want = [] }] of Object.entries(CONFIGS)) {
    configs(name, () => {
      const config = {
        apiVersion: 'fn.arks.ai/v1alpha1',
        kind,
        metadata: { name: 'config', annotations: { a: 'b' } },
        spec: parse(spec),
      }
      assert.equal(lines(configProblems(config)), want)
    })
  }
})
