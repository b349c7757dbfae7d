declare module 'virtual:outside-cases' {
  /** Where the dev server serves the outside test cases, or null where they are absent. */
  export const casesBase: string | null;
  /** The cases of the folder `torch`: paths below casesBase, without their ending. */
  export const torchCases: readonly string[];
}
