import type { DropCounter } from '@weft/datapath';
import { DropReason } from '@weft/model';

const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV6 = 0x86dd;
/** Where things stand in a frame without tags. */
const AT = { source: 6, etherType: 12, arpSenderIp: 28, ip6Source: 22, ip6Destination: 38, icmpType: 54, ndTarget: 62 } as const;
const NEIGHBOR_SOLICITATION = 135;
const IPV4_MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

/** Somebody else's claim of an external address, as the packet path has seen it. */
export interface AddressClaim {
  /** The device it came by. */
  readonly ifindex: number;
  /** 16 bytes. Undefined: it can't be told. Others may have been claimed before it. */
  readonly address: Uint8Array | undefined;
  /** Who sent it. */
  readonly mac: Uint8Array;
}

/**
 * Notices conflicting claims of external addresses: the packet path drops and counts them and keeps the last one's head. What had been counted before the
 * first look is old, and said nothing about.
 */
export class AddressConflicts {
  #known: Map<number, bigint> | undefined;

  /**
   * @param ownOn External addresses on a device.
   * @returns The newest claim on each device that has seen one since the last look.
   */
  look(drops: readonly DropCounter[], ownOn: (ifindex: number) => readonly Uint8Array[]): readonly AddressClaim[] {
    const counters = drops.filter(({ reason }) => reason === DropReason.EXTERNAL_ADDRESS_CONFLICT);
    const before = this.#known;
    this.#known = new Map(counters.map(({ ifindex, packets }) => [ifindex, packets]));
    if (before === undefined) return [];
    return counters.flatMap(({ ifindex, packets, sample }) => {
      if (packets <= (before.get(ifindex) ?? 0n)) return [];
      return [{ ifindex, address: claimedAddress(sample, ownOn(ifindex)), mac: sample.subarray(AT.source, AT.source + 6) }];
    });
  }
}

/**
 * Which of one's own addresses an ARP packet, a neighbour solicitation or advertisement claims. Of the head that is kept, an IPv6 target is not whole: then
 * it is known by the group that a solicitation goes to, or only by its beginning.
 */
export function claimedAddress(frame: Uint8Array, own: readonly Uint8Array[]): Uint8Array | undefined {
  if (frame.length < AT.arpSenderIp + 4) return undefined;
  const etherType = (frame[AT.etherType]! << 8) | frame[AT.etherType + 1]!;
  const at = (from: number, end: number): Uint8Array => frame.subarray(from, end);
  if (etherType === ETHERTYPE_ARP) {
    const address = Uint8Array.of(...IPV4_MAPPED, ...at(AT.arpSenderIp, AT.arpSenderIp + 4));
    return own.find((one) => Buffer.compare(one, address) === 0);
  }
  if (etherType !== ETHERTYPE_IPV6 || frame.length <= AT.ndTarget) return undefined;
  const source = own.find((one) => Buffer.compare(one, at(AT.ip6Source, AT.ip6Destination)) === 0);
  if (source !== undefined) return source;
  const native = own.filter((one) => Buffer.compare(one.subarray(0, 12), IPV4_MAPPED) !== 0);
  // A solicitation asks whether its target is free (RFC 4862), by the group of its last three bytes.
  if (frame[AT.icmpType] === NEIGHBOR_SOLICITATION)
    return native.find((one) => Buffer.compare(one.subarray(13), at(AT.ip6Destination + 13, AT.icmpType)) === 0);
  const beginning = at(AT.ndTarget, Math.min(frame.length, AT.ndTarget + 16));
  return native.find((one) => Buffer.compare(one.subarray(0, beginning.length), beginning) === 0);
}
