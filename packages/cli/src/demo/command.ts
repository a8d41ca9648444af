import { Lab, parseLabFile } from '@weft/lab';
import {
  cleanDeadLabs,
  cleanDeadTestRuns,
  cleanLab,
  httpGet,
  httpServe,
  type PingStream,
  ping,
  startPingStream,
  startTcpStream,
  tcpEchoServe,
  withCleanup,
} from '@weft/testkit';
import type { Command } from 'commander';
import type { Deps } from '../commands/deps.ts';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { labCacheDir, weftCommand } from '../lab/commands.ts';
import { GatewaySteps } from './gateway.ts';
import { proveIsolation } from './isolation.ts';
import { type StepOutcome, Story } from './story.ts';
import { gateways, labFileText, tenants, vmName, vms } from './topology.ts';

const HTTP_BYTES = 2_000_000;

export function registerDemoCommand(program: Command, deps: Deps): void {
  program
    .command('demo')
    .summary('three hosts, two gateways and two tenants with equal addresses on this machine, proving what Weft promises')
    .description(
      'Builds a lab, shows isolation, forwarding, a port that moves, what happens when the agent and NATS die, the way out through two gateways and what becomes of connections when one of them loses power or is drained, and removes it all. Exit status 0 if everything held.',
    )
    .option('--json', 'print {ok, steps} as JSON and nothing else on standard output')
    .action(async (options: { json?: boolean }) => {
      if (process.getuid?.() !== 0)
        throw new CliError(CliErrorCode.Setting, 'The demo needs root: it makes network namespaces, devices and BPF programs');
      const story = new Story(options.json === true ? () => {} : (text) => deps.io.out(text), deps.io.color);
      const name = `demo-${process.pid}`;
      let lab: Lab | undefined;
      await withCleanup(
        async () => {
          if (lab !== undefined) await lab.down();
          await cleanLab(name);
        },
        async () => {
          await cleanDeadLabs('demo-');
          await cleanDeadTestRuns();
          try {
            lab = await tell(story, name);
          } catch (error) {
            // The step has said what broke; the summary and the exit status tell the rest.
            if (story.steps.every((step) => step.ok)) throw error;
          }
        },
      );
      story.summary();
      if (options.json === true) deps.io.out(`${JSON.stringify({ ok: story.ok, steps: story.steps })}\n`);
      else
        deps.io.out(
          story.ok
            ? '\nEverything held. The lab is gone again; "weft lab up -f docs/examples/lab.yaml" makes one that stays.\n'
            : '\nNot everything held.\n',
        );
      if (!story.ok) deps.setExitCode(1);
    });

  async function tell(story: Story, name: string): Promise<Lab> {
    let lab!: Lab;
    await story.step('build', 'Three hosts, two tenants with the same subnets, IP and MAC addresses', async () => {
      lab = await Lab.up(parseLabFile('demo', labFileText()), {
        name,
        weft: weftCommand,
        keep: false,
        cacheDir: labCacheDir,
        progress: (line) => story.say(line),
      });
      await lab.untilConsistent();
      for (const vm of vms)
        story.say(`${vm.host}: coke-${vm.letter} and pepsi-${vm.letter} are both ${vm.address} (${vm.subnet}), both ${vm.mac}`);
      return {
        ok: true,
        line: `${lab.net.hosts.size - gateways.length} hosts, ${gateways.length} gateways, ${lab.vms.size} VMs, one nats-server, real agents, real eBPF`,
        figures: { hosts: lab.net.hosts.size - gateways.length, gateways: gateways.length, vms: lab.vms.size },
      };
    });
    await story.step('ping', 'Ping on every pair inside each tenant', () => withDeaths(lab, () => pingAll(lab, story)));
    await story.step('http', 'An HTTP transfer on every pair inside each tenant', () => withDeaths(lab, () => fetchAll(lab, story)));
    await story.step('isolation', 'No frame crosses between the tenants', () => withDeaths(lab, () => proveIsolation(lab, story)));
    await story.step('migration', 'A port moves to another host under a running ping', () => withDeaths(lab, () => migrate(lab, story)));
    await story.step('agent-killed', 'An agent is killed with SIGKILL while traffic goes on', () =>
      withDeaths(lab, () => killAgent(lab, story)),
    );
    await story.step('nats-stopped', 'NATS is stopped while traffic goes on', () => withDeaths(lab, () => stopNats(lab, story)));
    const outside = new GatewaySteps(lab, story);
    try {
      for (const [id, title, work] of [
        ['way-out', 'Both tenants reach the Internet at once, through gateways', () => outside.wayOut()],
        ['port-forward', 'A port of an external address leads to a VM', () => outside.portForward()],
        ['power-cut', 'A gateway loses power under load', () => outside.powerCut()],
        ['drain', 'A gateway is drained under load', () => outside.drain()],
      ] as const)
        await story.step(id, title, () => withDeaths(lab, work));
    } finally {
      outside.stop();
    }
    await story.step('consistent', 'At the end every table is what the records say', async () => {
      await lab.untilConsistent();
      return {
        ok: true,
        line: 'tables rebuilt from zero, the agents’ own and the kernel’s maps are equal on every host',
        figures: { differences: 0 },
      };
    });
    return lab;
  }
}

