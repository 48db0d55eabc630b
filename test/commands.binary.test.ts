import { chmodSync, cpSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { blocks, type Command, commands, DOCUMENTS } from './documents.ts'
import { describe, leftOut } from './harness.ts'
import { hub, randomFile } from './hub.ts'
import { load } from './loader.ts'
import { kpt, kubectls, kustomize } from './parts.ts'
import { printed, ran } from './process.ts'
import { scratch } from './scratch.ts'

const MODEL = 'org/model'

const [builder, renderer, clients] = [await kustomize(), await kpt(), await kubectls()]
const client = clients.find((each) => each.kind === 'part')

/** Programs that a block may call to be run here: no network, no cluster, nothing that is built or installed. */
const HARMLESS = ['arksmodel-fn', 'grep', 'kpt', 'kubectl', 'kustomize']

const programOf = ({ words: [program = '', next = ''] }: Command): string => (program === 'npx' ? next : program)

const isOffline = ({ words: [program, group] }: Command): boolean => program !== 'kpt' || group === 'fn'

/** Of the blocks that call the function or what calls it; what they hand to a cluster is looked at. */
const runnable = DOCUMENTS.flatMap(blocks).filter(({ language, text }) => {
  const all = language === 'sh' ? commands(text) : []
  return (
    all.every((each) => HARMLESS.includes(programOf(each)) && isOffline(each)) &&
    all.some((each) => programOf(each) !== 'kubectl' || each.words[1] === 'kustomize') &&
    !all.some(({ words }) => words.some((word) => word.startsWith('overlays/')))
  )
})

/** No cluster: what would be applied must hold a Job, since kustomize leaves functions out and says nothing. */
const KUBECTL = `#!/bin/sh
case "$*" in
kustomize*) exec "$KUBECTL" "$@" ;;
*"-f -"*) exec grep -q '^kind: Job' ;;
esac
`

if (builder.kind === 'missing') leftOut('commands in documents', builder)
else if (renderer.kind === 'missing') leftOut('commands in documents', renderer)
else if (client === undefined) console.log('left out: commands in documents: no kubectl')
else
  describe('commands in documents', (test) => {
    test('some of them can be run', () => assert.ok(runnable.length > 12, String(runnable.length)))

    for (const { file, line, text } of runnable)
      test(`${file}:${line}`, () => {
        const folder = scratch({
          'bin/kubectl': KUBECTL,
          'bin/npx': '#!/bin/sh\nexec "$@"\n',
          'first.yaml': blocks('docs/getting-started.md').find(({ language }) => language === 'yaml')?.text ?? '',
        })
        for (const name of ['kubectl', 'npx']) chmodSync(join(folder, 'bin', name), 0o755)
        symlinkSync(builder.path, join(folder, 'bin/kustomize'))
        symlinkSync(renderer.path, join(folder, 'bin/kpt'))
        for (const name of ['examples', 'kustomize']) cpSync(name, join(folder, name), { recursive: true })
        const { status, stderr } = ran('bash', ['-euo', 'pipefail', '-c', text], {
          cwd: folder,
          path: [join(folder, 'bin')],
          env: { KUBECTL: client.path },
        })
        assert.is(status, 0, `${text}\n${stderr}`)
      })
  })

describe('docs/offline.md', (test) => {
  const carriers = {
    cp: (from: string, to: string) => void printed('cp', ['-a', `${from}/.`, to]),
    tar(from: string, to: string) {
      const archive = join(scratch({}), 'model.tar')
      printed('tar', ['--format=pax', '-cf', archive, '-C', from, '.'])
      printed('tar', ['-xf', archive, '-C', to])
    },
  }
  for (const [name, carry] of Object.entries(carriers))
    test(`what ${name} carried in needs no Hub, where the revision is a commit`, async () => {
      const files = [randomFile('model.safetensors', 100_000), randomFile('config.json', 100)]
      const [outside, inside] = [scratch({}), scratch({})]
      await using there = await hub({ repositories: { [MODEL]: { revisions: { main: files } } } })
      const first = await load([MODEL, '--to', outside], { HF_ENDPOINT: there.url })
      assert.is(first.code, 0, first.stderr)
      carry(outside, inside)
      rmSync(outside, { recursive: true })
      const commit = /"commit":"(\w{40})"/.exec(JSON.stringify(first.termination))?.[1] ?? ''
      const nowhere = { HF_ENDPOINT: 'http://127.0.0.1:9' }
      const second = await load([MODEL, '--to', inside, '--revision', commit, '--patience', '0'], nowhere)
      assert.is(second.code, 0, second.stderr)
      assert.is((await load([MODEL, '--to', inside, '--patience', '0'], nowhere)).code, 30)
    })
})
