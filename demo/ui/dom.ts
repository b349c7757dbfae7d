/** Small builders of page elements. Text is always text, never markup. */
import { differenceOf } from '../differences.ts';
import type { Value } from '../engine.ts';

type Child = Node | string;

/** An element with attributes (true: present; false or undefined: absent) and children. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string | number | boolean | undefined>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, '');
    else if (value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** The page's element with this id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

export const replace = (id: string, ...children: Child[]): void => byId(id).replaceChildren(...children);

/** Replaces what a live region says, unless it says that already: it would be read out again. */
export function say(id: string, ...children: Child[]): void {
  const before = byId(id).textContent;
  const after = children.map((child) => (typeof child === 'string' ? child : child.textContent)).join('');
  if (before !== after) replace(id, ...children);
}

/** A number with four decimals; very large ones in powers of ten. */
export function format(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  if (size >= 1000) return value.toExponential(2).replace(/e\+(\d+)/, (_, exponent: string) => ` · 10${superscript(exponent)}`);
  return value.toFixed(4).replace('-', '−');
}

const superscript = (digits: string) => digits.replace(/\d/g, (digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]!);

/** A number that only the CPU computes. */
export const cpuNumber = (value: number): HTMLElement =>
  element('span', { class: `number${Number.isFinite(value) ? '' : ' broken'}` }, format(value));

/** A computed number; the CPU's and their difference follow it, shown on demand. */
export function number({ value, cpu }: Value): HTMLElement {
  const difference = differenceOf(value, cpu);
  const beside = `CPU ${format(cpu)}, off by ${difference === 0 ? 0 : difference.toExponential(0)}`;
  const shown = cpuNumber(value);
  shown.append(element('span', { class: 'cpu' }, beside));
  return shown;
}

/** A table that scrolls in itself where the page is too narrow. */
export function scrolling(table: HTMLTableElement, label: string): HTMLElement {
  return element('div', { class: 'scroll', role: 'region', 'aria-label': label, tabindex: 0 }, table);
}

export function headRow(...cells: Child[]): HTMLElement {
  return element(
    'thead',
    {},
    element('tr', {}, ...cells.map((cell) => (cell === '' ? element('td') : element('th', { scope: 'col' }, cell)))),
  );
}

/** A cell with a bar of `share` (0 to 1) of its width. Decorative: the number stands beside it. */
export function barCell(share: number): HTMLTableCellElement {
  const bar = element('span', { class: 'bar', 'aria-hidden': 'true' });
  bar.style.setProperty('--share', String(Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0));
  return element('td', { class: 'bar-cell' }, bar);
}
