// `npm run sim [-- --seeds N] [--from S] [--seed X] [--trace]`: gateway ownership under schedules of faults, each from its seed (packages/election/src/sim):
// pauses, restarts, lost disks, partitions, drifting clocks, changes of voters. Safety is checked at every step, liveness once the faults stop.
// `--seed X` runs one, `--trace` prints what happens in it. Exit status 0: every promise held; 1: some schedule broke one; 2: a mistake in the call.
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const MOST_FAILURES = 20;
const SEEDS_PER_BATCH = 500;

if (isMainThread) await main();
else await work();

async function simulator() {
  try {
    return await import(new URL('../packages/election/dist/sim/index.js', import.meta.url));
  } catch {
    console.error('The simulator is not built: run `npm run build` first.');
    process.exit(2);
  }
}

async function work() {
  const { runSchedule } = await simulator();
  const { from, to } = workerData;
  let [events, moves] = [0, 0];
  for (let seed = from; seed < to; seed++) {
    const result = runSchedule(seed);
    events += result.events;
    moves += result.moves;
    if (result.violation !== undefined) parentPort.postMessage({ failed: { seed, message: result.violation.message } });
    if ((seed - from + 1) % SEEDS_PER_BATCH === 0 || seed + 1 === to) {
      parentPort.postMessage({ done: ((seed - from) % SEEDS_PER_BATCH) + 1, events, moves });
      [events, moves] = [0, 0];
    }
  }
}

async function main() {
  const options = parse(process.argv.slice(2));
  if (options.seed !== undefined) return one(options.seed, options.trace);
  const { seeds, from } = options;
  const workers = Math.max(1, Math.min(availableParallelism(), Math.ceil(seeds / SEEDS_PER_BATCH), 8));
  console.log(`${seeds.toLocaleString('en-US')} schedules, seeds ${from} to ${from + seeds - 1}, ${workers} threads`);
  const started = performance.now();
  const failures = [];
  let [done, events, moves, told] = [0, 0, 0, 0];
  const threads = [];
  await Promise.all(
    Array.from({ length: workers }, (_, i) => {
      const share = (at) => from + Math.floor((seeds * at) / workers);
      const thread = new Worker(fileURLToPath(import.meta.url), { workerData: { from: share(i), to: share(i + 1) } });
      threads.push(thread);
      return new Promise((resolve, reject) => {
        thread.on('message', (message) => {
          if (message.failed !== undefined) {
            failures.push(message.failed);
            console.log(`FAILED seed ${message.failed.seed}: ${message.failed.message}`);
            if (failures.length >= MOST_FAILURES) for (const other of threads) other.terminate();
            return;
          }
          done += message.done;
          events += message.events;
          moves += message.moves;
          const seconds = (performance.now() - started) / 1000;
          if (seconds - told < 5 && done < seeds) return;
          told = seconds;
          console.log(
            `${done.toLocaleString('en-US')} schedules, ${Math.round(done / seconds)}/s, ${moves.toLocaleString('en-US')} moves, ${failures.length} failed`,
          );
        });
        thread.on('error', reject);
        thread.on('exit', resolve);
      });
    }),
  );
  if (failures.length === 0) {
    console.log(`Every promise held in ${done.toLocaleString('en-US')} schedules (${events.toLocaleString('en-US')} events).`);
    return;
  }
  failures.sort((a, b) => a.seed - b.seed);
  console.error(
    `${failures.length} schedules broke a promise${failures.length >= MOST_FAILURES ? ' (stopped there)' : ''}; see one: npm run sim -- --seed ${failures[0].seed} --trace`,
  );
  console.error(`Seeds for packages/election/test/seeds.json: ${failures.map(({ seed }) => seed).join(', ')}`);
  process.exitCode = 1;
}

async function one(seed, trace) {
  const { runSchedule } = await simulator();
  const { violation, events, simulatedMs } = runSchedule(seed, undefined, trace ? (line) => console.log(line) : undefined);
  if (violation === undefined) console.log(`Seed ${seed}: every promise held (${events} events, ${Math.round(simulatedMs)} ms).`);
  else {
    console.error(`Seed ${seed}: ${violation.message}`);
    process.exitCode = 1;
  }
}

function parse(argv) {
  const options = { seeds: 100_000, from: 1, seed: undefined, trace: false };
  for (let i = 0; i < argv.length; i++) {
    const [flag, inline] = argv[i].split('=', 2);
    if (flag === '--help' || flag === '-h') {
      console.log('Usage: npm run sim -- [--seeds N, default 100000] [--from S, default 1] [--seed X: only that one] [--trace: print it]');
      process.exit(0);
    }
    if (flag === '--trace') {
      options.trace = true;
      continue;
    }
    const name = flag.slice(2);
    const value = Number(inline ?? argv[++i]);
    if (!['--seeds', '--from', '--seed'].includes(flag) || !Number.isSafeInteger(value) || value < (name === 'seeds' ? 1 : 0)) {
      console.error(`Cannot understand ${argv.join(' ')}: see npm run sim -- --help`);
      process.exit(2);
    }
    options[name] = value;
  }
  if (options.trace && options.seed === undefined) {
    console.error('--trace needs --seed: one schedule is as long as a page');
    process.exit(2);
  }
  return options;
}
