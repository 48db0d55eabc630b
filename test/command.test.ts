import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import * as assert from 'uvu/assert'
import { VERSION } from '../crds/version.ts'
import { GOOD } from './data/bad-input.ts'
import { describe, leftOut } from './harness.ts'
import { FUNCTION } from './process.ts'
import { scratch } from './scratch.ts'

const MiB = 1024 * 1024

/** Preloaded: on its third descriptor the program says how much memory it took, and which pipes do not block. */
const REPORT = `
const { readFileSync, writeSync } = require('node:fs')
const isOpen = (fd) => {
  try { return (parseInt(/flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1], 8) & 0o4000) !== 0 } catch { return false }
}
const nonBlocking = [0, 1].filter(isOpen)
process.on('exit', () => writeSync(3, JSON.stringify({ rss: process.resourceUsage().maxRSS * 1024, nonBlocking })))
`
/** Sets its pipes to non-blocking, as a Node that was killed leaves them behind. */
const UNBLOCK = `process.stdin.resume(); process.stdout.write('', () => setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100))`

const home = scratch({
  'report.cjs': REPORT,
  'unblock.cjs': UNBLOCK,
  'terminal.cjs': `Object.defineProperty(process.stderr, 'isTTY', { value: true })`,
  'broken.cjs': `require('node:fs').writeSync = () => { throw new Error('a bug of ours') }`,
  'full.cjs': `require('node:fs').writeSync = () => { throw Object.assign(new Error('full'), { code: 'ENOSPC' }) }`,
  'model.yaml': GOOD,
  'none/readme.txt': 'no manifest\n',
  'built/kustomization.yaml': 'resources: []\n',
  'deep/down/model.yaml': GOOD,
  'mixed/a.yaml': GOOD,
  'mixed/b.txt': 'not read',
  'bad/latin-1.yaml': '',
})

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  readonly rss: number
  readonly nonBlocking: readonly number[]
}

interface Circumstances {
  readonly env?: Readonly<Record<string, string>>
  readonly preload?: string
  /** In a shell, where the function is \`$@\`. */
  readonly shell?: string
  readonly reader?: (child: ChildProcess) => Promise<string>
}

type Feed = (stdin: NodeJS.WritableStream) => Promise<void> | void

/** Runs the built program to its end; one that does not come to an end in a minute has failed. */
async function ended(args: readonly string[], feed: string | Buffer | Feed, more: Circumstances = {}): Promise<Ended> {
  const { env = {}, preload = 'report.cjs', shell, reader = everything } = more
  const command = [process.execPath, '--require', `${home}/${preload}`, FUNCTION, ...args]
  const [program = '', ...words] = shell === undefined ? command : ['sh', '-c', shell, 'sh', ...command]
  const child = spawn(program, words, {
    cwd: home,
    env: { PATH: process.env['PATH'], NODE: process.execPath, ...env },
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    timeout: 60_000,
    killSignal: 'SIGKILL',
  })
  const [, , , report] = child.stdio
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve))
  child.stdin.on('error', () => undefined)
  const texts = Promise.all([reader(child), text(child.stderr), text(report)])
  if (typeof feed === 'function') await feed(child.stdin)
  else child.stdin.end(feed)
  const [stdout, stderr, said] = await texts
  const code = await closed
  return { code, stdout, stderr, rss: 0, nonBlocking: [], ...(said === '' ? {} : JSON.parse(said)) }
}

const everything = (child: ChildProcess): Promise<string> => text(child.stdout)

async function text(stream: unknown): Promise<string> {
  const pieces: Buffer[] = []
  if (isReadable(stream)) for await (const piece of stream) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces).toString()
}

const isReadable = (stream: unknown): stream is AsyncIterable<Buffer> =>
  typeof stream === 'object' && stream !== null && Symbol.asyncIterator in stream

const errors = (...lines: readonly string[]): string => lines.map((each) => `error: ${each}\n`).join('')
const HELP_LINE = 'arksmodel-fn --help shows what it takes'

