/** Which files of a repository are wanted. An empty `include` stands for all of them; `exclude` wins. */
export interface Filter {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

/**
 * Tells for a path whether it is wanted, as `filter_repo_objects` of huggingface_hub does: shell patterns of Python's
 * `fnmatch`, case-sensitive, in which `*` crosses `/`; a pattern that ends in `/` means all below it; `\` is `/`.
 */
export function wanted({ include, exclude }: Filter): (path: string) => boolean {
  const included = include.map(pattern)
  const excluded = exclude.map(pattern)
  return (path) => {
    const characters = [...withSlashes(path)]
    const isMatched = (pieces: readonly Piece[]): boolean => matches(pieces, characters)
    return (included.length === 0 || included.some(isMatched)) && !excluded.some(isMatched)
  }
}

/** What one character of a path has to be; `*` is any number of any characters. */
type Piece = '*' | ((character: string) => boolean)

const withSlashes = (text: string): string => text.replaceAll('\\', '/')

function pattern(text: string): readonly Piece[] {
  const slashed = withSlashes(text)
  const characters = [...(slashed.endsWith('/') ? `${slashed}*` : slashed)]
  const pieces: Piece[] = []
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? ''
    const end = character === '[' ? setEnd(characters, at + 1) : -1
    if (end !== -1) {
      pieces.push(set(characters.slice(at + 1, end)))
      at = end
    } else if (character !== '*') pieces.push(character === '?' ? () => true : (other) => other === character)
    else if (pieces.at(-1) !== '*') pieces.push('*')
  }
  return pieces
}

/** Of the `]` that ends a set: not the first character in it, behind a `!` either. -1: the `[` is just a bracket. */
function setEnd(characters: readonly string[], start: number): number {
  const first = characters[start] === '!' ? start + 1 : start
  return characters.indexOf(']', first + 1)
}

/** The inside of `[…]`. As in Python a range that runs backwards is empty, and so is a set without anything else. */
function set(inside: readonly string[]): (character: string) => boolean {
  const isNegated = inside[0] === '!'
  const chunks = split(isNegated ? inside.slice(1) : inside)
  for (let index = chunks.length - 1; index > 0; index--) {
    const [left = [], right = []] = chunks.slice(index - 1)
    if (!isAfter(left.at(-1), right[0])) continue
    chunks.splice(index - 1, 2, [...left.slice(0, -1), ...right.slice(1)])
  }
  const members = new Set(chunks.flat())
  const ranges = chunks.slice(1).map((right, index) => [chunks[index]?.at(-1), right[0]] as const)
  return (character) =>
    isNegated !== (members.has(character) || ranges.some(([low, high]) => isWithin(character, low, high)))
}

/** At each `-` that stands between two characters of which neither is the end of a range already. */
function split(inside: readonly string[]): string[][] {
  const chunks: string[][] = []
  let start = 0
  for (let dash = inside.indexOf('-', 1); dash !== -1; dash = inside.indexOf('-', dash + 3)) {
    chunks.push(inside.slice(start, dash))
    start = dash + 1
  }
  const rest = inside.slice(start)
  const last = chunks.at(-1)
  if (rest.length > 0 || last === undefined) chunks.push(rest)
  else last.push('-')
  return chunks
}

const code = (character: string | undefined): number => character?.codePointAt(0) ?? Number.NaN

const isAfter = (left: string | undefined, right: string | undefined): boolean => code(left) > code(right)

const isWithin = (character: string, low: string | undefined, high: string | undefined): boolean =>
  code(low) <= code(character) && code(character) <= code(high)

/** Goes back to the last `*` alone, so that the time is at most the product of both lengths. */
function matches(pieces: readonly Piece[], characters: readonly string[]): boolean {
  let piece = 0
  let at = 0
  let star = -1
  let resume = 0
  while (at < characters.length) {
    const wants = pieces[piece]
    if (wants === '*') {
      star = piece++
      resume = at
    } else if (wants?.(characters[at] ?? '')) {
      piece++
      at++
    } else if (star !== -1) {
      piece = star + 1
      at = ++resume
    } else return false
  }
  return pieces.slice(piece).every((rest) => rest === '*')
}
