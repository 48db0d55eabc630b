import { suite, type Test } from 'uvu'
import * as assert from 'uvu/assert'

/** A part that this machine lacks, as test/parts.ts reports it. */
interface Missing {
  readonly name: string
  readonly why: string
  readonly how: string
  readonly couldBeHad: boolean
}

/** A suite that runs itself: a forgotten `.run()` would be a suite that cannot fail. */
export function describe(name: string, tests: (test: Test) => void): void {
  const test = suite(name)
  tests(test)
  test.run()
}

/** Leaves a suite out and says why. Under CI a part that could be had is a failure. */
export function leftOut(what: string, { name, why, how, couldBeHad }: Missing): void {
  if (couldBeHad && process.env['CI'] === 'true') {
    describe(what, (test) => test(`needs ${name}`, () => assert.unreachable(`${why}; ${how}`)))
  } else {
    console.log(`left out: ${what}: no ${name}: ${why}; ${how}`)
  }
}
