import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import * as assert from 'uvu/assert'

/** `UPDATE=1` rewrites what is expected; such a run fails, so that it is never the green one. */
export const UPDATE: boolean = process.env['UPDATE'] === '1'

export function mustEqualFile(actual: string, path: string): void {
  if (!UPDATE) {
    assert.fixture(actual, existsSync(path) ? readFileSync(path, 'utf8') : '')
    return
  }
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, actual)
  assert.unreachable(`${path} was rewritten: read it, then run again`)
}
