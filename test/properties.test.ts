import fc from 'fast-check'
import { load } from 'js-yaml'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import type { Plain } from '../crds/arksmodel.ts'
import { line } from '../fn/finding.ts'
import { INSTANCE_FIELDS } from '../fn/job.ts'
import { asPlain } from '../fn/merge.ts'
import type { Node } from '../fn/node.ts'
import { block, blockItem, flow } from '../fn/print.ts'
import { readAny } from '../fn/read-any.ts'
import { readPlain } from '../fn/read-plain.ts'
import { run } from '../fn/run.ts'
import { TRAPS } from './data/scalars.ts'
import { describe } from './harness.ts'

/** Lines of YAML; the first goes behind a colon or a dash. The column is that of the map or sequence around. */
type Lines = (column: number) => readonly string[]

const pad = (column: number): string => ' '.repeat(column)
const word = fc.stringMatching(/^[a-z][a-z0-9./_-]{0,8}$/)
const key = fc.oneof(
  { weight: 6, arbitrary: word },
  { weight: 1, arbitrary: word.map((each) => `"${each}"`) },
  { weight: 1, arbitrary: word.map((each) => `'${each} b'`) },
  { weight: 1, arbitrary: fc.constantFrom('0644', 'yes', '1.10', '0x1F', '~', '1_0', '-a') },
)
const behind = fc.constantFrom('', '', '', '', ' ', ' # c', '   # "d')
const between = fc.constantFrom('', '', '', '', '\n', '# comment\n', '        # deep\n', '   \n')
const quotable = TRAPS.filter((each) => !/[\p{Cc}\u2028\u2029\ufeff\ufffe]/u.test(each))
const plain = quotable.filter((each) => /^[\w.~+=$/-]/.test(each) && !/^- |^-$|^---|: |:$| #| $/.test(each))

const oneLine = fc.oneof(
  { weight: 4, arbitrary: word },
  { weight: 2, arbitrary: fc.constantFrom(...plain) },
  { weight: 1, arbitrary: fc.constantFrom(...quotable).map((each) => `'${each.replaceAll("'", "''")}'`) },
  { weight: 1, arbitrary: fc.constantFrom(...TRAPS).map((each) => JSON.stringify(each)) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 8 }).map((each) => JSON.stringify(each)) },
  { weight: 1, arbitrary: fc.constantFrom('{}', '[]', '{a: 1, a: 2}', '[a, {b: 0644}]', '!!str 1', '!x y') },
)

const severalLines = fc.constantFrom<readonly [string, readonly string[]]>(
  ['a', ['b']],
  ['"a', ['b"']],
  ["'a", ['', "b'"]],
  ['{a: b,', ['c: d}']],
  ['[', ['a,', ']']],
)

const literal = fc.tuple(
  fc.constantFrom('|', '|-', '|+', '>', '>-', '| # c'),
  fc.constantFrom('a', 'b: c', '# d', '- e', '---'),
  fc.array(fc.constantFrom('a', 'b: c', '# d', '', '---', '- e', '  f', '\tg', '{{ h }}'), { maxLength: 4 }),
  fc.integer({ min: 1, max: 3 }),
)

const { entries } = fc.letrec<{ value: Lines; entries: Lines; items: Lines }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    {
      weight: 6,
      arbitrary: fc.tuple(oneLine, behind).map(([own, end]) => () => [` ${own}${end}`]),
    },
    { weight: 1, arbitrary: behind.map((end) => () => [end]) },
    {
      weight: 1,
      arbitrary: severalLines.map(([first, others]) => (column: number) => [
        ` ${first}`,
        ...others.map((each) => pad(column + 3) + each),
      ]),
    },
    {
      weight: 2,
      arbitrary: literal.map(([header, first, others, deeper]) => (column: number) => [
        ` ${header}`,
        ...[first, ...others].map((each) => (each === '' ? '' : pad(column + deeper) + each)),
      ]),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(tie('entries'), fc.integer({ min: 1, max: 4 }), behind)
        .map(([own, deeper, end]) => (column: number) => [end, ...own(column + deeper)]),
    },
    { weight: 2, arbitrary: tie('items') },
  ),
  entries: fc
    .uniqueArray(fc.tuple(key, tie('value'), between), { minLength: 1, maxLength: 4, selector: ([name]) => name })
    .map(
      (own) => (column: number) =>
        own.flatMap(([name, value, above], index) => {
          const [first = '', ...others] = value(column)
          const comments = index === 0 ? [] : above.split('\n').slice(0, -1)
          return [...comments, `${pad(column)}${name}:${first}`, ...others]
        }),
    ),
  items: fc
    .tuple(
      fc.array(fc.tuple(fc.boolean(), tie('entries'), tie('value')), { minLength: 1, maxLength: 3 }),
      fc.constantFrom(0, 2),
    )
    .map(([own, deeper]) => (column: number) => {
      const at = column + deeper
      const lines = own.map(([isMap, map, value]) => {
        const [first = '', ...others] = isMap ? map(at + 2) : value(at + 2)
        return [`${pad(at)}-${isMap ? ` ${first.trimStart()}` : first}`, ...others]
      })
      return ['', ...lines.flat()]
    }),
}))

