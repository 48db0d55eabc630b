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
  let raw: Uint8Array | undefined
  const envelope: Message = { 1: inline({ 2: text('kind') }), 2: (_, reader) => (raw = reader.readBytes()) }
  if (whole(bytes.subarray(MAGIC.length), envelope)?.['kind'] !== kind || raw === undefined) return undefined
  return whole(raw, message)
}

/** `k8s` and a zero. */
const MAGIC = [0x6b, 0x38, 0x73, 0x00]

function whole(bytes: Uint8Array, message: Message): Readonly<Record<string, unknown>> | undefined {
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
export const object = (name: string, message: Message): Field => one(below(message))(name)
export const objects = (name: string, message: Message): Field => many(below(message))(name)

export const time: Named = one((reader) => {
  const { seconds } = below({ 1: number('seconds') })(reader)
  return typeof seconds === 'number' ? new Date(seconds * 1000).toISOString() : undefined
})

const ENTRY = below({ 1: text('key'), 2: text('value') })

/** Of texts. */
export const map: Named = (name) => (into, reader) => {
  const { key, value } = ENTRY(reader)
  const all = into[name] ?? {}
  into[name] = Object.assign(all, { [`${key ?? ''}`]: value ?? '' })
}
