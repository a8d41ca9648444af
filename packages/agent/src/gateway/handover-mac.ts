import type { Host } from '@weft/model';
import { parseMac } from '@weft/packet';
import type { GatewayGroup } from './directory.ts';

const NO_MAC = new Uint8Array(6);

/**
 * Where late frames from outside are sent on to after a shard was handed over: the new owner's MAC address on the segment they came by, as it says in its host
 * record. The packet path has room for one a shard; so it is given only where it holds for every segment on which the shard has addresses (one segment, or
 * VLANs of one interface). Else zero: such frames are dropped until the outside has heard the announcement.
 *
 * @param to The new owner's provider address; empty: nobody.
 */
export function handoverMac({ gateway, assignment }: GatewayGroup, shard: number, to: string, hosts: readonly Host[]): Uint8Array {
  const hostId = assignment?.members.find(({ providerAddress }) => providerAddress === to)?.hostId;
  const member = gateway?.members.find(({ host }) => host === hostId);
  const links = new Map(hosts.find(({ id }) => id === hostId)?.externalLinks.map((link) => [link.interface, link.mac]));
  const segments = new Set(assignment?.addresses.flatMap((address) => (address.shard === shard ? [address.segment] : [])));
  const macs = new Set<string | undefined>();
  for (const id of segments) {
    const segment = gateway?.segments.find((one) => one.id === id)?.name;
    const name = member?.interfaces.find((one) => one.segment === segment)?.interface;
    macs.add(name === undefined ? undefined : links.get(name));
  }
  const [mac] = macs;
  return macs.size === 1 && mac !== undefined ? parseMac(mac) : NO_MAC;
}
