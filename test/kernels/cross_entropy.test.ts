import { expect, test } from 'vitest';
import { checkLayout } from '../../src/contract/tensor.ts';
import { crossEntropyDispatch } from '../../src/kernels/cross_entropy.ts';
import { crossEntropy as reference } from '../../src/reference/cross_entropy.ts';
import { chooseRowTiles } from '../../src/tiles/explicit.ts';
import { basicFacts } from '../../src/tiles/facts.ts';
import { onDevices, place, placeBytes } from '../rig/gpu.ts';
import { runKernel } from '../rig/kernel.ts';
import { type F32, HEAD, KEEP, MAIN, runShader } from '../rig/naive.ts';
import { random, randomArray } from '../rig/random.ts';
import { expectAsGoodAsNaive } from '../rig/tolerance.ts';

const NAIVE = `${HEAD}${MAIN}${KEEP}
  var largest = a[i * params.m];
  for (var c = 1u; c < params.m; c++) { largest = max(largest, a[i * params.m + c]); }
  var sum = 0.0;
  for (var c = 0u; c < params.m; c++) { sum += exp(a[i * params.m + c] - largest); }
  let right = u32(b[i]);
  extra[i] = select(0.0, log(sum) + largest - a[i * params.m + min(right, params.m - 1)], right < params.m);
  for (var c = 0u; c < params.m; c++) {
    let hot = select(0.0, 1.0, c == right);
    out[i * params.m + c] = select(0.0, (exp(a[i * params.m + c] - largest) / sum - hot) / params.scale, right < params.m);
  }
}`;

onDevices('cross_entropy', (attention) => {
  async function runCrossEntropy(
    logits: F32,
    targets: readonly number[],
    classes: number,
    divisor: number,
    variant: { LANES: number; ROWS: number },
  ) {
    const { device } = attention();
    const rows = targets.length;
    const losses = place(device, null, [rows], { offset: 256 + 4 });
    const gradient = place(device, null, [rows, classes], { offset: 512 + 12 });
    const tensors = {
      logits: placeBytes(device, logits, [rows, classes]),
      targets: placeBytes(device, targets, [rows], { dtype: 'u32' }),
      losses: losses.tensor,
      gradient: gradient.tensor,
    };
    const layout = (name: keyof typeof tensors) => checkLayout(name, tensors[name], 'input');
    const layouts = { logits: layout('logits'), targets: layout('targets'), losses: layout('losses'), gradient: layout('gradient') };
    await runKernel(attention(), crossEntropyDispatch({ ...layouts, divisor }, variant, 256), tensors);
    return { losses: await losses.read(), gradient: await gradient.read() };
  }

  test('2×2 by hand', async () => {
    // softmax(0, ln 3) = 1/4, 3/4: the loss of class 0 is ln 4, its gradient (−3/4, 3/4) / 2. The second row does not count.
    const { losses, gradient } = await runCrossEntropy(Float32Array.of(0, Math.log(3), 5, 1), [0, 2], 2, 2, { LANES: 4, ROWS: 16 });
    for (const [i, expected] of [Math.log(4), 0].entries()) expect(losses[i]).toBeCloseTo(expected, 6);
    for (const [i, expected] of [-0.375, 0.375, 0, 0].entries()) expect(gradient[i]).toBeCloseTo(expected, 6);
  });

  test('logits of hundreds neither overflow nor vanish', async () => {
    const { losses, gradient } = await runCrossEntropy(Float32Array.of(500, -500, 499), [1], 3, 1, { LANES: 4, ROWS: 16 });
    expect(losses[0]).toBeCloseTo(1000 + Math.log(1 + Math.exp(-1)), 3);
    const share = 1 / (1 + Math.exp(-1));
    for (const [i, expected] of [share, -1, 1 - share].entries()) expect(gradient[i]).toBeCloseTo(expected, 6);
  });

  test('without a gradient only the losses are written', async () => {
    const { device } = attention();
    const losses = place(device, null, [1]);
    const logits = placeBytes(device, [0, 0], [1, 2]);
    const targets = placeBytes(device, [1], [1], { dtype: 'u32' });
    const layouts = {
      logits: checkLayout('logits', logits, 'input'),
      targets: checkLayout('targets', targets, 'input'),
      losses: checkLayout('losses', losses.tensor, 'input'),
    };
    const { variant } = chooseRowTiles(2, basicFacts(device));
    const dispatch = crossEntropyDispatch({ ...layouts, gradient: undefined, divisor: 1 }, variant, 256);
    await runKernel(attention(), dispatch, { logits, targets, losses: losses.tensor });
    expect((await losses.read())[0]).toBeCloseTo(Math.log(2), 6);
  });

  test.each([
    { LANES: 4, ROWS: 16 },
    { LANES: 64, ROWS: 1 },
  ])('$LANES lanes, $ROWS rows a workgroup', async (variant) => {
    for (const classes of [1, variant.LANES - 1, variant.LANES + 1, 57]) {
      const rows = variant.ROWS + 3;
      const next = random(classes);
      const targets = Array.from({ length: rows }, () => Math.floor(next() * (classes + 1)));
      const logits = randomArray(classes, rows * classes, 20);
      const expected = reference(logits, targets, classes, 3);
      const sizes = { m: classes, scale: 3, count: rows };
      const naive = await runShader(
        attention().device,
        NAIVE,
        sizes,
        [logits, Float32Array.from(targets), new Float32Array(1)],
        rows * classes,
        rows,
      );
      const got = await runCrossEntropy(logits, targets, classes, 3, variant);
      expectAsGoodAsNaive(`losses, ${classes} classes`, got.losses, expected.losses, naive.extra, 20 * 2 ** -23);
      expectAsGoodAsNaive(`gradient, ${classes} classes`, got.gradient, expected.gradient, naive.out);
    }
  });
});
