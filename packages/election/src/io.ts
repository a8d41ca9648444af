import type { OwnershipBody, OwnershipCertificate, OwnershipConfig, OwnershipMessage } from '@weft/model';
import type { Durable } from './durable.ts';
import type { FenceRow } from './fence.ts';
import type { ProbeShard } from './observer.ts';

/** Where a message goes out: every ownership message on both of the first two; certificates to members also on the external segment, if the adapter can. */
export type Path = 'nats' | 'underlay' | 'external';

/** What can happen to a node (member or witness). `now` comes beside it. */
export type Input =
  /** Every `timing.probeMs`, sockets read first. All timers are looked at here. */
  | { readonly kind: 'tick' }
  /** A message whose envelope was signed by the key of `message.from`. On which path it came doesn't matter; copies don't either. */
  | { readonly kind: 'message'; readonly message: OwnershipMessage }
  /** The state of a `persist` output is on disk (fsync returned). */
  | { readonly kind: 'persisted'; readonly token: number }
  /** A probe really left. `at`: the kernel's time stamp, boot clock. */
  | { readonly kind: 'probe-sent'; readonly peer: string; readonly nonce: number; readonly at: number }
  /** A packet path answered, with what it says of the shards it owns. */
  | { readonly kind: 'probe-answered'; readonly peer: string; readonly nonce: number; readonly shards: readonly ProbeShard[] }
  /** The external interface's carrier. */
  | { readonly kind: 'carrier'; readonly up: boolean }
  /** A configuration, its signature verified. Older ones are kept as long as a newer one names them. */
  | { readonly kind: 'config'; readonly config: OwnershipConfig }
  /**
   * A `need-config` was followed: the record was read from the store after `askedAt`, and what it says was given. Not given when the store did not answer. The time is that
   * before the reading: what was written while it went on may not be in it.
   */
  | { readonly kind: 'record-read'; readonly askedAt: number }
  /** Hosts that have networks of this group: whom certificates go to. */
  | { readonly kind: 'hosts'; readonly hosts: readonly string[] }
  /** A grant as recorded in JetStream, read at start. */
  | { readonly kind: 'recorded'; readonly certificate: OwnershipCertificate }
  /** The next owner has the state of these shards (answer to the hand-over step `sync`). */
  | { readonly kind: 'synced'; readonly shards: readonly number[] }
  /** Somebody else claims an external address by ARP or NA. Proves nothing. */
  | { readonly kind: 'external-conflict'; readonly address: string };

export type ShardState = 'none' | 'standby' | 'asking' | 'voting' | 'owner' | 'handing-over' | 'held';

export type AlarmCode =
  | 'no-automatic-failover'
  | 'no-owner'
  | 'lease-not-renewed'
  | 'external-carrier-lost'
  | 'external-conflict'
  | 'flapping'
  | 'memory-lost'
  | 'configuration-unsettled'
  | 'configuration-missing'
  | 'handover-failed'
  | 'epochs-exhausted'
  | 'implausible-epoch'
  | 'certificate-refused';

export interface Alarm {
  readonly kind: 'alarm';
  readonly code: AlarmCode;
  /** Shard, host or address it is about; empty: the whole group. */
  readonly about: string;
  readonly active: boolean;
  readonly message: string;
}

export interface Send {
  readonly kind: 'send';
  /** Host id. */
  readonly to: string;
  readonly paths: readonly Path[];
  readonly body: OwnershipBody;
}

/** What a node wants done. */
export type Output =
  | Send
  /** Send a probe and say so by `probe-sent`. */
  | { readonly kind: 'probe'; readonly peer: string; readonly nonce: number }
  /** Write the whole state, fsync, then give `persisted`. One at a time: the next comes after that. */
  | { readonly kind: 'persist'; readonly token: number; readonly state: Durable }
  /** Write this row of `gateway_shard`, before anything else that was put out later. */
  | { readonly kind: 'fence'; readonly row: FenceRow }
  | { readonly kind: 'state'; readonly shard: number; readonly state: ShardState; readonly epoch: bigint; readonly owner: string }
  /** Announce the external addresses of these shards (gratuitous ARP, unsolicited NA, repeated). */
  | { readonly kind: 'announce'; readonly shards: readonly number[]; readonly epoch: bigint }
  /** Record this grant in JetStream; nothing waits for it. */
  | { readonly kind: 'record'; readonly certificate: OwnershipCertificate }
  /**
   * A planned move. `sync`: bring the state to `to`, then give `synced`. `forward`: pass late external returns on to `to` (the fence row says until when).
   * `done`: that time is over. `cancelled`: the shards stay.
   */
  | {
      readonly kind: 'handover';
      readonly step: 'sync' | 'forward' | 'done' | 'cancelled';
      readonly shards: readonly number[];
      readonly to: string;
    }
  /**
   * The newest configuration has a grant with majorities of both lists: have the controller commit the record without the old one. Repeated until that is
   * known. `certificate` proves it (`certificateFault` against the record with both lists).
   */
  | { readonly kind: 'settled'; readonly config: number; readonly certificate: OwnershipCertificate }
  /** Get configuration `config` (from NATS, or from `from`). */
  | { readonly kind: 'need-config'; readonly config: number; readonly from: string }
  | Alarm;

/** What can happen to a host that only obeys. */
export type HostInput =
  | { readonly kind: 'tick' }
  | { readonly kind: 'message'; readonly message: OwnershipMessage }
  | { readonly kind: 'config'; readonly config: OwnershipConfig };

/** A row of the hosts' shard map. */
export interface ShardRow {
  readonly shard: number;
  readonly epoch: bigint;
  readonly owner: string;
  readonly providerAddress: string;
  /** Whose frames are believed beside the owner's: before a consented hand-over the next owner's, after it the former one's. Empty: nobody's. */
  readonly previousAddress: string;
  readonly previousUntilMs: number;
}

export type HostOutput =
  | Send
  | { readonly kind: 'shard'; readonly row: ShardRow }
  | { readonly kind: 'need-config'; readonly config: number; readonly from: string }
  | Alarm;
