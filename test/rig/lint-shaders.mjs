/** `npm run lint:shaders`: lines of the shaders, and what is wrong with the lists of parts. */
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const { module: lines } = await runnerImport(fileURLToPath(new URL('shader-lines.ts', import.meta.url)));
const table = (files) => files.map((file) => ({ file: file.name, lines: lines.lineCount(file) })).sort((a, b) => b.lines - a.lines);
const kernels = table(lines.kernels());
const parts = table(lines.parts());
const sum = (rows) => rows.reduce((total, row) => total + row.lines, 0);
console.log('Kernels');
console.table(kernels);
console.log('Parts');
console.table(parts);
const { all, repeated, inPassages } = lines.repeatedLines();
const share = (count) => `${count} (${((100 * count) / all).toFixed(1)}%)`;
console.log(`${sum(kernels) + sum(parts)} lines, ${sum(parts)} of them in parts`);
console.log(
  `of ${all} lines of 8 characters and more ${share(repeated)} stand in two files, ${share(inPassages)} in passages of four lines that do`,
);
const wrong = lines.wrongLists();
for (const fault of wrong) console.error(fault);
process.exitCode = wrong.length > 0 ? 1 : 0;
