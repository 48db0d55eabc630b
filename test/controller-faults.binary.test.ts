import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { client } from '../controller/client.ts'
import { type Item, reflector } from '../controller/reflector.ts'
import { type ApiProxy, proxy } from './api-proxy.ts'
import { type Controller, conditionOf, phaseOf, startController } from './controller.ts'
import { type ApiObject, type Asked, accessTo, type FakeApi, fakeApi, isList, isWatch } from './fake-api.ts'
import { describe } from './harness.ts'
import { at } from './objects.ts'
import { scratch } from './scratch.ts'
import { until } from './until.ts'

/** The built controller, and faults that a real API server does not show when it is asked to. */

const FOREVER = Number.POSITIVE_INFINITY
const NOT_ELECTED = '--leader-elect=false'

/** It is on its claim already, so that it is Ready when it was looked at. */
const model = (name: string, labels: Readonly<Record<string, string>> = {}): ApiObject => ({
  apiVersion: 'arks.ai/v1',
  kind: 'ArksModel',
  metadata: { name, labels },
  spec: { model: 'org/model', storage: { pvc: { name: 'claim' }, subPath: name } },
})

const CLAIM: ApiObject = {
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'claim' },
  status: { phase: 'Bound' },
}

const isPatch = ({ verb }: Asked): boolean => verb === 'patch'
const isPatchOf =
  (name: string) =>
  ({ verb, path }: Asked): boolean =>
    verb === 'patch' && path.endsWith(`/arksmodels/${name}/status`)
const isOfLease = ({ path }: Asked): boolean => path.includes('/leases')
const isReady = (api: FakeApi, name: string): boolean => phaseOf(api.get(model(name))) === 'Ready'
const patches = (api: FakeApi, name: string): readonly Asked[] => api.log.filter(isPatchOf(name))

interface Play {
  readonly api: FakeApi
  readonly way: ApiProxy
  readonly controller: Controller
}

interface Scene {
  readonly args?: readonly string[]
  readonly before?: (api: FakeApi) => void
  /** It was killed, or has ended by itself. */
  readonly hasEnded?: boolean
}

/** The program on an API server of one claim and no model, until the play is over. */
async function played(play: (all: Play) => Promise<void>, scene: Scene = {}): Promise<void> {
  const { args = [NOT_ELECTED], before, hasEnded = false } = scene
  const api = await fakeApi()
  const way = await proxy({ port: Number(new URL(api.url).port) })
  api.put(CLAIM)
  before?.(api)
  const folder = scratch({ config: kubeconfig(`http://127.0.0.1:${way.port}`) })
  const controller = startController(join(folder, 'config'), ['--progress=false', ...args])
  try {
    await play({ api, way, controller })
    if (!hasEnded) assert.is((await controller.stop()).code, 0)
  } finally {
    controller.signal('SIGKILL')
    await controller.ended
    await way.stop()
    await api.stop()
  }
}

/** Whoever waits for it hears how it ends, however late. */
function begun(work: () => Promise<void>): Promise<void> {
  const running = work()
  running.catch(() => {})
  return running
}

const kubeconfig = (server: string): string =>
  JSON.stringify({
    clusters: [{ name: 'fake', cluster: { server } }],
    users: [{ name: 'somebody', user: {} }],
    contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'somebody' } }],
    'current-context': 'fake',
  })

/** These two mostly wait, which they can do beside the others. */
const silenced = begun(() =>
  played(
    async ({ api, controller }) => {
      api.put(model('one'))
      await until('it is ready', () => isReady(api, 'one'))
      const renewal = api.log.filter(isOfLease).at(-1)?.at ?? 0
      api.faults.push({ when: isOfLease, do: { kind: 'hang' }, times: FOREVER })
      const { code } = await controller.ended
      const took = performance.now() - renewal
      assert.is(code, 1)
      assert.ok(took < 15_000, `others may lead after 15 s; it ended after ${took} ms`)
      assert.ok(
        controller.lines.some(
          ({ message, why }) => message.startsWith('The lease is lost') && /10000 ms/.test(`${why}`),
        ),
      )
    },
    { args: [], hasEnded: true },
  ),
)
const unanswered = begun(() =>
  played(
    async ({ api, way, controller }) => {
      api.put(model('one'))
      // It has heard so, too: a write that is under way is waited for until its answer is overdue.
      await controller.logged(
        'it is ready',
        ({ message, name }) => name === 'one' && message === 'The model is ready now',
      )
      way.blackHole()
      const asked = performance.now()
      assert.is((await controller.stop()).code, 0)
      assert.ok(performance.now() - asked < 15_000)
    },
    { args: [] },
  ),
)

