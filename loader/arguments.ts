import { distance } from 'fastest-levenshtein'
import { Failure } from './failure.ts'
import type { Filter } from './patterns.ts'
import type { Shard } from './plan.ts'

/** What the command line and the environment ask for. */
export type Request =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'wrong'; readonly message: string; readonly terminationLog: string | undefined }
  | {
      readonly kind: 'verify'
      readonly folder: string
      readonly format: Format
      readonly terminationLog: string | undefined
    }
  | ({ readonly kind: 'load' } & LoadRequest)

export type Format = 'json' | 'text' | undefined

export interface LoadRequest {
  readonly repo: string
  readonly to: string
  readonly revision: string
  readonly filter: Filter
  readonly endpoint: string
  readonly token: string | undefined
  readonly tokenFile: TokenFile | undefined
  readonly reuse: string | undefined
  readonly shard: Shard | undefined
  readonly patienceMs: number
  readonly idleMs: number
  readonly connections: number
  readonly segmentBytes: number
  /** Undefined: as many as there are cores, up to a limit. */
  readonly workers: number | undefined
  /** 0: none. Undefined: the usual one in a pod, none elsewhere. */
  readonly port: number | undefined
  readonly terminationLog: string | undefined
  /** Undefined: what suits the output. */
  readonly format: Format
}

export interface TokenFile {
  readonly path: string
  /** In messages: with the option that it comes from. */
  readonly called: string
  /** Codes of the errors that mean that there is no token. */
  readonly absent: readonly string[]
}

const HUGGING_FACE = 'https://huggingface.co'

export const HELP: string = `Loads a model from the Hugging Face Hub into a folder: verified, and going on where it broke off.

Usage:
  arksmodel-loader ORG/MODEL --to DIR [options]
  arksmodel-loader verify DIR          read every byte again and compare with what was loaded

Options, with huggingface_hub's variable for it and what it is without:
  --to DIR               where the model goes
  --revision REVISION    branch, tag or commit (main)
  --include PATTERN      only files that match; may be given again (all files)
  --exclude PATTERN      not files that match; may be given again
  --endpoint URL         HF_ENDPOINT: the Hub, or a mirror of it (${HUGGING_FACE})
  --token-file FILE      HF_TOKEN_PATH: a file with the token (token in HF_HOME, which is
                         ~/.cache/huggingface); HF_TOKEN: the token itself
  --reuse DIR            take files that other models below this folder have already
  --shard I/N            load only the part I, from 0, of N; the last one to end completes the model
  --patience SECONDS     how long to wait for a network that brings nothing (600)
  --timeout SECONDS      HF_HUB_DOWNLOAD_TIMEOUT: when a silent connection is given up (30)
  --connections N        ranges at once (16)
  --segment MIB          size of a range; so much times connections is held in memory (4)
  --workers N            threads (one for each core, 4 at most)
  --port N               serve /progress, /metrics and /healthz; 0: do not (8080 in a pod, else 0)
  --termination-log FILE where to leave the result as JSON (/dev/termination-log where that is)
  --log-format FORMAT    json or text (text on a terminal)
  --version, -h, --help

Each option with a value has a variable of its own as well: ARKS_LOADER_ and its name in capitals,
with _ for -, such as ARKS_LOADER_LOG_FORMAT=json; of patterns each line is one. The command line
wins, then that variable, then huggingface_hub's. An empty variable is none, an unknown one ignored.

Further variables: HTTPS_PROXY, HTTP_PROXY, NO_PROXY, NODE_EXTRA_CA_CERTS.

Exit codes: 0 loaded; 2 arguments; 10 token refused; 11 gated; 12 no such repository;
13 no such revision; 14 no matching files; 20 no space; 21 volume; 22 wrong bytes; 30 network;
31 rate limit; 40 interrupted; 70 a bug.
`

type Environment = Readonly<Record<string, string | undefined>>

