import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { valueAt } from '../crds/place.ts'
import { type ControlPlane, controlPlane, type Missing } from './parts.ts'
import { answers, freePort, onFreePort, type Programs, programs } from './parts-running.ts'

/** A real etcd and API server (and controller manager) on loopback, for as long as the process that started them. */

export interface Cluster {
  readonly kind: 'cluster'
  readonly url: string
  /** The path of a kubeconfig file, of an administrator. */
  readonly kubeconfig: string
  /** PEM. */
  readonly ca: string
  /** As an administrator. A body that is no string is sent as JSON. */
  request(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>
  /** As an administrator: the lines of an answer as they come, such as a watch's, until it ends or is given up. */
  lines(path: string, signal: AbortSignal): AsyncIterable<string>
  createNamespace(name: string, labels?: Readonly<Record<string, string>>): Promise<void>
  /** Server-side apply of one object. */
  apply(object: unknown, options?: WriteOptions): Promise<Answer>
  create(object: unknown, options?: WriteOptions): Promise<Answer>
  /** Until objects of the kind can be created, which is later than `Established`. */
  waitForCrd(name: string): Promise<void>
  /** The path of a kubeconfig file of one of `options.users`, who may do nothing until a role is bound. */
  kubeconfigFor(user: string): Promise<string>
  /** Kills it, without a word. What is stored stays. */
  crash(part: 'apiserver' | 'etcd'): Promise<void>
  /** Starts what has crashed, where it was, and waits until the cluster is ready. Flags are for this life alone. */
  restore(part: 'apiserver' | 'etcd', flags?: readonly string[]): Promise<void>
  /** etcd forgets the past. An API server with a watch cache has its own memory of it. */
  compact(): Promise<void>
  stop(): Promise<void>
}

/** Headers of a request that is a merge-patch. */
export const MERGE: Readonly<Record<string, string>> = { 'content-type': 'application/merge-patch+json' }

export interface WriteOptions {
  readonly dryRun?: boolean
  /** Takes fields from other field managers; `apply` only. */
  readonly force?: boolean
  readonly fieldManager?: string
  /** Of an object that names none itself; `default` if absent. */
  readonly namespace?: string
  /** Refuses unknown and duplicate fields instead of warning of them. */
  readonly strict?: boolean
}

export interface Answer {
  readonly status: number
  readonly body: unknown
  readonly warnings: readonly string[]
}

export interface ClusterOptions {
  readonly controllerManager?: boolean
  readonly users?: readonly string[]
  /** The path of a file that gets one JSON line for each request: user, verb, object, status. */
  readonly auditLog?: string
}

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster | Missing> {
  const parts = await controlPlane()
  if (parts.kind === 'missing') return parts
  return onFreePort((port) => start(parts, options, port))
}

async function start(
  parts: ControlPlane,
  { controllerManager, users = [], auditLog }: ClusterOptions,
  port: number,
): Promise<Cluster> {
  const { folder, run, until, stop: end } = programs('cluster', ABRUPT)
  // The folder goes with a program that runs in it, also where nobody is left to stop the cluster.
  run('/bin/sleep', ['infinity'])
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const tokens = new Map([...ADMINS, ...users].map((user) => [user, randomBytes(16).toString('hex')]))
  const etcdPort = await freePort()
  const [url, etcdUrl] = [`https://127.0.0.1:${port}`, `http://127.0.0.1:${etcdPort}`]
  const mortals = {
    etcd: mortal(parts.etcd.path, etcdFlags(folder, etcdPort)),
    apiserver: mortal(parts.apiserver.path, [
      ...apiserverFlags(folder, etcdPort, port),
      ...Object.entries(keyPair()).map(([name, key]) => `--service-account-${name}=${file(name, key)}`),
      `--token-auth-file=${file('tokens.csv', tokensCsv(tokens))}`,
      ...(auditLog ? [`--audit-policy-file=${file('audit.yaml', AUDIT_POLICY)}`, `--audit-log-path=${auditLog}`] : []),
    ]),
  }
  const stop = async (): Promise<void> => {
    await mortals.apiserver.crash()
    await mortals.etcd.crash()
    await end()
  }

  try {
    for (const each of Object.values(mortals)) each.start([])
    await mortals.etcd.until('etcd', () => answers(`${etcdUrl}/health`))
    const ca = await mortals.apiserver.until('certificate', () => certificate(join(folder, 'apiserver.crt')))
    const kubeconfig = (user: string): string => {
      const token = tokens.get(user)
      if (token === undefined) throw new Error(`the cluster was started without a user ${user}`)
      return file(`${encodeURIComponent(user)}.kubeconfig`, config({ url, ca, user, token }))
    }
    const { send, lines, close } = client({ url, ca, token: tokens.get('admin') ?? '' })
    const found = (path: string) => async (): Promise<true | undefined> =>
      (await send('GET', path).catch(() => undefined))?.status === 200 || undefined
    const ready = async (): Promise<void> => {
      await mortals.apiserver.until('ready API server', found('/readyz'))
      await mortals.apiserver.until('default namespace', found('/api/v1/namespaces/default'))
    }
    await ready()
    if (controllerManager) {
      run(parts.controllerManager.path, [
        `--kubeconfig=${kubeconfig('controller-manager')}`,
        `--service-account-private-key-file=${join(folder, 'signing-key-file')}`,
        '--leader-elect=false',
        // Its own patience is made for servers that others need too: a thousand Jobs would take minutes.
        '--kube-api-qps=1000',
        '--kube-api-burst=1000',
        '--secure-port=0',
        `--controllers=${CONTROLLERS.join()}`,
      ])
      await until('working controller manager', found('/api/v1/namespaces/default/serviceaccounts/default'))
    }

    const resourceOf = discovery(send)
    return {
      kind: 'cluster',
      url,
      kubeconfig: kubeconfig('admin'),
      ca,
      request: async (method, path, body, headers) => answer(await send(method, path, body, headers)),
      lines,
      createNamespace: async (name, labels = {}) => {
        const { status, text } = await send('POST', '/api/v1/namespaces', { metadata: { name, labels } })
        if (status !== 201) throw new Error(`cannot create namespace ${name}: ${text}`)
      },
      apply: async (object, write) => {
        const { path, name, query } = await place(resourceOf, object, write)
        if (write?.force) query.set('force', 'true')
        return answer(await send('PATCH', `${path}/${name}?${query}`, object, APPLY))
      },
      create: async (object, write) => {
        const { path, query } = await place(resourceOf, object, write)
        return answer(await send('POST', `${path}?${query}`, object))
      },
      waitForCrd: async (name) => {
        const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`
        const crd = await until(`established ${name}`, async () => established(await send('GET', path)))
        for (const { name: version } of crd.spec.versions.filter(({ served }) => served)) {
          const apiVersion = `${crd.spec.group}/${version}`
          await until(`${name} of ${version}`, found(`${apiPath(apiVersion)}/${crd.spec.names.plural}`))
          await until(`kind of ${name}`, () => resourceOf(apiVersion, crd.spec.names.kind))
        }
      },
      kubeconfigFor: async (user) => kubeconfig(user),
      crash: (part) => mortals[part].crash(),
      restore: async (part, flags = []) => {
        mortals[part].start(flags)
        await mortals.etcd.until('etcd', () => answers(`${etcdUrl}/health`))
        await ready()
      },
      compact: () => compact(etcdUrl),
      stop: async () => {
        close()
        await stop()
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

const ABRUPT = { isAbrupt: true, seconds: 60 } as const

/** A program with several lives. */
interface Mortal {
  start(flags: readonly string[]): void
  readonly until: Programs['until']
  crash(): Promise<void>
}

function mortal(path: string, flags: readonly string[]): Mortal {
  let life: Programs | undefined
  return {
    start(more) {
      life = programs(basename(path), ABRUPT)
      life.run(path, [...flags, ...more])
    },
    until(what, look) {
      if (life === undefined) throw new Error(`${path} was not started`)
      return life.until(what, look)
    },
    async crash() {
      await life?.stop()
    },
  }
}

/** Up to now, by etcd's own gateway from JSON to gRPC. */
async function compact(etcdUrl: string): Promise<void> {
  const post = async (path: string, body: unknown): Promise<unknown> => {
    const response = await fetch(`${etcdUrl}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) })
    if (!response.ok) throw new Error(`etcd: ${path}: ${response.status} ${await response.text()}`)
    return response.json()
  }
  const revision = valueAt(await post('maintenance/status', {}), ['header', 'revision'])
  await post('kv/compaction', { revision, physical: true })
}

