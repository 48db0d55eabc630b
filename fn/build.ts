import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import type { Plugin } from 'esbuild'
import { bundle, packageOf, withoutRequests } from './bundle.ts'
import { codeCache } from './code-cache.ts'

/** What `npm ci` leaves: each program as one file that a plain Node runs. */
const PROGRAMS = {
  'arksmodel-fn': () => cached('fn/main.ts'),
  'arksmodel-loader': () => plain('loader/main.ts'),
  'arksmodel-controller': () => plain('controller/main.ts', [withoutRequests]),
}

const SHEBANG = '#!/usr/bin/env node\n'

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

/** The folders below node_modules/ of what went into the programs. */
const packages = new Set<string>()

async function bundled(path: string, plugins: Plugin[] = []): Promise<string> {
  const { text, metafile } = await bundle(path, plugins)
  for (const input of Object.keys(metafile.inputs)) {
    const name = packageOf(input)
    if (name !== undefined) packages.add(name)
  }
  return text
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
