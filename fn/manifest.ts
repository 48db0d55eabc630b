import type { ArksModel, Plain } from '../crds/arksmodel.ts'
import { modelLabel } from '../crds/names.ts'
import { sha256 } from './digest.ts'

/** A Kubernetes object that this function makes. */
export interface Manifest extends Plain {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: Metadata
  readonly spec: Plain
}

export interface Metadata extends Plain {
  readonly name: string
  readonly namespace: string | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export type Component = 'storage' | 'worker'

/** Not `instance`, which Argo CD writes, and not `version`, which would change with every release. */
export const ownLabels = (component: Component): Record<string, string> => ({
  'app.kubernetes.io/name': 'arks-model',
  'app.kubernetes.io/component': component,
  'app.kubernetes.io/part-of': 'arks',
  'app.kubernetes.io/managed-by': 'arksmodel',
})

export const labelOf = (model: ArksModel): string => modelLabel(model.name, sha256)

/** Domains whose keys are orders to a tool about one object: copied to another they would order what nobody asked for. */
const TOOL_DOMAINS = ['kubernetes.io', 'k8s.io', 'fluxcd.io', 'argoproj.io', 'helm.sh', 'arks.ai']

/** Three objects in one wave: Argo CD waits for the health of each wave, and a claim may wait for its Job. */
export const WAVE = 'argocd.argoproj.io/sync-wave'

/** The model's labels and annotations that its claim and Job carry too. */
export const inheritedLabels = (model: ArksModel): Record<string, string> =>
  withoutTools(model.labels, (domain) => domain === 'arks.ai' || domain.endsWith('.arks.ai'))

export const inheritedAnnotations = (model: ArksModel): Record<string, string> => {
  const wave = model.annotations[WAVE]
  const plain = withoutTools(model.annotations, (domain) =>
    TOOL_DOMAINS.some((tool) => domain === tool || domain.endsWith(`.${tool}`)),
  )
  return { ...plain, ...(wave === undefined ? {} : { [WAVE]: wave }) }
}

const withoutTools = (
  keys: Readonly<Record<string, string>>,
  isTool: (domain: string) => boolean,
): Record<string, string> =>
  Object.fromEntries(
    Object.entries(keys).filter(([key]) => !isTool(key.includes('/') ? (key.split('/')[0] ?? '') : '')),
  )

/** Set by kustomize on what it renamed; carried along, so that it finds the right Secret for the right tenant. */
const RENAMES = ['internal.config.kubernetes.io/prefixes', 'internal.config.kubernetes.io/suffixes']

export const renames = (model: ArksModel): Record<string, string> =>
  Object.fromEntries(Object.entries(model.annotations).filter(([key]) => RENAMES.includes(key)))