const ADMINS = ['admin', 'controller-manager']

const CONTROLLERS = [
  'job-controller',
  'persistentvolume-binder-controller',
  'persistentvolumeclaim-protection-controller',
  'persistentvolume-protection-controller',
  'garbage-collector-controller',
  'namespace-controller',
  'serviceaccount-controller',
  'ttl-after-finished-controller',
  'clusterrole-aggregation-controller',
]

const AUDIT_POLICY = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

const APPLY = { 'content-type': 'application/apply-patch+yaml' }

const etcdFlags = (folder: string, port: number): readonly string[] => [
  `--data-dir=${join(folder, 'etcd')}`,
  `--listen-client-urls=http://127.0.0.1:${port}`,
  `--advertise-client-urls=http://127.0.0.1:${port}`,
  '--listen-peer-urls=http://127.0.0.1:0',
  '--unsafe-no-fsync',
]

/** There is no kubelet to mount service account tokens, so their admission plugin would only be in the way. */
const apiserverFlags = (folder: string, etcdPort: number, port: number): readonly string[] => [
  `--etcd-servers=http://127.0.0.1:${etcdPort}`,
  '--bind-address=127.0.0.1',
  '--advertise-address=127.0.0.1',
  `--secure-port=${port}`,
  `--cert-dir=${folder}`,
  '--service-account-issuer=https://kubernetes.default.svc',
  '--service-cluster-ip-range=10.0.0.0/24',
  '--authorization-mode=RBAC',
  '--endpoint-reconciler-type=none',
  '--disable-admission-plugins=ServiceAccount',
]

