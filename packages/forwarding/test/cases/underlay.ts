import { DropReason } from '@weft/model';
import {
  buildArpFrame,
  buildEthernet,
  buildIcmpv6,
  buildIpv6,
  buildTcpFrame,
  buildUdpFrame,
  ETHER_TYPE,
  parseIp,
  parseMac,
} from '@weft/packet';
import { Action, gatewayMac, TargetKind } from '../../src/index.ts';
import { tunnelFrame } from '../../src/testing/index.ts';
import {
  A,
  B,
  bind,
  C,
  D,
  E,
  F,
  GATEWAY_HOST,
  GATEWAY_OLD,
  HOST_C,
  HOST_D,
  HOST_OLD,
  type Nic,
  NOW,
  ofPeer,
  ofTunnel,
  ofUnderlay,
  PA,
  patched,
  RED,
  STRANGER,
  subnet,
  tables,
} from '../fixture.ts';
import type { RuleCase } from './case.ts';

const R = DropReason;
const { PASS, LOCAL, TUNNEL, CLIMB } = Action;

/** A UDP frame as a peer sends it; MAC addresses and addresses may be forged. */
export function inner(
  from: Nic,
  to: Nic,
  more: { source?: Uint8Array; destination?: Uint8Array; sourceMac?: Uint8Array; destinationMac?: Uint8Array; isIpv6?: boolean } = {},
): Uint8Array {
  const isIpv6 = more.isIpv6 ?? false;
  const isRouted = from.vsid !== to.vsid;
  const fields = {
    sourceMac: isRouted ? gatewayMac(to.vsid) : from.mac,
    destinationMac: to.mac,
    source: isIpv6 ? from.ip6 : from.ip4,
    destination: isIpv6 ? to.ip6 : to.ip4,
    sourcePort: 40000,
    destinationPort: 53,
  };
  return buildUdpFrame({ ...fields, ...more }, new Uint8Array(16));
}

const sound = tunnelFrame({ source: HOST_C, destination: PA, vni: 5001 }, inner(C, A));
const outer = { sourceMac: C.mac, destinationMac: A.mac, source: HOST_C, destination: PA };
const behindC = parseIp('172.17.0.5');
const outside = parseIp('198.51.100.5');
const fromGateway = inner(C, A, { source: outside, sourceMac: gatewayMac(5001) });

const of = (title: string, reason: DropReason, action: number, verdict: RuleCase['verdict']): RuleCase => ({
  title,
  reason,
  action,
  verdict,
});
const dropped = (title: string, reason: DropReason, verdict: RuleCase['verdict']): RuleCase => ({ title, reason, verdict });
const passed = (title: string, frame: Uint8Array, more: Parameters<typeof ofUnderlay>[1] = {}): RuleCase =>
  of(title, R.NONE, PASS, () => ofUnderlay(frame, more));

const ndMessage = buildIcmpv6({ type: 136, code: 0, source: C.ip6, destination: A.ip6 }, new Uint8Array(16));
const ndFrame = buildEthernet(
  { destination: A.mac, source: C.mac, type: ETHER_TYPE.ipv6 },
  buildIpv6({ source: C.ip6, destination: A.ip6, nextHeader: 58, hopLimit: 255 }, ndMessage),
);
const withOptions = Uint8Array.of(...patched(sound.slice(0, 34), 14, 0x46), 1, 1, 1, 0, ...sound.slice(34));
const second = { tables: tables(bind(RED, A, { kind: TargetKind.LOCAL, prevPa: HOST_OLD, prevUntilBootNs: NOW + 10n })) };

