/** Builds the demo, once for all tests of its pages. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import type { TestProject } from 'vitest/node';
import { projectRoot } from '../rig/find-chrome.ts';

declare module 'vitest' {
  interface ProvidedContext {
    demoFolder: string;
  }
}

export default async function buildDemo(project: TestProject): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-demo-'));
  await build({
    root: join(projectRoot, 'demo'),
    configFile: join(projectRoot, 'vite.config.ts'),
    mode: 'demo',
    logLevel: 'error',
    build: { outDir: folder, emptyOutDir: true },
  });
  project.provide('demoFolder', folder);
  return () => rmSync(folder, { recursive: true });
}
