import * as assert from 'uvu/assert'
import { chain, type Level, type Log, type Logging, log } from '../controller/log.ts'
import { isRecord } from '../crds/place.ts'
import { describe } from './harness.ts'

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 6)
const TIME = '2026-01-02T03:04:05.006Z'

/** What `tell` writes, line by line. */
async function lines(options: Partial<Logging>, tell: (log: Log) => void): Promise<readonly string[]> {
  let written = ''
  const write = (text: string): void => {
    written += text
  }
  const base = { controller: 'arksmodel' }
  tell(await log({ format: 'text', level: 'info', base, hasColours: false, write, now: () => NOW, ...options }))
  assert.ok(written === '' || written.endsWith('\n'))
  return written.split('\n').slice(0, -1)
}

async function line(options: Partial<Logging>, tell: (log: Log) => void): Promise<string> {
  const all = await lines(options, tell)
  assert.is(all.length, 1, all.join('\n'))
  return `${all[0]}`
}

async function json(tell: (log: Log) => void): Promise<Readonly<Record<string, unknown>>> {
  const value: unknown = JSON.parse(await line({ format: 'json' }, tell))
  if (!isRecord(value)) throw new Error('a line must be an object')
  return value
}

const refused = new Error('connect ECONNREFUSED 10.0.0.1:443')
const failed = new Error('cannot patch status of models/qwq', { cause: refused })

const JWT = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl'
const SECRETS: Readonly<Record<string, unknown>> = {
  'a token of the Hub': 'with hf_abcdefghijklmnop in it',
  'a token of a service account': `with ${JWT} in it`,
  'a header': 'Authorization: Bearer abcdefghijklmnop',
  headers: { headers: { authorization: 'abcdefghijklmnop' } },
  'headers in a list': [{ authorization: 'abcdefghijklmnop' }],
  'headers of an error': Object.assign(new Error('refused'), { headers: { authorization: 'abcdefghijklmnop' } }),
  'the cause of an error': new Error('failed', { cause: new Error('Bearer abcdefghijklmnop was refused') }),
  bytes: Buffer.from('abcdefghijklmnop'),
}
const isTold = (text: string): boolean => text.includes('abcdefghijklmnop') || text.includes('c2lnbmF0dXJl')

describe('the log as JSON', (test) => {
  test('is one object a line', async () => {
    assert.equal(await json((to) => to.info('Status written', { namespace: 'models', name: 'qwq', seconds: 1.5 })), {
      level: 'info',
      time: TIME,
      controller: 'arksmodel',
      namespace: 'models',
      name: 'qwq',
      seconds: 1.5,
      message: 'Status written',
    })
  })

  test('holds an error with its causes', async () => {
    const { error } = await json((to) => to.error('Look failed', { error: failed }))
    assert.is(error, 'cannot patch status of models/qwq: connect ECONNREFUSED 10.0.0.1:443')
  })

  test('needs no fields, and leaves out those without a value', async () => {
    assert.equal(Object.keys(await json((to) => to.warn('Silent'))), ['level', 'time', 'controller', 'message'])
    assert.not('name' in (await json((to) => to.warn('Silent', { name: undefined }))))
  })

  test('stays one line', async () => {
    const { message, note } = await json((to) => to.info('one\ntwo\u2028three', { note: 'a\nb' }))
    assert.equal([message, note], ['one\ntwo\u2028three', 'a\nb'])
  })
})

describe('the log as text', (test) => {
  test('is time, level, message, fields', async () => {
    const text = await line({}, (to) =>
      to.info('Status written', { name: 'qwq', note: 'two words', list: ['a', 1], none: null, empty: '' }),
    )
    assert.is(
      text,
      `${TIME} INFO  Status written controller=arksmodel name=qwq note="two words" list=["a",1] none=null empty=""`,
    )
  })

  test('shows an error with its causes', async () => {
    const text = await line({}, (to) => to.error('Look failed', { error: failed }))
    assert.ok(text.endsWith(' error="cannot patch status of models/qwq: connect ECONNREFUSED 10.0.0.1:443"'), text)
  })

  test('lets no value write to the terminal', async () => {
    const evil = '\u001b[2Jgone\r\nnext\u0007\u009b31m\u202edrow'
    for (const tell of [(to: Log) => to.info(evil), (to: Log) => to.info('x', { name: evil, list: [evil] })]) {
      const text = await line({}, tell)
      assert.not.match(text, /[\p{Cc}\u202e]/u)
      assert.match(text, 'gone next')
    }
  })

  test('does not let a value look like another field', async () => {
    assert.match(await line({}, (to) => to.info('x', { name: 'a b=c', other: 'd=e' })), ' name="a b=c" other="d=e"')
  })

  test('has colours on a terminal only', async () => {
    const text = await line({ hasColours: true }, (to) => to.warn('Silent', { name: 'qwq' }))
    assert.match(text, '\u001b[33mWARN \u001b[39m')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    assert.is(text.replace(/\u001b\[\d+m/g, ''), `${TIME} WARN  Silent controller=arksmodel name=qwq`)
  })
})

describe('the log', (test) => {
  const all = (to: Log): void => {
    to.debug('debug')
    to.info('info')
    to.warn('warn')
    to.error('error')
  }
  const WRITTEN: Readonly<Record<Level, number>> = { debug: 4, info: 3, warn: 2, error: 1 }
  for (const [level, count] of Object.entries(WRITTEN)) {
    for (const format of ['json', 'text'] as const) {
      test(`writes what is at least ${level} as ${format}`, async () => {
        if (level !== 'debug' && level !== 'info' && level !== 'warn' && level !== 'error') assert.unreachable()
        else assert.is((await lines({ format, level }, all)).length, count)
      })
    }
  }

  for (const [what, secret] of Object.entries(SECRETS)) {
    test(`never tells ${what}`, async () => {
      for (const format of ['json', 'text'] as const) {
        const text = await line({ format }, (to) => to.info('Answer', { secret }))
        assert.not.ok(isTold(text), text)
        if (typeof secret === 'string') assert.not.ok(isTold(await line({ format }, (to) => to.info(secret))))
      }
    })
  }
})

describe('the chain of an error', (test) => {
  const circle = new Error('one')
  circle.cause = new Error('two', { cause: circle })
  const CHAINS: Readonly<Record<string, { readonly error: unknown; readonly want: string }>> = {
    'one error': { error: refused, want: refused.message },
    'a text': { error: 'thrown', want: 'thrown' },
    nothing: { error: undefined, want: '' },
    'a text as cause': { error: new Error('failed', { cause: 'for this' }), want: 'failed: for this' },
    'what a message repeats': { error: new Error('failed: it', { cause: new Error('it') }), want: 'failed: it' },
    'an error without a message': { error: new TypeError(''), want: 'TypeError' },
    'an error with a code alone': { error: Object.assign(new Error(''), { code: 'EPIPE' }), want: 'EPIPE' },
    'one error for each address': {
      error: new AggregateError([new Error('no ::1'), new Error('no 127.0.0.1'), new Error('no ::1')], ''),
      want: 'no ::1, no 127.0.0.1',
    },
    'a circle': { error: circle, want: 'one: two: one: two: one: two: one: two' },
  }
  for (const [what, { error, want }] of Object.entries(CHAINS)) {
    test(what, () => {
      assert.is(chain(error), want)
    })
  }
})
