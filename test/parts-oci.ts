import { hash } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cp, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type Ended,
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
import { debianRelease } from './parts-debian.ts'
import { type Programs, programs } from './parts-running.ts'

/**
 * podman and buildah, unpacked from Debian packages into the cache, with a tree like that of a distroless image; and
 * the two at work in a store of their own. Nothing is installed, and no other store, registry or configuration is used.
 */

export interface Engine {
  readonly kind: 'engine'
  readonly part: Part
  /** Scratch, for as long as the engine. */
  readonly folder: string
  /** `podman`, `buildah`, and `docker`, which is podman too: for the PATH of tools that call them. */
  readonly commands: string
  readonly podman: string
  /** A distroless image's files, without Node. */
  readonly base: string
  /** One static program for all that a shell script calls. */
  readonly busybox: string
  /** Runs buildah or podman to its end, and throws with its complaints where it fails. */
  readonly done: (command: 'buildah' | 'podman', ...args: readonly string[]) => Promise<string>
  /** Ends all containers and removes the store. */
  readonly stop: () => Promise<void>
}

/** A package may have another name in another release: of these, apt knows some. */
const TOOLS = [
  ...['podman', 'buildah', 'runc', 'conmon', 'golang-github-containers-common', 'busybox-static', 'patchelf'],
  ...['libgpgme11', 'libgpgme11t64', 'libassuan0', 'libassuan9', 'libsubid4', 'libsubid5', 'libdevmapper1.02.1'],
  ...['libseccomp2', 'libyajl2', 'libglib2.0-0', 'libglib2.0-0t64'],
]
/** Of the image that the Dockerfile names. */
const BASE = ['base-files', 'netbase', 'tzdata', 'ca-certificates', 'libc6', 'libgcc-s1', 'libstdc++6']

export const podman: () => Promise<Part | Missing> = once(async () => {
  const missing = missingPart('podman')
  if (process.platform !== 'linux') return missing('containers need Linux', 'run this on Linux', false)
  const release = debianRelease()
  if (release === undefined || !findIn(path, 'apt-get') || !findIn(path, 'dpkg-deb'))
    return missing('there is no apt-get to unpack it and a base image with', 'run this on Debian or Ubuntu', false)
  const key = `${release}-${hash('sha1', [...TOOLS, ...BASE].join()).slice(0, 10)}`
  const part = await kept({ name: 'podman', version: 'unknown', key }, async ({ into, folder }) => {
    console.error(`unpacking podman of ${release}`)
    const failed = (await unpacked(TOOLS, into, 'root')) ?? (await unpacked(BASE, into, 'base'))
    if (failed !== undefined)
      return missing(`its packages cannot be unpacked: ${failed}`, 'see that the Debian mirror can be reached', true)
    const unbound = await bound(join(into, 'root'), join(folder, 'root'))
    if (unbound !== undefined) return missing(unbound, 'install podman and buildah', false)
    await trimmed(join(into, 'base'))
    writeFileSync(join(into, 'podman'), `#!/bin/sh\nexec ${shellWord(join(folder, 'root/usr/bin/podman'))} "$@"\n`, {
      mode: 0o755,
    })
    return undefined
  })
  return part.kind === 'missing' ? part : { ...(await found('podman', part.path, '--version')), origin: part.origin }
})

/** Missing where no container can be run. */
export async function startEngine(): Promise<Engine | Missing> {
  const part = await podman()
  if (part.kind === 'missing') return part
  const running = programs('oci')
  const engine = await configured(part, running)
  const trouble = await startCheck(engine)
  if (trouble === undefined) return engine
  await engine.stop()
  return missingPart('podman')(
    `it cannot run a container here: ${lastLines(trouble)}`,
    'run as root where namespaces, overlayfs and cgroups can be had',
    false,
  )
}