/** That ranges may take while they are under way. */
const MAX_MEMORY_MIB = 1024

/** Each takes a value. */
export const FLAGS: readonly string[] = [
  '--to',
  '--revision',
  '--include',
  '--exclude',
  '--endpoint',
  '--token-file',
  '--reuse',
  '--shard',
  '--patience',
  '--timeout',
  '--connections',
  '--segment',
  '--workers',
  '--port',
  '--termination-log',
  '--log-format',
]
const REPEATED = ['--include', '--exclude']

/**
 * Not ARKSMODEL_: a Service called "arksmodel" gives the pods of its namespace ARKSMODEL_PORT=tcp://10.0.0.1:80.
 * For the same reason a variable that is no option's is none of ours.
 */
export const variableOf = (flag: string): string => `ARKS_LOADER_${flag.slice(2).toUpperCase().replaceAll('-', '_')}`

/** What huggingface_hub calls them. */
const OF_HUGGING_FACE: Readonly<Record<string, string>> = {
  '--endpoint': 'HF_ENDPOINT',
  '--timeout': 'HF_HUB_DOWNLOAD_TIMEOUT',
}

/** Why a command line cannot be followed. */
class Wrong extends Failure {
  constructor(message: string) {
    super('InvalidSpec', message)
  }
}

export function parseArguments(words: readonly string[], environment: Environment): Request {
  try {
    const { values, others, alone } = split(words)
    return alone === undefined ? request(values, others, environment) : { kind: alone }
  } catch (error) {
    if (!(error instanceof Wrong)) throw error
    return { kind: 'wrong', message: error.message, terminationLog: terminationLogIn(words, environment) }
  }
}

/** To be found whatever else is wrong with them. */
function terminationLogIn(words: readonly string[], environment: Environment): string | undefined {
  const flag = '--termination-log'
  const word = words.find((each) => each.startsWith(`${flag}=`))
  if (word !== undefined) return word.slice(flag.length + 1)
  return words[words.indexOf(flag) + 1 || words.length] ?? textOf(variableOf(flag), environment)
}

type Values = ReadonlyMap<string, readonly string[]>

function split(words: readonly string[]): {
  readonly values: Values
  readonly others: readonly string[]
  readonly alone?: 'help' | 'version'
} {
  const values = new Map<string, string[]>()
  const others: string[] = []
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    if (word === '-h' || word === '--help') return { values, others, alone: 'help' }
    if (word === '--version') return { values, others, alone: 'version' }
    if (!word.startsWith('-')) {
      others.push(word)
      continue
    }
    const flag = flagIn(word)
    if (!FLAGS.includes(flag)) throw new Wrong(unknownFlag(flag))
    const value = word === flag ? words[++index] : word.slice(flag.length + 1)
    if (value === undefined || value === '' || (word === flag && FLAGS.includes(flagIn(value))))
      throw new Wrong(`${flag}: must be followed by a value`)
    const given = values.get(flag) ?? []
    if (given.length > 0 && !REPEATED.includes(flag)) throw new Wrong(`${flag}: must not be given twice`)
    values.set(flag, [...given, value])
  }
  return { values, others }
}

const flagIn = (word: string): string => word.split('=')[0] ?? ''

function unknownFlag(flag: string): string {
  const known = [...FLAGS, '--version', '--help']
  const [nearest] = known.map((each) => ({ each, far: distance(each, flag) })).toSorted((a, b) => a.far - b.far)
  const near =
    nearest !== undefined && nearest.far <= Math.max(1, flag.length / 3) ? `; did you mean ${nearest.each}?` : ''
  return `unknown flag ${flag.slice(0, LONGEST_SHOWN)}${near}`
}

const LONGEST_SHOWN = 40

/** What stands for an option, and what it is called where it came from. */
interface Given {
  readonly name: string
  readonly text: string
}

