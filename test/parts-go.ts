import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findIn, kept, lastLines, type Missing, missingPart, type Part, path, run, type Wanted } from './parts-cache.ts'

/** Parts that are built with Go. */

/** A program of a Go module of ours, where it differs from `package main` at the top of the module. */
export interface Program {
  readonly package?: string
  readonly version?: string
  readonly ldflags?: string
}

/** The sources of a Go module, whose files (its CRDs) tests read. The path is its folder in Go's own module cache. */
export async function goModule(name: string, version: string): Promise<Part | Missing> {
  const missing = missingPart(name)
  if (!findIn(path, 'go')) return missing('it is a Go module, and Go is not on PATH', GET_GO, false)
  const { code, stdout, stderr } = await run('go', ['mod', 'download', '-json', `${name}@v${version}`])
  const folder = /"Dir": "(.*)"/.exec(stdout)?.[1]
  return code === 0 && folder !== undefined
    ? { kind: 'part', name, version, path: folder, origin: 'cached' }
    : missing(`go mod download failed: ${lastLines(stderr + stdout)}`, 'see that the Go modules can be reached', true)
}

/** A released program; `from` is the path of its package. */
export function goInstall(name: string, version: string, from: string): Promise<Part | Missing> {
  return built({ name, version, key: version }, (into) => ({
    args: ['install', ...FLAGS, '-ldflags=-s -w', `${from}@v${version}`],
    env: { GOBIN: into },
  }))
}

const programs = new Map<string, Promise<Part | Missing>>()

/** Builds a program of the Go module in a folder below test/; again only when the module's sources change. */
export function goProgram(name: string, folder: string, program: Program = {}): Promise<Part | Missing> {
  const made = programs.get(name) ?? goBuild(name, join(import.meta.dirname, folder), program)
  programs.set(name, made)
  return made
}

function goBuild(name: string, folder: string, program: Program): Promise<Part | Missing> {
  const hash = createHash('sha256')
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(go|mod|sum)$/.test(file),
  )
  for (const file of sources.sort()) hash.update(`${file}\0${readFileSync(join(folder, file), 'utf8')}\0`)
  const digest = hash.digest('hex').slice(0, 10)
  const { version = digest, ldflags = '' } = program
  return built({ name, version, key: version === digest ? digest : `${version}-${digest}` }, (into) => ({
    args: ['build', ...FLAGS, `-ldflags=-s -w ${ldflags}`, '-o', join(into, name), program.package ?? '.'],
    cwd: folder,
    env: {},
  }))
}

const GET_GO = 'install Go from https://go.dev/dl'

/** `-mod=readonly`: go.sum decides what is built, and nothing is written into the checkout. */
const FLAGS = ['-mod=readonly', '-buildvcs=false', '-trimpath']

interface GoCommand {
  readonly args: readonly string[]
  readonly cwd?: string
  readonly env: Readonly<Record<string, string>>
}

function built(wanted: Wanted, command: (into: string) => GoCommand): Promise<Part | Missing> {
  const missing = missingPart(wanted.name)
  return kept(wanted, async ({ into }) => {
    if (!findIn(path, 'go')) return missing('it is built with Go, and Go is not on PATH', GET_GO, false)
    console.error(`building ${wanted.name} ${wanted.version}`)
    const { args, cwd, env } = command(into)
    const { code, stderr } = await run('go', args, { cwd: cwd ?? into, env: { CGO_ENABLED: '0', ...env } })
    return code === 0
      ? undefined
      : missing(`go ${args[0]} failed: ${lastLines(stderr)}`, 'see that the Go modules can be reached and built', true)
  })
}