describe('the command', (test) => {
  test('expands what comes in a pipe', async () => {
    const { code, stdout, stderr } = await ended([], GOOD)
    assert.equal({ code, stderr }, { code: 0, stderr: '' })
    assert.match(stdout, /^apiVersion: batch\/v1\nkind: Job\n/)
    assert.ok(stdout.includes(GOOD.slice(0, 40)))
    assert.is((await ended(['model.yaml'], '')).stdout, stdout, 'a file')
    assert.is((await ended(['mixed'], '')).stdout, stdout, 'a folder')
    assert.is((await ended(['-R', 'deep'], '')).stdout, stdout, 'a folder in a folder')
    assert.is((await ended(['-'], GOOD)).stdout, stdout, '- is standard input')
    assert.is((await ended(['--', 'model.yaml'], '')).stdout, stdout)
  })

  test('prints help and version', async () => {
    const help = await ended(['-h'], '')
    assert.equal({ code: help.code, stderr: help.stderr }, { code: 0, stderr: '' })
    assert.match(help.stdout, /^Expands each ArksModel .*\nUsage:\n/s)
    assert.is((await ended(['--seal', '--help'], '')).stdout, help.stdout)
    const { code, stdout, stderr } = await ended(['--version'], '')
    assert.equal({ code, stdout, stderr }, { code: 0, stdout: `${VERSION}\n`, stderr: '' })
  })

  const WRONG: Readonly<Record<string, readonly string[]>> = {
    '--sael': ['unknown flag --sael; did you mean --seal?', HELP_LINE],
    '--hel': ['unknown flag --hel; did you mean --help?', HELP_LINE],
    '--confg=a': ['unknown flag --confg; did you mean --config?', HELP_LINE],
    '--token=hf_aBcDeFgHiJkLmNoP': ['unknown flag --token', HELP_LINE],
    '-x': ['unknown flag -x', HELP_LINE],
    '--config': ['--config: must be followed by a file', HELP_LINE],
    '--config=': ['--config: must be followed by a file', HELP_LINE],
    '--config --seal': ['--config: must be followed by a file', HELP_LINE],
    '--config a --config b': ['--config: must not be given twice', HELP_LINE],
    '--config model.yaml --seal': ['--config: must not be there beside --seal, which expands nothing', HELP_LINE],
    '- model.yaml': ['-: must be the only input: it is standard input', HELP_LINE],
    'nowhere.yaml': ['nowhere.yaml: must exist'],
    'nowhere.yaml hf_aBcDeFgHiJkLmNoP': ['nowhere.yaml: must exist', 'hf_…: must exist'],
    'model.yaml/nothing': ['model.yaml/nothing: must exist'],
    none: ['none: must hold at least one .yaml, .yml or .json file; -R reads folders in folders'],
    'none deep': [
      'none: must hold at least one .yaml, .yml or .json file; -R reads folders in folders',
      'deep: must hold at least one .yaml, .yml or .json file; -R reads folders in folders',
    ],
    '-R none': ['none: must hold at least one .yaml, .yml or .json file'],
    built: ['built: holds kustomization.yaml: must be built first, as in: kustomize build built | arksmodel-fn'],
    circle: ['circle/circle.yaml: must not be a link to itself'],
    '--config none model.yaml': ['none: must be a file, got a folder'],
    '--config nowhere.yaml model.yaml': ['nowhere.yaml: must exist'],
  }
  mkdirSync(`${home}/circle`)
  symlinkSync('circle.yaml', `${home}/circle/circle.yaml`)
  for (const [words, lines] of Object.entries(WRONG)) {
    test(`refuses ${words}`, async () => {
      const { code, stdout, stderr } = await ended(words.split(' '), GOOD)
      assert.equal({ code, stdout, stderr }, { code: 1, stdout: '', stderr: errors(...lines) })
    })
  }

  test('follows no link to a folder', async () => {
    symlinkSync('..', `${home}/deep/down/up`)
    symlinkSync('nowhere', `${home}/deep/down/.#model.yaml~`)
    assert.is((await ended(['-R', 'deep'], '')).stdout, (await ended([], GOOD)).stdout)
  })

  const BYTES: Readonly<Record<string, readonly [Buffer, string]>> = {
    nothing: [Buffer.alloc(0), 'must hold at least one object, got nothing'],
    'a letter of Latin-1': [Buffer.from(`# a\n# caf\u00e9\n${GOOD}`, 'latin1'), 'line 2: must be UTF-8 text'],
    'half a letter': [Buffer.from([0x61, 0x3a, 0x20, 0xc3]), 'line 1: must be UTF-8 text'],
    'an archive': [Buffer.from([0x1f, 0x8b, 8, 0]), 'line 1: must be UTF-8 text'],
    'UTF-16 of Windows': [Buffer.from(`\ufeff${GOOD}`, 'utf16le'), 'must be UTF-8 text, got UTF-16'],
    'UTF-16 without a mark': [Buffer.from(GOOD, 'utf16le'), 'document 1: must be YAML or JSON text, got binary data'],
    'a model that is wrong': [
      Buffer.from(GOOD.replace('org/a', 'a/b/c')),
      'ArksModel qwen: spec.model: must be the id',
    ],
  }
  for (const [name, [bytes, message]] of Object.entries(BYTES)) {
    test(`refuses ${name}`, async () => {
      const { code, stdout, stderr } = await ended([], bytes)
      assert.equal({ code, stdout }, { code: 1, stdout: '' })
      assert.is(stderr.split('\n').length, 2, stderr)
      assert.is(stderr.slice(0, message.length + 7), `error: ${message}`)
    })
  }

  test('refuses a folder on standard input', async () => {
    const { code, stdout, stderr } = await ended([], '', { shell: 'exec "$@" < none' })
    const message = 'standard input: must be manifests, got a folder'
    assert.equal({ code, stdout, stderr }, { code: 1, stdout: '', stderr: errors(message) })
  })

  test('gives a ResourceList back, with the results', async () => {
    const list = 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n'
    const item = GOOD.replace('org/a', 'a/b/c')
      .replaceAll(/^(?=.)/gm, '  ')
      .replace(/^ {2}/, '- ')
    const { code, stdout, stderr } = await ended([], list + item)
    assert.is(code, 1)
    assert.match(stdout.slice((list + item).length), /^results:\n- message: /)
    assert.is(stdout.slice(0, (list + item).length), list + item)
    assert.match(stderr, /^error: ArksModel qwen: spec\.model: must be/)
  })

  test('ends with 2 and the place where it has a bug', async () => {
    const { code, stdout, stderr } = await ended([], GOOD, { preload: 'broken.cjs' })
    assert.equal({ code, stdout }, { code: 2, stdout: '' })
    assert.match(stderr, /^Error: a bug of ours\n +at /)
  })

  test('says that there is no space', async () => {
    const { code, stderr } = await ended([], GOOD, { preload: 'full.cjs' })
    assert.equal({ code, stderr }, { code: 1, stderr: errors('standard output: must take it all: no space is left') })
  })

  test('has colours on a terminal, unless NO_COLOR is there', async () => {
    const on = async (env: Readonly<Record<string, string>>): Promise<string> =>
      (await ended(['nowhere'], '', { preload: 'terminal.cjs', env })).stderr
    assert.is(await on({}), '\u001b[31merror:\u001b[39m nowhere: must exist\n')
    assert.is(await on({ NO_COLOR: '1' }), errors('nowhere: must exist'))
    assert.is(await on({ NO_COLOR: '' }), '\u001b[31merror:\u001b[39m nowhere: must exist\n')
  })
})