/** A step that didn't hold says which agents and controllers died by themselves, with the end of their logs. */
async function withDeaths(lab: Lab, work: () => Promise<StepOutcome>): Promise<StepOutcome> {
  const outcome = await lab.tellingDeaths(work);
  return outcome.ok ? outcome : { ...outcome, line: [outcome.line, ...lab.deaths()].join('\n') };
}

function pairs(): { readonly from: (typeof vms)[number]; readonly to: (typeof vms)[number] }[] {
  return vms.flatMap((from, index) => vms.slice(index + 1).map((to) => ({ from, to })));
}

async function pingAll(lab: Lab, story: Story): Promise<StepOutcome> {
  let received = 0;
  let sent = 0;
  for (const tenant of tenants) {
    for (const { from, to } of pairs()) {
      const result = await ping(lab.vm(vmName(tenant, from.letter)), to.address, { count: 3, intervalMs: 20, timeoutMs: 5_000 });
      sent += result.sent;
      received += result.received;
      story.say(
        `${tenant}-${from.letter} → ${tenant}-${to.letter}  ${from.subnet === to.subnet ? 'same subnet' : 'routed     '}  ${result.received}/${result.sent}`,
      );
    }
  }
  return {
    ok: received === sent && sent > 0,
    line: `${received} of ${sent} answered, on ${pairs().length * tenants.length} pairs, same subnet and routed`,
    figures: { sent, received },
  };
}

async function fetchAll(lab: Lab, story: Story): Promise<StepOutcome> {
  let good = 0;
  let all = 0;
  let bytes = 0;
  for (const tenant of tenants) {
    const servers = new Map<string, { close(): Promise<void> }>();
    for (const vm of vms) servers.set(vm.letter, await httpServe(await lab.vm(vmName(tenant, vm.letter)).worker(), { port: 80 }));
    for (const { from, to } of pairs()) {
      const worker = await lab.vm(vmName(tenant, from.letter)).worker();
      // The body follows from the tenant's name, so a body of the other tenant would have the wrong checksum.
      const result = await httpGet(worker, `http://${to.address}/${tenant}-${to.letter}/${HTTP_BYTES}`);
      all++;
      bytes += result.size;
      if (result.ok) good++;
      story.say(
        `${tenant}-${from.letter} ← ${tenant}-${to.letter}  ${(result.size / 1e6).toFixed(1)} MB, SHA-256 ${result.ok ? 'right' : 'WRONG'}, ${((result.size * 8) / result.elapsedMs / 1e6).toFixed(2)} Gb/s`,
      );
    }
    for (const server of servers.values()) await server.close();
  }
  return {
    ok: good === all,
    line: `${good} of ${all} transfers complete and right, ${(bytes / 1e6).toFixed(0)} MB`,
    figures: { transfers: all, good, bytes },
  };
}

