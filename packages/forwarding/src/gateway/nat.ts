import type { DropReason } from '@weft/model';
import type { ExternalAddressEntry, SourceRuleKind } from './gateway-tables.ts';

/**
 * One packet as port mapping sees it. Of an ICMP error, addresses, ports and protocol are those of the packet it quotes, turned round: so `near` and
 * `remote` mean the same in an error as in what caused it.
 */
export interface NatFlow {
  /** Outbound: the network it comes from. Inbound: 0, the answer says which. */
  readonly networkId: number;
  readonly segment: number;
  readonly isIpv6: boolean;
  /** 16 bytes. Outbound: the CA. Inbound: the external address. */
  readonly near: Uint8Array;
  readonly remote: Uint8Array;
  /** TCP, UDP: ports; ICMP echo: the identifier, in both. 0 where there is none (other ICMP, other protocols, later fragments). */
  readonly nearPort: number;
  readonly remotePort: number;
  readonly protocol: number;
  /** Of ICMP and ICMPv6, not of a quoted packet: type, else 0. */
  readonly icmpType: number;
  /** Of TCP, not of a quoted packet: the flags byte, else 0. */
  readonly tcpFlags: number;
  /** An ICMP error; the facts are of its quote. */
  readonly isError: boolean;
  readonly isFragment: boolean;
  /** False behind a fragment offset: ports are 0. */
  readonly hasL4Header: boolean;
  /** Identification of a fragment (IPv4: 16 bits), else 0. */
  readonly fragmentId: number;
  /** Of the whole IP packet; a GSO frame counts as one. */
  readonly ipLength: number;
}

/** What becomes of the near end. */
export interface NatResult {
  /** NONE: translated. */
  readonly reason: DropReason;
  /** Outbound: the external address. Inbound: the CA. */
  readonly address: Uint8Array;
  /** New near port or identifier; the old one where there is none. */
  readonly port: number;
  /** Inbound: whose CA it is. */
  readonly networkId: number;
}

/** Port mapping with its state: docs/gateway-contract.md sections 3, 7 and 8. */
export interface Nat {
  /** @param rule POOL or ADDRESS, and the pool. */
  outbound(flow: NatFlow, rule: { readonly kind: SourceRuleKind; readonly pool: number }, nowBootNs: bigint): NatResult;
  /** @param address The entry of `flow.near`, of kind POOL or RESERVED; its shard is ours. */
  inbound(flow: NatFlow, address: ExternalAddressEntry, nowBootNs: bigint): NatResult;
}
