import { defineConfig } from 'vitest/config';

// `unit` and `conformance` need nothing but Node and openssl; `integration` and `cli` start the real programs.
const project = (name: string, extra: object = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], ...extra },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', { testTimeout: 30_000 }),
      project('conformance', { testTimeout: 30_000, hookTimeout: 60_000 }),
      // Real servers on a small machine: one file at a time keeps their start-up times predictable.
      project('integration', { testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false }),
      project('cli', { testTimeout: 60_000, hookTimeout: 60_000 }),
    ],
  },
});
