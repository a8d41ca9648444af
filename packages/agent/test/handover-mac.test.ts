import type { AssignedAddress, Assignment, Gateway, GatewaySegment, Host } from '@weft/model';
import { formatMac } from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { handoverMac } from '../src/gateway/handover-mac.ts';

const segment = (name: string, id: number): GatewaySegment => ({
  name,
  id,
  onLink: [],
  nextHops: [],
  mtu: 1_500,
  access: { mode: 'deny', tenants: [] },
});
const gateway: Gateway = {
  id: 'g',
  name: 'edge',
  members: ['gw-a', 'gw-b'].map((host) => ({
    host,
    interfaces: [
      { segment: 'internet', interface: 'eth1' },
      { segment: 'blue', interface: 'eth1.7' },
      { segment: 'red', interface: 'eth2' },
    ],
    drain: false,
  })),
  witnesses: [],
  segments: [segment('internet', 1), segment('blue', 2), segment('red', 3)],
  pools: [],
  shards: 2,
};
const address = (shard: number, id: number): AssignedAddress => ({
  segment: id,
  address: `203.0.113.${16 + shard * 8 + id}`,
  shard,
  pool: 5,
  natPool: 6,
  slices: [],
});
const groupOf = (...addresses: AssignedAddress[]) => ({
  gateway,
  assignment: {
    members: [{ member: 2, hostId: 'gw-b', providerAddress: '192.0.2.2', drain: false }],
    addresses,
  } as unknown as Assignment,
  assignmentRevision: 1,
});
const host = {
  id: 'gw-b',
  externalLinks: [
    { interface: 'eth1', mac: '02:00:00:00:00:b1' },
    { interface: 'eth1.7', mac: '02:00:00:00:00:b1' },
    { interface: 'eth2', mac: '02:00:00:00:00:b2' },
  ],
} as unknown as Host;
const macOf = (addresses: AssignedAddress[], to = '192.0.2.2', hosts = [host]): string =>
  formatMac(handoverMac(groupOf(...addresses), 3, to, hosts));

describe('handoverMac()', () => {
  it('is the new owner’s on the one segment of the shard, whatever other shards have', () => {
    expect(macOf([address(3, 1), address(4, 3)])).toBe('02:00:00:00:00:b1');
    expect(macOf([address(3, 3)])).toBe('02:00:00:00:00:b2');
  });

  it('holds for several segments of one interface, and for none if their addresses differ', () => {
    expect(macOf([address(3, 1), address(3, 2)])).toBe('02:00:00:00:00:b1');
    expect(macOf([address(3, 1), address(3, 3)])).toBe('00:00:00:00:00:00');
  });

  it('is none where nothing is known: of a stranger, of a host that does not say, of a shard without addresses', () => {
    expect(macOf([address(3, 1)], '192.0.2.9')).toBe('00:00:00:00:00:00');
    expect(macOf([address(3, 1)], '192.0.2.2', [])).toBe('00:00:00:00:00:00');
    expect(macOf([address(4, 1)])).toBe('00:00:00:00:00:00');
  });
});
