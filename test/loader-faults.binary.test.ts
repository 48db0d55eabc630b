import { readFileSync } from 'node:fs'
import { createServer, request as httpRequest } from 'node:http'
import { connect, createServer as createSocketServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { REASONS, type Reason } from '../crds/termination.ts'
import { describe } from './harness.ts'
import {
  type Fault,
  HOSTILE_PATHS,
  type Hub,
  type HubFile,
  type HubOptions,
  manyFiles,
  hub as newHub,
  type Repository,
  type Request,
  randomFile,
} from './hub.ts'
import { type Ended, sizeOf, startLoader, wrongFiles } from './loader.ts'
import { scratch } from './scratch.ts'

/** Not one that is known as a token by its form. */
const TOKEN = 'a-secret/4711+x'
const ID = 'org/model'
const CONFIG: HubFile = { path: 'config.json', bytes: Buffer.from('{"model_type": "x"}\n') }
/** Four ranges of a MiB, the last one shorter. */
const WEIGHTS = randomFile('model.safetensors', 3_500_000)
const FILES = [CONFIG, WEIGHTS]
const MODEL: Repository = { revisions: { main: FILES } }
/** With the one byte by which it is found out whether files may be read. */
const WHOLE = sizeOf(FILES) + 1
const MIB = 1 << 20
const MIDDLE = 1_750_000

/** What a row has to do with. */
interface Around {
  readonly hub: Hub
  readonly folder: string
  readonly proxy: Proxy
  /** In words of the hub's log. */
  readonly asked: (filter: Partial<Request>) => readonly Request[]
  readonly run: (args?: readonly string[], env?: Readonly<Record<string, string>>) => Promise<Ended>
}

interface Row {
  readonly why: string
  readonly options?: HubOptions
  readonly repository?: Repository
  readonly faults?: readonly Fault[] | ((hub: Hub) => readonly Fault[])
  readonly before?: (around: Around) => unknown
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>> | ((around: Around) => Readonly<Record<string, string>>)
  readonly want: Want
}

interface Want {
  /** `Loaded` if absent. */
  readonly reason?: Reason
  /** Of servers `HUB`, `CDN`, `THIRD` and `PLAIN` is shown. */
  readonly message?: string | RegExp
  /** Of the answer that ended it, whose identifier must then be told too. */
  readonly status?: number
  /** Of all files if absent. */
  readonly files?: readonly HubFile[]
  /** Content that the hub sent: as much, or between these. */
  readonly bytes?: number | readonly [number, number]
  readonly retries?: number
  readonly check?: (around: Around, ended: Ended) => unknown
}

const repositories = (repository: Repository): HubOptions => ({ repositories: { [ID]: repository } })
const privately = (repository: Repository): HubOptions => ({
  ...repositories(repository),
  tokens: { [TOKEN]: [ID], 'another-token': [] },
})
const only = (...files: readonly HubFile[]): Repository => ({ revisions: { main: files } })
const status = (code: number, more: Partial<Extract<Fault, { kind: 'status' }>> = {}): Fault => ({
  kind: 'status',
  status: code,
  ...more,
})
const text = (path: string, words = path): HubFile => ({ path, bytes: Buffer.from(words) })

const streams = (requests: readonly Request[]): readonly Request[] =>
  requests.filter(({ range }) => range === undefined)

/** Answers of the log that came at least so many ms after the one with this status. */
const waited = (hub: Hub, code: number, ms: number): void => {
  const limited = hub.log.findIndex((each) => each.status === code)
  const [first, next] = hub.log.slice(limited)
  const pause = (next?.startedAt ?? 0) - (first?.startedAt ?? 0)
  assert.ok(pause >= ms, `asked again after ${pause} ms, not ${ms}`)
}

/** Otherwise nothing was shown. */
const wasRefused = ({ asked }: Around): void => assert.ok(asked({ endpoint: 'cdn', status: 403 }).length > 0)

const ROWS: Readonly<Record<string, Row>> = {
  'a plain load': {
    why: 'each byte is fetched once',
    want: { bytes: WHOLE, retries: 0 },
  },
  'a connection that is cut': {
    why: 'a retry goes on at the byte that was reached',
    faults: [{ kind: 'cut', after: 500_000, covers: MIDDLE, times: 1 }],
    want: { bytes: [WHOLE, WHOLE + 500_000], retries: 1 },
  },
  'connections that are cut again and again': {
    why: 'there is no number of retries, as long as bytes come',
    faults: [{ kind: 'cut', after: 250_000, path: WEIGHTS.path, times: 10 }],
    want: { retries: 10 },
  },
  'a short body under the length of the whole': {
    why: 'what came is kept',
    faults: [{ kind: 'short', after: 500_000, covers: MIDDLE, times: 1 }],
    want: { bytes: WHOLE, retries: 1 },
  },
  'a short body under its own length': {
    why: 'an answer may end well and be less than asked for',
    faults: [{ kind: 'short', after: 500_000, announced: 'sent', covers: MIDDLE, times: 1 }],
    want: { bytes: WHOLE, retries: 1 },
  },
  'short bodies for ever': {
    why: 'an end without a byte of progress is in the end told',
    faults: [{ kind: 'short', after: 0, announced: 'sent', path: WEIGHTS.path }],
    args: ['--patience', '1'],
    want: {
      reason: 'NetworkError',
      status: 206,
      message: /^"model\.safetensors": the answer of CDN ended at byte \d+ of 3500000$/,
    },
  },
  '200 for a Range once': {
    why: 'one server of many may ignore ranges: what is there is not thrown away for it',
    faults: [{ kind: 'whole', covers: MIDDLE, times: 1 }],
    want: {
      retries: 1,
      check: ({ asked }) => assert.equal(streams(asked({ content: true })), []),
    },
  },
  '200 for each Range': {
    why: 'a server without ranges sends each file in one stream',
    faults: [{ kind: 'whole' }],
    want: { check: ({ asked }) => assert.is(streams(asked({ content: true, file: WEIGHTS.path })).length, 1) },
  },
  '200 for each Range, and the stream is cut': {
    why: 'a stream begins again from the first byte',
    faults: [{ kind: 'whole' }, { kind: 'cut', after: 3_400_000, path: WEIGHTS.path, times: 1 }],
    want: {},
  },
  'a server without ranges and many files': {
    why: 'it is not asked for ranges again for each file',
    repository: only(...[1, 2, 3, 4].map((seed) => randomFile(`${seed}.bin`, 1_500_000, seed))),
    faults: [{ kind: 'whole' }],
    args: ['--workers', '1'],
    want: {
      check: ({ asked }, { termination }) => {
        assert.ok((termination?.retries ?? 9) <= 2, `${termination?.retries} retries`)
        assert.is(streams(asked({ content: true })).length, 4)
      },
    },
  },
  'a wrong Content-Range once': {
    why: 'it is asked again',
    faults: [{ kind: 'wrong-range', covers: MIDDLE, times: 1 }],
    want: { retries: 1 },
  },
  'wrong Content-Ranges of several ranges at once': {
    why: 'a fault that passes may meet all that is under way',
    faults: [{ kind: 'wrong-range', path: WEIGHTS.path, skip: 1, times: 4 }],
    want: {},
  },
  'a wrong Content-Range always': {
    why: 'the server speaks of other bytes than it was asked for',
    faults: [{ kind: 'wrong-range', covers: MIDDLE }],
    want: {
      reason: 'ChecksumMismatch',
      status: 206,
      message: '"model.safetensors": asked for bytes 1048576-2097151/3500000, got "bytes 1048577-2097151/3500000"',
    },
  },
  'no Content-Range': {
    why: 'what the body is must be said',
    faults: [{ kind: 'wrong-range', value: '', covers: MIDDLE }],
    want: {
      reason: 'ChecksumMismatch',
      status: 206,
      message: '"model.safetensors": asked for bytes 1048576-2097151/3500000, got an answer without Content-Range',
    },
  },
  'a file that is longer than listed': {
    why: 'the size in Content-Range is compared',
    repository: only(CONFIG, { ...WEIGHTS, statedSize: 3_400_000 }),
    args: ['--connections', '1', '--workers', '1'],
    want: {
      reason: 'ChecksumMismatch',
      status: 206,
      message: /^"model\.safetensors": asked for bytes \d+-\d+\/3400000, got "bytes \d+-\d+\/3500000"$/,
    },
  },
  'a file that is shorter than listed': {
    why: 'there is nothing at the end of it',
    repository: only(CONFIG, { ...WEIGHTS, statedSize: 9_000_000 }),
    want: {
      reason: 'ChecksumMismatch',
      status: 206,
      message: /^"model\.safetensors": asked for bytes \d+-\d+\/9000000, got "bytes \d+-\d+\/3500000"$/,
    },
  },
  'a wrong ETag once': {
    why: 'it is asked again',
    faults: [{ kind: 'wrong-etag', path: WEIGHTS.path, skip: 1, times: 1 }],
    want: {},
  },
  'a wrong ETag always': {
    why: 'hundreds of gigabytes need not come to be found wrong',
    faults: [{ kind: 'wrong-etag', path: WEIGHTS.path }],
    want: {
      reason: 'ChecksumMismatch',
      status: 206,
      message: `"model.safetensors" is announced with another digest than listed: ${'0'.repeat(64)}`,
      check: (_, { termination }) => assert.is(termination?.doneBytes, CONFIG.bytes.length),
    },
  },
  'an ETag of the CDN that looks like a digest': {
    why: 'storage names what it stores in its own way',
    faults: [{ kind: 'wrong-etag', on: 'cdn' }],
    want: { bytes: WHOLE, retries: 0 },
  },
  'wrong bytes once': {
    why: 'a file is asked for once more',
    faults: [{ kind: 'flip', path: WEIGHTS.path, times: 1 }],
    want: { bytes: WHOLE + WEIGHTS.bytes.length },
  },
  'wrong bytes in a small file once': {
    why: 'those are verified by the digest of Git',
    faults: [{ kind: 'flip', path: CONFIG.path, times: 1 }],
    want: { bytes: WHOLE + CONFIG.bytes.length },
  },
  'wrong bytes always': {
    why: 'a wrong file is never left in the folder',
    faults: [{ kind: 'flip', path: WEIGHTS.path }],
    want: { reason: 'ChecksumMismatch', bytes: WHOLE + WEIGHTS.bytes.length, message: /^"model\.safetensors" came / },
  },
  'a slow server': {
    why: 'what moves is not idle',
    faults: [{ kind: 'rate', bytesPerSecond: 700_000 }],
    args: ['--timeout', '1', '--patience', '1'],
    want: { bytes: WHOLE, retries: 0 },
  },
  'an answer that stalls once': {
    why: 'what came before is kept',
    faults: [{ kind: 'stall', after: 300_000, covers: MIDDLE, times: 1 }],
    args: ['--timeout', '0.4'],
    want: { bytes: WHOLE, retries: 1 },
  },
  'answers that stall for ever': {
    why: 'patience is over when nothing comes anywhere',
    faults: [{ kind: 'stall', after: 0 }],
    args: ['--timeout', '0.3', '--patience', '1'],
    want: { reason: 'NetworkError', message: /^Nothing came from (HUB|CDN) for 0.3 s$/ },
  },
  'a server that takes requests and never answers': {
    why: 'the limit holds before the first byte too',
    faults: [{ kind: 'latency', ms: 60_000, on: 'revision' }],
    args: ['--timeout', '0.3', '--patience', '0.5'],
    want: { reason: 'NetworkError', message: 'Nothing came from HUB for 0.3 s' },
  },
  'a listing that stalls once': {
    why: 'the API is waited for like content',
    faults: [{ kind: 'stall', on: 'tree', after: 20, times: 1 }],
    args: ['--timeout', '0.3'],
    want: { retries: 1 },
  },
  'a connection that ends before any answer': {
    why: 'every request can be made again',
    faults: [
      { kind: 'drop', on: 'revision', times: 1 },
      { kind: 'drop', on: 'tree', reset: true, times: 1 },
      { kind: 'drop', on: 'resolve', times: 1 },
      { kind: 'drop', on: 'cdn', reset: true, skip: 1, times: 3 },
    ],
    want: { bytes: WHOLE },
  },
  'no connection lives long enough to answer': {
    why: 'what the system says is told',
    faults: [{ kind: 'drop', reset: true }],
    args: ['--patience', '0.5'],
    want: { reason: 'NetworkError', message: 'Cannot reach HUB: ECONNRESET (connection)' },
  },
  '429 with seconds to wait': {
    why: 'the wait is kept',
    faults: [status(429, { on: 'tree', headers: { 'Retry-After': '1' }, times: 1 })],
    want: { bytes: WHOLE, check: ({ hub }) => waited(hub, 429, 990) },
  },
  '429 with a date': {
    why: 'the wait is kept',
    faults: () => [
      status(429, { on: 'tree', headers: { 'Retry-After': new Date(Date.now() + 3000).toUTCString() }, times: 1 }),
    ],
    want: { bytes: WHOLE, check: ({ hub }) => waited(hub, 429, 990) },
  },
  "429 with the Hub's own header": {
    why: 'the wait is kept',
    faults: [status(429, { on: 'resolve', headers: { RateLimit: '"resolvers";r=0;t=1' }, skip: 1, times: 1 })],
    want: { bytes: WHOLE, check: ({ hub }) => waited(hub, 429, 990) },
  },
  '429 for longer than patience lasts': {
    why: 'nobody waits for what will not come',
    faults: [status(429, { on: 'tree', headers: { 'Retry-After': '3600' } })],
    want: {
      reason: 'RateLimited',
      status: 429,
      message: 'The Hub limits the rate of requests and asks to wait 3600 s',
    },
  },
  '429 of content for longer than patience lasts': {
    why: 'a worker tells the same as the main thread',
    faults: [status(429, { on: 'resolve', headers: { 'Retry-After': '3600' }, skip: 1 })],
    want: {
      reason: 'RateLimited',
      status: 429,
      message: 'The Hub limits the rate of requests and asks to wait 3600 s',
    },
  },
  '429 without a time': {
    why: 'it is waited out like other trouble',
    faults: [status(429, { times: 2, on: 'revision' })],
    want: { bytes: WHOLE, retries: 2 },
  },
  'a storm of 5xx': {
    why: 'it is waited out',
    faults: [
      status(503, { on: 'revision', times: 1 }),
      status(500, { on: 'tree', times: 1 }),
      status(502, { on: 'resolve', times: 1 }),
      status(504, { on: 'cdn', skip: 1, times: 4 }),
    ],
    want: { bytes: WHOLE },
  },
  '5xx for ever': {
    why: 'the next attempt may succeed',
    faults: [status(503, { on: 'tree', body: '{"error": "Service \\"x\\" is down"}' })],
    args: ['--patience', '0.5'],
    want: { reason: 'NetworkError', status: 503, message: 'The Hub answered with 503: Service "x" is down' },
  },
  '5xx of storage for ever': {
    why: 'it is told which server it was',
    faults: [status(503, { on: 'cdn' })],
    args: ['--patience', '0.5'],
    want: { reason: 'NetworkError', status: 503, message: 'CDN answered with 503' },
  },
  'a signed URL that lasts for a moment': {
    why: 'the Hub is asked for another one, and nothing is fetched again',
    faults: [
      { kind: 'expiry', ms: 400, path: WEIGHTS.path, skip: 1, times: 1 },
      { kind: 'latency', ms: 250, on: 'cdn' },
    ],
    args: ['--connections', '1'],
    want: { bytes: WHOLE, check: wasRefused },
  },
  'signed URLs for one use each': {
    why: 'each range has its own then',
    faults: [{ kind: 'expiry', uses: 1, path: WEIGHTS.path }],
    want: { bytes: WHOLE, check: wasRefused },
  },
  'a signed URL that is refused at once': {
    why: 'storage that refuses says nothing about the rights of the token',
    faults: [{ kind: 'expiry', uses: 0, times: 3 }],
    want: { bytes: WHOLE, check: wasRefused },
  },
  'signed URLs that are always refused': {
    why: 'storage that refuses says nothing about the rights of the token',
    faults: [{ kind: 'expiry', uses: 0 }],
    args: ['--patience', '0.5'],
    want: {
      reason: 'NetworkError',
      status: 403,
      message: /^CDN refuses the URL that the Hub signed for "[a-z.]+" with 403$/,
    },
  },
  'a redirect to another origin': {
    why: 'the token is for the Hub alone',
    options: privately({ ...MODEL, private: true }),
    faults: [{ kind: 'redirect', to: 'third' }],
    env: { HF_TOKEN: TOKEN },
    want: {
      bytes: WHOLE,
      check: ({ asked }) => {
        assert.ok(asked({ endpoint: 'third' }).length > 0)
        assert.ok(asked({ origin: 'hub' }).every(({ authorization }) => authorization === `Bearer ${TOKEN}`))
      },
    },
  },
  'a redirect loop': {
    why: 'it ends',
    faults: [{ kind: 'redirect', to: 'loop' }],
    args: ['--patience', '0.3'],
    want: {
      reason: 'NetworkError',
      message: 'More than 10 redirects from http://HUB/org/model/resolve/COMMIT/model.safetensors',
    },
  },
  'a redirect from https to http': {
    why: 'it is refused, not followed',
    options: { ...privately({ ...MODEL, private: true }), tls: true },
    faults: [{ kind: 'redirect', to: 'plain' }],
    env: ({ hub }) => ({ HF_TOKEN: TOKEN, NODE_EXTRA_CA_CERTS: authority(hub) }),
    want: {
      reason: 'NetworkError',
      message:
        /^https:\/\/HUB\/org\/model\/resolve\/COMMIT\/model\.safetensors redirects from https to http:\/\/PLAIN\/repos\/\S+, which is not followed$/,
      check: ({ asked }) => assert.equal(asked({ origin: 'plain' }), []),
    },
  },
  'a redirect to a file': {
    why: 'only the web is followed',
    faults: [{ kind: 'redirect', to: { location: 'file:///etc/passwd?Signature=x' } }],
    want: {
      reason: 'NetworkError',
      message: 'http://HUB/org/model/resolve/COMMIT/model.safetensors redirects to file:, which is not followed',
    },
  },
  'a redirect to nothing': {
    why: 'it is asked again',
    faults: [{ kind: 'redirect', to: { location: 'http://' }, times: 1 }],
    want: { bytes: WHOLE, retries: 1 },
  },
  'a repository that was renamed': {
    why: 'relative redirects are followed with the token',
    options: { ...repositories({ ...MODEL, private: true }), tokens: { [TOKEN]: ['org/renamed'] } },
    before: ({ hub }) => {
      hub.rename(ID, 'org/renamed')
    },
    env: { HF_TOKEN: TOKEN },
    want: { bytes: WHOLE },
  },
  'a public repository that was renamed': {
    why: 'relative redirects are followed',
    before: ({ hub }) => {
      hub.rename(ID, 'org/renamed')
    },
    want: { bytes: WHOLE },
  },
  'relative redirects to the cache of small files': {
    why: 'the Hub redirects them so',
    faults: [{ kind: 'redirect', to: 'relative' }],
    want: { bytes: WHOLE },
  },
  'a gated repository without a token': {
    why: 'its metadata is open: only the files tell',
    repository: { ...MODEL, gated: true },
    want: {
      reason: 'GatedRepo',
      status: 401,
      message: '"org/model" is gated: it takes a token of somebody who has access to it',
    },
  },
  'a gated repository with a token of somebody else': {
    why: 'the way to access is told',
    options: privately({ ...MODEL, gated: true }),
    env: { HF_TOKEN: 'another-token' },
    want: {
      reason: 'GatedRepo',
      status: 403,
      message: '"org/model" is gated, and the token has no access to it: ask for access on the page of the model',
      bytes: 0,
    },
  },
  'a gated repository with the right token': {
    why: 'it is like any other',
    options: privately({ ...MODEL, gated: true }),
    env: { HF_TOKEN: TOKEN },
    want: { bytes: WHOLE },
  },
  'a gated repository of which little is wanted': {
    why: 'small files are gated too',
    options: privately({ ...MODEL, gated: true }),
    args: ['--include', 'config.json'],
    want: { reason: 'GatedRepo', status: 401, message: /^"org\/model" is gated/ },
  },
  'a missing repository without a token': {
    why: 'the Hub says the same of private ones',
    options: {},
    want: {
      reason: 'RepositoryNotFound',
      status: 401,
      message: 'There is no "org/model", or it is private and takes a token',
    },
  },
  'a missing repository with a token': {
    why: 'the Hub says the same of private ones',
    options: { tokens: { [TOKEN]: [] } },
    env: { HF_TOKEN: TOKEN },
    want: {
      reason: 'RepositoryNotFound',
      status: 404,
      message: 'There is no "org/model", or the token may not see it',
    },
  },
  'a private repository with the right token': {
    why: 'the token goes with each request to the Hub',
    options: privately({ ...MODEL, private: true }),
    env: { HF_TOKEN: TOKEN },
    want: { bytes: WHOLE },
  },
  'a private repository without a token': {
    why: 'the Hub says the same of missing ones',
    options: privately({ ...MODEL, private: true }),
    want: {
      reason: 'RepositoryNotFound',
      status: 401,
      message: 'There is no "org/model", or it is private and takes a token',
    },
  },
  'a token that the Hub does not know': {
    why: 'even of open repositories nothing is shown to it',
    env: { HF_TOKEN: TOKEN },
    want: { reason: 'AuthenticationFailed', status: 401, message: 'The Hub does not know the token' },
  },
  'a mirror that refuses without a reason': {
    why: 'there is nothing else to tell',
    faults: [status(403, { on: 'revision' })],
    want: { reason: 'AuthenticationFailed', status: 403, message: 'The Hub refuses access without a token with 403' },
  },
  'a token with a line break behind it': {
    why: 'secrets are made from files',
    options: privately({ ...MODEL, private: true }),
    env: { HF_TOKEN: `${TOKEN}\r\n` },
    want: { bytes: WHOLE },
  },
  'a token in a file': {
    why: 'so is it mounted',
    options: privately({ ...MODEL, private: true }),
    env: () => ({ HF_TOKEN_PATH: join(scratch({ token: `${TOKEN}\n` }), 'token') }),
    want: { bytes: WHOLE },
  },
  'a token file that is not there': {
    why: 'huggingface_hub takes that for no token',
    env: { HF_TOKEN_PATH: '/nowhere/token' },
    want: { bytes: WHOLE },
  },
  'a disabled repository': {
    why: 'its owner has to speak with the Hub',
    repository: { ...MODEL, disabled: true },
    want: { reason: 'RepositoryDisabled', status: 403, message: 'The Hub has disabled access to "org/model"' },
  },
  'a revision that is not there': {
    why: 'it is named',
    args: ['--revision', 'refs/pr/1'],
    want: { reason: 'RevisionNotFound', status: 404, message: '"org/model" has no revision "refs/pr/1"' },
  },
  'a commit that is not there': {
    why: 'the listing tells, which is asked first then',
    args: ['--revision', 'a'.repeat(40)],
    want: { reason: 'RevisionNotFound', status: 404, message: `"org/model" has no revision "${'a'.repeat(40)}"` },
  },
  'filters that leave nothing': {
    why: 'they are shown',
    args: ['--include', '*.gguf', '--include', 'x"y', '--exclude', '*.bin'],
    want: {
      reason: 'NoMatchingFiles',
      message: 'None of the 2 files of "org/model" is left by --include ["*.gguf","x\\"y"] and --exclude ["*.bin"]',
    },
  },
  'a repository without files': {
    why: 'that is not the fault of filters',
    repository: only(),
    want: { reason: 'NoMatchingFiles', message: '"org/model" has no files at this revision' },
  },
  'a file that vanishes behind the listing': {
    why: 'it is named',
    faults: [status(404, { on: 'resolve', path: WEIGHTS.path, headers: { 'X-Error-Code': 'EntryNotFound' }, skip: 1 })],
    want: { reason: 'NoMatchingFiles', status: 404, message: '"org/model" at main has no file "model.safetensors"' },
  },
  'a file that a mirror cannot find': {
    why: 'the repository is there',
    faults: [status(404, { on: 'resolve', path: WEIGHTS.path })],
    want: { reason: 'NoMatchingFiles', status: 404, message: '"org/model" at main has no file "model.safetensors"' },
  },
  'names of all kinds': {
    why: 'each is asked for and stored as it is',
    repository: only(
      ...[
        'ünï/模型🙂.json',
        'a b/c d.txt',
        'a#b.txt',
        '100%.txt',
        '%2e%2e',
        '%41.txt',
        'a+b',
        'q?x=1',
        'a&b=c;d',
        '...',
      ]
        .concat([
          "it's",
          '"quoted"',
          '~',
          '-rf',
          'line\nbreak',
          '.hidden/.x',
          'e\u0301',
          '\u00e9',
          `${'ä'.repeat(60)}.json`,
        ])
        .map((path) => text(path)),
      { ...randomFile('large ü #?%+.safetensors', 1_200_000), lfs: true },
    ),
    want: {},
  },
  'the longest names': {
    why: 'notes beside a file have names of their own',
    repository: only(
      text('n'.repeat(255)),
      text(`${'ü'.repeat(123)}`),
      randomFile(`dir/${'w'.repeat(255)}`, 1_500_000),
      text(`${'d'.repeat(255)}/${'e'.repeat(255)}/f`),
    ),
    want: {},
  },
  'files without a byte': {
    why: 'there is no range to ask for',
    repository: only(text('__init__.py', ''), { ...text('empty.bin', ''), lfs: true }, CONFIG),
    want: { bytes: CONFIG.bytes.length + 1 },
  },
  'nothing but a file without a byte': {
    why: 'its access can be asked for nevertheless',
    repository: only(text('empty', '')),
    want: { bytes: 0 },
  },
  '100,000 files on 100 pages': {
    why: 'all are listed, and only what is wanted is kept',
    repository: { revisions: { main: manyFiles(100_000) } },
    args: ['--include', 'parts/09999?.txt'],
    want: {
      files: Array.from({ length: 10 }, (_, index) => manyFiles(100_000).at(99_990 + index)),
      check: ({ asked }) => assert.is(asked({ endpoint: 'tree' }).length, 100),
    },
  },
  'a later page that is not found once': {
    why: 'the repository was there a moment ago',
    options: { ...repositories(MODEL), pageSize: 1 },
    faults: [status(404, { on: 'tree', page: 2, times: 1 })],
    want: { bytes: WHOLE, retries: 1 },
  },
  'a later page that is never found': {
    why: 'half of a listing is none',
    options: { ...repositories(MODEL), pageSize: 1 },
    faults: [status(404, { on: 'tree', page: 2 })],
    args: ['--patience', '0.3'],
    want: {
      reason: 'NetworkError',
      status: 404,
      message: 'The Hub answered with 404 for a later page of the listing',
      bytes: 0,
    },
  },
  'a page that is cut': {
    why: 'a page is whole or asked for again',
    options: { ...repositories(MODEL), pageSize: 1 },
    faults: [
      { kind: 'cut', on: 'tree', page: 2, after: 30, times: 1 },
      { kind: 'short', on: 'tree', page: 1, after: 30, announced: 'sent', times: 1 },
    ],
    want: { bytes: WHOLE, retries: 2 },
  },
  'pages that go in a circle': {
    why: 'half of a listing is none',
    options: { ...repositories(MODEL), pageSize: 1 },
    faults: (hub) => [
      { kind: 'link', to: { location: `${hub.url}/api/models/${ID}/tree/${hub.commit(ID)}?recursive=true` } },
    ],
    want: { reason: 'NetworkError', message: 'The pages of the listing of "org/model" go in a circle', bytes: 0 },
  },
  'a link to the next page at another origin': {
    why: 'it is asked for at the endpoint, which alone is shown the token',
    options: { ...privately({ ...MODEL, private: true }), pageSize: 1 },
    faults: [{ kind: 'link', to: 'third' }],
    env: { HF_TOKEN: TOKEN },
    want: { bytes: WHOLE, check: ({ asked }) => assert.equal(asked({ origin: 'third' }), []) },
  },
  'a repository that changes between two pages': {
    why: 'both are of the same commit',
    options: { ...repositories(MODEL), pageSize: 1 },
    faults: (hub) => [
      {
        kind: 'call',
        on: 'tree',
        page: 1,
        times: 1,
        run: () => hub.setRepository(ID, only(text('config.json', '{}'), text('other'))),
      },
    ],
    want: { bytes: WHOLE, files: FILES },
  },
  'a branch that moves between two attempts': {
    why: 'a load never mixes two commits',
    before: async ({ hub, run }) => {
      hub.faults.push({ kind: 'stall', after: 100_000, path: WEIGHTS.path })
      assert.is((await run(['--timeout', '0.3', '--patience', '0.3'])).code, 30)
      hub.faults.length = 0
      hub.setRepository(ID, only(text('config.json', '{}'), randomFile(WEIGHTS.path, 2_000_000, 2)))
    },
    want: { files: FILES, check: ({ hub }, { termination }) => assert.is.not(termination?.commit, hub.commit(ID)) },
  },
  'a name that is not known': {
    why: 'which step failed is told',
    env: { HF_ENDPOINT: 'http://nowhere.invalid' },
    args: ['--patience', '0.3'],
    want: { reason: 'NetworkError', message: /^Cannot reach nowhere\.invalid: (ENOTFOUND|EAI_AGAIN) \(dns\)$/ },
  },
  'a port that nobody listens on': {
    why: 'which step failed is told',
    env: { HF_ENDPOINT: 'http://127.0.0.1:1' },
    args: ['--patience', '0.3'],
    want: { reason: 'NetworkError', message: 'Cannot reach 127.0.0.1:1: ECONNREFUSED (connect)' },
  },
  'a certificate of an unknown authority': {
    why: 'what to do is told',
    options: { ...repositories(MODEL), tls: true },
    args: ['--patience', '0.3'],
    want: {
      reason: 'NetworkError',
      message:
        'Cannot reach HUB: SELF_SIGNED_CERT_IN_CHAIN (tls); the certificate of a private authority goes into NODE_EXTRA_CA_CERTS',
    },
  },
  'the certificate of a private authority': {
    why: 'workers know it too',
    options: { ...repositories(MODEL), tls: true },
    env: ({ hub }) => ({ NODE_EXTRA_CA_CERTS: authority(hub) }),
    want: { bytes: WHOLE },
  },
  'connections under TLS that are cut': {
    why: 'they end in other ways than plain ones',
    options: { ...repositories(MODEL), tls: true },
    faults: [
      { kind: 'cut', after: 500_000, covers: MIDDLE, times: 1 },
      { kind: 'short', after: 500_000, covers: 3_000_000, times: 1 },
      { kind: 'drop', on: 'tree', times: 1 },
    ],
    env: ({ hub }) => ({ NODE_EXTRA_CA_CERTS: authority(hub) }),
    want: { retries: 3 },
  },
  'https where http is spoken': {
    why: 'an authority would not help',
    env: ({ hub }) => ({ HF_ENDPOINT: hub.url.replace('http:', 'https:') }),
    args: ['--patience', '0.3'],
    want: { reason: 'NetworkError', message: /^Cannot reach HUB: [A-Z_]+ \(tls\)$/ },
  },
  'a server that takes connections and never speaks TLS': {
    why: 'the limit holds before the first byte of an answer',
    env: ({ proxy }) => ({ HF_ENDPOINT: proxy.silentUrl.replace('http:', 'https:') }),
    args: ['--timeout', '0.3', '--patience', '0.3'],
    want: { reason: 'NetworkError', message: /^Nothing came from 127\.0\.0\.1:\d+ for 0\.3 s$/ },
  },
  'a proxy': {
    why: 'all goes through it',
    env: ({ proxy }) => ({ HTTP_PROXY: proxy.url }),
    want: { bytes: WHOLE, check: ({ proxy, hub }) => assert.is(proxy.log.length, hub.log.length) },
  },
  'a proxy for https': {
    why: 'it carries what it cannot read',
    options: { ...privately({ ...MODEL, private: true }), tls: true },
    env: ({ hub, proxy }) => ({ HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: authority(hub), HF_TOKEN: TOKEN }),
    want: {
      bytes: WHOLE,
      check: ({ proxy }) => {
        assert.ok(proxy.log.length > 1)
        assert.ok(proxy.log.every((line) => line.startsWith('CONNECT 127.0.0.1:')))
      },
    },
  },
  'a proxy that is not for this host': {
    why: 'NO_PROXY is honoured',
    env: ({ proxy }) => ({ HTTP_PROXY: proxy.url, NO_PROXY: 'example.org,127.0.0.1' }),
    want: { bytes: WHOLE, check: ({ proxy }) => assert.equal(proxy.log, []) },
  },
  'a proxy that is not there': {
    why: 'it is not the Hub that refused',
    env: { HTTP_PROXY: 'http://user:pass@127.0.0.1:1' },
    args: ['--patience', '0.3'],
    want: { reason: 'NetworkError', message: 'Cannot reach HUB: ECONNREFUSED (connect) at 127.0.0.1:1' },
  },
  'a proxy that asks for a password': {
    why: 'what to do is told',
    env: ({ proxy }) => ({ HTTP_PROXY: proxy.closedUrl }),
    args: ['--patience', '0.3'],
    want: {
      reason: 'NetworkError',
      message: 'The proxy refuses with 407: its URL must have a user and a password that it knows',
    },
  },
  'a proxy for https that asks for a password': {
    why: 'what to do is told',
    options: { ...repositories(MODEL), tls: true },
    env: ({ proxy }) => ({ HTTPS_PROXY: proxy.closedUrl }),
    args: ['--patience', '0.3'],
    want: {
      reason: 'NetworkError',
      message: 'The proxy refuses with 407: its URL must have a user and a password that it knows',
    },
  },
  'a proxy for https that never answers': {
    why: 'the limit holds for it too',
    options: { ...repositories(MODEL), tls: true },
    env: ({ proxy }) => ({ HTTPS_PROXY: proxy.silentUrl }),
    args: ['--timeout', '0.3', '--patience', '0.3'],
    want: { reason: 'NetworkError', message: 'Nothing came from HUB for 0.3 s' },
  },
  'an endpoint with a path': {
    why: 'mirrors lie below one',
    options: { ...privately({ ...MODEL, private: true }), base: '/artifactory/api/huggingfaceml/x', pageSize: 1 },
    env: ({ hub }) => ({ HF_TOKEN: TOKEN, HF_ENDPOINT: `${hub.url}/` }),
    want: { bytes: WHOLE },
  },
  'a link to the next page without the path of the endpoint': {
    why: "a mirror may pass the Hub's own through",
    options: { ...repositories(MODEL), base: '/artifactory/api/huggingfaceml/x', pageSize: 1 },
    faults: (hub) => [
      {
        kind: 'link',
        to: { location: `/api/models/${ID}/tree/${hub.commit(ID)}?recursive=true&cursor=MToy` },
        times: 1,
      },
    ],
    want: { bytes: WHOLE },
  },
  'a mirror that serves the bytes itself': {
    why: 'there is no storage to be sent to',
    options: { ...privately({ ...MODEL, private: true }), mirror: true },
    env: { HF_TOKEN: TOKEN },
    want: { bytes: WHOLE, check: ({ asked }) => assert.equal(asked({ origin: 'cdn' }), []) },
  },
  'a mirror that knows no ranges': {
    why: 'there are such',
    options: { ...repositories(MODEL), mirror: true },
    faults: [{ kind: 'whole' }],
    want: {},
  },
  'a page of HTML in place of the API': {
    why: 'a gateway puts itself between',
    faults: [status(200, { on: 'revision', headers: { 'Content-Type': 'text/html' }, body: '<html>Log in' })],
    args: ['--patience', '0.3'],
    want: { reason: 'NetworkError', status: 200, message: 'HUB answered with something else than JSON' },
  },
  'a page of HTML once': {
    why: 'it passes',
    faults: [status(200, { on: 'tree', body: '<html>Just a moment', times: 1 })],
    want: { bytes: WHOLE, retries: 1 },
  },
  'a page of HTML in place of content': {
    why: 'it is as little the file as anything else',
    faults: [status(200, { on: 'cdn', body: '<html>Log in', skip: 1 })],
    want: {
      reason: 'ChecksumMismatch',
      status: 200,
      message: '"model.safetensors" has 3500000 bytes as listed, CDN sends 12',
    },
  },
  'a stream that always ends at the same byte': {
    why: 'bytes come, and are fetched in vain',
    options: { ...repositories(MODEL), mirror: true },
    faults: [{ kind: 'whole' }, { kind: 'cut', after: 2_000_000, path: WEIGHTS.path }],
    want: { reason: 'NetworkError', status: 200, message: 'The connection to HUB broke: ECONNRESET' },
  },
  'content that is compressed': {
    why: 'its bytes are others than those that were asked for',
    faults: [status(200, { on: 'cdn', headers: { 'Content-Encoding': 'gzip' }, body: 'x', skip: 1 })],
    args: ['--patience', '0.3'],
    want: { reason: 'NetworkError', status: 200, message: 'CDN answered in gzip, which was not asked for' },
  },
  'JSON that is no listing': {
    why: 'it cannot be gone on with',
    faults: [status(200, { on: 'tree', body: '{"entries": []}' })],
    want: { reason: 'NetworkError', message: 'The listing of "org/model" cannot be read' },
  },
  'a listing with an entry that is none': {
    why: 'a file that is not understood must not be left out',
    faults: [status(200, { on: 'tree', body: '[{"type": "file", "path": "x", "oid": "123", "size": 1}]' })],
    want: { reason: 'NetworkError', message: 'The listing of "org/model" cannot be read' },
  },
  'a revision without a commit': {
    why: 'a branch is not enough to load by',
    faults: [status(200, { on: 'revision', body: '{"sha": "main"}' })],
    want: { reason: 'NetworkError', message: 'The Hub names no commit for "main" of "org/model"' },
  },
  'an answer of the API without end': {
    why: 'memory is bounded',
    faults: [status(200, { on: 'tree', body: ' '.repeat(40 * MIB) })],
    args: ['--patience', '0'],
    want: { reason: 'NetworkError', status: 200, message: 'HUB answered with more than 32 MiB where JSON belongs' },
  },
  'all faults at once': {
    why: 'none hides another',
    repository: only(CONFIG, WEIGHTS, ...[1, 2, 3].map((seed) => randomFile(`part-${seed}.bin`, 2_200_000, seed))),
    faults: [
      { kind: 'cut', after: 300_000, on: 'cdn', skip: 2, times: 3 },
      { kind: 'short', after: 200_000, skip: 3, times: 2 },
      { kind: 'stall', after: 100_000, skip: 4, times: 2 },
      { kind: 'drop', skip: 5, times: 3 },
      { kind: 'expiry', uses: 2, times: 4 },
      { kind: 'wrong-range', skip: 4, times: 1 },
      { kind: 'whole', skip: 6, times: 1 },
      { kind: 'redirect', to: 'third', skip: 2, times: 2 },
      { kind: 'flip', on: ['cdn', 'third'], skip: 3, times: 1 },
      status(503, { skip: 6, times: 3 }),
      status(429, { skip: 8, times: 2, headers: { RateLimit: '"resolvers";r=0;t=1' } }),
      { kind: 'rate', bytesPerSecond: 4_000_000, skip: 3, times: 4 },
    ],
    args: ['--timeout', '0.4'],
    want: {},
  },
  'words of the Hub that hold the token': {
    why: 'secrets are hidden wherever they come from',
    options: privately({ ...MODEL, private: true }),
    env: { HF_TOKEN: TOKEN },
    faults: [status(403, { on: 'tree', headers: { 'X-Error-Message': `The token ${TOKEN} has no access.` } })],
    want: {
      reason: 'AuthenticationFailed',
      status: 403,
      message: 'The Hub refuses the token with 403: The token … has no access',
    },
  },
  'words of the Hub that hold a signature': {
    why: 'secrets are hidden wherever they come from',
    faults: [status(403, { on: 'tree', body: '{"error": "no access to https://s3/x?X-Amz-Signature=y"}' })],
    want: {
      reason: 'AuthenticationFailed',
      status: 403,
      message: 'The Hub refuses access without a token with 403: no access to https://s3/x',
    },
  },
  'a report for people': {
    why: 'it shows as little as the other one',
    options: privately({ ...MODEL, private: true }),
    env: { HF_TOKEN: TOKEN },
    faults: [
      { kind: 'expiry', uses: 1, times: 2 },
      { kind: 'cut', after: 100_000, times: 1 },
      status(503, { on: 'tree', times: 1 }),
    ],
    args: ['--log-format', 'text'],
    want: {
      check: (_, { stdout, stderr }) => {
        assert.match(stdout, /^Loaded "org\/model": 2 files, .* received in [\d.]+ s\n$/)
        assert.match(stderr, /The Hub answered with 503; trying again\n/)
      },
    },
  },
  'a body that is longer than was asked for': {
    why: 'it is cut off, and asked for again',
    faults: [
      status(206, {
        on: 'cdn',
        body: 'x'.repeat(2 * MIB),
        headers: { 'Content-Range': 'bytes 1048576-2097151/3500000' },
        covers: MIDDLE,
        times: 1,
      }),
    ],
    want: { reason: 'Loaded' },
  },
  'a listing with half a character in a path': {
    why: 'such a path can neither be asked for nor be stored',
    faults: [
      status(200, { on: 'tree', body: `[{"type":"file","path":"a\\ud800","oid":"${'a'.repeat(40)}","size":1}]` }),
    ],
    want: { reason: 'InvalidSpec', message: /^"org\/model" has a file whose path must not be used: / },
  },
  'a listing with a file that is a folder too': {
    why: 'both cannot be stored',
    repository: only(text('a'), text('a/b')),
    want: { reason: 'InvalidSpec', message: '"org/model" has both a file and a folder "a"' },
  },
  ...Object.fromEntries(
    HOSTILE_PATHS.map((path): [string, Row] => [
      `the path ${JSON.stringify(path)}`,
      path.startsWith('.cache/')
        ? {
            why: 'what a downloader left in a repository is left out',
            repository: only(CONFIG, text(path, 'x')),
            want: { bytes: CONFIG.bytes.length + 1, files: [CONFIG] },
          }
        : {
            why: 'nothing is ever written outside of the folder, or by another name',
            repository: only(CONFIG, text(path, 'x')),
            want: {
              reason: 'InvalidSpec',
              message: `"org/model" has a file whose path must not be used: ${JSON.stringify(path)}`,
              bytes: 0,
            },
          },
    ]),
  ),
}

interface Proxy {
  readonly url: string
  /** Asks for a password. */
  readonly closedUrl: string
  /** Takes connections and says nothing. */
  readonly silentUrl: string
  readonly log: readonly string[]
  close(): void
}

/** Forwards and tunnels to wherever it is told. */
async function newProxy(): Promise<Proxy> {
  const log: string[] = []
  const open = createServer((request, response) => {
    log.push(`${request.method} ${request.url}`)
    const onward = httpRequest(request.url ?? '', { headers: request.headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    response.on('close', () => onward.destroy())
    onward.end()
  })
  open.on('connect', ({ url = '' }, socket: Socket) => {
    log.push(`CONNECT ${url}`)
    const { hostname, port } = new URL(`http://${url}`)
    const onward = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      onward.pipe(socket).pipe(onward)
    })
    for (const [end, other] of [
      [socket, onward],
      [onward, socket],
    ] as const)
      end.on('error', () => other.destroy()).on('close', () => other.destroy())
  })
  const closed = createServer((_, response) => response.writeHead(407).end())
  closed.on('connect', (_, socket: Socket) => socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'))
  const sockets = new Set<Socket>()
  const silent = createSocketServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).resume()
  })
  const [url, closedUrl, silentUrl] = await Promise.all([open, closed, silent].map(listening))
  if (url === undefined || closedUrl === undefined || silentUrl === undefined) throw new Error('three must listen')
  return {
    url,
    closedUrl,
    silentUrl,
    log,
    close() {
      for (const server of [open, closed]) {
        server.close()
        server.closeAllConnections()
      }
      silent.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

const listening = (server: Server): Promise<string> =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address !== null && typeof address === 'object') resolve(`http://127.0.0.1:${address.port}`)
    })
  })

