import { request } from 'node:http'
import { BlockList, isIPv4, isIPv6 } from 'node:net'
import { type Told, toldIn } from './progress.ts'

export interface Limits {
  readonly port: number
  readonly timeoutMs: number
  readonly mostBytes: number
}

/** The loader's own answer has some 300 bytes. */
const LIMITS: Limits = { port: 8080, timeoutMs: 2_000, mostBytes: 16_384 }

/**
 * What the loader in the pod with this IP says of itself; undefined: nothing that can be used. A pod may answer what it
 * likes: no redirect is followed, no name is looked up, and no more is read than a loader would write.
 */
export function ask(ip: string, { port, timeoutMs, mostBytes }: Limits = LIMITS): Promise<Told | undefined> {
  return new Promise((resolve) => {
    if (!mayBePod(ip)) return resolve(undefined)
    const asking = request({ host: ip, port, path: '/progress', agent: false, headers: { accept: 'application/json' } })
    const timer = setTimeout(() => end(), timeoutMs)
    const end = (told?: Told): void => {
      clearTimeout(timer)
      resolve(told)
      asking.destroy()
    }
    asking.on('error', () => end())
    asking.on('response', (response) => {
      if (response.statusCode !== 200) return end()
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > mostBytes) end()
      })
      response.on('error', () => end())
      response.on('end', () => end(toldIn(text)))
    })
    asking.end()
  })
}

/** What no pod has for an address, but what clouds hand out credentials at. One on the network of its node has the node's. */
const NEVER_PODS = new BlockList()
NEVER_PODS.addSubnet('0.0.0.0', 8)
NEVER_PODS.addSubnet('169.254.0.0', 16)
NEVER_PODS.addSubnet('224.0.0.0', 3)
NEVER_PODS.addAddress('::', 'ipv6')
NEVER_PODS.addSubnet('fe80::', 10, 'ipv6')
NEVER_PODS.addSubnet('ff00::', 8, 'ipv6')

function mayBePod(ip: string): boolean {
  if (isIPv4(ip)) return !NEVER_PODS.check(ip)
  // The name of an interface behind it is that of a link-local address only.
  return isIPv6(ip) && !ip.includes('%') && !NEVER_PODS.check(ip, 'ipv6')
}
