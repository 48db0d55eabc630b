import { createServer } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { type Access, type AccessOptions, access } from '../controller/access.ts'
import { client } from '../controller/client.ts'
import { reflector } from '../controller/reflector.ts'
import { valueAt } from '../crds/place.ts'
import { certificates } from './certificates.ts'
import { type FakeApi, fakeApi, isList, isWatch } from './fake-api.ts'
import { describe } from './harness.ts'
import { scratch, write } from './scratch.ts'
import { until } from './until.ts'

const MODELS = '/apis/arks.ai/v1/arksmodels'

interface Kubeconfig {
  readonly name?: string
  readonly server?: string
  /** More of the cluster, and what the user is, as lines of YAML. */
  readonly cluster?: readonly string[]
  readonly user?: readonly string[]
  readonly namespace?: string
}

const indented = (lines: readonly string[]): string => lines.map((line) => `      ${line}\n`).join('')

const kubeconfig = (options: Kubeconfig = {}): string => {
  const { name = 'test', server = 'https://10.0.0.1:6443', cluster = [], user = ['token: secret'], namespace } = options
  return `apiVersion: v1
kind: Config
clusters:
  - name: ${name}-cluster
    cluster:
      server: ${server}
${indented(cluster)}
contexts:
  - name: ${name}
    context:
      cluster: ${name}-cluster
      user: ${name}-user
${namespace === undefined ? '' : `      namespace: ${namespace}\n`}
users:
  - name: ${name}-user
    user:
${indented(user)}
current-context: ${name}
`
}

const SET = ['KUBECONFIG', 'KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT', 'HOME'] as const

