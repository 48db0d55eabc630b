import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { shellWord } from './parts-cache.ts'

/** Real programs that run together in a folder of their own, for as long as the process that started them. */

export interface Programs {
  /** Scratch: it goes with the programs. */
  readonly folder: string
  readonly run: (path: string, args: readonly string[], env?: Readonly<Record<string, string>>) => void
  /** Polls until there is something, as long as all programs live. */
  readonly until: <T>(what: string, look: () => Promise<T | undefined> | T | undefined) => Promise<T>
  /** Ends the programs, the last one first, and removes the folder. */
  readonly stop: () => Promise<void>
}

export interface Ways {
  /** A folder below the programs' own that one of them mounts: it is unmounted before anything else ends. */
  readonly mount?: string
  /** They have nothing to end themselves, and get no time for it. */
  readonly isAbrupt?: boolean
  /** How long something may be waited for: 30 if absent. */
  readonly seconds?: number
}

export function programs(name: string, { mount, isAbrupt = false, seconds = 30 }: Ways = {}): Programs {
  const folder = mkdtempSync(join(tmpdir(), `arksmodel-${name}-`))
  const farewell = [
    ...(mount === undefined ? [] : [unmounting(shellWord(join(folder, mount)))]),
    ...(isAbrupt ? ['kill -9 $child'] : []),
    ':',
  ].join('; ')
  const running: Program[] = []
  let stopped: Promise<void> | undefined
  const stop = async (): Promise<void> => {
    for (const each of running.toReversed()) await each.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return {
    folder,
    run: (path, args, env = {}) => {
      running.push(program({ folder, farewell, path, args, env }))
    },
    until: async (what, look) => {
      const end = performance.now() + seconds * 1000
      for (;;) {
        const seen = await look()
        if (seen !== undefined) return seen
        const dead = running.find((each) => each.ended())
        if (dead) throw new Error(`no ${what}: ${dead.log()}`)
        if (performance.now() > end)
          throw new Error(`no ${what} within ${seconds} s: ${running.map((each) => each.log()).join('')}`)
        await sleep(10)
      }
    },
    stop: () => (stopped ??= stop()),
  }
}

/** A port that was free a moment ago may be taken when the server gets to it. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(await freePort())
    } catch (error) {
      if (attempt === 3 || !/address already in use/i.test(String(error))) throw error
    }
  }
}

/** Whether a server is there: that it refuses what is asked for is an answer too. */
export const answers = (url: string): Promise<true | undefined> =>
  new Promise((resolve) => {
    get(url, { agent: false }, (response) => {
      response.resume()
      response.on('close', () => resolve(true))
    }).on('error', () => resolve(undefined))
  })

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** Lazily where somebody still uses it. What is not mounted is nothing to complain of. */
const unmounting = (path: string): string => `{ umount ${path} || umount -l ${path}; } 2>/dev/null`

/**
 * Runs a program for as long as stdin is open. The system closes it when we end, however we end; then nobody is
 * left to remove the folder either. The program may end in its own way: it may have processes of its own to end.
 */
const LEASH = `
folder=$1; farewell=$2; shift 2
exec 3<&0 </dev/null
end() {
  eval "$farewell"
  kill $child 2>/dev/null
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -0 $child 2>/dev/null || return; sleep 0.1; done
  kill -9 $child
}
"$@" 3<&- & child=$!
if read -r stop <&3; then end; else trap '' TERM; end; sleep 1; rm -rf "$folder"; fi & leash=$!
exec 3<&-
wait $child
kill $leash
`

interface Start {
  readonly folder: string
  readonly farewell: string
  readonly path: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

interface Program {
  readonly ended: () => boolean
  readonly log: () => string
  readonly stop: () => Promise<void>
}

function program({ folder, farewell, path, args, env }: Start): Program {
  const log = join(folder, `${basename(path)}.log`)
  const output = openSync(log, 'w')
  const child = spawn('/bin/sh', ['-c', LEASH, 'sh', folder, farewell, path, ...args], {
    // A terminal's Ctrl-C is for us: the programs follow.
    detached: true,
    env: { PATH: process.env['PATH'], HOME: folder, TMPDIR: folder, ...env },
    stdio: ['pipe', output, output],
  })
  closeSync(output)
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  // A test that forgets to stop its programs must be able to end.
  child.unref()
  if (child.stdin instanceof Socket) child.stdin.unref()
  return {
    ended: () => child.exitCode !== null,
    log: () => `${basename(path)}: ${readFileSync(log, 'utf8').trimEnd().split('\n').slice(-8).join('\n')}\n`,
    stop: () => {
      child.ref()
      child.stdin?.on('error', () => undefined)
      child.stdin?.end('stop\n')
      return ended
    },
  }
}
