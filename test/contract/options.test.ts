/** Every option by a case worked by hand, and all of them together against the reference. */
import { describe, expect, test } from 'vitest';
import type { AttentionOptions } from '../../src/index.ts';
import { scaledDotProductAttention } from '../../src/reference/index.ts';
import { onDevices } from '../rig/gpu.ts';
import { attend, attendOne, everyWay, expectClose, LN3 } from '../rig/hand-worked.ts';
import { randomArray } from '../rig/random.ts';
import { LOWEST } from '../rig/tolerance.ts';

onDevices('options, scores', (attention) => {
  test('no options', async () => expectClose((await attendOne(attention())).out, [7]));

  test('the default scale is 1/√D', async () => {
    // D = 4: q·k = 0 and 2 ln 3, halved
    expectClose((await attend(attention(), [1, 1, 0, 0], [0, 0, 0, 0, LN3, LN3, 0, 0], [4, 8], [1, 2])).out, [7]);
  });

  test.each([
    [0, 6], // all weights equal
    [-1, 5], // weights 3/4 and 1/4
    [2, 7.6], // weights 1/10 and 9/10
  ])('scale %d gives %d', async (scale, out) => expectClose((await attendOne(attention(), { scale })).out, [out]));

  test('log-sum-exp is ln(1 + 3)', async () => expectClose((await attendOne(attention(), { returnLse: true })).lse, [Math.log(4)]));

  test('softcap', async () => {
    // cap ln 3, s = ln 3 · atanh(1/2): ln 3 · tanh(atanh(1/2)) = ln 3 / 2, so weights 1/(1+√3) and √3/(1+√3)
    const s = LN3 * Math.atanh(0.5);
    const { out, scores } = await attend(attention(), [1], [0, s], [0, 1], [1, 2], { softcap: LN3, returnScores: 'softcapped' });
    expectClose(scores, [0, LN3 / 2]);
    expectClose(out, [Math.sqrt(3) / (1 + Math.sqrt(3))]);
    expectClose((await attend(attention(), [1], [0, 1e4], [0, 1], [1, 2], { softcap: LN3 })).out, [0.75]); // tanh of a large argument is 1
  });

  test('ALiBi: −slope · distance', async () => {
    // scores 0 − ln 3 · distance: weights 3/4 and 1/4 for query 0, 1/4 and 3/4 for query 1
    const alibiSlopes = attention().upload([LN3], [1]);
    const { out, scores } = await attend(attention(), [0, 0], [1, 1], [4, 8], [2, 2], { alibiSlopes, returnScores: 'masked' });
    expectClose(scores, [0, -LN3, -LN3, 0]);
    expectClose(out, [5, 7]);
    expectClose((await attend(attention(), [0, 0], [1, 1], [4, 8], [2, 2], { alibiSlopes, causalOffset: 1 })).out, [7, 4 + 4 * (3 / 4)]); // distances 1 0, 2 1
    attention().release(alibiSlopes);
  });

  test('softcap comes before the mask', async () => {
    const mask = attention().upload([100, 0], [2]);
    const { scores } = await attendOne(attention(), { softcap: 1, mask, returnScores: 'masked' });
    expectClose(scores, [100, Math.tanh(LN3)]);
    attention().release(mask);
  });

  test('a sink takes its share and gives nothing', async () => {
    const on = attention();
    const sinks = on.upload([Math.log(4)], [1]); // weights 1/8, 3/8, and 4/8 for the sink
    const { out, scores, lse } = await attendOne(on, { sinks, returnScores: 'weights', returnLse: true });
    expectClose(scores, [1 / 8, 3 / 8]);
    expectClose(out, [3.5]);
    expectClose(lse, [Math.log(8)]);
    const mask = on.upload(Uint8Array.of(0, 0), [2]);
    const empty = await attendOne(on, { sinks, mask, returnLse: true });
    expectClose([...empty.out, ...empty.lse], [0, Math.log(4)]);
    const far = on.upload([1e4], [1]);
    expectClose((await attendOne(on, { sinks: far, returnLse: true })).lse, [1e4]);
    const slopes = on.upload([0], [1]);
    expectClose((await attendOne(on, { sinks, alibiSlopes: slopes })).out, [3.5]);
    on.release(sinks, mask, far, slopes);
  });
});

