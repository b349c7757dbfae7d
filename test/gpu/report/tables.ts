/** The report's tables. */
import type { Row } from '../records.ts';
import { errorText, figure, percent, pivot, shapeText } from './format.ts';

const nameOf = ({ dtype, D, causal, path }: Row): string => `${dtype} D${D}${causal ? ' causal' : ''} ${path}`;
const queries = ({ N }: Row): number => N ?? 0;
const keys = ({ M }: Row): number => M ?? 0;
const rate = ({ tflops, ofFma }: Row): string => figure(tflops) + percent(ofFma);
const withTime = ({ tflops, ofFma, ms }: Row): string => `${figure(tflops)}${percent(ofFma)} ${figure(ms)}`;
const decoding = ({ gbps, ofCopy, ms }: Row): string =>
  `${figure(gbps)}${percent(ofCopy)} ${figure(ms === undefined ? undefined : 1000 * ms)}`;

/** The library's rates, each with torch's below it. A path that torch lacks there is left out. */
const TABLES = [
  { kind: 'prefill', title: 'prefill, TFLOP/s, % of FMA', length: queries, cell: rate },
  { kind: 'torchPrefill', title: 'torch, TFLOP/s', length: queries, cell: rate },
  { kind: 'decode', title: 'decode H32/8, GB/s, % of copy, µs', length: keys, cell: decoding },
  { kind: 'torchDecode', title: 'torch, GB/s, µs', length: keys, cell: decoding },
  { kind: 'gradients', title: 'forward+backward, TFLOP/s, % of FMA, ms', length: queries, cell: withTime },
  { kind: 'torchGradients', title: 'torch, TFLOP/s, ms', length: queries, cell: withTime },
  { kind: 'unsafe', title: 'without Dawn’s safety, TFLOP/s, % of FMA', length: queries, cell: rate },
];

export const rateTables = (rows: readonly Row[]): string[] =>
  TABLES.flatMap(({ kind, title, length, cell }) => {
    const isTorch = kind.startsWith('torch');
    const own = rows.filter((row) => row.kind === kind && !(isTorch && row.failed));
    return pivot(title, own, length, nameOf, cell);
  });

/** A line a work: what each contestant takes. */
export function peerLines(rows: readonly Row[]): string[] {
  const peers = rows.filter(({ kind }) => kind === 'peer');
  if (peers.length === 0) return [];
  const workOf = (row: Row) => `${shapeText(row)} ${row.pass}`;
  const lines = [...new Set(peers.map(workOf))].map((work) => {
    const own = (name: string) => peers.find((row) => row.contestant === name && workOf(row) === work);
    const [fused, explicit, jax] = [own('fused'), own('explicit'), own('jax')];
    const cell = (row: Row | undefined) => (row?.failed ? `failed: ${row.failed.slice(0, 60)}` : figure(row?.ms));
    const error = (row: Row | undefined) => (row?.error === undefined ? '-' : errorText(row.error));
    const times = jax?.ms && fused?.ms && `${(jax.ms / fused.ms).toFixed(2)} times as fast as jax (errors ${error(fused)}, ${error(jax)})`;
    return `  ${work.padEnd(34)} fused ${cell(fused)}, explicit ${cell(explicit)}, jax ${cell(jax)}${times ? `: ${times}` : ''}`;
  });
  return ['', 'beside @jax-js/jax, ms a call (until the queue is done)', ...lines];
}

const VARIANTS = [
  { kind: 'variant', title: 'what the library chose, and the fastest of all that fit (ms)' },
  { kind: 'backwardVariant', title: 'the same, forward+backward' },
];

/** Three lines a problem. */
export const variantLines = (rows: readonly Row[]): string[] =>
  VARIANTS.flatMap(({ kind, title }) => {
    const variants = rows.filter((row) => row.kind === kind);
    if (variants.length === 0) return [];
    const shapes = [...new Set(variants.map(shapeText))];
    const linesOf = (shape: string) => {
      const tuned = kind === 'variant' ? rows.find((row) => row.kind === 'tuned' && shapeText(row) === shape) : undefined;
      return variantsOf(
        shape,
        variants.filter((row) => shapeText(row) === shape),
        tuned,
      );
    };
    return ['', title, ...shapes.flatMap(linesOf)];
  });

function variantsOf(shape: string, rows: readonly Row[], tuned: Row | undefined): string[] {
  const chosen = rows.find(({ origin }) => origin === 'chosen');
  const right = rows.filter(({ ms, isRight }) => ms && isRight).sort((a, b) => a.ms! - b.ms!);
  if (!chosen?.ms || !right[0]) return [`  ${shape}: ${chosen?.failed ?? 'nothing measured'}`];
  const refused = rows.filter(({ failed }) => failed).length;
  const name = ({ ms, variant }: Row) => `${figure(ms)} ${variant || 'chosen'}`;
  const fastest = right.slice(0, 3).map(name).join(' | ').slice(0, 260);
  const times = (chosen.ms / right[0].ms!).toFixed(2);
  return [
    `  ${shape}: chosen ${figure(chosen.ms)} (${chosen.kernels}), ${rows.length} tried, ${refused} refused or failed`,
    `    fastest ${fastest}: ${times} × faster`,
    ...(tuned ? [`    tune() took ${figure(tuned.seconds)} s: ${tuned.failed ?? `${tuned.winner}, ${figure(tuned.winnerMs)} ms`}`] : []),
  ];
}
