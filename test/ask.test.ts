import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { ask } from '../controller/ask.ts'
import { type Told, toldIn } from '../controller/progress.ts'
import { describe } from './harness.ts'
import { until } from './until.ts'

const TOLD: Told = { doneBytes: 1, totalBytes: 2, bytesPerSecond: 3 }
const ANSWER = JSON.stringify({ v: 1, ...TOLD })
/** Too long for any test to end by it. */
const PATIENT_MS = 30_000

interface Place {
  readonly port: number
  /** How often something has come to it. */
  readonly visits: () => number
  /** Connections that are open. */
  readonly open: () => number
}

async function listening(server: Server, host: string, test: (place: Place) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>()
  let visits = 0
  server.on('connection', (socket) => {
    visits++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject)
    server.listen(0, host, resolve)
  })
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  try {
    await test({ port: address.port, visits: () => visits, open: () => sockets.size })
  } finally {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
}

const answering = (listener: RequestListener, test: (place: Place) => Promise<void>): Promise<void> =>
  listening(createHttpServer(listener), '127.0.0.1', test)

/** Writes raw text as soon as the request has come. */
const sending = (text: string, isEnd: boolean, test: (place: Place) => Promise<void>): Promise<void> =>
  listening(
    createServer((socket) => {
      socket.once('data', () => (isEnd ? socket.end(text) : socket.write(text)))
    }),
    '127.0.0.1',
    test,
  )

const heard = (
  port: number,
  { ip = '127.0.0.1', timeoutMs = PATIENT_MS, mostBytes = 16_384 } = {},
): Promise<Told | undefined> => ask(ip, { port, timeoutMs, mostBytes })

describe('ask', (test) => {
  test('asks for /progress without a body, and takes the answer', () => {
    const seen: string[] = []
    return answering(
      ({ method, url, headers }, response) => {
        seen.push(`${method} ${url} ${headers.accept}`)
        response.end(ANSWER)
      },
      async ({ port }) => {
        assert.equal(await heard(port), TOLD)
        assert.equal(seen, ['GET /progress application/json'])
      },
    )
  })

  test('asks an IPv6 address', () =>
    listening(
      createHttpServer((_, response) => response.end(ANSWER)),
      '::1',
      async ({ port }) => assert.equal(await heard(port, { ip: '::1' }), TOLD),
    ))

  for (const code of [301, 302, 307, 308]) {
    test(`does not follow ${code}`, () =>
      answering(
        (_, response) => response.end(ANSWER),
        async (target) =>
          answering(
            (_, response) => response.writeHead(code, { location: `http://127.0.0.1:${target.port}/` }).end(ANSWER),
            async ({ port }) => {
              assert.is(await heard(port), undefined)
              assert.is(target.visits(), 0)
            },
          ),
      ))
  }

  for (const code of [201, 204, 206, 304, 400, 401, 404, 500, 503]) {
    test(`takes nothing that comes with ${code}`, () =>
      answering(
        (_, response) => response.writeHead(code).end(ANSWER),
        async ({ port }) => assert.is(await heard(port), undefined),
      ))
  }

  test('reads no more of 10 MB than a loader would write', () =>
    answering(
      (_, response) => response.end(`${' '.repeat(10_000_000)}${ANSWER}`),
      async ({ port, open }) => {
        assert.is(await heard(port), undefined)
        await until('the connection is closed', () => open() === 0)
      },
    ))

  test('reads no more of an answer that has no end', () =>
    answering(
      (_, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write('x'.repeat(1_000))) {}
          response.once('drain', more)
        }
        more()
      },
      async ({ port }) => assert.is(await heard(port), undefined),
    ))

  const garbage: Readonly<Record<string, string>> = {
    'what is no HTTP': 'SSH-2.0-OpenSSH_9.9\r\n',
    'huge headers': `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}\r\n\r\n${ANSWER}`,
    'headers without number': `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(10_000)}\r\n${ANSWER}`,
    'half an answer': `HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n${ANSWER}`,
    'half a chunk': `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1000\r\n${ANSWER}`,
    'nothing at all': '',
  }
  for (const [what, text] of Object.entries(garbage)) {
    test(`takes nothing of ${what}`, () =>
      sending(text, true, async ({ port }) => assert.is(await heard(port), undefined)))
  }

  test('takes an answer behind hints of what will come', () =>
    sending(
      `HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: ${ANSWER.length}\r\n\r\n${ANSWER}`,
      true,
      async ({ port }) => assert.equal(await heard(port), TOLD),
    ))

  const silent: Readonly<Record<string, string>> = {
    'never answers': '',
    'stops in the middle of its headers': 'HTTP/1.1 200 OK\r\na: ',
    'stops in the middle of its answer': `HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n${ANSWER}`,
    'changes the protocol': 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
    'only says that it goes on': 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100),
  }
  for (const [what, text] of Object.entries(silent)) {
    test(`waits no longer than it has time for one that ${what}`, () =>
      sending(text, false, async ({ port, visits, open }) => {
        assert.is(await heard(port, { timeoutMs: 50 }), undefined)
        assert.is(visits(), 1)
        await until('the connection is closed', () => open() === 0)
      }))
  }

  test('a byte now and then buys no more time', () =>
    listening(
      createServer((socket) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')
        const timer = setInterval(() => socket.write(' '), 10)
        socket.on('close', () => clearInterval(timer))
      }),
      '127.0.0.1',
      async ({ port }) => assert.is(await heard(port, { timeoutMs: 60 }), undefined),
    ))

  test('takes nothing from where nobody listens', async () => {
    let closed = 0
    await answering(
      () => {},
      async ({ port }) => {
        closed = port
      },
    )
    assert.is(await heard(closed), undefined)
  })

  const names = [
    'localhost',
    'pod.example.com',
    '',
    '127.0.0.1.',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '[::1]',
    '127.0.0.1:80',
  ]
  for (const ip of names) {
    test(`looks up no name: "${ip}"`, () =>
      answering(
        (_, response) => response.end(ANSWER),
        async ({ port, visits }) => {
          assert.is(await heard(port, { ip }), undefined)
          assert.is(visits(), 0)
        },
      ))
  }

  const unspecified = ['0.0.0.0', '0.1.2.3', '::', '0:0:0:0:0:0:0:0', '::ffff:0.0.0.0']
  const local = ['169.254.169.254', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', 'fe80::1', 'fe80::1%lo', '::1%lo']
  for (const ip of [...unspecified, ...local, '224.0.0.1', '255.255.255.255', 'ff02::1']) {
    test(`asks no ${ip}, which is no pod's`, async () => {
      assert.equal(await requestsDuring(() => heard(9, { ip, timeoutMs: 50 })), 0)
    })
  }

  test('asks what pods have', async () => {
    // On the network of its node, in a cluster of one machine, and with IPv6.
    for (const ip of ['127.0.0.1', '::1', '::ffff:127.0.0.1'])
      assert.is(await requestsDuring(() => heard(9, { ip, timeoutMs: 50 })), 1, ip)
  })
})

