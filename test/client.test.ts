import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import type { Access, Credentials } from '../controller/access.ts'
import { type Answered, ApiError, type Client, client } from '../controller/client.ts'
import { jobs as messages } from '../controller/messages.ts'
import { valueAt } from '../crds/place.ts'
import { VERSION } from '../crds/version.ts'
import { certificates } from './certificates.ts'
import { type ApiObject, accessTo, type FakeApi, type FakeApiOptions, fakeApi, isWatch, isWrite } from './fake-api.ts'
import { describe } from './harness.ts'
import { until } from './until.ts'

const MODELS = '/apis/arks.ai/v1/namespaces/default/arksmodels'
const model = (name: string, fields: Readonly<Record<string, unknown>> = {}): ApiObject => ({
  apiVersion: 'arks.ai/v1',
  kind: 'ArksModel',
  metadata: { name },
  ...fields,
})

interface Scene {
  readonly api: FakeApi
  readonly client: Client
  readonly answers: readonly Answered[]
}

/** A server and a client of it, for as long as the play lasts. */
async function played(
  play: (scene: Scene) => Promise<void>,
  options: FakeApiOptions = {},
  access: (api: FakeApi) => Access = (api) => api.access,
): Promise<void> {
  const api = await fakeApi(options)
  const answers: Answered[] = []
  const it = client({ access: access(api), onAnswer: (answer) => answers.push(answer) })
  try {
    await play({ api, client: it, answers })
  } finally {
    it.close()
    await api.stop()
  }
}

async function refusal(work: Promise<unknown>): Promise<ApiError> {
  try {
    await work
  } catch (error) {
    if (error instanceof ApiError) return error
    throw error
  }
  throw new Error('it must be refused')
}

async function all(events: AsyncIterable<unknown>): Promise<readonly unknown[]> {
  const read: unknown[] = []
  for await (const event of events) read.push(event)
  return read
}

/** Whose credentials are numbered. */
function numbered(server: string): Access & { readonly renewed: () => number } {
  let number = 0
  let current: Credentials | undefined
  return {
    ...accessTo(server),
    renewed: () => number,
    async credentials() {
      current ??= { tls: {}, headers: { Authorization: `Bearer ${number}` }, proxy: undefined }
      return current
    },
    renew(refused) {
      if (refused !== current) return
      current = undefined
      number++
    },
  }
}

const isAny = (): boolean => true

