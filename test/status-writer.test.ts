import * as assert from 'uvu/assert'
import { ApiError, type Call } from '../controller/client.ts'
import { type SeenModel, seenModel } from '../controller/seen.ts'
import { regarding, writeStatus } from '../controller/status-writer.ts'
import { describe } from './harness.ts'

const OBJECT = {
  metadata: { namespace: 'ns', name: 'qwen', uid: 'u', resourceVersion: '41' },
  spec: { model: 'org/model' },
}
const ANSWER = { ...OBJECT, metadata: { ...OBJECT.metadata, resourceVersion: '42' }, status: { phase: 'Ready' } }

interface Subject {
  readonly calls: Call[]
  readonly kept: unknown[]
  readonly conflicts: () => number
  readonly write: (patch: unknown) => ReturnType<typeof writeStatus>
}

function subject(answer: () => unknown): Subject {
  const calls: Call[] = []
  const kept: unknown[] = []
  let conflicts = 0
  const writer = {
    client: {
      async request(call: Call) {
        calls.push(call)
        return answer()
      },
    },
    put(object: unknown) {
      kept.push(object)
      return seenModel(object)
    },
    onConflict: () => {
      conflicts++
    },
  }
  return { calls, kept, conflicts: () => conflicts, write: (patch) => writeStatus(writer, model(), patch) }
}

function model(): SeenModel {
  const seen = seenModel(OBJECT)
  if (seen === undefined) throw new Error('it must be a model')
  return seen
}

const refused = (code: number) => (): never => {
  throw new ApiError('cannot', { code, reason: 'X', said: 'no' })
}

describe('writeStatus', (test) => {
  test('patches the status on top of what was looked at', async () => {
    const { calls, kept, write } = subject(() => ANSWER)
    const written = await write({ phase: 'Ready', progress: null })
    assert.equal(calls, [
      {
        verb: 'patch',
        path: '/apis/arks.ai/v1/namespaces/ns/arksmodels/qwen/status',
        query: { fieldManager: 'arksmodel-controller' },
        body: { metadata: { resourceVersion: '41' }, status: { phase: 'Ready', progress: null } },
        contentType: 'application/merge-patch+json',
      },
    ])
    assert.equal(kept, [ANSWER], 'so that the next look finds it')
    assert.equal(written, seenModel(ANSWER))
  })

  test('a conflict is counted, and the cache left alone', async () => {
    const { kept, conflicts, write } = subject(refused(409))
    assert.is(await write({ phase: 'Ready' }), 'conflict')
    assert.is(conflicts(), 1)
    assert.equal(kept, [])
  })

  test('a model that is not there is gone', async () => {
    const { kept, conflicts, write } = subject(refused(404))
    assert.is(await write({ phase: 'Ready' }), 'gone')
    assert.equal([kept.length, conflicts()], [0, 0])
  })

  for (const code of [0, 403, 422, 429, 500]) {
    test(`a refusal with ${code} is thrown as it came, for the queue to wait as long as it says`, async () => {
      const { write } = subject(refused(code))
      const error = await write({ phase: 'Ready' }).then(() => undefined, String)
      assert.match(error ?? '', /cannot/)
    })
  }

  test('what is no refusal is a bug, and thrown', async () => {
    const { write } = subject(() => {
      throw new TypeError('a bug')
    })
    assert.match(await write({ phase: 'Ready' }).then(() => '', String), /TypeError: a bug/)
  })
})

describe('regarding', (test) => {
  test('names the model as an Event does', () => {
    assert.equal(regarding(model()), {
      apiVersion: 'arks.ai/v1',
      kind: 'ArksModel',
      namespace: 'ns',
      name: 'qwen',
      uid: 'u',
      resourceVersion: '41',
    })
  })
})
