import { run } from '@weft/testkit';
import { type Sink, type SinkStats, startGenerator, startSink } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { VNET_HEADER_BYTES } from '../path/frames.ts';
import { type ControlLab, labPort, withControlLab } from './control-lab.ts';
import { holdTap, SEQUENCE_OFFSET, sequenceFrame } from './held-tap.ts';

const HOSTS = ['h1', 'h2'] as const;
/** What the path and a reader carry without their own queues overflowing, with agents starting on the same CPUs. */
const RATE = 20_000;
/** The reader's queue: it is not what is measured, and may have to wait for a CPU while agents start. */
const QUEUE_FRAMES = 20_000;

/** Frames lost between two TAPs while both hosts' agents are killed and started again, under load all the time. */
export async function agentKillFigures(context: BenchContext): Promise<Figure[]> {
  const [sender, receiver] = [labPort(0), labPort(1)];
  return await withControlLab(context, { suffix: 'kill', hosts: HOSTS, ports: [sender, receiver] }, async (control) => {
    await control.bind(sender, 'h1', 'sender');
    await control.bind(receiver, 'h2', 'receiver');
    await control.lab.untilConsistent();
    const from = holdTap(control.lab.host('h1'), 'sender');
    const to = holdTap(control.lab.host('h2'), 'receiver');
    await run('ip', ['-n', control.lab.host('h2').netns, 'link', 'set', 'receiver', 'txqueuelen', String(QUEUE_FRAMES)]);
    try {
      const lost: number[] = [];
      let sent = 0;
      let kills = 0;
      let gapNs = 0;
      for (let round = 0; round < context.rounds; round++) {
        context.progress(`agent-kill: round ${round + 1}/${context.rounds}`);
        const sink = startSink({ fd: to.fd, cpu: 1, vnetHdr: true, sequenceOffset: SEQUENCE_OFFSET });
        const generator = startGenerator({
          fd: from.fd,
          frames: Array.from({ length: 16 }, (_, flow) => sequenceFrame(sender, receiver, 5_000 + flow)),
          ratePerSecond: RATE,
          cpu: 0,
          vnetHeaderBytes: VNET_HEADER_BYTES,
          sequenceOffset: SEQUENCE_OFFSET,
        });
        for (const signal of ['SIGKILL', 'SIGTERM'] as const) kills += await killBoth(control, signal);
        generator.stop();
        const offered = await generator.result();
        const read = await drain(sink, offered.sent);
        sent += offered.sent;
        gapNs = Math.max(gapNs, read.maxGapNs);
        lost.push(offered.sent - (read.sequence!.sequenced - read.sequence!.duplicates));
      }
      await control.lab.untilConsistent();
      return [
        plainFigure({
          id: 'agent-kill',
          what: 'agents killed, stopped and started under load: frames lost',
          values: lost,
          unit: 'frames',
          against: '',
          goal: { atMost: 0 },
          note: `${sent.toLocaleString('en-US')} frames sent at ${RATE.toLocaleString('en-US')}/s over ${kills} deaths of agents; lost by round ${lost.join(', ')}; longest silence ${(gapNs / 1e6).toFixed(1)} ms`,
        }),
      ];
    } finally {
      from.close();
      to.close();
    }
  });
}

/** One after the other, and both at once. Returns how many agents ended. */
async function killBoth(control: ControlLab, signal: NodeJS.Signals): Promise<number> {
  const end = async (host: string): Promise<void> => {
    const agent = control.lab.agent(host);
    agent.kill(signal);
    await agent.exited;
  };
  for (const host of HOSTS) {
    await end(host);
    await control.lab.startAgent(host);
  }
  if (signal !== 'SIGKILL') return HOSTS.length;
  await Promise.all(HOSTS.map(end));
  await Promise.all(HOSTS.map((host) => control.lab.startAgent(host)));
  return 2 * HOSTS.length;
}

/** Lets what is under way arrive: until all is there, or a quarter of a second has brought nothing. */
async function drain(sink: Sink, sent: number): Promise<SinkStats> {
  for (let last = -1, quiet = 0; quiet < 25; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    const { matched } = sink.stats();
    if (matched >= sent) break;
    quiet = matched === last ? quiet + 1 : 0;
    last = matched;
  }
  return await sink.stop();
}
