import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  findIn,
  found,
  kept,
  lastLines,
  type Missing,
  missingPart,
  once,
  type Part,
  path,
  run,
  shellWord,
} from './parts-cache.ts'

/** Parts that are found on the machine, or unpacked from Debian packages into the cache; nothing is installed. */

export const nginx: () => Promise<Part | Missing> = once(() => debianProgram('nginx', 'nginx', '-v'))

export const aria2c: () => Promise<Part | Missing> = once(() => debianProgram('aria2c', 'aria2', '--version'))

/** A program that is not on the machine is unpacked together with the libraries that are not there. */
export async function debianProgram(name: string, from: string, versionFlag: string): Promise<Part | Missing> {
  const there = findIn([...path, '/usr/sbin', '/usr/local/sbin'], name)
  if (there) return found(name, there, versionFlag)
  const missing = missingPart(name)
  const release = debianRelease()
  if (release === undefined || !findIn(path, 'apt-get') || !findIn(path, 'dpkg-deb')) {
    return missing('it is not on PATH, and there is no apt-get to unpack it with', `install ${name}`, false)
  }
  const part = await kept({ name, version: 'unknown', key: release }, async ({ into, folder }) => {
    console.error(`unpacking ${name} of ${release}`)
    const failed = await unpack(from, into)
    if (failed !== undefined) {
      return missing(`${from} cannot be unpacked: ${failed}`, 'see that the Debian mirror can be reached', true)
    }
    const program = PROGRAMS.find((place) => findIn([join(into, 'root', place)], name))
    if (program === undefined) return missing(`it is not in the package ${from}`, `install ${name}`, false)
    writeFileSync(join(into, name), starter(folder, libraries(join(into, 'root')), join('root', program, name)), {
      mode: 0o755,
    })
    return undefined
  })
  return part.kind === 'missing' ? part : { ...(await found(name, part.path, versionFlag)), origin: part.origin }
}

const PROGRAMS = ['usr/bin', 'usr/sbin', 'bin', 'sbin']

/** A release of a distribution keeps the versions it came with. */
export function debianRelease(): string | undefined {
  try {
    const text = readFileSync('/etc/os-release', 'utf8')
    const value = (key: string): string | undefined => new RegExp(`^${key}="?([\\w.-]+)"?$`, 'm').exec(text)?.[1]
    return value('ID') && `${value('ID')}-${value('VERSION_ID') ?? value('VERSION_CODENAME') ?? 'unstable'}`
  } catch {
    return undefined
  }
}

/** Into the folder `root`. Returns what went wrong. */
async function unpack(name: string, into: string): Promise<string | undefined> {
  const [apt, lists, root] = [join(into, 'apt'), join(into, 'lists'), join(into, 'root')]
  mkdirSync(join(apt, 'archives/partial'), { recursive: true })
  mkdirSync(join(lists, 'partial'), { recursive: true })
  const options = [`Dir::Cache=${apt}`, 'APT::Sandbox::User=root', 'Debug::NoLocking=1']
  const ownLists = [...options, `Dir::State::lists=${lists}`]
  const aptGet = (set: readonly string[], ...args: readonly string[]) =>
    run('apt-get', [...set.flatMap((option) => ['-o', option]), ...args], { env: { LC_ALL: 'C' } })
  const download = ['install', '--yes', '--download-only', '--no-install-recommends', name]

  let { code, stderr } = await aptGet(options, ...download)
  if (code !== 0) {
    // The machine's lists may be missing or too old for the mirror; they are not ours to renew.
    const update = await aptGet(ownLists, 'update')
    const again = await aptGet(ownLists, ...download)
    code = again.code
    stderr = update.stderr + again.stderr
  }
  if (code !== 0) return lastLines(stderr)
  for (const file of readdirSync(join(apt, 'archives')).filter((each) => each.endsWith('.deb'))) {
    const unpacked = await run('dpkg-deb', ['-x', join(apt, 'archives', file), root])
    if (unpacked.code !== 0) return lastLines(unpacked.stderr)
  }
  await Promise.all([apt, lists].map((folder) => rm(folder, { recursive: true, force: true })))
  return undefined
}

/** The folders for `LD_LIBRARY_PATH`, relative to where the root is. */
const libraries = (root: string): readonly string[] =>
  ['lib', 'usr/lib'].flatMap((folder) => {
    try {
      return readdirSync(join(root, folder))
        .filter((name) => name.includes('-linux-gnu'))
        .map((name) => join('root', folder, name))
    } catch {
      return []
    }
  })

const starter = (folder: string, libraries: readonly string[], program: string): string => `#!/bin/sh
LD_LIBRARY_PATH=${libraries.map((each) => shellWord(join(folder, each))).join(':')}\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec ${shellWord(join(folder, program))} "$@"
`
