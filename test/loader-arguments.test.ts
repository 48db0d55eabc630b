import * as assert from 'uvu/assert'
import { HELP, parseArguments, type Request, tokenOf } from '../loader/arguments.ts'
import { describe } from './harness.ts'
import { load } from './loader.ts'

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
  HF_TOKEN_PATH: { why: 'it is a file', env: { HF_TOKEN_PATH: '/token' }, want: { tokenFile: '/token' } },
  '--token-file and HF_TOKEN': {
    why: 'the command line wins',
    args: ['--token-file', '/t'],
    env: { HF_TOKEN: 'x', HF_TOKEN_PATH: '/y' },
    want: { tokenFile: '/t' },
  },
  'HF_TOKEN and HF_TOKEN_PATH': {
    why: 'which wins is decided where files are read',
    env: { HF_TOKEN: 'x', HF_TOKEN_PATH: '/y' },
    want: { token: 'x', tokenFile: '/y' },
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
    const { terminationLog } = { terminationLog: undefined, ...parseArguments(['--termination-log'], {}) }
    assert.is(terminationLog, undefined)
  })

  test('are all in the help', () => {
    const flags = Object.keys(ROWS).filter((name) => /^--[a-z-]+$/.test(name))
    assert.ok(flags.length > 10)
    for (const word of [...flags, '--to', ...Object.keys(WRONG_VARIABLES), 'HF_TOKEN_PATH', 'NO_PROXY'])
      assert.match(HELP, new RegExp(`${word}\\b`))
    for (const line of HELP.split('\n')) assert.ok(line.length <= 120, line)
  })

  test('name the file where a token in it is none', () => {
    assert.is(tokenOf('abc\n'), 'abc')
    assert.is(tokenOf(' \n'), undefined)
    assert.throws(() => tokenOf('Bearer abc'), /^--token-file: must be one word of ASCII characters$/)
  })

  test('that are wrong end the program with what it is, and where to read more', async () => {
    const { code, stdout, stderr, termination } = await load(['org/model', '--too', 'x'])
    assert.is(code, 2)
    assert.is(stdout, '')
    assert.is(stderr, 'error: unknown flag --too; did you mean --to?\narksmodel-loader --help shows what it takes\n')
    const message = 'unknown flag --too; did you mean --to?'
    assert.equal(termination, { v: 1, reason: 'InvalidSpec', message, retryable: false })
  })
})
