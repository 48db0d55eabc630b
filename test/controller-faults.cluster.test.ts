import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { access } from '../controller/access.ts'
import { client } from '../controller/client.ts'
import { type Counted, type Item, reflector } from '../controller/reflector.ts'
import type { Plain } from '../crds/arksmodel.ts'
import { asPlain } from '../fn/merge.ts'
import { proxy } from './api-proxy.ts'
import { type Asked, asked, askedUntil } from './audit.ts'
import { type Answer, type Cluster, MERGE, startCluster } from './cluster.ts'
import {
  CONTROLLER,
  type Controller,
  conditionOf,
  permit,
  phaseOf,
  startController,
  watchModels,
} from './controller.ts'
import { describe, leftOut } from './harness.ts'
import { at, objects } from './objects.ts'
import { freePort } from './parts-running.ts'
import { scratch, write } from './scratch.ts'
import { until } from './until.ts'

/**
 * What a control plane does to those that live on it. Everything that a Job controller, a binder and a kubelet would
 * write is written here, one step after the other, so that every transition of every status can be counted.
 */

/** Each test has a user of its own, by whom the audit log tells what it asked. */
const USERS = [
  'deletions',
  'storm',
  'clock',
  'leader',
  'follower',
  'crash',
  'compaction',
  'outage-leader',
  'outage-follower',
  'limits',
] as const
type User = (typeof USERS)[number]

/** How often the other writer comes in between, however slow the machine is. */
const LEAST_STORMED = 100

const TOKEN_HOLDER = 'token-holder'
const AUDIT = join(scratch({}), 'audit.log')

const cluster = await startCluster({ users: USERS, auditLog: AUDIT })

if (cluster.kind === 'missing') leftOut('the faults of a control plane', cluster)
else await suite(cluster)

