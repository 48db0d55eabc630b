/** What the whole function says of an input that it refuses. */
export interface BadInput {
  readonly why: string
  /** On standard input. */
  readonly input?: string
  /** Files by their names, instead. */
  readonly files?: Readonly<Record<string, string>>
  /** Of --config settings.yaml. */
  readonly config?: string
  /** --seal */
  readonly seal?: boolean
  /** Every line, word for word. */
  readonly want: readonly string[]
}

const model = (spec: string, metadata = 'name: qwen'): string =>
  `apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata: {${metadata}}\nspec: ${spec}\n`

/** Of a model that is loaded onto a claim that exists. */
const loaded = (more: string): string => model(`{model: org/a, source: {huggingface: {}}, storage: {pvc: {name: c}}, ${more}}`)
const hub = (huggingface: string): string =>
  model(`{model: org/a, source: {huggingface: {${huggingface}}}, storage: {pvc: {name: c}}}`)
const claimed = (spec: string): string =>
  model(`{model: org/a, source: {huggingface: {}}, storage: {pvc: {spec: {${spec}}}}}`)
const job = (instanceSpec: string): string => loaded(`instanceSpec: {${instanceSpec}}`)
export const GOOD: string = loaded('')
/** Of a model that several pods load. */
const sharded = (shards: string, spec: string, name = 'qwen'): string =>
  model(`{model: org/a, ${spec}}`, `name: ${name}, annotations: {arks.ai/shards: ${shards}}`)
const onClaim = (mode: string): string => `source: {huggingface: {}}, storage: {pvc: {name: c, spec: {accessModes: [${mode}], resources: {requests: {storage: 1Gi}}}}}`
const SHARDS = 'metadata.annotations[arks.ai/shards]: must be a whole number from 1 to 64, without sign or leading zeros'
const GOOD_CLAIM = 'accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}'

const settings = (spec: string): string =>
  `apiVersion: fn.arks.ai/v1alpha1\nkind: ExpandArksModels\nmetadata: {name: settings}\nspec: ${spec}\n`

const list = (config: string, ...items: readonly string[]): string =>
  `apiVersion: config.kubernetes.io/v1\nkind: ResourceList\n${config === '' ? '' : `functionConfig: ${config}\n`}items:\n${items
    .map((item) => item.replaceAll(/^(?=.)/gm, '  ').replace(/^ {2}/, '- '))
    .join('')}`
const configMap = (data: string): string => `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, ${data}}`

const TOKEN = 'hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789'

/** Each of `one` holds ten times the one before: nine lines, a billion values. */
const bomb = (indent: string): string =>
  ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
    .map((name, index, names) => `${indent}${name}: &${name} [${Array(10).fill(index === 0 ? 'x' : `*${names[index - 1]}`).join(', ')}]\n`)
    .join('')

