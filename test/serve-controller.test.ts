import { request as httpRequest } from 'node:http'
import { connect, createServer } from 'node:net'
import * as assert from 'uvu/assert'
import { type Bind, parseBind, type Served, type Serving, serve } from '../controller/serve.ts'
import { describe } from './harness.ts'

const BINDS: Readonly<Record<string, Bind>> = {
  '0': { kind: 'off' },
  ':8080': { kind: 'on', port: 8080 },
  ':0': { kind: 'on', port: 0 },
  '127.0.0.1:8081': { kind: 'on', host: '127.0.0.1', port: 8081 },
  '0.0.0.0:65535': { kind: 'on', host: '0.0.0.0', port: 65_535 },
  '[::1]:9': { kind: 'on', host: '::1', port: 9 },
  '[::]:8080': { kind: 'on', host: '::', port: 8080 },
  'localhost:80': { kind: 'on', host: 'localhost', port: 80 },
}

const NO_BINDS = ['', '8080', ':', ':65536', ':-1', ':80a', '::1:80', '[::1]', '[]:80', '[x]:80', 'a b:80', '/x:80']

const LOOPBACK: Bind = { kind: 'on', host: '127.0.0.1', port: 0 }
const OFF: Bind = { kind: 'off' }

const SERVING: Serving = {
  metricsBind: LOOPBACK,
  healthBind: LOOPBACK,
  metrics: async () => ({ type: 'text/plain; version=0.0.4', body: 'one 1\n' }),
  alive: () => undefined,
  ready: () => undefined,
  onError: (error) => {
    throw error
  },
}

async function during(serving: Partial<Serving>, use: (served: Served) => Promise<void>): Promise<void> {
  const served = await serve({ ...SERVING, ...serving })
  if (served.kind === 'problem') throw new Error(served.message)
  try {
    await use(served)
  } finally {
    await served.close()
  }
}

interface Answer {
  readonly status: number | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

function asked(port: number | undefined, path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, method }, (answer) => {
      let body = ''
      answer.setEncoding('utf8')
      answer.on('data', (text) => {
        body += text
      })
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body }))
    })
    request.on('error', reject).end()
  })
}

async function isRefused(port: number | undefined): Promise<boolean> {
  if (port === undefined) throw new Error('there must be a port')
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
}

describe('the address to listen on', (test) => {
  for (const [text, want] of Object.entries(BINDS)) {
    test(`may be ${text}`, () => {
      assert.equal(parseBind(text), want)
    })
  }
  for (const text of NO_BINDS) {
    test(`must not be ${JSON.stringify(text)}`, () => {
      assert.equal(parseBind(text), {
        kind: 'problem',
        message: `must be an address such as ":8080", "127.0.0.1:8080" or "[::1]:8080", or "0" for none, got ${JSON.stringify(text)}`,
      })
    })
  }
})

