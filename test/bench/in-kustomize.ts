import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Part } from '../parts.ts'
import { stream } from './inputs.ts'
import { alternating, type Command, ratio, run } from './measure.ts'
import { announce, milliseconds, type Row } from './table.ts'
import { PROGRAM } from './whole-processes.ts'

const SIZE = { models: 20, others: 980 }

/**
 * Two functions to compare with: `cat`, and one that prints what ours would. Between them lies what kustomize itself
 * needs for the claims and Jobs that are new.
 */
export function inKustomize(folder: string, kustomize: Part): readonly Row[] {
  announce('kustomize')
  const ourFunction = `"${process.execPath}" "${PROGRAM}"`
  const result = join(folder, 'result.yaml')
  const build = (name: string, line: string): Command => buildWith(join(folder, name), kustomize, line)
  run(build('keeping', `${ourFunction} | tee "${result}"`))
  const [ours, plain] = [build('ours', `exec ${ourFunction}`), build('plain', 'exec cat')]
  const ready = build('ready', `cat > /dev/null; exec cat "${result}"`)
  const [times = [], copied = [], printed = []] = alternating([ours, plain, ready], 7)
  // Without its flags kustomize leaves functions out and says nothing.
  if (!readFileSync(ours.output, 'utf8').includes('arks-worker-'))
    throw new Error('kustomize did not call the function')
  return [row(times, 'cat', copied), row(times, 'cat of our result', printed)]
}

function row(times: readonly number[], name: string, others: readonly number[]): Row {
  const found = ratio(times, others)
  return {
    work: `kustomize build, ${SIZE.models} models + ${SIZE.others} others`,
    ours: milliseconds(times),
    other: `${name}: ${milliseconds(others)}`,
    ratio: `${found.toFixed(3)} ×`,
    goal: 'at most 1.05 ×',
    reached: found <= 1.05,
  }
}

/** A build whose resources go through one exec function, a shell script of this line. */
function buildWith(folder: string, kustomize: Part, line: string): Command {
  const program = join(folder, 'function')
  mkdirSync(folder)
  writeFileSync(program, `#!/bin/sh\n${line}\n`, { mode: 0o755 })
  writeFileSync(join(folder, 'resources.yaml'), stream(SIZE))
  writeFileSync(join(folder, 'kustomization.yaml'), 'resources: [resources.yaml]\ntransformers: [transformer.yaml]\n')
  writeFileSync(join(folder, 'transformer.yaml'), transformer(program))
  const args = ['build', '--enable-alpha-plugins', '--enable-exec', folder]
  return { program: kustomize.path, args, input: '/dev/null', output: `${folder}.yaml` }
}

const transformer = (program: string): string => `apiVersion: fn.arks.ai/v1alpha1
kind: ExpandArksModels
metadata:
  name: expand
  annotations:
    config.kubernetes.io/function: |
      exec:
        path: ${JSON.stringify(program)}
`
