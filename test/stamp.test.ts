import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { type Plain, parseArksModel } from '../crds/arksmodel.ts'
import { line } from '../fn/finding.ts'
import { asPlain } from '../fn/merge.ts'
import { run } from '../fn/run.ts'
import { stamped, stampOf } from '../fn/stamp.ts'
import { describe } from './harness.ts'

/** Lines of a model before and after. `JOB` is the Job's name. */
type Row = readonly [before: string, after: string]

const TOP = 'apiVersion: arks.ai/v1\nkind: ArksModel\n'
const SPEC = 'spec:\n  model: org/a # the model\n  source: {huggingface: {}}\n  storage: {pvc: {name: models}}\n'
const NAMED = 'metadata:\n  name: a\n  annotations:\n    arks.ai/worker-job: JOB\n'

const added = '  annotations:\n    arks.ai/worker-job: JOB\n'

/** What stands under `metadata`. */
const METADATA: Readonly<Record<string, Row>> = {
  'no annotations': ['  name: a\n', `  name: a\n${added}`],
  'no annotations, and comments below': [
    '  name: a # b\n      # deep\n  # same\n# low\n',
    `  name: a # b\n${added}      # deep\n  # same\n# low\n`,
  ],
  'another annotation': [
    '  annotations:\n    # about x\n    x: "1"   # one\n    # last\n  name: a\n',
    '  annotations:\n    # about x\n    x: "1"   # one\n    arks.ai/worker-job: JOB\n    # last\n  name: a\n',
  ],
  'comments behind the keys': [
    '  name: a\n  annotations:   # all\n    x: w\n',
    '  name: a\n  annotations:   # all\n    x: w\n    arks.ai/worker-job: JOB\n',
  ],
  'the annotation of another Job': [
    '  annotations:\n    "arks.ai/worker-job":   \'old\' # Job\n    x: w\n  name: a\n',
    '  annotations:\n    "arks.ai/worker-job":   JOB # Job\n    x: w\n  name: a\n',
  ],
  'the annotation without a value': [
    '  annotations:\n    arks.ai/worker-job: # Job\n    x: w\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB # Job\n    x: w\n  name: a\n',
  ],
  'the annotation as literal text': [
    '  annotations:\n    arks.ai/worker-job: |\n      old\n\n    # about x\n    x: w\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB\n\n    # about x\n    x: w\n  name: a\n',
  ],
  'the annotation as folded text': [
    '  annotations:\n    arks.ai/worker-job: >-\n      old\n      older\n    x: w\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB\n    x: w\n  name: a\n',
  ],
  'the annotation on the next line': [
    '  annotations:\n    arks.ai/worker-job: # Job\n      old\n    x: w\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: # Job\n      JOB\n    x: w\n  name: a\n',
  ],
  'the annotation with an anchor of its own': [
    '  annotations:\n    arks.ai/worker-job: &j old # Job\n    x: w\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB # Job\n    x: w\n  name: a\n',
  ],
  'empty annotations': [
    '  name: a\n  annotations: {} # none\n',
    '  name: a\n  annotations:\n    arks.ai/worker-job: JOB # none\n',
  ],
  'empty annotations on the next line': [
    '  name: a\n  annotations: # b\n      # c\n      {} # d\n',
    '  name: a\n  annotations: # b\n      # c\n      arks.ai/worker-job: JOB # d\n',
  ],
  'annotations that are null': [
    '  annotations: ~\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB\n  name: a\n',
  ],
  'annotations without a value': [
    '  annotations:\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB\n  name: a\n',
  ],
  'annotations with comments only': [
    '  name: a\n  annotations: # none\n    # not yet\n\n  labels: {b: c}\n',
    '  name: a\n  annotations: # none\n    arks.ai/worker-job: JOB\n    # not yet\n\n  labels: {b: c}\n',
  ],
  'annotations with a tag and no value': [
    '  annotations: !!null\n  name: a\n',
    '  annotations:\n    arks.ai/worker-job: JOB\n  name: a\n',
  ],
  'annotations with a tag': [
    '  annotations: !!map\n    x: w\n  name: a\n',
    '  annotations: !!map\n    x: w\n    arks.ai/worker-job: JOB\n  name: a\n',
  ],
  'annotations in flow style': [
    '  name: a\n  annotations: {x: w, "b": \'c\'} # d\n',
    '  name: a\n  annotations: {"arks.ai/worker-job": "JOB", x: w, "b": \'c\'} # d\n',
  ],
  'annotations in flow style on several lines': [
    '  name: a\n  annotations: {\n      x: w, # one, two\n      }\n',
    '  name: a\n  annotations: {\n      "arks.ai/worker-job": "JOB",\n      x: w, # one, two\n      }\n',
  ],
  'an annotation in flow style without a value': [
    '  name: a\n  annotations: { arks.ai/worker-job: , x: w }\n',
    '  name: a\n  annotations: { arks.ai/worker-job: "JOB" , x: w }\n',
  ],
  'an annotation in flow style close to its colon': [
    '  name: a\n  annotations: {"arks.ai/worker-job":"old","x":"w"}\n',
    '  name: a\n  annotations: {"arks.ai/worker-job":"JOB","x":"w"}\n',
  ],
  'a merge key': [
    '  name: a\n  labels: &l\n    b: c\n  annotations:\n    x: w\n    <<: *l\n',
    '  name: a\n  labels: &l\n    b: c\n  annotations:\n    x: w\n    <<: *l\n    arks.ai/worker-job: JOB\n',
  ],
  'nothing but a merge key': [
    '  name: a\n  labels: &l\n    b: c\n  annotations:\n    <<: *l\n',
    '  name: a\n  labels: &l\n    b: c\n  annotations:\n    <<: *l\n    arks.ai/worker-job: JOB\n',
  ],
  'an alias': [
    '  name: a\n  labels: &l\n    b: c\n  annotations: *l # the same\n',
    '  name: a\n  labels: &l\n    b: c\n  annotations: {"b": "c", "arks.ai/worker-job": "JOB"} # the same\n',
  ],
  'explicit keys': [
    '  name: a\n  annotations:\n    ? x # why: so\n    : w\n',
    '  name: a\n  annotations:\n    ? x # why: so\n    : w\n    arks.ai/worker-job: JOB\n',
  ],
  'an explicit key': [
    '  name: a\n  annotations:\n    ? arks.ai/worker-job # why: so\n    : old\n',
    '  name: a\n  annotations:\n    ? arks.ai/worker-job # why: so\n    : JOB\n',
  ],
  'spaces before the colons': [
    '  name : a\n  annotations :\n    x : w\n',
    '  name : a\n  annotations :\n    x : w\n    arks.ai/worker-job: JOB\n',
  ],
  'a tab behind the colon': ['  name:\ta\n', `  name:\ta\n${added}`],
  'deeper indentation': [
    '      name: a\n      annotations:\n          x: w\n',
    '      name: a\n      annotations:\n          x: w\n          arks.ai/worker-job: JOB\n',
  ],
  'one space': [' name: a\n annotations:\n  x: w\n', ' name: a\n annotations:\n  x: w\n  arks.ai/worker-job: JOB\n'],
  'literal text last': [
    '  name: a\n  annotations:\n    x: |\n      one\n      # two\n\n\n',
    '  name: a\n  annotations:\n    x: |\n      one\n      # two\n    arks.ai/worker-job: JOB\n\n\n',
  ],
  'kept literal text last': [
    '  name: a\n  annotations:\n    x: |+\n      one\n\n\n',
    '  name: a\n  annotations:\n    x: |+\n      one\n\n\n    arks.ai/worker-job: JOB\n',
  ],
  'literal text that ends in spaces': [
    '  name: a\n  annotations:\n    x: |-\n      one\n         \n    # b\n',
    '  name: a\n  annotations:\n    x: |-\n      one\n         \n    arks.ai/worker-job: JOB\n    # b\n',
  ],
  'folded text last': [
    '  name: a\n  annotations:\n    x: >\n      one\n      two\n    # b\n',
    '  name: a\n  annotations:\n    x: >\n      one\n      two\n    arks.ai/worker-job: JOB\n    # b\n',
  ],
  'text over several lines last': [
    '  name: a\n  annotations:\n    x: one\n      two\n    w: "three\n      four" # five\n',
    '  name: a\n  annotations:\n    x: one\n      two\n    w: "three\n      four" # five\n    arks.ai/worker-job: JOB\n',
  ],
  'separators in literal text': [
    '  name: a\n  annotations:\n    x: |\n      ---\n      ...\n',
    '  name: a\n  annotations:\n    x: |\n      ---\n      ...\n    arks.ai/worker-job: JOB\n',
  ],
  'an indented sequence last': [
    '  name: a\n  finalizers:\n    - b/c\n',
    `  name: a\n  finalizers:\n    - b/c\n${added}`,
  ],
  'a sequence last': ['  name: a\n  finalizers:\n  - b/c # d\n', `  name: a\n  finalizers:\n  - b/c # d\n${added}`],
  'blank lines': ['\n\n  name: a\n\n\n', `\n\n  name: a\n${added}\n\n`],
  'other alphabets': [
    '  name: a # 🎉\n  annotations:\n    x: "日本語 🎉" # é\n',
    '  name: a # 🎉\n  annotations:\n    x: "日本語 🎉" # é\n    arks.ai/worker-job: JOB\n',
  ],
}

