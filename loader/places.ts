import { createHash } from 'node:crypto'
import type { Digest } from './plan.ts'

/** Names of what stands in a model's folder beside the model. All are relative to it. */

export const ARKS = '.cache/arks'
export const COMPLETE: string = `${ARKS}/complete.json`
/** The marker of what was complete before, while another revision is loaded. */
export const PREVIOUS: string = `${ARKS}/previous.json`
export const STATE: string = `${ARKS}/state.json`
/** One line for each file that is on the volume for good, so that no later attempt reads it again. */
export const VERIFIED: string = `${ARKS}/verified.jsonl`
/** What a load that was not finished may have put in place. */
export const PLACED: string = `${ARKS}/placed.json`
/** Files that wait for their places, whichever commit they came with. */
export const STAGED: string = `${ARKS}/staged`

export const HUGGINGFACE = '.cache/huggingface'
export const DOWNLOAD: string = `${HUGGINGFACE}/download`

export const staged = (path: string): string => `${STAGED}/${path}`

/** As huggingface_hub names it. Undefined where that name would be too long for a file: it fails there. */
export const metadata = (path: string): string | undefined =>
  isName(`${path.slice(path.lastIndexOf('/') + 1)}.metadata`) ? `${DOWNLOAD}/${path}.metadata` : undefined

const isName = (name: string): boolean => Buffer.byteLength(name) <= LONGEST_NAME

const LONGEST_NAME = 255
const ETAG_LENGTH = 40

/** The beginning of a file; its length is how far the download has come. */
export function partial(path: string, digest: Digest): string {
  const suffix = `.${startOf(digest)}.incomplete`
  const folder = path.slice(0, path.lastIndexOf('/') + 1)
  const name = path.slice(folder.length)
  // The longest names would be too long with the suffix.
  const short = isName(name + suffix) ? name : createHash('sha1').update(name).digest('hex')
  return `${DOWNLOAD}/${folder}${short}${suffix}`
}

/** The beginning of the digest in the name of a partial: of ours, or of huggingface_hub's, with an identifier behind it. */
export const digestInPartial = (name: string): string | undefined =>
  /(?:^|[^0-9a-f])([0-9a-f]{40})[0-9a-f]*(?:\.[0-9a-f]{8})?\.incomplete$/.exec(name)?.[1]

export const startOf = ({ hex }: Digest): string => hex.slice(0, ETAG_LENGTH)

/** What huggingface_hub calls a beginning of the file with this digest, in the same folder. */
export const isPartialOfPython = (name: string, { hex }: Digest): boolean =>
  // Ours has the same end when the digest is short; only theirs begins with something in Base64.
  /^[\w-]+=\.[0-9a-f]+(\.[0-9a-f]{8})?\.incomplete$/.test(name) && name.split('.')[1] === hex

export const shardMarker = (index: number, count: number): string => `${ARKS}/shard-${index}-of-${count}.json`
