import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** All PEM, of a server on 127.0.0.1 or localhost and of the authority that signed it. */
export interface Certificates {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** Made anew for each call, valid from yesterday until tomorrow. */
export function certificates(): Certificates {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signer = { name: 'arksmodel test authority', key: authority.privateKey, id: keyId(authority.publicKey) }
  const ca = certificate(signer, { name: signer.name, key: authority.publicKey, uses: AUTHORITY })
  const cert = certificate(signer, { name: 'arksmodel test server', key: server.publicKey, uses: SERVER })
  return { ca, cert, key: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
}

interface Signer {
  readonly name: string
  readonly key: KeyObject
  readonly id: Buffer
}

interface Subject {
  readonly name: string
  readonly key: KeyObject
  readonly uses: readonly Buffer[]
}

const der = (tag: number, ...parts: readonly Buffer[]): Buffer => {
  const value = Buffer.concat(parts)
  const { length } = value
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...size]), value])
}
const sequence = (...parts: readonly Buffer[]): Buffer => der(0x30, ...parts)
const octets = (...parts: readonly Buffer[]): Buffer => der(0x04, ...parts)
const bits = (unused: number, value: Buffer): Buffer => der(0x03, Buffer.from([unused]), value)
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'))
const extension = (id: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(id), ...(critical ? [der(0x01, Buffer.from([255]))] : []), octets(value))

const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302'))
const COMMON_NAME = '550403'
const SUBJECT_KEY_ID = '551d0e'
const AUTHORITY_KEY_ID = '551d23'
const KEY_USAGE = '551d0f'
const ALTERNATIVE_NAMES = '551d11'
const BASIC_CONSTRAINTS = '551d13'
const EXTENDED_KEY_USAGE = '551d25'
const SERVER_AUTH = '2b06010505070301'

const AUTHORITY: readonly Buffer[] = [
  extension(BASIC_CONSTRAINTS, sequence(der(0x01, Buffer.from([255]))), true),
  extension(KEY_USAGE, bits(2, Buffer.from([0b0000_0100])), true),
]
const SERVER: readonly Buffer[] = [
  extension(BASIC_CONSTRAINTS, sequence(), true),
  extension(KEY_USAGE, bits(7, Buffer.from([0b1000_0000])), true),
  extension(EXTENDED_KEY_USAGE, sequence(oid(SERVER_AUTH))),
  extension(ALTERNATIVE_NAMES, sequence(der(0x87, Buffer.from([127, 0, 0, 1])), der(0x82, Buffer.from('localhost')))),
]

/** The members of an X.509 certificate in the order of RFC 5280, 4.1. */
function certificate(signer: Signer, { name, key, uses }: Subject): string {
  const day = 24 * 60 * 60 * 1000
  const signed = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1]), randomBytes(8)),
    ECDSA_WITH_SHA256,
    distinguished(signer.name),
    sequence(time(Date.now() - day), time(Date.now() + day)),
    distinguished(name),
    key.export({ type: 'spki', format: 'der' }),
    der(
      0xa3,
      sequence(
        ...uses,
        extension(SUBJECT_KEY_ID, octets(keyId(key))),
        extension(AUTHORITY_KEY_ID, sequence(der(0x80, signer.id))),
      ),
    ),
  )
  const whole = sequence(signed, ECDSA_WITH_SHA256, bits(0, sign('sha256', signed, signer.key)))
  const lines = whole.toString('base64').replaceAll(/.{64}/g, '$&\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

const distinguished = (name: string): Buffer =>
  sequence(der(0x31, sequence(oid(COMMON_NAME), der(0x0c, Buffer.from(name)))))

const time = (at: number): Buffer =>
  der(0x17, Buffer.from(`${new Date(at).toISOString().slice(2, 19).replaceAll(/[-:T]/g, '')}Z`))

const keyId = (key: KeyObject): Buffer =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
