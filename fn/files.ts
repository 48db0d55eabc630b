import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

/** What a user named and cannot be read: the sentence says why. */
export class Unreachable extends Error {}

const EXTENSIONS = ['.yaml', '.yml', '.json']
const KUSTOMIZATIONS = ['kustomization.yaml', 'kustomization.yml', 'Kustomization']

/** Files and folders as `kubectl apply -f` takes them: a file whatever its name, of a folder the YAML and JSON files in order of name. */
export function filesIn(paths: readonly string[], recursive: boolean): NamedBytes[] {
  return paths.flatMap((path) => (isFolder(path) ? inFolder(path, recursive) : [readFile(path)]))
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    throw unreachable(path, error)
  }
}

function inFolder(folder: string, recursive: boolean): NamedBytes[] {
  const entries = readdirSync(folder, { withFileTypes: true })
  const kustomization = entries.find(({ name }) => KUSTOMIZATIONS.includes(name))
  if (kustomization !== undefined) {
    throw new Unreachable(
      `${folder}: holds ${kustomization.name}: must be built first, as in: kustomize build ${folder} | arksmodel-fn`,
    )
  }
  const names = entries.map(({ name }) => name).sort()
  const files = names.flatMap((name) => {
    const path = join(folder, name)
    if (isFolder(path)) return recursive ? inFolder(path, true) : []
    return EXTENSIONS.some((extension) => name.endsWith(extension)) ? [readFile(path)] : []
  })
  if (files.length === 0 && !recursive)
    throw new Unreachable(`${folder}: must hold at least one .yaml, .yml or .json file`)
  return files
}

export function readFile(path: string): NamedBytes {
  try {
    return { name: path, bytes: readFileSync(path) }
  } catch (error) {
    throw unreachable(path, error)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'must exist',
  EACCES: 'must be readable: permission denied',
  EISDIR: 'must be a file, got a folder',
}

function unreachable(path: string, error: unknown): Error {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const reason = REASONS[code]
  return reason === undefined
    ? new Error(`cannot read ${path}`, { cause: error })
    : new Unreachable(`${path}: ${reason}`)
}
