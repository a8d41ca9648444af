import type { Lab } from '@weft/lab';
import { buildUdpFrame, buildVxlanFrame } from '@weft/packet';
import { httpGet, httpServe, ping, run, sendUdp, setSysctls, startCapture, waitFor } from '@weft/testkit';
import { inNetns, openPacketSocket } from '@weft/tuntap';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endLab, startLab, twinTenants } from './support.ts';

/*
 *   coke-a  pepsi-a          coke-b,c  pepsi-b,c        coke-d  pepsi-d
 *      └─ h1 ─┘                   └─ h2 ─┘                └─ h3 ─┘
 *   each pair has one address and one MAC address
 */

const tenants = ['coke', 'pepsi'] as const;
const letters = ['a', 'b', 'c', 'd'] as const;
const addresses = { a: '10.0.1.10', b: '10.0.1.11', c: '10.0.2.10', d: '10.0.2.11' } as const;

let lab: Lab;
beforeAll(async () => {
  lab = await startLab(twinTenants);
  await lab.untilConsistent();
  // Cases below count ICMP errors of b's stack, which sends six at once to one address and then one a second, whatever else has used them up.
  await setSysctls(lab.vm('coke-b').netns.netns, { 'net.ipv4.icmp_ratelimit': 0 });
});
afterAll(() => endLab(lab));

interface DropRow {
  readonly reason: string;
  readonly packets: number;
}

/** Sum of the drop counters of a host by reason. */
async function drops(host: string): Promise<Map<string, number>> {
  const { counters } = await lab.ask(host, { kind: 'drops', value: {} }, 'drops');
  const { dropReasonName } = await import('@weft/model');
  const rows: DropRow[] = counters.map((counter) => ({ reason: dropReasonName(counter.reason), packets: Number(counter.packets) }));
  const sums = new Map<string, number>();
  for (const row of rows) sums.set(row.reason, (sums.get(row.reason) ?? 0) + row.packets);
  return sums;
}

/** Captures a needle at every VM's NIC. `until` waits for so many at some of them at least, `stop` returns the count by VM. */
async function countAtEveryVm(needle: string): Promise<{
  until(least: Readonly<Record<string, number>>): Promise<void>;
  stop(): Promise<Map<string, number>>;
}> {
  const captures = await Promise.all(
    [...lab.vms.values()].map(async (vm) => ({
      name: vm.name,
      capture: await startCapture({
        netns: vm.netns.netns,
        device: 'eth0',
        direction: 'in',
        needles: { needle },
        registry: lab.net.registry,
      }),
    })),
  );
  return {
    until: async (least) => {
      const counts = () => Object.fromEntries(captures.map(({ name, capture }) => [name, capture.read().matches.needle]));
      await waitFor(
        () => {
          const seen = counts();
          return Object.entries(least).every(([name, count]) => seen[name]! >= count);
        },
        { what: `"${needle}" to arrive: ${JSON.stringify(least)}`, show: () => JSON.stringify(counts()) },
      );
    },
    stop: async () => {
      const counts = new Map<string, number>();
      for (const { name, capture } of captures) {
        const result = await capture.stop();
        expect(result.missed).toBe(0);
        counts.set(name, result.matches.needle);
      }
      return counts;
    },
  };
}

