import * as assert from 'uvu/assert'
import { jobName, marker, modelLabel } from '../crds/names.ts'
import { sha256 } from '../fn/digest.ts'
import { describe } from './harness.ts'

const HASH = '0123456789'

const JOB_NAMES: Record<string, { readonly why: string; readonly want: string }> = {
  'qwen-7b': { why: 'an ordinary name stays', want: 'arks-worker-qwen-7b-0123456789' },
  'qwen2.5-7b': { why: 'pods take it as their host name', want: 'arks-worker-qwen2-5-7b-0123456789' },
  [`${'a'.repeat(60)}`]: { why: 'a prefix of ten still fits', want: `arks-worker-${'a'.repeat(30)}-0123456789` },
  [`${'a'.repeat(29)}.b`]: { why: 'no dash at the cut', want: `arks-worker-${'a'.repeat(29)}-0123456789` },
}

describe('names', (test) => {
  for (const [model, { why, want }] of Object.entries(JOB_NAMES)) {
    test(`Job of ${model}`, () => {
      assert.is(jobName(model, HASH), want, why)
      assert.ok(want.length <= 53, 'at most 53 characters')
    })
  }

  test('a label holds 53 characters, so that a prefix still fits', () => {
    const long = `${'m'.repeat(41)}.${'x'.repeat(20)}`
    assert.is(modelLabel('m'.repeat(53), sha256), 'm'.repeat(53))
    assert.is(modelLabel(long, sha256), `${'m'.repeat(41)}-${sha256(long).slice(0, 10)}`)
    assert.is.not(
      modelLabel(`${long}a`, sha256),
      modelLabel(`${long}b`, sha256),
      'what is cut off still tells two apart',
    )
  })

  test('the marker names all models', () => {
    assert.is(
      marker([
        { name: 'a', namespace: 'x' },
        { name: 'b', namespace: undefined },
      ]),
      'x/a,b',
    )
  })
})
