/**
 * Sets `const` and `alias` lines of a shader, and its first line, the slot for `enable`. No line moves, so the compiler's line numbers are
 * the file's.
 * @throws Error when the shader has no such line, or a number would not print as a WGSL literal: a defect of the caller
 */
export function specialize(
  source: string,
  values: Readonly<Record<string, number | boolean | string>>,
  enable: readonly string[] = [],
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
  return text;
}
