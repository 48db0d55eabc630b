import { distance } from 'fastest-levenshtein'

/** What the command line asks for. */
export type Request =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'wrong'; readonly message: string }
  | {
      readonly kind: 'run'
      /** None: standard input. */
      readonly paths: readonly string[]
      readonly recursive: boolean
      readonly config: string | undefined
      readonly seal: boolean
    }

export const HELP = `Expands each ArksModel into a PersistentVolumeClaim and a Job, as text.

Usage:
  arksmodel-fn [FILE | FOLDER]...     read files and folders, as kubectl apply -f does
  kustomize build DIR | arksmodel-fn  read standard input: manifests, or the ResourceList of kustomize and kpt

Options:
  -R, --recursive    read folders in folders too
  --config FILE      settings for all models (fn.arks.ai/v1alpha1 ExpandArksModels)
  --seal             expand nothing: rename Jobs that were changed after they were generated
  --version          print the version
  -h, --help         print this text

Exit codes: 0 done, 1 problems in the input (nothing is printed but them), 2 a bug.
`

const FLAGS = ['--recursive', '--config', '--seal', '--version', '--help']

export function parseArguments(words: readonly string[]): Request {
  const paths: string[] = []
  let recursive = false
  let seal = false
  let config: string | undefined
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    if (word === '--') {
      paths.push(...words.slice(index + 1))
      break
    }
    if (word === '-h' || word === '--help') return { kind: 'help' }
    if (word === '--version') return { kind: 'version' }
    if (word === '-R' || word === '--recursive') recursive = true
    else if (word === '--seal') seal = true
    else if (word === '--config' || word.startsWith('--config=')) {
      if (config !== undefined) return { kind: 'wrong', message: '--config: must not be given twice' }
      config = word === '--config' ? words[++index] : word.slice('--config='.length)
      if (config === undefined || config === '' || config.startsWith('--'))
        return { kind: 'wrong', message: '--config: must be followed by a file' }
    } else if (word.startsWith('-') && word !== '-') return { kind: 'wrong', message: unknownFlag(word) }
    else paths.push(word)
  }
  if (seal && config !== undefined)
    return { kind: 'wrong', message: '--config: must not be there beside --seal, which expands nothing' }
  if (paths.includes('-') && paths.length > 1)
    return { kind: 'wrong', message: '-: must be the only input: it is standard input' }
  return { kind: 'run', paths: paths.filter((path) => path !== '-'), recursive, config, seal }
}

function unknownFlag(word: string): string {
  const [flag = ''] = word.split('=')
  const [nearest] = FLAGS.map((known) => ({ known, far: distance(known, flag) })).sort((a, b) => a.far - b.far)
  const near = nearest !== undefined && nearest.far <= 3 ? `; did you mean ${nearest.known}?` : ''
  return `unknown flag ${flag.slice(0, 40)}${near}`
}