export const UNDERLAY_CASES: readonly RuleCase[] = [
  passed('ARP', buildArpFrame({ operation: 1, senderMac: C.mac, senderIp: HOST_C, targetIp: PA })),
  passed('33 bytes', sound.slice(0, 33)),
  passed('nothing', new Uint8Array(0)),
  passed('version 5', patched(sound, 14, 0x55)),
  passed('IHL 4', patched(sound, 14, 0x44)),
  passed('TCP', buildTcpFrame({ ...outer, sourcePort: 1, destinationPort: 4789 })),
  passed('to another address', patched(sound, 33, 2)),
  passed('to another UDP port', patched(sound, 36, 0x12, 0xb6)),
  passed('ports not there', sound.slice(0, 37)),
  passed('later fragment', patched(sound, 20, 0, 1)),
  passed('first fragment to another port', patched(patched(sound, 20, 0x20), 36, 0, 53)),
  passed('first fragment without ports', patched(sound.slice(0, 37), 20, 0x20)),
  passed('tag in the metadata', sound, { tagged: true }),
  dropped('first fragment', R.OUTER_FRAGMENT, () => ofUnderlay(patched(sound, 20, 0x20))),
  dropped('for another machine', R.OUTER_NOT_FOR_US, () => ofUnderlay(sound, { packetType: 'other' })),
  dropped('options', R.OUTER_OPTIONS, () => ofUnderlay(withOptions)),
  dropped('total length beyond the frame', R.TRUNCATED_OUTER, () => ofUnderlay(patched(sound, 16, 0xff, 0xff))),
  dropped('total length 27', R.TRUNCATED_OUTER, () => ofUnderlay(patched(sound, 16, 0, 27))),
  dropped('UDP length beyond the packet', R.TRUNCATED_TUNNEL_HEADER, () => ofUnderlay(patched(sound, 38, 0xff, 0xff))),
  dropped('UDP length 29', R.TRUNCATED_TUNNEL_HEADER, () => ofUnderlay(patched(sound, 38, 0, 29))),
  dropped('inner packet beyond the UDP length', R.TRUNCATED_IPV4, () => ofUnderlay(patched(sound, 38, 0, sound.length - 34 - 1))),
  dropped('I flag clear', R.VXLAN_VNI_FLAG_CLEAR, () => ofUnderlay(patched(sound, 42, 0xf7))),
  of('GSO climbs', R.NONE, CLIMB, () => ofUnderlay(sound, { gso: { size: 1000 } })),
  dropped('GSO without I flag does not', R.VXLAN_VNI_FLAG_CLEAR, () => ofUnderlay(patched(sound, 42, 0), { gso: { size: 1000 } })),
  dropped('without mark', R.NOT_FROM_UNDERLAY, () => ofTunnel(inner(C, A), { marked: false })),
  of('with mark', R.NONE, LOCAL, () => ofTunnel(inner(C, A))),
  dropped('tunnel device, 13 bytes', R.TRUNCATED_ETHERNET, () => ofTunnel(new Uint8Array(13))),
  dropped('tunnel device, tag in the metadata', R.VLAN_TAG_NOT_ALLOWED, () => ofTunnel(inner(C, A), { tagged: true })),
  dropped('tunnel device, GSO with padding', R.MALFORMED_IPV4, () => ofTunnel(Uint8Array.of(...inner(C, A), 0), { gso: { size: 10 } })),
  of('tunnel device, padding', R.NONE, LOCAL, () => ofTunnel(Uint8Array.of(...inner(C, A), 0))),

  dropped('unknown VNI', R.UNKNOWN_VSID, () => ofPeer(inner(C, A), { vni: 5999 })),
  dropped('VNI of network 0', R.UNKNOWN_VSID, () => ofPeer(inner(C, A), {}, { tables: tables(subnet(0, 5001)) })),
  dropped('inner tag', R.VLAN_TAG_NOT_ALLOWED, () => ofPeer(patched(inner(C, A), 12, 0x81, 0))),
  dropped('inner LLC', R.LLC_NOT_ALLOWED, () => ofPeer(patched(inner(C, A), 12, 0, 0x26))),
  dropped('inner ARP', R.ETHERTYPE_NOT_ALLOWED, () => ofPeer(patched(inner(C, A), 12, 8, 6))),
  dropped('inner IPv4 header cut', R.TRUNCATED_IPV4, () => ofPeer(inner(C, A).slice(0, 33))),
  dropped('inner version', R.MALFORMED_IPV4, () => ofPeer(patched(inner(C, A), 14, 0x55))),
  dropped('inner IPv6 header cut', R.TRUNCATED_IPV6, () => ofPeer(inner(C, A, { isIpv6: true }).slice(0, 53))),
  dropped('inner IPv6 version', R.MALFORMED_IPV6, () => ofPeer(patched(inner(C, A, { isIpv6: true }), 14, 0))),
  dropped('inner extension', R.IPV6_EXTENSION_NOT_ALLOWED, () => ofPeer(patched(inner(C, A, { isIpv6: true }), 20, 60))),
  dropped('inner UDP cut', R.TRUNCATED_L4, () => ofPeer(patched(inner(C, A), 16, 0, 27))),
  dropped('inner ND', R.ND_NOT_TUNNELLED, () => ofPeer(ndFrame)),
  dropped('inner broadcast MAC', R.NOT_UNICAST, () => ofPeer(inner(C, A, { destinationMac: parseMac('ff:ff:ff:ff:ff:ff') }))),
  dropped('inner multicast', R.NOT_UNICAST, () => ofPeer(inner(C, A, { destination: parseIp('224.0.0.9') }))),
  dropped('inner link-local', R.LINK_LOCAL_NOT_FORWARDED, () => ofPeer(inner(C, A, { isIpv6: true, source: parseIp('fe80::1') }))),

  dropped('inner IPv4-mapped source', R.SOURCE_ADDRESS_SPOOFED, () => ofPeer(patched(inner(C, A, { isIpv6: true }), 22, ...C.ip4))),
  dropped('inner IPv4-mapped destination', R.NOT_UNICAST, () => ofPeer(patched(inner(C, A, { isIpv6: true }), 38, ...A.ip4))),

  of('first hand', R.NONE, LOCAL, () => ofPeer(inner(C, A))),
  of('first hand, IPv6', R.NONE, LOCAL, () => ofPeer(inner(C, A, { isIpv6: true }))),
  of('routed by the peer', R.NONE, LOCAL, () => ofPeer(inner(D, A), { source: HOST_D })),
  of('from a moved port', R.NONE, LOCAL, () => ofPeer(inner(E, A), { source: HOST_D })),
  of('from behind a router VM', R.NONE, LOCAL, () => ofPeer(inner(C, A, { source: behindC }))),
  of('from behind the gateway', R.NONE, LOCAL, () => ofPeer(fromGateway, { source: GATEWAY_HOST })),
  of('from the old home', R.NONE, LOCAL, () => ofPeer(inner(F, A), { source: HOST_OLD })),
  of('from the old owner of the shard', R.NONE, LOCAL, () => ofPeer(fromGateway, { source: GATEWAY_OLD })),
  of('sent on by the host that the port has left', R.NONE, LOCAL, () => ofPeer(inner(C, A), { source: HOST_OLD }, second)),
  dropped('from the old home, too late', R.SOURCE_NOT_AT_THIS_PEER, () =>
    ofPeer(inner(F, A), { source: HOST_OLD }, { nowBootNs: NOW + 10n }),
  ),
  dropped('from the old owner, too late', R.UNKNOWN_PEER, () => ofPeer(fromGateway, { source: GATEWAY_OLD }, { nowBootNs: NOW + 10n })),
  dropped('sent on, too late', R.SOURCE_NOT_AT_THIS_PEER, () =>
    ofPeer(inner(C, A), { source: HOST_OLD }, { ...second, nowBootNs: NOW + 10n }),
  ),
  dropped('a denied record, though from its old home', R.SOURCE_NOT_AT_THIS_PEER, () =>
    ofPeer(
      inner(F, A),
      { source: HOST_OLD },
      { tables: tables(bind(RED, F, { kind: TargetKind.DENY, prevPa: HOST_OLD, prevUntilBootNs: NOW + 10n })) },
    ),
  ),
  dropped('from another host', R.SOURCE_NOT_AT_THIS_PEER, () => ofPeer(inner(C, A), { source: HOST_D })),
  dropped('from a stranger', R.UNKNOWN_PEER, () => ofPeer(inner(C, A), { source: STRANGER })),
  dropped('an address of nobody', R.SOURCE_NOT_AT_THIS_PEER, () => ofPeer(inner(C, A, { source: parseIp('203.0.113.9') }))),
  dropped('an address of nobody from a stranger', R.UNKNOWN_PEER, () =>
    ofPeer(inner(C, A, { source: parseIp('203.0.113.9') }), { source: STRANGER }),
  ),
  dropped('an address of this host', R.SOURCE_NOT_AT_THIS_PEER, () => ofPeer(inner(B, A))),
  dropped('an address of this host from its own PA', R.UNKNOWN_PEER, () => ofPeer(inner(B, A), { source: PA })),
  dropped('behind the gateway from a host', R.SOURCE_NOT_AT_THIS_PEER, () => ofPeer(fromGateway)),
  dropped("red's peer speaks into blue without a part in it", R.UNKNOWN_PEER, () => ofPeer(inner(D, A), { source: HOST_D, vni: 6001 })),
  dropped("red's source with blue's VNI", R.SOURCE_NOT_AT_THIS_PEER, () =>
    ofPeer(inner(D, A, { sourceMac: gatewayMac(6001) }), { vni: 6001 }),
  ),

  dropped("another's MAC", R.SOURCE_MAC_NOT_AT_THIS_PEER, () => ofPeer(inner(C, A, { sourceMac: D.mac }))),
  dropped('own MAC in another subnet', R.SOURCE_MAC_NOT_AT_THIS_PEER, () => ofPeer(inner(D, A, { sourceMac: D.mac }), { source: HOST_D })),
  dropped("another gateway's MAC", R.SOURCE_MAC_NOT_AT_THIS_PEER, () => ofPeer(inner(C, A, { sourceMac: gatewayMac(5002) }))),
  of('the MAC of the router VM for what lies behind it', R.NONE, LOCAL, () => ofPeer(inner(C, A, { source: behindC, sourceMac: C.mac }))),
  dropped('to nobody', R.NO_LOCAL_PORT, () => ofPeer(inner(C, A, { destinationMac: parseMac('02:00:00:00:00:99') }))),
  dropped('to a peer', R.NO_LOCAL_PORT, () => ofPeer(inner(C, F))),
  dropped("with another subnet's VNI", R.NO_LOCAL_PORT, () => ofPeer(inner(D, A, { sourceMac: D.mac }), { source: HOST_D, vni: 5002 })),
  of('sent on to where the port is', R.NONE, TUNNEL, () => ofPeer(inner(C, E))),
  dropped('second hand to a port that moved', R.REDIRECT_LOOP, () => ofPeer(inner(F, E), { source: HOST_OLD })),
  dropped('redirect without host', R.NO_PEER, () =>
    ofPeer(inner(C, E), {}, { tables: tables(bind(RED, E, { kind: TargetKind.REDIRECT })) }),
  ),
  dropped('redirect without host comes before the congestion mark', R.NO_PEER, () =>
    ofPeer(inner(C, E), { ecn: 3 }, { tables: tables(bind(RED, E, { kind: TargetKind.REDIRECT })) }),
  ),
  dropped('congestion mark for Not-ECT', R.ECN_CE_ON_NOT_ECT, () => ofPeer(inner(C, A), { ecn: 3 })),
  dropped('congestion mark for Not-ECT, IPv6', R.ECN_CE_ON_NOT_ECT, () => ofPeer(inner(C, A, { isIpv6: true }), { ecn: 3 })),
  of('congestion mark for ECT(0)', R.NONE, LOCAL, () => ofPeer(patched(inner(C, A), 15, 2), { ecn: 3 })),
  of('outer ECT for Not-ECT', R.NONE, LOCAL, () => ofPeer(inner(C, A), { ecn: 2 })),
];
