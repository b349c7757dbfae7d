/**
 * The text of a shader for a variant, in three steps:
 *   1. Sets the first line, which is for `enable`, and the `const` and `alias` lines in `values`.
 *   2. Replaces whole lines: `fn load_q(…` in `lines` replaces the shader's line that begins with `fn load_q(`.
 *   3. Writes out the loops that end in `//! unroll`.
 * No line moves. So the compiler's line numbers are those of the joined text, and pipelines.ts finds the file and its line.
 * @throws Error when the shader lacks a line that is to be set, or when a value is no WGSL literal or type: a defect of the caller
 */
export function specialize(
  source: string,
  values: Readonly<Record<string, number | boolean | string>>,
  enable: readonly string[] = [],
  lines: readonly string[] = [],
): string {
  const slot = enable.map((name) => `enable ${name};`).join(' ') || '// enable';
  let text = source.replace(/^.*/, slot);
  for (const [name, value] of Object.entries(values)) {
    const line = new RegExp(`^(const ${name}: \\w+|alias ${name}) = [^;\\n]*;`, 'm');
    if (!line.test(text)) throw new Error(`specialize: no const or alias ${name}`);
    if (!/^(true|false|-?\d+(\.\d+)?|[a-z]\w*)$/.test(String(value)))
      throw new Error(`specialize: ${name} = ${value} is no WGSL literal or type`);
    text = text.replace(line, `$1 = ${value};`);
  }
  for (const line of lines) {
    const begin = line.slice(0, line.search(/[(=]/) + 1);
    const at = text.indexOf(`\n${begin}`) + 1;
    if (at === 0) throw new Error(`specialize: no line ${begin}`);
    text = text.slice(0, at) + line + text.slice(text.indexOf('\n', at));
  }
  return unrolled(text);
}

/**
 * Writes out loops of one line that end in `//! unroll`. Each turn has a literal in place of the index: compilers for the CPU keep an array in memory
 * where a variable indexes it. The written-out loop stays one line. The loop's bound is a number, or a `const` that is a product of numbers and of such
 * `const`s.
 */
function unrolled(text: string): string {
  const loop = /for \(var (\w+) = 0u; \1 < (\w+); \1\+\+\) (\{.*\}) \/\/! unroll$/gm;
  return text.replace(loop, (_, index: string, bound: string, body: string) => {
    const uses = new RegExp(`(?<![.\\w])${index}\\b`, 'g');
    return Array.from({ length: numberOf(bound, text) }, (_, turn) => body.replace(uses, `${turn}u`)).join(' ');
  });
}

/** The value of a number, or of a `const` of the shader. */
function numberOf(name: string, text: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  const product = text.match(new RegExp(`^const ${name}: u32 = ((?:\\w+ \\* )*\\w+);`, 'm'))?.[1];
  if (product === undefined) throw new Error(`specialize: ${name} is no product of numbers`);
  return product.split(' * ').reduce((value, factor) => value * numberOf(factor, text), 1);
}
