/** What was found, as text short enough to be read whole: the summary, what is wrong, the tables, the device. */
import type { Row, State } from '../records.ts';
import { errorText, shapeText } from './format.ts';
import { summary } from './summary.ts';
import { peerLines, rateTables, variantLines } from './tables.ts';

const MOST_FAULTS = 14;
const FAULT_WIDTH = 170;
const SLOW_MS = 5000;

export function report(state: State): string {
  const { date, machine, seconds, rows } = state;
  const time = seconds === undefined ? '' : `, ${seconds} s`;
  return [
    `webgpu-attention ${machine.revision} on a GPU, ${date}${time}`,
    '',
    'SUMMARY',
    ...summary(state),
    ...searchLines(state),
    ...faultLines(rows),
    ...rateTables(rows),
    ...peerLines(rows),
    ...variantLines(rows),
    ...deviceLines(state),
    ...slowLines(rows),
  ].join('\n');
}

/** Where no adapter was found: what there is of a driver, and what was tried. */
function searchLines({ adapter, machine, attempts }: State): string[] {
  if (adapter) return [];
  const tried = attempts.map(({ way, driver, status, said, adapter: name }) => {
    const result = name || status.slice(0, 120);
    return `  tried ${way} ${driver}: ${result} | ${said.replace(/\s+/g, ' ').slice(0, 300)}`;
  });
  return [`  driver files: ${machine.driver.join(' ').slice(0, 1500) || 'none'}`, ...tried];
}

/** Kinds in which a row that fails is no fault: a variant may be refused, and torch may lack a path. */
const MAY_FAIL = ['variant', 'backwardVariant', 'note'];

function faultOf(row: Row): string | undefined {
  const { section, kind, failed, isRight } = row;
  const isWrong = isRight === false;
  if (kind === 'test') return row.state === 'fail' ? `${row.file}, ${row.name}: ${failed}` : undefined;
  if (!isWrong && (!failed || MAY_FAIL.includes(kind) || section === 'torch')) return undefined;
  if (kind === 'conform') {
    const why = failed ?? `error ${errorText(row.error)}, allowed ${row.within}`;
    return `conform ${row.device}, ${row.pass} ${row.dtype} ${row.algorithm} ${row.case}: ${why}`;
  }
  const who = row.path ?? row.contestant ?? row.variant ?? '';
  return `${section} ${who} ${row.D ? shapeText(row) : ''}: ${failed ?? `WRONG, error ${errorText(row.error, row.sums)}`}`;
}

/** What is wrong, or failed and should not have. */
const faultsOf = (rows: readonly Row[]): string[] => rows.map(faultOf).filter((fault) => fault !== undefined);

/** Whether a GPU run says that something is wrong: a fault, or a section that crashed. torch may be missing. */
export const isBad = ({ rows, sections }: State): boolean =>
  faultsOf(rows).length > 0 || sections.some(({ name, status }) => name !== 'torch' && /^(failed|ended)/.test(status));

function faultLines(rows: readonly Row[]): string[] {
  const faults = faultsOf(rows);
  if (faults.length === 0) return [];
  const shown = faults.slice(0, MOST_FAULTS).map((fault) => `  ${fault.slice(0, FAULT_WIDTH)}`);
  const more = faults.length > MOST_FAULTS ? [`  and ${faults.length - MOST_FAULTS} more: report.json`] : [];
  return ['', `WRONG OR FAILED (${faults.length})`, ...shown, ...more];
}

const GRAPHICS = /texture|bc|depth|float32-|renderable|stencil|clip|blend/;
const COMPUTE = /Compute|StorageBufferBinding|BuffersPerShader|maxBufferSize/;

function deviceLines({ adapter, unsafe, library }: State): string[] {
  if (!adapter) return [];
  const { features, limits } = adapter;
  const shown = Object.entries(limits).filter(([name]) => COMPUTE.test(name));
  const configs = unsafe?.subgroupMatrixConfigs?.map((config) => Object.values(config).join('/')).join(' ');
  const beyond = unsafe?.features.filter((name) => !features.includes(name)).join(' ');
  return [
    '',
    `features   ${features.filter((name) => !GRAPHICS.test(name)).join(' ')}`,
    `limits     ${shown.map(([name, value]) => `${name.replace('max', '')} ${value}`).join(', ')}`,
    ...(unsafe ? [`unsafe     ${beyond}${configs ? `; ${configs.slice(0, 500)}` : ''}`] : []),
    ...(library ? [`library    class "${library.quadClass}"; ${JSON.stringify(library.facts)}`] : []),
  ];
}

function slowLines(rows: readonly Row[]): string[] {
  const slow = rows.filter(({ kind, ms }) => kind === 'test' && ms !== undefined && ms > SLOW_MS).sort((a, b) => b.ms! - a.ms!);
  const text = slow.slice(0, 4).map(({ file, name, ms }) => `${file} ${name?.slice(0, 60)} ${(ms! / 1000).toFixed(0)} s`);
  return text.length === 0 ? [] : [`slow tests ${text.join(' | ')}`];
}
