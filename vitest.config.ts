import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));

// Tests read the sources of every package, so that a stale dist can't make one pass. Processes that a test starts (the agent, the
// CLI) run from dist.
const alias = [
  { find: /^@weft\/(?!proto)([a-z]+)$/, replacement: `${root}packages/$1/src/index.ts` },
  { find: /^@weft\/([a-z]+)\/testing$/, replacement: `${root}packages/$1/src/testing/index.ts` },
];
const project = (name: string, include: string[], rest: Record<string, unknown> = {}): object => ({
  resolve: { alias },
  test: { name, include, ...rest },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', ['packages/*/test/**/*.test.ts', 'test/architecture/**/*.test.ts'], { testTimeout: 30_000 }),
      // Needs root and the kernel: one file at a time, since two cores are few and figures of one would disturb the other.
      project('kernel', ['packages/*/test/**/*.kernel.ts', 'test/bpf/**/*.kernel.ts'], {
        fileParallelism: false,
        testTimeout: 120_000,
        hookTimeout: 120_000,
        expect: { poll: { timeout: 10_000 } },
      }),
      project('lab', ['test/lab/**/*.lab.ts'], { fileParallelism: false, testTimeout: 180_000, hookTimeout: 180_000 }),
    ],
  },
});