describe('two tenants with equal addresses on three hosts', () => {
  it('reach every VM of their own, in the subnet and between subnets', async () => {
    for (const tenant of tenants) {
      for (const from of letters) {
        for (const to of letters) {
          if (from === to) continue;
          const result = await ping(lab.vm(`${tenant}-${from}`), addresses[to], { count: 2, intervalMs: 20, timeoutMs: 5_000 });
          expect(result.received, `${tenant}-${from} to ${to}`).toBe(2);
        }
      }
    }
  });

  it('reach their own over IPv6', async () => {
    for (const tenant of tenants)
      expect((await ping(lab.vm(`${tenant}-a`), '2001:db8:1::11', { count: 2, intervalMs: 20 })).received).toBe(2);
  });

  it('ping their gateways, which every host answers', async () => {
    for (const tenant of tenants) {
      for (const from of letters) {
        for (const gateway of ['10.0.1.1', '10.0.2.1']) {
          expect((await ping(lab.vm(`${tenant}-${from}`), gateway, { count: 1 })).received, `${tenant}-${from} to ${gateway}`).toBe(1);
        }
      }
    }
  });

  it('fetch what their own tenant serves at an address that both have', async () => {
    for (const tenant of tenants) {
      const server = await httpServe(await lab.vm(`${tenant}-d`).worker(), { port: 80, text: `hello from ${tenant}` });
      const result = await httpGet(await lab.vm(`${tenant}-a`).worker(), 'http://10.0.2.11/', { keepText: true });
      expect(result.text).toBe(`hello from ${tenant}`);
      await server.close();
    }
  });

  it('never see a frame of the other', async () => {
    const capture = await countAtEveryVm('only-for-coke');
    for (const from of letters) {
      const worker = await lab.vm(`coke-${from}`).worker();
      for (const to of letters)
        if (to !== from) await sendUdp(worker, { host: addresses[to], port: 9, payload: 'only-for-coke', count: 10 });
    }
    await capture.until(Object.fromEntries(letters.map((letter) => [`coke-${letter}`, 30])));
    const counts = await capture.stop();
    for (const letter of letters) {
      expect(counts.get(`pepsi-${letter}`), `pepsi-${letter}`).toBe(0);
      // And the ICMP errors that quote what nobody listens to.
      expect(counts.get(`coke-${letter}`), `coke-${letter}`).toBeGreaterThanOrEqual(30);
    }
  });

  it('tell a too large packet which size fits', async () => {
    const result = await lab
      .vm('coke-a')
      .exec(['ping', '-c', '1', '-W', '1', '-M', 'do', '-s', '1430', '10.0.2.11'], { allowFailure: true });
    // The VM's own MTU is the tenant's, so the VM itself refuses; with a larger NIC MTU the network has to.
    expect(result.code).not.toBe(0);
    const vm = lab.vm('coke-a');
    // A veth pair drops by itself what is larger than the other end's MTU.
    await run('ip', ['-n', lab.host('h1').netns, 'link', 'set', vm.device, 'mtu', '1500']);
    await run('ip', ['-n', vm.netns.netns, 'link', 'set', 'eth0', 'mtu', '1500']);
    const told = await lab.vm('coke-a').exec(['ping', '-c', '1', '-W', '2', '-M', 'do', '-s', '1450', '10.0.2.11'], { allowFailure: true });
    expect(told.stdout).toMatch(/Frag needed and DF set \(mtu = 1450\)/);
    await run('ip', ['-n', lab.vm('coke-a').netns.netns, 'link', 'set', 'eth0', 'mtu', '1450']);
    await run('ip', ['-n', lab.host('h1').netns, 'link', 'set', vm.device, 'mtu', '1450']);
    await run('ip', ['-n', lab.vm('coke-a').netns.netns, 'route', 'flush', 'cache']);
  });
});

