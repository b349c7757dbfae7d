/** Figures and names as the report spells them. */
import type { Fields, Row } from '../records.ts';

/** Three digits or so. */
export function figure(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '-';
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value >= 0.1 ? value.toFixed(2) : value.toPrecision(2);
}

/** ` 45%`, or nothing. */
export const percent = (share: number | undefined | null): string =>
  typeof share === 'number' && Number.isFinite(share) ? ` ${(100 * share).toFixed(0)}%` : '';

/** The greatest of some errors. JSON has null for one that is no number. */
export function errorText(...errors: readonly (number | null | undefined)[]): string {
  if (errors.includes(null)) return 'NaN';
  return Math.max(...errors.filter((error): error is number => typeof error === 'number')).toExponential(1);
}

/** `f16 D64 N1 M4096 H32/8`. */
export function shapeText({ dtype, D, N, M, H, Hk, causal }: Fields): string {
  const lengths = N === M ? `N${N}` : `N${N} M${M}`;
  const heads = Hk === H ? `H${H}` : `H${H}/${Hk}`;
  return `${dtype} D${D} ${lengths} ${heads}${causal ? ' causal' : ''}`;
}

/** A line a group, a column a length; nothing where there are no rows. */
export function pivot(
  title: string,
  rows: readonly Row[],
  lengthOf: (row: Row) => number,
  nameOf: (row: Row) => string,
  cell: (row: Row) => string,
): string[] {
  if (rows.length === 0) return [];
  const lengths = [...new Set(rows.map(lengthOf))].sort((a, b) => a - b);
  const names = [...new Set(rows.map(nameOf))].sort();
  const text = (row: Row | undefined): string => {
    if (!row) return '';
    return row.failed ? 'failed' : `${cell(row)}${row.isRight === false ? ' WRONG' : ''}`;
  };
  const lines = names.map((name) => [
    name,
    ...lengths.map((length) => text(rows.find((row) => nameOf(row) === name && lengthOf(row) === length))),
  ]);
  return ['', ...align([[title, ...lengths.map(String)], ...lines])];
}

/** Columns of one width: the first to the left, the others to the right. */
function align(table: readonly (readonly string[])[]): string[] {
  const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  const pad = (text: string, column: number) => (column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!));
  return table.map((line) => line.map(pad).join('  ').trimEnd());
}
