import { connect, createServer, Socket } from 'node:net'

/** A way to a server on loopback on which connections break. TLS passes through it, so that nothing is its own. */
export interface ApiProxy {
  readonly port: number
  /** Connections: open now, accepted so far, and the most that were open at once. */
  readonly connections: { readonly open: number; readonly accepted: number; readonly mostOpen: number }
  /** When each connection breaks, from now on; by itself none does. */
  breaks: () => Break | undefined
  /** Breaks all that are open. */
  cut(how: Break['how']): void
  /** Nothing passes any more and nothing is closed, old and new: a network that is gone. */
  blackHole(): void
  /** New connections pass again. Those from before lead nowhere for ever. */
  mend(): void
  stop(): Promise<void>
}

export interface Break {
  /** So many bytes from the server come through before. */
  readonly afterBytes: number
  /** In order, as far as TCP goes, or by a reset. */
  readonly how: 'end' | 'reset'
}

interface Pair {
  readonly inner: Socket
  readonly outer: Socket
  isLost: boolean
}

export async function proxy(target: { readonly port: number }): Promise<ApiProxy> {
  const pairs = new Set<Pair>()
  const count = { accepted: 0, mostOpen: 0 }
  let isGone = false

  const cutPair = (pair: Pair, how: Break['how']): void => {
    pairs.delete(pair)
    pair.outer.destroy()
    if (how === 'reset') pair.inner.resetAndDestroy()
    else pair.inner.end(() => pair.inner.destroy())
  }

  const accept = (inner: Socket): void => {
    const pair: Pair = {
      inner,
      outer: isGone ? new Socket() : connect({ port: target.port, host: '127.0.0.1', noDelay: true }),
      isLost: isGone,
    }
    const { outer } = pair
    pairs.add(pair)
    count.accepted++
    count.mostOpen = Math.max(count.mostOpen, pairs.size)
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      one.on('error', () => {})
      one.on('close', () => {
        if (pair.isLost && one === outer) return
        pairs.delete(pair)
        other.destroy()
      })
      one.on('end', () => {
        if (!pair.isLost) other.end()
      })
    }
    let left = api.breaks()
    inner.on('data', (chunk) => {
      if (!pair.isLost) outer.write(chunk)
    })
    outer.on('data', (chunk) => {
      if (pair.isLost || !pairs.has(pair)) return
      if (left === undefined || chunk.length < left.afterBytes) {
        left &&= { ...left, afterBytes: left.afterBytes - chunk.length }
        inner.write(chunk)
        return
      }
      const { afterBytes, how } = left
      pairs.delete(pair)
      inner.write(chunk.subarray(0, afterBytes), () => cutPair(pair, how))
    })
  }

  const server = createServer({ allowHalfOpen: true, noDelay: true }, accept)
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  const api: ApiProxy = {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    get connections() {
      return { ...count, open: pairs.size }
    },
    breaks: () => undefined,
    cut(how) {
      for (const pair of pairs) cutPair(pair, how)
    },
    blackHole() {
      isGone = true
      for (const pair of pairs) pair.isLost = true
    },
    mend() {
      isGone = false
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const { inner, outer } of pairs) for (const each of [inner, outer]) each.destroy()
      await closed
    },
  }
  return api
}
