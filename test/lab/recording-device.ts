/** A device that does nothing but note the shaders that it is given: what the library would compile on an adapter with these facts. */

/** An adapter as the lab's compile.mjs prints it. */
export interface LabAdapter {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly driver: string;
  readonly subgroups: readonly [number, number];
  readonly features: readonly string[];
}

export interface Shader {
  readonly label: string; // kernel and variant
  readonly code: string;
}

const FLAGS = {
  GPUBufferUsage: {
    ...{ MAP_READ: 1, MAP_WRITE: 2, COPY_SRC: 4, COPY_DST: 8, INDEX: 16, VERTEX: 32, UNIFORM: 64, STORAGE: 128 },
    ...{ INDIRECT: 256, QUERY_RESOLVE: 512 },
  },
  GPUShaderStage: { VERTEX: 1, FRAGMENT: 2, COMPUTE: 4 },
  GPUMapMode: { READ: 1, WRITE: 2 },
};

const LIMITS = {
  ...{ maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27, maxStorageBuffersPerShaderStage: 8, maxBindGroups: 4 },
  ...{ maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupsPerDimension: 65535 },
  ...{ minStorageBufferOffsetAlignment: 256, minUniformBufferOffsetAlignment: 256, maxUniformBufferBindingSize: 65536 },
};

/** An object whose every method that is not named here does nothing. */
function stub<T extends object>(members: object = {}): T {
  return new Proxy(members as T, {
    get: (target, name) => (name in target ? target[name as keyof T] : name === 'then' ? undefined : () => stub()),
  });
}

/** Quads are ordered there: what the probe reads is 0. */
export function recordingDevice({ vendor, architecture, device, driver, subgroups, features }: LabAdapter): {
  device: GPUDevice;
  shaders: Shader[];
} {
  for (const [name, value] of Object.entries(FLAGS)) if (!(name in globalThis)) Object.assign(globalThis, { [name]: value });
  const shaders: Shader[] = [];
  const members = {
    features: new Set(features),
    limits: LIMITS,
    adapterInfo: {
      ...{ vendor, architecture, device, description: driver, isFallbackAdapter: false },
      ...{ subgroupMinSize: subgroups[0], subgroupMaxSize: subgroups[1] },
    },
    lost: new Promise(() => {}),
    queue: stub(),
    popErrorScope: async () => null,
    createBuffer: ({ size, usage }: GPUBufferDescriptor) =>
      stub({ size, usage, mapAsync: async () => {}, getMappedRange: (offset = 0, length = size - offset) => new ArrayBuffer(length) }),
    createShaderModule: ({ label = '', code }: GPUShaderModuleDescriptor) => {
      shaders.push({ label, code });
      return stub({ getCompilationInfo: async () => ({ messages: [] }) });
    },
    createComputePipelineAsync: async () => stub(),
  };
  const likeDevices = { get: () => 'GPUDevice' }; // of a class by this name, whose objects have labels
  const kind = Object.defineProperties({}, { label: likeDevices, [Symbol.toStringTag]: likeDevices });
  return { device: stub<GPUDevice>(Object.assign(Object.create(kind), members)), shaders };
}