function keyPair(): Readonly<Record<'key-file' | 'signing-key-file', string>> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return { 'key-file': publicKey, 'signing-key-file': privateKey }
}

const tokensCsv = (tokens: ReadonlyMap<string, string>): string =>
  [...tokens]
    .map(([user, token]) => `${token},${user},${user}${ADMINS.includes(user) ? ',system:masters' : ''}\n`)
    .join('')

const config = (access: Access & { readonly user: string }): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'test',
        cluster: { server: access.url, 'certificate-authority-data': Buffer.from(access.ca).toString('base64') },
      },
    ],
    users: [{ name: access.user, user: { token: access.token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: access.user } }],
    'current-context': 'test',
  })

/** The server writes its own certificate and behind it the authority that it made for that. */
function certificate(path: string): string | undefined {
  const pem = existsSync(path) ? readFileSync(path, 'utf8') : ''
  return pem.match(/-----END CERTIFICATE-----/g)?.length === 2 ? pem : undefined
}

interface Access {
  readonly url: string
  readonly ca: string
  readonly token: string
}

interface Sent {
  readonly status: number
  readonly type: string
  readonly text: string
  readonly warnings: readonly string[]
}

type Send = (method: string, path: string, body?: unknown, headers?: Headers) => Promise<Sent>
type Headers = Readonly<Record<string, string>>

interface Client {
  readonly send: Send
  readonly lines: Cluster['lines']
  readonly close: () => void
}

