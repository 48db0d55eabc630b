import { PbfReader } from 'pbf'

/**
 * Objects of the API in the server's binary form, which is quicker to write, to send and to read than JSON. What is read
 * of them comes out as it would stand in JSON, but that fields may be there with the empty value of their type.
 *
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
 */
export const PROTOBUF = 'application/vnd.kubernetes.protobuf'

/** How each field that is wanted is read, by its number; all others are passed over. */
export type Message = Readonly<Record<number, Field>>

type Field = (into: Record<string, unknown>, reader: PbfReader) => void

/** Undefined for bytes that are no message of this kind. */
export function decoded(
  bytes: Uint8Array,
  kind: string,
  message: Message,
): Readonly<Record<string, unknown>> | undefined {
  if (!MAGIC.every((each, index) => bytes[index] === each)) return undefined
  const envelope = bare(bytes.subarray(MAGIC.length), ENVELOPE)
  const raw = envelope?.['raw']
  return envelope?.['kind'] === kind && raw instanceof Uint8Array ? bare(raw, message) : undefined
}

/** `k8s` and a zero. */
const MAGIC = [0x6b, 0x38, 0x73, 0x00]

/** Of a message without the envelope that says what it is. */
export function bare(bytes: Uint8Array, message: Message): Readonly<Record<string, unknown>> | undefined {
  const reader = new PbfReader(bytes)
  try {
    const found = read(reader, message, bytes.length)
    // A length that leads past the end is not noticed by the reader.
    return reader.pos === bytes.length ? found : undefined
  } catch {
    return undefined
  }
}

function read(
  reader: PbfReader,
  message: Message,
  end: number,
  into: Record<string, unknown> = {},
): Readonly<Record<string, unknown>> {
  for (let number = reader.nextField(end); number !== 0; number = reader.nextField(end)) message[number]?.(into, reader)
  return into
}

/** What stands in a message of its own, but not in an object of its own. */
export const inline =
  (message: Message): Field =>
  (into, reader) => {
    read(reader, message, reader.readVarint() + reader.pos, into)
  }

const one =
  (value: (reader: PbfReader) => unknown): Named =>
  (name) =>
  (into, reader) => {
    into[name] = value(reader)
  }

const many =
  (value: (reader: PbfReader) => unknown): Named =>
  (name) =>
  (into, reader) => {
    const list = into[name]
    if (Array.isArray(list)) list.push(value(reader))
    else into[name] = [value(reader)]
  }

const below = (message: Message) => (reader: PbfReader) => read(reader, message, reader.readVarint() + reader.pos)

type Named = (name: string) => Field

export const text: Named = one((reader) => reader.readString())
export const texts: Named = many((reader) => reader.readString())
export const number: Named = one((reader) => reader.readVarint(true))
export const flag: Named = one((reader) => reader.readBoolean())
export const bytes: Named = one((reader) => reader.readBytes())
export const eachBytes: Named = many((reader) => reader.readBytes())
export const object = (name: string, message: Message): Field => one(below(message))(name)
export const objects = (name: string, message: Message): Field => many(below(message))(name)

const SECONDS = below({ 1: number('seconds') })

export const time: Named = one((reader) => {
  const { seconds } = SECONDS(reader)
  const date = new Date(typeof seconds === 'number' ? seconds * 1000 : Number.NaN)
  // Go takes times beyond any calendar.
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString()
})

/** Of texts, with these keys only: in an annotation there is also all that kubectl applied. In each entry the key is first. */
export const map =
  (name: string, wanted: readonly string[]): Field =>
  (into, reader) => {
    const end = reader.readVarint() + reader.pos
    let [key, value] = ['', '']
    for (let number = reader.nextField(end); number !== 0; number = reader.nextField(end)) {
      if (number === 1) key = reader.readString()
      else if (number === 2 && wanted.includes(key)) value = reader.readString()
    }
    if (wanted.includes(key)) into[name] = Object.assign(into[name] ?? {}, { [key]: value })
  }

const ENVELOPE: Message = { 1: inline({ 2: text('kind') }), 2: bytes('raw') }