/** A document in block style. */
const blockDocument = entries.map((own) => `apiVersion: example.com/v1\n${own(0).join('\n')}\n`)

const anyDocument = fc
  .tuple(
    fc.oneof(
      { weight: 6, arbitrary: blockDocument },
      { weight: 1, arbitrary: fc.json().map((each) => `{"kind": "X", "a": ${each}}\n`) },
      { weight: 1, arbitrary: fc.jsonValue().map((each) => `${JSON.stringify({ kind: 'X', each }, null, 2)}\n`) },
      { weight: 1, arbitrary: fc.constantFrom('# only a comment\n', '\n', 'kind: X\na: &a {b: c}\nd: *a\n') },
    ),
    fc.constantFrom('', '', '# above\n', '\n\n'),
    fc.constantFrom('', '', '# below\n', '\n \n', '      # deep\n'),
    fc.boolean(),
  )
  .map(([text, above, below, isWindows]) => {
    const whole = above + text + below
    return isWindows ? whole.replaceAll('\n', '\r\n') : whole
  })

const MODEL_FORMS: readonly ((name: string) => string)[] = [
  (name) =>
    `apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata:\n  name: ${name}\n  # below\nspec:\n  model: org/a\n  source:\n    huggingface: {}\n  storage:\n    pvc:\n      name: models\n`,
  (name) =>
    `spec:\n    model: org/a\n    source: {huggingface: {tokenSecretRef: t}}\n    storage:\n        pvc: {spec: &s {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}\nkind: ArksModel\napiVersion: arks.ai/v1\nmetadata:\n    annotations: # none\n    name: ${name}\n`,
  (name) =>
    `{"apiVersion":"arks.ai/v1","kind":"ArksModel","metadata":{"name":"${name}"},"spec":{"model":"org/a","source":{"huggingface":{"tokenSecretRef":"t"}},"storage":{"pvc":{"name":"models"}}}}\n`,
  (name) =>
    `apiVersion: arks.ai/v1\r\nkind: ArksModel\r\nmetadata:\r\n  name: ${name}\r\n  annotations: {}\r\nspec:\r\n  model: org/a\r\n  storage:\r\n    pvc:\r\n      name: models\r\n`,
]

const modelForm = fc.constantFrom(...MODEL_FORMS)
const separator = fc.constantFrom('---\n', '---\n', '--- # next\n', '---\r\n', '...\n---\n')

async function print(text: string): Promise<string> {
  const { stdout, findings } = await run([{ name: undefined, text }], { config: undefined, seal: false })
  assert.equal(findings.map(line), [], text)
  return stdout
}

function holdsInOrder(text: string, stretches: readonly string[]): void {
  let at = 0
  for (const stretch of stretches) {
    const found = text.indexOf(stretch, at)
    assert.is.not(found, -1, `${JSON.stringify(stretch)} must stand in ${JSON.stringify(text.slice(at))}`)
    at = found + stretch.length
  }
}

const names = (text: string): readonly string[] => [...text.matchAll(/arks-worker-[a-z0-9-]+/g)].map(([name]) => name)

