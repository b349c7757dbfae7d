/**
 * Sets the `const` and `alias` lines of a shader, and its first line, where `enable` stands. Then replaces whole lines: `fn load_q(…` among `lines`
 * replaces the shader's line that begins with `fn load_q(`. No line moves, so the compiler's line numbers are those of the files.
 * @throws Error when the shader has no such line, or a number would not print as a WGSL literal: a defect of the caller
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
  return text;
}
