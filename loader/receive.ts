import { contentRange, header, storageRefusal } from './answers.ts'
import type { Bulk } from './bulk.ts'
import { Failure, type FromHub, Trouble } from './failure.ts'
import { contentRefusal } from './hub.ts'
import type { Meter } from './meter.ts'
import type { Range, Whole, WorkerOptions } from './orders.ts'
import { patiently, type Waits } from './patience.ts'
import { type Answer, broken, text, type Web } from './web.ts'

export interface Receiver {
  /** Where the file is will not be asked again. */
  forget(path: string): void
  /** Fills the slot with the range; a retry goes on at the byte that was reached. */
  receive(range: Range, slot: Uint8Array): Promise<'received' | 'whole-only'>
  /** The whole file in order, from its first byte each time that it begins. */
  stream(file: Whole, sink: Sink): Promise<undefined>
}

export interface Sink {
  restart(): void
  write(chunk: Buffer): void
}

/** A server that says something else than the listing says it again, or it was a passing fault. */
const MAX_CONTRADICTIONS = 2
/** A stream that so often in a row comes no farther than it came before will not come farther. */
const MAX_IN_VAIN = 5
const LARGE_BYTES = 64 * 1024 * 1024

/** After so many answers in a row that are unusual, a server's answers are left to the ordinary client. */
const MAX_UNUSUAL = 3

type Contradicted = (message: string, from: FromHub) => Failure

export function receiver(options: WorkerOptions, web: Web, bulk: Bulk | undefined, waits: Waits): Receiver {
  /** Where each file's bytes really are: known from the first range, so that the endpoint is asked once. */
  const locations = new Map<string, Promise<string>>()
  /** Origins that answer with the whole file, whatever range they are asked for. */
  const rangeless = new Set<string>()
  const unusual = new Map<string, number>()
  const announced = new Map<string, Contradicted>()
  const { meter } = waits
  const source = { ...options, hasToken: options.token !== undefined }

  /** The first to ask finds the location for all others. */
  const located = async (file: Whole, headers: Readonly<Record<string, string>>): Promise<Answer> => {
    const known = locations.get(file.path)
    if (known !== undefined) {
      const answer = await web.get(await known, headers)
      if (answer.status < 300) return answer
      if (locations.get(file.path) === known) locations.delete(file.path)
      throw await contentRefusal(answer, file.path, source)
    }
    const asked = web.get(file.url, headers).then(async (answer) => {
      if (answer.status >= 300) throw await contentRefusal(answer, file.path, source)
      assertAnnounced(answer, file)
      // In chunks, which the bulk client leaves to the ordinary one.
      if (header(answer.message.headers, 'content-length') === undefined)
        unusual.set(new URL(answer.url).origin, MAX_UNUSUAL)
      return answer
    })
    const location = asked.then(({ url }) => url)
    // Whoever waits for it hears of a failure; nobody may wait.
    location.catch(() => undefined)
    locations.set(file.path, location)
    try {
      return await asked
    } catch (error) {
      if (locations.get(file.path) === location) locations.delete(file.path)
      throw error
    }
  }

  const assertAnnounced = ({ digest, message, from }: Answer, { path, digest: { hex } }: Whole): void => {
    if (digest === undefined || digest.length !== hex.length || digest === hex) return
    message.destroy()
    const contradicted = announced.get(path) ?? contradictions()
    announced.set(path, contradicted)
    throw contradicted(`"${path}" is announced with another digest than listed: ${digest}`, from)
  }

  /**
   * Of a large file not even the first range comes through the ordinary client: the garbage that it makes of so many
   * bytes is what a thread's memory would mostly consist of.
   */
  const findForBulk = async (range: Range): Promise<void> => {
    if (bulk === undefined || range.size < LARGE_BYTES || locations.has(range.path)) return
    const answer = await located(range, { Range: `bytes=${range.start}-${range.start}` })
    if (answer.status === 206) await text(answer, 1)
    else answer.message.destroy()
  }

  /** False: only the ordinary client can tell what this server answers. */
  const inBulk = async (range: Range, got: number, use: (piece: Uint8Array) => void): Promise<boolean> => {
    const known = locations.get(range.path)
    if (known === undefined || bulk === undefined) return false
    const url = await known
    const { origin, host } = new URL(url)
    const count = unusual.get(origin) ?? 0
    if (count >= MAX_UNUSUAL) return false
    const [first, last] = [range.start + got, range.start + range.length - 1]
    const outcome = await bulk.get({ url, first, last, size: range.size, use })
    if (outcome.kind !== 'refused') {
      unusual.set(origin, outcome.kind === 'done' ? 0 : count + 1)
      return outcome.kind === 'done'
    }
    if (locations.get(range.path) === known) locations.delete(range.path)
    // The ordinary client follows redirects, and reads what the Hub says. To ask storage again would be in vain.
    if (outcome.status < 400 || outcome.status === 416 || origin === new URL(range.url).origin) return false
    throw storageRefusal(outcome, host, range.path)
  }

  const isRangeless = async ({ path }: Whole): Promise<boolean> => {
    const url = await locations.get(path)
    return url !== undefined && rangeless.has(new URL(url).origin)
  }

  const forget = (path: string): void => {
    locations.delete(path)
    announced.delete(path)
  }

  return {
    forget,

    async receive(range, slot) {
      let got = 0
      let wholeOnly = false
      let ignored = 0
      const contradicted = contradictions()
      const { path, size, start, length } = range
      await patiently(async () => {
        // All of it came before the connection broke.
        if (got === length) return
        if (await isRangeless(range)) {
          wholeOnly = true
          return
        }
        await findForBulk(range)
        const isDone = await inBulk(range, got, (piece) => {
          slot.set(piece, got)
          got += piece.length
          meter.received(piece.length)
        })
        if (isDone) return
        const first = start + got
        const last = start + length - 1
        const answer = await outOfRange(() => located(range, { Range: `bytes=${first}-${last}` }), range, contradicted)
        const { message, from, url } = answer
        if (answer.status === 200) {
          assertWhole(answer, range, contradicted)
          if (first > 0 || last !== size - 1) {
            message.destroy()
            const { origin, host } = new URL(url)
            // One server of many may do so once, and what is there is worth to be asked for once more.
            if (++ignored < MAX_CONTRADICTIONS && !rangeless.has(origin))
              throw new Trouble(
                'NetworkError',
                `"${path}": ${host} answered with the whole file instead of a range`,
                from,
              )
            rangeless.add(origin)
            wholeOnly = true
            return
          }
        } else {
          const said = contentRange(message.headers)
          if (said?.first !== first || said.last !== last || (said.size ?? size) !== size) {
            message.destroy()
            // Another server may be meant by the next signed URL.
            locations.delete(path)
            const value = header(message.headers, 'content-range')
            const found = value === undefined ? 'an answer without Content-Range' : `"${value}"`
            throw contradicted(`"${path}": asked for bytes ${first}-${last}/${size}, got ${found}`, from)
          }
        }
        await consume(answer, meter, (chunk) => {
          if (got + chunk.length > length)
            throw new Trouble('NetworkError', `"${path}": more bytes came than were asked for`, from)
          slot.set(chunk, got)
          got += chunk.length
        })
        if (got < length) throw short(range, start + got, answer)
      }, waits)
      // Of many small files nothing is kept.
      if (length === size) forget(path)
      return wholeOnly ? 'whole-only' : 'received'
    },

    async stream(file, sink) {
      const contradicted = contradictions()
      let farthest = 0
      let vain = 0
      await patiently(async () => {
        sink.restart()
        let got = 0
        const answer = await located(file, {})
        assertWhole(answer, file, contradicted)
        try {
          await consume(answer, meter, (chunk) => {
            got += chunk.length
            if (got > file.size) throw contradicted(`"${file.path}": more bytes came than are listed`, answer.from)
            sink.write(chunk)
          })
          if (got < file.size) throw short(file, got, answer)
        } catch (error) {
          vain = got > farthest ? 0 : vain + 1
          farthest = Math.max(farthest, got)
          // Bytes come each time, so that patience would never end.
          if (error instanceof Trouble && vain === MAX_IN_VAIN)
            throw new Failure(error.reason, error.message, error.from)
          throw error
        }
      }, waits)
      return undefined
    },
  }
}