if (spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')) {
  describe('on a terminal', (test) => {
    test('asks for a pipe', () => {
      const command = `'${process.execPath}' '${FUNCTION}'`
      const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
        encoding: 'utf8',
        env: { PATH: process.env['PATH'], TERM: 'xterm' },
        timeout: 60_000,
      })
      assert.is(status, 1)
      assert.match(stdout, '\u001b[31merror:')
      assert.equal(stripVTControlCharacters(stdout).split(/\r?\n/), [
        'error: must read manifests from a pipe, a file or a folder',
        'error: arksmodel-fn --help shows how',
        '',
      ])
    })
  })
} else {
  leftOut('on a terminal', {
    name: 'script',
    why: 'there is none of util-linux',
    how: 'install util-linux',
    couldBeHad: false,
  })
}

/** Several times what a pipe holds. */
const MANY = Array.from(
  { length: 20_000 },
  (_, n) => `---\napiVersion: v1\nkind: Secret\nmetadata: {name: s${n}}\n`,
).join('')

describe('a pipe', (test) => {
  const slowly = async (child: ChildProcess): Promise<string> => {
    await pause(300)
    const pieces: Buffer[] = []
    if (child.stdout !== null)
      for await (const piece of child.stdout) {
        pieces.push(piece)
        if (pieces.length < 10) await pause(20)
      }
    return Buffer.concat(pieces).toString()
  }
  const unblocked = '"$NODE" unblock.cjs; echo ready >&2; exec "$@"'
  const isLinux = existsSync('/proc/self/fdinfo/0')

  test('T1: that is slow loses nothing', async () => {
    const { code, stdout, stderr } = await ended([], MANY, { reader: slowly })
    assert.equal({ code, stderr }, { code: 0, stderr: '' })
    assert.is(stdout.length, MANY.length)
    assert.ok(stdout === MANY)
  })

  test('T2: that does not block and is slow loses nothing', async () => {
    const feed: Feed = async (stdin) => {
      await pause(1000)
      for (let at = 0; at < MANY.length; at += 300_000) {
        stdin.write(MANY.slice(at, at + 300_000))
        await pause(10)
      }
      stdin.end()
    }
    const { code, stdout, nonBlocking } = await ended([], feed, { reader: slowly, shell: unblocked })
    if (isLinux) assert.equal(nonBlocking, [0, 1], 'the pipes are what the test is about')
    assert.is(code, 0)
    assert.is(stdout.length, MANY.length)
    assert.ok(stdout === MANY)
  })

  /** Late enough for the program to have filled the pipe. */
  const leaving =
    (after: number) =>
    async (child: ChildProcess): Promise<string> => {
      await pause(after)
      child.stdout?.destroy()
      return ''
    }
  test('whose reader has seen enough is no problem', async () => {
    const { code, stderr } = await ended([], MANY, { reader: leaving(500) })
    assert.equal({ code, stderr }, { code: 0, stderr: '' })
  })

  test('that does not block and whose reader has seen enough is none either', async () => {
    const feed: Feed = async (stdin) => {
      await pause(1000)
      stdin.end(MANY)
    }
    const { code, stderr, nonBlocking } = await ended([], feed, { reader: leaving(2000), shell: unblocked })
    if (isLinux) assert.equal(nonBlocking, [0, 1], 'the pipes are what the test is about')
    assert.equal({ code, stderr: stderr.replace(/^(?:Killed\n|.*unblock.*\n)?ready\n/, '') }, { code: 0, stderr: '' })
  })
})

