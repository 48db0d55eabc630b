import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { asPlain } from '../fn/merge.ts'
import { startCluster } from './cluster.ts'
import { describe, leftOut } from './harness.ts'
import { controlPlane } from './parts.ts'
import { eventually } from './until.ts'

const GOOD = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }

const configMap = (name: string, data: object): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})

const job = (name: string, securityContext: object): object => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name },
  spec: {
    template: {
      spec: {
        restartPolicy: 'Never',
        securityContext,
        containers: [
          {
            name: 'main',
            image: 'image',
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
          },
        ],
      },
    },
  },
})

const crd = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'things.example.com' },
  spec: {
    group: 'example.com',
    names: { kind: 'Thing', plural: 'things' },
    scope: 'Cluster',
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
}

const thing = { apiVersion: 'example.com/v1', kind: 'Thing', metadata: { name: 'thing' } }

/** The command lines of all processes that work in the folder. */
function working(folder: string): readonly string[] {
  const all = existsSync('/proc/self/cmdline')
    ? readdirSync('/proc')
        .filter((pid) => /^\d+$/.test(pid))
        .map(commandLine)
    : spawnSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' }).stdout.split('\n')
  return all.filter((line) => line.includes(folder))
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

const logs = mkdtempSync(join(tmpdir(), 'arksmodel-audit-'))
const auditLog = join(logs, 'audit.log')
const parts = await controlPlane()
const cluster = await startCluster({ controllerManager: true, users: ['somebody'], auditLog })
if (parts.kind === 'missing') leftOut('the control plane', parts)
else if (cluster.kind === 'missing') leftOut('the control plane', cluster)
else {
  describe('the control plane', (test) => {
    test('is of the version that its part says', async () => {
      const { status, body } = await cluster.request('GET', '/version')
      assert.is(status, 200)
      assert.is(asPlain(body)['gitVersion'], `v${parts.apiserver.version}`)
    })

    test('keeps what is applied and created', async () => {
      assert.is((await cluster.apply(configMap('kept', { a: 'b' }))).status, 201)
      assert.is((await cluster.apply(configMap('kept', { a: 'c' }))).status, 200)
      assert.is((await cluster.create(configMap('kept', { a: 'd' }))).status, 409)
      assert.is((await cluster.create(configMap('tried', {}), { dryRun: true })).status, 201)
      assert.is((await cluster.request('GET', '/api/v1/namespaces/default/configmaps/tried')).status, 404)
      const kept = await cluster.request('GET', '/api/v1/namespaces/default/configmaps/kept')
      assert.equal(asPlain(kept.body)['data'], { a: 'c' })
    })

    test('leaves fields to their managers', async () => {
      assert.is((await cluster.apply(configMap('owned', { a: 'b' }))).status, 201)
      const other = { fieldManager: 'other' }
      assert.is((await cluster.apply(configMap('owned', { a: 'c' }), other)).status, 409)
      assert.is((await cluster.apply(configMap('owned', { a: 'c' }), { ...other, force: true })).status, 200)
    })

    test('warns of unknown fields, or refuses them', async () => {
      const wrong = { ...configMap('wrong', {}), däta: {} }
      assert.equal((await cluster.create(wrong)).warnings, ['unknown field "däta"'])
      assert.is((await cluster.create(wrong, { strict: true })).status, 400)
    })

    test('warns of what a restricted namespace would refuse', async () => {
      const restricted = ['enforce', 'warn'].map((mode) => [`pod-security.kubernetes.io/${mode}`, 'restricted'])
      await cluster.createNamespace('restricted', Object.fromEntries(restricted))
      const bad = await cluster.apply(job('bad', {}), { namespace: 'restricted' })
      assert.is(bad.status, 201)
      assert.match(bad.warnings.join('\n'), /^would violate PodSecurity "restricted:latest": runAsNonRoot != true/)
      const good = await cluster.apply(job('good', GOOD), { namespace: 'restricted' })
      assert.equal([good.status, good.warnings], [201, []])
    })

    test('makes the pods of Jobs', () =>
      eventually('a pod of the good Job alone', async () => {
        const { body } = await cluster.request('GET', '/api/v1/namespaces/restricted/pods')
        return /"batch.kubernetes.io\/job-name":"good"/.test(JSON.stringify(body))
      }))

    test('learns of new kinds', async () => {
      assert.is((await cluster.create(thing)).status, 404)
      assert.is((await cluster.apply(crd)).status, 201)
      await cluster.waitForCrd('things.example.com')
      assert.is((await cluster.create(thing)).status, 201)
      assert.is((await cluster.request('GET', '/apis/example.com/v1/things/thing')).status, 200)
    })

    test('tells users apart', async () => {
      const kubeconfig = await cluster.kubeconfigFor('somebody')
      const get = (config: string): string =>
        spawnSync(parts.kubectl.path, [`--kubeconfig=${config}`, 'get', 'namespace', 'default'], {
          encoding: 'utf8',
        }).output.join('')
      assert.match(get(kubeconfig), /User "somebody" cannot get resource "namespaces"/)
      assert.match(get(cluster.kubeconfig), /default +Active/)
      await eventually('the audit log', () =>
        /"verb":"get","user":{"username":"somebody"/.test(readFileSync(auditLog, 'utf8')),
      )
      await cluster.kubeconfigFor('nobody').then(
        () => assert.unreachable(),
        (error) => assert.match(String(error), /without a user nobody/),
      )
    })

    test('leaves nothing behind', async () => {
      const folder = dirname(cluster.kubeconfig)
      assert.is.not(working(folder).length, 0)
      await cluster.stop()
      assert.equal(working(folder), [])
      assert.not.ok(existsSync(folder))
      rmSync(logs, { recursive: true })
    })

    test('leaves nothing behind when we are killed', async () => {
      const script = `const { startCluster } = await import('./cluster.ts'); console.log((await startCluster()).kubeconfig)`
      const child = spawn(process.execPath, ['--input-type=module', '-e', `${script}; setInterval(() => {}, 1000)`], {
        cwd: import.meta.dirname,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const kubeconfig = await new Promise<string>((resolve) => child.stdout.once('data', (line) => resolve(`${line}`)))
      const folder = dirname(kubeconfig)
      assert.is.not(working(folder).length, 0)
      child.kill('SIGKILL')
      await eventually('no process', () => working(folder).length === 0)
      assert.not.ok(existsSync(folder))
    })
  })
}
