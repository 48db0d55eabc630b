import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { definitionsText, type OpenApi } from '../crds/generate.ts'
import type { Crd, Schema } from '../crds/schema.ts'
import { asPlain } from '../fn/merge.ts'
import { type Answer, MERGE, startCluster } from './cluster.ts'
import { CASES, objectOf } from './data/models.ts'
import { describe, leftOut } from './harness.ts'
import { kubectls } from './parts.ts'
import { eventually } from './until.ts'

const here = (file: string): URL => new URL(file, import.meta.url)
const read = (file: string): string => readFileSync(here(file), 'utf8')

const CRD_FILE = here('../crds/arksmodel.yaml').pathname
const CRD = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/arksmodels.arks.ai'
const MODELS = '/apis/arks.ai/v1/namespaces/default/arksmodels'
/** As upstream's operator and its users write them; the second would be refused today. */
const STORED: readonly { readonly metadata: { readonly name: string }; readonly status: unknown }[] = parse(`
- apiVersion: arks.ai/v1
  kind: ArksModel
  metadata: {name: full}
  spec:
    model: Qwen/Qwen2.5-7B-Instruct
    source: {huggingface: {tokenSecretRef: {name: hf-token}}}
    storage:
      pvc: {name: models, spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 20Gi}}}}
      subPath: qwen/
    imagePullSecrets: [{name: registry}, {}]
    instanceSpec:
      env: [{name: A, valueFrom: {secretKeyRef: {key: k}}}]
      initContainers: [{name: init, ports: [{containerPort: 80}]}]
      livenessProbe: {grpc: {port: 1}}
      volumes: [{name: disk, azureDisk: {diskName: a, diskURI: b}}, {name: files, configMap: {}}]
  status:
    phase: Ready
    conditions: [{type: Ready, status: "True", reason: Ready, lastTransitionTime: "2026-01-01T00:00:00Z"}]
- apiVersion: arks.ai/v1
  kind: ArksModel
  metadata: {name: wrong}
  spec: {model: a/b/c, source: {}, storage: {pvc: {name: "", spec: {}}, subPath: /models}}
  status: {phase: Ready}
`)

/** A field of upstream's CRD, as test/data/upstream-fields.txt lists them. */
interface Field {
  readonly own: Schema
  readonly required: boolean
  readonly below: Map<string, Field>
}

function upstreamSchema(): Schema {
  const root: Field = { own: { type: 'object' }, required: false, below: new Map() }
  for (const line of read('data/upstream-fields.txt').trim().split('\n')) {
    const [path = '', ...words] = line.split(' ')
    const steps = path.match(/\[\]|\{\}|[^.[\]{}]+/g) ?? []
    const parent = steps.slice(0, -1).reduce<Field | undefined>((field, step) => field?.below.get(step), root)
    parent?.below.set(steps.at(-1) ?? '', {
      own: ownSchema(words),
      required: words.includes('required'),
      below: new Map(),
    })
  }
  return schemaOf(root)
}

function ownSchema([type = '', ...words]: readonly string[]): Schema {
  if (type === 'quantity' || type === 'int-or-string') return { 'x-kubernetes-int-or-string': true }
  const format = words.find((word) => /^(int|date)/.test(word))
  const value = words.find((word) => word.startsWith('default='))?.slice('default='.length)
  const merge = words.find((word) => word.startsWith('merge:'))?.slice('merge:'.length)
  const keys = merge === 'atomic' || merge === 'set' ? undefined : merge?.split('+')
  return {
    type,
    ...(format && { format }),
    ...(value && { default: JSON.parse(value) }),
    ...(merge && type === 'object' && { 'x-kubernetes-map-type': merge }),
    ...(merge && type === 'array' && { 'x-kubernetes-list-type': keys ? 'map' : merge }),
    ...(keys && { 'x-kubernetes-list-map-keys': keys }),
  }
}

function schemaOf({ own, below }: Field): Schema {
  const items = below.get('[]')
  const values = below.get('{}')
  if (items) return { ...own, items: schemaOf(items) }
  if (values) return { ...own, additionalProperties: schemaOf(values) }
  if (below.size === 0) return own
  const required = [...below].filter(([, field]) => field.required).map(([name]) => name)
  const properties = Object.fromEntries([...below].map(([name, field]) => [name, schemaOf(field)]))
  return { ...own, properties, ...(required.length > 0 && { required }) }
}

const message = ({ body }: Answer): string => String(asPlain(body)['message'] ?? '')

