/** The peers' contest with @jax-js/jax, in one process on the same inputs: a submission a call, timed until the queue is done. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { enter as enterJax } from '../../../demo/peers/jax.ts';
import { enter as enterOurs } from '../../../demo/peers/ours.ts';
import type { Load, Player } from '../../../demo/peers/player.ts';
import { answerTo, type Inputs, inputsOf, type NamedWork, pickRows } from '../../../demo/peers/works.ts';
import { relativeError } from './answers.ts';
import { HOME, openGpu } from './dawn.ts';
import { emit, isTiny, messageOf, section } from './say.ts';

const heads = isTiny ? 2 : 16;
const decoding = { queries: 1, heads: 32, keyHeads: 8 };
const work = (length: number, rest: Partial<NamedWork> = {}): NamedWork => ({
  ...{ set: '', pass: 'forward', length, queries: length, heads, keyHeads: heads, headSize: 64, isCausal: false },
  ...rest,
});
const WORKS = isTiny
  ? [work(64), work(64, { pass: 'both' })]
  : [
      work(1024),
      work(4096, decoding),
      work(2048),
      work(1024, { headSize: 128 }),
      work(1024, { pass: 'both' }),
      work(1024, { isCausal: true }),
      work(32768, { ...decoding, headSize: 128 }),
      work(512),
      work(4096),
    ];

const CONTESTANTS = [
  { contestant: 'fused', enter: enterOurs, variant: 'fused' },
  { contestant: 'explicit', enter: enterOurs, variant: 'explicit' },
  { contestant: 'jax', enter: enterJax, variant: '' },
];
const SAMPLE_MS = isTiny ? 5 : 60;
const SAMPLES = isTiny ? 2 : 5;
const MOST_CALLS = 200;
const WITHIN = 1e-4;
/** The reference takes minutes beyond so many scores, and for gradients: the two answers are compared instead. */
const REFERENCE_SCORES = 4e6;

/** jax uses methods of iterators that browsers have, and Node from version 22 on. */
function suitJax(): void {
  const iterators = Object.getPrototypeOf(Object.getPrototypeOf([].values()));
  iterators.map ??= function* (this: Iterable<unknown>, change: (value: unknown) => unknown) {
    for (const item of this) yield change(item);
  };
  iterators.filter ??= function* (this: Iterable<unknown>, isKept: (value: unknown) => boolean) {
    for (const item of this) if (isKept(item)) yield item;
  };
}

/** Milliseconds a call, the median. */
async function time(player: Player): Promise<number> {
  const sample = async (calls: number) => {
    const start = performance.now();
    await player.run(calls);
    return (performance.now() - start) / calls;
  };
  await sample(1);
  const calls = Math.max(1, Math.min(MOST_CALLS, Math.ceil(SAMPLE_MS / (await sample(3)))));
  const samples: number[] = [];
  while (samples.length < SAMPLES) samples.push(await sample(calls));
  return samples.sort((a, b) => a - b)[SAMPLES >> 1]!;
}

const rowsOf = ({ pass, queries }: NamedWork): number[] =>
  pass === 'forward' ? [...new Set([0, Math.floor(queries / 2), queries - 1])] : [0, 1, queries - 1];

function labelOf(one: NamedWork) {
  const { pass, length: M, queries: N, heads: H, keyHeads: Hk, headSize: D, isCausal: causal } = one;
  return { pass, dtype: 'f32', H, Hk, N, M, D, causal };
}

/** What one contestant takes, and its answer. */
async function play({ enter, variant }: (typeof CONTESTANTS)[number], one: NamedWork, inputs: Inputs) {
  const load: Load = (address) => import(/* @vite-ignore */ address);
  const player = await enter({ work: one, inputs, variant, base: pathToFileURL(join(HOME, 'peers')).href, load });
  const start = performance.now();
  await player.start();
  await player.run(1);
  const first = performance.now() - start;
  const answer = pickRows(await player.read(), rowsOf(one), one);
  return { first, answer, ms: await time(player), how: player.how() };
}

async function contest(one: NamedWork): Promise<void> {
  const rows = rowsOf(one);
  const hasReference = one.pass === 'forward' && one.heads * one.length * rows.length < REFERENCE_SCORES;
  let expected = hasReference ? answerTo(one, rows) : undefined;
  const inputs = inputsOf(one);
  for (const contestant of CONTESTANTS) {
    if (contestant.variant === 'explicit' && one.pass !== 'forward') continue;
    const label = { contestant: contestant.contestant, ...labelOf(one) };
    try {
      const { answer, ...found } = await play(contestant, one, inputs);
      const error = expected && relativeError(answer, expected);
      expected ??= answer;
      const verdict = error === undefined ? {} : { error, isRight: error < WITHIN, against: hasReference ? 'f64' : 'ours' };
      emit('peer', { ...label, ...found, ...verdict });
    } catch (error) {
      emit('peer', { ...label, failed: messageOf(error) });
    }
  }
}

await section(async () => {
  await openGpu();
  suitJax();
  for (const one of WORKS) await contest(one);
});
