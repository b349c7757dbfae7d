declare module 'virtual:outside-cases' {
  /** Where the dev server serves the outside test cases, or null where they are absent. */
  export const casesBase: string | null;
  /** The cases of each folder: paths below casesBase, without their ending. Empty where they are absent. */
  export const cases: Readonly<Record<'torch' | 'onnx/attention' | 'onnx/softmax' | 'real', readonly string[]>>;
}
