import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { asPlain } from '../fn/merge.ts'
import { MERGE, startCluster } from './cluster.ts'
import {
  type Controller,
  conditionOf,
  kubectl,
  type Models,
  permit,
  phaseOf,
  says,
  startController,
  watchModels,
} from './controller.ts'
import { kustomization } from './data/manifests.ts'
import { describe, leftOut } from './harness.ts'
import { type HubFile, hub, randomFile } from './hub.ts'
import { type Blow, loadedAfter, type Pod, startKubelet, type Trouble } from './kubelet.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { controlPlane, judges } from './parts.ts'
import { expanded } from './process.ts'
import { scenario, told } from './scenario.ts'
import { scratch } from './scratch.ts'
import { eventually, until } from './until.ts'
import { agreesWith, type Mark, SHIPPED, verdicts } from './verdicts.ts'

/**
 * Trouble on purpose, each in a namespace that enforces restricted Pod Security: the real API server, Job controller and
 * binder, the built function, loader and controller. The Hub counts what was fetched.
 */

const USER = 'arksmodel-controller'
const MB = 1_000_000
const SIZE = 24 * MB
/** Of a model that is ended in the middle: larger than what a loader holds in memory, which is lost with it. */
const LARGE = 200 * MB
const WINDOW = 64 * 1024 * 1024
/** Of each connection, so that there is time to do something in the middle. */
const PER_SECOND = 1.5 * MB
/** Whether a file may be read at all is asked for with one byte of it, by each attempt. */
const QUESTIONS = 16

const QWEN = 'Qwen/Qwen2.5-7B-Instruct-1M'
const LLAMA = 'meta-llama/Llama-3.1-8B-Instruct'
const TINY = 'tiny.bin'
const TINY_SIZE = 100_000

const isReady = (model: Plain): boolean => phaseOf(model) === 'Ready'
const isReadyNow = (model: Plain): boolean =>
  isReady(model) && at(model, 'status', 'observedGeneration') === at(model, 'metadata', 'generation')
const hasReason =
  (reason: string) =>
  (model: Plain): boolean =>
    conditionOf(model, 'Ready')[1] === reason
const isFailed = (model: Plain): boolean => phaseOf(model) === 'Failed'

const modelOf = ({ metadata }: Pod): string => metadata.labels?.['arks.ai/model'] ?? ''

/** Folders on which a filesystem is mounted. */
const mounted: string[] = []

function canMount(): boolean {
  const folder = scratch({})
  const canDo = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]).status === 0
  if (canDo) execFileSync('umount', [folder])
  return canDo
}

function meant(model: Plain): Mark {
  if (isReadyNow(model)) return 'D'
  const isObserved = at(model, 'status', 'observedGeneration') === at(model, 'metadata', 'generation')
  return isObserved && conditionOf(model, 'Stalled')[0] === 'True' ? 'X' : 'R'
}

interface Scenario {
  readonly story: string
  /** Bytes that may be fetched; those of the model, once, if absent. */
  readonly most?: number
  /** It would be in the way of the others. */
  readonly isAlone?: boolean
  readonly act: () => Promise<void>
}

interface Bad extends Changes {
  readonly reason: string
  readonly isFinal: boolean
}

interface Changes {
  readonly annotations?: string
  readonly source?: string
  readonly model?: string
  readonly instanceSpec?: string
}

const [parts, judge] = [await controlPlane(), await judges()]
const cluster = await startCluster({ controllerManager: true, users: [USER] })

