import * as Plot from '@observablehq/plot';
import { PLACES } from './data.ts';
import { STEPS } from './model.ts';

const SMOOTH = 10; // steps of the mean
const HIGHEST = 4.5; // a little above the loss of a guess among all words; what is higher is drawn there

export interface LossPlot {
  readonly svg: SVGSVGElement;
  /** Draws the losses of the steps so far. The axes stay, so that a training that plays is not held up. */
  show(losses: readonly number[]): void;
}

/** The loss by step: each step's, and the mean of the last few. */
export function lossPlot({ width, accent, ink }: { width: number; accent: string; ink: string }): LossPlot {
  const plot = Plot.plot({
    width,
    height: Math.min(320, Math.max(240, width * 0.4)),
    marginLeft: 44,
    marginBottom: 40,
    style: { color: ink, background: 'transparent', fontSize: '13px' },
    x: { label: 'Step →', domain: [0, STEPS], ticks: Math.min(8, Math.floor(width / 70)) },
    y: { label: '↑ Loss', domain: [0, HIGHEST], clamp: true, grid: true, ticks: 5 },
    marks: [
      Plot.ruleY([Math.log(PLACES.length)], { stroke: ink, strokeDasharray: '4 4' }),
      Plot.text(['one of twelve words'], { x: [STEPS], y: [Math.log(PLACES.length)], textAnchor: 'end', dy: -8, fill: ink }),
    ],
  });
  const svg = (plot instanceof SVGSVGElement ? plot : plot.querySelector('svg')) as SVGSVGElement;
  for (const part of svg.querySelectorAll('[aria-label]')) part.removeAttribute('aria-label'); // the picture is named as a whole
  svg.setAttribute('role', 'img');
  const [x, y] = [plot.scale('x')!, plot.scale('y')!];
  const line = (strokeWidth: number, opacity: number): SVGPathElement => {
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    for (const [name, value] of Object.entries({ fill: 'none', stroke: accent, 'stroke-width': strokeWidth, 'stroke-opacity': opacity }))
      path.setAttribute(name, String(value));
    svg.append(path);
    return path;
  };
  const [each, mean] = [line(1, 0.4), line(2.5, 1)];
  const draw = (path: SVGPathElement, values: readonly number[]) => {
    const points = values.map((value, step) => `${x.apply(step + 1).toFixed(1)},${y.apply(value).toFixed(1)}`);
    path.setAttribute('d', points.length > 0 ? `M${points.join('L')}` : '');
  };
  const show = (losses: readonly number[]) => {
    const means = losses.map((_, step) => {
      const last = losses.slice(Math.max(0, step - SMOOTH + 1), step + 1);
      return last.reduce((sum, loss) => sum + loss, 0) / last.length;
    });
    draw(each, losses);
    draw(mean, means);
    const text = means.length > 0 ? `${means.at(-1)!.toFixed(3)} at step ${means.length}` : 'no step was taken yet';
    svg.setAttribute('aria-label', `Loss by step: ${text}`);
  };
  return { svg, show };
}
