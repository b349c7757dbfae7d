/** Where contestants perform: a page for each of them in a browser, one process in Node. */
import { measureRoofline } from '../benchmark/roofline.ts';
import type { Contestant } from './contestants.ts';
import type { Load, Player } from './player.ts';
import { inputsOf, type NamedWork, pickRows } from './works.ts';

export interface Ready {
  readonly first: number; // milliseconds of the first call, compilation included
  readonly answer: readonly (number | null)[]; // the rows asked for, [H,rows,D]; null for what is no finite number
  readonly how: string;
}

const players = new Map<string, Player>();
const enterers = {
  ours: () => import('./ours.ts'),
  jax: () => import('./jax.ts'),
  tfjs: () => import('./tfjs.ts'),
  onnxruntime: () => import('./onnxruntime.ts'),
};

/** What the browser calls its adapter. */
export async function adapter(): Promise<string> {
  const info = (await navigator.gpu.requestAdapter())?.info;
  return [info?.vendor, info?.architecture, info?.description].filter(Boolean).join(' ') || 'an adapter without a name';
}

/** Multiply-adds that the adapter can do, in GFLOP/s. */
export async function peak(): Promise<number> {
  const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
  const { gflops } = await measureRoofline(device, (promise) => promise);
  device.destroy();
  return gflops;
}

/** @throws Error when the contestant fails, or leaves the GPU out */
export async function prepare(
  contestant: Contestant,
  work: NamedWork,
  rows: readonly number[],
  base: string,
  load: Load = (address) => import(/* @vite-ignore */ address),
): Promise<Ready> {
  const { enter } = await enterers[contestant.module]();
  const player = await enter({ work, inputs: inputsOf(work), variant: contestant.variant, base, load });
  const dispatches = countDispatches();
  const start = performance.now();
  await player.start();
  await player.run(1);
  const first = performance.now() - start;
  if (contestant.isGpu && dispatches() === 0) throw new Error('it gave the GPU nothing to do');
  const answer = Array.from(pickRows(await player.read(), rows, work), (value) => (Number.isFinite(value) ? value : null));
  players.set(contestant.name, player);
  return { first, answer, how: player.how() };
}

/** Milliseconds a call. */
export async function sample(name: string, calls: number): Promise<number> {
  const start = performance.now();
  await players.get(name)!.run(calls);
  return (performance.now() - start) / calls;
}

/** Watches dispatches until it is asked for their number: a runtime may fall back to the CPU without a word. */
function countDispatches(): () => number {
  let count = 0;
  const encoder = GPUComputePassEncoder.prototype;
  const { dispatchWorkgroups, dispatchWorkgroupsIndirect } = encoder;
  encoder.dispatchWorkgroups = function (...args) {
    count++;
    return dispatchWorkgroups.apply(this, args);
  };
  encoder.dispatchWorkgroupsIndirect = function (...args) {
    count++;
    return dispatchWorkgroupsIndirect.apply(this, args);
  };
  return () => {
    Object.assign(encoder, { dispatchWorkgroups, dispatchWorkgroupsIndirect });
    return count;
  };
}
