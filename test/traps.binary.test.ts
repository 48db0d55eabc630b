import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { references } from '../fn/references.ts'
import { configMap, EXPAND, kptfile, kustomization, model, SEAL } from './data/manifests.ts'
import { describe, leftOut } from './harness.ts'
import { at, nameOf, objects, ofKind, title } from './objects.ts'
import { kpt, kubectls, kustomize } from './parts.ts'
import { BUILD, type Ended, expanded, ran } from './process.ts'
import { contents, scratch, write } from './scratch.ts'

/**
 * What kustomize and kpt do to a function and its output, each trap by its number: where output is lost without a word,
 * where values change on the way, where things double. Some cannot be mended by a function; then the test holds what
 * the documentation says of it.
 */

const MANY = 1000
const BYSTANDERS = Array.from({ length: MANY }, (_, index) => configMap(index)).join('---\n')
const REFERENCES = readFileSync('kustomize/fn/references/references.yaml', 'utf8')
const NAMES = readFileSync('kustomize/fn/names/names.yaml', 'utf8')
const TRANSFORM = kustomization('resources: [model.yaml]\ntransformers: [expand.yaml]\n')

const [builder, renderer, clients] = [await kustomize(), await kpt(), await kubectls()]

if (builder.kind === 'missing') leftOut('traps of kustomize', builder)
else {
  const build = (folder: string): Ended => ran(builder.path, [...BUILD, folder])
  const built = (files: Readonly<Record<string, string>>, folder = ''): string => {
    const { status, stdout, stderr } = build(join(scratch(files), folder))
    assert.is(status, 0, stderr)
    assert.is(stderr, '')
    return stdout
  }

  describe(`traps of kustomize ${builder.version}`, (test) => {
    test('T1: a pipe takes 64 KiB at a time, and nothing is lost', () => {
      const output = built({
        'kustomization.yaml': kustomization('resources: [model.yaml, others.yaml]\ntransformers: [expand.yaml]\n'),
        'model.yaml': model(),
        'others.yaml': BYSTANDERS,
        'expand.yaml': EXPAND,
      })
      assert.is(objects(output).length, MANY + 3)
    })

    test('T3: kustomize shows no results: problems stand on stderr, and the build fails', () => {
      const folder = scratch({
        'kustomization.yaml': TRANSFORM,
        'model.yaml': model({ size: 'lots' }),
        'expand.yaml': EXPAND,
      })
      const { status, stdout, stderr } = build(folder)
      assert.is(status, 1)
      assert.is(stdout, '')
      assert.match(
        stderr,
        'error: ArksModel qwen: spec.storage.pvc.spec.resources.requests.storage: must be a quantity such as "20Gi", got "lots"',
      )
    })

    test('T4, T5: without a model everything is still there', () => {
      const output = built({
        'kustomization.yaml': kustomization('resources: [others.yaml]\ntransformers: [expand.yaml]\n'),
        'others.yaml': configMap(1),
        'expand.yaml': EXPAND,
      })
      assert.equal(objects(output).map(title), ['ConfigMap default/settings-1'])
      assert.is(
        built({
          'kustomization.yaml': kustomization('resources: []\ntransformers: [expand.yaml]\n'),
          'expand.yaml': EXPAND,
        }),
        '',
      )
    })

    test('T6: without --enable-exec the function is left out without a word, as the README warns', () => {
      const folder = scratch({ 'kustomization.yaml': TRANSFORM, 'model.yaml': model(), 'expand.yaml': EXPAND })
      const { status, stdout, stderr } = ran(builder.path, ['build', '--enable-alpha-plugins', folder])
      assert.equal([status, stderr], [0, ''])
      assert.equal(objects(stdout).map(title), ['ArksModel default/qwen'])
      assert.match(readFileSync('README.md', 'utf8'), /Without `--enable-exec` kustomize \*\*skips the function/)
    })

    test('T8: no anchors, though model and claim hold the same spec', () => {
      const output = built({
        'kustomization.yaml': TRANSFORM,
        'model.yaml': model().replace('      spec:\n', '      spec: &spec\n'),
        'expand.yaml': EXPAND,
      })
      assert.not.match(output, /[&*]spec|[&*]a\d/)
      const [claim] = ofKind(objects(output), 'PersistentVolumeClaim')
      const [stamped] = ofKind(objects(output), 'ArksModel')
      assert.equal(at(claim, 'spec'), at(stamped, 'spec', 'storage', 'pvc', 'spec'))
    })

    const LAYERS = {
      'base/kustomization.yaml': kustomization('resources: [model.yaml]\n'),
      'base/model.yaml': model(),
      'fn/kustomization.yaml': kustomization('transformers: [expand.yaml]\n', 'Component'),
      'fn/expand.yaml': EXPAND,
    }
    const SIZE =
      'patches:\n- target: {kind: ArksModel}\n  patch: |-\n    - {op: replace, path: /spec/storage/pvc/spec/resources/requests/storage, value: 100Gi}\n'
    const sizes = (text: string): readonly unknown[] => [
      at(ofKind(objects(text), 'PersistentVolumeClaim')[0], 'spec', 'resources', 'requests', 'storage'),
      at(ofKind(objects(text), 'ArksModel')[0], 'spec', 'storage', 'pvc', 'spec', 'resources', 'requests', 'storage'),
    ]

    test('T11: a Component runs before the patches of its kustomization: models are patched below it', () => {
      const below = {
        'models/kustomization.yaml': kustomization(`resources: [../base]\n${SIZE}`),
        'prod/kustomization.yaml': kustomization('resources: [../models]\ncomponents: [../fn]\n'),
      }
      assert.equal(sizes(built({ ...LAYERS, ...below }, 'prod')), ['100Gi', '100Gi'])
      const beside = {
        'prod/kustomization.yaml': kustomization(`resources: [../base]\ncomponents: [../fn]\n${SIZE}`),
      }
      assert.equal(sizes(built({ ...LAYERS, ...beside }, 'prod')), ['30Gi', '100Gi'])
      assert.match(readFileSync('docs/function.md', 'utf8'), /Patch models \*\*below\*\* the Component/)
    })

    test('T12: run again above a prefix, the function replaces what it made below', () => {
      const output = built(
        {
          ...LAYERS,
          'lower/kustomization.yaml': kustomization(
            `resources: [../base]\ncomponents: [../fn]\nconfigurations: [references.yaml]\nnamePrefix: team-\n`,
          ),
          'lower/references.yaml': REFERENCES,
          'upper/kustomization.yaml': kustomization('resources: [../lower]\ncomponents: [../fn]\n'),
        },
        'upper',
      )
      assert.equal(objects(output).map(title).sort(), [
        'ArksModel default/team-qwen',
        `Job default/${at(ofKind(objects(output), 'ArksModel')[0], 'metadata', 'annotations', 'arks.ai/worker-job')}`,
        'PersistentVolumeClaim default/team-qwen',
      ])
      assert.is(claimOf(output), 'team-qwen')
    })

    test('T13: two tenants, each with its function and its generated Secret', () => {
      const tenant = (team: string): Readonly<Record<string, string>> => ({
        [`${team}/kustomization.yaml`]: kustomization(
          `resources: [../base]\nsecretGenerator:\n- name: hf-token\n  literals: [HF_TOKEN=${team}]\nconfigurations: [references.yaml, names.yaml]\nnamePrefix: ${team}-\ntransformers: [../expand]\n`,
        ),
        [`${team}/references.yaml`]: REFERENCES,
        [`${team}/names.yaml`]: NAMES,
      })
      const output = built({
        'kustomization.yaml': kustomization('resources: [a, b]\n'),
        'base/kustomization.yaml': kustomization('resources: [model.yaml]\n'),
        'base/model.yaml': model({ token: 'hf-token', claim: 'weights' }),
        'expand/kustomization.yaml': kustomization('resources: [expand.yaml]\n'),
        'expand/expand.yaml': EXPAND,
        ...tenant('a'),
        ...tenant('b'),
      })
      const secrets = ofKind(objects(output), 'Secret').map(nameOf)
      for (const team of ['a', 'b']) {
        const own = secrets.find((name) => name.startsWith(`${team}-hf-token-`))
        const [job] = ofKind(objects(output), 'Job').filter(
          (each) => at(each, 'metadata', 'labels', 'arks.ai/model') === `${team}-qwen`,
        )
        const [stamped] = ofKind(objects(output), 'ArksModel').filter((each) => nameOf(each) === `${team}-qwen`)
        assert.is(
          at(job, 'spec', 'template', 'spec', 'containers', 0, 'env', 2, 'valueFrom', 'secretKeyRef', 'name'),
          own,
        )
        assert.is(at(stamped, 'spec', 'source', 'huggingface', 'tokenSecretRef', 'name'), own)
        assert.is(
          at(job, 'spec', 'template', 'spec', 'volumes', 0, 'persistentVolumeClaim', 'claimName'),
          `${team}-weights`,
        )
      }
    })

    test('a claim that exists already keeps its name under a prefix, in the model and in the Job', () => {
      const output = built({
        ...LAYERS,
        'base/model.yaml': model({ claim: 'theirs' }).replace(/ {6}spec:[\s\S]*/, ''),
        'kustomization.yaml': kustomization(
          'resources: [base]\ncomponents: [fn]\nconfigurations: [references.yaml]\nnamePrefix: team-\n',
        ),
        'references.yaml': REFERENCES,
      })
      const [stamped] = ofKind(objects(output), 'ArksModel')
      assert.equal([at(stamped, 'spec', 'storage', 'pvc', 'name'), claimOf(output)], ['theirs', 'theirs'])
    })

    test('the seal above two tenants holds each against its own claim', () => {
      const tenant = (team: string, size: string): Readonly<Record<string, string>> => ({
        [`${team}/kustomization.yaml`]: kustomization(
          `resources: [model]\ncomponents: [../fn]\nconfigurations: [references.yaml]\nnamespace: shared\nnamePrefix: ${team}-\n`,
        ),
        [`${team}/references.yaml`]: REFERENCES,
        [`${team}/model/kustomization.yaml`]: kustomization('resources: [model.yaml]\n'),
        [`${team}/model/model.yaml`]: model({ claim: 'weights', size }),
      })
      const output = built({
        ...LAYERS,
        ...tenant('a', '1Gi'),
        ...tenant('b', '2Gi'),
        'seal/kustomization.yaml': kustomization('resources: [seal.yaml]\n'),
        'seal/seal.yaml': SEAL,
        'kustomization.yaml': kustomization('resources: [a, b]\ntransformers: [seal]\n'),
      })
      assert.equal(ofKind(objects(output), 'PersistentVolumeClaim').map(nameOf), ['a-weights', 'b-weights'])
      assert.equal(
        ofKind(objects(output), 'Job').map((job) =>
          at(job, 'spec', 'template', 'spec', 'volumes', 0, 'persistentVolumeClaim', 'claimName'),
        ),
        ['a-weights', 'b-weights'],
      )
    })

    test('a long name leaves room for a prefix in its label', () => {
      const name = 'm'.repeat(60)
      const output = built({
        ...LAYERS,
        'base/model.yaml': model({ name }),
        'kustomization.yaml': kustomization(
          'resources: [base]\ncomponents: [fn]\nconfigurations: [references.yaml]\nnamePrefix: team-\n',
        ),
        'references.yaml': REFERENCES,
      })
      const [job] = ofKind(objects(output), 'Job')
      assert.is(at(job, 'spec', 'template', 'metadata', 'annotations', 'arks.ai/model'), `team-${name}`)
      for (const labels of [at(job, 'metadata', 'labels'), at(job, 'spec', 'template', 'metadata', 'labels')])
        assert.ok(String(at(labels, 'arks.ai/model')).length <= 63)
    })

    const GENERATED = `generatorOptions: {disableNameSuffixHash: false}
secretGenerator:
- {name: sec, literals: [a=b]}
configMapGenerator:
- {name: cm, literals: [a=b]}
- {name: ca, literals: [ca.crt=x]}
`
    const REFERRING = `${model({ token: 'sec', pull: 'sec' })}  instanceSpec:
    serviceAccountName: sa
    env:
    - {name: X, valueFrom: {secretKeyRef: {name: sec, key: a}}}
    - {name: Y, valueFrom: {configMapKeyRef: {name: cm, key: a}}}
    volumes:
    - {name: s, secret: {secretName: sec}}
    - {name: c, configMap: {name: cm}}
    - {name: p, projected: {sources: [{secret: {name: sec}}, {configMap: {name: cm}}]}}
    initContainers:
    - name: i
      image: i
      env:
      - {name: X, valueFrom: {secretKeyRef: {name: sec, key: a}}}
      envFrom: [{secretRef: {name: sec}}, {configMapRef: {name: cm}}]
`
    test('every name that a model refers to follows, in kustomize and in a pipe', () => {
      const files = {
        ...LAYERS,
        'base/model.yaml': REFERRING,
        'base/kustomization.yaml': kustomization('resources: [model.yaml, settings.yaml, sa.yaml]\n'),
        'base/sa.yaml': 'apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: sa\n',
        'base/settings.yaml':
          'apiVersion: fn.arks.ai/v1alpha1\nkind: ExpandArksModels\nmetadata: {name: s}\nspec: {caBundle: {configMapName: ca}, imagePullSecrets: [{name: sec}]}\n',
        'references.yaml': REFERENCES,
        'names.yaml': NAMES,
      }
      const prefixed = (lines: string): string =>
        kustomization(`resources: [base]\n${GENERATED}namePrefix: p-\n${lines}`)
      const inside = built({
        ...files,
        'kustomization.yaml': prefixed('components: [fn]\nconfigurations: [references.yaml]\n'),
      })
      const piped = expanded(
        built({ ...files, 'kustomization.yaml': prefixed('configurations: [references.yaml, names.yaml]\n') }),
      )
      for (const output of [inside, piped]) {
        const [job] = ofKind(objects(output), 'Job')
        const there = objects(output).map(nameOf)
        const named = references(at(job, 'spec')).map(({ name }) => name)
        assert.is(named.length, 12)
        for (const name of [...named, String(at(job, 'spec', 'template', 'spec', 'serviceAccountName'))])
          assert.ok(there.includes(name), `${name} is one of ${there}`)
      }
    })

    test('a token that is named as text is refused: kustomize takes no map for it', () => {
      const folder = scratch({
        'kustomization.yaml': TRANSFORM,
        'model.yaml': model({ token: 'hf-token' }).replace(/:\n +name: hf-token/, ': hf-token'),
        'expand.yaml': EXPAND,
      })
      const { status, stderr } = build(folder)
      assert.is(status, 1)
      assert.match(stderr, 'spec.source.huggingface.tokenSecretRef: must be a map such as {name: hf-token}')
    })

    test('T14: a namespace that YAML 1.1 takes for a truth value stays text', () => {
      for (const namespace of ['n', 'y', 'on', 'off', 'no', 'yes', 'true', 'null', '1e3', '0x1f', '0o17', '0b101']) {
        const output = built({
          'kustomization.yaml': TRANSFORM,
          'model.yaml': model({ namespace }),
          'expand.yaml': EXPAND,
        })
        assert.equal(
          objects(output).map((object) => at(object, 'metadata', 'namespace')),
          [namespace, namespace, namespace],
        )
      }
    })

    test('the Component, and the function as the last transformer, need no flags but the two', () => {
      const { status, stderr } = ran(builder.path, ['build', 'examples/transformer'])
      assert.is(status, 1)
      assert.match(stderr, 'external plugins disabled')
    })
  })
}

