import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { parseArguments } from '../controller/arguments.ts'
import type { Plain } from '../crds/arksmodel.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { type Asked, asked, isAllowedBy, rulesOf, shown } from './audit.ts'
import { MERGE, startCluster } from './cluster.ts'
import { CONTROLLER, kubectl, rbac } from './controller.ts'
import { kustomization, model } from './data/manifests.ts'
import { describe, leftOut } from './harness.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { controlPlane, kubectls, kustomize, queryReader } from './parts.ts'
import { freePort, type Programs, programs } from './parts-running.ts'
import { expanded, printed } from './process.ts'
import { scratch } from './scratch.ts'
import { eventually } from './until.ts'

/** The install on a real API server: what an administrator types, and what the controller may do with what it is given. */

const INSTALL = 'kustomize/install'
const TEAM = 'team-a'
const MODELS = '/apis/arks.ai/v1/namespaces/default/arksmodels'
const read = (file: string): string => readFileSync(file, 'utf8')

/** A kustomization of somebody who has the project's folders beside it. */
function beside(text: string): string {
  const folder = scratch({ 'mine/kustomization.yaml': kustomization(text) })
  for (const each of ['kustomize', 'crds']) cpSync(each, join(folder, each), { recursive: true })
  return join(folder, 'mine')
}

/** The code blocks of a section of the documentation. */
const blocks = (section: string, language: string): readonly string[] => {
  const [, text = ''] = read('docs/install.md').split(`## ${section}\n`)
  const [own = ''] = text.split('\n## ')
  return [...own.matchAll(new RegExp(`^ *\`\`\`${language}\n([^]*?)^ *\`\`\``, 'gm'))].map(([, block = '']) => block)
}

const NAMESPACED = blocks('Components', 'yaml')[0] ?? ''
const SETTINGS = blocks('Settings', 'yaml')[0] ?? ''
const MONITORED = 'resources: [../kustomize/install]\ncomponents: [../kustomize/monitoring]\n'

/** What Prometheus puts beside the labels of the controller. */
const OF_TARGET = ['namespace', 'pod', 'container']

/** For each metric its labels, with their values. */
type Series = ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>

function seriesIn(text: string): Series {
  const found = new Map<string, Map<string, Set<string>>>()
  for (const [, name = '', labels = ''] of text.matchAll(/^([a-z_0-9]+)(?:\{(.*)\})? \S+$/gim)) {
    const known = found.get(name) ?? new Map<string, Set<string>>()
    found.set(name, known)
    for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="([^"]*)"/g))
      known.set(label, (known.get(label) ?? new Set()).add(value))
  }
  return found
}

/** What a query asks for and the controller does not have. */
function unknownIn(query: unknown, series: Series): readonly string[] {
  const selectors = asList(at(query, 'selectors'))
  const metrics = selectors.map((each) => String(at(each, 'metric')))
  const matched = selectors.flatMap((each) =>
    Object.entries(asPlain(at(each, 'labels'))).flatMap(([label, value]) => {
      const metric = String(at(each, 'metric'))
      const isThere = OF_TARGET.includes(label)
        ? label !== 'container' || value === 'arksmodel-controller'
        : String(value)
            .split('|')
            .every((each) => series.get(metric)?.get(label)?.has(each))
      return isThere ? [] : [`${metric}{${label}="${value}"}`]
    }),
  )
  const grouped = asList(at(query, 'grouping')).filter(
    (label) => !OF_TARGET.includes(String(label)) && !metrics.some((metric) => series.get(metric)?.has(String(label))),
  )
  return [...metrics.filter((metric) => !series.has(metric)), ...matched, ...grouped.map((label) => `by ${label}`)]
}

const auditLog = join(scratch({}), 'audit.log')
const [parts, builder, promql] = [await controlPlane(), await kustomize(), await queryReader()]
const clients = (await kubectls()).filter((part) => part.kind === 'part')
const cluster = await startCluster({ controllerManager: true, auditLog })