const SIZE = 50 * MiB
const filled = (piece: string): Buffer => Buffer.alloc(SIZE, piece)

/** Words without sense, the same every time. */
function words(): string {
  let seed = 1
  const next = (): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed / 2147483648
  }
  const line = (): string => Array.from({ length: 9 }, () => next().toString(36).slice(2)).join(' ')
  return `${Array.from({ length: 5000 }, line).join('\n')}\n`
}

const GARBAGE: Readonly<Record<string, () => Buffer>> = {
  'lines of words': () => filled(words()),
  'one line': () => filled('abcdefghij'),
  blanks: () => filled(' '),
  'line breaks': () => filled('\n'),
  brackets: () => filled('['),
  braces: () => filled('{'),
  dashes: () => filled('- '),
  keys: () => filled('a: '),
  'an open quote': () => Buffer.concat([Buffer.from('"'), filled('x')]),
  'dashes in lines': () => filled('- \n'),
  'letters in lines': () => filled('é\n'),
  directives: () => filled('%a\n'),
  separators: () => filled('---\n'),
  'tiny documents': () => filled('a: b\n---\n'),
  'tiny items': () =>
    Buffer.concat([
      Buffer.from('apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n'),
      filled('- a: b\n'),
    ]),
  'a model without an end': () => Buffer.concat([Buffer.from(`${GOOD}  x: `), filled('[')]),
  'a list without an end': () => Buffer.concat([Buffer.from('{"kind": "ResourceList", "items": '), filled('[')]),
}

