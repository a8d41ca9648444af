import { fileURLToPath } from 'node:url';
import { configDefaults, defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));

// Tests read the sources of every package, so that a stale dist can't make one pass. Processes that a test starts (the agent, the
// CLI) run from dist.
const alias = [
  { find: /^@weft\/(?!proto)([a-z]+)$/, replacement: `${root}packages/$1/src/index.ts` },
  { find: /^@weft\/([a-z]+)\/testing$/, replacement: `${root}packages/$1/src/testing/index.ts` },
];
/** Kernel tests that compare costs, or race on as many processors as there are. All others wait for what they expect, and hold beside another as on a busy machine. */
const ALONE = ['packages/datapath/test/{nat-cost,nat-races}.kernel.ts', 'packages/tuntap/test/load.kernel.ts'];
const KERNEL = { globalSetup: ['test/sweep.ts'], testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 10_000 } } };
const project = (name: string, include: string[], rest: Record<string, unknown> = {}): object => ({
  resolve: { alias },
  test: { name, include, ...rest },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', ['packages/*/test/**/*.test.ts', 'test/architecture/**/*.test.ts'], { testTimeout: 60_000, maxWorkers: 2 }),
      // Need root and the kernel.
      project('kernel', ['packages/*/test/**/*.kernel.ts', 'test/bpf/**/*.kernel.ts'], {
        ...KERNEL,
        exclude: [...configDefaults.exclude, ...ALONE],
        maxWorkers: 2,
      }),
      project('kernel-alone', ALONE, { ...KERNEL, fileParallelism: false, sequence: { groupOrder: 1 } }),
      // Two at once: a lab waits for most of its time, and holds beside another as it does on a busy machine.
      project('lab', ['test/lab/**/*.lab.ts'], { maxWorkers: 2, testTimeout: 180_000, hookTimeout: 180_000 }),
    ],
  },
});
