import { spawnSync } from 'node:child_process';
import { SpeakerFlag, type TableChange, TargetKind } from '@weft/forwarding';
import { DropReason, type DropReason as Reason } from '@weft/model';
import { buildUdpFrame, buildVxlanFrame, foldSum, parseIp, parseMac, pseudoHeaderSum4, setU16 } from '@weft/packet';
import { type FrameSource, inNetns, openPacketSocket } from '@weft/tuntap';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeTunnelGuard } from '../src/host/tunnel-guard.ts';
import {
  dropCount,
  dropsOf,
  GSO_TYPE,
  Lab,
  type LabPort,
  netnsPath,
  sh,
  shIn,
  until,
  VNET_HEADER_BYTES,
  withVnetHeader,
} from './support/lab.ts';

/*
 * Forged tunnel frames for a port of host A, as if from a port of host B:
 *
 *   stranger (192.0.2.66) --- underlay --- A ··· port
 *   second NIC of A -----------------------/
 *   lo of A, own address of A ------------/
 */

const BLUE = { vsid: 7001, networkId: 11, prefix: '10.0.4' };
const RED = { vsid: 7002, networkId: 12, prefix: '10.0.4' };
const STRANGER = '192.0.2.66';

let lab: Lab;
let victim: LabPort;
let friend: LabPort;
let redAtB: LabPort;
let stranger: string;
let nic2: string;

beforeAll(() => {
  lab = new Lab();
  victim = lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 1, offloads: ['csum', 'tso4', 'uso4', 'uso6'] });
  friend = lab.addPort(lab.b, { kind: 'tap', subnet: BLUE, number: 2 });
  lab.addPort(lab.a, { kind: 'tap', subnet: RED, number: 1 });
  redAtB = lab.addPort(lab.b, { kind: 'tap', subnet: RED, number: 3 });
  stranger = lab.addNetns('stranger');
  lab.plug(stranger, STRANGER);
  nic2 = lab.addNetns('nic2');
  sh(`ip link add under0 netns ${nic2} type veth peer name nic2 netns ${lab.a.netns}`);
  sh(
    `ip -n ${nic2} addr add 198.51.100.2/24 dev under0; ip -n ${nic2} link set under0 up; ip -n ${nic2} route add 192.0.2.1 via 198.51.100.1`,
  );
  sh(`ip -n ${lab.a.netns} addr add 198.51.100.1/24 dev nic2; ip -n ${lab.a.netns} link set nic2 up`);
  // Nothing of the host's own may stand in the way of the forgery.
  shIn(
    lab.a.netns,
    'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.nic2.rp_filter=0 net.ipv4.conf.under0.rp_filter=0 net.ipv4.conf.all.accept_local=1',
  );
});
afterAll(() => lab?.close());

const state = (): string => `drops at A: ${dropsOf(lab.a)}, at B: ${dropsOf(lab.b)}`;

function inner(from: LabPort, to: LabPort, payloadBytes = 64): Uint8Array {
  const payload = new Uint8Array(payloadBytes).fill(0x41);
  const addresses = { source: parseIp(from.ca), destination: parseIp(to.ca), sourceMac: from.mac, destinationMac: to.mac };
  return buildUdpFrame({ ...addresses, sourcePort: 5, destinationPort: 6 }, payload);
}

/** UDP payload of a tunnel packet: VXLAN header and frame. */
function vxlanPayload(vni: number, frame: Uint8Array): Uint8Array {
  const fields = {
    source: parseIp('192.0.2.9'),
    destination: parseIp('192.0.2.1'),
    sourceMac: friend.mac,
    destinationMac: friend.mac,
    vni,
  };
  return buildVxlanFrame(fields, frame).subarray(42);
}

