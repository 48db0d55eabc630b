import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Missing, once, type Part } from './parts-cache.ts'
import { goModule, goProgram } from './parts-go.ts'

/** Flux without its source-controller, which does not build from Go modules: test/flux.ts stands in for that. */

export interface FluxParts {
  readonly kind: 'flux'
  readonly kustomizeController: Part
  /** The paths of YAML files: of Kustomization and of all that it can take for its source. */
  readonly crds: readonly string[]
}

const SOURCE_CONTROLLER = '1.9.6'

export const kustomizeController: () => Promise<Part | Missing> = once(async () =>
  goProgram('kustomize-controller', 'parts/flux', { package: MODULE, version: version() }),
)

export const fluxParts: () => Promise<FluxParts | Missing> = once(async () => {
  const built = await kustomizeController()
  if (built.kind === 'missing') return built
  const own = await goModule(MODULE, version())
  if (own.kind === 'missing') return own
  const source = await goModule('github.com/fluxcd/source-controller', SOURCE_CONTROLLER)
  if (source.kind === 'missing') return source
  const crds = [
    join(own.path, BASES, 'kustomize.toolkit.fluxcd.io_kustomizations.yaml'),
    ...SOURCES.map((name) => join(source.path, BASES, `source.toolkit.fluxcd.io_${name}.yaml`)),
  ]
  return { kind: 'flux', kustomizeController: built, crds }
})

const MODULE = 'github.com/fluxcd/kustomize-controller'
/** kustomize-controller ends itself where one of them is missing. */
const SOURCES = ['gitrepositories', 'ocirepositories', 'buckets']
const BASES = 'config/crd/bases'

/** Of the go.mod that builds it. */
function version(): string {
  const text = readFileSync(join(import.meta.dirname, 'parts/flux/go.mod'), 'utf8')
  return /^\tgithub\.com\/fluxcd\/kustomize-controller v(.*?)( .*)?$/m.exec(text)?.[1] ?? 'unknown'
}