const authority = ({ ca = '' }: Hub): string => join(scratch({ 'ca.pem': ca }), 'ca.pem')

const USUAL = ['--segment', '1', '--connections', '4', '--workers', '2', '--patience', '20', '--timeout', '10']

/** Later flags take the place of the usual ones. */
function flags(args: readonly string[]): readonly string[] {
  const usual = Array.from({ length: USUAL.length / 2 }, (_, index) => USUAL.slice(2 * index, 2 * index + 2))
  return [...usual.filter(([flag = '']) => !args.includes(flag)).flat(), ...args]
}

/** Runs a row, and looks at what has to hold of each. */
async function run(row: Row): Promise<void> {
  const { why, repository = MODEL, options = repositories(repository), faults = [], args = [], env = {}, want } = row
  await using hub = await newHub(options)
  const proxy = await newProxy()
  try {
    const folder = join(scratch({}), 'model')
    const around: Around = {
      hub,
      folder,
      proxy,
      asked: (filter) =>
        hub.log.filter((request) =>
          Object.entries(filter).every(([key, value]) => Reflect.get(request, key) === value),
        ),
      run: (more = [], environment = {}) =>
        watched([ID, '--to', folder, ...flags(more)], { HF_ENDPOINT: hub.url, ...environment }),
    }
    const commit = options.repositories?.[ID] === undefined ? '' : hub.commit(ID)
    const listed = Object.values(options.repositories?.[ID]?.revisions ?? {})[0]
    await row.before?.(around)
    hub.clearLog()
    hub.faults.push(...(typeof faults === 'function' ? faults(hub) : faults))
    const ended = await around.run(args, typeof env === 'function' ? env(around) : env)
    const { code, stdout, stderr, termination } = ended
    const { reason = 'Loaded', message, bytes } = want
    const context = `${why}\n${stdout}${stderr}`

    assert.is(termination?.reason, reason, context)
    assert.is(code, REASONS[reason].exitCode, context)
    assert.is(termination?.retryable, REASONS[reason].retryable, context)
    const told = (termination?.message ?? '')
      .replaceAll(new URL(hub.url).host, 'HUB')
      .replaceAll(new URL(hub.cdnUrl).host, 'CDN')
      .replaceAll(new URL(hub.thirdUrl).host, 'THIRD')
      .replaceAll(new URL(hub.plainUrl).host, 'PLAIN')
      .replaceAll(commit === '' ? '-' : commit, commit === '' ? '-' : 'COMMIT')
    if (reason === 'Loaded')
      assert.match(told, /^Loaded "org\/model": \d+ files?, \S+ \w+, \S+ \w+ received in [\d.]+ s$/)
    if (typeof message === 'string') assert.is(told, message, context)
    else if (message !== undefined) assert.match(told, message, context)
    assert.match(told, /^["A-Z]|^https?:/, 'begins as a sentence does')
    assert.not.match(told, /\.$|undefined|\[object/, 'ends without a full stop, and says what it speaks of')
    assert.is(termination?.status, want.status, context)
    if (want.status !== undefined) {
      const ids = hub.log.filter((each) => each.status === want.status).map(({ requestId }) => requestId)
      if (ids.length > 0) assert.ok(ids.includes(termination?.requestId ?? ''), `${context}\n${termination?.requestId}`)
    }
    if (want.retries !== undefined) assert.is(termination?.retries, want.retries, context)

    const sent = hub.bytesSent()
    if (typeof bytes === 'number') assert.is(sent, bytes, context)
    else if (bytes !== undefined) assert.ok(sent >= bytes[0] && sent <= bytes[1], `${sent} bytes: ${context}`)

    const files = want.files ?? (listed !== undefined && !('count' in listed) ? listed : [])
    if (reason === 'Loaded') {
      assert.equal(wrongFiles(folder, files), [], context)
      assert.is(termination?.files, files.length, context)
      assert.is(termination?.filesDone, files.length, context)
      assert.is(termination?.totalBytes, sizeOf(files), context)
      assert.is(termination?.doneBytes, sizeOf(files), context)
    }
    assert.equal(hub.leaks, [], 'no other origin is shown the token')
    await want.check?.(around, ended)
    assertNothingIsShown(ended)
  } finally {
    proxy.close()
  }
}

function assertNothingIsShown({ stdout, stderr, termination }: Ended): void {
  const all = `${stdout}${stderr}${JSON.stringify(termination)}`
  for (const secret of [TOKEN, 'another-token', 'X-Amz-', 'Signature', 'user:pass'])
    assert.not.ok(all.includes(secret), `"${secret}" stands in ${all}`)
  if (stdout.startsWith('Loaded')) return
  for (const line of stdout.trim().split('\n')) assert.type(JSON.parse(line), 'object')
  assert.is(stderr, '')
}

/** What hangs is a failure. */
const MAX_MS = 30_000
/** The most memory that a run may take, whatever the model. */
const MAX_RSS_KIB = 256 * 1024

async function watched(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  const { child, ended } = startLoader(args, env)
  let most = 0
  const timer = setInterval(() => {
    try {
      // The most since it began, so that the last look before its end is enough.
      const [, kib = '0'] = /^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? []
      most = Math.max(most, Number(kib))
    } catch {
      clearInterval(timer)
    }
  }, 50)
  const late = setTimeout(() => child.kill('SIGKILL'), MAX_MS)
  try {
    return await ended
  } finally {
    clearTimeout(late)
    clearInterval(timer)
    assert.ok(most < MAX_RSS_KIB, `${most} KiB of memory`)
  }
}

const AT_ONCE = 4

/** Rows are run beside each other, and told in their order. */
function started<T>(works: readonly (() => Promise<T>)[]): readonly Promise<T>[] {
  let underway = 0
  const waiting: (() => void)[] = []
  const turn = async (): Promise<void> => {
    if (underway < AT_ONCE) underway++
    else await new Promise<void>((resolve) => waiting.push(resolve))
  }
  return works.map(async (work) => {
    await turn()
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) underway--
      else next()
    }
  })
}

describe('a load under faults', (test) => {
  const runs = started(Object.values(ROWS).map((row) => () => run(row)))
  for (const each of runs) each.catch(() => undefined)
  for (const [index, name] of Object.keys(ROWS).entries()) test(name, () => runs[index])
})
