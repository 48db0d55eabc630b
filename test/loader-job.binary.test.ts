import { spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { isRecord } from '../crds/place.ts'
import { HOPELESS_EXIT_CODES, parseTermination, REASONS, type Reason, type Termination } from '../crds/termination.ts'
import { COMPLETE } from '../loader/places.ts'
import { describe } from './harness.ts'
import { type Hub, type HubFile, hub, type Repository, randomFile } from './hub.ts'
import { filledIn } from './kubelet-container.ts'
import { fetchedBytes, LOADER, pathsOf, wrongFiles } from './loader.ts'
import { at, objects, ofKind } from './objects.ts'
import { expanded } from './process.ts'
import { contents, scratch } from './scratch.ts'

/** That the Job which the function renders starts the loader as the loader wants to be started. */

const TOKEN = 'hf_aTokenOfTheTest0123456789'
const FILES: readonly HubFile[] = [
  randomFile('config.json', 700, 2),
  randomFile('model.safetensors', 3_500_000),
  randomFile('pytorch_model.bin', 2_500_000, 3),
  randomFile('original/params.json', 300, 4),
  randomFile('tokenizer/vocab.json', 40_000, 5),
]
const TAGGED: readonly HubFile[] = [randomFile('config.json', 600, 6), randomFile('model.safetensors', 1_200_000, 7)]
const PUBLIC: Repository = { revisions: { main: FILES, 'v1.0': TAGGED } }

/** The model as its author writes it; `source` and `pvc` are YAML. */
interface Written {
  readonly model: string
  readonly annotations?: string
  readonly source?: string
  readonly storage?: string
}

const written = ({ model, annotations = '{}', source = '{}', storage = CLAIM }: Written): string => `
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: the.model, namespace: tenant, annotations: ${annotations}}
spec:
  model: ${model}
  source: {huggingface: ${source}}
  storage: ${storage}
`

const SHARED = '{pvc: {spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}}}'
const CLAIM = '{pvc: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}'

/** What runs in a pod of the Job, with all that Kubernetes fills in. */
interface Container {
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Exit codes with which the Job ends at once. */
  readonly hopeless: readonly unknown[]
  readonly job: unknown
}

const texts = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : [])
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

function containerOf(model: Written, index?: number): Container {
  const [job] = ofKind(objects(expanded(written(model))), 'Job')
  const template = at(job, 'spec', 'template')
  const worker = list(at(template, 'spec', 'containers')).find((each) => at(each, 'name') === 'worker')
  const pod = {
    metadata: { namespace: at(job, 'metadata', 'namespace'), annotations: at(template, 'metadata', 'annotations') },
  }
  const env = Object.fromEntries(
    list(at(worker, 'env')).map((each) => [String(at(each, 'name')), resolved(each, pod)] as const),
  )
  // The controller of Jobs adds it to the pods of an Indexed Job.
  if (at(job, 'spec', 'completionMode') === 'Indexed') env['JOB_COMPLETION_INDEX'] = String(index)
  const [, fail] = list(at(job, 'spec', 'podFailurePolicy', 'rules'))
  return {
    command: texts(at(worker, 'command')),
    args: texts(at(worker, 'args')).map((arg) => filledIn(arg, env)),
    env,
    hopeless: list(at(fail, 'onExitCodes', 'values')),
    job,
  }
}

function resolved(variable: unknown, pod: unknown): string {
  const value = at(variable, 'value')
  if (typeof value === 'string') return value
  const secret = at(variable, 'valueFrom', 'secretKeyRef')
  if (secret !== undefined) {
    assert.equal(secret, { name: 'hub', key: 'HF_TOKEN' })
    return TOKEN
  }
  const path = String(at(variable, 'valueFrom', 'fieldRef', 'fieldPath'))
  const [, annotation] = /^metadata\.annotations\['(.+)'\]$/.exec(path) ?? []
  const found = annotation === undefined ? at(pod, ...path.split('.')) : at(pod, 'metadata', 'annotations', annotation)
  assert.type(found, 'string', path)
  return String(found)
}

const MODELS = '/models'
/** Nobody's: files of other users must not be needed. As root only can one become another. */
const NOBODY = userInfo().uid === 0 ? { uid: 65_534, gid: 65_534 } : {}

/** A claim, as a pod may write to it. */
function claim(): string {
  const folder = scratch({})
  if (NOBODY.uid !== undefined) chownSync(folder, NOBODY.uid, NOBODY.gid)
  return folder
}

interface Ended {
  readonly code: number | null
  readonly lines: readonly Readonly<Record<string, unknown>>[]
  readonly output: string
  readonly termination: Termination
  readonly mostBytes: number
}

