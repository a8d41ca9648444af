import { DropReason } from '@weft/model';
import { ICMP_TYPE, ICMPV6_TYPE, IP_PROTOCOL } from '@weft/packet';
import type { ExternalAddressEntry, GatewayTables, PortForwardEntry, SourceRuleKind } from '../gateway/gateway-tables.ts';
import type { Nat, NatFlow, NatResult } from '../gateway/nat.ts';
import { hex } from '../hex.ts';
import { NatEventKind } from './events.ts';
import { sourceState, takePort } from './holder.ts';
import { type NatAddress, type NatKey, type NatSession, SessionKind } from './rows.ts';
import { addSession, isLive, reserveSession, type SessionBegin, touchSession } from './session.ts';
import type { NatState } from './state.ts';
import { isTcpOpen } from './tcp.ts';
import { FRAGMENT_NS, FRAGMENT_SLOTS } from './timing.ts';

/** What port mapping reads of the gateway's tables. */
export type NatTables = Pick<GatewayTables, 'gatewayNetwork' | 'gatewayShard' | 'portForward' | 'externalAddress'>;

/** A translation: the near end's new address and port, and whose it is. */
interface Translation {
  readonly networkId: number;
  readonly address: Uint8Array;
  readonly port: number;
}

type SessionKey = NatKey<'session'>;
type FragmentDirection = 'out' | 'in';

const NO_ADDRESS: Uint8Array = new Uint8Array(16);

/** Port mapping over a state: docs/gateway-contract.md sections 3 and 7. The kernel's is packages/datapath/bpf/lib/nat_outbound.h and nat_inbound.h. */
export class PortMapping implements Nat {
  readonly state: NatState;
  readonly #tables: NatTables;

  constructor(state: NatState, tables: NatTables) {
    this.state = state;
    this.#tables = tables;
  }

  outbound(flow: NatFlow, rule: { readonly kind: SourceRuleKind; readonly pool: number }, nowBootNs: bigint): NatResult {
    return result(flow, this.#outbound(flow, rule.pool, nowBootNs));
  }

  inbound(flow: NatFlow, _address: ExternalAddressEntry, nowBootNs: bigint): NatResult {
    return result(flow, this.#inbound(flow, nowBootNs));
  }

  #outbound(flow: NatFlow, pool: number, nowBootNs: bigint): Translation | DropReason {
    if (!flow.isError && !flow.hasL4Header) return this.#laterFragment(flow, 'out', nowBootNs);
    if (!hasPorts(flow)) return DropReason.NAT_PROTOCOL_NOT_SUPPORTED;
    if (flow.isError) return this.#outboundError(flow, nowBootNs);
    if (isIcmp(flow.protocol) && !isEcho(flow, 'request')) return DropReason.NAT_PROTOCOL_NOT_SUPPORTED;
    const key = this.#known(flow, nowBootNs) ?? this.#newFlow(flow, pool, nowBootNs);
    if (typeof key === 'number') return key;
    if (key.segment !== flow.segment) return DropReason.NAT_NO_MAPPING;
    const translation = { networkId: flow.networkId, address: key.address, port: key.externalPort };
    this.#keepFragment(flow, 'out', translation, nowBootNs);
    return translation;
  }

  #inbound(flow: NatFlow, nowBootNs: bigint): Translation | DropReason {
    if (!flow.isError && !flow.hasL4Header) return this.#laterFragment(flow, 'in', nowBootNs);
    if (!hasPorts(flow)) return DropReason.NAT_PROTOCOL_NOT_SUPPORTED;
    if (isIcmp(flow.protocol) && !flow.isError && !isEcho(flow, 'reply')) {
      return isEcho(flow, 'request') ? DropReason.NAT_NO_MAPPING : DropReason.NAT_PROTOCOL_NOT_SUPPORTED;
    }
    const found = this.#inboundSession(flow, nowBootNs);
    if (typeof found === 'number') return found;
    const translation = { networkId: found.networkId, address: found.ca, port: found.insidePort };
    if (!flow.isError) this.#keepFragment(flow, 'in', translation, nowBootNs);
    return translation;
  }

