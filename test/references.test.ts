import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { digests, references } from '../fn/references.ts'
import { describe } from './harness.ts'

const INTERNAL = 'internal.config.kubernetes.io'

const secret = (name: string, value: string, annotations: Plain = {}, namespace?: string): Plain => ({
  kind: 'Secret',
  metadata: { name, namespace, annotations },
  data: { HF_TOKEN: value },
})
const model = (annotations: Plain = {}, namespace?: string): Plain => ({
  metadata: { name: 'qwen', namespace, annotations },
})
const TOKEN = [{ kind: 'Secret', name: 'hf-token' }] as const
const prefixed = (prefix: string): Plain => ({
  [`${INTERNAL}/prefixes`]: prefix,
  [`${INTERNAL}/previousNames`]: 'hf-token,hf-token',
})

describe('references', (test) => {
  test('are found wherever a pod names a Secret or a ConfigMap', () => {
    const pod = {
      imagePullSecrets: [{ name: 's5' }],
      containers: [
        {
          env: [
            { name: 'A', valueFrom: { secretKeyRef: { name: 's1', key: 'k' } } },
            { name: 'B', valueFrom: { configMapKeyRef: { name: 'c1', key: 'k' } } },
          ],
          envFrom: [{ secretRef: { name: 's2' } }, { configMapRef: { name: 'c2' } }],
        },
      ],
      volumes: [
        { name: 'x', secret: { secretName: 's3' } },
        { name: 'y', configMap: { name: 'c3' } },
        { name: 'z', projected: { sources: [{ secret: { name: 's4' } }, { configMap: { name: 'c4' } }] } },
      ],
    }
    const found = references(pod).map(({ kind, name }) => `${kind} ${name}`)
    assert.equal(found.sort(), [
      'ConfigMap c1',
      'ConfigMap c2',
      'ConfigMap c3',
      'ConfigMap c4',
      'Secret s1',
      'Secret s2',
      'Secret s3',
      'Secret s4',
      'Secret s5',
    ])
  })

  test('an unrelated Secret changes nothing', () => {
    assert.equal(digests(model(), TOKEN, [secret('other', 'x')]), [])
    assert.equal(digests(model({}, 'a'), TOKEN, [secret('hf-token', 'x', {}, 'b')]), [], 'of another namespace')
  })

  test('other contents are another digest', () => {
    const [one] = digests(model(), TOKEN, [secret('hf-token', 'x')])
    const [two] = digests(model(), TOKEN, [secret('hf-token', 'y')])
    assert.type(one, 'string')
    assert.is.not(one, two)
  })

  test('a Secret is known by its earlier names and namespaces', () => {
    const renamed = secret(
      'team-hf-token',
      'x',
      { [`${INTERNAL}/previousNames`]: 'hf-token', [`${INTERNAL}/previousNamespaces`]: 'default' },
      'prod',
    )
    assert.is(digests(model(), TOKEN, [renamed]).length, 1)
  })

  test('of two tenants each has its own', () => {
    const both = [secret('a-hf-token', 'x', prefixed('a-')), secret('b-hf-token', 'y', prefixed('b-'))]
    const a = digests(model({ [`${INTERNAL}/prefixes`]: 'a-' }), TOKEN, both)
    const b = digests(model({ [`${INTERNAL}/prefixes`]: 'b-' }), TOKEN, both)
    assert.is(a.length, 1)
    assert.is(b.length, 1)
    assert.not.equal(a, b)
  })
})
