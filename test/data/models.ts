import { parse } from 'yaml'

/** An object, and what the function and the API server say of it. */
export interface Case {
  readonly why: string
  /** The spec as YAML. */
  readonly spec?: string
  /** The whole object as YAML, where more than the spec matters. */
  readonly object?: string
  /** Each problem that the function finds, as `path: message`. */
  readonly ours?: readonly string[]
  /** A part of each cause that the API server gives; none where it has no words, and no field where it is content. */
  readonly server?: readonly string[]
  /** Why one takes what the other refuses. */
  readonly differ?: string
}

const HUB = 'must be the id of a repository on the Hub such as "Qwen/Qwen2.5-7B-Instruct" when the source is huggingface'
const URL = 'must be an http or https URL such as "https://hf-mirror.com", without user, password or query'
const REVISION = 'must be a branch, a tag or a commit, without spaces and without ".."'
const NAME = 'at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part'
const SECRET = `must be the name of a Secret: ${NAME}`
const CLAIM = `must be the name of a claim: ${NAME}`
const SUB_PATH = 'must be a path relative to the root of the volume, without ".." in it'
const SOURCE = 'must have the member `huggingface`, or be left out when the model is on the volume already'

export const CASES: Readonly<Record<string, Case>> = {
  'model-only': { why: 'the claim and the files on it exist already', spec: 'model: any text at all' },
  'model-empty-on-volume': { why: 'upstream does not read it without a source', spec: 'model: ""' },
  public: { why: 'no token', spec: '{model: Qwen/Qwen2.5-7B-Instruct, source: {huggingface: {}}}' },
  'hub-legacy-name': { why: 'old repositories have no owner', spec: '{model: gpt2, source: {huggingface: {}}}' },
  'hub-every-sign': { why: 'all that the client of the Hub takes', spec: '{model: a_b-c.D/_1.2_x-y, source: {huggingface: {}}}' },
  'hub-name-of-96': { why: 'the longest', spec: `{model: ${'a'.repeat(96)}/${'b'.repeat(96)}, source: {huggingface: {}}}` },
  'hub-name-of-97': {
    why: 'one too long for the Hub',
    spec: `{model: org/${'b'.repeat(97)}, source: {huggingface: {}}}`,
    ours: [`spec.model: ${HUB}, got "org/${'b'.repeat(36)}…"`],
    server: [HUB],
  },
  'hub-two-slashes': {
    why: 'a path inside a repository is none',
    spec: '{model: a/b/c, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/b/c"`],
    server: [HUB],
  },
  'hub-leading-slash': {
    why: 'no owner',
    spec: '{model: /b, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "/b"`],
    server: [HUB],
  },
  'hub-trailing-slash': {
    why: 'no name',
    spec: '{model: a/, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/"`],
    server: [HUB],
  },
  'hub-dots': {
    why: 'would climb out of a folder',
    spec: '{model: a/b..c, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/b..c"`],
    server: [HUB],
  },
  'hub-dashes': {
    why: 'the cache of the Hub uses -- between owner and name',
    spec: '{model: a/b--c, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/b--c"`],
    server: [HUB],
  },
  'hub-git': {
    why: 'the address of a repository is not its id',
    spec: '{model: a/b.git, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/b.git"`],
    server: [HUB],
  },
  'hub-url': {
    why: 'copied from the browser',
    spec: '{model: "https://huggingface.co/a/b", source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "https://huggingface.co/a/b"`],
    server: [HUB],
  },
  'hub-space': {
    why: 'copied with a space',
    spec: '{model: "a/b ", source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/b "`],
    server: [HUB],
  },
  'hub-newline': {
    why: 'a block scalar ends in one; `$` must not look past it',
    spec: '{model: "a/b\\n", source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/b\\n"`],
    server: [HUB],
  },
  'hub-letters-of-others': {
    why: 'only ASCII on the Hub',
    spec: '{model: a/modèle, source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}, got "a/modèle"`],
    server: [HUB],
  },
  'hub-empty': {
    why: 'a variable that was not set',
    spec: '{model: "", source: {huggingface: {}}}',
    ours: [`spec.model: ${HUB}`],
    server: [HUB],
  },
  'model-missing': {
    why: 'the only field that is required',
    spec: '{source: {huggingface: {}}}',
    ours: ['spec.model: must be present'],
    server: ['spec.model: Required value'],
  },
  'model-null': {
    why: 'nothing after the colon is as good as no field',
    spec: 'model:',
    ours: ['spec.model: must be present'],
    server: ['spec.model: Required value'],
  },
  'model-number': {
    why: 'YAML reads 405 as a number',
    spec: 'model: 405',
    ours: ['spec.model: must be text, got the number 405'],
    server: ['spec.model: Invalid value'],
  },
  'spec-missing': {
    why: 'upstream falls over it',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: case}}',
    ours: ['spec: must be present'],
    server: ['spec: Required value'],
  },
  'spec-null': {
    why: 'everything under it is commented out',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: case}, spec: }',
    ours: ['spec: must be present'],
    server: ['spec: Required value'],
  },
  'spec-text': {
    why: 'not even a map',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: case}, spec: gpt2}',
    ours: ['spec: must be a map, got text'],
    server: ['spec: Invalid value'],
  },
  'source-empty': {
    why: 'upstream goes Ready with nothing loaded',
    spec: '{model: a/b, source: {}}',
    ours: [`spec.source: ${SOURCE}`],
    server: [SOURCE],
  },
  'source-huggingface-null': {
    why: '`huggingface:` with nothing after it is no source: the API server drops it',
    spec: '{model: a/b, source: {huggingface: }}',
    ours: [`spec.source: ${SOURCE}`],
    server: [SOURCE],
  },
  'source-null': { why: 'as if it were not there', spec: '{model: a model, source: }' },
  'source-unknown': {
    why: 'a source of another project',
    spec: '{model: a/b, source: {modelscope: {}}}',
    ours: ['spec.source.modelscope: unknown field "modelscope"'],
    server: ['unknown field "spec.source.modelscope"'],
  },
  'source-misspelt': {
    why: 'the nearest name is offered',
    spec: '{model: a/b, source: {hugginface: {}}}',
    ours: ['spec.source.hugginface: unknown field "hugginface"; did you mean "huggingface"?'],
    server: ['unknown field "spec.source.hugginface"'],
  },
  'source-text': {
    why: 'a name where a map belongs',
    spec: '{model: a/b, source: huggingface}',
    ours: ['spec.source: must be a map, got text'],
    server: ['spec.source: Invalid value'],
  },
  'token-object': { why: "upstream's form", spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {name: hf-token}}}}' },
  'token-key': { why: 'ours', spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {name: hf.token, key: token}}}}' },
  'token-text': {
    why: 'the form of the first documents',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: hf-token}}}',
    server: ['spec.source.huggingface.tokenSecretRef: Invalid value'],
    differ: 'the function takes the text and writes the object',
  },
  'token-itself': {
    why: 'a secret in Git; no message repeats it',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {name: hf_aBcDeFgHiJ}}}}',
    ours: ['spec.source.huggingface.tokenSecretRef.name: must be the name of a Secret, not the token itself'],
    server: ['must be the name of a Secret, not the token itself'],
  },
  'token-itself-as-text': {
    why: 'the same in the other form',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: hf_aBcDeFgHiJ}}}',
    ours: ['spec.source.huggingface.tokenSecretRef: must be the name of a Secret, not the token itself'],
    server: ['spec.source.huggingface.tokenSecretRef: Invalid value'],
  },
  'token-capitals': {
    why: 'no Secret is called so',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {name: HF-Token}}}}',
    ours: [`spec.source.huggingface.tokenSecretRef.name: ${SECRET}`],
    server: [SECRET],
  },
  'token-without-name': {
    why: 'Kubernetes would refuse the pod',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {}}}}',
    ours: [`spec.source.huggingface.tokenSecretRef.name: ${SECRET}`],
    server: [SECRET],
  },
  'token-key-empty': {
    why: 'no key of a Secret is empty',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {name: t, key: ""}}}}',
    ours: ['spec.source.huggingface.tokenSecretRef.key: must be a key of a Secret such as "HF_TOKEN"'],
    server: ['must be a key of a Secret such as "HF_TOKEN"'],
  },
  'token-optional': {
    why: 'a field of secretKeyRef, not of this one',
    spec: '{model: a/b, source: {huggingface: {tokenSecretRef: {name: t, optional: true}}}}',
    ours: ['spec.source.huggingface.tokenSecretRef.optional: unknown field "optional"'],
    server: ['unknown field "spec.source.huggingface.tokenSecretRef.optional"'],
  },
  'revision-commit': {
    why: 'the only one that names the same files for ever',
    spec: '{model: a/b, source: {huggingface: {revision: 0123456789abcdef0123456789abcdef01234567}}}',
  },
  'revision-pull-request': { why: 'a ref with slashes', spec: '{model: a/b, source: {huggingface: {revision: refs/pr/1}}}' },
  'revision-number': {
    why: 'a commit of digits only, without quotes',
    spec: '{model: a/b, source: {huggingface: {revision: 1234567}}}',
    ours: ['spec.source.huggingface.revision: must be text, got the number 1234567'],
    server: ['spec.source.huggingface.revision: Invalid value'],
  },
  'revision-space': {
    why: 'git has none',
    spec: '{model: a/b, source: {huggingface: {revision: my branch}}}',
    ours: [`spec.source.huggingface.revision: ${REVISION}, got "my branch"`],
    server: [REVISION],
  },
  'revision-dots': {
    why: 'a range, or a way up',
    spec: '{model: a/b, source: {huggingface: {revision: main..dev}}}',
    ours: [`spec.source.huggingface.revision: ${REVISION}, got "main..dev"`],
    server: [REVISION],
  },
  'revision-empty': {
    why: 'a variable that was not set',
    spec: '{model: a/b, source: {huggingface: {revision: ""}}}',
    ours: [`spec.source.huggingface.revision: ${REVISION}`],
    server: [REVISION],
  },
  'revision-long': {
    why: 'longer than any ref',
    spec: `{model: a/b, source: {huggingface: {revision: ${'r'.repeat(256)}}}}`,
    ours: ['spec.source.huggingface.revision: must be at most 255 characters long, got 256'],
    server: ['spec.source.huggingface.revision: Too long'],
  },
  'endpoint-mirror': { why: 'the usual one', spec: '{model: a/b, source: {huggingface: {endpoint: "https://hf-mirror.com"}}}' },
  'endpoint-path': { why: 'behind a repository manager', spec: '{model: a/b, source: {huggingface: {endpoint: "http://[fd00::1]:8081/repository/hf~x/"}}}' },
  'endpoint-host': {
    why: 'no scheme',
    spec: '{model: a/b, source: {huggingface: {endpoint: hf-mirror.com}}}',
    ours: [`spec.source.huggingface.endpoint: ${URL}, got "hf-mirror.com"`],
    server: [URL],
  },
  'endpoint-ftp': {
    why: 'another scheme',
    spec: '{model: a/b, source: {huggingface: {endpoint: "ftp://hf-mirror.com"}}}',
    ours: [`spec.source.huggingface.endpoint: ${URL}, got "ftp://hf-mirror.com"`],
    server: [URL],
  },
  'endpoint-password': {
    why: 'a secret in Git; our message does not repeat it',
    spec: '{model: a/b, source: {huggingface: {endpoint: "https://me:pass@hf-mirror.com"}}}',
    ours: [`spec.source.huggingface.endpoint: ${URL}`],
    server: [URL],
  },
  'patterns': { why: 'include and exclude', spec: '{model: a/b, source: {huggingface: {include: ["*.safetensors", "*.json"], exclude: ["original/*"]}}}' },
  'patterns-none': { why: 'an empty list is no list', spec: '{model: a/b, source: {huggingface: {include: [], exclude: }}}' },
  'include-empty': {
    why: 'would match nothing',
    spec: '{model: a/b, source: {huggingface: {include: ["*.json", " "]}}}',
    ours: ['spec.source.huggingface.include[1]: must not be empty, got " "'],
    server: ['spec.source.huggingface.include[1]'],
  },
  'exclude-empty': {
    why: 'the same on the other side',
    spec: '{model: a/b, source: {huggingface: {exclude: [""]}}}',
    ours: ['spec.source.huggingface.exclude[0]: must not be empty'],
    server: ['spec.source.huggingface.exclude[0]'],
  },
  'include-text': {
    why: 'one pattern is a list of one',
    spec: '{model: a/b, source: {huggingface: {include: "*.json"}}}',
    ours: ['spec.source.huggingface.include: must be a list, got text'],
    server: ['spec.source.huggingface.include: Invalid value'],
  },
  'include-null': {
    why: 'in a list null stays',
    spec: '{model: a/b, source: {huggingface: {include: ["*.json", null]}}}',
    ours: ['spec.source.huggingface.include[1]: must be text, got null'],
    server: ['spec.source.huggingface.include[1]: Invalid value'],
  },
  'include-many': {
    why: 'a list of files belongs elsewhere',
    spec: `{model: a/b, source: {huggingface: {include: [${Array(257).fill('x').join(', ')}]}}}`,
    ours: ['spec.source.huggingface.include: must have at most 256 entries, got 257'],
    server: ['spec.source.huggingface.include: Too many'],
  },
  'claim-full': {
    why: 'a claim to make',
    spec: `
      model: a/b
      storage:
        pvc:
          name: qwen2.5-7b
          spec: {accessModes: [ReadWriteMany], storageClassName: nfs, resources: {requests: {storage: 20Gi}}}`,
  },
  'claim-spec-empty': { why: "upstream's way to say that the claim exists", spec: '{model: m, storage: {pvc: {name: shared, spec: {}}}}' },
  'claim-spec-absent': { why: 'ours', spec: '{model: m, storage: {pvc: {name: shared}}}' },
  'claim-name-empty': { why: "upstream reads it as none and takes the model's name", spec: '{model: m, storage: {pvc: {name: "", spec: {}}}}' },
  'claim-name-capitals': {
    why: 'no claim is called so',
    spec: '{model: m, storage: {pvc: {name: Qwen}}}',
    ours: [`spec.storage.pvc.name: ${CLAIM}, got "Qwen"`],
    server: [CLAIM],
  },
  'claim-name-underscore': {
    why: 'nor so',
    spec: '{model: m, storage: {pvc: {name: qwen_7b}}}',
    ours: [`spec.storage.pvc.name: ${CLAIM}, got "qwen_7b"`],
    server: [CLAIM],
  },
  'claim-name-dot-dash': {
    why: 'each part begins with a letter or digit',
    spec: '{model: m, storage: {pvc: {name: qwen.-7b}}}',
    ours: [`spec.storage.pvc.name: ${CLAIM}, got "qwen.-7b"`],
    server: [CLAIM],
  },
  'claim-name-long': {
    why: '254 of 253',
    spec: `{model: m, storage: {pvc: {name: ${'a'.repeat(254)}}}}`,
    ours: [`spec.storage.pvc.name: ${CLAIM}, got "${'a'.repeat(40)}…"`],
    server: [CLAIM],
  },
  'claim-mode-short': {
    why: 'what the storage vendors write',
    spec: '{model: m, storage: {pvc: {spec: {accessModes: [RWX]}}}}',
    ours: [
      'spec.storage.pvc.spec.accessModes[0]: must be one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod, got "RWX"',
    ],
    differ: 'the claim is refused, not the model; an upstream object whose claim exists works with it',
  },
  'claim-mode-text': {
    why: 'a list of one is a list',
    spec: '{model: m, storage: {pvc: {spec: {accessModes: ReadWriteOnce}}}}',
    ours: ['spec.storage.pvc.spec.accessModes: must be a list, got text'],
    server: ['spec.storage.pvc.spec.accessModes: Invalid value'],
  },
  'quantity-whole': { why: 'a number is a quantity', spec: '{model: m, storage: {pvc: {spec: {resources: {requests: {storage: 1000000}}}}}}' },
  'quantity-word': {
    why: 'no quantity',
    spec: '{model: m, storage: {pvc: {spec: {resources: {requests: {storage: lots}}}}}}',
    ours: ['spec.storage.pvc.spec.resources.requests.storage: must be a quantity such as "20Gi", got "lots"'],
    server: ['spec.storage.pvc.spec.resources.requests.storage: Invalid value'],
  },
  'quantity-gb': {
    why: 'GB is none of its units',
    spec: '{model: m, storage: {pvc: {spec: {resources: {requests: {storage: 20GB}}}}}}',
    ours: ['spec.storage.pvc.spec.resources.requests.storage: must be a quantity such as "20Gi", got "20GB"'],
    server: ['spec.storage.pvc.spec.resources.requests.storage: Invalid value'],
  },
  'quantity-fraction': {
    why: 'the CRD takes whole numbers and text, as upstream',
    spec: '{model: m, instanceSpec: {resources: {limits: {cpu: 0.5}}}}',
    ours: ['spec.instanceSpec.resources.limits.cpu: must be a quantity such as "20Gi", got the number 0.5'],
    server: ['spec.instanceSpec.resources.limits.cpu: Invalid value'],
  },
  'quantity-list': {
    why: 'one cause, one problem',
    spec: '{model: m, instanceSpec: {overhead: {cpu: [1]}}}',
    ours: ['spec.instanceSpec.overhead.cpu: must be a quantity such as "20Gi", got a list'],
    server: ['spec.instanceSpec.overhead.cpu: Invalid value'],
  },
  'path-deep': { why: 'the usual one', spec: '{model: m, storage: {subPath: models/team-a/qwen..7b}}' },
  'path-root': { why: 'the only way to name the root of the volume, and it works upstream', spec: '{model: m, storage: {subPath: .}}' },
  'path-slashes': { why: 'works upstream: the kernel reads it as a/b', spec: '{model: m, storage: {subPath: ./a//b/}}' },
  'path-empty': { why: 'as upstream reads it: none', spec: '{model: m, storage: {subPath: ""}}' },
  'path-up': {
    why: 'out of the volume',
    spec: '{model: m, storage: {subPath: ../b}}',
    ours: [`spec.storage.subPath: ${SUB_PATH}, got "../b"`],
    server: [SUB_PATH],
  },
  'path-up-inside': {
    why: 'an application cannot follow it when the folder before it does not exist',
    spec: '{model: m, storage: {subPath: a/../b}}',
    ours: [`spec.storage.subPath: ${SUB_PATH}, got "a/../b"`],
    server: [SUB_PATH],
  },
  'path-up-last': {
    why: 'at the end too',
    spec: '{model: m, storage: {subPath: a/..}}',
    ours: [`spec.storage.subPath: ${SUB_PATH}, got "a/.."`],
    server: [SUB_PATH],
  },
  'path-absolute': {
    why: 'Kubernetes refuses it for its own subPath',
    spec: '{model: m, storage: {subPath: /models/qwen}}',
    ours: [`spec.storage.subPath: ${SUB_PATH}, got "/models/qwen"`],
    server: [SUB_PATH],
  },
  'unknown-in-spec': {
    why: 'misspelt',
    spec: '{model: m, storge: {}}',
    ours: ['spec.storge: unknown field "storge"; did you mean "storage"?'],
    server: ['unknown field "spec.storge"'],
  },
  'unknown-case': {
    why: 'capitals count',
    spec: '{model: m, storage: {subpath: a}}',
    ours: ['spec.storage.subpath: unknown field "subpath"; did you mean "subPath"?'],
    server: ['unknown field "spec.storage.subpath"'],
  },
  'unknown-null': {
    why: 'a misspelt field is one even if it is empty',
    spec: '{model: m, imagePullSecret: }',
    ours: ['spec.imagePullSecret: unknown field "imagePullSecret"; did you mean "imagePullSecrets"?'],
    server: ['unknown field "spec.imagePullSecret"'],
  },
  'unknown-deep': {
    why: 'in a type of Kubernetes',
    spec: '{model: m, instanceSpec: {tolerations: [{key: gpu, operater: Exists}]}}',
    ours: ['spec.instanceSpec.tolerations[0].operater: unknown field "operater"; did you mean "operator"?'],
    server: ['unknown field "spec.instanceSpec.tolerations[0].operater"'],
  },
  'unknown-at-the-top': {
    why: 'beside spec',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: case}, spec: {model: m}, storage: {}}',
    ours: ['storage: unknown field "storage"'],
    server: ['unknown field "storage"'],
  },
  'status-given': {
    why: 'written by another; the API server drops it',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: case}, spec: {model: m}, status: {phase: Ready}}',
  },
  'instance-much': {
    why: 'a bit of everything',
    spec: `
      model: a/b
      imagePullSecrets: [{name: registry}]
      instanceSpec:
        affinity:
          nodeAffinity:
            requiredDuringSchedulingIgnoredDuringExecution:
              nodeSelectorTerms: [{matchExpressions: [{key: gpu, operator: In, values: ["true"]}]}]
        dnsConfig: {options: [{name: ndots, value: "2"}]}
        env:
        - {name: A, value: b}
        - {name: A, value: c}
        - {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}
        hostAliases: [{ip: 10.0.0.1, hostnames: [hub]}]
        initContainers: [{name: init, image: busybox, ports: [{containerPort: 80}]}]
        labels: {team: a}
        livenessProbe: {httpGet: {path: /, port: http}, periodSeconds: 5}
        nodeSelector: {disk: ssd}
        podSecurityContext: {runAsUser: 1000, fsGroup: 1000}
        resources: {requests: {memory: 1Gi, cpu: 500m}, limits: {memory: 2Gi}}
        tolerations: [{operator: Exists}]
        topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
        volumeMounts: [{name: tmp, mountPath: /tmp}]
        volumes: [{name: tmp, emptyDir: {sizeLimit: 1Gi}}]`,
  },
  'instance-null': { why: 'fields with nothing after them', spec: '{model: m, instanceSpec: {env: , nodeSelector: {disk: }, tolerations: }}' },
  'env-number': {
    why: 'YAML reads it as a number; the message keeps it to itself',
    spec: '{model: m, instanceSpec: {env: [{name: A, value: 5}]}}',
    ours: ['spec.instanceSpec.env[0].value: must be text, got a number'],
    server: ['spec.instanceSpec.env[0].value: Invalid value'],
  },
  'env-without-name': {
    why: 'required by Kubernetes',
    spec: '{model: m, instanceSpec: {env: [{value: b}]}}',
    ours: ['spec.instanceSpec.env[0].name: must be present'],
    server: ['spec.instanceSpec.env[0].name: Required value'],
  },
  'label-boolean': {
    why: 'YAML reads true as a truth value',
    spec: '{model: m, instanceSpec: {labels: {gpu: true}}}',
    ours: ['spec.instanceSpec.labels.gpu: must be text, got true'],
    server: ['spec.instanceSpec.labels.gpu: Invalid value'],
  },
  'selector-number': {
    why: 'a key with a slash in the path',
    spec: '{model: m, instanceSpec: {nodeSelector: {example.com/gpus: 8}}}',
    ours: ['spec.instanceSpec.nodeSelector[example.com/gpus]: must be text, got the number 8'],
    server: ['spec.instanceSpec.nodeSelector.example.com/gpus: Invalid value'],
  },
  'boolean-text': {
    why: 'quotes too many',
    spec: '{model: m, instanceSpec: {hostNetwork: "true"}}',
    ours: ['spec.instanceSpec.hostNetwork: must be true or false, got "true"'],
    server: ['spec.instanceSpec.hostNetwork: Invalid value'],
  },
  'integer-fraction': {
    why: 'no half priority',
    spec: '{model: m, instanceSpec: {priority: 1.5}}',
    ours: ['spec.instanceSpec.priority: must be a whole number, got the number 1.5'],
    server: ['spec.instanceSpec.priority: Invalid value'],
  },
  'integer-large': {
    why: 'Kubernetes counts priorities in 32 bits',
    spec: '{model: m, instanceSpec: {priority: 3000000000}}',
    ours: ['spec.instanceSpec.priority: must be a whole number of 32 bits, got the number 3000000000'],
    server: ['format int32 in spec.instanceSpec.priority'],
  },
  'integer-exponent': { why: 'whole all the same', spec: '{model: m, instanceSpec: {terminationGracePeriodSeconds: 1e3}}' },
  'integer-text': {
    why: 'quotes too many',
    spec: '{model: m, instanceSpec: {terminationGracePeriodSeconds: "30"}}',
    ours: ['spec.instanceSpec.terminationGracePeriodSeconds: must be a whole number, got "30"'],
    server: ['spec.instanceSpec.terminationGracePeriodSeconds: Invalid value'],
  },
  'port-boolean': {
    why: 'a port is a number or a name',
    spec: '{model: m, instanceSpec: {livenessProbe: {httpGet: {port: true}}}}',
    ours: ['spec.instanceSpec.livenessProbe.httpGet.port: must be a whole number or text, got true'],
    server: ['spec.instanceSpec.livenessProbe.httpGet.port: Invalid value'],
  },
  'list-null': {
    why: 'an empty entry',
    spec: '{model: m, instanceSpec: {tolerations: [null]}}',
    ours: ['spec.instanceSpec.tolerations[0]: must be a map, got null'],
    server: ['spec.instanceSpec.tolerations[0]: Invalid value'],
  },
  'twice-the-same-port': {
    why: 'lists of Kubernetes that are maps',
    spec: '{model: m, instanceSpec: {initContainers: [{name: i, ports: [{containerPort: 80}, {containerPort: 80}]}]}}',
    server: ['spec.instanceSpec.initContainers[0].ports[1]: Duplicate value'],
    differ: 'the API server refuses the Job in the same words',
  },
  'name-with-dots': {
    why: 'names of models have them',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: qwen2.5-7b}, spec: {model: m}}',
  },
  'name-capitals': {
    why: 'no object is called so',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: Qwen}, spec: {model: m}}',
    ours: [`metadata.name: must be a name for Kubernetes: ${NAME}, got "Qwen"`],
    server: ['metadata.name: Invalid value'],
  },
  'shards': { why: 'an annotation that the function reads', object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: a, annotations: {arks.ai/shards: "64"}}, spec: {model: m}}' },
  'shards-too-many': {
    why: 'one more than there may be',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: a, annotations: {arks.ai/shards: "65"}}, spec: {model: m}}',
    ours: ['metadata.annotations[arks.ai/shards]: must be a whole number from 1 to 64, without sign or leading zeros, got "65"'],
    differ: 'no rule of a CRD sees annotations',
  },
  'name-missing': {
    why: 'what is made of it needs one',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {generateName: qwen-}, spec: {model: m}}',
    ours: ['metadata.name: must be present'],
    differ: 'the API server would make a name up',
  },
  'label-of-model-number': {
    why: 'labels are text',
    object: '{apiVersion: arks.ai/v1, kind: ArksModel, metadata: {name: case, labels: {team: 1}}, spec: {model: m}}',
    ours: ['metadata.labels.team: must be text, got the number 1'],
    server: ['ObjectMeta.labels of type string'],
  },
  'version-other': {
    why: 'there is one version',
    object: '{apiVersion: arks.ai/v1beta1, kind: ArksModel, metadata: {name: case}, spec: {model: m}}',
    ours: ['apiVersion: must be arks.ai/v1, got "arks.ai/v1beta1"'],
    server: [],
  },
  'all-at-once': {
    why: 'every problem is named, in the order of the object',
    spec: '{storage: {subPath: ../b, pvc: {name: A}}, model: a/b/c, source: {huggingface: {revision: " "}}}',
    ours: [
      `spec.storage.subPath: ${SUB_PATH}, got "../b"`,
      `spec.storage.pvc.name: ${CLAIM}, got "A"`,
      `spec.model: ${HUB}, got "a/b/c"`,
      `spec.source.huggingface.revision: ${REVISION}, got " "`,
    ],
    server: [SUB_PATH, CLAIM, HUB, REVISION],
  },
}

export const objectOf = ({ object, spec }: Case): unknown =>
  object === undefined
    ? { apiVersion: 'arks.ai/v1', kind: 'ArksModel', metadata: { name: 'case' }, spec: parse(spec ?? '') }
    : parse(object)
