import {
  Action,
  ENCAPSULATION_BYTES,
  type ForwardingContext,
  fromPort,
  fromTunnel,
  fromUnderlay,
  type MemoryTables,
  type Verdict,
} from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { foldSum, getU16, internetChecksum, pseudoHeaderSum4, pseudoHeaderSum6, setU16 } from '@weft/packet';
import { completeChecksum, GsoType, type Offload, readOffload, transportOffset, VNET_HEADER_BYTES } from '../../src/user/offload.ts';
import { SEGMENTS_MAX, segmentFrame, segmentLayout } from '../../src/user/segment.ts';

// What must come of one write to a TAP of host A, by the oracle: which device gets it, which counter moves. The oracle knows frames and GSO; what
// the kernel makes of a virtio-net header before any program sees the frame is told here (virtio_net_hdr_to_skb).

/** How the underlay carries super-frames: whole, cut by the sender, or cut and joined again by the receiver. */
export type Carriage = 'veth' | 'wire' | 'gro';

export interface Gso {
  readonly type: number;
  readonly size: number;
}

/** What a device takes in one piece, less one (`gso_max_size`): larger ones, tunnel headers and all, the kernel cuts for every device. */
const WHOLE_BYTES_MAX = 65_535;

/** bpf_skb_change_tail() makes no frame longer than SKB_MAX_ALLOC, not even by cutting: four pages without the kernel's own part. */
const CUT_BYTES_MAX = 16_000;

/** How the frame of a verdict is carried. */
export function carriageOf(carriage: Carriage, verdict: Verdict): Carriage {
  const isTooLarge = verdict.action === Action.TUNNEL && verdict.frame!.length > WHOLE_BYTES_MAX;
  return carriage === 'veth' && isTooLarge ? 'wire' : carriage;
}

/** A frame as the programs see it. */
export interface Taken {
  readonly frame: Uint8Array;
  readonly gso: Gso | undefined;
  /** Offsets of an unfinished checksum: where summing starts, and its place. */
  readonly open: { readonly start: number; readonly field: number } | undefined;
}

/** Where frames can be seen: a port's device, or the underlay beyond the hosts. */
export type Place = `A ${number}` | `B ${number}` | 'underlay';

export interface Delivery {
  readonly place: Place;
  /** What arrives; `underlay`: with the tunnel's headers. */
  readonly frame: Uint8Array;
  readonly gso: Gso | undefined;
  readonly open: Taken['open'];
  /** An ICMP error that quotes an unfinished checksum. */
  readonly isError: boolean;
}

/** A counter, and how often it may have moved. */
export interface Counted {
  readonly host: 'A' | 'B';
  readonly ifindex: number;
  readonly vsid: number;
  readonly reason: DropReason;
  readonly most: number;
}

export interface Expectation {
  readonly verdict: Verdict;
  readonly drop: Counted | undefined;
  readonly delivery: Delivery | undefined;
  /** Why the kernel may refuse, behind the verdict, to carry the frame out; the bytes are not judged then. */
  readonly mayVanish: string | undefined;
  /** The kernel can't cut off padding before an unfinished checksum, nor of some 16 KB: `KERNEL_REFUSED` in place of all else is right, too. */
  readonly mayBeRefused: boolean;
}

export interface Side {
  readonly tables: MemoryTables;
  readonly context: ForwardingContext;
  readonly underlayIfindex: number;
  readonly tunnelIfindex: number;
}

/** What the programs get of a write that the kernel has taken. */
export function takenOf(bytes: Uint8Array): Taken {
  const offload = readOffload(bytes);
  const frame = bytes.subarray(VNET_HEADER_BYTES);
  const { needsChecksum, checksumStart: start, checksumOffset, gsoSize: size, gsoType: type } = offload;
  const open = needsChecksum ? { start, field: start + checksumOffset } : undefined;
  if (type === GsoType.NONE) return { frame, gso: undefined, open };
  const transport = open?.start ?? (type === GsoType.TCP6 ? 40 : 20);
  const headers = transport + (type === GsoType.TCP4 || type === GsoType.TCP6 ? 20 : type === GsoType.UDP_SEGMENTS ? 8 : 0);
  // "Too small packets are not really GSO ones."
  return { frame, gso: frame.length - headers > size ? { type, size } : undefined, open };
}

