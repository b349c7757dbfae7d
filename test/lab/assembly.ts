/** Reads the assembly that the lab's compilers print: how much of a kernel's hottest loop is multiply-adds. */

export interface HotLoop {
  readonly multiplyAdds: number; // instructions of one turn that multiply and add; a pair that issues as one counts as one
  readonly operations: number; // the same, a pair counts as two
  readonly instructions: number; // of one turn: arithmetic and memory, without scalar units, waits and jumps
}

interface Line {
  readonly label?: string; // this line is a place to jump to
  readonly target?: string; // this line jumps
  readonly isConditional?: boolean;
  readonly weight?: number; // how many times it executes
  readonly multiplyAdds?: number; // in it: 2 in a pair
}

type Reader = (line: string) => Line | undefined;

/** RDNA: scalar instructions begin with s_. A pair is `v_dual_fmac_f32 … :: v_dual_fmac_f32 …`. */
const readAmd: Reader = (line) => {
  const label = line.match(/^(BB\d+):/)?.[1];
  if (label) return { label };
  const jump = line.match(/^\s+s_c?branch(_\w+)?\s+(BB\d+)/);
  if (jump) return { target: jump[2]!, isConditional: jump[1] !== undefined };
  if (!/^\s+(v|buffer|global|ds)_/.test(line)) return undefined;
  return { weight: 1, multiplyAdds: line.match(/v_\w*(fma|fmac|mad)\w*_f|v_fma_mix/g)?.length ?? 0 };
};

/** Gen: instructions of one channel, `mov(1)`, are its scalar ones. */
const readIntel: Reader = (line) => {
  const label = line.match(/^(LABEL\d+):/)?.[1];
  if (label) return { label };
  const jump = line.match(/^(?:\([+-]f\S+\) )?(if|else|endif|while|break|continue)\(\d+\)\s+JIP:\s+(LABEL\d+)/);
  if (jump?.[1] === 'endif') return undefined;
  if (jump) return { target: jump[2]!, isConditional: jump[1] !== 'else' }; // what leaves its loop, break, jumps to its end
  const operation = line.match(/^(?:\([+-]f\S+\) )?([a-z]\w*)[\w.]*\((\d+)\)/);
  if (!operation || operation[2] === '1' || operation[1] === 'sync') return undefined;
  return { weight: 1, multiplyAdds: Number(operation[1] === 'mad' && /<\d+>[HD]?F\s/.test(line)) };
};

/** Adreno: `(rpt3)` repeats an instruction on the following registers. */
const readAdreno: Reader = (line) => {
  const label = line.match(/^(l\d+):/)?.[1];
  if (label) return { label };
  const jump = line.match(/^(?:\(\w+\))*(br\w*|jump)\s.*#(l\d+)/);
  if (jump) return { target: jump[2]!, isConditional: jump[1] !== 'jump' };
  const operation = line.match(/^((?:\(\w+\))*) ?([a-z][\w.]*)/);
  if (!operation || /^(nop|end|shps|shpe|getone|predt|prede)/.test(operation[2]!)) return undefined;
  return { weight: 1 + Number(operation[1]!.match(/rpt(\d)/)?.[1] ?? 0), multiplyAdds: Number(/^mad\.f/.test(operation[2]!)) };
};

/** NVIDIA: registers named ur and up belong to the scalar unit. */
const readNvidia: Reader = (line) => {
  const label = line.match(/^block\S* \d+ (L\d+) /)?.[1];
  if (label) return { label };
  const jump = line.match(/^(@\S+)?\s+bra (\S+) (L\d+)/);
  if (jump) return { target: jump[3]!, isConditional: jump[1] !== undefined || jump[2] !== 'pT' };
  const operation = line.match(/^(?:@\S+)?\s+(?:(\S+)\s+= )?([a-z]\w+)/);
  if (!operation || /^u[rp]/.test(operation[1] ?? '') || /^(bssy|bsync|bclear|nop|exit)$/.test(operation[2]!)) return undefined;
  return { weight: 1, multiplyAdds: Number(/^[fh]fma/.test(operation[2]!)) };
};

const READERS: Record<string, Reader> = { amd: readAmd, intel: readIntel, adreno: readAdreno, nvidia: readNvidia };

/**
 * One turn of the hottest loop. Of a loop's ways that is the one with the most multiply-adds, and of those the shortest: what is jumped over
 * as a rule is left out. Of the innermost loops it is the one that has the largest share of them, short loops aside.
 */
export function hotLoop(target: string, assembly: string): HotLoop | undefined {
  const reader = READERS[target.split('-')[0]!];
  if (!reader) return undefined;
  const read = assembly.split('\n').flatMap((line) => reader(line) ?? []);
  const labels = new Map(read.flatMap(({ label }, i) => (label ? [[label, i] as const] : [])));
  const lines = read.map((line) => (line.target === undefined ? line : { ...line, target: destination(read, labels, line.target) }));
  const loops = lines.flatMap(({ target }, end) => {
    const begin = labels.get(target ?? '') ?? end;
    return begin < end ? [[begin, end] as const] : [];
  });
  const innermost = loops.filter(([a, b]) => !loops.some(([c, d]) => (c !== a || d !== b) && c >= a && d <= b));
  const turns = innermost.map(([begin, end]) => oneTurn(lines, labels, begin, end));
  const most = Math.max(0, ...turns.map(({ operations }) => operations));
  return turns.filter(({ operations }) => operations > 0 && operations >= most / 2).sort((a, b) => share(b) - share(a))[0];
}

/** Where a jump ends that leads to a few instructions and another jump, as compilers place a loop's end far from the loop. */
function destination(lines: readonly Line[], labels: ReadonlyMap<string, number>, target: string): string {
  const at = labels.get(target) ?? lines.length;
  const jump = lines.slice(at + 1, at + 4).find((line) => line.label !== undefined || line.target !== undefined);
  const leadsOn = jump?.target !== undefined && !jump.isConditional && jump.target !== target;
  return leadsOn ? jump.target! : target;
}

export const share = ({ multiplyAdds, instructions }: HotLoop): number => multiplyAdds / instructions;

const NOTHING: HotLoop = { multiplyAdds: 0, operations: 0, instructions: 0 };

function oneTurn(lines: readonly Line[], labels: ReadonlyMap<string, number>, begin: number, end: number): HotLoop {
  const best: (HotLoop | undefined)[] = Array.from({ length: end - begin + 1 });
  best[0] = NOTHING;
  const offer = (at: number, way: HotLoop) => {
    const known = best[at];
    const isBetter =
      !known || way.operations > known.operations || (way.operations === known.operations && way.instructions < known.instructions);
    if (isBetter) best[at] = way;
  };
  for (let i = 0; i < end - begin; i++) {
    const here = best[i];
    if (!here) continue; // nothing leads here
    const { target, isConditional, weight = 0, multiplyAdds = 0 } = lines[begin + i]!;
    const after = {
      multiplyAdds: here.multiplyAdds + (multiplyAdds > 0 ? weight : 0),
      operations: here.operations + multiplyAdds * weight,
      instructions: here.instructions + weight,
    };
    const to = (labels.get(target ?? '') ?? -1) - begin;
    if (to > i && to <= end - begin) offer(to, after);
    if (target === undefined || isConditional) offer(i + 1, after);
  }
  return best[end - begin] ?? NOTHING;
}
