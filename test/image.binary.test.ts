import { chmodSync, cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Plain } from '../crds/arksmodel.ts'
import { REASONS } from '../crds/termination.ts'
import { VERSION } from '../crds/version.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { certificates } from './certificates.ts'
import { EXPAND, kptfile, model } from './data/manifests.ts'
import { fakeApi } from './fake-api.ts'
import { describe, leftOut } from './harness.ts'
import { type HubFile, hub, randomFile } from './hub.ts'
import { BASE_IMAGE, buildImage, IMAGE, inspected, makeStandIns, stored } from './image.ts'
import { filledIn } from './kubelet-container.ts'
import { wrongFiles } from './loader.ts'
import { at, objects, ofKind } from './objects.ts'
import { kpt, kustomize } from './parts.ts'
import { run } from './parts-cache.ts'
import { type Engine, startEngine } from './parts-oci.ts'
import { freePort } from './parts-running.ts'
import { expanded, printed, ran } from './process.ts'
import { contents, scratch } from './scratch.ts'
import { until } from './until.ts'

/** The image that the Dockerfile builds, run by a real engine as kustomize, kpt and Kubernetes run it. */

const MOST_COMPRESSED_BYTES = 55e6
const MOST_UNPACKED_BYTES = 140e6
const SECONDS_TO_STOP = '2'

/** Nothing that a restricted namespace refuses. */
const RESTRICTED = ['--read-only', '--cap-drop', 'all', '--security-opt', 'no-new-privileges', '--network', 'none']

const [engine, builder, renderer] = [await startEngine(), await kustomize(), await kpt()]
if (engine.kind === 'missing') leftOut('the image', engine)
else await whileRunning(engine)

async function whileRunning(there: Engine): Promise<void> {
  try {
    await makeStandIns(there)
    const id = await buildImage(there)
    theImage(there, id)
    theFunction(there)
    theLoader(there)
    theController(there)
    // Suites run in their order.
    describe('the engine', (test) => test('ends, and leaves nothing', () => there.stop()))
  } catch (error) {
    await there.stop()
    throw error
  }
}

function theImage(there: Engine, id: string): void {
  describe('the image', (test) => {
    test('starts the function, as nobody in particular', async () => {
      const config = at(await inspected(there), 'Config')
      assert.equal(at(config, 'Entrypoint'), ['/nodejs/bin/node', '/usr/local/bin/arksmodel-fn'])
      assert.is(at(config, 'User'), '65532:65532')
      assert.is(at(config, 'Cmd'), undefined)
      assert.is(at(config, 'WorkingDir'), '/')
      const labels = Object.entries(asPlain(at(config, 'Labels'))).filter(([name]) => name.startsWith(OCI))
      assert.equal(Object.fromEntries(labels.map(([name, value]) => [name.slice(OCI.length), value])), {
        title: 'arksmodel',
        description: 'ArksModel for GitOps: function, loader and controller',
        licenses: 'Apache-2.0',
        version: VERSION,
        'base.name': BASE_IMAGE,
      })
    })

    test('adds the three programs and their terms to its base, and nothing else', async () => {
      const { added, compressedBytes, unpackedBytes, layers } = await stored(there)
      assert.equal(
        added.filter((line) => !line.startsWith('drwxr-xr-x 0/0 ')),
        [
          '-rwxr-xr-x 0/0 usr/local/bin/arksmodel-controller',
          '-rwxr-xr-x 0/0 usr/local/bin/arksmodel-fn',
          '-rwxr-xr-x 0/0 usr/local/bin/arksmodel-loader',
          '-rw-r--r-- 0/0 usr/share/doc/arksmodel/LICENSE',
          '-rw-r--r-- 0/0 usr/share/doc/arksmodel/LICENSES.txt',
        ],
      )
      const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
      const own = layers.at(-1)?.compressedBytes ?? 0
      console.log(
        `${megabytes(compressedBytes)} compressed, ${megabytes(own)} of it ours, ${megabytes(unpackedBytes)} unpacked`,
      )
      assert.ok(compressedBytes <= MOST_COMPRESSED_BYTES, `${compressedBytes} bytes compressed`)
      assert.ok(unpackedBytes <= MOST_UNPACKED_BYTES, `${unpackedBytes} bytes unpacked`)
    })

    test('is the same, byte for byte, when it is built again', async () => {
      assert.is(await buildImage(there, 'arksai/again:1'), id)
      const [first, again] = [await inspected(there), await inspected(there, 'arksai/again:1')]
      assert.is(at(again, 'Digest'), at(first, 'Digest'))
    })

    test('has no shell', () => {
      for (const command of ['/bin/sh', 'sh', 'bash', 'busybox', '/usr/bin/env']) {
        const { status } = ran(there.podman, ['run', '--rm', '--network', 'none', '--entrypoint', command, IMAGE])
        assert.is(status, 127, command)
      }
    })

    for (const name of ['arksmodel-fn', 'arksmodel-loader', 'arksmodel-controller'])
      test(`runs ${name} by its name`, () => {
        const command = ['run', '--rm', ...RESTRICTED, '--entrypoint', name, IMAGE]
        assert.is(printed(there.podman, [...command, '--version']).trim(), VERSION)
        assert.match(printed(there.podman, [...command, '--help']), name)
      })
  })
}

