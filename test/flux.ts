import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Plain } from '../crds/arksmodel.ts'
import { asList, asPlain } from '../fn/merge.ts'
import { type Answer, type Cluster, MERGE } from './cluster.ts'
import { keyOf } from './controller.ts'
import { sha256 } from './hub.ts'
import { at, nameOf, objects } from './objects.ts'
import type { FluxParts } from './parts-flux.ts'
import { freePort, programs } from './parts-running.ts'
import { printed } from './process.ts'
import { contents } from './scratch.ts'

/**
 * Flux on a cluster: its kustomize-controller as it is released, and this in place of its source-controller. What is in
 * Git is a folder, served as the artifact of the one GitRepository.
 */

export interface Flux {
  /** Puts a folder into Git in place of all that was there. The same files are the same revision. */
  commit(folder: string): Promise<void>
  /** The Kustomization at the end of its work on what is in Git now, well or badly. */
  synced(key: string): Promise<Plain>
  /** Changes its spec by a merge-patch; at the end of its work on that. */
  changed(key: string, spec: Plain): Promise<Plain>
  /** What `flux reconcile kustomization` does. */
  reconciled(key: string): Promise<Plain>
  /** The first state of the Kustomization, of those from this index on, for which it holds. */
  seen(key: string, what: string, holds: (kustomization: Plain) => boolean, from?: number): Promise<Plain>
  /** Every state of the Kustomization, in order. */
  states(key: string): readonly Plain[]
  stop(): Promise<void>
}

export interface FluxOptions {
  readonly cluster: Cluster
  readonly parts: FluxParts
  /** Of the cluster; it is made an administrator, as Flux's own installation does. */
  readonly user: string
  /** A file with the GitRepository and the Kustomizations. */
  readonly sync: string
  readonly featureGates?: string
}

