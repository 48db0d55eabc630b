import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { EXAMPLES, TOOL_FILES } from './data/examples.ts'
import { mustEqualFile } from './fixture.ts'
import { describe } from './harness.ts'
import { expanded } from './process.ts'

const folders = (path: string): readonly string[] =>
  readdirSync(path)
    .map((name) => join(path, name))
    .filter((name) => statSync(name).isDirectory())

describe('examples', (test) => {
  for (const { folder, by, expected } of EXAMPLES) {
    if (by !== 'function') continue
    test(`${folder} is expanded by the function alone`, () => mustEqualFile(expanded('', folder), expected))
    test(`${folder} stays what it is in a second run`, () => {
      const once = readFileSync(expected, 'utf8')
      assert.fixture(expanded(once), once)
    })
  }

  test('each has a line in examples/README.md and is in the tests', () => {
    const known = [...EXAMPLES.map(({ folder }) => folder), ...TOOL_FILES.map(dirname)]
    const readme = readFileSync('examples/README.md', 'utf8')
    for (const folder of [...folders('examples'), ...folders('examples/storage')]) {
      assert.ok(
        known.some((each) => each === folder || each.startsWith(`${folder}/`)),
        `${folder} is in no test`,
      )
      assert.match(readme, `(${folder.replace('examples/', '')}`)
    }
  })
})
