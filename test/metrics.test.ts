import * as assert from 'uvu/assert'
import { type Metrics, metrics, noMetrics } from '../controller/metrics.ts'
import { describe } from './harness.ts'

/** The samples of what was recorded: `name{labels}` to value. */
async function samples(record: (to: Metrics) => void): Promise<ReadonlyMap<string, number>> {
  const to = await metrics()
  record(to)
  const { body } = await to.text()
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
}

const QUEUE = '{name="arksmodel",controller="arksmodel"}'
const CONTROLLER = '{controller="arksmodel"}'

const RECORDED: Readonly<
  Record<string, { readonly record: (to: Metrics) => void; readonly want: Readonly<Record<string, number>> }>
> = {
  'a reconcile that went well': {
    record: (to) => to.reconciled('success', 0.3),
    want: {
      'controller_runtime_reconcile_total{controller="arksmodel",result="success"}': 1,
      'controller_runtime_reconcile_total{controller="arksmodel",result="error"}': 0,
      [`controller_runtime_reconcile_errors_total${CONTROLLER}`]: 0,
      'controller_runtime_reconcile_time_seconds_bucket{le="0.25",controller="arksmodel"}': 0,
      'controller_runtime_reconcile_time_seconds_bucket{le="0.3",controller="arksmodel"}': 1,
      [`controller_runtime_reconcile_time_seconds_sum${CONTROLLER}`]: 0.3,
    },
  },
  'a reconcile that failed': {
    record: (to) => to.reconciled('error', 100),
    want: {
      'controller_runtime_reconcile_total{controller="arksmodel",result="error"}': 1,
      [`controller_runtime_reconcile_errors_total${CONTROLLER}`]: 1,
      'controller_runtime_reconcile_time_seconds_bucket{le="60",controller="arksmodel"}': 0,
      'controller_runtime_reconcile_time_seconds_bucket{le="+Inf",controller="arksmodel"}': 1,
    },
  },
  'reconciles that come again': {
    record(to) {
      to.reconciled('requeue', 1)
      to.reconciled('requeue_after', 1)
      to.reconciled('requeue_after', 1)
    },
    want: {
      'controller_runtime_reconcile_total{controller="arksmodel",result="requeue"}': 1,
      'controller_runtime_reconcile_total{controller="arksmodel",result="requeue_after"}': 2,
      [`controller_runtime_reconcile_errors_total${CONTROLLER}`]: 0,
    },
  },
  workers: {
    record(to) {
      to.maxConcurrentReconciles(10)
      to.queue({ depth: 7, activeWorkers: 3, unfinishedSeconds: 4.5, longestSeconds: 2.5 })
    },
    want: {
      [`controller_runtime_max_concurrent_reconciles${CONTROLLER}`]: 10,
      [`controller_runtime_active_workers${CONTROLLER}`]: 3,
      [`workqueue_depth${QUEUE}`]: 7,
      [`workqueue_unfinished_work_seconds${QUEUE}`]: 4.5,
      [`workqueue_longest_running_processor_seconds${QUEUE}`]: 2.5,
    },
  },
  'the way of a key': {
    record(to) {
      to.queueAdded()
      to.queueAdded()
      to.queueWaited(0.05)
      to.queueWorked(5)
      to.queueRetried()
    },
    want: {
      [`workqueue_adds_total${QUEUE}`]: 2,
      'workqueue_queue_duration_seconds_bucket{le="0.01",name="arksmodel",controller="arksmodel"}': 0,
      'workqueue_queue_duration_seconds_bucket{le="0.1",name="arksmodel",controller="arksmodel"}': 1,
      'workqueue_work_duration_seconds_bucket{le="10",name="arksmodel",controller="arksmodel"}': 1,
      [`workqueue_retries_total${QUEUE}`]: 1,
    },
  },
  requests: {
    record(to) {
      to.requested({ verb: 'list', code: '200', host: '10.0.0.1:443' })
      to.requested({ verb: 'watch', code: '200', host: '10.0.0.1:443' })
      to.requested({ verb: 'patch', code: '409', host: '10.0.0.1:443' })
      to.requested({ verb: 'create', code: '<error>', host: '10.0.0.1:443' })
    },
    want: {
      'rest_client_requests_total{code="200",method="GET",host="10.0.0.1:443"}': 2,
      'rest_client_requests_total{code="409",method="PATCH",host="10.0.0.1:443"}': 1,
      'rest_client_requests_total{code="<error>",method="POST",host="10.0.0.1:443"}': 1,
    },
  },
  'a leader': {
    record: (to) => to.leading('arksmodel-controller', true),
    want: { 'leader_election_master_status{name="arksmodel-controller"}': 1 },
  },
  'a leader that was': {
    record(to) {
      to.leading('arksmodel-controller', true)
      to.leading('arksmodel-controller', false)
    },
    want: { 'leader_election_master_status{name="arksmodel-controller"}': 0 },
  },
  'phases, of which one is empty now': {
    record(to) {
      to.phases({ Pending: 1, Ready: 2 })
      to.phases({ Ready: 3 })
    },
    want: {
      'arksmodel_phase{phase="Pending"}': 0,
      'arksmodel_phase{phase="StorageCreating"}': 0,
      'arksmodel_phase{phase="ModelLoading"}': 0,
      'arksmodel_phase{phase="Ready"}': 3,
      'arksmodel_phase{phase="Failed"}': 0,
    },
  },
  'a load': {
    record(to) {
      to.loaded(2 ** 40)
      to.becameReady(86_000)
    },
    want: {
      arksmodel_load_bytes_total: 2 ** 40,
      'arksmodel_ready_seconds_bucket{le="28800"}': 0,
      'arksmodel_ready_seconds_bucket{le="86400"}': 1,
      arksmodel_ready_seconds_count: 1,
    },
  },
  caches: {
    record(to) {
      to.cache('jobs', { objects: 12, silentSeconds: 3 })
      to.cache('pods', { objects: 1, silentSeconds: 0 })
      to.watchRestarted('jobs')
      to.relisted('jobs')
      to.drifted('jobs', 2)
    },
    want: {
      'arksmodel_cache_objects{resource="jobs"}': 12,
      'arksmodel_watch_silent_seconds{resource="jobs"}': 3,
      'arksmodel_watch_restarts_total{resource="jobs"}': 1,
      'arksmodel_watch_restarts_total{resource="pods"}': 0,
      'arksmodel_relists_total{resource="jobs"}': 1,
      'arksmodel_cache_drift_total{resource="jobs"}': 2,
      'arksmodel_cache_drift_total{resource="pods"}': 0,
    },
  },
  'what was lost': {
    record(to) {
      to.eventDropped()
      to.statusConflicted()
      to.foreignStatusWritten()
    },
    want: {
      arksmodel_events_dropped_total: 1,
      arksmodel_status_conflicts_total: 1,
      arksmodel_foreign_status_writes_total: 1,
    },
  },
  'what is known only when it is asked for': {
    record: (to) => to.beforeText(() => to.phases({ Failed: 4 })),
    want: { 'arksmodel_phase{phase="Failed"}': 4 },
  },
  'numbers that are none': {
    record(to) {
      to.loaded(Number.NaN)
      to.loaded(-5)
      to.reconciled('success', Number.NaN)
      to.becameReady(Number.NEGATIVE_INFINITY)
      to.drifted('jobs', Number.NaN)
    },
    want: {
      arksmodel_load_bytes_total: 0,
      arksmodel_ready_seconds_sum: 0,
      [`controller_runtime_reconcile_time_seconds_sum${CONTROLLER}`]: 0,
    },
  },
}