if (parts.kind === 'missing') leftOut('the install on a real API server', parts)
else if (cluster.kind === 'missing') leftOut('the install on a real API server', cluster)
else {
  const run = kubectl(parts.kubectl.path, cluster)
  /** What it prints; it must go well and without a warning. */
  const done = async (...args: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await run(args)
    assert.equal([status, stderr], [0, ''], `kubectl ${args.join(' ')}`)
    return stdout
  }
  const applied = async (text: string): Promise<void> => {
    const { status, stderr } = await run(['apply', '-f', '-'], text)
    assert.equal([status, stderr], [0, ''])
  }
  const build = (folder: string): readonly Plain[] => objects(printed(parts.kubectl.path, ['kustomize', folder]))
  const get = async (path: string): Promise<unknown> => (await cluster.request('GET', path)).body
  const exists = async (path: string): Promise<boolean> => (await cluster.request('GET', path)).status === 200
  const uid = async (path: string): Promise<unknown> => at(await get(path), 'metadata', 'uid')
  const isObserved = async (path: string): Promise<boolean> => at(await get(path), 'status', 'observedGeneration') === 1
  const holder = async (namespace: string): Promise<unknown> =>
    at(
      await get(`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/arksmodel-controller`),
      'spec',
      'holderIdentity',
    )

  interface Replica {
    readonly metrics: () => Promise<string>
    readonly stop: Programs['stop']
  }

  /** A pod of this Deployment, but for its ports, which others on this machine may have. It is ready. */
  const replica = async (deployment: unknown, namespace: string): Promise<Replica> => {
    const container = at(deployment, 'spec', 'template', 'spec', 'containers', 0)
    const account = at(deployment, 'spec', 'template', 'spec', 'serviceAccountName')
    const given = await cluster.request('POST', `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, {
      spec: {},
    })
    const config = JSON.parse(read(cluster.kubeconfig))
    config.users[0].user = { token: at(given.body, 'status', 'token') }
    // A pod's own namespace is where its Lease is.
    config.contexts[0].context.namespace = namespace
    const env = Object.fromEntries(
      asList(at(container, 'env')).map((each) => {
        assert.ok('value' in asPlain(each) || at(each, 'valueFrom', 'fieldRef', 'fieldPath') === 'metadata.namespace')
        return [String(at(each, 'name')), String(at(each, 'value') ?? namespace)]
      }),
    )
    const ports: Readonly<Record<string, number>> = { '8080': await freePort(), '8081': await freePort() }
    const args = asList(at(container, 'args')).map((arg) =>
      String(arg)
        .replace(/\$\((\w+)\)/g, (_, name: string) => env[name] ?? '')
        .replace(/=:(\d+)$/, (_, port: string) => `=127.0.0.1:${ports[port]}`),
    )
    const running = programs('controller')
    running.run(process.execPath, [CONTROLLER, ...args], {
      ...env,
      KUBECONFIG: join(scratch({ config: JSON.stringify(config) }), 'config'),
    })
    const asks = (port: string, path: string): Promise<Response> => fetch(`http://127.0.0.1:${ports[port]}${path}`)
    await running.until('ready controller', async () => {
      const answer = await asks('8081', '/readyz').catch(() => undefined)
      return answer?.ok || undefined
    })
    return { metrics: async () => (await asks('8080', '/metrics')).text(), stop: running.stop }
  }

  const askedBy = (namespace: string): readonly Asked[] =>
    asked(auditLog, `system:serviceaccount:${namespace}:arksmodel-controller`)

  /** Nothing was denied, and nothing asked beyond these Roles. */
  function keptTo(namespace: string, roles: readonly Plain[]): void {
    const all = askedBy(namespace)
    const rules = rulesOf(roles)
    assert.ok(all.length > 5)
    assert.equal(
      all.filter(({ code }) => code === 401 || code === 403),
      [],
    )
    assert.equal([...new Set(all.filter((each) => !rules.some((rule) => isAllowedBy(rule)(each))).map(shown))], [])
  }

  describe('the install', (test) => {
    for (const [what, folder] of Object.entries({
      'as it is': INSTALL,
      'with the settings of the documentation': beside(SETTINGS),
      'monitored, in one namespace': beside(NAMESPACED.replace('namespaced]', 'namespaced, ../kustomize/monitoring]')),
      monitored: beside(MONITORED),
    })) {
      test(`is built the same by each kubectl and by kustomize: ${what}`, () => {
        const all = [...clients, ...(builder.kind === 'part' ? [builder] : [])]
        const texts = all.map(({ name, path }) => printed(path, [name === 'kustomize' ? 'build' : 'kustomize', folder]))
        for (const [index, text] of texts.entries()) assert.is(text, texts[0], all[index]?.version)
        assert.ok(all.length > 1)
      })
    }

    test('takes the settings of the documentation', () => {
      const list = build(beside(SETTINGS))
      const [deployment] = ofKind(list, 'Deployment')
      const pod = at(deployment, 'spec', 'template', 'spec')
      const request = parseArguments(asList(at(pod, 'containers', 0, 'args')).map(String), false)
      assert.is(request.kind === 'run' && request.logLevel, 'debug')
      assert.equal(
        [
          at(deployment, 'spec', 'replicas'),
          at(pod, 'containers', 0, 'image'),
          at(pod, 'imagePullSecrets', 0, 'name'),
          at(pod, 'priorityClassName'),
        ],
        [1, 'registry.example.com/arksai/arksmodel:0.1.0', 'registry', 'platform'],
      )
      const ports = asList(at(ofKind(list, 'NetworkPolicy')[0], 'spec', 'egress', 0, 'ports'))
      assert.equal(
        ports.map((each) => at(each, 'port')),
        [443, 6443, 16443],
      )
    })

    test('is applied, and the second time changes nothing', async () => {
      const first = await done('apply', '-k', INSTALL)
      assert.not.match(first, 'configured')
      assert.match(first, 'customresourcedefinition.apiextensions.k8s.io/arksmodels.arks.ai created')
      const versions = (): Promise<string> =>
        done('get', '-k', INSTALL, '-o', 'custom-columns=:kind,:metadata.name,:metadata.resourceVersion')
      // Once the server has said that the CRD is established.
      await cluster.waitForCrd('arksmodels.arks.ai')
      const before = await versions()
      const second = await done('apply', '-k', INSTALL)
      assert.equal(
        second.split('\n').filter((line) => line !== '' && !line.endsWith(' unchanged')),
        // kubectl says so of each one that has a selector.
        ['poddisruptionbudget.policy/arksmodel-controller configured'],
      )
      assert.is(await versions(), before)
      for (const { path } of clients.slice(0, 1)) await kubectl(path, cluster)(['apply', '-k', INSTALL])
      assert.is(await versions(), before, 'nor does the oldest kubectl')
      assert.is(await done('diff', '-k', INSTALL), '')
    })

    test('lets in its own pods, and no other ones', async () => {
      const [deployment] = ofKind(build(INSTALL), 'Deployment')
      const template = asPlain(at(deployment, 'spec', 'template'))
      const pod = { ...template, apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'arksmodel' } }
      const admitted = await cluster.create(pod, { dryRun: true, strict: true })
      assert.equal([admitted.status, admitted.warnings], [201, []], `${at(admitted.body, 'message')}`)
      const loose = { ...pod, spec: { ...asPlain(template['spec']), securityContext: {} } }
      const refused = await cluster.create(loose, { dryRun: true })
      assert.is(refused.status, 403)
      assert.match(String(at(refused.body, 'message')), 'violates PodSecurity "restricted:latest"')
    })

    test('lets those who view or edit a namespace do so with its models, and write no status', async () => {
      for (const role of ['view', 'edit'])
        await done('create', 'rolebinding', role, `--clusterrole=${role}`, `--user=${role}`, '-n', 'default')
      const may = async (
        user: string,
        verb: string,
        resource: string,
        ...more: readonly string[]
      ): Promise<boolean> => {
        const { stdout } = await run(['auth', 'can-i', verb, resource, `--as=${user}`, '-n', 'default', ...more])
        return stdout.trim() === 'yes'
      }
      const AM = 'arksmodels.arks.ai'
      await eventually('aggregated', async () => (await may('view', 'list', AM)) && (await may('edit', 'create', AM)))
      for (const verb of ['get', 'list', 'watch'])
        for (const user of ['view', 'edit']) assert.ok(await may(user, verb, AM), `${user} ${verb}`)
      for (const verb of ['create', 'delete', 'deletecollection', 'patch', 'update']) {
        assert.ok(await may('edit', verb, AM), `edit ${verb}`)
        assert.not(await may('view', verb, AM), `view ${verb}`)
        assert.not(await may('edit', verb, AM, '--subresource=status'), `edit ${verb} of the status`)
      }
      assert.not(await may('edit', 'list', AM, '--all-namespaces'))
    })
  })

  describe('the controller as it is installed', (test) => {
    const [deployment] = ofKind(build(INSTALL), 'Deployment')
    let [first, second]: (Replica | undefined)[] = []

    test('gets ready and leads, and the second replica gets ready', async () => {
      first = await replica(deployment, 'arksmodel')
      await eventually('a leader', async () => Boolean(await holder('arksmodel')))
      second = await replica(deployment, 'arksmodel')
      const leads = async (one: Replica | undefined): Promise<boolean> =>
        /^leader_election_master_status\{name="arksmodel-controller"\} 1$/m.test((await one?.metrics()) ?? '')
      assert.equal([await leads(first), await leads(second)], [true, false])
    })

    test('writes a status, with the rights that it was given and no other', async () => {
      await applied(model({ name: 'seen' }))
      await eventually('a look at it', () => isObserved(`${MODELS}/seen`))
      keptTo('arksmodel', rbac())
    })

    if (promql.kind === 'missing') leftOut("alerts and dashboard in Prometheus' eyes", promql)
    else
      test('has every metric and label that alerts and dashboard ask for', async () => {
        const list = build(beside(MONITORED))
        const dashboard = JSON.parse(
          String(
            at(
              ofKind(list, 'ConfigMap').find((each) => nameOf(each) === 'arksmodel-dashboard'),
              'data',
              'arksmodel.json',
            ),
          ),
        )
        const rules = asList(at(ofKind(list, 'PrometheusRule')[0], 'spec', 'groups')).flatMap((group) =>
          asList(at(group, 'rules')),
        )
        const targets = asList(at(dashboard, 'panels')).flatMap((panel) => asList(at(panel, 'targets')))
        assert.ok(rules.length >= 10 && targets.length >= 20)
        const expressions = [...rules, ...targets].map((each) =>
          String(at(each, 'expr')).replaceAll('$__rate_interval', '5m'),
        )
        const queries: readonly unknown[] = JSON.parse(
          printed(promql.path, [], { input: JSON.stringify([...expressions, 'sum(', 'rate(a_total{b="c"}[1m])']) }),
        )
        const series = seriesIn((await first?.metrics()) ?? '')
        for (const [index, expression] of expressions.entries()) {
          assert.is(at(queries[index], 'problem'), undefined, expression)
          assert.equal(unknownIn(queries[index], series), [], expression)
        }
        const [wrong, unknown] = queries.slice(expressions.length)
        assert.match(String(at(wrong, 'problem')), 'parse error')
        assert.equal(unknownIn(unknown, series), ['a_total', 'a_total{b="c"}'])
      })

    test('ends, and leaves the lease to the other one', async () => {
      const leader = await holder('arksmodel')
      await first?.stop()
      await eventually('another leader', async () => {
        const now = await holder('arksmodel')
        return Boolean(now) && now !== leader
      })
      await second?.stop()
    })
  })

  describe('the Components', (test) => {
    test('monitoring is taken where the Prometheus Operator is', async () => {
      for (const [kind, plural] of [
        ['ServiceMonitor', 'servicemonitors'],
        ['PrometheusRule', 'prometheusrules'],
      ] as const) {
        assert.is((await cluster.create(standIn(kind, plural))).status, 201)
        await cluster.waitForCrd(`${plural}.monitoring.coreos.com`)
      }
      const folder = beside(MONITORED)
      const lines = await done('apply', '-k', folder)
      assert.match(lines, 'prometheusrule.monitoring.coreos.com/arksmodel-controller created')
      assert.match(lines, 'servicemonitor.monitoring.coreos.com/arksmodel-controller created')
      assert.is(await done('diff', '-k', folder), '')
    })

    test('namespaced has the controller see its namespace only, and nothing is cluster-wide', async () => {
      await cluster.createNamespace(TEAM)
      const folder = beside(NAMESPACED)
      const list = build(folder)
      assert.equal([...new Set(list.map((each) => at(each, 'metadata', 'namespace')))], [TEAM])
      await done('apply', '-k', folder)
      assert.is(await done('diff', '-k', folder), '')
      await applied(model({ name: 'outside' }))
      await applied(model({ name: 'inside', namespace: TEAM }))
      const one = await replica(ofKind(list, 'Deployment')[0], TEAM)
      const inside = `/apis/arks.ai/v1/namespaces/${TEAM}/arksmodels/inside`
      await eventually('a look at it', () => isObserved(inside))
      await one.stop()
      assert.not(await isObserved(`${MODELS}/outside`))
      keptTo(TEAM, list)
      assert.equal([...new Set(askedBy(TEAM).map(({ namespace }) => namespace))], [TEAM])

      await done('delete', '-k', folder, '--ignore-not-found')
      assert.ok(await isObserved(inside), 'the model stays, and its namespace')
    })
  })

  describe('uninstalling', (test) => {
    const CLAIM = '/api/v1/namespaces/default/persistentvolumeclaims/qwen'
    const rendered = expanded(model())
    const [job] = ofKind(objects(rendered), 'Job')
    const JOB = `/apis/batch/v1/namespaces/default/jobs/${nameOf(job ?? {})}`

    test('can leave CRD and models, with their status', async () => {
      await applied(rendered)
      const before = await get(`${MODELS}/seen`)
      const [keeping = ''] = blocks('Uninstall', 'sh')
      const commands = keeping.trim().split('\n')
      assert.is(commands.length, 3)
      for (const command of commands) await done(...command.split(' ').slice(1))
      assert.equal(await get(`${MODELS}/seen`), before)
      const { stdout } = await run(['get', 'clusterrole,clusterrolebinding', '-o', 'name'])
      assert.not.match(stdout, 'arksmodel')
      await done('apply', '-k', INSTALL)
    })

    test('takes the models and leaves claims and Jobs, which the next install finds', async () => {
      for (const path of [CLAIM, JOB]) assert.is(at(await get(path), 'metadata', 'ownerReferences'), undefined)
      const before = [await uid(CLAIM), await uid(JOB)]
      await done('delete', '-k', INSTALL, '--ignore-not-found')
      assert.not(await exists(MODELS), 'no models are served')
      assert.not(await exists('/api/v1/namespaces/arksmodel'))

      await done('apply', '--server-side', '-k', INSTALL)
      await cluster.waitForCrd('arksmodels.arks.ai')
      await applied(rendered)
      assert.equal([await uid(CLAIM), await uid(JOB)], before)
    })

    test('goes on by server-side apply, and from a client-side one to it', async () => {
      await done('apply', '--server-side', '-k', INSTALL)
      assert.is(await done('diff', '--server-side', '-k', INSTALL), '')
      await done('delete', '-k', INSTALL, '--ignore-not-found')
      await done('apply', '-k', INSTALL)
      await done('apply', '--server-side', '--force-conflicts', '-k', INSTALL)
      assert.is(await done('diff', '--server-side', '-k', INSTALL), '')
    })
  })

  describe("upstream's operator", (test) => {
    const UPSTREAM = 'test/data/upstream-crd.yaml'
    const byUpstream = (name: string): string =>
      model({ name }).replace('metadata:', `metadata:\n  finalizers: [model.arks.ai/controller]`)
    const claim = (name: string, owner: unknown): Plain => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name,
        labels: { 'arks.ai/model': name },
        ownerReferences: [
          { apiVersion: 'arks.ai/v1', kind: 'ArksModel', name, uid: owner, controller: true, blockOwnerDeletion: true },
        ],
      },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    })
    const CLAIMS = '/api/v1/namespaces/default/persistentvolumeclaims'
    /** Which upstream's CRD does not take. */
    const bare = {
      apiVersion: 'arks.ai/v1',
      kind: 'ArksModel',
      metadata: { name: 'bare' },
      spec: { model: 'a/b', storage: { pvc: { name: 'team' } } },
    }
    const takesBare = async (): Promise<boolean> => (await cluster.create(bare, { dryRun: true })).status === 201

    test('leaves its objects to this CRD, which changes none of them', async () => {
      await done('delete', '-k', INSTALL, '--ignore-not-found')
      await done('create', '-f', UPSTREAM)
      await cluster.waitForCrd('arksmodels.arks.ai')
      for (const name of ['kept', 'lost']) {
        await applied(byUpstream(name))
        const status = {
          phase: 'Ready',
          conditions: [
            {
              type: 'Ready',
              status: 'True',
              reason: 'Ready',
              message: 'The model is ready now',
              lastTransitionTime: '2026-01-01T00:00:00Z',
            },
          ],
        }
        const path = `${MODELS}/${name}`
        assert.is((await cluster.request('PATCH', `${path}/status`, { status }, MERGE)).status, 200)
        assert.is((await cluster.create(claim(name, await uid(path)))).status, 201)
      }
      const before = [await get(`${MODELS}/kept`), await get(`${MODELS}/lost`)]

      assert.not(await takesBare())
      const [, command = ''] = blocks('Beside the upstream operator', 'sh')
      const { status, stderr } = await run(command.trim().split(' ').slice(1))
      assert.is(status, 0, stderr)
      assert.equal(
        stderr.match(/missing the kubectl\.kubernetes\.io\/last-applied-configuration annotation/g)?.length,
        1,
        stderr,
      )
      await eventually('the new schema', takesBare)
      assert.equal([await get(`${MODELS}/kept`), await get(`${MODELS}/lost`)], before)
      assert.is(await done('diff', '-k', INSTALL), '')
    })

    test('leaves its claims, where its finalizer and its ownership are taken off', async () => {
      const [ofModel = '', ofClaim = ''] = blocks('Beside the upstream operator', 'sh')[2]?.trim().split('\n') ?? []
      const typed = async (line: string, name: string): Promise<void> => {
        const words = line
          .trim()
          .replace(/MODEL|CLAIM/, name)
          .replaceAll("'", '')
          .split(' ')
        await done(...words.slice(1))
      }
      for (const name of ['kept', 'lost']) await typed(ofModel, name)
      await typed(ofClaim, 'kept')
      for (const name of ['kept', 'lost']) await done('delete', 'am', name)
      // The garbage collector takes half a minute to notice a new kind.
      await done('wait', '--for=delete', 'pvc/lost', '--timeout=120s')
      assert.ok(await exists(`${CLAIMS}/kept`))
    })

    test('is left to read models when its role is patched, with and without kustomize', async () => {
      const role = read('test/data/upstream-role.yaml')
      await applied(role.replace('name: manager-role', 'name: arks-operator-manager-role'))
      const [command = ''] = blocks('Beside the upstream operator', 'sh')
      await done(...command.trim().split(' ').slice(1))
      const patched = at(
        await get('/apis/rbac.authorization.k8s.io/v1/clusterroles/arks-operator-manager-role'),
        'rules',
      )
      const folder = beside(
        'resources: [role.yaml]\nnamePrefix: arks-operator-\ncomponents: [../kustomize/beside-upstream]\n',
      )
      cpSync('test/data/upstream-role.yaml', join(folder, 'role.yaml'))
      assert.equal(at(build(folder)[0], 'rules'), patched)
      const rules = rulesOf([{ kind: 'ClusterRole', rules: patched }])
      const left = rules.filter(({ resource }) => resource.startsWith('arksmodels')).map(shown)
      assert.equal(
        left,
        ['get', 'list', 'watch'].map((verb) => `${verb} arks.ai arksmodels`),
      )
      const before = rulesOf(objects(role)).filter(({ resource }) => !resource.startsWith('arksmodels'))
      assert.equal(
        rules.filter(({ resource }) => !resource.startsWith('arksmodels')),
        before,
        'nothing else is taken',
      )
    })

    test('is done', () => cluster.stop())
  })
}

/** A kind of the Prometheus Operator, without its rules. */
const standIn = (kind: string, plural: string): Plain => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.monitoring.coreos.com` },
  spec: {
    group: 'monitoring.coreos.com',
    scope: 'Namespaced',
    names: { kind, plural, singular: kind.toLowerCase() },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
})
