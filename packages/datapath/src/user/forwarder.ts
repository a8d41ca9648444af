import {
  Action,
  ENCAPSULATION_BYTES,
  type ForwardingContext,
  type ForwardingTables,
  fromPort,
  fromTunnel,
  fromUnderlay,
  type Verdict,
} from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { getU16, getU24, macEquals, mapIpv4 } from '@weft/packet';
import { carryCongestion } from './congestion.ts';
import { completeChecksum, GsoType, isChecksumPlaceAllowed, type Offload, shiftOffload } from './offload.ts';
import { segmentFrame, segmentLayout } from './segment.ts';
import { segmentTunnelFrame } from './segment-tunnel.ts';

const OUTER_UDP_OFFSET = 34;
const OUTER_SOURCE_OFFSET = 26;
const OUTER_TOS_OFFSET = 15;
const VNI_OFFSET = 46;

/** What a {@link Forwarder} decides by and acts on. */
export interface ForwarderHost {
  readonly tables: ForwardingTables;
  readonly underlayIfindex: number;
  readonly underlayMac: Uint8Array;
  context(): ForwardingContext;
  /** Sends to a tenant's device. @returns False if it has none, or the kernel refuses. */
  deliver(ifindex: number, frame: Uint8Array, offload: Offload | undefined): boolean;
  /** Sends an encapsulated frame, whose outer MAC addresses are still zero, to another host; counts its own drops. */
  tunnel(pa: Uint8Array, frame: Uint8Array): void;
  drop(ifindex: number, vsid: number, reason: DropReason, frame: Uint8Array): void;
}

/** Brings frames from packet sockets before the decision, and its verdicts to the devices. */
export class Forwarder {
  readonly #host: ForwarderHost;

  constructor(host: ForwarderHost) {
    this.#host = host;
  }

