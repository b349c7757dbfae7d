/** A matrix of attention weights as a heat map: a table whose cells are shaded, with hover, keyboard and legend. */
import { interpolateViridis } from 'd3-scale-chromatic';
import type { Value } from '../engine.ts';
import { element, format, headRow, number } from './dom.ts';

/** [query][key]: with the CPU's beside each, or alone. */
type Weights = readonly (readonly (Value | number)[])[];

export interface HeatMap {
  readonly label: string;
  readonly words: readonly string[];
  readonly weights: Weights;
  readonly isCausal: boolean;
  readonly largest?: number; // the weight of the brightest shade; default the largest of all
}

const numberOf = (weight: Value | number): number => (typeof weight === 'number' ? weight : weight.value);

/**
 * Rows ask, columns are looked at. Shades are viridis, which is perceptually uniform, from 0 to the largest weight.
 * One cell at a time can be reached with Tab; the arrow keys move on from there.
 */
export function heatMap({ label, words, weights, isCausal, largest: given }: HeatMap): HTMLElement {
  const largest = given ?? Math.max(...weights.flat().map(numberOf), Number.MIN_VALUE);
  const reading = element(
    'p',
    { class: 'reading muted', 'aria-live': 'polite' },
    'Point at a cell, or move with the arrow keys, to read it.',
  );
  const rows = weights.map((row, n) => {
    const cells = row.map((weight, m) => {
      const isExcluded = isCausal && m > n;
      const cell = element('td', { class: isExcluded ? 'excluded' : undefined, tabindex: n === 0 && m === 0 ? 0 : -1 });
      if (isExcluded) cell.append(element('span', {}, '—'));
      else fill(cell, weight, largest);
      const read = () => reading.replaceChildren(describe(words[n]!, words[m]!, shown.get(cell)));
      cell.addEventListener('mouseenter', read);
      cell.addEventListener('focus', read);
      return cell;
    });
    return element('tr', {}, element('th', { scope: 'row' }, words[n]!), ...cells);
  });
  const table = element('table', { role: 'grid' }, element('caption', {}, label), headRow('', ...words), element('tbody', {}, ...rows));
  moveWithArrows(table, rows);
  const scroll = element('div', { class: 'scroll' }, table);
  const isCompact = typeof weights[0]?.[0] === 'number';
  return element('div', { class: isCompact ? 'heat compact' : 'heat' }, scroll, legend(largest, given === undefined), reading);
}

/** What stands in a cell now. */
const shown = new WeakMap<Element, Value | number>();

function fill(cell: HTMLElement, weight: Value | number, largest: number): void {
  shown.set(cell, weight);
  cell.replaceChildren(element('span', {}, typeof weight === 'number' ? weight.toFixed(2) : number(weight)));
  shade(cell, numberOf(weight) / largest);
}

function describe(query: string, key: string, weight: Value | number | undefined): string {
  if (weight === undefined) return `“${query}” may not look at “${key}”: it comes later.`;
  const cpu = typeof weight === 'number' ? '' : ` (CPU ${format(weight.cpu)})`;
  return `“${query}” looks at “${key}” with weight ${format(numberOf(weight))}${cpu}.`;
}

/** Other weights for the same words, in place: what has the focus keeps it. */
export function refill(map: HTMLElement, weights: Weights, largest: number): void {
  for (const [n, row] of [...map.querySelectorAll('tbody tr')].entries())
    for (const [m, cell] of [...row.querySelectorAll('td')].entries()) if (shown.has(cell)) fill(cell, weights[n]![m]!, largest);
}

function shade(cell: HTMLElement, share: number): void {
  cell.style.setProperty('--shade', interpolateViridis(share));
  cell.style.setProperty('--on-shade', share > 0.43 ? '#000000' : '#ffffff'); // at least 4.5 : 1 on every shade of viridis
}

function legend(largest: number, isLargest: boolean): HTMLElement {
  const gradient = element('i', { 'aria-hidden': 'true' });
  const stops = Array.from({ length: 11 }, (_, i) => interpolateViridis(i / 10));
  gradient.style.setProperty('--gradient', `linear-gradient(to right, ${stops.join(', ')})`);
  return element('div', { class: 'legend' }, '0', gradient, isLargest ? `${format(largest)}, the largest weight` : String(largest));
}

function moveWithArrows(table: HTMLTableElement, rows: readonly HTMLTableRowElement[]): void {
  const cells = rows.map((row) => [...row.querySelectorAll('td')]);
  const steps: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  table.addEventListener('keydown', (event) => {
    const step = steps[event.key];
    const n = cells.findIndex((row) => row.includes(event.target as HTMLTableCellElement));
    if (!step || n < 0) return;
    const from = event.target as HTMLTableCellElement;
    const to = cells[n + step[0]]?.[cells[n]!.indexOf(from) + step[1]];
    event.preventDefault();
    if (!to) return;
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });
}
