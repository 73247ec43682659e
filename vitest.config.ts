import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// `unit` and `conformance` need nothing but Node and openssl; `integration` and `cli` start the real programs.
const project = (name: string, extra: object = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], ...extra },
});

export default defineConfig({
  test: {
    // Two at least: the tests that start programs wait for them more than they work.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      project('unit', { testTimeout: 30_000 }),
      project('conformance', { testTimeout: 30_000, hookTimeout: 60_000 }),
      project('integration', { testTimeout: 120_000, hookTimeout: 120_000 }),
      project('cli', { testTimeout: 60_000, hookTimeout: 60_000 }),
    ],
  },
});
