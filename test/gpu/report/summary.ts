/** The report's first lines: one a question. */
import type { Fields, Row, State } from '../records.ts';
import { figure, percent, shapeText } from './format.ts';

const NAME = 10; // characters of a line's name

type Line = readonly [name: string, text: string | undefined];

export function summary(state: State): string[] {
  const { rows } = state;
  const lines: Line[] = [
    ['adapter', adapterText(state)],
    ['machine', machineText(state)],
    ['conform', conformText(rows)],
    ['suites', suitesText(rows)],
    ['peak', peakText(rows)],
    ['best f32', bestText(rows, 'f32')],
    ['best f16', bestText(rows, 'f16')],
    ['torch', torchText(rows)],
    ['sections', sectionsText(state)],
  ];
  return lines.filter(([, text]) => text).map(([name, text]) => `${name.padEnd(NAME)} ${text}`);
}

function adapterText({ adapter, way }: State): string {
  if (!adapter) return 'NONE FOUND';
  const { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize } = adapter.info;
  const name = [vendor, architecture, device, description].filter(Boolean).join(' | ');
  return `${name}; subgroups ${subgroupMinSize} to ${subgroupMaxSize}; ${way?.name ?? ''} ${way?.env.VK_DRIVER_FILES ?? ''}`.trimEnd();
}

const machineText = ({ machine }: State): string =>
  [machine.gpu, machine.cpu, machine.kernel, machine.libc, `Node ${machine.node}`].filter(Boolean).join('; ');

const ofKind = (rows: readonly Row[], kind: string): Row[] => rows.filter((row) => row.kind === kind);
const count = <Item>(items: readonly Item[], fits: (item: Item) => unknown): number => items.filter(fits).length;

function conformText(rows: readonly Row[]): string | undefined {
  const all = ofKind(rows, 'conform');
  if (all.length === 0) return undefined;
  const failed = count(all, (row) => row.failed);
  const right = count(all, (row) => row.isRight && !row.failed);
  return `${right} right, ${all.length - right - failed} wrong, ${failed} failed of ${all.length} against f64`;
}

function suitesText(rows: readonly Row[]): string | undefined {
  const all = ofKind(rows, 'note').find(({ tests }) => tests)?.tests;
  if (all === undefined) return undefined;
  const tests = ofKind(rows, 'test');
  const [passed, failed, skipped] = ['pass', 'fail', 'skip'].map((state) => count(tests, (test) => test.state === state)) as [
    ...[number, number, number],
  ];
  const missing = Math.max(0, all - passed - failed - skipped);
  return `${passed} passed, ${failed} failed, ${skipped} skipped of ${all} tests; ${missing} not reached`;
}

/** Every section measures them anew: the best counts. */
function peakText(rows: readonly Row[]): string | undefined {
  const peaks = ofKind(rows, 'peaks');
  if (peaks.length === 0) return undefined;
  const values = (name: 'fma' | 'fma16' | 'copy' | 'read' | 'dispatchUs' | 'roundTripUs') =>
    peaks.map((peak) => peak[name]).filter((value): value is number => typeof value === 'number');
  const most = (name: 'fma' | 'fma16' | 'copy' | 'read') => figure(Math.max(...values(name)));
  const least = (name: 'dispatchUs' | 'roundTripUs') => figure(Math.min(...values(name)));
  const rates = `FMA ${most('fma')} TFLOP/s f32, ${most('fma16')} f16; copy ${most('copy')} GB/s, read ${most('read')}`;
  return `${rates}; a dispatch ${least('dispatchUs')} µs, submission to done ${least('roundTripUs')} µs; by ${peaks[0]!.clock}`;
}

function bestText(rows: readonly Row[], dtype: Fields['dtype']): string | undefined {
  const best = (kind: string, key: 'tflops' | 'gbps') =>
    ofKind(rows, kind)
      .filter((row) => row.dtype === dtype && row.path === 'fused' && row[key])
      .sort((a, b) => b[key]! - a[key]!)[0];
  const [prefill, decode, both] = [best('prefill', 'tflops'), best('decode', 'gbps'), best('gradients', 'tflops')];
  const parts = [
    prefill && `prefill ${figure(prefill.tflops)} TFLOP/s =${percent(prefill.ofFma)} of f32 FMA (${shapeText(prefill)})`,
    decode && `decode ${figure(decode.gbps)} GB/s =${percent(decode.ofCopy)} of copy (${shapeText(decode)})`,
    both && `with gradients ${figure(both.tflops)} TFLOP/s (${shapeText(both)})`,
  ];
  return parts.filter(Boolean).join('; ');
}

function torchText(rows: readonly Row[]): string | undefined {
  const peaks = ofKind(rows, 'torchPeaks').find(({ copy }) => copy);
  if (!peaks) return undefined;
  const { copy, matmul32, matmul16 } = peaks;
  return `copy ${figure(copy)} GB/s, matrix product f32 ${figure(matmul32)} TFLOP/s (no TF32), f16 ${figure(matmul16)}`;
}

function sectionsText({ sections }: State): string {
  const times = sections.map(({ name, seconds }) => `${name} ${seconds} s`).join(', ');
  const open = sections.filter(({ status }) => status !== 'done').map(({ name, status }) => `${name}: ${status}`);
  return open.length === 0 ? times : `${times}; NOT COMPLETE: ${open.join('; ').slice(0, 900)}`;
}
