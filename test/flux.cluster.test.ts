import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { type Asked, asked } from './audit.ts'
import { startCluster } from './cluster.ts'
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
import { NAMESPACE as FLUX, type Flux, readyOf, startFlux } from './flux.ts'
import { describe, leftOut } from './harness.ts'
import { type HubFile, hub, randomFile } from './hub.ts'
import { startKubelet } from './kubelet.ts'
import { sizeOf } from './loader.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { controlPlane } from './parts.ts'
import { fluxParts } from './parts-flux.ts'
import { expanded, printed } from './process.ts'
import { scenario } from './scenario.ts'
import { scratch } from './scratch.ts'
import { eventually, gated } from './until.ts'

/** What Flux makes of commits: the real kustomize-controller, API server, loader and controller, on examples/flux. */

const USER = 'arksmodel-controller'
const FLUX_USER = 'kustomize-controller'
const NAMESPACE = 'models'
const EXAMPLE = 'examples/flux/sync.yaml'
const SYNC = `${FLUX}/models`
const APPLICATIONS = `${FLUX}/applications`

const LAST = 'model-00002-of-00002.safetensors'
const WEIGHTS = randomFile('model-00001-of-00002.safetensors', 600_000, 3)
const FIRST = [randomFile('config.json', 700, 2), WEIGHTS, randomFile(LAST, 400_000, 4)]
const SECOND = [randomFile('config.json', 800, 5), WEIGHTS, randomFile(LAST, 300_000, 6)]
const SHUT = [randomFile('config.json', 700, 7), randomFile('model.safetensors', 200_000, 8)]

const REPOSITORIES = {
  'org/model': { revisions: { v1: FIRST, v2: SECOND } },
  'org/gated': { gated: true, revisions: { main: SHUT } },
}

/** The loader asks for one byte of the largest file before it begins: whether it may read them. */
const ASKED = 1

const changedBetween = (from: readonly HubFile[], to: readonly HubFile[]): readonly HubFile[] =>
  to.filter((file) => !from.includes(file))

interface Written {
  readonly name: string
  readonly model?: string
  readonly revision?: string
  readonly claim?: string
  readonly reload?: string
}

const written = ({ name, model = 'org/model', revision, claim, reload }: Written): string => `
apiVersion: arks.ai/v1
kind: ArksModel
metadata:
  name: ${name}
  namespace: ${NAMESPACE}
  annotations: ${reload === undefined ? '{}' : `{arks.ai/reload: "${reload}"}`}
spec:
  model: ${model}
  source:
    huggingface: ${revision === undefined ? '{}' : `{revision: ${revision}}`}
  storage:
    pvc:
      ${claim === undefined ? '' : `name: ${claim}`}
      spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
`

const QWEN = `${NAMESPACE}/qwen`
const HURRIED = `${NAMESPACE}/hurried`
const V1 = { name: 'qwen', revision: 'v1' }
const V2 = { name: 'qwen', revision: 'v2' }
const GATED = { name: 'gated', model: 'org/gated' }

const isReady = (model: Plain): boolean => phaseOf(model) === 'Ready'
const jobOf = (model: Plain): string => String(at(model, 'metadata', 'annotations', 'arks.ai/worker-job'))
const isLoading = (model: Plain): boolean => phaseOf(model) === 'ModelLoading'
const isModels = (object: Plain): boolean => object['kind'] === 'Kustomization' && nameOf(object) === 'models'
const readinessOf = (kustomization: Plain = {}): unknown => at(readyOf(kustomization), 'status')
const isLookAtModel = ({ verb, resource, code }: Asked): boolean =>
  verb === 'get' && resource === 'arksmodels' && code === 200