describe('metrics', (test) => {
  for (const [what, { record, want }] of Object.entries(RECORDED)) {
    test(`count ${what}`, async () => {
      const got = await samples(record)
      for (const [name, value] of Object.entries(want)) assert.is(got.get(name), value, name)
    })
  }

  test('are there before anything happened', async () => {
    const got = await samples(() => undefined)
    for (const name of [
      'controller_runtime_reconcile_total{controller="arksmodel",result="requeue_after"}',
      `controller_runtime_reconcile_time_seconds_count${CONTROLLER}`,
      `workqueue_adds_total${QUEUE}`,
      `workqueue_retries_total${QUEUE}`,
      `workqueue_depth${QUEUE}`,
      'arksmodel_phase{phase="ModelLoading"}',
      'arksmodel_events_dropped_total',
    ])
      assert.is(got.get(name), 0, name)
  })

  test('have the buckets of controller-runtime', async () => {
    const names = [...(await samples(() => undefined)).keys()]
    const buckets = (name: string): readonly string[] =>
      names.flatMap((sample) => (sample.startsWith(`${name}_bucket`) ? (/le="([^"]*)"/.exec(sample)?.[1] ?? []) : []))
    assert.is(buckets('controller_runtime_reconcile_time_seconds').length, 41)
    assert.equal(
      buckets('workqueue_queue_duration_seconds').map(Number),
      [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3].map((power) => Number(`1e${power}`)).concat(Number.NaN),
    )
  })

  test('tell of the process', async () => {
    const got = await samples(() => undefined)
    assert.ok((got.get('process_resident_memory_bytes') ?? 0) > 1e6)
    assert.ok(got.has('nodejs_eventloop_lag_seconds'))
  })

  test('of two controllers in one process are apart', async () => {
    const [one, other] = await Promise.all([metrics(), metrics()])
    one.eventDropped()
    assert.match((await one.text()).body, /^arksmodel_events_dropped_total 1$/m)
    assert.match((await other.text()).body, /^arksmodel_events_dropped_total 0$/m)
  })

  test('come in the type that Prometheus expects', async () => {
    assert.is((await (await metrics()).text()).type, 'text/plain; version=0.0.4; charset=utf-8')
  })

  test('may be left out', async () => {
    for (const { record } of Object.values(RECORDED)) record(noMetrics)
    assert.is((await noMetrics.text()).body, '')
  })
})
