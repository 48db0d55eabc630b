import { readFileSync, statSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { bundle, packageOf, withoutRequests } from '../fn/bundle.ts'
import { describe } from './harness.ts'

interface Locked {
  readonly version: string
  readonly license?: string
  readonly dependencies?: Readonly<Record<string, string>>
}

interface Program {
  readonly bytes: number
  /** Bytes of each package that it was made of. */
  readonly packages: ReadonlyMap<string, number>
}

const read = (file: string): string => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')

const manifest: {
  readonly dependencies?: unknown
  readonly optionalDependencies?: unknown
  readonly peerDependencies?: unknown
  readonly devDependencies: Readonly<Record<string, string>>
} = JSON.parse(read('package.json'))

const lock: { readonly packages: Readonly<Record<string, Locked>> } = JSON.parse(read('package-lock.json'))

const document = read('docs/dependencies.md')

/** The cells of a table, its head left out. */
function table(heading: string): readonly (readonly string[])[] {
  const [, after = ''] = document.split(`## ${heading}\n`)
  const [section = ''] = after.split('\n## ')
  const rows = section.match(/^\|.*\|$/gm) ?? []
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  )
}

/** Like fn/build.ts, but what is loaded late is weighed as the code that it becomes. */
async function program(entry: string): Promise<Program> {
  const { metafile } = await bundle(entry, [withoutRequests])
  const [output] = Object.values(metafile.outputs)
  const packages = new Map<string, number>()
  for (const input of Object.keys(metafile.inputs)) {
    const name = packageOf(input)
    if (name === undefined) continue
    assert.not.match(input, /node_modules\/.*node_modules\//, 'of each package one version is built in')
    packages.set(name, (packages.get(name) ?? 0) + (output?.inputs[input]?.bytesInOutput ?? 0))
  }
  return { bytes: output?.bytes ?? 0, packages }
}

const PROGRAMS = {
  function: await program('fn/main.ts'),
  loader: await program('loader/main.ts'),
  controller: await program('controller/main.ts'),
} as const

const bundled = [...new Set(Object.values(PROGRAMS).flatMap(({ packages }) => [...packages.keys()]))].sort()

function locked(name: string): Locked {
  const found = lock.packages[`node_modules/${name}`]
  if (found === undefined) throw new Error(`package-lock.json has no ${name}`)
  return found
}

/** The names of what comes with a package, itself left out. */
function brought(name: string): ReadonlySet<string> {
  const seen = new Set<string>()
  const visit = (at: string): void => {
    for (const each of Object.keys(locked(at).dependencies ?? {})) {
      if (seen.has(each)) continue
      seen.add(each)
      visit(each)
    }
  }
  visit(name)
  return seen
}

const direct = Object.keys(manifest.devDependencies)

const code = (name: string): string => `\`${name}\``

/** Of what is built in nothing may ask for more than its text. */
const FOR_PROGRAMS = ['Apache-2.0', 'BSD-3-Clause', 'ISC', 'MIT']
const FOR_TOOLS = [...FOR_PROGRAMS, 'BSD-2-Clause', 'MIT OR Apache-2.0', 'PSF-2.0', 'Unlicense']

describe('docs/dependencies.md', (test) => {
  test('is right that users get no dependency', () => {
    assert.is(manifest.dependencies ?? manifest.optionalDependencies ?? manifest.peerDependencies, undefined)
  })

  test('tells of each dependency what it is, what it brings, where it goes and why', () => {
    const want = direct.map((name) => [
      code(name),
      manifest.devDependencies[name],
      locked(name).license,
      `${brought(name).size}`,
      Object.entries(PROGRAMS)
        .filter(([, { packages }]) => (packages.get(name) ?? 0) > 0)
        .map(([program]) => program)
        .join(', '),
    ])
    const rows = table('What was chosen, and why')
    assert.equal(
      rows.map((cells) => cells.slice(0, 5)),
      want,
    )
    for (const [name, , , , , why = ''] of rows) assert.ok(why.length >= 'Types.'.length, name)
  })

  test('has exact versions, those that are installed', () => {
    for (const name of direct) assert.is(manifest.devDependencies[name], locked(name).version, name)
  })

  test('lists what is built in', () => {
    const origins = (name: string): string =>
      direct
        .filter((each) => each !== name && brought(each).has(name))
        .filter((each) => bundled.includes(each))
        .map(code)
        .join(', ')
    const want = bundled.map((name) => [code(name), locked(name).version, locked(name).license, origins(name)])
    const rows = table('What is built in')
    assert.equal(
      rows.map((cells) => cells.slice(0, 4)),
      want,
    )
  })

  test('weighs it', () => {
    const rows = table('What is built in')
    assert.ok(rows.length > 0)
    for (const [name = '', , , , ...cells] of rows) {
      for (const [index, [where, { packages }]] of Object.entries(PROGRAMS).entries()) {
        const bytes = packages.get(name.slice(1, -1))
        const near = weights(bytes)
        assert.ok(near.includes(cells[index] ?? ''), `${name} in the ${where}: ${cells[index]}, it is ${near[0]}`)
      }
    }
  })

  test('weighs what is in dist', () => {
    for (const name of ['loader', 'controller'] as const) {
      const { size } = statSync(new URL(`../dist/arksmodel-${name}.cjs`, import.meta.url))
      const { bytes } = PROGRAMS[name]
      assert.ok(Math.abs(size - bytes) < size / 100, `${name}: ${bytes}, in dist ${size}: run \`npm run build\``)
    }
    const titles = [...read('dist/LICENSES.txt').matchAll(/^(\S+)\n=+$/gm)].map(([, name]) => name)
    assert.equal(titles, bundled, 'dist/LICENSES.txt')
  })

  test('refuses licences that ask for more than their text', () => {
    for (const name of bundled) assert.ok(FOR_PROGRAMS.includes(locked(name).license ?? ''), name)
    for (const [path, { license = 'none' }] of Object.entries(lock.packages)) {
      assert.ok(FOR_TOOLS.includes(license), `${path}: ${license}`)
    }
  })

  test('names advisories of versions that are not built in', () => {
    const rows = table('Known advisories')
    assert.ok(rows.length > 0)
    for (const [name = '', advisory = '', , fixed = '', here = ''] of rows) {
      assert.ok(bundled.map(code).includes(name), name)
      assert.match(advisory, /^(CVE-\d{4}-\d+|GHSA(-[\da-z]{4}){3})$/)
      assert.is(here, locked(name.slice(1, -1)).version, name)
      assert.ok(atLeast(here, fixed), `${name}: ${advisory} is fixed in ${fixed}, not in ${here}`)
    }
  })
})

/** How a size may be written: as measured, or as it was before names elsewhere in the program changed. */
function weights(bytes: number | undefined): readonly string[] {
  if (bytes === undefined) return ['']
  if (bytes === 0) return ['0']
  const slack = Math.max(100, bytes / 50)
  return [bytes, bytes - slack, bytes + slack].map((each) => (each < 1000 ? '<1' : `${Math.round(each / 1000)}`))
}

function atLeast(version: string, least: string): boolean {
  const [have, want] = [version.split('.').map(Number), least.split('.').map(Number)]
  const differs = have.findIndex((part, index) => part !== want[index])
  return differs < 0 || (have[differs] ?? 0) > (want[differs] ?? 0)
}