describe('client: requests', (test) => {
  test('says what it wants in method, path, query, headers and body', () =>
    played(async ({ api, client }) => {
      api.put(model('qwq'))
      await client.request({ verb: 'get', path: `${MODELS}/qwq` })
      await client.request({
        verb: 'list',
        path: MODELS,
        query: { limit: 500, labelSelector: 'a=b c', continue: undefined },
      })
      await client.request({ verb: 'create', path: MODELS, body: model('other') })
      await client.request({ verb: 'update', path: `${MODELS}/other`, body: model('other', { spec: { model: 'x' } }) })
      const patch = { metadata: { labels: { 'arks.ai/é': 'ü' } } }
      await client.request({ verb: 'patch', path: `${MODELS}/other`, query: { fieldManager: 'me' }, body: patch })
      assert.equal(
        api.log.map(({ verb, path, query }) => [verb, path, query]),
        [
          ['get', `${MODELS}/qwq`, {}],
          ['list', MODELS, { limit: '500', labelSelector: 'a=b c' }],
          ['create', MODELS, {}],
          ['update', `${MODELS}/other`, {}],
          ['patch', `${MODELS}/other`, { fieldManager: 'me' }],
        ],
      )
      assert.equal(api.log[4]?.body, patch)
      assert.is(api.log[4]?.headers['content-type'], 'application/merge-patch+json')
      assert.is(api.log[2]?.headers['content-type'], 'application/json')
      assert.is(api.log[0]?.headers['content-type'], undefined)
      assert.is(api.log[0]?.headers['user-agent'], `arksmodel-controller/${VERSION}`)
      assert.equal(valueAt(api.get(model('other')), ['metadata', 'labels']), { 'arks.ai/é': 'ü' })
    }))

  test('the path of the server comes first', () =>
    played(
      async ({ api, client }) => {
        await client.request({ verb: 'list', path: MODELS })
        assert.is(api.log[0]?.path, `/k8s/clusters/c-1${MODELS}`)
      },
      { prefix: '/k8s/clusters/c-1' },
    ))

  test('an error holds code, reason, the words of the server and when to come back', () =>
    played(async ({ api, client }) => {
      api.faults.push({
        when: isAny,
        do: { kind: 'status', code: 429, reason: 'TooManyRequests', message: 'slowly', retryAfter: 7 },
      })
      const error = await refusal(client.request({ verb: 'list', path: MODELS }))
      assert.equal([error.code, error.reason, error.said, error.retryAfterMs], [429, 'TooManyRequests', 'slowly', 7000])
      assert.is(error.message, `cannot list ${MODELS}: 429 TooManyRequests: slowly`)
      const gone = await refusal(client.request({ verb: 'get', path: `${MODELS}/none` }))
      assert.equal([gone.code, gone.reason, gone.retryAfterMs], [404, 'NotFound', undefined])
    }))

  test('an answer that is not JSON is no answer', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: isAny, do: { kind: 'body', text: '<html>Sign in' } })
      const error = await refusal(client.request({ verb: 'list', path: MODELS }))
      assert.equal([error.code, error.reason, error.said], [0, 'NotJson', '<html>Sign in'])
    }))

  test('protobuf is asked for where it can be read, and is not insisted on', () =>
    played(async ({ api, client }) => {
      const jobs = '/apis/batch/v1/jobs'
      const list = (): Promise<unknown> => client.request({ verb: 'list', path: jobs, binary: messages.list })
      assert.equal(valueAt(await list(), ['kind']), 'JobList')
      assert.is(api.log[0]?.headers.accept, 'application/vnd.kubernetes.protobuf,application/json')
      await client.request({ verb: 'list', path: jobs })
      assert.is(api.log[1]?.headers.accept, 'application/json')

      const type = 'application/vnd.kubernetes.protobuf'
      api.faults.push({ when: isAny, do: { kind: 'body', type, text: Buffer.from('no protobuf') } })
      assert.is((await refusal(list())).message, `cannot list ${jobs}: NotProtobuf: it cannot be read`)
      api.faults.push({ when: isAny, do: { kind: 'body', type, code: 503, text: Buffer.from('no protobuf') } })
      assert.is((await refusal(list())).message, `cannot list ${jobs}: 503 Service Unavailable`)
    }))

  test('an endless error is read as far as its beginning', () =>
    played(async ({ api, client }) => {
      const message = 'x'.repeat(1_000_000)
      api.faults.push({ when: isAny, do: { kind: 'status', code: 500, message } })
      const error = await refusal(client.request({ verb: 'list', path: MODELS }))
      assert.is(error.code, 500)
      assert.ok(error.message.length < 2000)
    }))

  test('a server that is not there is an error without a code', () =>
    played(async ({ api, client, answers }) => {
      await api.stop()
      const error = await refusal(client.request({ verb: 'list', path: MODELS }))
      assert.equal([error.code, error.reason], [0, 'ECONNREFUSED'])
      assert.is(answers[0]?.code, '<error>')
    }))

  test('no answer ends in time, and its connection too', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: isAny, do: { kind: 'hang' } })
      const error = await refusal(client.request({ verb: 'list', path: MODELS, timeoutMs: 30 }))
      assert.equal([error.code, error.reason], [0, 'Timeout'])
      await until('end of the connection', () => api.sockets.open === 0)
    }))

  test('connections that idle beside one that leads nowhere are given up', () =>
    played(async ({ api, client }) => {
      await Promise.all([1, 2, 3].map(() => client.request({ verb: 'list', path: MODELS })))
      assert.is(api.sockets.open, 3)
      api.faults.push({ when: isAny, do: { kind: 'hang' } })
      await refusal(client.request({ verb: 'list', path: MODELS, timeoutMs: 30 }))
      await until('end of the connections', () => api.sockets.open === 0)
    }))

  test('the caller can end it', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: isAny, do: { kind: 'hang' } })
      const ending = new AbortController()
      const ended = refusal(client.request({ verb: 'list', path: MODELS, signal: ending.signal }))
      await until('request', () => api.log.length === 1)
      ending.abort()
      assert.is((await ended).reason, 'Aborted')
      assert.is(
        (await refusal(client.request({ verb: 'list', path: MODELS, signal: ending.signal }))).reason,
        'Aborted',
      )
      assert.is(api.log.length, 1)
    }))

  test('close ends what is under way, and what comes later', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: isAny, do: { kind: 'hang' } })
      const ended = refusal(client.request({ verb: 'list', path: MODELS }))
      const watched = client.watch({ path: MODELS, query: { watch: true, resourceVersion: api.revision } })
      await until('request and watch', () => api.log.length === 2)
      const read = refusal(all(await watched))
      client.close()
      assert.equal([(await ended).reason, (await read).reason], ['Closed', 'Closed'])
      assert.is((await refusal(client.request({ verb: 'list', path: MODELS }))).reason, 'Closed')
      assert.is(api.log.length, 2)
      await until('end of the connections', () => api.sockets.open === 0)
    }))

  test('every attempt is reported', () =>
    played(async ({ api, client, answers }) => {
      await client.request({ verb: 'list', path: MODELS })
      await refusal(client.request({ verb: 'get', path: `${MODELS}/none` }))
      const lines = await client.watch({ path: MODELS, query: { watch: true } })
      lines.close()
      await refusal(client.watch({ path: '/apis/none/v1/none', query: { watch: true } }))
      assert.equal(
        answers.map(({ verb, code }) => `${verb} ${code}`),
        ['list 200', 'get 404', 'watch 200', 'watch 404'],
      )
      assert.ok(answers.every(({ seconds }) => seconds > 0 && seconds < 10))
      assert.is(api.log.length, 4)
    }))
})

