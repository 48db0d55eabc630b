import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

/** The real programs that tests use: found on the machine, or built once with Go into a cache outside the checkout. */

export interface Part {
  readonly kind: 'part'
  readonly name: string
  /** Without a leading `v`; of our own Go programs a hash of their sources. */
  readonly version: string
  readonly path: string
  readonly origin: 'found' | 'built' | 'cached'
}

export interface Missing {
  readonly kind: 'missing'
  readonly name: string
  readonly why: string
  readonly how: string
  /** It could have been made here: with CI=true its absence is a failure. */
  readonly couldBeHad: boolean
}

export interface ControlPlane {
  readonly kind: 'control-plane'
  readonly apiserver: Part
  readonly etcd: Part
  readonly controllerManager: Part
  readonly kubectl: Part
}

/** A program of a Go module of ours, where it differs from `package main` at the top of the module. */
export interface Program {
  readonly package?: string
  readonly version?: string
  readonly ldflags?: string
}

const KUSTOMIZE = '5.8.1'
const OLD_KUBECTLS = ['1.27', '1.28', '1.29', '1.30', '1.31', '1.32', '1.33']

const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'arksmodel')
const path = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean)

export const kustomize: () => Promise<Part | Missing> = once(async () => {
  const there = findIn(path, 'kustomize')
  const part = there === undefined ? undefined : await found('kustomize', there, 'version')
  if (part?.version === KUSTOMIZE) return part
  return built('kustomize', KUSTOMIZE, KUSTOMIZE, (into) => ({
    args: ['install', ...FLAGS, '-ldflags=-s -w', `sigs.k8s.io/kustomize/kustomize/v5@v${KUSTOMIZE}`],
    env: { GOBIN: into },
  }))
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

/** The sources of a Go module, whose files (its CRDs) tests read. The path is its folder in Go's own module cache. */
export async function goModule(name: string, version: string): Promise<Part | Missing> {
  const missing = missingPart(name)
  if (!findIn(path, 'go')) return missing('it is a Go module, and Go is not on PATH', GET_GO, false)
  const { code, stdout, stderr } = await run('go', ['mod', 'download', '-json', `${name}@v${version}`])
  const folder = /"Dir": "(.*)"/.exec(stdout)?.[1]
  return code === 0 && folder !== undefined
    ? { kind: 'part', name, version, path: folder, origin: 'cached' }
    : missing(`go mod download failed: ${lastLines(stderr + stdout)}`, 'see that the Go modules can be reached', true)
}

const missingPart =
  (name: string) =>
  (why: string, how: string, couldBeHad: boolean): Missing => ({ kind: 'missing', name, why, how, couldBeHad })

const GET_GO = 'install Go from https://go.dev/dl'

const programs = new Map<string, Promise<Part | Missing>>()

/** Builds a program of the Go module in a folder below test/; again only when the module's sources change. */
export function goProgram(name: string, folder: string, program: Program = {}): Promise<Part | Missing> {
  const made = programs.get(name) ?? goBuild(name, join(import.meta.dirname, folder), program)
  programs.set(name, made)
  return made
}

function goBuild(name: string, folder: string, program: Program): Promise<Part | Missing> {
  const hash = createHash('sha256')
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(go|mod|sum)$/.test(file),
  )
  for (const file of sources.sort()) hash.update(`${file}\0${readFileSync(join(folder, file), 'utf8')}\0`)
  const digest = hash.digest('hex').slice(0, 10)
  const { version, ldflags = '' } = program
  return built(name, version ?? digest, version ? `${version}-${digest}` : digest, (into) => ({
    args: ['build', ...FLAGS, `-ldflags=-s -w ${ldflags}`, '-o', join(into, name), program.package ?? '.'],
    cwd: folder,
    env: {},
  }))
}

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

async function found(name: string, path: string, ...args: readonly string[]): Promise<Part> {
  const { stdout } = await run(path, args)
  return { kind: 'part', name, version: number(stdout), path, origin: 'found' }
}

interface GoCommand {
  readonly args: readonly string[]
  readonly cwd?: string
  readonly env: Readonly<Record<string, string>>
}

/** `-mod=readonly`: go.sum decides what is built, and nothing is written into the checkout. */
const FLAGS = ['-mod=readonly', '-buildvcs=false', '-trimpath']

async function built(
  name: string,
  version: string,
  key: string,
  command: (into: string) => GoCommand,
): Promise<Part | Missing> {
  const folder = join(cache, `${name}-${key}-${process.platform}-${process.arch}`)
  const part = (origin: Part['origin']): Part => ({ kind: 'part', name, version, path: join(folder, name), origin })
  const missing = missingPart(name)
  if (findIn([folder], name)) return part('cached')
  if (!findIn(path, 'go')) return missing('it is built with Go, and Go is not on PATH', GET_GO, false)

  console.error(`building ${name} ${version}`)
  mkdirSync(cache, { recursive: true })
  const into = mkdtempSync(`${folder}.building-`)
  const { args, cwd, env } = command(into)
  const { code, stderr } = await run('go', args, { cwd: cwd ?? into, env: { CGO_ENABLED: '0', ...env } })
  if (code === 0) {
    // Somebody else may have been quicker: theirs is as good as ours.
    await rename(into, folder).catch(() => undefined)
  }
  await rm(into, { recursive: true, force: true })
  return findIn([folder], name)
    ? part('built')
    : missing(`go ${args[0]} failed: ${lastLines(stderr)}`, 'see that the Go modules can be reached and built', true)
}

/** In one line, as all messages about parts are. */
const lastLines = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line && !line.startsWith('go: downloading'))
    .slice(-5)
    .join(' | ')

/** `v1.27.16`, `{Version:v5.8.1}`, `Kubernetes v1.36.3` and the like. */
const number = (text: string): string => /\d+\.\d+\.\d+(-[\w.]+)?/.exec(text)?.[0] ?? 'unknown'

function findIn(folders: readonly string[], name: string): string | undefined {
  return folders.map((folder) => join(folder, name)).find(runnable)
}

function runnable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(
  command: string,
  args: readonly string[],
  { cwd, env }: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('error', (error) => resolve({ code: 1, stdout, stderr: error.message }))
    child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }))
  })
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => (made ??= make())
}

if (import.meta.main) {
  const plane = await controlPlane()
  const all = [
    ...(plane.kind === 'missing' ? [plane] : [plane.etcd, plane.apiserver, plane.controllerManager]),
    ...(await kubectls()),
    await kustomize(),
    await kpt(),
    await yamlcheck(),
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
