/** Three ways to turn scores into weights: two naive ones in f32 from the CPU reference, and the stable softmax of the GPU kernels. */
import { naiveSoftmax, normalizeBySum } from '../../src/reference/index.ts';
import type { Engine, Value } from '../engine.ts';
import { barCell, byId, cpuNumber, element, format, headRow, number, replace } from '../ui/dom.ts';
import type { State } from './state.ts';

/** Computes and shows the three ways for embeddings that are 10^scale times as long. */
export async function showWays(state: State, engine: Engine, isCurrent: () => boolean): Promise<void> {
  const factor = 10 ** state.scale;
  const inputs = state.words.map(({ vector }) => vector.map((value) => value * factor));
  const { scores, weights } = await engine.attend(inputs);
  if (!isCurrent()) return;
  const row = scores[0]![state.query]!;
  const f32 = row.map(({ value }) => value);
  const bySum = [...normalizeBySum(f32, f32.length, 'f32')];
  const naive = [...naiveSoftmax(f32, f32.length, 'f32')];
  const stable = weights[0]![state.query]!;
  byId('scale-output').textContent = describeFactor(factor);
  const texts = state.words.map(({ text }) => text);
  replace(
    'ways',
    way('By the sum', 'score ÷ sum of scores', 'CPU reference, rounded to f32', texts, bySum),
    way('Naive exponential', 'exp(score) ÷ sum of exps', 'CPU reference, rounded to f32', texts, naive),
    way('Stable softmax', 'exp(score − largest) ÷ sum', engine.attention ? 'GPU kernel' : 'CPU reference', texts, stable),
  );
  replace('ways-note', ...verdict(bySum, naive, Math.max(...f32)));
}

function way(title: string, formula: string, source: string, words: readonly string[], values: readonly (Value | number)[]): HTMLElement {
  const plain = values.map((value) => (typeof value === 'number' ? value : value.value));
  const rows = values.map((value, m) => {
    const shown = typeof value === 'number' ? cpuNumber(value) : number(value);
    return element('tr', {}, element('th', { scope: 'row' }, words[m]!), barCell(plain[m]!), element('td', {}, shown));
  });
  const sum = cpuNumber(plain.reduce((total, value) => total + value, 0));
  const foot = element('tr', { class: 'sum' }, element('th', { scope: 'row' }, 'sum'), element('td', {}), element('td', {}, sum));
  return element(
    'div',
    { class: 'way' },
    element('h3', {}, title),
    element('p', { class: 'muted' }, element('code', {}, formula), element('br'), source),
    element('table', {}, headRow('word', '', 'weight'), element('tbody', {}, ...rows), element('tfoot', {}, foot)),
  );
}

function verdict(bySum: readonly number[], naive: readonly number[], largest: number): (HTMLElement | string)[] {
  const isSumBroken = !sumsToOne(bySum);
  const isNaiveBroken = !sumsToOne(naive);
  const score = `The largest score is ${format(largest)}.`;
  if (!isNaiveBroken && !isSumBroken) {
    return [
      element(
        'p',
        {},
        `${score} All three give shares of 1. Dividing by the sum only works because no score here is negative. Move the slider.`,
      ),
    ];
  }
  const exp = `${score} exp of more than 88.7 is too large for an f32, so it becomes ∞, and ∞ ÷ ∞ is not a number.`;
  const both = `${exp} By now even the plain sum of the scores is too large: dividing by ∞ gives 0.`;
  return [
    element('p', {}, isSumBroken ? both : exp),
    element(
      'p',
      {},
      'The stable softmax subtracts the largest score first. That cancels in the quotient, so the weights are the same, but no exponent is above 0 and nothing can overflow.',
    ),
  ];
}

const sumsToOne = (values: readonly number[]) => Math.abs(values.reduce((a, b) => a + b, 0) - 1) < 1e-3;

function describeFactor(factor: number): string {
  return factor < 1e4 ? factor.toPrecision(3).replace(/\.0*$/, '') : format(factor);
}
