import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isRecord } from '../crds/place.ts'
import { attempt, codeOf, Failure, on, storageFailure } from './failure.ts'
import { parsed } from './marker.ts'
import { ARKS } from './places.ts'
import { readText, type Volume, writeWhole } from './volume.ts'

/** The right to write into a folder. */
export interface Lease {
  /** It was taken from one who may still be there and only does not answer. */
  readonly isTakenOver: boolean
  /** Throws once another has it. To be asked before anything is changed; it looks again where its word is old. */
  check(): void
  /** As `check`, and looks in any case. */
  confirm(): void
  /** Lets the next one in at once. */
  release(): void
}

export interface LeaseOptions {
  /** In the folder's notes. */
  readonly name: string
  /** Whether the lease of this other name keeps us out too. */
  readonly conflictsWith: (name: string) => boolean
  readonly signal: AbortSignal
  /** Once, when another has it. */
  readonly onWait: (holder: string) => void
}

const BEAT_MS = 5_000
/** A lease that was not renewed for so long is nobody's. */
const LAPSE_MS = 30_000
const LOOK_MS = 1_000
/** Of several who take a lapsed lease at the same time the last one to write has it: all see that after this time. */
const SETTLE_MS = 300

interface Holder {
  readonly id: string
  readonly host: string
  /** Whose process numbers these are. */
  readonly kernel: string
  readonly pid: number
}

/**
 * Waits until the folder is free. Locks of the operating system mean nothing on many network filesystems, and exclusive
 * creation means nothing on object storage: a lease is a file that its holder writes again and again. Its age is
 * measured by the filesystem's own clock, against a file that is written now.
 */
export async function lease(volume: Volume, { name, conflictsWith, signal, onWait }: LeaseOptions): Promise<Lease> {
  const place = `${ARKS}/${name}.json`
  const me: Holder = { id: randomUUID(), host: hostname(), kernel: kernel(), pid: process.pid }
  const text = `${JSON.stringify(me)}\n`
  const holder = (): Holder | undefined => parseHolder(readText(volume, place))
  const isFree = (each: string): boolean => isGone(parseHolder(readText(volume, each))) || isLapsed(volume, each)
  const others = (): readonly string[] =>
    on(`read ${volume.folder}`, () => readdirSync(join(volume.folder, ARKS)))
      .filter(
        (each) => each.endsWith('.json') && each !== `${name}.json` && conflictsWith(each.slice(0, -'.json'.length)),
      )
      .map((each) => `${ARKS}/${each}`)
  const withdraw = (): void => {
    try {
      if (holder()?.id === me.id) rmSync(join(volume.folder, place), { force: true })
    } catch {
      // It lapses by itself.
    }
  }

  let isTakenOver = false
  /** Answers with the lease that is in the way, if there is one. */
  const tried = async (): Promise<string | undefined> => {
    const began = performance.now()
    const found = readText(volume, place)
    if (found !== undefined && !isFree(place)) return place
    isTakenOver = found !== undefined && !isGone(parseHolder(found))
    let settles = true
    if (found !== undefined) writeWhole(volume, place, text)
    else if (createdAlone(join(volume.folder, place), text)) settles = !volume.flushes
    else if (readText(volume, place) !== undefined) return place
    else writeWhole(volume, place, text)
    // Another who saw the same at the same time is as slow as this was.
    if (settles) await sleep(SETTLE_MS + 2 * (performance.now() - began), undefined, { signal })
    if (holder()?.id !== me.id) return place
    const inTheWay = others().find((each) => !isFree(each))
    if (inTheWay !== undefined) withdraw()
    return inTheWay
  }

  try {
    let told = false
    for (;;) {
      const inTheWay = await tried()
      if (inTheWay === undefined) break
      const other = parseHolder(readText(volume, inTheWay))
      if (!told && other !== undefined) onWait(`${other.host}, process ${other.pid}`)
      told ||= other !== undefined
      // Two that step back from each other must not come back together.
      await sleep(LOOK_MS * (0.5 + Math.random()), undefined, { signal })
    }
  } catch (error) {
    withdraw()
    throw error
  }

  let renewed = performance.now()
  let lost: Failure | undefined
  const renew = (): void => {
    if (lost !== undefined) throw lost
    const began = performance.now()
    const other = holder()
    if (other?.id === me.id) {
      writeWhole(volume, place, text)
      renewed = performance.now()
      // A volume that hung so long may have let another in meanwhile, over whose lease this one was written.
      if (renewed - began < LAPSE_MS / 2) return
    }
    clearInterval(timer)
    const who =
      other === undefined ? 'its lease is gone' : other.id === me.id ? 'the volume did not answer' : other.host
    lost = new Failure('Interrupted', `Another loader has taken over the folder: ${who}`)
    throw lost
  }
  const timer = setInterval(() => {
    try {
      renew()
    } catch {
      // What cannot be renewed now is looked at again before anything is written.
    }
  }, BEAT_MS)
  timer.unref()

  return {
    isTakenOver,
    check() {
      if (lost !== undefined) throw lost
      if (performance.now() - renewed > LAPSE_MS / 2) renew()
    },
    confirm: renew,
    release() {
      clearInterval(timer)
      withdraw()
    },
  }
}

function parseHolder(text: string | undefined): Holder | undefined {
  const value = parsed(text)
  if (!isRecord(value)) return undefined
  const { id, host, kernel, pid } = value
  return typeof id === 'string' && typeof host === 'string' && typeof kernel === 'string' && typeof pid === 'number'
    ? { id, host, kernel, pid }
    : undefined
}

/**
 * Machines may have the same name, as pods have that of their node when they use its network. A boot has an identifier of
 * its own, and the namespace of the numbers belongs to it.
 */
function kernel(): string {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

/** A process of the same machine can be asked for. What names nobody may be half written: its age decides. */
function isGone(holder: Holder | undefined): boolean {
  if (holder?.host !== hostname() || holder.kernel === '' || holder.kernel !== kernel()) return false
  if (holder.pid === process.pid) return true
  try {
    process.kill(holder.pid, 0)
    return false
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
}

/** False where there is one already, or seems to be: not all filesystems can tell. */
function createdAlone(file: string, text: string): boolean {
  try {
    writeFileSync(file, text, { flag: 'wx' })
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    // A full volume takes the name and not the text.
    attempt(() => rmSync(file, { force: true }))
    throw storageFailure(error, `write ${file}`)
  }
}

function isLapsed({ folder }: Volume, place: string): boolean {
  const clock = join(folder, ARKS, `clock-${randomUUID()}`)
  try {
    writeFileSync(clock, '')
    return statSync(clock).mtimeMs - statSync(join(folder, place)).mtimeMs >= LAPSE_MS
  } catch {
    return false
  } finally {
    attempt(() => rmSync(clock, { force: true }))
  }
}