/** Runs the container's process: no home, in a folder that it cannot write to, as nobody. */
async function ran({ command, args, env }: Container, volume: string): Promise<Ended> {
  assert.equal(command, ['arksmodel-loader'])
  const log = join(claim(), 'termination-log')
  const mounted = args.map((arg) =>
    arg === MODELS || arg.startsWith(`${MODELS}/`) ? volume + arg.slice(MODELS.length) : arg,
  )
  const child = spawn(process.execPath, [LOADER, ...mounted, '--termination-log', log], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', KUBERNETES_SERVICE_HOST: '10.0.0.1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...NOBODY,
  })
  let [output, errors, mostBytes] = ['', '', 0]
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  const look = setInterval(() => {
    mostBytes = Math.max(mostBytes, mostBytesOf(child.pid))
  }, 10)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  clearInterval(look)
  assert.is(errors, '')
  const text = readFileSync(log, 'utf8')
  const termination = parseTermination(text)
  if (termination === undefined) throw new Error(`no termination message: ${text}`)
  return { code, output, lines: output.trimEnd().split('\n').map(lineOf), termination, mostBytes }
}

function lineOf(line: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(line)
  assert.ok(isRecord(value) && typeof value['message'] === 'string', line)
  return value
}

/** The most memory that the process had at once; 0 where nobody tells. */
function mostBytesOf(pid: number | undefined): number {
  try {
    const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? []
    return Number(kilobytes ?? 0) * 1024
  } catch {
    return 0
  }
}

const withHub = async (repository: Repository, use: (there: Hub) => Promise<void>): Promise<void> => {
  await using there = await hub({
    repositories: { 'org/model': repository },
    tokens: { [TOKEN]: ['org/model'] },
    base: '/mirror',
  })
  await use(there)
}

const filesIn = (folder: string): readonly string[] =>
  Object.keys(contents(folder)).filter((path) => !path.startsWith('.cache/'))

const PLACE = 'models/tenant/the.model'

interface Row {
  readonly why: string
  readonly repository?: Repository
  /** More of `source`, and of the model. */
  readonly source?: string
  readonly storage?: string
  /** Below the claim; what a model without `subPath` has if absent. */
  readonly place?: string
  readonly files: readonly HubFile[]
  readonly hasToken?: boolean
}

const LOADS: Readonly<Record<string, Row>> = {
  'a model': { why: 'all files lie where applications look for them', files: FILES },
  'a revision': { why: 'a tag is followed', source: 'revision: v1.0', files: TAGGED },
  'some of the files': {
    why: 'patterns arrive as they were written',
    source: 'include: ["*.json", "model.*"], exclude: ["original/*"]',
    files: FILES.filter(({ path }) => path.endsWith('.json') || path.startsWith('model.')).filter(
      ({ path }) => !path.startsWith('original/'),
    ),
  },
  'patterns that look like variables': {
    why: 'the kubelet must not put anything in their place',
    source: 'exclude: ["$(MODEL)*", "$$(MODEL)*", "$(NOTHING)", "the.model*"]',
    files: FILES,
  },
  'a folder of its own': {
    why: 'applications look at the path that the model names',
    storage: '{pvc: {name: models}, subPath: "team a/$(MODEL)"}',
    place: 'team a/$(MODEL)',
    files: FILES,
  },
  'a folder with dollars in its name': {
    why: 'Kubernetes makes one dollar of two',
    storage: '{pvc: {name: models}, subPath: "a$$b/$c$$(MODEL)"}',
    place: 'a$$b/$c$$(MODEL)',
    files: FILES,
  },
  'a private model': {
    why: 'the token comes from the Secret',
    repository: { ...PUBLIC, private: true },
    source: 'tokenSecretRef: {name: hub}',
    files: FILES,
    hasToken: true,
  },
}

describe('the Job loads', (test) => {
  for (const [
    what,
    { why, repository = PUBLIC, source = '', storage, place = PLACE, files, hasToken },
  ] of Object.entries(LOADS))
    test(what, () =>
      withHub(repository, async (there) => {
        const volume = claim()
        const more = source === '' ? '' : `, ${source}`
        const model = { model: 'org/model', source: `{endpoint: "${there.url}/"${more}}`, ...(storage && { storage }) }
        const container = containerOf(model)
        const { code, lines, output, termination } = await ran(container, volume)
        assert.is(code, 0, output)
        assert.equal(wrongFiles(join(volume, place), files), [], why)
        assert.equal(filesIn(join(volume, place)), pathsOf(files), why)
        assert.ok(existsSync(join(volume, place, COMPLETE)))
        const { reason, doneBytes } = termination
        assert.equal([reason, doneBytes], ['Loaded', files.reduce((sum, { bytes }) => sum + bytes.length, 0)])
        assert.equal(lines.at(-1)?.['reason'], 'Loaded')
        assert.not.match(output, TOKEN)
        assert.equal(there.leaks, [])
        assert.is(
          there.log.some(({ authorization }) => authorization === `Bearer ${TOKEN}`),
          hasToken === true,
        )
        there.clearLog()
        assert.is((await ran(container, volume)).code, 0, 'a Job that is made again')
        assert.is(fetchedBytes(there), 0)
      }),
    )

  test('what another model on the claim has without fetching it', () =>
    withHub(PUBLIC, async (there) => {
      const volume = claim()
      const storage = '{pvc: {name: models}, subPath: other}'
      const source = `{endpoint: "${there.url}"}`
      assert.is((await ran(containerOf({ model: 'org/model', source, storage }), volume)).code, 0)
      there.clearLog()
      const { code, termination } = await ran(containerOf({ model: 'org/model', source }), volume)
      assert.is(code, 0)
      assert.is(fetchedBytes(there), 0)
      assert.is(termination.reusedBytes, termination.totalBytes)
      assert.equal(wrongFiles(join(volume, PLACE), FILES), [])
    }))

  test('a large model within its memory', () =>
    withHub({ revisions: { main: [randomFile('model.safetensors', 300_000_000)] } }, async (there) => {
      const volume = claim()
      const { code, output, mostBytes } = await ran(
        containerOf({ model: 'org/model', source: `{endpoint: "${there.url}"}` }),
        volume,
      )
      assert.is(code, 0, output)
      const most = Math.round(mostBytes / 2 ** 20)
      assert.ok(process.platform !== 'linux' || most > 0, 'its memory was seen')
      assert.ok(most <= 256, `${most} MiB of memory`)
    }))
})

