import { median, spread } from './measure.ts'

export interface Row {
  readonly work: string
  readonly ours: string
  readonly other: string
  readonly ratio: string
  readonly goal: string
  readonly reached: boolean
}

export const table = (rows: readonly Row[]): string =>
  aligned([
    ['work', 'ours', 'compared with', 'ratio', 'goal', 'reached'],
    ...rows.map((row) => [row.work, row.ours, row.other, row.ratio, row.goal, row.reached ? 'yes' : 'no']),
  ])

/** In Markdown, with the columns in line. The first row is the head. */
export function aligned([head = [], ...body]: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...body.map((cells) => cells[column]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [head, widths.map((width) => '-'.repeat(width)), ...body].map(line).join('\n')
}

export const milliseconds = (times: readonly number[]): string =>
  `${median(times).toFixed(0)} ms ± ${spread(times).toFixed(0)} %`

export const seconds = (times: readonly number[]): string =>
  `${median(times).toFixed(2)} s ± ${spread(times).toFixed(0)} %`

export const factor = (ratio: number): string => `${ratio.toFixed(2)} ×`

/** On stderr: the table may be on its way into a file. */
export const announce = (what: string): void => console.error(`measuring ${what}`)
