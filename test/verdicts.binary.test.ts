import { readFileSync } from 'node:fs'
import { relative } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { objectOf as rowObject, STATUS_ROWS } from './data/status-rows.ts'
import { describe, leftOut } from './harness.ts'
import { at, objects } from './objects.ts'
import { judges, kustomize, type Part } from './parts.ts'
import { printed } from './process.ts'
import { scratch, write } from './scratch.ts'
import {
  agreesWith,
  type HealthCheckExprs,
  healthScript,
  MARKS,
  type Mark,
  modelWith,
  SHIPPED,
  type Verdicts,
  verdicts,
} from './verdicts.ts'

/** That kstatus, Flux and Argo CD read in a status what the controller means by it. */

interface Row {
  readonly why: string
  readonly object: Plain
  readonly want: Wanted
}

interface Wanted {
  readonly kstatus: string
  readonly flux: string
  /** The word, and the message that people see. */
  readonly argo: readonly [string, string]
}

interface Marked {
  readonly object: Plain
  readonly mark: Mark
}

/** What the controller makes of each row of the state table. */
const STATES: Readonly<Record<string, Marked & { readonly reason: string }>> = Object.fromEntries(
  Object.entries(STATUS_ROWS).map(([name, row]) => [
    name,
    { object: rowObject(row), mark: row.want.mark, reason: row.want.reason },
  ]),
)

const IN_PROGRESS = { kstatus: 'InProgress', flux: 'InProgress' }
const FAILED = { kstatus: 'Failed', flux: 'Failed' }
const CURRENT = { kstatus: 'Current', flux: 'Current' }
const UNSEEN = 'Waiting for the latest spec to be observed'

const DONE = `conditions:
- {type: StorageCreated, status: "True", reason: CreateSucceeded, message: Create model storage successfully(qwen-7b)}
- {type: ModelLoaded, status: "True", reason: ModelLoadSucceeded, message: Load the model successfully}
- {type: Ready, status: "True", reason: Ready, message: The model is ready now}`

const LOADING = `conditions:
- {type: StorageCreated, status: "True", reason: CreateSucceeded, message: Create model storage successfully(qwen-7b)}
- {type: ModelLoaded, status: "False", reason: ModelLoading, message: The model is loading now}
- {type: Ready, status: Unknown, reason: ModelLoading, message: The model is loading now}
- {type: Reconciling, status: "True", reason: ModelLoading, message: The model is loading now}`

const DELETED = 'deletionTimestamp: "2026-01-02T03:04:05Z", finalizers: [example.com/wait]'

