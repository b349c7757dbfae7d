/** The steps that show one query: vectors, scores, context, and the heat maps of all words. */
import type { Attended, Value } from '../engine.ts';
import { barCell, element, headRow, number, replace, say, scrolling } from '../ui/dom.ts';
import { heatMap } from '../ui/heat-map.ts';
import type { State } from './state.ts';

const rowHead = (text: string) => element('th', { scope: 'row' }, text);
const cell = (value: Value) => element('td', {}, number(value));
const names = ({ words }: State): string[] => words.map(({ text }) => text);
const components = (width: number): string[] => Array.from({ length: width }, (_, i) => `number ${i + 1}`);

export function showVectors({ words }: State): void {
  const rows = words.map(({ text, vector }) =>
    element('tr', {}, rowHead(text), ...vector.map((value) => element('td', { class: 'number' }, value.toFixed(2)))),
  );
  const table = element('table', {}, headRow('word', ...components(3)), element('tbody', {}, ...rows));
  replace('vectors', scrolling(table, 'Embedding vectors'));
  const invented = [...new Set(words.filter(({ isInvented }) => isInvented).map(({ text }) => `“${text}”`))];
  const note = `Made up by this page from the letters, so their likeness means nothing: ${invented.join(', ')}. The six words of the example have the book’s vectors.`;
  replace('vectors-note', invented.length > 0 ? note : 'These are the book’s vectors.');
}

export function showScores(state: State, { scores }: Attended): void {
  const row = scores[0]![state.query]!;
  const largest = Math.max(...row.map(({ value }) => Math.abs(value)));
  const rows = row.map((score, m) =>
    element(
      'tr',
      { class: m === state.query ? 'chosen' : undefined },
      rowHead(state.words[m]!.text),
      barCell(Math.abs(score.value) / largest),
      cell(score),
    ),
  );
  const caption = element('caption', {}, `Scores of the query “${state.words[state.query]!.text}”`);
  replace(
    'scores',
    scrolling(element('table', { class: 'bars' }, caption, headRow('word', '', 'score'), element('tbody', {}, ...rows)), 'Scores'),
  );
}

export function showArithmetic({ words, query, key }: State, { scores }: Attended): void {
  const [q, k] = [words[query]!, words[key]!];
  const terms = q.vector.map((value, i) => `${value.toFixed(2)} × ${k.vector[i]!.toFixed(2)}`).join(' + ');
  say('arithmetic', `${q.text} · ${k.text} = ${terms} = `, number(scores[0]![query]![key]!));
}

export function showContext(state: State, { weights, context }: Attended): void {
  const { words, query } = state;
  const row = weights[0]![query]!;
  const rows = words.map(({ text, vector }, m) => {
    const weight = row[m]!;
    const products = vector.map((value) => cell({ value: weight.value * value, cpu: weight.cpu * value }));
    return element('tr', {}, rowHead(text), cell(weight), ...products);
  });
  const total = { value: row.reduce((sum, { value }) => sum + value, 0), cpu: row.reduce((sum, { cpu }) => sum + cpu, 0) };
  const sum = element('tr', { class: 'sum' }, rowHead(`context of “${words[query]!.text}”`), cell(total), ...context[query]!.map(cell));
  const head = headRow('word', 'weight', ...components(3).map((name) => `weight × ${name}`));
  const scale = state.scale > 0 ? ', for vectors of their own length (× 1)' : '';
  const caption = element(
    'caption',
    {},
    `Weights and context are the kernels’; the page itself multiplies for the rows in between${scale}`,
  );
  replace(
    'context',
    scrolling(element('table', {}, caption, head, element('tbody', {}, ...rows), element('tfoot', {}, sum)), 'The weighted sum'),
  );
}

export function showAll(state: State, { weights }: Attended): void {
  replace(
    'all',
    heatMap({ label: 'Attention weights: rows ask, columns are looked at', words: names(state), weights: weights[0]!, isCausal: false }),
  );
}

/** The walk's last three steps: trainable weights, the causal mask on top of them, and two heads. */
export function showTrained(state: State, trained: Attended, masked: Attended, heads: Attended): void {
  const words = names(state);
  replace('trained', heatMap({ label: 'Attention weights', words, weights: trained.weights[0]!, isCausal: false }));
  replace('trained-context', contextTable(words, trained));
  const label = state.isCausal ? 'Attention weights with the causal mask' : 'Attention weights without a mask';
  replace('masked', heatMap({ label, words, weights: masked.weights[0]!, isCausal: state.isCausal }));
  const maps = heads.weights.map((weights, i) =>
    heatMap({
      label: `Head ${i + 1}: attention weights${state.isCausal ? ' with the causal mask' : ''}`,
      words,
      weights,
      isCausal: state.isCausal,
    }),
  );
  replace('heads', ...maps);
  replace('heads-context', contextTable(words, heads));
}

function contextTable(words: readonly string[], { weights, context }: Attended): HTMLElement {
  const heads = weights.length;
  const width = context[0]!.length / heads;
  const columns = context[0]!.map((_, i) => `${heads > 1 ? `head ${Math.floor(i / width) + 1}, ` : ''}number ${(i % width) + 1}`);
  const rows = context.map((row, n) => element('tr', {}, rowHead(words[n]!), ...row.map(cell)));
  const title = heads > 1 ? 'Context vectors: the heads’ side by side' : 'Context vectors';
  const table = element('table', {}, element('caption', {}, title), headRow('word', ...columns), element('tbody', {}, ...rows));
  return scrolling(table, title);
}
