/** What sections say, a line each, and what the report is made of. */

/** One problem that is measured. */
export interface Shape {
  readonly dtype: 'f32' | 'f16';
  readonly H: number;
  readonly Hk: number;
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly causal: boolean; // the last query sees every key
}

/** Measured rates of a device, and what they were measured with. */
export interface Peaks {
  readonly fma: number; // TFLOP/s in f32
  readonly fma16?: number; // in f16
  readonly copy: number; // GB/s, read and written
  readonly read: number; // GB/s
  readonly dispatchUs?: number;
  readonly roundTripUs?: number; // from a submission until the queue is done
  readonly clock: string;
}

/** What a record may say. Which fields there are depends on its kind. */
export interface Fields extends Partial<Shape>, Partial<Omit<Peaks, 'clock'>> {
  readonly path?: string;
  readonly contestant?: string;
  readonly device?: string;
  readonly pass?: string;
  readonly algorithm?: string;
  readonly case?: string;
  readonly file?: string;
  readonly name?: string;
  readonly state?: string; // of a test: pass, fail, skip
  readonly tests?: number; // that there are
  readonly origin?: string; // of a variant: chosen, tune, more
  readonly variant?: string;
  readonly kernels?: string;
  readonly winner?: string;
  readonly winnerMs?: number;
  readonly seconds?: number;
  readonly ms?: number; // a call, the median
  readonly tflops?: number;
  readonly ofFma?: number; // share
  readonly gbps?: number;
  readonly ofCopy?: number; // share
  readonly error?: number | null; // JSON has null for NaN and infinity
  readonly sums?: number | null;
  readonly within?: number;
  readonly isRight?: boolean;
  readonly failed?: string; // why there is no figure
  readonly clock?: string;
  readonly matmul32?: number; // TFLOP/s of torch's matrix product
  readonly matmul16?: number;
}

export interface Row extends Fields {
  readonly section: string;
  readonly kind: string;
}

/** An adapter as it describes itself. */
export interface FoundAdapter {
  readonly info: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  readonly subgroupMatrixConfigs?: readonly Readonly<Record<string, string | number>>[];
}

/** How the library sees the device. */
export interface FoundLibrary {
  readonly features: readonly string[];
  readonly facts: object;
  readonly quadClass: string;
  readonly sample: readonly number[];
}

/** How Node is started so that it finds the driver. */
export interface Way {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

export interface Attempt {
  readonly way: string;
  readonly driver: string; // its description, '' for the machine's own list
  readonly status: string;
  readonly said: string;
  readonly adapter: string;
}

export interface SectionResult {
  readonly name: string;
  readonly status: string; // 'done', or what went wrong
  readonly seconds: number;
}

export interface Machine {
  readonly revision: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly libc: string;
  readonly node: string;
  readonly gpu: string; // as nvidia-smi has it
  readonly driver: readonly string[]; // its files
  lacking: readonly string[]; // libraries taken from the pack
}

/** All of report.json. */
export interface State {
  readonly date: string;
  readonly options: object;
  readonly machine: Machine;
  readonly attempts: Attempt[];
  adapter?: FoundAdapter;
  library?: FoundLibrary;
  unsafe?: Pick<FoundAdapter, 'features' | 'subgroupMatrixConfigs'>;
  way?: Way;
  readonly sections: SectionResult[];
  readonly rows: Row[];
  seconds?: number;
}
