import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/kit/seed.ts'],
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 20_000,
    maxWorkers: 2,
    reporters: ['default'],
  },
});