/** @param peer Host B, whose address is `peerPa`. */
export function expectationOf(a: Side, b: Side, peerPa: Uint8Array, ifindex: number, taken: Taken, carriage: Carriage): Expectation {
  const { frame, gso, open } = taken;
  const verdict = fromPort(a.tables, { ifindex, frame, gso }, a.context);
  const isCut = verdict.frame !== undefined || verdict.reason > DropReason.NONE;
  const isUncuttable = (open !== undefined && isPadded(frame, open.field + 2)) || isPaddedBeyond(frame, CUT_BYTES_MAX);
  const mayBeRefused = isCut && isUncuttable;
  const counted = (reason: DropReason): Counted => ({ host: 'A', ifindex, vsid: verdict.countedVsid, reason, most: 1 });
  const nothing = { verdict, delivery: undefined, mayVanish: undefined, mayBeRefused };
  if (isMisplaced(frame, open) && isBehindOffloadCheck(verdict)) {
    // Before the way is known: counted for the port's own subnet.
    const vsid = a.tables.port(ifindex)?.vsid ?? 0;
    return { ...nothing, drop: { ...counted(DropReason.CHECKSUM_OFFLOAD_MISPLACED), vsid } };
  }
  const drop = verdict.reason === DropReason.NONE ? undefined : counted(verdict.reason);
  if (verdict.frame === undefined) return { ...nothing, drop };
  const mayVanish = vanishes(taken, verdict);
  if (verdict.action !== Action.TUNNEL) {
    const isError = verdict.action === Action.REPLY && drop !== undefined;
    const own = verdict.gso === undefined ? undefined : gso;
    const delivery: Delivery = { place: `A ${verdict.ifindex}`, frame: verdict.frame, gso: own, open, isError };
    return { verdict, drop, delivery, mayVanish, mayBeRefused };
  }
  if (!verdict.pa.every((byte, i) => byte === peerPa[i])) {
    const shifted = open && { start: open.start + ENCAPSULATION_BYTES, field: open.field + ENCAPSULATION_BYTES };
    return {
      verdict,
      drop,
      delivery: { place: 'underlay', frame: verdict.frame, gso, open: shifted, isError: false },
      mayVanish,
      mayBeRefused,
    };
  }
  return { ...atPeer(a, b, verdict, taken, carriage), verdict, mayVanish, mayBeRefused };
}

/** What host B makes of it. */
function atPeer(a: Side, b: Side, verdict: Verdict, { gso, open }: Taken, carriage: Carriage): Pick<Expectation, 'drop' | 'delivery'> {
  const outer = verdict.frame!;
  const inner = outer.subarray(ENCAPSULATION_BYTES);
  const climbs = gso !== undefined && carriageOf(carriage, verdict) === 'veth';
  const second = climbs
    ? fromTunnel(b.tables, { frame: inner, gso, source: a.context.pa, vni: verdict.vsid, marked: true }, b.context)
    : fromUnderlay(b.tables, { frame: outer, packetType: 'host' }, b.context);
  if (second.reason !== DropReason.NONE) {
    const segments = gso === undefined || climbs ? 1 : (segmentFrame(inner, gso)?.length ?? SEGMENTS_MAX);
    const ifindex = climbs ? b.tunnelIfindex : b.underlayIfindex;
    return { drop: { host: 'B', ifindex, vsid: second.countedVsid, reason: second.reason, most: segments }, delivery: undefined };
  }
  if (second.action !== Action.LOCAL) throw new Error(`Host B would ${second.action}: the test has no place for that`);
  return { drop: undefined, delivery: { place: `B ${second.ifindex}`, frame: second.frame!, gso, open, isError: false } };
}

/** The packet ends before the place of its checksum: padding follows, which is to be cut off. */
function isPadded(frame: Uint8Array, openEnd: number): boolean {
  return packetEnd(frame) < openEnd;
}

function isPaddedBeyond(frame: Uint8Array, bytes: number): boolean {
  const end = packetEnd(frame);
  return end < frame.length && end > bytes;
}

function packetEnd(frame: Uint8Array): number {
  const type = frame.length < 14 + 20 ? 0 : getU16(frame, 12);
  // What answers ARP is no longer than that.
  return 14 + (type === 0x0800 ? getU16(frame, 16) : type === 0x86dd ? getU16(frame, 18) + 40 : 28);
}

function isMisplaced(frame: Uint8Array, open: Taken['open']): boolean {
  const transport = transportOffset(frame);
  return open !== undefined && transport !== undefined && (open.start < transport || open.field < transport + 6);
}

