import { formatIp } from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { parseExternalDevices } from '../src/gateway/external-devices.ts';

// As `ip -json address show` of iproute2 6.1 says it, shortened.
const TEXT = JSON.stringify([
  { ifindex: 1, ifname: 'lo', flags: ['LOOPBACK', 'UP', 'LOWER_UP'], mtu: 65536, address: '00:00:00:00:00:00', addr_info: [] },
  {
    ifindex: 4,
    ifname: 'ext0@if5',
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    mtu: 1500,
    address: '02:00:00:00:00:04',
    addr_info: [
      { family: 'inet6', local: 'fe80::1', prefixlen: 64, scope: 'link' },
      { family: 'inet', local: '203.0.113.2', prefixlen: 24, scope: 'global' },
      { family: 'inet', local: '203.0.113.3', prefixlen: 24, scope: 'global' },
      { family: 'inet6', local: '2001:db8:f00d::2', prefixlen: 64, scope: 'global' },
    ],
  },
  { ifindex: 6, ifname: 'ext1', flags: ['NO-CARRIER', 'BROADCAST', 'UP'], mtu: 9000, address: '02:00:00:00:00:06', addr_info: [] },
  { ifindex: 7, ifname: 'ext2', flags: ['BROADCAST', 'LOWER_UP'], mtu: 1500, address: '02:00:00:00:00:07' },
  { ifindex: 8, ifname: 'tun0', flags: ['POINTOPOINT', 'UP', 'LOWER_UP'], mtu: 1500, addr_info: [] },
]);
const read = (...names: string[]) => parseExternalDevices(TEXT, new Set(names));

describe('parseExternalDevices()', () => {
  it('tells index, MAC address, MTU and own global addresses, the first of each family; a veth by its own name', () => {
    const device = read('ext0').get('ext0')!;
    expect(device).toMatchObject({ name: 'ext0', ifindex: 4, mac: Uint8Array.of(2, 0, 0, 0, 0, 4), mtuBytes: 1500, carrier: true });
    expect([formatIp(device.address4), formatIp(device.address6)]).toEqual(['203.0.113.2', '2001:db8:f00d::2']);
  });

  it('says no carrier of one that is down, or has nobody at the other end', () => {
    expect([...read('ext1', 'ext2').values()].map(({ name, carrier }) => [name, carrier])).toEqual([
      ['ext1', false],
      ['ext2', false],
    ]);
    expect([formatIp(read('ext1').get('ext1')!.address4), formatIp(read('ext2').get('ext2')!.address6)]).toEqual(['::', '::']);
  });

  it('leaves out what was not asked for, is not there, or has no MAC address', () => {
    expect([...read('ext1', 'eth9', 'tun0').keys()]).toEqual(['ext1']);
  });
});
