/** What the benchmark feeds: models among ordinary objects, keys sorted and lists compact, as kustomize prints them. */

export interface Size {
  readonly models: number
  readonly others: number
}

/** An object as lines of YAML. */
type Item = readonly string[]

/** As an orchestrator hands them to a function. */
export function resourceList(size: Size): string {
  const lines = items(size).flatMap((item) => item.map((line, index) => `${index === 0 ? '- ' : '  '}${line}`))
  return ['apiVersion: config.kubernetes.io/v1', 'kind: ResourceList', 'items:', ...lines, ''].join('\n')
}

/** As files have them. */
export const stream = (size: Size): string =>
  items(size)
    .map((item) => `${item.join('\n')}\n`)
    .join('---\n')

/** The models stand evenly among the others, the first at the start. */
function items({ models, others }: Size): readonly Item[] {
  const gap = Math.floor(others / models)
  const list: Item[] = []
  for (let index = 0; index < others; index += 1) {
    if (index % gap === 0 && index / gap < models) list.push(model(index / gap))
    list.push(other(index))
  }
  return list
}

function other(index: number): Item {
  if (index % 3 === 0) return deployment(index)
  return index % 3 === 1 ? service(index) : configMap(index)
}

/** Each third has a token, each fourth a filter, each fifth an instanceSpec, each seventh its own folder. */
function model(index: number): Item {
  const every = (step: number, ...lines: readonly string[]): Item => (index % step === 1 ? lines : [])
  return [
    'apiVersion: arks.ai/v1',
    'kind: ArksModel',
    'metadata:',
    '  annotations:',
    `    example.com/owner: team-${index % 7}`,
    '  labels:',
    '    app.kubernetes.io/version: "2.5"',
    `    team: research-${index % 7}`,
    `  name: qwen2.5-7b-${index}`,
    `  namespace: models-${index % 4}`,
    'spec:',
    ...every(
      5,
      '  imagePullSecrets:',
      '  - name: registry',
      '  instanceSpec:',
      '    env:',
      '    - name: HF_XET_HIGH_PERFORMANCE',
      '      value: "1"',
      '    nodeSelector:',
      '      disk: nvme',
      '    resources:',
      '      limits:',
      '        memory: 2Gi',
      '      requests:',
      '        cpu: 500m',
      '    tolerations:',
      '    - effect: NoSchedule',
      '      key: models',
      '      operator: Exists',
    ),
    `  model: Qwen/Qwen2.5-7B-Instruct-${index}`,
    '  source:',
    '    huggingface:',
    ...every(4, '      include:', "      - '*.safetensors'", "      - '*.json'"),
    '      revision: main',
    ...every(3, '      tokenSecretRef:', '        name: hf-token'),
    '  storage:',
    '    pvc:',
    `      name: qwen2.5-7b-${index}`,
    '      spec:',
    '        accessModes:',
    '        - ReadWriteMany',
    '        resources:',
    '          requests:',
    '            storage: 30Gi',
    '        storageClassName: nfs',
    ...every(7, '    subPath: weights/qwen'),
  ]
}

const deployment = (index: number): Item => [
  'apiVersion: apps/v1',
  'kind: Deployment',
  'metadata:',
  '  labels:',
  `    app: web-${index}`,
  `  name: web-${index}`,
  '  namespace: shop',
  'spec:',
  `  replicas: ${1 + (index % 3)}`,
  '  selector:',
  '    matchLabels:',
  `      app: web-${index}`,
  '  template:',
  '    metadata:',
  '      labels:',
  `        app: web-${index}`,
  '    spec:',
  '      containers:',
  '      - env:',
  '        - name: MODE',
  '          value: "on"',
  `        image: nginx:1.${index % 30}`,
  '        name: web',
  '        ports:',
  '        - containerPort: 8080',
]

const service = (index: number): Item => [
  'apiVersion: v1',
  'kind: Service',
  'metadata:',
  '  labels:',
  `    app: web-${index}`,
  `  name: web-${index}`,
  '  namespace: shop',
  'spec:',
  '  ports:',
  '  - name: http',
  '    port: 80',
  '    targetPort: 8080',
  '  selector:',
  `    app: web-${index}`,
]

const configMap = (index: number): Item => [
  'apiVersion: v1',
  'data:',
  '  FEATURES: search,basket,checkout',
  `  LIMIT: "${index}"`,
  '  LOG_LEVEL: info',
  '  app.properties: |',
  '    cache.size=100',
  '    cache.ttl=60',
  'kind: ConfigMap',
  'metadata:',
  `  name: settings-${index}`,
  '  namespace: shop',
]