  /** A frame of a VM. @param frame May be written to. */
  fromPort(ifindex: number, frame: Uint8Array, offload: Offload): void {
    const refusal = finish(frame, offload);
    const verdict = fromPort(this.#host.tables, { ifindex, frame, gso: gsoOf(offload) }, this.#host.context());
    if (refusal === DropReason.NONE) {
      this.#carryOut(verdict, ifindex, frame, offload);
      return;
    }
    // The contract checks the offload after the addresses and before the way.
    const isEarlier = verdict.action === Action.DROP && verdict.reason < DropReason.UNKNOWN_DESTINATION_MAC;
    this.#host.drop(ifindex, verdict.countedVsid, isEarlier ? verdict.reason : refusal, frame);
  }

  /** A tunnel packet of another host. @param frame May be written to. */
  fromUnderlay(frame: Uint8Array, offload: Offload): void {
    const { tables, underlayIfindex: ifindex } = this.#host;
    const packetType = macEquals(frame, this.#host.underlayMac) ? 'host' : 'other';
    // Several tunnel packets in one: the kernel joined them (UDP GRO), or another host sent them so. Each is judged by itself.
    if (offload.gsoType === GsoType.UDP_SEGMENTS && offload.checksumStart === OUTER_UDP_OFFSET) {
      const parts = segmentFrame(frame, { type: offload.gsoType, size: offload.gsoSize });
      if (parts === undefined) this.#host.drop(ifindex, 0, DropReason.KERNEL_REFUSED, frame);
      for (const part of parts ?? []) {
        this.#carryOut(fromUnderlay(tables, { frame: part, packetType }, this.#host.context()), ifindex, part, offload);
      }
      return;
    }
    // A packet whose checksum a neighbouring namespace's kernel has left open: what is written here is judged below, as all the rest.
    const field = offload.checksumStart + offload.checksumOffset;
    if (offload.gsoType === GsoType.NONE && offload.needsChecksum && field + 2 <= frame.length) completeChecksum(frame, offload);
    const verdict = fromUnderlay(tables, { frame, packetType, gso: gsoOf(offload) }, this.#host.context());
    if (verdict.action === Action.CLIMB) this.#climb(frame, offload);
    else this.#carryOut(verdict, ifindex, frame, offload);
  }

  /** A tunnel packet with a GSO frame in it, which the kernel engine of a neighbour sends over a virtual underlay. */
  #climb(frame: Uint8Array, offload: Offload): void {
    const { underlayIfindex: ifindex } = this.#host;
    const vni = getU24(frame, VNI_OFFSET);
    const inner = frame.slice(ENCAPSULATION_BYTES, OUTER_UDP_OFFSET + getU16(frame, OUTER_UDP_OFFSET + 4));
    const innerOffload = shiftOffload(offload, ENCAPSULATION_BYTES);
    const refusal = finish(inner, innerOffload);
    const canCarry = carryCongestion(frame[OUTER_TOS_OFFSET]!, inner);
    const input = { frame: inner, gso: gsoOf(offload), source: mapIpv4(frame, OUTER_SOURCE_OFFSET), vni, marked: true };
    const verdict = fromTunnel(this.#host.tables, input, this.#host.context());
    if (verdict.action === Action.DROP) this.#carryOut(verdict, ifindex, frame, innerOffload);
    else if (refusal !== DropReason.NONE) this.#host.drop(ifindex, vni, refusal, frame);
    else if (!canCarry) this.#host.drop(ifindex, vni, DropReason.ECN_CE_ON_NOT_ECT, frame);
    else this.#carryOut(verdict, ifindex, frame, innerOffload);
  }

  /** @param frame As it came in, for the sample of a drop. @param offload Of the verdict's frame, if that still is a GSO frame. */
  #carryOut(verdict: Verdict, ifindex: number, frame: Uint8Array, offload: Offload): void {
    const { action, reason, countedVsid, gso } = verdict;
    if (reason !== DropReason.NONE) this.#host.drop(ifindex, countedVsid, reason, frame);
    if (verdict.frame === undefined) return;
    let isSent = true;
    if (action === Action.REPLY || action === Action.LOCAL) {
      isSent = this.#host.deliver(verdict.ifindex, verdict.frame, gso === undefined ? undefined : offload);
    } else if (action === Action.TUNNEL) {
      const size = gso?.size ?? 0;
      const frames = size === 0 ? [verdict.frame] : segmentTunnelFrame(verdict.frame, { type: offload.gsoType, size });
      for (const one of frames ?? []) this.#host.tunnel(verdict.pa, one);
      isSent = frames !== undefined;
    }
    if (!isSent) this.#host.drop(ifindex, countedVsid, DropReason.KERNEL_REFUSED, frame);
  }
}

function gsoOf(offload: Offload): { size: number; type: number } | undefined {
  return offload.gsoType === GsoType.NONE ? undefined : { size: offload.gsoSize, type: offload.gsoType };
}

/**
 * Makes of a frame what it will be on the wire, before it is judged: the sender's choice of where its checksum goes must not change a frame after
 * the checks. GSO frames keep theirs open, since each segment gets its own; theirs must be where the segments will have it.
 *
 * @returns `NONE`, or why the frame can't be finished.
 */
function finish(frame: Uint8Array, offload: Offload): DropReason {
  const { needsChecksum, gsoType } = offload;
  if (needsChecksum && !isChecksumPlaceAllowed(frame, offload)) return DropReason.CHECKSUM_OFFLOAD_MISPLACED;
  if (gsoType === GsoType.NONE) {
    if (needsChecksum) completeChecksum(frame, offload);
    return DropReason.NONE;
  }
  const layout = segmentLayout(frame, gsoType);
  const isSound = layout !== undefined && offload.gsoSize > 0 && (!needsChecksum || offload.checksumStart === layout.l4Offset);
  return isSound ? DropReason.NONE : DropReason.KERNEL_REFUSED;
}