/** What the controller writes, one row for each family of the state table. */
const OURS: Readonly<Record<string, Row & { readonly mark: Mark }>> = {
  fresh: {
    why: 'the default of the CRD: nobody has seen the model',
    mark: 'R',
    object: modelWith('observedGeneration: -1\nphase: Pending'),
    want: { ...IN_PROGRESS, argo: ['Progressing', UNSEEN] },
  },
  'claim missing': {
    why: 'what may come any moment is no failure',
    mark: 'R',
    object: modelWith(`observedGeneration: 2
phase: Pending
conditions:
- {type: StorageCreated, status: "False", reason: StorageMissing, message: PersistentVolumeClaim qwen-7b does not exist yet}
- {type: ModelLoaded, status: "False", reason: WaitingForStorage, message: PersistentVolumeClaim qwen-7b does not exist yet}
- {type: Ready, status: Unknown, reason: StorageMissing, message: PersistentVolumeClaim qwen-7b does not exist yet}
- {type: Reconciling, status: "True", reason: StorageMissing, message: PersistentVolumeClaim qwen-7b does not exist yet}`),
    want: { ...IN_PROGRESS, argo: ['Progressing', 'PersistentVolumeClaim qwen-7b does not exist yet'] },
  },
  loading: {
    why: 'a started Job is progress, not success',
    mark: 'R',
    object: modelWith(`observedGeneration: 2\nphase: ModelLoading\n${LOADING}`),
    want: { ...IN_PROGRESS, argo: ['Progressing', 'The model is loading now'] },
  },
  suspended: {
    why: 'somebody wants it so; Argo CD has a word for that',
    mark: 'R',
    object: modelWith(`observedGeneration: 2
phase: ModelLoading
conditions:
- {type: StorageCreated, status: "True", reason: CreateSucceeded, message: Create model storage successfully(qwen-7b)}
- {type: ModelLoaded, status: "False", reason: Suspended, message: Job arks-worker-qwen-7b-0123456789 is suspended}
- {type: Ready, status: Unknown, reason: Suspended, message: Job arks-worker-qwen-7b-0123456789 is suspended}
- {type: Reconciling, status: "True", reason: Suspended, message: Job arks-worker-qwen-7b-0123456789 is suspended}`),
    want: { ...IN_PROGRESS, argo: ['Suspended', 'Job arks-worker-qwen-7b-0123456789 is suspended'] },
  },
  stalled: {
    why: 'it can recover, but not without somebody',
    mark: 'X',
    object: modelWith(`observedGeneration: 2
phase: ModelLoading
conditions:
- {type: StorageCreated, status: "True", reason: CreateSucceeded, message: Create model storage successfully(qwen-7b)}
- {type: ModelLoaded, status: "False", reason: ImagePullBackOff, message: "Worker pod cannot start: ImagePullBackOff"}
- {type: Ready, status: "False", reason: ImagePullBackOff, message: "Worker pod cannot start: ImagePullBackOff"}
- {type: Stalled, status: "True", reason: ImagePullBackOff, message: "Worker pod cannot start: ImagePullBackOff"}`),
    want: { ...FAILED, argo: ['Degraded', 'Worker pod cannot start: ImagePullBackOff'] },
  },
  failed: {
    why: 'a final failure is Stalled too, and its message is that of Stalled',
    mark: 'X',
    object: modelWith(`observedGeneration: 2
phase: Failed
conditions:
- {type: StorageCreated, status: "False", reason: StorageBinding, message: Storage qwen-7b is not bound yet}
- {type: ModelLoaded, status: "False", reason: ModelLoadFailed, message: "Failed to load the model: no such repository"}
- {type: Ready, status: "False", reason: ModelLoadFailed, message: "Failed to load the model: no such repository"}
- {type: Stalled, status: "True", reason: ModelLoadFailed, message: "Failed to load the model: no such repository"}`),
    want: { ...FAILED, argo: ['Degraded', 'Failed to load the model: no such repository'] },
  },
  ready: {
    why: 'exactly the three conditions, all True',
    mark: 'D',
    object: modelWith(`observedGeneration: 2\nphase: Ready\n${DONE}`),
    want: { ...CURRENT, argo: ['Healthy', 'The model is ready now'] },
  },
  'ready before the change': {
    why: 'the conditions speak of an earlier spec',
    mark: 'R',
    object: modelWith(`observedGeneration: 1\nphase: Ready\n${DONE}`),
    want: { ...IN_PROGRESS, argo: ['Progressing', UNSEEN] },
  },
  'stalled before the change': {
    why: 'the change may be the repair',
    mark: 'R',
    object: modelWith(`observedGeneration: 1
phase: Failed
conditions:
- {type: Ready, status: "False", reason: ModelLoadFailed, message: "Failed to load the model: no such repository"}
- {type: Stalled, status: "True", reason: ModelLoadFailed, message: "Failed to load the model: no such repository"}`),
    want: { ...IN_PROGRESS, argo: ['Progressing', UNSEEN] },
  },
}