async function suite(cluster: Cluster): Promise<void> {
  for (const crd of objects(readFileSync('crds/arksmodel.yaml', 'utf8'))) await cluster.apply(crd)
  await cluster.waitForCrd('arksmodels.arks.ai')
  await permit(cluster, [...USERS, `system:serviceaccount:arksmodel:${TOKEN_HOLDER}`])
  const models = watchModels(cluster)

  /** A request that outlives the server: whether it was done is found out by doing it again. */
  const sent = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const headers = method === 'PATCH' ? MERGE : {}
    for (const end = performance.now() + 60_000; ; await sleep(50)) {
      const answer = await cluster.request(method, path, body, headers).catch(() => undefined)
      const isDone = answer !== undefined && (answer.status < 300 || [404, 409].includes(answer.status))
      if (answer !== undefined && isDone) return answer
      if (performance.now() > end || (answer?.status ?? 500) === 422)
        throw new Error(`${method} ${path}: ${JSON.stringify(answer?.body)}`)
    }
  }

  const life = (namespace: string, name: string): Life => lifeOf({ namespace, name, sent })

  /** What a status went through, each once. */
  const transitions = (key: string): readonly string[] => {
    const shown = models
      .states(key)
      .map((model) => [JSON.stringify(at(model, 'status')), transition(model)] as const)
      .filter(([, each]) => each !== undefined)
    return shown.flatMap(([status, each], i) => (status === shown[i - 1]?.[0] || each === undefined ? [] : [each]))
  }

  /** Takes a model through these steps, each when the status has said the one before. */
  const lived = async (one: Life, from = 0, to: number = STEPS.length): Promise<void> => {
    for (let step = from; step < to; step++) {
      await one.take(step)
      await models.seen(one.key, STEPS[step] ?? '', (model) => transition(model) === STEPS[step])
    }
  }

  const livesOf = async (namespace: string, count: number): Promise<readonly Life[]> => {
    await cluster.createNamespace(namespace)
    return Array.from({ length: count }, (_, i) => life(namespace, `m${i}`))
  }

  /** What a test that failed has left. */
  const running: Pick<Controller, 'signal'>[] = []
  const startedAs = (kubeconfig: string, ...args: readonly string[]): Controller => {
    const controller = startController(kubeconfig, ['--progress=false', ...args])
    running.push(controller)
    return controller
  }
  const started = async (user: User, ...args: readonly string[]): Promise<Controller> =>
    startedAs(await cluster.kubeconfigFor(user), ...args)

  /** Of a user: writes of statuses that the server took. */
  const writes = (user: User): readonly Asked[] => asked(AUDIT, user).filter((each) => isStatusWrite(each))

  /** Each transition was written once, and seen once. */
  const areExact = async (lives: readonly Life[], users: readonly User[], atLeast = 0): Promise<void> => {
    for (const { key } of lives) assert.equal(timeless(transitions(key)), STEPS, key)
    const look = (): readonly Asked[] => users.flatMap(writes)
    const all = await askedUntil(
      look,
      'the last writes',
      ({ length }) => length >= lives.length * STEPS.length - atLeast,
    )
    const seen = lives.reduce((sum, { key }) => sum + transitions(key).length, 0)
    assert.ok(all.length <= seen, `${all.length} writes, ${seen} seen`)
  }

  /**
   * Without the word for what takes longer than five seconds, as anything does while the server is away. The watches
   * come back one after the other: where the claim's was first, the word stands between the same state twice.
   */
  const timeless = (all: readonly string[]): readonly string[] =>
    all.filter((each, i) => each !== SLOW && !(all[i - 1] === SLOW && all[i - 2] === each))

  /** It mostly waits, which it can do beside the others. */
  const renewed = (async () => {
    const lives = await livesOf('token', 5)
    await sent('POST', '/api/v1/namespaces/arksmodel/serviceaccounts', { metadata: { name: TOKEN_HOLDER } })
    const way = await proxy({ port: portOf(cluster.url) })
    const [old, next] = [await boundToken(sent, 'old'), await boundToken(sent, 'next')]
    const folder = scratch({ token: old, config: tokenConfig(cluster, way.port) })
    const controller = startController(join(folder, 'config'), [
      '--progress=false',
      '--leader-elect=false',
      '--namespace=token',
    ])
    try {
      await Promise.all(lives.map((one) => lived(one, 0, 2)))
      await sent('DELETE', '/api/v1/namespaces/arksmodel/secrets/old')
      await refused(cluster, old)
      way.cut('reset')
      await controller.logged(
        'it is refused',
        ({ message, error }) => message.startsWith('Cannot watch') && /401/.test(`${error}`),
      )
      write(folder, { token: next })
      await Promise.all(lives.map((one) => lived(one, 2)))
    } finally {
      await controller.stop()
      await way.stop()
    }
    for (const { key } of lives) assert.equal(timeless(transitions(key)), STEPS, key)
  })()
  renewed.catch(() => {})

  describe('A controller on a control plane with faults', (test) => {
    test.after.each(() => {
      for (const each of running.splice(0)) each.signal('SIGKILL')
    })
    test.after(async () => {
      await models.stop()
      await cluster.stop()
    })

    test('says nothing and writes nothing where models go while they are looked at', async () => {
      const lives = await livesOf('deletions', 60)
      const controller = await started('deletions', '--leader-elect=false', '--namespace=deletions')
      await Promise.all(
        lives.map(async (one, i) => {
          const last = i % STEPS.length
          await lived(one, 0, last)
          await one.take(last)
          await one.end()
        }),
      )
      // What was still on its way for those that went is done when another one has come through.
      await lived(life('deletions', 'bystander'))
      await controller.stop()
      assert.equal(complaints(controller), [])
      for (const { key } of lives) {
        const seen = transitions(key)
        assert.equal(seen, STEPS.slice(0, seen.length), key)
      }
    })

    test('comes to the right end in a storm of conflicts, with few writes', async () => {
      const lives = await livesOf('storm', 5)
      const port = await freePort()
      const controller = await started(
        'storm',
        '--leader-elect=false',
        '--namespace=storm',
        `--metrics-bind-address=127.0.0.1:${port}`,
      )
      await Promise.all(lives.map((one) => lived(one, 0, 1)))
      let [isOver, stormed] = [false, 0]
      const storm = Promise.all(
        lives.map(async ({ path, key }) => {
          // As fast as it can it would only keep the server busy.
          for (; !isOver || stormed <= LEAST_STORMED; await sleep(5)) {
            stormed++
            await sent('PATCH', path, { metadata: { annotations: { storm: `${stormed}` } } })
            const last = models.states(key).at(-1)
            const metadata = { resourceVersion: at(last, 'metadata', 'resourceVersion') }
            await sent('PATCH', `${path}/status?fieldManager=manager`, { metadata, status: at(last, 'status') })
          }
        }),
      )
      await Promise.all(lives.map((one) => lived(one, 1)))
      isOver = true
      await storm
      const text = await metricsText(port)
      await controller.stop()
      await areExact(lives, ['storm'])
      const refused = asked(AUDIT, 'storm').filter(({ code }) => code === 409).length
      assert.ok(sum(text, 'arksmodel_status_conflicts_total') === refused, `${refused} conflicts`)
      assert.ok(refused < stormed, `${refused} conflicts in ${stormed} other writes`)
      console.log(`  ${refused} conflicts in ${stormed} rounds of another writer`)
      assert.equal(complaints(controller), [])
    })

    test('gives way to a controller that answers each of its writes', async () => {
      const [one] = await livesOf('rival', 1)
      if (one === undefined) return
      const controller = await started('storm', '--leader-elect=false', '--namespace=rival')
      await lived(one, 0, 1)
      const before = writes('storm').length
      let isOver = false
      const rival = (async () => {
        for (let answered = 0; !isOver; await sleep(5)) {
          const ours = transitions(one.key).filter((each) => each !== RIVALS).length
          if (ours === answered) continue
          answered = ours
          await sent('PATCH', `${one.path}/status?fieldManager=manager`, {
            status: { phase: 'Failed', conditions: [{ ...CONDITION, reason: 'Rival', message: '' }] },
          })
        }
      })()
      await models.seen(one.key, 'AnotherController', (model) => transition(model) === 'Pending/AnotherController')
      isOver = true
      await rival
      await controller.stop()
      const count = writes('storm').length - before
      assert.ok(count <= 5, `${count} writes`)
    })

    test('does not care what the clock on the wall shows', async () => {
      const lives = await livesOf('clock', 10)
      const controller = startClocked(await cluster.kubeconfigFor('clock'), ['--namespace=clock'])
      running.push(controller)
      await Promise.all(lives.map((one) => lived(one, 0, 2)))
      await controller.shift(3 * HOUR)
      await Promise.all(lives.map((one) => lived(one, 2, 3)))
      // Somebody else's word, at an hour that is yet to come.
      await Promise.all(
        lives.map(({ path }) => sent('PATCH', `${path}/status?fieldManager=manager`, { status: { phase: 'Failed' } })),
      )
      await until('all are put right', () =>
        lives.every(({ key }) => phaseOf(models.states(key).at(-1)) === 'StorageCreating'),
      )
      await controller.shift(-7 * HOUR)
      await Promise.all(lives.map((one) => lived(one, 3, 4)))
      await controller.shift(0)
      await Promise.all(lives.map((one) => lived(one, 4)))
      const { code, log } = await controller.stop()
      assert.is(code, 0)
      assert.is(log.filter(({ level }) => level === 'error').length, 0)
    })

    test('never has two writers: one that was frozen in the middle of 2,000 models writes no more', async () => {
      const count = 2_000
      await cluster.createNamespace('many')
      const first = await started('leader', '--namespace=many')
      await first.logged('leads', ({ message }) => message === 'Leading')
      const second = await started('follower', '--namespace=many')
      await second.logged('waits', ({ message }) => message === 'Another one leads')
      const claims = Array.from({ length: 20 }, (_, i) => life('many', `claim${i}`))
      await Promise.all(claims.map((one) => one.take(1)))
      const ready = readyOf(cluster, 'many')
      const began = performance.now()
      const creations = inTurn(count, 20, (i) =>
        sent('POST', MODELS('many'), onVolume('many', `many${i}`, `claim${i % 20}`)),
      )
      await ready.reach(count / 4)
      first.signal('SIGSTOP')
      const frozenAt = Date.now()
      await creations
      await second.logged('leads', ({ message }) => message === 'Leading')
      await ready.reach(count)
      const took = performance.now() - began
      first.signal('SIGCONT')
      const { code } = await first.ended
      await second.stop()
      ready.stop()
      assert.is(code, 1)
      const [old, late] = [writes('leader'), writes('follower')]
      const [firstLate] = late
      assert.ok(old.length >= count / 4, `${old.length} writes of the first`)
      assert.is(old.filter((each) => each.at > (firstLate?.at ?? 0)).length, 0)
      assert.ok((firstLate?.at ?? 0) > frozenAt)
      const counts = new Map<string, number>()
      for (const { name } of [...old, ...late]) counts.set(name, (counts.get(name) ?? 0) + 1)
      assert.is(counts.size, count)
      for (const [name, each] of counts) assert.is(each, transitions(`many/${name}`).length, name)
      console.log(`  2,000 models with a change of leader: ${Math.round(took / 100) / 10} s`)
    })

    test('goes on with a new token where the old one expires in the middle of its watches', () => renewed)

    test('misses no transition and counts none twice in 3,000 connections that break', async () => {
      const lives = await livesOf('reconnects', 10)
      await Promise.all(lives.map((one) => one.take(0)))
      const way = await proxy({ port: portOf(cluster.url) })
      const config = scratch({ config: through(cluster.kubeconfig, cluster.url, way.port) })
      const admin = await access({ kubeconfig: join(config, 'config') })
      if (admin.kind === 'problem') throw new Error(admin.message)
      const api = client({ access: admin })
      const seen = new Map<string, number[]>()
      const counted: Counted[] = []
      const watching = reflector<Numbered>({
        client: api,
        source: { path: MODELS('reconnects'), trimmed: numbered },
        onChange({ after }) {
          if (after !== undefined) seen.set(after.name, [...(seen.get(after.name) ?? []), after.number])
        },
        now: () => performance.now(),
        sleep: (ms, signal) => sleep(ms, undefined, { signal }),
        random: Math.random,
        timing: { firstPauseMs: 1, longestPauseMs: 2 },
        onCount: (each) => counted.push(each),
      })
      await until('all are listed', () => watching.isSynced() && watching.size === lives.length)
      // A handshake, the head of the answer, the middle of an event: it breaks everywhere.
      way.breaks = () => ({
        afterBytes: (way.connections.accepted * 7919) % 6000,
        how: way.connections.accepted % 2 === 0 ? 'end' : 'reset',
      })
      way.cut('reset')
      let last = 0
      await Promise.all(
        lives.map(async ({ name, path }) => {
          const first = seen.get(name)?.length ?? 0
          for (let number = 1; way.connections.accepted < 3_000 || number <= last; number++) {
            last = Math.max(last, number)
            await sent('PATCH', `${path}/status`, { status: { phase: PHASES[number % 2], observedGeneration: number } })
            await until(`${number} of ${name}`, () => (seen.get(name)?.length ?? 0) >= first + number)
          }
        }),
      )
      way.breaks = () => undefined
      const numbers = Array.from({ length: last }, (_, i) => i + 1)
      const { accepted, mostOpen } = way.connections
      await watching.stop()
      api.close()
      await way.stop()
      for (const { name } of lives)
        assert.equal(
          seen.get(name)?.filter((each) => each > 0),
          numbers,
          name,
        )
      assert.is(
        counted.filter((each) => each !== 'watchRestart').length,
        0,
        `${counted.filter((each) => each !== 'watchRestart')}`,
      )
      assert.ok(mostOpen <= 3, `${mostOpen} connections at once`)
      console.log(`  ${accepted} connections, ${last * lives.length} transitions`)
    })

    test('survives the death of the API server under load', async () => {
      const lives = await livesOf('crash', 100)
      const port = await freePort()
      const controller = await started(
        'crash',
        '--leader-elect=false',
        '--namespace=crash',
        `--metrics-bind-address=127.0.0.1:${port}`,
      )
      let taken = 0
      const all = Promise.all(
        lives.map(async (one) => {
          for (let step = 0; step < STEPS.length; step++, taken++) await lived(one, step, step + 1)
        }),
      )
      await until('half is done', () => taken >= 200)
      await cluster.crash('apiserver')
      await cluster.restore('apiserver')
      await all
      const text = await metricsText(port)
      await controller.stop()
      // What was done when the server died may not have come to its log.
      await areExact(lives, ['crash'], 10)
      assert.is(sum(text, 'arksmodel_cache_drift_total'), 0)
    })

    test('lists again where etcd has forgotten what it missed', async () => {
      const lives = await livesOf('compaction', 20)
      const port = await freePort()
      const controller = await started(
        'compaction',
        '--leader-elect=false',
        '--namespace=compaction',
        `--metrics-bind-address=127.0.0.1:${port}`,
      )
      await Promise.all(lives.map((one) => lived(one, 0, 4)))
      controller.signal('SIGSTOP')
      await cluster.crash('apiserver')
      // With a cache a server answers out of its own memory.
      await cluster.restore('apiserver', ['--watch-cache=false'])
      const [gone, again, rest] = [lives.slice(0, 5), lives.slice(5, 10), lives.slice(10)]
      await Promise.all([...gone, ...again].map((one) => one.end()))
      await Promise.all(again.map((one) => one.take(0)))
      await Promise.all([...again, ...rest].map((one) => one.take(4)))
      await cluster.compact()
      controller.signal('SIGCONT')
      await until('all that are left are ready', () =>
        [...again, ...rest].every(({ key }) => phaseOf(models.states(key).at(-1)) === 'Ready'),
      )
      const text = await metricsText(port)
      await controller.stop()
      for (const { key } of rest) assert.equal(transitions(key), STEPS, key)
      for (const { key } of gone) assert.equal(transitions(key), STEPS.slice(0, 4), key)
      // The watches catch up one after the other: a new model may meet the Job as it was.
      for (const { key } of again) {
        const [first, ...others] = transitions(key).slice(4)
        assert.equal(first === STEPS[3] ? others : [first], [STEPS[4]], key)
      }
      // Of the models and of the Jobs at least; the others may still be waiting for their next attempt.
      assert.ok(sum(text, 'arksmodel_relists_total') >= 2, 'lists')
      assert.is(sum(text, 'arksmodel_cache_drift_total'), 0)
      assert.ok(controller.lines.some(({ error }) => /410/.test(`${error}`)))
    })

    test('lives through 20 s without etcd; who loses the lease ends, and the next one goes on', async () => {
      const lives = await livesOf('outage', 20)
      const first = await started('outage-leader', '--namespace=outage')
      await first.logged('leads', ({ message }) => message === 'Leading')
      const second = await started('outage-follower', '--namespace=outage')
      await Promise.all(lives.map((one) => lived(one, 0, 3)))
      await cluster.crash('etcd')
      const rest = Promise.all(lives.map((one) => one.take(3)))
      await sleep(20_000)
      assert.is((await first.ended).code, 1)
      await cluster.restore('etcd')
      await rest
      await Promise.all(lives.map((one) => lived(one, 3)))
      await second.stop()
      await areExact(lives, ['outage-leader', 'outage-follower'])
    })

    test('waits as long as a server with too much to do asks it to', async () => {
      await cluster.crash('apiserver')
      await cluster.restore('apiserver', [
        '--enable-priority-and-fairness=false',
        '--max-requests-inflight=1',
        '--max-mutating-requests-inflight=1',
      ])
      const lives = await livesOf('limits', 10)
      const port = await freePort()
      const controller = await started(
        'limits',
        '--leader-elect=false',
        '--namespace=limits',
        `--metrics-bind-address=127.0.0.1:${port}`,
      )
      await Promise.all(lives.map((one) => lived(one, 0, 3)))
      let isOver = false
      const flood = inTurn(Number.POSITIVE_INFINITY, 8, async () => {
        if (isOver) return true
        await sent('POST', `${MODELS('limits')}?dryRun=All`, onVolume('limits', 'flood', 'none'))
        return false
      })
      const rest = Promise.all(lives.map((one) => lived(one, 3)))
      await toldBy(port, (text) => sum(text, REQUESTS, 'code="429",method="PATCH"') > 0)
      isOver = true
      await flood
      await rest
      const text = await metricsText(port)
      await controller.stop()
      await areExact(lives, ['limits'])
      // Each of them waits for a second, and they wait together.
      const refused = sum(text, REQUESTS, 'code="429"')
      assert.ok(refused < 20 * lives.length, `${refused} times`)
    })
  })
}

