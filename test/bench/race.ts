import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { atExit, remove } from './farewell.ts'

/** A program that brings files into a folder. */
export interface Contender {
  readonly name: string
  readonly program: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly folder: string
  /** Throws unless all has come. */
  readonly check: () => void
}

export interface Result {
  readonly name: string
  readonly runs: readonly Run[]
}

export interface Run {
  readonly seconds: number
  /** NaN where there is no GNU time, like the peak. */
  readonly cpuSeconds: number
  /** Of the largest process. */
  readonly peakBytes: number
}

export interface Rules {
  readonly rounds: number
  /** Whether each run finds its folder empty. */
  readonly empty: boolean
  readonly hasGnuTime: boolean
}

/** In turn, so that what else the machine does hits all of them. What one leaves to be written is not the next one's. */
export async function race(contenders: readonly Contender[], rules: Rules): Promise<readonly Result[]> {
  const results = contenders.map(({ name }) => ({ name, runs: [] as Run[] }))
  for (let round = 0; round < rules.rounds; round++)
    for (const [index, contender] of contenders.entries()) {
      const each = await run(contender, rules)
      results[index]?.runs.push(each)
      console.error(`  ${contender.name}: ${each.seconds.toFixed(2)} s`)
    }
  for (const { folder } of contenders) remove(folder)
  return results
}

/** Throws where the program fails, or has not brought all: a time is worth nothing then. */
export async function run(contender: Contender, { empty, hasGnuTime }: Omit<Rules, 'rounds'>): Promise<Run> {
  const { name, program, args, env, folder, check } = contender
  if (empty) remove(folder)
  mkdirSync(folder, { recursive: true })
  await toItsEnd('sync', [], {})
  const report = `${folder}.time`
  const started = performance.now()
  if (hasGnuTime) await toItsEnd('time', ['-q', '-f', '%U %S %M', '-o', report, program, ...args], env)
  else await toItsEnd(program, args, env)
  const seconds = (performance.now() - started) / 1000
  try {
    check()
  } catch (error) {
    throw new Error(`${name} has not brought all`, { cause: error })
  }
  if (!hasGnuTime) return { seconds, cpuSeconds: Number.NaN, peakBytes: Number.NaN }
  const [user = Number.NaN, system = Number.NaN, kibibytes = Number.NaN] = readFileSync(report, 'utf8')
    .split(' ')
    .map(Number)
  return { seconds, cpuSeconds: user + system, peakBytes: kibibytes * 1024 }
}

/** With nothing of this process's environment but the PATH. */
function toItsEnd(program: string, args: readonly string[], env: Contender['env']): Promise<void> {
  return new Promise((resolve, reject) => {
    // In a group of its own, so that its own processes can be ended with it.
    const child = spawn(program, args, {
      detached: true,
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const callOff = atExit(() => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    })
    let complaints = ''
    child.stderr.on('data', (chunk: Buffer) => (complaints = (complaints + chunk.toString()).slice(-2000)))
    child.on('error', (error) => {
      callOff()
      reject(new Error(`cannot run ${program}`, { cause: error }))
    })
    child.on('close', (code) => {
      callOff()
      if (code === 0) resolve()
      else reject(new Error(`${program} ${args.join(' ')} ended with ${code}: ${complaints}`))
    })
  })
}
