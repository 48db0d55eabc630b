import { existsSync, readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { HELP } from '../fn/arguments.ts'
import { INSTANCE_FIELDS } from '../fn/job.ts'
import { VERSION } from '../crds/version.ts'
import { describe } from './harness.ts'

const read = (path: string): string => readFileSync(path, 'utf8')

describe('documentation', (test) => {
  test('says where each of the 42 instance fields lands', () => {
    const rows = [...read('docs/function.md').matchAll(/^\| `(\w+)` \| (job|template|pod|container) \|$/gm)]
    assert.equal(Object.fromEntries(rows.map(([, field = '', place = '']) => [field, place])), { ...INSTANCE_FIELDS })
    assert.is(rows.length, 42)
  })

  test('names every flag', () => {
    const flags = HELP.match(/--[a-z]+/g) ?? []
    assert.ok(flags.length > 4)
    for (const flag of flags) assert.match(read('docs/function.md'), flag)
  })

  test('has the version of the package', () => {
    const manifest: unknown = JSON.parse(read('package.json'))
    assert.match(JSON.stringify(manifest), `"version":"${VERSION}"`)
  })

  test('has the terms of what is built into the program', () => {
    const titles = [...read('dist/LICENSES.txt').matchAll(/^(\S+)\n=+$/gm)].map(([, name]) => name)
    assert.equal(titles, ['@noble/hashes', 'fastest-levenshtein', 'yaml'])
  })

  test('links to files that exist', () => {
    for (const file of ['README.md', 'CONTRIBUTING.md', 'docs/function.md']) {
      const folder = file.includes('/') ? `${file.slice(0, file.lastIndexOf('/'))}/` : ''
      for (const [, target = ''] of read(file).matchAll(/\]\(([^)#:]+)\)/g)) {
        assert.ok(existsSync(folder + target), `${file}: ${target}`)
      }
    }
  })
})
