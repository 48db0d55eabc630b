/** How a folder below examples/ becomes what is applied. */
export type By =
  /** `arksmodel-fn FOLDER` */
  | 'function'
  /** `kubectl kustomize FOLDER | arksmodel-fn` */
  | 'pipe'
  /** `kustomize build --enable-alpha-plugins --enable-exec FOLDER` */
  | 'kustomize'
  /** `kpt fn render FOLDER`: the package is committed as rendered. */
  | 'kpt'
  /** Applied as it is. */
  | 'kubectl'

export interface Example {
  readonly folder: string
  readonly by: By
  /** The file that holds the result. */
  readonly expected: string
}

const example = (by: By, folder: string, expected = `${folder}/rendered/expected.yaml`): Example => ({
  folder: `examples/${folder}`,
  by,
  expected: `examples/${expected}`,
})

export const EXAMPLES: readonly Example[] = [
  example('function', 'quickstart'),
  example('function', 'private-model'),
  example('function', 'gated-revision'),
  example('function', 'existing-claim'),
  example('function', 'shared-claim'),
  example('pipe', 'overlays/dev'),
  example('pipe', 'overlays/prod'),
  example('kustomize', 'transformer'),
  example('kustomize', 'generator'),
  example('kustomize', 'component'),
  example('kustomize', 'two-tenants'),
  example('kustomize', 'flux/models', 'flux/rendered/models.yaml'),
  example('kpt', 'kpt'),
  ...['local-path', 'nfs', 'minio', 'gpfs', 'efs', 'azure-files', 's3', 'gcs'].map((kind) =>
    example('function', `storage/${kind}`),
  ),
]

/** Manifests of tools that run the function: applied as they are. */
export const TOOL_FILES: readonly string[] = [
  'examples/argocd/plugin.yaml',
  'examples/argocd/build-options.yaml',
  'examples/argocd/application.yaml',
  'examples/flux/sync.yaml',
]
