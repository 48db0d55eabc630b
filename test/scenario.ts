import type { Test } from 'uvu'

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

interface Around {
  /** With whom, where the story alone does not say it. */
  readonly under?: string
  /** What the Hub has sent so far. */
  readonly bytesSent?: () => number
}

/** A test with its row. */
export function scenario(test: Test, story: string, act: () => Promise<void>, { under = '', bytesSent }: Around): void {
  test(story, async () => {
    const [start, before] = [performance.now(), bytesSent?.() ?? 0]
    await act()
    const seconds = (performance.now() - start) / 1000
    told(`${under}${story}`, { seconds, ...(bytesSent && { bytes: bytesSent() - before }) })
  })
}
