import { spawn } from 'node:child_process'
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { parseTermination } from '../crds/termination.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { COMPLETE } from '../loader/places.ts'
import { startCluster } from './cluster.ts'
import { describe, leftOut } from './harness.ts'
import { hub, randomFile } from './hub.ts'
import { loadedAfter, type StandIn, startKubelet, type Trouble } from './kubelet.ts'
import { filledIn } from './kubelet-container.ts'
import { wrongFiles } from './loader.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { expanded } from './process.ts'
import { scratch } from './scratch.ts'
import { eventually, until } from './until.ts'

/** That the test kubelet does with the Jobs that the function renders what a cluster does with them. */

const TOKEN = 'hf_aTokenOfTheTest0123456789'
const FILES = [randomFile('config.json', 700, 2), randomFile('model.safetensors', 3_000_000)]
const QUICKSTART = 'Qwen/Qwen2.5-7B-Instruct-1M'

interface Model {
  readonly name: string
  readonly annotations?: string
  /** YAML. */
  readonly source?: string
  readonly accessMode?: string
  readonly instance?: string
}

const written = ({
  name,
  annotations = '{}',
  source = '{}',
  accessMode = 'ReadWriteOnce',
  instance,
}: Model): string => `
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: ${name}, namespace: default, annotations: ${annotations}}
spec:
  model: org/model
  source: {huggingface: ${source}}
  storage: {pvc: {spec: {accessModes: [${accessMode}], resources: {requests: {storage: 1Gi}}}}}
${instance === undefined ? '' : `  instanceSpec: ${instance}`}
`

const cluster = await startCluster({ controllerManager: true })

