/** A report as text: for people, for spreadsheets, for programs. */
import { nameOf, type Report, type Row } from './measure.ts';

export const COLUMNS = [
  'path',
  'pass',
  'kernels',
  'length',
  'queries',
  'heads',
  'keyHeads',
  'headSize',
  'isCausal',
  'runs',
  'calls',
  'first',
  'median',
  'least',
  'most',
  'gflops',
  'gbps',
  'bound',
  'share',
  'error',
] as const satisfies readonly (keyof Row)[];

/** RFC 4180, with a header line. No value holds a comma or a quote. */
export function toCsv({ rows }: Report): string {
  const lines = rows.map((row) => COLUMNS.map((column) => String(row[column])).join(','));
  return `${[COLUMNS.join(','), ...lines].join('\r\n')}\r\n`;
}

export const toJson = (report: Report): string => `${JSON.stringify(report, null, 2)}\n`;

/** A stand-alone SVG file of a plot. */
export function toSvg(plot: SVGSVGElement): string {
  const copy = plot.cloneNode(true) as SVGSVGElement;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

export const HEADINGS = {
  path: 'Path',
  length: 'Length',
  median: 'Median',
  spread: 'Fastest – slowest',
  first: 'First call',
  rate: 'Rate',
  share: 'Of this adapter’s peak',
  error: 'Greatest error',
  kernels: 'Kernels',
} as const;

const time = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** What a table shows of a row. */
export function display(row: Row): Record<keyof typeof HEADINGS, string> {
  const { path, length, median, least, most, first, gflops, gbps, bound, share, error, kernels } = row;
  const isReference = path === 'CPU reference';
  return {
    path: nameOf(row),
    length: String(length),
    median: `${time(median)} ms`,
    spread: `${time(least)} – ${time(most)}`,
    first: isReference ? '—' : `${time(first)} ms`,
    rate: bound === 'bytes' ? `${gbps.toPrecision(3)} GB/s` : `${gflops.toPrecision(3)} GFLOP/s`,
    share: isReference ? '—' : `${(100 * share).toPrecision(2)}% of ${bound}`,
    error: isReference ? '—' : error.toExponential(1),
    kernels: kernels || '—',
  };
}

/** What the device can do at most, in words. */
export const describeRoofline = ({ roofline: { gflops, gbps } }: Report): string =>
  `${gflops.toPrecision(3)} GFLOP/s in multiply-adds, ${gbps.toPrecision(3)} GB/s read and written`;
