import { BpfError, type BpfMap, updateFlags } from '@weft/bpf';
import { type DropReason, dropReasonTexts } from '@weft/model';
import type { DropCounter } from '../datapath.ts';
import { DROP, DROP_KEY, DROP_SAMPLE_BYTES } from './layout.ts';

/** Reads the drop counters: each CPU counts for itself, and the sample is that of the CPU which dropped last. */
export function readDropCounters(map: BpfMap): DropCounter[] {
  const counters: DropCounter[] = [];
  for (const [key, value] of map.entries()) {
    const counter = decode(key, map.perCpuValues(value));
    if (counter.packets > 0n) counters.push(counter);
  }
  return counters;
}

/**
 * Makes the counters (device 0, subnet 0, reason), under which the programs count when the map is full: a drop is never lost, only its place.
 * Idempotent.
 */
export function reserveDropCounters(map: BpfMap): void {
  for (const reason of dropReasonTexts.keys()) {
    const key = new Uint8Array(map.keySize);
    new DataView(key.buffer).setUint32(DROP_KEY.reason, reason, true);
    try {
      map.update(key, new Uint8Array(map.valueBytes), updateFlags.noExist);
    } catch (error) {
      // Full: of reasons that are new with this version, drops find no place. That is no reason not to start.
      if (!(error instanceof BpfError) || (error.code !== 'WEFT_ERR_BPF_EXISTS' && error.code !== 'WEFT_ERR_BPF_MAP_FULL')) throw error;
    }
  }
}

/** Removes the counters of a device. */
export function forgetDropCounters(map: BpfMap, ifindex: number): void {
  for (const [key] of map.entries()) {
    if (ifindex !== 0 && new DataView(key.buffer, key.byteOffset).getUint32(DROP_KEY.ifindex, true) === ifindex) map.delete(key);
  }
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
