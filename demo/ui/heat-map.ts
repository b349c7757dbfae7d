/** A matrix of attention weights as a heat map: a table whose cells are shaded, with hover, keyboard and legend. */
import { interpolateViridis } from 'd3-scale-chromatic';
import type { Value } from '../engine.ts';
import { element, format, headRow, number } from './dom.ts';

export interface HeatMap {
  readonly label: string;
  readonly words: readonly string[];
  readonly weights: readonly (readonly Value[])[]; // [query][key]
  readonly isCausal: boolean;
}

/**
 * Rows ask, columns are looked at. Shades are viridis, which is perceptually uniform, from 0 to the largest weight.
 * One cell at a time can be reached with Tab; the arrow keys move on from there.
 */
export function heatMap({ label, words, weights, isCausal }: HeatMap): HTMLElement {
  const largest = Math.max(...weights.flat().map(({ value }) => value), Number.MIN_VALUE);
  const reading = element(
    'p',
    { class: 'reading muted', 'aria-live': 'polite' },
    'Point at a cell, or move with the arrow keys, to read it.',
  );
  const rows = weights.map((row, n) => {
    const cells = row.map((weight, m) => {
      const isExcluded = isCausal && m > n;
      const cell = element('td', { class: isExcluded ? 'excluded' : undefined, tabindex: n === 0 && m === 0 ? 0 : -1 });
      cell.append(isExcluded ? element('span', {}, '—') : element('span', {}, number(weight)));
      if (!isExcluded) shade(cell, weight.value / largest);
      const text = isExcluded
        ? `“${words[n]}” may not look at “${words[m]}”: it comes later.`
        : `“${words[n]}” looks at “${words[m]}” with weight ${format(weight.value)} (CPU ${format(weight.cpu)}).`;
      const read = () => reading.replaceChildren(text);
      cell.addEventListener('mouseenter', read);
      cell.addEventListener('focus', read);
      return cell;
    });
    return element('tr', {}, element('th', { scope: 'row' }, words[n]!), ...cells);
  });
  const table = element('table', { role: 'grid' }, element('caption', {}, label), headRow('', ...words), element('tbody', {}, ...rows));
  moveWithArrows(table, rows);
  const scroll = element('div', { class: 'scroll' }, table);
  return element('div', { class: 'heat' }, scroll, legend(largest), reading);
}

function shade(cell: HTMLElement, share: number): void {
  cell.style.setProperty('--shade', interpolateViridis(share));
  cell.style.setProperty('--on-shade', share > 0.43 ? '#000000' : '#ffffff'); // at least 4.5 : 1 on every shade of viridis
}

function legend(largest: number): HTMLElement {
  const gradient = element('i', { 'aria-hidden': 'true' });
  const stops = Array.from({ length: 11 }, (_, i) => interpolateViridis(i / 10));
  gradient.style.setProperty('--gradient', `linear-gradient(to right, ${stops.join(', ')})`);
  return element('div', { class: 'legend' }, '0', gradient, `${format(largest)}, the largest weight`);
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
