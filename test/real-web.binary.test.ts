import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { describe, leftOut } from './harness.ts'
import { aria2c } from './parts-debian.ts'
import { huggingfaceHub } from './parts-python.ts'
import { type Mounter, s3Folder } from './s3.ts'
import { scratch } from './scratch.ts'
import { hubRepository, webServer } from './web.ts'

/** That the real servers, clients and mounts which the loader is tested and measured with do what they are for. */

const FILES: Readonly<Record<string, Buffer>> = {
  'config.json': Buffer.from('{}\n'),
  empty: Buffer.alloc(0),
  'weights/a $b é "c".safetensors': randomBytes(3 * 2 ** 20),
  'weights/A $b é "c".safetensors': randomBytes(2 ** 20 + 1),
}

function folderOf(files: Readonly<Record<string, Buffer>>): string {
  const folder = scratch({})
  for (const [name, data] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), data)
  }
  return folder
}

/** Not `spawnSync`: what it waits for must not keep us from ending. */
function done(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.on('error', reject)
    child.on('close', (code) => (code === 0 ? resolve(output) : reject(new Error(output))))
  })
}

const source = folderOf(FILES)
const repository = await hubRepository('org/model', source)
const web = await webServer(source, { repositories: [repository], rate: 8 * 2 ** 20 })
const python = await huggingfaceHub()
const hub = python.kind === 'missing' ? python : python.hf
const aria = await aria2c()
const mounters: readonly Mounter[] = ['rclone', 's3fs']
const folders = await Promise.all(mounters.map(async (kind) => ({ kind, folder: await s3Folder(kind) })))

if (web.kind === 'missing') leftOut('nginx as the Hub', web)
else {
  describe('nginx as the Hub', (test) => {
    test.after(web.close)

    test('describes a revision', async () => {
      const answer = await fetch(`${web.url}/api/models/org/model/revision/main?blobs=true`)
      assert.is(answer.headers.get('content-type'), 'application/json')
      const model: unknown = await answer.json()
      assert.ok(typeof model === 'object' && model !== null && 'sha' in model)
      assert.is(model.sha, repository.sha)
      const tree: unknown = await (
        await fetch(`${web.url}/api/models/org/model/tree/${repository.sha}?recursive=1`)
      ).json()
      assert.ok(Array.isArray(tree))
      assert.is(tree.length, Object.keys(FILES).length)
    })

    test('serves ranges with the headers of the Hub', async () => {
      const [file] = repository.files.filter(({ lfs }) => lfs)
      assert.ok(file?.lfs)
      const url = `${web.url}/org/model/resolve/${repository.sha}/${encodeURI(file.path)}`
      const etag = `"${file.lfs.oid}"`
      const answer = await fetch(url, { headers: { range: 'bytes=5-9', 'if-range': etag } })
      assert.is(answer.status, 206)
      assert.is(answer.headers.get('etag'), etag)
      assert.is(answer.headers.get('x-linked-etag'), etag)
      assert.is(answer.headers.get('x-linked-size'), String(file.size))
      assert.is(answer.headers.get('x-repo-commit'), repository.sha)
      assert.equal(Buffer.from(await answer.arrayBuffer()), FILES[file.path]?.subarray(5, 10))
      const changed = await fetch(url, { headers: { range: 'bytes=5-9', 'if-range': '"other"' } })
      await changed.body?.cancel()
      assert.is(changed.status, 200)
    })

    test('limits the rate of a connection, and logs requests', async () => {
      const began = performance.now()
      await (await fetch(`${web.url}/weights/${encodeURIComponent('a $b é "c".safetensors')}`)).arrayBuffer()
      const seconds = (performance.now() - began) / 1000
      assert.ok(seconds > 0.2, `3 MiB at 8 MiB/s took ${seconds} s`)
      const logged = web.requests().filter(({ range }) => range !== '')
      assert.equal(logged.map(({ method, status, bytes, range }) => ({ method, status, bytes, range })).slice(0, 1), [
        { method: 'GET', status: 206, bytes: 5, range: 'bytes=5-9' },
      ])
    })

    if (hub.kind === 'part') {
      test('is the Hub for hf download', async () => {
        const into = scratch({})
        await done(hub.path, ['download', repository.id, '--local-dir', into], {
          HF_ENDPOINT: web.url,
          HF_HOME: scratch({}),
          HF_HUB_DISABLE_TELEMETRY: '1',
        })
        for (const [name, data] of Object.entries(FILES)) assert.ok(readFileSync(join(into, name)).equals(data), name)
      })
    }

    if (aria.kind === 'part') {
      test('serves several streams of aria2c', async () => {
        const into = scratch({})
        const name = 'weights/a $b é "c".safetensors'
        const args = ['--no-conf', '-q', '-x2', '-s2', '-k1M', `--dir=${into}`, '--out=file']
        await done(aria.path, [...args, `${web.url}/${encodeURI(name)}`])
        assert.ok(FILES[name]?.equals(readFileSync(join(into, 'file'))))
      })
    }
  })
}

if (hub.kind === 'missing') leftOut('hf download', hub)
if (aria.kind === 'missing') leftOut('aria2c', aria)

for (const { kind, folder } of folders) {
  if (folder.kind === 'missing') leftOut(`an object store mounted with ${kind}`, folder)
  else
    describe(`an object store mounted with ${kind}`, (test) => {
      const { path, objects } = folder
      const data = randomBytes(12 * 2 ** 20)
      test.after(folder.close)

      test('keeps what is written', () => {
        mkdirSync(join(path, 'model'))
        writeFileSync(join(path, 'model/part'), data)
        assert.ok(readFileSync(join(path, 'model/part')).equals(data))
        assert.ok(readFileSync(join(objects, 'model/part')).equals(data))
      })

      test('renames', () => {
        renameSync(join(path, 'model/part'), join(path, 'model/whole'))
        assert.equal(readdirSync(join(path, 'model')), ['whole'])
        assert.ok(readFileSync(join(path, 'model/whole')).equals(data))
        assert.not.ok(existsSync(join(path, 'model/part')))
      })

      if (kind === 's3fs')
        test('shows at once what others change', () => {
          writeFileSync(join(objects, 'model/other'), 'first')
          assert.is(readFileSync(join(path, 'model/other'), 'utf8'), 'first')
          appendFileSync(join(objects, 'model/other'), ', then more')
          assert.is(readFileSync(join(path, 'model/other'), 'utf8'), 'first, then more')
          rmSync(join(objects, 'model/other'))
          assert.not.ok(existsSync(join(path, 'model/other')))
        })

      test('is unmounted in the end', async () => {
        await folder.close()
        assert.not.match(readFileSync('/proc/self/mounts', 'utf8'), path)
        assert.not.ok(existsSync(path))
      })
    })
}