if (cluster.kind === 'missing') leftOut('the test kubelet', cluster)
else {
  const repository = { revisions: { main: FILES } }
  const there = await hub({
    repositories: { 'org/model': repository, [QUICKSTART]: repository },
    tokens: { [TOKEN]: ['org/model'] },
  })
  const slow = { kind: 'rate', bytesPerSecond: 500_000, path: 'model.safetensors' } as const
  const troubles = new Map<string, Trouble>()
  const standIns = new Map<string, StandIn>()
  const unbound = new Set<string>()
  const kubelet = await startKubelet({
    cluster,
    volumes: scratch({}),
    env: { HF_ENDPOINT: there.url },
    bindsClaim: ({ metadata }) => !unbound.has(metadata.name),
    trouble: ({ metadata }) => troubles.get(metadata.labels?.['arks.ai/model'] ?? ''),
    standIn: ({ metadata }) => standIns.get(metadata.labels?.['arks.ai/model'] ?? ''),
  })

  /** Every state of every pod, in order. */
  const history: Plain[] = []
  const gone = new Set<unknown>()
  /** Jobs whose first pod has failed: the next one comes 10 s later. */
  const later: Plain[] = []
  const watching = new AbortController()
  const watched = (async () => {
    while (!watching.signal.aborted) {
      try {
        for await (const line of cluster.lines('/api/v1/pods?watch=true', watching.signal)) {
          const { type, object } = JSON.parse(line)
          history.push(object)
          if (type === 'DELETED') gone.add(at(object, 'metadata', 'uid'))
        }
      } catch {
        // It does not answer now, and will again.
        await sleep(20)
      }
    }
  })()

  const statesOf = (model: string): readonly Plain[] =>
    history.filter((pod) => at(pod, 'metadata', 'labels', 'arks.ai/model') === model)
  /** The first state of a pod of this model for which it holds. */
  const seen = async (model: string, what: string, holds: (pod: Plain) => boolean): Promise<Plain> => {
    const found = (): Plain | undefined => statesOf(model).find(holds)
    await until(`${what} of ${model}`, () => found() !== undefined)
    return found() ?? {}
  }
  const phase = (name: string) => (pod: Plain) => at(pod, 'status', 'phase') === name
  const state = (pod: Plain): unknown => at(pod, 'status', 'containerStatuses', 0, 'state')
  const waitsFor = (reason: string) => (pod: Plain) => at(state(pod), 'waiting', 'reason') === reason
  const keysOf = (value: unknown): readonly string[] => Object.keys(asPlain(value))
  const conditionOf = (pod: Plain, type: string): readonly unknown[] => {
    const found = asList(at(pod, 'status', 'conditions')).find((each) => at(each, 'type') === type)
    return [at(found, 'status'), at(found, 'reason'), at(found, 'message')]
  }
  const terminationOf = (pod: Plain) => parseTermination(String(at(state(pod), 'terminated', 'message')))

  const applied = async (list: readonly Plain[]): Promise<readonly Plain[]> => {
    for (const object of list) {
      const { status, body } = await cluster.apply(object)
      assert.ok(status < 300, JSON.stringify(body))
    }
    return list
  }
  /** Applies the claim and the Job of a model. */
  const begun = async (model: Model): Promise<Plain> => (await allBegun([model]))[0] ?? {}
  const allBegun = async (models: readonly Model[]): Promise<readonly Plain[]> => {
    const all = objects(expanded(models.map(written).join('---')))
    return ofKind(await applied(all.filter(({ kind }) => kind !== 'ArksModel')), 'Job')
  }
  const ended = async (job: Plain, type: 'Complete' | 'Failed'): Promise<unknown> => {
    let condition: unknown
    await eventually(`${type} ${nameOf(job)}`, async () => {
      const { body } = await cluster.request('GET', `/apis/batch/v1/namespaces/default/jobs/${nameOf(job)}`)
      condition = asList(at(body, 'status', 'conditions')).find((each) => at(each, 'type') === type)
      return condition !== undefined
    })
    return condition
  }
  const place = (claim: string, model = claim): string =>
    join(kubelet.folder(`default/${claim}`), `models/default/${model}`)

  describe('the test kubelet', (test) => {
    test('loads the quickstart', async () => {
      await applied(objects(readFileSync('crds/arksmodel.yaml', 'utf8')))
      await cluster.waitForCrd('arksmodels.arks.ai')
      const [job = {}] = ofKind(await applied(objects(expanded('', 'examples/quickstart'))), 'Job')
      await ended(job, 'Complete')
      const claim = await cluster.request('GET', '/api/v1/namespaces/default/persistentvolumeclaims/qwen-7b')
      assert.is(at(claim.body, 'status', 'phase'), 'Bound')
      assert.equal(wrongFiles(place('qwen-7b'), FILES), [])
      assert.ok(existsSync(join(place('qwen-7b'), COMPLETE)))
      const pod = await seen('qwen-7b', 'success', phase('Succeeded'))
      assert.is(terminationOf(pod)?.reason, 'Loaded')
      assert.equal([at(state(pod), 'terminated', 'exitCode'), at(state(pod), 'terminated', 'reason')], [0, 'Completed'])
      assert.match(kubelet.log(`default/${nameOf(pod)}`), '"reason":"Loaded"')
      const log = await cluster.request('GET', `/api/v1/namespaces/default/pods/${nameOf(pod)}/log`)
      assert.is(log.body, kubelet.log(`default/${nameOf(pod)}`), 'kubectl shows it too')
    })

    test('shows a pod as it comes to run', async () => {
      const pods = statesOf('qwen-7b')
      const seenStates = pods.map((pod) => [
        at(pod, 'status', 'phase'),
        at(state(pod), 'waiting', 'reason') ?? keysOf(state(pod))[0],
        conditionOf(pod, 'PodScheduled')[0],
        conditionOf(pod, 'Ready')[0],
      ])
      const distinct = seenStates
        .map((each) => each.join(' '))
        .filter((each, index, all) => each !== all[index - 1] && !each.startsWith('Pending   '))
      assert.equal(distinct.slice(-3), [
        'Pending ContainerCreating True False',
        'Running running True True',
        'Succeeded terminated True False',
      ])
      const running = pods.find(phase('Running')) ?? {}
      assert.match(String(at(running, 'status', 'podIP')), /^127\./)
      assert.equal(keysOf(state(running)), ['running'])
      assert.equal(conditionOf(running, 'Ready'), ['True', undefined, undefined], 'nothing stays of why it was not')
      assert.is(at(running, 'spec', 'nodeName'), 'node')
    })

    test('waits for a Secret and for its key', async () => {
      there.setRepository('org/model', { ...repository, private: true })
      const job = await begun({ name: 'private', source: '{tokenSecretRef: {name: hub}}' })
      const secret = (data: object): object => ({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'hub' },
        stringData: data,
      })
      const waiting = waitsFor('CreateContainerConfigError')
      const missing = await seen('private', 'missing Secret', waiting)
      assert.is(at(state(missing), 'waiting', 'message'), 'secret "hub" not found')
      assert.equal([at(missing, 'status', 'phase'), conditionOf(missing, 'Ready')[0]], ['Pending', 'False'])
      await cluster.create(secret({ other: 'x' }))
      await seen(
        'private',
        'missing key',
        (pod) => at(state(pod), 'waiting', 'message') === "couldn't find key HF_TOKEN in Secret default/hub",
      )
      await cluster.apply(secret({ HF_TOKEN: TOKEN }))
      await ended(job, 'Complete')
      there.setRepository('org/model', repository)
    })

    test('leaves a pod unscheduled until its claim is bound', async () => {
      unbound.add('late')
      const job = await begun({ name: 'late' })
      const pod = await seen('late', 'unscheduled', (each) => conditionOf(each, 'PodScheduled')[0] === 'False')
      assert.equal(conditionOf(pod, 'PodScheduled').slice(1), [
        'Unschedulable',
        '0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
      ])
      assert.is(at(pod, 'spec', 'nodeName'), undefined)
      unbound.delete('late')
      kubelet.look()
      await ended(job, 'Complete')
    })

    const image = 'arksai/arksmodel:0.1.0'
    const hindrances: Readonly<
      Record<string, { readonly trouble: Trouble; readonly reason: string; readonly message: string }>
    > = {
      'an image that cannot be pulled': {
        trouble: { kind: 'no-image', message: 'not found' },
        reason: 'ErrImagePull',
        message: 'not found',
      },
      'an image that still cannot be pulled': {
        trouble: { kind: 'no-image', message: 'not found' },
        reason: 'ImagePullBackOff',
        message: `Back-off pulling image "${image}": ErrImagePull: not found`,
      },
      'an image without a right name': {
        trouble: { kind: 'invalid-image-name' },
        reason: 'InvalidImageName',
        message: `Failed to apply default image tag "${image}": couldn't parse image name "${image}": invalid reference format`,
      },
      'a container that cannot be made': {
        trouble: { kind: 'not-created', message: 'no space left on device' },
        reason: 'CreateContainerError',
        message: 'no space left on device',
      },
    }
    for (const [index, [what, { trouble, reason, message }]] of Object.entries(hindrances).entries())
      test(`shows ${what}, and goes on when that is over`, async () => {
        const name = `hindered-${index}`
        troubles.set(name, trouble)
        const job = await begun({ name })
        const pod = await seen(name, reason, waitsFor(reason))
        assert.is(at(state(pod), 'waiting', 'message'), message)
        assert.equal([at(pod, 'status', 'phase'), conditionOf(pod, 'PodScheduled')[0]], ['Pending', 'True'])
        troubles.delete(name)
        await ended(job, 'Complete')
      })

    test('shows what the scheduler says', async () => {
      const message = '0/3 nodes are available: 3 Insufficient memory.'
      troubles.set('unschedulable', { kind: 'unschedulable', message })
      const job = await begun({ name: 'unschedulable' })
      const pod = await seen('unschedulable', 'trouble', (each) => conditionOf(each, 'PodScheduled')[0] === 'False')
      assert.equal(conditionOf(pod, 'PodScheduled'), ['False', 'Unschedulable', message])
      troubles.delete('unschedulable')
      await ended(job, 'Complete')
    })

    test('lets a pod that was never scheduled be deleted', async () => {
      troubles.set('never', { kind: 'unschedulable', message: 'no' })
      const job = await begun({ name: 'never' })
      const pod = await seen('never', 'trouble', (each) => conditionOf(each, 'PodScheduled')[0] === 'False')
      await cluster.request('DELETE', `/api/v1/namespaces/default/pods/${nameOf(pod)}`)
      troubles.delete('never')
      later.push(job)
    })

    test('shows a container that was out of memory', async () => {
      troubles.set('large', { kind: 'out-of-memory' })
      const job = await begun({ name: 'large' })
      const pod = await seen('large', 'end', phase('Failed'))
      troubles.delete('large')
      assert.equal(
        [at(state(pod), 'terminated', 'exitCode'), at(state(pod), 'terminated', 'reason')],
        [137, 'OOMKilled'],
      )
      later.push(job)
    })

    test('shows an evicted pod, which is no failed attempt', async () => {
      there.faults = [slow]
      const job = await begun({ name: 'evicted' })
      const { metadata } = await seen('evicted', 'start', phase('Running'))
      const message = 'The node was low on resource: ephemeral-storage.'
      await kubelet.strike(`default/${at(metadata, 'name')}`, { kind: 'evicted', message })
      there.faults = []
      const pod = await seen('evicted', 'eviction', phase('Failed'))
      assert.equal([at(pod, 'status', 'reason'), at(pod, 'status', 'message')], ['Evicted', message])
      assert.equal(conditionOf(pod, 'DisruptionTarget'), ['True', 'TerminationByKubelet', message])
      assert.is(at(state(pod), 'terminated', 'exitCode'), 137)
      later.push(job)
    })

    test('asks a preempted pod to end', async () => {
      there.faults = [slow]
      const job = await begun({ name: 'preempted' })
      const { metadata, status } = await seen('preempted', 'start', phase('Running'))
      await served(`http://${at(status, 'podIP')}:8080/progress`)
      const message = 'default-scheduler: preempting to accommodate a higher priority pod'
      await kubelet.strike(`default/${at(metadata, 'name')}`, { kind: 'preempted', message })
      const pod = await seen('preempted', 'end', phase('Failed'))
      assert.equal(conditionOf(pod, 'DisruptionTarget'), ['True', 'PreemptionByScheduler', message])
      assert.is(terminationOf(pod)?.reason, 'Interrupted')
      there.faults = []
      later.push(job)
    })

    test('ends a running pod that is deleted, and then its object', async () => {
      there.faults = [slow]
      const job = await begun({ name: 'deleted' })
      const { metadata, status } = await seen('deleted', 'start', phase('Running'))
      await served(`http://${at(status, 'podIP')}:8080/progress`)
      const path = `/api/v1/namespaces/default/pods/${at(metadata, 'name')}`
      assert.is((await cluster.request('DELETE', path)).status, 200)
      const pod = await seen('deleted', 'end', phase('Failed'))
      assert.is.not(at(pod, 'metadata', 'deletionTimestamp'), undefined)
      assert.equal([at(state(pod), 'terminated', 'exitCode'), terminationOf(pod)?.reason], [40, 'Interrupted'])
      there.faults = []
      const uid = at(pod, 'metadata', 'uid')
      await until('end of the object', () => gone.has(uid))
      later.push(job)
    })

    test('serves the progress of each pod at its own address', async () => {
      there.faults = [slow]
      const jobs = [await begun({ name: 'one' }), await begun({ name: 'two' })]
      const addresses: string[] = []
      for (const name of ['one', 'two']) {
        const pod = await seen(name, 'start', phase('Running'))
        addresses.push(String(at(pod, 'status', 'podIP')))
      }
      assert.is(new Set(addresses).size, 2)
      for (const address of addresses) {
        const progress = await served(`http://${address}:8080/progress`)
        assert.equal([at(progress, 'v'), at(progress, 'repo')], [1, 'org/model'])
      }
      there.faults = []
      for (const job of jobs) await ended(job, 'Complete')
    })

    test('goes on when the API server comes back', async () => {
      there.faults = [slow]
      const job = await begun({ name: 'patient' })
      await seen('patient', 'start', phase('Running'))
      await cluster.crash('apiserver')
      there.faults = []
      await until('all bytes', () => wrongFiles(place('patient'), FILES).length === 0)
      await cluster.restore('apiserver')
      await ended(job, 'Complete')
    })

    test('runs the shards of a model', async () => {
      const job = await begun({ name: 'shards', annotations: '{arks.ai/shards: "3"}', accessMode: 'ReadWriteMany' })
      await ended(job, 'Complete')
      assert.equal(wrongFiles(place('shards'), FILES), [])
      assert.ok(existsSync(join(place('shards'), COMPLETE)))
      const succeeded = statesOf('shards').filter(phase('Succeeded'))
      assert.equal(
        [
          ...new Set(succeeded.map((pod) => at(pod, 'metadata', 'labels', 'batch.kubernetes.io/job-completion-index'))),
        ].sort(),
        ['0', '1', '2'],
      )
    })

    test('lets stand-ins end as they are told to', async () => {
      const names = Array.from({ length: 20 }, (_, index) => `stand-in-${index}`)
      for (const name of names) standIns.set(name, loadedAfter(10))
      const message = '{"v":1,"reason":"GatedRepo","message":"no","retryable":false}'
      standIns.set('gated', { ms: 0, exitCode: 11, message })
      const gated = await begun({ name: 'gated' })
      const jobs = await allBegun(names.map((name) => ({ name })))
      assert.is(jobs.length, names.length)
      for (const job of jobs) await ended(job, 'Complete')
      const failed = await ended(gated, 'Failed')
      assert.is(at(failed, 'reason'), 'PodFailurePolicy')
      assert.match(String(at(failed, 'message')), /failed with exit code 11 matching FailJob rule at index 1$/)
      const pod = await seen('gated', 'end', phase('Failed'))
      assert.equal([at(state(pod), 'terminated', 'reason'), terminationOf(pod)?.reason], ['Error', 'GatedRepo'])
    })

    test('takes the end of the log for the message of a container that leaves none', async () => {
      const pod = bare('talks', ['sh', '-c', 'for i in $(seq 200); do echo line $i; done; exit 3'])
      assert.is((await cluster.create(pod)).status, 201)
      const failed = await seen('talks', 'end', phase('Failed'))
      assert.is(at(state(failed), 'terminated', 'exitCode'), 3)
      const message = String(at(state(failed), 'terminated', 'message'))
      assert.match(message, /^line 121\n(line \d+\n)*line 200\n$/)
    })

    test('tells of a command that is not there', async () => {
      assert.is((await cluster.create(bare('nothing', ['no-such-command']))).status, 201)
      const failed = await seen('nothing', 'end', phase('Failed'))
      assert.equal(
        [at(state(failed), 'terminated', 'exitCode'), at(state(failed), 'terminated', 'reason')],
        [128, 'StartError'],
      )
      assert.match(
        String(at(state(failed), 'terminated', 'message')),
        'exec: "no-such-command": executable file not found',
      )
    })

    test('has the Jobs go on behind all that', async () => {
      assert.is(later.length, 5)
      for (const job of later) {
        await ended(job, 'Complete')
        const model = String(at(job, 'metadata', 'labels', 'arks.ai/model'))
        assert.is(new Set(statesOf(model).map(nameOf)).size, 2, model)
        assert.equal(wrongFiles(place(model), FILES), [], model)
      }
      const evicted = later.find((job) => at(job, 'metadata', 'labels', 'arks.ai/model') === 'evicted') ?? {}
      const { body } = await cluster.request('GET', `/apis/batch/v1/namespaces/default/jobs/${nameOf(evicted)}`)
      assert.is(at(body, 'status', 'failed') ?? 0, 0)
    })

    test('takes the volume of a claim away when all that uses it is gone', async () => {
      const folder = kubelet.folder('default/deleted')
      const path = '/api/v1/namespaces/default/persistentvolumeclaims/deleted'
      await cluster.request('DELETE', path)
      const { body } = await cluster.request('GET', path)
      assert.is.not(at(body, 'metadata', 'deletionTimestamp'), undefined, 'the pod that has ended protects it')
      const job = later.find((each) => at(each, 'metadata', 'labels', 'arks.ai/model') === 'deleted') ?? {}
      const background = { propagationPolicy: 'Background' }
      await cluster.request('DELETE', `/apis/batch/v1/namespaces/default/jobs/${nameOf(job)}`, background)
      await until('no folder', () => !existsSync(folder))
      const volume = `/api/v1/persistentvolumes/${at(body, 'spec', 'volumeName')}`
      await eventually('no volume', async () => (await cluster.request('GET', volume)).status === 404)
    })

    test('kills what runs when it stops', async () => {
      there.faults = [slow]
      await begun({ name: 'last' })
      const pod = await seen('last', 'start', phase('Running'))
      const url = `http://${at(pod, 'status', 'podIP')}:8080/healthz`
      await served(url)
      await kubelet.stop()
      await eventually('no answer', async () => (await got(url)) === undefined)
      watching.abort()
      await watched
      await cluster.stop()
      await there.close()
    })
  })
}