describe('for all streams and lists', (test) => {
  test('bystanders keep their bytes and their order, and a second run changes nothing', async () => {
    const streams = fc
      .array(fc.tuple(separator, anyDocument, fc.option(modelForm)), { minLength: 1, maxLength: 6 })
      .filter((parts) => parts.some(([, own, model]) => /^[^#\s]/m.test(own) || model !== null))
    await fc.assert(
      fc.asyncProperty(streams, async (parts) => {
        const text = parts.map(([border, own, model], index) => {
          const before = index === 0 ? '' : border
          return before + own + (model === null ? '' : `---\n${model(`m${index}`)}`)
        })
        const stream = text.join('')
        const printed = await print(stream)
        holdsInOrder(
          printed,
          parts.map(([, own]) => own),
        )
        if (parts.every(([, , model]) => model === null)) assert.is(printed, stream)
        assert.is(await print(printed), printed)
      }),
      { numRuns: 150 },
    )
  })

  test('the items of a list as well', async () => {
    const item = fc.tuple(
      fc.oneof(
        { weight: 5, arbitrary: entries },
        {
          weight: 1,
          arbitrary: fc.json().map(
            (each): Lines =>
              () => [`{"kind": "X", "a": ${each}}`],
          ),
        },
      ),
      fc.constantFrom('', '', '# above\n', '\n', '\n# apart\n\n'),
      fc.boolean(),
    )
    const lists = fc.tuple(fc.array(item, { minLength: 1, maxLength: 6 }), fc.constantFrom(0, 2, 4), fc.boolean())
    await fc.assert(
      fc.asyncProperty(lists, async ([items, column, isWindows]) => {
        const eol = isWindows ? '\r\n' : '\n'
        const behindDash = (lines: readonly string[]): string =>
          lines.map((each, at) => (at === 0 ? `${pad(column)}- ${each.trimStart()}${eol}` : each + eol)).join('')
        const own = items.map(([lines, above]) => {
          const gap = above.replaceAll(/^(?=#)/gm, pad(column)).replaceAll('\n', eol)
          return gap + behindDash(lines(column + 2))
        })
        const [, , third = MODEL_FORMS[0]] = MODEL_FORMS
        const model = (name: string): string => `${pad(column)}- ${third?.(name).trimEnd()}${eol}`
        const list = `kind: ResourceList${eol}items:${eol}${own
          .map((each, index) => each + (items[index]?.[2] ? model(`m${index}`) : ''))
          .join('')}`
        const printed = await print(list)
        holdsInOrder(printed, own)
        if (items.every(([, , hasModel]) => !hasModel)) assert.is(printed, list)
        assert.is(await print(printed), printed)
      }),
      { numRuns: 150 },
    )
  })

  test('the order of models changes no name', async () => {
    const models = fc.uniqueArray(fc.tuple(word, modelForm), { minLength: 2, maxLength: 5, selector: ([name]) => name })
    await fc.assert(
      fc.asyncProperty(models, fc.nat(), async (parts, turn) => {
        const texts = parts.map(([name, form], index) => form(`${name.replaceAll(/[^a-z0-9]/g, '')}${index}`))
        const turned = texts.map((_, index) => texts[(index + turn) % texts.length])
        const [one, two] = [await print(texts.join('---\n')), await print(turned.join('---\n'))]
        assert.equal(names(one).toSorted(), names(two).toSorted())
      }),
      { numRuns: 30 },
    )
  })
})

const INSTANCE: Readonly<Record<keyof typeof INSTANCE_FIELDS, unknown>> = {
  activeDeadlineSeconds: 3600,
  affinity: { podAntiAffinity: {} },
  annotations: { a: 'b' },
  automountServiceAccountToken: true,
  dnsConfig: { nameservers: ['10.0.0.10'] },
  dnsPolicy: 'Default',
  enableServiceLinks: true,
  env: [{ name: 'A', value: 'b' }],
  hostAliases: [{ ip: '10.0.0.1', hostnames: ['hub.internal'] }],
  hostIPC: true,
  hostNetwork: true,
  hostPID: true,
  hostUsers: false,
  initContainers: [{ name: 'prepare', image: 'busybox' }],
  labels: { a: 'b' },
  lifecycle: { preStop: { sleep: { seconds: 1 } } },
  livenessProbe: { httpGet: { path: '/healthz', port: 8080 } },
  nodeName: 'node-1',
  nodeSelector: { disk: 'ssd' },
  os: { name: 'linux' },
  overhead: { cpu: '10m' },
  podSecurityContext: { fsGroup: 1000 },
  preemptionPolicy: 'Never',
  priority: 5,
  priorityClassName: 'low',
  readinessProbe: { httpGet: { path: '/healthz', port: 8080 } },
  resourceClaims: [{ name: 'net', resourceClaimName: 'net' }],
  resources: { limits: { memory: '4Gi' } },
  runtimeClassName: 'gvisor',
  schedulerName: 'volcano',
  schedulingGates: [{ name: 'example.com/gate' }],
  securityContext: { runAsUser: 1000 },
  serviceAccountName: 'loader',
  setHostnameAsFQDN: true,
  shareProcessNamespace: true,
  startupProbe: { httpGet: { path: '/healthz', port: 8080 } },
  subdomain: 'loaders',
  terminationGracePeriodSeconds: 5,
  tolerations: [{ key: 'gpu', operator: 'Exists' }],
  topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway' }],
  volumeMounts: [{ name: 'models', mountPath: '/other' }],
  volumes: [{ name: 'scratch', emptyDir: {} }],
}

const CLAIM = { name: 'models', spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } }

interface Parts {
  readonly metadata?: Plain
  readonly spec?: Plain
  readonly huggingface?: Plain
  readonly pvc?: Plain
  readonly settings?: Plain
}

async function jobName({ metadata, spec, huggingface, pvc, settings }: Parts = {}): Promise<string> {
  const model = {
    apiVersion: 'arks.ai/v1',
    kind: 'ArksModel',
    metadata: { name: 'a', ...metadata },
    spec: {
      model: 'org/a',
      source: { huggingface: { ...huggingface } },
      storage: { pvc: { ...CLAIM, ...pvc } },
      ...spec,
    },
  }
  const config = {
    apiVersion: 'fn.arks.ai/v1alpha1',
    kind: 'ExpandArksModels',
    metadata: { name: 's' },
    spec: settings,
  }
  const printed = await print(block(model) + (settings === undefined ? '' : `---\n${block(config)}`))
  return names(printed)[0] ?? ''
}

describe('the name of a Job', (test) => {
  for (const [field, value] of Object.entries(INSTANCE)) {
    const isCounted = field !== 'activeDeadlineSeconds'
    test(`${isCounted ? 'counts' : 'does not count'} instanceSpec.${field}`, async () => {
      const changed = await jobName({ spec: { instanceSpec: { [field]: value } } })
      assert.is(changed === (await jobName()), !isCounted)
      if (isCounted)
        assert.is(await jobName({ settings: { instanceSpec: { [field]: value } } }), changed, 'wherever it stands')
    })
  }

  test('has a row for each field', () =>
    assert.equal(Object.keys(INSTANCE).sort(), Object.keys(INSTANCE_FIELDS).sort()))

  test('counts what the loader is told', async () => {
    const all = await Promise.all([
      jobName(),
      jobName({ spec: { model: 'org/b' } }),
      jobName({ huggingface: { revision: 'v1' } }),
      jobName({ huggingface: { endpoint: 'https://hub.example.com' } }),
      jobName({ huggingface: { include: ['*.json'] } }),
      jobName({ huggingface: { exclude: ['*.json'] } }),
      jobName({ huggingface: { tokenSecretRef: { name: 't' } } }),
      jobName({ huggingface: { tokenSecretRef: { name: 't', key: 'k' } } }),
      jobName({ pvc: { name: 'other' } }),
      jobName({ spec: { imagePullSecrets: [{ name: 'p' }] } }),
      jobName({ metadata: { annotations: { 'arks.ai/reload': '1' } } }),
      jobName({ settings: { image: 'other:1' } }),
      jobName({ settings: { caBundle: { configMapName: 'ca' } } }),
    ])
    assert.is(new Set(all).size, all.length)
  })

  test('counts the shards of an Indexed Job', async () => {
    const pvc = { spec: { ...CLAIM.spec, accessModes: ['ReadWriteMany'] } }
    const ofShards = (shards: string): Promise<string> =>
      jobName({ pvc, metadata: { annotations: { 'arks.ai/shards': shards } } })
    assert.is(await ofShards('1'), await jobName(), 'one is an ordinary Job')
    const all = await Promise.all(['1', '2', '3', '64'].map(ofShards))
    assert.is(new Set(all).size, all.length)
    const existing = { metadata: { annotations: { 'arks.ai/shards': '2' } }, pvc: { spec: undefined } }
    assert.is(await jobName(existing), all[1], 'on a claim that exists already')
  })

  test('does not count what can be changed in place, or is not in the Job', async () => {
    const name = await jobName()
    const others = fc.record(
      {
        settings: fc.record({ backoffLimit: fc.nat({ max: 1000 }), retention: fc.constantFrom('Retain', 'Delete') }),
        metadata: fc.record(
          { namespace: fc.constant('team'), labels: fc.dictionary(word, fc.constant('x'), { maxKeys: 3 }) },
          { requiredKeys: [] },
        ),
        pvc: fc.record({ spec: fc.constant({ ...CLAIM.spec, storageClassName: 'fast' }) }, { requiredKeys: [] }),
        spec: fc
          .integer({ min: 1, max: 9999 })
          .map((seconds) => ({ instanceSpec: { activeDeadlineSeconds: seconds } })),
      },
      { requiredKeys: [] },
    )
    await fc.assert(
      fc.asyncProperty(others, async (parts) => {
        const { labels, ...metadata } = asPlain(parts.metadata)
        const good = Object.fromEntries(
          Object.keys(asPlain(labels)).map((each) => [each.replaceAll(/[^a-z0-9]/g, 'x'), 'x']),
        )
        const annotations = { note: JSON.stringify(parts) }
        assert.is(await jobName({ ...parts, metadata: { ...metadata, labels: good, annotations } }), name)
      }),
      { numRuns: 40 },
    )
  })
})

const scalar = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...TRAPS) },
  { weight: 2, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary-ascii', maxLength: 12 }) },
  { weight: 1, arbitrary: fc.integer() },
  { weight: 1, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }).map((each) => each || 0) },
  { weight: 1, arbitrary: fc.boolean() },
  { weight: 1, arbitrary: fc.constant(null) },
)