export async function startFlux({ cluster, parts, user, sync, featureGates = '' }: FluxOptions): Promise<Flux> {
  const { run, until, folder, stop } = programs('flux')
  const git = await artifacts(folder)
  const watching = new AbortController()
  const known = new Map<string, Plain[]>()
  let [revision, requests] = ['', 0]
  const statesOf = (key: string): Plain[] => {
    const states = known.get(key) ?? []
    known.set(key, states)
    return states
  }

  for (const crd of parts.crds.flatMap((file) => objects(readFileSync(file, 'utf8')))) {
    await answered(cluster.create(crd))
    await cluster.waitForCrd(String(at(crd, 'metadata', 'name')))
  }
  await cluster.createNamespace(NAMESPACE)
  await answered(cluster.create(administrator(user)))
  const [all, healthPort] = [objects(readFileSync(sync, 'utf8')), await freePort()]
  const [repository = {}] = all.filter(({ kind }) => kind === 'GitRepository')
  await answered(cluster.create(repository))
  run(
    parts.kustomizeController.path,
    [
      '--metrics-addr=127.0.0.1:0',
      `--health-addr=127.0.0.1:${healthPort}`,
      '--events-addr=',
      '--enable-leader-election=false',
      // Half a minute by itself, which is only waiting.
      '--requeue-dependency=1s',
      `--feature-gates=${featureGates}`,
    ],
    { RUNTIME_NAMESPACE: NAMESPACE, KUBECONFIG: await cluster.kubeconfigFor(user) },
  )
  for (const each of all) if (each !== repository) await answered(cluster.create(each))
  const watched = (async () => {
    while (!watching.signal.aborted) {
      try {
        for await (const line of cluster.lines(`${KUSTOMIZE}/kustomizations?watch=true`, watching.signal)) {
          const { type, object } = JSON.parse(line)
          if (type === 'ADDED' || type === 'MODIFIED') statesOf(keyOf(object)).push(object)
        }
      } catch {
        // The end, or a server that opens its store anew for a CRD that is new.
        if (!watching.signal.aborted) await sleep(AGAIN_MS)
      }
    }
  })()
  const awaited = (key: string, what: string, look: (states: readonly Plain[]) => Plain | undefined): Promise<Plain> =>
    until(`${what} of ${key}`, () => look(statesOf(key))).catch((cause: unknown) => {
      const last = JSON.stringify(at(statesOf(key).at(-1), 'status', 'conditions'))
      throw new Error(`${cause instanceof Error ? cause.message : cause}; it is ${last}`, { cause })
    })
  const ended = (key: string, what: string, holds: (kustomization: Plain) => boolean): Promise<Plain> =>
    awaited(key, what, (states) => states.slice(-1).find((last) => isSettled(last) && holds(last)))
  const patched = (key: string, patch: Plain): Promise<Plain> =>
    answered(cluster.request('PATCH', kustomizationPath(key), patch, MERGE))

  return {
    async commit(files) {
      const artifact = git.pack(files)
      revision = artifact.revision
      const conditions = [{ ...STORED, lastTransitionTime: artifact.lastUpdateTime, observedGeneration: 1 }]
      const status = { observedGeneration: 1, artifact, conditions }
      await answered(cluster.request('PATCH', `${repositoryPath(repository)}/status`, { status }, MERGE))
    },
    synced: (key) => ended(key, 'the end', (last) => at(last, 'status', 'lastAttemptedRevision') === revision),
    async changed(key, spec) {
      const { metadata } = await patched(key, { spec })
      return ended(key, 'another spec', (last) => at(last, 'metadata', 'generation') === at(metadata, 'generation'))
    },
    async reconciled(key) {
      const request = `request-${++requests}`
      await patched(key, { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': request } } })
      return ended(key, request, (last) => at(last, 'status', 'lastHandledReconcileAt') === request)
    },
    seen: (key, what, holds, from = 0) => awaited(key, what, (states) => states.slice(from).find(holds)),
    states: statesOf,
    async stop() {
      watching.abort()
      await watched
      await stop()
      await git.close()
    },
  }
}

/** Where Flux is, and what it is told. */
export const NAMESPACE = 'flux-system'

/** The Ready condition of a Flux object, whole. */
export const readyOf = (object: Plain): unknown =>
  asList(at(object, 'status', 'conditions')).find((each) => at(each, 'type') === 'Ready')

const KUSTOMIZE = '/apis/kustomize.toolkit.fluxcd.io/v1'
const STORED = { type: 'Ready', status: 'True', reason: 'Succeeded', message: 'stored artifact' }
const AGAIN_MS = 50

function kustomizationPath(key: string): string {
  const [namespace, name] = key.split('/')
  return `${KUSTOMIZE}/namespaces/${namespace}/kustomizations/${name}`
}

const repositoryPath = (repository: Plain): string =>
  `/apis/source.toolkit.fluxcd.io/v1/namespaces/${NAMESPACE}/gitrepositories/${nameOf(repository)}`

/** It has come to an end with the spec that it has now. */
function isSettled(object: Plain): boolean {
  const ready = readyOf(object)
  const isAsNow = at(ready, 'observedGeneration') === at(object, 'metadata', 'generation')
  // A check that is given up for another commit begins again.
  const isGivenUp = at(ready, 'reason') === 'HealthCheckCanceled'
  return isAsNow && !isGivenUp && (at(ready, 'status') === 'True' || at(ready, 'status') === 'False')
}

const administrator = (user: string): Plain => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: user },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
  subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
})

async function answered(answer: Promise<Answer>): Promise<Plain> {
  const { status, body } = await answer
  if (status >= 300) throw new Error(JSON.stringify(body))
  return asPlain(body)
}

interface Artifact {
  readonly digest: string
  readonly lastUpdateTime: string
  readonly path: string
  readonly revision: string
  readonly size: number
  readonly url: string
}

interface Artifacts {
  pack(files: string): Artifact
  close(): Promise<void>
}

/** Served on loopback from what is kept in this folder. */
async function artifacts(folder: string): Promise<Artifacts> {
  const packed = new Map<string, Buffer>()
  const server = createServer((request, response) => {
    const body = packed.get(request.url ?? '')
    response.writeHead(body === undefined ? 404 : 200).end(body)
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  // A test that failed before it stopped Flux must be able to end.
  server.unref()
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    pack(files) {
      const commit = hash('sha1', JSON.stringify(contents(files)))
      const [path, file] = [`/${commit}.tar.gz`, join(folder, `${commit}.tar.gz`)]
      printed('tar', ['-czf', file, '-C', files, '.'])
      const bytes = readFileSync(file)
      packed.set(path, bytes)
      return {
        digest: `sha256:${sha256(bytes)}`,
        lastUpdateTime: `${new Date().toISOString().slice(0, 19)}Z`,
        path: path.slice(1),
        revision: `main@sha1:${commit}`,
        size: bytes.length,
        url: `http://127.0.0.1:${port}${path}`,
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
