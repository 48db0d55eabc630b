import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type BuildOptions, build, type Plugin } from 'esbuild'
import { codeCache } from './code-cache.ts'

/** What `npm ci` leaves: each program as one file that a plain Node runs. */
const PROGRAMS = {
  'arksmodel-fn': () => cached('fn/main.ts'),
  'arksmodel-loader': () => plain('loader/main.ts'),
  'arksmodel-controller': () => plain('controller/main.ts', [withoutRequests]),
}

const SHEBANG = '#!/usr/bin/env node\n'

/** CommonJS: no top-level await and no import.meta in what goes in. */
const OPTIONS = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  // A script that is compiled from text knows no import().
  supported: { 'dynamic-import': false },
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  metafile: true,
  write: false,
} satisfies BuildOptions

/**
 * What is imported dynamically goes in as text and becomes code when it is asked for: V8 looks through all code of a
 * file before it runs any.
 */
const lazy: Plugin = {
  name: 'lazy',
  setup({ onResolve, onLoad, resolve }) {
    onResolve({ filter: /^\.\.?\// }, async ({ kind, path, resolveDir }) => {
      if (kind !== 'dynamic-import') return undefined
      const found = await resolve(path, { kind: 'import-statement', resolveDir })
      return { path: found.path, namespace: 'lazy' }
    })
    onLoad({ filter: /.*/, namespace: 'lazy' }, async ({ path }) => {
      const code = JSON.stringify(await bundled(path))
      return {
        contents: `new Function('module', 'exports', 'require', ${code})(module, exports, require)`,
        loader: 'js',
      }
    })
  },
}

/**
 * The client library's own requests are never made: of it only the kubeconfig is read. What is left out is a third of
 * the memory of a controller that has nothing to do, and of its time to start.
 */
const withoutRequests: Plugin = {
  name: 'without requests',
  setup({ onLoad }) {
    onLoad({ filter: /node_modules\/undici\/index\.js$/ }, () => ({ contents: UNUSED_AGENTS }))
    onLoad({ filter: /@kubernetes\/client-node\/dist\/gen\/index\.js$/ }, () => ({ contents: UNUSED_API }))
  },
}

const UNUSED_AGENTS = 'export const Agent = undefined, ProxyAgent = undefined'
const UNUSED_API = 'export const createConfiguration = undefined, ServerConfiguration = undefined'

/** The folders below node_modules/ of what went into the programs. */
const packages = new Set<string>()

async function bundled(path: string, plugins: Plugin[] = []): Promise<string> {
  const { outputFiles, metafile } = await build({ ...OPTIONS, entryPoints: [path], plugins })
  for (const input of Object.keys(metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1]
    if (name !== undefined) packages.add(name)
  }
  return outputFiles[0]?.text ?? ''
}

mkdirSync('dist', { recursive: true })
for (const [name, made] of Object.entries(PROGRAMS)) {
  const outfile = `dist/${name}.cjs`
  writeFileSync(outfile, await made())
  chmodSync(outfile, 0o755)
  linkCommand(name, outfile)
}

writeFileSync('dist/LICENSES.txt', [...packages].sort().map(license).join('\n'))

/** The terms under which others' code is in the programs ask for their text beside it. */
function license(name: string): string {
  const folder = `node_modules/${name}`
  const file = readdirSync(folder).find((each) => /^licen[cs]e(?:[.-]\w+)*$/i.test(each))
  if (file === undefined) throw new Error(`${name} has no license file`)
  return `${name}\n${'='.repeat(name.length)}\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}\n`
}

/** One that runs for minutes may take its time to start, and it needs the name of its file, to start threads. */
async function plain(entry: string, plugins: Plugin[] = []): Promise<string> {
  return `${SHEBANG}${await bundled(entry, plugins)}`
}

/** One that runs at every build of manifests starts from compiled code. */
async function cached(entry: string): Promise<string> {
  const source = `(function (require, module, exports) {${await bundled(entry, [lazy])}\n})`
  return program(source, await codeCache(source))
}

/** A Node of another version does not take the compiled code, and compiles the text. */
function program(source: string, cache: Buffer): string {
  return `${SHEBANG}'use strict'
const cachedData = Buffer.from('${cache.toString('base64')}', 'base64')
const source = ${JSON.stringify(source)}
new (require('node:vm').Script)(source, { filename: __filename, cachedData }).runInThisContext()(require, module, exports)
`
}

/** npm links the commands of dependencies only: so `npx` and scripts find this package's own in a clone too. */
function linkCommand(name: string, outfile: string): void {
  const link = `node_modules/.bin/${name}`
  mkdirSync('node_modules/.bin', { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(`../../${outfile}`, link)
}
