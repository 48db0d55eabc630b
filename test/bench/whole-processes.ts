import { existsSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Part } from '../parts.ts'
import { resourceList, type Size } from './inputs.ts'
import { alternating, type Command, median, peak, ratio, run } from './measure.ts'
import { mustBeSame } from './same.ts'
import { announce, factor, milliseconds, type Row } from './table.ts'

export const PROGRAM: string = resolve('dist/arksmodel-fn.cjs')

const SMALL = { models: 3, others: 17 }
const MEDIUM = { models: 100, others: 5000 }
const LARGE = { models: 100, others: 20_000 }

/** Against a Node that does nothing. */
export function start(folder: string): readonly Row[] {
  announce(title(SMALL))
  const ours = ourFunction(folder, SMALL)
  const [times = [], bare = []] = alternating([ours, { ...ours, args: ['-e', '0'] }], 41)
  const found = ratio(times, bare)
  return [
    {
      work: title(SMALL),
      ours: milliseconds(times),
      other: `node -e 0: ${milliseconds(bare)}`,
      ratio: factor(found),
      goal: 'at most 1.6 ×',
      reached: found <= 1.6,
    },
  ]
}

export function againstGo(folder: string, go: Part, hasPeak: boolean): readonly Row[] {
  takesBackItsOwn(folder, go)
  return [
    faster(folder, go, { size: MEDIUM, runs: 9, goal: 5 }),
    ...(hasPeak ? [memory(folder, go)] : []),
    faster(folder, go, { size: LARGE, runs: 5, goal: 15 }),
  ]
}

/** What is marked as generated is dropped and made again. */
function takesBackItsOwn(folder: string, go: Part): void {
  const ours = ourFunction(folder, SMALL)
  const theirs = { ...goFunction(folder, go, SMALL), input: ours.output }
  run(ours)
  run(theirs)
  mustBeSame(ours.output, theirs.output)
}

interface Race {
  readonly size: Size
  readonly runs: number
  readonly goal: number
}

function faster(folder: string, go: Part, { size, runs, goal }: Race): Row {
  announce(`${title(size)} against Go`)
  const [ours, theirs] = [ourFunction(folder, size), goFunction(folder, go, size)]
  run(ours)
  run(theirs)
  mustBeSame(ours.output, theirs.output)
  const [times = [], others = []] = alternating([ours, theirs], runs)
  const found = ratio(others, times)
  return {
    work: `${title(size)} (${(statSync(ours.input).size / 1e6).toFixed(1)} MB)`,
    ours: milliseconds(times),
    other: `Go with kyaml: ${milliseconds(others)}`,
    ratio: `${found.toFixed(1)} × faster`,
    goal: `at least ${goal} × faster`,
    reached: found >= goal,
  }
}

function memory(folder: string, go: Part): Row {
  announce('memory')
  const highest = (command: Command): number => Math.max(...[1, 2, 3].map(() => peak(command)))
  const [ours, theirs] = [highest(ourFunction(folder, MEDIUM)), highest(goFunction(folder, go, MEDIUM))]
  return {
    work: `${title(MEDIUM)}, peak memory`,
    ours: `${ours.toFixed(0)} MB`,
    other: `Go with kyaml: ${theirs.toFixed(0)} MB`,
    ratio: factor(ours / theirs),
    goal: 'at most 150 MB',
    reached: ours <= 150,
  }
}

/** What the small input takes is taken off: the constant start would hide what grows too fast. */
export function growth(folder: string): readonly Row[] {
  announce('growth')
  const sizes = [SMALL, MEDIUM, LARGE].map((size) => ourFunction(folder, size))
  const [small = [], medium = [], large = []] = alternating(sizes, 15)
  const microseconds = (size: Size, times: readonly number[]): number =>
    (1000 * (median(times) - median(small))) / (count(size) - count(SMALL))
  const [few, many] = [microseconds(MEDIUM, medium), microseconds(LARGE, large)]
  return [
    {
      work: `each of ${count(LARGE)} objects, without the start`,
      ours: `${many.toFixed(1)} µs`,
      other: `each of ${count(MEDIUM)}: ${few.toFixed(1)} µs`,
      ratio: factor(many / few),
      goal: 'at most 1.1 ×',
      reached: many / few <= 1.1,
    },
  ]
}

const ourFunction = (folder: string, size: Size): Command => ({
  program: process.execPath,
  args: [PROGRAM],
  input: inputFile(folder, size),
  output: join(folder, `ours-${count(size)}.yaml`),
})

const goFunction = (folder: string, { path }: Part, size: Size): Command => ({
  program: path,
  args: [],
  input: inputFile(folder, size),
  output: join(folder, `go-${count(size)}.yaml`),
})

function inputFile(folder: string, size: Size): string {
  const file = join(folder, `input-${count(size)}.yaml`)
  if (!existsSync(file)) writeFileSync(file, resourceList(size))
  return file
}

const count = ({ models, others }: Size): number => models + others

const title = ({ models, others }: Size): string => `${models} models + ${others} others`
