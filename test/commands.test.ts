import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { parseArguments as controllerArguments } from '../controller/arguments.ts'
import { KIND } from '../crds/names.ts'
import { configProblems, modelProblems, type Problem } from '../crds/problems.ts'
import { parseArguments as functionArguments } from '../fn/arguments.ts'
import { DEFAULTS } from '../fn/config.ts'
import { asPlain } from '../fn/merge.ts'
import { parseArguments as loaderArguments } from '../loader/arguments.ts'
import { anchors, blocks, type Command, commands, DOCUMENTS, inlineCommands, linkTargets, read } from './documents.ts'
import { describe } from './harness.ts'

/** Programs of which a test can say no more than that they are meant to be there, and why. */
const NOT_CHECKED: Readonly<Record<string, string>> = {
  aws: 'needs an account',
  cosign: 'asks a transparency log about an image that is released',
  export: 'sets the PATH of the shell',
  gcloud: 'needs an account',
  git: 'stands for what a pull request changes',
  grep: 'reads what the others print',
  tar: 'test/commands.binary.test.ts carries a model with it',
}

/** Files and folders of whoever reads, and where they come from. */
const OF_THE_READER: Readonly<Record<string, string>> = {
  'ca.crt': 'certificates of theirs',
  'first.yaml': 'the first model of docs/getting-started.md',
  'model.yaml': 'a model of theirs',
  'models.yaml': 'models of theirs',
  'my-models': 'a package of theirs',
  'overlays/prod': 'the layout that kustomize/README.md shows',
  'token.txt': 'a token of theirs',
  'rendered.yaml': 'made by the command before',
}

const used = new Set<string>()

/** Whether it is of the project and there, or known to be of the reader. */
function unknownPath(path: string): string | undefined {
  if (OF_THE_READER[path] !== undefined) {
    used.add(path)
    return undefined
  }
  // A word in capitals stands for one.
  const isKnown = /^[A-Z_]+$/.test(path) || path === '-' || existsSync(path)
  return isKnown ? undefined : `${path}: is neither in the project nor known to be of the reader`
}

function unknownFolder(path: string, file: string): string | undefined {
  if (!existsSync(path)) return unknownPath(path)
  return existsSync(join(path, file)) ? undefined : `${path}: has no ${file}`
}

type Check = (words: readonly string[]) => readonly (string | undefined)[]

const refusal = (request: { readonly kind: string; readonly message?: string }): string | undefined =>
  request.kind === 'wrong' ? request.message : undefined

const scripts = Object.keys(asPlain(asPlain(JSON.parse(readFileSync('package.json', 'utf8')))['scripts']))

/** Positional words, and what stands behind these flags. */
function taken(words: readonly string[], flags: readonly string[]): Map<string, readonly string[]> {
  const found = new Map<string, string[]>()
  const add = (flag: string, value: string): void => void found.set(flag, [...(found.get(flag) ?? []), value])
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    const [name = '', ...value] = word.split('=')
    if (flags.includes(word)) add(word, words[++index] ?? '')
    else if (word.startsWith('--') && flags.includes(name)) add(name, value.join('='))
    else if (word.startsWith('-') && word !== '-') add(word, '')
    else add('', word)
  }
  return found
}

const BUILD_FLAGS = ['', '--enable-alpha-plugins', '--enable-exec']

function kustomization(words: readonly string[]): readonly (string | undefined)[] {
  const found = taken(words, [])
  return [
    ...[...found.keys()].filter((flag) => !BUILD_FLAGS.includes(flag)).map((flag) => `unknown flag ${flag}`),
    ...(found.get('') ?? []).map((folder) =>
      folder === '.' ? undefined : unknownFolder(folder, 'kustomization.yaml'),
    ),
  ]
}

/** Those that a page needs. */
const KUBECTL = 'apply create delete describe diff explain get kustomize logs patch rollout wait'.split(' ')