/** What stands under `spec.source.huggingface` and `spec.storage.pvc`. */
const HUGGINGFACE: Readonly<Record<string, Row>> = {
  'an object': ['      tokenSecretRef: {name: t, key: k}\n', '      tokenSecretRef: {name: t, key: k}\n'],
  text: ['      tokenSecretRef: t # by hand\n', '      tokenSecretRef:\n        name: t # by hand\n'],
  'quoted text': [
    '      tokenSecretRef:   "t"\n      revision: v1\n',
    '      tokenSecretRef:\n        name: t\n      revision: v1\n',
  ],
  'text on the next line': [
    '      tokenSecretRef: # a\n          # b\n          t # c\n      revision: v1\n',
    '      tokenSecretRef: # a\n          # b\n          name: t # c\n      revision: v1\n',
  ],
  'literal text': [
    '      tokenSecretRef: |-\n        t\n\n      # about it\n      revision: v1\n',
    '      tokenSecretRef:\n        name: t\n\n      # about it\n      revision: v1\n',
  ],
  'text with a tag': ['      tokenSecretRef: !!str t # a\n', '      tokenSecretRef:\n        name: t # a\n'],
  'text like a number': ['      tokenSecretRef: "0644"\n', '      tokenSecretRef:\n        name: "0644"\n'],
  'an alias': [
    '      revision: &t t\n      tokenSecretRef: *t # same\n',
    '      revision: &t t\n      tokenSecretRef:\n        name: t # same\n',
  ],
}

