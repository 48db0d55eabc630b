/** A place in an object, as the steps that lead to it. */
export type Place = readonly (string | number)[]

export const valueAt = (root: unknown, place: Place): unknown => place.reduce(member, root)

/** The places that `a.b[].c` stands for in this object. */
export const places = (root: unknown, path: string): readonly Place[] => below(root, path.split('.'), [])

function below(value: unknown, steps: readonly string[], place: Place): readonly Place[] {
  if (value === undefined) return []
  const [step, ...rest] = steps
  if (step === undefined) return [place]
  if (!step.endsWith('[]')) return below(member(value, step), rest, [...place, step])
  const name = step.slice(0, -2)
  const items = member(value, name)
  return Array.isArray(items) ? items.flatMap((item, index) => below(item, rest, [...place, name, index])) : []
}

function member(value: unknown, step: string | number): unknown {
  if (Array.isArray(value)) return value[Number(step)]
  return isRecord(value) && Object.hasOwn(value, step) ? value[step] : undefined
}

/** Of a JSON pointer: `/a/b~1c/0`. */
export const placeOf = (pointer: string): Place =>
  pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))

/** `spec.storage.pvc.spec.accessModes[0]`, `spec.instanceSpec.nodeSelector[example.com/gpu]`. */
export const placeText = (place: Place): string =>
  place.map((step, index) => (NAME.test(`${step}`) ? `${index > 0 ? '.' : ''}${step}` : `[${step}]`)).join('')

const NAME = /^[A-Za-z_][A-Za-z0-9_-]*$/

/** Whether one place is the other or below it. */
export const within = (place: Place, outer: Place): boolean =>
  outer.every((step, index) => `${place[index]}` === `${step}`)

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
