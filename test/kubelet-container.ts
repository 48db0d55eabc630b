import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import type { Container, Pod, Variable, VariablesFrom, Volume } from './kubelet-status.ts'
import { LOADER } from './loader.ts'

/** A pod's container as a process of this machine. */

/** Data of a Secret or ConfigMap. */
export type Data = ReadonlyMap<string, Buffer>
export type Source = 'secret' | 'configmap'

export interface Surroundings {
  readonly ip: string
  /** Scratch, for this pod alone. */
  readonly folder: string
  readonly read: (source: Source, namespace: string, name: string) => Promise<Data | undefined>
  readonly claimFolder: (namespace: string, claim: string) => string
  /** Goes before what the pod says. */
  readonly env: Readonly<Record<string, string>>
}

/** All that a process needs, or what it waits for. */
export type Prepared =
  | ({ readonly kind: 'ready' } & Start)
  | { readonly kind: 'waiting'; readonly reason: string; readonly message?: string }

export interface Start {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly user: { readonly uid?: number; readonly gid?: number }
  readonly terminationLog: string
  /** Whether the end of the log is a failed container's message where it leaves none. */
  readonly usesLog: boolean
}

export interface Exit {
  readonly exitCode: number
  /** Completed or Error if absent. */
  readonly reason?: string
  readonly message: string
}

export interface Running {
  readonly ended: Promise<Exit>
  kill(signal: 'SIGTERM' | 'SIGKILL'): void
  /** What it has printed, or the end of it. */
  log(): string
}

/** Instead of a process: what its end says after so many milliseconds. */
export interface StandIn {
  readonly ms: number
  readonly exitCode: number
  readonly message: string
}

export async function prepared(pod: Pod, container: Container, there: Surroundings): Promise<Prepared> {
  const mounts = await mountsOf(pod, container, there)
  if (typeof mounts === 'string') return { kind: 'waiting', reason: 'ContainerCreating' }
  const env = await environment(pod, container, there)
  if (typeof env === 'string') return { kind: 'waiting', reason: 'CreateContainerConfigError', message: env }
  const terminationLog = join(there.folder, 'termination-log')
  writeFileSync(terminationLog, '')
  // The container's user is another one.
  chmodSync(terminationLog, 0o666)
  const { terminationMessagePath = '/dev/termination-log', terminationMessagePolicy } = container
  const here = (text: string): string => mapped(mounts, text).replaceAll(terminationMessagePath, terminationLog)
  const [program, ...args] = [...(container.command ?? []), ...(container.args ?? [])].map((arg) =>
    here(filledIn(arg, env)),
  )
  return {
    kind: 'ready',
    argv:
      program === 'arksmodel-loader'
        ? [...loader(there.ip), ...args, '--termination-log', terminationLog]
        : [program ?? '', ...args],
    env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, here(value)])),
    user: userOf(pod, container),
    terminationLog,
    usesLog: terminationMessagePolicy === 'FallbackToLogsOnError',
  }
}

export function started({ argv, env, user, terminationLog, usesLog }: Start): Running {
  const [program = '', ...args] = argv
  const child = spawn(program, args, {
    cwd: '/',
    env,
    // Its children end with it; and a terminal's Ctrl-C is for us.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    ...user,
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-LOG_CHARACTERS)
    })
  const ended = new Promise<Exit>((resolve) => {
    child.on('error', () => resolve(notStarted(program)))
    child.on('close', (code, signal) => {
      if (child.pid === undefined) return
      const exitCode = code ?? 128 + (SIGNALS[signal ?? ''] ?? 0)
      const left = readFileSync(terminationLog).subarray(0, MESSAGE_BYTES).toString()
      resolve({ exitCode, message: left === '' && usesLog && exitCode !== 0 ? endOf(log) : left })
    })
  })
  return { ended, kill: (signal) => kill(child, signal), log: () => log }
}

export function stoodIn({ ms, exitCode, message }: StandIn): Running {
  let end: (exit: Exit) => void
  const ended = new Promise<Exit>((resolve) => {
    end = resolve
  })
  const timer = setTimeout(() => end({ exitCode, message }), ms)
  return {
    ended,
    kill: (signal) => {
      clearTimeout(timer)
      end({ exitCode: 128 + (SIGNALS[signal] ?? 0), message: '' })
    },
    log: () => '',
  }
}

