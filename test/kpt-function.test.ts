import { Configs, type KubernetesObject } from 'kpt-functions'
import * as assert from 'uvu/assert'
import { expandArksModels } from '../fn/kpt-function.ts'
import { describe } from './harness.ts'

const model = (spec: object): KubernetesObject =>
  Object.assign({ apiVersion: 'arks.ai/v1', kind: 'ArksModel', metadata: { name: 'qwen' } }, { spec })

const GOOD = model({ model: 'org/a', source: { huggingface: {} }, storage: { pvc: { name: 'models' } } })

describe('as a KptFunc', (test) => {
  test('expands and stamps', async () => {
    const configs = new Configs([GOOD])
    await expandArksModels(configs)
    assert.equal(
      configs
        .getAll()
        .map(({ kind }) => kind)
        .sort(),
      ['ArksModel', 'Job'],
    )
    const [job] = configs.getAll().filter(({ kind }) => kind === 'Job')
    const [stamped] = configs.getAll().filter(({ kind }) => kind === 'ArksModel')
    assert.is(stamped?.metadata.annotations?.['arks.ai/worker-job'], job?.metadata.name)
    assert.equal(configs.getResults(), [])
  })

  test('changes nothing when it runs again', async () => {
    const configs = new Configs([GOOD])
    await expandArksModels(configs)
    const first = configs.getAll()
    await expandArksModels(configs)
    assert.equal(configs.getAll(), first)
  })

  test('reads its config', async () => {
    const config = Object.assign(
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'config' } },
      { data: { image: 'other:v2' } },
    )
    const configs = new Configs([GOOD], config)
    await expandArksModels(configs)
    assert.match(JSON.stringify(configs.getAll()), '"image":"other:v2"')
  })

  test('reports problems as results and leaves the objects alone', async () => {
    const configs = new Configs([model({ source: { huggingface: {} }, storage: { pvc: { name: 'models' } } })])
    await expandArksModels(configs)
    assert.equal(configs.getAll().length, 1)
    assert.equal(configs.getResults(), [
      {
        message: 'must be present',
        severity: 'error',
        resourceRef: { apiVersion: 'arks.ai/v1', kind: 'ArksModel', namespace: '', name: 'qwen' },
        field: { path: 'spec.model' },
      },
    ])
  })
})
