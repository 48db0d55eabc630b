import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'

/** A whole process between two files, as in `program args < input > output`. */
export interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly input: string
  readonly output: string
}

/** Runs them in turn, so that what else the machine does hits all of them. One list of milliseconds for each. */
export function alternating(commands: readonly Command[], runs: number): readonly (readonly number[])[] {
  commands.forEach(run)
  const rounds = Array.from({ length: runs }, () => commands.map(milliseconds))
  return commands.map((_, index) => rounds.map((round) => round[index] ?? Number.NaN))
}

function milliseconds(command: Command): number {
  const started = performance.now()
  run(command)
  return performance.now() - started
}

/** Throws where the program fails: a time is worth nothing then. */
export function run({ program, args, input, output }: Command): void {
  const files = [openSync(input, 'r'), openSync(output, 'w')] as const
  const { status, stderr, error } = spawnSync(program, args, { stdio: [...files, 'pipe'], encoding: 'utf8' })
  files.forEach(closeSync)
  if (error !== undefined) throw new Error(`cannot run ${program}`, { cause: error })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr}`)
}

/** Peak resident memory in MB, as GNU time tells it: Node does not know that of a child. */
export function peak(command: Command): number {
  const report = `${command.output}.peak`
  run({ ...command, program: 'time', args: ['-f', '%M', '-o', report, command.program, ...command.args] })
  return (Number(readFileSync(report, 'utf8')) * 1024) / 1e6
}

export const hasGnuTime = (): boolean =>
  /^\d+\n$/.test(spawnSync('time', ['-f', '%M', 'true'], { encoding: 'utf8' }).stderr ?? '')

/** Each run with the one beside it: what slows the machine down for a while slows both. */
export const ratio = (left: readonly number[], right: readonly number[]): number =>
  median(left.map((value, index) => value / (right[index] ?? Number.NaN)))

export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** Half of the runs lie within about this many percent of the median. */
export const spread = (values: readonly number[]): number =>
  (50 * (quantile(values, 0.75) - quantile(values, 0.25))) / median(values)

export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const place = (sorted.length - 1) * part
  const [low = Number.NaN, high = low] = sorted.slice(Math.floor(place), Math.floor(place) + 2)
  return low + (high - low) * (place % 1)
}
