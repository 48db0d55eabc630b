/** Objects of others in every style that YAML has, as documents of a stream. None may lose a byte. */
export const BYSTANDERS: Readonly<Record<string, string>> = {
  'plain block': 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: b\n',
  'sorted by kustomize': 'apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  replicas: 2\n',
  'octal and big numbers':
    'apiVersion: v1\nkind: X\ndefaultMode: 0644\nbig: 12345678901234567890\nfloat: 1.10\nexp: 1e400\n',
  'words of YAML 1.1': 'apiVersion: v1\nkind: X\na: yes\nb: off\nc: ~\nd: 1_000\ne: 1:30\nf: 2001-01-01\ny: n\n',
  'duplicate keys': 'apiVersion: v1\nkind: ConfigMap\ndata:\n  a: 1\n  a: 2\nkind: ConfigMap\n',
  'a comment on every line':
    '# above\napiVersion: v1 # one\nkind: X # two\n  # deep\nspec: # three\n  a: b # four\n      # deepest\n# below\n',
  'key order and blank lines': 'spec:\n\n\n  a: b\n\nkind: X\n\n\napiVersion: v1\n\n\n',
  'spaces at the ends of lines': 'apiVersion: v1  \nkind: X   \nspec:\t\n  a: b \t \n',
  'a script with tabs': 'apiVersion: v1\nkind: ConfigMap\ndata:\n  run.sh: |\n    if true; then\n    \techo hi\n    fi\n',
  'separators in text': 'apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    ---\n    b: c\n    ...\n  b: |\n   ---\n',
  'folded and kept text':
    'apiVersion: v1\nkind: ConfigMap\ndata:\n  a: >-\n    one\n    two\n\n    three\n  b: |+\n    x\n\n\n  c: |2\n      indented\n',
  'text over several lines':
    'apiVersion: v1\nkind: X\na: one\n  two\n\n  three\nb: "one\n  two \\\n  three"\nc: \'one\n\n  two\'\n',
  'quoted keys': '"apiVersion": v1\n\'kind\': "X"\n"a b": \'it\'\'s\'\n"c\\u0041": d\n',
  'templates in quotes': 'apiVersion: v1\nkind: X\na: "{{ .Values.a }}"\nb: \'{{- if x }}\'\nc: |\n  {{ range . }}\n',
  'anchors and merge keys':
    'apiVersion: v1\nkind: X\nbase: &base\n  a: b\none:\n  <<: *base\n  c: d\ntwo: *base\nlist: [*base, &n 1, *n]\n',
  tags: 'apiVersion: v1\nkind: X\na: !!str 1\nb: !!binary aGk=\nc: !custom {x: y}\nd: !<tag:example.com,2000:e> f\n',
  'explicit keys': '? apiVersion\n: v1\n? kind\n: X\n? a # why: so\n: b\n',
  'flow maps': '{apiVersion: v1, kind: X, a: [1, {b: c}], "d": \'e\', f: }\n',
  'flow below block': 'apiVersion: v1\nkind: X\na: {b: c,\n  d: [e,\n  f]} # g\nh: []\n',
  'JSON on one line': '{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b\\n\\u00e9\\/","n":1e3,"z":null}}\n',
  'pretty JSON': '{\n  "apiVersion": "v1",\n  "kind": "ConfigMap",\n  "data": {\n    "a": "---"\n  }\n}\n',
  'JSON with tabs': '{\n\t"apiVersion": "v1",\n\t"kind": "X",\n\t"list": [\n\t\t1,\n\t\t2\n\t]\n}\n',
  'duplicate keys in JSON': '{"apiVersion": "v1", "kind": "X", "a": 1, "a": 2}\n',
  'deeper indentation': '    apiVersion: v1\n    kind: X\n    spec:\n            a:\n                - b\n',
  'sequences in and out': 'apiVersion: v1\nkind: X\na:\n- b\n- - c\n  - d\ne:\n    - f: g\n      h: i\n    -   j: k\n    -\n      l: m\n',
  'a very long line': `apiVersion: v1\nkind: X\na: ${'long '.repeat(20_000)}\nb: "${'x'.repeat(100_000)}"\n`,
  'line breaks of Windows': 'apiVersion: v1\r\nkind: X\r\n# c\r\n\r\ndata:\r\n  a: |\r\n    x\r\n    y\r\n',
  'other alphabets': 'apiVersion: v1\nkind: X\na: "日本語 🎉"\nü: é # ñ\nb: \u00a0x\u2028y\n',
  'no name at all': 'kind: X\n',
  'a kind like ours': 'apiVersion: example.com/v1\nkind: ArksModel\nspec: 0x1F\n',
  'our names in text': 'apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    apiVersion: arks.ai/v1\n    kind: ArksModel\n',
  'our names in flow': '{apiVersion: v1, kind: Role, rules: [{apiGroups: [arks.ai/v1], kinds: ArksModel, a: 1, a: 2}]}\n',
  'a Job and a claim of others':
    'apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, annotations: {about: "0644"}}\nspec: {template: {}}\n',
  'a List of others': 'apiVersion: v1\nkind: List\nitems:\n- kind: X\n  a: 0644\n# between\n- {kind: Y, b: 1, b: 2}\n',
  'a JSON List of others': '{"apiVersion": "v1", "kind": "List", "items": [{"kind": "X", "a": 1, "a": 2}, {"kind": "Y"}]}\n',
}
