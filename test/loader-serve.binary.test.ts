import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import * as assert from 'uvu/assert'
import { isRecord } from '../crds/place.ts'
import { describe, leftOut } from './harness.ts'
import { type Fault, type Hub, type HubFile, hub, randomFile } from './hub.ts'
import { type Ended, LOADER, type Loading, load, startLoader, wrongFiles } from './loader.ts'
import { shellWord } from './parts-cache.ts'
import { scratch } from './scratch.ts'
import { until } from './until.ts'

/** What a load tells while it runs: over HTTP, in its log, on a terminal. */

const MODEL = 'org/model'
const FILES: readonly HubFile[] = [randomFile('config.json', 700, 2), randomFile('model.safetensors', 8_000_000)]
const TOTAL = FILES.reduce((sum, { bytes }) => sum + bytes.length, 0)
const ARGS = ['--segment', '1', '--connections', '4']
/** So that the large file takes this long: two rounds of its eight ranges. */
const lasting = (seconds: number): Fault => ({ kind: 'rate', bytesPerSecond: (2 * 1024 * 1024) / seconds })

const withHub = async (faults: readonly Fault[], use: (there: Hub, folder: string) => Promise<void>): Promise<void> => {
  await using there = await hub({ repositories: { [MODEL]: { revisions: { main: FILES } } } })
  there.faults.push(...faults)
  await use(there, scratch({}))
}

const start = (there: Hub, folder: string, ...args: readonly string[]): Loading =>
  startLoader([MODEL, '--to', folder, ...ARGS, ...args], { HF_ENDPOINT: there.url })

/** A port that was free a moment ago, or with `use` is taken while that runs. */
async function onPort<T>(use: (port: number) => Promise<T>, isTaken = false): Promise<T> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => server.on('error', reject).listen(0, () => resolve()))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a server must have a port')
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()))
  if (!isTaken) await close()
  try {
    return await use(address.port)
  } finally {
    if (isTaken) await close()
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

async function asked(port: number, path: string, method = 'GET'): Promise<Answer> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: 'close' } })
  return { status: answer.status, type: answer.headers.get('content-type') ?? '', body: await answer.text() }
}

async function listening(port: number): Promise<void> {
  let isThere = false
  const look = (): void => {
    get({ port, host: '127.0.0.1', path: '/healthz', agent: false }, (response) => {
      response.resume()
      isThere = true
    }).on('error', () => setTimeout(look, 10))
  }
  look()
  await until('the port answers', () => isThere)
}

/** Of Prometheus' text: each value by its name and labels, and each name's type. Throws for what is none. */
function metricsIn(text: string): { readonly values: Map<string, number>; readonly types: Map<string, string> } {
  const [values, types] = [new Map<string, number>(), new Map<string, string>()]
  assert.match(text, /\n$/)
  for (const line of text.split('\n').filter((each) => each !== '' && !each.startsWith('# HELP '))) {
    const [, typed, type] = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line) ?? []
    if (typed !== undefined && type !== undefined) types.set(typed, type)
    else {
      const [, name, value] = /^([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) (\S+)$/.exec(line) ?? []
      if (name === undefined) throw new Error(`no line of Prometheus: ${line}`)
      values.set(name, Number(value))
    }
  }
  return { values, types }
}

const OURS = /^arksmodel_loader_/

const linesOf = (text: string): readonly Readonly<Record<string, unknown>>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const value: unknown = JSON.parse(line)
      if (!isRecord(value)) throw new Error(`no object: ${line}`)
      return value
    })

const sortedNumbers = (values: readonly number[]): readonly number[] => values.toSorted((a, b) => a - b)

