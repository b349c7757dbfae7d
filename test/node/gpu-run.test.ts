/** What the GPU run decides before and after it has a GPU: options, seconds of a section, slices of the tests, the report. */
import { describe, expect, test } from 'vitest';
import { readOptions, SECTION_NAMES } from '../gpu/conductor/options.ts';
import { secondsFor } from '../gpu/conductor/sections.ts';
import type { Row, State } from '../gpu/records.ts';
import { errorText, figure, percent, pivot, shapeText } from '../gpu/report/format.ts';
import { report } from '../gpu/report/report.ts';
import { backwardVariants, forwardVariants, nameVariant } from '../gpu/sections/variants.ts';
import { inOrder, slicesOf } from '../gpu/suites/slices.ts';

const shape = { dtype: 'f32', H: 16, Hk: 16, N: 4096, M: 4096, D: 64, causal: false } as const;
const decode = { ...shape, H: 32, Hk: 8, N: 1 };
const row = (kind: string, fields: Partial<Row>): Row => ({ section: kind, kind, ...fields });

const adapter = {
  info: { vendor: 'acme', architecture: 'one', description: 'Acme One', subgroupMinSize: 32, subgroupMaxSize: 32 },
  features: ['shader-f16', 'texture-compression-bc'],
  limits: { maxComputeWorkgroupStorageSize: 32768, maxTextureDimension2D: 8192 },
};
function stateOf(rows: readonly Row[], more: Partial<State> = {}): State {
  const machine = { revision: 'abc', kernel: 'Linux 6', cpu: '8 × CPU', libc: '', node: 'v20', gpu: '', driver: ['/dev/dri'], lacking: [] };
  return { date: '2026-12-01', options: {}, machine, attempts: [], sections: [], rows: [...rows], ...more };
}

describe('options', () => {
  test('without any: every section, 7.5 minutes', () => {
    expect(readOptions([])).toEqual({ minutes: 7.5, only: SECTION_NAMES, isTiny: false, allowsSoftware: false, stretch: 1 });
  });

  test('sections keep their order', () => {
    const options = readOptions(['--only', 'tune,prefill', '--tiny', '--software', '--workers', '2', '--minutes', '3']);
    expect(options).toEqual({ minutes: 3, only: ['prefill', 'tune'], isTiny: true, allowsSoftware: true, stretch: 1, workers: 2 });
  });

  test.each([
    [['--minutes', 'long'], '--minutes is "long": need a number from 0.5 to 600'],
    [['--stretch', '0'], '--stretch is "0"'],
    [['--only', 'prefill,backwards'], '--only has "backwards": known are conform, prefill'],
    [['--fast'], '--fast'],
  ])('%s is refused, with the usage', (args, message) => {
    expect(() => readOptions(args)).toThrow(message);
    expect(() => readOptions(args)).toThrow('--minutes 7.5');
  });
});

describe('seconds of a section', () => {
  test('its own limit where there is time', () => expect(secondsFor('conform', readOptions([]), 450)).toBe(80));
  test('times --stretch', () => expect(secondsFor('conform', readOptions(['--stretch', '3']), 5000)).toBe(240));
  test('no more than leaves the later ones their least', () => {
    expect(secondsFor('prefill', readOptions(['--only', 'prefill,suites']), 150)).toBe(55);
  });
  test('its own least, even if a later one then has less', () => {
    expect(secondsFor('prefill', readOptions(['--only', 'prefill,suites']), 100)).toBe(30);
  });
  test('nothing where the time is up', () => expect(secondsFor('suites', readOptions([]), 4)).toBeUndefined());
});

test('tests come in slices, kernels first', () => {
  expect(inOrder(['contract/f16.test', 'differences.test', 'kernels/softmax.test', 'kernels/adam.test'])).toEqual([
    ...['kernels/adam.test', 'kernels/softmax.test', 'contract/f16.test', 'differences.test'],
  ]);
  const slices = slicesOf('a', 50);
  expect(slices.map(({ from, to }) => [from, to])).toEqual([
    [0, 24],
    [24, 48],
    [48, 50],
  ]);
  expect(slicesOf('a', 0)).toEqual([]);
});

describe('variants', () => {
  test('a name does not depend on the order of the constants', () => {
    const name = nameVariant({ flash_forward_quad: { ROWS: 4, LANES: 8 } });
    expect(name).toBe('flash_forward_quad LANES=8 ROWS=4');
    expect(nameVariant({ flash_forward_quad: { LANES: 8, ROWS: 4 } })).toBe(name);
    expect(nameVariant({})).toBe('');
  });

  test('no two are the same', () => {
    for (const variants of [forwardVariants(shape), forwardVariants(decode), backwardVariants(shape)]) {
      const names = variants.map(nameVariant);
      expect(names.length).toBeGreaterThan(10);
      expect(new Set(names).size).toBe(names.length);
    }
  });
});

