import { DropReason } from '@weft/model';

/** What becomes of a frame (docs/datapath-contract.md section 3). */
export const Action = {
  DROP: 0,
  /** A frame built here goes back out of the port that the question came from. */
  REPLY: 1,
  /** To a device of this host. */
  LOCAL: 2,
  /** Encapsulated, to another host. */
  TUNNEL: 3,
  /** Not Weft's: to the host's own stack. Only from the underlay. */
  PASS: 4,
  /** A GSO frame that the VXLAN device takes apart before `fromTunnel` checks it. Only from the underlay. */
  CLIMB: 5,
  /** To the gateway's own decision; no verdict of a whole decision has it. */
  GATEWAY: 6,
  /** Out to the physical network beyond a gateway. */
  EXTERNAL: 7,
} as const;
export type Action = (typeof Action)[keyof typeof Action];

/** What a frame carries when it stands for several segments; a size of 0 is the same as none. */
export interface Gso {
  /** Payload bytes of each segment. */
  readonly size: number;
  readonly segments?: number;
  readonly type?: number;
}

/** The GSO of a frame that stands for several segments; undefined for one that is itself. */
export function effectiveGso(gso: Gso | undefined): Gso | undefined {
  return gso !== undefined && gso.size > 0 ? gso : undefined;
}

/** The decision about one frame. */
export interface Verdict {
  readonly action: Action;
  /** Why it was dropped, else `NONE`. Another action than `DROP` with a reason is a drop that the sender is told of. */
  readonly reason: DropReason;
  /** Device for `LOCAL`, `REPLY` and `EXTERNAL`, else 0. */
  readonly ifindex: number;
  /** Provider address for `TUNNEL`, next hop for `EXTERNAL` (16 bytes; shared, not to be written), else 16 zero bytes. */
  readonly pa: Uint8Array;
  /** VSID on the wire for `TUNNEL`, segment for `EXTERNAL`, else 0. */
  readonly vsid: number;
  /** The subnet that a drop is counted for: the port's, or the VNI's once it is known; 0 if none. */
  readonly countedVsid: number;
  /**
   * The frame as it leaves. `REPLY`, `LOCAL`: the caller's own buffer, every byte final. `TUNNEL`: outer headers included, the two
   * outer MAC addresses zero. `EXTERNAL`: the two MAC addresses of no meaning. `PASS`, `CLIMB`: the frame that came in. `DROP`: undefined.
   */
  readonly frame: Uint8Array | undefined;
  /** Kept from the input for what goes on. */
  readonly gso: Gso | undefined;
}

/** A verdict as the five words that the BPF programs write to `skb->cb[]`. */
export type VerdictCb = readonly [number, number, number, number, number];

const NO_PA: Uint8Array = new Uint8Array(16);
const paBytes = new Uint8Array(4);
const paWord = new Uint32Array(paBytes.buffer);

export function drop(reason: DropReason, countedVsid: number): Verdict {
  return { action: Action.DROP, reason, ifindex: 0, pa: NO_PA, vsid: 0, countedVsid, frame: undefined, gso: undefined };
}

export function reply(ifindex: number, frame: Uint8Array, countedVsid: number, reason: DropReason = DropReason.NONE): Verdict {
  return { action: Action.REPLY, reason, ifindex, pa: NO_PA, vsid: 0, countedVsid, frame, gso: undefined };
}

export function deliver(ifindex: number, frame: Uint8Array, gso: Gso | undefined, countedVsid: number): Verdict {
  return { action: Action.LOCAL, reason: DropReason.NONE, ifindex, pa: NO_PA, vsid: 0, countedVsid, frame, gso };
}

export function tunnel(pa: Uint8Array, vsid: number, frame: Uint8Array, gso: Gso | undefined, countedVsid: number): Verdict {
  return { action: Action.TUNNEL, reason: DropReason.NONE, ifindex: 0, pa, vsid, countedVsid, frame, gso };
}

/** Out to the segment by `nextHop`: the Ethernet addresses are those of the neighbour table, whatever stands there. */
export function external(
  ifindex: number,
  nextHop: Uint8Array,
  segment: number,
  frame: Uint8Array,
  gso: Gso | undefined,
  countedVsid: number,
): Verdict {
  return { action: Action.EXTERNAL, reason: DropReason.NONE, ifindex, pa: nextHop, vsid: segment, countedVsid, frame, gso };
}

/** To the host's stack (`PASS`) or to the VXLAN device (`CLIMB`), unchanged. */
export function handOver(action: typeof Action.PASS | typeof Action.CLIMB, frame: Uint8Array, gso: Gso | undefined): Verdict {
  return { action, reason: DropReason.NONE, ifindex: 0, pa: NO_PA, vsid: 0, countedVsid: 0, frame, gso };
}

/** `cb[0..4]` of docs/datapath-contract.md section 3. The PA's word is in the byte order of this machine, as it stands in memory. */
export function verdictCb(verdict: Verdict): VerdictCb {
  paBytes.set(verdict.pa.subarray(12, 16));
  return [(verdict.action << 16) | verdict.reason, verdict.ifindex, paWord[0]!, verdict.vsid, 0];
}

/** The action's name, for people. */
export function actionName(action: Action): string {
  return Object.entries(Action).find(([, value]) => value === action)?.[0] ?? String(action);
}