async function migrate(lab: Lab, story: Story): Promise<StepOutcome> {
  const stream = await startPingStream(lab.vm('coke-a').netns, '10.0.1.11', { intervalMs: 10, registry: lab.net.registry });
  const other = await startPingStream(lab.vm('pepsi-a').netns, '10.0.1.11', { intervalMs: 10, registry: lab.net.registry });
  await stream.answered(50);
  story.say('coke-a pings coke-b (10.0.1.11) 200 times a second, pepsi-a pings pepsi-b, the same address');
  const binding = await lab.migrate('coke-b', 'h3');
  story.say(`coke/net/b moved from h2 to h3, generation ${binding.generation}`);
  await stream.answered(1);
  const settled = await stream.takeWindow();
  await stream.answered(100);
  const after = await stream.stop();
  const untouched = await other.stop();
  return {
    ok: after.lost === 0 && untouched.lost === 0 && settled.longestGapMs < 1_000,
    line: `moved within ${settled.longestGapMs.toFixed(0)} ms; lost after the move ${after.lost} of ${after.sent}; pepsi-b, same address, lost ${untouched.lost} of ${untouched.sent}`,
    figures: {
      gapMs: settled.longestGapMs,
      lostDuring: settled.lost,
      lostAfter: after.lost,
      otherTenantLost: untouched.lost,
      generation: binding.generation,
    },
  };
}

interface Load {
  readonly pings: PingStream[];
  stop(): Promise<{ lost: number; sent: number; broken: number; stallMs: number; connections: number }>;
}

/** Pings at 1,000 a second over three pairs and TCP connections that must not break. */
async function startLoad(lab: Lab): Promise<Load> {
  const server = await tcpEchoServe(await lab.vm('coke-d').worker(), { port: 7 });
  const tcp = await startTcpStream(await lab.vm('coke-a').worker(), { host: '10.0.2.11', port: 7, connections: 4, intervalMs: 5 });
  const routes = [
    ['coke-a', '10.0.2.11'],
    ['pepsi-a', '10.0.1.11'],
    ['pepsi-c', '10.0.2.11'],
  ] as const;
  const pings = await Promise.all(
    routes.map(([from, to]) => startPingStream(lab.vm(from).netns, to, { intervalMs: 3, registry: lab.net.registry })),
  );
  return {
    pings,
    stop: async () => {
      const results = await Promise.all(pings.map((stream) => stream.stop()));
      const streams = await tcp.stop();
      await server.close();
      return {
        lost: results.reduce((sum, result) => sum + result.lost, 0),
        sent: results.reduce((sum, result) => sum + result.sent, 0),
        broken: streams.broken.length + streams.corrupt,
        stallMs: streams.longestStallMs,
        connections: streams.connections,
      };
    },
  };
}

async function killAgent(lab: Lab, story: Story): Promise<StepOutcome> {
  const load = await startLoad(lab);
  await Promise.all(load.pings.map((stream) => stream.answered(200)));
  const { pid } = lab.agent('h1');
  lab.agent('h1').kill('SIGKILL');
  await lab.agent('h1').exited;
  story.say(`agent of h1 (pid ${pid}) is dead; its VMs go on`);
  await Promise.all(load.pings.map((stream) => stream.answered(500, 20_000)));
  await lab.startAgent('h1');
  story.say(`agent of h1 is back (pid ${lab.agent('h1').pid}), reconciled with what the kernel holds`);
  await Promise.all(load.pings.map((stream) => stream.answered(200)));
  return outcome(await load.stop(), 'agent dead and back');
}

async function stopNats(lab: Lab, story: Story): Promise<StepOutcome> {
  const load = await startLoad(lab);
  await Promise.all(load.pings.map((stream) => stream.answered(100)));
  await lab.nats.stop();
  story.say('nats-server is stopped: no control plane at all');
  await Promise.all(load.pings.map((stream) => stream.answered(1_000, 30_000)));
  await lab.nats.restart();
  story.say('nats-server is back');
  for (const host of lab.net.hosts.keys()) await lab.untilAgentAnswers(host);
  await Promise.all(load.pings.map((stream) => stream.answered(100)));
  return outcome(await load.stop(), 'NATS gone and back');
}

function outcome(result: Awaited<ReturnType<Load['stop']>>, what: string): StepOutcome {
  return {
    ok: result.lost === 0 && result.broken === 0 && result.sent > 1_000,
    line: `${what}: packets lost ${result.lost} of ${result.sent}, TCP connections broken ${result.broken} of ${result.connections}, longest stall ${result.stallMs.toFixed(0)} ms`,
    figures: { lost: result.lost, sent: result.sent, tcpBroken: result.broken, longestStallMs: result.stallMs },
  };
}
