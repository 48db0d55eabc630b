import { readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { VERSION } from '../crds/version.ts'
import { model } from './data/manifests.ts'
import { describe } from './harness.ts'
import { at } from './objects.ts'
import { type Ended, expanded, printed, ran } from './process.ts'
import { scratch } from './scratch.ts'

/** What `npm publish` would send, installed where there is nothing else and no registry. */

/** Each file by its name, folders of documents by what may be in them. */
const FILES: readonly (string | RegExp)[] = [
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'package.json',
  'dist/LICENSES.txt',
  'dist/arksmodel-controller.cjs',
  'dist/arksmodel-fn.cjs',
  'dist/arksmodel-loader.cjs',
  'crds/arksmodel.yaml',
  'crds/expandarksmodels.yaml',
  'crds/kustomization.yaml',
  'crds/sealworkerjobs.yaml',
  /^docs\/.+\.md$/,
  /^examples\/.+\.(?:yaml|md|sh)$/,
  /^examples\/.+\/Kptfile$/,
  /^kustomize\/.+\.(?:yaml|md|json)$/,
]
const MOST_PACKED_BYTES = 1e6

const matches = (file: string, wanted: string | RegExp): boolean =>
  typeof wanted === 'string' ? file === wanted : wanted.test(file)

describe('the package', (test) => {
  // What is packed is what lies in dist/, as tests of the programs take it.
  const pack = (...args: readonly string[]): unknown =>
    JSON.parse(printed('npm', ['pack', '--json', '--ignore-scripts', ...args]))[0]

  test('holds what is needed, and nothing else', () => {
    const packed = pack('--dry-run')
    const list = at(packed, 'files')
    const files = (Array.isArray(list) ? list : []).map((file) => String(at(file, 'path')))
    assert.equal(
      files.filter((file) => !FILES.some((wanted) => matches(file, wanted))),
      [],
      'not needed',
    )
    assert.equal(FILES.filter((wanted) => !files.some((file) => matches(file, wanted))).map(String), [], 'missing')
    const size = Number(at(packed, 'size'))
    assert.ok(size < MOST_PACKED_BYTES, `${size} bytes`)
  })

  test('needs no other package', () => {
    const manifest: unknown = JSON.parse(readFileSync('package.json', 'utf8'))
    for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundleDependencies'])
      assert.is(at(manifest, kind), undefined, kind)
  })

  test('gives its three commands where it is installed, without a registry', () => {
    const folder = scratch({ 'package.json': '{}' })
    const env = {
      npm_config_cache: join(folder, 'cache'),
      npm_config_offline: 'true',
      PATH: pathWithoutCommands(),
    }
    const npx = (name: string, args: readonly string[], input = ''): Ended =>
      ran('npx', ['--no', '--', name, ...args], { cwd: folder, env, input })
    const tarball = String(at(pack('--pack-destination', folder), 'filename'))
    assert.is(npx('arksmodel-fn', ['--version']).status, 1, 'another one is found')

    printed('npm', ['install', '--no-audit', '--no-fund', `./${tarball}`], { cwd: folder, env })
    for (const name of ['arksmodel-fn', 'arksmodel-loader', 'arksmodel-controller']) {
      assert.equal(npx(name, ['--version']), { status: 0, stdout: `${VERSION}\n`, stderr: '' }, name)
      assert.match(npx(name, ['--help']).stdout, name)
    }
    assert.fixture(npx('arksmodel-fn', [], model()).stdout, expanded(model()))
  })
})

/** npm and npx put the project's own commands on it when they run these tests. */
function pathWithoutCommands(): string {
  const others = (process.env['PATH'] ?? '').split(delimiter).filter((each) => !each.endsWith('node_modules/.bin'))
  return [dirname(process.execPath), ...others].join(delimiter)
}
