import { isRecord, valueAt } from '../crds/place.ts'
import type { Client } from './client.ts'
import type { Subject } from './observed.ts'
import type { Explanation } from './seen.ts'

/** An hour of Events of one object, of which the server keeps one for each text, is less. */
const MOST = 100
const TIMEOUT_MS = 5_000

/** What the Events of an object say of late; undefined: nothing. Read once, never watched. Throws an `ApiError`. */
export async function explanation(client: Pick<Client, 'request'>, subject: Subject): Promise<Explanation | undefined> {
  const list = await client.request({
    verb: 'list',
    path: `/api/v1/namespaces/${subject.namespace}/events`,
    query: { fieldSelector: `involvedObject.uid=${subject.uid}`, limit: MOST },
    timeoutMs: TIMEOUT_MS,
  })
  const items = valueAt(list, ['items'])
  return telling(Array.isArray(items) ? items : [], subject)
}

/** The newest of a Job: a pod that was made at last ends the complaint. Of others the newest warning goes first. */
export function telling(events: readonly unknown[], { kind }: Pick<Subject, 'kind'>): Explanation | undefined {
  const inOrder = events.filter(isRecord).sort((a, b) => at(b) - at(a))
  const [newest] = kind === 'Job' ? inOrder : [...inOrder.filter(isWarning), ...inOrder]
  if (newest === undefined) return undefined
  return { reason: text(newest, 'reason'), message: text(newest, 'message'), ...(at(newest) > 0 && { at: at(newest) }) }
}

const isWarning = (event: unknown): boolean => valueAt(event, ['type']) === 'Warning'

/** Which of the times is filled depends on the client that wrote it. */
const at = (event: unknown): number =>
  Math.max(
    ...[
      valueAt(event, ['series', 'lastObservedTime']),
      valueAt(event, ['lastTimestamp']),
      valueAt(event, ['eventTime']),
      valueAt(event, ['metadata', 'creationTimestamp']),
    ].map((each) => (typeof each === 'string' ? Date.parse(each) || 0 : 0)),
  )

function text(event: unknown, key: string): string {
  const value = valueAt(event, [key])
  return typeof value === 'string' ? value : ''
}
