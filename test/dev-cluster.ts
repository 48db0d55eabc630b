import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startCluster } from './cluster.ts'
import { NAMESPACE, permit } from './controller.ts'
import { hub, randomFile } from './hub.ts'
import { startKubelet } from './kubelet.ts'
import { at, objects, title } from './objects.ts'
import { controlPlane, type Missing } from './parts.ts'
import { FUNCTION } from './process.ts'
import { scratch } from './scratch.ts'

/** A cluster to try things in, with a Hub on loopback. It is there until Ctrl-C, and leaves nothing behind. */

const SMALL = 'Qwen/Qwen2.5-7B-Instruct-1M'
const GATED = 'meta-llama/Llama-3.1-8B-Instruct'
const SLOW = 'Qwen/Qwen2.5-7B-Instruct'
const TOKEN = 'hf_aTokenOfTheDevelopmentHub'
const SLOW_FILE = 'model-00001-of-00001.safetensors'
const CONTROLLER = 'arksmodel-controller'

const { values } = parseArgs({ options: { 'kubeconfig-out': { type: 'string' } } })

const parts = await controlPlane()
const cluster = parts.kind === 'missing' ? parts : await startCluster({ controllerManager: true, users: [CONTROLLER] })
if (parts.kind === 'missing') lack(parts)
else if (cluster.kind === 'missing') lack(cluster)
else {
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => resolve())
  })
  const config = randomFile('config.json', 700, 2)
  const weights = randomFile('model.safetensors', 20_000_000)
  const there = await hub({
    repositories: {
      [SMALL]: { revisions: { main: [config, weights] } },
      [GATED]: { revisions: { main: [config, weights] }, gated: true },
      [SLOW]: { revisions: { main: [config, randomFile(SLOW_FILE, 100_000_000, 3)] } },
    },
    tokens: { [TOKEN]: [GATED] },
  })
  there.faults = [{ kind: 'rate', bytesPerSecond: 200_000, path: SLOW_FILE }]
  const kubelet = await startKubelet({ cluster, volumes: scratch({}), env: { HF_ENDPOINT: there.url } })
  for (const crd of objects(readFileSync('crds/arksmodel.yaml', 'utf8'))) {
    await make(crd)
    await cluster.waitForCrd(String(at(crd, 'metadata', 'name')))
  }
  await permit(cluster, [CONTROLLER])
  const out = values['kubeconfig-out']
  if (out !== undefined) copyFileSync(cluster.kubeconfig, out)
  const controllerConfig = await cluster.kubeconfigFor(CONTROLLER)
  const render = `node ${existsSync(FUNCTION) ? 'dist/arksmodel-fn.cjs' : 'fn/main.ts'}`

  console.log(`
A cluster with one node, on which the Jobs of models run for real.

  export KUBECONFIG=${out ?? cluster.kubeconfig}
  alias kubectl=${parts.kubectl.path}

Its Hub, ${there.url}, is the one that every loader uses. It has
  ${SMALL.padEnd(34)} 20 MB
  ${GATED.padEnd(34)} 20 MB, gated: ${TOKEN} may read it
  ${SLOW.padEnd(34)} 100 MB, slowly

The controller, in another terminal, with the role that is shipped:
  npx arksmodel-controller --kubeconfig=${controllerConfig} --leader-election-namespace=${NAMESPACE}

To try:
  kubectl get am -o wide --watch &
  ${render} examples/quickstart | kubectl apply -f -
  ${render} examples/private-model | kubectl apply -f -
  kubectl create secret generic hf-token --from-literal=HF_TOKEN=${TOKEN}
  sed 's/-1M$//; s/qwen-7b/qwen-slow/' examples/quickstart/model.yaml | ${render} | kubectl apply -f -
  kubectl logs -l arks.ai/model=qwen-slow
  kubectl delete pod -l arks.ai/model=qwen-slow

Ctrl-C ends it.`)

  await asked
  await kubelet.stop()
  await cluster.stop()
  await there.close()

  async function make(object: Readonly<Record<string, unknown>>): Promise<void> {
    if (cluster.kind === 'missing') return
    const { status, body } = await cluster.create(object)
    if (status !== 201) throw new Error(`cannot create ${title(object)}: ${JSON.stringify(body)}`)
  }
}

function lack({ name, why, how }: Missing): void {
  console.error(`no ${name}: ${why}; ${how}`)
  process.exitCode = 1
}