/** What upstream's operator writes: no observedGeneration, no Stalled, Ready False from the beginning. */
const UPSTREAM: Readonly<Record<string, Row>> = {
  'no status': {
    why: 'the CRD of upstream has no default: kstatus is wrong about it, Flux waits on the error',
    object: modelWith(''),
    want: { kstatus: 'Current', flux: 'Unknown', argo: ['Progressing', 'Waiting for the model status'] },
  },
  'initial Ready=False': {
    why: 'nothing has failed: that Ready is False is no failure',
    object: modelWith(`phase: StorageCreating
conditions:
- {type: StorageCreated, status: "False", reason: NewIncomming, message: Wait the controller to prepare the storage}
- {type: ModelLoaded, status: "False", reason: NewIncomming, message: Wait the controller to load the model}
- {type: Ready, status: "False", reason: NewIncomming, message: Wait the controller to check the model status}`),
    want: { ...IN_PROGRESS, argo: ['Progressing', 'Wait the controller to check the model status'] },
  },
  'Failed by the worker': {
    why: 'kstatus and our expressions wait until the time is up, Argo CD knows from the phase',
    object: modelWith(`phase: Failed
conditions:
- {type: StorageCreated, status: "True", reason: CreateSucceeded, message: Create model storage successfully(qwen-7b)}
- {type: ModelLoaded, status: "False", reason: ModelLoadFailed, message: "Failed to load the model: 401"}
- {type: Ready, status: "False", reason: NewIncomming, message: Wait the controller to check the model status}`),
    want: { ...IN_PROGRESS, argo: ['Degraded', 'Failed to load the model: 401'] },
  },
  'Failed without storage': {
    why: 'the condition behind the one that failed is still the initial one and explains nothing',
    object: modelWith(`phase: Failed
conditions:
- {type: StorageCreated, status: "False", reason: CreateFailed, message: "Failed to create model storage: no storage PVC specified"}
- {type: ModelLoaded, status: "False", reason: NewIncomming, message: Wait the controller to load the model}
- {type: Ready, status: "False", reason: NewIncomming, message: Wait the controller to check the model status}`),
    want: { ...IN_PROGRESS, argo: ['Degraded', 'Failed to create model storage: no storage PVC specified'] },
  },
  'Failed and no more': {
    why: 'conditions are optional: kstatus takes what has none for done',
    object: modelWith('phase: Failed'),
    want: { kstatus: 'Current', flux: 'InProgress', argo: ['Degraded', 'The model failed'] },
  },
  Ready: {
    why: 'ready is ready for everybody',
    object: modelWith(`phase: Ready\n${DONE}`),
    want: { ...CURRENT, argo: ['Healthy', 'The model is ready now'] },
  },
}

/** What the controller must not write, or what is none of its business. */
const TRAPS: Readonly<Record<string, Row>> = {
  'being deleted while ready': {
    why: 'expressions take the place of kstatus and know nothing of deletion',
    object: modelWith(`observedGeneration: 2\nphase: Ready\n${DONE}`, DELETED),
    want: { kstatus: 'Terminating', flux: 'Current', argo: ['Progressing', 'Pending deletion'] },
  },
  'being deleted while loading': {
    why: 'the same, where the expressions happen to be right',
    object: modelWith(`observedGeneration: 2\nphase: ModelLoading\n${LOADING}`, DELETED),
    want: { kstatus: 'Terminating', flux: 'InProgress', argo: ['Progressing', 'Pending deletion'] },
  },
  'conditions without Ready': {
    why: 'kstatus takes it for done: all three are in the first write',
    object: modelWith(`observedGeneration: 2
phase: StorageCreating
conditions:
- {type: StorageCreated, status: "False", reason: StorageBinding, message: Storage qwen-7b is not bound yet}`),
    want: { kstatus: 'Current', flux: 'InProgress', argo: ['Progressing', 'Waiting for the model status'] },
  },
  'Reconciling before Stalled': {
    why: 'the first one counts for kstatus, Stalled for the others: never both',
    object: modelWith(`observedGeneration: 2
phase: ModelLoading
conditions:
- {type: Ready, status: "False", reason: Unschedulable, message: Worker pod cannot be scheduled}
- {type: Reconciling, status: "True", reason: Unschedulable, message: Worker pod is waiting}
- {type: Stalled, status: "True", reason: Unschedulable, message: Worker pod has waited for too long}`),
    want: { kstatus: 'InProgress', flux: 'Failed', argo: ['Degraded', 'Worker pod has waited for too long'] },
  },
  'Ready=False without Stalled': {
    why: 'no tool can know that this needs somebody',
    object: modelWith(`observedGeneration: 2
phase: ModelLoading
conditions:
- {type: Ready, status: "False", reason: Unschedulable, message: Worker pod cannot be scheduled}`),
    want: { ...IN_PROGRESS, argo: ['Progressing', 'Worker pod cannot be scheduled'] },
  },
  'conditions that no longer hold': {
    why: 'Stalled and Reconciling count while they are True',
    object: modelWith(`observedGeneration: 2
phase: Ready
conditions:
- {type: Stalled, status: "False", reason: Unschedulable, message: Worker pod cannot be scheduled}
- {type: Reconciling, status: "False", reason: ModelLoading, message: The model is loading now}
- {type: Ready, status: "True", reason: Ready, message: The model is ready now}`),
    want: { ...CURRENT, argo: ['Healthy', 'The model is ready now'] },
  },
  'no reason and no message': {
    why: 'both are optional in the CRD',
    object: modelWith('observedGeneration: 2\nphase: Ready\nconditions:\n- {type: Ready, status: "True"}'),
    want: { ...CURRENT, argo: ['Healthy', ''] },
  },
}