const crd: Crd = parse(read('../crds/arksmodel.yaml'))
const clients = (await kubectls()).filter((part) => part.kind === 'part')
const cluster = await startCluster()
if (cluster.kind === 'missing') leftOut('the CRD on a real API server', cluster)
else {
  const run = (path: string, ...args: readonly string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(path, [`--kubeconfig=${cluster.kubeconfig}`, `--cache-dir=${cluster.kubeconfig}.cache`, ...args], {
      encoding: 'utf8',
    })
  const kubectl = (...args: readonly string[]): string => {
    const { stdout, stderr } = run(clients.at(-1)?.path ?? 'kubectl', ...args)
    return stdout + stderr
  }

  /** The server answers 429 for a moment after its CRD was changed. */
  const stored = async (): Promise<unknown> => {
    let answer = await cluster.request('GET', MODELS)
    await eventually('the models can be listed', async () => {
      answer = await cluster.request('GET', MODELS)
      return answer.status === 200
    })
    return asPlain(answer.body)['items']
  }

  describe('the CRD on a real API server', (test) => {
    for (const { name, version, path } of clients) {
      test(`is taken from ${name} ${version} by a client-side apply, without a warning`, async () => {
        const { status, stdout, stderr } = run(path, 'apply', '-f', CRD_FILE)
        assert.is(stderr, '')
        assert.match(stdout, /arksmodels\.arks\.ai (created|unchanged)/)
        assert.is(status, 0)
        await cluster.waitForCrd('arksmodels.arks.ai')
      })
    }

    test('is taken by a server-side apply, without a warning', async () => {
      const answer = await cluster.apply(crd, { force: true, strict: true })
      assert.equal([answer.status, answer.warnings], [200, []])
    })

    test("holds Kubernetes' types as this very server has them", async () => {
      const { body } = await cluster.request('GET', '/openapi/v3/api/v1')
      const document: OpenApi = JSON.parse(JSON.stringify(body))
      assert.is(
        definitionsText(read('../crds/arksmodel.source.yaml'), document),
        read('../crds/kubernetes.json'),
        'run `kubectl get --raw /openapi/v3/api/v1 > FILE; node crds/generate.ts --openapi FILE`',
      )
    })

    test('lets kubectl explain what a field is for', async () => {
      const explained = (field: string): string => kubectl('explain', field).replace(/\s+/g, ' ')
      const revision = 'arksmodel.spec.source.huggingface.revision'
      // The server publishes the schema some time after it serves the kind.
      await eventually('the schema is published', async () => explained(revision).includes('FIELD: revision <string>'))
      assert.match(explained(revision), 'Branch, tag or commit of the repository. Absent: its branch main')
      assert.match(explained('am.spec.instanceSpec.tolerations'), 'effect')
    })

    test('gives a new model its status at once, and shows it', async () => {
      const made = await cluster.create({
        apiVersion: 'arks.ai/v1',
        kind: 'ArksModel',
        metadata: { name: 'qwen2.5-7b' },
        spec: { model: 'a/b' },
      })
      assert.equal(asPlain(made.body)['status'], { observedGeneration: -1, phase: 'Pending' })
      const [head = '', row = ''] = kubectl('get', 'am').split('\n')
      assert.equal(head.trim().split(/ +/), ['NAME', 'AGE', 'MODEL', 'PHASE'])
      assert.match(row, /^qwen2\.5-7b +\d+s +a\/b +Pending *$/)
      const [wide = ''] = kubectl('get', 'arks', '-o', 'wide').split('\n')
      assert.match(wide, /^NAME +AGE +MODEL +PHASE +PROGRESS +SIZE +COMMIT +PVC +REASON +MESSAGE *$/)
      await cluster.request('DELETE', `${MODELS}/qwen2.5-7b`)
    })

    for (const [name, each] of Object.entries(CASES)) {
      test(`${name}: ${each.why}`, async () => {
        const answer = await cluster.create(objectOf(each), { dryRun: true, strict: true })
        assert.is(answer.status < 300, each.server === undefined, message(answer))
        for (const part of each.server ?? []) assert.ok(message(answer).includes(part), message(answer))
        assert.equal(answer.warnings, [])
      })
    }

    test("changes no object that was stored under upstream's CRD, and holds none of them up", async () => {
      await cluster.request('DELETE', CRD)
      await eventually('the CRD is gone', async () => (await cluster.request('GET', CRD)).status === 404)
      const [version] = crd.spec.versions
      const upstream = {
        ...crd,
        spec: { ...crd.spec, versions: [{ ...version, schema: { openAPIV3Schema: upstreamSchema() } }] },
      }
      assert.is((await cluster.create(upstream)).status, 201)
      await cluster.waitForCrd('arksmodels.arks.ai')
      for (const object of STORED) {
        const made = await cluster.create(object)
        assert.is(made.status, 201, message(made))
        await cluster.request('PATCH', `${MODELS}/${object.metadata.name}/status`, { status: object.status }, MERGE)
      }
      const before = await stored()

      kubectl('apply', '-f', CRD_FILE)
      const empty = {
        apiVersion: 'arks.ai/v1',
        kind: 'ArksModel',
        metadata: { name: 'empty' },
        spec: { model: 'a/b', source: {} },
      }
      await eventually('the rules hold', async () => (await cluster.create(empty, { dryRun: true })).status === 422)
      assert.equal(await stored(), before)

      const label = { metadata: { labels: { team: 'a' } }, spec: { instanceSpec: { priority: 1 } } }
      assert.is(
        (await cluster.request('PATCH', `${MODELS}/wrong`, label, MERGE)).status,
        200,
        'what was wrong before may stay',
      )
      const worse = await cluster.request(
        'PATCH',
        `${MODELS}/wrong`,
        { spec: { storage: { subPath: '../up' } } },
        MERGE,
      )
      assert.is(worse.status, 422, 'what is changed must be right')
    })

    test('is done', () => cluster.stop())
  })
}