onDevices('options, positions', (attention) => {
  describe('isCausal with N = 2 queries, M = 5 keys: which keys a query sees', () => {
    // With q = 0 every key weighs the same, so out is the mean of the values 1, 2, 4, 8, 16 that are seen, times their number: their sum.
    test.each([
      [0, [1, 1.5]],
      [3, [15 / 4, 31 / 5]],
      ['lower-right', [15 / 4, 31 / 5]],
      [-1, [0, 1]],
      [-2, [0, 0]],
      [-1e15, [0, 0]],
      [1, [1.5, 7 / 3]],
      [1e15, [31 / 5, 31 / 5]],
    ] as const)('causalOffset %s', async (causalOffset, expected) => {
      const { out, lse, scores } = await attend(attention(), [0, 0], [1, 1, 1, 1, 1], [1, 2, 4, 8, 16], [2, 5], {
        ...{ isCausal: true, causalOffset, returnLse: true, returnScores: 'masked' },
      });
      expectClose(out, expected);
      const counts = [0, 1].map((n) => scores.slice(5 * n, 5 * n + 5).filter((score) => score !== LOWEST).length);
      expectClose(
        lse.map((value) => (value === LOWEST ? -1 : value)),
        counts.map((count) => (count === 0 ? -1 : Math.log(count))),
      );
    });

    test('causalOffset without isCausal has no effect', async () =>
      expectClose((await attend(attention(), [0, 0], [1, 1], [2, 4], [2, 2], { causalOffset: -5 })).out, [3, 3]));
  });

  test("'lower-right' counts from the end of the keys that exist", async () => {
    // 3 of 5 keys exist, 2 queries: offset 1; they see keys 0, 1 and keys 0, 1, 2
    const keyLengths = attention().upload(Uint32Array.of(3), [1]);
    const { out } = await attend(attention(), [0, 0], [1, 1, 1, 1, 1], [1, 2, 4, 8, 16], [2, 5], {
      isCausal: true,
      causalOffset: 'lower-right',
      keyLengths,
    });
    expectClose(out, [1.5, 7 / 3]);
    attention().release(keyLengths);
  });
});

onDevices('options, windows', (attention) => {
  test.each([
    [
      [0, 0],
      [1, 2, 4],
    ],
    [
      [1, 0],
      [1, 1.5, 3],
    ],
    [
      [0, 1],
      [1.5, 3, 4],
    ],
    [
      [1, Infinity],
      [7 / 3, 7 / 3, 3],
    ],
    [
      [Infinity, Infinity],
      [7 / 3, 7 / 3, 7 / 3],
    ],
  ] as const)('window %j: the mean of the values seen of 1, 2, 4', async (window, expected) => {
    expectClose((await attend(attention(), [0, 0, 0], [1, 1, 1], [1, 2, 4], [3, 3], { window })).out, expected);
  });

  test('window and causal intersect, and move with causalOffset', async () => {
    expectClose((await attend(attention(), [0, 0, 0], [1, 1, 1], [1, 2, 4], [3, 3], { window: [1, 5], isCausal: true })).out, [1, 1.5, 3]);
    expectClose((await attend(attention(), [0, 0, 0], [1, 1, 1], [1, 2, 4], [3, 3], { window: [0, 0], causalOffset: 1 })).out, [2, 4, 0]);
    expectClose(
      (await attend(attention(), [0, 0], [1, 1, 1], [1, 2, 4], [2, 3], { window: [0, 0], causalOffset: 'lower-right' })).out,
      [2, 4],
    );
  });

  test.each([
    [4e8, [3e8, Infinity], [0, 0]],
    [4e8, [4e8, Infinity], [7 / 3, 3]],
    [4e8, [4e8 + 1, 0], [7 / 3, 7 / 3]],
    [-4e8, [Infinity, 3e8], [0, 0]],
    [-4e8, [Infinity, 4e8 + 1], [1.5, 7 / 3]],
    [2 ** 40, [2 ** 40 - 1, Infinity], [3, 4]],
  ] as const)('far beyond the keys too: causalOffset %d, window %j', async (causalOffset, window, expected) => {
    expectClose((await attend(attention(), [0, 0], [1, 1, 1], [1, 2, 4], [2, 3], { window, causalOffset })).out, expected);
  });
});

