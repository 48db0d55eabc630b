import * as fc from 'fast-check'
import * as assert from 'uvu/assert'
import type { Reason } from '../crds/termination.ts'
import {
  announcedDigest,
  contentRange,
  type Headers,
  nextPage,
  refusal,
  shown,
  storageRefusal,
  wait,
} from '../loader/answers.ts'
import { Failure, Trouble } from '../loader/failure.ts'
import type { Filter } from '../loader/patterns.ts'
import { bytesOf, type RemoteFile, remoteFile, selected, share } from '../loader/plan.ts'
import { describe } from './harness.ts'
import { HOSTILE_PATHS } from './hub.ts'

interface Refusal {
  readonly why: string
  readonly status: number
  readonly headers?: Headers
  readonly body?: string
  readonly hasToken?: boolean
  readonly path?: string
  readonly want: readonly [reason: Reason, message: string]
  /** Whether the same is tried again; and then after so many ms at least. */
  readonly again?: true | number
}

const coded = (code: string): Headers => ({ 'x-error-code': code })

const REFUSALS: Readonly<Record<string, Refusal>> = {
  'a rate limit': {
    why: 'it passes',
    status: 429,
    want: ['RateLimited', 'The Hub limits the rate of requests'],
    again: true,
  },
  'a rate limit with a time': {
    why: 'it passes then',
    status: 429,
    headers: { 'retry-after': '7', 'x-error-message': 'Slow down.' },
    want: ['RateLimited', 'The Hub limits the rate of requests and asks to wait 7 s: Slow down'],
    again: 7000,
  },
  'a fault of the server': {
    why: 'it passes',
    status: 500,
    want: ['NetworkError', 'The Hub answered with 500'],
    again: true,
  },
  'a server in maintenance': {
    why: 'it says when it is back',
    status: 503,
    headers: { 'retry-after': '120' },
    want: ['NetworkError', 'The Hub answered with 503'],
    again: 120_000,
  },
  'a request that took too long': {
    why: 'it passes',
    status: 408,
    want: ['NetworkError', 'The Hub answered with 408'],
    again: true,
  },
  'a proxy': {
    why: 'no wait helps',
    status: 407,
    want: ['NetworkError', 'The proxy refuses with 407: its URL must have a user and a password that it knows'],
  },
  'a disabled repository, whatever the token': {
    why: 'its words tell, and no code',
    status: 403,
    headers: { 'x-error-message': 'Access to this resource is disabled.' },
    hasToken: true,
    want: ['RepositoryDisabled', 'The Hub has disabled access to "org/model"'],
  },
  'a disabled repository in the body': {
    why: 'mirrors lose headers',
    status: 403,
    body: '{"error":"Access to this resource is disabled."}',
    want: ['RepositoryDisabled', 'The Hub has disabled access to "org/model"'],
  },
  'gated, without a token': {
    why: 'a token is missing',
    status: 401,
    headers: coded('GatedRepo'),
    want: ['GatedRepo', '"org/model" is gated: it takes a token of somebody who has access to it'],
  },
  'gated, with a token': {
    why: 'access is missing',
    status: 403,
    headers: coded('GatedRepo'),
    hasToken: true,
    want: [
      'GatedRepo',
      '"org/model" is gated, and the token has no access to it: ask for access on the page of the model',
    ],
  },
  'no revision': {
    why: 'the code tells it from a missing repository',
    status: 404,
    headers: coded('RevisionNotFound'),
    want: ['RevisionNotFound', '"org/model" has no revision "v1"'],
  },
  'no file': {
    why: 'the code tells it from a missing repository',
    status: 404,
    headers: coded('EntryNotFound'),
    path: 'a/b.bin',
    want: ['NoMatchingFiles', '"org/model" at v1 has no file "a/b.bin"'],
  },
  'no file on a mirror': {
    why: 'the repository was listed',
    status: 404,
    path: 'b.bin',
    want: ['NoMatchingFiles', '"org/model" at v1 has no file "b.bin"'],
  },
  'no repository, asked for a file': {
    why: 'the code counts more',
    status: 404,
    headers: coded('RepoNotFound'),
    path: 'b.bin',
    want: ['RepositoryNotFound', 'There is no "org/model", or it is private and takes a token'],
  },
  'an unknown token': {
    why: 'the Hub says so in words',
    status: 401,
    headers: { 'x-error-message': 'Invalid credentials in Authorization header' },
    hasToken: true,
    want: ['AuthenticationFailed', 'The Hub does not know the token'],
  },
  'no repository, without a token': {
    why: 'the Hub answers with 401 then',
    status: 401,
    headers: coded('RepoNotFound'),
    want: ['RepositoryNotFound', 'There is no "org/model", or it is private and takes a token'],
  },
  'no repository, with a token': {
    why: 'the Hub answers with 404 then',
    status: 404,
    headers: coded('RepoNotFound'),
    hasToken: true,
    want: ['RepositoryNotFound', 'There is no "org/model", or the token may not see it'],
  },
  'no repository on a mirror': {
    why: 'those send no code',
    status: 404,
    want: ['RepositoryNotFound', 'There is no "org/model", or it is private and takes a token'],
  },
  '401 without a reason': {
    why: 'a gateway may want its own token',
    status: 401,
    want: ['AuthenticationFailed', 'The Hub refuses access without a token with 401'],
  },
  '403 without a reason, with a token': {
    why: 'the token has too few rights',
    status: 403,
    body: '{"error": "token lacks \\"read\\"\\n rights."}',
    hasToken: true,
    want: ['AuthenticationFailed', 'The Hub refuses the token with 403: token lacks "read" rights'],
  },
  'any other answer': {
    why: 'it may pass',
    status: 418,
    want: ['NetworkError', 'The Hub answered with 418'],
    again: true,
  },
  'words in a header that are escaped': {
    why: 'headers are ASCII',
    status: 500,
    headers: { 'x-error-message': 'caf%C3%A9 is%20closed' },
    want: ['NetworkError', 'The Hub answered with 500: café is closed'],
    again: true,
  },
  'words in a header that only look escaped': {
    why: 'they are shown as they are',
    status: 500,
    headers: { 'x-error-message': '100% wrong' },
    want: ['NetworkError', 'The Hub answered with 500: 100% wrong'],
    again: true,
  },
  'words with a signed URL': {
    why: 'the signature is as good as a password',
    status: 500,
    body: '{"error": "cannot read https://s3/x?X-Amz-Signature=abc&y=z (timeout)"}',
    want: ['NetworkError', 'The Hub answered with 500: cannot read https://s3/x (timeout)'],
    again: true,
  },
  'very many words': {
    why: 'a sentence is enough',
    status: 500,
    headers: { 'x-error-message': 'x'.repeat(5000) },
    want: ['NetworkError', `The Hub answered with 500: ${'x'.repeat(200)}`],
    again: true,
  },
  'a body that is cut off behind its words': {
    why: 'only its beginning is read',
    status: 500,
    body: '{"error": "down", "trace": "at',
    want: ['NetworkError', 'The Hub answered with 500: down'],
    again: true,
  },
  'a body of HTML': {
    why: 'it says nothing',
    status: 502,
    body: '<html>',
    want: ['NetworkError', 'The Hub answered with 502'],
    again: true,
  },
}