/** Sends UDP payloads from a process in a namespace; the kernel makes the outer headers. */
function sendUdp(netns: string, payload: Uint8Array, count: number): void {
  const code = `const s = require('node:dgram').createSocket('udp4'); const p = Buffer.from(process.argv[1], 'hex'); let n = ${count};
    const next = () => (n-- > 0 ? s.send(p, 4789, '192.0.2.1', next) : s.close()); next();`;
  const { status, stderr } = inNetns(netnsPath(netns), () =>
    spawnSync(process.execPath, ['-e', code, Buffer.from(payload).toString('hex')], { encoding: 'utf8' }),
  );
  if (status !== 0) throw new Error(`sending failed: ${stderr}`);
}

/** Sends one GSO frame of UDP segments through a VXLAN device of the namespace: it leaves as a tunnel GSO frame, as a host's would. */
function sendTunnelGso(netns: string, vni: number, frame: Uint8Array, local: string): void {
  shIn(
    netns,
    `ip link add vx0 type vxlan id ${vni} local ${local} remote 192.0.2.1 dstport 4789 noudpcsum; ip link set vx0 mtu 1500 up arp off`,
  );
  try {
    const socket = inNetns(netnsPath(netns), () => openPacketSocket({ interfaceName: 'vx0', vnetHdr: true }));
    const length = frame.length - 34;
    setU16(frame, 40, foldSum(pseudoHeaderSum4(frame, 26, frame, 30, 17, length)));
    socket.write(withVnetHeader(frame, { gsoType: GSO_TYPE.udp, gsoSize: 1000, headerBytes: 42, checksum: [34, 6] }));
    socket.close();
  } finally {
    shIn(netns, 'ip link del vx0');
  }
}

function received(port: LabPort): number {
  let count = 0;
  for (let bytes = port.tap!.read(); bytes !== null; bytes = port.tap!.read()) if (bytes[VNET_HEADER_BYTES + 42] === 0x41) count++;
  return count;
}

async function expectReceived(count: number): Promise<void> {
  let sum = 0;
  await until(`${count} frames; ${state()}`, () => {
    sum += received(victim);
    return sum >= count;
  });
  expect(sum).toBe(count);
}

async function expectDropped(reason: Reason, count: number, send: () => void): Promise<void> {
  received(victim);
  const before = dropCount(lab.a, reason);
  send();
  await until(`${count} drops for reason ${reason}`, () => dropCount(lab.a, reason) >= before + count, 5000).catch((error: Error) => {
    throw new Error(`${error.message}; ${state()}`);
  });
  expect(received(victim)).toBe(0);
}

