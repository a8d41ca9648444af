import type { BpfMap } from '@weft/bpf';
import type { DropReason } from '@weft/model';
import type { DropCounter } from '../datapath.ts';
import { DROP, DROP_KEY, DROP_SAMPLE_BYTES } from './layout.ts';

/** Reads the drop counters: each CPU counts for itself, and the sample is that of the CPU which dropped last. */
export function readDropCounters(map: BpfMap): DropCounter[] {
  const counters: DropCounter[] = [];
  for (const [key, value] of map.entries()) counters.push(decode(key, map.perCpuValues(value)));
  return counters;
}

function decode(key: Uint8Array, perCpu: readonly Uint8Array[]): DropCounter {
  const keyView = new DataView(key.buffer, key.byteOffset);
  let packets = 0n;
  let bytes = 0n;
  let lastBootNs = -1n;
  let sample: Uint8Array = new Uint8Array(0);
  for (const value of perCpu) {
    const view = new DataView(value.buffer, value.byteOffset);
    const count = view.getBigUint64(DROP.packets, true);
    if (count === 0n) continue;
    packets += count;
    bytes += view.getBigUint64(DROP.bytes, true);
    const last = view.getBigUint64(DROP.lastBootNs, true);
    if (last <= lastBootNs) continue;
    lastBootNs = last;
    const length = Math.min(view.getUint32(DROP.sampleLength, true), DROP_SAMPLE_BYTES);
    sample = value.slice(DROP.sample, DROP.sample + length);
  }
  return {
    ifindex: keyView.getUint32(DROP_KEY.ifindex, true),
    vsid: keyView.getUint32(DROP_KEY.vsid, true),
    reason: keyView.getUint32(DROP_KEY.reason, true) as DropReason,
    packets,
    bytes,
    lastBootNs: lastBootNs < 0n ? 0n : lastBootNs,
    sample,
  };
}
