// Runs Biome. Weft depends on its Linux binaries directly instead of on the package around them: that one lists binaries for every platform, and a
// registry that lacks one of them makes a lock file that `npm ci` refuses.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';

const binary = createRequire(import.meta.url).resolve(`@biomejs/cli-linux-${process.arch}/biome`);
const result = spawnSync(binary, process.argv.slice(2), { stdio: 'inherit' });
process.exit(result.status ?? 1);
