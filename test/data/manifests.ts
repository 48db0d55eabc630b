/** Pieces of input for the suites with real programs. */

export interface ModelText {
  readonly name?: string
  readonly model?: string
  readonly size?: string
  readonly claim?: string
  readonly namespace?: string
  readonly token?: string
  /** A Secret to pull the image with. */
  readonly pull?: string
  readonly annotations?: string
}

/** One ArksModel as people write it. */
export const model = ({
  name = 'qwen',
  model: id = 'Qwen/Qwen2.5-0.5B',
  size = '30Gi',
  claim,
  namespace,
  token,
  pull,
  annotations,
}: ModelText = {}): string => `apiVersion: arks.ai/v1
kind: ArksModel
metadata:
  name: ${name}
${namespace === undefined ? '' : `  namespace: "${namespace}"\n`}${
  annotations === undefined ? '' : `  annotations:\n    ${annotations}\n`
}spec:
  model: ${id}
${pull === undefined ? '' : `  imagePullSecrets:
  - name: ${pull}
`}  source:
    huggingface:${token === undefined ? ' {}' : `\n      tokenSecretRef:\n        name: ${token}`}
  storage:
    pvc:
${claim === undefined ? '' : `      name: ${claim}\n`}      spec:
        accessModes:
        - ReadWriteOnce
        resources:
          requests:
            storage: ${size}
`

/** The function as kustomize and kpt attach it. */
export const EXPAND = `apiVersion: fn.arks.ai/v1alpha1
kind: ExpandArksModels
metadata:
  name: expand
  annotations:
    config.kubernetes.io/local-config: "true"
    config.kubernetes.io/function: |
      exec:
        path: arksmodel-fn
`

export const SEAL: string = EXPAND.replace('ExpandArksModels', 'SealWorkerJobs').replace('expand', 'seal')

export const kustomization = (lines: string, kind: 'Kustomization' | 'Component' = 'Kustomization'): string =>
  `apiVersion: kustomize.config.k8s.io/v1${kind === 'Component' ? 'alpha1' : 'beta1'}\nkind: ${kind}\n${lines}`

export const kptfile = (mutator = '  - exec: arksmodel-fn\n    configPath: expand.yaml\n'): string =>
  `apiVersion: kpt.dev/v1
kind: Kptfile
metadata:
  name: package
  annotations:
    config.kubernetes.io/local-config: "true"
pipeline:
  mutators:
${mutator}`

export const configMap = (index: number): string => `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings-${index}
data:
  text: ${'x'.repeat(80)}
`
