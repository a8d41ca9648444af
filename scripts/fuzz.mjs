// `npm run fuzz [-- --frames N] [--tap-frames N] [--seed S]`: generated frames and tables, decided by the kernel's programs and by the oracle
// (packages/forwarding), which must agree: by BPF_PROG_TEST_RUN on action, reason, target and bytes; and through real TAPs, for what test runs can't
// carry, on device, counter, bytes and size. Goes on after a difference, so that one run tells all seeds that fail; they belong into
// packages/datapath/test/seeds.json and tap-seeds.json, which the tests replay first. Exit status 0: no difference; 1: some; 2: a mistake in the call.
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const MOST_FAILURES = 20;
const root = fileURLToPath(new URL('..', import.meta.url));
const options = parse(process.argv.slice(2));
const stages = [
  {
    what: 'by test run',
    frames: options.frames,
    test: 'packages/datapath/test/oracle',
    variable: 'WEFT_FUZZ_FRAMES',
    framesPerSeed: 500,
    framesPerRun: 50_000,
    seeds: 'packages/datapath/test/seeds.json',
  },
  {
    what: 'by TAP',
    frames: options.tapFrames,
    test: 'packages/datapath/test/tap-oracle',
    variable: 'WEFT_TAP_FUZZ_FRAMES',
    framesPerSeed: 150,
    framesPerRun: 15_000,
    seeds: 'packages/datapath/test/tap-seeds.json',
  },
];

let running;
let stopping = false;
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
for (const stage of stages) if (stage.frames > 0 && !stopping) await fuzz(stage);

async function fuzz({ what, frames, test, variable, framesPerSeed, framesPerRun, seeds }) {
  console.log(`${count(frames)} frames ${what} from seed ${options.seed}; the same again: npm run fuzz -- ${repeat()}`);
  let tried = 0;
  let generated = 0;
  let seed = options.seed;
  let broken = '';
  const failures = [];
  const started = performance.now();
  while (tried < frames && !stopping && broken === '' && failures.length < MOST_FAILURES) {
    // What the kernel refuses to run (a frame too short for it, a header without sense) counts for nothing; a few of each hundred.
    const wanted = Math.min(framesPerRun, Math.ceil((frames - tried) / framesPerSeed + 1) * framesPerSeed);
    const { status, output } = await runTest(test, { [variable]: String(wanted), WEFT_FUZZ_SEED: String(seed) });
    if (stopping) break;
    const difference = /seed (\d+), frame (\d+) \([^\n]*\):\n[\s\S]*?(?=\n\s*(?:❯|⎯))/.exec(output);
    const counted = /fuzz: (\d+) of (\d+) frames/.exec(output);
    if (difference !== null) {
      const [text, failedSeed, frame] = difference;
      failures.push({ seed: Number(failedSeed), frame: Number(frame) });
      console.log(`\nDIFFERENCE ${text}\n`);
      const done = (Number(failedSeed) - seed) * framesPerSeed + Number(frame);
      generated += done;
      tried += done;
      seed = Number(failedSeed) + 1;
    } else if (status === 0 && counted !== null) {
      tried += Number(counted[1]);
      generated += Number(counted[2]);
      seed += Math.ceil(wanted / framesPerSeed);
    } else broken = output.split('\n').slice(-40).join('\n');
    const rate = Math.round(tried / ((performance.now() - started) / 1000));
    console.log(
      `${count(tried)} of ${count(frames)} frames ${what}, seeds ${options.seed} to ${seed - 1}, ${count(rate)}/s, ${failures.length} differences`,
    );
  }

  if (broken !== '') {
    console.error(`The run from seed ${seed} ended without a result:\n${broken}`);
    process.exitCode = 1;
  } else if (failures.length > 0) {
    console.error(`Kernel and oracle differ; failing seeds (for ${seeds}):`);
    for (const failure of failures)
      console.error(`  ${JSON.stringify({ seed: failure.seed, frames: framesPerSeed, why: `frame ${failure.frame}` })}`);
    if (failures.length >= MOST_FAILURES) console.error(`Stopped after ${MOST_FAILURES} differences.`);
    process.exitCode = 1;
  } else if (stopping) {
    console.error(`Interrupted after ${count(tried)} frames ${what} without a difference.`);
  } else {
    console.log(
      `Kernel and oracle agree on ${count(tried)} frames ${what} (${count(generated)} generated), seeds ${options.seed} to ${seed - 1}.`,
    );
  }
}

function count(number) {
  return number.toLocaleString('en-US');
}

function repeat() {
  return `--frames ${options.frames} --tap-frames ${options.tapFrames} --seed ${options.seed}`;
}

function runTest(test, environment) {
  return new Promise((done) => {
    const argv = ['run', '--project', 'kernel*', test, '-t', 'generated frames', '--no-color'];
    running = spawn(process.execPath, [resolve(root, 'node_modules/vitest/vitest.mjs'), ...argv], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment, NO_COLOR: '1' },
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
  const found = { frames: 1_000_000, tapFrames: undefined, seed: Math.floor(Date.now() / 1000) % 100_000_000 };
  const flags = { '--frames': 'frames', '--tap-frames': 'tapFrames', '--seed': 'seed' };
  for (let index = 0; index < argv.length; index++) {
    const [flag, inline] = argv[index].split('=', 2);
    if (flag === '--help' || flag === '-h') {
      console.log(
        'Usage: npm run fuzz -- [--frames N, default 1000000] [--tap-frames N, default a twentieth] [--seed S, default from the clock]',
      );
      process.exit(0);
    }
    if (!Object.hasOwn(flags, flag)) fail(`unknown argument ${flag}; there are ${Object.keys(flags).join(', ')}, each with a number`);
    const value = Number(inline ?? argv[++index]);
    const least = flag === '--seed' ? 1 : 0;
    if (!Number.isSafeInteger(value) || value < least) fail(`${flag} must be a whole number, ${least} or more`);
    found[flags[flag]] = value;
  }
  return { ...found, tapFrames: found.tapFrames ?? Math.ceil(found.frames / 20) };
}

function fail(message) {
  console.error(`fuzz: ${message}`);
  process.exit(2);
}