describe('client: second attempts', (test) => {
  const reset = { when: isAny, do: { kind: 'reset' } } as const

  test('a read over a connection that had been closed meanwhile is sent again at once', () =>
    played(async ({ api, client, answers }) => {
      await client.request({ verb: 'list', path: MODELS })
      api.faults.push(reset)
      await client.request({ verb: 'list', path: MODELS })
      assert.equal(
        answers.map(({ code }) => code),
        ['200', '<error>', '200'],
      )
    }))

  test('once only', () =>
    played(async ({ api, client }) => {
      await client.request({ verb: 'list', path: MODELS })
      api.faults.push({ ...reset, times: 2 })
      assert.is((await refusal(client.request({ verb: 'list', path: MODELS }))).reason, 'ECONNRESET')
    }))

  test('not over a new connection', () =>
    played(async ({ api, client }) => {
      api.faults.push(reset)
      assert.is((await refusal(client.request({ verb: 'list', path: MODELS }))).reason, 'ECONNRESET')
      assert.is(api.log.length, 1)
    }))

  test('a write that names its resourceVersion is, and cannot be done twice', () =>
    played(async ({ api, client }) => {
      const { resourceVersion } = api.put(model('qwq')).metadata
      const patch = (phase: string, version: string): Promise<unknown> =>
        client.request({
          verb: 'patch',
          path: `${MODELS}/qwq/status`,
          body: { metadata: { resourceVersion: version }, status: { phase } },
        })
      await client.request({ verb: 'list', path: MODELS })
      api.faults.push(reset)
      await patch('Pending', resourceVersion)
      api.faults.push({ when: isAny, do: { kind: 'reset-after' } })
      const error = await refusal(patch('Ready', api.get(model('qwq'))?.metadata.resourceVersion ?? ''))
      assert.is(error.code, 409)
      assert.equal(api.get(model('qwq'))?.['status'], { phase: 'Ready' })
    }))

  test('another write is not', () =>
    played(async ({ api, client }) => {
      await client.request({ verb: 'list', path: MODELS })
      api.faults.push({ when: isWrite, do: { kind: 'reset-after' } })
      const error = await refusal(client.request({ verb: 'create', path: MODELS, body: model('once') }))
      assert.is(error.reason, 'ECONNRESET')
      assert.is(api.log.filter(isWrite).length, 1)
    }))

  test('401 asks for fresh credentials, once for all who were refused', async () => {
    let access: ReturnType<typeof numbered> | undefined
    await played(
      async ({ api, client }) => {
        api.admits = ({ headers }) => headers.authorization === 'Bearer 1'
        await Promise.all([1, 2, 3, 4].map(() => client.request({ verb: 'list', path: MODELS })))
        assert.is(access?.renewed(), 1)
        assert.is(api.log.length, 8)
        api.admits = () => false
        assert.is((await refusal(client.request({ verb: 'list', path: MODELS }))).code, 401)
        assert.is(api.log.length, 10)
        assert.is((await refusal(client.watch({ path: MODELS, query: { watch: true } }))).code, 401)
        assert.is(api.log.length, 12)
      },
      {},
      (api) => {
        access = numbered(api.url)
        return access
      },
    )
  })

  test('credentials that cannot be had are an error of this attempt only', async () => {
    let isThere = false
    await played(
      async ({ client }) => {
        const error = await refusal(client.request({ verb: 'list', path: MODELS }))
        assert.equal([error.code, error.reason, error.said], [0, 'NoCredentials', 'no such file'])
        isThere = true
        await client.request({ verb: 'list', path: MODELS })
      },
      {},
      ({ access }) => ({
        ...access,
        credentials: async () => {
          if (!isThere) throw new Error('no such file')
          return access.credentials()
        },
      }),
    )
  })

  test('credentials that do not come end in time', () =>
    played(
      async ({ client }) => {
        const error = await refusal(client.request({ verb: 'list', path: MODELS, timeoutMs: 20 }))
        assert.is(error.reason, 'Timeout')
      },
      {},
      ({ access }) => ({ ...access, credentials: () => new Promise(() => {}) }),
    ))
})

