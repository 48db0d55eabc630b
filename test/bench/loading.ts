import { join } from 'node:path'
import type { Part } from '../parts.ts'
import { aria2, bytes, copy, curl, hfDownload, ours, type Served } from './contenders.ts'
import { withDistantHub } from './latency-hub.ts'
import { median, ratio } from './measure.ts'
import { type Contender, type Result, race, run } from './race.ts'
import { withSource } from './sources.ts'
import { aligned, announce, factor, type Row, seconds } from './table.ts'

/** The loader beside what else loads models. */

export interface Equipment {
  /** The built loader. */
  readonly program: string
  /** On the disk that all write to. */
  readonly folder: string
  /** Whether there is a web server. */
  readonly hasWeb: boolean
  readonly hf: Part | undefined
  readonly aria2c: Part | undefined
  readonly curl: Part | undefined
  readonly hasGnuTime: boolean
  readonly sizes: Sizes
}

export interface Sizes {
  readonly rounds: number
  readonly oneBytes: number
  readonly eachOf16Bytes: number
  readonly slowBytes: number
  readonly smallCount: number
}

const MIB = 2 ** 20

export const FULL: Sizes = {
  rounds: 3,
  oneBytes: 2048 * MIB,
  eachOf16Bytes: 256 * MIB,
  slowBytes: 1024 * MIB,
  smallCount: 2000,
}

/** To see whether all works: what it measures is mostly the start. */
export const QUICK: Sizes = {
  rounds: 1,
  oneBytes: 128 * MIB,
  eachOf16Bytes: 16 * MIB,
  slowBytes: 64 * MIB,
  smallCount: 200,
}

export interface Measured {
  readonly work: string
  /** Undefined where none are to be moved. */
  readonly bytes: number | undefined
  readonly results: readonly Result[]
  readonly rows: readonly Row[]
}

export async function loading(equipment: Equipment): Promise<readonly Measured[]> {
  const works = [...(equipment.hasWeb ? [oneFile, sixteenFiles, slowConnections, nothingToDo] : []), smallFiles]
  const measured: Measured[] = []
  for (const work of works) measured.push(await work(equipment))
  return measured
}

function oneFile(equipment: Equipment): Promise<Measured> {
  const { sizes, aria2c } = equipment
  const work = `one file of ${mebibytes(sizes.oneBytes)}`
  announce(work)
  return withSource({ count: 1, bytes: sizes.oneBytes }, {}, async ({ model, folder }) => {
    const [{ path, size } = { path: '', size: 0 }] = model.files
    const url = `${model.endpoint}/${path}`
    const to = destination(equipment)
    const results = await race(
      [
        ours(equipment.program, model, to),
        ours(equipment.program, model, to, '--workers', '1'),
        ...withHf(equipment, model, to),
        ...(aria2c === undefined ? [] : [aria2(aria2c, url, size, to)]),
        ...(equipment.curl === undefined ? [] : [curl(equipment.curl, url, size, to)]),
        copy(join(folder, path), size, to),
      ],
      { ...equipment, rounds: sizes.rounds, empty: true },
    )
    const rows = [
      ...faster(work, results, { than: /^hf/, goal: 1.5 }),
      ...faster(work, results, { than: /^aria2c/, goal: 1 }),
    ]
    return { work, bytes: bytes(model), results, rows }
  })
}

function sixteenFiles(equipment: Equipment): Promise<Measured> {
  const { sizes } = equipment
  const work = `16 files of ${mebibytes(sizes.eachOf16Bytes)}`
  announce(work)
  return withSource({ count: 16, bytes: sizes.eachOf16Bytes }, {}, async ({ model }) => {
    const to = destination(equipment)
    const results = await race(
      [
        ours(equipment.program, model, to),
        ours(equipment.program, model, to, '--workers', '1'),
        ...withHf(equipment, model, to),
      ],
      { ...equipment, rounds: sizes.rounds, empty: true },
    )
    const rows = [
      ...faster(work, results, { than: /^hf/, goal: 2 }),
      ...faster(work, results, { than: /workers 1/, goal: 1 }),
    ]
    return { work, bytes: bytes(model), results, rows }
  })
}

const SLOW = 60e6

function slowConnections(equipment: Equipment): Promise<Measured> {
  const { sizes } = equipment
  const work = `${mebibytes(sizes.slowBytes)} at ${SLOW / 1e6} MB/s per connection`
  announce(work)
  return withSource({ count: 1, bytes: sizes.slowBytes }, { rate: SLOW }, async ({ model }) => {
    const [{ path, size } = { path: '', size: 0 }] = model.files
    const to = destination(equipment)
    const results = await race(
      [
        ours(equipment.program, model, to),
        ...(equipment.curl === undefined ? [] : [curl(equipment.curl, `${model.endpoint}/${path}`, size, to)]),
      ],
      { ...equipment, rounds: sizes.rounds, empty: true },
    )
    return { work, bytes: bytes(model), results, rows: faster(work, results, { than: /^curl/, goal: 8 }) }
  })
}

const MOST_SECONDS = 0.2

