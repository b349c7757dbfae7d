/** The walk: reads the address, starts an engine, and redraws what a choice changes. */
import { cpuEngine, type Engine, gpuEngine, NO_WEBGPU } from '../engine.ts';
import { byId, element, replace } from '../ui/dom.ts';
import { TWO_HEADS, WEIGHTS, type WeightsName, weightOptions } from '../weights.ts';
import { EXAMPLE, wordsOf } from '../words.ts';
import { showFactor, showWays } from './normalise.ts';
import { MOST_WORDS, readState, type State, withSentence, writeState } from './state.ts';
import { showAll, showArithmetic, showContext, showScores, showTrained, showVectors } from './steps.ts';
import { showTimes } from './times.ts';

let state = readState(location.search);
let engine: Engine = cpuEngine;
/** What a choice made out of date: everything, or the step on normalising alone. */
let stale: 'all' | 'ways' | undefined;
let drawing: Promise<void> | undefined;

/** Marks a part as out of date and draws until nothing is: one drawing at a time, always of the latest choices. */
function draw(what: 'all' | 'ways' = 'all'): Promise<void> {
  if (stale !== 'all') stale = what;
  keepAddress();
  drawing ??= drawStale().finally(() => {
    drawing = undefined;
  });
  return drawing;
}

async function drawStale(): Promise<void> {
  for (let drawn = 1; stale; drawn++) {
    const what = stale;
    const on = engine;
    stale = undefined;
    try {
      if (what === 'all') await drawAll(state, on);
      await showWays(state, on);
    } catch (error) {
      if (on === cpuEngine) throw error;
      useCpu(on, (error as Error).message);
    }
    document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn ?? 0) + drawn);
  }
}

async function drawAll(drawn: State, on: Engine): Promise<void> {
  const inputs = drawn.words.map(({ vector }) => vector);
  const { isCausal } = drawn;
  const simple = await on.attend(inputs);
  const trained = await on.attend(inputs, weightOptions(drawn.weights));
  const masked = await on.attend(inputs, { ...weightOptions(drawn.weights), isCausal });
  const heads = await on.attend(inputs, { ...TWO_HEADS, isCausal });
  showVectors(drawn);
  showScores(drawn, simple);
  showArithmetic(drawn, simple);
  showContext(drawn, simple);
  showAll(drawn, simple);
  showTrained(drawn, trained, masked, heads);
}

let addressTimer: ReturnType<typeof setTimeout> | undefined;
/** Puts the choices into the address, a moment after the last of them: browsers limit how often that may happen. */
function keepAddress(): void {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => history.replaceState(null, '', `${location.pathname}${writeState(state)}${location.hash}`), 200);
}

/** Starts the GPU; without one the walk goes on with the CPU reference. */
async function start(): Promise<void> {
  byId('problem').hidden = true;
  replace('engine', 'Starting the GPU …');
  let started: Engine | undefined;
  try {
    started = await gpuEngine((reason) => {
      if (started) useCpu(started, reason);
    });
    engine = started;
    replace('engine', 'Computed on your GPU: ', element('strong', {}, engine.name), '.');
  } catch (error) {
    useCpu(engine, (error as Error).message);
  }
  await draw();
  await measure();
}

/** Goes on without a GPU that failed. */
function useCpu(failed: Engine, reason: string): void {
  if (engine !== failed) return; // another took its place already
  failed.attention?.destroy();
  engine = cpuEngine;
  const why = 'gpu' in navigator && navigator.gpu ? `The GPU cannot be used: ${reason}` : NO_WEBGPU;
  replace('problem-text', `${why} The numbers come from the CPU reference instead.`);
  byId('problem').hidden = false;
  replace('engine', 'Computed by ', element('strong', {}, engine.name), '.');
  void draw();
}

let measuring = 0; // the latest measurement: an older one that comes late is dropped

async function measure(): Promise<void> {
  const mine = ++measuring;
  const button = byId('measure');
  button.setAttribute('aria-disabled', 'true');
  try {
    await showTimes(state, engine, () => mine === measuring);
  } catch (error) {
    if (mine === measuring) replace('times-note', `Could not be measured: ${(error as Error).message}`);
  }
  if (mine === measuring) button.setAttribute('aria-disabled', 'false');
}

/** Radio buttons that keep their focus while the page is redrawn. */
function choices(id: string, name: string, options: readonly string[], selected: number, choose: (index: number) => void): void {
  const labels = options.map((text, i) => {
    const input = element('input', { type: 'radio', name, value: i, checked: i === selected });
    input.addEventListener('change', () => choose(i));
    return element('label', {}, input, text);
  });
  replace(id, ...labels);
}

function change(part: Partial<State>, what: 'all' | 'ways' = 'all'): void {
  state = { ...state, ...part };
  void draw(what);
}

/** Controls whose options depend on the sentence. */
function drawControls(): void {
  const texts = state.words.map(({ text }) => text);
  choices('query-choices', 'query', texts, state.query, (query) => change({ query }));
  choices('key-choices', 'key', texts, state.key, (key) => change({ key }));
  byId<HTMLInputElement>('sentence').value = state.sentence;
}

function useSentence(sentence: string): void {
  const next = withSentence(state, sentence);
  replace('sentence-note', note(next));
  if (!next) return;
  state = next;
  drawControls();
  void draw().then(measure);
}

function note(next: State | null): string {
  if (!next) return 'A sentence needs at least one word.';
  return wordsOf(next.sentence).length > MOST_WORDS
    ? `The first ${MOST_WORDS} words are shown.`
    : `${next.words.length} word${next.words.length === 1 ? '' : 's'}.`;
}

function connect(): void {
  const scale = byId<HTMLInputElement>('scale');
  scale.value = String(state.scale);
  showFactor(state.scale);
  scale.addEventListener('input', () => {
    showFactor(Number(scale.value));
    change({ scale: Number(scale.value) }, 'ways');
  });
  const causal = byId<HTMLInputElement>('causal');
  causal.checked = state.isCausal;
  causal.addEventListener('change', () => change({ isCausal: causal.checked }));
  const cpu = byId<HTMLInputElement>('show-cpu');
  cpu.checked = state.showCpu;
  const showCpu = () => document.body.classList.toggle('with-cpu', cpu.checked);
  showCpu();
  cpu.addEventListener('change', () => {
    showCpu();
    change({ showCpu: cpu.checked });
  });
  const sets = Object.keys(WEIGHTS) as WeightsName[];
  const explain = () => replace('weights-note', WEIGHTS[state.weights].note);
  const labels = sets.map((name) => WEIGHTS[name].label);
  choices('weights-choices', 'weights', labels, sets.indexOf(state.weights), (index) => {
    change({ weights: sets[index]! });
    explain();
  });
  explain();
  byId('sentence-form').addEventListener('submit', (event) => {
    event.preventDefault();
    useSentence(byId<HTMLInputElement>('sentence').value);
  });
  byId('example').addEventListener('click', () => useSentence(EXAMPLE));
  byId('retry').addEventListener('click', () => {
    byId('engine').focus(); // the button is about to go
    void start();
  });
  byId('measure').addEventListener('click', () => {
    if (byId('measure').ariaDisabled !== 'true') void measure();
  });
}

connect();
drawControls();
replace('sentence-note', note(state));
await start();
