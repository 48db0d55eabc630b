import * as assert from 'uvu/assert'
import { parseArksModel } from '../crds/arksmodel.ts'
import { claim } from '../fn/claim.ts'
import { DEFAULTS } from '../fn/config.ts'
import { mergedInstanceSpec } from '../fn/merge.ts'
import { describe } from './harness.ts'

describe('instanceSpec of the settings under that of a model', (test) => {
  test('the same toleration stands there once, however its keys are ordered', () => {
    const defaults = { tolerations: [{ operator: 'Exists', key: 'gpu' }, { key: 'other' }] }
    const own = { tolerations: [{ key: 'gpu', operator: 'Exists' }] }
    assert.equal(mergedInstanceSpec(defaults, own), {
      tolerations: [{ key: 'other' }, { key: 'gpu', operator: 'Exists' }],
    })
  })

  test('a probe and the lifecycle are replaced as a whole: two handlers would be refused', () => {
    const defaults = {
      livenessProbe: { httpGet: { port: 1 } },
      lifecycle: { preStop: { sleep: {} } },
      nodeSelector: { a: '1' },
    }
    const own = { livenessProbe: { exec: {} }, lifecycle: { postStart: { exec: {} } }, nodeSelector: { b: '2' } }
    assert.equal(mergedInstanceSpec(defaults, own), {
      livenessProbe: { exec: {} },
      lifecycle: { postStart: { exec: {} } },
      nodeSelector: { a: '1', b: '2' },
    })
  })

  test('a key is a key, whatever its name', () => {
    const merged = mergedInstanceSpec({}, JSON.parse('{"nodeSelector": {"__proto__": "x"}}'))
    assert.is(JSON.stringify(merged), '{"nodeSelector":{"__proto__":"x"}}')
  })
})

/** The wave of a claim that models of these waves share. */
function wave(...waves: readonly (string | undefined)[]): string | undefined {
  const models = waves.map((each, index) => {
    const annotations = each === undefined ? {} : { 'argocd.argoproj.io/sync-wave': each }
    const parsed = parseArksModel({
      apiVersion: 'arks.ai/v1',
      kind: 'ArksModel',
      metadata: { name: `m${index}`, annotations },
      spec: { model: 'm', storage: { pvc: { name: 'shared' } } },
    })
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
    return parsed.value
  })
  const [first, ...others] = models
  if (first === undefined) throw new Error('no model')
  return claim([first, ...others], {}, DEFAULTS).metadata.annotations['argocd.argoproj.io/sync-wave']
}

describe('the sync wave of a claim', (test) => {
  const rows: readonly [readonly (string | undefined)[], string | undefined][] = [
    [[undefined], undefined],
    [['2'], '2'],
    [['2', '2'], '2'],
    [['2', '1'], '1'],
    [['10', '9'], '9'],
    [['1', undefined], undefined],
    [['-1', undefined], '-1'],
  ]
  for (const [waves, want] of rows)
    test(`of models in ${waves.join(' and ') || 'none'} is ${want}: a claim alone in a wave may wait for ever`, () =>
      assert.is(wave(...waves), want))
})
