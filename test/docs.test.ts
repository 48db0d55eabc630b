import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { HELP as CONTROLLER_HELP } from '../controller/arguments.ts'
import { REASONS } from '../crds/termination.ts'
import { VERSION } from '../crds/version.ts'
import { HELP } from '../fn/arguments.ts'
import { INSTANCE_FIELDS } from '../fn/job.ts'
import { HELP as LOADER_HELP } from '../loader/arguments.ts'
import { STATUS_ROWS } from './data/status-rows.ts'
import { describe } from './harness.ts'

const read = (path: string): string => readFileSync(path, 'utf8')

describe('documentation', (test) => {
  test('says where each of the 42 instance fields lands', () => {
    const rows = [...read('docs/function.md').matchAll(/^\| `(\w+)` \| (job|template|pod|container) \|$/gm)]
    assert.equal(Object.fromEntries(rows.map(([, field = '', place = '']) => [field, place])), { ...INSTANCE_FIELDS })
    assert.is(rows.length, 42)
  })

  const HELPS = { 'docs/function.md': HELP, 'docs/loader.md': LOADER_HELP, 'docs/controller.md': CONTROLLER_HELP }
  for (const [file, help] of Object.entries(HELPS)) {
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

  test('says what to do for every reason of a status', () => {
    const [, reasons = ''] = read('docs/status.md').split(/^## (?:Reasons|What "ready" is tied to)$/m)
    const told = [...reasons.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|/gm)].flatMap(([row]) => row.match(/\w+/g) ?? [])
    const given = Object.values(STATUS_ROWS).map(({ want }) => want.reason)
    const ofLoader = Object.keys(REASONS)
    assert.equal(
      given.filter((reason) => !told.includes(reason) && !ofLoader.includes(reason)),
      [],
      'given, and not told of',
    )
    assert.equal(
      told.filter((reason) => !given.includes(reason)),
      [],
      'told of, and not given',
    )
  })

  test('has the version of the package', () => {
    const manifest: unknown = JSON.parse(read('package.json'))
    assert.match(JSON.stringify(manifest), `"version":"${VERSION}"`)
  })
})
