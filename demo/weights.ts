/** The trainable weights of the book's example: random ones, as a model has them before it learns. [in, width], used as x · W. */
import type { SelfAttentionOptions } from '../src/index.ts';

interface WeightSet extends SelfAttentionOptions {
  readonly label: string;
  readonly note: string;
}

/** Sets to choose from, and two heads. Source: S. Raschka, Build a Large Language Model (From Scratch), chapter 3: torch.rand of seed 123, nn.Linear of seeds 789 and 123. */
export const WEIGHTS = {
  none: {
    label: 'None',
    note: 'A word’s query, key and value are the word’s vector itself, and the scores are not scaled.',
  },
  v1: {
    label: 'Version 1: random matrices',
    note: 'Three 3×2 matrices of random numbers from 0 to 1: queries, keys and values have 2 numbers. The scores are divided by √2.',
    queryWeights: [
      [0.29611194133758545, 0.516562283039093],
      [0.2516707181930542, 0.6885567903518677],
      [0.07397246360778809, 0.866521954536438],
    ],
    keyWeights: [
      [0.13657987117767334, 0.10247904062271118],
      [0.18405646085739136, 0.7264467477798462],
      [0.3152539134025574, 0.6871066689491272],
    ],
    valueWeights: [
      [0.07563531398773193, 0.19663816690444946],
      [0.31641197204589844, 0.4017401337623596],
      [0.1185683012008667, 0.8273953795433044],
    ],
  },
  v2: {
    label: 'Version 2: a linear layer’s start',
    note: 'The numbers a linear layer starts its training with: small, and of either sign. The scores are divided by √2.',
    queryWeights: [
      [0.31605908274650574, -0.16828539967536926],
      [0.45680856704711914, -0.3378770351409912],
      [0.5118348598480225, -0.0917738676071167],
    ],
    keyWeights: [
      [0.4058058261871338, 0.2133607417345047],
      [-0.4704205393791199, -0.2600506544113159],
      [0.23680520057678223, -0.5105429887771606],
    ],
    valueWeights: [
      [0.25256988406181335, 0.5191074013710022],
      [-0.1414782702922821, -0.08516757935285568],
      [-0.19618134200572968, -0.2043270468711853],
    ],
  },
} as const satisfies Record<string, WeightSet>;

/** Two sets beside each other, each with queries, keys and values of 2 numbers. */
export const TWO_HEADS: SelfAttentionOptions = {
  heads: 2,
  queryWeights: [
    [-0.23542964458465576, 0.21772661805152893, -0.13615716993808746, 0.107563816010952],
    [0.019124476239085197, -0.491934210062027, 0.1853223294019699, 0.1578768491744995],
    [-0.28674593567848206, 0.423223078250885, 0.4082694947719574, 0.5572923421859741],
  ],
  keyWeights: [
    [-0.4196414053440094, 0.2614781856536865, -0.26039040088653564, 0.4126031696796417],
    [-0.45901766419410706, -0.21332639455795288, 0.18287640810012817, 0.46110451221466064],
    [-0.3648201823234558, 0.21605217456817627, -0.2568724453449249, -0.5323009490966797],
  ],
  valueWeights: [
    [-0.49001413583755493, -0.1134607195854187, 0.4928526282310486, 0.237680584192276],
    [-0.35029205679893494, -0.440439373254776, 0.27569305896759033, 0.4799507260322571],
    [-0.21198919415473938, 0.37804362177848816, 0.25159022212028503, -0.07623306661844254],
  ],
};

export type WeightsName = keyof typeof WEIGHTS;

/** A set's options of selfAttention. */
export function weightOptions(name: WeightsName): SelfAttentionOptions {
  const { label: _label, note: _note, ...options } = WEIGHTS[name] as WeightSet;
  return options;
}