/** The contract checks the offload after the addresses and before the way; ARP and ND are answered before. */
function isBehindOffloadCheck({ action, reason, frame }: Verdict): boolean {
  if (action === Action.DROP) return reason >= DropReason.UNKNOWN_DESTINATION_MAC;
  if (action !== Action.REPLY || reason !== DropReason.NONE) return true;
  const isNeighborAdvertisement = getU16(frame!, 12) === 0x86dd && frame![20] === 58 && frame![54] === 136;
  return getU16(frame!, 12) !== 0x0806 && !isNeighborAdvertisement;
}

/** A frame stands for segments of a kind that it is not: the kernel sees that when it cuts it, or verifies it in place of cutting. */
function vanishes({ frame, gso, open }: Taken, verdict: Verdict): string | undefined {
  if (verdict.reason !== DropReason.NONE) {
    // The error is built in the frame itself, which the kernel can't cut before an unfinished checksum.
    if (open === undefined) return undefined;
    const [start, field] = [open.start - 14, open.field - 14];
    const isQuotable = start >= 0 && (start | field) % 2 === 0 && field <= 126 && open.field + 2 <= 14 + 128;
    return isQuotable ? undefined : 'an error that quotes a checksum at an odd place';
  }
  if (gso === undefined) return undefined;
  const layout = segmentLayout(frame, gso.type);
  if (layout === undefined) return 'GSO of another kind than the packet';
  if (open !== undefined && open.start !== layout.l4Offset) return 'GSO with a checksum elsewhere';
  if (frame.length - layout.payloadOffset <= gso.size) return 'GSO of less than two segments';
  return segmentFrame(frame, gso) === undefined ? 'GSO of too many segments' : undefined;
}

/** A frame as read from a TAP or the underlay. */
export interface Received {
  readonly offload: Offload;
  readonly frame: Uint8Array;
}

/** Says what is wrong with what has arrived at the place of `delivery`; undefined if nothing is. @param isWhole GSO must not have been cut. */
export function faultOf(delivery: Delivery, received: readonly Received[], isWhole: boolean): string | undefined {
  const { gso, isError } = delivery;
  if (gso === undefined && received.length !== 1) return `${received.length} frames in place of 1`;
  if (isError) return errorFault(delivery, received[0]!);
  if (gso !== undefined && isWhole) {
    const [one] = received;
    const { gsoType, gsoSize } = one!.offload;
    if (received.length !== 1 || gsoType !== gso.type || gsoSize !== gso.size)
      return `${received.length} frames, the first of ${one!.frame.length} bytes and GSO ${gsoType} of ${gsoSize}, in place of one super-frame of ${delivery.frame.length}`;
  }
  const offset = delivery.place === 'underlay' ? ENCAPSULATION_BYTES : 0;
  const outerFault = offset > 0 ? received.map((one) => outerFaultOf(delivery, one)).find((fault) => fault !== undefined) : undefined;
  if (outerFault !== undefined) return outerFault;
  const expected = segmentsOf(delivery.frame, delivery.open, gso, offset);
  const actual = received.flatMap(({ frame, offload }) => {
    const open = offload.needsChecksum
      ? { start: offload.checksumStart, field: offload.checksumStart + offload.checksumOffset }
      : undefined;
    const its = offload.gsoType === GsoType.NONE ? undefined : { type: offload.gsoType, size: offload.gsoSize };
    return segmentsOf(frame, open, its, offset);
  });
  if (actual.length !== expected.length) return `${actual.length} segments in place of ${expected.length}`;
  for (const [i, one] of expected.entries()) {
    if (!isSame(one, actual[i]!)) return `segment ${i}:\n  kernel ${hex(actual[i]!)}\n  oracle ${hex(one)}`;
  }
  return undefined;
}

/** What a receiver would see on a wire: frames of one segment with their checksums finished, without the tunnel's headers. */
function segmentsOf(frame: Uint8Array, open: Taken['open'], gso: Gso | undefined, offset: number): Uint8Array[] {
  if (gso !== undefined) return superFrameSegments(frame.subarray(offset), open !== undefined, gso);
  const copy = frame.slice();
  if (open !== undefined) completeChecksum(copy, { checksumStart: open.start, checksumOffset: open.field - open.start } as Offload);
  return [copy.subarray(offset)];
}