const kubectl: Check = (words) => {
  const files = ['-k', '--patch-file', '--from-file', ...(words.includes('logs') ? [] : ['-f'])]
  const found = taken(words, [...files, '-n', '-l', '-o', '-p', '-c'])
  const [verb = '', ...others] = found.get('') ?? []
  if (verb === 'kustomize') return kustomization(words.slice(words.indexOf(verb) + 1))
  const paths = files.flatMap((flag) => found.get(flag) ?? []).map((value) => value.replace(/^\w+=/, ''))
  return [
    KUBECTL.includes(verb) ? undefined : `unknown command ${verb} ${others.join(' ')}`,
    ...paths.map((path) =>
      found.get('-k')?.includes(path) ? unknownFolder(path, 'kustomization.yaml') : unknownPath(path),
    ),
  ]
}

const kpt: Check = ([group = '', verb = '', ...words]) => {
  const found = taken(words, ['--exec', '--fn-config', '--reconcile-timeout'])
  if (!['fn', 'live'].includes(group)) return [`unknown command ${group}`]
  return [
    ...(found.get('') ?? []).map((folder) => (verb === 'sink' ? undefined : unknownFolder(folder, 'Kptfile'))),
    ...(found.get('--fn-config') ?? []).map(unknownPath),
    ...(found.get('--exec') ?? []).map((name) => (name in CHECKS ? undefined : `unknown program ${name}`)),
  ]
}

/** What runs in our image; test/image.binary.test.ts builds it. */
const docker: Check = ([verb = '', ...words]) => {
  if (verb !== 'run') return [['build', 'buildx'].includes(verb) ? undefined : `unknown command ${verb}`]
  const image = words.indexOf(DEFAULTS.image)
  if (image < 0) return [`must run ${DEFAULTS.image}`]
  const [program = 'arksmodel-fn'] = taken(words.slice(0, image), ['--entrypoint']).get('--entrypoint') ?? []
  return CHECKS[program]?.(words.slice(image + 1)) ?? [`unknown program ${program}`]
}

const CHECKS: Readonly<Record<string, Check>> = {
  'arksmodel-controller': (words) => [refusal(controllerArguments(words, false))],
  'arksmodel-fn'(words) {
    const request = functionArguments(words)
    if (request.kind !== 'run') return [refusal(request)]
    return [...request.paths, ...(request.config === undefined ? [] : [request.config])].map(unknownPath)
  },
  'arksmodel-loader': (words) => [refusal(loaderArguments(words, {}))],
  docker,
  kpt,
  kubectl,
  kustomize: ([verb = '', ...words]) => (verb === 'build' ? kustomization(words) : [`unknown command ${verb}`]),
  npm: ([verb = '', name = '']) =>
    ['ci', 'test'].includes(verb) || (verb === 'run' && scripts.includes(name)) ? [] : [`npm ${verb} ${name}: unknown`],
  npx: ([program = '', ...words]) => CHECKS[program]?.(words) ?? [`unknown program ${program}`],
}

function problems({ words, reads }: Command): readonly string[] {
  const [program = '', ...rest] = words
  const found = [...(CHECKS[program] ?? unchecked(program))(rest), ...reads.map(unknownPath)]
  return found.filter((each) => each !== undefined)
}

function unchecked(program: string): Check {
  used.add(program)
  return () => [NOT_CHECKED[program] === undefined ? `${program}: is neither checked nor known not to be` : undefined]
}

/** Written by hand: a Kptfile, a kustomization and such are somebody else's. */
function schemaProblems(object: unknown): readonly Problem[] {
  const { kind, apiVersion } = asPlain(object)
  if (kind === KIND) return modelProblems(object)
  return String(apiVersion).startsWith('fn.arks.ai/') ? configProblems(object) : []
}

/** How a command between back-quotes begins which is one, and not the mention of one. */
const INLINE = [
  'docker run ',
  'kpt fn ',
  'kubectl apply -k ',
  'kubectl kustomize ',
  'kustomize build ',
  'npm run ',
  'npx arksmodel-',
]

