/** The training page: one experiment at a time, its controls, and what it shows while it learns. */
import type { Attention } from '../../src/index.ts';
import { describeAdapter, NO_WEBGPU, startAttention } from '../engine.ts';
import { byId, element, replace, say } from '../ui/dom.ts';
import { largestDifference, trainOnCpu } from './cpu.ts';
import { type Choice, PAGE_SENTENCE } from './data.ts';
import { type Evaluation, Experiment } from './experiment.ts';
import { STEPS } from './model.ts';
import type { LossPlot } from './plot.ts';
import { drawComposer, showLook, showTests } from './view.ts';

const DRAW_MS = 150; // between two drawings while it trains
const EVALUATE_STEPS = 50;

let attention: Attention | undefined;
let training: Training | undefined;
let choice: Choice = PAGE_SENTENCE;
let isPlaying = false;
/** What was asked for last runs after what was asked for before it. */
let queue: Promise<void> = Promise.resolve();
let waiting = 0; // what was asked for and is not done

/** An experiment and what the page remembers of it. */
class Training {
  readonly losses: number[] = [];
  readonly rates: number[] = []; // of each step
  readonly comparison = new AbortController();
  private untrained: { readonly choice: Choice; readonly weights: number[][] } | undefined;
  before: Evaluation | undefined;
  now: Evaluation | undefined;
  controls: { permuted: Evaluation; plain: number } | undefined;

  constructor(
    readonly experiment: Experiment,
    private readonly start: Experiment, // the same seed, which is never trained
  ) {}

  async step(): Promise<void> {
    const rate = Number(byId<HTMLSelectElement>('rate').value);
    this.rates.push(rate);
    this.losses.push(await this.experiment.train(rate));
    this.controls = undefined;
  }

  async look(): Promise<void> {
    const trained = await this.experiment.look(choice);
    if (this.untrained?.choice !== choice) this.untrained = { choice, weights: (await this.start.look(choice)).weights };
    const plain = await this.experiment.lookWithoutWeights(choice, 1);
    showLook({ trained, untrained: this.untrained.weights, plain });
  }

  async evaluate(): Promise<void> {
    this.now = await this.experiment.evaluate();
    this.before ??= this.now;
    showTests(this.before, this.now, this.controls);
  }

  /** What takes longer, once the training rests. */
  async control(): Promise<void> {
    await this.evaluate();
    if (this.experiment.step === 0) return;
    this.controls = { permuted: await this.experiment.evaluatePermuted(), plain: await this.experiment.withoutWeights(1) };
    showTests(this.before!, this.now!, this.controls);
  }

  destroy(): void {
    this.comparison.abort(new Error('The training was reset.'));
    this.experiment.destroy();
    this.start.destroy();
  }
}

/** Runs after everything that was asked for before; a failure is shown, and ends the playing. */
function enqueue(act: () => Promise<void>): Promise<void> {
  waiting++;
  queue = queue
    .then(act)
    .catch(fail)
    .finally(() => {
      waiting--;
    });
  return queue;
}

function fail(error: Error): void {
  const isMissing = (error as { code?: unknown }).code === 'no-webgpu' && !navigator.gpu;
  replace('problem-text', isMissing ? `${NO_WEBGPU} So there is nothing to train on.` : `The GPU cannot be used. ${error.message}`);
  byId('problem').hidden = false;
  replace('engine', 'Not training.');
  end();
  setControls();
}

/** Gives everything on the GPU back. */
function end(): void {
  isPlaying = false;
  training?.destroy();
  training = undefined;
  attention?.destroy();
  attention = undefined;
}

function start(): Promise<void> {
  byId('problem').hidden = true;
  replace('engine', 'Starting the GPU …');
  return enqueue(async () => {
    end();
    const made = await startAttention();
    attention = made;
    void made.lost.then(({ message }) => {
      if (attention === made) fail(new Error(message || 'the device was lost'));
    });
    await begin();
    replace('engine', 'Trained on your GPU: ', element('strong', {}, describeAdapter(made.device)), '.');
  });
}

/** A new experiment of the seed that the field has. */
async function begin(): Promise<void> {
  if (!attention) return;
  training?.destroy();
  training = undefined;
  const seed = byId<HTMLInputElement>('seed').valueAsNumber;
  training = new Training(await Experiment.create(attention, seed), await Experiment.create(attention, seed));
  replace('status', '');
  replace('compare-text', '');
  await draw(training);
  await training.control();
  drawn();
}

async function draw(drawing: Training): Promise<void> {
  showProgress(drawing);
  plot?.show(drawing.losses);
  await drawing.look();
}

function drawn(): void {
  setControls();
  const { dataset } = document.documentElement;
  dataset.drawn = String(Number(dataset.drawn ?? 0) + 1);
}

function showProgress({ experiment, losses }: Training): void {
  byId<HTMLProgressElement>('progress').value = experiment.step;
  const loss = losses.length > 0 ? ` Loss ${losses.at(-1)!.toFixed(4)}.` : '';
  replace('progress-text', `Step ${experiment.step} of ${STEPS}, ${experiment.dispatches} dispatches each.${loss}`);
}

let plot: LossPlot | undefined;

