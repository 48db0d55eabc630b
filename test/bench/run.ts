import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { goProgram, kustomize, type Missing, type Part } from '../parts.ts'
import { inKustomize } from './in-kustomize.ts'
import { hasGnuTime } from './measure.ts'
import { table } from './table.ts'
import { againstGo, growth, PROGRAM, start } from './whole-processes.ts'

/** `npm run bench`: whole processes side by side. It is a report: a goal that is missed is no failure. */
async function main(): Promise<void> {
  if (!existsSync(PROGRAM)) throw new Error('dist/arksmodel-fn.cjs must be there: `npm run build` makes it')
  const go = await goProgram('kyaml-fn', 'bench/kyaml-fn')
  const builder = await kustomize()
  const hasPeak = hasGnuTime()
  const folder = mkdtempSync(join(tmpdir(), 'arksmodel-bench-'))
  try {
    const rows = [
      ...start(folder),
      ...(go.kind === 'part' ? againstGo(folder, go, hasPeak) : []),
      ...growth(folder),
      ...(builder.kind === 'part' ? inKustomize(folder, builder) : []),
    ]
    console.log(`Node ${process.versions.node}, ${process.platform} ${process.arch}, ${availableParallelism()} cores\n`)
    console.log(table(rows))
    console.log('\nMedians; half of the runs lie within about ± of them. A ratio is the median over pairs of runs.')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  if (!hasPeak) console.log('left out: peak memory: there is no GNU time; install the package `time`')
  for (const part of [go, builder]) leftOut(part)
}

function leftOut(part: Part | Missing): void {
  if (part.kind === 'missing') console.log(`left out: ${part.name}: ${part.why}; ${part.how}`)
}

await main()
