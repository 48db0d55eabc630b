import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { type Answer, startCluster } from './cluster.ts'
import { EXAMPLES, TOOL_FILES } from './data/examples.ts'
import { describe, leftOut } from './harness.ts'
import { at, objects, ofKind, title } from './objects.ts'
import { goModule } from './parts.ts'

const RESTRICTED = Object.fromEntries(
  ['enforce', 'warn'].map((mode) => [`pod-security.kubernetes.io/${mode}`, 'restricted']),
)

/** Where the tools that apply what we render keep their CRDs. */
const CRDS = [
  [
    'github.com/fluxcd/kustomize-controller',
    '1.9.6',
    'config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml',
  ],
  ['github.com/fluxcd/source-controller', '1.9.6', 'config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml'],
  ['github.com/argoproj/argo-cd/v3', '3.5.0', 'manifests/crds/application-crd.yaml'],
] as const

const read = (file: string): readonly Plain[] => objects(readFileSync(file, 'utf8'))

/** `kpt` packages hold their result in several files. */
const files = ({ folder, by, expected }: (typeof EXAMPLES)[number]): readonly string[] =>
  by === 'kpt'
    ? ['model', 'arksmodel_qwen-7b_generated', 'embeddings/model', 'embeddings/arksmodel_bge-m3_generated'].map(
        (name) => join(folder, `${name}.yaml`),
      )
    : [expected]

async function eventually(count: number, look: () => Promise<readonly unknown[]>): Promise<readonly unknown[]> {
  let found = await look()
  for (const end = performance.now() + 20_000; found.length !== count && performance.now() < end; await sleep(50))
    found = await look()
  return found
}

const modules = await Promise.all(CRDS.map(([name, version]) => goModule(name, version)))
const missing = modules.find((module) => module.kind === 'missing')
const cluster = await startCluster({ controllerManager: true })
if (cluster.kind === 'missing') leftOut('examples on a real API server', cluster)
else {
  const all = EXAMPLES.map((example) => ({ example, applied: files(example).flatMap(read) }))
  const sharded = read('test/golden/loads-a-model-in-shards/expected.yaml')
  const [job = {}] = ofKind(sharded, 'Job')
  const admitted = (answer: Answer, what: string): void => {
    assert.ok(answer.status < 300, `${what}: ${at(answer.body, 'message')}`)
    assert.equal(answer.warnings, [], what)
  }
  const install = async (file: string): Promise<void> => {
    for (const crd of read(file)) {
      admitted(await cluster.create(crd), title(crd))
      await cluster.waitForCrd(String(at(crd, 'metadata', 'name')))
    }
  }
  const namespaces = (list: readonly Plain[]): Set<string> =>
    new Set(list.map((object) => String(at(object, 'metadata', 'namespace') ?? 'default')))

  describe('examples on a real API server', (test) => {
    test('has the CRD and restricted namespaces', async () => {
      await install('crds/arksmodel.yaml')
      for (const namespace of namespaces(all.flatMap(({ applied }) => applied))) {
        const there = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: RESTRICTED } }
        admitted(await cluster.apply(there), namespace)
      }
    })

    for (const { example, applied } of all) {
      test(`${example.folder} is admitted without a warning`, async () => {
        assert.ok(applied.length > 1)
        for (const object of applied)
          admitted(await cluster.apply(object, { dryRun: true, strict: true }), title(object))
      })
    }

    test('a Job of shards is admitted without a warning', async () => {
      for (const object of sharded) admitted(await cluster.apply(object), title(object))
      const changed = { ...job, spec: { ...asPlain(at(job, 'spec')), parallelism: 2 } }
      admitted(await cluster.apply(changed), 'fewer pods at once')
      const refused = await cluster.apply({ ...job, spec: { ...changed.spec, completions: 3 } })
      assert.is(refused.status, 422, 'another number of shards is another Job')
      assert.match(String(at(refused.body, 'message')), 'spec.completions: Invalid value')
      admitted(await cluster.apply(job), 'all of them at once again')
    })

    test('each of its pods is told which shard it loads', async () => {
      const pods = await eventually(4, async () =>
        asList(at((await cluster.request('GET', '/api/v1/namespaces/default/pods')).body, 'items')),
      )
      const index = 'batch.kubernetes.io/job-completion-index'
      assert.equal(pods.map((pod) => at(pod, 'metadata', 'annotations', index)).toSorted(), ['0', '1', '2', '3'])
      for (const pod of pods) {
        const { args, env } = asPlain(at(pod, 'spec', 'containers', 0))
        assert.equal(asList(args).slice(-2), ['--shard', '$(JOB_COMPLETION_INDEX)/4'])
        const [given] = asList(env).filter((each) => at(each, 'name') === 'JOB_COMPLETION_INDEX')
        assert.match(String(at(given, 'valueFrom', 'fieldRef', 'fieldPath')), index)
      }
    })
  })

  if (missing?.kind === 'missing') leftOut('examples for Flux and Argo CD on a real API server', missing)
  else
    describe('examples for Flux and Argo CD on a real API server', (test) => {
      test('has their CRDs', async () => {
        for (const [index, module] of modules.entries())
          if (module.kind === 'part') await install(join(module.path, CRDS[index]?.[2] ?? ''))
        for (const namespace of namespaces(TOOL_FILES.flatMap(read))) await cluster.createNamespace(namespace)
      })

      for (const file of TOOL_FILES) {
        test(`${file} is admitted without a warning`, async () => {
          for (const object of read(file))
            admitted(await cluster.apply(object, { dryRun: true, strict: true }), title(object))
        })
      }
    })

  describe('the cluster', (test) => test('stops', () => cluster.stop()))
}
