import { BpfMap } from '@weft/bpf';
import { decodeGatewayRow, LAYOUT_VERSION, MAP_LAYOUT, ROW_CODECS } from '@weft/datapath';
import { formatIp } from '@weft/packet';
import type { LabNet } from '@weft/testkit';
import { pinDirectory } from '../instance-name.ts';
import type { AcceptedOwner, OwnFence } from './history.ts';

const NS_PER_MS = 1e6;
const FENCES = 'map_gateway_shard';

interface HostMaps {
  readonly host: string;
  readonly address: string;
  readonly accepted: BpfMap;
  readonly fences: BpfMap;
}

/** Ownership's rows in the packet paths of a lab's hosts, read past their agents: what frames meet. */
export class OwnershipMaps {
  readonly #hosts: readonly HostMaps[];

  /** @throws {BpfError} When a host's maps are not pinned: its agent has not started yet, or runs the user-space engine. */
  constructor(net: LabNet) {
    this.#hosts = [...net.hosts.values()].map(({ name, address }) => {
      const pins = `${pinDirectory(net.name, name)}/v${LAYOUT_VERSION}`;
      return {
        host: name,
        address,
        accepted: BpfMap.fromPin(`${pins}/${MAP_LAYOUT.shard.map}`),
        fences: BpfMap.fromPin(`${pins}/${FENCES}`),
      };
    });
  }

  read(): { readonly accepted: readonly AcceptedOwner[]; readonly fences: readonly OwnFence[] } {
    const accepted: AcceptedOwner[] = [];
    const fences: OwnFence[] = [];
    for (const maps of this.#hosts) {
      for (const [key, bytes] of maps.accepted.entries()) {
        const row = ROW_CODECS.shard.decode(key, bytes);
        if (row.table !== 'shard') continue;
        const { epoch, pa, prevPa, prevUntilBootNs } = row.value;
        const previousUntilMs = Number(prevUntilBootNs) / NS_PER_MS;
        accepted.push({ host: maps.host, shard: row.key.id, epoch, owner: text(pa), previous: text(prevPa), previousUntilMs });
      }
      for (const [key, bytes] of maps.fences.entries()) {
        const row = decodeGatewayRow('gateway_shard', key, bytes);
        if (row.table !== 'gateway_shard') continue;
        const { epoch, deadlineBootNs } = row.value;
        fences.push({
          host: maps.host,
          address: maps.address,
          shard: row.key.shard,
          epoch,
          deadlineMs: Number(deadlineBootNs) / NS_PER_MS,
        });
      }
    }
    return { accepted, fences };
  }

  close(): void {
    for (const { accepted, fences } of this.#hosts) {
      accepted.close();
      fences.close();
    }
  }
}

function text(address: Uint8Array): string {
  return address.every((byte) => byte === 0) ? '' : formatIp(address);
}
