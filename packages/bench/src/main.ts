import { cleanDeadLabs, cleanDeadTestRuns, cleanLab, type LabNet } from '@weft/testkit';
import type { BenchContext } from './core/context.ts';
import type { Figure } from './core/figure.ts';
import { table } from './core/table.ts';
import { groups } from './groups.ts';

const usage = `Usage: npm run bench -- [--only ID,...] [--json] [--full] [--rounds N] [--list]

Measures Weft beside its peers in the same run and prints a table; exit status 0 if every goal was met, 1 if not, 2 for a mistake in the call.

  --only ID,…   only the figures whose id begins with one of these
  --json        {"figures": [{id, value, unit, against, goal, ok, …}]} and nothing else on standard output
  --full        the long forms too
  --rounds N    rounds behind each median (default 5); of the packet path's figures 4 slices each
  --list        the groups of figures there are
`;

/** Runs of the packet path's figures in place of one round. */
const SLICES_A_ROUND = 4;

interface Options {
  readonly only: readonly string[];
  readonly json: boolean;
  readonly full: boolean;
  readonly rounds: number;
}

function parse(argv: readonly string[]): Options {
  const options = { only: [] as string[], json: false, full: false, rounds: 5 };
  for (let index = 0; index < argv.length; index++) {
    const [flag, inline] = argv[index]!.split('=', 2);
    const value = (): string => {
      const given = inline ?? argv[++index];
      if (given === undefined) fail(`${flag} needs a value`);
      return given;
    };
    if (flag === '--only') options.only.push(...value().split(',').filter(Boolean));
    else if (flag === '--rounds') options.rounds = Number(value());
    else if (flag === '--json') options.json = true;
    else if (flag === '--full') options.full = true;
    else if (flag === '--list') {
      for (const group of groups) process.stdout.write(`${group.ids.join(' ')}\n    ${group.what}\n`);
      process.exit(0);
    } else if (flag === '--help' || flag === '-h') {
      process.stdout.write(usage);
      process.exit(0);
    } else fail(`unknown argument ${flag}`);
  }
  if (!Number.isInteger(options.rounds) || options.rounds < 1) fail('--rounds must be a whole number, 1 or more');
  const known = groups.flatMap((group) => group.ids);
  for (const id of options.only) {
    if (!known.some((name) => name.startsWith(id) || id.startsWith(name)))
      fail(`--only ${id}: no such figure; there are ${known.join(', ')}`);
  }
  return options;
}

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n\n${usage}`);
  process.exit(2);
}

const options = parse(process.argv.slice(2));
const run = `bench-${process.pid}`;
const labs = new Set<string>();
const undo = new Map<string, (() => Promise<void> | void)[]>();
const atEnd: (() => Promise<void> | void)[] = [];
const terminal = process.stderr.isTTY === true;

const context: BenchContext = {
  rounds: options.rounds,
  runMs: 400,
  slices: options.rounds * SLICES_A_ROUND,
  sliceMs: 120,
  full: options.full,
  name: (suffix) => {
    const name = `${run}-${suffix}`.slice(0, 30);
    labs.add(name);
    return name;
  },
  progress: (text) => process.stderr.write(terminal ? `\r\x1b[K${text}` : `${text}\n`),
  onEnd: (cleanup) => atEnd.push(cleanup),
  beforeClose: (netName, action) => undo.set(netName, [...(undo.get(netName) ?? []), action]),
  closePath: async (net: LabNet) => {
    for (const host of net.hosts.values()) {
      for (const action of (undo.get(host.netns) ?? []).reverse()) await action();
      undo.delete(host.netns);
    }
    await net.close();
    labs.delete(net.name);
  },
};

async function cleanUp(): Promise<void> {
  for (const actions of undo.values()) for (const action of actions.reverse()) await Promise.resolve(action()).catch(() => {});
  for (const action of atEnd.reverse()) await Promise.resolve(action()).catch(() => {});
  for (const lab of labs) await cleanLab(lab).catch(() => {});
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void cleanUp().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
  });
}

await cleanDeadLabs('bench-');
await cleanDeadTestRuns();
const figures: Figure[] = [];
let broken = 0;
for (const group of groups) {
  const wanted =
    options.only.length === 0 || options.only.some((id) => group.ids.some((name) => name.startsWith(id) || id.startsWith(name)));
  if (!wanted) continue;
  try {
    const measured = await group.measure(context);
    figures.push(...measured.filter((figure) => options.only.length === 0 || options.only.some((id) => figure.id.startsWith(id))));
  } catch (error) {
    broken++;
    process.stderr.write(`${terminal ? '\r\x1b[K' : ''}bench: ${group.ids.join(', ')}: ${(error as Error).stack ?? String(error)}\n`);
    figures.push({
      id: group.ids[0]!,
      what: group.what,
      value: Number.NaN,
      unit: '',
      against: '',
      goal: 'measured',
      ok: false,
      note: String(error),
    });
  }
}
await cleanUp();
if (terminal) process.stderr.write('\r\x1b[K');
process.stdout.write(options.json ? `${JSON.stringify({ figures })}\n` : table(figures));
process.exit(broken > 0 || figures.some((figure) => figure.ok === false) ? 1 : 0);
