// Holds the kernel's programs against the oracle for a long time: scripts/fuzz.mjs [frames, default 1000000] [first seed, default from the clock].
// Prints the seed of each world; one that fails goes into test/seeds.json, which the test replays first.
import { spawnSync } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const frames = process.argv[2] ?? '1000000';
const seed = process.argv[3] ?? String(Math.floor(Date.now() / 1000) % 100_000_000);
console.log(`${frames} frames from seed ${seed}: node ${fileURLToPath(import.meta.url)} ${frames} ${seed}`);
const result = spawnSync(
  process.execPath,
  [resolve(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'kernel', 'packages/datapath/test/oracle'],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, WEFT_FUZZ_FRAMES: frames, WEFT_FUZZ_SEED: seed },
  },
);
process.exit(result.status ?? 1);
