import { readFileSync } from 'node:fs'
import { type Cluster, startCluster } from './cluster.ts'
import { permit } from './controller.ts'
import { type Hub, hub, randomFile } from './hub.ts'
import { type Kubelet, startKubelet } from './kubelet.ts'
import { at, objects, title } from './objects.ts'
import { controlPlane, type Missing, type Part } from './parts.ts'
import { scratch } from './scratch.ts'

/** A cluster for people, with a Hub on loopback that has what the examples load. */
export interface Playground {
  readonly kind: 'playground'
  readonly cluster: Cluster
  readonly kubectl: Part
  readonly hub: Hub
  readonly kubelet: Kubelet
  /** Of the user that may do what the shipped role allows. */
  readonly controllerConfig: string
  stop(): Promise<void>
}

export const SMALL = 'Qwen/Qwen2.5-7B-Instruct-1M'
export const GATED = 'meta-llama/Llama-3.1-8B-Instruct'
export const SLOW = 'Qwen/Qwen2.5-7B-Instruct'
/** May read the gated model. */
export const TOKEN = 'hf_aTokenOfTheDevelopmentHub'
/** Is valid, and may not. */
export const OTHER_TOKEN = 'hf_aTokenOfSomebodyElse'

const SLOW_FILE = 'model-00001-of-00001.safetensors'
const CONTROLLER = 'arksmodel-controller'

export async function playground(): Promise<Playground | Missing> {
  const parts = await controlPlane()
  if (parts.kind === 'missing') return parts
  const cluster = await startCluster({ controllerManager: true, users: [CONTROLLER] })
  if (cluster.kind === 'missing') return cluster
  const there = await developmentHub()
  const kubelet = await startKubelet({ cluster, volumes: scratch({}), env: { HF_ENDPOINT: there.url } })
  for (const crd of objects(readFileSync('crds/arksmodel.yaml', 'utf8'))) {
    const { status, body } = await cluster.create(crd)
    if (status !== 201) throw new Error(`cannot create ${title(crd)}: ${JSON.stringify(body)}`)
    await cluster.waitForCrd(String(at(crd, 'metadata', 'name')))
  }
  await permit(cluster, [CONTROLLER])
  return {
    kind: 'playground',
    cluster,
    kubectl: parts.kubectl,
    hub: there,
    kubelet,
    controllerConfig: await cluster.kubeconfigFor(CONTROLLER),
    async stop() {
      await kubelet.stop()
      await cluster.stop()
      await there.close()
    },
  }
}

async function developmentHub(): Promise<Hub> {
  const config = randomFile('config.json', 700, 2)
  const weights = randomFile('model.safetensors', 20_000_000)
  const there = await hub({
    repositories: {
      [SMALL]: { revisions: { main: [config, weights] } },
      [GATED]: { revisions: { main: [config, weights] }, gated: true },
      [SLOW]: { revisions: { main: [config, randomFile(SLOW_FILE, 100_000_000, 3)] } },
    },
    tokens: { [TOKEN]: [GATED], [OTHER_TOKEN]: [] },
  })
  there.faults = [{ kind: 'rate', bytesPerSecond: 200_000, path: SLOW_FILE }]
  return there
}

export function lack({ name, why, how }: Missing): void {
  console.error(`no ${name}: ${why}; ${how}`)
  process.exitCode = 1
}
