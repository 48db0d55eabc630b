import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { load } from 'js-yaml'

/** Fails unless both files hold the same objects in the same order. Hashes may be computed differently. */
export function mustBeSame(left: string, right: string): void {
  const [ours, theirs] = [objects(left), objects(right)]
  if (ours.length !== theirs.length) throw new Error(`must be ${ours.length} objects, got ${theirs.length}`)
  ours.forEach((object, index) => {
    if (isDeepStrictEqual(object, theirs[index])) return
    throw new Error(`must be\n${JSON.stringify(object)}\ngot\n${JSON.stringify(theirs[index])}`)
  })
}

function objects(file: string): readonly unknown[] {
  const text = readFileSync(file, 'utf8')
  const list = load(withoutHashes(text))
  if (typeof list === 'object' && list !== null && 'items' in list && Array.isArray(list.items)) return list.items
  throw new Error(`must be a ResourceList, got ${text.slice(0, 200)}`)
}

const withoutHashes = (text: string): string =>
  text
    .replace(/(\barks-worker-[a-z0-9-]+-)[0-9a-f]{10}\b/g, '$1HASH')
    .replace(/(arks\.ai\/worker-hash:) .*/g, '$1 HASH')