describe('forged tunnel frames', () => {
  it('by a process of a host that has the port do not leave that host; afterwards nothing of it stands in the way', async () => {
    received(victim);
    const payload = vxlanPayload(BLUE.vsid, inner(friend, victim));
    const guard = `nft list table ip weft_tunnel_${Buffer.from('weft-tun0').toString('hex')}`;
    sendUdp(lab.b.netns, payload, 3);
    expect(inNetns(netnsPath(lab.b.netns), () => sh(guard))).toContain('counter packets 3 ');
    expect(received(victim)).toBe(0);
    inNetns(netnsPath(lab.b.netns), () => removeTunnelGuard('weft-tun0'));
  });

  it('are the same as real ones but for where they come from (or the tests below would prove nothing)', async () => {
    received(victim);
    // Weft at B stands aside, so that B's kernel can send by itself.
    sendUdp(lab.b.netns, vxlanPayload(BLUE.vsid, inner(friend, victim)), 3);
    await expectReceived(3);
  });

  it('from a stranger are dropped', () =>
    expectDropped(DropReason.UNKNOWN_PEER, 5, () => sendUdp(stranger, vxlanPayload(BLUE.vsid, inner(friend, victim)), 5)));

  it('from a stranger as one GSO frame are dropped', () =>
    expectDropped(DropReason.UNKNOWN_PEER, 1, () => sendTunnelGso(stranger, BLUE.vsid, inner(friend, victim, 8000), STRANGER)));

  it('from a host that has no such address are dropped', () =>
    expectDropped(DropReason.SOURCE_NOT_AT_THIS_PEER, 2, () => sendUdp(lab.b.netns, vxlanPayload(BLUE.vsid, inner(victim, victim)), 2)));

  it('of another network, with equal addresses, are dropped', () =>
    // RED's .3 is a port of B; BLUE's is none.
    expectDropped(DropReason.SOURCE_NOT_AT_THIS_PEER, 2, () => sendUdp(lab.b.netns, vxlanPayload(BLUE.vsid, inner(redAtB, victim)), 2)));

  it('through another NIC are dropped', () =>
    expectDropped(DropReason.NOT_FROM_UNDERLAY, 4, () => sendUdp(nic2, vxlanPayload(BLUE.vsid, inner(friend, victim)), 4)));

  it('through another NIC with the address of a peer, as one GSO frame, are dropped', async () => {
    shIn(nic2, 'ip addr add 192.0.2.2/32 dev under0');
    await expectDropped(DropReason.NOT_FROM_UNDERLAY, 1, () => sendTunnelGso(nic2, BLUE.vsid, inner(friend, victim, 8000), '192.0.2.2'));
  });

  describe('as one GSO frame, with the address of a peer', () => {
    beforeAll(() => {
      // It speaks for the peer without answering for it: A's neighbour table must not learn it.
      shIn(stranger, 'sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip addr add 192.0.2.2/32 dev lo');
    });
    const send = (vsid: number, from: LabPort, to: LabPort): void => sendTunnelGso(stranger, vsid, inner(from, to, 8000), '192.0.2.2');

    it('are the same as real ones, but for what follows', async () => {
      received(victim);
      send(BLUE.vsid, friend, victim);
      await expectReceived(1);
    });

    it('for an address that is not at that peer are dropped', () =>
      expectDropped(DropReason.SOURCE_NOT_AT_THIS_PEER, 1, () => send(BLUE.vsid, victim, victim)));

    it('of another network, with equal addresses, are dropped', () =>
      expectDropped(DropReason.SOURCE_NOT_AT_THIS_PEER, 1, () => send(BLUE.vsid, redAtB, victim)));

    it("in another network's subnet are dropped", () =>
      expectDropped(DropReason.SOURCE_NOT_AT_THIS_PEER, 1, () => send(RED.vsid, friend, victim)));

    it('of a network that the peer has no part in are dropped', async () => {
      const key = { pa: parseIp('192.0.2.2'), networkId: RED.networkId };
      lab.a.datapath.apply([{ op: 'delete', table: 'speaker', key }]);
      try {
        await expectDropped(DropReason.UNKNOWN_PEER, 1, () => send(RED.vsid, friend, victim));
      } finally {
        lab.a.datapath.apply([{ op: 'put', table: 'speaker', key, value: SpeakerFlag.HOST }]);
      }
    });
  });

  it('over lo and from the own address are dropped', () =>
    expectDropped(DropReason.NOT_FROM_UNDERLAY, 3, () => sendUdp(lab.a.netns, vxlanPayload(BLUE.vsid, inner(friend, victim)), 3)));

  it('over lo with the mark of the underlay check, as root could set it, come from the own address and are dropped', async () => {
    shIn(
      lab.a.netns,
      'nft add table ip forge; nft add chain ip forge out "{ type filter hook output priority 0; }"; nft add rule ip forge out udp dport 4789 meta mark set 0x5746',
    );
    try {
      await expectDropped(DropReason.UNKNOWN_PEER, 1, () => sendUdp(lab.a.netns, vxlanPayload(BLUE.vsid, inner(friend, victim)), 1));
    } finally {
      shIn(lab.a.netns, 'nft delete table ip forge');
    }
  });

  it('arrive as one GSO frame when they are genuine', async () => {
    received(victim);
    const frame = inner(friend, victim, 8000);
    setU16(frame, 40, foldSum(pseudoHeaderSum4(frame, 26, frame, 30, 17, frame.length - 34)));
    friend.tap!.write(withVnetHeader(frame, { gsoType: GSO_TYPE.udp, gsoSize: 1000, headerBytes: 42, checksum: [34, 6] }));
    await expectReceived(1);
  });
});

