import { closeSync, type Dirent, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface NamedBytes {
  readonly name: string
  readonly bytes: Buffer
}

/** What a user named and cannot be read: each line says what and why. */
export class Unreachable extends Error {
  readonly lines: readonly string[]

  constructor(lines: readonly string[]) {
    super(lines.join('\n'))
    this.lines = lines
  }
}

const EXTENSIONS = ['.yaml', '.yml', '.json']
export const KUSTOMIZATIONS: readonly string[] = ['kustomization.yaml', 'kustomization.yml', 'Kustomization']

/**
 * Files and folders as `kubectl apply -f` takes them: a file whatever its name, of a folder the YAML and JSON files in
 * order of name, and no folder that a link leads to.
 */
export function filesIn(paths: readonly string[], recursive: boolean): NamedBytes[] {
  const problems: string[] = []
  const files = paths.flatMap((path) => {
    try {
      return named(path, recursive)
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error
      problems.push(...error.lines)
      return []
    }
  })
  if (problems.length > 0) throw new Unreachable(problems)
  return files
}

function named(path: string, recursive: boolean): NamedBytes[] {
  if (!attempt(path, () => statSync(path)).isDirectory()) return [readFile(path)]
  const files = inFolder(path, recursive)
  if (files.length === 0)
    throw new Unreachable([
      `${path}: must hold at least one .yaml, .yml or .json file${recursive ? '' : '; -R reads folders in folders'}`,
    ])
  return files
}

function inFolder(folder: string, recursive: boolean): NamedBytes[] {
  const entries = attempt(folder, () => readdirSync(folder, { withFileTypes: true }))
  const kustomization = entries.find(({ name }) => KUSTOMIZATIONS.includes(name))
  if (kustomization !== undefined) {
    throw new Unreachable([
      `${folder}: holds ${kustomization.name}: must be built first, as in: kustomize build ${folder} | arksmodel-fn`,
    ])
  }
  return entries.sort(byName).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return recursive ? inFolder(path, true) : []
    const isRead = EXTENSIONS.some((extension) => path.endsWith(extension))
    return isRead && (entry.isFile() || entry.isSymbolicLink()) ? [readFile(path)] : []
  })
}

const byName = (a: Dirent, b: Dirent): number => (a.name < b.name ? -1 : 1)

export function readFile(path: string): NamedBytes {
  const file = attempt(path, () => openSync(path, 'r'))
  try {
    const content = new Content(`${path}: `, fstatSync(file).size)
    while (content.took(attempt(path, () => readSync(file, content.room()))));
    return { name: path, bytes: content.bytes() }
  } finally {
    closeSync(file)
  }
}

/** A stream without an end must not fill the memory, and JavaScript holds no text of more than 512 MiB. */
const MAX_BYTES = 256 * 1024 * 1024

/** What is read piece by piece, of a size that is known only roughly. */
export class Content {
  readonly #prefix: string
  #buffer: Buffer
  #length = 0

  /** The prefix says in a message what is read. */
  constructor(prefix: string, size: number) {
    this.#prefix = prefix
    this.#buffer = Buffer.allocUnsafe(Math.min(Math.max(65536, size + 1), MAX_BYTES + 1))
  }

  /** Where the next piece is to be put. */
  room(): Buffer {
    if (this.#length === this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.min(2 * this.#length, MAX_BYTES + 1))
      this.#buffer.copy(larger)
      this.#buffer = larger
    }
    return this.#buffer.subarray(this.#length)
  }

  /** Whether there was something. */
  took(length: number): boolean {
    this.#length += length
    if (this.#length > MAX_BYTES) throw new Unreachable([`${this.#prefix}must be at most 256 MiB`])
    return length > 0
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }
}

function attempt<T>(path: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw unreachable(path, error)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'must exist',
  ENOTDIR: 'must exist',
  EACCES: 'must be readable: permission denied',
  EISDIR: 'must be a file, got a folder',
  ELOOP: 'must not be a link to itself',
}

function unreachable(path: string, error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
  return code === undefined ? error : new Unreachable([`${path}: ${REASONS[code] ?? `must be readable: ${code}`}`])
}