/** The packages, whether they are installed or not, in one tree. Returns what went wrong. */
async function unpacked(names: readonly string[], into: string, tree: string): Promise<string | undefined> {
  const [debs, lists, root] = [join(into, 'debs'), join(into, 'lists'), join(into, tree)]
  for (const each of [debs, join(lists, 'partial'), root]) mkdirSync(each, { recursive: true })
  const own = ['-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${debs}`]
  const sandbox = ['-o', 'APT::Sandbox::User=root', '-o', 'Debug::NoLocking=1']
  const download = async (options: readonly string[]): Promise<Ended> =>
    run('apt-get', [...sandbox, ...options, 'download', ...(await known(names, options))], { cwd: debs, env: C })
  let got = await download([])
  if (got.code !== 0 || !readdirSync(debs).some(isPackage)) {
    // The machine's lists may be missing or too old for the mirror; they are not ours to renew.
    const update = await run('apt-get', [...sandbox, ...own, 'update'], { env: C })
    got = await download(own)
    got = { ...got, stderr: update.stderr + got.stderr }
  }
  const files = readdirSync(debs).filter(isPackage)
  if (got.code !== 0 || files.length === 0) return lastLines(got.stderr)
  for (const file of files) {
    const deb = await run('dpkg-deb', ['-x', join(debs, file), root])
    if (deb.code !== 0) return lastLines(deb.stderr)
  }
  await Promise.all([debs, lists].map((folder) => rm(folder, { recursive: true, force: true })))
  return undefined
}

const C = { LC_ALL: 'C' }
const isPackage = (file: string): boolean => file.endsWith('.deb')

async function known(names: readonly string[], options: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await run('apt-cache', [...options, 'show', '--no-all-versions', ...names], { env: C })
  const there = new Set([...stdout.matchAll(/^Package: (.*)$/gm)].map(([, name]) => name))
  return names.filter((name) => there.has(name))
}

/**
 * The programs call each other and themselves in ways on which no variable for their libraries survives: so the place
 * of the libraries is written into them.
 */
async function bound(root: string, final: string): Promise<string | undefined> {
  const folders = readdirSync(join(root, 'usr/lib')).filter((name) => name.includes('-linux-gnu'))
  const places = folders.flatMap((name) => [join(final, 'usr/lib', name), join(final, 'lib', name)]).join(':')
  for (const name of ['podman', 'buildah', 'conmon']) {
    const args = ['--force-rpath', '--set-rpath', places, join(root, 'usr/bin', name)]
    const { code, stderr } = await run(join(root, 'usr/bin/patchelf'), args)
    if (code !== 0) return `${name} cannot be told where its libraries are: ${lastLines(stderr)}`
  }
  return undefined
}

/** What a distroless image has of these packages, and what it has instead of their scripts. */
async function trimmed(base: string): Promise<void> {
  const certificates = join(base, 'usr/share/ca-certificates/mozilla')
  const bundle = readdirSync(certificates)
    .sort()
    .map((name) => readFileSync(join(certificates, name), 'utf8'))
    .join('')
  const share = ['ca-certificates', 'man', 'info', 'lintian', 'bug', 'locale', 'gcc', 'gdb', 'zoneinfo/right']
  const needless = [
    'bin',
    'sbin',
    'usr/bin',
    'usr/sbin',
    'etc/update-motd.d',
    'etc/default',
    'etc/kernel',
    'etc/cron.d',
  ]
  const libraries = readdirSync(join(base, 'usr/lib')).flatMap((name) => [`${name}/gconv`, `${name}/audit`])
  const all = [...share.map((name) => `usr/share/${name}`), ...needless, ...libraries.map((name) => `usr/lib/${name}`)]
  for (const name of all) rmSync(join(base, name), { recursive: true, force: true })
  const files = {
    'etc/ssl/certs/ca-certificates.crt': bundle,
    'etc/nsswitch.conf': 'hosts: files dns\n',
    'etc/passwd': USERS.map(([name, id, home]) => `${name}:x:${id}:${id}:${name}:${home}:/sbin/nologin\n`).join(''),
    'etc/group': USERS.map(([name, id]) => `${name}:x:${id}:\n`).join(''),
  }
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(base, dirname(name)), { recursive: true })
    writeFileSync(join(base, name), text)
  }
  mkdirSync(join(base, 'tmp'), { recursive: true })
  chmodSync(join(base, 'tmp'), 0o1777)
}

const USERS = [
  ['root', 0, '/root'],
  ['nobody', 65_534, '/nonexistent'],
  ['nonroot', 65_532, '/home/nonroot'],
] as const

