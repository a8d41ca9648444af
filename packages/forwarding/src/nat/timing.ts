// How long things live, in nanoseconds: docs/gateway-contract.md section 7. The kernel's are in packages/datapath/bpf/lib/nat_types.h.

export const SECOND_NS: bigint = 1_000_000_000n;

/** UDP (RFC 4787 REQ-5: at least 2 minutes, 5 recommended). */
export const UDP_NS: bigint = 300n * SECOND_NS;
/** A TCP connection that is not, or no longer, established (RFC 5382 REQ-5: at least 4 minutes). */
export const TCP_TRANSITORY_NS: bigint = 240n * SECOND_NS;
/** RFC 5382 REQ-5: at least 2 hours and 4 minutes. */
export const TCP_ESTABLISHED_NS: bigint = 7_440n * SECOND_NS;
/** ICMP queries (RFC 5508 REQ-2: at least 60 seconds). */
export const ICMP_NS: bigint = 60n * SECOND_NS;
/** Before a port is used again (RFC 6888 REQ-8). */
export const HOLD_NS: bigint = 120n * SECOND_NS;
/** From the mark on a holder until its blocks go: by then every packet has passed that was on its way. A sweep may run several times a second. */
export const GRACE_NS: bigint = SECOND_NS / 4n;
/**
 * Sessions' ends are reckoned from the end of a granule of time: all packets of one granule move a session's end to the same place, so that only the first
 * of them has to. A session lives its time and up to one granule more, never less. A power of two.
 */
export const GRANULE_NS: bigint = 1n << 30n;
/** What a datagram's first fragment tells is kept as long as its receiver waits for the rest at most (RFC 791, RFC 8200 section 4.5 say less). */
export const FRAGMENT_NS: bigint = 30n * SECOND_NS;
/** Of each network, and of each external address: datagrams whose first fragments are remembered at most. */
export const FRAGMENT_SLOTS = 256;
/** A standby hears of a session that is in use at least this often. */
const TELL_NS_MAX = 300n * SECOND_NS;

/** The end of the granule of time that `ns` is in. */
export function granuleEnd(ns: bigint): bigint {
  return (ns / GRANULE_NS + 1n) * GRANULE_NS;
}

/** A standby is told when the end of a session has moved by more than this: a quarter of its life, or 5 minutes. */
export function tellAfterNs(timeoutNs: bigint): bigint {
  return timeoutNs / 4n < TELL_NS_MAX ? timeoutNs / 4n : TELL_NS_MAX;
}

/** Seconds of the boot clock that are over at `ns`, rounded up. */
export function secondsUp(ns: bigint): number {
  return Number((ns + SECOND_NS - 1n) / SECOND_NS);
}

export function secondsDown(ns: bigint): number {
  return Number(ns / SECOND_NS);
}
