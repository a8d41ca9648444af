import { MemoryTables, PortFlag, SpeakerFlag, type TableChange, type Target, TargetKind } from '@weft/forwarding';
import type { Mapping, VirtualNetwork } from '@weft/model';
import { parseIp, parseMac } from '@weft/packet';
import { compile } from '@weft/tables';

// `weft trace` decides with the forwarding package, as the packet path does, over tables made of two things: the network's configuration
// (subnets, routes) and the lookup records that the host says it holds. So it explains what that host does, stale records included.

/** A host's tables of one network, and which index stands for which device. */
export interface TraceTables {
  readonly tables: MemoryTables;
  /** Device name to the index that stands for it here; not the kernel's. */
  readonly ifindexes: ReadonlyMap<string, number>;
}

const NO_ADDRESS = new Uint8Array(16);
/** What VXLAN over IPv4 adds to an IP packet: outer IPv4, UDP, VXLAN and the inner Ethernet header. */
const ENCAPSULATION_BYTES = 50;

/** Whose frames a host believes for the shard that serves a network. */
export interface TraceShard {
  readonly shard: number;
  readonly epoch: bigint;
  readonly providerAddress: string;
}

/**
 * @param mappings As the host answered, of this network only.
 * @param shard As the host answered; undefined: the network has no gateway, or the host knows no owner.
 * @param host Its provider address and the underlay's MTU.
 */
export function traceTables(
  network: VirtualNetwork,
  mappings: readonly Mapping[],
  host: { readonly providerAddress: string; readonly underlayMtu: number },
  shard?: TraceShard,
): TraceTables {
  const pa = parseIp(host.providerAddress);
  const mtuBytes = host.underlayMtu - ENCAPSULATION_BYTES;
  // Without ports, what comes out is the network's own rows: subnets and routes.
  const rows = compile({ host: { hostId: '', pa, mtuBytes }, network, vsidAllowed: () => true, ports: new Map() }, 0);
  const changes: TableChange[] = rows.map((row) => ({ op: 'put', ...row }));
  const ifindexes = new Map<string, number>();
  const { networkId } = network;
  if (shard !== undefined) {
    const value = { epoch: shard.epoch, pa: parseIp(shard.providerAddress), prevPa: NO_ADDRESS, prevUntilBootNs: 0n };
    changes.push({ op: 'put', table: 'shard', key: { id: shard.shard }, value });
  }
  for (const mapping of mappings) {
    if (mapping.networkId !== networkId) continue;
    const mac = parseMac(mapping.mac);
    const ifindex = mapping.kind === 'local' ? indexOf(ifindexes, mapping.device) : 0;
    const shardId = mapping.kind === 'shard' ? (network.gateway?.shard ?? 0) : 0;
    const target: Target = {
      mac,
      kind: kindOf(mapping.kind),
      flags: 0,
      vsid: mapping.vsid,
      ifindexOrShard: ifindex + shardId,
      pa: mapping.kind === 'local' ? pa : mapping.providerAddress === '' ? NO_ADDRESS : parseIp(mapping.providerAddress),
      prevPa: NO_ADDRESS,
      prevUntilBootNs: 0n,
      generation: BigInt(mapping.generation),
    };
    changes.push(
      { op: 'put', table: 'lookup', key: { networkId, ca: parseIp(mapping.customerAddress) }, value: target },
      { op: 'put', table: 'l2', key: { vsid: mapping.vsid, mac }, value: target },
    );
    if (target.kind === TargetKind.PEER)
      changes.push({ op: 'put', table: 'speaker', key: { pa: target.pa, networkId }, value: SpeakerFlag.HOST });
    if (target.kind === TargetKind.LOCAL) {
      const value = { networkId, vsid: mapping.vsid, mtuBytes, flags: PortFlag.READY, mac };
      changes.push({ op: 'put', table: 'port', key: { ifindex }, value });
    }
  }
  return { tables: new MemoryTables(changes), ifindexes };
}

function indexOf(known: Map<string, number>, device: string): number {
  const found = known.get(device) ?? known.size + 1;
  known.set(device, found);
  return found;
}

function kindOf(text: string): TargetKind {
  switch (text) {
    case 'local':
      return TargetKind.LOCAL;
    case 'peer':
      return TargetKind.PEER;
    case 'shard':
      return TargetKind.SHARD;
    case 'redirect':
      return TargetKind.REDIRECT;
    default:
      return TargetKind.DENY;
  }
}
