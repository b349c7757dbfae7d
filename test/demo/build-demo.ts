/** Builds the demo, once for all tests of its pages. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, type InlineConfig } from 'vite';
import type { TestProject } from 'vitest/node';
import { projectRoot } from '../rig/find-chrome.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where it was built, or why it was not: then the pages' tests fail, and no others. */
    demo: { readonly folder: string; readonly problem?: string };
  }
}

export default async function buildDemo(project: TestProject): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-demo-'));
  const options: InlineConfig = {
    root: join(projectRoot, 'demo'),
    configFile: join(projectRoot, 'vite.config.ts'),
    mode: 'demo',
    logLevel: 'error',
    build: { outDir: folder, emptyOutDir: true },
  };
  const buildAndProvide = () =>
    build(options).then(
      () => project.provide('demo', { folder }),
      (error: Error) => project.provide('demo', { folder, problem: error.message }),
    );
  await buildAndProvide();
  project.onTestsRerun(buildAndProvide);
  return () => rmSync(folder, { recursive: true });
}
