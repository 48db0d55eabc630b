/** Which keys belong to a value, such as the models on a claim. Most values have one key, so one is kept as itself. */
export interface IndexOf {
  add(value: string, key: string): void
  remove(value: string, key: string): void
  /** At most so many of them, those first that were added first. */
  of(value: string, most?: number): readonly string[]
}

export function indexOf(): IndexOf {
  const keys = new Map<string, string | Set<string>>()
  return {
    add(value, key) {
      const known = keys.get(value)
      if (known === undefined || known === key) keys.set(value, key)
      else if (typeof known === 'string') keys.set(value, new Set([known, key]))
      else known.add(key)
    },
    remove(value, key) {
      const known = keys.get(value)
      if (known === key) keys.delete(value)
      else if (known instanceof Set) {
        known.delete(key)
        if (known.size === 0) keys.delete(value)
      }
    },
    of(value, most = Number.POSITIVE_INFINITY) {
      const known = keys.get(value)
      if (known === undefined) return []
      return typeof known === 'string' ? [known] : first(known, most)
    },
  }
}

function first(keys: Iterable<string>, most: number): readonly string[] {
  const found: string[] = []
  for (const key of keys) {
    if (found.length === most) break
    found.push(key)
  }
  return found
}
