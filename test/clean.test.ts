import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { clean, cleanEnd } from '../controller/clean.ts'
import { describe } from './harness.ts'

interface Case {
  readonly why: string
  readonly text: string
  readonly want: string
}

const LINES: Readonly<Record<string, Case>> = {
  nothing: { why: 'nothing is made of nothing', text: '', want: '' },
  plain: { why: 'most texts', text: 'secret "hf-token" not found', want: 'secret "hf-token" not found' },
  'other scripts': { why: 'they are no controls', text: '模型 não é 🙂 ready', want: '模型 não é 🙂 ready' },
  'several lines': { why: 'tables have one', text: ' a\r\n\r\n\tb\u2028c ', want: 'a b c' },
  'only controls': { why: 'nothing is left', text: '\u0000\u0007\u001b[2J\n', want: '' },
  colours: { why: 'CSI', text: '\u001b[1;31mred\u001b[0m and \u001b[38;5;200mpink\u001b[m', want: 'red and pink' },
  'cursor movements': { why: 'CSI with other ends', text: 'a\u001b[2J\u001b[10;20Hb\u001b[?25lc', want: 'abc' },
  links: {
    why: 'OSC 8, ended either way',
    text: '\u001b]8;;http://evil\u001b\\text\u001b]8;;\u001b\\ and \u001b]8;;http://evil\u0007text\u001b]8;;\u0007',
    want: 'text and text',
  },
  'window titles': { why: 'OSC 0', text: '\u001b]0;title\u0007error', want: 'error' },
  'a window title without an end': {
    why: 'a terminal may swallow the rest, but whoever reads the status wants to know it',
    text: '\u001b]0;title\nTraceback\nError: no space',
    want: 'Traceback Error: no space',
  },
  'escapes of two characters': { why: 'reset, index', text: 'a\u001bcb\u001bMc', want: 'abc' },
  'half an escape': { why: 'what follows stays', text: 'end\u001b', want: 'end' },
  'an escape in an escape': {
    why: 'what is left must not be one again',
    text: 'a\u001b\u001b[31m[31mb',
    want: 'a [31mb',
  },
  'C1 and DEL': { why: 'terminals obey 8-bit CSI as well', text: 'a\u009bb\u0085c\u007fd\u0090e', want: 'a b c d e' },
  'bidi overrides': {
    why: 'exe.png is no picture',
    text: 'a\u202egnp\u202cb\u2066c\u2069d\u200fe',
    want: 'a gnp b c d e',
  },
  'the Arabic letter mark': { why: 'a bidi control like its sisters', text: 'a\u061cb', want: 'a b' },
  'lone surrogates': { why: 'JSON of others refuses them', text: 'a\ud800b\udfffc', want: 'a\ufffdb\ufffdc' },
  'byte order marks': { why: 'YAML readers stumble', text: '\ufeffa\uffffb', want: 'a b' },
}

describe('clean', (test) => {
  for (const [name, { why, text, want }] of Object.entries(LINES)) {
    test(name, () => assert.is(clean(text), want, why))
  }

  test('cuts what is too long and says so', () => {
    assert.is(clean('x'.repeat(1000)), 'x'.repeat(1000))
    assert.is(clean('x'.repeat(1001)), `${'x'.repeat(999)}…`)
    assert.is(clean('模型很大', 3), '模型…')
  })

  test('cuts no character in two', () => {
    assert.is(clean('🙂'.repeat(5), 3), '🙂🙂…')
    assert.is(cleanEnd('🙂'.repeat(5), 3), '…🙂🙂')
  })

  test('keeps the end of a log', () => {
    assert.is(cleanEnd('first\nsecond\nlast', 100), 'first second last')
    assert.is(cleanEnd('first\nsecond\nlast', 5), '…last')
    assert.is(cleanEnd(`${'x'.repeat(100_000)}\n\u001b[31mlast`, 6), '… last')
  })

  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          '\u001b',
          '[',
          ']',
          '3',
          'm',
          ';',
          '\u0007',
          '\\',
          '\u009b',
          '\u202e',
          ' ',
          'a',
          '\ud800',
          '🙂',
        ),
      )
      .map((parts) => parts.join('')),
  )

  test('leaves one line that no terminal obeys', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 2, max: 40 }), (wild, longest) => {
        for (const line of [clean(wild, longest), cleanEnd(wild, longest)]) {
          assert.not.match(line, /[\p{Cc}\u2028-\u202e\u2066-\u2069]/u)
          assert.ok(line.isWellFormed())
          assert.ok([...line].length <= longest)
        }
      }),
    )
  })

  test('is clean after once', () => {
    fc.assert(fc.property(text, (wild) => assert.is(clean(clean(wild)), clean(wild))))
  })
})