describe('commands in documents', (test) => {
  for (const file of DOCUMENTS) {
    const scripts = blocks(file).filter(({ language }) => language === 'sh')
    const inline = inlineCommands(file, INLINE)
    if (scripts.length + inline.length === 0) continue
    test(file, () => {
      for (const { line, text } of scripts)
        for (const command of commands(text))
          assert.equal(problems(command), [], `${file}:${line}: ${command.words.join(' ')}`)
      for (const text of inline.filter((each) => !each.includes('…')))
        for (const command of commands(text)) assert.equal(problems(command), [], `${file}: ${text}`)
    })
  }

  test('are read as a shell reads them', () => {
    assert.equal(commands('A=1 b \'c d\' \\\n --e="f g" # h | i\nj < k | l 2> m && n; o'), [
      { words: ['b', 'c d', '--e=f g'], reads: [] },
      { words: ['j'], reads: ['k'] },
      { words: ['l'], reads: [] },
      { words: ['n'], reads: [] },
      { words: ['o'], reads: [] },
    ])
    assert.throws(() => commands("a 'b"), /cannot read the command at "'b"/)
  })

  test('what is not checked is still there', () => {
    const known = [...Object.keys(NOT_CHECKED), ...Object.keys(OF_THE_READER)]
    assert.equal(
      known.filter((each) => !used.has(each)),
      [],
    )
  })

  test('all of them name one image', () => {
    const named = DOCUMENTS.flatMap((file) => read(file).match(/\barksai\/arksmodel:[\w.]+/g) ?? [])
    assert.equal([...new Set(named)], [DEFAULTS.image])
  })

  test('a mistake in one is found', () => {
    const wrong = {
      'npx arksmodel-fn example/quickstart': 'example/quickstart: is neither',
      'npx arksmodel-fn --confg x.yaml': 'unknown flag --confg; did you mean --config?',
      'npx arksmodel-loader org/model': '--to: must be given',
      'HF_TOKEN=x npx arksmodel-controller --namespce a': 'unknown flag --namespce',
      'kubectl apply -k kustomize/instal': 'kustomize/instal: is neither',
      'kubectl kustomize examples/quickstart | npx arksmodel-fn': 'examples/quickstart: has no kustomization.yaml',
      'kustomize build --enable-exce examples/component': 'unknown flag --enable-exce',
      'kpt fn render examples/quickstart --allow-exec': 'examples/quickstart: has no Kptfile',
      'kubectl patch cm x --patch-file nowhere.yaml': 'nowhere.yaml: is neither',
      'npx arksmodel-fn < nowhere.yaml': 'nowhere.yaml: is neither',
      'npm run rendre -- examples/quickstart': 'npm run rendre: unknown',
      [`docker run --rm --entrypoint arksmodel-fnn ${DEFAULTS.image}`]: 'unknown program arksmodel-fnn',
      'docker run --rm arksai/arksmodel:0.0.1': 'must run arksai/arksmodel:',
      'helm template x': 'helm: is neither',
    }
    for (const [text, message] of Object.entries(wrong))
      assert.match(commands(text).flatMap(problems).join(), message, text)
  })
})

describe('YAML in documents', (test) => {
  for (const file of DOCUMENTS) {
    const texts = blocks(file).filter(({ language }) => language === 'yaml')
    if (texts.length === 0) continue
    test(file, () => {
      for (const { line, text } of texts)
        for (const document of parseAllDocuments(text)) {
          assert.equal(document.errors, [], `${file}:${line}`)
          assert.equal(schemaProblems(document.toJS()), [], `${file}:${line}`)
        }
    })
  }

  test('is held to the schema', () => {
    assert.is(schemaProblems({ apiVersion: 'arks.ai/v1', kind: KIND, metadata: { name: 'a' }, spec: {} }).length, 1)
    assert.is(
      schemaProblems({ apiVersion: 'fn.arks.ai/v1alpha1', kind: 'ExpandArksModels', spec: { imagee: 'a' } }).length > 0,
      true,
    )
  })
})

describe('links in documents', (test) => {
  for (const file of DOCUMENTS)
    test(file, () => {
      for (const target of linkTargets(file)) {
        const [path = '', anchor] = target.split('#')
        const there = path === '' ? file : join(dirname(file), path)
        assert.ok(existsSync(there), `${file}: ${target}`)
        if (anchor !== undefined) assert.ok(anchors(there).has(anchor), `${file}: ${target}`)
      }
    })

  test('docs/README.md has every page', () => {
    const linked = linkTargets('docs/README.md')
    const pages = readdirSync('docs').filter((name) => name !== 'README.md')
    assert.equal(
      pages.filter((page) => !linked.includes(page)),
      [],
    )
  })
})
