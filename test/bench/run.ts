import { copyFileSync, existsSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { LOADER } from '../loader.ts'
import { goProgram, kustomize, type Missing, type Part } from '../parts.ts'
import { findIn, found, missingPart, path } from '../parts-cache.ts'
import { aria2c, nginx } from '../parts-debian.ts'
import { huggingfaceHub } from '../parts-python.ts'
import { temporary } from './farewell.ts'
import { inKustomize } from './in-kustomize.ts'
import { FULL, loading, memory, QUICK, taken } from './loading.ts'
import { hasGnuTime } from './measure.ts'
import { hasProc } from './running-controller.ts'
import { table } from './table.ts'
import { QUICK as FEW, FULL as MANY, watching } from './watching.ts'
import { againstGo, growth, PROGRAM, start } from './whole-processes.ts'

/** `npm run bench`: whole processes side by side. It is a report: a goal that is missed is no failure. */
async function main(words: readonly string[]): Promise<void> {
  const [part, ...more] = words.filter((word) => word !== '--quick')
  if (!(part === undefined || PARTS.includes(part)) || more.length > 0)
    throw new Error(`must be nothing, "${PARTS.join('" or "')}", and --quick to try it, got "${words.join(' ')}"`)
  const isMeant = (each: string): boolean => part === undefined || part === each
  const isQuick = words.includes('--quick')
  for (const program of [PROGRAM, LOADER, CONTROLLER])
    if (!existsSync(program)) throw new Error(`${program} must be there: \`npm run build\` makes it`)
  const folder = temporary(tmpdir())
  console.log(`Node ${process.versions.node}, ${process.platform} ${process.arch}, ${availableParallelism()} cores`)
  if (isMeant('fn')) await ofFunction(folder)
  if (isMeant('loader')) await ofLoader(folder, isQuick)
  if (isMeant('controller')) await ofController(folder, isQuick)
  console.log('Medians; half of the runs lie within about ± of them. A ratio is the median over pairs of runs.')
  if (!hasGnuTime()) console.log('left out: memory and CPU time: there is no GNU time; install the package `time`')
}

const PARTS: readonly string[] = ['fn', 'loader', 'controller']
const CONTROLLER = resolve('dist/arksmodel-controller.cjs')

async function ofFunction(folder: string): Promise<void> {
  const go = await goProgram('kyaml-fn', 'bench/kyaml-fn')
  const builder = await kustomize()
  const rows = [
    ...start(folder),
    ...(go.kind === 'part' ? againstGo(folder, go, hasGnuTime()) : []),
    ...growth(folder),
    ...(builder.kind === 'part' ? inKustomize(folder, builder) : []),
  ]
  console.log(`\n${table(rows)}\n`)
  for (const each of [go, builder]) leftOut(each)
}

async function ofLoader(folder: string, isQuick: boolean): Promise<void> {
  // A build meanwhile must not change what is measured.
  const program = join(folder, 'arksmodel-loader.cjs')
  copyFileSync(LOADER, program)
  const [web, client, aria] = await Promise.all([nginx(), huggingfaceHub(), aria2c()])
  const hf = client.kind === 'missing' ? client : client.hf
  const curl = await onPath('curl')
  const measured = await loading({
    program,
    folder,
    hasWeb: web.kind === 'part',
    hf: there(hf),
    aria2c: there(aria),
    curl: there(curl),
    hasGnuTime: hasGnuTime(),
    sizes: isQuick ? QUICK : FULL,
  })
  console.log(`\n${taken(measured)}\n`)
  const rows = measured.flatMap((each) => each.rows)
  console.log(`${table(hasGnuTime() ? [...rows, memory(measured)] : rows)}\n`)
  console.log(
    'Ours verifies each byte and ends when all is on the disk; of the others only `cp + fsync` waits for the disk.',
  )
  if (isQuick) console.log('With --quick everything is too small for the goals.')
  for (const each of [web, hf, aria, curl]) leftOut(each)
}

async function ofController(folder: string, isQuick: boolean): Promise<void> {
  const program = join(folder, 'arksmodel-controller.cjs')
  copyFileSync(CONTROLLER, program)
  const watched = await watching({ program, folder, sizes: isQuick ? FEW : MANY })
  if ('kind' in watched) {
    leftOut(watched)
    return
  }
  console.log(`\n${watched.taken}\n\n${table(watched.rows)}\n`)
  console.log("Compared with upstream's operator in Go, measured with 10,000 models, without its limit of requests.")
  if (isQuick) console.log('With --quick there are too few models for the goals.')
  if (!hasProc()) console.log('left out: memory and idling: there is no /proc')
}

async function onPath(name: string): Promise<Part | Missing> {
  const program = findIn(path, name)
  return program === undefined
    ? missingPart(name)('it is not on PATH', `install ${name}`, false)
    : found(name, program, '--version')
}

const there = (part: Part | Missing): Part | undefined => (part.kind === 'part' ? part : undefined)

function leftOut(part: Part | Missing): void {
  if (part.kind === 'missing') console.log(`left out: ${part.name}: ${part.why}; ${part.how}`)
}

await main(process.argv.slice(2))
