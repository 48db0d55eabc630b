import type { Plain } from '../crds/arksmodel.ts'
import { isPlain } from './merge.ts'
import { quoted, type Scalar, scalarText } from './scalar.ts'

/** Block YAML as kubectl prints it: two spaces, sequences not indented, no anchors, a newline at the end. */
export function block(value: Plain, column = 0): string {
  const lines: string[] = []
  entries(value, ' '.repeat(column), lines)
  return lines.join('')
}

/** The object as an item of a block sequence whose dashes stand at this column. */
export const blockItem = (value: Plain, column: number): string =>
  `${' '.repeat(column)}- ${block(value, column + 2).slice(column + 2)}`

/** The object as JSON: flow YAML that every reader takes. */
export const flow = (value: unknown): string => {
  if (typeof value === 'string') return quoted(value)
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`
  if (!isPlain(value)) return String(value)
  return `{${present(value)
    .map(([key, child]) => `${quoted(key)}: ${flow(child)}`)
    .join(', ')}}`
}

function entries(value: Plain, indent: string, lines: string[]): void {
  for (const [key, child] of present(value)) {
    lines.push(indent, scalarText(key), ':')
    nested(child, indent, lines)
  }
}

function nested(value: unknown, indent: string, lines: string[]): void {
  if (Array.isArray(value)) {
    lines.push(value.length === 0 ? ' []\n' : '\n')
    items(value, indent, lines)
  } else if (isPlain(value)) {
    lines.push(present(value).length === 0 ? ' {}\n' : '\n')
    entries(value, `${indent}  `, lines)
  } else {
    lines.push(' ', scalarText(scalar(value)), '\n')
  }
}

function items(value: readonly unknown[], indent: string, lines: string[]): void {
  for (const item of value) {
    if (isPlain(item) && present(item).length > 0) {
      const inner: string[] = []
      entries(item, `${indent}  `, inner)
      inner[0] = `${indent}- `
      lines.push(...inner)
    } else {
      lines.push(indent, '-')
      if (Array.isArray(item) && item.length > 0) lines.push(' ', flow(item), '\n')
      else nested(item, indent, lines)
    }
  }
}

const present = (value: Plain): [string, unknown][] => Object.entries(value).filter(([, child]) => child !== undefined)

function scalar(value: unknown): Scalar {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  throw new Error(`cannot print a ${typeof value} as YAML`)
}
