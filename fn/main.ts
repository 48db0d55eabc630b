import { isUtf8 } from 'node:buffer'
import { fstatSync, readSync, writeSync } from 'node:fs'
import { HELP, parseArguments } from './arguments.ts'
import { filesIn, readFile, Unreachable } from './files.ts'
import { type Finding, finding, line } from './finding.ts'
import type { Input } from './gather.ts'
import { type Outcome, run } from './run.ts'
import { VERSION } from './version.ts'

const DONE = 0
const PROBLEMS = 1
const BUG = 2

async function main(): Promise<number> {
  const request = parseArguments(process.argv.slice(2))
  if (request.kind === 'help') return print(HELP, DONE)
  if (request.kind === 'version') return print(`${VERSION}\n`, DONE)
  if (request.kind === 'wrong') return complain([`${request.message}`, 'arksmodel-fn --help shows what it takes'])
  if (request.paths.length === 0 && (await isTerminal()))
    return complain(['must read manifests from a pipe, a file or a folder', 'arksmodel-fn --help shows how'])
  const outcome = await expand(request)
  await write(outcome.stdout)
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
  if (findings.length > 0) return { stdout: '', findings }
  return run(inputs.filter(isInput), {
    config: settings !== undefined && isInput(settings) ? settings : undefined,
    seal,
  })
}

const isInput = (each: Input | Finding): each is Input => 'text' in each

function decoded(bytes: Uint8Array, name: string | undefined): Input | Finding {
  if (!isUtf8(bytes)) return finding({ file: name }, { path: '', message: 'must be UTF-8 text' })
  return { name, text: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString() }
}

/** `node:tty` brings the network modules with it: it is loaded for a terminal only, which a pipe can be told from. */
async function isTerminal(): Promise<boolean> {
  if (!fstatSync(0).isCharacterDevice()) return false
  const { isatty } = await import('node:tty')
  return isatty(0)
}

/** Synchronous as long as the pipe allows it: the stream machinery costs more start-up time than all of the rest. */
async function standardInput(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  const size = Math.max(65536, fstatSync(0).size + 1)
  for (;;) {
    const chunk = Buffer.allocUnsafe(size)
    const length = readChunk(chunk)
    if (length === 0) return Buffer.concat(chunks)
    if (length === undefined) break
    chunks.push(chunk.subarray(0, length))
  }
  for await (const chunk of process.stdin) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Undefined: the pipe does not block and is empty just now. */
function readChunk(chunk: Uint8Array): number | undefined {
  try {
    return readSync(0, chunk)
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return undefined
    if (codeOf(error) === 'EOF') return 0
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
      if (codeOf(error) === 'EPIPE') return
      if (codeOf(error) !== 'EAGAIN') throw error
      const remainder = rest
      return new Promise((resolve, reject) => {
        process.stdout.write(remainder, (problem) =>
          problem === null || problem === undefined ? resolve() : reject(problem),
        )
      })
    }
  }
}

async function print(text: string, code: number): Promise<number> {
  await write(text)
  return code
}

async function complain(lines: readonly string[]): Promise<number> {
  const colors = process.stderr.isTTY && (process.env['NO_COLOR'] ?? '') === ''
  const { styleText } = await import('node:util')
  const label = colors ? styleText('red', 'error:', { validateStream: false }) : 'error:'
  process.stderr.write(lines.map((each) => `${label} ${each}\n`).join(''))
  return PROBLEMS
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '')

void main()
  .catch((error: unknown) => {
    if (error instanceof Unreachable) return complain([error.message])
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    return BUG
  })
  .then((code) => {
    // Never process.exit(): it drops what a pipe has not taken yet.
    process.exitCode = code
  })
