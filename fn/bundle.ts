import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'

/** How the programs are bundled, for what makes them and what weighs them. */

/** CommonJS: no top-level await and no import.meta in what goes in. */
const OPTIONS = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  // A script that is compiled from text knows no import().
  supported: { 'dynamic-import': false },
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  metafile: true,
  write: false,
} satisfies BuildOptions

export interface Bundled {
  readonly text: string
  /** What went into it. */
  readonly metafile: Metafile
}

/** A program, or a part of one. */
export async function bundle(entry: string, plugins: Plugin[] = []): Promise<Bundled> {
  const { outputFiles, metafile } = await build({ ...OPTIONS, entryPoints: [entry], plugins })
  return { text: outputFiles[0]?.text ?? '', metafile }
}

/** The folder below node_modules/ that a file is of; undefined for one of ours. */
export const packageOf = (input: string): string | undefined => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1]

/**
 * The client library's own requests are never made: of it only the kubeconfig is read. What is left out is a third of
 * the memory of a controller that has nothing to do, and of its time to start.
 */
export const withoutRequests: Plugin = {
  name: 'without requests',
  setup({ onLoad }) {
    onLoad({ filter: /node_modules\/undici\/index\.js$/ }, () => ({ contents: UNUSED_AGENTS }))
    onLoad({ filter: /@kubernetes\/client-node\/dist\/gen\/index\.js$/ }, () => ({ contents: UNUSED_API }))
  },
}

const UNUSED_AGENTS = 'export const Agent = undefined, ProxyAgent = undefined'
const UNUSED_API = 'export const createConfiguration = undefined, ServerConfiguration = undefined'
