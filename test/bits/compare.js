/** In the page: the same random problems through two builds of the package, `/before/` and `/after/`, on one device. */

/** Numbers from 0 to 1: a linear congruential generator, the same in both builds. */
function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A random problem: sizes, data and options, from its number. */
function problemOf(number, seed) {
  const random = randomOf(seed * 1_000_003 + number * 7919);
  for (let i = 0; i < 8; i++) random();
  const pick = (...values) => values[Math.floor(random() * values.length)];
  const chance = (likelihood) => random() < likelihood;
  const array = (length, size = 1) => Float32Array.from({ length }, () => size * (2 * random() - 1));
  const [B, Hk, group] = [pick(1, 2), pick(1, 2), pick(1, 2, 4)];
  const [N, M] = [pick(1, 2, 5, 16, 17, 33, 64), pick(1, 3, 16, 31, 64, 65, 130)];
  const D = pick(4, 17, 64);
  const Dv = chance(0.7) ? D : 16;
  const H = Hk * group;
  const options = {
    ...(chance(0.5) && { isCausal: true, causalOffset: pick(0, 'lower-right', -2) }),
    ...(chance(0.2) && { window: [pick(1, 8, 40), pick(0, 3)] }),
    ...(chance(0.3) && { softcap: pick(0.5, 5, 50) }),
    ...(chance(0.2) && { dropout: { probability: 0.3, seed: 7 + number } }),
    ...(chance(0.1) && { scale: pick(-0.5, 2) }),
    returnLse: true,
  };
  const tensors = {
    ...(chance(0.3) && { keyLengths: { data: Uint32Array.from({ length: B }, () => Math.floor(random() * (M + 1))), shape: [B] } }),
    ...(chance(0.3) && { alibiSlopes: { data: array(H), shape: [H] } }),
    ...(chance(0.2) && { sinks: { data: array(H, 3), shape: [H] } }),
    ...(chance(0.3) && {
      mask: chance(0.5)
        ? { data: Uint8Array.from({ length: N * M }, () => Number(chance(0.8))), shape: [N, M] }
        : { data: array(M, 2), shape: [M] },
    }),
  };
  return {
    D,
    Dv,
    q: { data: array(B * H * N * D), shape: [B, H, N, D] },
    k: { data: array(B * Hk * M * D, 2), shape: [B, Hk, M, D] },
    v: { data: array(B * Hk * M * Dv), shape: [B, Hk, M, Dv] },
    gradient: { data: array(B * H * N * Dv), shape: [B, H, N, Dv] },
    options,
    tensors,
  };
}

const ROW = (D, Dv) => ({ ROWS: 2, D_BLOCKS: D <= 64 ? 4 : 8, DV_BLOCKS: Dv <= 64 ? 4 : 8 });
/** What forces each tier: names of kernels, and constants of theirs. */
const tiers = ({ D, Dv }) => [
  ['explicit', { algorithm: 'explicit', returnScores: 'weights' }],
  ['flash_forward', { algorithm: 'fused', variant: { flash_forward: { TILE_N: 16 } } }],
  ['flash_decode', { algorithm: 'fused', variant: { flash_decode: { SPLITS: 2, ROWS: 2 } } }],
  ['flash_forward_quad', { algorithm: 'fused', variant: { flash_forward_quad: { ROWS: 2 } } }],
  ['flash_forward_row', { algorithm: 'fused', variant: { flash_forward_row: ROW(D, Dv) } }],
];
const backwardTiers = ({ D, Dv }) => {
  const blocks = { ROWS: 1, D_BLOCKS: D <= 64 ? 4 : 8, DV_BLOCKS: Dv <= 64 ? 4 : 8 };
  const vecs = { ROWS: 2, D_VECS: D <= 64 ? 4 : 8, DV_VECS: Dv <= 64 ? 4 : 8 };
  return [
    ['baseline', { flash_backward_dq: { STEP: 16 }, flash_backward_dkv: { STEP: 16 } }],
    ['quad', { flash_backward_dq_quad: vecs, flash_backward_dkv_quad: vecs }],
    ['row', { flash_backward_dq_row: blocks, flash_backward_dkv_row: blocks }],
  ];
};
/** Options whose forced kernels have these flags too. @param isDotted whether the build takes `{ 'flash_decode.SPLITS': 2 }` */
function withFlags({ variant, ...options }, flags, isDotted) {
  if (!variant) return options;
  const flagged = Object.entries(variant).map(([kernel, constants]) => [kernel, { ...constants, ...flags[kernel] }]);
  const dotted = flagged.flatMap(([kernel, constants]) => Object.entries(constants).map(([name, value]) => [`${kernel}.${name}`, value]));
  return { ...options, variant: Object.fromEntries(isDotted ? dotted : flagged) };
}

