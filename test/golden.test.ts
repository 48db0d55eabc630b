import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { line } from '../fn/finding.ts'
import { run } from '../fn/run.ts'
import { UPDATE } from './fixture.ts'
import { describe } from './harness.ts'

const ROOT = 'test/golden'
const FILES = ['input.yaml', 'config.yaml', 'expected.yaml', 'errors.txt']

interface Printed {
  readonly stdout: string
  readonly errors: string
}

async function print(name: string, text: string): Promise<Printed> {
  const file = `${ROOT}/${name}/config.yaml`
  const config = existsSync(file) ? { name: 'config.yaml', text: readFileSync(file, 'utf8') } : undefined
  const { stdout, findings } = await run([{ name: undefined, text }], { config, seal: name.startsWith('seal-') })
  return { stdout, errors: findings.map((found) => `${line(found)}\n`).join('') }
}

const read = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '')

function compare(path: string, actual: string): void {
  if (UPDATE && actual === '') rmSync(path, { force: true })
  else if (UPDATE) writeFileSync(path, actual)
  else assert.fixture(actual, read(path))
}

/** Each folder is a case; its name is a part of a sentence. `UPDATE=1` rewrites what is expected, and fails. */
describe('golden', (test) => {
  const cases = readdirSync(ROOT)
  test('has cases', () => assert.ok(cases.length > 0))
  if (UPDATE)
    test('was not rewritten', () => assert.unreachable('expectations were rewritten: read them, then run again'))
  for (const name of cases) {
    test(name, async () => {
      const unknown = readdirSync(`${ROOT}/${name}`).filter((file) => !FILES.includes(file))
      assert.equal(unknown, [], 'holds only known files')
      const first = await print(name, readFileSync(`${ROOT}/${name}/input.yaml`, 'utf8'))
      compare(`${ROOT}/${name}/expected.yaml`, first.stdout)
      compare(`${ROOT}/${name}/errors.txt`, first.errors)
      if (first.errors === '')
        assert.fixture((await print(name, first.stdout)).stdout, first.stdout, 'a second run changes nothing')
    })
  }
})
