import { Ipv4Header, internetChecksum, setU16 } from '@weft/packet';
import { run } from '@weft/testkit';
import { openPacketSocket } from '@weft/tuntap';
import { describe, expect, test } from 'vitest';
import { GsoType, withOffload } from '../src/user/offload.ts';
import { datagram, echo, tunnelled } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import { PORTS } from './world.ts';

const OTHER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0x66);

interface Forgery {
  readonly title: string;
  readonly reason: string;
  /** The host's stack drops such packets itself, when they come to it. */
  readonly isMartian?: boolean;
  /** One forged frame; `text` makes it findable. */
  frame(lab: ConformanceLab, text: string): Uint8Array;
}

const FORGERIES: readonly Forgery[] = [
  {
    title: 'a stranger for a red address',
    reason: 'UNKNOWN_PEER',
    frame: (lab, text) => lab.tunnelFrame({ from: 'stranger' }, datagram('red1', 'red3', text)),
  },
  {
    title: 'a host of red in the network of blue',
    reason: 'UNKNOWN_PEER',
    frame: (lab, text) => lab.tunnelFrame({ from: 'c', vni: PORTS.blue1.vsid }, datagram('blue1', 'blue3', text)),
  },
  {
    title: "a host for another host's address",
    reason: 'SOURCE_NOT_AT_THIS_PEER',
    frame: (lab, text) => lab.tunnelFrame({ from: 'c' }, datagram('red1', 'red3', text)),
  },
  {
    title: 'a host for an address that lives here',
    reason: 'SOURCE_NOT_AT_THIS_PEER',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red3', 'red3', text)),
  },
  {
    title: 'a host for an address that nobody has',
    reason: 'SOURCE_NOT_AT_THIS_PEER',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red1', 'red3', text, { source: '10.0.1.250' })),
  },
  {
    title: "with this host's own provider address",
    reason: 'UNKNOWN_PEER',
    isMartian: true,
    frame: (lab, text) => lab.tunnelFrame({ from: 'b' }, datagram('red1', 'red3', text)),
  },
  {
    title: 'of a subnet that nobody has',
    reason: 'UNKNOWN_VSID',
    frame: (lab, text) => lab.tunnelFrame({ vni: 9999 }, datagram('red1', 'red3', text)),
  },
  {
    title: "with a neighbour's MAC address inside",
    reason: 'SOURCE_MAC_NOT_AT_THIS_PEER',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red1', 'red3', text, { sourceMac: PORTS.red5.mac })),
  },
  {
    title: 'to a MAC address that is not here',
    reason: 'NO_LOCAL_PORT',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red1', 'red3', text, { destinationMac: PORTS.red5.mac })),
  },
  {
    title: 'with a VLAN tag inside',
    reason: 'VLAN_TAG_NOT_ALLOWED',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red1', 'red3', text, { vlanId: 5 })),
  },
  {
    title: 'to a multicast address',
    reason: 'NOT_UNICAST',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red1', 'red3', text, { destination: '239.1.2.3' })),
  },
  {
    title: 'without the flag of a VNI',
    reason: 'VXLAN_VNI_FLAG_CLEAR',
    frame: (lab, text) =>
      edited(lab.tunnelFrame({}, datagram('red1', 'red3', text)), (frame) => {
        frame[42] = 0;
      }),
  },
  {
    title: 'cut short',
    reason: 'TRUNCATED_OUTER',
    frame: (lab, text) => lab.tunnelFrame({}, datagram('red1', 'red3', text)).slice(0, 80),
  },
  {
    title: 'with a UDP length beyond the packet',
    reason: 'TRUNCATED_TUNNEL_HEADER',
    frame: (lab, text) => edited(lab.tunnelFrame({}, datagram('red1', 'red3', text)), (frame) => setU16(frame, 38, 1400)),
  },
  {
    title: 'as first fragment',
    reason: 'OUTER_FRAGMENT',
    frame: (lab, text) => edited(lab.tunnelFrame({}, datagram('red1', 'red3', text)), (frame) => setU16(frame, 20, 0x2000)),
  },
  {
    title: 'for another machine',
    reason: 'OUTER_NOT_FOR_US',
    frame: (lab, text) => edited(lab.tunnelFrame({}, datagram('red1', 'red3', text)), (frame) => frame.set(OTHER_MAC, 0)),
  },
];