/** The outputs of a problem by name: out, log-sum-exp, weights and gradients of every tier, or the error's message. */
async function outputsOf({ on, isDotted }, problem, flags) {
  const upload = ({ data, shape }) => on.upload(data, shape);
  const [q, k, v, gradient] = [problem.q, problem.k, problem.v, problem.gradient].map(upload);
  const given = Object.fromEntries(Object.entries(problem.tensors).map(([name, tensor]) => [name, upload(tensor)]));
  const made = [];
  const outputs = {};
  const keep = async (name, tensor) => {
    made.push(tensor);
    outputs[name] = (await on.download(tensor)).data;
  };
  let forward;
  for (const [tier, forced] of tiers(problem)) {
    const { out, lse, scores } = await on.scaledDotProductAttention(q, k, v, {
      ...problem.options,
      ...given,
      ...withFlags(forced, flags, isDotted),
    });
    await keep(`${tier} out`, out);
    await keep(`${tier} lse`, lse);
    if (scores) await keep(`${tier} weights`, scores);
    forward ??= { q, k, v, out, lse };
  }
  const { returnLse: _, ...options } = problem.options;
  const maskGradient = given.mask?.dtype === 'f32';
  for (const [tier, variant] of backwardTiers(problem)) {
    const gradients = await on.backward(gradient, forward, {
      ...options,
      ...given,
      ...(maskGradient && { maskGradient }),
      ...withFlags({ variant }, flags, isDotted),
    });
    for (const [name, tensor] of Object.entries(gradients)) await keep(`${tier} d${name}`, tensor);
  }
  on.release(q, k, v, gradient, ...Object.values(given), ...made);
  return outputs;
}

/** The first element whose bits differ; −1 where there is none. */
function firstDifferentBit(a, b) {
  const [x, y] = [a, b].map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
  if (x.length !== y.length) return 0;
  const at = x.findIndex((byte, i) => byte !== y[i]);
  return at < 0 ? -1 : Math.floor(at / a.BYTES_PER_ELEMENT);
}

let builds;
const kernels = new Set();

/** Loads both builds, on one device. @param isDotted whether the build before takes variants of dotted names */
export async function open(isDotted) {
  const [before, after] = await Promise.all(['before', 'after'].map((build) => import(`/${build}/index.js`)));
  const first = await before.createAttention();
  const create = first.device.createComputePipelineAsync.bind(first.device);
  first.device.createComputePipelineAsync = (descriptor) => {
    kernels.add(descriptor.label.split(' ')[0]);
    return create(descriptor);
  };
  builds = [
    { on: first, isDotted },
    { on: await after.createAttention({ device: first.device }), isDotted: false },
  ];
}

/**
 * One problem through both builds.
 * @param flags of each kernel those that may be true where the problem does not need them: three problems of four have them all, so that few pipelines are compiled
 * @returns how many outputs there were, what differed, and the kernels that have run so far
 */
export async function compareBuilds(number, seed, flags) {
  const problem = problemOf(number, seed);
  const general = number % 4 > 0 ? flags : {};
  const outputs = [];
  for (const build of builds) outputs.push(await outputsOf(build, problem, general));
  const [before, after] = outputs;
  const different = Object.entries(before).flatMap(([name, data]) => {
    const at = firstDifferentBit(data, after[name]);
    return at < 0 ? [] : [`${name}[${at}] is ${after[name][at]}, before ${data[at]}`];
  });
  return { compared: Object.keys(before).length, different, kernels: [...kernels].sort() };
}
