import type { GatewayTableChange, GatewayTableEntry, GatewayTableName, NatEventBatch, NatKey, NatStore } from '@weft/forwarding';

/** A device of this host that leads to a physical network beyond the gateway. */
export interface ExternalDevice {
  readonly name: string;
  readonly ifindex: number;
}

/** What a peer's packet path said of one shard. */
export interface ProbedShard {
  readonly shard: number;
  readonly epoch: bigint;
  /** It forwards: its deadline holds. */
  readonly isForwarding: boolean;
}

/** A peer's answer heard last, stamped by the kernel when it came in. */
export interface ProbeStamp {
  /** Provider address, 16 bytes. */
  readonly pa: Uint8Array;
  /** As in the request. */
  readonly nonce: bigint;
  /** Nanoseconds of the boot clock. */
  readonly bootNs: bigint;
  readonly shards: readonly ProbedShard[];
}

/** Of one network, both directions, dropped packets too. Bytes are those of Ethernet frames. */
export interface GatewayTraffic {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** What a sweep did. */
export interface NatSwept {
  readonly steps: number;
  readonly sessions: number;
  readonly blocks: number;
}

/**
 * The gateway's part of an engine: docs/gateway-contract.md. Tables come from the agent; programs at external devices judge by them, also when the
 * agent is gone, until the deadline of each shard. With empty tables nothing of the outside is taken, nothing let out.
 *
 * The user-space engine has none: each call throws `WEFT_ERR_DATAPATH_NO_GATEWAY`.
 */
export interface GatewayDatapath {
  /**
   * Writes changes, in batches by table: deletions from the outside in, then additions from the inside out. Of several changes of one row the last
   * counts. Not atomic: when it throws, some are written; the same list may be applied again.
   *
   * @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_ROW` (nothing is written), `WEFT_ERR_DATAPATH_TABLE_FULL`, `WEFT_ERR_DATAPATH_CLOSED`.
   */
  apply(changes: readonly GatewayTableChange[]): void;
  /** Every row as the engine has it, of one table or of all, in no order: also those of a former process. */
  entries(table?: GatewayTableName): GatewayTableEntry[];
  /** As `entries`, read bit by bit as it is asked for: who has others to attend to can pause. What is written meanwhile may be among it or not. */
  rows(table?: GatewayTableName): Iterable<GatewayTableEntry>;
  /**
   * Moves the time until which frames of a shard are forwarded: one write. Only of a shard that has a row, and only while that has this epoch.
   *
   * @returns Whether it was written.
   */
  setDeadline(shard: number, epoch: bigint, deadlineBootNs: bigint): boolean;
  /**
   * Begins to take frames from an external device. Idempotent; replaces the program of an older version in one step.
   *
   * @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE`.
   */
  attachExternal(device: ExternalDevice): void;
  /** Idempotent; the device may be gone. */
  detachExternal(ifindex: number): void;
  /** Device indexes, ascending; also those that a former process attached. */
  externalDevices(): number[];
  /** The answers heard last, of one peer or of all, in no order. */
  probeStamps(pa?: Uint8Array): ProbeStamp[];
  /**
   * Port mapping's state, row by row. The agent writes `pool`, `free` and `quota`, and rows of shards that this member does not own; the others are
   * the packet path's.
   */
  readonly nat: NatStore;
  /** Retires sessions whose time is over and gives back blocks, in at most `budget` steps. To be called every second. */
  sweepNat(budget: number): NatSwept;
  /**
   * Gives an address another slice (a bit a block) while blocks may be granted from its ring: what leaves is granted no more once this returns, what comes is
   * granted unless somebody holds it.
   * @returns False: the address has no ring yet.
   */
  sliceNat(key: NatKey<'free'>, own: Uint8Array): boolean;
  /**
   * Told of what port mapping grants, makes and retires, some milliseconds later and all of that together, until the returned function is called. One reader at a time.
   * Under load that is much work on processors that forward, so the process gives way to others from then on (`giveWay` of @weft/bpf).
   */
  watchNat(onEvents: (batch: NatEventBatch) => void): () => void;
  /** Sessions that port mapping has room for, of all networks. */
  natSessionsMax(): number;
  /** From now on networks that have so many sessions begin no more; 0: all may. What they have stays. */
  shareNatSessions(share: number): void;
  /** What each network has sent and got through this member, ever, as an estimate: one packet of 64 is counted, for 64. */
  traffic(): ReadonlyMap<number, GatewayTraffic>;
  /** Events that found no room, ever. When it grows, a standby needs a snapshot. */
  natEventsLost(): bigint;
}
