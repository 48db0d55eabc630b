import type { ArksModel, Plain } from '../crds/arksmodel.ts'
import { MODELS_PATH, MODELS_VOLUME, SHARDS, WORKER_CONTAINER } from '../crds/names.ts'
import { placeText } from '../crds/place.ts'
import type { Problem } from '../crds/problems.ts'
import { ACCESS_MODES, label, shardCount, subdomain } from '../crds/rules.ts'
import { shown, withFound } from '../crds/wording.ts'
import type { Settings } from './config.ts'
import { CA_PATH, CA_VOLUME, instanceSpec, reservedEnv } from './job.ts'
import { asList, asPlain, asText, isPlain } from './merge.ts'
import { annotationsOf } from './metadata.ts'
import { quantity } from './quantity.ts'

/**
 * What the API server or the cluster would refuse later, as far as one model shows it. Schema and rules have passed.
 * Sources: validation of PersistentVolumeClaim, Pod and ObjectMeta in Kubernetes 1.36.
 */
export function refusals(model: ArksModel, settings: Settings): readonly Problem[] {
  const subject: Subject = { model, settings, instance: instanceSpec(model, settings) }
  return CHECKS.flatMap((check) => check(subject))
}

interface Subject {
  readonly model: ArksModel
  readonly settings: Settings
  /** The instanceSpec in effect. */
  readonly instance: Plain
}

type Check = (subject: Subject) => readonly Problem[]

const CLAIM = 'spec.storage.pvc.spec'

const LABEL_MESSAGE = 'must be at most 63 lower-case letters, digits and "-", with a letter or digit at both ends'

const problem = (path: string, message: string): readonly Problem[] => [{ path, message }]

const accessModes: Check = ({ model: { storage, source } }) => {
  if (storage.claimSpec === undefined) return []
  const path = `${CLAIM}.accessModes`
  const modes = asList(storage.claimSpec['accessModes'])
  if (modes.length === 0) return problem(path, `must hold at least one of ${ACCESS_MODES.join(', ')}`)
  if (modes.length > 1 && modes.includes('ReadWriteOncePod'))
    return problem(path, 'must hold no other mode beside ReadWriteOncePod')
  if (source.kind === 'huggingface' && modes.every((mode) => mode === 'ReadOnlyMany')) {
    return problem(path, 'must hold a mode that the worker can write with, got only ReadOnlyMany')
  }
  return []
}

const storageRequest: Check = ({ model: { storage } }) => {
  if (storage.claimSpec === undefined) return []
  const { requests, limits } = asPlain(storage.claimSpec['resources'])
  const path = `${CLAIM}.resources.requests.storage`
  const found = asPlain(requests)['storage']
  if (found === undefined || found === null) return problem(path, 'must be present, a quantity such as "20Gi"')
  const bytes = quantity(found)
  if (bytes === undefined) return []
  if (bytes <= 0) return problem(path, `must be more than 0, got ${amount(found)}`)
  const limit = asPlain(limits)['storage']
  return bytes > (quantity(limit) ?? Infinity)
    ? problem(path, `must be at most the limit of ${amount(limit)}, got ${amount(found)}`)
    : []
}

const volumeMode: Check = ({ model: { storage } }) => {
  const mode = storage.claimSpec?.['volumeMode']
  return mode === undefined || mode === null || mode === 'Filesystem'
    ? []
    : problem(`${CLAIM}.volumeMode`, `must be Filesystem: a model is files, got ${shown(mode)}`)
}

const storageClass: Check = ({ model: { storage } }) => {
  const name = storage.claimSpec?.['storageClassName']
  return typeof name !== 'string' || name === '' || subdomain(name)
    ? []
    : problem(
        `${CLAIM}.storageClassName`,
        withFound('must be a DNS name of lower-case letters, digits, "-" and "."', name),
      )
}

const environment: Check = (subject) => {
  const reserved = reservedEnv(subject.model, subject.settings)
  return listed(subject, 'env').flatMap(({ item, at, from }) => {
    const { name } = asPlain(item)
    return typeof name === 'string' && reserved.has(name)
      ? problem(at('name'), `must not be ${name}${from}: the function sets it for this model`)
      : []
  })
}

const volumes: Check = (subject) => names(listed(subject, 'volumes'), ownVolumes(subject), 'volume')

const ownVolumes = ({ settings }: Subject): readonly string[] => [
  MODELS_VOLUME,
  ...(settings.caBundle === undefined ? [] : [CA_VOLUME]),
]

const initContainers: Check = (subject) => {
  const containers = listed(subject, 'initContainers')
  const withoutImage = containers.filter(({ item }) => (asPlain(item)['image'] ?? '') === '')
  return [
    ...names(containers, [WORKER_CONTAINER], 'container'),
    ...withoutImage.flatMap(({ at, from }) => problem(at('image'), `must be present${from}`)),
  ]
}

