import { spawnSync } from 'node:child_process'
import fc from 'fast-check'
import { load } from 'js-yaml'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { toJson } from '../fn/node.ts'
import { block, blockItem, flow } from '../fn/print.ts'
import { readAny } from '../fn/read-any.ts'
import { TRAPS } from './data/scalars.ts'
import { describe, leftOut } from './harness.ts'
import { yamlcheck } from './parts.ts'

const part = await yamlcheck()

if (part.kind === 'missing') leftOut('YAML as Kubernetes reads it', part)
else {
  /** What Kubernetes reads in each of these documents. */
  const inKubernetes = (documents: readonly string[]): readonly unknown[] => {
    const input = documents.map((text) => `---\n${text}`).join('')
    const { status, stdout, stderr } = spawnSync(part.path, { input, encoding: 'utf8', maxBuffer: 2 ** 28 })
    assert.is(status, 0, stderr)
    // Not JSON.parse: that of Node 24.21 takes keys like "a\t" for "a\\" where many objects have such keys.
    const values: unknown = load(stdout)
    return Array.isArray(values) ? values : []
  }

  /** The first that differs is named. */
  const same = (documents: readonly string[], want: readonly unknown[]): void => {
    const found = inKubernetes(documents)
    assert.is(found.length, documents.length)
    documents.forEach((text, index) => {
      assert.equal(found[index], want[index], text)
    })
  }

  /** In both styles. */
  function printed(values: readonly Plain[]): void {
    same(
      values.map((value) => block(value)),
      values,
    )
    same(
      values.map((value) => `${flow(value)}\n`),
      values,
    )
  }

  describe('YAML as Kubernetes reads it', (test) => {
    test('every trap, as value and as key', () => {
      const values = TRAPS.map((trap) => ({ a: trap, [trap]: trap, b: [trap, { [trap]: 1 }] }))
      printed(values)
    })

    test('whatever is printed', () => {
      const text = fc.oneof(fc.constantFrom(...TRAPS), fc.string({ unit: 'grapheme', maxLength: 12 }))
      const scalar = fc.oneof(
        text,
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((each) => each || 0),
        fc.boolean(),
      )
      const { tree } = fc.letrec<{ tree: Plain; value: unknown }>((tie) => ({
        tree: fc.dictionary(text, tie('value'), { minKeys: 1, maxKeys: 5 }).map((each) => ({ ...each })),
        value: fc.oneof({ maxDepth: 3 }, scalar, tie('tree'), fc.array(tie('value'), { maxLength: 3 })),
      }))
      const values = fc.sample(tree, 500)
      printed(values)
      same(
        values.map((value) => `a:\n${blockItem({ b: value }, 2)}`),
        values.map((value) => ({ a: [{ b: value }] })),
      )
    })

    /** Not taken: what Kubernetes cannot make JSON of, and integers that JSON readers round. */
    const readable = TRAPS.filter(
      (trap) => /^[\w.+=~-]+$/.test(trap) && !/^-+$|^\.{3}|^[-+]?\.(?:inf|nan)$/i.test(trap) && !/^\d{16,}$/.test(trap),
    )

    test('a plain scalar is read as the function reads it', () => {
      const documents = readable.map((trap) => `a: ${trap}\nb: [${trap}]\n`)
      const own = documents.map((text) => {
        const found = readAny(text, 0, text.length, 'refused')
        return found.kind === 'node' ? toJson(found.node) : undefined
      })
      same(documents, own)
    })

    test('a plain key is read as the function reads it', () => {
      const keys = readable.filter((trap) => !/^(?:null|~|1e400|-0\.0)$/i.test(trap))
      const documents = keys.map((trap) => `${trap}: a\n`)
      const own = documents.map((text) => {
        const found = readAny(text, 0, text.length, 'refused')
        return found.kind === 'node' ? toJson(found.node) : undefined
      })
      same(documents, own)
    })
  })
}
