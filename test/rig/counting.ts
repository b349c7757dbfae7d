/** Counts the calls of methods that make or dispatch something, while `act` runs. */
export async function counting(device: GPUDevice, act: () => Promise<unknown>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const watched: [object, string][] = [
    ...['createBuffer', 'createBindGroup', 'createShaderModule', 'createComputePipelineAsync'].map((name): [object, string] => [
      device,
      name,
    ]),
    [GPUComputePassEncoder.prototype, 'dispatchWorkgroups'],
    [device.queue, 'submit'],
  ];
  const undo = watched.map(([target, name]) => {
    const descriptor = Object.getOwnPropertyDescriptor(target, name);
    const original = (target as Record<string, (...args: unknown[]) => unknown>)[name]!;
    counts[name] = 0;
    const counted = function (this: unknown, ...args: unknown[]) {
      counts[name]!++;
      return original.apply(this, args);
    };
    Object.defineProperty(target, name, { configurable: true, writable: true, value: counted });
    return () => (descriptor ? Object.defineProperty(target, name, descriptor) : Reflect.deleteProperty(target, name));
  });
  try {
    await act();
  } finally {
    for (const each of undo) each();
  }
  return counts;
}

/** Counts the buffers of a device that were made and not destroyed. */
export function watchBuffers(device: GPUDevice): () => number {
  let live = 0;
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    live++;
    let isLive = true;
    buffer.destroy = () => {
      if (isLive) live--;
      isLive = false;
      return destroy();
    };
    return buffer;
  };
  return () => live;
}