const OCI = 'org.opencontainers.image.'

function theFunction(there: Engine): void {
  const input = `${model({ namespace: 'models', token: 'hf' })}---\n${model({ name: 'other' })}`
  const asUser = (user: string): readonly string[] => ['run', '--rm', '-i', '--user', user, ...RESTRICTED, IMAGE]

  describe('the function in a container', (test) => {
    for (const user of ['nobody', '65534', '65532:65532', '1000660000:0'])
      test(`prints as ${user} what the program prints`, () => {
        assert.fixture(printed(there.podman, asUser(user), { input }), expanded(input))
      })

    test('starts from compiled code, which the Node of the image takes', () => {
      const command = ['run', '--rm', ...RESTRICTED, '--entrypoint', '/nodejs/bin/node', IMAGE, '-e', TELLING]
      assert.is(printed(there.podman, command), `taken ${VERSION}\n`)
    })

    test('says what is wrong, and ends with 1', () => {
      const { status, stdout, stderr } = ran(there.podman, asUser('nobody'), { input: model({ size: 'lots' }) })
      assert.is(status, 1)
      assert.is(stdout, '')
      assert.match(stderr, 'got "lots"')
    })
  })

  const circumstances = { path: [there.commands], env: { KPT_FN_RUNTIME: 'podman' } }

  if (builder.kind === 'missing') leftOut('the image with kustomize', builder)
  else
    describe(`the image with kustomize ${builder.version}`, (test) => {
      test('prints by the Component with a container what the one with the program prints', () => {
        const root = scratch({})
        for (const name of ['examples', 'kustomize']) cpSync(name, join(root, name), { recursive: true })
        const folder = join(root, 'examples/component')
        const file = join(folder, 'kustomization.yaml')
        writeFileSync(file, readFileSync(file, 'utf8').replaceAll('kustomize/fn', 'kustomize/fn/container'))
        assert.fixture(
          printed(builder.path, ['build', '--enable-alpha-plugins', folder], circumstances),
          readFileSync('examples/component/rendered/expected.yaml', 'utf8'),
        )
      })
    })

  if (renderer.kind === 'missing') leftOut('the image with kpt', renderer)
  else
    describe(`the image with kpt ${renderer.version}`, (test) => {
      const files = { 'expand.yaml': EXPAND, 'models.yaml': model({ namespace: 'models' }) }
      const rendered = (mutator: string, ...how: readonly string[]): Readonly<Record<string, string>> => {
        const folder = scratch({ ...files, Kptfile: kptfile(mutator) })
        printed(renderer.path, ['fn', 'render', folder, ...how], circumstances)
        // What kpt notes of its runs differs.
        const { Kptfile: _, ...others } = contents(folder)
        return others
      }
      const config = '    configPath: expand.yaml\n'

      test('renders what the program renders', () => {
        const want = rendered(`  - exec: arksmodel-fn\n${config}`, '--allow-exec')
        assert.is(ofKind(objects(Object.values(want).join('\n---\n')), 'Job').length, 1)
        assert.equal(rendered(`  - image: ${NAMED}\n${config}`, '--image-pull-policy', 'Never'), want)
      })

      test('is evaluated as the program is', () => {
        const evaluated = (...how: readonly string[]): Readonly<Record<string, string>> => {
          const folder = scratch(files)
          printed(renderer.path, ['fn', 'eval', folder, ...how], circumstances)
          return contents(folder)
        }
        assert.equal(evaluated('--image', NAMED, '--image-pull-policy', 'Never'), evaluated('--exec', 'arksmodel-fn'))
      })
    })
}

