import { cpSync, existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { asPlain } from '../fn/merge.ts'
import { EXAMPLES, type Example } from './data/examples.ts'
import { mustEqualFile, UPDATE } from './fixture.ts'
import { describe, leftOut } from './harness.ts'
import { objects, title } from './objects.ts'
import { kpt, kubectls, kustomize } from './parts.ts'
import { BUILD, expanded, printed, ran } from './process.ts'
import { scratch } from './scratch.ts'

const by = (kind: Example['by']): readonly Example[] => EXAMPLES.filter((example) => example.by === kind)

const [builder, renderer, clients] = [await kustomize(), await kpt(), await kubectls()]

if (builder.kind === 'missing') leftOut('examples for kustomize', builder)
else {
  describe(`examples with kustomize ${builder.version}`, (test) => {
    for (const { folder, expected } of by('kustomize'))
      test(folder, () => mustEqualFile(printed(builder.path, [...BUILD, folder]), expected))
    for (const { folder, expected } of by('pipe'))
      test(`${folder}, through the pipe`, () =>
        mustEqualFile(expanded(printed(builder.path, ['build', folder])), expected))

    test('each holds a Job: kustomize skips functions silently', () => {
      for (const { expected } of [...by('kustomize'), ...by('pipe')])
        assert.match(names(readFileSync(expected, 'utf8')).join(), 'Job ', expected)
    })

    test('the plugin for Argo CD prints what the pipe does', () => {
      const plugin = parse(readFileSync('examples/argocd/plugin.yaml', 'utf8'))
      const { generate } = asPlain(parse(plugin.data['plugin.yaml']).spec)
      const [shell = '', ...flags] = strings(asPlain(generate)['command'])
      const args = [...flags, ...strings(asPlain(generate)['args'])]
      const generated = (folder: string): string => printed(shell, args, { cwd: folder, path: [dirname(builder.path)] })
      for (const { folder, expected } of by('pipe')) mustBe(generated(folder), expected)
      mustBe(generated('examples/quickstart'), 'examples/quickstart/rendered/expected.yaml')
    })

    test('what is rendered for Flux builds without any function', () => {
      const built = printed(builder.path, ['build', 'examples/flux/rendered'])
      assert.equal(names(built), names(readFileSync('examples/flux/rendered/models.yaml', 'utf8')))
    })
  })
}

for (const kubectl of clients) {
  if (kubectl.kind === 'missing') leftOut(`examples for ${kubectl.name}`, kubectl)
  else
    describe(`examples with kubectl ${kubectl.version}`, (test) => {
      for (const { folder, expected } of by('pipe'))
        test(folder, () => mustBe(expanded(printed(kubectl.path, ['kustomize', folder])), expected))
    })
}

if (renderer.kind === 'missing') leftOut('examples for kpt', renderer)
else {
  describe(`examples with kpt ${renderer.version}`, (test) => {
    for (const { folder } of by('kpt')) {
      test(`${folder}: rendered three times without a diff`, () => {
        const copy = join(scratch({}), 'kpt')
        cpSync(folder, copy, { recursive: true })
        for (const time of [1, 2, 3]) {
          printed(renderer.path, ['fn', 'render', copy, '--allow-exec'])
          if (UPDATE) cpSync(copy, folder, { recursive: true })
          assert.is(difference(folder, copy), '', `render ${time}`)
        }
        printed(renderer.path, ['fn', 'eval', copy, '--exec', 'arksmodel-fn', '--fn-config', join(copy, 'expand.yaml')])
        assert.is(difference(folder, copy), '', 'fn eval')
      })
    }
  })
}

const mustBe = (actual: string, path: string): void =>
  assert.fixture(actual, existsSync(path) ? readFileSync(path, 'utf8') : '')

const difference = (left: string, right: string): string => ran('diff', ['-r', left, right]).stdout

const strings = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : [])

const names = (text: string): readonly string[] => objects(text).map(title).sort()
