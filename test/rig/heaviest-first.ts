/** The order of the suites. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What compiles most, most first: two pages take suites as they become free, and one that began with the others done would be alone for a minute. */
const HEAVIEST = [
  'backward-options',
  'cases/torch-backward',
  'cases/torch',
  'backward',
  'attention',
  'kernels/flash_decode',
  'contract/tune',
].map((name) => `/test/${name}.test.ts`);

export class HeaviestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = HEAVIEST.findIndex((name) => moduleId.endsWith(name));
      return place < 0 ? HEAVIEST.length : place;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
