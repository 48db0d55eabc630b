import * as assert from 'uvu/assert'
import { access } from '../controller/access.ts'
import { ApiError, type Client, client, type Events, type Query } from '../controller/client.ts'
import { type Binary, claims, jobs, pods, type Read } from '../controller/messages.ts'
import { seenClaim, seenJob, seenPod } from '../controller/seen.ts'
import type { Plain } from '../crds/arksmodel.ts'
import { asList } from '../fn/merge.ts'
import { type Cluster, MERGE, startCluster } from './cluster.ts'
import { describe, leftOut } from './harness.ts'
import { at, nameOf, objects, ofKind } from './objects.ts'
import { expanded } from './process.ts'

/** What the real server lists in protobuf and in JSON. */

const NAMESPACE = 'default'
/** May do nothing. */
const STRANGER = 'stranger'

async function suite(cluster: Cluster): Promise<void> {
  const clientOf = async (user: string): Promise<Client> => {
    const found = await access({ kubeconfig: await cluster.kubeconfigFor(user) })
    if (!('server' in found)) throw new Error(found.message)
    return client({ access: found })
  }
  const [admin, stranger] = [await clientOf('admin'), await clientOf(STRANGER)]
  for (const object of OBJECTS) await make(cluster, object)

  describe('A list of the real API server', (test) => {
    test.after(async () => {
      admin.close()
      stranger.close()
      await cluster.stop()
    })

    const kinds: Readonly<Record<string, readonly [Binary, (object: unknown) => unknown]>> = {
      [CLAIMS]: [claims, seenClaim],
      [JOBS]: [jobs, seenJob],
      [PODS]: [pods, seenPod],
    }
    for (const [path, [binary, seen]] of Object.entries(kinds)) {
      test(`is seen as in JSON: ${path}`, async () => {
        const call = { verb: 'list', path } as const
        const [text, bytes] = [await admin.request(call), await admin.request({ ...call, binary: binary.list })]
        // What is not read is not there.
        assert.equal([at(bytes, 'kind'), at(text, 'kind') === undefined], [undefined, false])
        assert.equal(asList(at(bytes, 'items')).map(seen), asList(at(text, 'items')).map(seen))
        assert.equal(at(bytes, 'metadata', 'resourceVersion'), at(text, 'metadata', 'resourceVersion'))
        const all = asList(at(bytes, 'items')).map(seen)
        assert.is(
          all.filter((each) => each !== undefined).length,
          OBJECTS.filter((each) => pathOf(each) === path).length,
        )
      })

      test(`without items is empty: ${path}`, async () => {
        const answer = await admin.request({
          verb: 'list',
          path: path.replace(NAMESPACE, 'kube-public'),
          binary: binary.list,
        })
        assert.equal(at(answer, 'items'), [])
        assert.match(`${at(answer, 'metadata', 'resourceVersion')}`, /^\d+$/)
      })
    }

    for (const [path, [binary, seen]] of Object.entries(kinds)) {
      test(`is seen as in JSON where it is streamed: ${path}`, async () => {
        const streamed = async (binary?: Read): Promise<readonly unknown[]> => {
          const stopping = new AbortController()
          const query = { watch: true, sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }
          const call = { path, query: { ...query, allowWatchBookmarks: true }, signal: stopping.signal, binary }
          const events = await admin.watch(call)
          const all: unknown[] = []
          for await (const event of events) {
            const [type, object] = [at(event, 'type'), at(event, 'object')]
            const isEnd = at(object, 'metadata', 'annotations', 'k8s.io/initial-events-end') === 'true'
            assert.is(at(object, 'kind') === undefined, binary !== undefined)
            all.push([type, isEnd ? 'the end' : seen(object)])
            if (isEnd) break
          }
          return all
        }
        const text = await streamed()
        assert.equal(await streamed(binary.event), text)
        assert.is(text.length, OBJECTS.filter((each) => pathOf(each) === path).length + 1)
        assert.equal(text.at(-1), ['BOOKMARK', 'the end'])
      })
    }

    test('tells of what was deleted, and that the past is forgotten', async () => {
      const watched = (resourceVersion: unknown, binary: Read | undefined): Promise<Events> =>
        admin.watch({ path: PODS, query: { watch: true, resourceVersion: `${resourceVersion}` }, binary })
      const before = at(await admin.request({ verb: 'list', path: PODS }), 'metadata', 'resourceVersion')
      await make(cluster, { ...ofKind(OBJECTS, 'Pod')[0], metadata: { name: 'short' } })
      await cluster.request('DELETE', `${PODS}/short?gracePeriodSeconds=0`)
      const told = async (binary?: Read): Promise<readonly unknown[]> => {
        const all: unknown[] = []
        for await (const event of await watched(before, binary)) {
          all.push([at(event, 'type'), at(event, 'object', 'metadata', 'name')])
          if (at(event, 'type') === 'DELETED') break
        }
        return all
      }
      assert.equal(await told(pods.event), await told())
      assert.equal((await told()).at(-1), ['DELETED', 'short'])

      await cluster.compact()
      await cluster.crash('apiserver')
      await cluster.restore('apiserver', ['--watch-cache=false'])
      const refused = async (binary?: Read): Promise<unknown> => {
        for await (const event of await watched(before, binary)) {
          const [status, type] = [at(event, 'object'), at(event, 'type')]
          return [type, ...['code', 'reason', 'message'].map((field) => at(status, field))]
        }
        return undefined
      }
      const [bytes, text] = [await refused(pods.event), await refused()]
      assert.equal(bytes, text)
      assert.equal(asList(bytes).slice(0, 3), ['ERROR', 410, 'Expired'])
    })

    const paged = (query: Query): Parameters<Client['request']>[0] => ({
      verb: 'list',
      path: PODS,
      binary: pods.list,
      query,
    })
    const refusal = async (by: Client, query: Query = {}): Promise<ApiError> => {
      const error = await by.request(paged(query)).catch((error: unknown) => error)
      if (error instanceof ApiError) return error
      throw new Error(`it must be refused: ${JSON.stringify(error)}`)
    }

    test('comes in pages, and says when the server has forgotten the next one', async () => {
      const names: unknown[] = []
      let next: string | undefined
      do {
        const page = await admin.request(paged({ limit: 2, continue: next }))
        names.push(...asList(at(page, 'items')).map((each) => at(each, 'metadata', 'name')))
        assert.ok(asList(at(page, 'items')).length <= 2)
        const token = at(page, 'metadata', 'continue')
        next = typeof token === 'string' && token !== '' ? token : undefined
      } while (next !== undefined)
      assert.equal(names, ofKind(OBJECTS, 'Pod').map(nameOf).sort())

      const begun = await admin.request(paged({ limit: 1 }))
      await make(cluster, { ...ofKind(OBJECTS, 'Pod')[0], metadata: { name: 'later' } })
      await cluster.compact()
      await cluster.crash('apiserver')
      await cluster.restore('apiserver', ['--watch-cache=false'])
      const token = `${at(begun, 'metadata', 'continue')}`
      const { code, reason, said } = await refusal(admin, { limit: 1, continue: token })
      assert.equal([code, reason], [410, 'Expired'])
      assert.match(said, /continue/)
    })

    test('is refused in words', async () => {
      const { message } = await refusal(stranger)
      assert.is(
        message,
        `cannot list ${PODS}: 403 Forbidden: pods is forbidden: User "${STRANGER}" cannot list resource "pods" in API group "" in the namespace "${NAMESPACE}"`,
      )
      assert.match((await refusal(admin, { continue: 'none' })).message, /: 400 BadRequest: invalid continue token: /)
    })
  })
}