const HOUR = 3_600_000

/** What each step makes of a model's status. */
const STEPS = [
  'Pending/StorageMissing',
  'StorageCreating/WaitingForWorker',
  'StorageCreating/StorageBinding',
  'ModelLoading/ModelLoading',
  'Ready/Ready',
] as const

const SLOW = 'ModelLoading/WorkerPending'

const PHASES = ['ModelLoading', 'Ready'] as const
const RIVALS = 'Failed/Rival'
const CONDITION = { type: 'Ready', status: 'False', lastTransitionTime: '2026-01-01T00:00:00Z' }

/** Undefined: nobody has written the status yet. */
function transition(model: unknown): string | undefined {
  const [, reason] = conditionOf(model, 'Ready')
  return reason === undefined ? undefined : `${phaseOf(model)}/${reason}`
}

const isStatusWrite = ({ verb, resource, code }: Asked): boolean =>
  verb === 'patch' && resource === 'arksmodels/status' && code === 200

const complaints = ({ lines }: Controller): readonly string[] =>
  lines.filter(({ level }) => level === 'error').map(({ message, error }) => `${message}: ${error}`)

const MODELS = (namespace: string): string => `/apis/arks.ai/v1/namespaces/${namespace}/arksmodels`

type Sent = (method: string, path: string, body?: unknown) => Promise<Answer>