const NOW = Date.parse('2026-01-01T00:00:00Z')

const WAITS: readonly (readonly [Headers, number | undefined])[] = [
  [{}, undefined],
  [{ 'retry-after': '0' }, 0],
  [{ 'retry-after': '5' }, 5000],
  [{ 'retry-after': '1.5' }, 1500],
  [{ 'retry-after': 'Thu, 01 Jan 2026 00:00:30 GMT' }, 30_000],
  [{ 'retry-after': 'Wed, 31 Dec 2025 00:00:00 GMT' }, 0],
  [{ 'retry-after': 'soon' }, undefined],
  [{ 'retry-after': '-5' }, undefined],
  [{ 'retry-after': '' }, undefined],
  [{ 'retry-after': ['3', '4'] }, 3000],
  [{ ratelimit: '"api";r=0;t=55' }, 55_000],
  [{ ratelimit: '"resolvers"; r=0; t=7' }, 7000],
  [{ ratelimit: '"api";r=10;t=55' }, undefined],
  [{ ratelimit: '"api";r=10;t=55, "pages";r=0;t=9, "resolvers";r=0;t=12' }, 12_000],
  [{ 'retry-after': '2', ratelimit: '"api";r=0;t=55' }, 2000],
]

const LINKS: Readonly<Record<string, string | undefined>> = {
  '<https://x/y?cursor=a,b;c>; rel="next"': 'https://x/y?cursor=a,b;c',
  '<https://x/1>; rel="prev", <https://x/3>; rel="next"': 'https://x/3',
  '<https://x/3>; rel=next': 'https://x/3',
  '<https://x/3>; title="x"; rel="next"': 'https://x/3',
  '<https://x/3>; REL="Next"': 'https://x/3',
  '<https://x/3>; rel="last next"': 'https://x/3',
  '</api/models/x?cursor=1>;rel="next"': '/api/models/x?cursor=1',
  '<https://x/1>; rel="prev"': undefined,
  '<https://x/1>; rel="nextish"': undefined,
  '<https://x/1>; rel=nextish': undefined,
  'https://x/1; rel="next"': undefined,
  '': undefined,
}

