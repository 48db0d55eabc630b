import { copyFileSync, existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { NAMESPACE } from './controller.ts'
import { GATED, lack, type Playground, playground, SLOW, SMALL, TOKEN } from './playground.ts'
import { FUNCTION } from './process.ts'

/** A cluster to try things in, with a Hub on loopback. It is there until Ctrl-C, and leaves nothing behind. */

const { values } = parseArgs({ options: { 'kubeconfig-out': { type: 'string' } } })

const there = await playground()
if (there.kind === 'missing') lack(there)
else await hold(there)

async function hold({ cluster, kubectl, hub, controllerConfig, stop }: Playground): Promise<void> {
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => resolve())
  })
  const out = values['kubeconfig-out']
  if (out !== undefined) copyFileSync(cluster.kubeconfig, out)
  const render = `node ${existsSync(FUNCTION) ? 'dist/arksmodel-fn.cjs' : 'fn/main.ts'}`

  console.log(`
A cluster with one node, on which the Jobs of models run for real. It has the CRD and the role of the controller already:
kustomize/install does not belong here, for pods of anything else do not run. Every StorageClass is served, and sizes and
limits of memory are not looked at.

  export KUBECONFIG=${out ?? cluster.kubeconfig}
  alias kubectl=${kubectl.path}

Its Hub, ${hub.url}, is the one that every loader uses. It has
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
  await stop()
}
