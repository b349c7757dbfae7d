import * as Plot from '@observablehq/plot';
import { PLACES } from './data.ts';
import { STEPS } from './model.ts';

/** A step's loss on its batch, and the mean of the last few. */
interface Point {
  readonly step: number;
  readonly loss: number;
}

const SMOOTH = 10; // steps of the mean

/** The loss by step, from the top left to the bottom right if all goes well. */
export function lossPlot(losses: readonly number[], { width, accent, ink }: { width: number; accent: string; ink: string }): SVGSVGElement {
  const points = losses.map((loss, step): Point => ({ step, loss }));
  const means = points.map(({ step }): Point => {
    const last = losses.slice(Math.max(0, step - SMOOTH + 1), step + 1);
    return { step, loss: last.reduce((sum, loss) => sum + loss, 0) / last.length };
  });
  const guess = Math.log(PLACES.length);
  const plot = Plot.plot({
    width,
    height: Math.min(320, Math.max(240, width * 0.4)),
    marginLeft: 44,
    marginBottom: 40,
    style: { color: ink, background: 'transparent', fontSize: '13px' },
    x: { label: 'Step →', domain: [0, Math.max(STEPS, losses.length)], ticks: Math.min(8, Math.floor(width / 70)) },
    y: { label: '↑ Loss', domain: [0, Math.max(4.5, ...losses)], grid: true, ticks: 5 },
    marks: [
      Plot.ruleY([guess], { stroke: ink, strokeDasharray: '4 4' }),
      Plot.text([guess], {
        x: () => STEPS,
        y: (value: number) => value,
        text: () => 'one of twelve words',
        textAnchor: 'end',
        dy: -8,
        fill: ink,
      }),
      Plot.dot(points, { x: 'step', y: 'loss', r: 1.2, fill: accent, fillOpacity: 0.45 }),
      Plot.line(means, { x: 'step', y: 'loss', stroke: accent, strokeWidth: 2.5 }),
    ],
  });
  const svg = (plot instanceof SVGSVGElement ? plot : plot.querySelector('svg')) as SVGSVGElement;
  for (const part of svg.querySelectorAll('[aria-label]')) part.removeAttribute('aria-label'); // the picture is named as a whole
  svg.setAttribute('role', 'img');
  const last = means.at(-1);
  svg.setAttribute(
    'aria-label',
    last ? `Loss by step: ${last.loss.toFixed(3)} at step ${last.step + 1}` : 'Loss by step: no step was taken yet',
  );
  return svg;
}
