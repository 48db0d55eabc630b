import { readdirSync, readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { parseArguments } from '../controller/arguments.ts'
import { metrics } from '../controller/metrics.ts'
import { MODEL_LABEL } from '../crds/names.ts'
import { DEFAULTS } from '../fn/config.ts'
import { ownLabels } from '../fn/manifest.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { rbac } from './controller.ts'
import { describe } from './harness.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'

/** What is shipped, file by file: that the numbers and names in one are those in the others. */

const read = (file: string): string => readFileSync(file, 'utf8')

const files = (folder: string): readonly string[] =>
  readdirSync(`kustomize/${folder}`)
    .filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml')
    .map((name) => `kustomize/${folder}/${name}`)

const install = [...files('install').flatMap((file) => objects(read(file))), ...rbac()]
const only = (kind: string): unknown => {
  const found = ofKind(install, kind)
  assert.is(found.length, 1, `one ${kind}`)
  return found[0]
}

const deployment = only('Deployment')
const pod = at(deployment, 'spec', 'template', 'spec')
const container = at(pod, 'containers', 0)
const args = asList(at(container, 'args')).map(String)
const portNamed = (name: unknown): unknown =>
  at(
    asList(at(container, 'ports')).find((port) => at(port, 'name') === name),
    'containerPort',
  )
const labels = asPlain(at(deployment, 'spec', 'template', 'metadata', 'labels'))

const selects = (selector: unknown, of: Readonly<Record<string, unknown>>): boolean =>
  Object.entries(asPlain(selector)).every(([key, value]) => of[key] === value)

/** Said, for what the server adds to a list is a change for `kubectl apply`. */
const tcp = (port: unknown): unknown => ({ port, protocol: 'TCP' })

/** Of what is not in a namespace. */
const CLUSTER_WIDE = ['ClusterRole', 'ClusterRoleBinding', 'Namespace']

describe('kustomize/install', (test) => {
  test('lists each of its files', () => {
    for (const folder of ['install', 'monitoring', 'namespaced', 'beside-upstream']) {
      const listed = read(`kustomize/${folder}/kustomization.yaml`)
      for (const file of files(folder)) assert.match(listed, file.slice(file.lastIndexOf('/') + 1))
    }
  })

  test('runs the image that the function names for the loader', () => {
    assert.is(at(container, 'image'), DEFAULTS.image)
    assert.equal(at(container, 'command'), ['arksmodel-controller'])
  })

  test('gives the controller options that it takes, with leader election for two', () => {
    const request = parseArguments(args, false)
    assert.is(request.kind, 'run', JSON.stringify(request))
    if (request.kind !== 'run') return
    assert.equal(request.metricsBind, { kind: 'on', port: portNamed('metrics') })
    assert.equal(request.healthBind, { kind: 'on', port: portNamed('health') })
    assert.is(request.leaderElect, true)
    assert.equal(request.namespaces, [])
    assert.is(at(deployment, 'spec', 'replicas'), 2)
  })

  test('asks for health where it is served', () => {
    assert.equal(at(container, 'livenessProbe', 'httpGet'), { path: '/healthz', port: 'health' })
    assert.equal(at(container, 'readinessProbe', 'httpGet'), { path: '/readyz', port: 'health' })
  })

  test('gives it the time that it takes to end', () => {
    const [, drain] = /for (\d+) s at most/.exec(read('docs/controller.md')) ?? []
    assert.is(drain, '20')
    assert.ok(Number(at(pod, 'terminationGracePeriodSeconds')) >= Number(drain) + 7 + 1, 'and its Events and the lease')
  })

  test('gives Node the heap of the documentation, and the container more than all of it', () => {
    const options = String(at(container, 'env', 0, 'value'))
    assert.match(read('docs/controller.md'), `NODE_OPTIONS="${options}"`)
    const size = (name: string): number => Number(new RegExp(`--max-${name}-space-size=(\\d+)`).exec(options)?.[1])
    const mebibytes = (kind: string): number =>
      Number(/^(\d+)Mi$/.exec(String(at(container, 'resources', kind, 'memory')))?.[1])
    // The young generation has three semi-spaces. 202 MB at most and 150 MB later were measured with 10,000 models.
    assert.ok(mebibytes('limits') >= size('old') + 3 * size('semi') + 100)
    assert.ok(mebibytes('limits') * 1.048576 >= 202 * 1.3)
    assert.ok(mebibytes('requests') * 1.048576 >= 150)
  })

  test('selects its own pods everywhere, and no loader', () => {
    const worker = { ...ownLabels('worker'), [MODEL_LABEL]: 'any' }
    for (const [what, selector] of Object.entries({
      Deployment: at(deployment, 'spec', 'selector', 'matchLabels'),
      spread: at(pod, 'topologySpreadConstraints', 0, 'labelSelector', 'matchLabels'),
      Service: at(only('Service'), 'spec', 'selector'),
      PodDisruptionBudget: at(only('PodDisruptionBudget'), 'spec', 'selector', 'matchLabels'),
      NetworkPolicy: at(only('NetworkPolicy'), 'spec', 'podSelector', 'matchLabels'),
    })) {
      assert.ok(Object.keys(asPlain(selector)).length > 0, what)
      assert.ok(selects(selector, labels), what)
      assert.not(selects(selector, worker), what)
    }
  })

  test('lets in and out exactly what it serves and asks', () => {
    const { ingress, egress, policyTypes } = asPlain(at(only('NetworkPolicy'), 'spec'))
    assert.equal(policyTypes, ['Ingress', 'Egress'])
    assert.equal(ingress, [{ ports: [tcp('metrics'), tcp('health')] }])
    const [server, dns, loaders] = asList(egress)
    assert.equal(server, { ports: [tcp(443), tcp(6443)] })
    assert.equal(dns, { ports: [{ port: 53, protocol: 'UDP' }, tcp(53)] })
    const [job] = ofKind(objects(read('examples/component/rendered/expected.yaml')), 'Job')
    const served = at(job, 'spec', 'template', 'spec', 'containers', 0, 'ports', 0, 'containerPort')
    const key = at(loaders, 'to', 0, 'podSelector', 'matchExpressions', 0, 'key')
    assert.equal([at(loaders, 'ports'), key], [[tcp(served)], MODEL_LABEL])
    assert.ok(String(key) in asPlain(at(job, 'spec', 'template', 'metadata', 'labels')))
    assert.is(asList(egress).length, 3)
  })

  test('gives a token to the pods of the controller alone', () => {
    assert.is(at(pod, 'automountServiceAccountToken'), true)
    assert.is(at(pod, 'serviceAccountName'), nameOf(ofKind(install, 'ServiceAccount')[0] ?? {}))
    assert.match(read('kustomize/install/kustomization.yaml'), 'automountServiceAccountToken: false')
  })
})

describe('kustomize/namespaced', (test) => {
  const lines = read('kustomize/namespaced/kustomization.yaml')

  test('allows in one namespace what the ClusterRole allows in all', () => {
    const [role] = ofKind(objects(read('kustomize/namespaced/role.yaml')), 'Role')
    const [clusterRole] = ofKind(rbac(), 'ClusterRole')
    assert.equal(at(role, 'rules'), at(clusterRole, 'rules'))
  })

  test('leaves out all that is cluster-wide', () => {
    const patches = [...lines.matchAll(/\$patch: delete\n.*\n +kind: (\w+)\n.*\n +name: (.*)/g)]
    const wide = install.filter(({ kind }) => CLUSTER_WIDE.includes(String(kind)))
    assert.equal(
      patches.map(([, kind, name]) => `${kind} ${name}`).sort(),
      [...wide.map((each) => `${each['kind']} ${nameOf(each)}`), 'CustomResourceDefinition arksmodels.arks.ai'].sort(),
    )
  })
})

/** Those in the names of series, behind which `rate` and `histogram_quantile` look. */
const family = (name: string): string => name.replace(/_(?:bucket|count|sum)$/, '')

describe('kustomize/monitoring', (test) => {
  const rules = objects(read('kustomize/monitoring/rules.yaml')).flatMap((each) =>
    asList(at(each, 'spec', 'groups')).flatMap((group) => asList(at(group, 'rules'))),
  )
  const dashboard: unknown = JSON.parse(read('kustomize/monitoring/dashboard.json'))
  const panels = asList(at(dashboard, 'panels'))
  const targets = panels.flatMap((panel) => asList(at(panel, 'targets')))
  const expressions = [...rules, ...targets].map((each) => String(at(each, 'expr')))

  test('asks for metrics that the controller has', async () => {
    const { body } = await (await metrics()).text()
    const known = [...body.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
    const used = new Set(expressions.flatMap((text) => text.match(/\b[a-z]+_[a-z_0-9]+(?=[{[)])/g) ?? []))
    assert.ok(used.size > 20)
    assert.equal(
      [...used].filter((name) => !known.includes(name) && !known.includes(family(name))),
      [],
    )
    const shown = new Set(
      targets.flatMap((target) => String(at(target, 'expr')).match(/\barksmodel_\w+/g) ?? []).map(family),
    )
    assert.equal(
      [...shown].sort(),
      known.filter((name) => name?.startsWith('arksmodel_')).sort(),
      'and shows all of its own',
    )
  })

  test('has alerts with a name, a severity, and words', () => {
    for (const rule of rules) {
      const name = String(at(rule, 'alert'))
      assert.match(name, /^ArksModel[A-Za-z]+$/)
      assert.ok(['warning', 'critical'].includes(String(at(rule, 'labels', 'severity'))), name)
      assert.ok(String(at(rule, 'annotations', 'summary')).length < 120, name)
      assert.ok(String(at(rule, 'annotations', 'description')).length > 0, name)
      assert.match(read('docs/install.md'), `\`${name}\``)
    }
  })

  test('names documents and sections that are there', () => {
    const words = rules.map((rule) => String(at(rule, 'annotations', 'description')))
    for (const [, file = '', section] of words.join('\n').matchAll(/(docs\/\w+\.md)(?:, ([A-Z][\w ]+))?/g)) {
      assert.ok(section === undefined || read(file).includes(`## ${section}\n`), `${file}: ${section}`)
    }
  })

  test('has panels that do not overlap, each with a number of its own', () => {
    const taken = new Set<string>()
    for (const panel of panels) {
      const { x, y, w, h } = asPlain(at(panel, 'gridPos'))
      assert.ok(Number(x) + Number(w) <= 24)
      for (let column = Number(x); column < Number(x) + Number(w); column += 1)
        for (let row = Number(y); row < Number(y) + Number(h); row += 1) {
          assert.not(taken.has(`${column} ${row}`), `${at(panel, 'title')}`)
          taken.add(`${column} ${row}`)
        }
    }
    assert.is(new Set(panels.map((panel) => at(panel, 'id'))).size, panels.length)
  })

  test('watches the port of the Service', () => {
    const [monitor] = objects(read('kustomize/monitoring/service-monitor.yaml'))
    const service = only('Service')
    assert.ok(selects(at(monitor, 'spec', 'selector', 'matchLabels'), asPlain(at(service, 'metadata', 'labels'))))
    assert.is(at(monitor, 'spec', 'endpoints', 0, 'port'), at(service, 'spec', 'ports', 0, 'name'))
    assert.is(at(service, 'spec', 'ports', 0, 'port'), portNamed(at(service, 'spec', 'ports', 0, 'targetPort')))
  })
})
