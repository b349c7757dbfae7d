import * as Plot from '@observablehq/plot';
import { nameOf, type Row } from './measure.ts';
import { PASSES } from './work.ts';

/** Colours that can be told apart in both themes, with and without colour vision (Okabe and Ito). */
const COLOURS = { 'CPU reference': '#d55e00', Explicit: '#b0609a', Fused: '#0072b2', Tuned: '#00805a' } as const;
const DARK_COLOURS = { 'CPU reference': '#ff9d5c', Explicit: '#e29acb', Fused: '#66b8ee', Tuned: '#4fd1a5' } as const;
/** Lines of a pass: dots and gaps. */
const DASHES = { forward: '', backward: '2,4', both: '8,4' } as const;
const NAME_HEIGHT = 16; // pixels: names beside the lines' ends keep this distance
const MARGINS = 90; // pixels of the height that are not the plot's

/** Time by length, log-log: a line a path and pass, a rule from the fastest to the slowest run at each dot. */
export function timePlot(rows: readonly Row[], { width, isDark, ink }: { width: number; isDark: boolean; ink: string }): SVGSVGElement {
  const colours = isDark ? DARK_COLOURS : COLOURS;
  const lengths = [...new Set(rows.map(({ length }) => length))];
  const last = Math.max(...lengths);
  const ends = rows.filter(({ length }) => length === last).sort((a, b) => b.median - a.median); // their names stand beside them, the slower one above
  const height = Math.min(420, Math.max(300, width * 0.5));
  const down = nudges(ends, rows, height - MARGINS);
  const plot = Plot.plot({
    width,
    height,
    marginLeft: 64,
    marginRight: 112 + (rows.some(({ pass }) => pass !== 'forward') ? 68 : 0),
    inset: 8,
    marginBottom: 44,
    style: { color: ink, background: 'transparent', fontSize: '13px' },
    x: {
      type: 'log',
      label: 'Length: keys →',
      ticks: lengths,
      tickFormat: (length: number) => String(length),
      domain: domain(lengths),
    },
    y: { type: 'log', label: '↑ Milliseconds a call', grid: true, tickFormat: (time: number) => (hasLabel(time) ? String(time) : '') },
    color: { domain: Object.keys(colours), range: Object.values(colours) },
    marks: [
      Plot.ruleX(rows, { x: 'length', y1: 'least', y2: 'most', stroke: 'path', strokeWidth: 3, strokeOpacity: 0.5 }),
      ...PASSES.map((pass) =>
        Plot.line(
          rows.filter((row) => row.pass === pass),
          { x: 'length', y: 'median', z: 'path', stroke: 'path', strokeWidth: 2, strokeDasharray: DASHES[pass] },
        ),
      ),
      Plot.dot(rows, { x: 'length', y: 'median', stroke: 'path', fill: 'path', symbol: 'path', r: 4.5 }),
      ...ends.map((row, i) =>
        Plot.text([row], {
          x: 'length',
          y: 'median',
          text: nameOf,
          fill: ink,
          textAnchor: 'start',
          dx: 12,
          dy: down[i]!,
          fontWeight: 'bold',
        }),
      ),
    ],
  });
  const svg = (plot instanceof SVGSVGElement ? plot : plot.querySelector('svg')) as SVGSVGElement;
  for (const part of svg.querySelectorAll('[aria-label]')) part.removeAttribute('aria-label'); // the picture is named as a whole
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'Milliseconds a call by length, on logarithmic scales; the table below has the numbers');
  return svg;
}

/** With one length there is no range to show: half an octave to both sides. */
function domain(lengths: readonly number[]): [number, number] {
  const [least, most] = [Math.min(...lengths), Math.max(...lengths)];
  return least === most ? [least / 1.5, most * 1.5] : [least, most];
}

/** 1, 2 and 5 of each power of ten: more labels would touch. */
const hasLabel = (value: number) => [1, 2, 5].includes(Number(value.toExponential()[0])) && /^\de/.test(value.toExponential());

/** How far each name has to move down from its line's end, in pixels, so that no two touch. The ends go from the top down. */
function nudges(ends: readonly Row[], rows: readonly Row[], height: number): number[] {
  const range = rows.flatMap(({ least, most }) => [Math.log(least), Math.log(most)]);
  const perLog = height / Math.max(1e-9, Math.max(...range) - Math.min(...range));
  const own = ends.map(({ median }) => -Math.log(median) * perLog);
  const placed: number[] = [];
  for (const y of own) placed.push(Math.max(y, (placed.at(-1) ?? Number.NEGATIVE_INFINITY) + NAME_HEIGHT));
  const drift = placed.reduce((sum, y, i) => sum + y - own[i]!, 0) / ends.length;
  return placed.map((y, i) => y - own[i]! - drift);
}
