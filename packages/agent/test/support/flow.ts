import type { Port } from '@weft/model';
import { buildUdpFrame } from '@weft/packet';
import { type LabHost, run, waitFor } from '@weft/testkit';
import { type Generator, inNetns, openTap, type Sink, startGenerator, startSink, type TapDevice } from '@weft/tuntap';

// Numbered frames from one port's TAP to another's, sent and counted by threads of their own.

const VNET_HEADER_BYTES = 10;
/** Of the UDP payload, from the Ethernet header on. */
const SEQUENCE_OFFSET = 42;
const DATA_PORT = 7_777;
/** Some seconds of traffic, should the reader have to wait for a CPU. */
const QUEUE_FRAMES = 20_000;

export interface FlowEnd {
  readonly tap: TapDevice;
  readonly port: Port;
}

export interface Flow {
  readonly name: string;
  readonly generator: Generator;
  readonly sink: Sink;
}

/** Opens a TAP that an agent has made, as a hypervisor does: by its name. */
export async function holdTap(host: LabHost, name: string): Promise<TapDevice> {
  await run('ip', ['link', 'set', name, 'txqueuelen', String(QUEUE_FRAMES)], { netns: host.netns });
  return inNetns(`/run/netns/${host.netns}`, () => openTap({ name, vnetHdr: true }));
}

export function startFlow(from: FlowEnd, to: FlowEnd, ratePerSecond: number): Flow {
  const match = { offset: 36, bytes: Uint8Array.of(DATA_PORT >> 8, DATA_PORT & 0xff) };
  const sink = startSink({ fd: to.tap.fd, vnetHdr: true, match, sequenceOffset: SEQUENCE_OFFSET });
  const generator = startGenerator({
    fd: from.tap.fd,
    frames: [frame(from.port, to.port)],
    ratePerSecond,
    vnetHeaderBytes: VNET_HEADER_BYTES,
    sequenceOffset: SEQUENCE_OFFSET,
  });
  return { name: `${from.port.name} to ${to.port.name}`, generator, sink };
}

export interface FlowResult {
  readonly sent: number;
  readonly lost: number;
  readonly duplicates: number;
  /** Where in the flow the lost frames are. Absent if none are, or all. */
  readonly missing?: { readonly atStart: number; readonly between: number; readonly atEnd: number };
}

/** Waits for what is under way, and tells what never came. */
export async function endFlow({ name, generator, sink }: Flow): Promise<FlowResult> {
  generator.stop();
  const { sent, errors } = await generator.result();
  if (Object.keys(errors).length > 0) throw new Error(`Frames from ${name} were refused: ${JSON.stringify(errors)}`);
  await waitFor(() => sink.stats().matched >= sent, { what: `the last frame from ${name}`, deadlineMs: 5_000 }).catch(() => undefined);
  const { matched, sequence } = await sink.stop();
  const duplicates = sequence?.duplicates ?? 0;
  const lost = sent - (matched - duplicates);
  if (lost === 0 || !sequence || matched === 0) return { sent, lost, duplicates };
  const { firstSequence: atStart, lost: between, highestSequence } = sequence;
  return { sent, lost, duplicates, missing: { atStart, between, atEnd: sent - 1 - highestSequence } };
}

/** A UDP frame with a virtio-net header; without a UDP checksum, as the sequence number in it changes. */
function frame(from: Port, to: Port): Uint8Array {
  const addresses = { sourceMac: from.mac, destinationMac: to.mac, source: from.addresses[0]!, destination: to.addresses[0]! };
  const bytes = buildUdpFrame({ ...addresses, sourcePort: 5_000, destinationPort: DATA_PORT }, new Uint8Array(64));
  bytes.fill(0, 40, 42);
  const whole = new Uint8Array(VNET_HEADER_BYTES + bytes.length);
  whole.set(bytes, VNET_HEADER_BYTES);
  return whole;
}
