import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { line } from '../fn/finding.ts'
import type { Input } from '../fn/gather.ts'
import { type Outcome, run } from '../fn/run.ts'
import { BAD_INPUT, type BadInput, GOOD } from './data/bad-input.ts'
import { describe } from './harness.ts'

function outcome({ input = '', files, config, seal = false }: BadInput): Promise<Outcome> {
  const inputs: readonly Input[] =
    files === undefined
      ? [{ name: undefined, text: input }]
      : Object.entries(files).map(([name, text]) => ({ name, text }))
  return run(inputs, { config: config === undefined ? undefined : { name: 'settings.yaml', text: config }, seal })
}

/** What an orchestrator gets back: its list with the results, or nothing where there is no list to be read. */
function assertNothingPartial(row: BadInput, stdout: string): void {
  if (stdout === '') return
  const { input = '' } = row
  assert.is(stdout.slice(0, input.length), input, 'the list is as it came')
  const { items, results } = parse(stdout)
  assert.equal(items, parse(input).items)
  assert.is(results.length, row.want.length)
  for (const { severity, message } of results) {
    assert.is(severity, 'error')
    assert.ok(
      row.want.some((each) => each.endsWith(`: ${message}`) || each === message),
      message,
    )
  }
}

describe('bad input', (test) => {
  for (const [name, row] of Object.entries(BAD_INPUT)) {
    test(name, async () => {
      const { stdout, findings } = await outcome(row)
      assert.equal(findings.map(line), row.want, row.why)
      assertNothingPartial(row, stdout)
    })
  }

  test('a ResourceList that can be read comes back with its results', async () => {
    const returned: string[] = []
    for (const [name, row] of Object.entries(BAD_INPUT)) if ((await outcome(row)).stdout !== '') returned.push(name)
    assert.ok(returned.length >= 10, returned.join(', '))
    for (const name of returned) assert.match(BAD_INPUT[name]?.input ?? '', /^apiVersion: config.kubernetes.io/)
  })

  test('says what must hold, and never politely', () => {
    for (const each of Object.values(BAD_INPUT).flatMap(({ want }) => want)) {
      assert.not.match(each, /\b(?:should|please|invalid|undefined|\[object)\b/i)
      assert.not.match(each, /hf_[A-Za-z0-9]{3}/)
    }
  })

  test('a Job under the name of one of ours', async () => {
    const { stdout } = await outcome({ why: '', input: GOOD, want: [] })
    const made = /arks-worker-qwen-[0-9a-f]{10}/.exec(stdout)?.[0]
    assert.type(made, 'string')
    const other = `apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: ${made}\n---\n`
    const { findings } = await outcome({ why: '', input: other + GOOD, want: [] })
    assert.equal(findings.map(line), [
      `ArksModel qwen: metadata.name: must leave the name "${made}" free: the input has a Job of that name`,
    ])
  })
})
