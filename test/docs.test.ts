import { existsSync, readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { REASONS } from '../crds/termination.ts'
import { VERSION } from '../crds/version.ts'
import { HELP } from '../fn/arguments.ts'
import { INSTANCE_FIELDS } from '../fn/job.ts'
import { HELP as LOADER_HELP } from '../loader/arguments.ts'
import { describe } from './harness.ts'

const read = (path: string): string => readFileSync(path, 'utf8')

describe('documentation', (test) => {
  test('says where each of the 42 instance fields lands', () => {
    const rows = [...read('docs/function.md').matchAll(/^\| `(\w+)` \| (job|template|pod|container) \|$/gm)]
    assert.equal(Object.fromEntries(rows.map(([, field = '', place = '']) => [field, place])), { ...INSTANCE_FIELDS })
    assert.is(rows.length, 42)
  })

  for (const [file, help] of Object.entries({ 'docs/function.md': HELP, 'docs/loader.md': LOADER_HELP })) {
    test(`names every flag and variable: ${file}`, () => {
      const names = help.match(/--[a-z-]+|\b[A-Z]+_[A-Z_]+\b/g) ?? []
      assert.ok(names.length > 4)
      for (const name of names) assert.match(read(file), name)
    })
  }

  test('says what to do for every reason, with its exit code', () => {
    const rows = [...read('docs/loader.md').matchAll(/^\| `(\w+)` \| (\d+) \|/gm)]
    assert.equal(
      rows.map(([, reason, code]) => [reason, Number(code)]),
      Object.entries(REASONS).map(([reason, { exitCode }]) => [reason, exitCode]),
    )
  })

  test('has the version of the package', () => {
    const manifest: unknown = JSON.parse(read('package.json'))
    assert.match(JSON.stringify(manifest), `"version":"${VERSION}"`)
  })

  test('has the terms of what is built into the programs', () => {
    const titles = [...read('dist/LICENSES.txt').matchAll(/^(\S+)\n=+$/gm)].map(([, name]) => name)
    const used =
      '@noble/hashes @opentelemetry/api @pinojs/redact ansi-regex atomic-sleep bintrees cli-progress emoji-regex fastest-levenshtein is-fullwidth-code-point on-exit-leak-free pino pino-std-serializers prom-client quick-format-unescaped safe-stable-stringify sonic-boom string-width strip-ansi tdigest thread-stream yaml'
    assert.is(titles.join(' '), used)
  })

  test('links to files that exist', () => {
    for (const file of ['README.md', 'CONTRIBUTING.md', 'docs/function.md', 'docs/loader.md']) {
      const folder = file.includes('/') ? `${file.slice(0, file.lastIndexOf('/'))}/` : ''
      for (const [, target = ''] of read(file).matchAll(/\]\(([^)#:]+)\)/g)) {
        assert.ok(existsSync(folder + target), `${file}: ${target}`)
      }
    }
  })
})
