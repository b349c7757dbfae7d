import * as Plot from '@observablehq/plot';
import type { Row } from './measure.ts';

/** Colours that can be told apart in both themes, with and without colour vision (Okabe and Ito). */
const COLOURS = { 'CPU reference': '#d55e00', WebGPU: '#0072b2' } as const;
const DARK_COLOURS = { 'CPU reference': '#ff9d5c', WebGPU: '#66b8ee' } as const;

/** Time by length, log-log: a line a path, a rule from the fastest to the slowest run at each dot. */
export function timePlot(rows: readonly Row[], { width, isDark, ink }: { width: number; isDark: boolean; ink: string }): SVGSVGElement {
  const colours = isDark ? DARK_COLOURS : COLOURS;
  const lengths = [...new Set(rows.map(({ length }) => length))];
  const plot = Plot.plot({
    width,
    height: Math.min(420, Math.max(300, width * 0.5)),
    marginLeft: 64,
    marginRight: 24,
    marginBottom: 44,
    style: { color: ink, background: 'transparent', fontSize: '13px' },
    x: {
      type: 'log',
      label: 'Length (queries = keys) →',
      ticks: lengths,
      tickFormat: (length: number) => String(length),
      domain: domain(lengths),
    },
    y: { type: 'log', label: '↑ Milliseconds a call', grid: true, tickFormat: (time: number) => (isPowerOf10(time) ? String(time) : '') },
    color: { domain: Object.keys(colours), range: Object.values(colours) },
    marks: [
      Plot.ruleX(rows, { x: 'length', y1: 'least', y2: 'most', stroke: 'path', strokeWidth: 3, strokeOpacity: 0.5 }),
      Plot.line(rows, { x: 'length', y: 'median', stroke: 'path', strokeWidth: 2, strokeDasharray: '1,0' }),
      Plot.dot(rows, { x: 'length', y: 'median', stroke: 'path', fill: 'path', symbol: 'path', r: 4.5 }),
      Plot.text(
        rows,
        Plot.selectFirst({
          x: 'length',
          y: 'median',
          z: 'path',
          text: 'path',
          fill: 'path',
          textAnchor: 'start',
          dx: 4,
          dy: -14,
          fontWeight: 'bold',
        }),
      ),
    ],
  });
  const svg = (plot instanceof SVGSVGElement ? plot : plot.querySelector('svg')) as SVGSVGElement;
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'Milliseconds a call by length, on logarithmic scales; the table below has the numbers');
  return svg;
}

/** With one length there is no range to show: half an octave to both sides. */
function domain(lengths: readonly number[]): [number, number] {
  const [least, most] = [Math.min(...lengths), Math.max(...lengths)];
  return least === most ? [least / 1.5, most * 1.5] : [least, most];
}

const isPowerOf10 = (value: number) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
