/** Runs the processes of a run, one after another, each with a limit. A process group ends with whoever began it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, writeFileSync } from 'node:fs';
import type { Fields, SectionResult } from '../records.ts';
import { MARK } from '../sections/say.ts';

export interface Job {
  readonly name: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly limit: number; // seconds
  readonly hear: (kind: string, fields: Fields) => void;
}

export interface Outcome extends SectionResult {
  readonly said: string; // the last that it wrote to standard error
}

const SAID = 600; // characters

export class Runner {
  private running: ChildProcess | undefined;

  /** @param log takes what processes say beside their records */
  constructor(private readonly log: string) {
    writeFileSync(log, '');
  }

  /** Ends the process at work, and all that it has started. */
  end(): void {
    if (!this.running?.pid) return;
    try {
      process.kill(-this.running.pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  }

  run({ name, command, env, limit, hear }: Job): Promise<Outcome> {
    const begin = Date.now();
    appendFileSync(this.log, `\n== ${name}\n`);
    const [program, ...args] = command;
    const child = spawn(program!, args, { env: { ...process.env, ...env }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.running = child;
    let status: string | undefined;
    let said = '';
    readLines(child, (line) => {
      if (!line.startsWith(MARK)) return this.note(line);
      const { kind, ...fields } = JSON.parse(line.slice(MARK.length));
      if (kind === 'done') status = 'done';
      else if (kind === 'failed') status = `failed: ${fields.reason}`;
      else hear(kind, fields);
    });
    child.stderr!.on('data', (data) => {
      said = (said + data).slice(-2000);
      this.note(String(data).trimEnd());
    });
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        status ??= `stopped at its limit of ${Math.round(limit)} s`;
        this.end();
      }, 1000 * limit);
      const finish = (reason: string) => {
        clearTimeout(timer);
        this.end(); // what it left running
        this.running = undefined;
        const seconds = Math.round((Date.now() - begin) / 100) / 10;
        resolve({ name, status: status ?? reason, said: said.trim().slice(-SAID), seconds });
      };
      child.on('error', ({ message }) => finish(`failed: ${message}`));
      child.on('close', (code, signal) => finish(`ended with ${signal ?? code}: ${lastLines(said)}`));
    });
  }

  private note(text: string): void {
    if (text) appendFileSync(this.log, `${text}\n`);
  }
}

const lastLines = (text: string): string => text.trim().split('\n').slice(-3).join(' ').slice(-300);

/** Calls back with every whole line of standard output. */
function readLines({ stdout }: ChildProcess, take: (line: string) => void): void {
  let rest = '';
  stdout!.setEncoding('utf8').on('data', (data: string) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop()!;
    for (const line of lines) take(line);
  });
}
