import * as assert from 'uvu/assert'
import { type Announcement, announcement } from '../controller/announce.ts'
import type { Truth } from '../controller/conditions.ts'
import type { Status } from '../controller/stored.ts'
import type { Phase } from '../crds/arksmodel.ts'
import { describe } from './harness.ts'

const aStatus = (phase: Phase, status: Truth, reason: string, message = `of ${reason}`): Status => ({
  phase,
  observedGeneration: 1,
  conditions: [
    {
      type: 'ModelLoaded',
      status: 'False',
      reason: 'Other',
      message: 'another',
      observedGeneration: 1,
      lastTransitionTime: '',
    },
    { type: 'Ready', status, reason, message, observedGeneration: 1, lastTransitionTime: '' },
  ],
})

const UNWRITTEN: Status = { phase: 'Pending', observedGeneration: -1, conditions: [] }
const LOADING = aStatus('ModelLoading', 'Unknown', 'ModelLoading')
const STALLED = aStatus('ModelLoading', 'False', 'PodUnschedulable')
const FAILED = aStatus('Failed', 'False', 'GatedRepo')
const READY = aStatus('Ready', 'True', 'Ready')

interface Row {
  readonly why: string
  readonly before: Status
  readonly after: Status
  readonly want: Announcement | undefined
}

const warning = (reason: string): Announcement => ({
  level: 'warn',
  reason,
  message: `of ${reason}`,
  event: { type: 'Warning', reason, action: 'UpdateStatus', note: `of ${reason}` },
})
const quiet = (reason: string): Announcement => ({ level: 'info', reason, message: `of ${reason}`, event: undefined })
const READIED: Announcement = {
  level: 'info',
  reason: 'Ready',
  message: 'of Ready',
  event: { type: 'Normal', reason: 'ModelReady', action: 'UpdateStatus', note: 'of Ready' },
}

const ROWS: Readonly<Record<string, Row>> = {
  'the first status': {
    why: 'it is under way, and will be something else soon',
    before: UNWRITTEN,
    after: LOADING,
    want: quiet('ModelLoading'),
  },
  'another reason of the same': {
    why: '',
    before: aStatus('ModelLoading', 'Unknown', 'WorkerPending'),
    after: LOADING,
    want: quiet('ModelLoading'),
  },
  'another phase of the same reason': {
    why: '',
    before: aStatus('StorageCreating', 'Unknown', 'PathShared'),
    after: aStatus('ModelLoading', 'Unknown', 'PathShared'),
    want: quiet('PathShared'),
  },
  'ready at last': { why: '', before: LOADING, after: READY, want: READIED },
  'ready at once': { why: 'such as a model that is on the volume', before: UNWRITTEN, after: READY, want: READIED },
  stalled: { why: 'somebody has to do something', before: LOADING, after: STALLED, want: warning('PodUnschedulable') },
  'stalled for the reason it waited for': {
    why: 'now it is for good',
    before: aStatus('ModelLoading', 'Unknown', 'PodUnschedulable'),
    after: STALLED,
    want: warning('PodUnschedulable'),
  },
  failed: { why: '', before: LOADING, after: FAILED, want: warning('GatedRepo') },
  'failed for another reason': { why: '', before: STALLED, after: FAILED, want: warning('GatedRepo') },
  'no longer ready': { why: '', before: READY, after: STALLED, want: warning('PodUnschedulable') },
  'no longer stalled': { why: '', before: STALLED, after: LOADING, want: quiet('ModelLoading') },
  'other words': {
    why: 'they change with each pod',
    before: STALLED,
    after: aStatus('ModelLoading', 'False', 'PodUnschedulable', 'other words'),
    want: undefined,
  },
  progress: {
    why: 'it would be an Event every 30 s',
    before: LOADING,
    after: { ...LOADING, progress: { percent: 1, loadedBytes: 1, totalBytes: 100 } },
    want: undefined,
  },
  'another generation': { why: '', before: READY, after: { ...READY, observedGeneration: 2 }, want: undefined },
  'no Ready at all': { why: 'no status of ours', before: LOADING, after: UNWRITTEN, want: undefined },
}

describe('announcement', (test) => {
  for (const [name, { why, before, after, want }] of Object.entries(ROWS)) {
    test(name, () => assert.equal(announcement(before, after), want, why))
  }
})
