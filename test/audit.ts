import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Plain } from '../crds/arksmodel.ts'
import { asList } from '../fn/merge.ts'
import { at } from './objects.ts'

/** What users asked of an API server, from its audit log, beside what RBAC allows them. */

export interface Asked {
  readonly verb: string
  readonly group: string
  /** With its subresource: `arksmodels/status`. */
  readonly resource: string
  readonly namespace: string
  readonly name: string
  readonly path: string
  readonly code: number
  /** In milliseconds since the epoch. */
  readonly at: number
}

/** All that the user asked, in order; each watch once. */
export const asked = (file: string, user: string): readonly Asked[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    // The last one is empty, or not whole yet.
    .slice(0, -1)
    .map((line): unknown => JSON.parse(line))
    .filter((entry) => at(entry, 'user', 'username') === user)
    // A watch tells when it begins and when it ends.
    .filter((entry) => at(entry, 'stage') === (isBegun(entry) ? 'ResponseStarted' : 'ResponseComplete'))
    .map((entry) => {
      const [resource, subresource] = [at(entry, 'objectRef', 'resource'), at(entry, 'objectRef', 'subresource')]
      return {
        verb: String(at(entry, 'verb')),
        group: String(at(entry, 'objectRef', 'apiGroup') ?? ''),
        resource: [resource ?? '', ...(subresource === undefined ? [] : [subresource])].join('/'),
        namespace: String(at(entry, 'objectRef', 'namespace') ?? ''),
        name: String(at(entry, 'objectRef', 'name') ?? ''),
        path: String(at(entry, 'requestURI')),
        code: Number(at(entry, 'responseStatus', 'code')),
        at: Date.parse(String(at(entry, 'requestReceivedTimestamp'))),
      }
    })

/** One that is refused never begins. */
const isBegun = (entry: unknown): boolean =>
  at(entry, 'verb') === 'watch' && Number(at(entry, 'responseStatus', 'code')) < 300

/** What is asked now may be answered before the log has it: this is the log as soon as it holds what must come. */
export async function askedUntil(
  look: () => readonly Asked[],
  what: string,
  holds: (all: readonly Asked[]) => boolean,
): Promise<readonly Asked[]> {
  for (const end = performance.now() + 10_000; performance.now() < end; await sleep(50)) {
    const all = look()
    if (holds(all)) return all
  }
  throw new Error(`not in the audit log within 10 s: ${what}`)
}

/** One thing that a role allows. */
export interface Rule {
  readonly verb: string
  readonly group: string
  readonly resource: string
  /** Empty: all. */
  readonly name: string
  /** Of a Role; empty: all. */
  readonly namespace: string
}

/** Each combination of what the Roles and ClusterRoles among these objects say. */
export const rulesOf = (list: readonly Plain[]): readonly Rule[] =>
  list
    .filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role')
    .flatMap((role) =>
      asList(at(role, 'rules')).flatMap((rule) =>
        texts(rule, 'apiGroups').flatMap((group) =>
          texts(rule, 'resources').flatMap((resource) =>
            texts(rule, 'verbs').flatMap((verb) =>
              texts(rule, 'resourceNames', ['']).map((name) => ({
                verb,
                group,
                resource,
                name,
                namespace: role['kind'] === 'Role' ? String(at(role, 'metadata', 'namespace')) : '',
              })),
            ),
          ),
        ),
      ),
    )

const texts = (rule: unknown, key: string, absent: readonly string[] = []): readonly string[] => {
  const list = at(rule, key)
  return Array.isArray(list) ? list.map(String) : absent
}

export const isAllowedBy =
  ({ verb, group, resource, name, namespace }: Rule) =>
  (each: Asked): boolean =>
    each.verb === verb &&
    each.group === group &&
    each.resource === resource &&
    (name === '' || each.name === name) &&
    (namespace === '' || each.namespace === namespace)

/** `patch arks.ai arksmodels/status` */
export const shown = ({ verb, group, resource }: Rule | Asked): string =>
  [verb, group, resource].filter((each) => each !== '').join(' ')