/** The kernel carries on what stands in the checksum's field: a VM that starts it from a wrong sum gets segments with checksums as wrong. */
function superFrameSegments(frame: Uint8Array, isOpen: boolean, gso: Gso): Uint8Array[] {
  const segments = segmentFrame(frame, gso) ?? [];
  const layout = segmentLayout(frame, gso.type);
  if (!isOpen || layout === undefined) return segments;
  const isTcp = gso.type !== GsoType.UDP_SEGMENTS;
  const field = layout.l4Offset + (isTcp ? 16 : 6);
  const length = isTcp ? frame.length - layout.l4Offset : getU16(frame, layout.l4Offset + 4);
  const isIpv6 = getU16(frame, 12) === 0x86dd;
  const pseudo = isIpv6
    ? pseudoHeaderSum6(frame, 22, frame, 38, isTcp ? 6 : 17, length)
    : pseudoHeaderSum4(frame, 26, frame, 30, isTcp ? 6 : 17, length);
  const excess = foldSum(getU16(frame, field) + (~foldSum(pseudo) & 0xffff));
  for (const segment of segments) {
    const checksum = ~foldSum((~getU16(segment, field) & 0xffff) + excess) & 0xffff;
    setU16(segment, field, checksum === 0 ? 0xffff : checksum);
  }
  return segments;
}

/** Equal, where 0 and 0xffff are one value of a TCP checksum. */
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  if (Buffer.from(one.buffer, one.byteOffset, one.length).equals(other)) return true;
  const transport = transportOffset(one);
  if (one.length !== other.length || transport === undefined || transport + 18 > one.length) return false;
  const [a, b] = [one, other].map((frame) => {
    const copy = frame.slice();
    if (getU16(copy, transport + 16) === 0) setU16(copy, transport + 16, 0xffff);
    return Buffer.from(copy);
  });
  return a!.equals(b!);
}

/** Outer headers: as the oracle's, but for the lengths, IP id and IP checksum of segments. */
function outerFaultOf(delivery: Delivery, { frame, offload }: Received): string | undefined {
  const expected = delivery.frame.slice(12, ENCAPSULATION_BYTES);
  const actual = frame.slice(12, ENCAPSULATION_BYTES);
  if (frame.length < ENCAPSULATION_BYTES) return `${frame.length} bytes on the underlay`;
  const isCut = delivery.gso !== undefined && offload.gsoType === GsoType.NONE;
  if (isCut) {
    const isSound =
      getU16(frame, 16) === frame.length - 14 && getU16(frame, 38) === frame.length - 34 && internetChecksum(frame, 14, 20) === 0;
    if (!isSound) return `outer lengths or checksum of a segment: ${hex(frame.subarray(0, ENCAPSULATION_BYTES))}`;
    for (const headers of [expected, actual]) {
      for (const at of [16, 18, 24, 38]) setU16(headers, at - 12, 0);
    }
  }
  return Buffer.from(expected).equals(actual) ? undefined : `outer headers:\n  kernel ${hex(actual)}\n  oracle ${hex(expected)}`;
}

/** The error's own checksum holds, whether the quoted one is finished or not; all else is the oracle's. */
function errorFault({ frame: expected, open }: Delivery, { frame, offload }: Received): string | undefined {
  const isIpv6 = getU16(expected, 12) === 0x86dd;
  const icmp = isIpv6 ? 54 : 34;
  const finished = frame.slice();
  if (offload.needsChecksum) completeChecksum(finished, offload);
  for (const one of [frame, finished]) {
    const sum = isIpv6 ? pseudoHeaderSum6(one, 22, one, 38, 58, one.length - icmp) : 0;
    if (internetChecksum(one, icmp, one.length - icmp, sum) !== 0) return `ICMP checksum of ${hex(one)}`;
  }
  const [a, b] = [expected, frame].map((one) => {
    const copy = Buffer.from(one);
    const field = icmp + 8 + (open === undefined ? 0 : open.field - 14);
    if (open !== undefined && field + 2 <= copy.length) {
      copy.writeUInt16BE(0, field);
      copy.writeUInt16BE(0, icmp + 2);
    }
    return copy;
  });
  return a!.equals(b!) ? undefined : `ICMP error:\n  kernel ${hex(frame)}\n  oracle ${hex(expected)}`;
}

export function hex(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, 400)).toString('hex');
  return bytes.length > 400 ? `${text}… (${bytes.length} bytes)` : text;
}
