import type { LabHost } from '@weft/testkit';
import { inNetns, openTap, type TapDevice } from '@weft/tuntap';
import { udpFrame, VNET_HEADER_BYTES } from '../path/frames.ts';
import type { LabPort } from './control-lab.ts';

/** Where a generator writes its sequence number, from the Ethernet header on: the UDP payload. */
export const SEQUENCE_OFFSET = 42;
const DATA_PORT = 7_777;

/** Opens a TAP that an agent has made, as a hypervisor does: by its name. */
export function holdTap(host: LabHost, name: string): TapDevice {
  return inNetns(`/run/netns/${host.netns}`, () => openTap({ name, vnetHdr: true }));
}

/** A UDP frame with a virtio-net header, with room for a sequence number; without a UDP checksum, as the number changes. */
export function sequenceFrame(from: LabPort, to: LabPort, sourcePort: number): Uint8Array {
  return udpFrame(
    {
      sourceMac: from.mac,
      destinationMac: to.mac,
      source: from.address,
      destination: to.address,
      sourcePort,
      destinationPort: DATA_PORT,
    },
    new Uint8Array(64),
  );
}

/** When each numbered frame came, over any number of TAPs. */
export class Arrivals {
  /** By sequence number: when it came, in ms of this process's clock. The first time counts. */
  readonly #atMs = new Map<number, number>();
  #duplicates = 0;

  /** Records what a TAP reads from now on. */
  watch(tap: TapDevice, onFirst?: () => void): void {
    let any = false;
    tap.start(
      (batch) => {
        const now = performance.now();
        for (const frame of batch) {
          const at = VNET_HEADER_BYTES + SEQUENCE_OFFSET;
          if (frame.length < at + 16) continue;
          const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
          if (view.getUint16(VNET_HEADER_BYTES + 12) !== 0x0800 || view.getUint16(VNET_HEADER_BYTES + 36) !== DATA_PORT) continue;
          const sequence = Number(view.getBigUint64(at));
          if (this.#atMs.has(sequence)) this.#duplicates++;
          else this.#atMs.set(sequence, now);
          if (!any) onFirst?.();
          any = true;
        }
      },
      // A TAP that its agent removes ends: what it had to say is said.
      { onError: () => tap.close() },
    );
  }

  get duplicates(): number {
    return this.#duplicates;
  }

  has(sequence: number): boolean {
    return this.#atMs.has(sequence);
  }

  /** Numbers from `from` up to, not including, `to` that never came. */
  missing(from: number, to: number): number {
    let count = 0;
    for (let sequence = from; sequence < to; sequence++) if (!this.#atMs.has(sequence)) count++;
    return count;
  }

  /** Longest silence between two arrivals in a span of time, in ms. What came last before the span counts as its begin. */
  longestGapMs(fromMs: number, toMs: number): number {
    const times = [...this.#atMs.values()].sort((a, b) => a - b);
    let longest = 0;
    let before: number | undefined;
    for (const time of times) {
      if (time > toMs) break;
      if (before !== undefined && time >= fromMs) longest = Math.max(longest, time - before);
      before = time;
    }
    return before === undefined ? toMs - fromMs : Math.max(longest, toMs - Math.max(before, fromMs));
  }
}
