import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { stripVTControlCharacters } from 'node:util'

/** Everything in one command, the quick things first. `node test/run.ts unit` stops behind the unit tests. */

interface Tally {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

interface Step {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly tally: (output: string, code: number) => Tally
}

/** What was left out, and the rows of the table of what was proved. */
const SHOWN = /^left out: .*?: no [^:\n]*|scenario: .*/gm

const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0 }

/** A tool that is right or wrong as a whole. */
const tool = (name: string, command: string, ...args: string[]): Step => ({
  name,
  command,
  args,
  tally: (_, code) => (code === 0 ? { ...NOTHING, passed: 1 } : { ...NOTHING, failed: 1 }),
})

const file = (name: string): Step => ({ name, command: process.execPath, args: [`test/${name}`], tally: counted })

/** uvu's closing lines. A file that ends badly without having counted a failure has failed as a whole. */
function counted(output: string, code: number): Tally {
  const plain = stripVTControlCharacters(output)
  const sum = (label: string): number =>
    [...plain.matchAll(new RegExp(`^ *${label}: +(\\d+)`, 'gm'))].reduce(
      (total, [, digits]) => total + Number(digits),
      0,
    )
  const leftOut = [...plain.matchAll(/^left out: /gm)].length
  const [total, passed, skipped] = [sum('Total'), sum('Passed'), sum('Skipped')]
  const failed = total - passed - skipped
  const broken = failed === 0 && (code !== 0 || total + leftOut === 0)
  return { passed, failed: broken ? 1 : failed, skipped: skipped + leftOut }
}

const files = readdirSync('test').filter((name) => name.endsWith('.test.ts'))
const binary = files.filter((name) => name.endsWith('.binary.test.ts'))
const cluster = files.filter((name) => name.endsWith('cluster.test.ts'))
const unit = files.filter((name) => !binary.includes(name) && !cluster.includes(name))

const quick: readonly Step[] = [
  tool('build', 'npm', 'run', '--silent', 'build'),
  tool('check: biome', 'node_modules/.bin/biome', 'check', '--error-on-warnings', '.'),
  tool('check: tsc', 'node_modules/.bin/tsc'),
  ...unit.map(file),
]
const real: readonly Step[] = [
  tool('real parts', process.execPath, 'test/parts.ts'),
  ...[...binary, ...cluster].map(file),
]

let sum = NOTHING
for (const step of process.argv[2] === 'unit' ? quick : [...quick, ...real]) {
  const started = performance.now()
  const tally = await outcome(step)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${tally.failed === 0 ? 'ok  ' : 'FAIL'} ${step.name}: ${line(tally)} (${seconds} s)`)
  sum = {
    passed: sum.passed + tally.passed,
    failed: sum.failed + tally.failed,
    skipped: sum.skipped + tally.skipped,
  }
}
process.exitCode = sum.failed === 0 ? 0 : 1
if (sum.skipped > 0) console.log(`${sum.skipped} left out, as said above`)
console.log(line({ ...sum, skipped: 0 }))

function line({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`
}

/**
 * The output of a step is shown when it failed; what the real parts are is always shown. Why a
 * part is missing, and how to get it, stands with the parts.
 */
function outcome({ name, command, args, tally }: Step): Promise<Tally> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.on('error', (error) => (output += error.message))
    child.on('close', (code) => {
      const found = tally(output, code ?? 1)
      if (found.failed > 0 || name === 'real parts') console.log(output.trimEnd())
      else for (const [shown] of output.matchAll(SHOWN)) console.log(shown)
      resolve(found)
    })
  })
}
