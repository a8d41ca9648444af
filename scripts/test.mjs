// `npm test`: every check there is, one after the other, and one line with the sum at the end. A step that is not a vitest run counts as one test.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const only = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), 'weft-test-'));
const total = { passed: 0, failed: 0, skipped: 0 };
const minute = 60_000;

const steps = [
  { id: 'build', command: ['node', 'scripts/build.mjs'], limit: 15 * minute },
  { id: 'types', command: ['npx', 'tsc', '-p', 'tsconfig.test.json'], limit: 5 * minute },
  { id: 'lint', command: ['node', 'scripts/biome.mjs', 'ci', '--colors=off', '--max-diagnostics=50', '.'], limit: 5 * minute },
  { id: 'unit', vitest: 'unit', limit: 15 * minute },
  { id: 'kernel', vitest: 'kernel*', limit: 25 * minute },
  { id: 'lab', vitest: 'lab', limit: 25 * minute },
];

for (const step of steps) {
  if (only.length > 0 && !only.includes(step.id)) continue;
  const started = Date.now();
  console.log(`\n== ${step.id}`);
  const output = join(scratch, `${step.id}.json`);
  const command = step.vitest
    ? ['npx', 'vitest', 'run', '--project', step.vitest, '--reporter=default', '--reporter=json', `--outputFile.json=${output}`]
    : step.command;
  const result = spawnSync(command[0], command.slice(1), {
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: step.limit,
    killSignal: 'SIGTERM',
  });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const ok = result.status === 0;
  if (step.vitest) {
    let report;
    try {
      report = JSON.parse(readFileSync(output, 'utf8'));
    } catch {
      report = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0 };
    }
    total.passed += report.numPassedTests;
    total.skipped += report.numPendingTests;
    // A run that broke outside of a test (a hook, a crash, the time limit) is a failure although no test says so.
    total.failed += report.numFailedTests || (ok ? 0 : 1);
  } else if (ok) total.passed++;
  else total.failed++;
  console.log(
    `== ${step.id}: ${ok ? 'ok' : `FAILED (${result.error?.message ?? `exit ${result.status ?? result.signal}`})`} in ${seconds} s`,
  );
  if (!ok && step.id === 'build') break;
}
rmSync(scratch, { recursive: true, force: true });
console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
