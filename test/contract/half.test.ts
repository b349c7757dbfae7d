import { expect, test } from 'vitest';
import { fromHalf, toHalf } from '../../src/contract/half.ts';

test('every f16 keeps its bits', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = fromHalf(bits);
    if (Number.isNaN(value)) expect(Number.isNaN(fromHalf(toHalf(value)))).toBe(true);
    else if (toHalf(value) !== bits) expect.fail(`${bits.toString(16)} is ${value}, back ${toHalf(value).toString(16)}`);
  }
});

test('between two neighbours it rounds to the nearest, and half-way to the even one', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const [low, high] = [fromHalf(bits), fromHalf(bits + 1)];
    const middle = (low + high) / 2;
    const even = bits % 2 === 0 ? bits : bits + 1;
    const got = [toHalf(middle), toHalf(low + (high - low) * 0.499), toHalf(low + (high - low) * 0.501), toHalf(-middle)];
    const expected = [even, bits, bits + 1, even | 0x8000];
    if (got.some((value, i) => value !== expected[i])) expect.fail(`between ${low} and ${high}: ${got}, not ${expected}`);
  }
});

test.each([
  [65504, 0x7bff],
  [65519.99, 0x7bff],
  [65520, 0x7c00],
  [-1e9, 0xfc00],
  [Number.POSITIVE_INFINITY, 0x7c00],
  [-0, 0x8000],
  [2 ** -25, 0],
  [2 ** -25 * 1.001, 1],
])('%d is %i', (value, bits) => expect(toHalf(value)).toBe(bits));
