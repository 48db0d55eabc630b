import type { Plain } from '../crds/arksmodel.ts'
import { PATH_ANNOTATIONS } from './finding.ts'
import type { Manifest } from './manifest.ts'
import { asPlain } from './merge.ts'

/** What kustomize and kpt write on objects to find them again. */
const ORCHESTRATOR = /^(?:(?:internal\.|kustomize\.)?config\.kubernetes\.io|(?:kustomize\.)?config\.k8s\.io)\//
const PACKAGE = 'internal.config.kubernetes.io/package-path'
const [PATH = ''] = PATH_ANNOTATIONS
const INDEX = 'internal.config.kubernetes.io/index'
/** All that says in which file of which package an object lies. */
const FILE = [
  ...PATH_ANNOTATIONS,
  INDEX,
  'config.kubernetes.io/index',
  PACKAGE,
  'internal.config.kubernetes.io/seqindent',
]

/** Gives out the places in kpt's files: a new object goes beside its model, one made again stays where it was. */
export class Places {
  readonly #generated: readonly Plain[]
  readonly #taken = new Map<string, number>()

  constructor(generated: readonly Plain[]) {
    this.#generated = generated
  }

  placed(manifest: Manifest, model: Plain): Manifest {
    const old = this.#earlier(manifest)
    const annotations = old === undefined ? this.#beside(model) : orchestrator(old, manifest)
    return {
      ...manifest,
      metadata: { ...manifest.metadata, annotations: { ...manifest.metadata.annotations, ...annotations } },
    }
  }

  /** The object of an earlier run that this one takes the place of: of the same name, else made from the same model. */
  #earlier({ kind, metadata }: Manifest): Plain | undefined {
    const same = this.#generated.filter(
      (old) => old['kind'] === kind && namespaceOf(old) === (metadata.namespace ?? 'default'),
    )
    const source = (annotations: Plain): unknown => annotations['arks.ai/generated-from']
    return (
      same.find((old) => asPlain(old['metadata'])['name'] === metadata.name) ??
      same.find((old) => source(annotationsOf(old)) === source(metadata.annotations))
    )
  }

  #beside(model: Plain): Record<string, string> {
    const own = annotationsOf(model)
    const path = PATH_ANNOTATIONS.map((key) => own[key]).find((value) => typeof value === 'string')
    if (typeof path !== 'string') return {}
    const folder = path.slice(0, path.lastIndexOf('/') + 1)
    const file = `${folder}arksmodel_${String(asPlain(model['metadata'])['name'])}_generated.yaml`
    const inPackage = own[PACKAGE]
    const key = `${String(inPackage)}:${file}`
    const index = this.#taken.get(key) ?? 0
    this.#taken.set(key, index + 1)
    return { [PATH]: file, [INDEX]: String(index), ...(typeof inPackage === 'string' ? { [PACKAGE]: inPackage } : {}) }
  }
}

/** Under another name it is another object: only its file is kept. */
function orchestrator(old: Plain, { metadata }: Manifest): Record<string, string> {
  const isSame = asPlain(old['metadata'])['name'] === metadata.name
  return Object.fromEntries(
    Object.entries(annotationsOf(old)).flatMap(([key, value]) =>
      typeof value === 'string' && (isSame ? ORCHESTRATOR.test(key) : FILE.includes(key)) ? [[key, value]] : [],
    ),
  )
}

const annotationsOf = (object: Plain): Plain => asPlain(asPlain(object['metadata'])['annotations'])

const namespaceOf = (object: Plain): unknown => asPlain(object['metadata'])['namespace'] ?? 'default'
