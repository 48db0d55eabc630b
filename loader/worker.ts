import { closeSync, openSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { MessagePort } from 'node:worker_threads'
import { bulk as bulkOf } from './bulk.ts'
import { attempt, Failure, Fault, on, storageFailure } from './failure.ts'
import { meter as meterOf } from './meter.ts'
import type { Failed, Kind, Order, Orders, Reply, WorkerOptions } from './orders.ts'
import { eachPiece, hashOf, openPartial, type Partial } from './partial.ts'
import { receiver } from './receive.ts'
import { isProxied, web as webOf } from './web.ts'

/** The life of a worker thread: it does what it is told until it is ended. */
export function work(options: WorkerOptions, port: MessagePort): void {
  const meter = meterOf(options.meter)
  const stopping = new AbortController()
  const web = webOf(options)
  // A proxy is spoken to by the ordinary client alone.
  const bulk = isProxied(process.env) ? undefined : bulkOf(options)
  const report = (trouble: Failure): void => send(port, { trouble: failedOf(trouble) })
  const waits = { meter, patienceMs: options.patienceMs, onTrouble: report, signal: stopping.signal }
  const { receive, stream, forget } = receiver(options, web, bulk, waits)
  const partials = new Map<string, Partial>()

  const slotOf = (slot: number, length: number): Uint8Array =>
    new Uint8Array(options.slots, slot * options.slotBytes, length)

  const partialOf = (path: string): Partial => {
    const partial = partials.get(path)
    if (partial === undefined) throw new Error(`${path} is not open`)
    return partial
  }

  const handlers: { readonly [K in Kind]: (argument: Orders[K][0]) => Orders[K][1] | Promise<Orders[K][1]> } = {
    open(opening) {
      const partial = openPartial(opening, meter)
      partials.set(opening.path, partial)
      return partial.length()
    },
    receive: (range) => receive(range, slotOf(range.slot, range.length)),
    stream(file) {
      const partial = partialOf(file.path)
      return stream(file, {
        restart() {
          meter.discarded(partial.length())
          partial.restart()
        },
        write: partial.append,
      })
    },
    append({ path, slot, length }) {
      partialOf(path).append(slotOf(slot, length), true)
      return undefined
    },
    copy({ path, from }) {
      partialOf(path).copyFrom(from)
      return undefined
    },
    async close({ path, target, durable }) {
      const partial = partialOf(path)
      partials.delete(path)
      forget(path)
      try {
        return await partial.close(target, durable)
      } catch (error) {
        partials.set(path, partial)
        throw error
      }
    },
    async drop({ path }) {
      const partial = partials.get(path)
      partials.delete(path)
      await partial?.drop()
      return partial?.length() ?? 0
    },
    matches: ({ file, size, digest }) =>
      on(`read ${file}`, () => {
        if (statSync(file).size !== size) return false
        const hash = hashOf(digest, size)
        const fd = openSync(file, 'r')
        try {
          eachPiece(fd, 0, size, meter, (piece) => hash.update(piece))
        } finally {
          closeSync(fd)
        }
        return hash.digest('hex') === digest.hex
      }),
    async sync(files) {
      await Promise.all(files.map(synced))
      return undefined
    },
    release() {
      stopping.abort()
      web.abort()
      bulk?.abort()
      for (const partial of partials.values()) attempt(partial.release)
      partials.clear()
      return undefined
    },
  }

  const handle = async <K extends Kind>({ id, kind, argument }: Order<K>): Promise<Reply> => {
    try {
      return { id, value: await handlers[kind](argument) }
    } catch (error) {
      if (error instanceof Failure) return { id, failed: failedOf(error) }
      if (stopping.signal.aborted) return { id, failed: failedOf(new Failure('Interrupted', 'stopped')) }
      return { id, bug: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
  }

  port.on('message', (order: Order) => {
    void handle(order).then((reply) => send(port, reply))
  })
}

const send = (port: MessagePort, reply: Reply): void => port.postMessage(reply)

const failedOf = (failure: Failure): Failed => {
  const { reason, message, from } = failure
  return { reason, message, from, isFault: failure instanceof Fault }
}

async function synced(file: string): Promise<void> {
  try {
    const handle = await open(file, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw storageFailure(error, `write ${file}`)
  }
}
