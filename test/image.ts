import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DEFAULTS } from '../fn/config.ts'
import { asList } from '../fn/merge.ts'
import { at } from './objects.ts'
import { run } from './parts-cache.ts'
import type { Engine } from './parts-oci.ts'

/**
 * The image as the Dockerfile builds it, unchanged, without a registry. The images that it names are stand-ins under
 * their names: the base is made of Debian packages and the Node that this project is developed with, the builder is
 * that base with busybox for a shell, and an `npm ci` that takes the packages which lie here.
 */

/** As kustomize/fn/container and the rendered Jobs write it. */
export const IMAGE: string = DEFAULTS.image

/** Seconds since 1970, for all files of the layers and the images' own date. */
const DATE = '1767225600'

const named = (argument: string): string => {
  const name = new RegExp(`^ARG ${argument}=(.*)$`, 'm').exec(readFileSync('Dockerfile', 'utf8'))?.[1]
  if (name === undefined) throw new Error(`the Dockerfile has no ${argument}`)
  return name
}

/** Of the last stage. */
export const BASE_IMAGE: string = named('BASE_IMAGE')

/** And a copy of the sources as they are now, which somebody may be editing. */
export async function makeStandIns(engine: Engine): Promise<void> {
  const filter = (path: string): boolean => path !== 'node_modules' && path !== '.git'
  await cp('.', sources(engine), { recursive: true, verbatimSymlinks: true, filter })
  const context = join(engine.folder, 'stand-ins')
  await cp(engine.base, join(context, 'base'), { recursive: true, verbatimSymlinks: true })
  mkdirSync(join(context, 'home/nonroot'), { recursive: true, mode: 0o700 })
  copyFileSync(resolve('node_modules/node/bin/node'), join(context, 'node'))
  copyFileSync(engine.busybox, join(context, 'busybox'))
  writeFileSync(join(context, 'npm'), NPM, { mode: 0o755 })
  for (const [name, text] of [
    [BASE_IMAGE, BASE_DOCKERFILE],
    [`docker.io/library/${named('NODE_IMAGE')}`, BUILDER_DOCKERFILE],
  ] as const) {
    writeFileSync(join(context, 'Dockerfile'), text)
    await engine.done('buildah', 'bud', ...QUIET, '--layers', '--tag', name, context)
  }
}

/** Returns its id, which is the digest of its configuration and with it of all layers. */
export async function buildImage(engine: Engine, tag: string = IMAGE): Promise<string> {
  const packages = `${resolve('node_modules')}:/packages/node_modules:ro`
  const args = [
    ...QUIET,
    '--no-cache',
    '--network',
    'none',
    '--volume',
    packages,
    '--tag',
    `docker.io/${tag}`,
    sources(engine),
  ]
  return (await engine.done('buildah', 'bud', ...args)).trim()
}

const sources = ({ folder }: Engine): string => join(folder, 'sources')

const QUIET = ['--quiet', '--pull-never', '--timestamp', DATE]

const BASE_DOCKERFILE = `FROM scratch
COPY base /
COPY --chown=65532:65532 home /home
COPY --chmod=0755 node /nodejs/bin/node
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532
WORKDIR /home/nonroot
ENTRYPOINT ["/nodejs/bin/node"]
`

const BUILDER_DOCKERFILE = `FROM ${BASE_IMAGE}
COPY busybox /bin/busybox
COPY npm /usr/local/bin/npm
USER 0
RUN ["/bin/busybox", "mkdir", "-p", "/usr/bin", "/usr/sbin", "/sbin"]
RUN ["/bin/busybox", "--install", "-s"]
`

const NPM = `#!/bin/sh
set -e
test "$1" = ci
mkdir -p node_modules/.bin
ln -s /packages/node_modules/* node_modules
`

export interface Layer {
  readonly digest: string
  readonly compressedBytes: number
}

export interface Stored {
  /** From the base on; the last is what the Dockerfile adds. */
  readonly layers: readonly Layer[]
  readonly compressedBytes: number
  readonly unpackedBytes: number
  /** Of the last layer, as tar lists them: mode, owner, and path. */
  readonly added: readonly string[]
}

/** The image as a registry would store it. */
export async function stored(engine: Engine, tag: string = IMAGE): Promise<Stored> {
  const folder = join(engine.folder, 'stored')
  await engine.done('buildah', 'push', '--quiet', `docker.io/${tag}`, `oci:${folder}`)
  const blob = (digest: unknown): string => join(folder, 'blobs/sha256', String(digest).replace('sha256:', ''))
  const json = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'))
  const manifest = json(blob(at(json(join(folder, 'index.json')), 'manifests', 0, 'digest')))
  const layers = asList(at(manifest, 'layers')).map((layer) => ({
    digest: String(at(layer, 'digest')),
    compressedBytes: Number(at(layer, 'size')),
  }))
  const { stdout } = await run('tar', ['--list', '--verbose', '--numeric-owner', '-zf', blob(layers.at(-1)?.digest)])
  return {
    layers,
    compressedBytes: layers.reduce((sum, { compressedBytes }) => sum + compressedBytes, 0),
    unpackedBytes: Number(at(await inspected(engine, tag), 'Size')),
    added: stdout
      .trim()
      .split('\n')
      .map((line) => {
        const [mode, owner, , , , name] = line.split(/ +/)
        return `${mode} ${owner} ${name}`
      }),
  }
}

/** What podman tells of it. */
export async function inspected(engine: Engine, tag: string = IMAGE): Promise<unknown> {
  const [found]: readonly unknown[] = JSON.parse(await engine.done('podman', 'image', 'inspect', `docker.io/${tag}`))
  return found
}
