import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { Plain } from '../crds/arksmodel.ts'
import { asPlain } from '../fn/merge.ts'
import { at, objects } from './objects.ts'
import type { Part } from './parts.ts'
import { printed } from './process.ts'

/** What the tools of GitOps think of an object, each by its own code. */

export interface Verdict {
  readonly status: string
  readonly message: string
}

export interface Verdicts {
  /** InProgress, Failed, Current, Terminating or Unknown: kpt, and what else is built on cli-utils. */
  readonly kstatus: Verdict
  /** The same words; no message where expressions decide. */
  readonly flux: Verdict
  /** Progressing, Degraded, Suspended, Healthy or Unknown; None where there is no script. */
  readonly argo: Verdict
}

/** `healthCheckExprs` of a Kustomization, for one kind. */
export interface HealthCheckExprs {
  readonly inProgress?: string
  readonly failed?: string
  readonly current: string
}

/** Without a script Argo CD knows no health of the kind; without expressions Flux goes by kstatus. */
export interface Configured {
  readonly lua?: string
  readonly exprs?: HealthCheckExprs
}

/** One for each object. The objects are as a GET gives them; `judges` is the part of that name. */
export function verdicts(judges: Part, objects: readonly Plain[], { lua, exprs }: Configured): readonly Verdicts[] {
  const answer: unknown = JSON.parse(printed(judges.path, [], { input: JSON.stringify({ objects, lua, exprs }) }))
  const list = Array.isArray(answer) ? answer.map(verdictsOf) : []
  if (list.length !== objects.length) throw new Error(`${list.length} verdicts on ${objects.length} objects`)
  return list
}

const verdictsOf = (answer: unknown): Verdicts => ({
  kstatus: verdictOf(at(answer, 'kstatus')),
  flux: verdictOf(at(answer, 'flux')),
  argo: verdictOf(at(answer, 'argo')),
})

const verdictOf = (answer: unknown): Verdict => ({
  status: String(at(answer, 'status')),
  message: String(at(answer, 'message')),
})

/** Of an argocd-cm, in the text that holds it. */
export function healthScript(text: string): string {
  const maps = objects(text).filter((each) => at(each, 'metadata', 'name') === 'argocd-cm')
  const script = at(maps[0], 'data', 'resource.customizations.health.arks.ai_ArksModel')
  if (typeof script !== 'string') throw new Error('there is no health script in argocd-cm')
  return script
}

/** What this project gives to Argo CD, and what its example for Flux says. */
export const SHIPPED: Required<Configured> = {
  lua: healthScript(readFileSync('kustomize/argocd-health/argocd-cm.yaml', 'utf8')),
  exprs: shippedExprs(readFileSync('examples/flux/sync.yaml', 'utf8')),
}

function shippedExprs(text: string): HealthCheckExprs {
  const checks = objects(text).flatMap((each) => {
    const list = at(each, 'spec', 'healthCheckExprs')
    return Array.isArray(list) ? list.map(asPlain) : []
  })
  const [first, ...others] = checks.filter(({ kind }) => kind === 'ArksModel')
  if (first === undefined || others.length > 0) throw new Error('there must be one health check of ArksModels')
  const { inProgress, failed, current } = first
  return {
    ...(typeof inProgress === 'string' && { inProgress }),
    ...(typeof failed === 'string' && { failed }),
    current: String(current),
  }
}

/** How a row of the state table is marked: going on (R), stuck until somebody acts (X), done (D). */
export const MARKS = ['R', 'X', 'D'] as const
export type Mark = (typeof MARKS)[number]

const WORDS: Readonly<Record<Mark, { readonly kstatus: string; readonly argo: readonly string[] }>> = {
  R: { kstatus: 'InProgress', argo: ['Progressing', 'Suspended'] },
  X: { kstatus: 'Failed', argo: ['Degraded'] },
  D: { kstatus: 'Current', argo: ['Healthy'] },
}

/** All three tools say what the mark means. Argo CD has a word of its own for what is suspended. */
export const agreesWith = (mark: Mark, { kstatus, flux, argo }: Verdicts): boolean =>
  kstatus.status === WORDS[mark].kstatus &&
  flux.status === WORDS[mark].kstatus &&
  WORDS[mark].argo.includes(argo.status)

/** An ArksModel of generation 2 with this status, which is YAML; empty where the object has none. */
export const modelWith = (status: string, metadata = ''): Plain =>
  asPlain(
    parse(`
apiVersion: arks.ai/v1
kind: ArksModel
metadata: {name: qwen-7b, namespace: models, generation: 2${metadata && `, ${metadata}`}}
spec: {model: Qwen/Qwen2.5-7B-Instruct, storage: {pvc: {name: qwen-7b}}}
${status && `status:\n${status.replaceAll(/^/gm, '  ')}`}`),
  )
