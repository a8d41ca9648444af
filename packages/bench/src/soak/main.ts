import { cleanDeadLabs, cleanLab } from '@weft/testkit';
import { startControlLab } from '../control/control-lab.ts';
import { startGatewaySoakLab } from './gateway-lab.ts';
import { gatewayChaos, gatewaysWithoutNats } from './gateways.ts';
import { CONTROLLERS, chaos, HOSTS, natsAway, type PartReport, PORTS, VMS } from './soak.ts';

const usage = `Usage: npm run soak -- [--minutes N] [--chaos-minutes N] [--seed S] [--json]

A lab of three hosts under continuous probes: NATS down for long with agents killed meanwhile, then agents, controllers and NATS killed and a port moved at
random. No packet between ports that don't move may be lost, no connection may break, and at the end every table must equal one rebuilt from zero.
Then a lab of two gateways and a witness: NATS down as long with the agents of owners killed meanwhile (nothing may move, nothing be lost), then power cuts,
freezes of up to a minute, partitions, links that come and go and NATS killed at random (two owners never, and each network served again after each).
Exit status 0 if all held, 1 if not, 2 for a mistake in the call.

  --minutes N        how long NATS is down (default 10)
  --chaos-minutes N  how long the random part goes (default: half of --minutes)
  --only PART        hosts or gateways (default both)
  --seed S           of the random parts (default from the clock; printed)
  --json             {"ok", "seed", "parts": [...]} and nothing else on standard output
`;

function fail(message: string): never {
  process.stderr.write(`soak: ${message}\n\n${usage}`);
  process.exit(2);
}

function parse(argv: readonly string[]): { minutes: number; chaosMinutes: number; seed: number; json: boolean; only: string } {
  const options = { minutes: 10, chaosMinutes: Number.NaN, only: '', seed: Math.floor(Date.now() / 1000) % 100_000_000, json: false };
  for (let index = 0; index < argv.length; index++) {
    const [flag, inline] = argv[index]!.split('=', 2);
    const number = (): number => {
      const value = Number(inline ?? argv[++index]);
      if (!Number.isFinite(value) || value <= 0) fail(`${flag} must be a number above 0`);
      return value;
    };
    if (flag === '--minutes') options.minutes = number();
    else if (flag === '--chaos-minutes') options.chaosMinutes = number();
    else if (flag === '--seed') options.seed = Math.trunc(number());
    else if (flag === '--only') {
      options.only = inline ?? argv[++index] ?? '';
      if (options.only !== 'hosts' && options.only !== 'gateways') fail('--only must be hosts or gateways');
    } else if (flag === '--json') options.json = true;
    else if (flag === '--help' || flag === '-h') {
      process.stdout.write(usage);
      process.exit(0);
    } else fail(`unknown argument ${flag}`);
  }
  if (Number.isNaN(options.chaosMinutes)) options.chaosMinutes = options.minutes / 2;
  return options;
}

function describe(report: PartReport): string {
  const lines = [`${report.ok ? 'ok    ' : 'FAILED'} ${report.part} (${report.seconds} s)`];
  const actions = Object.entries(report.actions).map(([kind, count]) => `${kind} ${count}`);
  lines.push(`         done: ${actions.join(', ')}`);
  for (const probe of report.probes)
    lines.push(
      `         ${probe.what}: ${probe.sent} sent, ${probe.lost} lost${probe.mayLose ? ' (may be, while it moves)' : ''}, longest gap ${probe.longestGapMs.toFixed(0)} ms`,
    );
  lines.push(
    `         TCP: ${report.tcp.connections} connections, ${report.tcp.echoed} answers, ${report.tcp.broken.length} broken, ${report.tcp.corrupt} corrupt`,
  );
  lines.push(`         tables, their rebuild and the kernel's maps ${report.consistent ? 'agree' : 'DIFFER'}`);
  if (report.problem !== undefined) lines.push(`         ${report.problem}`);
  return `${lines.join('\n')}\n`;
}

const options = parse(process.argv.slice(2));
const name = `soak-${process.pid}`;
const startedMs = performance.now();
const say = (text: string): void => {
  process.stderr.write(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(7)} s  ${text}\n`);
};

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void cleanLab(name).finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
  });
}

say(`seed ${options.seed}`);
await cleanDeadLabs('soak-');
const parts: PartReport[] = [];
let broken: string | undefined;
try {
  if (options.only !== 'gateways') {
    const control = await startControlLab({ name, hosts: HOSTS, controllers: CONTROLLERS, ports: PORTS, vms: VMS, progress: say });
    try {
      await control.lab.untilConsistent();
      parts.push(await natsAway(control, options.minutes, say));
      parts.push(await chaos(control, options.chaosMinutes, options.seed, say));
    } finally {
      await control.lab.down();
    }
  }
  if (options.only !== 'hosts') {
    const gateways = await startGatewaySoakLab(name, say);
    try {
      parts.push(await gatewaysWithoutNats(gateways, options.minutes, say));
      parts.push(await gatewayChaos(gateways, options.chaosMinutes, options.seed, say));
    } finally {
      gateways.watcher.stop();
      await gateways.lab.down();
    }
  }
} catch (error) {
  broken = (error as Error).stack ?? String(error);
  process.stderr.write(`soak: ${broken}\n`);
}
const ok = broken === undefined && parts.length === (options.only === '' ? 4 : 2) && parts.every((part) => part.ok);
if (options.json) process.stdout.write(`${JSON.stringify({ ok, seed: options.seed, parts })}\n`);
else process.stdout.write(parts.map(describe).join(''));
process.exit(ok ? 0 : 1);