const JOBS = `/apis/batch/v1/namespaces/${NAMESPACE}/jobs`
const CLAIMS = `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims`
const MODELS = `/apis/arks.ai/v1/namespaces/${NAMESPACE}/arksmodels`
const APPLICATION = '/api/v1/namespaces/default/configmaps/application'
const BACKGROUND = { propagationPolicy: 'Background' }
/** Flux ends at the first of the two that it sees. */
const REFUSED =
  /^health check failed after .*: failed early due to stalled resources: \[.*(ArksModel\/models\/gated|Job\/models\/arks-worker-gated-\w+) status: 'Failed'/

const auditLog = join(scratch({}), 'audit.log')
const [parts, flux] = [await controlPlane(), await fluxParts()]
const cluster = await startCluster({ controllerManager: true, users: [USER, FLUX_USER], auditLog })

if (parts.kind === 'missing') leftOut('models under Flux', parts)
else if (cluster.kind === 'missing') leftOut('models under Flux', cluster)
else if (flux.kind === 'missing') {
  leftOut('models under Flux', flux)
  await cluster.stop()
} else {
  const there = await hub({ repositories: REPOSITORIES })
  const kubelet = await startKubelet({ cluster, volumes: scratch({}), env: { HF_ENDPOINT: there.url } })
  const run = kubectl(parts.kubectl.path, cluster)
  let controller: Controller
  let models: Models
  let git: Flux
  let [rendered, listed] = ['', '']

  const commit = async (...list: readonly Written[]): Promise<void> => {
    rendered = list.length === 0 ? '' : expanded(list.map(written).join('---'))
    const folder = scratch({
      'examples/flux/rendered/kustomization.yaml': readFileSync('examples/flux/rendered/kustomization.yaml', 'utf8'),
      'examples/flux/rendered/models.yaml': rendered,
      'applications/application.yaml': APPLICATION_FILE,
    })
    listed = join(folder, 'examples/flux/rendered/models.yaml')
    await git.commit(folder)
  }
  /** What Git says is what is there. */
  const same = async (): Promise<void> => {
    if (rendered === '') return
    const ways = [[], ['--server-side', '--force-conflicts']]
    const ran = await Promise.all(ways.map((way) => run(['diff', ...way, '-f', listed])))
    for (const { status, stdout, stderr } of ran) assert.equal([status, stdout, stderr], [0, '', ''], 'kubectl diff')
  }
  const synced = async (...list: readonly Written[]): Promise<Plain> => {
    await commit(...list)
    const end = await git.synced(SYNC)
    await same()
    return end
  }
  const got = async (path: string): Promise<Plain | undefined> => {
    const { status, body } = await cluster.request('GET', path)
    if (status === 404) return undefined
    assert.is(status, 200)
    return asPlain(body)
  }
  const now = (key: string): Plain => models.states(key).at(-1) ?? {}
  /** As it is in Git. */
  const jobFor = (model: string): string =>
    jobOf(ofKind(objects(rendered), 'ArksModel').find((each) => nameOf(each) === model) ?? {})
  const folderOf = (claim: string, model: string): string =>
    join(kubelet.folder(`${NAMESPACE}/${claim}`), 'models', NAMESPACE, model)
  const jobs = (): Promise<readonly string[]> => names(JOBS)
  const names = async (path: string): Promise<readonly string[]> =>
    asList((await got(path))?.['items']).map((each) => String(at(each, 'metadata', 'name')))
  const versions = async (paths: readonly string[]): Promise<readonly unknown[]> =>
    (await Promise.all(paths.map(got))).map((each) => at(each, 'metadata', 'resourceVersion'))
  const isGone = (path: string): Promise<void> => eventually(`no ${path}`, async () => (await got(path)) === undefined)
  const applied = (kustomization: Plain): void =>
    assert.equal(
      ['status', 'message'].map((field) => at(readyOf(kustomization), field)),
      ['True', `Applied revision: ${at(kustomization, 'status', 'lastAttemptedRevision')}`],
    )

  describe('models under Flux', (test) => {
    test.before.each(() => {
      there.faults = []
      there.clearLog()
    })
    const played = (story: string, play: () => Promise<void>): void =>
      scenario(test, story, play, { under: 'Flux: ', bytesSent: () => there.bytesSent() })

    test('has the parts', async () => {
      const crds = objects(printed(parts.kubectl.path, ['kustomize', 'kustomize/crds']))
      for (const crd of crds) assert.is((await cluster.create(crd)).status, 201)
      await cluster.waitForCrd('arksmodels.arks.ai')
      await permit(cluster, [USER])
      await cluster.createNamespace(NAMESPACE, { 'pod-security.kubernetes.io/enforce': 'restricted' })
      models = watchModels(cluster)
      controller = startController(await cluster.kubeconfigFor(USER))
      await controller.logged('synced', says('Synced'))
      git = await startFlux({
        cluster,
        parts: flux,
        user: FLUX_USER,
        sync: EXAMPLE,
        featureGates: 'CancelHealthCheckOnNewRevision=true',
      })
    })

    test('takes the Kustomization of docs/flux.md', async () => {
      const [, text = ''] = /^```yaml\n(.*?)^```$/ms.exec(readFileSync('docs/flux.md', 'utf8')) ?? []
      const [documented = {}, ...none] = objects(text)
      assert.equal(none, [])
      const { status, body, warnings } = await cluster.apply(documented, { dryRun: true, strict: true, force: true })
      assert.equal([status, warnings], [200, []], `${at(body, 'message')}`)
      const { healthCheckExprs: _, ...spec } = asPlain(
        at(objects(readFileSync(EXAMPLE, 'utf8')).find(isModels), 'spec'),
      )
      assert.equal(documented['spec'], spec)
    })

    played('first sync: Ready when the model is, and the applications then', async () => {
      const [gate, open] = gated()
      there.faults = [{ kind: 'call', on: 'resolve', path: LAST, run: () => gate }]
      await commit(V1)
      await git.seen(SYNC, 'health check', (each) => /health checks/.test(String(conditionOf(each, 'Reconciling')[2])))
      await models.seen(QWEN, 'load', isLoading)
      await eventually('a look at the model', () => asked(auditLog, FLUX_USER).some(isLookAtModel))
      assert.is(readinessOf(git.states(SYNC).at(-1)), 'Unknown')
      assert.is(await got(APPLICATION), undefined)
      open()
      applied(await git.synced(SYNC))
      assert.ok(isReady(now(QWEN)))
      applied(await git.synced(APPLICATIONS))
      assert.ok(await got(APPLICATION))
      await same()
      assert.is(there.bytesSent(), ASKED + sizeOf(FIRST))
      holds(folderOf('qwen', 'qwen'), FIRST)
    })

    played(
      'reconciled by force, twenty times: the Hub hears nothing, model, Job and claim stay as they are',
      async () => {
        const paths = [`${JOBS}/${jobFor('qwen')}`, `${CLAIMS}/qwen`, `${MODELS}/qwen`]
        const before = await versions(paths)
        for (let i = 0; i < 20; i++) applied(await git.reconciled(SYNC))
        assert.equal(await versions(paths), before)
        assert.is(there.log.length, 0)
        await same()
      },
    )

    played(
      'another revision: another Job, the old one pruned, Ready taken back, what is the same is kept',
      async () => {
        const [old, claim, from] = [jobFor('qwen'), await got(`${CLAIMS}/qwen`), models.states(QWEN).length]
        const [gate, open] = gated()
        there.faults = [{ kind: 'call', on: 'resolve', path: LAST, run: () => gate }]
        await commit(V2)
        await models.seen(QWEN, 'load', isLoading, from)
        await isGone(`${JOBS}/${old}`)
        await eventually('Ready taken back', () => readinessOf(git.states(SYNC).at(-1)) === 'Unknown')
        open()
        applied(await git.synced(SYNC))
        await same()
        assert.ok(isReady(now(QWEN)))
        assert.equal(await jobs(), [jobFor('qwen')])
        assert.is(at(await got(`${CLAIMS}/qwen`), 'metadata', 'uid'), at(claim, 'metadata', 'uid'))
        assert.is(there.bytesSent(WEIGHTS.path), ASKED)
        assert.is(there.bytesSent(), ASKED + sizeOf(changedBetween(FIRST, SECOND)))
        holds(folderOf('qwen', 'qwen'), SECOND)
      },
    )

    played('a former commit, by kstatus alone: its Job runs again and fetches what has gone since', async () => {
      await git.changed(SYNC, { healthCheckExprs: null })
      applied(await synced(V1))
      assert.ok(isReady(now(QWEN)))
      assert.equal(await jobs(), [jobFor('qwen')])
      assert.is(there.bytesSent(), ASKED + sizeOf(changedBetween(SECOND, FIRST)))
      holds(folderOf('qwen', 'qwen'), FIRST)
    })

    played(
      'a Job that somebody deleted: it comes again and fetches nothing, the model is Ready all along',
      async () => {
        const [path, from] = [`${JOBS}/${jobFor('qwen')}`, models.states(QWEN).length - 1]
        await cluster.request('DELETE', path, BACKGROUND)
        await isGone(path)
        applied(await git.reconciled(SYNC))
        assert.ok(await got(path))
        assert.is(there.bytesSent(), 0)
        assert.ok(models.states(QWEN).slice(from).every(isReady))
        await same()
      },
    )

    played('a commit while the last one loads: taken up at once, what was fetched is kept', async () => {
      const [gate, open] = gated()
      there.faults = [{ kind: 'call', on: 'resolve', path: LAST, times: 1, run: () => gate }]
      await commit(V1, { ...V1, name: 'hurried' })
      const old = jobFor('hurried')
      await models.seen(HURRIED, 'load', isLoading)
      const folder = folderOf('hurried', 'hurried')
      await eventually('the first file', () => existsSync(join(folder, WEIGHTS.path)))
      applied(await synced(V1, { ...V2, name: 'hurried' }))
      open()
      await isGone(`${JOBS}/${old}`)
      assert.ok(isReady(now(HURRIED)))
      assert.is(there.bytesSent(WEIGHTS.path), 2 * ASKED + WEIGHTS.bytes.length)
      holds(folder, SECOND)
      applied(await synced(V1))
    })

    played('prune off: the Jobs of former commits stay', async () => {
      const old = jobFor('qwen')
      await git.changed(SYNC, { prune: false })
      applied(await synced(V2))
      assert.equal([...(await jobs())].sort(), [old, jobFor('qwen')].sort())
      holds(folderOf('qwen', 'qwen'), SECOND)
    })

    played(
      'prune off, and a former commit whose Job is still there: not Ready with what another one loaded',
      async () => {
        const from = models.states(QWEN).length
        await synced(V1)
        const isLie = isReady(now(QWEN)) && !isHeld(folderOf('qwen', 'qwen'), FIRST)
        assert.not(isLie, 'Ready, and the claim holds another revision')
        const path = `${JOBS}/${jobFor('qwen')}`
        await cluster.request('DELETE', path, BACKGROUND)
        await isGone(path)
        await eventually('news of that', () => conditionOf(now(QWEN), 'Stalled')[0] === undefined)
        applied(await git.reconciled(SYNC))
        holds(folderOf('qwen', 'qwen'), FIRST)
        assert.ok(models.states(QWEN).length > from)
      },
    )

    played('prune on again: what was left behind is deleted by hand, once', async () => {
      await git.changed(SYNC, { prune: true })
      await cluster.request('DELETE', `${JOBS}?labelSelector=arks.ai/model=qwen`, BACKGROUND)
      await eventually('no Jobs', async () => (await jobs()).length === 0)
      applied(await synced(V2))
      assert.equal(await jobs(), [jobFor('qwen')])
      holds(folderOf('qwen', 'qwen'), SECOND)
    })

    played('a model renamed: a claim of its own is filled, the old one stays with what it holds', async () => {
      applied(await synced({ ...V2, name: 'renamed' }))
      await isGone(`${MODELS}/qwen`)
      assert.equal(await jobs(), [jobFor('renamed')])
      assert.is(there.bytesSent(), ASKED + sizeOf(SECOND))
      holds(folderOf('renamed', 'renamed'), SECOND)
      holds(folderOf('qwen', 'qwen'), SECOND)
      assert.is(at(await got(`${CLAIMS}/qwen`), 'status', 'phase'), 'Bound')
    })

    played('a model renamed whose claim has a name of its own: what it needs is on the claim already', async () => {
      applied(await synced({ ...V2, name: 'before', claim: 'weights' }))
      there.clearLog()
      applied(await synced({ ...V2, name: 'after', claim: 'weights' }))
      assert.is(there.bytesSent(), ASKED)
      for (const model of ['before', 'after']) holds(folderOf('weights', model), SECOND)
    })

    played('a model that fails: the Kustomization does, and names it; the model says why', async () => {
      const fromQwen = models.states(QWEN).length
      const end = await synced(V2, GATED)
      assert.match(String(at(readyOf(end), 'message')), REFUSED)
      assert.is(at(readyOf(end), 'reason'), 'HealthCheckFailed')
      assert.is(readinessOf(end), 'False')
      const why = 'Failed to load the model: "org/gated" is gated: it takes a token of somebody who has access to it'
      const failed = await models.seen(`${NAMESPACE}/gated`, 'failure', (model) => phaseOf(model) === 'Failed')
      assert.equal(conditionOf(failed, 'Ready'), ['False', 'GatedRepo', why])
      const { stdout } = await run(['get', 'am', '-n', NAMESPACE, '-o', 'wide'])
      assert.match(stdout, `GatedRepo   ${why}`)
      await models.seen(QWEN, 'Ready all the same', isReady, fromQwen)
      const isHeldBack = (each: Plain): boolean => at(readyOf(each), 'reason') === 'DependencyNotReady'
      await eventually('the applications wait', () => isHeldBack(git.states(APPLICATIONS).at(-1) ?? {}))
    })

    played('`arks.ai/reload`: loads it when the Hub lets us in', async () => {
      there.setRepository('org/gated', { revisions: { main: SHUT } })
      await synced(V2, { ...GATED, reload: '1' })
      await models.seen(`${NAMESPACE}/gated`, 'Ready', isReady)
      // No spec has changed, so what Flux saw first may be the failure that was told before.
      applied(await git.reconciled(SYNC))
      assert.is(there.bytesSent(), ASKED + sizeOf(SHUT))
      holds(folderOf('gated', 'gated'), SHUT)
    })

    played('a model deleted: it and its Job go, its claim stays', async () => {
      const job = jobFor('gated')
      applied(await synced(V2))
      await isGone(`${MODELS}/gated`)
      await isGone(`${JOBS}/${job}`)
      assert.is(at(await got(`${CLAIMS}/gated`), 'status', 'phase'), 'Bound')
      holds(folderOf('gated', 'gated'), SHUT)
    })

    played('the deleted model again: its claim is taken up, nothing is fetched', async () => {
      applied(await synced(V2, { ...GATED, reload: '1' }))
      assert.ok(isReady(now(`${NAMESPACE}/gated`)))
      assert.is(there.bytesSent(), 0)
    })

    played('nothing is left in Git: all models go, all claims stay', async () => {
      const claims = await names(CLAIMS)
      assert.ok(claims.includes('qwen'))
      applied(await synced())
      await eventually('no models and Jobs', async () => [...(await names(MODELS)), ...(await jobs())].length === 0)
      assert.equal(await names(CLAIMS), claims)
      holds(folderOf('qwen', 'qwen'), SECOND)
    })

    played('the Kustomization deleted: the same', async () => {
      const claims = await names(CLAIMS)
      applied(await synced(V2))
      await cluster.request('DELETE', `/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/${FLUX}/kustomizations/models`)
      await eventually('no models and Jobs', async () => [...(await names(MODELS)), ...(await jobs())].length === 0)
      assert.equal(await names(CLAIMS), claims)
      holds(folderOf('qwen', 'qwen'), SECOND)
    })

    test('stops', async () => {
      await controller.stop()
      await models.stop()
      await git.stop()
      await kubelet.stop()
      await cluster.stop()
      await there.close()
    })
  })
}

const APPLICATION_FILE = `
apiVersion: v1
kind: ConfigMap
metadata: {name: application, namespace: default}
`

const isHeld = (folder: string, files: readonly HubFile[]): boolean =>
  files.every(({ path, bytes }) => readFileSync(join(folder, path)).equals(bytes))

function holds(folder: string, files: readonly HubFile[]): void {
  const there = readdirSync(folder).filter((name) => name !== '.cache')
  assert.equal(there.toSorted(), files.map(({ path }) => path).toSorted(), folder)
  assert.ok(isHeld(folder, files), folder)
}
