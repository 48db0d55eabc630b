import * as assert from 'uvu/assert'
import {
  HOPELESS_EXIT_CODES,
  parseTermination,
  REASONS,
  type Termination,
  terminationText,
} from '../crds/termination.ts'
import { describe } from './harness.ts'

const GATED: Termination = {
  v: 1,
  reason: 'GatedRepo',
  message: 'must have access to org/model',
  retryable: false,
  status: 403,
  requestId: 'Root=1-2',
}

const NONE: Readonly<Record<string, string>> = {
  'the end of a log': 'Error: something\n    at main\n',
  nothing: '',
  'other JSON': '{"reason": "GatedRepo"}',
  'a list': '[1]',
  'another version': JSON.stringify({ ...GATED, v: 2 }),
  'a reason of somebody else': JSON.stringify({ ...GATED, reason: 'toString' }),
  'no message': JSON.stringify({ ...GATED, message: undefined }),
  'what was cut off': JSON.stringify(GATED).slice(0, -5),
}

describe('the termination message', (test) => {
  test('is read as it was written', () => {
    const full: Termination = {
      ...GATED,
      reason: 'Loaded',
      commit: 'a'.repeat(40),
      totalBytes: 2 ** 50,
      doneBytes: 3,
      reusedBytes: 2,
      files: 4,
      filesDone: 1,
      retries: 0,
      seconds: 1.5,
    }
    assert.equal(parseTermination(terminationText(full)), full)
    assert.equal(parseTermination(terminationText(GATED)), GATED)
  })

  test('is JSON below 4,096 bytes however long its words are', () => {
    for (const message of ['x'.repeat(10_000), '"\\\n'.repeat(3000), '模型🙂'.repeat(2000), 'x'.repeat(3990)]) {
      const text = terminationText({ ...GATED, message })
      assert.ok(Buffer.byteLength(text) < 4096, `${Buffer.byteLength(text)} bytes`)
      assert.ok(Buffer.byteLength(text) > 3900, `no more is cut than has to be: ${Buffer.byteLength(text)} bytes`)
      const read = parseTermination(text)
      assert.ok(message.startsWith((read?.message ?? '-').replace(/…$/, '')))
      assert.equal({ ...read, message: '' }, { ...GATED, message: '' })
    }
  })

  for (const [name, text] of Object.entries(NONE)) {
    test(`is not ${name}`, () => assert.is(parseTermination(text), undefined))
  }

  test('leaves out what has no place in it', () => {
    const text = JSON.stringify({ ...GATED, commit: 5, files: 'many', retries: -1, other: true })
    assert.equal(parseTermination(text), GATED)
  })

  test('has the exit codes that a Job is not tried again for', () => {
    assert.equal(HOPELESS_EXIT_CODES, [2, 10, 11, 12, 13, 14, 20])
    for (const { exitCode } of Object.values(REASONS)) assert.ok(exitCode >= 0 && exitCode < 128, 'no signal')
  })
})
