import { isUtf8 } from 'node:buffer'
import { fstatSync, readSync, writeSync } from 'node:fs'
import { VERSION } from '../crds/version.ts'
import { withoutTokens } from '../crds/wording.ts'
import { HELP, parseArguments } from './arguments.ts'
import { Content, filesIn, readFile, Unreachable } from './files.ts'
import { type Finding, finding, line, visible } from './finding.ts'
import type { Input } from './gather.ts'
import { type Outcome, run } from './run.ts'

const DONE = 0
const PROBLEMS = 1
const BUG = 2

async function main(): Promise<number> {
  const request = parseArguments(process.argv.slice(2))
  if (request.kind === 'help') return print(HELP, DONE)
  if (request.kind === 'version') return print(`${VERSION}\n`, DONE)
  if (request.kind === 'wrong') return complain([request.message, 'arksmodel-fn --help shows what it takes'])
  if (request.paths.length === 0 && (await isTerminal()))
    return complain(['must read manifests from a pipe, a file or a folder', 'arksmodel-fn --help shows how'])
  const outcome = await expand(request)
  await write(outcome.stdout)
  if (outcome.notes.length > 0) process.stderr.write(outcome.notes.map((note) => `note: ${line(note)}\n`).join(''))
  if (outcome.findings.length === 0) return DONE
  return complain(outcome.findings.map(line))
}

async function expand({
  paths,
  recursive,
  config,
  seal,
}: Extract<ReturnType<typeof parseArguments>, { kind: 'run' }>): Promise<Outcome> {
  const inputs =
    paths.length === 0
      ? [decoded(await standardInput(), undefined)]
      : filesIn(paths, recursive).map(({ bytes, name }) => decoded(bytes, name))
  const settings = config === undefined ? undefined : decoded(readFile(config).bytes, config)
  const findings = [...inputs, ...(settings === undefined ? [] : [settings])].flatMap((each) =>
    'text' in each ? [] : [each],
  )
  if (findings.length > 0) return { stdout: '', findings, notes: [] }
  return run(inputs.filter(isInput), {
    config: settings !== undefined && isInput(settings) ? settings : undefined,
    seal,
  })
}

const isInput = (each: Input | Finding): each is Input => 'text' in each

function decoded(bytes: Buffer, name: string | undefined): Input | Finding {
  if (isUtf8(bytes)) return { name, text: bytes.toString() }
  const isUtf16 = ['fffe', 'feff'].includes(bytes.subarray(0, 2).toString('hex'))
  return isUtf16
    ? finding({ file: name }, { path: '', message: 'must be UTF-8 text, got UTF-16' })
    : finding({ file: name, line: lineOfOther(bytes) }, { path: '', message: 'must be UTF-8 text' })
}

/** The first line that is not UTF-8. */
function lineOfOther(bytes: Buffer): number {
  let line = 0
  for (let at = 0, end = 0; at <= bytes.length; at = end + 1) {
    const found = bytes.indexOf('\n', at)
    end = found === -1 ? bytes.length : found
    line++
    if (!isUtf8(bytes.subarray(at, end))) break
  }
  return line
}

/** `node:tty` brings the network modules with it: it is loaded for a terminal only, which a pipe can be told from. */
async function isTerminal(): Promise<boolean> {
  if (!fstatSync(0).isCharacterDevice()) return false
  const { isatty } = await import('node:tty')
  return isatty(0)
}

/** Synchronous as long as the pipe allows it: the stream machinery costs more start-up time than all of the rest. */
async function standardInput(): Promise<Buffer> {
  const content = new Content('', fstatSync(0).size)
  for (;;) {
    const length = readChunk(content.room())
    if (length === undefined) break
    if (!content.took(length)) return content.bytes()
  }
  for await (const chunk of process.stdin) {
    for (let rest: Buffer = chunk; rest.length > 0; ) {
      const length = rest.copy(content.room())
      content.took(length)
      rest = rest.subarray(length)
    }
  }
  return content.bytes()
}

/** Undefined: the pipe does not block and is empty just now. */
function readChunk(chunk: Uint8Array): number | undefined {
  try {
    return readSync(0, chunk)
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return undefined
    if (codeOf(error) === 'EOF') return 0
    if (codeOf(error) === 'EISDIR') throw new Unreachable(['standard input: must be manifests, got a folder'])
    throw error
  }
}

/** A pipe takes 64 KiB at a time, and a non-blocking one says so: what it does not take goes through the stream. */
async function write(text: string): Promise<void> {
  let rest: Uint8Array = Buffer.from(text)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if (codeOf(error) === 'EAGAIN') return writeLater(rest)
      return unwritten(error)
    }
  }
}

const writeLater = (rest: Uint8Array): Promise<void> =>
  new Promise<void>((resolve, reject) => {
    process.stdout.once('error', reject)
    process.stdout.write(rest, (problem) => {
      if (problem === null || problem === undefined) resolve()
    })
  }).catch(unwritten)

/** A reader that has seen enough is no problem. */
function unwritten(error: unknown): void {
  if (codeOf(error) === 'ENOSPC') throw new Unreachable(['standard output: must take it all: no space is left'])
  if (codeOf(error) !== 'EPIPE') throw error
}

async function print(text: string, code: number): Promise<number> {
  await write(text)
  return code
}

async function complain(lines: readonly string[]): Promise<number> {
  const colors = process.stderr.isTTY && (process.env['NO_COLOR'] ?? '') === ''
  const { styleText } = await import('node:util')
  const label = colors ? styleText('red', 'error:', { validateStream: false }) : 'error:'
  process.stderr.write(lines.map((each) => `${label} ${visible(withoutTokens(each))}\n`).join(''))
  return PROBLEMS
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '')

void main()
  .catch((error: unknown) => {
    if (error instanceof Unreachable) return complain(error.lines)
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    return BUG
  })
  .then((code) => {
    // Never process.exit(): it drops what a pipe has not taken yet.
    process.exitCode = code
  })
