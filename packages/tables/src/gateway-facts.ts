import type { Assignment, Gateway, VirtualNetwork } from '@weft/model';

/** A device of this member, as the kernel has it. */
export interface ExternalDevice {
  readonly ifindex: number;
  readonly mac: Uint8Array;
  readonly mtuBytes: number;
  /** The device's own addresses, 16 bytes; zero: none. */
  readonly address4: Uint8Array;
  readonly address6: Uint8Array;
}

/** A gateway that this host is a member of. */
export interface GatewayGroupFacts {
  readonly gateway: Gateway;
  readonly assignment: Assignment;
}

/** Everything that a member's rows are made of. */
export interface GatewayFacts {
  readonly hostId: string;
  /** Largest IP packet that enters a virtual network. */
  readonly mtuBytes: number;
  readonly groups: readonly GatewayGroupFacts[];
  /** Networks on shards of the groups, by routing domain id; others are passed over. */
  readonly networks: ReadonlyMap<string, VirtualNetwork>;
  /** VSIDs whose claim names that network. Others are denied. */
  readonly vsidAllowed: (rdid: string, vsid: number) => boolean;
  /** By name. */
  readonly devices: ReadonlyMap<string, ExternalDevice>;
  /** Provider addresses of hosts, by id: of witnesses, which the assignment does not tell. */
  readonly providerAddresses: ReadonlyMap<string, string>;
}

/** Addresses that holders of a pool are spread over: the shared ones of a shard, those of one network, or one alone. */
export interface NatPoolSetup {
  readonly table: 'nat_pool';
  readonly key: { readonly pool: number };
  readonly value: { readonly addresses: readonly { readonly segment: number; readonly address: Uint8Array }[] };
}

/** Blocks of an address that this member grants from; what it has granted is the packet path's. */
export interface NatSliceSetup {
  readonly table: 'nat_slice';
  readonly key: { readonly segment: number; readonly address: Uint8Array };
  /** A bit a block of 64 ports, from port 0: bit `block & 7` of byte `block >> 3`; 128 bytes. */
  readonly value: { readonly own: Uint8Array };
}

/** What a network may hold at most. */
export interface QuotaSetup {
  readonly table: 'gateway_quota';
  readonly key: { readonly networkId: number };
  readonly value: {
    readonly blocks: number;
    readonly blocksPerSource: number;
    readonly sessions: number;
    readonly newFlowsPerSecond: number;
    /** Pools that sources without a rule are mapped to. */
    readonly pools: readonly number[];
  };
}

/** What the address translation is given; its state is its own. */
export type NatSetup = NatPoolSetup | NatSliceSetup | QuotaSetup;
export type NatSetupChange =
  | ({ readonly op: 'put' } & NatSetup)
  | { readonly op: 'delete'; readonly table: NatSetup['table']; readonly key: NatSetup['key'] };
