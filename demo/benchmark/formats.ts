/** A report as text: for people, for spreadsheets, for programs. */
import type { Report, Row } from './measure.ts';

export const COLUMNS = [
  'path',
  'length',
  'heads',
  'headSize',
  'runs',
  'calls',
  'median',
  'least',
  'most',
  'gflops',
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

/** What a table shows of a row. */
export function display(row: Row): {
  path: string;
  length: string;
  median: string;
  spread: string;
  runs: string;
  gflops: string;
  error: string;
} {
  const time = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  return {
    path: row.path,
    length: String(row.length),
    median: `${time(row.median)} ms`,
    spread: `${time(row.least)} – ${time(row.most)}`,
    runs: String(row.runs),
    gflops: row.gflops.toPrecision(3),
    error: row.path === 'CPU reference' ? '—' : row.error.toExponential(1),
  };
}

export const HEADINGS = {
  path: 'Path',
  length: 'Length',
  median: 'Median',
  spread: 'Fastest – slowest',
  runs: 'Runs',
  gflops: 'GFLOP/s',
  error: 'Greatest error',
} as const;