export const BAD_INPUT: Readonly<Record<string, BadInput>> = {
  // Meant for us, and mistyped
  'a kind of settings that there is not': {
    why: 'the Jobs would have the default image and the public Hub',
    input: `${settings('{image: a}').replace('ExpandArksModels', 'ExpandArksModel')}---\n${GOOD}`,
    want: ['ExpandArksModel settings: kind: must be ExpandArksModels or SealWorkerJobs, got "ExpandArksModel"'],
  },
  'settings in the group of models': {
    why: 'the same',
    input: `${settings('{image: a}').replace('fn.arks.ai/v1alpha1', 'arks.ai/v1')}---\n${GOOD}`,
    want: ['ExpandArksModels settings: apiVersion: must be fn.arks.ai/v1alpha1, got "arks.ai/v1"'],
  },
  'a kind that is nearly ours': {
    why: 'kubectl would refuse this one, and apply the others',
    input: `${GOOD.replace('ArksModel', 'ArkModel')}---\n${GOOD.replace('ArksModel', 'Arksmodel').replace('qwen', 'other')}`,
    want: ['ArkModel qwen: kind: must be ArksModel, got "ArkModel"', 'Arksmodel other: kind: must be ArksModel, got "Arksmodel"'],
  },
  'a kind that is nearly ours, in JSON': {
    why: 'the same',
    input: '{"kind": "ArksModels", "apiVersion": "arks.ai/v1", "metadata": {"name": "qwen"}}\n',
    want: ['ArksModels qwen: kind: must be ArksModel, got "ArksModels"'],
  },

  // No object at all
  'nothing': { why: 'the command before the pipe failed', input: '', want: ['must hold at least one object, got nothing'] },
  'only blanks': { why: 'the same', input: ' \n\t\n\r\n', want: ['must hold at least one object, got nothing'] },
  'only comments': { why: 'everything is commented out', input: '# a\n\n  # b\n', want: ['must hold at least one object, got nothing'] },
  'only separators': { why: 'a template that rendered nothing', input: '---\n---\n# a\n...\n', want: ['must hold at least one object, got nothing'] },
  'only a byte order mark': { why: 'an empty file of Windows', input: '\ufeff', want: ['must hold at least one object, got nothing'] },
  'empty files': { why: 'the first is named', files: { 'a.yaml': '', 'b.yaml': '# b\n' }, want: ['a.yaml: must hold at least one object, got nothing'] },
  'binary': { why: 'an archive', input: 'PK\u0003\u0004\u0000\u0000', want: ['document 1: must be YAML or JSON text, got binary data'] },
  'prose': { why: 'the complaint of another tool', input: 'Not Found\n', want: ['document 1, line 1: must be a Kubernetes object, got text'] },
  'a complaint with a colon': { why: 'is YAML, nearly', input: 'Error: accumulating resources: no such file\n', want: ['document 1, line 1: must be well-formed YAML: nested mappings are not allowed in compact mappings'] },
  'a web page': { why: 'the address of a page instead of a file', input: '<!DOCTYPE html>\n<html></html>\n', want: ['document 1, line 1: must be a Kubernetes object, got text'] },
  'a list of names': { why: 'is no object', input: '- a\n- b\n', want: ['document 1, line 1: must be a Kubernetes object, got a list'] },
  'an empty JSON array': { why: 'is none either', input: '[]', want: ['document 1, line 1: must be a Kubernetes object, got a list'] },

  // Text that ends too soon, or is no YAML
  'cut inside of quotes': { why: 'a pipe that broke', input: 'apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata:\n  name: "qw', want: ['document 1, line 4: must be well-formed YAML: missing closing "quote'] },
  'cut inside of a flow map': { why: 'the same', input: 'apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata: {name: qwen}\nspec: {model: org/a, source: {hugg', want: ['document 1, line 4: must be well-formed YAML: flow map in block collection must be sufficiently indented and end with a }'] },
  'cut inside of a key': { why: 'the same', input: 'apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata:\n  na', want: [
      'document 1: ArksModel (without a name): metadata: must be a map, got text',
      'document 1: ArksModel (without a name): spec: must be present',
    ] },
  'cut inside of a bystander': { why: 'it would be applied without its end', input: `${GOOD}---\napiVersion: v1\nkind: Secret\nstringData: {a: "b`, want: ['document 2, line 8: must be well-formed YAML: missing closing "quote'] },
  'cut inside of a bystander of block style': { why: 'the same', input: `${GOOD}---\napiVersion: v1\nkind: Secret\nstringData:\n  a: "b\n`, want: ['document 2, line 10: must be well-formed YAML: missing closing "quote'] },
  'cut inside of a model of a ResourceList': { why: 'nothing can be given back', input: `${list('', GOOD)}- apiVersion: arks.ai/v1\n  kind: ArksModel\n  metadata: {name: "b`, want: ['document 1, line 10: must be well-formed YAML: missing closing "quote'] },
  'cut inside of a bystander of a ResourceList': { why: 'it would be given back without its end', input: list('', GOOD, 'kind: Secret\nstringData:\n  a: "b'), want: ['document 1, line 10: must be well-formed YAML: missing closing "quote'] },
  'steps of a few hundred': { why: 'the stack is not endless', input: `apiVersion: arks.ai/v1\nkind: ArksModel\nspec:\n${Array.from({ length: 300 }, (_, depth) => `${' '.repeat(depth + 2)}a:\n`).join('')}`, want: ['document 1, line 104: must not be nested deeper than 100 levels'] },
  'an object for the version': { why: 'nothing that it holds is called', input: '{"apiVersion": {"toString": 1}, "kind": "ArksModel", "metadata": {"name": "qwen"}}', want: ['ArksModel qwen: apiVersion: must be arks.ai/v1, got a map', 'ArksModel qwen: spec: must be present'] },
  'no version': { why: 'nobody else has this kind', input: GOOD.replace('apiVersion: arks.ai/v1\n', ''), want: ['ArksModel qwen: apiVersion: must be present'] },
  'a version without its group': { why: 'it would go by unexpanded', input: GOOD.replace('arks.ai/v1', 'v1'), want: ['ArksModel qwen: apiVersion: must be arks.ai/v1, got "v1"'] },
  'text for a function config': { why: 'the settings would be left out', input: list('text', GOOD), want: ['document 1, line 3: functionConfig: must be a map'] },
  'cut inside of a function config': { why: 'the same', input: 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: []\nfunctionConfig:\n  kind: "Exp', want: ['document 1, line 5: must be well-formed YAML: missing closing "quote'] },
  'cut inside of a JSON ResourceList': { why: 'the same', input: '{"apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "items": [{"apiVersion": "arks.', want: ['document 1, line 1: must be well-formed YAML: missing closing "quote'] },
  'cut before the items': { why: 'the same', input: 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nite', want: ['document 1, line 3: must be well-formed YAML: implicit map keys need to be followed by map values'] },
  'a tab': { why: 'YAML indents with spaces', input: 'apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata:\n\tname: qwen\n', want: ['document 1, line 4: must be well-formed YAML: tabs are not allowed as indentation'] },
  'a key twice': { why: 'kubectl would take the last one', input: model('\n  model: org/a\n  model: org/b'), want: ['document 1, line 6: must have the key "model" only once'] },
  'a key twice in flow style': { why: 'the same', input: model('{model: org/a, model: org/b}'), want: ['document 1, line 4: must have the key "model" only once'] },
  'no separator': { why: 'two objects in one', input: GOOD + GOOD, want: ['document 1, line 5: must have the key "apiVersion" only once'] },
  'a key that is a list': { why: 'JSON has none', input: model('{[a]: b}'), want: ['document 1, line 4: keys must be text'] },
  'an alias without an anchor': { why: 'the anchor is in another document', input: model('*spec'), want: ['document 1, line 4: alias *spec has no anchor before it'] },
  'a bomb in a model': { why: 'a billion values in a few lines', input: model(`\n  model: org/a\n${bomb('  ')}`), want: ['document 1, line 9: aliases must not expand to more than 10000 values'] },
  'a bomb that is the model': { why: 'in all of it', input: `${bomb('')}apiVersion: arks.ai/v1\nkind: ArksModel\n`, want: ['document 1, line 4: aliases must not expand to more than 10000 values'] },
  'a hundred and one levels': { why: 'a parser calls itself once a level', input: model(`{a: ${'['.repeat(150)}${']'.repeat(150)}}`), want: ['document 1, line 4: must not be nested deeper than 100 levels'] },
  'a thousand levels': { why: 'the same', input: model(`{a: ${'{a: '.repeat(1000)}b${'}'.repeat(1000)}}`), want: ['document 1, line 1: must not be nested deeper than 100 levels'] },

  // The ResourceList
  'a list without items': { why: 'not even an empty list', input: 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\n', want: ['document 1, line 1: a ResourceList must have `items`, a list'] },
  'a list whose items are null': { why: 'the same', input: 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: null\n', want: ['document 1, line 1: a ResourceList must have `items`, a list'] },
  'a list whose items are a map': { why: 'the same', input: 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: {a: b}\n', want: ['document 1, line 1: a ResourceList must have `items`, a list'] },
  'a list whose items are text': { why: 'the same', input: 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: none\n', want: ['document 1, line 1: a ResourceList must have `items`, a list'] },
  'two lists': { why: 'an orchestrator sends one', input: list('', GOOD) + '---\n' + list('', GOOD), want: ['document 2, line 8: must be the only document: a ResourceList is a whole input'] },
  'a list behind a document': { why: 'the same', input: GOOD + '---\n' + list('', GOOD), want: ['document 2, line 5: must be the only document: a ResourceList is a whole input'] },
  'a list beside a file': { why: 'settings and results of which of the two?', files: { 'list.yaml': list('', GOOD), 'model.yaml': model('{model: a, storage: {pvc: {name: c}}}', 'name: other') }, want: ['list.yaml: must be the only input: it is a ResourceList'] },
  'selectors of kpt': { why: 'what they hide would be made again', input: list('', `apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata:\n  name: qwen\n  annotations:\n    internal.config.kubernetes.io/path: models/qwen.yaml\n    internal.config.kubernetes.io/kpt-resource-id: '1'\nspec: {model: a, storage: {pvc: {name: c}}}\n`), want: ['models/qwen.yaml: ArksModel qwen: must be rendered without `selectors` and `exclude` in the Kptfile: they hide what was generated before'] },
  'a model in a file of a package': { why: 'kpt says where it is from', input: list('', model('{model: org/a}', 'name: qwen, namespace: models, annotations: {internal.config.kubernetes.io/path: models/qwen.yaml}')), want: ['models/qwen.yaml: ArksModel models/qwen: spec.storage.pvc: must have the `spec` of a new claim, or the `name` of one that exists'] },

  // The function config
  'a config of another kind': { why: 'any object can be given', input: list('{apiVersion: v1, kind: Secret, metadata: {name: s}}', GOOD), want: ['Secret s: kind: must be ExpandArksModels or SealWorkerJobs of fn.arks.ai/v1alpha1, or ConfigMap of v1, got "Secret"'] },
  'a config without a kind': { why: 'the same', input: list('{metadata: {name: settings}, spec: {image: a}}', GOOD), want: ['object settings: kind: must be ExpandArksModels or SealWorkerJobs of fn.arks.ai/v1alpha1, or ConfigMap of v1'] },
  'a config of another version': { why: 'the same', input: list('{apiVersion: fn.arks.ai/v1, kind: ExpandArksModels}', GOOD), want: ['ExpandArksModels (without a name): apiVersion: must be fn.arks.ai/v1alpha1, got "fn.arks.ai/v1"'] },
  'a ConfigMap of another version': { why: 'the same', input: list('{apiVersion: v2, kind: ConfigMap, data: {}}', GOOD), want: ['ConfigMap (without a name): apiVersion: must be v1, got "v2"'] },
  'an unknown field of the config': { why: 'the nearest is offered', input: list('{apiVersion: fn.arks.ai/v1alpha1, kind: ExpandArksModels, metadata: {name: s}, spec: {imge: a, proxy: {htp: b}}}', GOOD), want: [
      'ExpandArksModels s: spec.imge: unknown field "imge"; did you mean "image"?',
      'ExpandArksModels s: spec.proxy.htp: unknown field "htp"; did you mean "http"?',
    ] },
  "an unknown key of kpt's ConfigMap": { why: 'the same', input: list(configMap('data: {retension: Delete}'), GOOD), want: ['ConfigMap settings: data.retension: unknown field "retension"; did you mean "retention"?'] },
  "a map in kpt's ConfigMap": { why: 'all of its values are text', input: list(configMap('data: {proxy: "http://proxy"}'), GOOD), want: ['ConfigMap settings: data.proxy: must be set in an ExpandArksModels file: a ConfigMap holds text alone'] },
  'a ConfigMap with text for its data': { why: 'would be taken for no settings', input: list(configMap('data: image'), GOOD), want: ['ConfigMap settings: data: must be a map, got text'] },
  'a ConfigMap without data': { why: 'the same', input: list(configMap('date: {image: a}'), GOOD), want: ['ConfigMap settings: date: unknown field "date"; did you mean "data"?'] },
  'a limit that is no number': { why: 'text, as all values of a ConfigMap are', input: list(configMap('data: {backoffLimit: many}'), GOOD), want: ['ConfigMap settings: data.backoffLimit: must be a whole number, got "many"'] },
  'a limit beyond 32 bits': { why: 'the API server would refuse every Job', input: list(configMap('data: {backoffLimit: "99999999999"}'), GOOD), want: ['ConfigMap settings: data.backoffLimit: must be at most 2147483647, got the number 99999999999'] },
  'an image with a space': { why: 'the same', input: GOOD, config: settings('{image: "arksai/arksmodel: 1"}'), want: ['settings.yaml: ExpandArksModels settings: spec.image: must be the name of an image, without spaces, got "arksai/arksmodel: 1"'] },
  'a config file that is broken': { why: 'its line is named', input: GOOD, config: settings('{image: "a'), want: ['settings.yaml: line 5: must be well-formed YAML: missing closing "quote'] },
  'an empty config file': { why: 'no settings at all must be meant', input: GOOD, config: '# none\n', want: ['settings.yaml: must be a function config, got no object'] },
  'a config file of text': { why: 'is no object', input: GOOD, config: 'image: a\n---\nb\n', want: ['settings.yaml: line 2: must be the only function config'] },
  'a list for a config file': { why: 'is none either', input: GOOD, config: '- image: a\n', want: ['settings.yaml: must be a function config, got no object'] },
  'two settings in the config file': { why: 'the second was ignored', input: GOOD, config: settings('{}') + '---\n' + settings('{image: a}'), want: ['settings.yaml: line 5: must be the only function config'] },
  'a ResourceList for a config file': { why: 'the wrong file', input: GOOD, config: list('', GOOD), want: ['settings.yaml: must be a function config, got a ResourceList'] },
  'a model for a config file': { why: 'the files changed places', input: settings('{}'), config: GOOD, want: ['ExpandArksModels settings: must not be there beside --config settings.yaml'] },
  'settings in the stream and in a file': { why: 'which of the two?', input: GOOD + '---\n' + settings('{}'), config: settings('{}'), want: ['ExpandArksModels settings: must not be there beside --config settings.yaml'] },
  'settings twice in the stream': { why: 'the same', input: settings('{}') + '---\n' + GOOD + '---\n' + settings('{}'), want: ['ExpandArksModels settings: must be the only function config'] },
  'settings in a list that brings a config': { why: 'the same', input: list(configMap('data: {image: a}'), GOOD, settings('{}')), want: ['ExpandArksModels settings: must be the only function config'] },
  'settings of a file with an unknown field': { why: 'the file is named', files: { 'model.yaml': GOOD, 'settings.yaml': settings('{proxi: {}}') }, want: ['settings.yaml: ExpandArksModels settings: spec.proxi: unknown field "proxi"; did you mean "proxy"?'] },
  'what is wrong in the instanceSpec of the settings': { why: 'the same as in a model', input: GOOD, config: settings('{instanceSpec: {nodeSelector: {"a b": c}, dnsPolicy: Cluster, labels: {team: a b}}}'), want: [
      'settings.yaml: ExpandArksModels settings: spec.instanceSpec.nodeSelector[a b]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "a b"',
      'settings.yaml: ExpandArksModels settings: spec.instanceSpec.dnsPolicy: must be one of ClusterFirst, ClusterFirstWithHostNet, Default, None, got "Cluster"',
      'settings.yaml: ExpandArksModels settings: spec.instanceSpec.labels.team: must be at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, got "a b"',
    ] },
  'a variable of the settings that is ours': { why: 'the model has none of its own', input: hub('tokenSecretRef: {name: t}'), config: settings('{instanceSpec: {env: [{name: HF_TOKEN, value: x}]}}'), want: ['ArksModel qwen: spec.instanceSpec.env: must not be HF_TOKEN from the function config: the function sets it for this model'] },
  'a limit of the settings below a request of the model': { why: 'each is right on its own', input: job('resources: {requests: {memory: 4Gi}}'), config: settings('{instanceSpec: {resources: {limits: {memory: 2Gi}}}}'), want: ['ArksModel qwen: spec.instanceSpec.resources.requests.memory: must be at most the limit of "2Gi" from the function config, got "4Gi"'] },

  // The model: what it must have
  'no metadata': { why: 'found by its document', input: `# a\n---\n${GOOD}---\napiVersion: arks.ai/v1\nkind: ArksModel\nspec: {model: a, storage: {pvc: {name: c}}}\n`, want: ['document 2: ArksModel (without a name): metadata: must be present'] },
  'no name': { why: 'the same', input: model('{model: a, storage: {pvc: {name: c}}}', 'namespace: models'), want: ['document 1: ArksModel models/(without a name): metadata.name: must be present'] },
  'a name that the server makes up': { why: 'the Job cannot refer to it', input: model('{model: a, storage: {pvc: {name: c}}}', 'generateName: qwen-'), want: ['document 1: ArksModel (without a name): metadata.name: must be present: nothing can refer to a name from `generateName`'] },
  'a name that is a number': { why: 'YAML reads it so', input: model('{model: a, storage: {pvc: {name: c}}}', 'name: 7'), want: ['document 1: ArksModel (without a name): metadata.name: must be text, got the number 7'] },
  'a name that is empty': { why: 'a variable that was not set', input: model('{model: a, storage: {pvc: {name: c}}}', 'name: ""'), want: ['document 1: ArksModel (without a name): metadata.name: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part'] },
  'no spec': { why: 'one cause, one line', input: 'apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata: {name: qwen}\n', want: ['ArksModel qwen: spec: must be present'] },
  'no storage': { why: 'where to?', input: model('{model: org/a, source: {huggingface: {}}}'), want: ['ArksModel qwen: spec.storage.pvc: must have the `spec` of a new claim, or the `name` of one that exists'] },
  'neither name nor spec of a claim': { why: 'the same', input: model('{model: org/a, storage: {pvc: {}}}'), want: ['ArksModel qwen: spec.storage.pvc: must have the `spec` of a new claim, or the `name` of one that exists'] },
  'a source without a member': { why: 'upstream goes Ready with nothing loaded', input: model('{model: org/a, source: {}, storage: {pvc: {name: c}}}'), want: ['ArksModel qwen: spec.source: must have the member `huggingface`, or be left out when the model is on the volume already'] },
  'another version': { why: 'there is one', input: GOOD.replace('arks.ai/v1', 'arks.ai/v2'), want: ['ArksModel qwen: apiVersion: must be arks.ai/v1, got "arks.ai/v2"'] },
  'null for the metadata': { why: 'as if it were absent', input: GOOD.replace('{name: qwen}', ''), want: ['document 1: ArksModel (without a name): metadata: must be present'] },
  'null for the spec': { why: 'the same', input: model('null'), want: ['ArksModel qwen: spec: must be present'] },
  'null for the model': { why: 'the same', input: model('{model: , storage: {pvc: {name: c}}}'), want: ['ArksModel qwen: spec.model: must be present'] },
  'null for the storage': { why: 'the same', input: model('{model: org/a, storage: null}'), want: ['ArksModel qwen: spec.storage.pvc: must have the `spec` of a new claim, or the `name` of one that exists'] },
  'null for the claim': { why: 'the same', input: model('{model: org/a, storage: {pvc: ~}}'), want: ['ArksModel qwen: spec.storage.pvc: must have the `spec` of a new claim, or the `name` of one that exists'] },
  'null for all of the claim': { why: 'the same', input: model('{model: org/a, storage: {pvc: {name: null, spec: null}}}'), want: ['ArksModel qwen: spec.storage.pvc: must have the `spec` of a new claim, or the `name` of one that exists'] },
  'null for what has a default': { why: 'a server-side apply refuses it, and a second run would not know of it', input: model('{model: org/a, source: {huggingface: {revision: ~}}, storage: {pvc: {name: c}}, instanceSpec: {env: [{name: A, value: }], podSecurityContext: {fsGroup: null}}}'), want: ['ArksModel qwen: spec.source.huggingface.revision: must not be null: leave the field out', 'ArksModel qwen: spec.instanceSpec.env[0].value: must not be null: leave the field out', 'ArksModel qwen: spec.instanceSpec.podSecurityContext.fsGroup: must not be null: leave the field out'] },
  'null for the member of the source': { why: 'the same', input: model('{model: org/a, source: {huggingface: null}, storage: {pvc: {name: c}}}'), want: ['ArksModel qwen: spec.source.huggingface: must not be null: write {} for a public model'] },
  'text for the metadata': { why: 'a kind too low', input: GOOD.replace('{name: qwen}', 'qwen'), want: ['document 1: ArksModel (without a name): metadata: must be a map, got text'] },
  'a list for the spec': { why: 'dashes too many', input: model('\n- model: org/a'), want: ['ArksModel qwen: spec: must be a map, got a list'] },
  'text for the storage': { why: 'one cause, one line', input: model('{model: org/a, storage: 20Gi}'), want: ['ArksModel qwen: spec.storage: must be a map, got text'] },
  'text for the claim': { why: 'the same', input: model('{model: org/a, storage: {pvc: models}}'), want: ['ArksModel qwen: spec.storage.pvc: must be a map, got text'] },
  'a number for the name of the claim': { why: 'YAML reads it so', input: model('{model: org/a, storage: {pvc: {name: 5}}}'), want: ['ArksModel qwen: spec.storage.pvc.name: must be text, got the number 5'] },
  'a list for the labels': { why: 'dashes too many', input: model('{model: a, storage: {pvc: {name: c}}}', 'name: qwen, labels: [a]'), want: ['ArksModel qwen: metadata.labels: must be a map, got a list'] },
  'numbers in the metadata': { why: 'YAML reads them so', input: model('{model: a, storage: {pvc: {name: c}}}', 'name: qwen, namespace: 5, labels: {a: 1}, annotations: {b: true}'), want: [
      'ArksModel qwen: metadata.namespace: must be text, got the number 5',
      'ArksModel qwen: metadata.labels.a: must be text, got the number 1',
      'ArksModel qwen: metadata.annotations.b: must be text, got true',
    ] },

  // The rules of the CRD
  'a model that is no repository': { why: 'rule of spec', input: model('{model: org/a/b, source: {huggingface: {}}, storage: {pvc: {name: c}}}'), want: ['ArksModel qwen: spec.model: must be the id of a repository on the Hub such as "Qwen/Qwen2.5-7B-Instruct" when the source is huggingface, got "org/a/b"'] },
  'an endpoint with a password': { why: 'rule of endpoint; nothing of it is repeated', input: hub('endpoint: "https://me:pass@hub"'), want: ['ArksModel qwen: spec.source.huggingface.endpoint: must be an http or https URL such as "https://hf-mirror.com", without user, password or query'] },
  'empty patterns': { why: 'rules of include and exclude', input: hub('include: [""], exclude: ["*.bin", " "]'), want: [
      'ArksModel qwen: spec.source.huggingface.include[0]: must not be empty',
      'ArksModel qwen: spec.source.huggingface.exclude[1]: must not be empty, got " "',
    ] },
  'a revision with dots': { why: 'rule of revision', input: hub('revision: a..b'), want: ['ArksModel qwen: spec.source.huggingface.revision: must be a branch, a tag or a commit, without spaces and without "..", got "a..b"'] },
  'a token for the name of its Secret': { why: 'rule of tokenSecretRef; nothing of it is repeated', input: hub(`tokenSecretRef: {name: ${TOKEN}}`), want: ['ArksModel qwen: spec.source.huggingface.tokenSecretRef.name: must be the name of a Secret, not the token itself'] },
  'a token as text': { why: 'the same', input: hub(`tokenSecretRef: ${TOKEN}`), want: ['ArksModel qwen: spec.source.huggingface.tokenSecretRef: must be the name of a Secret, not the token itself'] },
  'a Secret that cannot be': { why: 'the other rule of tokenSecretRef', input: hub('tokenSecretRef: {name: HF_TOKEN, key: a/b}'), want: [
      'ArksModel qwen: spec.source.huggingface.tokenSecretRef.name: must be the name of a Secret: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part',
      'ArksModel qwen: spec.source.huggingface.tokenSecretRef.key: must be a key of a Secret such as "HF_TOKEN"',
    ] },
  'a claim that cannot be': { why: 'rule of pvc.name', input: model('{model: org/a, storage: {pvc: {name: My_Claim}}}'), want: ['ArksModel qwen: spec.storage.pvc.name: must be the name of a claim: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "My_Claim"'] },
  'a path that climbs': { why: 'rule of subPath', input: model('{model: org/a, storage: {pvc: {name: c}, subPath: ../other}}'), want: ['ArksModel qwen: spec.storage.subPath: must be a path relative to the root of the volume, without ".." in it, got "../other"'] },

  // Unknown fields
  'unknown fields at every depth': {
    why: 'each with the nearest name',
    input: `apiVersion: arks.ai/v1\nkind: ArksModel\nmetadata: {name: qwen}\nstats: {}\nspec:\n  modle: org/a\n  model: org/a\n  source: {huggingface: {tokenSecretRef: {name: t, keys: a}, revison: main}}\n  storage: {pvc: {nam: c, name: c, spec: {accessMode: [ReadWriteOnce], ${GOOD_CLAIM}}}}\n  instanceSpec: {resource: {}, env: [{name: A, valueFrom: {secretKeyRef: {nme: s, key: k}}}], affinity: {nodeAffinty: {}}}\n`,
    want: [
      'ArksModel qwen: stats: unknown field "stats"; did you mean "status"?',
      'ArksModel qwen: spec.modle: unknown field "modle"; did you mean "model"?',
      'ArksModel qwen: spec.source.huggingface.tokenSecretRef.keys: unknown field "keys"; did you mean "key"?',
      'ArksModel qwen: spec.source.huggingface.revison: unknown field "revison"; did you mean "revision"?',
      'ArksModel qwen: spec.storage.pvc.nam: unknown field "nam"; did you mean "name"?',
      'ArksModel qwen: spec.storage.pvc.spec.accessMode: unknown field "accessMode"; did you mean "accessModes"?',
      'ArksModel qwen: spec.instanceSpec.resource: unknown field "resource"; did you mean "resources"?',
      'ArksModel qwen: spec.instanceSpec.env[0].valueFrom.secretKeyRef.nme: unknown field "nme"; did you mean "name"?',
      'ArksModel qwen: spec.instanceSpec.affinity.nodeAffinty: unknown field "nodeAffinty"; did you mean "nodeAffinity"?',
    ],
  },
  'fields of other projects': { why: 'nothing is near', input: model('{model: org/a, storage: {pvc: {name: c}}, engine: vllm, __proto__: {a: b}, constructor: x}'), want: [
      'ArksModel qwen: spec.engine: unknown field "engine"',
      'ArksModel qwen: spec.__proto__: unknown field "__proto__"',
      'ArksModel qwen: spec.constructor: unknown field "constructor"',
    ] },

  // What Kubernetes would refuse later
  'names that cannot be': { why: 'of the object itself', input: model('{model: org/a, storage: {pvc: {name: c}}}', 'name: Qwen_7B, namespace: my.models'), want: [
      'ArksModel my.models/Qwen_7B: metadata.name: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "Qwen_7B"',
      'ArksModel my.models/Qwen_7B: metadata.namespace: must be a name for a namespace: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends, got "my.models"',
    ] },
  'no access mode': { why: 'a claim has one', input: claimed('accessModes: [], resources: {requests: {storage: 1Gi}}'), want: ['ArksModel qwen: spec.storage.pvc.spec.accessModes: must hold at least one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod'] },
  'an access mode of the vendors': { why: 'unknown to Kubernetes', input: claimed('accessModes: [RWX], resources: {requests: {storage: 1Gi}}'), want: ['ArksModel qwen: spec.storage.pvc.spec.accessModes[0]: must be one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod, got "RWX"'] },
  'an access mode that excludes others': { why: 'validation of claims', input: claimed('accessModes: [ReadWriteOncePod, ReadWriteMany], resources: {requests: {storage: 1Gi}}'), want: ['ArksModel qwen: spec.storage.pvc.spec.accessModes: must hold no other mode beside ReadWriteOncePod'] },
  'a claim that nothing can write to': { why: 'the Job could never end', input: claimed('accessModes: [ReadOnlyMany], resources: {requests: {storage: 1Gi}}'), want: ['ArksModel qwen: spec.storage.pvc.spec.accessModes: must hold a mode that the worker can write with, got only ReadOnlyMany'] },
  'no size': { why: 'a claim has one', input: claimed('accessModes: [ReadWriteOnce]'), want: ['ArksModel qwen: spec.storage.pvc.spec.resources.requests.storage: must be present, a quantity such as "20Gi"'] },
  'sizes that are none': { why: 'quantities', input: claimed('accessModes: [ReadWriteOnce], resources: {requests: {storage: 20GB}, limits: {storage: lots}}'), want: [
      'ArksModel qwen: spec.storage.pvc.spec.resources.requests.storage: must be a quantity such as "20Gi", got "20GB"',
      'ArksModel qwen: spec.storage.pvc.spec.resources.limits.storage: must be a quantity such as "20Gi", got "lots"',
    ] },
  'a size of nothing': { why: 'validation of claims', input: claimed('accessModes: [ReadWriteOnce], resources: {requests: {storage: 0}}'), want: ['ArksModel qwen: spec.storage.pvc.spec.resources.requests.storage: must be more than 0, got "0"'] },
  'a size above its limit': { why: 'the same', input: claimed('accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}, limits: {storage: 1Gi}}'), want: ['ArksModel qwen: spec.storage.pvc.spec.resources.requests.storage: must be at most the limit of "1Gi", got "2Gi"'] },
  'a block device': { why: 'a model is files', input: claimed(`${GOOD_CLAIM}, volumeMode: Block`), want: ['ArksModel qwen: spec.storage.pvc.spec.volumeMode: must be Filesystem: a model is files, got "Block"'] },
  'a storage class that cannot be': { why: 'a name too', input: claimed(`${GOOD_CLAIM}, storageClassName: Fast_SSD`), want: ['ArksModel qwen: spec.storage.pvc.spec.storageClassName: must be a DNS name of lower-case letters, digits, "-" and ".", got "Fast_SSD"'] },
  'a token for a storage class': { why: 'nothing of it is repeated', input: claimed(`${GOOD_CLAIM}, storageClassName: ${TOKEN}`), want: ['ArksModel qwen: spec.storage.pvc.spec.storageClassName: must be a DNS name of lower-case letters, digits, "-" and "."'] },
  'labels that cannot be': { why: 'of the pod and of the model', input: model('{model: org/a, storage: {pvc: {name: c}}, instanceSpec: {labels: {-a: b, team: "a b", "x/y/z": c}}}', `name: qwen, labels: {a.b/: c, d: ${'e'.repeat(64)}}`), want: [
      'ArksModel qwen: metadata.labels[a.b/]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "a.b/"',
      'ArksModel qwen: metadata.labels.d: must be at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, got "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee…"',
      'ArksModel qwen: spec.instanceSpec.labels[-a]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "-a"',
      'ArksModel qwen: spec.instanceSpec.labels.team: must be at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, got "a b"',
      'ArksModel qwen: spec.instanceSpec.labels[x/y/z]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "x/y/z"',
    ] },
  'annotations that cannot be': { why: 'only their keys can be wrong', input: model('{model: org/a, storage: {pvc: {name: c}}, instanceSpec: {annotations: {"a b": c}}}', 'name: qwen, annotations: {"my key": "any value", Example.COM/ok: x}'), want: [
      'ArksModel qwen: metadata.annotations[my key]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "my key"',
      'ArksModel qwen: spec.instanceSpec.annotations[a b]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "a b"',
    ] },
  'a node selector that cannot be': { why: 'labels too', input: job('nodeSelector: {kubernetes.io/arch: amd64/arm64, "gpu ": a}'), want: [
      'ArksModel qwen: spec.instanceSpec.nodeSelector[kubernetes.io/arch]: must be at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, got "amd64/arm64"',
      'ArksModel qwen: spec.instanceSpec.nodeSelector[gpu ]: must be a key of at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends, alone or below a domain as in "example.com/team", got "gpu "',
    ] },
  'variables that cannot be': { why: 'validation of pods; the values stay unsaid', input: job('env: [{name: "A=B", value: x}, {name: "", value: x}, {name: C, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]'), want: [
      'ArksModel qwen: spec.instanceSpec.env[0].name: must be the name of a variable: printable ASCII without "=", at least one character',
      'ArksModel qwen: spec.instanceSpec.env[1].name: must be the name of a variable: printable ASCII without "=", at least one character',
      'ArksModel qwen: spec.instanceSpec.env[2].valueFrom: must not be there beside `value`',
    ] },
  'variables that are ours': { why: 'the loader reads them', input: model('{model: org/a, source: {huggingface: {tokenSecretRef: {name: t}, endpoint: "https://hub"}}, storage: {pvc: {name: c}}, instanceSpec: {env: [{name: A, value: b}, {name: HF_TOKEN, value: x}, {name: HF_ENDPOINT, value: x}, {name: MODEL, value: x}]}}'), want: [
      'ArksModel qwen: spec.instanceSpec.env[1].name: must not be HF_TOKEN: the function sets it for this model',
      'ArksModel qwen: spec.instanceSpec.env[2].name: must not be HF_ENDPOINT: the function sets it for this model',
      'ArksModel qwen: spec.instanceSpec.env[3].name: must not be MODEL: the function sets it for this model',
    ] },
  'tolerations that cannot be': { why: 'validation of pods', input: job('tolerations: [{key: a, effect: NoScedule}, {key: a, operator: exists}, {key: a, operator: Exists, value: b}, {operator: Equal}]'), want: [
      'ArksModel qwen: spec.instanceSpec.tolerations[0].effect: must be one of NoSchedule, PreferNoSchedule, NoExecute, got "NoScedule"',
      'ArksModel qwen: spec.instanceSpec.tolerations[1].operator: must be one of Exists, Equal, Lt, Gt, got "exists"',
      'ArksModel qwen: spec.instanceSpec.tolerations[2].value: must be absent where the operator is Exists, got "b"',
      'ArksModel qwen: spec.instanceSpec.tolerations[3].key: must be present where the operator is not Exists',
    ] },
  'policies that there are not': { why: 'the same', input: job('dnsPolicy: ClusterFirstWithHost, preemptionPolicy: Always'), want: [
      'ArksModel qwen: spec.instanceSpec.dnsPolicy: must be one of ClusterFirst, ClusterFirstWithHostNet, Default, None, got "ClusterFirstWithHost"',
      'ArksModel qwen: spec.instanceSpec.preemptionPolicy: must be one of PreemptLowerPriority, Never, got "Always"',
    ] },
  'names of others that cannot be': { why: 'the same', input: job('serviceAccountName: my_account, priorityClassName: High, runtimeClassName: "nvidia ", nodeName: Node 1'), want: [
      'ArksModel qwen: spec.instanceSpec.serviceAccountName: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "my_account"',
      'ArksModel qwen: spec.instanceSpec.priorityClassName: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "High"',
      'ArksModel qwen: spec.instanceSpec.runtimeClassName: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "nvidia "',
      'ArksModel qwen: spec.instanceSpec.nodeName: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "Node 1"',
    ] },
  'seconds below zero': { why: 'the same', input: job('activeDeadlineSeconds: -1, terminationGracePeriodSeconds: -1'), want: [
      'ArksModel qwen: spec.instanceSpec.activeDeadlineSeconds: must be at least 0, got the number -1',
      'ArksModel qwen: spec.instanceSpec.terminationGracePeriodSeconds: must be at least 0, got the number -1',
    ] },
  'requests above their limits': { why: 'the same', input: job('resources: {requests: {memory: 2Gi, nvidia.com/gpu: 2}, limits: {memory: 1Gi, nvidia.com/gpu: 1, cpu: -1}}'), want: [
      'ArksModel qwen: spec.instanceSpec.resources.limits.cpu: must be at least 0, got "-1"',
      'ArksModel qwen: spec.instanceSpec.resources.requests.memory: must be at most the limit of "1Gi", got "2Gi"',
      'ArksModel qwen: spec.instanceSpec.resources.requests[nvidia.com/gpu]: must be at most the limit of "1", got "2"',
    ] },
  'volumes that cannot be': { why: 'the same, and the names that are ours', input: job('volumes: [{name: models, emptyDir: {}}, {name: tmp, emptyDir: {}}, {name: tmp, emptyDir: {}}, {name: My_Dir, emptyDir: {}}]'), want: [
      'ArksModel qwen: spec.instanceSpec.volumes[0].name: must not be models: the function has a volume of this name',
      'ArksModel qwen: spec.instanceSpec.volumes[2].name: must not be used twice, got "tmp" again',
      'ArksModel qwen: spec.instanceSpec.volumes[3].name: must be at most 63 lower-case letters, digits and "-", with a letter or digit at both ends, got "My_Dir"',
    ] },
  'mounts that cannot be': { why: 'the same', input: job('volumes: [{name: tmp, emptyDir: {}}], volumeMounts: [{name: tmp, mountPath: /models/}, {name: temp, mountPath: /tmp}, {name: tmp, mountPath: /tmp}]'), want: [
      'ArksModel qwen: spec.instanceSpec.volumeMounts[0].mountPath: must not be /models: the claim is mounted there',
      'ArksModel qwen: spec.instanceSpec.volumeMounts[1].name: must be the name of a volume, got "temp"',
      'ArksModel qwen: spec.instanceSpec.volumeMounts[2].mountPath: must not be used twice, got "/tmp" again',
    ] },
  'init containers that cannot be': { why: 'the same', input: job('initContainers: [{name: worker, image: a}, {name: a}, {name: a, image: b}, {name: A_B, image: c}]'), want: [
      'ArksModel qwen: spec.instanceSpec.initContainers[0].name: must not be worker: the function has a container of this name',
      'ArksModel qwen: spec.instanceSpec.initContainers[2].name: must not be used twice, got "a" again',
      'ArksModel qwen: spec.instanceSpec.initContainers[3].name: must be at most 63 lower-case letters, digits and "-", with a letter or digit at both ends, got "A_B"',
      'ArksModel qwen: spec.instanceSpec.initContainers[1].image: must be present',
    ] },

  // Several objects
  'one model twice': { why: 'the one applied last would win', input: GOOD + '---\n' + GOOD.replace('name: qwen', 'name: qwen, namespace: default'), want: ['ArksModel default/qwen: metadata.name: must not be used by two models, got "qwen" again'] },
  'one model in two files': { why: 'the second file is named', files: { 'a.yaml': GOOD, 'b.yaml': GOOD }, want: ['b.yaml: ArksModel qwen: metadata.name: must not be used by two models, got "qwen" again'] },
  'one path': { why: 'each would remove the files of the other', input: ['subPath: a/b', 'subPath: ./a//b/', 'subPath: "a/b/."'].map((path, index) => model(`{model: org/a, source: {huggingface: {}}, storage: {pvc: {name: c}, ${path}}}`, `name: m${index}`)).join('---\n'), want: [
      'ArksModel m1: spec.storage.subPath: must differ from that of m0: both would write /models/a/b of the claim "c"',
      'ArksModel m2: spec.storage.subPath: must differ from that of m0: both would write /models/a/b of the claim "c"',
    ] },
  'one path, spelled out once': { why: 'the path of a model without one has a name too', input: model('{model: org/a, source: {huggingface: {}}, storage: {pvc: {name: c}}}', 'name: a, namespace: prod') + '---\n' + model('{model: org/a, source: {huggingface: {}}, storage: {pvc: {name: c}, subPath: models/prod/a}}', 'name: b, namespace: prod'), want: ['ArksModel prod/b: spec.storage.subPath: must differ from that of prod/a: both would write /models/models/prod/a of the claim "c"'] },
  'shards that are no number of them': { why: 'as text, and the same for a model with nothing to load', input: ['"0"', '"65"', '"100"', '"04"', '"+4"', '"-1"', '"4.0"', '"1e1"', '" 4"', '"0x4"', 'four', '"4\\n"', '""'].map((shards, index) => sharded(shards, index % 2 === 0 ? 'source: {huggingface: {}}, storage: {pvc: {name: c}}' : 'storage: {pvc: {name: c}}', `m${index}`)).join('---\n'), want: [
      ...['0', '65', '100', '04', '+4', '-1', '4.0', '1e1', ' 4', '0x4', 'four', '4\\n'].map((shards, index) => `ArksModel m${index}: ${SHARDS}, got "${shards}"`),
      `ArksModel m12: ${SHARDS}`,
    ] },
  'shards without quotes': { why: 'an annotation is text', input: sharded('4', 'source: {huggingface: {}}, storage: {pvc: {name: c}}'), want: ['ArksModel qwen: metadata.annotations[arks.ai/shards]: must be text, got the number 4'] },
  'shards on a claim of one node': { why: 'pods on other nodes would wait for it for ever', input: ['ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteOnce, ReadOnlyMany'].map((mode, index) => sharded('"2"', onClaim(mode).replace('name: c, ', ''), `m${index}`)).join('---\n'), want: [0, 1, 2].map((index) => `ArksModel m${index}: metadata.annotations[arks.ai/shards]: must be "1" where the claim "m${index}" has no access mode ReadWriteMany, got "2"`) },
  'shards on a claim of another model': { why: 'its spec stands there', input: sharded('"64"', 'source: {huggingface: {}}, storage: {pvc: {name: c}}') + '---\n' + model(`{model: org/b, ${onClaim('ReadWriteOnce')}}`, 'name: other'), want: ['ArksModel qwen: metadata.annotations[arks.ai/shards]: must be "1" where the claim "c" has no access mode ReadWriteMany, got "64"'] },
  'shards on a claim with a mode that is none': { why: 'one cause, one line', input: sharded('"2"', onClaim('RWX')), want: ['ArksModel qwen: spec.storage.pvc.spec.accessModes[0]: must be one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod, got "RWX"'] },
  'shards of a model that is wrong elsewhere': { why: 'all of it at once', input: sharded('"2"', `${onClaim('ReadWriteOnce').replace('name: c, ', '')}, sorce: a, instanceSpec: {env: [{name: JOB_COMPLETION_INDEX, value: "0"}]}`), want: [
      'ArksModel qwen: spec.sorce: unknown field "sorce"; did you mean "source"?',
      'ArksModel qwen: spec.instanceSpec.env[0].name: must not be JOB_COMPLETION_INDEX: the function sets it for this model',
      'ArksModel qwen: metadata.annotations[arks.ai/shards]: must be "1" where the claim "qwen" has no access mode ReadWriteMany, got "2"',
    ] },
  'the number of a shard': { why: 'each pod would load the same one', input: sharded('"2"', 'source: {huggingface: {}}, storage: {pvc: {name: c}}, instanceSpec: {env: [{name: JOB_COMPLETION_INDEX, value: "0"}]}'), want: ['ArksModel qwen: spec.instanceSpec.env[0].name: must not be JOB_COMPLETION_INDEX: the function sets it for this model'] },
  'one claim with two specs': { why: 'which of the two?', input: ['1Gi', '2Gi'].map((size) => model(`{model: org/a, storage: {pvc: {name: c, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: ${size}}}}}}}`, `name: m${size.toLowerCase()}`)).join('---\n'), want: ['ArksModel m2gi: spec.storage.pvc.spec.resources.requests.storage: must equal that of m1gi, which uses the claim "c" too: "1Gi", got "2Gi"'] },
  'a claim of that name': { why: 'the one applied last would win', input: `apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: qwen}\n---\n${claimed(GOOD_CLAIM)}`, want: ['ArksModel qwen: spec.storage.pvc.spec: must be absent where the claim is given: the input has a PersistentVolumeClaim "qwen"'] },
  'a claim of that name in JSON': { why: 'the same', input: `${claimed(GOOD_CLAIM)}---\n{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "default", "name": "qwen"}}\n`, want: ['ArksModel qwen: spec.storage.pvc.spec: must be absent where the claim is given: the input has a PersistentVolumeClaim "qwen"'] },

  // All at once
  'every problem of every model': {
    why: 'of syntax apart, nothing hides behind something else',
    input: [
      model('{model: org/a, source: {}, storage: {pvc: {spec: {accessModes: [], resources: {requests: {storage: lots}}}}}, instanceSpec: {env: [{name: A, valu: b}], volumes: [{name: models}]}}', 'name: one'),
      model('{model: org/b, source: {huggingface: {}}, storage: {pvc: {name: c}, subPath: x}}', 'name: two'),
      model('{model: org/b, sorce: a, source: {huggingface: {}}, storage: {pvc: {name: c}, subPath: x}}', 'name: three'),
      `apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: four}\n`,
      model(`{model: org/b, storage: {pvc: {spec: {${GOOD_CLAIM}}}}}`, 'name: four'),
    ].join('---\n'),
    want: [
      'ArksModel one: spec.source: must have the member `huggingface`, or be left out when the model is on the volume already',
      'ArksModel one: spec.storage.pvc.spec.resources.requests.storage: must be a quantity such as "20Gi", got "lots"',
      'ArksModel one: spec.instanceSpec.env[0].valu: unknown field "valu"; did you mean "value"?',
      'ArksModel one: spec.storage.pvc.spec.accessModes: must hold at least one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod',
      'ArksModel one: spec.instanceSpec.volumes[0].name: must not be models: the function has a volume of this name',
      'ArksModel three: spec.sorce: unknown field "sorce"; did you mean "source"?',
      'ArksModel three: spec.storage.subPath: must differ from that of two: both would write /models/x of the claim "c"',
      'ArksModel four: spec.storage.pvc.spec: must be absent where the claim is given: the input has a PersistentVolumeClaim "four"',
    ],
  },
  'a broken document and a wrong model': { why: 'the rest is looked at all the same', files: { 'a.yaml': 'apiVersion: arks.ai/v1\nkind: ArksModel\nspec: {', 'b.yaml': model('{model: 5, storage: {pvc: {name: c}}}') }, want: [
      'a.yaml: document 1, line 3: must be well-formed YAML: flow map in block collection must be sufficiently indented and end with a }',
      'b.yaml: ArksModel qwen: spec.model: must be text, got the number 5',
    ] },
  'a wrong config and a wrong model': { why: 'the same', input: model('{model: 5, storage: {pvc: {name: c}}}'), config: settings('{imge: a}'), want: [
      'settings.yaml: ExpandArksModels settings: spec.imge: unknown field "imge"; did you mean "image"?',
      'ArksModel qwen: spec.model: must be text, got the number 5',
    ] },

  // Hostile text
  'a token for a name': { why: 'nothing of it is repeated', input: model('{model: org/a, storage: {pvc: {name: c}}}', `name: ${TOKEN}`), want: ['ArksModel hf_…: metadata.name: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part'] },
  'a token for a field and for a label': { why: 'the same', input: model(`{model: org/a, ${TOKEN}: x, storage: {pvc: {name: c}}, instanceSpec: {labels: {a: "${TOKEN} "}}}`), want: [
      'ArksModel qwen: spec.hf_…: unknown field "hf_…"',
      'ArksModel qwen: spec.instanceSpec.labels.a: must be at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends',
    ] },
  'a token for an anchor': { why: 'the same', input: model(`*${TOKEN}`), want: ['document 1, line 4: alias *hf_… has no anchor before it'] },
  'a token in a config': { why: 'the same', input: GOOD, config: `apiVersion: ${TOKEN}\nkind: ExpandArksModels\n`, want: ['settings.yaml: ExpandArksModels (without a name): apiVersion: must be fn.arks.ai/v1alpha1, got text'] },
  'what a terminal obeys': { why: 'a name must not write a line of its own', input: model('{model: org/a, storage: {pvc: {name: c}}}', 'name: "a\\nerror: \\e[31mred\\u202e"'), want: ['ArksModel a\\u000aerror: \\u001b[31mred\\u202e: metadata.name: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "a\\nerror: \\u001b[31mred\\u202e"'] },
  'a name without end': { why: 'it would fill the log', input: model('{model: org/a, storage: {pvc: {name: c}}}', `name: ${'a'.repeat(5000)}`), want: ['ArksModel aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…: metadata.name: must be a name for Kubernetes: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends of each part, got "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…"'] },
  'a map where a word belongs': { why: 'with a method of its own', input: list('{apiVersion: {toString: a}, kind: {valueOf: b}, metadata: {name: {toString: c}}}', GOOD), want: ['object (without a name): kind: must be ExpandArksModels or SealWorkerJobs of fn.arks.ai/v1alpha1, or ConfigMap of v1, got a map'] },

  // The seal
  'nothing to seal': { why: 'the command before the pipe failed', seal: true, input: '', want: ['must hold at least one object, got nothing'] },
  'a model that was not expanded': { why: 'there is no Job to seal', seal: true, input: GOOD, want: ['ArksModel qwen: metadata.annotations["arks.ai/worker-job"]: must be present: expand the model first'] },
}
