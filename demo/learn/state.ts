/** What the visitor chose, kept in the page's address so that it can be shared. */
import { WEIGHTS, type WeightsName } from '../weights.ts';
import { EXAMPLE, queryOf, type Word, wordsOf } from '../words.ts';

export const MOST_WORDS = 24; // a heat map of more cannot be read

export interface State {
  readonly sentence: string;
  readonly words: readonly Word[];
  readonly query: number; // the word that asks
  readonly key: number; // the word whose score is worked out
  readonly scale: number; // embeddings are 10^scale times as long in the step on normalising
  readonly weights: WeightsName;
  readonly isCausal: boolean;
  readonly showCpu: boolean;
}

/** A state with another sentence; null when it has no words. */
export function withSentence(state: State, sentence: string): State | null {
  const words = wordsOf(sentence).slice(0, MOST_WORDS);
  if (words.length === 0) return null;
  return { ...state, sentence, words, query: queryOf(words), key: 0 };
}

/** Reads the address. What is missing, or makes no sense, has its default. */
export function readState(search: string): State {
  const params = new URLSearchParams(search);
  const start: State = {
    sentence: EXAMPLE,
    words: wordsOf(EXAMPLE),
    query: 1,
    key: 0,
    scale: 0,
    weights: 'none',
    isCausal: false,
    showCpu: false,
  };
  const state = withSentence(start, params.get('sentence') ?? EXAMPLE) ?? start;
  const whole = (name: string, fallback: number, below: number) => {
    const value = Number(params.get(name) || Number.NaN);
    return Number.isInteger(value) && value >= 0 && value < below ? value : fallback;
  };
  const scale = Number(params.get('scale') ?? 0);
  const weights = params.get('weights') ?? 'none';
  return {
    ...state,
    query: whole('query', state.query, state.words.length),
    key: whole('key', state.key, state.words.length),
    scale: scale >= 0 && scale <= 19 ? Math.round(scale * 10) / 10 : 0, // the slider's steps
    weights: Object.hasOwn(WEIGHTS, weights) ? (weights as WeightsName) : 'none',
    isCausal: params.has('causal'),
    showCpu: params.has('cpu'),
  };
}

/** The address of a state; defaults are left out. */
export function writeState({ sentence, words, query, key, scale, weights, isCausal, showCpu }: State): string {
  const params = new URLSearchParams();
  if (sentence !== EXAMPLE) params.set('sentence', sentence);
  if (query !== queryOf(words)) params.set('query', String(query));
  if (key !== 0) params.set('key', String(key));
  if (scale !== 0) params.set('scale', String(scale));
  if (weights !== 'none') params.set('weights', weights);
  if (isCausal) params.set('causal', '');
  if (showCpu) params.set('cpu', '');
  const text = params.toString().replaceAll('=&', '&').replace(/=$/, '');
  return text ? `?${text}` : '';
}