/** Runs the function with a word before its output about what became of its compiled code. */
const TELLING = `
const vm = require('node:vm')
vm.Script = class extends vm.Script {
  constructor(...args) {
    super(...args)
    process.stdout.write(this.cachedDataRejected === false ? 'taken ' : 'rejected ')
  }
}
process.argv.push('/usr/local/bin/arksmodel-fn', '--version')
require('/usr/local/bin/arksmodel-fn')
`

/** kpt puts its own registry before a name without one. */
const NAMED = `docker.io/${IMAGE}`

const FILES: readonly HubFile[] = [
  randomFile('config.json', 700, 2),
  randomFile('model.safetensors', 9_500_000),
  randomFile('tokenizer/vocab.json', 40_000, 5),
]

/** The pod that the Job of this model starts, as the function renders it. */
function podOf(endpoint: string): Plain {
  const text = model({ name: 'the-model', model: 'org/model', namespace: 'tenant' })
  const [job] = ofKind(
    objects(expanded(text.replace('huggingface: {}', `huggingface: {endpoint: "${endpoint}"}`))),
    'Job',
  )
  const { metadata, spec } = asPlain(at(job, 'spec', 'template'))
  return { apiVersion: 'v1', kind: 'Pod', metadata: { ...asPlain(metadata), name: 'job', namespace: 'tenant' }, spec }
}

/** Starts the pod, on this machine's network, where the servers of tests are. Its only container is `<pod>-<container>`. */
async function play(there: Engine, pod: Plain): Promise<string> {
  const spec = asPlain(pod['spec'])
  const containers = asList(spec['containers']).map((each) => readyForPodman(asPlain(each), pod))
  const file = join(scratch({ 'pod.json': JSON.stringify({ ...pod, spec: { ...spec, containers } }) }), 'pod.json')
  await there.done('podman', 'kube', 'play', '--network', 'host', file)
  return `${at(pod, 'metadata', 'name')}-${at(pod, 'spec', 'containers', 0, 'name')}`
}

/** podman knows no namespaces, leaves arguments as they are, and would map ports, which are but a note to Kubernetes. */
function readyForPodman({ ports: _, ...container }: Plain, pod: Plain): Plain {
  const { namespace, annotations } = asPlain(at(pod, 'metadata'))
  const known = { NAMESPACE: String(namespace), MODEL: String(asPlain(annotations)['arks.ai/model']) }
  const env = asList(container['env']).map((variable) =>
    at(variable, 'name') === 'NAMESPACE' ? { name: 'NAMESPACE', value: known.NAMESPACE } : variable,
  )
  return { ...container, env, args: asList(container['args']).map((arg) => filledIn(String(arg), known)) }
}

/** Its exit code, and what it printed. */
async function ended(there: Engine, container: string): Promise<{ readonly code: number; readonly output: string }> {
  const code = Number(await there.done('podman', 'wait', container))
  const { stdout, stderr } = await run(there.podman, ['logs', container])
  return { code, output: stdout + stderr }
}

/** SIGKILL follows, which an exit code tells. */
const stop = (there: Engine, container: string): Promise<string> =>
  there.done('podman', 'stop', '--time', SECONDS_TO_STOP, container)

