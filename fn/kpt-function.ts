import type { Configs, KptFunc, KubernetesObject, Result } from 'kpt-functions'
import type { Plain } from '../crds/arksmodel.ts'
import { CONFIG_API_VERSION } from '../crds/names.ts'
import { result } from './finding.ts'
import { isPlain } from './merge.ts'
import { type Outcome, run } from './run.ts'

/**
 * The function for programs that are written with kpt-functions: there the objects are values already, so nothing
 * can be kept byte for byte. Problems become results, and the objects stay as they were.
 */
export const expandArksModels: KptFunc = Object.assign(
  async (configs: Configs): Promise<void> => {
    const { stdout, findings } = await onValues(configs)
    if (findings.length > 0) {
      configs.addResults(...findings.map((found): Result => result(found)))
      return
    }
    configs.deleteAll()
    configs.insert(...objects(JSON.parse(stdout)))
  },
  {
    usage: `Expands each ArksModel into a PersistentVolumeClaim and a Job. Config: ${CONFIG_API_VERSION} ExpandArksModels.`,
  },
)

function onValues(configs: Configs): Promise<Outcome> {
  const list = {
    apiVersion: 'config.kubernetes.io/v1',
    kind: 'ResourceList',
    items: configs.getAll(),
    functionConfig: configs.getFunctionConfig(),
  }
  return run([{ name: undefined, text: JSON.stringify(list) }], { config: undefined, seal: false })
}

const objects = (list: unknown): KubernetesObject[] => {
  const items = isPlain(list) ? list['items'] : undefined
  return Array.isArray(items) ? items.filter(isObject) : []
}

const isObject = (value: unknown): value is KubernetesObject & Plain =>
  isPlain(value) && typeof value['kind'] === 'string' && isPlain(value['metadata'])
