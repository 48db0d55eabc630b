import * as assert from 'uvu/assert'
import {
  emptyMemory,
  forgetFuture,
  forgetOthers,
  intruder,
  type Memory,
  mayWriteAt,
  noteIntrusion,
  peaceAt,
  progressToTell,
} from '../controller/memory.ts'
import { FIELD_MANAGER, type SeenModel, seenModel } from '../controller/seen.ts'
import type { Progress } from '../controller/stored.ts'
import { describe } from './harness.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const NOW = Date.parse('2026-01-05T10:00:00Z')
const OURS = '{"phase":"Ready"}'
const THEIRS = '{"phase":"Failed"}'

function model(status: string, statusWriter: string | undefined): SeenModel {
  const metadata = { namespace: 'ns', name: 'm', uid: 'u', resourceVersion: '1' }
  const seen = seenModel({ metadata, spec: { model: 'org/m' } })
  if (seen === undefined) throw new Error('it must be a model')
  return { ...seen, status, statusWriter }
}

/** Of a process that has written `OURS`. */
const writer = (): Memory => ({ ...emptyMemory('u'), written: { wanted: OURS, got: OURS } })

const write = (memory: Memory): void => {
  memory.written = { wanted: OURS, got: OURS }
}

describe('noteIntrusion', (test) => {
  test('what we have written ourselves is none', () => {
    assert.not(noteIntrusion(writer(), model(OURS, FIELD_MANAGER), NOW))
    assert.not(noteIntrusion(writer(), model(THEIRS, FIELD_MANAGER), NOW), 'a replica that led before')
  })

  test('nor what a new process finds', () => {
    assert.not(noteIntrusion(emptyMemory('u'), model(THEIRS, 'kubectl'), NOW))
  })

  test('nor what says the same, or was written by nobody knows whom', () => {
    assert.not(noteIntrusion(writer(), model(OURS, 'kubectl'), NOW))
    assert.not(noteIntrusion(writer(), model(THEIRS, undefined), NOW))
  })

  test('one that stands there is noted once, and again when it is put over ours again', () => {
    const memory = writer()
    assert.ok(noteIntrusion(memory, model(THEIRS, 'kubectl'), NOW))
    assert.not(noteIntrusion(memory, model(THEIRS, 'kubectl'), NOW + SECOND))
    write(memory)
    assert.not(noteIntrusion(memory, model(OURS, FIELD_MANAGER), NOW + 2 * SECOND))
    assert.ok(noteIntrusion(memory, model(THEIRS, 'kubectl'), NOW + 3 * SECOND))
  })

  test('another one in its place is another, also when ours never came between', () => {
    const memory = writer()
    assert.ok(noteIntrusion(memory, model(THEIRS, 'kubectl'), NOW))
    assert.ok(noteIntrusion(memory, model('{"phase":"Pending"}', 'kubectl'), NOW))
  })
})

describe('intruder', (test) => {
  const often = (times: number, everyMs: number): Memory => {
    const memory = writer()
    for (let turn = 0; turn < times; turn++) {
      noteIntrusion(memory, model(THEIRS, 'manager'), NOW + turn * everyMs)
      write(memory)
    }
    return memory
  }

  test('is named from the third time on', () => {
    assert.is(intruder(often(2, SECOND), NOW + 2 * SECOND), undefined)
    assert.is(intruder(often(3, SECOND), NOW + 2 * SECOND), 'manager')
  })

  test('is forgotten after ten minutes of peace', () => {
    const memory = often(3, SECOND)
    const end = NOW + 2 * SECOND + 10 * MINUTE
    assert.is(peaceAt(memory, NOW + 2 * SECOND), end)
    assert.is(intruder(memory, end - 1), 'manager')
    assert.is(intruder(memory, end), undefined)
    assert.is(peaceAt(memory, end), undefined)
  })

  test('is nobody who does it now and then', () => {
    assert.is(intruder(often(20, 10 * MINUTE), NOW + 200 * MINUTE), undefined)
  })

  test('makes us wait longer from time to time, up to five minutes', () => {
    const pauses = [1, 2, 3, 4, 5, 9, 10, 11, 100, 2_000].map((times) => {
      const last = NOW + (times - 1) * SECOND
      return (mayWriteAt(often(times, SECOND)) - last) / SECOND
    })
    assert.equal(pauses, [0, 1, 3, 7, 15, 255, 299, 299, 299, 299])
  })

  test('is none who has not been there', () => {
    assert.is(intruder(emptyMemory('u'), NOW), undefined)
    assert.is(mayWriteAt(emptyMemory('u')), Number.NEGATIVE_INFINITY)
  })
})

describe('progressToTell', (test) => {
  const at = (percent: number): Progress => ({ percent, loadedBytes: percent, totalBytes: 100 })
  const rows: Readonly<Record<string, readonly [Partial<Memory>, Progress | undefined, Progress | undefined]>> = {
    'nothing heard: nothing new': [{}, at(3), undefined],
    'nothing written: whatever is heard': [{ progress: at(1), progressAt: NOW }, undefined, at(1)],
    'a little, and soon': [{ progress: at(7), progressAt: NOW - 29_999 }, at(3), at(3)],
    'a little, and after 30 s': [{ progress: at(7), progressAt: NOW - 30_000 }, at(3), at(7)],
    '5 % at once': [{ progress: at(8), progressAt: NOW }, at(3), at(8)],
    'back by 5 %, as after a checksum that was wrong': [{ progress: at(3), progressAt: NOW }, at(8), at(3)],
    'the first of a new process': [{ progress: at(4) }, at(3), at(4)],
  }
  for (const [name, [memory, written, want]] of Object.entries(rows))
    test(name, () => assert.equal(progressToTell({ ...emptyMemory('u'), ...memory }, written, NOW), want))
})

describe('what a memory forgets', (test) => {
  const full = (): Memory => ({
    ...emptyMemory('u'),
    since: { reason: 'X', generation: 1, job: undefined, at: NOW + 5, wasStalled: false },
    explained: { gone: { reason: 'a', message: '' }, here: { reason: 'b', message: '' } },
    asked: { gone: { at: NOW + 5, times: 2 }, here: { at: NOW - 5, times: 1 } },
    progressAt: NOW + 5,
    intrusions: { by: 'manager', count: 3, lastAt: NOW + 5, status: THEIRS },
  })

  test('objects that are gone', () => {
    const memory = full()
    forgetOthers(memory, ['here', 'new'])
    assert.equal(Object.keys(memory.explained), ['here'])
    assert.equal(Object.keys(memory.asked), ['here'])
  })

  test('times that have not come yet, where the clock was set back', () => {
    const memory = full()
    forgetFuture(memory, NOW)
    assert.equal(memory.since, { reason: 'X', generation: 1, job: undefined, at: NOW, wasStalled: false })
    assert.equal(memory.asked, { gone: { at: NOW, times: 2 }, here: { at: NOW - 5, times: 1 } })
    assert.is(memory.progressAt, NOW)
    assert.is(memory.intrusions?.lastAt, NOW)
    forgetFuture(memory, NOW + MINUTE)
    assert.is(memory.since?.at, NOW)
  })

  test('nothing where it knows nothing', () => {
    const memory = emptyMemory('u')
    forgetFuture(memory, NOW)
    forgetOthers(memory, [])
    assert.equal(memory, emptyMemory('u'))
  })
})
