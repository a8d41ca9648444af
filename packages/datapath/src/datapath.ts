import type { TableChange, TableEntry, TableName } from '@weft/forwarding';
import type { DropReason } from '@weft/model';
import type { GatewayDatapath } from './gateway-datapath.ts';

/** A device of this host that a tenant's port is. */
export interface PortDevice {
  readonly name: string;
  readonly ifindex: number;
  readonly kind: 'tap' | 'veth';
}

/** Frames dropped at one device, of one subnet, for one reason. */
export interface DropCounter {
  readonly ifindex: number;
  /** 0 if none or unknown. */
  readonly vsid: number;
  readonly reason: DropReason;
  readonly packets: bigint;
  readonly bytes: bigint;
  /** When the last one was dropped, nanoseconds of the boot clock. */
  readonly lastBootNs: bigint;
  /** The first bytes (at most 64) of the frame dropped last. */
  readonly sample: Uint8Array;
}

/** How far the engine is used. */
export interface DatapathStatistics {
  /** Per table: rows it can hold. */
  readonly capacity: Readonly<Record<TableName, number>>;
  readonly attachedDeviceCount: number;
  /** Sum over all counters of {@link Datapath.drops}. */
  readonly droppedPackets: bigint;
  /** By program; zero unless the kernel counts (`sysctl kernel.bpf_stats_enabled=1`). */
  readonly programs: Readonly<Record<string, { readonly runCount: number; readonly runTimeNs: number }>>;
}

/**
 * What moves frames between the ports of this host and the tunnels: tables in, verdicts by docs/datapath-contract.md. Two engines have this
 * interface; calls are synchronous, but for `attachDeviceAsync`.
 */
export interface Datapath {
  readonly engine: 'kernel' | 'user';
  /** The gateway's part. */
  readonly gateway: GatewayDatapath;
  /**
   * Writes changes, in batches by table. The order within is the engine's, so that tenants stay apart mid-way: what is taken away goes first
   * and ports before all; what is added begins with subnets and ends with ports. Of several changes of one row the last counts. Not atomic:
   * when it throws, some are written; the same list may be applied again.
   *
   * @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_ROW` (nothing is written), `WEFT_ERR_DATAPATH_TABLE_FULL`, `WEFT_ERR_DATAPATH_CLOSED`.
   */
  apply(changes: readonly TableChange[]): void;
  /** Every row as the engine has it, of one table or of all, in no order: what was applied, exactly. */
  entries(table?: TableName): TableEntry[];
  /** As `entries`, read bit by bit as it is asked for: who has others to attend to can pause. What is written meanwhile may be among it or not. */
  rows(table?: TableName): Iterable<TableEntry>;
  /**
   * Begins to take frames from a device. Idempotent; replaces the program of an older version in one step. The device's own settings are the
   * caller's (see `protectTenantDevice`).
   *
   * @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE`.
   */
  attachDevice(device: PortDevice): void;
  /**
   * The same beside the caller: the kernel may take 10 ms and more. In force once the promise is resolved. A device that is detached, or an
   * engine that is closed meanwhile, ends it with nothing attached.
   *
   * @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE` (also: detached meanwhile), `WEFT_ERR_DATAPATH_CLOSED`.
   */
  attachDeviceAsync(device: PortDevice): Promise<void>;
  /** Stops taking frames from a device. Idempotent; the device may be gone. */
  detachDevice(ifindex: number): void;
  /** Device indexes, ascending. Devices that are gone are not among them. */
  attachedDevices(): number[];
  /** Counters above 0, in no order. When there is no room for more, drops are counted under device 0 and subnet 0. */
  drops(): DropCounter[];
  /** Removes the counters of a device, once it is gone: a device made later may get its index. */
  forgetDrops(ifindex: number): void;
  statistics(): DatapathStatistics;
  /** Lets go. A kernel engine works on; a user-space engine stops. Idempotent. */
  close(): void;
  /** Stops the engine and removes all it made: programs, tables, tunnel device. */
  destroy(): void;
}
