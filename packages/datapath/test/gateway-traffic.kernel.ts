import { decodeProbe, encodeProbe, nptOutward, ProbeType } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { formatIp, parseIp } from '@weft/packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKernelDatapath } from '../src/index.ts';
import { BLUE, EPOCH, FOREVER, GatewayLab, gatewayCa4, gatewayCa6, RED, SERVER4, SERVER6, SHARD } from './support/gateway-lab.ts';
import { dropCount, dropsOf, type LabPort, shIn, until } from './support/lab.ts';
import { RecordedPings } from './support/recorded-pings.ts';

// Real traffic through a gateway: gateway-lab.ts draws it.

let lab: GatewayLab;
let vms: Record<'blue' | 'blueHere' | 'red' | 'redMapped', LabPort>;

beforeAll(() => {
  lab = new GatewayLab();
  vms = {
    blue: lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 1, withStack: true }),
    red: lab.addPort(lab.a, { kind: 'tap', subnet: RED, number: 2, withStack: true }),
    redMapped: lab.addPort(lab.a, { kind: 'veth', subnet: RED, number: 3 }),
    blueHere: lab.addPort(lab.b, { kind: 'tap', subnet: BLUE, number: 4, withStack: true }),
  };
});
afterAll(() => lab?.close());

const state = (): string => `drops at A: ${dropsOf(lab.a)}, at B: ${dropsOf(lab.b)}`;

async function succeeds(netns: string, command: string): Promise<string> {
  const { status, output } = await lab.run(netns, command);
  expect(status, `${command}\n${output}${state()}`).toBe(0);
  return output;
}

const ping = (address: string, more = ''): string => `ping -c 2 -i 0.05 -W 3 ${more} ${address}`;

/** Mean bytes of the frames that a device has received since the counters were `before`. */
function frames(netns: string): { bytes: number; packets: number } {
  const [bytes, packets] = shIn(netns, "ip -s -o link show eth0 | sed 's/.*RX:[^\\\\]*\\\\ *\\([0-9]*\\) *\\([0-9]*\\).*/\\1 \\2/'")
    .trim()
    .split(' ')
    .map(Number);
  return { bytes: bytes!, packets: packets! };
}

/** @returns The mean frame that the receiver got. */
async function transfer(from: string, to: string, address: string, reverse = false): Promise<number> {
  const receiver = reverse ? from : to;
  const before = frames(receiver);
  const server = lab.run(to, `timeout 30 iperf3 ${address.includes(':') ? '-6' : '-4'} -s -1 -p 5201`);
  const client = `iperf3 -c ${address} -p 5201 -n 40M --connect-timeout 3000 ${reverse ? '-R' : ''}`;
  await succeeds(from, `for i in 1 2 3 4 5 6 7 8 9 10; do ${client} && exit 0; sleep 0.2; done; exit 1`);
  await server;
  const after = frames(receiver);
  return (after.bytes - before.bytes) / (after.packets - before.packets);
}

const WHOLE_FRAMES = 6000;

