/** The order of the suites. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * What compiles most, most first: two pages take suites as they become free, and a heavy one that came last would have a page alone for a minute.
 * Vitest knows how long suites take once they have run here; before, as after `npm ci`, it goes by the files' sizes.
 */
const HEAVIEST = [
  'kernels/flash_backward_options',
  'cases/torch-backward',
  'kernels/flash_backward', // shares pipelines with the one before, whose page is free first
  'cases/torch',
  'kernels/flash_forward',
  'kernels/flash_decode',
  'contract/not-finite',
  'contract/options',
  'plan/tune',
].map((name) => `/test/${name}.test.ts`);

export class HeaviestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const index = HEAVIEST.findIndex((name) => moduleId.endsWith(name));
      return index < 0 ? HEAVIEST.length : index;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
