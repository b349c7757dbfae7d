/** `probe.mjs [--unsafe]`: which adapter there is, what it has, and how the library sees it. */
import { createAttention } from '../../../src/index.ts';
import { deviceFacts } from '../../../src/tiles/facts.ts';
import { quadClassOf } from '../../../src/tiles/quad-classes.ts';
import type { FoundAdapter, FoundLibrary } from '../records.ts';
import { openGpu } from './dawn.ts';
import { emit, section } from './say.ts';

/** Of GPUAdapterInfo, Dawn's additions included. */
const INFO = [
  ...['vendor', 'architecture', 'device', 'description', 'isFallbackAdapter', 'subgroupMinSize', 'subgroupMaxSize'],
  ...['backendType', 'adapterType', 'driver', 'vendorID', 'deviceID'],
];

type Plain = Record<string, string | number | boolean>;

/** What an interface object holds: its getters are its prototype's. */
function fieldsOf(object: object): Plain {
  const names = new Set([...Object.keys(object), ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))]);
  const read = object as Plain;
  return Object.fromEntries(
    [...names].map((name) => [name, read[name]!] as const).filter(([, value]) => ['number', 'string', 'boolean'].includes(typeof value)),
  );
}

function describe({ info, features, limits }: GPUAdapter): FoundAdapter {
  const said = info as unknown as Plain & { readonly subgroupMatrixConfigs?: Iterable<object> };
  const configs = said.subgroupMatrixConfigs && [...said.subgroupMatrixConfigs].map((config) => fieldsOf(config) as Record<string, string>);
  return {
    info: Object.fromEntries(INFO.map((name) => [name, said[name]])),
    features: [...features].sort(),
    limits: fieldsOf(limits) as Record<string, number>,
    ...(configs && { subgroupMatrixConfigs: configs }),
  };
}

/** One small attention, so that a device that cannot run is found out here. */
async function tryLibrary(): Promise<FoundLibrary> {
  const attention = await createAttention();
  const data = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
  const tensor = () => attention.upload(data, [1, 1, 8, 8]);
  const { out } = await attention.scaledDotProductAttention(tensor(), tensor(), tensor());
  const sample = Array.from((await attention.download(out)).data.slice(0, 4));
  const facts = await deviceFacts(attention.device);
  return { features: [...attention.device.features].sort(), facts, quadClass: quadClassOf(facts).name, sample };
}

await section(async () => {
  const isUnsafe = process.argv.includes('--unsafe');
  const gpu = await openGpu(isUnsafe ? ['enable-dawn-features=allow_unsafe_apis'] : []);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('requestAdapter gave null');
  emit('adapter', describe(adapter));
  if (!isUnsafe) emit('library', await tryLibrary());
});