describe('what a load serves', (test) => {
  test('tells how far it is, and ends with it', () =>
    withHub([lasting(1.5)], (there, folder) =>
      onPort(async (port) => {
        const { child, ended } = start(there, folder, '--port', String(port))
        await listening(port)
        const healthy = await asked(port, '/healthz')
        assert.equal(healthy, { status: 200, type: 'text/plain', body: 'ok\n' })
        const seen: Readonly<Record<string, unknown>>[] = []
        while (child.exitCode === null) {
          const { status, type, body } = await asked(port, '/progress').catch(() => ({ status: 0, type: '', body: '' }))
          if (status === 0) break
          assert.equal([status, type], [200, 'application/json'])
          const value: unknown = JSON.parse(body)
          assert.ok(isRecord(value))
          seen.push(value)
          await sleep(50)
        }
        const { code, stderr } = await ended
        assert.is(code, 0, stderr)
        assert.equal(wrongFiles(folder, FILES), [])
        const done = seen.map(({ doneBytes }) => Number(doneBytes))
        assert.equal(done, sortedNumbers(done), 'it only grows')
        assert.ok(new Set(done).size > 5, `it is told while it goes on: ${done}`)
        const last = seen.at(-1) ?? {}
        assert.equal(
          [last['v'], last['repo'], last['commit'], last['totalBytes'], last['files']],
          [1, MODEL, there.commit(MODEL), TOTAL, FILES.length],
        )
        for (const { percent, doneBytes, totalBytes } of seen)
          assert.ok(
            Number(totalBytes) === 0 ||
              Math.abs(Number(percent) - (100 * Number(doneBytes)) / Number(totalBytes)) <= 0.1,
          )
        assert.ok(seen.some(({ bytesPerSecond }) => Number(bytesPerSecond) > 500_000))
      }),
    ))

  test('is what Prometheus takes', () =>
    withHub([lasting(1.5), { kind: 'status', status: 503, on: 'cdn', skip: 1, times: 1 }], (there, folder) =>
      onPort(async (port) => {
        const { ended } = start(there, folder, '--port', String(port))
        await listening(port)
        const seen: ReturnType<typeof metricsIn>[] = []
        for (;;) {
          const answer = await asked(port, '/metrics').catch(() => undefined)
          if (answer === undefined) break
          assert.is(answer.status, 200)
          assert.match(answer.type, /^text\/plain; version=0\.0\.4/)
          seen.push(metricsIn(answer.body))
          await sleep(50)
        }
        assert.is((await ended).code, 0)
        const types = [...(seen[0]?.types ?? [])].filter(([name]) => OURS.test(name))
        assert.equal(Object.fromEntries(types), {
          arksmodel_loader_total_bytes: 'gauge',
          arksmodel_loader_done_bytes: 'gauge',
          arksmodel_loader_reused_bytes: 'gauge',
          arksmodel_loader_files: 'gauge',
          arksmodel_loader_files_done: 'gauge',
          arksmodel_loader_received_bytes_total: 'counter',
          arksmodel_loader_retries_total: 'counter',
        })
        assert.ok(seen[0]?.values.has('process_resident_memory_bytes'))
        const counters = [...(seen[0]?.types ?? [])].filter(([, type]) => type === 'counter').map(([name]) => name)
        for (const name of counters) {
          const values = seen.map(({ values }) => values.get(name) ?? 0)
          assert.equal(values, sortedNumbers(values), `${name} only grows`)
        }
        const last = seen.at(-1)?.values
        assert.is(last?.get('arksmodel_loader_total_bytes'), TOTAL)
        // Those that wait for the same answer each try again.
        assert.ok(Number(last?.get('arksmodel_loader_retries_total')) >= 1)
        assert.ok(Number(last?.get('arksmodel_loader_received_bytes_total')) > TOTAL / 2)
      }),
    ))

  test('is nothing else', () =>
    withHub([lasting(1)], (there, folder) =>
      onPort(async (port) => {
        const { ended } = start(there, folder, '--port', String(port))
        await listening(port)
        for (const path of ['/', '/nothing', '/progress/', '//progress', '/../progress2', '/Progress'])
          assert.is((await asked(port, path)).status, 404, path)
        for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
          assert.is((await asked(port, '/progress', method)).status, 405, method)
        assert.equal(await asked(port, '/healthz', 'HEAD'), { status: 200, type: 'text/plain', body: '' })
        assert.is((await asked(port, '/progress?since=1')).status, 200)
        assert.is((await ended).code, 0)
      }),
    ))

  test('is left out where the port is taken, and the load goes on', () =>
    withHub([], (there, folder) =>
      onPort(async (port) => {
        const { code, stdout } = await start(there, folder, '--port', String(port)).ended
        assert.is(code, 0)
        assert.equal(wrongFiles(folder, FILES), [])
        assert.ok(linesOf(stdout).some(({ message }) => /^Progress is not served: .*EADDRINUSE/.test(String(message))))
      }, true),
    ))

  for (const [why, args, env] of [
    ['with --port 0', ['--port', '0'], { KUBERNETES_SERVICE_HOST: '10.0.0.1' }],
    ['outside of a pod', [], {}],
  ] as const)
    test(`is nothing ${why}`, () =>
      withHub([lasting(0.5)], async (there, folder) => {
        const { child, ended } = startLoader([MODEL, '--to', folder, ...ARGS, ...args], {
          HF_ENDPOINT: there.url,
          ...env,
        })
        await until('bytes are sent', () => there.bytesSent() > 0)
        assert.equal(socketsThatListen(child.pid), [])
        assert.is((await ended).code, 0)
      }))

  test('does not keep a load that is asked to end', () =>
    withHub([lasting(20)], (there, folder) =>
      onPort(async (port) => {
        const { child, ended } = start(there, folder, '--port', String(port))
        await listening(port)
        // An open connection that asks for nothing.
        const idle = get({ port, host: '127.0.0.1', path: '/healthz' }, (response) => response.resume())
        idle.on('error', () => undefined)
        await until('bytes are sent', () => there.bytesSent() > 100_000)
        const asked = performance.now()
        child.kill('SIGTERM')
        assert.is((await ended).code, 40)
        assert.ok(performance.now() - asked < 3000)
        idle.destroy()
      }),
    ))
})