/** What the command line says wins, then the variable of that name, then huggingface_hub's. */
function optionOf(flag: string, values: Values, environment: Environment): Given | undefined {
  const [value] = values.get(flag) ?? []
  if (value !== undefined) return { name: flag, text: value }
  for (const name of [variableOf(flag), OF_HUGGING_FACE[flag]]) {
    const text = name === undefined ? undefined : textOf(name, environment)
    if (name !== undefined && text !== undefined) return { name, text }
  }
  return undefined
}

/** Undefined: not there, or blank. */
function textOf(variable: string, environment: Environment): string | undefined {
  const text = environment[variable]?.trim() ?? ''
  return text === '' || (variable.endsWith('_PORT') && SERVICE.test(text)) ? undefined : text
}

/** What Kubernetes says in ARKS_LOADER_PORT for a Service called "arks-loader". */
const SERVICE = /^(tcp|udp|sctp):\/\//

function patterns(flag: string, values: Values, environment: Environment): readonly string[] {
  const lines = textOf(variableOf(flag), environment)?.split('\n') ?? []
  return values.get(flag) ?? lines.map((line) => line.trim()).filter((line) => line !== '')
}

function request(values: Values, others: readonly string[], environment: Environment): Request {
  const one = (flag: string): Given | undefined => optionOf(flag, values, environment)
  const format = formatOf(one('--log-format'))
  if (others[0] === 'verify') {
    const [, folder, more] = others
    if (folder === undefined || more !== undefined) throw new Wrong('verify: must be followed by one folder')
    const odd = [...values.keys()].find((flag) => !OF_VERIFY.includes(flag))
    if (odd !== undefined) throw new Wrong(`${odd}: must not be given to verify`)
    return { kind: 'verify', folder, format, terminationLog: one('--termination-log')?.text }
  }
  const [repo, more] = others
  if (repo === undefined) throw new Wrong('must be told which model to load, as ORG/MODEL')
  if (more !== undefined) throw new Wrong(`must be told one model, got "${repo}" and "${more}"`)
  if (!/^\w[\w.-]*(\/\w[\w.-]*)?$/.test(repo))
    throw new Wrong(`must be a model such as "Qwen/Qwen2.5-0.5B", got "${repo}"`)
  const to = one('--to')
  if (to === undefined) throw new Wrong('--to: must be given: the folder where the model goes')
  const [ofConnections, ofSegment] = [one('--connections'), one('--segment')]
  const connections = whole(ofConnections, { least: 1, most: 256 }) ?? 16
  const segment = whole(ofSegment, { least: 1, most: 256 }) ?? 4
  if (connections * segment > MAX_MEMORY_MIB)
    throw new Wrong(
      `${ofSegment?.name ?? '--segment'}: must be at most ${MAX_MEMORY_MIB} MiB together with ${ofConnections?.name ?? '--connections'}, got ${connections} times ${segment} MiB`,
    )
  return {
    kind: 'load',
    repo,
    to: to.text,
    revision: revisionOf(one('--revision')),
    filter: {
      include: patterns('--include', values, environment),
      exclude: patterns('--exclude', values, environment),
    },
    endpoint: endpointOf(one('--endpoint')),
    ...credentials(one('--token-file'), environment),
    reuse: one('--reuse')?.text,
    shard: shardOf(one('--shard')),
    patienceMs: 1000 * seconds(one('--patience'), { least: 0, otherwise: 600 }),
    idleMs: 1000 * seconds(one('--timeout'), { least: 0.001, otherwise: 30 }),
    connections,
    segmentBytes: segment * 1024 * 1024,
    workers: whole(one('--workers'), { least: 1, most: 64 }),
    port: whole(one('--port'), { least: 0, most: 65_535 }),
    terminationLog: one('--termination-log')?.text,
    format,
  }
}

const OF_VERIFY = ['--log-format', '--termination-log']

function formatOf(given: Given | undefined): Format {
  const text = given?.text
  if (text === undefined || text === 'json' || text === 'text') return text
  throw new Wrong(`${given?.name}: must be json or text, got "${text}"`)
}

