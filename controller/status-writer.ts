import { API_VERSION, KIND } from '../crds/names.ts'
import { isRecord } from '../crds/place.ts'
import { ApiError, type Client } from './client.ts'
import type { Regarding } from './events.ts'
import { FIELD_MANAGER, type SeenModel } from './seen.ts'

export interface StatusWriter {
  readonly client: Pick<Client, 'request'>
  /** Puts the server's answer where the next look finds it; undefined: it is no model. */
  readonly put: (object: unknown) => SeenModel | undefined
  readonly onConflict: () => void
}

/**
 * Patches `status` on top of the resourceVersion that was looked at. A uid would be ignored there; the resourceVersion
 * also refuses the late write of one that leads no more. Throws an `ApiError` for all that is not told here.
 */
export async function writeStatus(
  { client, put, onConflict }: StatusWriter,
  model: SeenModel,
  patch: unknown,
): Promise<SeenModel | 'conflict' | 'gone'> {
  try {
    const answer = await client.request({
      verb: 'patch',
      path: `/apis/${API_VERSION}/namespaces/${model.namespace}/arksmodels/${model.name}/status`,
      query: { fieldManager: FIELD_MANAGER },
      body: { metadata: { resourceVersion: model.resourceVersion }, ...(isRecord(patch) && { status: patch }) },
      contentType: 'application/merge-patch+json',
    })
    const kept = put(answer)
    if (kept === undefined) throw new Error(`the answer to a patch is no model: ${model.namespace}/${model.name}`)
    return kept
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    if (error.code === 404) return 'gone'
    if (error.code !== 409) throw error
    onConflict()
    return 'conflict'
  }
}

export const regarding = ({ namespace, name, uid, resourceVersion }: SeenModel): Regarding => ({
  apiVersion: API_VERSION,
  kind: KIND,
  namespace,
  name,
  uid,
  resourceVersion,
})
