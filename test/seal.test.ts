import * as assert from 'uvu/assert'
import { line } from '../fn/finding.ts'
import { type Outcome, run } from '../fn/run.ts'
import { describe } from './harness.ts'

const MODEL = `apiVersion: arks.ai/v1
kind: ArksModel
metadata:
  name: qwen
  annotations:
    arks.ai/reload: "1"
spec:
  model: org/a
  source:
    huggingface:
      revision: v1
      endpoint: https://hub.example.com
      tokenSecretRef:
        name: hf-token
  storage:
    pvc:
      name: weights
      spec:
        accessModes:
        - ReadWriteOnce
        resources:
          requests:
            storage: 1Gi
`

const expanded = async (text: string): Promise<string> => (await outcome(text, false)).stdout

const outcome = (text: string, seal = true): Promise<Outcome> =>
  run([{ name: undefined, text }], { config: undefined, seal })

/** What comes out for the model: its claim, its Job and itself, with the separators. */
async function pieces(model = MODEL): Promise<readonly [claim: string, job: string, model: string]> {
  const [claim = '', job = '', stamped = ''] = (await expanded(model)).split(/^(?=---\n)/m)
  return [claim, job, stamped]
}

const jobName = (text: string): string | undefined => /arks-worker-qwen-[0-9a-f]{10}/.exec(text)?.[0]

const BEHIND = 'must not be changed behind the function: the Job "JOB"'
const BELOW = 'patch models below the function'

/** A change of the model alone, as a patch beside the Component makes it. */
const CHANGES: Readonly<
  Record<string, { readonly from: string; readonly to: string; readonly want: readonly string[] }>
> = {
  'another model': { from: 'org/a', to: 'org/b', want: [`spec: ${BEHIND} still loads what it was; ${BELOW}`] },
  'another revision': {
    from: 'revision: v1',
    to: 'revision: v2',
    want: [`spec: ${BEHIND} still loads what it was; ${BELOW}`],
  },
  'no revision any more': {
    from: '      revision: v1\n',
    to: '',
    want: [`spec: ${BEHIND} still loads what it was; ${BELOW}`],
  },
  'another folder': {
    from: '  storage:\n',
    to: '  storage:\n    subPath: elsewhere\n',
    want: [`spec: ${BEHIND} still loads what it was; ${BELOW}`],
  },
  'another server': {
    from: 'hub.example.com',
    to: 'other.example.com',
    want: [`spec.source.huggingface.endpoint: ${BEHIND} loads from elsewhere; ${BELOW}`],
  },
  'another token': {
    from: 'hf-token',
    to: 'other-token',
    want: [`spec.source.huggingface.tokenSecretRef: ${BEHIND} reads another token; ${BELOW}`],
  },
  'another key': {
    from: 'name: hf-token',
    to: 'name: hf-token\n        key: OTHER',
    want: [`spec.source.huggingface.tokenSecretRef: ${BEHIND} reads another token; ${BELOW}`],
  },
  'another claim': {
    from: 'name: weights',
    to: 'name: other',
    want: [`spec.storage.pvc.name: ${BEHIND} mounts "weights"; ${BELOW}`],
  },
  'another size': {
    from: '1Gi',
    to: '2Gi',
    want: [
      `spec.storage.pvc.spec: must equal the spec of its claim "weights": patch the model alone, below the function`,
    ],
  },
  'another name': {
    from: '  name: qwen\n',
    to: '  name: other\n',
    want: [`metadata.name: ${BEHIND} calls it "qwen"; ${BELOW}`],
  },
  'no source any more': {
    from: MODEL.slice(MODEL.indexOf('  source'), MODEL.indexOf('  storage')),
    to: '',
    want: [`spec.source: ${BEHIND} loads the model; ${BELOW}`],
  },
  'what is no model any more': {
    from: 'org/a',
    to: 'org/a/b',
    want: [
      'spec.model: must be the id of a repository on the Hub such as "Qwen/Qwen2.5-7B-Instruct" when the source is huggingface, got "org/a/b"',
    ],
  },
}

