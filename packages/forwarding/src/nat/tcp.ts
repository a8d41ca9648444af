import { IP_PROTOCOL } from '@weft/packet';
import { TcpSeen } from './rows.ts';
import { ICMP_NS, TCP_ESTABLISHED_NS, TCP_TRANSITORY_NS, UDP_NS } from './timing.ts';

// What a NAT needs to know of a TCP connection (RFC 5382 section 5, RFC 6146 section 3.5.2.2): whether both sides have acknowledged each
// other, and whether both have said goodbye. Sequence numbers are the hosts' affair.

const { OUT_SYN, IN_SYN, OUT_ACK, IN_ACK, OUT_FIN, IN_FIN, RST } = TcpSeen;
const ESTABLISHED = OUT_SYN | IN_SYN | OUT_ACK | IN_ACK;
const CLOSED = OUT_FIN | IN_FIN;

/** The TCP header's flag bits. */
export const TCP = { FIN: 1, SYN: 2, RST: 4, ACK: 16 } as const;

export type Direction = 'out' | 'in';

/** A first segment of a connection: SYN without ACK. */
export function isTcpOpen(tcpFlags: number): boolean {
  return (tcpFlags & (TCP.SYN | TCP.ACK | TCP.RST)) === TCP.SYN;
}

/** What is assumed of a connection whose session is made now: nothing, or for one under way (its session was lost) that both have begun. */
export function tcpBegin(tcpFlags: number): number {
  return isTcpOpen(tcpFlags) ? 0 : OUT_SYN | IN_SYN;
}

/**
 * What has been seen of a connection after one more segment.
 *
 * A reset makes it transitory until a segment without RST passes: whoever guesses an RST from outside ends nothing (RFC 6146 section 3.5.2.2,
 * state TRANS). A SYN in a connection that is over begins a new one.
 */
export function tcpAdvance(seen: number, tcpFlags: number, direction: Direction): number {
  if (tcpFlags & TCP.RST) return seen | RST;
  const [ownSyn, ownAck, ownFin, otherSyn] = direction === 'out' ? [OUT_SYN, OUT_ACK, OUT_FIN, IN_SYN] : [IN_SYN, IN_ACK, IN_FIN, OUT_SYN];
  let next = seen & ~RST;
  if (isTcpOpen(tcpFlags) && ((seen & CLOSED) === CLOSED || seen & RST)) next = 0;
  if (tcpFlags & TCP.SYN) next |= ownSyn;
  if (tcpFlags & TCP.ACK && next & otherSyn) next |= ownAck;
  if (tcpFlags & TCP.FIN) next |= ownFin;
  return next;
}

/** How long a session lives without another packet. */
export function sessionTimeoutNs(protocol: number, seen: number): bigint {
  if (protocol === IP_PROTOCOL.udp) return UDP_NS;
  if (protocol !== IP_PROTOCOL.tcp) return ICMP_NS;
  const isEstablished = (seen & ESTABLISHED) === ESTABLISHED && (seen & CLOSED) !== CLOSED && (seen & RST) === 0;
  return isEstablished ? TCP_ESTABLISHED_NS : TCP_TRANSITORY_NS;
}
