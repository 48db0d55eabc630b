import { globSync, readFileSync } from 'node:fs'

/** What people read of this project, and what in it a test can try. */

export const DOCUMENTS: readonly string[] = [
  ...globSync(['*.md', 'docs/*.md', 'kustomize/*.md', 'examples/**/*.md']),
].sort()

export interface Block {
  readonly file: string
  /** Of its first line, from 1. */
  readonly line: number
  /** Empty: what a program prints, or a picture. */
  readonly language: string
  readonly text: string
}

export const read = (file: string): string => readFileSync(file, 'utf8')

const FENCED = /^( *)```(\S*)[^\n]*\n([\s\S]*?)^\1```$/gm

export const blocks = (file: string): readonly Block[] =>
  [...read(file).matchAll(FENCED)].map(({ index, 1: indent = '', 2: language = '', 3: text = '', input }) => ({
    file,
    line: input.slice(0, index).split('\n').length + 1,
    language,
    text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  }))

/** The document without its blocks. */
export const prose = (file: string): string => read(file).replaceAll(FENCED, '')

export interface Command {
  /** Program and arguments, without quotes. */
  readonly words: readonly string[]
  /** Files that the shell opens to be read. */
  readonly reads: readonly string[]
}

/** Of the shell's grammar what documents need: a word, or an operator that ends a command or opens a file. */
const TOKEN =
  /\\\n|[ \t]+|#[^\n]*|(?<operator>\n|&&|\|\||[|;&]|\d?>>?|<)|(?<word>(?:'[^']*'|"[^"]*"|\\.|[^\s|;&<>'"\\])+)/gy

export function commands(script: string): readonly Command[] {
  const found: { words: string[]; reads: string[] }[] = []
  let command: { words: string[]; reads: string[] } = { words: [], reads: [] }
  let opens: string | undefined
  let end = 0
  for (const { index, 0: token, groups } of script.matchAll(TOKEN)) {
    end = index + token.length
    const { operator, word } = groups ?? {}
    if (word !== undefined) {
      const plain = word.replaceAll(/'([^']*)'|"([^"]*)"|\\(.)/g, '$1$2$3')
      if (opens === '<') command.reads.push(plain)
      // Variables in front of the program are given to it.
      else if (opens === undefined && (command.words.length > 0 || !/^\w+=/.test(plain))) command.words.push(plain)
      opens = undefined
    } else if (operator !== undefined && /[<>]/.test(operator)) opens = operator
    else if (operator !== undefined) {
      found.push(command)
      command = { words: [], reads: [] }
    }
  }
  if (end !== script.length)
    throw new Error(`cannot read the command at ${JSON.stringify(script.slice(end, end + 40))}`)
  return [...found, command].filter(({ words }) => words.length > 0)
}

/** Between back-quotes, with one of these beginnings; what stands for something else is in capitals. */
export const inlineCommands = (file: string, beginnings: readonly string[]): readonly string[] =>
  [...prose(file).matchAll(/`([^`\n]+)`/g)]
    .map(([, code = '']) => code.replaceAll('\\|', '|').replaceAll(/<[a-z]+>/g, 'NAME'))
    .filter((code) => beginnings.some((beginning) => code.startsWith(beginning)))

/** What a link may name behind `#`, as GitHub makes it of headings. */
export function anchors(file: string): ReadonlySet<string> {
  const found = new Set<string>()
  for (const [, heading = ''] of prose(file).matchAll(/^#+ +(.*)$/gm)) {
    const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const slug = plain.replaceAll(/[^\p{L}\p{N}\p{M}_\- ]/gu, '').replaceAll(' ', '-')
    let unique = slug
    for (let count = 1; found.has(unique); count++) unique = `${slug}-${count}`
    found.add(unique)
  }
  return found
}

/** Of links that do not leave the project. */
export const linkTargets = (file: string): readonly string[] =>
  [
    ...prose(file)
      .replaceAll(/`[^`\n]*`/g, '')
      .matchAll(/\]\(([^)\s]+)\)/g),
  ]
    .map(([, target = '']) => target)
    .filter((each) => !/^\w+:/.test(each))
