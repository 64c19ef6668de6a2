// Starts the process of a contender, and exchanges requests and answers with it, one line each.

import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Contender, System } from './contender.js';

/** A request to a contender. */
export type Request =
  | { readonly do: 'load'; readonly name: string }
  | { readonly do: 'update'; readonly grads: readonly number[] }
  | { readonly do: 'open'; readonly length: number }
  | { readonly do: 'time'; readonly seconds: number }
  | { readonly do: 'close' }
  | { readonly do: 'memory'; readonly length: number };

interface Answers {
  readonly load: Pick<System, 'version' | 'sizeLimit' | 'memoryLength'>;
  readonly update: { readonly params?: readonly number[] };
  readonly open: object;
  readonly time: { readonly seconds: number };
  readonly close: object;
  readonly memory: { readonly bytes: number };
}

const child = fileURLToPath(new URL('child.js', import.meta.url));
const torch = fileURLToPath(new URL('../../../bench/peers/pytorch.py', import.meta.url));
const python = process.env.TWINSTEP_PYTHON ?? 'python3';

/** A process that has loaded its contender. */
export class Process {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #said = '';

  private constructor({ name, system }: Contender) {
    const [command, args] =
      typeof system === 'function' ? [process.execPath, [child, name]] : [python, [torch, ...system]];
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    // `ask` reports the message when no answer comes.
    this.#process.on('error', ({ message }) => (this.#said += message)).stdin!.on('error', () => {});
    this.#process.stderr!.on('data', (data) => (this.#said += data));
    this.#lines = createInterface({ input: this.#process.stdout! })[Symbol.asyncIterator]();
  }

  /** Rejects with a sentence if the contender is not available. */
  static async of(contender: Contender): Promise<{ process: Process; loaded: Answers['load'] }> {
    const made = new Process(contender);
    try {
      return { process: made, loaded: await made.ask({ do: 'load', name: contender.name }) };
    } catch (error) {
      await made.end();
      throw error;
    }
  }

  async ask<Do extends Request['do']>(request: Extract<Request, { do: Do }>): Promise<Answers[Do]> {
    this.#process.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`its process ended: ${reason(this.#said)}`);
    const answer = JSON.parse(value) as Answers[Do] & { error?: string };
    if (answer.error !== undefined) throw new Error(answer.error.split('\n')[0]);
    return answer;
  }

  end(): Promise<void> {
    return new Promise((resolve) => {
      const { exitCode, signalCode, pid } = this.#process;
      if (exitCode !== null || signalCode !== null || pid === undefined) return resolve();
      this.#process.on('exit', () => resolve());
      this.#process.stdin!.end();
    });
  }
}

/** Returns the line of the output that names the error. */
function reason(said: string): string {
  const lines = said.trim().split('\n');
  return lines.findLast((line) => /error|memory/i.test(line)) ?? lines.at(-1)!;
}
