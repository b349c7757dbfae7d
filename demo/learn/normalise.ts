/** Three ways to turn scores into weights: two naive ones in f32 from the CPU reference, and the stable softmax of the GPU kernels. */
import { naiveSoftmax, normalizeBySum } from '../../src/reference/index.ts';
import type { Engine, Value } from '../engine.ts';
import { barCell, byId, cpuNumber, element, format, headRow, number, replace, say, scrolling } from '../ui/dom.ts';
import type { State } from './state.ts';

/** Computes and shows the three ways for embeddings that are 10^scale times as long. */
export async function showWays(state: State, engine: Engine): Promise<void> {
  const factor = 10 ** state.scale;
  const inputs = state.words.map(({ vector }) => vector.map((value) => value * factor));
  const { scores, weights } = await engine.attend(inputs);
  const row = scores[0]![state.query]!;
  const f32 = row.map(({ value }) => value);
  const bySum = [...normalizeBySum(f32, f32.length, 'f32')];
  const naive = [...naiveSoftmax(f32, f32.length, 'f32')];
  const stable = weights[0]![state.query]!;
  const texts = state.words.map(({ text }) => text);
  replace(
    'ways',
    way('By the sum', 'score ÷ sum of scores', 'CPU reference, rounded to f32', texts, bySum),
    way('Naive exponential', 'exp(score) ÷ sum of exps', 'CPU reference, rounded to f32', texts, naive),
    way('Stable softmax', 'exp(score − largest) ÷ sum', engine.attention ? 'GPU kernel' : 'CPU reference', texts, stable),
  );
  say('ways-note', ...verdict(f32));
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
    scrolling(element('table', {}, headRow('word', '', 'weight'), element('tbody', {}, ...rows), element('tfoot', {}, foot)), title),
  );
}

/** Which of the naive ways failed, and why: what overflowed first. */
function verdict(scores: readonly number[]): (HTMLElement | string)[] {
  const largest = Math.max(...scores);
  const exps = scores.map((score) => Math.fround(Math.exp(score)));
  const sumOf = (values: readonly number[]) => values.reduce((sum, value) => Math.fround(sum + value), 0);
  const parts = [`The largest score is ${format(largest)}.`];
  if (exps.includes(Number.POSITIVE_INFINITY)) {
    parts.push('exp of more than 88.7 is too large for an f32 and becomes ∞. ∞ ÷ ∞ is not a number, and everything else ÷ ∞ is 0.');
  } else if (sumOf(exps) === Number.POSITIVE_INFINITY) {
    parts.push('Each exp still fits into an f32, but their sum does not: it becomes ∞, and everything ÷ ∞ is 0.');
  }
  if (sumOf(scores) === Number.POSITIVE_INFINITY) parts.push('By now even the plain sum of the scores is ∞, so dividing by it gives 0.');
  if (parts.length === 1) {
    parts.push('All three give shares that sum to 1. Dividing by the sum only works because no score here is negative. Move the slider.');
    return [element('p', {}, parts.join(' '))];
  }
  const why =
    'The stable softmax subtracts the largest score first. That cancels in the quotient, so the weights are the same, but no exponent is above 0 and nothing can overflow.';
  return [element('p', {}, parts.join(' ')), element('p', {}, why)];
}

/** How long the vectors are, beside the slider and for those who hear it. */
export function showFactor(scale: number): void {
  const factor = 10 ** scale;
  const text = factor < 1000 ? String(Number(factor.toPrecision(3))) : format(factor);
  byId('scale-output').textContent = text;
  byId('scale').setAttribute('aria-valuetext', `times ${text}`);
}
