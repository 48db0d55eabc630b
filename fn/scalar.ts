/**
 * How the readers of YAML that Kubernetes meets resolve a plain (unquoted) scalar.
 * kubectl and kustomize use YAML 1.1 rules (`yes`, `on`, `0644`, `1_000`), others YAML 1.2 (`0o17`).
 */

export type Scalar = string | number | boolean | null

const TRUE = new Set(['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'])
const FALSE = new Set(['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'])
const NULL = new Set(['', '~', 'null', 'Null', 'NULL'])
const FLOAT = /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/
const INTEGER = /^([-+]?)(0b[01]+|0o[0-7]+|0x[\da-f]+|0[0-7]*|[1-9]\d*)$/i

/** The value that kubectl reads. An integer that a double cannot hold stays text, so that no digit is lost. */
export function plainScalar(text: string): Scalar {
  if (TRUE.has(text)) return true
  if (FALSE.has(text)) return false
  if (NULL.has(text)) return null
  if (!/^[-+.\d]/.test(text)) return text
  const digits = text.startsWith('.') ? text : text.replaceAll('_', '')
  const integer = INTEGER.exec(digits)
  if (integer !== null) return whole(integer[1] === '-' ? -1 : 1, integer[2] ?? '') ?? text
  const float = FLOAT.test(digits) ? Number(digits) : Number.NaN
  return Number.isFinite(float) ? float : text
}

/** Keys are text in JSON: kubectl writes those that are none (`yes`, `0x1F`) as the value that it has read. */
export function plainKey(text: string): string {
  const value = plainScalar(text)
  return value === null ? text : String(value)
}

function whole(sign: number, digits: string): number | undefined {
  const value = Number(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits)
  return Number.isSafeInteger(value) ? sign * value || 0 : undefined
}

const WORDS = /^(?:y|n|yes|no|on|off|true|false|null|~|=|<<|[-+]?\.inf|\.nan)$/i
const NUMBERS =
  /^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[\da-f_]+|\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?|(?:\.[\d_]*|\d[\d_]*(?:\.[\d_]*)?)?(?:e[-+]?[\d_]+)?)$/i
const DATE = /^\d{4}-\d{1,2}-\d{1,2}(?:$|[Tt\s])/
/** Printable ASCII, not begun by an indicator; what is left out here costs quotes, never a value. */
const PLAIN = /^[A-Za-z0-9_./$(+-][ -~]*$/

/** Text as YAML: plain where every reader takes it for the same text, else in double quotes as JSON has them. */
export function scalarText(value: Scalar): string {
  if (typeof value !== 'string') return String(value)
  return isPlain(value) ? value : quoted(value)
}

function isPlain(text: string): boolean {
  if (!PLAIN.test(text)) return false
  if (/: |:$| #| $|^-(?:$| |--)|^\.\.\./.test(text)) return false
  return !WORDS.test(text) && !NUMBERS.test(text) && !DATE.test(text)
}

/** JSON leaves DEL, C1 controls, line separators and the byte order mark raw; YAML readers refuse or fold some of them. */
export const quoted = (text: string): string =>
  JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