interface Life {
  readonly name: string
  readonly key: string
  readonly path: string
  /** That of this number in STEPS. */
  take(step: number): Promise<void>
  /** The model goes, all else stays. */
  end(): Promise<void>
}

interface Living {
  readonly namespace: string
  readonly name: string
  readonly sent: Sent
}

function lifeOf({ namespace, name, sent }: Living): Life {
  const job = `arks-worker-${name}-0123456789`
  const path = `${MODELS(namespace)}/${name}`
  const claims = `/api/v1/namespaces/${namespace}/persistentvolumeclaims`
  const pods = `/api/v1/namespaces/${namespace}/pods`
  const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`
  const labels = { 'arks.ai/model': name, 'app.kubernetes.io/component': 'worker' }
  const now = (): string => new Date().toISOString().replace(/\.\d+/, '')
  const containerStatus = (state: Plain): Plain => ({
    phase: 'running' in state ? 'Running' : 'Succeeded',
    containerStatuses: [{ name: 'worker', image: 'loader', imageID: '', ready: false, restartCount: 0, state }],
  })
  const steps: readonly (() => Promise<unknown>)[] = [
    () =>
      sent('POST', MODELS(namespace), {
        apiVersion: 'arks.ai/v1',
        kind: 'ArksModel',
        metadata: { name, annotations: { 'arks.ai/worker-job': job } },
        spec: { model: 'org/model', source: { huggingface: {} }, storage: { pvc: { name, spec: CLAIM } } },
      }),
    () => sent('POST', claims, { metadata: { name }, spec: CLAIM }),
    () => sent('POST', jobs, { metadata: { name: job, labels }, spec: { template: template(labels) } }),
    async () => {
      const { body } = await sent('GET', `${jobs}/${job}`)
      const owner = {
        apiVersion: 'batch/v1',
        kind: 'Job',
        name: job,
        uid: at(body, 'metadata', 'uid'),
        controller: true,
      }
      await sent('POST', pods, { ...template(labels), metadata: { name: job, labels, ownerReferences: [owner] } })
      await sent('PATCH', `${pods}/${job}/status`, { status: containerStatus({ running: { startedAt: now() } }) })
      // Last, so that nobody sees a claim without a pod: how long that is waited for is no matter of this test.
      await sent('PATCH', `${claims}/${name}/status`, { status: { phase: 'Bound' } })
    },
    async () => {
      const terminated = { exitCode: 0, startedAt: now(), finishedAt: now(), message: LOADED }
      await sent('PATCH', `${pods}/${job}/status`, { status: containerStatus({ running: null, terminated }) })
      const since = { status: 'True', lastProbeTime: now(), lastTransitionTime: now(), reason: 'CompletionsReached' }
      const conditions = ['SuccessCriteriaMet', 'Complete'].map((type) => ({ type, ...since }))
      const status = { startTime: now(), completionTime: now(), succeeded: 1, conditions }
      await sent('PATCH', `${jobs}/${job}/status`, { status })
    },
  ]
  return {
    name,
    key: `${namespace}/${name}`,
    path,
    async take(step) {
      await steps[step]?.()
    },
    async end() {
      await sent('DELETE', path)
    },
  }
}

const CLAIM = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } }

const LOADED = JSON.stringify({
  v: 1,
  reason: 'Loaded',
  message: 'Loaded',
  retryable: false,
  commit: 'c'.repeat(40),
  totalBytes: 9,
  files: 1,
})

const template = (labels: Plain): Plain => ({
  metadata: { labels },
  spec: { restartPolicy: 'Never', containers: [{ name: 'worker', image: 'loader' }] },
})

const onVolume = (namespace: string, name: string, claim: string): Plain => ({
  apiVersion: 'arks.ai/v1',
  kind: 'ArksModel',
  metadata: { name, namespace },
  spec: { model: 'org/model', storage: { pvc: { name: claim }, subPath: name } },
})

/** Calls with the numbers below `count`, so many at once, until one says that it is enough. */
async function inTurn(count: number, width: number, call: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0
  const one = async (): Promise<void> => {
    while (next < count) if ((await call(next++)) === true) return
  }
  await Promise.all(Array.from({ length: width }, one))
}

interface Ready {
  /** Until so many models of the namespace are. */
  reach(count: number): Promise<void>
  stop(): void
}

function readyOf(cluster: Cluster, namespace: string): Ready {
  const ready = new Set<string>()
  const ending = new AbortController()
  const waiting: { readonly count: number; readonly resolve: () => void }[] = []
  const watched = (async () => {
    // The server ends a watch when it opens the store of its kind anew.
    while (!ending.signal.aborted) {
      for await (const line of cluster.lines(`${MODELS(namespace)}?watch=true`, ending.signal)) {
        const { object } = JSON.parse(line)
        if (phaseOf(object) === 'Ready') ready.add(String(at(object, 'metadata', 'name')))
        for (const { count, resolve } of waiting) if (ready.size >= count) resolve()
      }
    }
  })()
  watched.catch(() => {})
  return {
    async reach(count) {
      const late = new AbortController()
      const reached = new Promise<void>((resolve) => {
        waiting.push({ count, resolve })
        if (ready.size >= count) resolve()
      })
      const tooLate = sleep(90_000, undefined, { signal: late.signal }).then(() => {
        throw new Error(`${ready.size} of ${count} models are ready`)
      })
      await Promise.race([reached, tooLate])
      late.abort()
      tooLate.catch(() => {})
    },
    stop: () => ending.abort(),
  }
}

const portOf = (url: string): number => Number(new URL(url).port)

/** What a kubeconfig says, with another way to its server. */
const through = (kubeconfig: string, url: string, port: number): string =>
  readFileSync(kubeconfig, 'utf8').replaceAll(url, `https://127.0.0.1:${port}`)

function tokenConfig(cluster: Cluster, port: number): string {
  const config = asPlain(JSON.parse(through(cluster.kubeconfig, cluster.url, port)))
  return JSON.stringify({ ...config, users: [{ name: 'admin', user: { tokenFile: 'token' } }] })
}

/** Of the service account, good for as long as a Secret of this name is there. */
async function boundToken(sent: Sent, name: string): Promise<string> {
  const secret = await sent('POST', '/api/v1/namespaces/arksmodel/secrets', { metadata: { name } })
  const boundObjectRef = { apiVersion: 'v1', kind: 'Secret', name, uid: at(secret.body, 'metadata', 'uid') }
  const path = `/api/v1/namespaces/arksmodel/serviceaccounts/${TOKEN_HOLDER}/token`
  const { body } = await sent('POST', path, { spec: { audiences: [], boundObjectRef } })
  return String(at(body, 'status', 'token'))
}

/** The server remembers for some seconds that a token was good. */
async function refused(cluster: Cluster, token: string): Promise<void> {
  for (const end = performance.now() + 120_000; performance.now() < end; await sleep(100)) {
    const { status } = await cluster.request('GET', '/api', undefined, { authorization: `Bearer ${token}` })
    if (status === 401) return
  }
  throw new Error('the token is still taken')
}

interface Numbered extends Item {
  readonly number: number
}

function numbered(object: unknown): Numbered {
  const text = (field: string): string => String(at(object, 'metadata', field))
  return {
    namespace: text('namespace'),
    name: text('name'),
    uid: text('uid'),
    resourceVersion: text('resourceVersion'),
    number: Number(at(object, 'status', 'observedGeneration')),
  }
}

async function metricsText(port: number): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
}

