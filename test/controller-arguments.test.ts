import * as assert from 'uvu/assert'
import { HELP, type Options, parseArguments, type Request } from '../controller/arguments.ts'
import { describe } from './harness.ts'

const PLAIN: Options = {
  kind: 'run',
  kubeconfig: undefined,
  context: undefined,
  namespaces: [],
  leaderElect: true,
  leaseNamespace: undefined,
  workers: 10,
  metricsBind: { kind: 'off' },
  healthBind: { kind: 'off' },
  asksProgress: true,
  logLevel: 'info',
  logFormat: 'json',
  isDryRun: false,
}

interface Row {
  readonly why: string
  readonly args: readonly string[]
  readonly isTerminal?: true
  readonly want: Partial<Options>
}

const ROWS: Readonly<Record<string, Row>> = {
  nothing: { why: 'each option has its value without', args: [], want: {} },
  'nothing, on a terminal': { why: 'people read it', args: [], isTerminal: true, want: { logFormat: 'text' } },
  '--kubeconfig': { why: '', args: ['--kubeconfig', '/a b/config'], want: { kubeconfig: '/a b/config' } },
  '--kubeconfig=': { why: '', args: ['--kubeconfig=a=b'], want: { kubeconfig: 'a=b' } },
  '--context': { why: '', args: ['--context', 'admin@cluster'], want: { context: 'admin@cluster' } },
  '--context=': { why: 'with = everything is a value', args: ['--context=--x'], want: { context: '--x' } },
  '--namespace': { why: '', args: ['--namespace', 'a'], want: { namespaces: ['a'] } },
  '--namespace repeated': {
    why: 'each one counts once',
    args: ['--namespace', 'b', '--namespace=a', '--namespace', 'b'],
    want: { namespaces: ['b', 'a'] },
  },
  '--leader-elect': { why: 'alone it means true', args: ['--leader-elect'], want: { leaderElect: true } },
  '--leader-elect=false': { why: '', args: ['--leader-elect=false'], want: { leaderElect: false } },
  '--leader-elect before another': {
    why: 'a switch takes no word that follows',
    args: ['--leader-elect', '--progress=false'],
    want: { leaderElect: true, asksProgress: false },
  },
  '--leader-election-namespace': {
    why: '',
    args: ['--leader-election-namespace', 'kube-x'],
    want: { leaseNamespace: 'kube-x' },
  },
  '--concurrent-reconciles': { why: '', args: ['--concurrent-reconciles', '100'], want: { workers: 100 } },
  '--metrics-bind-address': {
    why: '',
    args: ['--metrics-bind-address', ':8080'],
    want: { metricsBind: { kind: 'on', port: 8080 } },
  },
  '--metrics-bind-address=0': { why: 'which is off', args: ['--metrics-bind-address=0'], want: {} },
  '--health-probe-bind-address': {
    why: '',
    args: ['--health-probe-bind-address', '[::1]:81'],
    want: { healthBind: { kind: 'on', host: '::1', port: 81 } },
  },
  '--progress=false': { why: '', args: ['--progress=false'], want: { asksProgress: false } },
  '--log-level': { why: '', args: ['--log-level', 'debug'], want: { logLevel: 'debug' } },
  '--log-format=json on a terminal': {
    why: '',
    args: ['--log-format=json'],
    isTerminal: true,
    want: { logFormat: 'json' },
  },
  '--log-format=text': { why: '', args: ['--log-format=text'], want: { logFormat: 'text' } },
  '--dry-run': { why: '', args: ['--dry-run'], want: { isDryRun: true } },
  '--help=false': { why: 'nobody writes it, but it is what it says', args: ['--help=false'], want: {} },
}

const ADDRESS = 'must be an address such as ":8080", "127.0.0.1:8080" or "[::1]:8080", or "0" for none, got'
const WORKERS = '--concurrent-reconciles: must be a whole number from 1 to 100, got'
const NAMESPACE = 'must be the name of a namespace, got'