/** Draws the axes anew, as wide as the page has room and in the theme's colours. The first time it loads the library of plots. */
async function drawPlot(): Promise<void> {
  const { lossPlot } = await import('./plot.ts'); // apart from the page's own script, which the controls wait for
  const ink = getComputedStyle(document.body).color;
  const accent = getComputedStyle(document.querySelector('a[href]')!).color;
  plot = lossPlot({ width: byId('plot').clientWidth, accent, ink });
  plot.show(training?.losses ?? []);
  replace('plot', plot.svg);
}

/** Trains until the end, or until it is paused. */
async function play(): Promise<void> {
  const played = training;
  if (!played) return;
  const begun = performance.now();
  const first = played.experiment.step;
  let trained = 0; // milliseconds
  let last = 0;
  while (isPlaying && training === played && played.experiment.step < STEPS) {
    const before = performance.now();
    await played.step();
    trained += performance.now() - before;
    if (played.experiment.step % EVALUATE_STEPS === 0) await played.evaluate();
    if (performance.now() - last < DRAW_MS) continue;
    await draw(played);
    last = performance.now();
    await new Promise(requestAnimationFrame); // the page is painted, and hears of clicks
  }
  if (training !== played) return;
  isPlaying = false;
  setControls();
  if (waiting > 1) return; // such as a reset
  await draw(played);
  await played.control();
  const steps = played.experiment.step - first;
  const rate =
    steps > 0
      ? `${(1000 / (trained / steps)).toFixed(0)} steps a second on this GPU, ${((performance.now() - begun) / 1000).toFixed(1)} s in all with what is shown.`
      : '';
  say('status', `${played.experiment.step >= STEPS ? 'Trained' : 'Paused'} at step ${played.experiment.step}. ${rate}`);
  drawn();
}

function setControls(): void {
  const isDone = (training?.experiment.step ?? 0) >= STEPS;
  const button = byId('play');
  const label = isPlaying ? 'Pause' : (training?.experiment.step ?? 0) > 0 ? 'Go on' : 'Train';
  if (button.textContent !== label) button.textContent = label;
  const set = (id: string, isOff: boolean) => byId(id).setAttribute('aria-disabled', String(isOff));
  set('play', !training || isDone);
  set('step', !training || isDone || isPlaying);
  set('compare', !training || isPlaying || training.losses.length === 0 || isComparing);
  set('reset', !training);
}

let isComparing = false;

async function compare(): Promise<void> {
  const compared = training;
  if (!compared || isComparing) return;
  isComparing = true;
  setControls();
  try {
    const parameters = await compared.experiment.parameters();
    const steps = compared.rates.length;
    const onStep = (done: number) => replace('compare-text', `Step ${done} of ${steps} on the CPU …`);
    onStep(0);
    const cpu = await trainOnCpu({ seed: compared.experiment.seed, rates: [...compared.rates] }, compared.comparison.signal, onStep);
    const difference = largestDifference(parameters, cpu.parameters);
    const count = Object.values(parameters).reduce((sum, { data }) => sum + data.length, 0);
    const rate = `${(1000 / cpu.stepMs).toFixed(0)} steps a second on the CPU.`;
    say(
      'compare-text',
      `After ${steps} step${steps === 1 ? '' : 's'} the largest difference of ${count.toLocaleString('en')} parameters is ${difference.toExponential(1)}. ${rate}`,
    );
  } catch (error) {
    if (training === compared) say('compare-text', (error as Error).message);
  } finally {
    isComparing = false;
    setControls();
  }
}

/** A button that keeps its focus while it cannot be used. */
function onPress(id: string, act: () => void): void {
  byId(id).addEventListener('click', () => {
    if (byId(id).ariaDisabled !== 'true') act();
  });
}

function connect(): void {
  onPress('play', () => {
    isPlaying = !isPlaying;
    setControls();
    if (isPlaying) void enqueue(play);
  });
  onPress(
    'step',
    () =>
      void enqueue(async () => {
        const stepped = training;
        if (!stepped || stepped.experiment.step >= STEPS) return;
        await stepped.step();
        await draw(stepped);
        await stepped.evaluate();
        drawn();
      }),
  );
  const reset = () => {
    if (!byId<HTMLInputElement>('seed').reportValidity()) return;
    isPlaying = false;
    void enqueue(begin);
  };
  onPress('reset', reset);
  byId('seed').addEventListener('change', reset);
  onPress('compare', () => void compare());
  byId('retry').addEventListener('click', () => {
    byId('engine').focus(); // the button is about to go
    void start();
  });
  drawComposer(choice, (chosen) => {
    choice = chosen;
    // A training that plays draws soon enough.
    if (!isPlaying)
      void enqueue(async () => {
        await training?.look();
        drawn();
      });
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => void drawPlot());
  let drawnWidth = innerWidth;
  addEventListener('resize', () => {
    if (innerWidth !== drawnWidth) void drawPlot(); // a phone's address bar changes the height alone
    drawnWidth = innerWidth;
  });
  addEventListener('pagehide', end);
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) void start();
  });
}

setControls();
connect();
await Promise.all([drawPlot(), start()]);
