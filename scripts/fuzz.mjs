// `npm run fuzz [-- --frames N] [--seed S]`: generated frames and tables, decided by the kernel's programs (BPF_PROG_TEST_RUN) and by the oracle
// (packages/forwarding); action, reason, target and bytes must be equal. Goes on after a difference, so that one run tells all seeds that fail; they
// belong into packages/datapath/test/seeds.json, which the tests replay first. Exit status 0: no difference; 1: some; 2: a mistake in the call.
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const FRAMES_PER_SEED = 500;
const FRAMES_PER_RUN = 50_000;
const MOST_FAILURES = 20;
const root = fileURLToPath(new URL('..', import.meta.url));

const { frames, seed: firstSeed } = parse(process.argv.slice(2));
console.log(
  `${frames.toLocaleString('en-US')} frames from seed ${firstSeed}; the same again: npm run fuzz -- --frames ${frames} --seed ${firstSeed}`,
);

let running;
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => {
    running?.kill(signal);
    process.exitCode = status;
    stopping = true;
  });
}

let stopping = false;
let tried = 0;
let generated = 0;
let seed = firstSeed;
let broken = '';
const failures = [];
const started = performance.now();
while (tried < frames && !stopping && broken === '' && failures.length < MOST_FAILURES) {
  // What the kernel refuses to test run (a frame too short for it) counts for nothing; a few of each hundred.
  const wanted = Math.min(FRAMES_PER_RUN, Math.ceil((frames - tried) / FRAMES_PER_SEED + 1) * FRAMES_PER_SEED);
  const { status, output } = await runTest(seed, wanted);
  if (stopping) break;
  const difference = /seed (\d+), frame (\d+) \([^\n]*\):\n[\s\S]*?(?=\n\s*(?:❯|⎯))/.exec(output);
  const counted = /fuzz: (\d+) of (\d+) frames by test run/.exec(output);
  if (difference !== null) {
    const [text, failedSeed, frame] = difference;
    failures.push({ seed: Number(failedSeed), frame: Number(frame) });
    console.log(`\nDIFFERENCE ${text}\n`);
    const done = (Number(failedSeed) - seed) * FRAMES_PER_SEED + Number(frame);
    generated += done;
    tried += done;
    seed = Number(failedSeed) + 1;
  } else if (status === 0 && counted !== null) {
    tried += Number(counted[1]);
    generated += Number(counted[2]);
    seed += Math.ceil(wanted / FRAMES_PER_SEED);
  } else broken = output.split('\n').slice(-40).join('\n');
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${tried.toLocaleString('en-US')} of ${frames.toLocaleString('en-US')} frames, seeds ${firstSeed} to ${seed - 1}, ${Math.round(tried / seconds).toLocaleString('en-US')}/s, ${failures.length} differences`,
  );
}

if (broken !== '') {
  console.error(`The run from seed ${seed} ended without a result:\n${broken}`);
  process.exitCode = 1;
} else if (failures.length > 0) {
  console.error(`Kernel and oracle differ; failing seeds (for packages/datapath/test/seeds.json):`);
  for (const failure of failures)
    console.error(`  ${JSON.stringify({ seed: failure.seed, frames: FRAMES_PER_SEED, why: `frame ${failure.frame}` })}`);
  if (failures.length >= MOST_FAILURES) console.error(`Stopped after ${MOST_FAILURES} differences.`);
  process.exitCode = 1;
} else if (stopping) {
  console.error(`Interrupted after ${tried.toLocaleString('en-US')} frames without a difference.`);
} else {
  console.log(
    `Kernel and oracle agree on ${tried.toLocaleString('en-US')} frames (${generated.toLocaleString('en-US')} generated), seeds ${firstSeed} to ${seed - 1}.`,
  );
}

function runTest(fromSeed, count) {
  return new Promise((done) => {
    const argv = ['run', '--project', 'kernel', 'packages/datapath/test/oracle', '-t', 'generated frames', '--no-color'];
    running = spawn(process.execPath, [resolve(root, 'node_modules/vitest/vitest.mjs'), ...argv], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, WEFT_FUZZ_FRAMES: String(count), WEFT_FUZZ_SEED: String(fromSeed), NO_COLOR: '1' },
    });
    let output = '';
    for (const stream of [running.stdout, running.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    running.on('error', (error) => done({ status: 1, output: `${output}\n${error.message}` }));
    running.on('close', (status) => done({ status, output }));
  });
}

function parse(argv) {
  const options = { frames: 1_000_000, seed: Math.floor(Date.now() / 1000) % 100_000_000 };
  for (let index = 0; index < argv.length; index++) {
    const [flag, inline] = argv[index].split('=', 2);
    if (flag === '--help' || flag === '-h') {
      console.log('Usage: npm run fuzz -- [--frames N, default 1000000] [--seed S, default from the clock]');
      process.exit(0);
    }
    if (flag !== '--frames' && flag !== '--seed') fail(`unknown argument ${flag}; there are --frames N and --seed S`);
    const value = Number(inline ?? argv[++index]);
    if (!Number.isSafeInteger(value) || value < 1) fail(`${flag} must be a whole number, 1 or more`);
    options[flag.slice(2)] = value;
  }
  return options;
}

function fail(message) {
  console.error(`fuzz: ${message}`);
  process.exit(2);
}
