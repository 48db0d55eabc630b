const KEY = '"managedFields":['
const [QUOTE, BACKSLASH, OPEN, CLOSE] = [34, 92, 91, 93]

/**
 * JSON as the API server writes it, with each `managedFields` list emptied: they are half of most objects, and reading
 * them is half of the work of a start. In a text the key would have its quotes escaped, so that it is not taken for one.
 */
export function withoutManagedFields(json: string): string {
  let kept = ''
  let from = 0
  for (let at = json.indexOf(KEY); at >= 0; at = json.indexOf(KEY, from)) {
    const open = at + KEY.length
    const close = endOfList(json, open)
    // It is no JSON then, as whoever reads it will say.
    if (close === undefined) return json
    kept += json.slice(from, open)
    from = close
  }
  return from === 0 ? json : kept + json.slice(from)
}

/** Where the list ends whose first item begins here. */
function endOfList(json: string, start: number): number | undefined {
  let depth = 1
  for (let index = start; index < json.length; index++) {
    const code = json.charCodeAt(index)
    if (code === QUOTE) index = endOfText(json, index)
    else if (code === OPEN) depth++
    else if (code === CLOSE && --depth === 0) return index
  }
  return undefined
}

function endOfText(json: string, start: number): number {
  for (let at = json.indexOf('"', start + 1); at >= 0; at = json.indexOf('"', at + 1)) {
    let first = at
    while (json.charCodeAt(first - 1) === BACKSLASH) first--
    if ((at - first) % 2 === 0) return at
  }
  return json.length
}