/** Dots would become steps of the path that the Hub is asked for. */
function revisionOf(given: Given | undefined): string {
  if (given === undefined) return 'main'
  if (/^\.{1,2}$/.test(given.text))
    throw new Wrong(`${given.name}: must be a branch, tag or commit, got "${given.text}"`)
  return given.text
}

function endpointOf(given: Given | undefined): string {
  if (given === undefined) return HUGGING_FACE
  const { name, text } = given
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== ''))
    throw new Wrong(`${name}: must be a URL without user, query and fragment`)
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new Wrong(`${name}: must be a URL with http or https, got "${text}"`)
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}

function credentials(file: Given | undefined, environment: Environment): Pick<LoadRequest, 'token' | 'tokenFile'> {
  if (file === undefined)
    return { token: tokenOf(environment['HF_TOKEN'], 'HF_TOKEN'), tokenFile: usualTokenFile(environment) }
  // What is said to this program is meant for this load.
  const { name, text } = file
  return { token: undefined, tokenFile: { path: text, called: `${name}: ${text}`, absent: [] } }
}

/** Where huggingface_hub looks, and where `hf auth login` leaves it. */
function usualTokenFile(environment: Environment): TokenFile | undefined {
  const home = textOf('HOME', environment)
  const [file, folder] = [textOf('HF_TOKEN_PATH', environment), textOf('HF_HOME', environment)]
  const inHome = (path: string): string => (home === undefined ? path : path.replace(/^~(?=\/|$)/, () => home))
  if (file !== undefined) return named('HF_TOKEN_PATH', inHome(file))
  if (folder !== undefined) return named('HF_HOME', `${inHome(folder)}/token`)
  const cache = textOf('XDG_CACHE_HOME', environment) ?? (home === undefined ? undefined : `${home}/.cache`)
  if (cache === undefined) return undefined
  const path = `${cache}/huggingface/token`
  // Nobody asked for this one, and the home of an image may be another user's.
  return { path, called: path, absent: ['ENOENT', 'ENOTDIR', 'EACCES'] }
}

/** As huggingface_hub does: what the variable names need not be there. */
const named = (name: string, path: string): TokenFile => ({ path, called: `${name}: ${path}`, absent: ['ENOENT'] })

/** Secrets are often made from files that end with a line break. */
export function tokenOf(text: string | undefined, name: string): string | undefined {
  const token = text?.trim()
  if (token === undefined || token === '') return undefined
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Wrong(`${name}: must be one word of ASCII characters`)
  return token
}

function shardOf(given: Given | undefined): Shard | undefined {
  if (given === undefined) return undefined
  const [, index, count] = /^(\d{1,4})\/(\d{1,4})$/.exec(given.text) ?? []
  if (index === undefined || count === undefined || Number(index) >= Number(count))
    throw new Wrong(`${given.name}: must be I/N with I from 0 to N - 1, got "${given.text}"`)
  return Number(count) === 1 ? undefined : { index: Number(index), count: Number(count) }
}

const MAX_SECONDS = 1e6

function seconds(
  given: Given | undefined,
  { least, otherwise }: { readonly least: number; readonly otherwise: number },
): number {
  if (given === undefined) return otherwise
  const value = /^\d+(\.\d+)?$/.test(given.text) ? Number(given.text) : Number.NaN
  if (value >= least && value <= MAX_SECONDS) return value
  throw new Wrong(`${given.name}: must be a number of seconds from ${least} to ${MAX_SECONDS}, got "${given.text}"`)
}

function whole(
  given: Given | undefined,
  { least, most }: { readonly least: number; readonly most: number },
): number | undefined {
  if (given === undefined) return undefined
  const value = /^\d+$/.test(given.text) ? Number(given.text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new Wrong(`${given.name}: must be a whole number from ${least} to ${most}, got "${given.text}"`)
}
