import { cpSync, readFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { PHASES, type Plain } from '../crds/arksmodel.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { asked, askedUntil, isAllowedBy, rulesOf, shown } from './audit.ts'
import { MERGE, startCluster } from './cluster.ts'
import {
  type Controller,
  conditionOf,
  kubectl,
  type Models,
  NAMESPACE,
  permit,
  phaseOf,
  rbac,
  says,
  startController,
  watchModels,
} from './controller.ts'
import { kustomization } from './data/manifests.ts'
import { describe, leftOut } from './harness.ts'
import { hub, randomFile } from './hub.ts'
import { startKubelet } from './kubelet.ts'
import { sizeOf } from './loader.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { controlPlane, kustomize } from './parts.ts'
import { freePort } from './parts-running.ts'
import { BUILD, expanded, printed } from './process.ts'
import { scratch } from './scratch.ts'
import { eventually, gated } from './until.ts'

/** From `kubectl apply` to Ready and on from there: a real API server, the real loader, and a user for each program. */

const USER = 'arksmodel-controller'
/** May do the same, so that the audit log tells them apart. */
const DRY = 'dry-run'
/** May do the same, but in one namespace only. */
const LIMITED = 'limited'

const QUICKSTART = 'Qwen/Qwen2.5-7B-Instruct-1M'
const LAST = 'model-00002-of-00002.safetensors'
const FILES = [
  randomFile('config.json', 700, 2),
  randomFile('model-00001-of-00002.safetensors', 600_000, 3),
  randomFile(LAST, 400_000, 4),
]
const OTHER_FILES = [randomFile('config.json', 800, 5), randomFile('model.safetensors', 300_000, 6)]
const MANY_FILES = Array.from({ length: 6 }, (_, index) =>
  randomFile(`part-${index}.safetensors`, 100_000 + 10_000 * index, 10 + index),
)

/** The loader looks first whether it may read the largest one. */
const SMALLEST = 'part-0.safetensors'

/** As the document has them, for the claim of this name. */
const readyWith = (claim: string): readonly (readonly string[])[] => [
  ['StorageCreated', 'True', 'CreateSucceeded', `Create model storage successfully(${claim})`],
  ['ModelLoaded', 'True', 'ModelLoadSucceeded', 'Load the model successfully'],
  ['Ready', 'True', 'Ready', 'The model is ready now'],
]

const shownConditions = (model: Plain): readonly (readonly unknown[])[] =>
  asList(at(model, 'status', 'conditions')).map((each) =>
    ['type', 'status', 'reason', 'message'].map((field) => at(each, field)),
  )

/** In their order. */
const NAMES: readonly string[] = PHASES

const isReady = (model: Plain): boolean => phaseOf(model) === 'Ready'
const isObserved = (model: Plain): boolean =>
  at(model, 'status', 'observedGeneration') === at(model, 'metadata', 'generation')
const isReadyNow = (model: Plain): boolean => isReady(model) && isObserved(model)
const reasonOf = (model: Plain): unknown => conditionOf(model, 'Ready')[1]

interface Written {
  readonly name: string
  readonly namespace: string
  /** YAML, all of them. */
  readonly annotations?: string
  readonly source?: string
  readonly storage?: string
}

const CLAIM = '{accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}'

const written = ({ name, namespace, annotations, source, storage = `{pvc: {spec: ${CLAIM}}}` }: Written): string => `
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: ${name}, namespace: ${namespace}, annotations: ${annotations ?? '{}'}}
spec:
  model: org/model
  storage: ${storage}
${source === undefined ? '' : `  source: ${source}\n`}`

const HUB = '{huggingface: {}}'

const auditLog = join(scratch({}), 'audit.log')
const [parts, builder] = [await controlPlane(), await kustomize()]
const cluster = await startCluster({ controllerManager: true, users: [USER, DRY, LIMITED], auditLog })

if (parts.kind === 'missing') leftOut('the controller on a real API server', parts)
else if (cluster.kind === 'missing') leftOut('the controller on a real API server', cluster)
else {
  if (builder.kind === 'missing') leftOut('names that kustomize changes', builder)
  const there = await hub({
    repositories: {
      [QUICKSTART]: { revisions: { main: FILES, next: OTHER_FILES } },
      'org/model': { revisions: { main: OTHER_FILES } },
      'org/large': { revisions: { main: MANY_FILES } },
    },
  })
  const unbound = new Set<string>()
  const kubelet = await startKubelet({
    cluster,
    volumes: scratch({}),
    env: { HF_ENDPOINT: there.url },
    bindsClaim: ({ metadata }) => !unbound.has(metadata.name),
  })
  const run = kubectl(parts.kubectl.path, cluster)
  const kubeconfig = await cluster.kubeconfigFor(USER)
  const all = (): ReturnType<typeof asked> => asked(auditLog, USER)
  const isWrite = ({ verb, resource }: { readonly verb: string; readonly resource: string }): boolean =>
    !['get', 'list', 'watch'].includes(verb) && resource !== 'leases'
  const healthPort = await freePort()
  const metricsPort = await freePort()
  let controller: Controller
  let models: Models
  let barriers = 0

  const applied = async (text: string): Promise<string> => {
    const { status, stdout, stderr } = await run(['apply', '-f', '-'], text)
    assert.is(status, 0, stderr)
    assert.is(stderr, '', 'no warnings')
    return stdout
  }
  /** Until the controller has seen all that was there before. */
  const barrier = async (): Promise<void> => {
    const name = `barrier-${++barriers}`
    await applied(written({ name, namespace: 'default' }))
    await models.seen(`default/${name}`, 'look', isObserved)
  }
  const started = async (...args: readonly string[]): Promise<Controller> => {
    const running = startController(kubeconfig, args)
    await running.logged('leading', says('Leading'))
    await running.logged('synced', says('Synced'))
    return running
  }
  const quickstart = (more: (text: string) => string = (text) => text): string =>
    expanded(more(readFileSync('examples/quickstart/model.yaml', 'utf8')))
  const jobOf = (model: Plain): string => String(at(model, 'metadata', 'annotations', 'arks.ai/worker-job'))
  const jobPath = (job: string, namespace = 'default'): string => `/apis/batch/v1/namespaces/${namespace}/jobs/${job}`
  const CLAIM_PATH = '/api/v1/namespaces/default/persistentvolumeclaims/qwen-7b'
  const QWEN = 'default/qwen-7b'
  const now = (key: string): Plain => models.states(key).at(-1) ?? {}
  const versionOf = (model: Plain): unknown => at(model, 'metadata', 'resourceVersion')
  const BACKGROUND = { propagationPolicy: 'Background' }

  describe('the controller on a real API server', (test) => {
    test('says how to install the CRD, and goes on by itself when it comes', async () => {
      await permit(cluster, [USER, DRY])
      controller = startController(kubeconfig, [
        `--health-probe-bind-address=127.0.0.1:${healthPort}`,
        `--metrics-bind-address=127.0.0.1:${metricsPort}`,
      ])
      const { message } = await controller.logged('no CRD', says('The cluster does not know ArksModels'))
      assert.match(String(message), 'kubectl apply -k kustomize/crds')
      assert.is((await got(healthPort, '/healthz')).status, 200)
      await eventually('all but models listed', async () => {
        const { status, text } = await got(healthPort, '/readyz')
        return status === 503 && text.trim() === 'not listed yet: arksmodels'
      })
      await applied(printed(parts.kubectl.path, ['kustomize', 'kustomize/crds']))
      await cluster.waitForCrd('arksmodels.arks.ai')
      models = watchModels(cluster)
      await controller.logged('served', says('It is served now', { resource: 'arksmodels' }))
      await controller.logged('synced', says('Synced'))
      assert.is((await got(healthPort, '/readyz')).status, 200)
    })

    test('brings the quickstart to Ready', async () => {
      const [gate, open] = gated()
      there.faults = [{ kind: 'call', on: 'resolve', path: LAST, run: () => gate }]
      const rendered = expanded('', 'examples/quickstart')
      await applied(rendered)
      const waited = run(['wait', '--for=condition=Ready', 'am/qwen-7b', '--timeout=30s'])
      const loading = await models.seen(QWEN, 'progress', (model) => at(model, 'status', 'progress') !== undefined)
      const { percent, totalBytes } = asPlain(at(loading, 'status', 'progress'))
      assert.is(totalBytes, sizeOf(FILES))
      assert.ok(Number(percent) > 0 && Number(percent) < 100, `${percent} %`)
      assert.equal(conditionOf(loading, 'Ready'), ['Unknown', 'ModelLoading', 'The model is loading now'])
      assert.equal(conditionOf(loading, 'Reconciling'), ['True', 'ModelLoading', 'The model is loading now'])
      open()
      const { status, stdout } = await waited
      assert.equal([status, stdout], [0, 'arksmodel.arks.ai/qwen-7b condition met\n'])
      const model = await models.seen(QWEN, 'Ready', isReady)
      assert.equal(shownConditions(model), readyWith('qwen-7b'))
      assert.equal(
        asList(at(model, 'status', 'conditions')).map((each) => at(each, 'observedGeneration')),
        [1, 1, 1],
      )
      assert.is(at(model, 'status', 'observedGeneration'), 1)
      assert.equal(at(model, 'status', 'model'), {
        bytes: sizeOf(FILES),
        commit: there.commit(QUICKSTART),
        files: FILES.length,
        path: '/models/models/default/qwen-7b',
      })
      const { percent: last, loadedBytes } = asPlain(at(model, 'status', 'progress'))
      assert.equal([last, loadedBytes], [100, sizeOf(FILES)])
      const claim = await cluster.request('GET', CLAIM_PATH)
      assert.is(at(model, 'status', 'worker', 'jobName'), nameOf(ofKind(objects(rendered), 'Job')[0] ?? {}))
      assert.is(at(model, 'status', 'worker', 'pvcUID'), at(claim.body, 'metadata', 'uid'))
    })

    test('has gone through the phases in their order', () => {
      const states = models.states(QWEN)
      assert.equal(at(states[0], 'status'), { observedGeneration: -1, phase: 'Pending' })
      const phases = states.map((state) => NAMES.indexOf(String(phaseOf(state))))
      assert.equal(phases, phases.toSorted())
    })

    test('is shown by kubectl', async () => {
      const [header, row] = (await run(['get', 'am'])).stdout.split('\n')
      assert.match(header ?? '', /^NAME +AGE +MODEL +PHASE$/)
      assert.match(row ?? '', /^qwen-7b +[0-9ms]+ +Qwen\/Qwen2\.5-7B-Instruct-1M +Ready$/)
      const [wideHeader, wide] = (await run(['get', 'am', '-o', 'wide'])).stdout.split('\n')
      assert.match(wideHeader ?? '', /^NAME +AGE +MODEL +PHASE +PROGRESS +SIZE +COMMIT +PVC +REASON +MESSAGE$/)
      const commit = there.commit(QUICKSTART)
      assert.match(
        wide ?? '',
        new RegExp(` Ready +100 +${sizeOf(FILES)} +${commit} +qwen-7b +Ready +The model is ready now$`),
      )
      const told = /Normal +ModelReady +[0-9ms]+ +arks\.ai\/arksmodel-controller +The model is ready now/
      await eventually('the Event', async () => told.test((await run(['describe', 'am', 'qwen-7b'])).stdout))
    })

    test('writes nothing when the same is rendered and applied again', async () => {
      await barrier()
      const before = versionOf(now(QWEN))
      assert.not.match(await applied(expanded('', 'examples/quickstart')), /created|configured/)
      await barrier()
      assert.is(versionOf(now(QWEN)), before)
    })

    test('ends with 0 on SIGTERM, gives the lease back, and writes nothing when it starts again', async () => {
      const before = versionOf(now(QWEN))
      assert.equal(await controller.stop(), { code: 0, output: '' })
      const lease = await cluster.request(
        'GET',
        `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/arksmodel-controller`,
      )
      assert.is(at(lease.body, 'spec', 'holderIdentity') || '', '')
      const writes = all().filter(isWrite).length
      controller = await started()
      await barrier()
      assert.is(versionOf(now(QWEN)), before)
      const list = await askedUntil(all, 'the barrier', (each) => each.filter(isWrite).length > writes)
      const written = list.filter(isWrite).slice(writes)
      assert.equal([...new Set(written.map(({ name }) => name))], [`barrier-${barriers}`])
    })

    test('is Ready when the Job is gone, and while it runs again to find that all is there', async () => {
      const from = models.states(QWEN).length - 1
      const job = jobOf(now(QWEN))
      const first = await cluster.request('GET', jobPath(job))
      await cluster.request('PATCH', jobPath(job), { spec: { ttlSecondsAfterFinished: 0 } }, MERGE)
      await eventually('no Job', async () => (await cluster.request('GET', jobPath(job))).status === 404)
      await barrier()
      assert.is(models.states(QWEN).length - 1, from, 'no write when the Job is gone')
      await applied(expanded('', 'examples/quickstart'))
      await eventually('another Job', async () => {
        const { body } = await cluster.request('GET', jobPath(job))
        return isComplete(body) && at(body, 'metadata', 'uid') !== at(first.body, 'metadata', 'uid')
      })
      await barrier()
      const states = models.states(QWEN).slice(from)
      assert.ok(states.every(isReady), JSON.stringify(states.map(phaseOf)))
    })

    test('is not Ready when the claim is gone, and loaded again into the next one', async () => {
      const from = models.states(QWEN).length
      const uid = at(now(QWEN), 'status', 'worker', 'pvcUID')
      await cluster.request('DELETE', jobPath(jobOf(now(QWEN))), BACKGROUND)
      await cluster.request('DELETE', CLAIM_PATH)
      const gone = await models.seen(QWEN, 'no claim', (model) => reasonOf(model) === 'StorageMissing', from)
      assert.equal(conditionOf(gone, 'ModelLoaded'), [
        'False',
        'StorageMissing',
        'PersistentVolumeClaim qwen-7b is gone; the loaded model is lost',
      ])
      await eventually('no Job', async () => (await cluster.request('GET', jobPath(jobOf(gone)))).status === 404)
      const again = models.states(QWEN).length
      await applied(expanded('', 'examples/quickstart'))
      const model = await models.seen(QWEN, 'Ready', isReady, again)
      assert.is.not(at(model, 'status', 'worker', 'pvcUID'), uid)
      assert.equal(shownConditions(model), readyWith('qwen-7b'))
    })

    test('loads another revision with another Job', async () => {
      const [old, from] = [jobOf(now(QWEN)), models.states(QWEN).length]
      const [gate, open] = gated()
      there.faults = [{ kind: 'call', on: 'resolve', path: 'model.safetensors', run: () => gate }]
      await applied(quickstart((text) => text.replace('huggingface: {}', 'huggingface: {revision: next}')))
      const revoked = await models.seen(QWEN, 'look', isObserved, from)
      assert.is.not(phaseOf(revoked), 'Ready')
      await models.seen(QWEN, 'loading', (model) => reasonOf(model) === 'ModelLoading', from)
      open()
      const model = await models.seen(QWEN, 'Ready', isReadyNow, from)
      assert.is.not(jobOf(model), old)
      assert.is(at(model, 'status', 'worker', 'jobName'), jobOf(model))
      assert.equal(
        [at(model, 'status', 'model', 'commit'), at(model, 'status', 'model', 'bytes')],
        [there.commit(QUICKSTART, 'next'), sizeOf(OTHER_FILES)],
      )
    })

    test('loads again when `arks.ai/reload` is another', async () => {
      const [old, from] = [jobOf(now(QWEN)), models.states(QWEN).length]
      await applied(
        quickstart((text) =>
          text
            .replace('huggingface: {}', 'huggingface: {revision: next}')
            .replace('metadata:', 'metadata:\n  annotations: {arks.ai/reload: "2"}'),
        ),
      )
      const isOfNewJob = (model: Plain): boolean => jobOf(model) !== old
      await models.seen(QWEN, 'not Ready', (model) => isOfNewJob(model) && !isReady(model), from)
      const model = await models.seen(QWEN, 'Ready', (each) => isReady(each) && isOfNewJob(each), from + 1)
      assert.is(at(model, 'status', 'worker', 'jobName'), jobOf(model))
      const changes = await askedUntil(all, 'a series of Events', (list) =>
        list.some(({ verb, resource }) => verb === 'patch' && resource === 'events'),
      )
      assert.ok(changes.length > 0)
    })

    test('does not let `kubectl wait` take a change for Ready before it was looked at', async () => {
      await controller.stop()
      const rendered = expanded('', 'examples/quickstart')
      // As a tool that prunes would have done long ago: it is complete, and what it loaded is not there any more.
      const first = jobPath(nameOf(ofKind(objects(rendered), 'Job')[0] ?? {}))
      await cluster.request('DELETE', first, BACKGROUND)
      await eventually('no former Job', async () => (await cluster.request('GET', first)).status === 404)
      await applied(rendered)
      const { status, stderr } = await run(['wait', '--for=condition=Ready', 'am/qwen-7b', '--timeout=1s'])
      assert.is(status, 1)
      assert.match(stderr, 'timed out waiting for the condition')
      const from = models.states(QWEN).length
      controller = await started('--progress=false')
      await models.seen(QWEN, 'Ready', isReadyNow, from)
      assert.is((await run(['wait', '--for=condition=Ready', 'am/qwen-7b', '--timeout=20s'])).status, 0)
    })

    test('needs at most four writes and reads nothing between a creation and Ready', async () => {
      await cluster.createNamespace('counted')
      const key = 'counted/model'
      const before = all().length
      await applied(expanded(written({ name: 'model', namespace: 'counted', source: HUB })))
      await models.seen(key, 'Ready', isReady)
      const isOfModel = (each: { readonly namespace: string }): boolean => each.namespace === 'counted'
      const list = await askedUntil(all, 'the Event', (each) =>
        each.some((one) => isOfModel(one) && one.resource === 'events' && one.verb === 'create'),
      )
      const since = list.slice(before)
      const writes = since.filter((each) => isWrite(each) && isOfModel(each)).map(shown)
      assert.ok(writes.length <= 4, writes.join(', '))
      assert.equal(
        since.filter(({ verb, resource }) => verb === 'get' && resource !== 'leases'),
        [],
      )
      assert.equal(
        since.filter((each) => each.verb === 'list' && isOfModel(each)),
        [],
      )
    })

    if (builder.kind === 'part')
      test('follows names that kustomize changes', async () => {
        await cluster.createNamespace('models-dev')
        const folder = scratch({
          'models/kustomization.yaml': kustomization('resources: [model.yaml]\n'),
          'models/model.yaml': written({
            name: 'qwen',
            namespace: 'default',
            source: HUB,
            storage: `{pvc: {name: weights, spec: ${CLAIM}}}`,
          }),
          'overlay/kustomization.yaml': kustomization(
            'resources: [../models]\ncomponents: [../kustomize/fn]\nnamespace: models-dev\nnamePrefix: dev-\nnameSuffix: -v2\n',
          ),
        })
        cpSync('kustomize', join(folder, 'kustomize'), { recursive: true })
        await applied(printed(builder.path, [...BUILD, join(folder, 'overlay')]))
        const model = await models.seen('models-dev/dev-qwen-v2', 'Ready', isReady)
        assert.equal(shownConditions(model), readyWith('dev-weights-v2'))
        assert.is(at(model, 'status', 'model', 'path'), '/models/models/models-dev/dev-qwen-v2')
      })

    test('adds up the progress of shards', async () => {
      await controller.stop()
      controller = await started(
        `--health-probe-bind-address=127.0.0.1:${healthPort}`,
        `--metrics-bind-address=127.0.0.1:${metricsPort}`,
      )
      const [gate, open] = gated()
      there.faults = [{ kind: 'call', on: 'resolve', path: SMALLEST, run: () => gate }]
      const text = written({ name: 'large', namespace: 'default', annotations: '{arks.ai/shards: "3"}', source: HUB })
      await applied(expanded(text.replace('org/model', 'org/large')))
      const key = 'default/large'
      const isTold = (model: Plain): boolean =>
        at(model, 'status', 'progress', 'loadedBytes') === sizeOf(MANY_FILES) - 100_000
      const loading = await models.seen(key, 'the sum of three', isTold)
      assert.is(at(loading, 'status', 'progress', 'totalBytes'), sizeOf(MANY_FILES))
      assert.is(at(loading, 'status', 'progress', 'percent'), 86)
      open()
      const model = await models.seen(key, 'Ready', isReady)
      assert.equal(
        [at(model, 'status', 'model', 'files'), at(model, 'status', 'model', 'bytes')],
        [MANY_FILES.length, sizeOf(MANY_FILES)],
      )
    })

    test('is Ready with what is on a volume already', async () => {
      const claim = {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'team', namespace: 'default' },
      }
      const spec = { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } }, storageClassName: '' }
      assert.is((await cluster.create({ ...claim, spec })).status, 201)
      const storage = '{pvc: {name: team}, subPath: shared}'
      const [gate, open] = gated()
      there.faults = [{ kind: 'call', on: 'resolve', path: 'model.safetensors', run: () => gate }]
      await applied(expanded(written({ name: 'loads', namespace: 'default', source: HUB, storage })))
      await applied(expanded(written({ name: 'reads', namespace: 'default', storage })))
      const waiting = await models.seen('default/reads', 'waiting', (model) => reasonOf(model) === 'WaitingForModel')
      assert.is(conditionOf(waiting, 'Ready')[2], 'Wait for model loads, which is loaded into the same path')
      await applied(
        expanded(written({ name: 'alone', namespace: 'default', storage: '{pvc: {name: team}, subPath: finetune}' })),
      )
      const alone = await models.seen('default/alone', 'Ready', isReady)
      assert.equal(conditionOf(alone, 'ModelLoaded'), [
        'True',
        'ModelLoadSucceeded',
        'The model is in existing storage',
      ])
      open()
      const loads = await models.seen('default/loads', 'Ready', isReady)
      assert.equal(shownConditions(loads), readyWith('team'))
      await models.seen('default/reads', 'Ready', isReady)
    })

    test('counts what it does', async () => {
      const { status, text } = await got(metricsPort, '/metrics')
      assert.is(status, 200)
      const value = (name: string): number =>
        Number(
          text
            .split('\n')
            .find((line) => line.startsWith(`${name} `))
            ?.slice(name.length + 1),
        )
      const phases = PHASES.map((phase) => value(`arksmodel_phase{phase="${phase}"}`))
      const { body } = await cluster.request('GET', '/apis/arks.ai/v1/arksmodels')
      const items = asList(at(body, 'items'))
      assert.equal(
        phases,
        PHASES.map((phase) => items.filter((item) => phaseOf(item) === phase).length),
      )
      assert.is(value('arksmodel_load_bytes_total'), sizeOf(MANY_FILES) + sizeOf(OTHER_FILES))
      assert.is(value('arksmodel_ready_seconds_count'), 2)
      assert.is(value('leader_election_master_status{name="arksmodel-controller"}'), 1)
      assert.is(value('arksmodel_cache_objects{resource="arksmodels"}'), items.length)
      assert.not.match(text, /^arksmodel_cache_drift_total.* [1-9]/m)
    })

    test('reads Events of what is not explained otherwise', async () => {
      unbound.add('stuck')
      const storage =
        '{pvc: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: none}}}'
      await applied(expanded(written({ name: 'stuck', namespace: 'default', source: HUB, storage })))
      await models.seen('default/stuck', "the binder's words", (model) =>
        /storageclass.storage.k8s.io "none" not found/.test(String(conditionOf(model, 'Ready')[2])),
      )
    })

    test('has a second replica go on at once when the first one ends', async () => {
      const second = startController(kubeconfig)
      await second.logged('the first one', says('Another one leads'))
      await second.logged('synced', says('Synced'))
      const { code } = await controller.stop()
      assert.is(code, 0)
      const began = performance.now()
      await second.logged('leading', says('Leading'))
      assert.ok(performance.now() - began < 10_000, 'sooner than a lease that was not given back would allow')
      controller = second
      await barrier()
    })

    test('writes nothing on a dry run, not even a lease', async () => {
      const dry = startController(await cluster.kubeconfigFor(DRY), ['--dry-run'])
      await dry.logged('synced', says('Synced'))
      await controller.stop()
      await applied(written({ name: 'dry', namespace: 'default' }))
      const line = await dry.logged('what it would write', says('', { name: 'dry' }))
      assert.equal(
        [line.message, line['phase'], line['reason']],
        ['Would write: PersistentVolumeClaim dry does not exist yet', 'Pending', 'StorageMissing'],
      )
      assert.is(at(now('default/dry'), 'status', 'observedGeneration'), -1)
      assert.is((await dry.stop()).code, 0)
      const verbs = new Set(asked(auditLog, DRY).map(({ verb }) => verb))
      assert.equal([...verbs].sort(), ['list', 'watch'])
      controller = await started()
    })

    test('sees one namespace only where it is told to', async () => {
      await cluster.createNamespace('limited')
      const group = 'rbac.authorization.k8s.io'
      for (const [kind, namespace] of [
        ['ClusterRole', 'limited'],
        ['Role', NAMESPACE],
      ] as const) {
        const binding = {
          apiVersion: `${group}/v1`,
          kind: 'RoleBinding',
          metadata: { name: LIMITED, namespace },
          roleRef: { apiGroup: group, kind, name: 'arksmodel-controller' },
          subjects: [{ apiGroup: group, kind: 'User', name: LIMITED }],
        }
        assert.is((await cluster.create(binding)).status, 201)
      }
      await controller.stop()
      const limited = startController(await cluster.kubeconfigFor(LIMITED), ['--namespace=limited'])
      await limited.logged('leading', says('Leading'))
      await applied(written({ name: 'outside', namespace: 'default' }))
      await applied(written({ name: 'inside', namespace: 'limited' }))
      await models.seen('limited/inside', 'look', isObserved)
      assert.is((await limited.stop()).code, 0)
      assert.is(at(now('default/outside'), 'status', 'observedGeneration'), -1)
      assert.equal(
        asked(auditLog, LIMITED).filter(({ code }) => code === 403),
        [],
      )
      controller = await started()
      await models.seen('default/outside', 'look', isObserved)
    })

    test('lists in pages where the server streams no lists', async () => {
      const listed = (): number => all().filter(({ verb, resource }) => verb === 'list' && resource !== 'events').length
      assert.is(listed(), 0, 'all came by watches until now')
      await controller.stop()
      await cluster.crash('apiserver')
      // As before Kubernetes 1.34.
      await cluster.restore('apiserver', ['--feature-gates=WatchList=false'])
      controller = await started()
      await applied(written({ name: 'paged', namespace: 'default' }))
      await models.seen('default/paged', 'look', isObserved)
      assert.is(listed(), 4)
      assert.equal(
        controller.lines.filter(({ level }) => level === 'error'),
        [],
      )
    })

    test('does what its role allows, all of it and no more', async () => {
      assert.is((await controller.stop()).code, 0)
      const list = all()
      const rules = rulesOf(rbac())
      assert.equal(
        list.filter(({ code }) => code === 401 || code === 403),
        [],
        'nothing is denied',
      )
      assert.equal(
        rules.filter((rule) => !list.some(isAllowedBy(rule))).map(shown),
        [],
        'nothing is allowed that is not used',
      )
      assert.equal(
        [...new Set(list.filter((each) => !rules.some((rule) => isAllowedBy(rule)(each))).map(shown))],
        [],
        'nothing is asked that no rule allows',
      )
      assert.equal([...new Set(list.filter(isWrite).map(shown))].sort(), [
        'create events.k8s.io events',
        'patch arks.ai arksmodels/status',
        'patch events.k8s.io events',
      ])
    })

    test('stops', async () => {
      await models.stop()
      await kubelet.stop()
      await cluster.stop()
      await there.close()
    })
  })
}

const isComplete = (job: unknown): boolean =>
  asList(at(job, 'status', 'conditions')).some((each) => at(each, 'type') === 'Complete')

const got = (port: number, path: string): Promise<{ readonly status: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    get({ port, path, host: '127.0.0.1', agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    }).on('error', reject)
  })
