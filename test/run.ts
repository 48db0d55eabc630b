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

const LEFT_OUT = /^left out: .*?: no [^:\n]*/gm
const SCENARIO = /scenario: (.*)/g

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

const build = tool('build', 'npm', 'run', '--silent', 'build')
const quick: readonly Step[] = [
  tool('check: biome', 'node_modules/.bin/biome', 'check', '--error-on-warnings', '.'),
  tool('check: tsc', 'node_modules/.bin/tsc'),
  ...unit.map(file),
]
const parts = tool('real parts', process.execPath, 'test/parts.ts')
/** Mostly waiting: beside these the others find the time that they need. */
const LONG = ['controller-faults.cluster.test.ts']
const real: readonly Step[] = [...LONG, ...[...binary, ...cluster].filter((name) => !LONG.includes(name))].map(file)

let sum = NOTHING
const scenarios: string[] = []
const broken: string[] = []
await all([build])
await all(quick)
if (process.argv[2] !== 'unit') {
  await all([parts])
  await all(real)
}
if (scenarios.length > 0)
  console.log(['', 'Proved, in how long, and how much the Hub sent for it:', ...scenarios, ''].join('\n'))
if (broken.length > 0) console.log(`Failed: ${broken.join(', ')}`)
process.exitCode = sum.failed === 0 ? 0 : 1
if (sum.skipped > 0) console.log(`${sum.skipped} left out, as said above`)
console.log(line({ ...sum, skipped: 0 }))

/** Two at a time, in this order. */
async function all(steps: readonly Step[]): Promise<void> {
  const left = [...steps]
  const lane = async (): Promise<void> => {
    for (let step = left.shift(); step !== undefined; step = left.shift()) await counting(step)
  }
  await Promise.all([lane(), lane()])
}

async function counting(step: Step): Promise<void> {
  const started = performance.now()
  const tally = await outcome(step)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${tally.failed === 0 ? 'ok  ' : 'FAIL'} ${step.name}: ${line(tally)} (${seconds} s)`)
  if (tally.failed > 0) broken.push(step.name)
  sum = {
    passed: sum.passed + tally.passed,
    failed: sum.failed + tally.failed,
    skipped: sum.skipped + tally.skipped,
  }
}

function line({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`
}

/**
 * The output of a step is shown when it failed; what the real parts are is always shown. Why a part is missing, and how
 * to get it, stands with the parts.
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
      else for (const [left] of output.matchAll(LEFT_OUT)) console.log(left)
      for (const [, row = ''] of output.matchAll(SCENARIO)) scenarios.push(row)
      resolve(found)
    })
  })
}
