import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { mergePatch } from '../controller/merge-patch.ts'
import { canonical } from '../controller/seen.ts'
import { isRecord } from '../crds/place.ts'
import { describe } from './harness.ts'

interface Row {
  readonly why: string
  readonly before: unknown
  readonly after: unknown
  readonly want: unknown
}

const ROWS: Readonly<Record<string, Row>> = {
  'the same': { why: 'nothing has to be sent', before: { a: 1 }, after: { a: 1 }, want: undefined },
  'the same in another order': {
    why: 'the order of keys says nothing, in lists neither',
    before: { a: 1, b: [{ c: 1, d: 2 }] },
    after: { b: [{ d: 2, c: 1 }], a: 1 },
    want: undefined,
  },
  'one of several': { why: 'the others stay', before: { a: 1, b: 2 }, after: { a: 1, b: 3 }, want: { b: 3 } },
  'a new one': { why: '', before: {}, after: { a: { b: 1 } }, want: { a: { b: 1 } } },
  'a deeper one': { why: '', before: { a: { b: 1, c: 2 } }, after: { a: { b: 1, c: 3 } }, want: { a: { c: 3 } } },
  'one that goes': { why: 'a null takes it away', before: { a: 1, b: 2 }, after: { b: 2 }, want: { a: null } },
  'one that is undefined': {
    why: 'that is how one says what goes',
    before: { a: 1 },
    after: { a: undefined },
    want: { a: null },
  },
  'undefined that was not there': { why: 'nothing goes', before: {}, after: { a: undefined }, want: undefined },
  'a deeper one that goes': {
    why: '',
    before: { a: { b: 1, c: 2 } },
    after: { a: { c: 2 } },
    want: { a: { b: null } },
  },
  'an entry of a list': {
    why: 'lists are replaced whole',
    before: { a: [1, 2] },
    after: { a: [1, 3] },
    want: { a: [1, 3] },
  },
  'another kind of value': { why: '', before: { a: { b: 1 } }, after: { a: [1] }, want: { a: [1] } },
  'nothing there before': {
    why: 'a status that was never written',
    before: undefined,
    after: { a: 1 },
    want: { a: 1 },
  },
}

/** As RFC 7396 says it. */
function patched(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = patched(result[key], value)
  }
  return result
}

const word = fc.constantFrom('a', 'b', 'c')
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom<unknown>(0, 1, 'x', true),
    fc.array(tie('value'), { maxLength: 2 }),
    fc.dictionary(word, tie('value'), { maxKeys: 3 }),
  ),
}))
const object = fc.dictionary(word, value, { maxKeys: 3 })

describe('mergePatch', (test) => {
  for (const [name, { why, before, after, want }] of Object.entries(ROWS)) {
    test(name, () => assert.equal(mergePatch(before, after), want, why))
  }

  test('applied to what was, it gives what is wanted, and after that there is nothing to do', () => {
    fc.assert(
      fc.property(object, object, (before, after) => {
        const result = patched(before, mergePatch(before, after) ?? {})
        assert.is(canonical(result), canonical(after))
        assert.is(mergePatch(result, after), undefined)
      }),
    )
  })
})
