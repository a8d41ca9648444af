import { type FrameRecord, inNetns, startFrameLog } from '@weft/tuntap';
import { SEQUENCE_OFFSET } from '../control/held-tap.ts';
import { ECHO_PORT, type FailoverLab, HOST } from './failover-lab.ts';
import { type Passages, type Silence, silenceOf } from './silence.ts';

/** How long frames of {@link roundTrips} did not pass, by the kernel's clock. */
export interface PathSilence {
  /** From the VM's TAP to the server's device: host, tunnel, gateway, NAT, segment, router. */
  readonly outbound: Silence;
  /** Back. */
  readonly inbound: Silence;
}

/** The UDP ports, from the Ethernet header on: requests go to the echo's port, answers come from it. */
const match = { bytes: Uint8Array.of(ECHO_PORT >> 8, ECHO_PORT & 255), inOffset: 36, outOffset: 34 };
/** The server's device (see the external network of `@weft/testkit`). */
const SERVER_DEVICE = 'eth0';

/**
 * Notes at both ends of the path when frames pass, while `work` sends them: the VM's TAP and the server's device, in the kernel. So what the sender, the echo and the reader wait for processors
 * is told apart from what the path takes.
 *
 * @throws {Error} When the kernel could not note each frame.
 */
export async function withPathSilence<T>({ lab }: Pick<FailoverLab, 'lab'>, work: () => Promise<T>): Promise<readonly [T, PathSilence]> {
  const log = (netns: string, interfaceName: string): ReturnType<typeof startFrameLog> =>
    inNetns(`/run/netns/${netns}`, () => startFrameLog({ interfaceName, match, sequenceOffset: SEQUENCE_OFFSET }));
  const logs = [log(lab.host(HOST).netns, 'prober'), log(lab.externalNetwork('internet').outside.netns, SERVER_DEVICE)];
  let result: T;
  let records: readonly FrameRecord[];
  try {
    result = await work();
  } finally {
    records = await Promise.all(logs.map(async (one) => await one.stop()));
  }
  const [vm, server] = records as readonly [FrameRecord, FrameRecord];
  const missed = vm.missed + server.missed;
  if (missed > 0) throw new Error(`the kernel had no room for ${missed} of the frames to be noted`);
  return [
    result,
    {
      outbound: silenceOf(only(vm, 0), only(server, 0)),
      inbound: silenceOf(only(server, 1), only(vm, 1)),
    },
  ];
}

/** @param out 1: frames that left by the interface; 0: that came in. */
function only({ sequences, timesMs, out }: FrameRecord, way: 0 | 1): Passages {
  const kept = [...out.keys()].filter((index) => out[index] === way);
  return { sequences: kept.map((index) => sequences[index]!), timesMs: kept.map((index) => timesMs[index]!) };
}
