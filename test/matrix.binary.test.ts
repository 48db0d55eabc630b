import { cpSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { DEFAULTS } from '../fn/config.ts'
import { asPlain } from '../fn/merge.ts'
import { EXPAND, kptfile, kustomization } from './data/manifests.ts'
import { describe, leftOut } from './harness.ts'
import { at, objects, title } from './objects.ts'
import { kpt, kubectls, kustomize } from './parts.ts'
import { BUILD, COMMANDS, expanded, printed, ran } from './process.ts'
import { contents, scratch, write } from './scratch.ts'

/** The same models through every program that can run the function: the same objects, whichever it is. */

const [builder, renderer, clients] = [await kustomize(), await kpt(), await kubectls()]

/** Folders with a kustomization that attaches nothing. */
const CASES: Readonly<Record<string, string>> = {
  quickstart: folderOf('quickstart', { 'kustomization.yaml': kustomization('resources: [model.yaml]\n') }),
  overlays: folderOf('overlays/prod'),
  'two tenants': folderOf('two-tenants', {
    'kustomization.yaml': kustomization('resources: [team-a, team-b]\nnamespace: models\n'),
  }),
}

/** A copy of all examples, so that the paths between them stay right; the folder of one of them, with these files in it. */
function folderOf(example: string, files: Readonly<Record<string, string>> = {}): string {
  const root = scratch({})
  for (const name of ['examples', 'kustomize']) cpSync(name, join(root, name), { recursive: true })
  const folder = join(root, 'examples', example)
  write(folder, files)
  return folder
}

/** Above the folder, a kustomization that puts the function last of all. */
function attached(folder: string, expand: string): string {
  const above = join(dirname(folder), 'attached')
  write(above, {
    'kustomization.yaml': kustomization(
      `resources: [../${folder.slice(dirname(folder).length + 1)}]\ntransformers: [expand.yaml]\n`,
    ),
    'expand.yaml': expand,
  })
  return above
}

const CONTAINER = EXPAND.replace(
  '      exec:\n        path: arksmodel-fn\n',
  `      container:\n        image: ${DEFAULTS.image}\n`,
)

/** Without what the tools write for themselves; in one order. */
const comparable = (text: string): readonly Plain[] =>
  objects(text)
    .filter(({ kind }) => kind !== 'Kptfile' && kind !== 'ExpandArksModels')
    .map(withoutTools)
    .sort((a, b) => (title(a) < title(b) ? -1 : 1))

function withoutTools(object: Plain): Plain {
  const metadata = asPlain(object['metadata'])
  const kept = Object.entries(asPlain(metadata['annotations'])).filter(
    ([key]) => !key.includes('config.kubernetes.io/'),
  )
  const { annotations: _, ...others } = metadata
  return { ...object, metadata: kept.length === 0 ? others : { ...others, annotations: Object.fromEntries(kept) } }
}

if (builder.kind === 'missing') leftOut('the matrix of programs', builder)
else {
  const plain = (folder: string): string => printed(builder.path, ['build', folder])
  const want = Object.fromEntries(
    Object.entries(CASES).map(([name, folder]) => [name, comparable(expanded(plain(folder)))]),
  )
  const each = (how: string, result: (folder: string) => string): void =>
    describe(how, (test) => {
      for (const [name, folder] of Object.entries(CASES))
        test(name, () => assert.equal(comparable(result(folder)), want[name]))
    })

  describe('what all are compared with', (test) => {
    test('holds claims, Jobs and models, with the paths of their final names', () => {
      assert.equal(
        want['two tenants']?.map(title).map((each) => each.replace(/-[0-9a-f]{10}$/, '')),
        [
          'ArksModel models/team-a-llama-8b',
          'ArksModel models/team-b-llama-8b',
          'Job models/arks-worker-team-a-llama-8b',
          'Job models/arks-worker-team-b-llama-8b',
          'PersistentVolumeClaim models/team-a-llama-8b',
          'PersistentVolumeClaim models/team-b-llama-8b',
          'Secret models/team-a-hf-token',
          'Secret models/team-b-hf-token',
        ],
      )
      const [job] = want['overlays']?.filter(({ kind }) => kind === 'Job') ?? []
      const pod = at(job, 'spec', 'template')
      assert.is(at(pod, 'metadata', 'annotations', 'arks.ai/model'), 'prod-qwen')
      assert.is(at(pod, 'spec', 'containers', 0, 'args', 2), '/models/models/$(NAMESPACE)/$(MODEL)')
      assert.is(at(pod, 'spec', 'volumes', 0, 'persistentVolumeClaim', 'claimName'), 'prod-qwen')
    })
  })

  each(`kustomize ${builder.version}, exec`, (folder) => printed(builder.path, [...BUILD, attached(folder, EXPAND)]))

  const engine = containerEngine()
  each(`kustomize ${builder.version}, container (${engine.what})`, (folder) =>
    printed(builder.path, ['build', '--enable-alpha-plugins', attached(folder, CONTAINER)], { path: engine.path }),
  )

  describe('the Component with the function in a container', (test) => {
    test('prints what the one with the program does, sealed and under a prefix', () => {
      const root = scratch({})
      for (const name of ['examples', 'kustomize']) cpSync(name, join(root, name), { recursive: true })
      const folder = join(root, 'examples/component')
      const file = readFileSync(join(folder, 'kustomization.yaml'), 'utf8')
      write(folder, { 'kustomization.yaml': file.replaceAll('kustomize/fn', 'kustomize/fn/container') })
      assert.fixture(
        printed(builder.path, ['build', '--enable-alpha-plugins', folder], { path: engine.path }),
        readFileSync('examples/component/rendered/expected.yaml', 'utf8'),
      )
    })
  })

  for (const client of clients) {
    if (client.kind === 'missing') leftOut(`the matrix with ${client.name}`, client)
    else {
      each(`kubectl ${client.version}, pipe`, (folder) => expanded(printed(client.path, ['kustomize', folder])))
      each(`kubectl ${client.version}, container (${engine.what})`, (folder) =>
        printed(client.path, ['kustomize', '--enable-alpha-plugins', attached(folder, CONTAINER)], {
          path: engine.path,
        }),
      )
    }
  }

  if (renderer.kind === 'missing') leftOut('the matrix with kpt', renderer)
  else {
    // A package names its settings in the Kptfile: there they are a file of their own.
    const packed = (folder: string): string => {
      const documents = plain(folder).split('---\n')
      const isSettings = (text: string): boolean => text.includes('kind: ExpandArksModels')
      return scratch({
        Kptfile: kptfile(),
        'expand.yaml': documents.find(isSettings) ?? EXPAND,
        'models.yaml': documents.filter((text) => !isSettings(text)).join('---\n'),
      })
    }
    const held = (folder: string): string => Object.values(contents(folder)).join('\n---\n')
    each(`kpt ${renderer.version}, fn render`, (folder) => {
      const pack = packed(folder)
      printed(renderer.path, ['fn', 'render', pack, '--allow-exec'])
      return held(pack)
    })
    each(`kpt ${renderer.version}, fn eval`, (folder) => {
      const pack = packed(folder)
      const config = join(pack, 'expand.yaml')
      printed(renderer.path, ['fn', 'eval', pack, '--exec', 'arksmodel-fn', '--fn-config', config])
      return held(pack)
    })
    each(`kpt ${renderer.version}, fn source`, (folder) =>
      unwrapped(
        expanded(
          printed(renderer.path, ['fn', 'source', packed(folder), '--fn-config', join(packed(folder), 'expand.yaml')]),
        ),
      ),
    )
  }
}

/** The items of a ResourceList as a stream; JSON is YAML. */
function unwrapped(list: string): string {
  const items = at(objects(list)[0], 'items')
  return (Array.isArray(items) ? items : []).map((item) => JSON.stringify(item)).join('\n---\n')
}

/** A real one where it has the image; else a program that answers `docker run … IMAGE` by running the function. */
function containerEngine(): { readonly what: string; readonly path: readonly string[] } {
  const real = spawned('docker', 'image', 'inspect', DEFAULTS.image)
  if (real) return { what: 'docker', path: [] }
  const folder = scratch({})
  mkdirSync(join(folder, 'bin'))
  const expectation = `run --rm -i -a STDIN -a STDOUT -a STDERR --network none --user nobody --security-opt=no-new-privileges`
  write(folder, {
    'bin/docker': `#!/bin/sh
case "$*" in
  "${expectation} "*" ${DEFAULTS.image}") exec env -i PATH="${dirname(process.execPath)}:/usr/bin:/bin" "${COMMANDS}/arksmodel-fn" ;;
  *) echo "unexpected: docker $*" >&2; exit 125 ;;
esac
`,
  })
  printed('chmod', ['+x', join(folder, 'bin/docker')])
  assert.match(readFileSync(join(folder, 'bin/docker'), 'utf8'), DEFAULTS.image)
  return { what: 'a stand-in for docker', path: [join(folder, 'bin')] }
}

function spawned(program: string, ...args: readonly string[]): boolean {
  try {
    return ran(program, args).status === 0
  } catch {
    return false
  }
}