const RANGES: Readonly<Record<string, ReturnType<typeof contentRange>>> = {
  'bytes 0-9/100': { first: 0, last: 9, size: 100 },
  'bytes 5-5/*': { first: 5, last: 5, size: undefined },
  'bytes */100': undefined,
  'bytes 0-9': undefined,
  'bytes=0-9/100': undefined,
  'items 0-9/100': undefined,
  'bytes 0-9/100, 20-29/100': undefined,
  '': undefined,
}

const A64 = 'a'.repeat(64)
const B64 = 'b'.repeat(64)

const DIGESTS: readonly (readonly [Headers, string | undefined])[] = [
  [{ 'x-linked-etag': `"${A64}"`, etag: `"${B64}"` }, A64],
  [{ 'x-linked-etag': `W/"${A64}"` }, A64],
  [{ etag: `"${B64}"` }, B64],
  [{ etag: B64 }, B64],
  [{ etag: '"d41d8cd98f00b204e9800998ecf8427e-3"' }, undefined],
  [{ etag: `"${'a'.repeat(40)}"` }, undefined],
  [{ etag: `"${'g'.repeat(64)}"` }, undefined],
  [{}, undefined],
]

const SHOWN: Readonly<Record<string, string>> = {
  'https://cdn/a/b?X-Amz-Signature=s#f': 'https://cdn/a/b',
  'https://user:pass@cdn:8443/a': 'https://cdn:8443/a',
  'http://[::1]:80/%20x': 'http://[::1]/%20x',
  'no URL?token=x': '(no URL)',
}

describe('answers of the Hub', (test) => {
  for (const [name, row] of Object.entries(REFUSALS)) {
    const { why, status, headers = {}, body = '', hasToken = false, path, want, again } = row
    test(`mean what they mean: ${name}`, () => {
      const asked = { repo: 'org/model', revision: 'v1', hasToken, ...(path === undefined ? {} : { path }) }
      const failure = refusal({ status, headers: { ...headers, 'x-request-id': 'Root=1' }, body }, asked)
      assert.equal([failure.reason, failure.message], want, why)
      assert.is(failure instanceof Trouble, again !== undefined, why)
      if (failure instanceof Trouble) assert.is(failure.delay, again === true ? undefined : again, why)
      if (status !== 407) assert.equal(failure.from, { status, requestId: 'Root=1' })
    })
  }

  test('of its storage say nothing of rights', () => {
    for (const status of [400, 401, 403, 404, 410]) {
      const failure = storageRefusal({ status, headers: { 'x-amz-request-id': 'A1' } }, 'cdn', 'a.bin')
      assert.ok(failure instanceof Trouble)
      assert.is(failure.message, `cdn refuses the URL that the Hub signed for "a.bin" with ${status}`)
      assert.equal([failure.reason, failure.from], ['NetworkError', { status, requestId: 'A1' }])
    }
    const said = [429, 500, 416].map((status) => storageRefusal({ status, headers: {} }, 'cdn', 'a.bin').message)
    assert.equal(said, ['cdn limits the rate of requests', 'cdn answered with 500', 'cdn answered with 416'])
  })

  test('ask to wait', () => {
    for (const [headers, want] of WAITS) assert.is(wait(headers, NOW), want, JSON.stringify(headers))
  })

  test('name the next page', () => {
    for (const [link, want] of Object.entries(LINKS)) assert.is(nextPage({ link }), want, link)
    assert.is(nextPage({}), undefined)
  })

  test('say which bytes they are', () => {
    for (const [value, want] of Object.entries(RANGES))
      assert.equal(contentRange({ 'content-range': value }), want, value)
    assert.is(contentRange({}), undefined)
  })

  test('announce a digest', () => {
    for (const [headers, want] of DIGESTS) assert.is(announcedDigest(headers), want, JSON.stringify(headers))
  })

  test('come from URLs that are shown without secrets', () => {
    for (const [url, want] of Object.entries(SHOWN)) assert.is(shown(url), want)
  })
})