  /** The session of an outbound packet that is translated already: by its mapping, or as the answer to a port forward. Undefined: a new flow. */
  #known(flow: NatFlow, nowBootNs: bigint): SessionKey | DropReason | undefined {
    const { state } = this;
    const packet = { tcpFlags: flow.tcpFlags, direction: 'out' } as const;
    const key = this.#mappedKey(flow);
    const session = key && state.get('session', key);
    if (key !== undefined && session?.kind === SessionKind.MAPPING) {
      touchSession(state, key, session, packet, nowBootNs, !isLive(session, nowBootNs));
      return key;
    }
    const forwarded = this.#answeredKey(flow);
    const answered = forwarded && state.get('session', forwarded);
    if (forwarded !== undefined && answered !== undefined && this.#lets(forwarded, answered, nowBootNs)) {
      touchSession(state, forwarded, answered, packet, nowBootNs);
      return forwarded;
    }
    if (key === undefined) return undefined;
    // A port forward's session of the same remote side has its place.
    if (session !== undefined) return DropReason.NAT_FILTERED;
    const reason = reserveSession(state, flow.networkId, nowBootNs);
    if (reason !== DropReason.NONE) return reason;
    const { segment, address, externalPort } = key;
    state.get('block', { segment, address, block: externalPort >>> 6 })!.ports[externalPort & 63]!.sessions++;
    addSession(state, key, beginOutbound(flow), nowBootNs);
    return key;
  }

  /** A mapping and its first session. */
  #newFlow(flow: NatFlow, pool: number, nowBootNs: bigint): SessionKey | DropReason {
    const { state } = this;
    const { networkId, near: ca, nearPort, protocol } = flow;
    if (protocol === IP_PROTOCOL.tcp && !isTcpOpen(flow.tcpFlags)) return DropReason.NAT_TCP_NOT_SYN;
    const reason = reserveSession(state, networkId, nowBootNs);
    if (reason !== DropReason.NONE) return reason;
    const epoch = ownership(this.#tables, networkId)?.epoch ?? 0n;
    const held = takePort(state, { networkId, pool, ca }, protocol, nearPort, { epoch, nowBootNs });
    if (typeof held === 'number') {
      state.usage(networkId).sessions--;
      return held;
    }
    const { segment, address, externalPort } = held;
    const mappingKey = { networkId, ca, port: nearPort, protocol };
    const mapping = { pool, segment, address, externalPort, ticket: state.nextTicket() };
    state.set('mapping', mappingKey, mapping);
    state.emit({
      kind: NatEventKind.MAPPING_ADDED,
      timeBootNs: nowBootNs,
      key: mappingKey,
      mapping: { ...mapping },
      source: sourceState(held.source),
      port: { reference: held.reference, port: { ...held.port } },
      link: undefined,
    });
    const key = sessionKey(flow, held);
    addSession(state, key, beginOutbound(flow), nowBootNs);
    return key;
  }

  /** An error from inside, about a packet from outside (RFC 5508 REQ-5): it makes, ends and prolongs nothing. */
  #outboundError(flow: NatFlow, nowBootNs: bigint): Translation | DropReason {
    for (const [key, kind] of [
      [this.#mappedKey(flow), SessionKind.MAPPING],
      [this.#answeredKey(flow), SessionKind.FORWARD],
    ] as const) {
      const session = key && this.state.get('session', key);
      if (key === undefined || session === undefined || session.kind !== kind || !this.#lets(key, session, nowBootNs)) continue;
      if (key.segment !== flow.segment) return DropReason.NAT_NO_MAPPING;
      return { networkId: flow.networkId, address: key.address, port: key.externalPort };
    }
    return DropReason.NAT_NO_MAPPING;
  }

  #inboundSession(flow: NatFlow, nowBootNs: bigint): NatSession | DropReason {
    const { state } = this;
    const { segment, near: address, nearPort: externalPort, protocol } = flow;
    const key = sessionKey(flow, { segment, address, externalPort });
    const session = state.get('session', key);
    const packet = { tcpFlags: flow.tcpFlags, direction: 'in' } as const;
    if (session !== undefined && this.#lets(key, session, nowBootNs)) {
      if (!flow.isError) touchSession(state, key, session, packet, nowBootNs);
      return session;
    }
    if (flow.isError) return DropReason.NAT_NO_MAPPING;
    const forward = this.#tables.portForward(segment, address, externalPort, protocol);
    if (forward !== undefined) {
      if (session !== undefined) {
        // What stands there is over: the same forward's begins again, another's keeps its place until it is swept.
        if (session.kind !== SessionKind.FORWARD || !isOfForward(session, forward)) return DropReason.NAT_FILTERED;
        touchSession(state, key, session, packet, nowBootNs, true);
        return session;
      }
      const reason = reserveSession(state, forward.networkId, nowBootNs);
      if (reason !== DropReason.NONE) return reason;
      const { networkId, ca, port: insidePort } = forward;
      return addSession(state, key, { networkId, ca, insidePort, kind: SessionKind.FORWARD, ...packet }, nowBootNs);
    }
    const port = state.get('block', { segment, address, block: externalPort >>> 6 })?.ports[externalPort & 63];
    return port !== undefined && port.protocol === protocol ? DropReason.NAT_FILTERED : DropReason.NAT_NO_MAPPING;
  }

  /** By the mapping of the near end. */
  #mappedKey(flow: NatFlow): SessionKey | undefined {
    const { networkId, near: ca, nearPort: port, protocol } = flow;
    const mapping = this.state.get('mapping', { networkId, ca, port, protocol });
    return mapping && sessionKey(flow, mapping);
  }

  /** By the port forward whose session this remote side has begun. */
  #answeredKey(flow: NatFlow): SessionKey | undefined {
    const { networkId, near: ca, nearPort: port, remote, protocol } = flow;
    const reverse = this.state.get('reverse', { networkId, ca, remote, port, remotePort: remotePort(flow), protocol });
    return reverse && sessionKey(flow, reverse);
  }

  #lets(key: SessionKey, session: NatSession, nowBootNs: bigint): boolean {
    return isLive(session, nowBootNs) && isForwarded(this.#tables, key, session);
  }

  #keepFragment(flow: NatFlow, direction: FragmentDirection, to: Translation, nowBootNs: bigint): void {
    if (!flow.isFragment) return;
    const row = {
      datagram: datagramOf(flow, direction),
      expiresBootNs: nowBootNs + FRAGMENT_NS,
      networkId: to.networkId,
      address: to.address,
    };
    this.state.fragments.set(fragmentSlot(flow, direction), row);
  }

  /** One that comes before its first is dropped: a program in the kernel can hold no packet. */
  #laterFragment(flow: NatFlow, direction: FragmentDirection, nowBootNs: bigint): Translation | DropReason {
    const row = this.state.fragments.get(fragmentSlot(flow, direction));
    if (row === undefined || row.expiresBootNs <= nowBootNs || row.datagram !== datagramOf(flow, direction))
      return DropReason.NAT_FRAGMENT_UNKNOWN;
    return { networkId: row.networkId, address: row.address, port: 0 };
  }
}

