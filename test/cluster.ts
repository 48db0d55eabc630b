import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ControlPlane, controlPlane, type Missing } from './parts.ts'
import { freePort, onFreePort, programs } from './parts-running.ts'

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
  createNamespace(name: string, labels?: Readonly<Record<string, string>>): Promise<void>
  /** Server-side apply of one object. */
  apply(object: unknown, options?: WriteOptions): Promise<Answer>
  create(object: unknown, options?: WriteOptions): Promise<Answer>
  /** Until objects of the kind can be created, which is later than `Established`. */
  waitForCrd(name: string): Promise<void>
  /** The path of a kubeconfig file of one of `options.users`, who may do nothing until a role is bound. */
  kubeconfigFor(user: string): Promise<string>
  stop(): Promise<void>
}

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
  const { folder, run, until, stop } = programs('cluster', { isAbrupt: true, seconds: 60 })
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const tokens = new Map([...ADMINS, ...users].map((user) => [user, randomBytes(16).toString('hex')]))
  const etcdPort = await freePort()
  const url = `https://127.0.0.1:${port}`

  try {
    run(parts.etcd.path, etcdFlags(folder, etcdPort))
    run(parts.apiserver.path, [
      ...apiserverFlags(folder, etcdPort, port),
      ...Object.entries(keyPair()).map(([name, key]) => `--service-account-${name}=${file(name, key)}`),
      `--token-auth-file=${file('tokens.csv', tokensCsv(tokens))}`,
      ...(auditLog ? [`--audit-policy-file=${file('audit.yaml', AUDIT_POLICY)}`, `--audit-log-path=${auditLog}`] : []),
    ])
    const ca = await until('certificate', () => certificate(join(folder, 'apiserver.crt')))
    const kubeconfig = (user: string): string => {
      const token = tokens.get(user)
      if (token === undefined) throw new Error(`the cluster was started without a user ${user}`)
      return file(`${encodeURIComponent(user)}.kubeconfig`, config({ url, ca, user, token }))
    }
    const { send, close } = client({ url, ca, token: tokens.get('admin') ?? '' })
    const found = (path: string) => async (): Promise<true | undefined> =>
      (await send('GET', path).catch(() => undefined))?.status === 200 || undefined
    await until('ready API server', found('/readyz'))
    await until('default namespace', found('/api/v1/namespaces/default'))
    if (controllerManager) {
      run(parts.controllerManager.path, [
        `--kubeconfig=${kubeconfig('controller-manager')}`,
        `--service-account-private-key-file=${join(folder, 'signing-key-file')}`,
        '--leader-elect=false',
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

function client({ url, ca, token }: Access): { readonly send: Send; readonly close: () => void } {
  const agent = new Agent({ keepAlive: true, ca })
  const once: Send = (method, path, body, headers) =>
    new Promise((resolve, reject) => {
      const type = body === undefined ? {} : { 'content-type': 'application/json' }
      const all = { authorization: `Bearer ${token}`, accept: 'application/json', ...type, ...headers }
      const request = httpsRequest(`${url}${path}`, { method, agent, headers: all }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (text += chunk))
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers['content-type'] ?? '',
            text,
            warnings: warnings(response.rawHeaders),
          }),
        )
      })
      request.on('error', reject)
      request.end(typeof body === 'string' ? body : JSON.stringify(body))
    })
  /** After each change of a CRD its store is opened anew; the server says 429 meanwhile, and every client waits. */
  const send: Send = async (...request) => {
    for (const end = performance.now() + 10_000; performance.now() < end; await sleep(50)) {
      const sent = await once(...request)
      if (sent.status !== 429) return sent
    }
    return once(...request)
  }
  return { send, close: () => agent.destroy() }
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
