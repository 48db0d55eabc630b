import { isRecord } from '../crds/place.ts'
import { nextPage, type Refused, refusal, storageRefusal } from './answers.ts'
import { Failure, type FromHub, Trouble } from './failure.ts'
import { patiently, type Waits } from './patience.ts'
import { type RemoteFile, remoteFile } from './plan.ts'
import { type Answer, text, type Web } from './web.ts'

/** What is to be loaded, from where. */
export interface Source {
  /** Without a slash at the end; a mirror's may have a path. */
  readonly endpoint: string
  readonly repo: string
  readonly revision: string
  readonly hasToken: boolean
}

const MAX_SAID = 4096
/** A page of the Hub has 1,000 files, about 300 kB. A mirror may put some tens of thousands into one. */
const MAX_JSON = 32 * 1024 * 1024

/** The commit that the revision stands for now. */
export async function commitOf(source: Source, web: Web, waits: Waits): Promise<string> {
  const { endpoint, repo, revision } = source
  const url = `${endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}`
  const { value } = await json(url, source, web, waits)
  const sha = isRecord(value) ? value['sha'] : undefined
  if (typeof sha !== 'string' || !isCommit(sha))
    throw new Failure('NetworkError', `The Hub names no commit for "${revision}" of "${repo}"`)
  return sha
}

export const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text)

/** All files of a commit, page after page. */
export async function filesOf(commit: string, source: Source, web: Web, waits: Waits): Promise<readonly RemoteFile[]> {
  const { endpoint, repo } = source
  const files = new Map<string, RemoteFile>()
  const seen = new Set<string>()
  let url: string | undefined = `${endpoint}/api/models/${repo}/tree/${commit}?recursive=true`
  while (url !== undefined) {
    if (seen.has(url)) throw new Failure('NetworkError', `The pages of the listing of "${repo}" go in a circle`)
    const isLater = seen.size > 0
    seen.add(url)
    const page = await json(url, source, web, waits, isLater)
    if (!Array.isArray(page.value)) throw new Failure('NetworkError', `The listing of "${repo}" cannot be read`)
    for (const entry of page.value) {
      const file = remoteFile(entry, repo)
      if (file !== undefined) files.set(file.path, file)
    }
    url = page.next === undefined ? undefined : onEndpoint(new URL(page.next, url), endpoint)
  }
  return [...files.values()]
}

/** A mirror may pass the Hub's own address, or its path, through as that of the next page. */
function onEndpoint(next: URL, endpoint: string): string {
  if (next.href.startsWith(`${endpoint}/`)) return next.href
  const at = next.pathname.indexOf('/api/models/')
  return `${endpoint}${next.pathname.slice(Math.max(at, 0))}${next.search}`
}

/**
 * Whether the files themselves may be read: a gated repository shows its listing to everybody. A single byte is asked
 * for, as mirrors have no other way.
 */
export async function checkAccess(
  file: RemoteFile,
  commit: string,
  source: Source,
  web: Web,
  waits: Waits,
): Promise<void> {
  await patiently(async () => {
    const range = file.size === 0 ? {} : { Range: 'bytes=0-0' }
    const answer = await web.get(contentUrl(source, commit, file.path), range)
    if (answer.status >= 300 && answer.status !== 416) throw await contentRefusal(answer, file.path, source)
    // Not read: where ranges are ignored it is the whole file.
    answer.message.destroy()
    waits.meter.progressed()
  }, waits)
}

export const contentUrl = (
  { endpoint, repo }: Pick<Source, 'endpoint' | 'repo'>,
  commit: string,
  path: string,
): string => `${endpoint}/${repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`

/** What it means that the content of a file is not given. */
export async function contentRefusal(answer: Answer, path: string, source: Source): Promise<Failure> {
  const said = await refused(answer)
  const { origin, host } = new URL(answer.url)
  if (origin !== new URL(source.endpoint).origin) return storageRefusal(said, host, path)
  return refusal(said, { ...source, path })
}

const refused = async (answer: Answer): Promise<Refused> => ({
  status: answer.status,
  headers: answer.message.headers,
  body: await text(answer, MAX_SAID),
})

const json = (
  url: string,
  source: Source,
  web: Web,
  waits: Waits,
  isLater = false,
): Promise<{ readonly value: unknown; readonly next: string | undefined }> =>
  patiently(async () => {
    const answer = await web.get(url, { Accept: 'application/json' })
    // The repository was there a moment ago.
    if (isLater && answer.status === 404)
      throw new Trouble('NetworkError', 'The Hub answered with 404 for a later page of the listing', answer.from)
    if (answer.status !== 200) throw refusal(await refused(answer), source)
    const body = await text(answer, MAX_JSON)
    const { host } = new URL(answer.url)
    if (Buffer.byteLength(body) > MAX_JSON)
      throw new Failure('NetworkError', `${host} answered with more than 32 MiB where JSON belongs`, answer.from)
    const value = parsed(body, host, answer.from)
    waits.meter.progressed()
    return { value, next: nextPage(answer.message.headers) }
  }, waits)

function parsed(body: string, host: string, from: FromHub): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new Trouble('NetworkError', `${host} answered with something else than JSON`, from)
  }
}