const PVC: Readonly<Record<string, Row>> = {
  'no name': [
    '      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n      # end\n',
    '      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n      name: a\n      # end\n',
  ],
  'an empty name': [
    '      name: "" # later\n      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n',
    '      name: a # later\n      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n',
  ],
  'a name without a value': [
    '      name:\n      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n',
    '      name: a\n      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n',
  ],
  'a name': ['      name: "models" # ours\n', '      name: "models" # ours\n'],
}

const metadataRow = ([before, after]: Row): Row => [
  `${TOP}metadata:\n${before}${SPEC}`,
  `${TOP}metadata:\n${after}${SPEC}`,
]

const huggingfaceRow = ([before, after]: Row): Row => {
  const spec = (own: string): string =>
    `spec:\n  source:\n    huggingface:\n${own}  model: org/a\n  storage: {pvc: {name: models}}\n`
  return [`${TOP}metadata:\n  name: a\n${spec(before)}`, TOP + NAMED + spec(after)]
}

const pvcRow = ([before, after]: Row): Row => {
  const spec = (own: string): string =>
    `spec:\n  storage:\n    pvc:\n${own}  model: org/a\n  source: {huggingface: {}}\n`
  return [`${TOP}metadata:\n  name: a\n${spec(before)}`, TOP + NAMED + spec(after)]
}

const ROWS: Readonly<Record<string, Row>> = Object.fromEntries(
  Object.entries({ metadata: METADATA, tokenSecretRef: HUGGINGFACE, pvc: PVC }).flatMap(([part, rows]) =>
    Object.entries(rows).map(([name, row]) => [
      `${part}: ${name}`,
      part === 'metadata' ? metadataRow(row) : part === 'pvc' ? pvcRow(row) : huggingfaceRow(row),
    ]),
  ),
)

async function print(text: string): Promise<string> {
  const { stdout, findings } = await run([{ name: undefined, text }], { config: undefined, seal: false })
  assert.equal(findings.map(line), [])
  return stdout
}

/** As kubectl reads them. */
const objects = (text: string): readonly Plain[] =>
  parseAllDocuments(text, { version: '1.1', merge: true }).flatMap((document) => {
    assert.equal(document.errors, [])
    const object = asPlain(document.toJS())
    return Array.isArray(object['items']) ? object['items'].map(asPlain) : [object]
  })

const modelsIn = (text: string): readonly Plain[] => objects(text).filter(({ kind }) => kind === 'ArksModel')

