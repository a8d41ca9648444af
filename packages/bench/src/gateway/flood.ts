import { buildIcmpEchoFrame } from '@weft/packet';
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
/** Of these one is a ping. */
const PING_EVERY = 4;

/** A tenant's frames that each ask for a flow of their own: datagrams from every port to ever other ports, and pings with ever other identifiers. */
export function floodFrames(init: FloodInit): Uint8Array[] {
  return Array.from({ length: FRAMES }, (_, index) => {
    if (index % PING_EVERY !== 0)
      return udpFrame({ ...init, sourcePort: 1_024 + (index % 64_000), destinationPort: 1_024 + ((index * 7) % 64_000) });
    const frame = buildIcmpEchoFrame({ ...init, identifier: index & 0xffff, sequence: 1 });
    const whole = new Uint8Array(VNET_HEADER_BYTES + frame.length);
    whole.set(frame, VNET_HEADER_BYTES);
    return whole;
  });
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