describe('a VM that forges', () => {
  it('gets 200 malformed frames nowhere, each dropped by name', async () => {
    const vm = lab.vm('coke-a');
    const capture = await countAtEveryVm('malformed-frame!');
    const before = await drops('h1');
    const good = buildUdpFrame(
      {
        sourceMac: '02:00:00:00:00:0a',
        destinationMac: '02:00:00:00:00:0b',
        source: '10.0.1.10',
        destination: '10.0.1.11',
        sourcePort: 5_000,
        destinationPort: 9,
      },
      new TextEncoder().encode('malformed-frame!'),
    );
    const socket = inNetns(`/run/netns/${vm.netns.netns}`, () => openPacketSocket({ interfaceName: 'eth0' }));
    const mutations: ((frame: Uint8Array) => void)[] = [
      (frame) => frame.set([0x02, 0, 0, 0, 0, 0x99], 6), // foreign source MAC
      (frame) => frame.set([10, 0, 1, 77], 26), // foreign source address
      (frame) => frame.set([10, 0, 1, 11], 26), // a neighbour's address
      (frame) => frame.set([0x81, 0x00], 12), // a tag
      (frame) => frame.set([0x00, 0x26], 12), // LLC
      (frame) => frame.set([0x88, 0xcc], 12), // LLDP
      (frame) => frame.set([0x65], 14), // version 6 in an IPv4 frame
      (frame) => frame.set([0x41], 14), // header length 4
      (frame) => frame.set([0xff, 0xff], 16), // total length beyond the frame
      (frame) => frame.set([0x00, 0x10], 16), // total length below the header
    ];
    let sent = 0;
    try {
      for (let round = 0; round < 20; round++) {
        for (const mutate of mutations) {
          const frame = good.slice();
          mutate(frame);
          socket.write(frame);
          sent++;
        }
      }
      // The same frame unspoilt: it must arrive, or the counts of zero would prove nothing.
      socket.write(good);
    } finally {
      socket.close();
    }
    expect(sent).toBe(200);
    const total = (counts: Map<string, number>): number => [...counts.values()].reduce((sum, count) => sum + count, 0);
    await waitFor(async () => total(await drops('h1')) - total(before) >= sent, {
      what: 'all 200 frames to be counted as dropped',
      deadlineMs: 5_000,
    });
    // Once at b, and once in the ICMP error that quotes it, at a.
    await capture.until({ 'coke-b': 1, 'coke-a': 1 });
    const counts = await capture.stop();
    expect(Object.fromEntries([...counts].filter(([, count]) => count > 0))).toEqual({ 'coke-b': 1, 'coke-a': 1 });
    const after = await drops('h1');
    for (const reason of [
      'SOURCE_MAC_SPOOFED',
      'SOURCE_ADDRESS_SPOOFED',
      'VLAN_TAG_NOT_ALLOWED',
      'LLC_NOT_ALLOWED',
      'ETHERTYPE_NOT_ALLOWED',
      'MALFORMED_IPV4',
      'TRUNCATED_IPV4',
    ]) {
      expect((after.get(reason) ?? 0) - (before.get(reason) ?? 0), reason).toBeGreaterThanOrEqual(20);
    }
  });
});

