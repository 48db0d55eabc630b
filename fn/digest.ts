import { sha256 as hash } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'

/** In hex. Loading node:crypto would cost a tenth of the start-up time. */
export const sha256 = (text: string): string => bytesToHex(hash(utf8ToBytes(text)))