describe('the controller over HTTP', (test) => {
  test('serves metrics and health apart', () =>
    during({}, async ({ metricsPort, healthPort }) => {
      const metrics = await asked(metricsPort, '/metrics?x=y')
      assert.equal([metrics.status, metrics.body], [200, 'one 1\n'])
      assert.is(metrics.headers['content-type'], 'text/plain; version=0.0.4')
      assert.is(metrics.headers['cache-control'], 'no-store')
      for (const path of ['/healthz', '/readyz']) {
        const { status, body } = await asked(healthPort, path)
        assert.equal([status, body], [200, 'ok\n'], path)
      }
    }))

  test('names its paths', () =>
    during({}, async ({ metricsPort, healthPort }) => {
      for (const path of ['/', '/healthz', '/metrics/', '/toString']) {
        const { status, body } = await asked(metricsPort, path)
        assert.equal([status, body], [404, '/metrics\n'], path)
      }
      const { status, body } = await asked(healthPort, '/metrics')
      assert.equal([status, body], [404, '/healthz, /readyz\n'])
    }))

  test('is only read', () =>
    during({}, async ({ healthPort }) => {
      const head = await asked(healthPort, '/healthz', 'HEAD')
      assert.equal([head.status, head.body, head.headers['content-length']], [200, '', '3'])
      const post = await asked(healthPort, '/healthz', 'POST')
      assert.equal([post.status, post.headers['allow']], [405, 'GET, HEAD'])
    }))

  test('says why it is not well, as of now', async () => {
    let [alive, ready]: (string | undefined)[] = ['jobs: silent for 300 s', 'pods: not listed yet']
    await during({ alive: () => alive, ready: () => ready }, async ({ healthPort }) => {
      const [health, readiness] = [await asked(healthPort, '/healthz'), await asked(healthPort, '/readyz')]
      assert.equal([health.status, health.body], [503, 'jobs: silent for 300 s\n'])
      assert.equal([readiness.status, readiness.body], [503, 'pods: not listed yet\n'])
      alive = undefined
      assert.is((await asked(healthPort, '/healthz')).status, 200)
      assert.is((await asked(healthPort, '/readyz')).status, 503)
      ready = undefined
      assert.is((await asked(healthPort, '/readyz')).status, 200)
    })
  })

  test('outlives a bug, and keeps it to the log', async () => {
    const errors: string[] = []
    const metrics = async (): Promise<never> => {
      throw new Error('secret')
    }
    await during({ metrics, onError: ({ message }) => errors.push(message) }, async ({ metricsPort }) => {
      const { status, body } = await asked(metricsPort, '/metrics')
      assert.equal([status, body], [500, 'this is a bug, see the log\n'])
      assert.is((await asked(metricsPort, '/')).status, 404)
    })
    assert.equal(errors, ['secret'])
  })

  test('may be off', async () => {
    await during({ metricsBind: OFF }, async ({ metricsPort, healthPort }) => {
      assert.is(metricsPort, undefined)
      assert.is((await asked(healthPort, '/healthz')).status, 200)
    })
    await during({ metricsBind: OFF, healthBind: OFF }, async ({ healthPort }) => {
      assert.is(healthPort, undefined)
    })
  })

  test('closes though somebody holds a connection', async () => {
    let port: number | undefined
    await during({}, async ({ healthPort }) => {
      port = healthPort
      const socket = connect({ host: '127.0.0.1', port: healthPort ?? 0 })
      socket.on('error', () => undefined)
      await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
      // So that the server has it too.
      await asked(healthPort, '/healthz')
    })
    assert.ok(await isRefused(port))
  })

  test('reports an address that is taken, and leaves the other one', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', () => resolve()))
    const address = taken.address()
    if (address === null || typeof address === 'string') throw new Error('a server must have a port')
    const { port } = address
    try {
      assert.equal(await serve({ ...SERVING, metricsBind: { ...LOOPBACK, port } }), {
        kind: 'problem',
        message: `cannot serve metrics on 127.0.0.1:${port}: another program listens there`,
      })
      // A free one for metrics, which must be free again afterwards.
      const other = await serve(SERVING)
      if (other.kind === 'problem') throw new Error(other.message)
      await other.close()
      const metricsBind: Bind = { ...LOOPBACK, port: other.metricsPort ?? 0 }
      assert.equal(await serve({ ...SERVING, metricsBind, healthBind: { ...LOOPBACK, port } }), {
        kind: 'problem',
        message: `cannot serve health on 127.0.0.1:${port}: another program listens there`,
      })
      assert.ok(await isRefused(other.metricsPort))
    } finally {
      await new Promise<void>((resolve) => taken.close(() => resolve()))
    }
  })

  test('reports an address that this machine has not', async () => {
    // Of the range that is for documents.
    assert.equal(await serve({ ...SERVING, healthBind: { kind: 'on', host: '192.0.2.1', port: 8081 } }), {
      kind: 'problem',
      message: 'cannot serve health on 192.0.2.1:8081: this machine has no such address',
    })
  })
})