function result(flow: NatFlow, of: Translation | DropReason): NatResult {
  if (typeof of === 'number') return { reason: of, address: NO_ADDRESS, port: flow.nearPort, networkId: 0 };
  return { reason: DropReason.NONE, address: of.address, port: of.port, networkId: of.networkId };
}

function beginOutbound(flow: NatFlow): SessionBegin {
  const { networkId, near: ca, nearPort: insidePort, tcpFlags } = flow;
  return { networkId, ca, insidePort, kind: SessionKind.MAPPING, direction: 'out', tcpFlags };
}

function sessionKey(flow: NatFlow, of: NatAddress & { readonly externalPort: number }): SessionKey {
  const { segment, address, externalPort } = of;
  return { segment, address, externalPort, remote: flow.remote, remotePort: remotePort(flow), protocol: flow.protocol };
}

/** A query's identifier is the near end's port; its remote end has none. */
function remotePort(flow: NatFlow): number {
  return isIcmp(flow.protocol) ? 0 : flow.remotePort;
}

function datagramOf(flow: NatFlow, direction: FragmentDirection): string {
  return [direction, fragmentScope(flow, direction), hex(flow.near), hex(flow.remote), flow.fragmentId, flow.protocol].join('/');
}

/** Where what a first fragment told stands: each network (outbound), each external address (inbound) has {@link FRAGMENT_SLOTS} places of its own. */
function fragmentSlot(flow: NatFlow, direction: FragmentDirection): string {
  const { fragmentId: id } = flow;
  const mixed = Math.imul(lastWord(flow.near) ^ lastWord(flow.remote) ^ flow.protocol, 0x9e3779b1) >>> 24;
  const slot = (mixed + ((id ^ (id >>> 16)) >>> 0)) % FRAGMENT_SLOTS;
  return [direction, fragmentScope(flow, direction), direction === 'in' ? hex(flow.near) : '', slot].join('/');
}