describe('A controller on an API server that misbehaves', (test) => {
  test('goes on behind answers that are none', () =>
    played(async ({ api, controller }) => {
      const html = { kind: 'body', text: '<html>Service will be back</html>' } as const
      await until('it is there', () => api.watches === 4)
      api.put(model('one'))
      await until('it is ready', () => isReady(api, 'one'))
      api.faults.push({ when: isWatch, do: html, times: 4 }, { when: isList, do: html, times: 4 })
      api.faults.push({ when: isPatch, do: { kind: 'body', text: '{"kind":"Status"}' } })
      api.faults.push({ when: isPatch, do: html })
      api.endWatches('end')
      api.put(model('two'))
      await until('the next is ready', () => isReady(api, 'two'))
      assert.ok(isReady(api, 'one'))
      assert.ok(controller.lines.some(({ message }) => message.startsWith('Cannot watch')))
    }))

  test('asks less and less often where every write fails, and makes up for it', () =>
    played(async ({ api, controller }) => {
      api.faults.push({ when: isPatchOf('bad'), do: { kind: 'status', code: 500 }, times: FOREVER })
      api.put(model('bad'))
      await until('it has tried', () => patches(api, 'bad').length >= 4)
      for (const name of ['one', 'two']) api.put(model(name))
      await until('others are ready', () => isReady(api, 'one') && isReady(api, 'two'))
      await until('it tries again', () => patches(api, 'bad').length >= 5)
      const times = patches(api, 'bad').map((each) => each.at)
      const pauses = times.slice(1).map((each, i) => each - (times[i] ?? 0))
      assert.ok(
        pauses.every((pause, i) => pause > 75 * 2 ** i),
        `${pauses}`,
      )
      api.faults.length = 0
      await until('it is ready', () => isReady(api, 'bad'))
      assert.ok(controller.lines.some(({ message, name }) => message.startsWith('Cannot bring') && name === 'bad'))
    }))

  test('leaves a model whose status the server refuses until it changes', () =>
    played(async ({ api }) => {
      const fault = {
        kind: 'status',
        code: 422,
        reason: 'Invalid',
        message: 'status.phase: Unsupported value',
      } as const
      api.faults.push({ when: isPatchOf('bad'), do: fault, times: FOREVER })
      api.put(model('bad'))
      await until('it was refused', () => patches(api, 'bad').length >= 3)
      api.put(model('one'))
      await until('another one is ready', () => isReady(api, 'one'))
      api.faults.length = 0
      api.put(model('bad', { mended: 'yes' }))
      await until('it is ready', () => isReady(api, 'bad'))
      assert.ok(patches(api, 'bad').length < 10)
    }))

  test('waits as long as it is asked to', () =>
    played(async ({ api }) => {
      api.faults.push({ when: isPatch, do: { kind: 'status', code: 429, retryAfter: 2 } })
      api.put(model('one'))
      await until('it is ready', () => isReady(api, 'one'))
      const [refused, taken, ...more] = patches(api, 'one')
      assert.is(more.length, 0)
      assert.ok((taken?.at ?? 0) - (refused?.at ?? 0) >= 2_000)
    }))

  test('looks again where it is told that there is no such model', () =>
    played(async ({ api }) => {
      api.faults.push({ when: isPatch, do: { kind: 'status', code: 404, reason: 'NotFound' }, times: 2 })
      api.put(model('one'))
      await until('it is ready', () => isReady(api, 'one'))
    }))

  test('takes a write whose answer is lost for what it is, once', () =>
    played(async ({ api }) => {
      api.faults.push({ when: isPatch, do: { kind: 'reset-after' } })
      api.put(model('one'))
      await until('it is ready', () => isReady(api, 'one'))
      const { resourceVersion } = api.get(model('one'))?.metadata ?? {}
      api.put(model('two'))
      await until('the next is ready', () => isReady(api, 'two'))
      assert.is(api.get(model('one'))?.metadata.resourceVersion, resourceVersion)
      assert.equal(conditionOf(api.get(model('one')), 'Ready'), ['True', 'Ready', 'The model is ready now'])
    }))

  test('goes on where the kind goes and comes back', () =>
    played(async ({ api, controller }) => {
      api.put(model('one'))
      await until('it is ready', () => isReady(api, 'one'))
      api.missing.add('arksmodels')
      api.endWatches('end')
      await controller.logged('it is gone', ({ message }) => message.startsWith('The cluster does not know ArksModels'))
      api.missing.clear()
      api.put(model('two'))
      await until('the next is ready', () => isReady(api, 'two'))
      await controller.logged('it is back', ({ message }) => message === 'It is served now')
      assert.is(patches(api, 'one').length, 1)
    }))

  test('believes a store that was set back', () =>
    played(async ({ api }) => {
      for (const name of ['one', 'two']) api.put(model(name))
      await until('they are ready', () => isReady(api, 'one') && isReady(api, 'two'))
      api.setRevision(100)
      api.put(model('one'))
      api.silently(() => api.remove(model('two')))
      api.endWatches('reset')
      await until('it is written again', () => isReady(api, 'one'))
      api.put(model('three'))
      await until('the next is ready', () => isReady(api, 'three'))
      assert.is(api.get(model('two')), undefined)
    }))

  test('gives up its lease where the server falls silent, and writes no more', () => silenced)

  test('ends in good order where no answer comes any more', () => unanswered)
})

