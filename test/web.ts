import { createHash } from 'node:crypto'
import { createReadStream, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join, relative } from 'node:path'
import type { Missing, Part } from './parts-cache.ts'
import { nginx } from './parts-debian.ts'
import { answers, onFreePort, programs } from './parts-running.ts'

/** A real nginx on loopback that serves a folder, and plays the Hub for the repositories that it is given. */

export interface Web {
  readonly kind: 'web'
  /** Without a slash at the end. */
  readonly url: string
  /** The access log so far. A request is in it soon after its answer has been sent or given up. */
  readonly requests: () => readonly Request[]
  /** Ends the server. A process that forgets it leaves nothing behind either. */
  readonly close: () => Promise<void>
}

export interface Request {
  readonly method: string
  /** As it was sent, with the query. */
  readonly uri: string
  readonly status: number
  /** Of the body that was sent. */
  readonly bytes: number
  /** The header as it came; empty if there was none. */
  readonly range: string
  readonly userAgent: string
  /** The number of its connection. */
  readonly connection: number
  readonly seconds: number
}

export interface Serving {
  /** Bytes per second of each connection; unlimited if absent. */
  readonly rate?: number
  readonly repositories?: readonly HubRepository[]
  /** More of nginx's `server { }`. */
  readonly server?: string
}

/** `GET /api/models/<id>/…` describes it, `/<id>/resolve/<sha>/<path>` serves the folder's files. */
export interface HubRepository {
  /** `owner/name`. */
  readonly id: string
  readonly sha: string
  readonly folder: string
  readonly files: readonly HubFile[]
}

export interface HubFile {
  readonly path: string
  readonly size: number
  /** Of the git blob. */
  readonly oid: string
  /** Its oid is the SHA-256 of what is in the file. */
  readonly lfs?: { readonly oid: string }
}

/** A folder on the machine as a repository, whose larger files are in LFS. */
export async function hubRepository(id: string, folder: string, lfsFrom: number = 2 ** 20): Promise<HubRepository> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
  const files: HubFile[] = []
  for (const path of names.sort()) {
    const size = statSync(join(folder, path)).size
    if (size < lfsFrom) {
      files.push({ path, size, oid: gitBlob(readFileSync(join(folder, path))) })
    } else {
      const oid = await sha256(join(folder, path))
      const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${size}\n`
      files.push({ path, size, oid: gitBlob(Buffer.from(pointer)), lfs: { oid } })
    }
  }
  const sha = createHash('sha1')
    .update(JSON.stringify([id, files]))
    .digest('hex')
  return { id, sha, folder, files }
}

/** Files of the folder `root` are at `/`. */
export async function webServer(root: string, serving: Serving = {}): Promise<Web | Missing> {
  const part = await nginx()
  return part.kind === 'missing' ? part : onFreePort((port) => start(part, root, { ...serving, port }))
}

interface Listening extends Serving {
  readonly port: number
}

async function start(
  part: Part,
  root: string,
  { port, rate = 0, repositories = [], server = '' }: Listening,
): Promise<Web> {
  const { folder, run, until, stop } = programs('web')
  try {
    const [log, hub, settings] = [join(folder, 'access.log'), join(folder, 'hub'), join(folder, 'nginx.conf')]
    for (const each of repositories) describeRepository(hub, each)
    const locations = repositories.map((each) => repositoryLocations(hub, each)).join('')
    writeFileSync(settings, configuration({ folder, log, port, rate, root, server: `${locations}${server}` }))
    run(part.path, ['-p', folder, '-c', settings, '-e', 'stderr'])
    const url = `http://127.0.0.1:${port}`
    await until('answer of nginx', () => answers(`${url}${PING}`))
    return { kind: 'web', url, requests: () => requests(readFileSync(log, 'utf8')), close: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const PING = '/.arksmodel-ping'

interface Configured {
  readonly folder: string
  readonly log: string
  readonly port: number
  readonly rate: number
  readonly root: string
  readonly server: string
}

/** All that nginx would otherwise write below /var goes into the folder. As root its workers would be nobody. */
const configuration = ({ folder, log, port, rate, root, server }: Configured): string => `
daemon off;
worker_processes 2;
${userInfo().uid === 0 ? 'user root;' : ''}
pid ${quoted(join(folder, 'nginx.pid'))};
error_log stderr warn;
events { worker_connections 4096; }
http {
  ${TEMPORARY.map((each) => `${each}_temp_path ${quoted(join(folder, each))};`).join('\n  ')}
  log_format tabs '${LOGGED.join('\t')}';
  access_log ${quoted(log)} tabs;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  limit_rate ${rate};
  server {
    listen 127.0.0.1:${port} backlog=1024;
    root ${quoted(root)};
    location = ${PING} { access_log off; return 204; }
${server}
  }
}
`

const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

const LOGGED = [
  '$request_method',
  '$request_uri',
  '$status',
  '$body_bytes_sent',
  '$http_range',
  '$http_user_agent',
  '$connection',
  '$request_time',
]

const requests = (log: string): readonly Request[] =>
  log
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [method = '', uri = '', status, bytes, range = '-', userAgent = '', connection, seconds] = line.split('\t')
      return {
        method,
        uri,
        status: Number(status),
        bytes: Number(bytes),
        range: range === '-' ? '' : range,
        userAgent,
        connection: Number(connection),
        seconds: Number(seconds),
      }
    })

/** As files, so that a path is what the URL says: nginx would look for variables in a path that is spelled out. */
function describeRepository(hub: string, { id, sha, folder, files }: HubRepository): void {
  const write = (path: string, value: unknown): void => {
    const file = join(hub, 'api/models', id, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, JSON.stringify(value))
  }
  const siblings = files.map(({ path }) => ({ rfilename: path }))
  const model = { _id: sha.slice(0, 24), id, modelId: id, sha, private: false, gated: false, disabled: false, siblings }
  const tree = files.map(({ path, size, oid, lfs }) => ({
    type: 'file',
    oid,
    size,
    ...(lfs && { lfs: { oid: lfs.oid, size, pointerSize: POINTER_SIZE + String(size).length } }),
    path,
  }))
  for (const revision of ['main', sha]) {
    write(`revision/${revision}`, model)
    write(`tree/${revision}`, tree)
  }
  mkdirSync(join(hub, id, 'resolve'), { recursive: true })
  symlinkSync(folder, join(hub, id, 'resolve', sha))
}

const POINTER_SIZE = 'version https://git-lfs.github.com/spec/v1\noid sha256:\nsize \n'.length + 64

/** One location for each file: what `map` looks up has no upper and lower case. */
const repositoryLocations = (hub: string, { id, sha, files }: HubRepository): string =>
  [
    `location ${quoted(`/api/models/${id}/`)} { root ${quoted(hub)}; default_type application/json; }`,
    ...files.map(({ path, size, oid, lfs }) => {
      const headers = {
        ETag: `"${lfs?.oid ?? oid}"`,
        'X-Repo-Commit': sha,
        ...(lfs && { 'X-Linked-Etag': `"${lfs.oid}"`, 'X-Linked-Size': String(size) }),
      }
      const added = Object.entries(headers).map(([name, value]) => `add_header ${name} ${quoted(value)};`)
      return `location = ${quoted(`/${id}/resolve/${sha}/${path}`)} { root ${quoted(hub)}; etag off; ${added.join(' ')} }`
    }),
  ]
    .map((line) => `    ${line}\n`)
    .join('')

const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`

const gitBlob = (data: Buffer): string => createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex')

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk)
  return hash.digest('hex')
}
