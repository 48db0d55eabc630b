import { existsSync, readFileSync } from 'node:fs'
import type { Agent } from 'node:http'
import type { RequestOptions } from 'node:https'
import { homedir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import { isRecord, valueAt } from '../crds/place.ts'

/** How the API server is reached, and as whom. */
export interface Access {
  readonly kind: 'access'
  /** With the path under which it serves, without a slash at the end. */
  readonly server: string
  /** Of the context, or of the pod. */
  readonly namespace: string
  /** For people: where this came from. Without secrets. */
  readonly description: string
  /** Of a token's file what it held within the last two minutes. Throws where a file cannot be read or a plugin fails; the next call tries again. */
  credentials(): Promise<Credentials>
  /** The server refused these: unless others are there already, the next call asks all anew. */
  renew(refused: Credentials): void
}

export interface Credentials {
  /** What TLS is told; texts are PEM. */
  readonly tls: {
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    readonly rejectUnauthorized?: boolean
    readonly servername?: string
  }
  readonly headers: Readonly<Record<string, string>>
  /** Of the proxy that leads to the server, if there is one. */
  readonly proxy: Agent | undefined
}

export interface Problem {
  readonly kind: 'problem'
  readonly message: string
}

export interface AccessOptions {
  /** The path of a file. */
  readonly kubeconfig?: string | undefined
  readonly context?: string | undefined
  /** The folder below which a pod finds its service account; a test has none at `/`. */
  readonly root?: string
  /** How long credentials are used without asking for them; the file of a token is read at most once a minute. */
  readonly askAgainMs?: number
}

const ASK_AGAIN_MS = 30_000
/** A plugin which opens a browser takes its time, one that hangs would hold up everything. */
const PLUGIN_MS = 60_000

/**
 * From the path that is given, else from what KUBECONFIG names, else from the pod's service account, else from
 * ~/.kube/config. A context that is given is none of a pod's.
 */
export async function access(options: AccessOptions): Promise<Access | Problem> {
  // Most programs that import this need no cluster, and the library is large.
  const [{ KubeConfig }, { load: parsed }] = await Promise.all([
    import('@kubernetes/client-node/dist/config.js'),
    import('js-yaml'),
  ])
  const place = placed(options)
  if (place === undefined)
    return problem('There is no kubeconfig: name one with --kubeconfig or KUBECONFIG, or run in a pod')
  const load = (): KubeConfig => loaded(place, options, { empty: () => new KubeConfig(), parsed })
  try {
    const config = load()
    const [cluster, context] = [config.getCurrentCluster(), config.getContextObject(config.getCurrentContext())]
    if (cluster === null || context === null) return problem(contextless(config, place))
    if (config.getUser(context.user) === null && context.user)
      return problem(`${place.name} has no user "${context.user}", which context "${context.name}" names`)
    if (!URL.canParse(cluster.server) || !/^https?:/.test(cluster.server))
      return problem(`${place.name}: the server must be an http or https URL, got "${cluster.server}"`)
    return {
      kind: 'access',
      server: cluster.server.replace(/\/+$/, ''),
      namespace: context.namespace?.trim() || 'default',
      description: place.kind === 'pod' ? place.name : `context "${context.name}" of ${place.name}`,
      ...renewing(load, config, options.askAgainMs ?? ASK_AGAIN_MS),
    }
  } catch (error) {
    return problem(`Cannot read ${place.name}: ${error instanceof Error ? error.message : error}`)
  }
}

const problem = (message: string): Problem => ({ kind: 'problem', message })

type Place =
  | { readonly kind: 'files'; readonly name: string; readonly paths: readonly string[] }
  | { readonly kind: 'pod'; readonly name: string }

function placed({ kubeconfig, context }: AccessOptions): Place | undefined {
  if (kubeconfig !== undefined) return files([kubeconfig])
  const named = (process.env['KUBECONFIG'] ?? '').split(delimiter).filter((path) => path !== '')
  if (named.length > 0) return files(named)
  if (context === undefined && (process.env['KUBERNETES_SERVICE_HOST'] ?? '') !== '')
    return { kind: 'pod', name: "the pod's service account" }
  const own = join(process.env['HOME'] || homedir(), '.kube', 'config')
  return existsSync(own) ? files([own]) : undefined
}

const files = (paths: readonly string[]): Place => ({ kind: 'files', name: paths.join(delimiter), paths })

/** What is imported when it is needed. */
interface Library {
  readonly empty: () => KubeConfig
  readonly parsed: (yaml: string) => unknown
}

function loaded(place: Place, { context, root = '' }: AccessOptions, { empty, parsed }: Library): KubeConfig {
  const config = empty()
  if (place.kind === 'pod') {
    config.loadFromCluster(root)
  } else {
    // One that is not there is passed by, as kubectl does, unless it is the only one.
    const there = place.paths.filter((path) => place.paths.length === 1 || existsSync(path))
    for (const [index, path] of there.entries()) {
      const part = empty()
      part.loadFromFile(path)
      readTokenFiles(part, tokenFiles(parsed(readFileSync(path, 'utf8')), dirname(path)))
      config.mergeConfig(part, index > 0 && Boolean(config.currentContext))
    }
  }
  if (context !== undefined) config.setCurrentContext(context)
  // The library refuses http unless TLS is waived, of which there is none.
  config.clusters = config.clusters.map((cluster) =>
    cluster.server.startsWith('http:') ? { ...cluster, skipTLSVerify: true } : cluster,
  )
  return config
}

/** By the name of the user. */
function tokenFiles(kubeconfig: unknown, folder: string): ReadonlyMap<string, string> {
  const users = valueAt(kubeconfig, ['users'])
  return new Map(
    (Array.isArray(users) ? users.filter(isRecord) : []).flatMap((user) => {
      const path = valueAt(user, ['user', 'tokenFile'])
      return typeof path === 'string' ? [[String(user['name']), resolve(folder, path)]] : []
    }),
  )
}

/** The library passes `tokenFile` by, which counts more than a token that is spelled out. */
function readTokenFiles(config: KubeConfig, paths: ReadonlyMap<string, string>): void {
  config.users = config.users.map((user) => {
    const tokenFile = paths.get(user.name)
    if (tokenFile === undefined) return user
    const { token: _, ...rest } = user
    return { ...rest, authProvider: { name: 'tokenFile', config: { tokenFile } } }
  })
}

function contextless(config: KubeConfig, { name }: Place): string {
  const current = config.getCurrentContext()
  const context = config.getContextObject(current)
  if (context !== null) return `${name} has no cluster "${context.cluster}", which context "${current}" names`
  const all = config.contexts.map((each) => `"${each.name}"`).join(', ')
  if (!current) return `${name} has no current context: choose one with --context (${all || 'there is none'})`
  return `${name} has no context "${current}", it has ${all || 'none'}`
}

function renewing(
  load: () => KubeConfig,
  first: KubeConfig,
  askAgainMs: number,
): Pick<Access, 'credentials' | 'renew'> {
  let config: KubeConfig | undefined = first
  let asked: { readonly at: number; readonly answer: Promise<Credentials> } | undefined
  let known: Credentials | undefined

  const ask = async (): Promise<Credentials> => {
    const used = config ?? load()
    // If it fails, the file is read again too: another program may be at work on it.
    config = undefined
    known = await credentialsOf(used)
    config = used
    return known
  }

  return {
    credentials() {
      if (asked !== undefined && performance.now() - asked.at < askAgainMs) return asked.answer
      // While it is under way it is everybody's.
      const mine = { at: Number.POSITIVE_INFINITY, answer: ask() }
      asked = mine
      mine.answer.then(
        () => (mine.at = performance.now()),
        () => {
          if (asked === mine) asked = undefined
        },
      )
      return mine.answer
    },
    renew(refused) {
      if (refused !== known) return
      known = undefined
      config = undefined
      asked = undefined
    },
  }
}

async function credentialsOf(config: KubeConfig): Promise<Credentials> {
  if (config.getCurrentCluster() === null) throw new Error('the kubeconfig has lost its context')
  const options: RequestOptions = {}
  await inTime(config.applyToHTTPSOptions(options))
  const { ca, cert, key, rejectUnauthorized, servername, headers = {}, auth, agent } = options
  const basic = auth ? { Authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {}
  const proxied = config.getCurrentCluster()?.proxyUrl !== undefined && agent instanceof Object
  // What the library makes would open a connection for each request.
  if (proxied) Object.assign(agent, { keepAlive: true })
  return {
    tls: {
      ...(ca ? { ca: String(ca) } : {}),
      ...(cert ? { cert: String(cert) } : {}),
      ...(key ? { key: String(key) } : {}),
      ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
      ...(servername === undefined ? {} : { servername }),
    },
    // The file of a token may end in a line feed, which no header may hold.
    headers: Object.fromEntries(
      Object.entries({ ...headers, ...basic }).map(([name, value]) => [name, String(value).trim()]),
    ),
    proxy: proxied ? agent : undefined,
  }
}

function inTime(work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no credentials within ${PLUGIN_MS / 1000} s`)), PLUGIN_MS)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
