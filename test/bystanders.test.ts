import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { line, result } from '../fn/finding.ts'
import { asPlain } from '../fn/merge.ts'
import { run } from '../fn/run.ts'
import { BYSTANDERS } from './data/bystanders.ts'
import { describe } from './harness.ts'

const MODEL = `apiVersion: arks.ai/v1
kind: ArksModel
metadata:
  name: NAME
spec:
  model: org/a # kept
  source: {huggingface: {}}
  storage: {pvc: {name: models}}
`
const model = (name: string): string => MODEL.replace('NAME', name)

const inline = (name: string): string =>
  `{"apiVersion": "arks.ai/v1", "kind": "ArksModel", "metadata": {"name": "${name}"}, "spec": {"model": "org/a", "source": {"huggingface": {}}, "storage": {"pvc": {"name": "models"}}}}`

async function output(...texts: readonly string[]): Promise<string> {
  const inputs = texts.map((text, index) => ({ name: texts.length > 1 ? `${index}.yaml` : undefined, text }))
  const { stdout, findings } = await run(inputs, { config: undefined, seal: false })
  assert.equal(findings.map(line), [])
  return stdout
}

async function errors(...texts: readonly string[]): Promise<readonly string[]> {
  const inputs = texts.map((text, index) => ({ name: texts.length > 1 ? `${index}.yaml` : undefined, text }))
  return (await run(inputs, { config: undefined, seal: false })).findings.map(line)
}

/** The stretches stand in the text, in this order. */
function holdsInOrder(text: string, stretches: readonly string[]): void {
  let at = 0
  for (const stretch of stretches) {
    const found = text.indexOf(stretch, at)
    assert.is.not(found, -1, `${JSON.stringify(stretch.slice(0, 300))} must stand in ${text.slice(at, at + 3000)}`)
    at = found + stretch.length
  }
}

const HEAD = 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\n'

/** The document as an item of a block sequence: its lines moved to the right behind the dash. */
const item = (text: string, column: number): string =>
  text
    .split('\n')
    .map((each, index) =>
      index === 0 ? `${' '.repeat(column)}- ${each}` : each === '' ? '' : `${' '.repeat(column + 2)}${each}`,
    )
    .join('\n')