/** How Flux may be told to look at models. Only the first is ours. */
const FLUX: Readonly<Record<string, HealthCheckExprs | undefined>> = {
  "the example's expressions": SHIPPED.exprs,
  'no expressions': undefined,
  'the usual expressions on Ready': {
    failed: "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'False')",
    current: "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')",
  },
}

const part = await judges()
const builder = await kustomize()

if (part.kind === 'missing') leftOut('what kstatus, Flux and Argo CD think of a status', part)
else {
  expected('what the controller writes', part, OURS)
  expected("what upstream's operator writes", part, UPSTREAM)
  expected('what the controller never writes', part, TRAPS)
  agreed('the tools agree on what the controller writes', part, OURS)
  agreed('the tools agree on the state table', part, STATES)

  describe('a suspended model', (test) => {
    const suspended = Object.entries(STATES).filter(([, { reason }]) => reason === 'Suspended')
    const found = verdicts(
      part,
      Object.values(suspended).map(([, { object }]) => object),
      SHIPPED,
    )
    for (const [index, [name]] of suspended.entries())
      test(`is Suspended in Argo CD: ${name}`, () => assert.is(found[index]?.argo.status, 'Suspended'))
    test('is in the table', () => assert.ok(suspended.length > 0))
  })

  describe('docs/status-tools.md', (test) => {
    const all: Readonly<Record<string, Row>> = { ...OURS, ...TRAPS }
    const text = readFileSync('docs/status-tools.md', 'utf8')
    const lines = [...text.matchAll(/^\| (.+) \| ([A-Z]\w+) \| (\w+) \| (\w+) \|$/gm)]
    for (const [, name = '', ...told] of lines)
      test(`tells the truth of a model that is ${name}`, () => {
        const want = all[name]?.want
        assert.equal(told, [want?.kstatus, want?.flux, want?.argo[0]])
      })
    test('has a table', () => assert.ok(lines.length > 7))
  })

  describe("Flux with expressions for upstream's operator", (test) => {
    const exprs = { failed: "status.phase == 'Failed'", current: "status.phase == 'Ready'" }
    const rows = Object.entries(UPSTREAM).map(([name, { object }]) => ({ name, object }))
    const found = verdicts(
      part,
      rows.map(({ object }) => object),
      { exprs },
    )
    for (const [index, { name, object }] of rows.entries()) {
      const phase = at(object, 'status', 'phase')
      test(name, () => {
        const waiting = phase === undefined ? 'Unknown' : 'InProgress'
        assert.is(found[index]?.flux.status, phase === 'Failed' ? 'Failed' : phase === 'Ready' ? 'Current' : waiting)
      })
    }
  })

  describe('Argo CD', (test) => {
    const ready = modelWith(`observedGeneration: 2\nphase: Ready\n${DONE}`)
    const argo = (lua?: string): string => {
      const [found] = verdicts(part, [ready], lua === undefined ? {} : { lua })
      return `${found?.argo.status}: ${found?.argo.message}`
    }

    test('has no health of a kind without a script', () => assert.match(argo(), /^None: /))
    test('gives a script no string library', () =>
      assert.match(argo('return {status = "Healthy", message = string.lower("A")}'), /^Unknown: [\s\S]*string/))
    test('takes no word that is not its own', () =>
      assert.is(argo('return {status = "Ready"}'), 'Unknown: Lua returned an invalid health status'))
    test('stops a script that does not end', () => assert.match(argo('while true do end'), /^Unknown: [\s\S]*deadline/))
  })
}