function edited(frame: Uint8Array, edit: (frame: Uint8Array) => void): Uint8Array {
  edit(frame);
  setU16(frame, 24, 0);
  setU16(frame, 24, internetChecksum(frame, 14, 20));
  return frame;
}

const REPEATS = 3;
const DATAGRAMS = 5;

export function forgeryTests(lab: () => ConformanceLab): void {
  describe('forged tunnel packets', () => {
    test('a true one is delivered: the forgeries below differ from it in one thing each', async () => {
      const inner = datagram('red1', 'red3', 'true');
      lab().inject(lab().tunnelFrame({}, inner));
      const ofC = datagram('red9', 'red3', 'true');
      lab().inject(lab().tunnelFrame({ from: 'c' }, ofC));
      await lab().expectReceived({ red3: [inner, ofC] });
    });

    test.each(FORGERIES.map((one) => [one.title, one.reason, one] as const))('%s: %s', async (_, reason, { frame }) => {
      for (let i = 0; i < REPEATS; i++) lab().inject(frame(lab(), `forged ${i}`));
      await lab().expectDrops(lab().b, { [`underlay ${reason}`]: REPEATS });
      await lab().expectReceived();
    });

    test.each(FORGERIES.filter(({ reason }) => !/OUTER|TRUNCATED|FLAG/.test(reason)).map((one) => [one.title, one.reason, one] as const))(
      '%s, several in one super-frame: %s',
      async (_, reason, { frame, isMartian = false }) => {
        const parts = [0, 1, 2].map((i) => frame(lab(), `forged ${i}`));
        lab().wire.write(superFrame(parts));
        // A kernel engine lets the stack cut it, and judges the parts behind its VXLAN device.
        const isKernel = lab().b.datapath.engine === 'kernel';
        await lab().expectDrops(lab().b, isKernel && isMartian ? {} : { [`${isKernel ? 'tunnel' : 'underlay'} ${reason}`]: 3 });
        await lab().expectReceived();
      },
    );

    test('true ones in one super-frame are delivered', async () => {
      const inner = [0, 1, 2].map((i) => datagram('red1', 'red3', `true ${i}`));
      lab().wire.write(superFrame(inner.map((one) => lab().tunnelFrame({}, one))));
      await lab().expectReceived({ red3: inner });
    });

    test('by a process of the host that has the sender do not leave that host', async () => {
      const inner = datagram('red1', 'red3', 'by a process');
      await sendByProcess(lab(), 'a', inner);
      await lab().expectReceived();
      expect(lab().dropsSince().b).toEqual({});
      // Only root could: but for the guard, they are what the engine sends.
      const { netns } = lab().a;
      const rule = ['add', 'rule', 'ip', 'forge', 'out', 'udp', 'dport', '4789', 'meta', 'mark', 'set', '0x5746'];
      await run('nft', ['add', 'table', 'ip', 'forge'], { netns });
      try {
        await run('nft', ['add', 'chain', 'ip', 'forge', 'out', '{ type filter hook output priority 0; }'], { netns });
        await run('nft', rule, { netns });
        await sendByProcess(lab(), 'a', inner);
        await lab().expectReceived({ red3: Array.from({ length: DATAGRAMS }, () => inner) });
      } finally {
        await run('nft', ['delete', 'table', 'ip', 'forge'], { netns });
      }
    });

    test('over the loopback device, from this very host', async () => {
      const inner = datagram('red1', 'red3', 'from within');
      await sendByProcess(lab(), 'b', inner);
      const lo = lab().b.in(() => openPacketSocket({ interfaceName: 'lo', vnetHdr: true }));
      try {
        for (const from of ['a', 'b'] as const) {
          const frame = edited(lab().tunnelFrame({ from }, inner), (one) => one.fill(0, 0, 12));
          lo.write(withOffload(frame, undefined));
          lo.write(superFrame([frame, frame, frame]));
        }
      } finally {
        lo.close();
      }
      if (lab().b.datapath.engine === 'kernel') {
        await lab().expectReceived();
        expect(Object.keys(lab().dropsSince().b)).toEqual(['tunnel NOT_FROM_UNDERLAY']);
      } else await lab().expectReceived();
    });

    test('over a second network card', async () => {
      const [nicA, nicB] = await Promise.all(
        [lab().a, lab().b].map(async ({ netns }) => {
          const { stdout } = await run('ip', ['-n', netns, '-j', 'link', 'show', 'dev', 'nic2']);
          return Uint8Array.from(
            (JSON.parse(stdout) as { address: string }[])[0]!.address.split(':').map((part) => Number.parseInt(part, 16)),
          );
        }),
      );
      const nic = lab().a.in(() => openPacketSocket({ interfaceName: 'nic2', vnetHdr: true }));
      try {
        for (let i = 0; i < REPEATS; i++) {
          const frame = lab().tunnelFrame({}, datagram('red1', 'red3', `side door ${i}`));
          frame.set(nicB!, 0);
          frame.set(nicA!, 6);
          nic.write(withOffload(frame, undefined));
          nic.write(superFrame([frame, frame, frame]));
        }
      } finally {
        nic.close();
      }
      await lab().expectReceived();
      const drops = Object.keys(lab().dropsSince().b);
      expect(drops.every((key) => key === 'tunnel NOT_FROM_UNDERLAY')).toBe(true);
    });

    test('neighbour discovery does not travel', async () => {
      const solicitation = echo('red1', 'red3', 6);
      solicitation[54] = 135;
      lab().inject(lab().tunnelFrame({}, solicitation));
      await lab().expectDrops(lab().b, { 'underlay ND_NOT_TUNNELLED': 1 });
      await lab().expectReceived();
    });

    test('are answered by nobody', async () => {
      const reader = lab().a.in(() => openPacketSocket({ interfaceName: 'underlay0' }));
      try {
        for (const { frame } of FORGERIES) lab().inject(frame(lab(), 'answer me'));
        lab().inject(lab().tunnelFrame({}, datagram('red1', 'red3', 'true')));
        await lab().flush();
        const icmp: string[] = [];
        for (let frame = reader.read(); frame !== null; frame = reader.read()) {
          if (frame[12] === 8 && frame[13] === 0 && frame[23] === 1) icmp.push(Buffer.from(frame).toString('hex'));
        }
        expect(icmp).toEqual([]);
      } finally {
        reader.close();
      }
    });
  });

  describe('congestion (RFC 6040)', () => {
    const withTos = (frame: Uint8Array, tos: number): Uint8Array =>
      edited(frame, (one) => {
        one[15] = tos;
      });

    test('is carried inside where it may be', async () => {
      const inner = datagram('red1', 'red3', 'ect');
      (Ipv4Header.read(inner, 14) as Ipv4Header).rewriteEcn(2);
      lab().inject(withTos(lab().tunnelFrame({}, inner), 3));
      const marked = inner.slice();
      (Ipv4Header.read(marked, 14) as Ipv4Header).rewriteEcn(3);
      await lab().expectReceived({ red3: [marked] });
    });

    test('ends a packet that can not carry it', async () => {
      lab().inject(withTos(lab().tunnelFrame({}, datagram('red1', 'red3', 'not ect')), 3));
      await lab().expectDrops(lab().b, { 'underlay ECN_CE_ON_NOT_ECT': 1 });
      await lab().expectReceived();
    });
  });
}