function client({ url, ca, token }: Access): Client {
  const agent = new Agent({ keepAlive: true, ca })
  const once: Send = (method, path, body, headers) =>
    new Promise((resolve, reject) => {
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      // Node gives the body of a DELETE no length by itself, and the server takes it for another request.
      const length = Buffer.byteLength(text ?? '')
      const type = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': length }
      const all = { authorization: `Bearer ${token}`, accept: 'application/json', ...type, ...headers }
      const request = httpsRequest(`${url}${path}`, { method, agent, headers: all }, (response) => {
        let answered = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (answered += chunk))
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers['content-type'] ?? '',
            text: answered,
            warnings: warnings(response.rawHeaders),
          }),
        )
      })
      request.on('error', reject)
      request.end(text)
    })
  /** After each change of a CRD its store is opened anew; the server says 429 meanwhile, and every client waits. */
  const send: Send = async (...request) => {
    for (const end = performance.now() + 10_000; performance.now() < end; await sleep(50)) {
      const sent = await once(...request)
      if (sent.status !== 429) return sent
    }
    return once(...request)
  }
  async function* lines(path: string, signal: AbortSignal): AsyncGenerator<string> {
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json' }
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      httpsRequest(`${url}${path}`, { agent, headers, signal }, resolve).on('error', reject).end()
    })
    if (response.statusCode !== 200) throw new Error(`GET ${path}: ${response.statusCode}`)
    let rest = ''
    for await (const chunk of response.setEncoding('utf8')) {
      const ended = `${rest}${chunk}`.split('\n')
      rest = ended.pop() ?? ''
      yield* ended
    }
  }
  return { send, lines, close: () => agent.destroy() }
}

/** `299 - "text"`, one header each; Node takes the bytes for Latin-1. */
function warnings(rawHeaders: readonly string[]): readonly string[] {
  return rawHeaders.flatMap((value, i) => {
    if (i % 2 === 0 || rawHeaders[i - 1]?.toLowerCase() !== 'warning') return []
    const quoted = /"(.*)"/.exec(Buffer.from(value, 'latin1').toString('utf8'))?.[1] ?? value
    return [quoted.replace(/\\(.)/g, '$1')]
  })
}

const answer = ({ status, type, text, warnings }: Sent): Answer => ({
  status,
  body: type.startsWith('application/json') ? JSON.parse(text) : text,
  warnings,
})

interface Resource {
  readonly name: string
  readonly kind: string
  readonly namespaced: boolean
}

type ResourceOf = (apiVersion: string, kind: string) => Promise<Resource | undefined>

/** Asks once for each group and version, and again for a kind that was not among the answers: a CRD may be new. */
function discovery(send: Send): ResourceOf {
  const known = new Map<string, Resource>()
  return async (apiVersion, kind) => {
    const id = `${apiVersion} ${kind}`
    if (!known.has(id)) {
      const { status, text } = await send('GET', apiPath(apiVersion))
      const list: { readonly resources: readonly Resource[] } = status === 200 ? JSON.parse(text) : { resources: [] }
      for (const each of list.resources.filter(({ name }) => !name.includes('/'))) {
        known.set(`${apiVersion} ${each.kind}`, each)
      }
    }
    return known.get(id)
  }
}

const apiPath = (apiVersion: string): string =>
  apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name?: string; readonly namespace?: string }
}

const isManifest = (object: unknown): object is Manifest =>
  typeof object === 'object' && object !== null && 'apiVersion' in object && 'kind' in object && 'metadata' in object

interface Place {
  readonly path: string
  readonly name: string
  readonly query: URLSearchParams
}

async function place(resourceOf: ResourceOf, object: unknown, write: WriteOptions = {}): Promise<Place> {
  if (!isManifest(object)) throw new Error(`not a manifest: ${JSON.stringify(object)}`)
  const { apiVersion, kind, metadata } = object
  // A kind that the server has not is for the server to refuse.
  const { name, namespaced } = (await resourceOf(apiVersion, kind)) ?? { name: kind.toLowerCase(), namespaced: true }
  const namespace = metadata.namespace ?? write.namespace ?? 'default'
  const query = new URLSearchParams({
    fieldManager: write.fieldManager ?? 'test',
    fieldValidation: write.strict ? 'Strict' : 'Warn',
  })
  if (write.dryRun) query.set('dryRun', 'All')
  return {
    path: `${apiPath(apiVersion)}${namespaced ? `/namespaces/${namespace}` : ''}/${name}`,
    name: metadata.name ?? '',
    query,
  }
}

interface Crd {
  readonly spec: {
    readonly group: string
    readonly names: { readonly plural: string; readonly kind: string }
    readonly versions: readonly { readonly name: string; readonly served: boolean }[]
  }
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

function established({ status, text }: Sent): Crd | undefined {
  if (status !== 200) return undefined
  const crd: Crd = JSON.parse(text)
  return crd.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True')
    ? crd
    : undefined
}
