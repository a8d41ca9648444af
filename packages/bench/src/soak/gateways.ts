import { cutPower, restorePower } from '@weft/lab';
import { waitFor } from '@weft/testkit';
import { GATEWAYS, GatewayProbes, type GatewaySoakLab, WITNESS } from './gateway-lab.ts';
import { describeGatewayAction, type GatewayAction, nextGatewayAction, randomFrom } from './schedule.ts';
import type { PartReport } from './soak.ts';

/** After a fault has ended: a lease, its loss noticed, an election, and the patience of a busy machine. */
const RECOVERY_MS = 60_000;

type Say = (text: string) => void;

/** Runs `work` under probes and under the watcher of every host's shard map, and judges. */
async function part(
  { lab, watcher }: GatewaySoakLab,
  name: string,
  mayLose: boolean,
  work: (probes: GatewayProbes, count: (kind: string) => void) => Promise<void>,
): Promise<PartReport> {
  const startedMs = performance.now();
  const actions: Record<string, number> = {};
  const movesBefore = watcher.moves.length;
  const probes = await GatewayProbes.start(lab);
  let problem: string | undefined;
  let consistent = false;
  try {
    await work(probes, (kind) => {
      actions[kind] = (actions[kind] ?? 0) + 1;
    });
    for (const host of lab.net.hosts.keys()) await lab.untilAgentAnswers(host);
    await watcher.untilAtRest(RECOVERY_MS);
    await lab.untilConsistent(60_000);
    consistent = true;
  } catch (error) {
    problem = (error as Error).message;
  }
  const moves = watcher.moves.length - movesBefore;
  actions['moves seen'] = moves;
  if (!mayLose && moves > 0) problem ??= `${moves} shards moved, where none had a reason to`;
  if (watcher.faults.length > 0) problem ??= watcher.faults.join('; ');
  const seen = await probes.stop(mayLose);
  const lossless = seen.probes.every(({ sent, lost }) => sent > 0 && (mayLose || lost === 0));
  const whole = mayLose || seen.tcp.broken.length === 0;
  const ok = problem === undefined && consistent && lossless && whole && seen.tcp.corrupt === 0;
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  return { part: name, ok, seconds, actions, ...seen, consistent, ...(problem === undefined ? {} : { problem }) };
}

/** NATS away for long, and each gateway's agent restarted meanwhile: nothing may move, nothing be lost. */
export async function gatewaysWithoutNats(soak: GatewaySoakLab, minutes: number, say: Say): Promise<PartReport> {
  const { lab, watcher } = soak;
  return await part(
    soak,
    `gateways without NATS for ${minutes} minutes, agents of owners restarted meanwhile`,
    false,
    async (probes, count) => {
      const endMs = performance.now() + minutes * 60_000;
      await lab.nats.stop();
      say('NATS is down');
      count('NATS stopped');
      const turns = GATEWAYS.length * 2;
      for (let turn = 0; turn < turns; turn++) {
        await sleep(((minutes * 60_000) / (turns + 1)) * 0.9);
        const host = GATEWAYS[turn % GATEWAYS.length]!;
        lab.agent(host).kill('SIGKILL');
        await lab.agent(host).exited;
        await lab.startAgent(host, { wait: false });
        await lab.agent(host).waitForLine(/agent started/, 30_000);
        count('agent SIGKILL');
        say(`agent of ${host} killed and started without NATS; packets lost so far: ${probes.lost()}, moves ${watcher.moves.length}`);
      }
      await sleep(endMs - performance.now());
      await lab.nats.restart();
      say('NATS is back');
    },
  );
}

/** One fault after the other, as the seed says; after each every network must be served again, and at no time two owners accepted. */
export async function gatewayChaos(soak: GatewaySoakLab, minutes: number, seed: number, say: Say): Promise<PartReport> {
  const random = randomFrom(seed);
  return await part(soak, `faults of gateways for ${minutes} minutes, seed ${seed}`, true, async (probes, count) => {
    const endMs = performance.now() + minutes * 60_000;
    while (performance.now() < endMs) {
      const { action, pauseMs } = nextGatewayAction(random, { gateways: GATEWAYS, others: [WITNESS] });
      await sleep(pauseMs);
      say(`${describeGatewayAction(action)}; packets lost so far: ${probes.lost()}, moves ${soak.watcher.moves.length}`);
      await carryOut(soak, action);
      count(action.kind);
      await waitFor(() => soak.watcher.untilAtRest(RECOVERY_MS).then(() => true), { what: 'owners', deadlineMs: RECOVERY_MS });
      await probes.answered(20, RECOVERY_MS);
      if (soak.watcher.faults.length > 0) throw new Error(soak.watcher.faults.join('; '));
    }
  });
}

async function carryOut({ lab }: GatewaySoakLab, action: GatewayAction): Promise<void> {
  const { faults, managementFaults } = lab.net;
  switch (action.kind) {
    case 'power':
      await cutPower(lab, action.host);
      await sleep(action.awayMs);
      await restorePower(lab, action.host);
      return;
    case 'freeze':
      lab.agent(action.host).kill('SIGSTOP');
      await sleep(action.awayMs);
      lab.agent(action.host).kill('SIGCONT');
      await lab.untilAgentAnswers(action.host);
      return;
    case 'partition':
      if (action.oneWay) await faults.block(action.from, action.to);
      else await faults.separate(action.from, action.to);
      if (action.natsToo) await managementFaults!.cut(action.from);
      await sleep(action.awayMs);
      await faults.join(action.from, action.to);
      if (action.natsToo) await managementFaults!.restore(action.from);
      await lab.untilAgentAnswers(action.from);
      return;
    case 'flapping':
      for (let turn = 0; turn < action.times; turn++) {
        await faults.cut(action.host);
        await sleep(400);
        await faults.restore(action.host);
        await sleep(200);
      }
      return;
    case 'nats':
      await lab.nats.kill('SIGKILL');
      await sleep(action.awayMs);
      await lab.nats.restart();
      for (const host of lab.net.hosts.keys()) await lab.untilAgentAnswers(host);
      return;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