const SHARDED = MODEL.replace('reload: "1"', 'shards: "4"').replace('ReadWriteOnce', 'ReadWriteMany')

/** A change behind the function that would leave a shard to nobody, or load one twice. */
const SHARDS: Readonly<
  Record<string, { readonly of: 'model' | 'job'; readonly from: string; readonly to: string; readonly want: string }>
> = {
  'another number': {
    of: 'model',
    from: 'shards: "4"',
    to: 'shards: "2"',
    want: `metadata.annotations[arks.ai/shards]: ${BEHIND} has \`completions: 4\`; ${BELOW}`,
  },
  'no number any more': {
    of: 'model',
    from: '    arks.ai/shards: "4"\n',
    to: '',
    want: `metadata.annotations[arks.ai/shards]: ${BEHIND} has \`completions: 4\`; ${BELOW}`,
  },
  'fewer pods': {
    of: 'job',
    from: 'completions: 4',
    to: 'completions: 2',
    want: `metadata.annotations[arks.ai/shards]: ${BEHIND} has \`completions: 2\`; ${BELOW}`,
  },
  'the whole in each pod': {
    of: 'job',
    from: '        - --shard\n        - $(JOB_COMPLETION_INDEX)/4\n',
    to: '',
    want: `spec: ${BEHIND} still loads what it was; ${BELOW}`,
  },
  'one shard in each pod': {
    of: 'job',
    from: '        - $(JOB_COMPLETION_INDEX)/4\n',
    to: '        - $(JOB_COMPLETION_INDEX)/4\n        - --shard\n        - 0/4\n',
    want: `spec: ${BEHIND} still loads what it was; ${BELOW}`,
  },
}

describe('the seal', (test) => {
  test('leaves alone what nobody changed', async () => {
    const text = await expanded(MODEL)
    assert.fixture((await outcome(text)).stdout, text)
  })

  test('renames the Job that was changed, and the model follows', async () => {
    const [claim, job, model] = await pieces()
    const changed = claim + job.replace(/image: .*/, 'image: other:v2') + model
    const { stdout, findings } = await outcome(changed)
    assert.equal(findings, [])
    const [old, now] = [jobName(job), jobName(stdout)]
    assert.is.not(now, old)
    // A hash such as 12e4567890 needs quotes.
    const plain = (text: string): string => text.replace(/(worker-hash: )"(.*)"/, '$1$2')
    assert.fixture(plain(stdout), plain(changed).replaceAll(old?.slice(-10) ?? '-', now?.slice(-10) ?? '-'))
    assert.fixture((await outcome(stdout)).stdout, stdout, 'sealed once more')
  })

  test('keeps the name where only what can be changed in place was', async () => {
    const [claim, job, model] = await pieces()
    const changed =
      claim + job.replace('backoffLimit: 20', 'backoffLimit: 3\n  suspend: true\n  parallelism: 1') + model
    assert.fixture((await outcome(changed)).stdout, changed)
  })

  test('knows of a reload without the model', async () => {
    const [, job] = await pieces()
    const alone = job.replace('---\n', '')
    assert.fixture((await outcome(alone)).stdout, alone)
  })

  for (const [name, { from, to, want }] of Object.entries(CHANGES)) {
    test(`refuses ${name}`, async () => {
      const [claim, job, model] = await pieces()
      assert.ok(model.includes(from))
      const { stdout, findings } = await outcome(claim + job + model.replace(from, to))
      assert.is(stdout, '')
      const subject = name === 'another name' ? 'other' : 'qwen'
      assert.equal(
        findings.map(line),
        want.map((each) => `ArksModel ${subject}: ${each.replace('JOB', jobName(job) ?? '')}`),
      )
    })
  }

  test('leaves shards alone, however many of them are loaded at once', async () => {
    const [claim, job, model] = await pieces(SHARDED)
    const changed = claim + job.replace('parallelism: 4', 'parallelism: 2') + model
    assert.match(changed, 'parallelism: 2')
    assert.fixture((await outcome(changed)).stdout, changed)
  })

  for (const [name, { of, from, to, want }] of Object.entries(SHARDS)) {
    test(`refuses of shards ${name}`, async () => {
      const [claim, job, model] = await pieces(SHARDED)
      const [before, after] = of === 'job' ? [job, job.replace(from, () => to)] : [model, model.replace(from, to)]
      assert.is.not(after, before)
      const { stdout, findings } = await outcome(claim + (of === 'job' ? after + model : job + after))
      assert.is(stdout, '')
      assert.equal(findings.map(line), [`ArksModel qwen: ${want.replace('JOB', jobName(job) ?? '')}`])
    })
  }

  test('takes the variable of a token from the settings for what it is', async () => {
    const env = 'env: [{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: all, key: HF_TOKEN}}}]'
    const settings = `apiVersion: fn.arks.ai/v1alpha1\nkind: ExpandArksModels\nmetadata: {name: s}\nspec: {instanceSpec: {${env}}}\n`
    const text = await expanded(`${settings}---\n${MODEL.replace(/ +tokenSecretRef:\n.*\n/, '')}`)
    assert.match(text, 'name: all')
    assert.fixture((await outcome(text)).stdout, text)
  })

  test('leaves settings of a kpt package where they are', async () => {
    const settings =
      'apiVersion: fn.arks.ai/v1alpha1\nkind: ExpandArksModels\nmetadata: {name: s, annotations: {config.kubernetes.io/local-config: "true"}}\n'
    const text = `${settings}---\n${await expanded(MODEL)}`
    assert.fixture((await outcome(text)).stdout, text)
  })

  test('refuses a model without its Job', async () => {
    const [claim, job, model] = await pieces()
    assert.equal((await outcome(claim + model)).findings.map(line), [
      `ArksModel qwen: metadata.annotations["arks.ai/worker-job"]: must name a Job of the input, got "${jobName(job)}"`,
    ])
  })

  test('refuses settings that nobody took in', async () => {
    const settings = 'apiVersion: fn.arks.ai/v1alpha1\nkind: ExpandArksModels\nmetadata: {name: settings}\n'
    const { findings } = await outcome(`${settings}---\n${await expanded(MODEL)}`)
    assert.equal(findings.map(line), ['ExpandArksModels settings: must be taken in before the seal: expand first'])
  })
})

