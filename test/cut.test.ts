import * as assert from 'uvu/assert'
import { cut, type Slot } from '../fn/cut.ts'
import { describe } from './harness.ts'

async function slots(text: string): Promise<readonly Slot[]> {
  const found = await cut(text)
  if (found.kind === 'stream') return found.slots
  assert.is(found.kind, 'resource-list')
  return found.kind === 'resource-list' ? found.list.slots : []
}

const pieces = async (text: string): Promise<readonly string[]> =>
  (await slots(text)).map(({ start, end }) => text.slice(start, end))

describe('a stream is cut', (test) => {
  const rows: Readonly<Record<string, readonly string[]>> = {
    'one document': ['a: b\n'],
    'at each separator': ['a: b\n', '---\nc: d\n', '--- # e\nf: g\n', '---\r\nh: i\r\n', '---\tj\n', '---'],
    'not at what only looks like one': ['a: |\n ---\n', '---\n----: b\n---c: d\n-- -\n --- e\n'],
    'behind each end': ['a: b\n...\n', 'c: d\n... # e\n', '...\n', '---\nf: g\n...'],
    'not at what only looks like an end': ['a: |\n ...\n....: b\n...c: d\n'],
    'with directives on top of their document': [
      '%YAML 1.2\n---\na: b\n',
      '---\nc: d\n...\n',
      '# e\n%TAG ! f:\n# g\n---\nh: i\n',
      '---\n',
    ],
    'with comments as documents of their own': ['# a\n\n', '---\nb: c\n', '---\n# d\n', '---\n'],
    'behind a byte order mark': ['a: b\n', '---\nc: d\n'],
  }
  for (const [name, want] of Object.entries(rows)) {
    test(name, async () => {
      const mark = name.includes('mark') ? '\ufeff' : ''
      assert.equal(await pieces(mark + want.join('')), want)
    })
  }

  test('into numbered documents', async () => {
    const found = await slots('# none\n---\na: b\n---\n---\nc: d\n...\n...\n# none\n---\ne: f\n')
    const numbers = found.filter(({ kind }) => kind !== '').map(({ document }) => document)
    assert.equal(numbers, [1, 2, 3])
  })

  test('into very many', async () => {
    const found = await slots(`a: b\n${'---\na: b\n'.repeat(20_000)}`)
    assert.equal([found.length, found.at(-1)?.document], [20_001, 20_001])
  })
})

describe('a kind is seen', (test) => {
  const rows: Readonly<Record<string, string | undefined>> = {
    'kind: X\n': 'X',
    'apiVersion: v1\nspec:\n  kind: Y\nkind: X # c\n': 'X',
    '# c\n\n"apiVersion": v1\nkind: "X"\n': 'X',
    "'kind': 'X'\r\n": 'X',
    '    a: b\n    kind: X\n': 'X',
    'a: |\n  kind: Y\n': undefined,
    'kind: &a X\n': undefined,
    'kind: !!str X\n': undefined,
    'kind:\n  X\n': undefined,
    'kind:\tX\n': undefined,
    'kind : X\n': undefined,
    '? kind\n: X\n': undefined,
    '{kind: X}\n': undefined,
    '- kind: X\n': undefined,
    '--- !!map\nkind: X\n': undefined,
    'just text\n': undefined,
    '# c\n': '',
    '---\n\n': '',
    '...\n': '',
  }
  for (const [text, want] of Object.entries(rows)) {
    test(JSON.stringify(text), async () => assert.is((await slots(text)).at(-1)?.kind, want))
  }
})

const HEAD = 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\n'

describe('a ResourceList is cut', (test) => {
  const rows: Readonly<Record<string, readonly string[]>> = {
    'at dashes in the first column': ['- kind: X\n  a:\n  - b\n', '- kind: Y\n', '-   kind: Z\n    c: d\n'],
    'at dashes in another column': ['  - kind: X\n    a:\n    - b\n', '  - kind: Y\n'],
    'above the comments of an item': [
      '- kind: X\n  # own\n',
      '# about y\n# still\n- kind: Y\n',
      '# z\n- kind: Z\n# end\n',
    ],
    'below the comments that a blank line parts': [
      '\n- kind: X\n# about x\n\n'.slice(1),
      '- kind: Y\n\n',
      '# z\n- kind: Z\n',
    ],
    'where an item has nothing behind its dash': ['-\n  kind: X\n', '- # c\n  kind: Y\n', '-\n'],
    'where a tag or an anchor follows': ['- !a-b {kind: X}\n', '- &c-d\n  kind: Y\n', '- kind: Z\n'],
  }
  for (const [name, want] of Object.entries(rows)) {
    test(name, async () => {
      assert.equal(await pieces(`${HEAD}items:\n${want.join('')}`), want)
      assert.equal(await pieces(`items: # c\n${want.join('')}${HEAD}`), want)
      const [, ...others] = await pieces(`${HEAD}"items":\n${want.join('')}other: key\n`)
      assert.equal(others.slice(0, -1), want.slice(1, -1), 'by the parser as well')
    })
  }

  test('in flow style at the items themselves', async () => {
    const items = ['{kind: X, a: [1, {b: c}]}', '{"kind": "Y"}', '[z]']
    assert.equal(await pieces(`${HEAD}items: [ # c, d\n ${items.join(' , # e\n  ')}, ]\n`), items)
    assert.equal(await pieces(`{"kind": "ResourceList", "items": [${items.slice(0, 2).join(',')}]}`), items.slice(0, 2))
  })

  test('only where it is one', async () => {
    for (const text of ['kind: ResourceListing\nitems:\n- a\n', '{"kind": "X", "a": "ResourceList"}\n'])
      assert.is((await cut(text)).kind, 'stream')
  })
})
