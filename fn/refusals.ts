import type { ArksModel } from '../crds/arksmodel.ts'
import { MODELS_PATH, MODELS_VOLUME } from '../crds/names.ts'
import type { Problem } from '../crds/problems.ts'
import type { Settings } from './config.ts'
import { instanceSpec, reservedEnv } from './job.ts'
import { asPlain } from './merge.ts'
import { quantity } from './quantity.ts'

/**
 * What the API server or the cluster would refuse later, as far as one model shows it. Schema and rules have passed.
 * Sources: validation of PersistentVolumeClaim, Pod and ObjectMeta in Kubernetes 1.36.
 */
export function refusals(model: ArksModel, settings: Settings): readonly Problem[] {
  return CHECKS.flatMap((check) => check(model, settings))
}

type Check = (model: ArksModel, settings: Settings) => readonly Problem[]

const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/
const ACCESS_MODES = ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod']
const CLAIM = 'spec.storage.pvc.spec'

const problem = (path: string, message: string): readonly Problem[] => [{ path, message }]

const accessModes: Check = ({ storage, source }) => {
  if (storage.claimSpec === undefined) return []
  const path = `${CLAIM}.accessModes`
  const modes = list(storage.claimSpec['accessModes'])
  if (modes.length === 0) return problem(path, `must hold at least one of ${ACCESS_MODES.join(', ')}`)
  if (modes.length > 1 && modes.includes('ReadWriteOncePod'))
    return problem(path, 'must hold no other mode beside ReadWriteOncePod')
  if (source.kind === 'huggingface' && modes.every((mode) => mode === 'ReadOnlyMany')) {
    return problem(path, 'must hold a mode that the worker can write with, got only ReadOnlyMany')
  }
  return []
}

const storageRequest: Check = ({ storage }) => {
  if (storage.claimSpec === undefined) return []
  const { requests, limits } = asPlain(storage.claimSpec['resources'])
  const path = `${CLAIM}.resources.requests.storage`
  const found = asPlain(requests)['storage']
  if (found === undefined || found === null) return problem(path, 'must be present, a quantity such as "20Gi"')
  const bytes = quantity(found)
  if (bytes === undefined) return []
  if (bytes <= 0) return problem(path, `must be more than 0, got "${cut(String(found))}"`)
  const limit = quantity(asPlain(limits)['storage'])
  return limit !== undefined && limit < bytes
    ? problem(
        path,
        `must be at most the limit of "${cut(String(asPlain(limits)['storage']))}", got "${cut(String(found))}"`,
      )
    : []
}

const volumeMode: Check = ({ storage }) => {
  const mode = storage.claimSpec?.['volumeMode']
  return mode === undefined || mode === null || mode === 'Filesystem'
    ? []
    : problem(`${CLAIM}.volumeMode`, `must be Filesystem: a model is files, got "${cut(String(mode))}"`)
}

const storageClass: Check = ({ storage }) => {
  const name = storage.claimSpec?.['storageClassName']
  return typeof name !== 'string' || name === '' || SUBDOMAIN.test(name)
    ? []
    : problem(
        `${CLAIM}.storageClassName`,
        `must be a DNS name of lower-case letters, digits, "-" and ".", got "${cut(name)}"`,
      )
}

const environment: Check = (model, settings) => {
  const reserved = reservedEnv(model, settings)
  const env = list(instanceSpec(model, settings)['env']).map((each) => String(asPlain(each)['name']))
  return env.flatMap((name, index) =>
    reserved.has(name)
      ? problem(`spec.instanceSpec.env[${index}].name`, `must not be ${name}: the function sets it for this model`)
      : [],
  )
}

const volumes: Check = (model, settings) => {
  const instance = instanceSpec(model, settings)
  const reserved = ['ca-bundle', MODELS_VOLUME]
  const named = list(instance['volumes']).flatMap((volume, index) => {
    const name = String(asPlain(volume)['name'])
    return reserved.includes(name)
      ? problem(
          `spec.instanceSpec.volumes[${index}].name`,
          `must not be ${name}: the function has a volume of this name`,
        )
      : []
  })
  const mounted = list(instance['volumeMounts']).flatMap((mount, index) => {
    const path = String(asPlain(mount)['mountPath'])
    return path.replace(/\/+$/, '') === MODELS_PATH
      ? problem(
          `spec.instanceSpec.volumeMounts[${index}].mountPath`,
          `must not be ${MODELS_PATH}: the claim is mounted there`,
        )
      : []
  })
  return [...named, ...mounted]
}

const requestsWithinLimits: Check = (model, settings) => {
  const { requests, limits } = asPlain(instanceSpec(model, settings)['resources'])
  return Object.entries(asPlain(requests)).flatMap(([name, value]) => {
    const request = quantity(value)
    const limit = quantity(asPlain(limits)[name])
    return request !== undefined && limit !== undefined && request > limit
      ? problem(
          `spec.instanceSpec.resources.requests.${name}`,
          `must be at most the limit of "${String(asPlain(limits)[name])}", got "${String(value)}"`,
        )
      : []
  })
}

const CHECKS: readonly Check[] = [
  accessModes,
  storageRequest,
  volumeMode,
  storageClass,
  environment,
  volumes,
  requestsWithinLimits,
]

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

const cut = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text)
