import { mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { describe, leftOut } from './harness.ts'
import { nameOf, objects, ofKind } from './objects.ts'
import { kpt, kubectls, kustomize, type Missing, type Part } from './parts.ts'
import { type Ended, ran } from './process.ts'
import { contents, scratch } from './scratch.ts'

const [builder, renderer, clients] = [await kustomize(), await kpt(), await kubectls()]

/** `npm run render -- PATH` on a machine that has only these programs. */
function render(parts: Readonly<Record<string, Part | Missing | undefined>>, ...paths: readonly string[]): Ended {
  const folder = scratch({})
  mkdirSync(join(folder, 'bin'))
  for (const [name, part] of Object.entries(parts))
    if (part?.kind === 'part') symlinkSync(part.path, join(folder, 'bin', name))
  return ran(process.execPath, ['fn/render.ts', ...paths], { env: { PATH: join(folder, 'bin') } })
}

const text = (file: string): string => readFileSync(file, 'utf8')

describe('npm run render', (test) => {
  test('needs nothing but Node for a plain folder or file', () => {
    const want = text('examples/quickstart/rendered/expected.yaml')
    for (const path of ['examples/quickstart', 'examples/quickstart/model.yaml']) {
      const { status, stdout, stderr } = render({}, path)
      assert.equal([status, stderr], [0, ''])
      assert.fixture(stdout, want)
    }
  })

  test('says what it needs', () => {
    const complaint = (...paths: readonly string[]): string => {
      const { status, stdout, stderr } = render({}, ...paths)
      assert.equal([status, stdout], [1, ''])
      return stderr
    }
    assert.is(complaint(), 'error: must be one folder or file: npm run render -- PATH\n')
    assert.is(complaint('a', 'b'), 'error: must be one folder or file: npm run render -- PATH\n')
    assert.is(complaint('nowhere'), 'error: nowhere: must exist\n')
    assert.is(
      complaint('examples/overlays/prod'),
      'error: examples/overlays/prod: must be built by kustomize or kubectl, and neither is on the PATH: install one of them, or render a folder without a kustomization\n',
    )
    assert.is(
      complaint('examples/kpt'),
      'error: examples/kpt: must be rendered by kpt, which is not on the PATH: install it from https://kpt.dev\n',
    )
  })

  test('passes on that the function found a problem', () => {
    const folder = scratch({ 'model.yaml': 'apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata: {name: a}\nspec: {}\n' })
    const { status, stdout, stderr } = render({}, folder)
    assert.equal([status, stdout], [1, ''])
    assert.match(stderr, `${folder}/model.yaml: ArksModel a: spec.model: must be present`)
  })
})

if (builder.kind === 'missing') leftOut('npm run render with kustomize', builder)
else
  describe('npm run render with kustomize', (test) => {
    for (const example of ['transformer', 'component', 'two-tenants', 'overlays/prod'])
      test(`${example}: expands once, wherever the function is attached`, () => {
        const kubectl = clients.at(-1)
        const { status, stdout, stderr } = render({ kustomize: builder, kubectl }, `examples/${example}`)
        assert.is(status, 0, stderr)
        assert.match(stderr, /^rendering with .*\/kustomize\n$/)
        assert.fixture(stdout, text(`examples/${example}/rendered/expected.yaml`))
      })
  })

const kubectl = clients.find((client) => client.kind === 'part')
if (kubectl === undefined)
  for (const client of clients) if (client.kind === 'missing') leftOut('npm run render with kubectl', client)
if (kubectl !== undefined)
  describe('npm run render with kubectl alone', (test) => {
    test('goes through the pipe', () => {
      const { status, stdout, stderr } = render({ kubectl }, 'examples/overlays/prod')
      assert.is(status, 0, stderr)
      assert.match(stderr, /^rendering with .*\/kubectl\n$/)
      assert.fixture(stdout, text('examples/overlays/prod/rendered/expected.yaml'))
    })

    test('says that kubectl runs no functions', () => {
      const { status, stdout, stderr } = render({ kubectl }, 'examples/transformer')
      assert.equal([status, stdout], [1, ''])
      assert.match(stderr, /external plugins disabled/)
      assert.match(stderr, 'kubectl runs no functions that a kustomization lists; kustomize does')
    })
  })

if (renderer.kind === 'missing') leftOut('npm run render with kpt', renderer)
else
  describe('npm run render with kpt', (test) => {
    test('renders a copy', () => {
      const before = contents('examples/kpt')
      // kpt itself wants git on the PATH.
      const { status, stdout, stderr } = ran(process.execPath, ['fn/render.ts', 'examples/kpt'], {
        path: [dirname(renderer.path)],
      })
      assert.is(status, 0, stderr)
      assert.match(stderr, /^rendering with .*\/kpt\n/)
      assert.equal(ofKind(objects(stdout), 'PersistentVolumeClaim').map(nameOf).sort(), ['bge-m3', 'qwen-7b'])
      assert.equal(contents('examples/kpt'), before)
    })
  })