const claimOf = (text: string): unknown =>
  at(ofKind(objects(text), 'Job')[0], 'spec', 'template', 'spec', 'volumes', 0, 'persistentVolumeClaim', 'claimName')

for (const client of clients) {
  if (client.kind === 'missing') leftOut(`traps of ${client.name}`, client)
  else
    describe(`traps of kubectl ${client.version}`, (test) => {
      test('T6: kubectl runs no exec functions; behind it in a pipe nothing is left out', () => {
        const folder = scratch({
          'kustomization.yaml': kustomization('resources: [model.yaml]\n'),
          'model.yaml': model(),
        })
        const { stdout } = ran(client.path, ['kustomize', folder])
        assert.equal(ofKind(objects(expanded(stdout)), 'Job').length, 1)
      })
    })
}

if (renderer.kind === 'missing') leftOut('traps of kpt', renderer)
else {
  const render = (folder: string): Ended => ran(renderer.path, ['fn', 'render', folder, '--allow-exec'])
  const rendered = (folder: string): Readonly<Record<string, string>> => {
    const { status, stderr } = render(folder)
    assert.is(status, 0, stderr)
    return contents(folder)
  }
  const pack = (files: Readonly<Record<string, string>>): string =>
    scratch({ Kptfile: kptfile(), 'expand.yaml': EXPAND, ...files })

  describe(`traps of kpt ${renderer.version}`, (test) => {
    test('T1: a package of many files is written back whole', () => {
      const folder = pack({ 'model.yaml': model(), 'others.yaml': BYSTANDERS })
      const before = contents(folder)
      const after = rendered(folder)
      assert.is(after['others.yaml'], before['others.yaml'])
      assert.is(objects(after['arksmodel_qwen_generated.yaml'] ?? '').length, 2)
    })

    test('T3: on a problem kpt fails, shows the results and writes nothing', () => {
      const folder = pack({ 'model.yaml': model({ size: 'lots' }) })
      const before = contents(folder)
      const { status, stderr } = render(folder)
      assert.is(status, 1)
      assert.match(
        stderr,
        '[error] arks.ai/v1/ArksModel/qwen spec.storage.pvc.spec.resources.requests.storage: must be a quantity such as "20Gi", got "lots"',
      )
      assert.equal(contents(folder), before)
    })

    test('T4, T5: a package without a model keeps all its files', () => {
      const folder = pack({ 'others.yaml': configMap(1) })
      const before = contents(folder)
      assert.equal(rendered(folder), before)
    })

    test('T7, T9: values and comments of others stay as they are, however often it renders', () => {
      const others = `# head of the object
apiVersion: v1
kind: ConfigMap # line
metadata:
  name: values
data:
  # inside
  yes: "yes"
  mode: "0644" # octal
  flow: {a: "on", b: '1e3'}
  literal: |
    one
    --- two
  # foot of the object
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: modes
spec:
  template:
    spec:
      volumes:
        - name: deep
          secret:
            defaultMode: 0644
            secretName: x
        - {name: big, n: 12345678901234567890, e: 1e3}
`
      const commented = `# above the model
${model({ claim: 'weights' }).replace('spec:\n', '# over the spec\nspec:\n')}# below the model
`
      const folder = pack({ 'others.yaml': others, 'model.yaml': commented })
      const first = rendered(folder)
      assert.is(first['others.yaml'], others)
      assert.is((first['model.yaml'] ?? '').replace(/ {2}annotations:\n.*worker-job.*\n/, ''), commented)
      assert.equal(rendered(folder), first)
      assert.equal(rendered(folder), first)
    })

    test('T10: with selectors it refuses: they hide what was made before', () => {
      for (const selection of ['    selectors:\n    - kind: ArksModel\n', '    exclude:\n    - kind: ConfigMap\n']) {
        const folder = pack({ 'model.yaml': model(), 'others.yaml': configMap(1) })
        write(folder, { Kptfile: kptfile(`  - exec: arksmodel-fn\n${selection}`) })
        const before = contents(folder)
        const { status, stderr } = render(folder)
        assert.is(status, 1)
        assert.match(stderr, 'must be rendered without `selectors` and `exclude` in the Kptfile')
        assert.equal(contents(folder), before)
      }
    })

    test('a renamed model leaves no stale file, a changed one is a new Job in the old file', () => {
      const folder = pack({ 'model.yaml': model(), 'second.yaml': model({ name: 'other' }) })
      const first = rendered(folder)
      write(folder, { 'model.yaml': (first['model.yaml'] ?? '').replaceAll('name: qwen', 'name: renamed') })
      const renamed = rendered(folder)
      assert.equal(Object.keys(renamed), [
        'Kptfile',
        'arksmodel_other_generated.yaml',
        'arksmodel_renamed_generated.yaml',
        'expand.yaml',
        'model.yaml',
        'second.yaml',
      ])
      write(folder, { 'model.yaml': (renamed['model.yaml'] ?? '').replace('0.5B', '7B') })
      const changed = rendered(folder)
      assert.equal(Object.keys(changed), Object.keys(renamed))
      const jobs = (files: Readonly<Record<string, string>>): readonly string[] =>
        ofKind(objects(files['arksmodel_renamed_generated.yaml'] ?? ''), 'Job').map(nameOf)
      assert.is(jobs(changed).length, 1)
      assert.not.equal(jobs(changed), jobs(renamed))
      assert.is(changed['arksmodel_other_generated.yaml'], first['arksmodel_other_generated.yaml'])
    })

    test('a removed model takes its file along', () => {
      const folder = pack({ 'model.yaml': model(), 'second.yaml': model({ name: 'other' }) })
      rendered(folder)
      const removed = scratch({})
      const kept = Object.entries(contents(folder)).filter(([name]) => name !== 'second.yaml')
      write(removed, Object.fromEntries(kept))
      assert.not.ok(Object.keys(rendered(removed)).includes('arksmodel_other_generated.yaml'))
      assert.ok(Object.keys(contents(removed)).includes('arksmodel_qwen_generated.yaml'))
    })

    test('a generated file that was moved stays where it is, with the comments in it', () => {
      const folder = pack({ 'model.yaml': model() })
      const { 'arksmodel_qwen_generated.yaml': generated = '', ...others } = rendered(folder)
      const commented = generated.replace('spec:\n', '# reviewed\nspec:\n')
      const moved = scratch({ ...others, 'storage/weights.yaml': commented })
      const after = rendered(moved)
      assert.equal(Object.keys(after), [...Object.keys(others), 'storage/weights.yaml'])
      assert.is(after['storage/weights.yaml'], commented)
    })

    test('kpt fn source and sink work as a pipe too', () => {
      const folder = pack({ 'model.yaml': `# head\n${model()}` })
      const source = ran(renderer.path, ['fn', 'source', folder])
      const target = join(scratch({}), 'sunk')
      const sunk = ran(renderer.path, ['fn', 'sink', target], { input: expanded(source.stdout) })
      assert.is(sunk.status, 0, sunk.stderr)
      assert.match(contents(target)['model.yaml'] ?? '', /^# head\napiVersion: arks.ai\/v1\n/)
      assert.is(objects(contents(target)['arksmodel_qwen_generated.yaml'] ?? '').length, 2)
    })

    test('settings of the package that nobody names are an error', () => {
      const folder = pack({ 'model.yaml': model(), 'expand.yaml': `${EXPAND}spec:\n  image: ours:v1\n` })
      const before = contents(folder)
      const { status, stderr } = ran(renderer.path, ['fn', 'eval', folder, '--exec', 'arksmodel-fn'])
      assert.is(status, 1)
      assert.match(
        stderr,
        'must be named as `configPath` in the Kptfile or after --fn-config: its settings would be left out',
      )
      assert.equal(contents(folder), before)
      assert.match(rendered(folder)['arksmodel_qwen_generated.yaml'] ?? '', 'image: ours:v1')
    })

    test('settings can be given on the command line', () => {
      const folder = pack({ 'model.yaml': model() })
      const { status, stderr } = ran(renderer.path, [
        'fn',
        'eval',
        folder,
        '--exec',
        'arksmodel-fn',
        '--',
        'image=other:v2',
      ])
      assert.is(status, 0, stderr)
      assert.match(contents(folder)['arksmodel_qwen_generated.yaml'] ?? '', 'image: other:v2')
      const wrong = ran(renderer.path, ['fn', 'eval', folder, '--exec', 'arksmodel-fn', '--', 'imag=other:v2'])
      assert.is(wrong.status, 1)
      assert.match(wrong.stderr, 'data.imag: unknown field "imag"; did you mean "image"?')
    })
  })
}