/** Each anchor holds ten times the one before. */
const BOMB = [...'abcdefghi']
  .map(
    (name, index, names) =>
      `  ${name}: &${name} [${Array(10)
        .fill(index === 0 ? 'x' : `*${names[index - 1]}`)
        .join(', ')}]\n`,
  )
  .join('')

describe('memory', (test) => {
  for (const [name, make] of Object.entries(GARBAGE)) {
    test(`50 MB of ${name}`, async () => {
      const { code, stdout, stderr, rss } = await ended([], make())
      assert.equal({ code, stdout }, { code: 1, stdout: '' })
      assert.match(stderr, /^error: [^\n]* must [^\n]*\n$|^error: must [^\n]*\n$/)
      assert.ok(rss > 0 && rss < 400 * MiB, `${rss / MiB} MiB`)
    })
  }

  test('a bomb in a model', async () => {
    const { code, stdout, stderr, rss } = await ended([], `${GOOD.split('spec:')[0]}spec:\n  model: a\n${BOMB}`)
    assert.equal({ code, stdout }, { code: 1, stdout: '' })
    assert.is(stderr, errors('document 1, line 9: aliases must not expand to more than 10000 values'))
    assert.ok(rss > 0 && rss < 150 * MiB, `${rss / MiB} MiB`)
  })

  test('a bomb in a bystander goes by unread', async () => {
    const bystander = `apiVersion: example.com/v1\nkind: Other\nspec:\n${BOMB}`
    for (const input of [`${bystander}---\n${GOOD}`, `${GOOD}---\n${bystander}`]) {
      const { code, stdout, rss } = await ended([], input)
      assert.is(code, 0)
      assert.ok(stdout.includes(bystander))
      assert.ok(rss > 0 && rss < 150 * MiB, `${rss / MiB} MiB`)
    }
  })

  test('a long text that is used often', async () => {
    const env = Array.from({ length: 4000 }, (_, n) => `{name: A${n}, value: *x}`).join(', ')
    const input = GOOD.replace(/\}\s*$/, `instanceSpec: {annotations: {x: &x "${'x'.repeat(MiB)}"}, env: [${env}]}}\n`)
    const { code, stdout, stderr, rss } = await ended([], input)
    assert.equal({ code, stdout }, { code: 1, stdout: '' })
    assert.is(stderr, errors('ArksModel qwen: must be at most 3 MiB, with all of its aliases written out'))
    assert.ok(rss > 0 && rss < 400 * MiB, `${rss / MiB} MiB`)
  })

  test('a Job among millions of blanks, beside a model', async () => {
    const blanks = Array.from({ length: 6000 }, (_, n) => `${' '.repeat(n + 2)}a\n`).join('')
    const other = `apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: other\ntext: |\n${blanks}`
    const { code, stdout } = await ended([], `${other}---\n${GOOD}`)
    assert.is(code, 0)
    assert.ok(stdout.startsWith(other))
  })

  test('a stream without an end', async () => {
    const { code, stdout, stderr } = await ended([], '', { shell: 'exec "$@" < /dev/zero' })
    assert.equal({ code, stdout, stderr }, { code: 1, stdout: '', stderr: errors('must be at most 256 MiB') })
  })
})
