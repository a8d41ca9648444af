import { formatMac } from '@weft/packet';
import { type SinkStats, startGenerator, startSink, type TapDevice } from '@weft/tuntap';
import { SEQUENCE_OFFSET } from '../control/held-tap.ts';
import { udpFrame, VNET_HEADER_BYTES } from '../path/frames.ts';
import { ECHO_PORT, PROBER, SERVER } from './failover-lab.ts';

/** What a steady stream of round trips through the gateway saw. */
export interface RoundTrips {
  readonly sent: number;
  /** Never came back. */
  readonly lost: number;
  /** Longest silence at the VM. */
  readonly gapMs: number;
  readonly latencyP99Ms: number;
}

const SOURCE_PORT = 5_000;
/** Frames that must have come back before anything is done, and after it. */
const STEADY_FRAMES = 100;
const RECOVERED_FRAMES = 300;
const DEADLINE_MS = 30_000;

/**
 * Sends numbered datagrams from the VM's TAP to a UDP echo beyond the gateway, while `work` goes on and until the answers flow again. Native threads send, answer and read: timers of
 * this process do not blur what is seen.
 */
export async function roundTrips(
  { tap, gateway }: { readonly tap: TapDevice; readonly gateway: Uint8Array },
  ratePerSecond: number,
  work: () => Promise<void>,
): Promise<RoundTrips> {
  const frame = udpFrame(
    {
      sourceMac: PROBER.mac,
      destinationMac: formatMac(gateway),
      source: PROBER.address,
      destination: SERVER,
      sourcePort: SOURCE_PORT,
      destinationPort: ECHO_PORT,
    },
    new Uint8Array(64),
  );
  const answers = { offset: 34, bytes: Uint8Array.of(ECHO_PORT >> 8, ECHO_PORT & 255) };
  const sink = startSink({ fd: tap.fd, vnetHdr: true, match: answers, sequenceOffset: SEQUENCE_OFFSET });
  const generator = startGenerator({
    fd: tap.fd,
    frames: [frame],
    ratePerSecond,
    vnetHeaderBytes: VNET_HEADER_BYTES,
    sequenceOffset: SEQUENCE_OFFSET,
  });
  const further = async (count: number, what: string): Promise<void> => {
    const wanted = sink.stats().matched + count;
    for (const begun = performance.now(); sink.stats().matched < wanted; ) {
      if (performance.now() - begun > DEADLINE_MS) throw new Error(`${what}: no answers for ${DEADLINE_MS / 1_000} s`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  let sent = 0;
  let stats: SinkStats | undefined;
  try {
    await further(STEADY_FRAMES, 'before');
    await work();
    await further(RECOVERED_FRAMES, 'afterwards');
  } finally {
    generator.stop();
    sent = (await generator.result()).sent;
    // What is under way arrives.
    for (let last = -1, quiet = 0; quiet < 10; ) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      const { matched } = sink.stats();
      quiet = matched === last ? quiet + 1 : 0;
      last = matched;
    }
    stats = await sink.stop();
  }
  const { sequenced, duplicates, latencyP99Ns } = stats.sequence!;
  return { sent, lost: sent - (sequenced - duplicates), gapMs: stats.maxGapNs / 1e6, latencyP99Ms: latencyP99Ns / 1e6 };
}
