import { fileURLToPath } from 'node:url';
import { configDefaults, defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('.', import.meta.url));

// Tests read the sources of every package, so that a stale dist can't make one pass. Processes that a test starts (the agent, the
// CLI) run from dist.
const alias = [
  { find: /^@weft\/(?!proto)([a-z]+)$/, replacement: `${root}packages/$1/src/index.ts` },
  { find: /^@weft\/([a-z]+)\/testing$/, replacement: `${root}packages/$1/src/testing/index.ts` },
];
/**
 * Kernel tests of which two may run at once: what they expect of the kernel is the answer to a call, and what they expect of processes is given ten seconds
 * and more. Not those in which traffic flows while time is taken, a lab stands, or somebody must be noticed to be gone.
 */
const SIDE_BY_SIDE = [
  'packages/bpf/test/{map,object,pins,program,ring-buffer}.kernel.ts',
  'packages/cli/test/cli.kernel.ts',
  'packages/controller/test/*.kernel.ts',
  'packages/datapath/test/{back-edges,flow-cache,gateway-oracle,gateway-slots,oracle}.kernel.ts',
  'packages/datapath/test/{nat-fairness,nat-history,nat-slice,nat-standby}.kernel.ts',
  'packages/datapath/test/*layout.kernel.ts',
];
const KERNEL = { globalSetup: ['test/sweep.ts'], testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 10_000 } } };
const project = (name: string, include: string[], rest: Record<string, unknown> = {}): object => ({
  resolve: { alias },
  test: { name, include, ...rest },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', ['packages/*/test/**/*.test.ts', 'test/architecture/**/*.test.ts'], { testTimeout: 60_000, maxWorkers: 2 }),
      // Needs root and the kernel: one file at a time, since two cores are few and figures of one would disturb the other.
      project('kernel', ['packages/*/test/**/*.kernel.ts', 'test/bpf/**/*.kernel.ts'], {
        ...KERNEL,
        exclude: [...configDefaults.exclude, ...SIDE_BY_SIDE],
        fileParallelism: false,
      }),
      project('kernel-side-by-side', SIDE_BY_SIDE, { ...KERNEL, maxWorkers: 2, sequence: { groupOrder: 1 } }),
      project('lab', ['test/lab/**/*.lab.ts'], { fileParallelism: false, testTimeout: 180_000, hookTimeout: 180_000 }),
    ],
  },
});
