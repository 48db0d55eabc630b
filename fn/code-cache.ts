import fs from 'node:fs'
import { createRequire } from 'node:module'
import { Script } from 'node:vm'

const MODEL = `apiVersion: arks.ai/v1
  kind: ArksModel
  metadata:
    name: qwen
    labels:
      team: research
      version: "2.5"
    annotations:
      internal.config.kubernetes.io/index: '1'
  spec:
    model: Qwen/Qwen2.5-0.5B
    imagePullSecrets:
    - name: registry
    instanceSpec:
      env:
      - name: LEVEL
        value: "1"
      nodeSelector:
        disk: nvme
      resources:
        limits:
          memory: 2Gi
        requests:
          cpu: 500m
      tolerations:
      - key: models
        operator: Exists
    source:
      huggingface:
        include:
        - '*.json'
        revision: main
        tokenSecretRef:
          name: hf-token
    storage:
      pvc:
        name: qwen
        spec:
          accessModes:
          - ReadWriteOnce
          resources:
            requests:
              storage: 1Gi
          storageClassName: nfs
      subPath: weights/qwen
`
const OTHER = `apiVersion: v1
  kind: ConfigMap
  metadata:
    name: other
  data:
    text: |
      a: b
`
const CONFIG = `apiVersion: fn.arks.ai/v1alpha1
  kind: ExpandArksModels
  metadata:
    name: settings
`

/** What people and kustomize send, so that the functions that handle it are compiled when the cache is made. */
const INPUTS = [
  `apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n- ${OTHER}- ${MODEL}functionConfig:\n  ${CONFIG}`,
  `${MODEL}---\n${OTHER}`.replaceAll('\n  ', '\n'),
]

/**
 * V8's compiled form of the program, with all functions that an ordinary run needs: compiling was half of the
 * program's start-up time. It is made by running the program here, fed and read through a stand-in for `node:fs`.
 */
export async function codeCache(source: string): Promise<Buffer> {
  const script = new Script(source)
  for (const input of INPUTS) await output(script, input)
  return script.createCachedData()
}

function output(script: Script, input: string): Promise<string> {
  const require = createRequire(import.meta.url)
  return new Promise((resolve) => {
    const rest = [Buffer.from(input)]
    const standIn = {
      ...fs,
      fstatSync: () => ({ isCharacterDevice: () => false, size: 0 }),
      readSync: (_: number, target: Uint8Array) => rest.pop()?.copy(target) ?? 0,
      writeSync(_: number, data: Uint8Array) {
        resolve(Buffer.from(data).toString())
        return data.length
      },
    }
    const main: unknown = script.runInThisContext()
    if (typeof main !== 'function') throw new Error('the program must be wrapped in a function')
    main((id: string): unknown => (id === 'node:fs' ? standIn : require(id)), {}, {})
  })
}
