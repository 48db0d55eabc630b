import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseMarker } from '../../loader/marker.ts'
import { COMPLETE } from '../../loader/places.ts'
import type { Part } from '../parts.ts'
import type { Contender } from './race.ts'

/** A model at a Hub. */
export interface Served {
  readonly id: string
  readonly commit: string
  readonly endpoint: string
  readonly files: readonly { readonly path: string; readonly size: number }[]
}

/** The built loader, which verifies what it brings and has it on the disk before it ends. */
export const ours = (program: string, model: Served, folder: string, ...more: readonly string[]): Contender => ({
  name: ['ours', ...more].join(' '),
  program: process.execPath,
  args: [program, model.id, '--to', folder, '--log-format', 'json', '--termination-log', `${folder}.log`, ...more],
  env: { HF_ENDPOINT: model.endpoint },
  folder,
  check() {
    mustHave(folder, model)
    const marker = parseMarker(readFileSync(join(folder, COMPLETE), 'utf8'))
    const [is, must] = [
      [marker?.commit, marker?.totalBytes, marker?.files.length],
      [model.commit, bytes(model), model.files.length],
    ].map((each) => each.join(' '))
    if (is !== must) throw new Error(`the marker must say ${must}, got ${is}`)
  },
})

/** In its usual way: it verifies no digest, and leaves it to the system when it is written. */
export const hfDownload = ({ path, version }: Part, model: Served, folder: string): Contender => ({
  name: `hf download ${version}`,
  program: path,
  args: ['download', model.id, '--local-dir', folder],
  env: {
    HF_ENDPOINT: model.endpoint,
    HF_HOME: `${folder}.home`,
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_DISABLE_UPDATE_CHECK: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
  },
  folder,
  check: () => mustHave(folder, model),
})

export const aria2 = ({ path, version }: Part, url: string, size: number, folder: string): Contender => ({
  name: `aria2c ${version} -x16 -s16`,
  program: path,
  args: ['--no-conf', '--quiet', '-x16', '-s16', '-d', folder, '-o', 'model', url],
  env: {},
  folder,
  check: () => mustHave(folder, { files: [{ path: 'model', size }] }),
})

export const curl = ({ path, version }: Part, url: string, size: number, folder: string): Contender => ({
  name: `curl ${version}`,
  program: path,
  args: ['-q', '--silent', '--show-error', '--fail', '--output', join(folder, 'model'), url],
  env: {},
  folder,
  check: () => mustHave(folder, { files: [{ path: 'model', size }] }),
})

export const copy = (from: string, size: number, folder: string): Contender => ({
  name: 'cp + fsync',
  program: 'sh',
  args: ['-c', 'cp "$1" "$2" && sync "$2"', 'sh', from, join(folder, 'model')],
  env: {},
  folder,
  check: () => mustHave(folder, { files: [{ path: 'model', size }] }),
})

export const bytes = ({ files }: Pick<Served, 'files'>): number => files.reduce((sum, { size }) => sum + size, 0)

function mustHave(folder: string, { files }: Pick<Served, 'files'>): void {
  for (const { path, size } of files) {
    const there = statSync(join(folder, path)).size
    if (there !== size) throw new Error(`${path}: must have ${size} bytes, got ${there}`)
  }
}
