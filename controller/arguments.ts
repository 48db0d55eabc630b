import { parseArgs } from 'node:util'
import { distance } from 'fastest-levenshtein'
import { shown } from '../crds/wording.ts'
import { LEVELS, type Level } from './log.ts'
import { type Bind, parseBind } from './serve.ts'

export const HELP = `Writes the status of ArksModels, and changes nothing else.

usage: arksmodel-controller [options]

cluster:
  --kubeconfig FILE                   which cluster, and as whom; else KUBECONFIG, the pod's service account, or
                                      ~/.kube/config
  --context NAME                      of the kubeconfig; its current one if left out
  --namespace NAME                    look at this namespace only; may be given several times

replicas:
  --leader-elect=BOOL                 of several replicas one writes; default true
  --leader-election-namespace NAME    where the Lease is; default the pod's, or the context's
  --concurrent-reconciles N           how many models are worked on at once; default 10

what it tells:
  --metrics-bind-address ADDRESS      for Prometheus, such as :8080; default 0, which is off
  --health-probe-bind-address ADDRESS for /healthz and /readyz, such as :8081; default 0
  --progress=BOOL                     ask the pods of loading models how far they are; default true
  --log-level LEVEL                   debug, info, warn or error; default info
  --log-format FORMAT                 json, or text for people; default text on a terminal, else json

  --dry-run                           log what would be written, and write nothing
  --version                           print the version
  --help                              print this

exit codes: 0 ended by SIGTERM or SIGINT, 1 a problem with the options or the lease was lost, 2 a bug
`

export interface Options {
  readonly kind: 'run'
  readonly kubeconfig: string | undefined
  readonly context: string | undefined
  /** None: all. */
  readonly namespaces: readonly string[]
  readonly leaderElect: boolean
  readonly leaseNamespace: string | undefined
  readonly workers: number
  readonly metricsBind: Bind
  readonly healthBind: Bind
  readonly asksProgress: boolean
  readonly logLevel: Level
  readonly logFormat: 'json' | 'text'
  readonly isDryRun: boolean
}

export type Request =
  | Options
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'wrong'; readonly message: string }

/** Why a command line cannot be followed. */
class Wrong extends Error {}

const TEXT = { type: 'string' } as const

const FLAGS = {
  kubeconfig: TEXT,
  context: TEXT,
  namespace: { ...TEXT, multiple: true },
  'leader-elect': TEXT,
  'leader-election-namespace': TEXT,
  'concurrent-reconciles': TEXT,
  'metrics-bind-address': TEXT,
  'health-probe-bind-address': TEXT,
  progress: TEXT,
  'log-level': TEXT,
  'log-format': TEXT,
  'dry-run': TEXT,
  version: TEXT,
  help: TEXT,
} as const

/** Those that stand alone mean true. */
const SWITCHES: readonly string[] = ['--leader-elect', '--progress', '--dry-run', '--version', '--help']

export function parseArguments(words: readonly string[], isTerminal: boolean): Request {
  try {
    return request(words, isTerminal)
  } catch (error) {
    if (error instanceof Wrong) return { kind: 'wrong', message: error.message }
    throw error
  }
}

function request(words: readonly string[], isTerminal: boolean): Request {
  const values = parsed(words.map((word) => (word === '-h' ? '--help' : word)))
  if (isTrue(values, 'help', false)) return { kind: 'help' }
  if (isTrue(values, 'version', false)) return { kind: 'version' }
  return {
    kind: 'run',
    kubeconfig: one(values, 'kubeconfig'),
    context: one(values, 'context'),
    namespaces: [...new Set((values.namespace ?? []).map((name) => namespace('namespace', name)))],
    leaderElect: isTrue(values, 'leader-elect', true),
    leaseNamespace: maybe(one(values, 'leader-election-namespace'), (name) =>
      namespace('leader-election-namespace', name),
    ),
    workers: maybe(one(values, 'concurrent-reconciles'), workers) ?? 10,
    metricsBind: bind('metrics-bind-address', one(values, 'metrics-bind-address') ?? '0'),
    healthBind: bind('health-probe-bind-address', one(values, 'health-probe-bind-address') ?? '0'),
    asksProgress: isTrue(values, 'progress', true),
    logLevel: oneOf(values, 'log-level', LEVELS) ?? 'info',
    logFormat: oneOf(values, 'log-format', ['json', 'text']) ?? (isTerminal ? 'text' : 'json'),
    isDryRun: isTrue(values, 'dry-run', false),
  }
}

