import { readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { findIn, found, type Missing, number, once, type Part, path } from './parts-cache.ts'
import { aria2c, nginx } from './parts-debian.ts'
import { kustomizeController } from './parts-flux.ts'
import { fusermount3, rclone, s3fs, versitygw } from './parts-fuse.ts'
import { goInstall, goProgram } from './parts-go.ts'
import { podman } from './parts-oci.ts'
import { huggingfaceHub } from './parts-python.ts'

/** The real programs around Kubernetes that tests use. Run by itself it prints these and all others. */

export type { Missing, Part } from './parts-cache.ts'
export { goModule, goProgram } from './parts-go.ts'

export interface ControlPlane {
  readonly kind: 'control-plane'
  readonly apiserver: Part
  readonly etcd: Part
  readonly controllerManager: Part
  readonly kubectl: Part
}

const KUSTOMIZE = '5.8.1'
const OLD_KUBECTLS = ['1.27', '1.28', '1.29', '1.30', '1.31', '1.32', '1.33']

export const kustomize: () => Promise<Part | Missing> = once(async () => {
  const there = findIn(path, 'kustomize')
  const part = there === undefined ? undefined : await found('kustomize', there, 'version')
  if (part?.version === KUSTOMIZE) return part
  return goInstall('kustomize', KUSTOMIZE, 'sigs.k8s.io/kustomize/kustomize/v5')
})

/** `KUBEBUILDER_ASSETS` goes first, as envtest sets it; what is not in there is built. */
export const controlPlane: () => Promise<ControlPlane | Missing> = once(async () => {
  const etcd = await kubernetes('etcd')
  if (etcd.kind === 'missing') return etcd
  const apiserver = await kubernetes('kube-apiserver')
  if (apiserver.kind === 'missing') return apiserver
  const controllerManager = await kubernetes('kube-controller-manager')
  if (controllerManager.kind === 'missing') return controllerManager
  const kubectl = await kubernetes('kubectl')
  if (kubectl.kind === 'missing') return kubectl
  return { kind: 'control-plane', apiserver, etcd, controllerManager, kubectl }
})

/** Those of 1.27 to 1.33 that are here, and the one that belongs to the control plane. */
export const kubectls: () => Promise<readonly (Part | Missing)[]> = once(async () => [
  ...(await Promise.all(OLD_KUBECTLS.map(oldKubectl))),
  await kubernetes('kubectl'),
])

export const kpt: () => Promise<Part | Missing> = once(async () => {
  const there = findIn(path, 'kpt')
  if (there) return found('kpt', there, 'version')
  return {
    kind: 'missing',
    name: 'kpt',
    why: 'it is not on PATH and cannot be built from Go modules',
    how: "install 1.0.0-beta.56 from https://github.com/kptdev/kpt/releases, or the Google Cloud CLI's component kpt",
    couldBeHad: false,
  }
})

/** YAML documents on stdin to a JSON array of what sigs.k8s.io/yaml, thus Kubernetes, reads in them. */
export const yamlcheck = (): Promise<Part | Missing> => goProgram('yamlcheck', 'parts/yamlcheck')

/** What kstatus, Flux and Argo CD think of objects; see test/verdicts.ts. */
export const judges = (): Promise<Part | Missing> => goProgram('verdicts', 'parts/verdicts')

/** A JSON array of PromQL expressions to what each of them asks for, as Prometheus reads it. */
export const queryReader = (): Promise<Part | Missing> => goProgram('promql', 'parts/promql')

async function kubernetes(name: string): Promise<Part | Missing> {
  const assets = process.env['KUBEBUILDER_ASSETS']
  const there = assets && findIn([assets], name)
  if (there) return name === 'kubectl' ? found(name, there, 'version', '--client') : found(name, there, '--version')
  const module = readFileSync(join(import.meta.dirname, 'parts/controlplane/go.mod'), 'utf8')
  const version = number(/^\tk8s\.io\/kubernetes (.*)$/m.exec(module)?.[1] ?? '')
  const [major, minor] = version.split('.')
  const stamp = Object.entries({ gitVersion: `v${version}`, gitMajor: major, gitMinor: minor })
  return goProgram(name, 'parts/controlplane', {
    package: `./${name}`,
    version: name === 'etcd' ? number(/^\tgo\.etcd\.io\/etcd\/server\/v3 (.*)$/m.exec(module)?.[1] ?? '') : version,
    ldflags: stamp.map(([key, value]) => `-X k8s.io/component-base/version.${key}=${value}`).join(' '),
  })
}

async function oldKubectl(minor: string): Promise<Part | Missing> {
  for (const there of [findIn(kubectlFolders(), `kubectl.${minor}`), findIn(path, 'kubectl')]) {
    const part = there === undefined ? undefined : await found(`kubectl ${minor}`, there, 'version', '--client')
    if (part?.version.startsWith(`${minor}.`)) return part
  }
  return {
    kind: 'missing',
    name: `kubectl ${minor}`,
    why: `there is no kubectl.${minor} on PATH or beside kubectl or gcloud`,
    how: `install the Google Cloud CLI's component kubectl, or a release of ${minor} as kubectl.${minor}`,
    couldBeHad: false,
  }
}

/** The Google Cloud CLI keeps older ones beside its own, often outside PATH. */
function kubectlFolders(): readonly string[] {
  const linked = ['kubectl', 'gcloud'].flatMap((name) => {
    const there = findIn(path, name)
    return there ? [dirname(realpathSync(there))] : []
  })
  const near = [...path, ...linked]
  return [
    ...near,
    ...near.flatMap((folder) =>
      ['..', '../lib', '../share'].map((sibling) => join(folder, sibling, 'google-cloud-sdk/bin')),
    ),
  ]
}

if (import.meta.main) {
  const plane = await controlPlane()
  const hub = await huggingfaceHub()
  const all = [
    ...(plane.kind === 'missing' ? [plane] : [plane.etcd, plane.apiserver, plane.controllerManager]),
    ...(await kubectls()),
    await kustomize(),
    await kpt(),
    await yamlcheck(),
    await judges(),
    await queryReader(),
    ...(hub.kind === 'missing' ? [hub] : [hub.hf, hub.python]),
    await nginx(),
    await aria2c(),
    await versitygw(),
    await rclone(),
    await fusermount3(),
    await s3fs(),
    await kustomizeController(),
    await podman(),
  ]
  for (const part of all) {
    const name = part.name.padEnd(24)
    console.log(
      part.kind === 'part'
        ? `${name} ${part.version.padEnd(16)} ${part.origin.padEnd(6)} ${part.path}`
        : `${name} missing: ${part.why}; ${part.how}`,
    )
  }
  const failed = process.env['CI'] === 'true' && all.some((part) => part.kind === 'missing' && part.couldBeHad)
  process.exitCode = failed ? 1 : 0
}