describe('a gateway', () => {
  it('answers a ping of its own address, from afar and from its own machine', async () => {
    for (const vm of [vms.blue, vms.blueHere]) {
      for (const address of [gatewayCa4(BLUE), gatewayCa6(BLUE)]) await succeeds(vm.vmNetns!, ping(address));
    }
  });

  it('forwards a network as it is, and IPv6 by prefix translation, both ways', async () => {
    for (const vm of [vms.blue, vms.blueHere]) {
      await succeeds(vm.vmNetns!, ping(SERVER4));
      await succeeds(vm.vmNetns!, ping(SERVER6));
      await succeeds(lab.server, ping(vm.ca));
    }
    // Subnet 0 of the inside is another one of the outside: what the prefix adds to the sum is taken off there.
    const prefixes = { nptInside: parseIp('2001:db8:5101::'), nptOutside: parseIp('2001:db8:f101::'), nptBits: 48 };
    const address = formatIp(nptOutward(prefixes, parseIp(vms.blue.ca6))!);
    await succeeds(lab.server, ping(address));
  });

  it('carries TCP in whole frames, both ways', async () => {
    const { blue, blueHere } = vms;
    expect(await transfer(blue.vmNetns!, lab.server, SERVER4)).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(blue.vmNetns!, lab.server, SERVER4, true)).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(blue.vmNetns!, lab.server, SERVER6)).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(blueHere.vmNetns!, lab.server, SERVER4)).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(lab.server, blue.vmNetns!, blue.ca)).toBeGreaterThan(WHOLE_FRAMES);
  });

  it('translates a static address both ways', async () => {
    const { red } = vms;
    await succeeds(red.vmNetns!, ping(SERVER4));
    await succeeds(red.vmNetns!, ping(SERVER6));
    for (const address of ['203.0.113.20', '2001:db8:ffff::20']) await succeeds(lab.server, ping(address));
    expect(await transfer(red.vmNetns!, lab.server, SERVER4)).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(lab.server, red.vmNetns!, '203.0.113.20')).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(lab.server, red.vmNetns!, '2001:db8:ffff::20')).toBeGreaterThan(WHOLE_FRAMES);
  });

  it('maps ports', async () => {
    const { redMapped } = vms;
    await succeeds(redMapped.vmNetns!, ping(SERVER4));
    expect(await transfer(redMapped.vmNetns!, lab.server, SERVER4)).toBeGreaterThan(WHOLE_FRAMES);
    expect(await transfer(redMapped.vmNetns!, lab.server, SERVER4, true)).toBeGreaterThan(WHOLE_FRAMES);
    expect([...lab.b.datapath.gateway.nat.rows('mapping')].length).toBeGreaterThan(0);
  });

  it('joins two networks that peer', async () => {
    const { blue, red, blueHere } = vms;
    for (const [from, to] of [
      [blue, red],
      [red, blue],
      [blueHere, red],
      [red, blueHere],
    ] as const) {
      await succeeds(from.vmNetns!, ping(to.ca));
      await succeeds(from.vmNetns!, ping(to.ca6));
    }
    await transfer(blue.vmNetns!, red.vmNetns!, red.ca);
    await transfer(red.vmNetns!, blueHere.vmNetns!, blueHere.ca6);
  });

  it('tells both sides what size fits', async () => {
    const { blue, red } = vms;
    for (const [netns, address, size, mtu] of [
      [blue.vmNetns!, SERVER4, 1422, 1400],
      [red.vmNetns!, SERVER4, 1422, 1400],
      [blue.vmNetns!, SERVER6, 1402, 1400],
      [lab.server, blue.ca, 1472, 1450],
      [lab.server, '203.0.113.20', 1472, 1450],
      [lab.server, '2001:db8:ffff::20', 1452, 1450],
    ] as const) {
      const { output } = await lab.run(netns, `ping -c 1 -W 3 -M do -s ${size} ${address}; ip route get ${address}`);
      expect(output, `${address} ${state()}`).toMatch(new RegExp(`mtu ?=? ?${mtu}`));
    }
  });

  it('tells both sides when a packet has come too far', async () => {
    const { output } = await lab.run(vms.blue.vmNetns!, `ping -c 1 -W 3 -t 2 ${SERVER4}`);
    expect(output).toContain(`From ${gatewayCa4(BLUE)}`);
    const { output: outside } = await lab.run(lab.server, 'ping -c 1 -W 3 -t 1 203.0.113.20');
    expect(outside).toContain('From 203.0.113.20');
  });

  it('answers probes for its peers only, also when no agent is there', async () => {
    const request = encodeProbe({
      type: ProbeType.REQUEST,
      nonce: 77n,
      shards: [
        { shard: SHARD, epoch: 0n, isForwarding: false },
        { shard: 9, epoch: 0n, isForwarding: false },
      ],
    });
    const ask = `const s = require('dgram').createSocket('udp4');
      s.on('message', (m) => { console.log(m.toString('hex')); s.close(); });
      s.bind(4790, '${lab.a.pa}', () => s.send(Buffer.from('${Buffer.from(request).toString('hex')}', 'hex'), 4790, '${lab.b.pa}'));
      setTimeout(() => process.exit(3), 1500).unref();`;
    const probe = (): Promise<{ status: number | null; output: string }> => lab.run(lab.a.netns, `timeout -k 1 5 node -e "${ask}"`);
    const before = dropCount(lab.b, DropReason.PROBE_UNKNOWN_PEER);
    expect((await probe()).output).toBe('');
    expect(dropCount(lab.b, DropReason.PROBE_UNKNOWN_PEER)).toBe(before + 1);
    for (const [at, peer] of [
      [lab.a, lab.b.pa],
      [lab.b, lab.a.pa],
    ] as const) {
      at.datapath.gateway.apply([{ op: 'put', table: 'peer_gateway', key: { pa: parseIp(peer) }, value: 1 }]);
    }
    const { output } = await probe();
    const shards = [
      { shard: SHARD, epoch: EPOCH, isForwarding: true },
      { shard: 9, epoch: 0n, isForwarding: false },
    ];
    expect(decodeProbe(Buffer.from(output.trim(), 'hex'))).toEqual({ type: ProbeType.REPLY, nonce: 77n, shards });
    expect(lab.a.datapath.gateway.probeStamps()).toMatchObject([{ pa: parseIp(lab.b.pa), nonce: 77n, shards }]);
  });

  it('loses nothing when its agent is replaced, which finds the tables as they were', async () => {
    const before = lab.b.datapath.gateway.entries();
    // Of a VM whose frames the kernel moves by itself: this process stands still meanwhile.
    const pings = new RecordedPings(vms.redMapped.vmNetns!, SERVER4, 10);
    await pings.untilAnswered(10);
    lab.b.in(() => {
      const next = createKernelDatapath({ instance: lab.b.netns, pa: parseIp(lab.b.pa), underlayInterface: 'under0' });
      expect(next.gateway.entries()).toHaveLength(before.length);
      expect(next.gateway.externalDevices()).toEqual([lab.outIfindex]);
      next.close();
    });
    await pings.untilAnswered(10);
    expect(await pings.stop(), state()).toMatchObject({ gaps: [] });
  });

  it('is silent to all sides once its deadline has passed', async () => {
    expect(lab.b.datapath.gateway.setDeadline(SHARD, EPOCH - 1n, 1n)).toBe(false);
    expect(lab.own(1n)).toBe(true);
    try {
      const sent = (): number =>
        Number(shIn(lab.b.netns, "ip -s -o link show out0 | sed 's/.*TX:[^\\\\]*\\\\ *[0-9]* *\\([0-9]*\\).*/\\1/'"));
      shIn(lab.server, 'ip neigh flush dev eth0');
      const before = sent();
      const { status } = await lab.run(vms.blue.vmNetns!, `ping -c 2 -i 0.05 -W 0.5 ${SERVER4}`);
      expect(status).not.toBe(0);
      expect(sent()).toBe(before);
      expect(dropCount(lab.b, DropReason.GATEWAY_NOT_OWNER)).toBeGreaterThan(0);
      const { status: outside } = await lab.run(
        lab.server,
        'ping -c 1 -W 1 203.0.113.20; ping -c 1 -W 1 2001:db8:ffff::20; ip neigh show | grep -q lladdr',
      );
      expect(outside).not.toBe(0);
      expect(sent()).toBe(before);
    } finally {
      lab.own(FOREVER);
    }
    shIn(lab.server, 'ip neigh flush dev eth0');
    await until('the outside answers again', async () => (await lab.run(vms.blue.vmNetns!, `ping -c 1 -W 1 ${SERVER4}`)).status === 0);
  });
});