const jobIn = (text: string): string | undefined => /arks-worker-[a-z0-9-]+/.exec(text)?.[0]

/** Says it with `stamped`, and says that a second run changes nothing. */
async function holds(before: string, printed: string): Promise<void> {
  const [old, now] = [modelsIn(before)[0] ?? {}, modelsIn(printed)[0] ?? {}]
  const parsed = parseArksModel(old)
  assert.ok(parsed.ok, 'the model passes')
  if (parsed.ok) assert.equal(now, stamped(old, stampOf(parsed.value, jobIn(printed))))
  assert.is(await print(printed), printed, 'a second run changes nothing')
}

const withJob = (after: string, printed: string): string => after.replaceAll('JOB', jobIn(printed) ?? '')

const indented = (text: string, column: number): string =>
  text
    .split('\n')
    .map(
      (each, index) =>
        `${each === '' ? '' : ' '.repeat(index === 0 ? column : column + 2)}${index === 0 ? '- ' : ''}${each}`,
    )
    .join('\n')

const LIST = 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n'

describe('a stamp changes its own places only', (test) => {
  for (const [name, [before, after]] of Object.entries(ROWS)) {
    test(name, async () => {
      const printed = await print(before)
      assert.ok(printed.endsWith(`---\n${withJob(after, printed)}`), printed.slice(printed.lastIndexOf('---\n')))
      await holds(before, printed)
    })
    test(`${name}, between others`, async () => {
      const printed = await print(`kind: X\n---\n${before}---\nkind: Y\n`)
      assert.ok(printed.endsWith(`---\n${withJob(after, printed)}---\nkind: Y\n`))
    })
    test(`${name}, with line breaks of Windows`, async () => {
      const text = before.replaceAll('\n', '\r\n')
      const printed = await print(text)
      assert.ok(printed.endsWith(`---\n${withJob(after, printed).replaceAll('\n', '\r\n')}`))
      await holds(text, printed)
    })
    for (const column of [0, 2]) {
      test(`${name}, in a list at column ${column}`, async () => {
        const text = `${LIST}${indented(before, column)}${' '.repeat(column)}- kind: Y\n`
        const printed = await print(text)
        assert.ok(
          printed.endsWith(`${indented(withJob(after, printed), column)}${' '.repeat(column)}- kind: Y\n`),
          printed,
        )
        await holds(text, printed)
      })
    }
  }
})

describe('a stamp at the end of the text', (test) => {
  for (const [name, [before, after]] of Object.entries(METADATA)) {
    const text = `${TOP}${SPEC}metadata:\n${before}`.trimEnd()
    // What the line break at the end of the text belongs to, no two readers agree on.
    if (name.startsWith('literal') || name.startsWith('kept')) continue
    test(name, async () => {
      const printed = await print(text)
      assert.ok(printed.endsWith(withJob(`metadata:\n${after}`, printed).trimEnd()), printed.slice(-400))
      await holds(text, printed)
    })
  }
})

const FLOW = `{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: a}, spec: {model: org/a, source: {huggingface: {tokenSecretRef: t}}, storage: {pvc: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}}`

const JSON_MODEL = {
  apiVersion: 'arks.ai/v1',
  kind: 'ArksModel',
  metadata: { annotations: { x: 'w' }, name: 'a' },
  spec: { model: 'org/a', source: { huggingface: { tokenSecretRef: 't' } }, storage: { pvc: { name: 'models' } } },
}

