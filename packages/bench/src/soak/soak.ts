import type { Lab } from '@weft/lab';
import { type PingStream, startPingStream, startTcpStream, type TcpStream, tcpEchoServe } from '@weft/testkit';
import { type ControlLab, labPort } from '../control/control-lab.ts';
import { describeAction, nextAction, randomFrom, type SoakAction } from './schedule.ts';

/*
 *   h1: p0        h2: p1        h3: p2         steady: ping in a ring and TCP; not one packet may be lost, whatever is killed
 *   p3 moves between the hosts                 pinged by p0; may miss some while it moves, must answer again after
 */

export const HOSTS = ['h1', 'h2', 'h3'] as const;
export const CONTROLLERS = 2;
const STEADY = [0, 1, 2].map(labPort);
const MOVER = labPort(3);
export const PORTS: readonly ReturnType<typeof labPort>[] = [...STEADY, MOVER];
export const VMS: readonly { readonly host: string; readonly port: ReturnType<typeof labPort> }[] = [
  ...STEADY.map((port, index) => ({ host: HOSTS[index]!, port })),
  { host: HOSTS[1], port: MOVER },
];

/** What one probe saw over a part of the run. */
export interface ProbeReport {
  readonly what: string;
  readonly sent: number;
  readonly lost: number;
  readonly longestGapMs: number;
  /** Whether a loss fails the run. */
  readonly mayLose: boolean;
}

/** What a part of the run came to. */
export interface PartReport {
  readonly part: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly actions: Readonly<Record<string, number>>;
  readonly probes: readonly ProbeReport[];
  /** Connections that broke, and bytes that came back wrong. */
  readonly tcp: { readonly connections: number; readonly echoed: number; readonly broken: readonly string[]; readonly corrupt: number };
  /** Between tables, their rebuild from zero, and the kernel's maps. */
  readonly consistent: boolean;
  readonly problem?: string;
}

type Say = (text: string) => void;

/** Probes of one part, running. */
class Probes {
  readonly steady: readonly { readonly what: string; readonly ping: PingStream }[];
  readonly mover: PingStream;
  readonly #tcp: TcpStream;
  readonly #closeServer: () => Promise<void>;

  private constructor(parts: {
    steady: readonly { readonly what: string; readonly ping: PingStream }[];
    mover: PingStream;
    tcp: TcpStream;
    closeServer: () => Promise<void>;
  }) {
    this.steady = parts.steady;
    this.mover = parts.mover;
    this.#tcp = parts.tcp;
    this.#closeServer = parts.closeServer;
  }

  static async start(lab: Lab): Promise<Probes> {
    const options = { intervalMs: 10, registry: lab.net.registry };
    const server = await tcpEchoServe(await lab.vm(STEADY[2]!.name).worker(), { port: 7 });
    return new Probes({
      steady: await Promise.all(
        STEADY.map(async (from, index) => {
          const to = STEADY[(index + 1) % STEADY.length]!;
          return { what: `ping ${from.name} to ${to.name}`, ping: await startPingStream(lab.vm(from.name).netns, to.address, options) };
        }),
      ),
      mover: await startPingStream(lab.vm(STEADY[0]!.name).netns, MOVER.address, options),
      tcp: await startTcpStream(await lab.vm(STEADY[0]!.name).worker(), {
        host: STEADY[2]!.address,
        port: 7,
        connections: 4,
        intervalMs: 10,
      }),
      closeServer: () => server.close(),
    });
  }

  /** Lost up to now by those that must not lose. */
  lost(): number {
    return this.steady.reduce((sum, { ping }) => sum + ping.read().lost, 0);
  }

  async stop(): Promise<Pick<PartReport, 'probes' | 'tcp'>> {
    const report = async (what: string, ping: PingStream, mayLose: boolean): Promise<ProbeReport> => {
      const { sent, lost, longestGapMs } = await ping.stop();
      return { what, sent, lost, longestGapMs, mayLose };
    };
    const probes = await Promise.all([
      ...this.steady.map(({ what, ping }) => report(what, ping, false)),
      report(`ping ${STEADY[0]!.name} to ${MOVER.name}, which moves`, this.mover, true),
    ]);
    const { connections, echoed, broken, corrupt } = await this.#tcp.stop();
    await this.#closeServer();
    return { probes, tcp: { connections, echoed, broken, corrupt } };
  }
}

