import type { Plain } from '../crds/arksmodel.ts'
import { type Finding, fileOf, finding } from './finding.ts'
import { type Gathered, type Item, spotOf } from './gather.ts'
import { asPlain, isPlain } from './merge.ts'
import { annotationOf } from './metadata.ts'

const SETTINGS = 'ExpandArksModels'

/**
 * Settings that travel among the objects, so that overlays can patch them: all those of a stream. In a list the files
 * of a kpt package, and what is marked as local, stay what they are.
 */
export function settingsAmong({ inputs, configs }: Gathered): readonly Item[] {
  if (inputs[0]?.list === undefined) return configs
  return configs.filter(({ object }) => object['kind'] === SETTINGS && fileOf(object) === undefined && !isLocal(object))
}

/** Settings in a kpt package that nobody hands to the function: without a word, all models would be made without them. */
export function unnamedSettings({ inputs, configs, models, functionConfig }: Gathered): readonly Finding[] {
  const given = Object.keys(asPlain(functionConfig?.['data'])).length > 0 || functionConfig?.['kind'] === SETTINGS
  if (inputs[0]?.list === undefined || models.length === 0 || given) return []
  const message = 'must be named as `configPath` in the Kptfile or after --fn-config: its settings would be left out'
  return configs
    .filter(({ object }) => object['kind'] === SETTINGS && fileOf(object) !== undefined && isPlain(object['spec']))
    .map((item) => finding(spotOf(item), { path: '', message }))
}

/** Settings that the seal meets were not taken in: they had no effect. */
export const unusedSettings = (gathered: Gathered): readonly Finding[] =>
  settingsAmong(gathered)
    .filter(({ object }) => object['kind'] === SETTINGS && !isLocal(object))
    .map((item) => finding(spotOf(item), { path: '', message: 'must be taken in before the seal: expand first' }))

const isLocal = (object: Plain): boolean => annotationOf(object, 'config.kubernetes.io/local-config') === 'true'
