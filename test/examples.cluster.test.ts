import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { type Answer, startCluster } from './cluster.ts'
import { EXAMPLES, TOOL_FILES } from './data/examples.ts'
import { describe, leftOut } from './harness.ts'
import { at, objects, title } from './objects.ts'
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

const modules = await Promise.all(CRDS.map(([name, version]) => goModule(name, version)))
const missing = modules.find((module) => module.kind === 'missing')
const cluster = await startCluster()
if (cluster.kind === 'missing') leftOut('examples on a real API server', cluster)
else {
  const all = EXAMPLES.map((example) => ({ example, applied: files(example).flatMap(read) }))
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