/** Each has its own folder, which it has filled before. */
function nothingToDo(equipment: Equipment): Promise<Measured> {
  const work = '100 files that are all there'
  announce(work)
  return withSource({ count: 100, bytes: MIB }, {}, async ({ model, web }) => {
    const contenders = [
      ours(equipment.program, model, destination(equipment, 'ours')),
      ...withHf(equipment, model, destination(equipment, 'hf')),
    ]
    for (const contender of contenders) await run(contender, { ...equipment, empty: true })
    const before = web.requests().length
    const results = await race(contenders, { ...equipment, rounds: 3 * equipment.sizes.rounds, empty: false })
    const asked = web.requests().slice(before)
    const count = asked.filter(({ uri, userAgent }) => uri.includes('/resolve/') && /^arksmodel/.test(userAgent)).length
    const [mine, theirs] = [secondsOf(results, /^ours/), secondsOf(results, /^hf/)]
    const row: Row = {
      work,
      ours: `${seconds(mine)}, ${count} requests for content`,
      other: theirs.length === 0 ? '' : `${nameOf(results, /^hf/)}: ${seconds(theirs)}`,
      ratio: theirs.length === 0 ? '' : `${ratio(theirs, mine).toFixed(1)} × faster`,
      goal: `at most ${MOST_SECONDS} s, 0 requests`,
      reached: median(mine) <= MOST_SECONDS && count === 0,
    }
    return { work, bytes: undefined, results, rows: [row] }
  })
}

function smallFiles(equipment: Equipment): Promise<Measured> {
  const { sizes } = equipment
  const distant = { count: sizes.smallCount, bytes: 20_000, latencyMs: 20 }
  const work = `${distant.count} files of ${distant.bytes / 1000} kB at ${distant.latencyMs} ms`
  announce(work)
  return withDistantHub(distant, async (model) => {
    const to = destination(equipment)
    const results = await race([ours(equipment.program, model, to), ...withHf(equipment, model, to)], {
      ...equipment,
      rounds: sizes.rounds,
      empty: true,
    })
    return { work, bytes: bytes(model), results, rows: faster(work, results, { than: /^hf/, goal: 3 }) }
  })
}

const destination = ({ folder }: Equipment, name = 'to'): string => join(folder, name)

const withHf = ({ hf }: Equipment, model: Served, folder: string): readonly Contender[] =>
  hf === undefined ? [] : [hfDownload(hf, model, folder)]

interface Race {
  /** By its name. */
  readonly than: RegExp
  readonly goal: number
}

/** Nothing where the other is not there. */
function faster(work: string, results: readonly Result[], { than, goal }: Race): readonly Row[] {
  const [mine, theirs] = [secondsOf(results, /^ours$/), secondsOf(results, than)]
  if (theirs.length === 0) return []
  const times = ratio(theirs, mine)
  return [
    {
      work,
      ours: seconds(mine),
      other: `${nameOf(results, than)}: ${seconds(theirs)}`,
      ratio: `${times.toFixed(2)} × faster`,
      goal: `at least ${goal} × faster`,
      reached: times >= goal,
    },
  ]
}

const resultOf = (results: readonly Result[], name: RegExp): Result | undefined =>
  results.find((each) => name.test(each.name))

const nameOf = (results: readonly Result[], name: RegExp): string => resultOf(results, name)?.name ?? ''

const secondsOf = (results: readonly Result[], name: RegExp): readonly number[] =>
  (resultOf(results, name)?.runs ?? []).map((each) => each.seconds)

const MOST_BYTES = 256e6

export function memory(measured: readonly Measured[]): Row {
  const all = measured.flatMap(({ work, results }) =>
    results.filter(({ name }) => /^ours/.test(name)).map(({ name, runs }) => ({ work, name, peak: peak(runs) })),
  )
  const most = all.reduce((worst, each) => (each.peak > worst.peak ? each : worst))
  return {
    work: 'peak memory of all of ours',
    ours: megabytes(most.peak),
    other: `the most: ${most.name}, ${most.work}`,
    ratio: factor(most.peak / MOST_BYTES),
    goal: `at most ${megabytes(MOST_BYTES)}`,
    reached: most.peak <= MOST_BYTES,
  }
}

/** What each has taken, also those without a goal. */
export const taken = (measured: readonly Measured[]): string =>
  aligned([
    ['work', 'program', 'time', 'MB/s', 'CPU time', 'peak memory'],
    ...measured.flatMap(({ work, bytes, results }) =>
      results.map(({ name, runs }) => {
        const times = runs.map((each) => each.seconds)
        const rate = bytes === undefined ? '' : (bytes / 1e6 / median(times)).toFixed(0)
        const processor = median(runs.map(({ cpuSeconds }) => cpuSeconds))
        const hasMore = !Number.isNaN(processor)
        const more = hasMore ? [`${processor.toFixed(2)} s`, megabytes(peak(runs))] : ['', '']
        return [work, name, seconds(times), rate, ...more]
      }),
    ),
  ])

const peak = (runs: Result['runs']): number => Math.max(...runs.map(({ peakBytes }) => peakBytes))

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`

const mebibytes = (bytes: number): string => (bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30} GiB` : `${bytes / MIB} MiB`)
