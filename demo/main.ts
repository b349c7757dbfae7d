import { type Attention, createAttention } from '../src/index.ts';
import { type Example, runExample } from './example.ts';
import { EXAMPLE } from './words.ts';

const form = document.querySelector<HTMLFormElement>('#form')!;
const input = document.querySelector<HTMLInputElement>('#sentence')!;
const status = document.querySelector<HTMLElement>('#status')!;
const result = document.querySelector<HTMLElement>('#result')!;

/** Made by the first run, and again after the device was lost. */
let attention: Promise<Attention> | undefined;

async function run(): Promise<void> {
  try {
    attention ??= createAttention();
    const on = await attention;
    const example = await runExample(input.value, on);
    show(example);
  } catch (error) {
    attention = undefined;
    result.replaceChildren();
    status.textContent = (error as Error).message;
  }
}

function show({ adapter, words, query, scores, weights, context, differences }: Example): void {
  const names = words.map(({ text }) => text);
  const invented = words.filter(({ isInvented }) => isInvented).map(({ text }) => text);
  const largest = Math.max(...Object.values(differences)).toExponential(1);
  const note = invented.length > 0 ? ` Made-up vectors for: ${[...new Set(invented)].join(', ')}.` : '';
  status.textContent = `Computed on ${adapter}; at most ${largest} from the CPU reference.${note}`;
  result.replaceChildren(
    table(
      'Embedding vectors',
      ['1', '2', '3'],
      names,
      words.map(({ vector }) => vector),
    ),
    table(`Scores of the query “${names[query]}”`, names, [names[query]!], [scores[query]!]),
    table('Attention weights: each row sums to 1', names, names, weights),
    table('Context vectors', ['1', '2', '3'], names, context),
  );
}

function table(caption: string, columns: readonly string[], rows: readonly string[], values: readonly (readonly number[])[]): HTMLElement {
  const element = document.createElement('table');
  element.createCaption().textContent = caption;
  const head = element.createTHead().insertRow();
  head.append(document.createElement('td'), ...columns.map((name) => header(name, 'col')));
  const body = element.createTBody();
  for (const [i, row] of values.entries()) {
    const line = body.insertRow();
    line.append(header(rows[i]!, 'row'));
    for (const value of row) line.insertCell().textContent = value.toFixed(4);
  }
  const scroll = document.createElement('div');
  scroll.className = 'scroll';
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'region');
  scroll.setAttribute('aria-label', caption);
  scroll.append(element);
  return scroll;
}

function header(text: string, scope: 'col' | 'row'): HTMLElement {
  const element = document.createElement('th');
  element.scope = scope;
  element.textContent = text;
  return element;
}

input.value = new URLSearchParams(location.search).get('sentence') ?? EXAMPLE;
form.addEventListener('submit', (event) => {
  event.preventDefault();
  void run();
});
void run();