/** What a dash in front of the first line does not turn into something else. */
const asItems = Object.entries(BYSTANDERS).filter(([, text]) => !/^[#\s]/.test(text))

describe('bystanders in a stream', (test) => {
  for (const [name, text] of Object.entries(BYSTANDERS)) {
    test(`${name}: alone`, async () => assert.is(await output(text), text))
    test(`${name}: around a model`, async () => {
      const first = await output(`${text}---\n${model('a')}---\n${text}`)
      holdsInOrder(first, [text, '---\napiVersion: batch/v1\nkind: Job\n', 'model: org/a # kept\n', `---\n${text}`])
      assert.ok(first.startsWith(text) && first.endsWith(`---\n${text}`))
      assert.is(await output(first), first, 'a second run changes nothing')
    })
    test(`${name}: in a file of its own`, async () => {
      const printed = await output(text, model('a'), text.trimEnd(), text)
      holdsInOrder(printed, [text, `---\n${text.trimEnd()}\n---\n${text}`])
      assert.ok(printed.startsWith(text) && printed.endsWith(text))
    })
  }

  test('all of them, and no model', async () => {
    const all = Object.values(BYSTANDERS)
    for (const stream of [
      all.join('---\n'),
      all.map((text) => `--- # next\n${text}...\n`).join(''),
      all.join('\n---\r\n'),
    ])
      assert.is(await output(stream), stream)
  })

  test('all of them around models', async () => {
    const all = Object.values(BYSTANDERS)
    const printed = await output(all.map((text, index) => `${text}---\n${model(`m${index}`)}`).join('---\n'))
    holdsInOrder(printed, all)
    assert.is(await output(printed), printed, 'a second run changes nothing')
  })

  test('documents without an object', async () => {
    const streams = [
      '# a\n---\nkind: X\n---\n# b',
      '---\n---\n# c\n---\n\n---\nkind: X\n',
      '\n\n# a\n...\n# b\n---\nkind: X\n...\n',
    ]
    for (const stream of streams) assert.is(await output(stream), stream)
  })

  test('nothing at the end of the last line', async () => {
    for (const text of Object.values(BYSTANDERS)) assert.is(await output(text.trimEnd()), text.trimEnd())
    assert.ok((await output(`${model('a')}---\nkind: X`)).endsWith('---\nkind: X'))
  })

  test('a byte order mark', async () => {
    assert.is(await output('\ufeffkind: X\n'), '\ufeffkind: X\n')
    assert.is(await output('\ufeffkind: List\nitems:\n- kind: X\n'), '\ufeffkind: List\nitems:\n- kind: X\n')
    const printed = await output(`\ufeff${model('a')}---\nkind: X\n`)
    assert.ok(printed.startsWith('\ufeffapiVersion: batch/v1\n'))
    assert.is(printed.lastIndexOf('\ufeff'), 0)
  })

  test('directives', async () => {
    const tagged = '%YAML 1.1\n%TAG ! tag:example.com,2000:\n---\nkind: X\na: !b 0644\n'
    for (const stream of [
      tagged,
      `# above\n\n${tagged}`,
      `${tagged}---\nkind: Y\n---\nkind: Z\n`,
      `kind: X\n...\n${tagged}`,
    ])
      assert.is(await output(stream), stream)
    const printed = await output(`${tagged}---\n${model('a')}...\n${tagged}---\nkind: Y\n`)
    holdsInOrder(printed, [
      tagged,
      '---\napiVersion: batch/v1',
      'model: org/a # kept\n',
      `...\n${tagged}---\nkind: Y\n`,
    ])
  })

  test('separators with something behind them', async () => {
    const stream =
      '--- # one\nkind: X\n---\t\nkind: Y\n--- {kind: Z}\n--- !!map\nkind: A\n--- &a\nkind: B\n---\r\nkind: C\r\n'
    assert.is(await output(stream), stream)
  })

  test('lines that only look like separators', async () => {
    const stream = 'kind: Y\n---\nkind: X\na: |\n ---\n ----\nb: c\n---\nkind: Z\na: |\n  ...\n---d: e\n....: f\n'
    assert.is(await output(stream), stream)
  })

  test('Lists keep what is not a model', async () => {
    const other = '- kind: X\n  a: 0644 # b\n# between\n'
    const list = `apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n${other}${item(model('a'), 0)}- kind: Y\n  a: 1\n  a: 2\n`
    const printed = await output(`kind: Z\n---\n${list}---\nkind: Z\n`)
    holdsInOrder(printed, [
      'kind: Z\n---\napiVersion: v1\nkind: List\nmetadata: {}\nitems:\n- kind: X\n  a: 0644 # b\n',
    ])
    holdsInOrder(printed, ['# between\n- apiVersion: arks.ai/v1\n', '- kind: Y\n  a: 1\n  a: 2\n---\nkind: Z\n'])
    assert.is(await output(printed), printed, 'a second run changes nothing')
  })

  test('the kind of a List may be its own', async () => {
    const list = `apiVersion: arks.ai/v1\nkind: ArksModelList\nitems:\n${item(model('a'), 0)}`
    holdsInOrder(await output(list), [
      'kind: ArksModelList\nitems:\n- apiVersion: batch/v1\n',
      '- apiVersion: arks.ai/v1\n',
    ])
    const json = `{"kind": "List", "apiVersion": "v1", "items": [\n  {"kind": "X", "a": 1, "a": 2},\n  ${inline('a')}\n]}`
    const printed = await output(json)
    holdsInOrder(printed, [
      '"items": [\n  {"kind": "X", "a": 1, "a": 2},\n  {"apiVersion": "batch/v1"',
      '"org/a"',
      '\n]}',
    ])
    assert.is(await output(printed), printed, 'a second run changes nothing')
  })
})

describe('bystanders in a ResourceList', (test) => {
  for (const column of [0, 2]) {
    for (const [name, text] of asItems) {
      test(`${name}: at column ${column}`, async () => {
        const own = item(text, column)
        const list = `${HEAD}items:\n${own}${item(model('a'), column)}${own}functionConfig: null\n`
        const printed = await output(list)
        holdsInOrder(printed, [
          `items:\n${own}`,
          'kind: Job\n',
          'model: org/a # kept\n',
          `${own}functionConfig: null\n`,
        ])
        assert.is(await output(printed), printed, 'a second run changes nothing')
        const alone = `${HEAD}items:\n${own}`
        assert.is(await output(alone), alone)
      })
    }

    test(`all of them at column ${column}`, async () => {
      const all = asItems.map(([, text]) => item(text, column))
      const printed = await output(
        `${HEAD}items:\n${all.map((own, index) => own + item(model(`m${index}`), column)).join('')}`,
      )
      holdsInOrder(printed, all)
      assert.is(await output(printed), printed, 'a second run changes nothing')
    })

    test(`blank lines and comments between items at column ${column}`, async () => {
      const indent = ' '.repeat(column)
      const own = item('kind: X\na: 0644\n', column)
      const list = `${HEAD}items: # all\n\n${indent}# first\n${own}\n\n${indent}# about the model\n${item(model('a'), column)}\n${indent}# last\n${own}${indent}# end\n\n`
      const printed = await output(list)
      holdsInOrder(printed, [`items: # all\n\n${indent}# first\n${own}\n\n`, `${indent}# about the model\n${indent}- `])
      assert.ok(printed.endsWith(`\n${indent}# last\n${own}${indent}# end\n\n`))
      assert.is(await output(printed), printed, 'a second run changes nothing')
    })
  }

  test('in flow style', async () => {
    const own = '{kind: X, a: 0644, a: 1} # one, two'
    const list = `${HEAD}items: [ # all, of them\n  ${own}\n  , ${inline('a')},\n  {kind: Y}, # three, four\n]\n`
    const printed = await output(list)
    holdsInOrder(printed, ['items: [ # all, of them\n', '{kind: X, a: 0644, a: 1}', ' # one, two\n'])
    holdsInOrder(printed, ['"kind": "Job"', '"org/a"', '{kind: Y}', '# three, four\n]\n'])
    assert.is(await output(printed), printed, 'a second run changes nothing')
  })

  test('in JSON, on one line and pretty', async () => {
    const own = '{"kind":"X","a":12345678901234567890,"b":1,"b":2,"c":"\\/"}'
    const list = `{"apiVersion":"config.kubernetes.io/v1","kind":"ResourceList","items":[${own},${inline('a')},${own}]}`
    const printed = await output(list)
    holdsInOrder(printed, [`"items":[${own},`, '"kind": "Job"', `"org/a"`, `,${own}]}`])
    assert.is(await output(printed), printed, 'a second run changes nothing')
    assert.equal(Object.keys(JSON.parse(printed)), ['apiVersion', 'kind', 'items'])
    const pretty = JSON.stringify(JSON.parse(list), null, 2)
    assert.equal(JSON.parse(await output(pretty)), JSON.parse(printed))
  })

  test('keys that plain lines do not show', async () => {
    const own = '- kind: X\n  a: 0644 # b-c\n'
    const tagged = `- !x-y {kind: Y, a: 1, a: 2}\n- &c-d\n  kind: Z\n# about the model\n`
    const printed = await output(`${HEAD}"items":\n${own}${tagged}${item(model('a'), 0)}-\n  kind: B\nother: key\n`)
    holdsInOrder(printed, [`"items":\n${own}`, tagged.replace('# about the model\n', ''), '- apiVersion: batch/v1\n'])
    holdsInOrder(printed, ['# about the model\n- apiVersion: arks.ai/v1', '-\n  kind: B\nother: key\n'])
    assert.is(await output(printed), printed, 'a second run changes nothing')
  })

  test('nothing in it', async () => {
    for (const items of ['items: []\n', 'items: [ ] # none\nresults: []\n', '"items": []\n'])
      assert.is(await output(HEAD + items), HEAD + items)
  })

  test('a byte order mark before its first key', async () => {
    const config =
      'functionConfig:\n  apiVersion: fn.arks.ai/v1alpha1\n  kind: ExpandArksModels\n  spec: {image: mine:1}\n'
    const printed = await output(`\ufeff${config}${HEAD}items:\n${item(model('a'), 0)}`)
    assert.ok(printed.startsWith('\ufefffunctionConfig:\n'))
    assert.match(printed, 'image: mine:1\n')
  })

  test('must be the only document', async () => {
    const list = `${HEAD}items:\n${item(model('a'), 0)}`
    const alone = 'must be the only document: a ResourceList is a whole input'
    assert.equal(await errors(`${list}---\nkind: X\n`), [`document 2, line 12: ${alone}`])
    assert.equal(await errors(`kind: X\n---\n${list}`), [`document 2, line 2: ${alone}`])
    const json = `{"kind": "ResourceList", "items": [${inline('a')}]}\n`
    assert.equal(await errors(`${json}---\n${json}`), [`document 2, line 2: ${alone}`])
    assert.equal(await errors(`kind: X\n---\n${json}`), [`document 2, line 3: ${alone}`])
    assert.is((await output(`# c\n---\n${list}---\n# d\n`)).slice(0, 8), '# c\n---\n')
  })

  test('must have a list of items', async () => {
    for (const items of ['', 'items:\n', 'items: {}\n'])
      assert.equal(await errors(HEAD + items), ['document 1, line 1: a ResourceList must have `items`, a list'])
  })

  test('an anchor that reaches from a model into another item', async () => {
    const anchored = model('a').replace('  name: a\n', '  name: a\n  annotations: &x {team: a}\n')
    const list = `${HEAD}items:\n${item(anchored, 0)}- kind: X\n  a: *x\n`
    assert.equal(await errors(list), [
      'document 1, line 4: ArksModel a: must not have the anchor "x": another item uses it',
    ])
    const shared = '- kind: !!str X\n  a: &y arks.ai/v1\n- kind: X\n  b: *y\n'
    holdsInOrder(await output(`${HEAD}items:\n${item(model('a'), 0)}${shared}`), [shared])
    holdsInOrder(await output(list.replace('*x', '"*x"')), ['a: "*x"\n'])
    holdsInOrder(await output(list.replace('*x', '*xy').replace('kind: X', 'kind: X\n  b: &xy 1')), ['a: *xy\n'])
  })
})

describe('a ResourceList with a problem comes back as it was, with results', (test) => {
  const broken = model('a').replace('  model: org/a # kept\n', '')
  const items = `items:\n- kind: X\n  a: 0644\n${item(broken, 0)}`
  const flowItems = `"items": [{"kind": "X", "a": 0644}, ${inline('a').replace('"model": "org/a", ', '')}]`
  const rows: Readonly<Record<string, readonly [text: string, kept: readonly string[]]>> = {
    'at the end': [HEAD + items, [HEAD + items]],
    'where there is no line break at the end': [`${items}kind: ResourceList`, [`${items}kind: ResourceList\n`]],
    'in place of older ones': [`results:\n- message: old\n${HEAD}${items}`, [HEAD + items]],
    'in place of none': [`${HEAD}${items}results: []\nfunctionConfig: {}\n`, [HEAD + items, 'functionConfig: {}\n']],
    'in place of those that only the parser sees': [
      `${HEAD}"results": [] # none\nother: key\n${items}`,
      [HEAD, `# none\nother: key\n${items}`],
    ],
    'before the end marker': [`# a\n---\n${HEAD}${items}... # b\n`, [`# a\n---\n${HEAD}${items}`, '... # b\n']],
    'before a comment of its own document': [`${HEAD}${items}---\n# b\n`, [HEAD + items, '---\n# b\n']],
    'in flow style': [`{"kind": "ResourceList", ${flowItems}}`, ['{', `"kind": "ResourceList", ${flowItems}}`]],
    'in flow style below a comment': [`# {\n{"kind": "ResourceList", ${flowItems}}\n`, ['# {\n{', `${flowItems}}\n`]],
    'in flow style in place of older ones': [
      `{"kind": "ResourceList", "results": [{"message": "old"}], ${flowItems}}\n`,
      ['{"kind": "ResourceList", ', `, ${flowItems}}\n`],
    ],
    indented: [`${HEAD}${items}`.replace(/^(?=.)/gm, '  '), [`${HEAD}${items}`.replace(/^(?=.)/gm, '  ')]],
  }
  for (const [name, [text, kept]] of Object.entries(rows)) {
    test(name, async () => {
      const { stdout, findings } = await run([{ name: undefined, text }], { config: undefined, seal: false })
      assert.is(findings.length, 1)
      holdsInOrder(stdout, kept)
      const documents = parseAllDocuments(stdout, { uniqueKeys: false, version: '1.1' })
      assert.equal(
        documents.flatMap(({ errors: found }) => found),
        [],
      )
      const lists = documents.map((document) => asPlain(document.toJS())).filter(({ kind }) => kind === 'ResourceList')
      assert.is(lists.length, 1)
      assert.equal(JSON.parse(JSON.stringify(lists[0]?.['results'])), JSON.parse(JSON.stringify(findings.map(result))))
      assert.is(stdout.split(/"?results"?:/).length, 2, 'they stand there once')
    })
  }
})

describe('what cannot be read', (test) => {
  const rows: Readonly<Record<string, readonly [text: string, error: string]>> = {
    'a model that is no YAML': [
      `kind: X\n---\n${model('a').replace('name: a', 'name: "a')}`,
      'document 2, line 11: must be well-formed YAML: missing closing "quote',
    ],
    'a key twice in a model': [
      `kind: X\n---\n${model('a')}kind: ArksModel\n`,
      'document 2, line 11: must have the key "kind" only once',
    ],
    'a stream that ends in the middle': [
      'kind: X\n---\nkind: Y\na: {b: c',
      'document 2, line 4: must be well-formed YAML: flow map',
    ],
    'a JSON stream that ends in the middle': [
      '{"kind": "X"}\n---\n{"kind": "Y", "a": [1,',
      'document 2, line 3: must be well-formed YAML: flow',
    ],
    'text that is no object': [
      'kind: X\n---\njust text\n',
      'document 2, line 3: must be a Kubernetes object, got text',
    ],
    'a list that is no object': ['- kind: X\n', 'document 1, line 1: must be a Kubernetes object, got a list'],
    'an alias without an anchor': [
      `${model('a')}  imagePullSecrets: *x\n`,
      'document 1, line 9: alias *x has no anchor before it',
    ],
    'binary data': ['kind: X\u0000\n', 'document 1: must be YAML or JSON text, got binary data'],
  }
  for (const [name, [text, error]] of Object.entries(rows)) {
    test(name, async () => {
      const [found, ...others] = await errors(text)
      assert.equal(others, [])
      assert.ok(found?.startsWith(error), `${found} must start with ${error}`)
    })
  }

  test('duplicate keys in the last document are not a stream that was cut off', async () => {
    for (const text of ['kind: X\na: 1\na: 2', '{"kind": "X", "a": 1, "a": 2}', '--- &x\nkind: X\nkind: Y\n'])
      assert.is(await output(text), text)
    assert.equal((await errors('kind: X\na: 1\na: 2\nb: {')).length, 1, 'and do not hide that it was')
  })

  test('each of many documents, with its line', async () => {
    const found = await errors(Array.from({ length: 300 }, () => 'just text\n').join('---\n'))
    assert.is(found.length, 300)
    assert.is(found[299], 'document 300, line 599: must be a Kubernetes object, got text')
  })
})