async function configured(part: Part, running: Programs): Promise<Engine> {
  const { folder } = running
  const root = join(dirname(part.path), 'root')
  const commands = join(folder, 'commands')
  const home = join(folder, 'home/.config/containers')
  for (const each of [commands, home, join(folder, 'networks')]) mkdirSync(each, { recursive: true })
  const files = {
    [join(folder, 'containers.conf')]: settings(folder, root, await mostFiles()),
    [join(folder, 'storage.conf')]:
      `[storage]\ndriver = "overlay"\ngraphroot = "${folder}/store"\nrunroot = "${folder}/run"\n`,
    [join(home, 'policy.json')]: '{"default":[{"type":"insecureAcceptAnything"}]}\n',
    [join(home, 'registries.conf')]: 'unqualified-search-registries = ["docker.io"]\n',
  }
  for (const [file, text] of Object.entries(files)) writeFileSync(file, text)
  for (const [name, program] of Object.entries({ podman: 'podman', docker: 'podman', buildah: 'buildah' }))
    writeFileSync(join(commands, name), starter(folder, root, program), { mode: 0o755 })
  const tool = (name: string): string => join(commands, name)
  running.run('/bin/sh', ['-c', KEEPER, 'sh', commands, folder, CLEANING])
  return {
    kind: 'engine',
    part,
    folder,
    commands,
    podman: tool('podman'),
    base: join(dirname(part.path), 'base'),
    busybox: join(root, 'bin/busybox'),
    done: async (command, ...args) => {
      const { code, stdout, stderr } = await run(tool(command), args)
      if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${stderr}`)
      return stdout
    },
    stop: async () => {
      await run('/bin/sh', ['-c', CLEANING, 'sh', commands, folder])
      await running.stop()
    },
  }
}

/**
 * What is under way ends, so that nothing comes after it, then containers and pods, those too of which an image was being
 * built, then what podman leaves running for the next time; and nothing below the folder stays mounted.
 */
const CLEANING = `
end() {
  grep -ls "CONTAINERS_CONF=$1/" /proc/[0-9]*/environ | while IFS=/ read -r none proc id file; do
    case $(readlink "/proc/$id/exe") in $2) ;; *) kill -9 "$id";; esac
  done
}
end "$2" '*/conmon'
"$1/podman" pod rm --all --force --time 0
"$1/podman" rm --all --force --time 0
"$1/buildah" rm --all
end "$2" ''
while read -r device place others; do case $place in "$2"/*) echo "$place";; esac; done </proc/self/mounts |
  sort -r | while read -r place; do umount "$place" || umount -l "$place"; done
`

/** Does what `stop` does where nobody came to call it. */
const KEEPER = `
trap 'kill $sleep; eval "$3"; exit' TERM
sleep 1000000 & sleep=$!
wait
`

/** No more open files than this process may have: not everybody may have more. */
const settings = (folder: string, root: string, files: string): string => `[containers]
default_ulimits = ["nofile=${files}:${files}", "nproc=4096:4096"]
seccomp_profile = "${root}/usr/share/containers/seccomp.json"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "${folder}/tmp"
infra_image = "${PAUSE}"
conmon_path = ["${root}/usr/bin/conmon"]
[network]
network_config_dir = "${folder}/networks"
[engine.runtimes]
runc = ["${root}/usr/sbin/runc", "${root}/usr/bin/runc"]
`

/** What holds a pod together: the image that has only busybox. */
const PAUSE = 'localhost/pause:latest'

async function mostFiles(): Promise<string> {
  const { stdout } = await run('/bin/sh', ['-c', 'ulimit -Hn'])
  return /^\d+$/.exec(stdout.trim())?.[0] ?? '1048576'
}

const starter = (folder: string, root: string, program: string): string => `#!/bin/sh
unset XDG_CONFIG_HOME XDG_DATA_HOME
export HOME=${shellWord(join(folder, 'home'))} BUILDAH_ISOLATION=chroot
export CONTAINERS_CONF=${shellWord(join(folder, 'containers.conf'))}
export CONTAINERS_STORAGE_CONF=${shellWord(join(folder, 'storage.conf'))}
export PATH=${shellWord(join(root, 'usr/bin'))}:${shellWord(join(root, 'usr/sbin'))}:$PATH
exec ${shellWord(join(root, 'usr/bin', program))} "$@"
`

/** Builds and runs the smallest of images. Returns what went wrong. */
async function startCheck({ folder, busybox, done }: Engine): Promise<string | undefined> {
  const context = join(folder, 'pause')
  mkdirSync(context)
  await cp(busybox, join(context, 'busybox'))
  writeFileSync(join(context, 'Dockerfile'), PAUSE_DOCKERFILE)
  try {
    await done('buildah', 'bud', '--quiet', '--tag', PAUSE, context)
    await done('podman', 'run', '--rm', '--network', 'none', '--memory', '64m', PAUSE, '/busybox', 'true')
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const PAUSE_DOCKERFILE = `FROM scratch
COPY busybox /busybox
CMD ["/busybox", "sh", "-c", "trap exit TERM; /busybox sleep 1000000 & wait"]
`