function fragmentScope(flow: NatFlow, direction: FragmentDirection): number {
  return direction === 'out' ? flow.networkId : flow.segment;
}

function lastWord(address: Uint8Array): number {
  return (address[12]! << 24) | (address[13]! << 16) | (address[14]! << 8) | address[15]!;
}

function hasPorts(flow: NatFlow): boolean {
  return flow.protocol === IP_PROTOCOL.tcp || flow.protocol === IP_PROTOCOL.udp || flow.protocol === icmpOf(flow);
}

function icmpOf(flow: NatFlow): number {
  return flow.isIpv6 ? IP_PROTOCOL.icmpv6 : IP_PROTOCOL.icmp;
}

function isIcmp(protocol: number): boolean {
  return protocol === IP_PROTOCOL.icmp || protocol === IP_PROTOCOL.icmpv6;
}

function isEcho(flow: NatFlow, what: 'request' | 'reply'): boolean {
  if (what === 'request') return flow.icmpType === (flow.isIpv6 ? ICMPV6_TYPE.echoRequest : ICMP_TYPE.echoRequest);
  return flow.icmpType === (flow.isIpv6 ? ICMPV6_TYPE.echoReply : ICMP_TYPE.echoReply);
}

/** What this member owns of the network's shard. */
function ownership(tables: NatTables, networkId: number): { readonly epoch: bigint; readonly deadlineBootNs: bigint } | undefined {
  const network = tables.gatewayNetwork(networkId);
  return network && tables.gatewayShard(network.shard);
}

/** This member owns the network's shard now. */
export function isOwned(tables: NatTables, networkId: number, nowBootNs: bigint): boolean {
  const owned = ownership(tables, networkId);
  return owned !== undefined && nowBootNs < owned.deadlineBootNs;
}

/** False for a session by a port forward that is gone, or leads elsewhere. */
export function isForwarded(tables: NatTables, key: SessionKey, session: NatSession): boolean {
  if (session.kind !== SessionKind.FORWARD) return true;
  const forward = tables.portForward(key.segment, key.address, key.externalPort, key.protocol);
  return forward !== undefined && isOfForward(session, forward);
}

function isOfForward(session: NatSession, { networkId, port, ca }: PortForwardEntry): boolean {
  return session.networkId === networkId && session.insidePort === port && session.ca.every((byte, i) => byte === ca[i]);
}