describe('a port that has moved', () => {
  let three: Lab;
  let sender: LabPort;
  let moved: LabPort;

  beforeAll(() => {
    three = new Lab({ alwaysRoute: true }, 3);
    sender = three.addPort(three.a, { kind: 'tap', subnet: BLUE, number: 1, offloads: ['csum', 'tso4', 'uso4', 'uso6'] });
    moved = three.addPort(three.c, { kind: 'tap', subnet: BLUE, number: 2, offloads: ['csum', 'tso4', 'uso4', 'uso6'] });
    // A has not heard of the move: to it the port is still at B. B knows, and sends on. C takes what comes by way of B for a while.
    const zero: Uint8Array = new Uint8Array(16);
    const row = (pa: string, kind: number, prev = zero, until_ = 0n): TableChange[] => {
      const value = {
        mac: parseMac(moved.mac),
        kind: kind as never,
        flags: 0,
        vsid: BLUE.vsid,
        ifindexOrShard: kind === TargetKind.LOCAL ? moved.ifindex : 0,
        pa: parseIp(pa),
        prevPa: prev,
        prevUntilBootNs: until_,
        generation: 2n,
      };
      return [
        { op: 'put', table: 'l2', key: { vsid: BLUE.vsid, mac: value.mac }, value },
        { op: 'put', table: 'lookup', key: { networkId: BLUE.networkId, ca: parseIp(moved.ca) }, value },
      ];
    };
    three.a.datapath.apply(row('192.0.2.2', TargetKind.PEER));
    three.b.datapath.apply(row('192.0.2.3', TargetKind.REDIRECT));
    three.c.datapath.apply(row('192.0.2.3', TargetKind.LOCAL, parseIp('192.0.2.2'), 1n << 62n));
  });
  afterAll(() => three?.close());

  const read = (tap: FrameSource): Uint8Array | null => tap.read();

  it.each([
    ['small frames', 64, 0],
    ['frames with an unfinished checksum', 64, 1],
    ['GSO frames', 8000, 2],
  ] as const)('gets %s by way of its old host', async (_, payloadBytes, kind) => {
    while (read(moved.tap!) !== null);
    const frame = inner(sender, moved, payloadBytes);
    if (kind > 0) setU16(frame, 40, foldSum(pseudoHeaderSum4(frame, 26, frame, 30, 17, frame.length - 34)));
    const header = kind === 2 ? { gsoType: GSO_TYPE.udp, gsoSize: 1000, headerBytes: 42 } : {};
    sender.tap!.write(withVnetHeader(frame, { ...header, ...(kind > 0 && { checksum: [34, 6] as const }) }));
    const drops = (): string => three.hosts.map(dropsOf).join(' ');
    const got = await until('the frame', () => read(moved.tap!), 5000).catch((error: Error) => {
      throw new Error(`${error.message}; ${drops()}`);
    });
    expect(got.length - VNET_HEADER_BYTES).toBe(frame.length);
    expect(read(moved.tap!)).toBeNull();
  });

  it('is not reached in circles: the old host sends a frame on once', async () => {
    const before = dropCount(three.b, DropReason.REDIRECT_LOOP);
    // C knows of a move back to B; what comes from B by redirect must end there.
    const value = {
      mac: parseMac(moved.mac),
      kind: TargetKind.REDIRECT,
      flags: 0,
      vsid: BLUE.vsid,
      ifindexOrShard: 0,
      pa: parseIp('192.0.2.2'),
      prevPa: new Uint8Array(16),
      prevUntilBootNs: 0n,
      generation: 3n,
    };
    three.c.datapath.apply([{ op: 'put', table: 'l2', key: { vsid: BLUE.vsid, mac: value.mac }, value }]);
    const atC = dropCount(three.c, DropReason.SOURCE_NOT_AT_THIS_PEER);
    sender.tap!.write(withVnetHeader(inner(sender, moved)));
    await until('the drop at C', () => dropCount(three.c, DropReason.SOURCE_NOT_AT_THIS_PEER) === atC + 1);
    expect(dropCount(three.b, DropReason.REDIRECT_LOOP)).toBe(before);
  });
});