/** As the kubelet does it: `$$` stands for `$`, and what no variable is called stays as it is. */
export const filledIn = (text: string, env: Readonly<Record<string, string>>): string =>
  text.replaceAll(/\$(?:\$|\(([^)]*)\))/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (env[name] ?? whole),
  )

const LOG_CHARACTERS = 1 << 16
/** What Kubernetes keeps of a termination message, and takes of a log in its place. */
const MESSAGE_BYTES = 4096
const LOG_BYTES = 2048
const LOG_LINES = 80

const SIGNALS: Readonly<Record<string, number>> = { SIGKILL: 9, SIGTERM: 15, SIGSEGV: 11, SIGABRT: 6 }

function kill(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  // A container's first process alone is told; the end takes all of them.
  if (signal === 'SIGTERM') child.kill(signal)
  else process.kill(-child.pid, signal)
}

const notStarted = (program: string): Exit => ({
  exitCode: 128,
  reason: 'StartError',
  message: `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "${program}": executable file not found in $PATH`,
})

const endOf = (log: string): string =>
  Buffer.from(
    log
      .split('\n')
      .slice(-LOG_LINES - 1)
      .join('\n'),
  )
    .subarray(-LOG_BYTES)
    .toString()

/** The built loader; it listens on the pod's address, which is the only one that a pod has, and ends when we do. */
const loader = (ip: string): readonly string[] => {
  const preload = `
    import { isMainThread } from 'node:worker_threads'
    import net from 'node:net'
    const { listen } = net.Server.prototype
    net.Server.prototype.listen = function (port, ...more) {
      return listen.call(this, port, ...(typeof port === 'number' && typeof more[0] !== 'string' ? ['${ip}'] : []), ...more)
    }
    if (isMainThread) {
      const we = new net.Socket({ fd: 3 })
      we.on('error', () => undefined).on('close', () => process.kill(process.pid, 'SIGKILL')).resume().unref()
    }`
  return [process.execPath, '--import', `data:text/javascript,${encodeURIComponent(preload)}`, LOADER]
}

/** As root only can one become another. */
const isRoot = userInfo().uid === 0
const NOBODY = 65_534

function userOf({ spec }: Pod, { securityContext }: Container): Start['user'] {
  if (!isRoot) return {}
  const { runAsUser = NOBODY, runAsGroup = runAsUser } = { ...spec.securityContext, ...securityContext }
  return { uid: runAsUser, gid: runAsGroup }
}

interface Mounted {
  readonly path: string
  readonly folder: string
}

/** The text says what does not exist. */
async function mountsOf(pod: Pod, container: Container, there: Surroundings): Promise<readonly Mounted[] | string> {
  const folders = new Map<string, string>()
  for (const volume of pod.spec.volumes ?? []) {
    const folder = await folderOf(volume, pod, there)
    if (folder === undefined) return volume.name
    folders.set(volume.name, folder)
  }
  return (container.volumeMounts ?? [])
    .map(({ name, mountPath, subPath = '' }) => ({ path: mountPath, folder: join(folders.get(name) ?? '', subPath) }))
    .sort((a, b) => b.path.length - a.path.length)
}

async function folderOf(volume: Volume, pod: Pod, there: Surroundings): Promise<string | undefined> {
  const { namespace } = pod.metadata
  const { persistentVolumeClaim: claim, configMap, secret } = volume
  const folder = claim ? there.claimFolder(namespace, claim.claimName) : join(there.folder, 'volumes', volume.name)
  mkdirSync(folder, { recursive: true })
  const projected = secret ?? configMap
  if (projected === undefined) {
    chmodSync(folder, 0o2777)
    const group = pod.spec.securityContext?.fsGroup
    if (isRoot && group !== undefined) chownSync(folder, 0, group)
    return folder
  }
  const data = secret
    ? await there.read('secret', namespace, secret.secretName)
    : await there.read('configmap', namespace, configMap?.name ?? '')
  if (data === undefined) return projected.optional ? folder : undefined
  for (const { key, path } of projected.items ?? [...data.keys()].map((key) => ({ key, path: key }))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), data.get(key) ?? '')
  }
  return folder
}