interface Named extends Item {
  readonly label: unknown
}

function named(object: unknown): Named {
  const text = (field: string): string => String(at(object, 'metadata', field))
  const [namespace, name] = [text('namespace'), text('name')]
  const [uid, resourceVersion] = [text('uid'), text('resourceVersion')]
  return { namespace, name, uid, resourceVersion, label: at(object, 'metadata', 'labels', 'is') }
}

const PATH = '/apis/arks.ai/v1/arksmodels'

describe('A network that is gone', (test) => {
  test('is noticed by a watch, and the next connection brings what happened', async () => {
    const api = await fakeApi()
    const way = await proxy({ port: Number(new URL(api.url).port) })
    const requests = client({ access: accessTo(`http://127.0.0.1:${way.port}`) })
    const it = reflector<Named>({
      client: requests,
      source: { path: PATH, trimmed: named },
      onChange: () => {},
      now: () => performance.now(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }),
      random: Math.random,
      timing: { silenceMs: 200, headersMs: 200, listMs: 200, firstPauseMs: 5, longestPauseMs: 20 },
    })
    api.put(model('one', { is: '1' }))
    await until('it is listed', () => it.get('default/one')?.label === '1')
    for (const is of ['2', '3']) {
      way.blackHole()
      api.put(model('one', { is }))
      const { accepted } = way.connections
      await until('it has tried again', () => way.connections.accepted >= accepted + 2)
      assert.is.not(it.get('default/one')?.label, is)
      way.mend()
      await until('it has the news', () => it.get('default/one')?.label === is)
    }
    await it.stop()
    requests.close()
    await way.stop()
    await api.stop()
  })

  test('costs a request its time, and the next one takes another connection', async () => {
    const api = await fakeApi()
    const way = await proxy({ port: Number(new URL(api.url).port) })
    const requests = client({ access: accessTo(`http://127.0.0.1:${way.port}`) })
    const list = (): Promise<unknown> => requests.request({ verb: 'list', path: PATH, timeoutMs: 200 })
    await Promise.all([list(), list(), list()])
    way.blackHole()
    way.mend()
    const first = await list().then(
      () => 'answered',
      (error: unknown) => String(error),
    )
    assert.match(first, /Timeout/)
    assert.is(await list().then(() => 'answered'), 'answered')
    requests.close()
    await way.stop()
    await api.stop()
  })
})
