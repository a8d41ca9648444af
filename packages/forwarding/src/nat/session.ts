import { DropReason } from '@weft/model';
import { IP_PROTOCOL } from '@weft/packet';
import { NatEventKind } from './events.ts';
import { givePort, type HeldPort, sourceState } from './holder.ts';
import { type NatKey, type NatSession, PortState, SessionKind } from './rows.ts';
import type { NatState } from './state.ts';
import { type Direction, sessionTimeoutNs, tcpAdvance, tcpBegin } from './tcp.ts';
import { granuleEnd, SECOND_NS, tellAfterNs } from './timing.ts';

/** Whose session it is, and what its first packet was. */
export interface SessionBegin {
  readonly networkId: number;
  readonly ca: Uint8Array;
  readonly insidePort: number;
  readonly kind: number;
  readonly direction: Direction;
  readonly tcpFlags: number;
}

/** True while the session lets packets through. */
export function isLive(session: NatSession, nowBootNs: bigint): boolean {
  return session.expiresBootNs > nowBootNs;
}

/** A new flow keeps to the network's limit by the second: a flood is refused before it costs anything more. */
function isInTime(state: NatState, networkId: number, perSecond: number, nowBootNs: bigint): boolean {
  if (perSecond === 0) return true;
  const rate = state.get('rate', { networkId }) ?? { dueBootNs: 0n, denied: 0n };
  const next = (rate.dueBootNs > nowBootNs ? rate.dueBootNs : nowBootNs) + SECOND_NS / BigInt(perSecond);
  const isAllowed = next <= nowBootNs + SECOND_NS;
  if (isAllowed) rate.dueBootNs = next;
  else rate.denied++;
  state.set('rate', { networkId }, rate);
  return isAllowed;
}

/** Counts one more session of the network, or refuses it. */
export function reserveSession(state: NatState, networkId: number, nowBootNs: bigint): DropReason {
  const quota = state.get('quota', { networkId });
  const usage = state.usage(networkId);
  if (quota !== undefined && !isInTime(state, networkId, quota.newFlowsPerSecond, nowBootNs)) return DropReason.NAT_RATE_QUOTA;
  const hasRoom = state.sessionsShare === 0 || usage.sessions < state.sessionsShare;
  if (quota === undefined || usage.sessions >= quota.sessions || !hasRoom) {
    usage.deniedSessions++;
    return DropReason.NAT_FLOW_QUOTA;
  }
  usage.sessions++;
  return DropReason.NONE;
}

/** Makes a session, which has been counted already. */
export function addSession(state: NatState, key: NatKey<'session'>, begin: SessionBegin, nowBootNs: bigint): NatSession {
  const { networkId, ca, insidePort, kind } = begin;
  const flags = firstFlags(key.protocol, begin);
  const expiresBootNs = granuleEnd(nowBootNs) + sessionTimeoutNs(key.protocol, flags);
  const ticket = state.nextTicket();
  const session: NatSession = {
    networkId,
    ca,
    insidePort,
    kind,
    flags,
    revision: 0,
    expiresBootNs,
    toldBootNs: expiresBootNs,
    ticket,
  };
  state.set('session', key, session);
  if (kind === SessionKind.FORWARD) {
    state.set('reverse', reverseKey(key, session), { segment: key.segment, address: key.address, externalPort: key.externalPort });
  }
  state.queue.push({ kind: 'session', key, ticket });
  state.emit({ kind: NatEventKind.SESSION_ADDED, timeBootNs: nowBootNs, key, session: { ...session } });
  return session;
}

export function firstFlags(protocol: number, begin: Pick<SessionBegin, 'tcpFlags' | 'direction'>): number {
  return protocol === IP_PROTOCOL.tcp ? tcpAdvance(tcpBegin(begin.tcpFlags), begin.tcpFlags, begin.direction) : 0;
}

/** A packet of the session: it lives on (RFC 4787 REQ-6, both ways). `isAnew`: it had run out, and begins again. */
export function touchSession(
  state: NatState,
  key: NatKey<'session'>,
  session: NatSession,
  packet: Pick<SessionBegin, 'tcpFlags' | 'direction'>,
  nowBootNs: bigint,
  isAnew = false,
): void {
  const before = session.flags;
  if (isAnew) session.flags = firstFlags(key.protocol, packet);
  else if (key.protocol === IP_PROTOCOL.tcp) session.flags = tcpAdvance(before, packet.tcpFlags, packet.direction);
  const timeoutNs = sessionTimeoutNs(key.protocol, session.flags);
  session.expiresBootNs = granuleEnd(nowBootNs) + timeoutNs;
  if (!isAnew && session.flags === before && session.expiresBootNs - session.toldBootNs <= tellAfterNs(timeoutNs)) return;
  session.toldBootNs = session.expiresBootNs;
  session.revision = (session.revision + 1) >>> 0;
  state.emit({ kind: NatEventKind.SESSION_CHANGED, timeBootNs: nowBootNs, key, session: { ...session } });
}

export function reverseKey(key: NatKey<'session'>, session: NatSession): NatKey<'reverse'> {
  const { networkId, ca, insidePort } = session;
  return { networkId, ca, remote: key.remote, port: insidePort, remotePort: key.remotePort, protocol: key.protocol };
}

/** Ends a session, and its mapping with the last one. */
export function retireSession(state: NatState, key: NatKey<'session'>, session: NatSession, nowBootNs: bigint): void {
  state.delete('session', key);
  if (session.kind === SessionKind.FORWARD) state.delete('reverse', reverseKey(key, session));
  state.usage(session.networkId).sessions--;
  state.emit({ kind: NatEventKind.SESSION_RETIRED, timeBootNs: nowBootNs, key, session: { ...session } });
  if (session.kind === SessionKind.MAPPING) leaveMapping(state, key, session, nowBootNs);
}

function leaveMapping(state: NatState, key: NatKey<'session'>, session: NatSession, nowBootNs: bigint): void {
  const { segment, address, externalPort } = key;
  const block = state.get('block', { segment, address, block: externalPort >>> 6 });
  const port = block?.ports[externalPort & 63];
  if (block === undefined || port === undefined || port.state !== PortState.USED) return;
  port.sessions--;
  if (port.sessions > 0) return;
  const mappingKey = { networkId: session.networkId, ca: session.ca, port: session.insidePort, protocol: key.protocol };
  const mapping = state.get('mapping', mappingKey);
  const sourceKey = { networkId: block.networkId, pool: block.pool, ca: block.ca };
  const source = state.get('source', sourceKey);
  if (mapping === undefined || source === undefined) return;
  state.delete('mapping', mappingKey);
  const held: HeldPort = { reference: block.addressIndex * 0x1_0000 + externalPort, segment, address, externalPort, port, source };
  const link = givePort(state, sourceKey, held, nowBootNs);
  state.emit({
    kind: NatEventKind.MAPPING_RETIRED,
    timeBootNs: nowBootNs,
    key: mappingKey,
    mapping: { ...mapping },
    source: sourceState(source),
    port: { reference: held.reference, port: { ...port } },
    link,
  });
}