/** Sends tunnel datagrams to host B from a socket of a process on one of the hosts. */
async function sendByProcess(lab: ConformanceLab, from: 'a' | 'b', inner: Uint8Array): Promise<void> {
  const payload = tunnelled(lab.outer(), inner).subarray(42);
  // What the firewall refuses is an error to the socket.
  const script = `const s=require("dgram").createSocket("udp4");const b=Buffer.from(process.argv[1],"hex");let n=0;
    const f=()=>n++<${DATAGRAMS}?s.send(b,4789,process.argv[2],f):s.close();f()`;
  await run(process.execPath, ['-e', script, Buffer.from(payload).toString('hex'), '192.0.2.2'], { netns: lab[from].netns });
}

/** Tunnel packets of one flow and one size as a single UDP super-frame, with its virtio-net header. */
function superFrame(parts: readonly Uint8Array[]): Uint8Array {
  const payloads = parts.map((part) => part.subarray(42));
  const size = payloads[0]!.length;
  const frame = new Uint8Array(Buffer.concat([parts[0]!.subarray(0, 42), ...payloads]));
  setU16(frame, 16, frame.length - 14);
  setU16(frame, 38, frame.length - 34);
  setU16(frame, 24, 0);
  setU16(frame, 24, internetChecksum(frame, 14, 20));
  const offload = {
    needsChecksum: true,
    gsoType: GsoType.UDP_SEGMENTS,
    hasEcn: false,
    gsoSize: size,
    headerBytes: 42,
    checksumStart: 34,
    checksumOffset: 6,
  };
  return withOffload(frame, offload);
}
