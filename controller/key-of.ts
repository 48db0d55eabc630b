/** Of an object in a cache. Joined, and not a template: V8 would keep its parts beside it. There are as many as objects. */
export const keyOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  [namespace, name].join('/')

/** One text instead of two that say the same: there are as many as objects. */
export const either = (one: string, other: string): string => (one === other ? one : other)