describe('client: watches', (test) => {
  const written = (text: string, next: 'end' | 'reset' | 'silence') =>
    ({ when: isWatch, do: { kind: 'write', text, next } }) as const
  const query = { watch: true }

  test('lines end at line feeds only', () =>
    played(async ({ api, client }) => {
      api.faults.push(written('"a\u2028b\u2029c"\r\n"\u0085"\nnone\n', 'end'))
      assert.equal(await all(await client.watch({ path: MODELS, query })), ['a\u2028b\u2029c', '\u0085', undefined])
    }))

  test('what the server did not end is left out', () =>
    played(async ({ api, client }) => {
      api.faults.push(written('{"a":1}\n{"b', 'end'))
      assert.equal(await all(await client.watch({ path: MODELS, query })), [{ a: 1 }])
    }))

  test('a character that comes in pieces stays whole, and slowly is not silently', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: isWatch, do: { kind: 'trickle', pauseMs: 1 } })
      const lines = await client.watch({
        path: MODELS,
        query: { watch: true, resourceVersion: api.revision },
        silenceMs: 200,
      })
      await until('watch', () => api.watches === 1)
      const started = performance.now()
      api.put(model('qwq', { spec: { model: '🦙ü€'.repeat(40) } }))
      for await (const event of lines) {
        assert.is(valueAt(event, ['object', 'spec', 'model']), '🦙ü€'.repeat(40))
        break
      }
      assert.ok(performance.now() - started > 400, 'it must have taken longer than the limit')
      await until('end of the watch', () => api.watches === 0)
    }))

  test('a reset is an error', () =>
    played(async ({ api, client }) => {
      api.faults.push(written('{"a":1}\n', 'reset'))
      const error = await refusal(client.watch({ path: MODELS, query }).then(all))
      assert.equal([error.code, error.reason], [0, 'ECONNRESET'])
    }))

  test('a reset before anybody reads is an error for whoever reads later', () =>
    played(async ({ api, client }) => {
      const lines = await client.watch({ path: MODELS, query })
      await until('watch', () => api.watches === 1)
      api.endWatches('reset')
      await until('end of the connection', () => api.sockets.open === 0)
      assert.is((await refusal(all(lines))).reason, 'ECONNRESET')
    }))

  test('no head, and no byte behind it, end in time', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: isWatch, do: { kind: 'hang' } })
      assert.is((await refusal(client.watch({ path: MODELS, query, headersMs: 30 }))).reason, 'Timeout')
      api.faults.push(written('{"a":1}\n', 'silence'))
      const lines = await client.watch({ path: MODELS, query, silenceMs: 30 })
      assert.is((await refusal(all(lines))).reason, 'Timeout')
      await until('end of the connections', () => api.sockets.open === 0)
    }))

  test('close from our side is an end without an error', () =>
    played(async ({ api, client }) => {
      const lines = await client.watch({ path: MODELS, query })
      await until('watch', () => api.watches === 1)
      const read = all(lines)
      lines.close()
      assert.equal(await read, [])
      await until('end of the watch', () => api.watches === 0)
    }))

  test('an event has an end within 16 MiB', () =>
    played(async ({ api, client }) => {
      api.faults.push(written('x'.repeat(16 * 1024 * 1024 + 100_000), 'silence'))
      assert.is((await refusal(client.watch({ path: MODELS, query }).then(all))).reason, 'EventTooLong')
    }))

  /** A watch in protobuf whose bytes come in these pieces, each seen on its own, and the lengths of what was read. */
  const framed = async (...pieces: readonly Uint8Array[]): Promise<readonly unknown[]> => {
    const server = createServer(async (_, response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.kubernetes.protobuf;stream=watch' })
      for (const piece of pieces) {
        response.write(piece)
        await sleep(2)
      }
      response.end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const it = client({ access: accessTo(`http://127.0.0.1:${valueAt(address, ['port'])}`) })
    try {
      return await all(await it.watch({ path: '/x', binary: (bytes) => Buffer.from(bytes).toString() }))
    } finally {
      it.close()
      server.close()
    }
  }
  const frame = (text: string): Buffer => {
    const head = Buffer.alloc(4)
    head.writeUInt32BE(text.length)
    return Buffer.concat([head, Buffer.from(text)])
  }

  test('a frame is whole, in whatever pieces it comes', async () => {
    const long = 'x'.repeat(300_000)
    const bytes = Buffer.concat([frame('one'), frame(''), frame('two'), frame(long)])
    const texts = ['one', '', 'two', long]
    assert.equal(await framed(bytes), texts)
    assert.equal(
      await framed(bytes.subarray(0, 2), bytes.subarray(2, 9), bytes.subarray(9, 100), bytes.subarray(100)),
      texts,
    )
    assert.equal(
      await framed(...[...bytes.subarray(0, 25)].map((byte) => Uint8Array.of(byte)), bytes.subarray(25)),
      texts,
    )
    assert.equal(await framed(bytes.subarray(0, -1)), ['one', '', 'two'])
    assert.equal(await framed(bytes.subarray(0, 20), Uint8Array.of(0, 0, 0)), ['one', '', 'two'])
  })

  test('a frame is no longer than 16 MiB', async () => {
    const error = await refusal(framed(frame('one'), Uint8Array.of(0x01, 0, 0, 0)))
    assert.is(error.message, 'cannot watch /x: EventTooLong: more than 16777216 bytes')
  })

  test('a refusal comes before the first line', () =>
    played(async ({ api, client }) => {
      api.compact()
      const error = await refusal(client.watch({ path: MODELS, query: { watch: true, resourceVersion: 1000 } }))
      assert.equal([error.code, error.reason], [410, 'Expired'])
    }))
})