/** A command line with spaces between its words, and what is said of it. */
const WRONG: Readonly<Record<string, string>> = {
  x: 'must be given options only, got "x"',
  '--leader-elect false': 'must be given options only, got "false"',
  '-- x': 'must be given options only, got "--"',
  '--': 'must be given options only, got "--"',
  '--leader-elect=yes': '--leader-elect: must be true or false, got "yes"',
  '--leader-elect=': '--leader-elect: must be followed by a value',
  '--progress=0': '--progress: must be true or false, got "0"',
  '--dry-run=TRUE': '--dry-run: must be true or false, got "TRUE"',
  '--version=1': '--version: must be true or false, got "1"',
  '--help=me': '--help: must be true or false, got "me"',
  '--kubeconfig': '--kubeconfig: must be followed by a value',
  '--kubeconfig --context a': '--kubeconfig: must be followed by a value',
  '--context=': '--context: must be followed by a value',
  '--context a --context a': '--context: must not be given twice',
  '--dry-run --dry-run=false': '--dry-run: must not be given twice',
  '--namespace': '--namespace: must be followed by a value',
  '--namespace=': '--namespace: must be followed by a value',
  '--namespace a,b': `--namespace: ${NAMESPACE} "a,b"`,
  '--namespace A': `--namespace: ${NAMESPACE} "A"`,
  '--namespace -a': `--namespace: ${NAMESPACE} "-a"`,
  '--namespace a/../b': `--namespace: ${NAMESPACE} "a/../b"`,
  '--namespace a --namespace *': `--namespace: ${NAMESPACE} "*"`,
  [`--namespace ${'a'.repeat(64)}`]: `--namespace: ${NAMESPACE} "${'a'.repeat(40)}…"`,
  '--leader-election-namespace .': `--leader-election-namespace: ${NAMESPACE} "."`,
  '--concurrent-reconciles 0': `${WORKERS} "0"`,
  '--concurrent-reconciles 101': `${WORKERS} "101"`,
  '--concurrent-reconciles=-1': `${WORKERS} "-1"`,
  '--concurrent-reconciles 1.5': `${WORKERS} "1.5"`,
  '--concurrent-reconciles 0x10': `${WORKERS} "0x10"`,
  '--concurrent-reconciles ten': `${WORKERS} "ten"`,
  '--metrics-bind-address 8080': `--metrics-bind-address: ${ADDRESS} "8080"`,
  '--metrics-bind-address :65536': `--metrics-bind-address: ${ADDRESS} ":65536"`,
  '--health-probe-bind-address ::1:81': `--health-probe-bind-address: ${ADDRESS} "::1:81"`,
  '--log-level trace': '--log-level: must be one of debug, info, warn, error, got "trace"',
  '--log-level INFO': '--log-level: must be one of debug, info, warn, error, got "INFO"',
  '--log-format yaml': '--log-format: must be one of json, text, got "yaml"',
  '--namespaces a': 'unknown flag --namespaces; did you mean --namespace?',
  '--leader-elected': 'unknown flag --leader-elected; did you mean --leader-elect?',
  '--log_level debug': 'unknown flag --log_level; did you mean --log-level?',
  '--no-leader-elect': 'unknown flag --no-leader-elect; did you mean --leader-elect?',
  '--master x': 'unknown flag --master',
  '--__proto__ x': 'unknown flag --__proto__',
  '--constructor x': 'unknown flag --constructor',
  '-n a': 'unknown flag -n',
  '-v': 'unknown flag -v',
  [`--${'x'.repeat(100)}`]: `unknown flag --${'x'.repeat(38)}`,
}

const asked = (args: readonly string[], isTerminal = false): Request => parseArguments(args, isTerminal)

describe('the arguments of the controller', (test) => {
  for (const [name, { why, args, isTerminal, want }] of Object.entries(ROWS)) {
    test(name, () => assert.equal(asked(args, isTerminal), { ...PLAIN, ...want }, why))
  }

  for (const [line, message] of Object.entries(WRONG)) {
    test(`wrong: ${line}`, () => assert.equal(asked(line.split(' ')), { kind: 'wrong', message }))
  }

  test('an empty word is no value', () => {
    assert.equal(asked(['--kubeconfig', '']), { kind: 'wrong', message: '--kubeconfig: must be followed by a value' })
    assert.equal(asked(['']), { kind: 'wrong', message: 'must be given options only, got ""' })
  })

  for (const word of ['--help', '-h', '--help=true']) {
    test(`${word} is help, whatever else is asked for`, () => {
      assert.equal(asked([word]), { kind: 'help' })
      assert.equal(asked(['--version', '--log-level', 'nonsense', word]), { kind: 'help' })
    })
  }

  test('--version is the version', () => assert.equal(asked(['--version', '--dry-run']), { kind: 'version' }))

  test('the help names each flag, and no other', () => {
    const named = [...HELP.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag]) => flag)
    for (const flag of named) {
      const request = asked([`${flag}=`])
      assert.equal(request, { kind: 'wrong', message: `${flag}: must be followed by a value` })
    }
    assert.is(named.length, 14)
  })

  test('the help fits on a terminal', () => {
    assert.equal(
      HELP.split('\n').filter((line) => line.length > 120),
      [],
    )
  })
})
