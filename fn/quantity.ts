const QUANTITY = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/

const UNITS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

/** A Kubernetes quantity as a number: bytes, cores. Undefined where Kubernetes would not read it. Exact enough to compare. */
export function quantity(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  const found = typeof value === 'string' ? QUANTITY.exec(value) : null
  if (found === null) return undefined
  const [, digits = '', suffix = ''] = found
  return /^[eE]./.test(suffix) ? Number(digits + suffix) : Number(digits) * (UNITS[suffix] ?? 1)
}
