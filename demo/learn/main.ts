/** The walk: reads the address, starts an engine, and redraws what a choice changes. */
import { cpuEngine, type Engine, gpuEngine } from '../engine.ts';
import { byId, element, replace } from '../ui/dom.ts';
import { TWO_HEADS, WEIGHTS, type WeightsName, weightOptions } from '../weights.ts';
import { EXAMPLE } from '../words.ts';
import { showWays } from './normalise.ts';
import { MOST_WORDS, readState, type State, withSentence, writeState } from './state.ts';
import { showAll, showArithmetic, showContext, showScores, showTrained, showVectors } from './steps.ts';
import { showTimes } from './times.ts';

let state = readState(location.search);
let engine: Engine = cpuEngine;
let drawing = 0; // the latest drawing: an older one that comes late is dropped

/** Draws everything, or what depends on the embeddings' length alone. */
async function draw(what: 'all' | 'ways' = 'all'): Promise<void> {
  history.replaceState(null, '', `${location.pathname}${writeState(state)}`);
  const mine = ++drawing;
  const isCurrent = () => mine === drawing;
  const drawn = state;
  try {
    if (what === 'all') {
      const inputs = drawn.words.map(({ vector }) => vector);
      const simple = await engine.attend(inputs);
      const { isCausal } = drawn;
      const trained = await engine.attend(inputs, weightOptions(drawn.weights));
      const masked = await engine.attend(inputs, { ...weightOptions(drawn.weights), isCausal });
      const heads = await engine.attend(inputs, { ...TWO_HEADS, isCausal });
      if (!isCurrent()) return;
      showVectors(drawn);
      showScores(drawn, simple);
      showArithmetic(drawn, simple);
      showContext(drawn, simple);
      showAll(drawn, simple);
      showTrained(drawn, trained, masked, heads);
    }
    await showWays(drawn, engine, isCurrent);
    document.documentElement.dataset.drawn = String(mine);
  } catch (error) {
    if (engine.attention) await fallBack((error as Error).message);
    else throw error;
  }
}

/** Starts the GPU; without one the walk goes on with the CPU reference. */
async function start(): Promise<void> {
  byId('problem').hidden = true;
  replace('engine', 'Starting the GPU …');
  try {
    const started = await gpuEngine((reason) => {
      if (engine === started) void fallBack(reason);
    });
    engine = started;
    replace('engine', 'Computed on your GPU: ', element('strong', {}, engine.name), '.');
    await draw();
  } catch (error) {
    await fallBack((error as Error).message);
  }
  await measure();
}

async function fallBack(reason: string): Promise<void> {
  engine.attention?.destroy();
  engine = cpuEngine;
  const hasWebGpu = 'gpu' in navigator && navigator.gpu !== undefined;
  const missing =
    'This browser has no WebGPU, so the numbers come from the CPU reference instead. Chrome and Edge have it from version 113, Safari from 26, Firefox from 141 on Windows and 145 on macOS with Apple chips.';
  const failed = `The GPU cannot be used, so the numbers come from the CPU reference instead. The reason: ${reason}`;
  replace('problem-text', hasWebGpu ? failed : missing);
  byId('problem').hidden = false;
  replace('engine', 'Computed by ', element('strong', {}, engine.name), '.');
  await draw();
}

async function measure(): Promise<void> {
  const button = byId<HTMLButtonElement>('measure');
  const measured = engine;
  button.disabled = true;
  try {
    await showTimes(state, measured, () => engine === measured);
  } catch (error) {
    replace('times-note', `Could not be measured: ${(error as Error).message}`);
  } finally {
    button.disabled = false;
  }
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
  void draw();
}

function note(next: State | null): string {
  if (!next) return 'A sentence needs at least one word.';
  return next.words.length === MOST_WORDS
    ? `The first ${MOST_WORDS} words are shown.`
    : `${next.words.length} word${next.words.length === 1 ? '' : 's'}.`;
}

function connect(): void {
  const scale = byId<HTMLInputElement>('scale');
  scale.value = String(state.scale);
  scale.addEventListener('input', () => change({ scale: Number(scale.value) }, 'ways'));
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
  byId('retry').addEventListener('click', () => void start());
  byId('measure').addEventListener('click', () => void measure());
}

connect();
drawControls();
replace('sentence-note', note(state));
await start();
