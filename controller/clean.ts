/** Conditions are read in tables and terminals, and kept in etcd. */
const LONGEST = 1_000

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b\r\n]*(?:\u0007|\u001b\\)?|[@-Z\\^_`-~])/g

/** C0 and C1 controls, DEL, marks that turn the direction of text, and what YAML readers refuse. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]+/g

/** What others wrote, as one line that may stand in a status: no terminal takes it for a command. */
export function clean(text: string, longest: number = LONGEST): string {
  const line = text.toWellFormed().replace(ESCAPES, '').replace(UNPRINTABLE, ' ').trim().replace(/ {2,}/g, ' ')
  const characters = [...line]
  return characters.length <= longest ? line : `${characters.slice(0, longest - 1).join('')}…`
}

/** The end of a log says more than its beginning. */
export function cleanEnd(text: string, longest: number): string {
  const characters = [...clean(text, Number.POSITIVE_INFINITY)]
  return characters.length <= longest ? characters.join('') : `…${characters.slice(1 - longest).join('')}`
}

/** A reason of others, where it is one word as Kubernetes wants it. */
export const cleanWord = (reason: string, otherwise: string): string =>
  /^[A-Za-z][A-Za-z0-9]{0,62}$/.test(reason) ? reason : otherwise

/** Of any object in Kubernetes. */
export const LONGEST_NAME = 253

const MOST_NAMED = 3

/** `a, b, c and 7 more`, in order. */
export function cleanNames(names: readonly string[]): string {
  const sorted = names.map((name) => clean(name, LONGEST_NAME)).sort()
  const shown = sorted.slice(0, MOST_NAMED).join(', ')
  return sorted.length <= MOST_NAMED ? shown : `${shown} and ${sorted.length - MOST_NAMED} more`
}