function theLoader(there: Engine): void {
  describe("the rendered Job's pod", (test) => {
    test.after.each(async () => {
      await there.done('podman', 'pod', 'rm', '--all', '--force')
      await there.done('podman', 'volume', 'rm', '--all')
    })

    test('loads the model onto its claim, which verify finds whole', async () => {
      await using from = await hub({ repositories: { 'org/model': { revisions: { main: FILES } } } })
      const { code, output } = await ended(there, await play(there, podOf(from.url)))
      assert.is(code, 0, output)
      const volume = await there.done('podman', 'volume', 'inspect', '--format', '{{.Mountpoint}}', 'the-model')
      const folder = join(volume.trim(), 'models/tenant/the-model')
      assert.equal(wrongFiles(folder, FILES), [])
      const place = '/models/models/tenant/the-model'
      const verify = (): number | null => {
        const mount = ['--volume', 'the-model:/models:ro']
        const command = ['--entrypoint', 'arksmodel-loader', IMAGE, 'verify', place]
        return ran(there.podman, ['run', '--rm', ...RESTRICTED, ...mount, ...command]).status
      }
      assert.is(verify(), 0)
      writeFileSync(join(folder, 'config.json'), 'x'.repeat(700))
      assert.is(verify(), REASONS.ChecksumMismatch.exitCode, 'and finds what is not')
    })

    test('ends when it is asked to', async () => {
      await using from = await hub({ repositories: { 'org/model': { revisions: { main: FILES } } } })
      from.faults = [{ kind: 'stall', after: 1000 }]
      const container = await play(there, podOf(from.url))
      await until('bytes', () => from.log.some(({ file }) => file === 'model.safetensors'))
      await stop(there, container)
      const { code, output } = await ended(there, container)
      assert.is(code, REASONS.Interrupted.exitCode, output)
    })
  })
}

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The pod of the Deployment that is shipped, with what Kubernetes puts into it: an account, and where its API is. */
function controllerPod(account: string, url: string, ports: readonly number[]): Plain {
  const [deployment] = ofKind(objects(readFileSync('kustomize/install/deployment.yaml', 'utf8')), 'Deployment')
  const spec = asPlain(at(deployment, 'spec', 'template', 'spec'))
  const [container] = asList(spec['containers']).map(asPlain)
  // This engine has neither systemd for its timers nor a shell in the image to ask with.
  const { livenessProbe: _, readinessProbe: __, ...others } = container ?? {}
  const { hostname, port } = new URL(url)
  const env = [
    { name: 'KUBERNETES_SERVICE_HOST', value: hostname },
    { name: 'KUBERNETES_SERVICE_PORT', value: port },
  ]
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'deployment' },
    spec: {
      ...spec,
      containers: [
        {
          ...others,
          // On this machine's network somebody may have its ports already.
          args: asList(others['args']).map((arg, index) => String(arg).replace(/:\d+$/, `127.0.0.1:${ports[index]}`)),
          env: [...asList(others['env']), ...env],
          volumeMounts: [...asList(others['volumeMounts']), { name: 'account', mountPath: ACCOUNT, readOnly: true }],
        },
      ],
      volumes: [...asList(spec['volumes']), { name: 'account', hostPath: { path: account, type: 'Directory' } }],
    },
  }
}

function theController(there: Engine): void {
  describe("the Deployment's pod", (test) => {
    test.after.each(async () => {
      await there.done('podman', 'pod', 'rm', '--all', '--force')
    })

    test('watches models, and ends when it is asked to', async () => {
      const server = certificates()
      const api = await fakeApi({ certificates: server })
      try {
        const account = scratch({ 'ca.crt': server.ca, token: 'aToken', namespace: 'arksmodel' })
        chmodSync(account, 0o755)
        const [metrics, health] = [await freePort(), await freePort()]
        const container = await play(there, controllerPod(account, api.url, [metrics, health]))
        await until('a watch of models', () =>
          api.log.some(({ verb, path }) => verb === 'watch' && path.endsWith('/arksmodels')),
        )
        assert.ok(api.log.every(({ headers }) => headers.authorization === 'Bearer aToken'))
        assert.is((await fetch(`http://127.0.0.1:${health}/healthz`)).status, 200)
        assert.match(await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text(), 'process_resident_memory_bytes')
        await stop(there, container)
        const { code, output } = await ended(there, container)
        assert.is(code, 0, output)
      } finally {
        await api.stop()
      }
    })
  })
}
