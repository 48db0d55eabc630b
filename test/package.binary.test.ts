import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { REASONS } from '../crds/termination.ts'
import { VERSION } from '../crds/version.ts'
import { model } from './data/manifests.ts'
import { describe } from './harness.ts'
import { type HubFile, hub, randomFile } from './hub.ts'
import { filesIn, wrongFiles } from './loader.ts'
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

  const empty = (): { readonly folder: string; readonly env: Readonly<Record<string, string>> } => {
    const folder = scratch({ 'package.json': '{}' })
    const cache = join(folder, 'cache')
    return { folder, env: { npm_config_cache: cache, npm_config_offline: 'true', PATH: pathWithoutCommands() } }
  }

  test('gives its three commands where it is installed, without a registry', () => {
    const { folder, env } = empty()
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

  test("loads and verifies a model by the README's own commands", async () => {
    const { folder, env } = empty()
    const tarball = String(at(pack('--pack-destination', folder), 'filename'))
    printed('npm', ['install', '--no-audit', '--no-fund', `./${tarball}`], { cwd: folder, env })
    const qwen = [randomFile('model.safetensors', 3_000_000), randomFile('config.json', 900, 2)]
    const tagged = [randomFile('model.safetensors', 2_000_000, 3), randomFile('deep/config.json', 800, 4)]
    const left = [randomFile('README.md', 700, 5), randomFile('model.bin', 5000, 6)]
    const revisions = { main: qwen, 'v1.0': [...tagged, ...left] }
    await using there = await hub({
      repositories: { 'Qwen/Qwen2.5-0.5B': { revisions: { main: qwen } }, 'org/model': { revisions } },
    })
    const commands = readFileSync('README.md', 'utf8')
      .split('\n')
      .filter((line) => /^(\w+=\S+ )?npx arksmodel-loader /.test(line))
      .map((line) => line.replace(/http:\/\/127\.0\.0\.1:8000\b/, there.url).replace(' /mnt/', ' ./mnt/'))
    const [first = '', second = '', verify = '', ...more] = commands
    assert.equal(more, [])
    const run = (command: string): Promise<Ended> => ranBeside(command, folder, { ...env, HF_ENDPOINT: there.url })
    const assertHolds = (name: string, files: readonly HubFile[]): void => {
      assert.equal(wrongFiles(join(folder, name), files), [])
      const paths = files.map(({ path }) => path)
      assert.equal(filesIn(join(folder, name)), paths.sort())
    }

    for (const command of [first, second, verify]) {
      const { status, stdout, stderr } = await run(command)
      assert.is(status, 0, `${command}\n${stdout}${stderr}`)
    }
    assertHolds('models/qwen', qwen)
    assertHolds('mnt/models', tagged)

    const weights = join(folder, 'models/qwen/model.safetensors')
    const bytes = readFileSync(weights)
    bytes[1_000_000] = 255 - (bytes[1_000_000] ?? 0)
    writeFileSync(weights, bytes)
    const { status, stdout } = await run(verify)
    assert.is(status, REASONS.ChecksumMismatch.exitCode)
    assert.match(stdout, /model\.safetensors.* has other bytes/)
  })
})

/** As a shell runs it, while this process answers as the Hub. */
function ranBeside(command: string, cwd: string, env: Readonly<Record<string, string>>): Promise<Ended> {
  const child = spawn('sh', ['-c', command], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  return new Promise((done, fail) => {
    child.on('error', fail)
    child.on('close', (status) => done({ status, stdout, stderr }))
  })
}

/** npm and npx put the project's own commands on it when they run these tests. */
function pathWithoutCommands(): string {
  const others = (process.env['PATH'] ?? '').split(delimiter).filter((each) => !each.endsWith('node_modules/.bin'))
  return [dirname(process.execPath), ...others].join(delimiter)
}
