import type { ArksModel, Plain } from '../crds/arksmodel.ts'
import { GENERATED_FROM, MODEL_LABEL, marker } from '../crds/names.ts'
import type { Settings } from './config.ts'
import { inheritedAnnotations, inheritedLabels, labelOf, type Manifest, ownLabels, renames, WAVE } from './manifest.ts'

/** Weights cost hours: by default the claim outlives its model in Git. Read by Flux, Argo CD (two), kpt. */
const RETAIN = {
  'kustomize.toolkit.fluxcd.io/prune': 'disabled',
  'argocd.argoproj.io/sync-options': 'Prune=false,Delete=false',
  'argocd.argoproj.io/compare-options': 'IgnoreExtraneous',
  'client.lifecycle.config.k8s.io/deletion': 'detach',
}

/** The claim of these models, which all name it and agree on its spec. With several, only what they share describes it. */
export function claim(models: readonly [ArksModel, ...ArksModel[]], spec: Plain, { retention }: Settings): Manifest {
  const [first, ...others] = models
  const own: Record<string, string> = others.length === 0 ? { [MODEL_LABEL]: labelOf(first) } : {}
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: first.storage.claimName,
      namespace: first.namespace,
      labels: { ...shared(models.map(inheritedLabels)), ...own, ...ownLabels('storage') },
      annotations: {
        ...shared(models.map(inheritedAnnotations)),
        ...firstWave(models),
        ...shared(models.map(renames)),
        [GENERATED_FROM]: marker(models),
        ...(retention === 'Retain' ? RETAIN : {}),
      },
    },
    spec,
  }
}

/** Before or with the first Job that needs it: alone in an earlier wave, a claim can wait for that Job for ever. */
function firstWave(models: readonly ArksModel[]): Record<string, string> {
  const waves = models.map(({ annotations }) => annotations[WAVE] ?? '0')
  const first = waves.reduce((least, wave) => (Number(wave) < Number(least) ? wave : least))
  return first === '0' ? {} : { [WAVE]: first }
}

function shared(maps: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const [first = {}, ...others] = maps
  return Object.fromEntries(
    Object.entries(first).filter(([key, value]) => others.every((other) => other[key] === value)),
  )
}