const name = fc
  .oneof(fc.constantFrom(...TRAPS), fc.string({ unit: 'grapheme', maxLength: 8 }))
  .filter((each) => each !== '__proto__')

const { tree } = fc.letrec<{ tree: Plain; value: unknown }>((tie) => ({
  tree: fc.dictionary(name, tie('value'), { minKeys: 1, maxKeys: 5 }).map((each) => ({ ...each })),
  value: fc.oneof({ maxDepth: 3 }, scalar, tie('tree'), fc.array(tie('value'), { maxLength: 3 })),
}))

/** Nothing but what people write every day. */
const { simple } = fc.letrec<{ simple: Plain; value: unknown }>((tie) => ({
  simple: fc.dictionary(word, tie('value'), { minKeys: 1, maxKeys: 5 }).map((each) => ({ ...each })),
  value: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(word, fc.constantFrom(...plain), fc.integer(), fc.boolean(), fc.constant(null)),
    tie('simple'),
    fc.array(tie('value'), { maxLength: 3 }),
  ),
}))

describe('the two readers', (test) => {
  const mutation = fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.constantFrom(...' :-#"\'|{}[]&*!,?\n\tx0\r', ': ', ' #', '- ', '\n\n'),
  )
  test('agree on values and places', () => {
    let accepted = 0
    fc.assert(
      fc.property(
        fc.oneof(
          blockDocument,
          simple.map((each) => block(each)),
        ),
        fc.array(mutation, { maxLength: 2 }),
        fc.boolean(),
        (document, mutations, isWindows) => {
          const mutated = mutations.reduce((text, [where, character]) => {
            const at = Math.floor(where * text.length)
            return text.slice(0, at) + character + text.slice(at)
          }, document)
          const text = isWindows ? mutated.replaceAll('\n', '\r\n') : mutated
          const quick: Node | undefined = readPlain(text, 0, text.length)
          if (quick === undefined) return
          accepted++
          const found = readAny(text, 0, text.length, 'refused')
          assert.equal(found, { kind: 'node', node: quick, anchors: [] })
        },
      ),
      {
        numRuns: 3000,
        // Found by chance once: a line break of its own kind behind a dash.
        examples: [['a: -1\n', [[0.7, '\r']], false]],
      },
    )
    assert.ok(accepted > 500, `the quick one reads ${accepted} of them`)
  })
})