onDevices('options, keys that do not count', (attention) => {
  test('boolean mask: 1 attends', async () => {
    const on = attention();
    const mask = on.upload(Uint8Array.of(0, 1), [2]);
    const { out, scores, lse } = await attendOne(on, { mask, returnScores: 'masked', returnLse: true });
    expect(out).toEqual([8]);
    expect(scores).toEqual([LOWEST, Math.fround(LN3)]);
    expectClose(lse, [LN3]);
    const none = on.upload(Uint8Array.of(0, 0), [1, 2]);
    const masked = await attendOne(on, { mask: none, returnScores: 'weights', returnLse: true });
    expect(masked).toEqual({ out: [0], scores: [0, 0], lse: [LOWEST] });
    on.release(mask, none);
  });

  test('additive mask: added, −∞ and the lowest finite value exclude', async () => {
    const on = attention();
    const added = on.upload([LN3, 0], [1, 1, 1, 2]); // scores ln 3 and ln 3
    expectClose((await attendOne(on, { mask: added })).out, [6]);
    const infinite = on.upload([-Infinity, 0], [2]);
    expect((await attendOne(on, { mask: infinite })).out).toEqual([8]);
    const lowest = on.upload([LOWEST, -3e38], [1, 2]);
    expect((await attendOne(on, { mask: lowest, returnLse: true })).lse).toEqual([LOWEST]);
    on.release(added, infinite, lowest);
  });

  test('keyLengths: keys beyond do not exist, and a length above M is M', async () => {
    const on = attention();
    for (const [length, out, lse] of [
      [0, 0, LOWEST],
      [1, 4, 0],
      [2, 7, Math.log(4)],
      [4e9, 7, Math.log(4)],
    ] as const) {
      const keyLengths = on.upload(Uint32Array.of(length), [1]);
      const result = await attendOne(on, { keyLengths, returnLse: true });
      expectClose(result.out, [out]);
      if (lse === LOWEST) expect(result.lse).toEqual([LOWEST]);
      else expectClose(result.lse, [lse]);
      on.release(keyLengths);
    }
  });

  test('keys that a mask, the causal position or keyLengths excludes may hold anything', async () => {
    const values = [1, 2, Infinity, Number.NaN, 3e38];
    const keys = [1, 2, Number.NaN, Infinity, -3e38];
    const on = attention();
    const mask = on.upload(Uint8Array.of(1, 1, 0, 0, 0), [5]);
    expectClose((await attend(on, [0], keys, values, [1, 5], { mask })).out, [1.5]);
    expectClose((await attend(on, [0, 0], keys, values, [2, 5], { isCausal: true })).out, [1, 1.5]);
    const keyLengths = on.upload(Uint32Array.of(2), [1]);
    expectClose((await attend(on, [0], keys, values, [1, 5], { keyLengths })).out, [1.5]);
    on.release(mask, keyLengths);
  });
});

onDevices('options, heads and whole steps', (attention) => {
  test('query heads read key head ⌊h·Hk/H⌋', async () => {
    const on = attention();
    // each key head has one key that counts, not the same: 6 heads read 2 as 0,0,0,1,1,1, keys and values alike
    const tensors = [
      on.upload(new Float32Array(6).fill(1), [1, 6, 1, 1]),
      on.upload([100, 0, 0, 100], [1, 2, 2, 1]),
      on.upload([5, 1, 1, 9], [1, 2, 2, 1]),
    ] as const;
    for (const way of everyWay(on.device)) {
      const { out } = await on.scaledDotProductAttention(...tensors, way);
      expect([...(await on.download(out)).data]).toEqual([5, 5, 5, 9, 9, 9]);
      on.release(out);
    }
    on.release(...tensors);
  });

  test.each<[string, number, Pick<AttentionOptions, 'softcap' | 'dropout'>, number[]?]>([
    ['dropout: what is kept is divided by 1 − p', 70, { dropout: { probability: 0.3, seed: 2 ** 40 + 12345 } }],
    ['dropout of nothing', 70, { dropout: { probability: 0, seed: 1 } }],
    ['softcap in whole steps', 72, { softcap: 0.7 }],
    ['ALiBi in whole steps', 72, {}, [0.5, 0.1, 0.02]],
    ['softcap, ALiBi and dropout in whole steps', 72, { softcap: 0.7, dropout: { probability: 0.3, seed: 5 } }, [0.5, 0.1, 0.02]],
  ])('%s: every way and the reference agree', async (_, M, options, slopes) => {
    const on = attention();
    const [H, N, D] = [3, 40, 8];
    const [q, k, v] = [N, M, M].map((length, i) => ({ data: randomArray(i + 1, H * length * D), shape: [1, H, length, D] }));
    const alibiSlopes = slopes && { data: Float32Array.from(slopes), shape: [H] };
    const expected = scaledDotProductAttention(q!, k!, v!, { ...options, ...(alibiSlopes && { alibiSlopes }), returnLse: true });
    const [gpuQ, gpuK, gpuV, gpuSlopes] = [q!, k!, v!, ...(alibiSlopes ? [alibiSlopes] : [])].map(({ data, shape }) =>
      on.upload(data, shape),
    );
    const given = { ...options, ...(gpuSlopes && { alibiSlopes: gpuSlopes }), returnLse: true };
    for (const way of everyWay(on.device)) {
      const { out, lse } = await on.scaledDotProductAttention(gpuQ!, gpuK!, gpuV!, { ...given, ...way });
      expectClose([...(await on.download(out)).data], [...expected.out.data]);
      expectClose([...(await on.download(lse!)).data], [...expected.lse!.data]);
      on.release(out, lse!);
    }
    on.release(gpuQ!, gpuK!, gpuV!, ...(gpuSlopes ? [gpuSlopes] : []));
  });
});