/** What comes of these options in this environment, and no other. */
async function accessed(
  options: AccessOptions,
  environment: Partial<Record<(typeof SET)[number], string>> = {},
): Promise<Awaited<ReturnType<typeof access>>> {
  const before = SET.map((name) => [name, process.env[name]] as const)
  const apply = (name: string, value: string | undefined): void => {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
  for (const name of SET) apply(name, environment[name] ?? (name === 'HOME' ? scratch({}) : undefined))
  try {
    return await access(options)
  } finally {
    for (const [name, value] of before) apply(name, value)
  }
}

async function granted(...args: Parameters<typeof accessed>): Promise<Access> {
  const found = await accessed(...args)
  if (found.kind === 'problem') throw new Error(found.message)
  return found
}

/** With what a kubeconfig of this text says. */
const grantedBy = (text: string, more: AccessOptions = {}): Promise<Access> =>
  granted({ ...more, kubeconfig: join(scratch({ config: text }), 'config') })

async function problem(...args: Parameters<typeof accessed>): Promise<string> {
  const found = await accessed(...args)
  if (found.kind === 'access') throw new Error('it must be a problem')
  return found.message
}

const ACCOUNT = 'var/run/secrets/kubernetes.io/serviceaccount'
const POD = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' }
const pod = (): string =>
  scratch({ [`${ACCOUNT}/token`]: 'first\n', [`${ACCOUNT}/ca.crt`]: 'PEM', [`${ACCOUNT}/namespace`]: 'arks\n' })

describe('access: where it comes from', (test) => {
  test('the path that is given', async () => {
    const folder = scratch({ config: kubeconfig({ namespace: 'models', server: 'https://api.test/k8s/' }) })
    const path = join(folder, 'config')
    const found = await granted({ kubeconfig: path }, { ...POD, KUBECONFIG: '/none' })
    assert.equal(
      [found.server, found.namespace, found.description],
      ['https://api.test/k8s', 'models', `context "test" of ${path}`],
    )
    assert.equal((await found.credentials()).headers, { Authorization: 'Bearer secret' })
  })

  test('KUBECONFIG, of several files the first that names a context; one that is not there is passed by', async () => {
    const folder = scratch({ one: kubeconfig({ name: 'one' }), two: kubeconfig({ name: 'two', server: 'http://two' }) })
    const paths = [join(folder, 'none'), join(folder, 'one'), join(folder, 'two')].join(':')
    assert.is((await granted({}, { KUBECONFIG: paths, ...POD })).server, 'https://10.0.0.1:6443')
    assert.is((await granted({ context: 'two' }, { KUBECONFIG: paths })).server, 'http://two')
  })

  test('the service account of the pod, before ~/.kube/config', async () => {
    const home = scratch({ '.kube/config': kubeconfig() })
    const found = await granted({ root: `${pod()}/` }, { ...POD, HOME: home })
    assert.equal(
      [found.server, found.namespace, found.description],
      ['https://10.96.0.1:443', 'arks', "the pod's service account"],
    )
    const { tls, headers } = await found.credentials()
    assert.equal([tls.ca, headers], ['PEM', { Authorization: 'Bearer first' }])
  })

  test('~/.kube/config, also in a pod when a context is asked for', async () => {
    const home = scratch({ '.kube/config': kubeconfig() })
    assert.is((await granted({}, { HOME: home })).server, 'https://10.0.0.1:6443')
    assert.is((await granted({ context: 'test' }, { ...POD, HOME: home })).server, 'https://10.0.0.1:6443')
  })

  test('the namespace is `default` unless it is said', async () => {
    assert.is((await grantedBy(kubeconfig())).namespace, 'default')
  })
})

describe('access: what is wrong is said', (test) => {
  const of = (text: string, context?: string): Promise<string> =>
    problem({ kubeconfig: join(scratch({ config: text }), 'config'), context })

  test('there is nothing', async () => {
    assert.match(await problem({}), /^There is no kubeconfig: name one with --kubeconfig or KUBECONFIG/)
  })

  test('the file is not there', async () => {
    assert.match(await problem({ kubeconfig: '/none/config' }), /^Cannot read \/none\/config: ENOENT/)
  })

  test('no YAML, and no kubeconfig', async () => {
    assert.match(await of('a: [b'), /^Cannot read .*config: /)
    assert.match(await of(''), /^Cannot read .*config: |has no current context/)
    assert.match(await of('clusters: [{name: a}]'), /clusters\[0\]\.cluster is missing/)
  })

  test('the context is not there', async () => {
    assert.match(await of(kubeconfig(), 'other'), /config has no context "other", it has "test"$/)
    assert.match(await of(kubeconfig().replace('current-context: test', '')), /no current context: .*\("test"\)$/)
  })

  test('what the context names is not there', async () => {
    assert.match(
      await of(kubeconfig().replace('- name: test-cluster', '- name: x')),
      /no cluster "test-cluster", which context "test" names$/,
    )
    assert.match(
      await of(kubeconfig().replace('- name: test-user', '- name: x')),
      /no user "test-user", which context "test" names$/,
    )
  })

  test('the server is no URL', async () => {
    assert.match(
      await of(kubeconfig({ server: 'api.test:6443' })),
      /must be an http or https URL, got "api.test:6443"$/,
    )
  })
})

describe('access: credentials', (test) => {
  test('a name and a password', async () => {
    const found = await grantedBy(kubeconfig({ user: ['username: me', 'password: "p:w"'] }))
    assert.equal((await found.credentials()).headers, { Authorization: `Basic ${btoa('me:p:w')}` })
  })

  test('certificates, the name of the server, and what is waived', async () => {
    const user = ['client-certificate-data: Q0VSVA==', 'client-key: the.key']
    const cluster = ['certificate-authority: the.ca', 'tls-server-name: api.test']
    const folder = scratch({ 'the.ca': 'CA', 'the.key': 'KEY', config: kubeconfig({ cluster, user }) })
    const { tls } = await (await granted({ kubeconfig: join(folder, 'config') })).credentials()
    assert.equal(tls, { ca: 'CA', cert: 'CERT', key: 'KEY', servername: 'api.test' })
    const waived = await grantedBy(kubeconfig({ cluster: ['insecure-skip-tls-verify: true'] }))
    assert.equal((await waived.credentials()).tls, { rejectUnauthorized: false })
  })

  test('who it acts as', async () => {
    const found = await grantedBy(kubeconfig({ user: ['as: robot', 'token: secret'] }))
    assert.equal((await found.credentials()).headers, {
      'Impersonate-User': 'robot',
      Authorization: 'Bearer secret',
    })
  })

  test('a token in a file beside the kubeconfig, before one that is spelled out', async () => {
    const folder = scratch({ the: 'first\n', config: kubeconfig({ user: ['tokenFile: the', 'token: secret'] }) })
    const found = await granted({ kubeconfig: join(folder, 'config') })
    assert.equal((await found.credentials()).headers, { Authorization: 'Bearer first' })
  })

  test('are asked for once for a while, and anew when they were refused', async () => {
    const folder = scratch({ the: 'first', config: kubeconfig({ user: ['tokenFile: the'] }) })
    const found = await granted({ kubeconfig: join(folder, 'config') })
    const first = await found.credentials()
    write(folder, { the: 'second' })
    assert.is(await found.credentials(), first)
    found.renew(first)
    const second = await found.credentials()
    assert.equal(second.headers, { Authorization: 'Bearer second' })
    found.renew(first)
    assert.is(await found.credentials(), second)
  })

  test('a kubeconfig that another program has rewritten is read again', async () => {
    const folder = scratch({ config: kubeconfig({ user: ['token: first'] }) })
    const found = await granted({ kubeconfig: join(folder, 'config') })
    const first = await found.credentials()
    write(folder, { config: kubeconfig({ user: ['token: second'] }) })
    found.renew(first)
    assert.equal((await found.credentials()).headers, { Authorization: 'Bearer second' })
  })

  test('a file that is not there is an error until it is there', async () => {
    const folder = scratch({ config: kubeconfig({ user: ['tokenFile: the'] }) })
    const found = await granted({ kubeconfig: join(folder, 'config') })
    for (const _ of [1, 2]) {
      const error = await found.credentials().then(
        () => undefined,
        (reason: unknown) => reason,
      )
      assert.match(String(error), /ENOENT/)
    }
    write(folder, { the: 'late' })
    assert.equal((await found.credentials()).headers, { Authorization: 'Bearer late' })
  })

  test('a plugin that fails is an error of this attempt, and runs anew behind a refusal', async () => {
    const folder = scratch({})
    const script = join(folder, 'plugin.cjs')
    const user = [
      'exec:',
      '  apiVersion: client.authentication.k8s.io/v1',
      `  command: ${process.execPath}`,
      `  args: [${script}]`,
    ]
    write(folder, { config: kubeconfig({ user }), 'plugin.cjs': 'console.error("log in first"); process.exit(1)' })
    const found = await granted({ kubeconfig: join(folder, 'config') })
    const error = await found.credentials().then(
      () => undefined,
      (reason: unknown) => reason,
    )
    assert.match(String(error), /log in first/)
    const credential = (token: string): string =>
      `console.log(JSON.stringify({ kind: 'ExecCredential', status: { token: '${token}' } }))`
    write(folder, { 'plugin.cjs': credential('one') })
    const first = await found.credentials()
    assert.equal(first.headers, { Authorization: 'Bearer one' })
    write(folder, { 'plugin.cjs': credential('two') })
    assert.is(await found.credentials(), first)
    found.renew(first)
    assert.equal((await found.credentials()).headers, { Authorization: 'Bearer two' })
  })
})

/** A proxy that counts what it lets through. */
async function proxy(): Promise<{ readonly url: string; tunnels(): number; close(): void }> {
  let tunnels = 0
  const sockets = new Set<Socket>()
  const server = createServer()
  server.on('connect', (request, from: Socket) => {
    tunnels++
    const [host = '', port] = (request.url ?? '').split(':')
    const to = connect(Number(port), host, () => {
      from.write('HTTP/1.1 200 OK\r\n\r\n')
      from.pipe(to).pipe(from)
    })
    for (const socket of [from, to]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    tunnels: () => tunnels,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('access: together with a client', (test) => {
  const listed = (found: Access): Promise<unknown> => {
    const web = client({ access: found })
    return web.request({ verb: 'list', path: MODELS }).finally(() => web.close())
  }

  test('https with our own certificate', async () => {
    const [server, ours] = [certificates(), certificates()]
    const api = await fakeApi({ certificates: server })
    api.admits = ({ certificate }) => certificate === ours.cert
    const folder = scratch({ ca: server.ca, cert: ours.cert, key: ours.key })
    const user = ['client-certificate: cert', 'client-key: key']
    write(folder, { config: kubeconfig({ server: api.url, cluster: ['certificate-authority: ca'], user }) })
    assert.is(valueAt(await listed(await granted({ kubeconfig: join(folder, 'config') })), ['kind']), 'ArksModelList')
    await api.stop()
  })

  test('http, as kubectl proxy serves it', async () => {
    const api = await fakeApi()
    await listed(await grantedBy(kubeconfig({ server: api.url, user: ['{}'] })))
    await api.stop()
  })

  for (const scheme of ['http', 'https'])
    test(`through a proxy, with ${scheme} behind it, over one connection`, async () => {
      const server = certificates()
      const api = await fakeApi(scheme === 'https' ? { certificates: server } : {})
      const between = await proxy()
      const cluster = [`proxy-url: ${between.url}`, `certificate-authority-data: ${btoa(server.ca)}`]
      const web = client({ access: await grantedBy(kubeconfig({ server: api.url, cluster })) })
      for (let number = 0; number < 5; number++) await web.request({ verb: 'list', path: MODELS })
      assert.is(between.tunnels(), 1)
      const lines = await web.watch({ path: MODELS, query: { watch: true } })
      lines.close()
      web.close()
      assert.is(api.log.length, 6)
      between.close()
      await api.stop()
    })

  test('a token that is changed on both sides, and a file that is away for a while, cost no event', async () => {
    const api = await fakeApi()
    const folder = scratch({ the: 'first', config: kubeconfig({ server: api.url, user: ['tokenFile: the'] }) })
    let token = 'first'
    api.admits = ({ headers }) => headers.authorization === `Bearer ${token}`
    const web = client({ access: await granted({ kubeconfig: join(folder, 'config') }) })
    const troubles: string[] = []
    const models = reflector({
      client: web,
      source: { path: MODELS, trimmed: named },
      onChange() {},
      now: () => performance.now(),
      sleep: (ms, signal) => sleep(ms < 60_000 ? Math.min(ms, 10) : ms, undefined, { signal }),
      random: Math.random,
      timing: { shortWatchMs: 0 },
      onTrouble: ({ reason }) => troubles.push(reason),
    })
    await until('watch', () => api.watches === 1)
    token = 'second'
    write(folder, { the: 'second' })
    restart(api, 'one')
    await until('event', () => models.size === 1)
    assert.equal(troubles, [])

    token = 'third'
    write(folder, { config: 'away: true' })
    restart(api, 'two')
    await until('troubles', () => troubles.length > 3)
    assert.ok(
      troubles.every((reason) => reason === 'NoCredentials'),
      troubles.join(),
    )
    write(folder, { the: 'third', config: kubeconfig({ server: api.url, user: ['tokenFile: the'] }) })
    await until('event', () => models.size === 2)
    assert.is(api.log.filter(isList).length, 1)
    await models.stop()
    web.close()
    await api.stop()
  })
})

function named(object: unknown) {
  const text = (name: string): string => String(valueAt(object, ['metadata', name]))
  return {
    namespace: text('namespace'),
    name: text('name'),
    uid: text('uid'),
    resourceVersion: text('resourceVersion'),
  }
}

/** The watch ends, and something happens. */
function restart(api: FakeApi, name: string): void {
  assert.ok(api.log.some(isWatch))
  api.endWatches('end')
  api.put({ apiVersion: 'arks.ai/v1', kind: 'ArksModel', metadata: { name } })
}