/** Names of which each may stand in the list once. */
function names(items: readonly Listed[], reserved: readonly string[], what: string): readonly Problem[] {
  const known = new Set<string>()
  return items.flatMap(({ item, at, from }) => {
    const { name } = asPlain(item)
    if (typeof name !== 'string') return []
    const isKnown = known.has(name)
    known.add(name)
    if (reserved.includes(name))
      return problem(at('name'), `must not be ${name}${from}: the function has a ${what} of this name`)
    if (isKnown) return problem(at('name'), `must not be used twice, got ${shown(name)} again${from}`)
    return label(name) ? [] : problem(at('name'), `${LABEL_MESSAGE}, got ${shown(name)}${from}`)
  })
}

const mounts: Check = (subject) => {
  const known = new Set(listed(subject, 'volumes').map(({ item }) => asPlain(item)['name']))
  const own = ownVolumes(subject)
  const paths = new Set<unknown>(subject.settings.caBundle === undefined ? [] : [CA_PATH])
  return listed(subject, 'volumeMounts').flatMap(({ item, at, from }) => {
    const { name, mountPath } = asPlain(item)
    const isKnown = paths.has(mountPath)
    paths.add(mountPath)
    const nowhere =
      typeof name === 'string' && !own.includes(name) && !known.has(name)
        ? problem(at('name'), `must be the name of a volume, got ${shown(name)}${from}`)
        : []
    if (typeof mountPath !== 'string') return nowhere
    if (mountPath.replace(/\/+$/, '') === MODELS_PATH)
      return [...nowhere, ...problem(at('mountPath'), `must not be ${MODELS_PATH}${from}: the claim is mounted there`)]
    if (!isKnown) return nowhere
    return [...nowhere, ...problem(at('mountPath'), `must not be used twice, got ${shown(mountPath)} again${from}`)]
  })
}

const amounts: Check = ({ model, instance }) => {
  const { requests, limits } = asPlain(instance['resources'])
  const from = (kind: string, name: string): string =>
    asPlain(asPlain(model.instanceSpec['resources'])[kind])[name] === undefined ? FROM_CONFIG : ''
  const negative = (kind: string, resources: unknown): readonly Problem[] =>
    Object.entries(asPlain(resources)).flatMap(([name, value]) =>
      (quantity(value) ?? 0) < 0
        ? problem(amountPath(kind, name), `must be at least 0, got ${amount(value)}${from(kind, name)}`)
        : [],
    )
  const above = Object.entries(asPlain(requests)).flatMap(([name, request]) => {
    const limit = asPlain(limits)[name]
    return (quantity(request) ?? 0) > (quantity(limit) ?? Infinity)
      ? problem(
          amountPath('requests', name),
          `must be at most the limit of ${amount(limit)}${from('limits', name)}, got ${amount(request)}${from('requests', name)}`,
        )
      : []
  })
  return [...negative('requests', requests), ...negative('limits', limits), ...above]
}

const amountPath = (kind: string, name: string): string => placeText(['spec', 'instanceSpec', 'resources', kind, name])

const CHECKS: readonly Check[] = [
  accessModes,
  storageRequest,
  volumeMode,
  storageClass,
  environment,
  volumes,
  mounts,
  initContainers,
  amounts,
]

interface Listed {
  readonly item: unknown
  /** The path of a member of the item. */
  readonly at: (member: string) => string
  /** Where the item is not the model's own. */
  readonly from: string
}

const FROM_CONFIG = ' from the function config'

/** One of the lists in effect. What is not the model's own comes before it. */
function listed({ model, instance }: Subject, field: string): readonly Listed[] {
  const path = `spec.instanceSpec.${field}`
  const items = asList(instance[field])
  const others = items.length - asList(model.instanceSpec[field]).length
  return items.map((item, index) =>
    index < others
      ? { item, at: () => path, from: FROM_CONFIG }
      : { item, at: (member) => `${path}[${index - others}].${member}`, from: '' },
  )
}

/** A number is a quantity too. */
const amount = (value: unknown): string => (typeof value === 'number' ? `"${value}"` : shown(value))

/** As much as can be read of a model that has not passed: what it is refused for has nothing to do with the rest. */
export function draft(object: Plain): ArksModel {
  const metadata = asPlain(object['metadata'])
  const spec = asPlain(object['spec'])
  const { pvc, subPath } = asPlain(spec['storage'])
  const claim = asPlain(pvc)
  const name = asText(metadata['name']) ?? ''
  return {
    name,
    namespace: asText(metadata['namespace']),
    labels: {},
    annotations: {},
    model: '',
    source: draftSource(asPlain(spec['source'])['huggingface'], shardCount(annotationsOf(object)[SHARDS]) ?? 1),
    storage: {
      claimName: asText(claim['name']) ?? name,
      claimSpec: isPlain(claim['spec']) ? claim['spec'] : undefined,
      subPath: asText(subPath),
    },
    imagePullSecrets: [],
    instanceSpec: asPlain(spec['instanceSpec']),
  }
}

function draftSource(huggingface: unknown, shards: number): ArksModel['source'] {
  if (!isPlain(huggingface)) return { kind: 'volume' }
  const hasToken = (huggingface['tokenSecretRef'] ?? '') !== ''
  return {
    kind: 'huggingface',
    token: hasToken ? { secretName: '', key: '' } : undefined,
    revision: undefined,
    endpoint: asText(huggingface['endpoint']),
    include: [],
    exclude: [],
    shards,
  }
}