describe('forged tunnel frames', () => {
  const forge = (init: {
    from: string;
    to: string;
    vsid: number;
    innerSource: string;
    innerMac: string;
    sourceMac: string;
    destinationMac: string;
  }): Uint8Array =>
    buildVxlanFrame(
      {
        sourceMac: init.sourceMac,
        destinationMac: init.destinationMac,
        source: init.from,
        destination: init.to,
        sourcePort: 50_000,
        vni: init.vsid,
      },
      buildUdpFrame(
        {
          sourceMac: init.innerMac,
          destinationMac: '02:00:00:00:00:0b',
          source: init.innerSource,
          destination: '10.0.1.11',
          sourcePort: 5_000,
          destinationPort: 9,
        },
        new TextEncoder().encode('forged-through-tunnel'),
      ),
    );

  it('are never delivered: foreign source, foreign VSID, foreign inner source, over lo, to the own address', async () => {
    const h2 = lab.host('h2');
    const ctl = lab.net.ctl;
    const h1 = lab.host('h1');
    const records = (
      await lab.ask('controller', { kind: 'list', value: { kinds: ['VirtualNetwork'], tenant: 'coke', network: '', name: '' } }, 'list')
    ).records;
    const network = records.flatMap(({ record }) => (record?.kind === 'network' ? [record.value] : []))[0]!;
    const vsid = network.subnets.find((subnet) => subnet.name === 'blue')!.vsid;
    const capture = await countAtEveryVm('forged-through-tunnel');
    const before = await drops('h2');
    const aMac = '02:00:00:00:00:0a';
    // A stranger on the underlay.
    const stranger = inNetns(`/run/netns/${ctl.netns}`, () => openPacketSocket({ interfaceName: ctl.underlayDevice }));
    const link = { sourceMac: ctl.underlayMac, destinationMac: h2.underlayMac, to: h2.address };
    for (let count = 0; count < 10; count++) {
      stranger.write(forge({ ...link, from: ctl.address, vsid, innerSource: '10.0.1.10', innerMac: aMac }));
      // With the address of a peer that is none of this VSID's, and of a VSID that nobody has.
      stranger.write(forge({ ...link, from: h1.address, vsid: 16_000_000, innerSource: '10.0.1.10', innerMac: aMac }));
      // A valid peer speaking for an address that lives elsewhere: d is at h3.
      stranger.write(forge({ ...link, from: h1.address, vsid, innerSource: '10.0.2.11', innerMac: aMac }));
      // A valid peer with a right address and a wrong MAC.
      stranger.write(forge({ ...link, from: h1.address, vsid, innerSource: '10.0.1.10', innerMac: '02:00:00:00:00:77' }));
    }
    stranger.close();
    // Processes of the host itself: over lo to 127.0.0.1, to the own address.
    const inner = forge({
      from: h1.address,
      to: h2.address,
      vsid,
      innerSource: '10.0.1.10',
      innerMac: aMac,
      sourceMac: aMac,
      destinationMac: aMac,
    }).subarray(14 + 20 + 8);
    const script = `const s=require('node:dgram').createSocket('udp4');const p=Buffer.from(process.argv[1],'base64');let n=0;
      for(let i=0;i<10;i++)for(const a of ['127.0.0.1','${h2.address}'])s.send(p,4789,a,()=>{if(++n===20)s.close()});`;
    await run(process.execPath, ['-e', script, Buffer.from(inner).toString('base64')], { netns: h2.netns });
    // What host 1 itself says of its own VM must arrive, or the counts of zero would prove nothing.
    const peer = inNetns(`/run/netns/${h1.netns}`, () => openPacketSocket({ interfaceName: h1.underlayDevice }));
    const route = { sourceMac: h1.underlayMac, destinationMac: h2.underlayMac, to: h2.address, from: h1.address };
    peer.write(forge({ ...route, vsid, innerSource: '10.0.1.10', innerMac: aMac }));
    peer.close();
    const expected = {
      UNKNOWN_PEER: 10,
      UNKNOWN_VSID: 10,
      SOURCE_NOT_AT_THIS_PEER: 10,
      SOURCE_MAC_NOT_AT_THIS_PEER: 10,
      NOT_FROM_UNDERLAY: 20,
    };
    await waitFor(
      async () => {
        const after = await drops('h2');
        return Object.entries(expected).every(([reason, count]) => (after.get(reason) ?? 0) - (before.get(reason) ?? 0) >= count);
      },
      { what: `drops by reason ${JSON.stringify(expected)}`, deadlineMs: 5_000 },
    );
    await capture.until({ 'coke-b': 1, 'coke-a': 1 });
    const counts = await capture.stop();
    expect(Object.fromEntries([...counts].filter(([, count]) => count > 0))).toEqual({ 'coke-b': 1, 'coke-a': 1 });
  });
});

describe('a tenant device whose program is detached', () => {
  it('reaches nothing: neither its network nor the host', async () => {
    const vm = lab.vm('pepsi-d');
    expect((await ping(vm, '10.0.2.10', { count: 1 })).received).toBe(1);
    // As a careless operator could.
    const pins = `/sys/fs/bpf/weft/${lab.name}-h3/v1`;
    const [device] = JSON.parse((await run('ip', ['-n', lab.host('h3').netns, '-j', 'link', 'show', 'dev', vm.device])).stdout) as {
      ifindex: number;
    }[];
    const pin = `${pins}/link_from_port_${device!.ifindex}`;
    await run('bpftool', ['link', 'detach', 'pinned', pin]);
    const h3 = lab.host('h3');
    const seen = await startCapture({
      netns: h3.netns,
      device: h3.underlayDevice,
      needles: { mark: 'leak-through-host' },
      registry: lab.net.registry,
    });
    const result = await ping(vm, '10.0.2.10', { count: 2, intervalMs: 50, timeoutMs: 2_000 });
    expect(result.received).toBe(0);
    const toHost = await ping(vm, h3.address, { count: 1, timeoutMs: 1_500 });
    expect(toHost.received).toBe(0);
    await sendUdp(await vm.worker(), { host: '10.0.2.10', port: 9, payload: 'leak-through-host', count: 5 }).catch(() => {});
    expect((await seen.stop()).matches.mark).toBe(0);
  });
});
