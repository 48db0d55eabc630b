import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as assert from 'uvu/assert'
import { startCluster } from './cluster.ts'
import { permit, phaseOf, says, startController, watchModels } from './controller.ts'
import { describe, leftOut } from './harness.ts'
import { hub, randomFile } from './hub.ts'
import { startKubelet } from './kubelet.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { controlPlane, kpt } from './parts.ts'
import { expanded } from './process.ts'
import { scenario } from './scenario.ts'
import { scratch } from './scratch.ts'

/** kpt applies what was rendered, waits for it by kstatus, and prunes what has left Git. */

const USER = 'arksmodel-controller'
const NAMESPACE = 'team'
const ran = promisify(execFile)

const model = (name: string): string => `---
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: ${name}, namespace: ${NAMESPACE}}
spec:
  model: org/${name}
  source: {huggingface: {}}
  storage: {pvc: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}
`

/** It goes on to wait for the Job. */
const ENOUGH_SECONDS = 8

const KPTFILE = `apiVersion: kpt.dev/v1
kind: Kptfile
metadata: {name: models}
`

const [parts, tool] = [await controlPlane(), await kpt()]
const cluster = tool.kind === 'missing' ? tool : await startCluster({ controllerManager: true, users: [USER] })

if (parts.kind === 'missing') leftOut('kpt live', parts)
else if (tool.kind === 'missing') leftOut('kpt live', tool)
else if (cluster.kind === 'missing') leftOut('kpt live', cluster)
else {
  const files = [randomFile('config.json', 700)]
  const there = await hub({
    repositories: {
      'org/one': { revisions: { main: files } },
      'org/two': { revisions: { main: files } },
      'org/gated': { revisions: { main: files }, gated: true },
    },
  })
  const kubelet = await startKubelet({ cluster, volumes: scratch({}), env: { HF_ENDPOINT: there.url } })
  for (const crd of objects(readFileSync('crds/arksmodel.yaml', 'utf8'))) await cluster.apply(crd)
  await cluster.waitForCrd('arksmodels.arks.ai')
  await permit(cluster, [USER])
  await cluster.createNamespace(NAMESPACE, { 'pod-security.kubernetes.io/enforce': 'restricted' })
  const controller = startController(await cluster.kubeconfigFor(USER))
  await controller.logged('synced', says('Synced'))
  const models = watchModels(cluster)
  const folder = scratch({ Kptfile: KPTFILE })

  const render = (...names: readonly string[]): void =>
    writeFileSync(join(folder, 'rendered.yaml'), expanded(names.map(model).join('')))
  const live = async (...args: readonly string[]): Promise<string> => {
    const env = { PATH: process.env['PATH'], HOME: folder, KUBECONFIG: cluster.kubeconfig }
    const { stdout } = await ran(tool.path, ['live', ...args], { env })
    return stdout
  }
  const apply = (seconds = 30): Promise<string> =>
    live('apply', folder, '--install-resource-group', `--reconcile-timeout=${seconds}s`, '--prune-timeout=30s')
  const statusOf = async (kind: string, name: string): Promise<number> => {
    const paths: Readonly<Record<string, string>> = {
      claim: '/api/v1/namespaces/team/persistentvolumeclaims',
      job: '/apis/batch/v1/namespaces/team/jobs',
      model: '/apis/arks.ai/v1/namespaces/team/arksmodels',
    }
    return (await cluster.request('GET', `${paths[kind]}/${name}`)).status
  }
  const jobOf = (name: string): string => nameOf(ofKind(objects(expanded(model(name))), 'Job')[0] ?? {})

  describe('kpt live', (test) => {
    const tried = (story: string, act: () => Promise<void>): void =>
      scenario(test, story, act, { under: 'kpt live ', bytesSent: () => there.bytesSent() })

    tried('waits until all that it applied is Ready, and a second time changes nothing', async () => {
      render('one', 'two')
      await live('init', folder, `--namespace=${NAMESPACE}`)
      const said = await apply()
      for (const name of ['one', 'two']) {
        const last = models.states(`${NAMESPACE}/${name}`).at(-1)
        assert.is(phaseOf(last), 'Ready', said)
      }
      assert.match(said, 'arksmodel.arks.ai/one reconcile successful')
      const before = there.bytesSent()
      assert.match(await apply(), 'reconcile result: 6 attempted, 6 successful, 0 skipped, 0 failed, 0 timed out')
      assert.is(there.bytesSent(), before)
    })

    tried('prunes model and Job of what has left Git, and keeps the claim', async () => {
      render('one')
      const said = await apply()
      assert.equal(
        [await statusOf('model', 'two'), await statusOf('job', jobOf('two')), await statusOf('claim', 'two')],
        [404, 404, 200],
        said,
      )
      assert.is(phaseOf(models.states(`${NAMESPACE}/one`).at(-1)), 'Ready')
    })

    tried('fails with a model that failed', async () => {
      render('one', 'gated')
      const error: unknown = await apply(ENOUGH_SECONDS).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      assert.match(String(at(error, 'stdout')), /arksmodel\.arks\.ai\/gated reconcile failed/)
    })

    test('ends what it has started', async () => {
      await controller.stop()
      await models.stop()
      await kubelet.stop()
      await cluster.stop()
      await there.close()
    })
  })
}
