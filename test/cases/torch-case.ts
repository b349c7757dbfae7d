/** What a PyTorch case's attributes mean as options. */
export interface Attributes {
  readonly scale: number;
  readonly causal: 'top-left' | 'bottom-right' | null;
  readonly softcap: number;
  readonly kv_lengths: number[] | null;
  readonly window: [number, number] | null; // −1: unlimited
  readonly dropout_p: number;
}

export const optionsOf = ({ scale, causal, softcap, window }: Attributes) => ({
  ...{ scale, softcap, returnLse: true, isCausal: causal !== null },
  causalOffset: causal === 'bottom-right' ? ('lower-right' as const) : 0,
  ...(window && { window: window.map((reach) => (reach < 0 ? Number.POSITIVE_INFINITY : reach)) as [number, number] }),
});
