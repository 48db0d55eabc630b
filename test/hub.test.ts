import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import * as assert from 'uvu/assert'
import { describe } from './harness.ts'
import { type Fault, gitBlobSha1, HOSTILE_PATHS, hub, manyFiles, randomFile, sha256 } from './hub.ts'

const SMALL = { path: 'config.json', bytes: Buffer.from('{"model_type": "x"}') }
const LARGE = randomFile('deep/er/a #1.safetensors', 300_000)
const PLAIN_ID = 'org/model'
const REPOSITORY = { revisions: { main: [SMALL, LARGE], v1: [SMALL] } }
const OPTIONS = {
  repositories: {
    [PLAIN_ID]: REPOSITORY,
    'org/hidden': { ...REPOSITORY, private: true },
    'org/gated': { ...REPOSITORY, gated: true },
    'org/disabled': { ...REPOSITORY, disabled: true },
  },
  tokens: { able: ['org/hidden', 'org/gated'], unable: [] },
}

interface Got {
  readonly status: number
  readonly body: Buffer
  /** What ended the body early. */
  readonly broken: string | undefined
  header(name: string): string | undefined
}

interface Asked {
  readonly range?: string
  readonly token?: string
  readonly method?: string
  readonly ca?: string | undefined
  /** Without a byte, in milliseconds. */
  readonly patience?: number
}

/** One request over a connection of its own; redirects are not followed. */
function got(url: string, { range, token, method = 'GET', ca, patience = 10_000 }: Asked = {}): Promise<Got> {
  const headers = {
    ...(range === undefined ? {} : { range: `bytes=${range}` }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  return new Promise((resolve, reject) => {
    let end: ((broken?: string) => void) | undefined
    const answered = (response: IncomingMessage): void => {
      const chunks: Buffer[] = []
      end = (broken?: string): void =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks),
          broken,
          header: (name) => response.headers[name]?.toString(),
        })
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => end?.())
      response.on('error', (error) => end?.(error.message))
    }
    const sent = url.startsWith('https:')
      ? httpsRequest(url, { method, headers, agent: false, ca }, answered)
      : httpRequest(url, { method, headers, agent: false }, answered)
    sent
      .on('error', (error) => (end === undefined ? reject(error) : end(error.message)))
      .setTimeout(patience, () => sent.destroy(new Error('silent')))
      .end()
  })
}

const resolveUrl = (endpoint: string, { path }: { readonly path: string }, revision = 'main'): string =>
  `${endpoint}/${PLAIN_ID}/resolve/${revision}/${path.split('/').map(encodeURIComponent).join('/')}`

/** From the first redirect to the bytes, without the token. */
async function fetched(url: string, asked: Asked = {}): Promise<Got> {
  const answer = await got(url, asked)
  const location = answer.header('location')
  if (location === undefined) return answer
  const { token: _, ...rest } = asked
  return fetched(new URL(location, url).href, rest)
}

async function listing(endpoint: string, id: string, revision: string): Promise<readonly string[]> {
  const paths: string[] = []
  let next: string | undefined = `${endpoint}/api/models/${id}/tree/${revision}?recursive=true`
  while (next !== undefined) {
    const page = await got(next)
    assert.is(page.status, 200)
    for (const { path } of JSON.parse(page.body.toString())) paths.push(path)
    next = /^<(.+)>; rel="next"$/.exec(page.header('link') ?? '')?.[1]
  }
  return paths
}