describe('the variables of a container', (test) => {
  const rows: Readonly<Record<string, readonly [text: string, want: string]>> = {
    'are put in': ['/models/$(A)/$(B)', '/models/a/b'],
    'stay where there is no such one': ['$(C)$(A)', '$(C)a'],
    'are left alone behind a second dollar': ['$$(A)$$$(A)', '$(A)$a'],
    'are only those in parentheses': ['$A $() $', '$A $() $'],
  }
  for (const [what, [text, want]] of Object.entries(rows))
    test(what, () => assert.is(filledIn(text, { A: 'a', B: 'b' }), want))
})

describe('a container', (test) => {
  test('ends when we are killed', async () => {
    await using there = await hub({ repositories: { 'org/model': { revisions: { main: FILES } } } })
    there.faults = [{ kind: 'stall', after: 1000 }]
    const folder = scratch({})
    chmodSync(folder, 0o777)
    const container = {
      name: 'worker',
      image: 'image',
      command: ['arksmodel-loader'],
      args: ['org/model', '--to', join(folder, 'to')],
    }
    const pod = { metadata: { name: 'pod', namespace: 'default', uid: 'uid' }, spec: { containers: [container] } }
    const place = { ip: '127.255.0.1', folder, env: { HF_ENDPOINT: there.url } }
    const script = `
      const { prepared, started } = await import('./test/kubelet-container.ts')
      const [pod, container, place] = ${JSON.stringify([pod, container, place])}
      started(await prepared(pod, container, { ...place, read: () => undefined, claimFolder: () => '' }))`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const url = 'http://127.255.0.1:8080/healthz'
    await served(url)
    child.kill('SIGKILL')
    await eventually('no answer', async () => (await got(url)) === undefined)
  })
})

const bare = (name: string, command: readonly string[]): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { 'arks.ai/model': name } },
  spec: {
    restartPolicy: 'Never',
    containers: [{ name: 'worker', image: 'image', command, terminationMessagePolicy: 'FallbackToLogsOnError' }],
  },
})

/** What is served there, as soon as something is. */
async function served(url: string): Promise<unknown> {
  let answer: string | undefined
  await eventually(url, async () => {
    answer = await got(url)
    return answer !== undefined
  })
  return url.endsWith('/progress') ? JSON.parse(answer ?? '') : answer
}

const got = (url: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    get(url, { agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('close', () => resolve(text))
    }).on('error', () => resolve(undefined))
  })