describe('generated objects without their model', (test) => {
  test('are dropped with a note', async () => {
    const [claim, job] = await pieces()
    const other = MODEL.replace('name: qwen', 'name: other').replace('name: weights', 'name: others')
    const { stdout, findings, notes } = await outcome(`${claim}${job}---\n${other}`, false)
    assert.equal(findings, [])
    assert.equal(notes.map(line), [
      'PersistentVolumeClaim weights: dropped: the model that it was made from is not in the input',
      `Job ${jobName(job)}: dropped: the model that it was made from is not in the input`,
    ])
    assert.not.match(stdout, 'name: weights')
  })

  test('are an error where nothing else is there: an empty output would be applied', async () => {
    const [claim, job] = await pieces()
    const { stdout, findings } = await outcome(claim + job, false)
    assert.is(stdout, '')
    assert.equal(findings.map(line), [
      'must hold the models that these objects were made from: without them nothing is left',
    ])
  })

  test('are nothing to speak of where they are made again, under whatever name the model has by now', async () => {
    const [claim, job, model] = await pieces()
    const renamed = (text: string): string => text.replaceAll('name: weights', 'name: a-weights')
    const { notes, findings } = await outcome(
      renamed(claim) + job + renamed(model).replace('  name: qwen\n', '  name: a-qwen\n'),
      false,
    )
    assert.equal([notes, findings], [[], []])
  })

  test('are not those of a model of the same name elsewhere', async () => {
    const [claim, job] = await pieces()
    const elsewhere = MODEL.replace('  name: qwen\n', '  name: qwen\n  namespace: other\n')
    assert.is((await outcome(`${claim}${job}---\n${elsewhere}`, false)).notes.length, 2)
  })

  test('are nothing to speak of where the model is there', async () => {
    assert.equal((await outcome(await expanded(MODEL), false)).notes, [])
  })
})