describe('what is printed', (test) => {
  const holds = (text: string, want: unknown): void => {
    assert.equal(parse(text, { uniqueKeys: false }), want, `YAML 1.2: ${text}`)
    assert.equal(parse(text, { version: '1.1' }), want, `YAML 1.1: ${text}`)
    assert.equal(load(text), want, `js-yaml: ${text}`)
  }

  test('every trap, as value and as key', () => {
    for (const trap of TRAPS) {
      holds(block({ a: trap, [trap]: trap, b: [trap, { [trap]: 1 }] }), {
        a: trap,
        [trap]: trap,
        b: [trap, { [trap]: 1 }],
      })
      holds(flow({ [trap]: [trap] }), { [trap]: [trap] })
    }
  })

  test('reads the same everywhere', () => {
    fc.assert(
      fc.property(tree, (value) => {
        holds(block(value), value)
        holds(flow(value), value)
        holds(`a:\n${blockItem({ b: value }, 2)}`, { a: [{ b: value }] })
      }),
      { numRuns: 300 },
    )
  })

  test('is read back by the function', () => {
    fc.assert(
      fc.property(tree, (value) => {
        const text = block({ value })
        const found = readAny(text, 0, text.length, 'refused')
        assert.is(found.kind, 'node')
        const quick = readPlain(text, 0, text.length)
        if (found.kind === 'node' && quick !== undefined) assert.equal(quick, found.node)
      }),
      { numRuns: 200 },
    )
  })
})