const SHA1 = 'c'.repeat(40)
const entry = (more: object): unknown => ({ type: 'file', path: 'a.bin', oid: SHA1, size: 5, ...more })

const UNREADABLE: Readonly<Record<string, unknown>> = {
  'a text': 'a.bin',
  'a list': [],
  'without a path': entry({ path: undefined }),
  'without a digest': entry({ oid: undefined }),
  'with a digest of another length': entry({ oid: 'abc' }),
  'with a digest in capitals': entry({ oid: 'C'.repeat(40) }),
  'without a size': entry({ size: undefined }),
  'with a negative size': entry({ size: -1 }),
  'with half a byte': entry({ size: 0.5 }),
  'with a size beyond all measure': entry({ size: 2 ** 60 }),
  'with a size in text': entry({ size: '5' }),
  'with a pointer to nothing': entry({ lfs: { size: 5 } }),
  'with a pointer to a short digest': entry({ lfs: { oid: SHA1, size: 5 } }),
}

const file = (path: string, size: number): RemoteFile => ({ path, size, digest: { kind: 'gitSha1', hex: SHA1 } })

const ALL: Filter = { include: [], exclude: [] }

/** Whatever is thrown, if it is a failure. */
function failureOf(work: () => unknown): Failure {
  try {
    work()
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const REPOSITORIES = fc
  .uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 8 }), fc.nat(1000)), {
    selector: ([path]) => path,
    minLength: 1,
    maxLength: 60,
  })
  .map((pairs) => pairs.map(([path, size]) => file(path, size)))