/** A page of a gateway, as a rule: the file has another length. */
function assertWhole({ message, from, url }: Answer, { path, size }: Whole, contradicted: Contradicted): void {
  const length = header(message.headers, 'content-length')
  if (length === undefined || Number(length) === size) return
  message.destroy()
  throw contradicted(`"${path}" has ${size} bytes as listed, ${new URL(url).host} sends ${length}`, from)
}

function contradictions(): Contradicted {
  let count = 0
  return (message, from) =>
    ++count < MAX_CONTRADICTIONS
      ? new Trouble('ChecksumMismatch', message, from)
      : new Failure('ChecksumMismatch', message, from)
}

/** 416 says what a wrong `Content-Range` says: the file has another size. */
async function outOfRange(ask: () => Promise<Answer>, { path }: Range, contradicted: Contradicted): Promise<Answer> {
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof Failure) || error.from.status !== 416) throw error
    throw contradicted(`"${path}" is shorter on the server than listed`, error.from)
  }
}

const short = ({ path, size }: Whole, at: number, { from, url }: Answer): Trouble =>
  new Trouble('NetworkError', `"${path}": the answer of ${new URL(url).host} ended at byte ${at} of ${size}`, from)

/** By events and not as an iterator, which costs a promise for each chunk. Each chunk is used before the next comes. */
const consume = (answer: Answer, meter: Meter, use: (chunk: Buffer) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    const { message } = answer
    message.on('data', (chunk: Buffer) => {
      try {
        use(chunk)
        meter.received(chunk.length)
      } catch (error) {
        message.destroy()
        reject(error)
      }
    })
    message.on('end', resolve)
    message.on('error', (error) => reject(broken(error, answer)))
    message.on('close', () => reject(broken(new Error('closed early'), answer)))
  })
