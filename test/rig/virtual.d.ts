declare module 'virtual:outside-cases' {
  /** Where the dev server serves the outside test cases, or null where they are absent. */
  export const casesBase: string | null;
}