describe('client: connections', (test) => {
  test('10,000 patches, 50 at once, take ten', () =>
    played(async ({ api, client }) => {
      api.put(model('qwq'))
      let left = 10_000
      const worker = async (): Promise<void> => {
        while (left-- > 0)
          await client.request({ verb: 'patch', path: `${MODELS}/qwq/status`, body: { status: { phase: 'Ready' } } })
      }
      await Promise.all(Array.from({ length: 50 }, worker))
      assert.is(api.log.length, 10_000)
      assert.is(api.sockets.accepted, 10)
    }))

  test('the lease has one of its own, and each watch', () =>
    played(async ({ api, client }) => {
      api.faults.push({ when: ({ path }) => path === MODELS, times: 20, do: { kind: 'hang' } })
      const hung = Array.from({ length: 12 }, () => refusal(client.request({ verb: 'list', path: MODELS })))
      await until('requests', () => api.log.length === 10)
      const lease = '/apis/coordination.k8s.io/v1/namespaces/default/leases/none'
      await refusal(client.request({ verb: 'get', path: lease, lane: 'lease' }))
      await refusal(client.request({ verb: 'get', path: lease, lane: 'lease' }))
      const watch = { path: '/apis/batch/v1/jobs', query: { watch: true } }
      await Promise.all([client.watch(watch), client.watch(watch)])
      assert.is(api.sockets.open, 13)
      client.close()
      await Promise.all(hung)
    }))

  test('a watch that the server ended leaves its connection to the next', () =>
    played(async ({ api, client }) => {
      for (let number = 0; number < 20; number++) {
        api.faults.push({ when: isWatch, do: { kind: 'write', text: '{}\n', next: 'end' } })
        assert.equal(await all(await client.watch({ path: MODELS, query: { watch: true } })), [{}])
      }
      assert.is(api.sockets.accepted, 1)
    }))
})

describe('client: TLS', (test) => {
  const server = certificates()
  const ours = certificates()
  const over =
    (tls: Credentials['tls']) =>
    (api: FakeApi): Access => ({
      ...api.access,
      credentials: async () => ({ tls, headers: {}, proxy: undefined }),
    })

  test('the authority of the kubeconfig is trusted, and our certificate shown', () =>
    played(
      async ({ api, client }) => {
        api.admits = ({ certificate }) => certificate === ours.cert
        await client.request({ verb: 'list', path: MODELS })
        const lines = await client.watch({ path: MODELS, query: { watch: true } })
        lines.close()
      },
      { certificates: server },
      over({ ca: server.ca, cert: ours.cert, key: ours.key }),
    ))

  test('no other is, unless that is waived', async () => {
    await played(
      async ({ api, client }) => {
        const error = await refusal(client.request({ verb: 'list', path: MODELS }))
        assert.is(error.code, 0)
        assert.match(error.reason, /UNABLE_TO_VERIFY|SELF_SIGNED/)
        assert.is(api.log.length, 0)
      },
      { certificates: server },
      over({ ca: ours.ca }),
    )
    await played(
      async ({ client }) => {
        await client.request({ verb: 'list', path: MODELS })
      },
      { certificates: server },
      over({ rejectUnauthorized: false }),
    )
  })
})