type Flag = keyof typeof FLAGS
type Values = { readonly [flag in Exclude<Flag, 'namespace'>]?: string } & { readonly namespace?: readonly string[] }

function parsed(words: readonly string[]): Values {
  const args = words.map((word) => (SWITCHES.includes(word) ? `${word}=true` : word))
  const { tokens } = parseArgs({ args, options: FLAGS, strict: false, allowPositionals: true, tokens: true })
  const given = new Set<string>()
  for (const token of tokens) {
    if (token.kind === 'positional') throw new Wrong(`must be given options only, got ${shown(token.value)}`)
    if (token.kind === 'option-terminator') throw new Wrong('must be given options only, got "--"')
    const flag = `--${token.name}`
    if (!Object.hasOwn(FLAGS, token.name) || !token.rawName.startsWith('--'))
      throw new Wrong(unknownFlag(token.rawName))
    if (token.value === undefined || token.value === '' || (!token.inlineValue && token.value.startsWith('--')))
      throw new Wrong(`${flag}: must be followed by a value`)
    if (given.has(flag) && token.name !== 'namespace') throw new Wrong(`${flag}: must not be given twice`)
    given.add(flag)
  }
  const text = (flag: string): string | undefined =>
    tokens.flatMap((token) => (token.kind === 'option' && token.name === flag ? (token.value ?? []) : []))[0]
  const names = tokens.flatMap((token) =>
    token.kind === 'option' && token.name === 'namespace' ? (token.value ?? []) : [],
  )
  const single = Object.keys(FLAGS).flatMap((flag) => (flag === 'namespace' ? [] : [[flag, text(flag)]]))
  return { ...Object.fromEntries(single), namespace: names }
}

function unknownFlag(flag: string): string {
  const [nearest] = Object.keys(FLAGS)
    .map((name) => ({ name, far: distance(`--${name}`, flag) }))
    .toSorted((a, b) => a.far - b.far)
  const isNear = nearest !== undefined && nearest.far <= Math.max(1, flag.length / 3)
  return `unknown flag ${flag.slice(0, LONGEST_SHOWN)}${isNear ? `; did you mean --${nearest.name}?` : ''}`
}

const LONGEST_SHOWN = 40

const one = (values: Values, flag: Exclude<Flag, 'namespace'>): string | undefined => values[flag]

const maybe = <T>(text: string | undefined, read: (text: string) => T): T | undefined =>
  text === undefined ? undefined : read(text)

function isTrue(values: Values, flag: Exclude<Flag, 'namespace'>, otherwise: boolean): boolean {
  const text = one(values, flag)
  if (text === undefined) return otherwise
  if (text !== 'true' && text !== 'false') throw new Wrong(`--${flag}: must be true or false, got ${shown(text)}`)
  return text === 'true'
}

function oneOf<T extends string>(values: Values, flag: Exclude<Flag, 'namespace'>, all: readonly T[]): T | undefined {
  return maybe(one(values, flag), (text) => {
    const found = all.find((each) => each === text)
    if (found === undefined) throw new Wrong(`--${flag}: must be one of ${all.join(', ')}, got ${shown(text)}`)
    return found
  })
}

const MOST_WORKERS = 100

function workers(text: string): number {
  const count = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > MOST_WORKERS)
    throw new Wrong(`--concurrent-reconciles: must be a whole number from 1 to ${MOST_WORKERS}, got ${shown(text)}`)
  return count
}

function namespace(flag: Flag, name: string): string {
  if (/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) return name
  throw new Wrong(`--${flag}: must be the name of a namespace, got ${shown(name)}`)
}

function bind(flag: Flag, text: string): Bind {
  const found = parseBind(text)
  if (found.kind === 'problem') throw new Wrong(`--${flag}: ${found.message}`)
  return found
}