if (parts.kind === 'missing') leftOut('trouble on purpose', parts)
else if (cluster.kind === 'missing') leftOut('trouble on purpose', cluster)
else {
  const names = [
    'ttl',
    'job-deleted',
    'claim-recreated',
    'evicted',
    'preempted',
    'out-of-memory',
    'quota',
    'pod-security',
    'full-disk',
    'hub-down',
    'consumer',
    'server-restart',
    'controller-killed',
  ] as const
  type Name = (typeof names)[number]
  const LARGE_ONES: readonly string[] = ['job-deleted', 'evicted', 'preempted', 'out-of-memory']
  const SLOW_ONES: readonly Name[] = [
    'job-deleted',
    'evicted',
    'preempted',
    'out-of-memory',
    'server-restart',
    'controller-killed',
  ]
  const sizeOf = (name: Name): number => (LARGE_ONES.includes(name) ? LARGE : SIZE)
  const { bytes } = randomFile('weights', LARGE)
  const fileOf = (name: Name): HubFile => ({ path: `${name}.safetensors`, bytes: bytes.subarray(0, sizeOf(name)) })
  const small = randomFile('config.json', 700, 2)
  const there = await hub({
    repositories: {
      ...Object.fromEntries(names.map((name) => [`org/${name}`, { revisions: { main: [small, fileOf(name)] } }])),
      'org/tiny': { revisions: { main: [randomFile(TINY, TINY_SIZE)] } },
      'org/gated': { revisions: { main: [small] }, gated: true },
      [QWEN]: { revisions: { main: [small, randomFile(TINY, TINY_SIZE)] } },
      [LLAMA]: { revisions: { main: [small] }, gated: true },
    },
    tokens: { hf_team_a: [LLAMA], hf_team_b: [] },
  })
  there.faults = SLOW_ONES.map((name) => ({ kind: 'rate', bytesPerSecond: PER_SECOND, path: `${name}.safetensors` }))
  const hasten = (name: Name): void => {
    there.faults = there.faults.filter(({ path }) => path !== `${name}.safetensors`)
  }
  const volumes = scratch({})
  const troubles = new Map<string, Trouble>()
  const kubelet = await startKubelet({
    cluster,
    volumes,
    env: { HF_ENDPOINT: there.url },
    capacity: 12,
    trouble: (pod) => troubles.get(modelOf(pod)),
    // So many programs would take two cores a minute.
    standIn: (pod) => (modelOf(pod).startsWith('stood-in-') ? loadedAfter(100) : undefined),
  })
  const run = kubectl(parts.kubectl.path, cluster)
  const kubeconfig = await cluster.kubeconfigFor(USER)
  for (const crd of objects(readFileSync('crds/arksmodel.yaml', 'utf8'))) await cluster.apply(crd)
  await cluster.waitForCrd('arksmodels.arks.ai')
  await permit(cluster, [USER])
  const models: Models = watchModels(cluster)
  const startedController = async (): Promise<Controller> => {
    const running = startController(kubeconfig, ['--leader-elect=false'])
    await running.logged('synced', says('Synced'))
    return running
  }
  let controller = await startedController()

  /** One model in a namespace of its own, of the same name. */
  const written = (
    name: string,
    { annotations = '{}', source = '{huggingface: {}}', model, instanceSpec }: Changes = {},
  ) => `
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: ${name}, namespace: ${name}, annotations: ${annotations}}
spec:
  model: ${model ?? `org/${name}`}
  source: ${source}
  storage: {pvc: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}
${instanceSpec === undefined ? '' : `  instanceSpec: ${instanceSpec}\n`}`

  const BAD: Readonly<Record<string, Bad>> = {
    gated: { model: 'org/gated', reason: 'GatedRepo', isFinal: true },
    unknown: { model: 'org/unknown', reason: 'RepositoryNotFound', isFinal: true },
    revision: { source: '{huggingface: {revision: none}}', reason: 'RevisionNotFound', isFinal: true },
    nothing: { source: '{huggingface: {include: ["*.gguf"]}}', reason: 'NoMatchingFiles', isFinal: true },
    'no-secret': {
      source: '{huggingface: {tokenSecretRef: {name: none}}}',
      reason: 'CreateContainerConfigError',
      isFinal: false,
    },
    nowhere: { reason: 'PodUnschedulable', isFinal: false },
    'no-image': { reason: 'ImagePullBackOff', isFinal: false },
    refused: { instanceSpec: '{hostNetwork: true}', reason: 'PodSecurityViolation', isFinal: false },
  }
  const manyOf = (name: string, changes: Changes = {}): string =>
    written(name, { model: 'org/tiny', ...changes }).replace(`namespace: ${name}`, 'namespace: many')

  const applied = async (text: string): Promise<readonly Plain[]> => {
    const rendered = expanded(text)
    const { status, stderr } = await run(['apply', '-f', '-'], rendered)
    assert.is(status, 0, stderr)
    const diff = await run(['diff', '-f', '-'], rendered)
    assert.equal([diff.status, diff.stdout], [0, ''], 'nothing differs from what was applied')
    return objects(rendered)
  }
  const restricted = (name: string): Promise<void> =>
    cluster.createNamespace(name, { 'pod-security.kubernetes.io/enforce': 'restricted' })
  const jobPath = (name: string, rendered: readonly Plain[]): string =>
    `/apis/batch/v1/namespaces/${name}/jobs/${nameOf(ofKind(rendered, 'Job')[0] ?? {})}`
  const claimPath = (name: string): string => `/api/v1/namespaces/${name}/persistentvolumeclaims/${name}`
  const gone = async (path: string): Promise<void> => {
    await cluster.request('DELETE', path, { propagationPolicy: 'Background' })
    await eventually(`${path} is gone`, async () => (await cluster.request('GET', path)).status === 404)
  }
  const fetched = (name: string): number => there.bytesSent(`${name}.safetensors`)
  const inTheMiddle = (name: Name): Promise<void> => until(`half of ${name}`, () => fetched(name) > sizeOf(name) * 0.6)
  const podOf = async (name: string): Promise<string> => {
    const { body } = await cluster.request('GET', `/api/v1/namespaces/${name}/pods`)
    const pods = at(body, 'items')
    const running = Array.isArray(pods) ? pods.find((pod) => at(pod, 'status', 'phase') === 'Running') : undefined
    return `${name}/${nameOf(running)}`
  }
  const folderOf = async (name: string): Promise<string> => {
    await eventually('the claim', async () => (await cluster.request('GET', claimPath(name))).status === 200)
    const folder = kubelet.folder(key(name))
    await eventually('its volume', () => existsSync(folder))
    return folder
  }
  const complete = (path: string): Promise<void> =>
    eventually(
      `${path} is complete`,
      async () => at((await cluster.request('GET', path)).body, 'status', 'succeeded') === 1,
    )
  const key = (name: string): string => `${name}/${name}`
  const ready = (name: string, from = 0): Promise<Plain> => models.seen(key(name), 'Ready', isReadyNow, from)
  const neverFailed = (name: string): void => {
    assert.equal(models.states(key(name)).filter(isFailed), [])
  }
  const onVolume = (name: string): string =>
    join(kubelet.folder(key(name)), 'models', name, name, `${name}.safetensors`)

  /** Of a pod that is ended in the middle; the next one goes on where it was. */
  const struckBy =
    (name: Name, blow: Blow): Scenario['act'] =>
    async () => {
      await applied(written(name))
      await inTheMiddle(name)
      await kubelet.strike(await podOf(name), blow)
      hasten(name)
      await ready(name)
      neverFailed(name)
    }

  const SCENARIOS: Readonly<Record<Name, Scenario>> = {
    ttl: {
      story:
        'a Job that ttlSecondsAfterFinished took away leaves the model Ready, and loads nothing when it is applied again',
      async act() {
        const rendered = await applied(written('ttl'))
        await ready('ttl')
        const [path, from] = [jobPath('ttl', rendered), models.states(key('ttl')).length]
        await cluster.request('PATCH', path, { spec: { ttlSecondsAfterFinished: 0 } }, MERGE)
        await eventually('no Job', async () => (await cluster.request('GET', path)).status === 404)
        await applied(written('ttl'))
        await complete(path)
        const others = models.states(key('ttl')).slice(from)
        assert.ok(others.every(isReady), JSON.stringify(others.map(phaseOf)))
      },
    },
    'job-deleted': {
      story: 'a Job that is deleted while it runs goes on where it was when it is applied again',
      most: LARGE + WINDOW,
      async act() {
        const rendered = await applied(written('job-deleted'))
        await inTheMiddle('job-deleted')
        await gone(jobPath('job-deleted', rendered))
        hasten('job-deleted')
        await models.seen(key('job-deleted'), 'missing', hasReason('WaitingForWorker'))
        await applied(written('job-deleted'))
        await ready('job-deleted')
        neverFailed('job-deleted')
      },
    },
    'claim-recreated': {
      story: 'a claim that is deleted takes Ready with it, and the next one is loaded anew',
      most: 2 * SIZE,
      async act() {
        const rendered = await applied(written('claim-recreated'))
        await ready('claim-recreated')
        const from = models.states(key('claim-recreated')).length
        await gone(jobPath('claim-recreated', rendered))
        await gone(claimPath('claim-recreated'))
        await models.seen(key('claim-recreated'), 'lost', hasReason('StorageMissing'), from)
        const again = models.states(key('claim-recreated')).length
        await applied(written('claim-recreated'))
        await ready('claim-recreated', again)
      },
    },
    evicted: {
      story: 'an evicted pod is followed by one that goes on where it was',
      most: LARGE + WINDOW,
      act: struckBy('evicted', { kind: 'evicted', message: 'The node was low on resource: memory.' }),
    },
    preempted: {
      story: 'a pod that had to make room is followed by one that goes on where it was',
      most: LARGE + WINDOW,
      act: struckBy('preempted', { kind: 'preempted', message: 'The place was needed.' }),
    },
    'out-of-memory': {
      story: 'a loader that the kernel killed is started again and goes on where it was',
      most: LARGE + WINDOW,
      act: struckBy('out-of-memory', { kind: 'out-of-memory' }),
    },
    quota: {
      story: 'a quota without room is named, and the model loads when there is some',
      async act() {
        const quota = '/api/v1/namespaces/quota/resourcequotas'
        await cluster.request('POST', quota, { metadata: { name: 'none' }, spec: { hard: { pods: '0' } } })
        // There is no controller of quotas to do so.
        const status = { hard: { pods: '0' }, used: { pods: '0' } }
        await cluster.request('PATCH', `${quota}/none/status`, { status }, MERGE)
        await applied(written('quota'))
        await models.seen(key('quota'), 'refused', hasReason('QuotaExceeded'))
        await cluster.request('DELETE', `${quota}/none`)
        await ready('quota')
        neverFailed('quota')
      },
    },
    'pod-security': {
      story: 'a pod that Pod Security refuses is named with what is refused, and mended in Git',
      async act() {
        await applied(written('pod-security', { instanceSpec: '{hostNetwork: true}' }))
        const refused = await models.seen(key('pod-security'), 'refused', hasReason('PodSecurityViolation'))
        assert.match(String(conditionOf(refused, 'Ready')[2]), 'hostNetwork=true')
        await applied(written('pod-security'))
        await ready('pod-security')
        neverFailed('pod-security')
      },
    },
    'full-disk': {
      story: 'a volume that is too small is said before anything is fetched, and loaded when it is larger',
      async act() {
        troubles.set('full-disk', { kind: 'unschedulable', message: '0/1 nodes are available' })
        await applied(written('full-disk'))
        const folder = await folderOf('full-disk')
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=777', 'tmpfs', folder])
        mounted.push(folder)
        troubles.delete('full-disk')
        await models.seen(
          key('full-disk'),
          'full',
          (model) => isFailed(model) && hasReason('InsufficientStorage')(model),
        )
        assert.ok(fetched('full-disk') <= QUESTIONS)
        execFileSync('mount', ['-o', 'remount,size=100m', folder])
        const from = models.states(key('full-disk')).length
        await applied(written('full-disk', { annotations: '{arks.ai/reload: "1"}' }))
        await ready('full-disk', from)
      },
    },
    'hub-down': {
      story: 'a Hub that is down for a while is waited for',
      async act() {
        const path = 'hub-down.safetensors'
        there.faults.push({ kind: 'status', status: 503, path })
        await applied(written('hub-down'))
        const refused = (): number => there.log.filter(({ status, url }) => status === 503 && url.includes(path)).length
        await until('some requests', () => refused() > 2)
        hasten('hub-down')
        await ready('hub-down')
        neverFailed('hub-down')
      },
    },
    consumer: {
      story: 'an application finds phase, claim and path where upstream looks for them',
      async act() {
        await applied(written('consumer'))
        const { status } = await ready('consumer')
        const { body } = await cluster.request('GET', '/apis/arks.ai/v1/namespaces/consumer/arksmodels/consumer')
        const claim = at(body, 'spec', 'storage', 'pvc', 'name')
        assert.equal([at(status, 'phase'), claim], ['Ready', 'consumer'])
        const volume = kubelet.folder(`consumer/${claim}`)
        assert.ok(existsSync(join(volume, 'models/consumer/consumer/config.json')))
      },
    },
    'server-restart': {
      story: 'a load goes on while the API server is away',
      isAlone: true,
      async act() {
        await applied(written('server-restart'))
        await inTheMiddle('server-restart')
        await cluster.crash('apiserver')
        await until('all of it', () => fetched('server-restart') >= SIZE)
        await cluster.restore('apiserver')
        await ready('server-restart')
        neverFailed('server-restart')
      },
    },
    'controller-killed': {
      story: 'a controller that is killed at every step ends with the same status',
      isAlone: true,
      async act() {
        const name = key('controller-killed')
        let [seen, kills] = [0, 0]
        await applied(written('controller-killed'))
        while (!models.states(name).some(isReadyNow)) {
          await until('the next status', () => models.states(name).length > seen)
          seen = models.states(name).length
          controller.signal('SIGKILL')
          await controller.ended
          controller = await startedController()
          kills++
        }
        assert.ok(kills >= 2, `${kills} kills`)
        neverFailed('controller-killed')
      },
    },
  }
  if (judge.kind === 'missing') leftOut('what the tools make of it', judge)
  const left: readonly Name[] = canMount() ? [] : ['full-disk']
  if (left.length > 0)
    leftOut('a full disk', { name: 'mount', why: 'a tmpfs cannot be mounted', how: 'run as root', couldBeHad: false })

  const acted = async (name: Name): Promise<number> => {
    const before = performance.now()
    await restricted(name)
    await SCENARIOS[name].act()
    return (performance.now() - before) / 1000
  }
  /** Most of the time of each is waiting. */
  const begun = new Map<Name, Promise<number>>()
  for (const name of names.filter((each) => !SCENARIOS[each].isAlone && !left.includes(each))) {
    const act = acted(name)
    act.catch(() => {})
    begun.set(name, act)
  }

  describe('trouble on purpose', (test) => {
    for (const name of names.filter((each) => !left.includes(each))) {
      const { story, most = SIZE } = SCENARIOS[name]
      test(story, async () => {
        const seconds = await (begun.get(name) ?? acted(name))
        assert.ok(readFileSync(onVolume(name)).equals(fileOf(name).bytes), 'every byte is on the volume')
        assert.ok(fetched(name) <= most + QUESTIONS, `${fetched(name)} bytes were fetched, at most ${most} were needed`)
        told(story, { seconds, bytes: fetched(name) })
      })
    }

    const tinyBytes = (): number => there.bytesSent(TINY)

    const documented = async (): Promise<void> => {
      const label = { 'pod-security.kubernetes.io/enforce': 'restricted' }
      await cluster.request('PATCH', '/api/v1/namespaces/default', { metadata: { labels: label } }, MERGE)
      const folder = scratch({
        'kustomization.yaml': kustomization('resources: [models.yaml]\n'),
        'models.yaml': expanded('', 'examples/quickstart'),
      })
      const { status, stderr } = await run(['apply', '-k', folder])
      assert.equal([status, stderr], [0, ''])
      await models.seen('default/qwen-7b', 'Ready', isReadyNow)
      const { stdout } = await run(['get', 'arksmodel', 'qwen-7b', '-o', 'yaml'])
      const [shown] = objects(stdout)
      assert.is(phaseOf(shown), 'Ready')
      const conditions = ['StorageCreated', 'ModelLoaded', 'Ready'].map((type) => conditionOf(shown, type))
      assert.equal(conditions, [
        ['True', 'CreateSucceeded', 'Create model storage successfully(qwen-7b)'],
        ['True', 'ModelLoadSucceeded', 'Load the model successfully'],
        ['True', 'Ready', 'The model is ready now'],
      ])
      const spec = asPlain(at(shown, 'spec'))
      assert.equal([spec['model'], at(spec, 'storage', 'pvc', 'name')], [QWEN, 'qwen-7b'])
      const [head, row] = (await run(['get', 'arksmodel'])).stdout.split('\n')
      assert.match(head ?? '', /^NAME +AGE +MODEL +PHASE$/)
      assert.match(row ?? '', /^qwen-7b +\S+ +Qwen\/Qwen2\.5-7B-Instruct-1M +Ready$/)
    }

    const twoTenants = async (): Promise<void> => {
      await restricted('models')
      // A token is one word.
      const text = readFileSync('examples/two-tenants/rendered/expected.yaml', 'utf8').replaceAll(
        'the token of team ',
        'hf_team_',
      )
      const { status, stderr } = await run(['apply', '-f', '-'], text)
      assert.equal([status, stderr], [0, ''])
      const ours = await models.seen('models/team-a-llama-8b', 'Ready', isReadyNow)
      const theirs = await models.seen('models/team-b-llama-8b', 'refused', isFailed)
      assert.is(at(ours, 'status', 'model', 'path'), '/models/models/models/team-a-llama-8b')
      assert.is(conditionOf(theirs, 'Ready')[1], 'GatedRepo')
      const held = ['team-a', 'team-b'].map((team) =>
        existsSync(join(kubelet.folder(`models/${team}-llama-8b`), `models/models/${team}-llama-8b/config.json`)),
      )
      assert.equal(held, [true, false])
    }

    const twoHundred = async (): Promise<void> => {
      const before = tinyBytes()
      await restricted('many')
      const loaded = Array.from({ length: 32 }, (_, i) => `m${i}`)
      const good = [...loaded, ...Array.from({ length: 160 }, (_, i) => `stood-in-${i}`)]
      troubles.set('nowhere', { kind: 'unschedulable', message: '0/1 nodes are available: 1 Insufficient memory.' })
      troubles.set('no-image', { kind: 'no-image', message: 'not found' })
      const text = [
        ...good.map((name) => manyOf(name)),
        ...Object.entries(BAD).map(([name, each]) => manyOf(name, each)),
      ]
      // kubectl takes a minute for them.
      for (const { status, body } of await Promise.all(
        objects(expanded(text.join('---\n'))).map((each) => cluster.apply(each)),
      ))
        assert.ok(status < 300, JSON.stringify(body))
      for (const name of good) await models.seen(`many/${name}`, 'Ready', isReadyNow)
      for (const [name, { reason }] of Object.entries(BAD)) await models.seen(`many/${name}`, reason, hasReason(reason))
      for (const [name, { isFinal }] of Object.entries(BAD))
        assert.is(isFailed(models.states(`many/${name}`).at(-1) ?? {}), isFinal, name)
      assert.ok(tinyBytes() - before <= loaded.length * (TINY_SIZE + QUESTIONS))
    }

    scenario(test, "the document's example, from `kubectl apply -k` to its YAML", documented, { bytesSent: tinyBytes })
    scenario(
      test,
      'two tenants with prefixes and a token each: one may load the model, the other one may not',
      twoTenants,
      {},
    )
    scenario(test, '200 models at once, of which 8 cannot be loaded, each for another reason', twoHundred, {
      bytesSent: tinyBytes,
    })

    if (judge.kind === 'part')
      test('kstatus, Flux and Argo CD read each status on the way as it is meant', () => {
        const keys = [...names.map(key), ...Object.keys(BAD).map((name) => `many/${name}`)]
        const all = keys.flatMap((each) => models.states(each))
        const wrong = verdicts(judge, all, SHIPPED).flatMap((each, i) => {
          const model = all[i] ?? {}
          return agreesWith(meant(model), each)
            ? []
            : [`${JSON.stringify(at(model, 'status'))}: ${JSON.stringify(each)}`]
        })
        assert.ok(all.length > 60, `${all.length} statuses`)
        assert.equal(wrong, [])
      })

    test('ends what it has started', async () => {
      await controller.stop()
      await models.stop()
      await kubelet.stop()
      await cluster.stop()
      await there.close()
      for (const folder of mounted) execFileSync('umount', [folder])
    })
  })
}
