import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { type Filter, wanted } from '../loader/patterns.ts'
import { describe } from './harness.ts'

interface Answers {
  readonly version: string
  readonly paths: readonly string[]
  /** For each path `1` if the pattern matches it. */
  readonly patterns: Readonly<Record<string, string>>
}

const answers: Answers = JSON.parse(readFileSync('test/data/patterns.json', 'utf8'))

const chosen = (filter: Partial<Filter>, ...paths: readonly string[]): readonly string[] =>
  paths.filter(wanted({ include: [], exclude: [], ...filter }))

describe('patterns', (test) => {
  test(`match what huggingface_hub ${answers.version} says, in thousands of pairs`, () => {
    let pairs = 0
    for (const [pattern, want] of Object.entries(answers.patterns)) {
      const isWanted = wanted({ include: [pattern], exclude: [] })
      const got = answers.paths.map((path) => (isWanted(path) ? '1' : '0')).join('')
      const wrong = answers.paths.filter((_, index) => got[index] !== want[index])
      assert.equal(wrong, [], `pattern ${JSON.stringify(pattern)}`)
      pairs += got.length
    }
    assert.ok(pairs > 4000, `${pairs} pairs`)
  })

  test('an excluded file is not wanted, though it is included', () => {
    const filter = { include: ['*.json', '*.safetensors'], exclude: ['original/', '*.index.json'] }
    const paths = ['a.json', 'original/a.json', 'model.safetensors', 'model.safetensors.index.json', 'README.md']
    assert.equal(chosen(filter, ...paths), ['a.json', 'model.safetensors'])
  })

  test('all files are wanted where nothing is included', () => {
    assert.equal(chosen({}, 'a', 'b/c'), ['a', 'b/c'])
    assert.equal(chosen({ exclude: ['b/*'] }, 'a', 'b/c'), ['a'])
  })

  test('end in time, whatever the pattern', () => {
    const pattern = `${'*a'.repeat(60)}b`
    assert.equal(chosen({ include: [pattern] }, 'a'.repeat(20_000)), [])
  })
})