async function requestsDuring(act: () => Promise<unknown>): Promise<number> {
  let requests = 0
  const count = (): void => {
    requests++
  }
  subscribe('http.client.request.start', count)
  await act()
  unsubscribe('http.client.request.start', count)
  return requests
}

describe('toldIn', (test) => {
  const rows: Readonly<Record<string, readonly [string, Told | undefined]>> = {
    'what a loader says': [ANSWER, TOLD],
    'more than is known here': [`{"v":1,"doneBytes":1,"totalBytes":2,"bytesPerSecond":3,"eta":4}`, TOLD],
    'a speed with a fraction': ['{"v":1,"doneBytes":1,"totalBytes":2,"bytesPerSecond":2.7}', TOLD],
    'no speed': ['{"v":1,"doneBytes":1,"totalBytes":2}', { ...TOLD, bytesPerSecond: 0 }],
    'a speed that cannot be': [
      '{"v":1,"doneBytes":1,"totalBytes":2,"bytesPerSecond":-3}',
      { ...TOLD, bytesPerSecond: 0 },
    ],
    'a speed beyond all numbers': [
      '{"v":1,"doneBytes":1,"totalBytes":2,"bytesPerSecond":1e300}',
      { ...TOLD, bytesPerSecond: 0 },
    ],
    'all of nothing': ['{"v":1,"doneBytes":0,"totalBytes":0}', { doneBytes: 0, totalBytes: 0, bytesPerSecond: 0 }],
    'another version': ['{"v":2,"doneBytes":1,"totalBytes":2}', undefined],
    'no version': ['{"doneBytes":1,"totalBytes":2}', undefined],
    'more done than there is': ['{"v":1,"doneBytes":3,"totalBytes":2}', undefined],
    'less than nothing': ['{"v":1,"doneBytes":-1,"totalBytes":2}', undefined],
    'text for numbers': ['{"v":1,"doneBytes":"1","totalBytes":"2"}', undefined],
    'half a byte': ['{"v":1,"doneBytes":0.5,"totalBytes":2}', undefined],
    'more than can be counted': ['{"v":1,"doneBytes":1,"totalBytes":1e300}', undefined],
    infinity: ['{"v":1,"doneBytes":1,"totalBytes":1e999}', undefined],
    nothing: ['', undefined],
    null: ['null', undefined],
    'a list': ['[1]', undefined],
    'no JSON': ['<html>', undefined],
    NaN: ['{"v":1,"doneBytes":NaN,"totalBytes":2}', undefined],
    'a deep nest': ['['.repeat(8_000), undefined],
  }
  for (const [what, [text, want]] of Object.entries(rows)) test(what, () => assert.equal(toldIn(text), want))
})
