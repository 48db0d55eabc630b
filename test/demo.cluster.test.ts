import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { describe } from './harness.ts'
import { controlPlane } from './parts.ts'
import { ran } from './process.ts'

const parts = await controlPlane()

describe('npm run demo', (test) => {
  if (parts.kind === 'missing') {
    console.log(`left out: the demo: no ${parts.name}: ${parts.why}; ${parts.how}`)
    return
  }

  test('ends well by itself, as the README shows it', () => {
    const { status, stdout, stderr } = ran(process.execPath, ['test/demo.ts'])
    assert.is(status, 0, stdout + stderr)
    const told = timeless(stdout)
    let from = 0
    for (const line of timeless(recording())) {
      // What is watched comes in between, whenever it comes.
      const isWatched = line.startsWith('  ')
      const found = told.indexOf(line, isWatched ? 0 : from)
      assert.ok(found >= 0, `not so, or not in this order: ${line}\n${stdout}`)
      if (!isWatched) from = found
    }
  })
})

/** The block under the heading. */
function recording(): string {
  const [, section = ''] = readFileSync('README.md', 'utf8').split('## See it\n')
  const [, shown = ''] = section.split(/^```(?:text)?\n/m)
  assert.ok(shown.split('\n').length > 20)
  return shown
}

const timeless = (text: string): readonly string[] =>
  text.split('\n').flatMap((line) => (line === '' ? [] : line.replace(/ \d+s +/, ' AGE ').replaceAll(/ {3,}/g, '   ')))