describe('a plan', (test) => {
  test('has files of both kinds', () => {
    assert.equal(remoteFile(entry({}), 'org/model'), file('a.bin', 5))
    for (const oid of [A64, `sha256:${A64}`]) {
      const want = { path: 'a.bin', size: 7, digest: { kind: 'sha256', hex: A64 } }
      assert.equal(remoteFile(entry({ lfs: { oid, size: 7, pointerSize: 130 } }), 'org/model'), want)
    }
  })

  test('has no folders, and nothing that stands where our notes stand', () => {
    assert.is(remoteFile(entry({ type: 'directory' }), 'org/model'), undefined)
    for (const path of ['.cache', '.cache/arks', '.cache/arks/complete.json', '.cache/huggingface/x'])
      assert.is(remoteFile(entry({ path }), 'org/model'), undefined, path)
    for (const path of ['.cache/other', '.cachet', 'a/.cache/arks', '.cache/arksmodel'])
      assert.is(remoteFile(entry({ path }), 'org/model')?.path, path)
  })

  for (const [name, value] of Object.entries(UNREADABLE)) {
    test(`is not made of an entry ${name}`, () => {
      const { reason, message } = failureOf(() => remoteFile(value, 'org/model'))
      assert.equal([reason, message], ['NetworkError', 'The listing of "org/model" cannot be read'])
    })
  }

  test('is not made of paths that leave the folder, or cannot stand in it', () => {
    const paths = [...HOSTILE_PATHS, '.cache/arks/../../x', 'a\ud800', 'x'.repeat(256), 'ü'.repeat(128)]
    for (const path of paths.filter((each) => !/^\.cache\/\w+\/[^.]/.test(each))) {
      const { reason, message } = failureOf(() => remoteFile(entry({ path }), 'org/model'))
      assert.is(reason, 'InvalidSpec')
      assert.is(message, `"org/model" has a file whose path must not be used: ${JSON.stringify(path)}`)
    }
  })

  test('takes all other paths', () => {
    const paths = ['...', '..a', 'a..', 'a b', '#', '%2e%2e', '~', 'C:', 'con', 'x'.repeat(255), '🙂', '-rf', 'a\nb']
    for (const path of paths) assert.is(remoteFile(entry({ path }), 'org/model')?.path, path)
  })

  test('begins with small files', () => {
    const files = [file('b', 5), file('a', 5), file('large', 90), file('empty', 0)]
    const order = selected(files, ALL, 'org/model').map(({ path }) => path)
    assert.equal(order, ['empty', 'a', 'b', 'large'])
  })

  test('says what left no file', () => {
    const none = (files: readonly RemoteFile[], filter: Partial<Filter>): readonly string[] => {
      const { reason, message } = failureOf(() => selected(files, { ...ALL, ...filter }, 'org/model'))
      return [reason, message]
    }
    assert.equal(none([], {}), ['NoMatchingFiles', '"org/model" has no files at this revision'])
    assert.equal(none([file('a', 1)], { exclude: ['*'] }), [
      'NoMatchingFiles',
      'Not the one file of "org/model" is left by --include (none) and --exclude ["*"]',
    ])
    assert.equal(none([file('a', 1), file('b', 1)], { include: ['x'] }), [
      'NoMatchingFiles',
      'None of the 2 files of "org/model" is left by --include ["x"] and --exclude (none)',
    ])
  })

  test('does not have a file that is a folder too', () => {
    const files = [file('a/b/c', 1), file('a-b', 1), file('a/b', 2)]
    const { reason, message } = failureOf(() => selected(files, ALL, 'org/model'))
    assert.equal([reason, message], ['InvalidSpec', '"org/model" has both a file and a folder "a/b"'])
    assert.is(selected(files, { include: [], exclude: ['a/b'] }, 'org/model').length, 2)
  })

  test('is divided among shards: each file to one, whatever their order, and as even as the files allow', async () => {
    await fc.assert(
      fc.asyncProperty(REPOSITORIES, fc.integer({ min: 1, max: 9 }), fc.integer(), async (files, count, seed) => {
        const shares = Array.from({ length: count }, (_, index) => share(files, { index, count }))
        const paths = shares.flat().map(({ path }) => path)
        assert.equal(paths.toSorted(), files.map(({ path }) => path).toSorted())

        const shuffled = files.toSorted((a, b) => order(a.path, seed) - order(b.path, seed))
        for (const [index, part] of shares.entries()) {
          const again = share(shuffled, { index, count })
          assert.equal(new Set(again.map(({ path }) => path)), new Set(part.map(({ path }) => path)))
        }

        const loads = shares.map((part) => bytesOf(part) + part.length)
        const largest = Math.max(...files.map(({ size }) => size + 1))
        assert.ok(Math.max(...loads) - Math.min(...loads) <= largest, loads.join(' '))
      }),
    )
  })

  test('keeps the order of a share', () => {
    const files = [file('a', 1), file('b', 90), file('c', 5), file('d', 50)]
    const parts = [0, 1].map((index) => share(files, { index, count: 2 }).map(({ path }) => path))
    assert.equal(parts, [['b'], ['a', 'c', 'd']])
  })
})

/** Another order for each seed. */
const order = (path: string, seed: number): number =>
  [...path].reduce((sum, character) => (Math.imul(sum, 31) ^ (character.codePointAt(0) ?? 0)) >>> 0, seed >>> 0)