/** Local ports on which this process accepts connections, as Linux tells. */
function socketsThatListen(pid: number | undefined): readonly string[] {
  if (process.platform !== 'linux') return []
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(linkAt(`/proc/${pid}/fd/${fd}`)) ?? []
      return inode === undefined ? [] : [inode]
    }),
  )
  const LISTEN = '0A'
  return ['tcp', 'tcp6']
    .flatMap((name) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === LISTEN && inodes.has(inode ?? ''))
    .map(([, local = '']) => local)
}

/** Gone between two looks is gone. */
function linkAt(file: string): string {
  try {
    return readlinkSync(file)
  } catch {
    return ''
  }
}

describe('what a load prints', (test) => {
  test('is a line of JSON every five seconds, and one at the end', () =>
    withHub([lasting(6)], async (there, folder) => {
      const { code, stdout, stderr, termination } = await start(there, folder).ended
      assert.equal([code, stderr], [0, ''])
      const lines = linesOf(stdout)
      for (const { time, level, repo, message } of lines) {
        assert.is(new Date(String(time)).toISOString(), time)
        assert.equal([level, repo], ['info', MODEL])
        assert.type(message, 'string')
      }
      const [first, ...more] = lines.filter(({ message }) => message === 'Loading')
      assert.ok(first !== undefined && more.length <= 1, `${lines.length} lines`)
      const done = Number(first['doneBytes'])
      assert.ok(done > TOTAL / 2 && done < TOTAL, `${done} bytes after five seconds`)
      assert.is(first['percent'], Math.floor((done / TOTAL) * 1000) / 10)
      assert.ok(Number(first['bytesPerSecond']) > TOTAL / 20)
      const last = lines.at(-1) ?? {}
      assert.equal([last['reason'], last['doneBytes'], last['commit']], ['Loaded', TOTAL, there.commit(MODEL)])
      assert.is(last['message'], termination?.message)
    }))

  test('is a summary alone as text that goes to no terminal', () =>
    withHub([lasting(1)], async (there, folder) => {
      const { code, stdout, stderr } = await start(there, folder, '--log-format', 'text').ended
      assert.is(code, 0)
      assert.match(stdout, /^Loaded "org\/model": 2 files, 8\.0 MB, 8\.0 MB received in [\d.]+ s\n$/)
      assert.is(stderr, '')
    }))

  test('is the reason on stderr as text of what failed', () =>
    withHub([], async (there, folder) => {
      const args = ['org/other', '--to', folder, '--log-format', 'text']
      const { code, stdout, stderr } = await load(args, { HF_ENDPOINT: there.url })
      assert.equal([code, stdout], [12, ''])
      assert.match(stderr, /^RepositoryNotFound: .*"org\/other".*\n$/)
    }))
})

const script = (process.env['PATH'] ?? '').split(delimiter).find((folder) => existsSync(join(folder, 'script')))

if (script === undefined || process.platform !== 'linux')
  leftOut('a load on a terminal', {
    name: 'script',
    why: 'it is not on PATH',
    how: 'install bsdutils of util-linux',
    couldBeHad: false,
  })
else
  describe('what a load shows on a terminal', (test) => {
    test('is a bar, and then the summary', () =>
      withHub([lasting(2)], async (there, folder) => {
        const { code, stdout } = await onTerminal(there, folder)
        assert.is(code, 0, stdout)
        assert.equal(wrongFiles(folder, FILES), [])
        const states = [...stdout.matchAll(/█*░* ?(\d+)% ([\d.]+ k?M?B) of 8\.0 MB [\d.]+ k?M?B\/s (\d+s left)?/g)]
        const percents = states.map(([, percent]) => Number(percent))
        assert.ok(percents.length > 3, stdout)
        assert.equal(percents, sortedNumbers(percents))
        assert.not.match(stdout, '{"')
        // The bar is taken away again.
        const last =
          stripVTControlCharacters(stdout)
            .trimEnd()
            .split(/[\r\n]+/)
            .at(-1) ?? ''
        assert.match(last, /^(.*left)? *Loaded "org\/model": 2 files, 8\.0 MB, 8\.0 MB received in [\d.]+ s$/)
      }))
  })

/** Run by a shell in a pseudo-terminal of its own. */
function onTerminal(there: Hub, folder: string): Promise<Pick<Ended, 'code' | 'stdout'>> {
  const command = [process.execPath, LOADER, MODEL, '--to', folder, ...ARGS].map(shellWord).join(' ')
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { PATH: process.env['PATH'], TERM: 'xterm', HF_ENDPOINT: there.url },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout }))
  })
}
