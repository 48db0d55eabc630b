import { fork } from 'node:child_process'
import { hub, randomFile } from '../hub.ts'
import type { Served } from './contenders.ts'
import { atExit } from './farewell.ts'

/** The fake Hub in a process of its own, so that it shares no thread with what measures. */

export interface Distant {
  readonly count: number
  /** Of each file. */
  readonly bytes: number
  /** Before each answer begins. */
  readonly latencyMs: number
}

export async function withDistantHub<T>(distant: Distant, use: (model: Served) => Promise<T>): Promise<T> {
  const child = fork(import.meta.filename, [JSON.stringify(distant)])
  const callOff = atExit(() => child.kill())
  try {
    return await use(
      await new Promise<Served>((resolve, reject) => {
        child.once('message', (model: Served) => resolve(model))
        child.once('error', reject)
        child.once('exit', (code) => reject(new Error(`the Hub has ended with ${code}`)))
      }),
    )
  } finally {
    callOff()
    child.kill()
  }
}

async function serve({ count, bytes, latencyMs }: Distant): Promise<void> {
  const id = 'bench/model'
  const files = Array.from({ length: count }, (_, index) => ({
    ...randomFile(`parts/${String(index).padStart(5, '0')}.bin`, bytes, index),
    lfs: false,
  }))
  const { url, commit, faults } = await hub({ repositories: { [id]: { revisions: { main: files } } } })
  faults.push({ kind: 'latency', ms: latencyMs })
  const listed = files.map(({ path, bytes }) => ({ path, size: bytes.length }))
  process.send?.({ id, commit: commit(id), endpoint: url, files: listed } satisfies Served)
  process.on('disconnect', () => process.exit())
}

if (process.argv[1] === import.meta.filename) await serve(JSON.parse(process.argv[2] ?? '{}'))