describe('the report', () => {
  test('figures have three digits or so', () => {
    expect([1234.5, 12.34, 1.234, 0.01234, undefined].map(figure)).toEqual(['1235', '12.3', '1.23', '0.012', '-']);
    expect([percent(0.456), percent(undefined), percent(null)]).toEqual([' 46%', '', '']);
    expect([errorText(1e-6, 2e-5), errorText(null, 1)]).toEqual(['2.0e-5', 'NaN']);
    expect([shapeText(shape), shapeText({ ...decode, causal: true })]).toEqual(['f32 D64 N4096 H16', 'f32 D64 N1 M4096 H32/8 causal']);
  });

  test('a table has a line a group and a column a length', () => {
    const rows = [
      row('prefill', { ...shape, path: 'fused', tflops: 9 }),
      row('prefill', { ...shape, N: 512, path: 'fused', failed: 'out of memory' }),
      row('prefill', { ...shape, path: 'explicit', tflops: 2.5, isRight: false }),
    ];
    const lines = pivot(
      'title',
      rows,
      ({ N }) => N!,
      ({ path }) => path!,
      ({ tflops }) => figure(tflops),
    );
    expect(lines).toEqual(['', 'title        512        4096', 'explicit          2.50 WRONG', 'fused     failed        9.00']);
    expect(
      pivot(
        'title',
        [],
        () => 0,
        () => '',
        () => '',
      ),
    ).toEqual([]);
  });
});

describe('the whole report', () => {
  test('without an adapter it says what was tried', () => {
    const attempts = [{ way: 'the machine’s C library', driver: '', status: 'failed: requestAdapter gave null', said: '', adapter: '' }];
    const text = report(stateOf([], { attempts }));
    expect(text).toContain('adapter    NONE FOUND');
    expect(text).toContain('driver files: /dev/dri');
    expect(text).toContain('tried the machine’s C library : failed: requestAdapter gave null');
  });

  test('with one it counts, names the best, and lists what is wrong first', () => {
    const rows = [
      row('note', { tests: 3 }),
      row('test', { file: 'kernels/softmax.test', name: 'rows', state: 'pass', ms: 6000 }),
      row('test', { file: 'kernels/scores.test', name: 'bands', state: 'fail', failed: 'expected 1' }),
      row('conform', {
        device: 'all features',
        pass: 'forward',
        dtype: 'f32',
        algorithm: 'fused',
        case: 'causal',
        error: null,
        within: 1e-5,
        isRight: false,
      }),
      row('conform', {
        device: 'no features',
        pass: 'forward',
        dtype: 'f32',
        algorithm: 'fused',
        case: 'causal',
        error: 1e-7,
        isRight: true,
      }),
      row('peaks', { fma: 40, copy: 3000, read: 3500, clock: 'timestamp-query' }),
      row('prefill', { ...shape, path: 'fused', tflops: 12, ofFma: 0.3, isRight: true }),
      row('variant', { ...shape, origin: 'chosen', variant: '', ms: 2, isRight: true, kernels: 'flash_forward_quad ROWS=4' }),
      row('variant', { ...shape, origin: 'more', variant: 'flash_forward_quad ROWS=2', ms: 1, isRight: true }),
      row('variant', { ...shape, origin: 'more', variant: 'flash_forward_quad ROWS=1', failed: 'limit' }),
      row('peer', { ...shape, pass: 'forward', contestant: 'fused', ms: 1, error: 1e-6 }),
      row('peer', { ...shape, pass: 'forward', contestant: 'jax', ms: 3, error: 2e-6 }),
    ];
    const sections = [{ name: 'torch', status: 'failed: no torch', seconds: 1 }];
    const text = report(stateOf(rows, { adapter, sections }));
    for (const line of [
      'adapter    acme | one | Acme One; subgroups 32 to 32;',
      'conform    1 right, 1 wrong, 0 failed of 2 against f64',
      'suites     1 passed, 1 failed, 0 skipped of 3 tests; 1 not reached',
      'best f32   prefill 12.0 TFLOP/s = 30% of f32 FMA (f32 D64 N4096 H16)',
      'NOT COMPLETE: torch: failed: no torch',
      'WRONG OR FAILED (2)',
      'conform all features, forward f32 fused causal: error NaN, allowed 0.00001',
      'kernels/scores.test, bands: expected 1',
      'chosen 2.00 (flash_forward_quad ROWS=4), 3 tried, 1 refused or failed',
      'fastest 1.00 flash_forward_quad ROWS=2 | 2.00 chosen: 2.00 × faster',
      '3.00 times as fast as jax (errors 1.0e-6, 2.0e-6)',
      'features   shader-f16\n',
      'limits     ComputeWorkgroupStorageSize 32768\n',
      'slow tests kernels/softmax.test rows 6 s',
    ])
      expect(text).toContain(line);
  });
});
