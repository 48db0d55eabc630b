/** A row of the table of what was proved, which the runner of all tests shows at its end. */
export interface Proved {
  readonly seconds: number
  /** What the Hub has sent of the model; absent where that says nothing. */
  readonly bytes?: number
}

const MB = 1e6

export function told(story: string, { seconds, bytes }: Proved): void {
  const sent = bytes === undefined ? '' : `${(bytes / MB).toFixed(1)} MB`
  console.log(`scenario: ${seconds.toFixed(1).padStart(5)} s ${sent.padStart(9)}  ${story}`)
}
