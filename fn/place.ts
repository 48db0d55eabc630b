import type { Plain } from '../crds/arksmodel.ts'
import { GENERATED_FROM } from '../crds/names.ts'
import { PATH_ANNOTATIONS } from './finding.ts'
import type { Manifest } from './manifest.ts'
import { asPlain } from './merge.ts'
import { annotationsOf, namespaceOf } from './metadata.ts'

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
  readonly #byName = new Map<string, Plain>()
  readonly #bySource = new Map<string, Plain>()
  readonly #taken = new Map<string, number>()

  /** `generated`: the objects of an earlier run. */
  constructor(generated: readonly Plain[]) {
    for (const object of generated.toReversed()) {
      this.#byName.set(keyOf(object, asPlain(object['metadata'])['name']), object)
      this.#bySource.set(keyOf(object, annotationsOf(object)[GENERATED_FROM]), object)
    }
  }

  placed(manifest: Manifest, model: Plain): Manifest {
    const { name, annotations } = manifest.metadata
    const old =
      this.#byName.get(keyOf(manifest, name)) ?? this.#bySource.get(keyOf(manifest, annotations[GENERATED_FROM]))
    const place = old === undefined ? this.#beside(model) : orchestrator(old, manifest)
    return { ...manifest, metadata: { ...manifest.metadata, annotations: { ...annotations, ...place } } }
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

/** Of a generated object: its kind and namespace, and its name or what it was made from. */
const keyOf = (object: Plain, word: unknown): string => `${object['kind']} ${namespaceOf(object)} ${word}`
