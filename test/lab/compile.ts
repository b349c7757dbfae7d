/** Runs the lab's compilers: what they say of the shaders that the library takes on each GPU. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hotLoop } from './assembly.ts';
import { type Case, casesOf } from './cases.ts';
import type { LabAdapter } from './recording-device.ts';

/** Registers and occupancy in the vendor's own units: see the lab's README. */
export interface Result {
  readonly registers: number;
  readonly occupancy: number;
  readonly spills: number;
  readonly scratch: number;
  readonly multiplyAdds?: string; // instructions of one turn of the hottest loop: how many of how many; absent where there is no assembly
}
/** By case. A shader that does not compile has a message. */
export type Results = Record<string, Result | { readonly error: string }>;

/** The lab's targets.mjs. */
interface Targets {
  readonly targets: Readonly<Record<string, unknown>>;
  onTarget(name: string): { readonly command: readonly string[]; readonly env: Record<string, string> };
}

interface Executable {
  readonly stats: Readonly<Record<string, number>>;
  readonly repr?: Readonly<Record<string, string>>;
}

interface Compiled {
  readonly file: string;
  readonly error?: string;
  readonly executables: readonly Executable[];
}

/** f16 is behind a toggle on NVIDIA. */
const TOGGLES = 'vulkan_enable_f16_on_nvidia';
const MINUTES = 60_000;

export class Lab {
  private readonly folder = mkdtempSync(join(tmpdir(), 'lab-'));

  constructor(
    private readonly tools: string,
    private readonly targets: Targets,
  ) {}

  get gpus(): readonly string[] {
    return Object.keys(this.targets.targets).filter((name) => !name.startsWith('lavapipe'));
  }

  close(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** Everything that the library compiles on one GPU; on a device that lacks the features `without`. */
  async look(
    gpu: string,
    heads: readonly number[],
    without: readonly string[] = [],
  ): Promise<{ mesa: string; cases: readonly Case[]; results: Results }> {
    const whole = this.adapter(gpu);
    const unknown = without.find((feature) => !/^(subgroups|shader-f16|subgroup-size-control)$/.test(feature));
    if (unknown) throw new Error(`--without: unknown feature ${unknown}`);
    const adapter = { ...whole, features: whole.features.filter((feature) => !without.includes(feature)) };
    const cases = await casesOf(adapter, heads);
    const files = cases.map(({ code }, i) => {
      const file = join(this.folder, `${i}.wgsl`);
      writeFileSync(file, code);
      return file;
    });
    const json = join(this.folder, 'isa.json');
    const { stderr } = spawnSync(process.execPath, [join(this.tools, 'isa.mjs'), gpu, ...files, '--text', '--json', json], {
      env: { ...process.env, DAWN_TOGGLES: TOGGLES },
      encoding: 'utf8',
      timeout: 5 * MINUTES,
    });
    const compiled: Compiled[] = JSON.parse(readFileSync(json, 'utf8'));
    if (compiled.length !== cases.length) throw new Error(`${gpu}: ${compiled.length} results for ${cases.length} shaders: ${stderr}`);
    const results = Object.fromEntries(cases.map(({ name }, i) => [name, resultOf(gpu, compiled[i]!)]));
    return { mesa: adapter.driver.match(/Mesa [\d.]+/)?.[0] ?? adapter.driver, cases, results };
  }

  private adapter(gpu: string): LabAdapter {
    const { command, env } = this.targets.onTarget(gpu);
    const { stdout, stderr } = spawnSync(command[0]!, [...command.slice(1), join(this.tools, 'compile.mjs'), 'main'], {
      env: { ...env, DAWN_TOGGLES: TOGGLES, GPU_LAB_OUT: join(this.folder, 'out.jsonl') },
      encoding: 'utf8',
      timeout: MINUTES,
    });
    const line = stdout.split('\n').find((text) => text.startsWith('{"device"'));
    if (!line) throw new Error(`${gpu}: no adapter: ${stdout}${stderr}`);
    return JSON.parse(line);
  }
}

/** As the lab's isa.mjs sums up what each vendor's statistics say. */
function resultOf(gpu: string, { error, executables }: Compiled): Results[string] {
  const [executable] = executables;
  if (error !== undefined || !executable) return { error: error ?? 'no statistics' };
  const { stats, repr = {} } = executable;
  const first = (...names: string[]) => names.map((name) => stats[name]).find((value) => value !== undefined) ?? 0;
  const sum = (...names: string[]) => names.reduce((total, name) => total + (stats[name] ?? 0), 0);
  const assembly = Object.entries(repr).find(([name]) => /assembly/i.test(name))?.[1];
  const loop = assembly === undefined ? undefined : hotLoop(gpu, assembly);
  return {
    registers: first('VGPRs', 'Number of GPRs', 'Max live registers', 'Registers used', 'GPRs'),
    occupancy: first('Subgroups per SIMD', 'Max warps/SM', 'Max Waves Per Core', 'Threads', 'Max dispatch width'),
    spills: sum('Spilled VGPRs', 'Spilled SGPRs', 'Spills to memory', 'Spills', 'STP Count', 'STPs Count'),
    scratch: first('Scratch size', 'Scratch Memory Size', 'SLM size', 'Scratch'),
    ...(loop && { multiplyAdds: `${loop.multiplyAdds} of ${loop.instructions}` }),
  };
}