const CLAIMS = `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims`
const JOBS = `/apis/batch/v1/namespaces/${NAMESPACE}/jobs`
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`

const PATHS: Readonly<Record<string, string>> = { PersistentVolumeClaim: CLAIMS, Job: JOBS, Pod: PODS }
const pathOf = (object: Plain): string => PATHS[`${object['kind']}`] ?? ''

/** With its status; one with a finalizer is being deleted then. */
async function make(cluster: Cluster, object: Plain): Promise<void> {
  const { status, ...fresh } = object
  const path = pathOf(object)
  const send = async (method: string, to: string, body?: unknown): Promise<void> => {
    const answer = await cluster.request(method, to, body, method === 'PATCH' ? MERGE : {})
    if (answer.status > 299) throw new Error(`${method} ${to}: ${JSON.stringify(answer.body)}`)
  }
  await send('POST', path, fresh)
  if (status !== undefined) await send('PATCH', `${path}/${nameOf(object)}/status`, { status })
  if (at(object, 'metadata', 'finalizers') !== undefined) await send('DELETE', `${path}/${nameOf(object)}`)
}

const RENDERED = objects(
  expanded(`apiVersion: arks.ai/v1
kind: ArksModel
metadata:
  name: rendered
  namespace: ${NAMESPACE}
  annotations: {arks.ai/shards: "3"}
spec:
  model: org/model
  source: {huggingface: {revision: v1, include: ['*.json', '*.{safetensors,bin}'], exclude: ['$$(x)'], tokenSecretRef: {name: token}}}
  storage: {pvc: {spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 30Gi}}}}}
`),
)

const WORK = `template: {spec: {
  restartPolicy: Never,
  initContainers: [{name: first, image: init}],
  containers: [
    {name: worker, image: loader, command: [sh, arksmodel-loader], args: [org/model, --to=/models/a, '']},
    {name: other, image: other}
  ],
  volumes: [
    {name: rest, emptyDir: {}},
    {name: models, persistentVolumeClaim: {claimName: bound, readOnly: true}}
  ]}}`

const OWNED = `
  annotations: {batch.kubernetes.io/job-completion-index: '2'},
  ownerReferences: [
    {apiVersion: v1, kind: Node, name: other, uid: a2500000-0000-4000-8000-000000000001},
    {apiVersion: batch/v1, kind: Job, name: complete, uid: a2500000-0000-4000-8000-000000000002, controller: true}
  ]`

const CONTAINERS = `
  restartPolicy: Never,
  automountServiceAccountToken: false,
  initContainers: [{name: first, image: init}],
  containers: [{name: worker, image: 'registry.example.com:5000/loader:1', args: [a]}]`

const OBJECTS: readonly Plain[] = [
  ...ofKind(RENDERED, 'PersistentVolumeClaim'),
  ...ofKind(RENDERED, 'Job'),
  ...objects(`