if (builder.kind === 'missing') leftOut('the health check in a kustomization of Argo CD', builder)
else {
  describe('the health check in a kustomization of Argo CD', (test) => {
    const base = (namespace: string): string => `apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
${namespace}  labels: {app.kubernetes.io/name: argocd-cm, app.kubernetes.io/part-of: argocd}
data:
  url: https://argocd.example.com
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm-plugins}
data: {url: untouched}
`
    const built = (namespace: string, more = ''): string => {
      const folder = scratch({ 'argocd.yaml': base(namespace) })
      const component = relative(folder, 'kustomize/argocd-health')
      write(folder, { 'kustomization.yaml': `resources: [argocd.yaml]\ncomponents: [${component}]\n${more}` })
      return printed(builder.path, ['build', folder])
    }

    for (const [name, namespace, more] of [
      ['that has no namespace yet', '', 'namespace: argocd\n'],
      ['that has one', '  namespace: gitops\n', ''],
      ['that has none', '', ''],
    ] as const) {
      test(name, () => {
        const [config, plugins, ...others] = objects(built(namespace, more))
        assert.is(healthScript(built(namespace, more)), SHIPPED.lua)
        assert.is(at(config, 'data', 'url'), 'https://argocd.example.com')
        assert.is(at(config, 'metadata', 'labels', 'app.kubernetes.io/part-of'), 'argocd')
        assert.equal(at(plugins, 'data'), { url: 'untouched' })
        assert.is(others.length, 0)
      })
    }
  })
}

/** Each row has the verdicts that it wants. */
function expected(title: string, part: Part, rows: Readonly<Record<string, Row>>): void {
  describe(title, (test) => {
    const found = verdicts(part, Object.values(rows).map(objectOf), SHIPPED)
    for (const [index, [name, { why, want }]] of Object.entries(rows).entries())
      test(name, () => assert.equal(words(found[index]), want, why))
  })
}

/** Each object means its mark to every tool, in whichever way Flux looks at it. */
function agreed(title: string, part: Part, rows: Readonly<Record<string, Marked>>): void {
  for (const [how, exprs] of Object.entries(FLUX)) {
    describe(`${title}, Flux with ${how}`, (test) => {
      const found = verdicts(
        part,
        Object.values(rows).map(objectOf),
        exprs ? { ...SHIPPED, exprs } : { lua: SHIPPED.lua },
      )
      for (const [index, [name, { mark }]] of Object.entries(rows).entries())
        test(name, () => {
          const each = found[index]
          const meant = MARKS.filter((one) => each && agreesWith(one, each))
          assert.equal(meant, [mark], JSON.stringify(each))
        })
    })
  }
}

function objectOf({ object }: { readonly object: Plain }): Plain {
  return object
}

function words(found: Verdicts | undefined): Wanted | undefined {
  return (
    found && {
      kstatus: found.kstatus.status,
      flux: found.flux.status,
      argo: [found.argo.status, found.argo.message],
    }
  )
}