const HOPELESS: Readonly<
  Record<string, { readonly repository?: Repository; readonly source?: string; readonly reason: Reason }>
> = {
  'may not be read without consent': { repository: { ...PUBLIC, gated: true }, reason: 'GatedRepo' },
  'is private, without a token': { repository: { ...PUBLIC, private: true }, reason: 'RepositoryNotFound' },
  'is disabled': { repository: { ...PUBLIC, disabled: true }, reason: 'RepositoryDisabled' },
  'has no such revision': { source: 'revision: v9', reason: 'RevisionNotFound' },
  'has no such files': { source: 'include: ["*.gguf"]', reason: 'NoMatchingFiles' },
}

describe('the Job ends at once for a model that', (test) => {
  for (const [what, { repository = PUBLIC, source, reason }] of Object.entries(HOPELESS))
    test(what, () =>
      withHub(repository, async (there) => {
        const more = source === undefined ? '' : `, ${source}`
        const container = containerOf({ model: 'org/model', source: `{endpoint: "${there.url}"${more}}` })
        const { code, termination, lines } = await ran(container, claim())
        assert.is(termination.reason, reason)
        assert.is(code, REASONS[reason].exitCode)
        assert.equal(container.hopeless, HOPELESS_EXIT_CODES)
        assert.ok(container.hopeless.includes(code), `${code} is among those that end a Job`)
        assert.is(termination.retryable, false)
        assert.is(lines.at(-1)?.['level'], 'error')
      }),
    )

  test('may be told to it again only where a retry helps', () =>
    withHub(PUBLIC, async (there) => {
      const volume = claim()
      // What is in its way is the volume's, not the model's.
      mkdirSync(join(volume, 'models'))
      chmodSync(join(volume, 'models'), 0o555)
      const container = containerOf({ model: 'org/model', source: `{endpoint: "${there.url}"}` })
      if (NOBODY.uid === undefined) return
      const { code, termination } = await ran(container, volume)
      assert.is(termination.reason, 'StorageError')
      assert.not.ok(container.hopeless.includes(code), `${code} is not among those that end a Job`)
    }))
})

describe('the Job in shards', (test) => {
  const SHARDS = 3
  const shard = (there: Hub, index: number): Container =>
    containerOf(
      {
        model: 'org/model',
        annotations: `{arks.ai/shards: "${SHARDS}"}`,
        source: `{endpoint: "${there.url}"}`,
        storage: SHARED,
      },
      index,
    )
  const indices = Array.from({ length: SHARDS }, (_, index) => index)

  for (const [how, run] of Object.entries({
    'all at once': (each: (index: number) => Promise<Ended>) => Promise.all(indices.map(each)),
    'one after the other': async (each: (index: number) => Promise<Ended>) => {
      const ended: Ended[] = []
      for (const index of indices) ended.push(await each(index))
      return ended
    },
  }))
    test(`brings all of the model, ${how}`, () =>
      withHub(PUBLIC, async (there) => {
        const volume = claim()
        const { job } = shard(there, 0)
        assert.equal(
          [at(job, 'spec', 'completionMode'), at(job, 'spec', 'completions'), at(job, 'spec', 'parallelism')],
          ['Indexed', SHARDS, SHARDS],
        )
        const ended = await run((index) => ran(shard(there, index), volume))
        for (const { code, output } of ended) assert.is(code, 0, output)
        assert.equal(wrongFiles(join(volume, PLACE), FILES), [])
        assert.equal(filesIn(join(volume, PLACE)), pathsOf(FILES))
        assert.ok(existsSync(join(volume, PLACE, COMPLETE)))
        const total = FILES.reduce((sum, { bytes }) => sum + bytes.length, 0)
        assert.is(fetchedBytes(there), total, 'each byte is fetched by one of them')
        assert.is(ended.filter(({ termination }) => /all shards are complete/.test(termination.message)).length, 1)
        there.clearLog()
        assert.is((await ran(shard(there, 1), volume)).code, 0, 'one of them that comes back')
        assert.is(fetchedBytes(there), 0)
      }))
})
