import { mkdtempSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'

/** What must not outlive this process, however it ends. */

const farewells = new Set<() => void>()

process.on('exit', () => {
  for (const farewell of [...farewells].reverse()) farewell()
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => process.exit(128 + constants.signals[signal]))

/** The last one goes first. Returns what calls it off. */
export function atExit(farewell: () => void): () => void {
  farewells.add(farewell)
  return () => void farewells.delete(farewell)
}

/** An empty folder below the other, for as long as the process lives. */
export function temporary(parent: string): string {
  const folder = mkdtempSync(join(parent, 'arksmodel-bench-'))
  atExit(() => remove(folder))
  return folder
}

/** A program that is just killed may still have made a file. */
export const remove = (folder: string): void =>
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
