import type { FenceRow, ShardRow } from '@weft/election';
import { formatIp, parseIp } from '@weft/packet';
import type { AgentDatapath } from '../components.ts';
import type { ProbeReply } from './probe-port.ts';

const NS_PER_MS = 1_000_000;
const NO_ADDRESS = new Uint8Array(16);

/** What of the packet path ownership writes and reads. */
export interface OwnershipTables {
  /** Rows of `shard`, as the kernel has them. */
  shardRows(): readonly ShardRow[];
  writeShard(row: ShardRow): void;
  /** Rows of `gateway_shard`. */
  fenceRows(): readonly FenceRow[];
  /** @param handoverMac Where late frames from outside go on to, while the row says so; zero: nowhere. */
  writeFence(row: FenceRow, handoverMac: Uint8Array): void;
  probeReplies(): readonly ProbeReply[];
  /** Provider addresses whose probes are answered: members and voters of the groups that this machine is part of. */
  setProbePeers(addresses: ReadonlySet<string>): void;
}

/** Ownership's rows of the packet path. Times there are ns of the boot clock, here ms; deadlines are rounded down. */
export class DatapathOwnership implements OwnershipTables {
  readonly #datapath: AgentDatapath;
  readonly #hostAt: (providerAddress: string) => string | undefined;

  /** @param hostAt Which host has a provider address: the packet path knows addresses only. */
  constructor(datapath: AgentDatapath, hostAt: (providerAddress: string) => string | undefined) {
    this.#datapath = datapath;
    this.#hostAt = hostAt;
  }

  shardRows(): readonly ShardRow[] {
    return this.#datapath.entries('shard').flatMap((entry) => {
      if (entry.table !== 'shard') return [];
      const { epoch, pa, prevPa, prevUntilBootNs } = entry.value;
      const providerAddress = text(pa);
      return [
        {
          shard: entry.key.id,
          epoch,
          owner: this.#hostAt(providerAddress) ?? '',
          providerAddress,
          previousAddress: text(prevPa),
          previousUntilMs: toMs(prevUntilBootNs),
        },
      ];
    });
  }

  writeShard(row: ShardRow): void {
    const value = {
      epoch: row.epoch,
      pa: bytes(row.providerAddress),
      prevPa: bytes(row.previousAddress),
      prevUntilBootNs: toNs(row.previousUntilMs),
    };
    this.#datapath.apply([{ op: 'put', table: 'shard', key: { id: row.shard }, value }]);
  }

  fenceRows(): readonly FenceRow[] {
    if (this.#datapath.engine === 'user') return [];
    return this.#datapath.gateway.entries('gateway_shard').flatMap((entry) => {
      if (entry.table !== 'gateway_shard') return [];
      const { epoch, deadlineBootNs, handoverUntilBootNs, handoverPa } = entry.value;
      return [
        {
          shard: entry.key.shard,
          epoch,
          deadlineMs: toMs(deadlineBootNs),
          handoverUntilMs: toMs(handoverUntilBootNs),
          handoverTo: text(handoverPa),
        },
      ];
    });
  }

  writeFence(row: FenceRow, handoverMac: Uint8Array): void {
    const deadlineBootNs = toNs(row.deadlineMs);
    const { gateway } = this.#datapath;
    // A renewal moves the deadline only: one write, of the epoch that has the row.
    if (row.deadlineMs > 0 && row.handoverUntilMs === 0 && gateway.setDeadline(row.shard, row.epoch, deadlineBootNs)) return;
    const value = {
      epoch: row.epoch,
      deadlineBootNs,
      handoverUntilBootNs: toNs(row.handoverUntilMs),
      handoverPa: bytes(row.handoverTo),
      handoverMac,
    };
    gateway.apply([{ op: 'put', table: 'gateway_shard', key: { shard: row.shard }, value }]);
  }

  probeReplies(): ReturnType<OwnershipTables['probeReplies']> {
    if (this.#datapath.engine === 'user') return [];
    return this.#datapath.gateway.probeStamps().map(({ pa, nonce, shards }) => ({
      pa: text(pa),
      nonce,
      shards: shards.map(({ shard, epoch, isForwarding }) => ({ shard, epoch, valid: isForwarding })),
    }));
  }

  setProbePeers(addresses: ReadonlySet<string>): void {
    if (this.#datapath.engine === 'user') return;
    const { gateway } = this.#datapath;
    const present = new Set(
      gateway.entries('peer_gateway').flatMap((entry) => (entry.table === 'peer_gateway' ? [text(entry.key.pa)] : [])),
    );
    gateway.apply([
      ...[...addresses]
        .filter((address) => !present.has(address))
        .map((address) => ({ op: 'put' as const, table: 'peer_gateway' as const, key: { pa: parseIp(address) }, value: 1 })),
      ...[...present]
        .filter((address) => !addresses.has(address))
        .map((address) => ({ op: 'delete' as const, table: 'peer_gateway' as const, key: { pa: parseIp(address) } })),
    ]);
  }
}

function text(address: Uint8Array): string {
  return address.every((byte) => byte === 0) ? '' : formatIp(address);
}

function bytes(address: string): Uint8Array {
  return address === '' ? NO_ADDRESS : parseIp(address);
}

function toNs(ms: number): bigint {
  return BigInt(Math.floor(ms * NS_PER_MS));
}

function toMs(ns: bigint): number {
  return Number(ns) / NS_PER_MS;
}