async function toldBy(port: number, holds: (text: string) => boolean): Promise<void> {
  for (const end = performance.now() + 120_000; performance.now() < end; await sleep(100))
    if (holds(await metricsText(port))) return
  throw new Error('the metrics do not say so')
}

const REQUESTS = 'rest_client_requests_total'

/** Of all series of this name, with this among their labels. */
const sum = (text: string, name: string, label = ''): number =>
  text
    .split('\n')
    .filter((line) => line.startsWith(name) && line.includes(label))
    .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0)

interface Clocked {
  /** What the clock on the wall is off by, from now on. */
  shift(ms: number): Promise<void>
  signal(name: NodeJS.Signals): void
  stop(): Promise<{ readonly code: number | null; readonly log: readonly Plain[] }>
}

/** One whose clock on the wall can be set. */
function startClocked(kubeconfig: string, args: readonly string[]): Clocked {
  const preload = join(scratch({ 'clock.mjs': CLOCK }), 'clock.mjs')
  const child = spawn(
    process.execPath,
    [CONTROLLER, `--kubeconfig=${kubeconfig}`, '--leader-election-namespace=arksmodel', '--progress=false', ...args],
    {
      env: { PATH: process.env['PATH'], NODE_OPTIONS: `--import=${preload}` },
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  )
  let [said, text] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  return {
    async shift(ms) {
      said = ''
      child.stdin.write(`${ms}\n`)
      await until('the clock is set', () => said.includes('set'))
    },
    signal(name) {
      child.kill(name)
    },
    async stop() {
      child.kill('SIGTERM')
      const code = await ended
      return {
        code,
        log: text.split('\n').flatMap((line) => (line.startsWith('{') ? [asPlain(JSON.parse(line))] : [])),
      }
    },
  }
}

const CLOCK = `
const now = Date.now
let shift = 0
Date.now = () => now() + shift
process.stdin.on('data', (chunk) => {
  shift = Number(chunk)
  process.stdout.write('set')
})
process.stdin.unref()
`