kind: PersistentVolumeClaim
metadata: {name: bound, labels: {'example.com/empty': ''}, annotations: {'example.com/long': '${'x'.repeat(1000)}'}}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: fast}
status:
  phase: Bound
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  conditions: [{type: Resizing, status: 'True', lastTransitionTime: '2026-01-05T10:00:00Z'}]
---
kind: PersistentVolumeClaim
metadata: {name: leaving, finalizers: [example.com/kept]}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
status: {phase: Lost}
---
kind: Job
metadata: {name: complete}
spec: {${WORK}}
status:
  startTime: '2026-01-05T10:00:00Z'
  completionTime: '2026-01-05T10:00:58Z'
  succeeded: 1
  uncountedTerminatedPods: {}
  conditions:
  - {type: SuccessCriteriaMet, status: 'True', lastTransitionTime: '2026-01-05T10:00:58Z', reason: CompletionsReached}
  - {type: Complete, status: 'True', lastTransitionTime: '2026-01-05T10:00:59Z', reason: CompletionsReached, message: Reached expected number of succeeded pods}
---
kind: Job
metadata: {name: failed, labels: {arks.ai/model: qwen-7b, arks.ai/worker-hash: '0123456789'}}
spec: {${WORK}}
status:
  startTime: '2026-01-05T10:00:00Z'
  failed: 300
  uncountedTerminatedPods: {}
  conditions:
  - {type: FailureTarget, status: 'True', lastTransitionTime: '2026-01-05T10:00:58Z', reason: PodFailurePolicy}
  - {type: Failed, status: 'True', lastTransitionTime: '2026-01-05T10:00:59Z', reason: PodFailurePolicy, message: 'Container worker for pod x failed: „grün“ 模型'}
---
kind: Job
metadata: {name: suspended}
spec: {${WORK}, suspend: true, completions: 3, parallelism: 2, completionMode: Indexed}
status: {conditions: [{type: Suspended, status: 'True', lastTransitionTime: '2026-01-05T10:00:59Z', reason: JobSuspended}]}
---
kind: Pod
metadata: {name: running, ${OWNED}}
spec: {${CONTAINERS}}
status:
  phase: Running
  podIP: 192.0.2.1
  podIPs: [{ip: 192.0.2.1}]
  startTime: '2026-01-05T10:00:00Z'
  conditions: [{type: PodScheduled, status: 'True', lastTransitionTime: '2026-01-05T10:00:00Z'}]
  containerStatuses: [{name: worker, image: loader, imageID: '', ready: true, restartCount: 0, state: {running: {startedAt: '2026-01-05T10:00:01Z'}}}]
---
kind: Pod
metadata: {name: unscheduled, ${OWNED}}
spec: {${CONTAINERS}}
status:
  phase: Pending
  conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/3 nodes are available', lastTransitionTime: '2026-01-05T10:00:00Z'}]
---
kind: Pod
metadata: {name: waiting, ${OWNED}}
spec: {${CONTAINERS}}
status:
  phase: Pending
  initContainerStatuses: [{name: first, image: init, imageID: '', ready: false, restartCount: 0, state: {waiting: {reason: ErrImagePull, message: no such image}}}]
  containerStatuses: [{name: worker, image: loader, imageID: '', ready: false, restartCount: 0, state: {waiting: {reason: PodInitializing}}}]
---
kind: Pod
metadata: {name: ended, ${OWNED}}
spec: {${CONTAINERS}}
status:
  phase: Failed
  reason: Evicted
  message: The node was low on resource
  conditions: [{type: DisruptionTarget, status: 'True', reason: EvictionByEvictionAPI, message: evicting, lastTransitionTime: '2026-01-05T10:00:00Z'}]
  initContainerStatuses: [{name: first, image: init, imageID: '', ready: true, restartCount: 0, state: {terminated: {exitCode: 0, finishedAt: '2026-01-05T10:00:01Z'}}}]
  containerStatuses:
  - name: worker
    image: loader
    imageID: ''
    ready: false
    restartCount: 3
    lastState: {terminated: {exitCode: 7, message: before, finishedAt: '2026-01-05T10:00:01Z'}}
    state: {terminated: {exitCode: -1073741510, signal: 2, reason: Error, message: '{"v":1,"message":"„grün“ 模型"}', finishedAt: '2026-01-05T10:00:02Z'}}
`),
]

const cluster = await startCluster({ users: [STRANGER] })
if (cluster.kind === 'missing') leftOut('lists of a real API server', cluster)
else await suite(cluster)
