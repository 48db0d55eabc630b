import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  findIn,
  kept,
  lastLines,
  type Missing,
  missingPart,
  number,
  once,
  type Part,
  path,
  run,
  shellWord,
} from './parts-cache.ts'

/** The Hub's own client, from PyPI: what it takes for present and complete is the measure for ours. */

export interface HuggingfaceHub {
  readonly kind: 'huggingface-hub'
  readonly hf: Part
  /** A Python that can import `huggingface_hub`. */
  readonly python: Part
}

const HUGGINGFACE_HUB = '2.4.0'

/** One on PATH is not used: tests need the Python that belongs to it. */
export const huggingfaceHub: () => Promise<HuggingfaceHub | Missing> = once(async () => {
  const missing = missingPart('hf')
  if (!findIn(path, 'python3')) return missing('it is written in Python, and python3 is not on PATH', GET_PYTHON, false)
  const python = number((await run('python3', ['--version'])).stdout)
  const wanted = { name: 'hf', version: HUGGINGFACE_HUB, key: `${HUGGINGFACE_HUB}-python-${python}` }
  const hf = await kept(wanted, async ({ into, folder }) => {
    console.error(`installing huggingface_hub ${HUGGINGFACE_HUB}`)
    const venv = await run('python3', ['-m', 'venv', join(into, VENV)])
    if (venv.code !== 0)
      return missing(`python3 -m venv failed: ${lastLines(venv.stdout + venv.stderr)}`, GET_PYTHON, false)
    const args = ['install', '--quiet', '--no-input', `huggingface_hub==${HUGGINGFACE_HUB}`]
    const pip = await run(join(into, VENV, 'bin/python'), ['-m', 'pip', ...args])
    if (pip.code !== 0) return missing(`pip failed: ${lastLines(pip.stderr)}`, 'see that PyPI can be reached', true)
    // The scripts of an environment name the Python of the folder that it was made in, which is not where it stays.
    const command = [join(folder, VENV, 'bin/python'), join(folder, VENV, 'bin/hf')].map(shellWord).join(' ')
    writeFileSync(join(into, 'hf'), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 })
    return undefined
  })
  if (hf.kind === 'missing') return hf
  const interpreter = join(dirname(hf.path), VENV, 'bin/python')
  return { kind: 'huggingface-hub', hf, python: { ...hf, name: 'python', version: python, path: interpreter } }
})

const GET_PYTHON = 'install Python 3 with its module venv'

const VENV = 'venv'