describe('forms of a model', (test) => {
  const forms: Readonly<Record<string, string>> = {
    'flow style': `${FLOW}\n`,
    'flow style without a line break': FLOW,
    'flow style behind its separator': `--- ${FLOW}\n`,
    'JSON on one line': JSON.stringify(JSON_MODEL),
    'JSON with escaped slashes': JSON.stringify(JSON_MODEL).replaceAll('/', '\\/'),
    'pretty JSON': `${JSON.stringify(JSON_MODEL, null, 2)}\n`,
    'JSON with tabs': JSON.stringify(JSON_MODEL, null, '\t'),
    'a comment behind the separator': `--- # mine\n${TOP}metadata:\n  name: a\n${SPEC}`,
    'a tag behind the separator': `--- !!map\n${TOP}metadata:\n  name: a\n${SPEC}`,
    'an anchor behind the separator': `--- &root\n${TOP}metadata:\n  name: a\n${SPEC}`,
    'a directive': `# c\n%YAML 1.1\n---\n${TOP}metadata:\n  name: a\n${SPEC}`,
    'an end marker': `${TOP}metadata:\n  name: a\n${SPEC}...\n`,
    'quoted keys': `"apiVersion": 'arks.ai/v1'\n'kind': "ArksModel"\n"metadata":\n  'name': a\n${SPEC}`,
    'an escaped kind': `apiVersion: arks.ai/v1\n"kind": "Arks\\u004dodel"\nmetadata:\n  name: a\n${SPEC}`,
    'a tagged kind': `apiVersion: arks.ai/v1\nkind: !!str ArksModel\nmetadata:\n  name: a\n${SPEC}`,
    'a kind on the next line': `apiVersion: arks.ai/v1\nkind:\n  ArksModel\nmetadata:\n  name: a\n${SPEC}`,
    'the whole of it indented': `${TOP}metadata:\n  name: a\n${SPEC}`.replace(/^/gm, '   ').trimEnd(),
    'spec first, kind last': `${SPEC}metadata:\n  name: a\nkind: ArksModel\napiVersion: arks.ai/v1\n`,
    'an anchor that is used in it again': `${TOP}metadata:\n  name: &n a\n  labels: {n: *n}\nspec:\n  model: org/a\n  source: {huggingface: {tokenSecretRef: *n}}\n  storage:\n    pvc:\n      name: *n\n`,
    'an anchor on what is changed': `${TOP}metadata:\n  name: a\n  annotations: &l\n    x: w\n  labels: *l\n${SPEC}`,
    'an alias above what is changed': `${TOP}metadata:\n  name: a\nspec:\n  model: org/a\n  source: {huggingface: {}}\n  storage: {pvc: {spec: &s {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}\n  instanceSpec: {annotations: &x {w: v}, labels: *x}\n`,
    'a key in flow style without colon and value': `${TOP}metadata:\n  name: a\n  annotations: {x: w, arks.ai/worker-job}\n${SPEC}`,
    'a quoted key in flow style without colon and value': `${TOP}metadata:\n  name: a\n  annotations: {"arks.ai/worker-job" , x: w}\n${SPEC}`,
    'literal text up to the end of the text': `${TOP}${SPEC}metadata:\n  name: a\n  annotations:\n    x: |\n      one`,
  }
  for (const [name, text] of Object.entries(forms)) {
    test(name, async () => {
      for (const stream of [text, `${text}\n---\nkind: Y\n`]) await holds(stream, await print(stream))
    })
    if (!/^---|^#|^ |\.\.\.\n$/.test(text))
      test(`${name}, in a list`, async () => {
        const list = `${LIST}${indented(text.trimEnd().replaceAll('\t', ' '), 0)}\n- kind: Y\n`
        await holds(list, await print(list))
      })
  }

  test('JSON stays JSON', async () => {
    const text = JSON.stringify({ kind: 'List', apiVersion: 'v1', items: [JSON_MODEL, { kind: 'X' }] }, null, 2)
    const printed = await print(text)
    const { items } = asPlain(JSON.parse(printed))
    assert.equal(Array.isArray(items) && items.map((each) => asPlain(each)['kind']), ['Job', 'ArksModel', 'X'])
    assert.match(printed, '      "annotations": {\n          "arks.ai/worker-job": "arks-worker-a-')
  })

  test('the annotation goes when the model has no source any more', async () => {
    const spec = 'spec:\n  model: org/a\n  storage: {pvc: {name: models}}\n'
    const rows: readonly Row[] = [
      ['  annotations:\n    arks.ai/worker-job: old # b\n    # c\n    x: w\n', '  annotations:\n    # c\n    x: w\n'],
      ['  annotations:\n    x: w\n    arks.ai/worker-job: |\n      old\n\n', '  annotations:\n    x: w\n\n'],
      ['  annotations:\n    # only\n    arks.ai/worker-job:\n      old\n', ''],
      ['  annotations: {arks.ai/worker-job: old}\n', ''],
      ['  annotations: {arks.ai/worker-job: old, x: w}\n', '  annotations: {"x": "w"}\n'],
      ['  annotations: # b\n    x: w\n    arks.ai/worker-job:\n', '  annotations: # b\n    x: w\n'],
    ]
    for (const [before, after] of rows) {
      const text = (own: string): string => `${TOP}metadata:\n${own}  name: a\n${spec}`
      assert.is(await print(text(before)), text(after))
      assert.is(await print(text(before).replaceAll('\n', '\r\n')), text(after).replaceAll('\n', '\r\n'))
    }
  })
})
