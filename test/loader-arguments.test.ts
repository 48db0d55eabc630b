import { createServer } from 'node:http'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { FLAGS, HELP, parseArguments, type Request, tokenOf, variableOf } from '../loader/arguments.ts'
import { describe } from './harness.ts'
import { load } from './loader.ts'
import { scratch } from './scratch.ts'

const MIB = 1024 * 1024
const MODEL = ['org/model', '--to', 'dir']
/** What is asked for by `MODEL` alone. */
const PLAIN: Extract<Request, { kind: 'load' }> = {
  kind: 'load',
  repo: 'org/model',
  to: 'dir',
  revision: 'main',
  filter: { include: [], exclude: [] },
  endpoint: 'https://huggingface.co',
  token: undefined,
  tokenFile: undefined,
  reuse: undefined,
  shard: undefined,
  patienceMs: 600_000,
  idleMs: 30_000,
  connections: 16,
  segmentBytes: 4 * MIB,
  workers: undefined,
  port: undefined,
  terminationLog: undefined,
  format: undefined,
}

/** Nobody has named it. */
function usual(path: string): (typeof PLAIN)['tokenFile'] {
  return { path, called: path, absent: ['ENOENT', 'ENOTDIR', 'EACCES'] }
}

interface Row {
  readonly why: string
  /** Behind `MODEL`. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly want: Partial<typeof PLAIN>
}

const ROWS: Readonly<Record<string, Row>> = {
  nothing: { why: 'each option has its value without', want: {} },
  '--revision': { why: 'branches have slashes', args: ['--revision', 'refs/pr/1'], want: { revision: 'refs/pr/1' } },
  '--include and --exclude': {
    why: 'both may be given again',
    args: ['--include', '*.json', '--exclude', 'a/', '--include=*.txt'],
    want: { filter: { include: ['*.json', '*.txt'], exclude: ['a/'] } },
  },
  'a pattern that looks like a flag': {
    why: 'with = everything is a value',
    args: ['--include=--to', '--exclude', '-x'],
    want: { filter: { include: ['--to'], exclude: ['-x'] } },
  },
  '--endpoint': {
    why: 'a mirror may lie below a path',
    args: ['--endpoint', 'HTTP://Mirror:80/artifactory/x//'],
    want: { endpoint: 'http://mirror/artifactory/x' },
  },
  HF_ENDPOINT: {
    why: "it is huggingface_hub's name for it",
    env: { HF_ENDPOINT: ' https://hf-mirror.com/ ' },
    want: { endpoint: 'https://hf-mirror.com' },
  },
  'HF_ENDPOINT, empty': { why: 'empty is not given', env: { HF_ENDPOINT: '' }, want: {} },
  '--endpoint and HF_ENDPOINT': {
    why: 'the command line wins',
    args: ['--endpoint', 'http://a'],
    env: { HF_ENDPOINT: 'http://b' },
    want: { endpoint: 'http://a' },
  },
  HF_TOKEN: { why: 'line breaks are not part of it', env: { HF_TOKEN: ' tok/en+1 \r\n' }, want: { token: 'tok/en+1' } },
  'HF_TOKEN, blank': { why: 'it is none', env: { HF_TOKEN: '\n' }, want: {} },
  HF_TOKEN_PATH: {
    why: 'it is a file',
    env: { HF_TOKEN_PATH: '/token' },
    want: { tokenFile: { path: '/token', called: 'HF_TOKEN_PATH: /token', absent: ['ENOENT'] } },
  },
  HF_HOME: {
    why: 'hf auth login leaves the token there',
    env: { HF_HOME: '/hf', HOME: '/me' },
    want: { tokenFile: { path: '/hf/token', called: 'HF_HOME: /hf/token', absent: ['ENOENT'] } },
  },
  'HF_HOME with ~': {
    why: 'no shell has seen it',
    env: { HF_HOME: '~/hf', HOME: '/home/$&' },
    want: { tokenFile: { path: '/home/$&/hf/token', called: 'HF_HOME: /home/$&/hf/token', absent: ['ENOENT'] } },
  },
  'HF_HOME and HF_TOKEN_PATH': {
    why: 'the file is named more exactly',
    env: { HF_HOME: '/hf', HF_TOKEN_PATH: '~/t', HOME: '/me' },
    want: { tokenFile: { path: '/me/t', called: 'HF_TOKEN_PATH: /me/t', absent: ['ENOENT'] } },
  },
  HOME: {
    why: 'that is where HF_HOME is without being said',
    env: { HOME: '/me', HF_HOME: '' },
    want: { tokenFile: usual('/me/.cache/huggingface/token') },
  },
  XDG_CACHE_HOME: {
    why: 'huggingface_hub looks there first',
    env: { HOME: '/me', XDG_CACHE_HOME: '/cache' },
    want: { tokenFile: usual('/cache/huggingface/token') },
  },
  '--token-file and HF_TOKEN': {
    why: 'the command line wins',
    args: ['--token-file', '/t'],
    env: { HF_TOKEN: 'x', HF_TOKEN_PATH: '/y' },
    want: { tokenFile: { path: '/t', called: '--token-file: /t', absent: [] } },
  },
  'ARKS_LOADER_TOKEN_FILE and HF_TOKEN': {
    why: 'what is said to this program wins',
    env: { ARKS_LOADER_TOKEN_FILE: '/t', HF_TOKEN: 'x', HF_TOKEN_PATH: '/y', HF_HOME: '/z' },
    want: { tokenFile: { path: '/t', called: 'ARKS_LOADER_TOKEN_FILE: /t', absent: [] } },
  },
  'a flag and both its variables': {
    why: 'the command line wins',
    args: ['--timeout', '1'],
    env: { ARKS_LOADER_TIMEOUT: '2', HF_HUB_DOWNLOAD_TIMEOUT: '3' },
    want: { idleMs: 1000 },
  },
  'a flag and its wrong variable': {
    why: 'what is not used need not be right',
    args: ['--connections', '1'],
    env: { ARKS_LOADER_CONNECTIONS: 'many' },
    want: { connections: 1 },
  },
  'both variables': {
    why: 'ours is meant for this program',
    env: { ARKS_LOADER_TIMEOUT: '2', HF_HUB_DOWNLOAD_TIMEOUT: '3', ARKS_LOADER_ENDPOINT: 'http://a', HF_ENDPOINT: 'b' },
    want: { idleMs: 2000, endpoint: 'http://a' },
  },
  'both variables, ours empty': {
    why: 'empty is not given',
    env: { ARKS_LOADER_TIMEOUT: ' \n', HF_HUB_DOWNLOAD_TIMEOUT: '3' },
    want: { idleMs: 3000 },
  },
  'patterns in lines': {
    why: 'a block of YAML has them so',
    env: { ARKS_LOADER_INCLUDE: '*.json\r\n\n  a b/*\n', ARKS_LOADER_EXCLUDE: '\n' },
    want: { filter: { include: ['*.json', 'a b/*'], exclude: [] } },
  },
  'patterns as flags and in lines': {
    why: 'the command line wins, and nothing is added to it',
    args: ['--include', 'a'],
    env: { ARKS_LOADER_INCLUDE: 'b', ARKS_LOADER_EXCLUDE: 'c' },
    want: { filter: { include: ['a'], exclude: ['c'] } },
  },
  'variables of Services': {
    why: 'Kubernetes makes them, the first one of a Service "arks-loader"',
    env: {
      ARKS_LOADER_PORT: 'tcp://10.0.0.1:80',
      ARKS_LOADER_PORT_80_TCP: 'tcp://10.0.0.1:80',
      ARKS_LOADER_PORT_80_TCP_PORT: '80',
      ARKS_LOADER_SERVICE_HOST: '10.0.0.1',
      ARKS_LOADER_SERVICE_PORT: '80',
      ARKS_LOADER_SERVICE_PORT_METRICS: '80',
      ARKSMODEL_PORT: 'tcp://10.0.0.1:80',
      ARKSMODEL_CONTROLLER_METRICS_SERVICE_HOST: '10.0.0.1',
    },
    want: {},
  },
  'the port of a Service of UDP': {
    why: 'Kubernetes writes them alike',
    env: { ARKS_LOADER_PORT: 'udp://[fd00::1]:80' },
    want: {},
  },
  'HF_TOKEN and HF_TOKEN_PATH': {
    why: 'which wins is decided where files are read',
    env: { HF_TOKEN: 'x', HF_TOKEN_PATH: '/y' },
    want: { token: 'x', tokenFile: { path: '/y', called: 'HF_TOKEN_PATH: /y', absent: ['ENOENT'] } },
  },
  '--reuse': { why: 'a folder', args: ['--reuse', '/models'], want: { reuse: '/models' } },
  '--shard': { why: 'counted from 0', args: ['--shard', '2/3'], want: { shard: { index: 2, count: 3 } } },
  '--shard 0/1': { why: 'that is all', args: ['--shard', '0/1'], want: {} },
  '--patience': { why: 'seconds', args: ['--patience', '1.5'], want: { patienceMs: 1500 } },
  '--patience 0': { why: 'to give up at once', args: ['--patience', '0'], want: { patienceMs: 0 } },
  '--timeout': { why: 'seconds', args: ['--timeout', '0.3'], want: { idleMs: 300 } },
  HF_HUB_DOWNLOAD_TIMEOUT: {
    why: "it is huggingface_hub's name for it",
    env: { HF_HUB_DOWNLOAD_TIMEOUT: '86400' },
    want: { idleMs: 86_400_000 },
  },
  '--connections': { why: 'a number', args: ['--connections', '1'], want: { connections: 1 } },
  '--segment': { why: 'MiB', args: ['--segment', '64'], want: { segmentBytes: 64 * MIB } },
  '--workers': { why: 'a number', args: ['--workers', '8'], want: { workers: 8 } },
  '--port': { why: '0 is none', args: ['--port', '0'], want: { port: 0 } },
  '--termination-log': { why: 'a file', args: ['--termination-log', '/x'], want: { terminationLog: '/x' } },
  '--log-format': { why: 'one of two', args: ['--log-format=json'], want: { format: 'json' } },
}

/** Values of each flag, all of them other than what it is without. */
const SAMPLES: Readonly<Record<string, readonly string[]>> = {
  '--to': ['another'],
  '--revision': ['refs/pr/1'],
  '--include': ['*.json', 'a b/*'],
  '--exclude': ['*.bin', 'c/'],
  '--endpoint': ['https://mirror/x'],
  '--token-file': ['/token'],
  '--reuse': ['/models'],
  '--shard': ['1/2'],
  '--patience': ['1800'],
  '--timeout': ['0.5'],
  '--connections': ['8'],
  '--segment': ['2'],
  '--workers': ['3'],
  '--port': ['9000'],
  '--termination-log': ['/x'],
  '--log-format': ['json'],
}

/** With what is wrong with them. */
const WRONG: Readonly<Record<string, readonly [args: readonly string[], message: string]>> = {
  'no model': [['--to', 'x'], 'must be told which model to load, as ORG/MODEL'],
  'two models': [['a/b', 'c/d', '--to', 'x'], 'must be told one model, got "a/b" and "c/d"'],
  'an address': [
    ['https://huggingface.co/a/b', '--to', 'x'],
    'must be a model such as "Qwen/Qwen2.5-0.5B", got "https://huggingface.co/a/b"',
  ],
  'a path': [['../b', '--to', 'x'], 'must be a model such as "Qwen/Qwen2.5-0.5B", got "../b"'],
  'a model of three parts': [['a/b/c', '--to', 'x'], 'must be a model such as "Qwen/Qwen2.5-0.5B", got "a/b/c"'],
  'an empty model': [['', '--to', 'x'], 'must be a model such as "Qwen/Qwen2.5-0.5B", got ""'],
  'no folder': [['a/b'], '--to: must be given: the folder where the model goes'],
  'a flag without a value': [['a/b', '--to'], '--to: must be followed by a value'],
  'a flag with nothing behind =': [['a/b', '--to='], '--to: must be followed by a value'],
  'a flag behind a flag': [['a/b', '--to', '--revision', 'x'], '--to: must be followed by a value'],
  'a flag twice': [[...MODEL, '--to', 'y'], '--to: must not be given twice'],
  'an unknown flag': [[...MODEL, '--color'], 'unknown flag --color'],
  'an unknown flag of one letter': [[...MODEL, '-x'], 'unknown flag -x'],
  'a flag with a letter too few': [[...MODEL, '--revison', 'v1'], 'unknown flag --revison; did you mean --revision?'],
  'a flag with another word': [[...MODEL, '--includes=*.json'], 'unknown flag --includes; did you mean --include?'],
  'a flag with one dash': [[...MODEL, '-shard', '0/2'], 'unknown flag -shard; did you mean --shard?'],
  'a flag with capitals': [[...MODEL, '--Port', '1'], 'unknown flag --Port; did you mean --port?'],
  'a long flag': [[...MODEL, `--${'x'.repeat(100)}`], `unknown flag --${'x'.repeat(38)}`],
  'a revision of dots': [[...MODEL, '--revision', '..'], '--revision: must be a branch, tag or commit, got ".."'],
  'an endpoint without a scheme': [
    [...MODEL, '--endpoint', 'hf-mirror.com'],
    '--endpoint: must be a URL with http or https, got "hf-mirror.com"',
  ],
  'an endpoint of another scheme': [
    [...MODEL, '--endpoint', 'ftp://x'],
    '--endpoint: must be a URL with http or https, got "ftp://x"',
  ],
  'an endpoint with a password': [
    [...MODEL, '--endpoint', 'https://user:secret@x'],
    '--endpoint: must be a URL without user, query and fragment',
  ],
  'an endpoint with a token': [
    [...MODEL, '--endpoint', 'https://x/?token=secret'],
    '--endpoint: must be a URL without user, query and fragment',
  ],
  'a shard beyond the last': [[...MODEL, '--shard', '3/3'], '--shard: must be I/N with I from 0 to N - 1, got "3/3"'],
  'a shard of none': [[...MODEL, '--shard', '0/0'], '--shard: must be I/N with I from 0 to N - 1, got "0/0"'],
  'a shard without a number': [[...MODEL, '--shard', '1'], '--shard: must be I/N with I from 0 to N - 1, got "1"'],
  'patience of a word': [
    [...MODEL, '--patience', '10m'],
    '--patience: must be a number of seconds from 0 to 1000000, got "10m"',
  ],
  'negative patience': [
    [...MODEL, '--patience=-1'],
    '--patience: must be a number of seconds from 0 to 1000000, got "-1"',
  ],
  'endless patience': [
    [...MODEL, '--patience=1000001'],
    '--patience: must be a number of seconds from 0 to 1000000, got "1000001"',
  ],
  'no timeout': [[...MODEL, '--timeout', '0'], '--timeout: must be a number of seconds from 0.001 to 1000000, got "0"'],
  'no connection': [[...MODEL, '--connections', '0'], '--connections: must be a whole number from 1 to 256, got "0"'],
  'half a connection': [
    [...MODEL, '--connections', '1.5'],
    '--connections: must be a whole number from 1 to 256, got "1.5"',
  ],
  'too large a range': [[...MODEL, '--segment', '257'], '--segment: must be a whole number from 1 to 256, got "257"'],
  'too many threads': [[...MODEL, '--workers', '65'], '--workers: must be a whole number from 1 to 64, got "65"'],
  'a port beyond the last': [
    [...MODEL, '--port', '65536'],
    '--port: must be a whole number from 0 to 65535, got "65536"',
  ],
  'another format': [[...MODEL, '--log-format', 'xml'], '--log-format: must be json or text, got "xml"'],
  'verify without a folder': [['verify'], 'verify: must be followed by one folder'],
  'verify of two folders': [['verify', 'a', 'b'], 'verify: must be followed by one folder'],
  'verify with what it does not take': [['verify', 'a', '--to', 'b'], '--to: must not be given to verify'],
}

const WRONG_VARIABLES: Readonly<Record<string, readonly [value: string, message: string]>> = {
  HF_ENDPOINT: ['mirror', 'HF_ENDPOINT: must be a URL with http or https, got "mirror"'],
  HF_HUB_DOWNLOAD_TIMEOUT: [
    'soon',
    'HF_HUB_DOWNLOAD_TIMEOUT: must be a number of seconds from 0.001 to 1000000, got "soon"',
  ],
  HF_TOKEN: ['two words', 'HF_TOKEN: must be one word of ASCII characters'],
  ARKS_LOADER_REVISION: ['..', 'ARKS_LOADER_REVISION: must be a branch, tag or commit, got ".."'],
  ARKS_LOADER_ENDPOINT: [
    'tcp://10.0.0.1:80',
    'ARKS_LOADER_ENDPOINT: must be a URL with http or https, got "tcp://10.0.0.1:80"',
  ],
  ARKS_LOADER_SHARD: ['2', 'ARKS_LOADER_SHARD: must be I/N with I from 0 to N - 1, got "2"'],
  ARKS_LOADER_PATIENCE: ['long', 'ARKS_LOADER_PATIENCE: must be a number of seconds from 0 to 1000000, got "long"'],
  ARKS_LOADER_TIMEOUT: ['0', 'ARKS_LOADER_TIMEOUT: must be a number of seconds from 0.001 to 1000000, got "0"'],
  ARKS_LOADER_CONNECTIONS: ['8 9', 'ARKS_LOADER_CONNECTIONS: must be a whole number from 1 to 256, got "8 9"'],
  ARKS_LOADER_SEGMENT: [
    '65',
    'ARKS_LOADER_SEGMENT: must be at most 1024 MiB together with --connections, got 16 times 65 MiB',
  ],
  ARKS_LOADER_WORKERS: ['0', 'ARKS_LOADER_WORKERS: must be a whole number from 1 to 64, got "0"'],
  ARKS_LOADER_PORT: ['http', 'ARKS_LOADER_PORT: must be a whole number from 0 to 65535, got "http"'],
  ARKS_LOADER_LOG_FORMAT: ['xml', 'ARKS_LOADER_LOG_FORMAT: must be json or text, got "xml"'],
}

describe('arguments of the loader', (test) => {
  for (const [name, { why, args = [], env = {}, want }] of Object.entries(ROWS)) {
    test(`take ${name}`, () => assert.equal(parseArguments([...MODEL, ...args], env), { ...PLAIN, ...want }, why))
  }

  for (const [name, [args, message]] of Object.entries(WRONG)) {
    test(`are not ${name}`, () =>
      assert.equal(parseArguments(args, {}), { kind: 'wrong', message, terminationLog: undefined }))
  }

  for (const [name, [value, message]] of Object.entries(WRONG_VARIABLES)) {
    test(`name ${name} where it is wrong`, () =>
      assert.equal(parseArguments(MODEL, { [name]: value }), { kind: 'wrong', message, terminationLog: undefined }))
  }

  for (const flag of FLAGS) {
    test(`take ${variableOf(flag)} for ${flag}`, () => {
      const values = SAMPLES[flag] ?? []
      assert.ok(values.length > 0, 'a new flag takes a sample')
      const model = flag === '--to' ? ['org/model'] : MODEL
      const byFlag = parseArguments([...model, ...values.flatMap((value) => [flag, value])], {})
      const byVariable = parseArguments(model, { [variableOf(flag)]: `${values.join('\n')}\n` })
      assert.is(byFlag.kind, 'load')
      assert.not.equal(byFlag, PLAIN)
      // Messages name where a value comes from.
      assert.is(JSON.stringify(byVariable).replaceAll(variableOf(flag), flag), JSON.stringify(byFlag))
    })
  }

  test('have no variable that Kubernetes makes for a Service, except the one that is told from it', () => {
    const made = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)$/
    assert.equal(
      FLAGS.map(variableOf).filter((name) => made.test(name)),
      ['ARKS_LOADER_PORT'],
    )
  })

  test('name both where two of them are too much together', () => {
    const environment = { ARKS_LOADER_CONNECTIONS: '256', ARKS_LOADER_SEGMENT: '5' }
    const message = 'must be at most 1024 MiB together with ARKS_LOADER_CONNECTIONS, got 256 times 5 MiB'
    const wrong = { kind: 'wrong', terminationLog: undefined }
    assert.equal(parseArguments(MODEL, environment), { ...wrong, message: `ARKS_LOADER_SEGMENT: ${message}` })
    const byFlag = parseArguments([...MODEL, '--segment', '5'], environment)
    assert.equal(byFlag, { ...wrong, message: `--segment: ${message}` })
  })

  test('take names of models as the Hub has them', () => {
    for (const repo of ['gpt2', 'Qwen/Qwen2.5-0.5B', '01-ai/Yi_x', 'a/b..c']) {
      assert.equal(parseArguments([repo, '--to', 'dir'], {}), { ...PLAIN, repo })
    }
  })

  test('may come in any order', () => {
    assert.equal(parseArguments(['--to', 'dir', '--port=1', 'org/model'], {}), { ...PLAIN, port: 1 })
  })

  test('ask for help or the version, whatever else they say', () => {
    for (const word of ['-h', '--help']) assert.equal(parseArguments(['a', word, '--nonsense'], {}), { kind: 'help' })
    assert.equal(parseArguments(['--to', 'x', '--version'], {}), { kind: 'version' })
  })

  test('ask to verify a folder', () => {
    const want = { kind: 'verify', folder: 'dir', format: 'text', terminationLog: '/x' }
    assert.equal(parseArguments(['verify', 'dir', '--log-format', 'text', '--termination-log', '/x'], {}), want)
    const environment = { ARKS_LOADER_LOG_FORMAT: 'text', ARKS_LOADER_TERMINATION_LOG: '/x', ARKS_LOADER_TO: 'other' }
    assert.equal(parseArguments(['verify', 'dir'], environment), want, 'what it does not take is not for it')
  })

  test('say where the result goes, though the rest is wrong', () => {
    for (const log of [['--termination-log', '/x'], ['--termination-log=/x']]) {
      for (const args of [
        ['--nonsense', ...log],
        [...log, '--nonsense'],
        [...MODEL, ...log, '--port', 'x'],
      ]) {
        const { kind, terminationLog } = { terminationLog: undefined, ...parseArguments(args, {}) }
        assert.equal([kind, terminationLog], ['wrong', '/x'])
      }
    }
    const logOf = (args: readonly string[], log: string): string | undefined =>
      ({ terminationLog: 'none', ...parseArguments(args, { ARKS_LOADER_TERMINATION_LOG: log }) }).terminationLog
    assert.is(logOf(['--termination-log'], ''), undefined)
    assert.is(logOf(['--nonsense'], '/y'), '/y')
    assert.is(logOf(['--nonsense', '--termination-log', '/x'], '/y'), '/x')
    assert.is(logOf(['--nonsense', '--termination-log=/x'], '/y'), '/x')
  })

  test('are all in the help', () => {
    assert.ok(FLAGS.length > 10)
    const variables = Object.keys(WRONG_VARIABLES).filter((name) => name.startsWith('HF_'))
    for (const word of [...FLAGS, ...variables, 'HF_TOKEN_PATH', 'HF_HOME', 'ARKS_LOADER_', 'NO_PROXY'])
      assert.match(HELP, new RegExp(`${word}\\b`))
    for (const line of HELP.split('\n')) assert.ok(line.length <= 100, line)
  })

  test('name the file where a token in it is none', () => {
    assert.is(tokenOf('abc\n', '/t'), 'abc')
    assert.is(tokenOf(' \n', '/t'), undefined)
    assert.throws(() => tokenOf('Bearer abc', 'HF_HOME: /t'), /^HF_HOME: \/t: must be one word of ASCII characters$/)
  })

  test('that are wrong end the program with what it is, and where to read more', async () => {
    const { code, stdout, stderr, termination } = await load(['org/model', '--too', 'x'])
    assert.is(code, 2)
    assert.is(stdout, '')
    assert.is(stderr, 'error: unknown flag --too; did you mean --to?\narksmodel-loader --help shows what it takes\n')
    const message = 'unknown flag --too; did you mean --to?'
    assert.equal(termination, { v: 1, reason: 'InvalidSpec', message, retryable: false })
  })

  const TO = ['org/model', '--to', join(scratch({}), 'model'), '--patience', '0']
  const TWO_WORDS = scratch({ token: 'Bearer abcdef', '.cache/huggingface/token': 'Bearer abcdef' })
  const UNREADABLE: Readonly<Record<string, readonly [env: Readonly<Record<string, string>>, message: string]>> = {
    'the file of the variable': [
      { ARKS_LOADER_TOKEN_FILE: '/nowhere/token' },
      'ARKS_LOADER_TOKEN_FILE: /nowhere/token: must be a file that can be read: ENOENT',
    ],
    'a folder in place of the file': [
      { HF_TOKEN_PATH: TWO_WORDS },
      `HF_TOKEN_PATH: ${TWO_WORDS}: must be a file that can be read: EISDIR`,
    ],
    'two words in HF_HOME': [
      { HF_HOME: TWO_WORDS },
      `HF_HOME: ${TWO_WORDS}/token: must be one word of ASCII characters`,
    ],
    'two words in the usual place': [
      { HOME: TWO_WORDS },
      `${TWO_WORDS}/.cache/huggingface/token: must be one word of ASCII characters`,
    ],
  }
  for (const [name, [env, message]] of Object.entries(UNREADABLE)) {
    test(`end the program where a token cannot be read: ${name}`, async () => {
      const { code, stderr, termination } = await load(TO, env)
      assert.is(code, 2)
      assert.is(stderr, `error: ${message}\narksmodel-loader --help shows what it takes\n`)
      assert.is(termination?.message, message)
    })
  }

  const home = scratch({ 'hf/token': 'hf_abcdef\n', 'me/.cache/huggingface/token': 'hf_ghijkl\n' })
  const [folder, me] = [join(home, 'hf'), join(home, 'me')]
  const SENT: Readonly<Record<string, readonly [env: Readonly<Record<string, string>>, sent: string | undefined]>> = {
    'that is in HF_HOME': [{ HF_HOME: folder, HOME: me }, 'hf_abcdef'],
    'that hf auth login has left': [{ HOME: me }, 'hf_ghijkl'],
    'that is a variable': [{ HF_TOKEN: 'hf_mnopqr', HF_HOME: folder }, 'hf_mnopqr'],
    'of a file that is named for this program': [
      { ARKS_LOADER_TOKEN_FILE: join(folder, 'token'), HF_TOKEN: 'hf_mnopqr' },
      'hf_abcdef',
    ],
    'that is not in HF_HOME': [{ HF_HOME: home, HOME: me }, undefined],
    'whose home is no folder': [{ HOME: '/dev/null' }, undefined],
  }
  for (const [name, [env, sent]] of Object.entries(SENT)) {
    test(`send a token, and show none: ${name}`, async () => {
      const seen = new Set<string | undefined>()
      const hub = createServer(({ headers }, response) => {
        seen.add(headers.authorization)
        response.writeHead(404, { 'x-error-code': 'RepoNotFound' }).end(`no ${headers.authorization}`)
      })
      await new Promise<void>((done) => hub.listen(0, '127.0.0.1', done))
      try {
        const address = hub.address()
        const port = typeof address === 'object' ? address?.port : undefined
        const { code, stdout, stderr, termination } = await load(TO, {
          ...env,
          ARKS_LOADER_ENDPOINT: `http://127.0.0.1:${port}`,
        })
        assert.is(code, 12, stderr)
        assert.equal([...seen], [sent === undefined ? undefined : `Bearer ${sent}`])
        assert.not.match(`${stdout}${stderr}${JSON.stringify(termination)}`, /hf_(abcdef|ghijkl|mnopqr)/)
      } finally {
        hub.close()
      }
    })
  }
})
