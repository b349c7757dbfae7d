export interface Mutant {
  readonly what: string;
  readonly file: string;
  readonly replacements: readonly (readonly [string | RegExp, string])[];
  readonly tests: string[];
}
export const MUTANTS: readonly Mutant[];
export function mutate(text: string, mutant: Mutant): string;
