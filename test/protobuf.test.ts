import fc from 'fast-check'
import { PbfWriter } from 'pbf'
import * as assert from 'uvu/assert'
import { pods, status } from '../controller/messages.ts'
import {
  decoded,
  flag,
  inline,
  type Message,
  map,
  number,
  object,
  objects,
  text,
  texts,
  time,
} from '../controller/protobuf.ts'
import { valueAt } from '../crds/place.ts'
import { describe } from './harness.ts'

/** What the server itself writes is read in lists.cluster.test.ts. */

type Write = (writer: PbfWriter) => void

const message = (write: Write): Uint8Array => {
  const writer = new PbfWriter()
  write(writer)
  return writer.finish()
}

/** `k8s`, a zero, and the envelope with its kind in front. */
function sent(write: Write, kind = 'Pod'): Uint8Array {
  const envelope = message((writer) => {
    writer.writeBytesField(
      1,
      message((of) => of.writeStringField(2, kind)),
    )
    writer.writeBytesField(2, message(write))
    writer.writeStringField(4, '')
  })
  return Uint8Array.from([...Buffer.from('k8s\0'), ...envelope])
}

const below = (writer: PbfWriter, number: number, write: Write): void => writer.writeBytesField(number, message(write))

const FIELDS: Message = {
  1: text('text'),
  2: texts('texts'),
  3: number('number'),
  4: flag('flag'),
  5: time('time'),
  6: map('map', ['a', 'no value', 'none']),
  7: object('object', { 1: text('text') }),
  8: objects('objects', { 1: text('text') }),
  9: inline({ 1: object('inlined', {}) }),
}

describe('A message', (test) => {
  const cases: Readonly<Record<string, readonly [Write, unknown]>> = {
    'text of any length': [
      (to) => to.writeStringField(1, `ü 模型 ${'x'.repeat(300)}`),
      { text: `ü 模型 ${'x'.repeat(300)}` },
    ],
    'the last of two': [(to) => ['a', 'b'].map((each) => to.writeStringField(1, each)), { text: 'b' }],
    'all of a list': [(to) => ['a', '', 'b'].map((each) => to.writeStringField(2, each)), { texts: ['a', '', 'b'] }],
    'a large number': [(to) => to.writeVarintField(3, 2 ** 45 + 1), { number: 2 ** 45 + 1 }],
    'a negative number': [(to) => to.writeVarintField(3, -1_073_741_510), { number: -1_073_741_510 }],
    'zero and false': [
      (to) => {
        to.writeVarintField(3, 0)
        to.writeBooleanField(4, false)
      },
      { number: 0, flag: false },
    ],
    'a time': [
      (to) => below(to, 5, (of) => of.writeVarintField(1, 1_767_607_200)),
      { time: '2026-01-05T10:00:00.000Z' },
    ],
    'a time beyond all calendars': [
      (to) => {
        below(to, 5, (of) => of.writeVarintField(1, 9e12))
        to.writeStringField(1, 'and this')
      },
      { time: undefined, text: 'and this' },
    ],
    'a time that is not set': [(to) => below(to, 5, () => {}), { time: undefined }],
    'a map': [
      (to) => {
        below(to, 6, (of) => {
          of.writeStringField(1, 'a')
          of.writeStringField(2, 'b')
        })
        below(to, 6, (of) => {
          of.writeStringField(1, 'not wanted')
          of.writeStringField(2, 'x')
        })
        below(to, 6, (of) => of.writeStringField(1, 'no value'))
        below(to, 6, () => {})
      },
      { map: { a: 'b', 'no value': '' } },
    ],
    'what is below': [
      (to) => {
        below(to, 7, (of) => of.writeStringField(1, 'one'))
        below(to, 8, (of) => of.writeStringField(1, 'two'))
        below(to, 8, () => {})
      },
      { object: { text: 'one' }, objects: [{ text: 'two' }, {}] },
    ],
    'what is inline': [(to) => below(to, 9, (of) => below(of, 1, () => {})), { inlined: {} }],
    'nothing of what is not wanted': [
      (to) => {
        to.writeStringField(100, 'x')
        to.writeVarintField(101, 2 ** 50)
        to.writeDoubleField(102, 1.5)
        to.writeFixed32Field(103, 7)
        below(to, 104, (of) => of.writeStringField(1, 'not this one'))
        to.writeStringField(1, 'but this')
      },
      { text: 'but this' },
    ],
    'nothing of nothing': [() => {}, {}],
  }
  for (const [name, [write, found]] of Object.entries(cases))
    test(`is read: ${name}`, () => assert.equal(decoded(sent(write), 'Pod', FIELDS), found))

  const whole = sent((to) => {
    to.writeStringField(1, 'some text')
    below(to, 7, (of) => of.writeStringField(1, 'more text'))
  })

  test('is none that was cut off', () => {
    const lengths = Array.from({ length: whole.length }, (_, length) => length)
    // Its last two bytes are a field of the envelope, which may be missing.
    const found = lengths.filter((length) => decoded(whole.subarray(0, length), 'Pod', FIELDS) !== undefined)
    assert.equal(found, [whole.length - 2])
  })

  test('is none where the bytes are something else', () => {
    assert.is(decoded(Buffer.from('{"kind":"PodList"}'), 'Pod', FIELDS), undefined)
    assert.is(decoded(Buffer.from('k8s\0'), 'Pod', FIELDS), undefined)
    // A Status would be an empty list.
    assert.is(decoded(whole, 'PodList', FIELDS), undefined)
    // A group, which was never part of the API.
    assert.is(
      decoded(
        sent((to) => to.writeTag(1, 3)),
        'Pod',
        { 2: text('text') },
      ),
      undefined,
    )
  })

  test('never throws, whatever the bytes are', () =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const [kind, read] of [
          ['PodList', pods.list],
          ['Status', status],
        ] as const) {
          const envelope = message((to) => {
            below(to, 1, (of) => of.writeStringField(2, kind))
            to.writeBytesField(2, bytes)
          })
          const found = read(Uint8Array.from([...Buffer.from('k8s\0'), ...envelope]))
          if (kind === 'PodList' && found !== undefined) assert.ok(Array.isArray(valueAt(found, ['items'])))
        }
      }),
      { numRuns: 2000 },
    ))

  test('that is a list holds the others where one of them cannot be read', () => {
    const item = (to: PbfWriter, name: string): void =>
      below(to, 2, (of) => below(of, 1, (metadata) => metadata.writeStringField(1, name)))
    const bytes = sent((to) => {
      below(to, 1, (metadata) => metadata.writeStringField(2, '7'))
      item(to, 'a')
      to.writeBytesField(2, Uint8Array.from([0x0a, 0xff]))
      item(to, 'b')
    }, 'PodList')
    assert.equal(pods.list(bytes), {
      metadata: { resourceVersion: '7' },
      items: [{ metadata: { name: 'a' } }, undefined, { metadata: { name: 'b' } }],
    })
  })
})