describe('a fake Hub', (test) => {
  test('resolves revisions and lists files by pages', async () => {
    await using fake = await hub({ ...OPTIONS, pageSize: 2, base: '/api/x' })
    const commit = fake.commit(PLAIN_ID)
    for (const revision of ['main', commit]) {
      const { status, body, header } = await got(`${fake.url}/api/models/${PLAIN_ID}/revision/${revision}`)
      assert.is(status, 200)
      const { sha, id, private: hidden, gated, disabled } = JSON.parse(body.toString())
      assert.equal([sha, id, hidden, gated, disabled], [commit, PLAIN_ID, false, false, false])
      assert.match(header('x-request-id') ?? '', /^Root=1-/)
    }
    assert.match(commit, /^[0-9a-f]{40}$/)
    assert.is.not(commit, fake.commit(PLAIN_ID, 'v1'))
    const paths = ['config.json', 'deep', 'deep/er', 'deep/er/a #1.safetensors']
    assert.equal(await listing(fake.url, PLAIN_ID, commit), paths)

    fake.faults.push({
      kind: 'call',
      page: 1,
      run: () => fake.setRepository(PLAIN_ID, { revisions: { main: [SMALL] } }),
    })
    assert.equal(await listing(fake.url, PLAIN_ID, commit), paths, 'a commit stays what it is')
    assert.is.not(fake.commit(PLAIN_ID), commit)
    const last = await got(`${fake.url}/api/models/${PLAIN_ID}/tree/${commit}?recursive=true`)
    const entries = JSON.parse(last.body.toString())
    assert.equal(entries[0], {
      type: 'file',
      oid: gitBlobSha1(SMALL.bytes),
      size: SMALL.bytes.length,
      path: SMALL.path,
    })
    assert.is((await got(fake.url.replace('/api/x', '/api/models/org/model'))).status, 404)
  })

  test('fails between two pages', async () => {
    await using fake = await hub({ ...OPTIONS, pageSize: 3 })
    const first = `${fake.url}/api/models/${PLAIN_ID}/tree/main?recursive=true`
    const next = async (): Promise<string> => /<(.+)>/.exec((await got(first)).header('link') ?? '')?.[1] ?? ''
    fake.faults.push(
      { kind: 'status', status: 404, on: 'tree', page: 2, times: 1 },
      { kind: 'link', to: 'third', skip: 1 },
    )
    const second = await next()
    assert.equal([(await got(second)).status, (await got(second)).status], [404, 200])
    assert.ok((await next()).startsWith(`${fake.thirdUrl}/api/models/`))
    fake.faults = [{ kind: 'cut', on: 'tree', after: 10 }]
    assert.is((await got(first)).body.length, 10)
    await fake.close()
  })

  test('lists what it never stored and what nobody should write', async () => {
    const hostile = HOSTILE_PATHS.map((path) => ({ path, bytes: Buffer.from('x') }))
    await using fake = await hub({
      repositories: { many: { revisions: { main: manyFiles(100_000) } }, bad: { revisions: { main: hostile } } },
      pageSize: 10_000,
    })
    const paths = await listing(fake.url, 'many', 'main')
    assert.is(new Set(paths).size, 100_000)
    assert.is((await got(`${fake.url}/many/resolve/main/parts/099999.txt`)).body.toString(), 'part 099999\n')
    const bad = await listing(fake.url, 'bad', 'main')
    for (const path of HOSTILE_PATHS) assert.ok(bad.includes(path), path)
  })

  test('serves small files itself and redirects to the CDN for others', async () => {
    await using fake = await hub(OPTIONS)
    const small = await got(resolveUrl(fake.url, SMALL), { range: '2-5' })
    assert.is(small.status, 206)
    assert.is(small.body.toString(), 'mode')
    assert.is(small.header('content-range'), `bytes 2-5/${SMALL.bytes.length}`)
    assert.is(small.header('etag'), `"${gitBlobSha1(SMALL.bytes)}"`)
    assert.is(small.header('x-repo-commit'), fake.commit(PLAIN_ID))

    const large = await got(resolveUrl(fake.url, LARGE), { method: 'HEAD', token: 'able' })
    assert.is(large.status, 302)
    assert.is(large.header('x-linked-etag'), `"${sha256(LARGE.bytes)}"`)
    assert.is(large.header('x-linked-size'), '300000')
    const location = large.header('location') ?? ''
    assert.ok(location.startsWith(`${fake.cdnUrl}/`))
    assert.is((await got(location, { range: '300000-' })).status, 416)
    assert.equal((await got(location, { range: '-3' })).body, LARGE.bytes.subarray(-3))
    const part = await got(location, { range: '100-200099' })
    assert.equal(part.body, LARGE.bytes.subarray(100, 200_100))
    assert.is(fake.bytesSent(LARGE.path), 200_003)
    assert.is(fake.bytesSent(), 200_007)
    assert.is((await got(location.replace('Signature=', 'Signature=0'))).status, 403)

    assert.equal(fake.leaks, [])
    assert.is((await got(location, { token: 'able' })).status, 400)
    assert.is(fake.leaks[0]?.authorization, 'Bearer able')
  })

  test('serves everything itself as a mirror', async () => {
    await using fake = await hub({ ...OPTIONS, mirror: true })
    const { status, body, header } = await got(resolveUrl(fake.url, LARGE))
    assert.is(status, 200)
    assert.is(sha256(body), sha256(LARGE.bytes))
    assert.is(header('etag'), header('x-linked-etag'))
  })

  const REFUSALS: Readonly<Record<string, readonly [string, string | undefined, number, string | undefined]>> = {
    'nothing there, nobody asking': ['/api/models/org/none/revision/main', undefined, 401, 'RepoNotFound'],
    'nothing there': ['/api/models/org/none/revision/main', 'able', 404, 'RepoNotFound'],
    'private, nobody asking': ['/api/models/org/hidden/revision/main', undefined, 401, 'RepoNotFound'],
    'private, for others': ['/api/models/org/hidden/revision/main', 'unable', 404, 'RepoNotFound'],
    private: ['/api/models/org/hidden/revision/main', 'able', 200, undefined],
    'an unknown token': ['/api/models/org/model/revision/main', 'toString', 401, undefined],
    'the listing of a gated one': ['/api/models/org/gated/tree/main', undefined, 200, undefined],
    'gated, nobody asking': ['/org/gated/resolve/main/config.json', undefined, 401, 'GatedRepo'],
    'gated, for others': ['/org/gated/resolve/main/config.json', 'unable', 403, 'GatedRepo'],
    gated: ['/org/gated/resolve/main/config.json', 'able', 200, undefined],
    disabled: ['/org/disabled/resolve/main/config.json', undefined, 403, undefined],
    'no such revision': ['/api/models/org/model/revision/v2', undefined, 404, 'RevisionNotFound'],
    'no such file': ['/org/model/resolve/v1/none', undefined, 404, 'EntryNotFound'],
  }

  test('refuses as the Hub does', async () => {
    await using fake = await hub(OPTIONS)
    for (const [why, [path, token, status, code]] of Object.entries(REFUSALS)) {
      const answer = await got(fake.url + path, token === undefined ? {} : { token })
      assert.is(answer.status, status, why)
      assert.is(answer.header('x-error-code'), code, why)
      assert.is(answer.header('x-error-message') === undefined, status === 200, why)
    }
  })

  const size = LARGE.bytes.length
  const BODIES: Readonly<Record<string, readonly [Fault, (answer: Got) => boolean]>> = {
    'a cut connection': [
      { kind: 'cut', after: 1000 },
      ({ body, broken }) => body.length === 1000 && broken !== undefined,
    ],
    'a short body': [{ kind: 'short', after: 7 }, ({ body, broken }) => body.length === 7 && broken === 'aborted'],
    'a short body that says so': [
      { kind: 'short', after: 7, announced: 'sent' },
      ({ body, broken, header }) =>
        body.length === 7 && broken === undefined && header('content-range') === `bytes 0-${size - 1}/${size}`,
    ],
    'silence in the middle': [
      { kind: 'stall', after: 7 },
      ({ body, broken }) => body.length === 7 && broken === 'silent',
    ],
    'the whole file': [{ kind: 'whole' }, ({ status, header }) => status === 200 && !header('content-range')],
    'a wrong range': [
      { kind: 'wrong-range' },
      ({ header }) => header('content-range') === `bytes 1-${size - 1}/${size}`,
    ],
    'no range': [
      { kind: 'wrong-range', value: '' },
      ({ status, header }) => status === 206 && !header('content-range'),
    ],
    'a flipped byte': [
      { kind: 'flip', at: 5 },
      ({ body }) => body[5] !== LARGE.bytes[5] && body.subarray(6).equals(LARGE.bytes.subarray(6)),
    ],
    'a flipped byte elsewhere': [{ kind: 'flip', covers: size }, ({ body }) => body.equals(LARGE.bytes)],
  }

  test('fails in the middle of bytes, as often as it is told to', async () => {
    await using fake = await hub(OPTIONS)
    for (const [what, [fault, shown]] of Object.entries(BODIES)) {
      fake.faults = [{ ...fault, path: /safetensors$/, times: 1 }]
      const patience = fault.kind === 'stall' ? 300 : 10_000
      assert.ok(shown(await fetched(resolveUrl(fake.url, LARGE), { range: '0-', patience })), what)
      assert.ok((await fetched(resolveUrl(fake.url, LARGE), { range: '0-' })).body.equals(LARGE.bytes), `after ${what}`)
    }
  })

  test('fails before any byte', async () => {
    await using fake = await hub(OPTIONS)
    const url = `${fake.url}/api/models/${PLAIN_ID}/revision/main`
    const headers = { 'Retry-After': '1', RateLimit: '"api";r=0;t=2' }
    fake.faults.push({ kind: 'status', on: 'revision', status: 429, headers, skip: 1, times: 1 })
    assert.is((await got(url)).status, 200)
    const limited = await got(url)
    assert.equal(
      [limited.status, limited.header('retry-after'), limited.header('ratelimit')],
      [429, '1', '"api";r=0;t=2'],
    )
    fake.faults = [
      { kind: 'drop', times: 1 },
      { kind: 'drop', reset: true, times: 1 },
    ]
    for (const code of ['ECONNRESET', 'ECONNRESET']) {
      try {
        await got(url)
        assert.unreachable()
      } catch (error) {
        assert.is(error instanceof Error && 'code' in error && error.code, code)
      }
    }
    fake.faults = [{ kind: 'latency', ms: 40, times: 1 }]
    const began = performance.now()
    assert.is((await got(url)).status, 200)
    assert.ok(performance.now() - began >= 39)
    fake.faults = [{ kind: 'rate', bytesPerSecond: 3_000_000 }]
    await Promise.all([fetched(resolveUrl(fake.url, LARGE)), fetched(resolveUrl(fake.url, LARGE))])
    assert.ok(performance.now() - began >= 139)
    assert.is(fake.mostAtOnce(), 2)
  })

  test('lets signed URLs expire', async () => {
    await using fake = await hub(OPTIONS)
    fake.faults.push({ kind: 'expiry', uses: 1, times: 1 }, { kind: 'expiry', ms: 0 })
    const first = (await got(resolveUrl(fake.url, LARGE))).header('location') ?? ''
    assert.is((await got(first, { range: '0-0' })).status, 206)
    for (const url of [first, (await got(resolveUrl(fake.url, LARGE))).header('location') ?? '']) {
      const expired = await got(url)
      assert.is(expired.status, 403)
      assert.match(expired.body.toString(), '<Code>AccessDenied</Code><Message>Request has expired</Message>')
    }
  })

  test('redirects to where it should not', async () => {
    await using fake = await hub({ ...OPTIONS, tls: true })
    const { ca } = fake
    const url = resolveUrl(fake.url, LARGE)
    assert.ok((await fetched(url, { ca })).body.equals(LARGE.bytes))
    const to = async (fault: Fault, from = url): Promise<string | undefined> => {
      fake.faults = [{ ...fault, times: 1 }]
      return (await got(from, { ca })).header('location')
    }
    assert.is(await to({ kind: 'redirect', to: 'loop' }), url)
    assert.is(await to({ kind: 'redirect', to: { location: 'ftp://x' } }), 'ftp://x')
    const plain = (await to({ kind: 'redirect', to: 'plain' })) ?? ''
    assert.ok(plain.startsWith('http://') && plain.startsWith(fake.plainUrl))
    assert.ok((await got(plain)).body.equals(LARGE.bytes))
    const cdn = (await got(url, { ca })).header('location') ?? ''
    const third = (await to({ kind: 'redirect', on: 'cdn', to: 'third' }, cdn)) ?? ''
    assert.ok(third.startsWith(fake.thirdUrl))
    assert.ok((await got(third, { ca })).body.equals(LARGE.bytes))
    fake.faults = [{ kind: 'redirect', to: 'relative' }]
    assert.match(
      (await got(resolveUrl(fake.url, SMALL), { ca })).header('location') ?? '',
      /^\/api\/resolve-cache\/models\//,
    )
    assert.ok((await fetched(resolveUrl(fake.url, SMALL), { ca })).body.equals(SMALL.bytes))
    fake.faults = [{ kind: 'wrong-etag' }]
    assert.is((await got(url, { ca })).header('x-linked-etag'), `"${'0'.repeat(64)}"`)
    fake.faults = [{ kind: 'cut', after: 10 }]
    const cut = await fetched(url, { ca })
    assert.is(cut.body.length, 10)
    assert.ok(cut.broken)
    fake.faults = []
    fake.rename(PLAIN_ID, 'new/name')
    const moved = await got(`${fake.url}/api/models/${PLAIN_ID}/revision/main`, { ca })
    assert.equal([moved.status, moved.header('location')], [307, '/api/models/new/name/revision/main'])
    assert.ok((await fetched(url, { ca })).body.equals(LARGE.bytes))
  })
})
