import { cpSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { startCluster } from './cluster.ts'
import { kustomization, type ModelText, model } from './data/manifests.ts'
import { describe, leftOut } from './harness.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { controlPlane, kustomize } from './parts.ts'
import { BUILD, type Ended, expanded, printed, ran } from './process.ts'
import { scratch, write } from './scratch.ts'

/**
 * What overlays do above the function, applied twice to a real API server with a change in between: the second apply
 * must go through, and everything must still name what is there.
 */

interface Layer {
  readonly model?: ModelText
  readonly settings?: string
  /** Lines of the outermost kustomization, above the Component. */
  readonly above?: string
}

interface Case {
  readonly why: string
  readonly before: Layer
  readonly after: Layer
  /** Whether the Job is another one afterwards. */
  readonly newJob: boolean
  readonly layouts: readonly (keyof typeof LAYOUTS)[]
  /** How the second apply fails; what the documentation says of it. */
  readonly refused?: RegExp
}

const UNSEALED = ['in kustomize', 'behind a pipe'] as const
const SEALED = ['sealed in kustomize', 'sealed in a pipe'] as const
const token = (value: string): string => `secretGenerator:\n- name: hf-token\n  literals: [HF_TOKEN=${value}]\n`
const image = (tag: string): string => `images:\n- name: arksai/arksmodel\n  newTag: ${tag}\n`
const labels = (team: string): string => `labels:\n- pairs: {team: ${team}}\n  includeTemplates: true\n`
const patch = (disk: string): string =>
  `patches:\n- target: {kind: Job}\n  patch: |-\n    - {op: add, path: /spec/template/spec/nodeSelector, value: {disk: ${disk}}}\n`

const CASES: Readonly<Record<string, Case>> = {
  'nothing changes': { why: 'no drift', before: {}, after: {}, newJob: false, layouts: UNSEALED },
  'another model': {
    why: 'a changed model is a new Job',
    before: {},
    after: { model: { model: 'Qwen/Qwen2.5-7B' } },
    newJob: true,
    layouts: UNSEALED,
  },
  'another limit': {
    why: 'what can be changed in place is',
    before: { settings: 'backoffLimit: 3' },
    after: { settings: 'backoffLimit: 5' },
    newJob: false,
    layouts: UNSEALED,
  },
  'another image in the settings': {
    why: 'the image is part of the template',
    before: { settings: 'image: arksai/arksmodel:v1' },
    after: { settings: 'image: arksai/arksmodel:v2' },
    newJob: true,
    layouts: UNSEALED,
  },
  reload: {
    why: 'load again by commit',
    before: {},
    after: { model: { annotations: 'arks.ai/reload: "1"' } },
    newJob: true,
    layouts: UNSEALED,
  },
  'a prefix and a suffix': {
    why: 'names follow',
    before: { above: 'namePrefix: a-\n' },
    after: { above: 'namePrefix: b-\nnameSuffix: -x\n' },
    newJob: true,
    layouts: UNSEALED,
  },
  'a rotated token': {
    why: 'kustomize renames the generated Secret, and so the reference in the template changes',
    before: { model: { token: 'hf-token' }, above: token('one') },
    after: { model: { token: 'hf-token' }, above: token('two') },
    newJob: true,
    layouts: UNSEALED,
  },
  'a rotated pull secret': {
    why: 'it is in the template too',
    before: { model: { pull: 'hf-token' }, above: token('one') },
    after: { model: { pull: 'hf-token' }, above: token('two') },
    newJob: true,
    layouts: UNSEALED,
  },
  'a rotated token under a prefix, sealed': {
    why: 'the seal counts the contents too',
    before: { model: { token: 'hf-token' }, above: `${token('one')}namePrefix: a-\n` },
    after: { model: { token: 'hf-token' }, above: `${token('two')}namePrefix: a-\n` },
    newJob: true,
    layouts: SEALED,
  },
  'another image above, sealed': {
    why: 'the Job is named after what it now is',
    before: { above: image('v1') },
    after: { above: image('v2') },
    newJob: true,
    layouts: SEALED,
  },
  'labels of the template above, sealed': {
    why: 'they are in the template',
    before: { above: labels('a') },
    after: { above: labels('b') },
    newJob: true,
    layouts: SEALED,
  },
  'a patch of the Job above, sealed': {
    why: 'so is this',
    before: { above: patch('ssd') },
    after: { above: patch('nvme') },
    newJob: true,
    layouts: SEALED,
  },
  'another image above, not sealed': {
    why: 'the documentation says what happens',
    before: { above: image('v1') },
    after: { above: image('v2') },
    newJob: false,
    layouts: ['in kustomize'],
    refused: /field is immutable/,
  },
  'a label of objects above, not sealed': {
    why: 'labels of the Job itself can change',
    before: { above: 'labels:\n- pairs: {team: a}\n' },
    after: { above: 'labels:\n- pairs: {team: b}\n' },
    newJob: false,
    layouts: UNSEALED,
  },
}

const LAYOUTS = {
  'in kustomize': (builder, root) => printed(builder, [...BUILD, join(root, 'overlay')]),
  'sealed in kustomize': (builder, root) => printed(builder, [...BUILD, join(root, 'sealed')]),
  'behind a pipe': (builder, root) => expanded(printed(builder, ['build', join(root, 'piped')])),
  'sealed in a pipe': (builder, root) => expanded(printed(builder, [...BUILD, join(root, 'overlay')]), '--seal'),
} satisfies Record<string, (builder: string, root: string) => string>

const MODES = { 'client-side': [], 'server-side': ['--server-side'] } as const

function folder(namespace: string, { above = '', settings, model: text = {} }: Layer): string {
  const root = scratch({
    'models/kustomization.yaml': kustomization(
      `resources: [model.yaml${settings === undefined ? '' : ', settings.yaml'}]\n`,
    ),
    'models/model.yaml': model({ claim: 'weights', ...text }),
    'overlay/kustomization.yaml': kustomization(
      `resources: [../models]\ncomponents: [../kustomize/fn]\nnamespace: ${namespace}\n${above}`,
    ),
    'sealed/kustomization.yaml': kustomization(
      `resources: [../models]\ncomponents: [../kustomize/fn]\nnamespace: ${namespace}\n${above}transformers: [../kustomize/fn/seal]\n`,
    ),
    'piped/kustomization.yaml': kustomization(
      `resources: [../models]\ncomponents: [../kustomize/fn/names]\nnamespace: ${namespace}\n${above}`,
    ),
  })
  cpSync('kustomize', join(root, 'kustomize'), { recursive: true })
  if (settings !== undefined)
    write(root, {
      'models/settings.yaml': `apiVersion: fn.arks.ai/v1alpha1\nkind: ExpandArksModels\nmetadata: {name: settings}\nspec:\n  ${settings}\n`,
    })
  return root
}

/** Everything that names another object names one that is there. */
function mustHoldTogether(list: readonly Plain[]): string {
  const [claim] = ofKind(list, 'PersistentVolumeClaim')
  const [job] = ofKind(list, 'Job')
  const [stamped] = ofKind(list, 'ArksModel')
  const pod = at(job, 'spec', 'template')
  assert.equal(
    [claim, job, stamped].map((each) => at(each, 'metadata', 'namespace')),
    Array(3).fill(at(claim, 'metadata', 'namespace')),
  )
  assert.is(at(stamped, 'metadata', 'annotations', 'arks.ai/worker-job'), at(job, 'metadata', 'name'))
  assert.is(at(stamped, 'spec', 'storage', 'pvc', 'name'), at(claim, 'metadata', 'name'))
  assert.is(at(pod, 'spec', 'volumes', 0, 'persistentVolumeClaim', 'claimName'), at(claim, 'metadata', 'name'))
  assert.is(at(pod, 'metadata', 'annotations', 'arks.ai/model'), at(stamped, 'metadata', 'name'))
  for (const labelled of [claim, job, pod])
    assert.is(at(labelled, 'metadata', 'labels', 'arks.ai/model'), at(stamped, 'metadata', 'name'))
  assert.match(nameOf(job ?? {}), String(at(job, 'metadata', 'labels', 'arks.ai/worker-hash')))
  const reference = at(stamped, 'spec', 'source', 'huggingface', 'tokenSecretRef', 'name')
  if (reference !== undefined) {
    assert.equal(ofKind(list, 'Secret').map(nameOf), [reference])
    const env = at(pod, 'spec', 'containers', 0, 'env')
    const names = Array.isArray(env) ? env.map((each) => at(each, 'valueFrom', 'secretKeyRef', 'name')) : []
    assert.ok(names.includes(reference), `${names}`)
  }
  return nameOf(job ?? {})
}

const [builder, parts] = [await kustomize(), await controlPlane()]
const cluster = await startCluster()
if (builder.kind === 'missing') leftOut('overlays on a real API server', builder)
else if (parts.kind === 'missing') leftOut('overlays on a real API server', parts)
else if (cluster.kind === 'missing') leftOut('overlays on a real API server', cluster)
else {
  const apply = (input: string | undefined, flags: readonly string[]): Ended =>
    ran(
      parts.kubectl.path,
      [`--kubeconfig=${cluster.kubeconfig}`, `--cache-dir=${cluster.kubeconfig}.cache`, 'apply', ...flags, '-f', '-'],
      {
        input: input ?? '',
      },
    )
  const applied = (text: string | undefined, flags: readonly string[]): string => {
    const { status, stdout, stderr } = apply(text, flags)
    assert.is(status, 0, stderr)
    assert.is(stderr, '', 'no warnings')
    return stdout
  }
  let counter = 0

  describe('overlays on a real API server', (test) => {
    test('has the CRD', async () => {
      applied(printed(parts.kubectl.path, ['kustomize', 'kustomize/crds']), [])
      await cluster.waitForCrd('arksmodels.arks.ai')
    })

    for (const [name, { why, before, after, newJob, layouts, refused }] of Object.entries(CASES)) {
      for (const layout of layouts) {
        for (const [mode, flags] of Object.entries(MODES)) {
          test(`${name}, ${layout}, ${mode}: ${why}`, async () => {
            const namespace = `overlays-${++counter}`
            await cluster.createNamespace(namespace)
            const [first, second] = [before, after].map((layer) =>
              LAYOUTS[layout](builder.path, folder(namespace, layer)),
            )
            const [old, now] = [first, second].map((text = '') => mustHoldTogether(objects(text)))
            assert.is(now !== old, newJob, `${old}, then ${now}`)
            applied(first, flags)
            if (refused === undefined) {
              const output = applied(second, flags)
              if (first === second && mode === 'client-side') assert.not.match(output, /created|configured/)
            } else {
              const { status, stderr } = apply(second, flags)
              assert.is(status, 1)
              assert.match(stderr, refused)
            }
          })
        }
      }
    }

    test('stops', () => cluster.stop())
  })
}
