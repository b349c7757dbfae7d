/** What the cases of bad input are made of: tensors on one device, and some that may not be used there. */
import { afterAll, beforeAll, expect } from 'vitest';
import { type Attention, type AttentionErrorCode, type AttentionPlan, createAttention, type GpuTensor } from '../../src/index.ts';
import { requestDefaultDevice, sharedAttention } from '../rig/gpu.ts';

export let attention: Attention;
export let other: Attention;
export let device: GPUDevice;
export let foreignDevice: GPUDevice;
export let q: GpuTensor; // [2,4,3,5]
export let k: GpuTensor; // [2,2,6,5]
export let v: GpuTensor; // [2,2,6,7]
export let released: GpuTensor;
export let theirs: GpuTensor;
export let plan: AttentionPlan;
const uncaptured: string[] = [];
const listener = ({ error }: GPUUncapturedErrorEvent) => uncaptured.push(error.message);

const zeros = (on: Attention, ...shape: number[]) => on.upload(new Float32Array(shape.reduce((a, b) => a * b)), shape);
export const raw = (size: number, usage: number, on = device): GPUBuffer => on.createBuffer({ size, usage });
export const layout = (...shape: number[]) => ({ shape, dtype: 'f32' as const });

/** Declares what the cases of a file are made of, and that they leave no uncaptured device error. */
export function useTensors(): void {
  beforeAll(async () => {
    uncaptured.length = 0; // files share a page, and this module
    device = (await sharedAttention('default device')).device;
    foreignDevice = await requestDefaultDevice();
    for (const each of [device, foreignDevice]) each.addEventListener('uncapturederror', listener);
    attention = await createAttention({ device });
    other = await createAttention({ device });
    q = zeros(attention, 2, 4, 3, 5);
    k = zeros(attention, 2, 2, 6, 5);
    v = zeros(attention, 2, 2, 6, 7);
    theirs = zeros(other, 2, 2, 6, 5);
    released = zeros(attention, 2, 2, 6, 5);
    attention.release(released);
    plan = await attention.plan({ q, k, v, returnLse: true, algorithm: 'explicit' });
  });

  afterAll(async () => {
    await device.queue.onSubmittedWorkDone();
    device.removeEventListener('uncapturederror', listener);
    for (const each of [attention, other]) each.destroy();
    foreignDevice.destroy();
    expect(uncaptured).toEqual([]);
  });
}

export type Case = [what: string, code: AttentionErrorCode, quoted: string, call: () => unknown];
export const sdpa = (a: unknown, b: unknown, c: unknown, options?: object) =>
  attention.scaledDotProductAttention(a as GpuTensor, b as GpuTensor, c as GpuTensor, options);
/** Expects what a case says of its call's error. */
export const expectAttentionError = ([, code, quoted, call]: Case) =>
  expect(async () => call()).rejects.toThrow(
    expect.objectContaining({ name: 'AttentionError', code, message: expect.stringContaining(quoted) }),
  );
