import { buildIcmpEchoFrame, internetChecksum } from '@weft/packet';
import { startGenerator, type TapDevice } from '@weft/tuntap';
import { udpFrame, VNET_HEADER_BYTES } from '../path/frames.ts';

export interface FloodInit {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
}

/** Distinct frames, sent in turn. */
const FRAMES = 60_000;
/** Of the flood of packets: flows that are translated already, as one who only sends much has them. */
const KNOWN_FLOWS = 64;
const FIRST_PORT = 1_024;
const PORTS = 64_000;
/** Of a frame with its virtio-net header: where the IPv4 header begins, and the TTL in it. */
const IP_OFFSET = VNET_HEADER_BYTES + 14;
const TTL_OFFSET = IP_OFFSET + 8;

export type FloodKind = 'flows' | 'ports' | 'packets' | 'pings' | 'expired';

/** What a flood consists of, and so which of the gateway's goods it wants all of. */
export const FLOOD_KINDS: Readonly<Record<FloodKind, string>> = {
  flows: 'new flows: from one port to ever other ports',
  ports: 'ports: from ever other ports, each wants an external port of its own',
  packets: `packets: of ${KNOWN_FLOWS} flows`,
  pings: 'ICMP: pings with ever other identifiers',
  expired: 'ICMP: packets whose TTL is over, each wants an error',
};

/** A tenant's frames. Minimal ones, since what they ask for is what costs. */
export function floodFrames(kind: FloodKind, init: FloodInit): Uint8Array[] {
  return Array.from({ length: kind === 'packets' ? KNOWN_FLOWS : FRAMES }, (_, index) => {
    const port = FIRST_PORT + (index % PORTS);
    if (kind === 'pings') return pingFrame(init, index & 0xffff);
    const frame = udpFrame({ ...init, sourcePort: kind === 'flows' ? FIRST_PORT : port, destinationPort: kind === 'flows' ? port : 53 });
    return kind === 'expired' ? lastHop(frame) : frame;
  });
}

function pingFrame(init: FloodInit, identifier: number): Uint8Array {
  const frame = buildIcmpEchoFrame({ ...init, identifier, sequence: 1 });
  const whole = new Uint8Array(VNET_HEADER_BYTES + frame.length);
  whole.set(frame, VNET_HEADER_BYTES);
  return whole;
}

/** The frame with 2 hops left: the host's router takes one, the gateway finds 1. */
function lastHop(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset);
  frame[TTL_OFFSET] = 2;
  view.setUint16(IP_OFFSET + 10, 0);
  view.setUint16(IP_OFFSET + 10, internetChecksum(frame, IP_OFFSET, 20));
  return frame;
}

/** Floods while `work` is done. @returns Its result, and the frames a second that were really sent. */
export async function underFlood<T>(
  tap: TapDevice,
  frames: readonly Uint8Array[],
  ratePerSecond: number,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly framesPerSecond: number }> {
  const generator = startGenerator({ fd: tap.fd, frames, ratePerSecond, cpu: 0, vnetHeaderBytes: VNET_HEADER_BYTES });
  try {
    const result = await work();
    generator.stop();
    const { sent, elapsedNs } = await generator.result();
    return { result, framesPerSecond: (sent * 1e9) / elapsedNs };
  } finally {
    generator.stop();
  }
}