/** Runs `work` under probes, and judges. */
async function part(
  { lab }: ControlLab,
  name: string,
  moves: boolean,
  work: (probes: Probes, count: (kind: string) => void) => Promise<void>,
): Promise<PartReport> {
  const startedMs = performance.now();
  const actions: Record<string, number> = {};
  const probes = await Probes.start(lab);
  let problem: string | undefined;
  let consistent = false;
  try {
    await work(probes, (kind) => {
      actions[kind] = (actions[kind] ?? 0) + 1;
    });
    for (const host of HOSTS) await lab.untilAgentAnswers(host);
    await lab.untilConsistent(60_000);
    consistent = true;
    await probes.mover.answered(20, 10_000);
  } catch (error) {
    problem = (error as Error).message;
  }
  const seen = await probes.stop();
  const lossless = seen.probes.every((probe) => probe.sent > 0 && (probe.lost === 0 || (probe.mayLose && moves)));
  const ok = problem === undefined && consistent && lossless && seen.tcp.broken.length === 0 && seen.tcp.corrupt === 0;
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  return { part: name, ok, seconds, actions, ...seen, consistent, ...(problem === undefined ? {} : { problem }) };
}

/** NATS away for long; agents killed and started meanwhile, so that each has to go on from what it has saved. */
export async function natsAway(control: ControlLab, minutes: number, say: Say): Promise<PartReport> {
  const { lab } = control;
  return await part(control, `NATS down for ${minutes} minutes, agents killed meanwhile`, false, async (probes, count) => {
    const endMs = performance.now() + minutes * 60_000;
    const restEveryMs = Math.min(30_000, Math.max(3_000, (minutes * 60_000) / 12));
    await lab.nats.stop();
    say('NATS is down');
    count('NATS stopped');
    for (let turn = 0; performance.now() < endMs; turn++) {
      await sleep(Math.min(restEveryMs, endMs - performance.now()));
      if (performance.now() >= endMs) break;
      const host = HOSTS[turn % HOSTS.length]!;
      const signal = turn % 2 === 0 ? 'SIGKILL' : 'SIGTERM';
      await endAgent(lab, host, signal);
      await sleep(restEveryMs / 4);
      await lab.startAgent(host, { wait: false });
      await lab.agent(host).waitForLine(/agent started/, 30_000);
      count(`agent ${signal}`);
      say(`agent of ${host} ${signal} and started without NATS; packets lost so far: ${probes.lost()}`);
    }
    await lab.nats.restart();
    say('NATS is back');
  });
}

/** One thing after the other, as the seed says. */
export async function chaos(control: ControlLab, minutes: number, seed: number, say: Say): Promise<PartReport> {
  const random = randomFrom(seed);
  return await part(control, `random kills, outages and moves for ${minutes} minutes, seed ${seed}`, true, async (probes, count) => {
    const endMs = performance.now() + minutes * 60_000;
    while (performance.now() < endMs) {
      const { action, pauseMs } = nextAction(random, { hosts: HOSTS, controllers: CONTROLLERS });
      await sleep(pauseMs);
      say(`${describeAction(action)}; packets lost so far: ${probes.lost()}`);
      await carryOut(control.lab, action);
      count(action.kind);
      if (action.kind === 'move') await probes.mover.answered(5, 10_000);
    }
  });
}

async function carryOut(lab: Lab, action: SoakAction): Promise<void> {
  switch (action.kind) {
    case 'agent':
      await endAgent(lab, action.host, action.signal);
      await sleep(action.awayMs);
      await lab.startAgent(action.host);
      return;
    case 'controller': {
      const controller = lab.controller(action.number);
      controller.kill('SIGKILL');
      await controller.exited;
      await sleep(action.awayMs);
      await lab.startController(action.number);
      return;
    }
    case 'nats':
      if (action.killed) await lab.nats.kill('SIGKILL');
      else await lab.nats.stop();
      if (action.agentToo !== undefined) {
        await endAgent(lab, action.agentToo, 'SIGKILL');
        await lab.startAgent(action.agentToo, { wait: false });
      }
      await sleep(action.awayMs);
      await lab.nats.restart();
      for (const host of HOSTS) await lab.untilAgentAnswers(host);
      return;
    case 'move': {
      const at = (HOSTS as readonly string[]).indexOf(lab.vm(MOVER.name).host);
      await lab.migrate(MOVER.name, HOSTS[(at + action.by) % HOSTS.length]!);
      return;
    }
  }
}

async function endAgent(lab: Lab, host: string, signal: NodeJS.Signals): Promise<void> {
  const agent = lab.agent(host);
  agent.kill(signal);
  await agent.exited;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
