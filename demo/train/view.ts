/** What the page shows of a training: the chosen sentence in three versions, and the held-out sentences. */
import { barCell, element, headRow, replace, say, scrolling } from '../ui/dom.ts';
import { heatMap, refill } from '../ui/heat-map.ts';
import { ADJECTIVES, ANIMALS, type Choice, CONJUNCTIONS, ENDINGS, isHeldOut, OPENINGS, PLACES, VERBS } from './data.ts';
import type { Evaluation, Look } from './experiment.ts';

/** The chosen sentence's weights [N][N] in each version. */
export interface Views {
  readonly trained: Look;
  readonly untrained: number[][];
  readonly plain: number[][];
}

const FIELDS = [
  ['opening', 'Opening', OPENINGS],
  ['isInverted', 'Order', ['who first', 'place first']],
  ['adjective', 'Adjective', ADJECTIVES],
  ['animal', 'Who', ANIMALS],
  ['verb', 'Verb', VERBS],
  ['place', 'Place', PLACES.map(([place]) => place)],
  ['ending', 'How long', ENDINGS],
  ['conjunction', 'Conjunction', CONJUNCTIONS],
] as const satisfies readonly (readonly [keyof Choice, string, readonly string[]])[];

/** A select for each part of the pattern. `choose` hears of every change. */
export function drawComposer(choice: Choice, choose: (choice: Choice) => void): void {
  let current = choice;
  const fields = FIELDS.map(([name, label, options]) => {
    const select = element(
      'select',
      { id: `part-${name}` },
      ...options.map((text, i) => element('option', { value: i, selected: i === Number(current[name]) }, text || '(none)')),
    );
    select.addEventListener('change', () => {
      const index = Number(select.value);
      current = { ...current, [name]: name === 'isInverted' ? index === 1 : index };
      choose(current);
    });
    return element('label', { class: 'field' }, label, select);
  });
  replace('compose', ...fields);
}

const MAPS = [
  ['trained', 'Now'],
  ['untrained', 'Before training'],
  ['plain', 'Without trainable weights'],
] as const;

export function showLook({ trained, untrained, plain }: Views): void {
  const { sentence, words: likely, probability } = trained;
  const { words, answer, choice } = sentence;
  say('sentence', `“${capital(words.join(' '))} …”`);
  const list = likely.map(({ word, probability: share }) => `${word} ${percent(share)}`).join(', ');
  const seen = isHeldOut(choice.animal, choice.place) ? 'a pair kept back from training' : 'a pair that training shows';
  replace('answer', 'The model says: ', element('strong', {}, list), `. Right is “${answer}”, at ${percent(probability)}; ${seen}.`);
  const last = words.length - 1;
  const versions = { trained: trained.weights, untrained, plain };
  const rows = words.map((word, m) =>
    element(
      'tr',
      { class: m === sentence.place ? 'chosen' : undefined },
      element('th', { scope: 'row' }, word),
      ...MAPS.flatMap(([name]) => {
        const weight = versions[name][last]![m]!;
        return [barCell(weight), element('td', { class: 'number' }, weight.toFixed(3))];
      }),
    ),
  );
  const titles = MAPS.flatMap(([, title]) => [element('td', { class: 'bar-cell' }), element('th', { scope: 'col' }, title.toLowerCase())]);
  const head = element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, 'word'), ...titles));
  const caption = element('caption', {}, 'Attention weights of “was”: the row of the place is shaded');
  const bars = element('table', { class: 'views' }, caption, head, element('tbody', {}, ...rows));
  const region = document.querySelector('#bars .scroll');
  if (region) region.replaceChildren(bars);
  else replace('bars', scrolling(bars, 'Attention weights of “was”'));
  showMaps(words, versions);
}

const maps = new Map<string, { readonly words: string; readonly map: HTMLElement }>();

function showMaps(words: readonly string[], versions: Readonly<Record<(typeof MAPS)[number][0], number[][]>>): void {
  const text = words.join(' ');
  if (maps.get('trained')?.words === text) {
    for (const [name] of MAPS) refill(maps.get(name)!.map, versions[name], 1);
    return;
  }
  for (const [name, title] of MAPS)
    maps.set(name, { words: text, map: heatMap({ label: title, words, weights: versions[name], isCausal: true, largest: 1 }) });
  replace('maps', ...MAPS.map(([name]) => maps.get(name)!.map));
}

/** The held-out sentences before training, now, and in the controls once they are known. */
export function showTests(before: Evaluation, now: Evaluation, controls: { permuted: Evaluation; plain: number } | undefined): void {
  const cells = ({ accuracy, attention, lowestPlace, loss }: Evaluation) => [
    percent(accuracy),
    attention.toFixed(3),
    lowestPlace.toFixed(3),
    loss.toFixed(3),
  ];
  const rows: [string, string[]][] = [
    ['Before training', cells(before)],
    ['Now', cells(now)],
  ];
  if (controls) {
    rows.push(['Now, positions permuted', cells(controls.permuted)]);
    rows.push(['Without trainable weights', ['–', controls.plain.toFixed(3), '–', '–']]);
  }
  const body = rows.map(([name, values]) =>
    element('tr', {}, element('th', { scope: 'row' }, name), ...values.map((value) => element('td', { class: 'number' }, value))),
  );
  const table = element(
    'table',
    { class: 'tests' },
    headRow('', 'right word', 'attention to the place', 'to the place it finds least', 'loss'),
    element('tbody', {}, ...body),
  );
  replace('tests', scrolling(table, 'Held-out sentences'));
}

const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
const capital = (text: string) => text.slice(0, 1).toUpperCase() + text.slice(1);
