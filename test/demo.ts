import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { startController } from './controller.ts'
import { lack, OTHER_TOKEN, type Playground, playground, TOKEN } from './playground.ts'
import { COMMANDS } from './process.ts'
import { scratch } from './scratch.ts'

/**
 * From Git to Ready, shown as it happens: a model that is public, and one whose token is missing, then wrong, then
 * right. What stands behind `$` is what runs. It ends by itself, with 1 where something did not come as it should.
 */

console.log('Starting a control plane, a test kubelet and a Hub on this machine')
const there = await playground()
if (there.kind === 'missing') lack(there)
else await shown(there)

async function shown(around: Playground): Promise<void> {
  const controller = startController(around.controllerConfig)
  try {
    const folder = repository()
    await story({
      ...shell(around, folder),
      edit(file, change) {
        const path = join(folder, file)
        writeFileSync(path, change(readFileSync(path, 'utf8')))
      },
      bytesSent: () => around.hub.bytesSent(),
    })
  } catch (error) {
    say(error instanceof Error ? error.message : String(error))
    process.exitCode = 1
  } finally {
    await controller.stop()
    await around.stop()
  }
}

interface Telling extends Shell {
  edit(file: string, change: (text: string) => string): void
  /** By the Hub, up to now. */
  bytesSent(): number
}

async function story({ run, watch, edit, bytesSent }: Telling): Promise<void> {
  say('Two models in Git')
  await run('git init --quiet && git add . && git commit --quiet --message "Two models" && ls models')
  await run('cat models/qwen.yaml')

  say('The function makes a claim and a Job of each: text, before anything reaches the cluster')
  await run("arksmodel-fn models > rendered.yaml; grep -A4 '^kind: ' rendered.yaml | grep -E '^kind|^  name:'")

  say('Applied: the Jobs run, the loaders load, the controller writes what became of it')
  const stop = watch('kubectl get arksmodels --watch')
  await run('arksmodel-fn models | kubectl apply -f -')
  await run('kubectl wait --for=condition=Ready arksmodel/qwen-7b --timeout=60s')
  await run(conditions('qwen-7b'))

  say('The other one names a Secret that is not there. That may still heal, so it is not Failed')
  await run(waiting('llama-8b', 'Ready', 'CreateContainerConfigError'))
  await run(conditions('llama-8b'))

  say('The Secret comes, with a token that may not read the model. No retry helps against that')
  await run(`kubectl create secret generic hf-token --from-literal=HF_TOKEN=${OTHER_TOKEN}`)
  await run("kubectl wait --for=jsonpath='{.status.phase}'=Failed arksmodel/llama-8b --timeout=60s")
  await run(conditions('llama-8b'))

  say('The right token, and a line in Git that asks for another try')
  await run(
    `kubectl create secret generic hf-token --from-literal=HF_TOKEN=${TOKEN} --dry-run=client -o yaml | kubectl replace -f -`,
  )
  edit('models/llama.yaml', (text) => text.replace('  name: llama-8b', '  annotations: {arks.ai/reload: "1"}\n$&'))
  await run("git diff -U0 | grep '^[+-] '")
  await run('git commit --quiet --all --message "Try again" && arksmodel-fn models | kubectl apply -f -')
  await run('kubectl wait --for=condition=Ready arksmodel/llama-8b --timeout=60s')
  stop()

  say('Both are ready. Rendered and applied once more, nothing changes and nothing is loaded')
  const before = bytesSent()
  await run('arksmodel-fn models | kubectl apply -f -')
  await run('kubectl get arksmodels -o wide')
  const loaded = bytesSent() - before
  if (loaded > 0) throw new Error(`${loaded} bytes were loaded again`)
  say(`From the Hub came ${(before / 1e6).toFixed(0)} MB, for two models of 20 MB`)
}

function conditions(name: string): string {
  return `kubectl get arksmodel ${name} -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\\n"}{end}'`
}

function waiting(name: string, type: string, reason: string): string {
  return `kubectl wait --for=jsonpath='{.status.conditions[?(@.type=="${type}")].reason}'=${reason} arksmodel/${name} --timeout=60s`
}

function repository(): string {
  const example = (name: string): string => readFileSync(`examples/${name}/model.yaml`, 'utf8')
  return scratch({ 'models/llama.yaml': example('private-model'), 'models/qwen.yaml': example('quickstart') })
}

interface Shell {
  /** Shows a command and what it prints. Rejects where it fails. */
  run(command: string): Promise<void>
  /** Shows what it prints as it comes, until it is stopped. */
  watch(command: string): () => void
}

function shell({ cluster, kubectl }: Playground, cwd: string): Shell {
  const env = {
    PATH: [COMMANDS, dirname(kubectl.path), process.env['PATH']].join(delimiter),
    HOME: cwd,
    KUBECONFIG: cluster.kubeconfig,
    // Whatever the person's own settings are.
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'Demo',
    GIT_AUTHOR_EMAIL: 'demo@example.com',
    GIT_COMMITTER_NAME: 'Demo',
    GIT_COMMITTER_EMAIL: 'demo@example.com',
  }
  const start = (command: string, mark: string): ReturnType<typeof spawn> => {
    const child = spawn('sh', ['-c', command], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    // Whole lines, so that what runs beside does not come in between.
    for (const input of [child.stdout, child.stderr])
      createInterface({ input }).on('line', (line) => console.log(`${mark}${line}`))
    return child
  }
  return {
    run(command) {
      console.log(`\n$ ${command}`)
      return new Promise((done, fail) => {
        const child = start(command, '')
        child.on('error', fail)
        child.on('close', (code) => (code === 0 ? done() : fail(new Error(`It ended with ${code}: ${command}`))))
      })
    },
    watch(command) {
      console.log(`\n$ ${command} &`)
      const { pid } = start(command, '  ')
      return () => {
        if (pid !== undefined) process.kill(-pid)
      }
    },
  }
}

function say(text: string): void {
  console.log(`\n# ${text}`)
}