/** A path in the container as a path of this machine. */
function mapped(mounts: readonly Mounted[], text: string): string {
  const mount = mounts.find(({ path }) => text === path || text.startsWith(`${path}/`))
  return mount === undefined ? text : mount.folder + text.slice(mount.path.length)
}

/** The variables, or what the kubelet says that is missing. */
async function environment(
  pod: Pod,
  container: Container,
  there: Surroundings,
): Promise<Readonly<Record<string, string>> | string> {
  const env: Record<string, string> = {}
  for (const from of container.envFrom ?? []) {
    const problem = await addAll(env, from, pod, there)
    if (problem !== undefined) return problem
  }
  for (const variable of container.env ?? []) {
    const value = await valueFor(variable, pod, there, env)
    if (value.kind === 'problem') return value.message
    if (value.kind === 'value') env[variable.name] = value.value
  }
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOSTNAME: pod.metadata.name,
    KUBERNETES_SERVICE_HOST: '10.0.0.1',
    KUBERNETES_SERVICE_PORT: '443',
    ...env,
    ...there.env,
  }
}

async function addAll(
  env: Record<string, string>,
  { prefix = '', secretRef, configMapRef }: VariablesFrom,
  { metadata }: Pod,
  there: Surroundings,
): Promise<string | undefined> {
  const [source, reference]: readonly [Source, typeof secretRef] = secretRef
    ? ['secret', secretRef]
    : ['configmap', configMapRef]
  if (reference === undefined) return undefined
  const data = await there.read(source, metadata.namespace, reference.name)
  if (data === undefined) return reference.optional ? undefined : `${source} "${reference.name}" not found`
  for (const [key, value] of data) env[prefix + key] = value.toString()
  return undefined
}

type Value =
  | { readonly kind: 'value'; readonly value: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'problem'; readonly message: string }

async function valueFor(
  { value = '', valueFrom }: Variable,
  pod: Pod,
  there: Surroundings,
  earlier: Readonly<Record<string, string>>,
): Promise<Value> {
  if (valueFrom === undefined) return { kind: 'value', value: filledIn(value, earlier) }
  const { fieldRef, secretKeyRef, configMapKeyRef } = valueFrom
  if (fieldRef) return { kind: 'value', value: fieldOf(pod, fieldRef.fieldPath, there.ip) }
  const reference = secretKeyRef ?? configMapKeyRef
  if (reference === undefined) return { kind: 'value', value: '' }
  const { name, key, optional } = reference
  const { namespace } = pod.metadata
  const source = secretKeyRef ? 'secret' : 'configmap'
  const data = await there.read(source, namespace, name)
  const found = data?.get(key)
  if (found !== undefined) return { kind: 'value', value: found.toString() }
  if (optional) return { kind: 'none' }
  if (data === undefined) return { kind: 'problem', message: `${source} "${name}" not found` }
  const kind = secretKeyRef ? 'Secret' : 'ConfigMap'
  return { kind: 'problem', message: `couldn't find key ${key} in ${kind} ${namespace}/${name}` }
}

function fieldOf({ metadata, spec }: Pod, path: string, ip: string): string {
  const [, list, key = ''] = /^metadata\.(annotations|labels)\['(.+)'\]$/.exec(path) ?? []
  if (list === 'annotations') return metadata.annotations?.[key] ?? ''
  if (list === 'labels') return metadata.labels?.[key] ?? ''
  const fields: Readonly<Record<string, string | undefined>> = {
    'metadata.name': metadata.name,
    'metadata.namespace': metadata.namespace,
    'metadata.uid': metadata.uid,
    'spec.nodeName': spec.nodeName,
    'spec.serviceAccountName': spec.serviceAccountName ?? 'default',
    'status.podIP': ip,
    'status.podIPs': ip,
    'status.hostIP': '127.0.0.1',
  }
  const value = fields[path]
  if (value === undefined) throw new Error(`no field ${path} of a pod`)
  return value
}
