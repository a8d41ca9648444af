import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createLabNet,
  createVmNetns,
  httpGet,
  httpServe,
  ipJson,
  type LabNet,
  mustPing,
  NetnsEndpoint,
  openLabNet,
  ping,
  readOffloads,
  run,
  startCapture,
  tapIntoNetns,
  uniqueName,
} from '../src/index.ts';

describe('a lab of three hosts', () => {
  let lab: LabNet;
  beforeAll(async () => {
    lab = await createLabNet({
      name: uniqueName('tk-'),
      mode: 'wire',
      mtu: 1600,
      managementSwitch: true,
      hosts: [{ name: 'a', address6: '2001:db8::1' }, { name: 'b', address6: '2001:db8::2' }, { name: 'c' }],
    });
  });
  afterAll(async () => {
    await lab.close();
    const { stdout } = await run('ip', ['netns', 'list']);
    expect(stdout).not.toContain(`weft-${lab.name}-`);
  });

  it('joins every host with every other and with the control node', async () => {
    const all = [...lab.hosts.values(), lab.ctl];
    expect(all.map((host) => host.address)).toEqual(['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.250']);
    for (const from of all) {
      for (const to of all) expect(await ping(from, to.address)).toMatchObject({ sent: 1, received: 1 });
    }
    expect(await ping(lab.host('a'), '2001:db8::2')).toMatchObject({ received: 1 });
    expect(await ping(lab.host('a'), lab.ctl.managementAddress!)).toMatchObject({ received: 1 });
  });

  it('carries frames of the MTU asked for, and no larger', async () => {
    const [a, b] = [lab.host('a'), lab.host('b')];
    expect(await ping(a, b.address, { size: 1600 - 28, dontFragment: true })).toMatchObject({ received: 1 });
    expect(await ping(a, b.address, { size: 1600 - 27, dontFragment: true })).toMatchObject({ received: 0 });
  });

  it('has tunnel segmentation off and GRO on in wire mode', async () => {
    const features = await readOffloads(lab.host('a').netns, 'underlay0');
    expect(features.get('tx-udp_tnl-segmentation')).toBe(false);
    expect(features.get('tx-udp_tnl-csum-segmentation')).toBe(false);
    expect(features.get('generic-receive-offload')).toBe(true);
  });

  it('can be opened by another process', async () => {
    const again = await openLabNet(lab.name);
    expect(again?.host('b')).toMatchObject({ address: '192.0.2.2', address6: '2001:db8::2', underlayMac: lab.host('b').underlayMac });
    expect(again).toMatchObject({ mtu: 1600, mode: 'wire', dir: lab.dir });
    expect(again?.ctl.netns).toBe(lab.ctl.netns);
    expect(await openLabNet('tk-no-such-lab')).toBeUndefined();
  });

  it('cuts a link silently and restores it; the management network stays', async () => {
    const [a, b] = [lab.host('a'), lab.host('b')];
    await lab.faults.cut('b');
    expect(await ping(a, b.address, { timeoutMs: 100 })).toMatchObject({ received: 0 });
    expect(await ping(a, lab.host('c').address)).toMatchObject({ received: 1 });
    expect(await ping(a, b.managementAddress!)).toMatchObject({ received: 1 });
    const [link] = await ipJson<{ flags: string[] }>(['link', 'show', 'underlay0'], b.netns);
    expect(link!.flags).toContain('LOWER_UP');
    await lab.faults.restore('b');
    await mustPing(a, b.address);
  });

  it('loses about the share asked for', async () => {
    await lab.faults.lose('c', 50);
    const result = await ping(lab.host('a'), lab.host('c').address, { count: 200, intervalMs: 2, timeoutMs: 200 });
    await lab.faults.restore('c');
    // Both directions: 75 % of round trips are lost; six standard deviations around it.
    expect(result.lost).toBeGreaterThan(200 * 0.75 - 37);
    expect(result.lost).toBeLessThan(200 * 0.75 + 37);
    await mustPing(lab.host('a'), lab.host('c').address, { count: 20, intervalMs: 2 });
  });

  it('unplugs a cable so that the host sees it', async () => {
    const b = lab.host('b');
    await lab.faults.unplug('b');
    const [link] = await ipJson<{ flags: string[] }>(['link', 'show', 'underlay0'], b.netns);
    expect(link!.flags).toContain('NO-CARRIER');
    await lab.faults.plug('b');
    await mustPing(lab.host('a'), b.address);
  });

  it('refuses hosts and shares that it does not have', async () => {
    await expect(lab.faults.cut('z')).rejects.toThrow(RangeError);
    await expect(lab.faults.lose('a', 101)).rejects.toThrow(RangeError);
    expect(() => lab.host('z')).toThrow(/there are a, b, c/);
  });
});

describe('VM namespaces', () => {
  let lab: LabNet;
  beforeAll(async () => {
    lab = await createLabNet({ name: uniqueName('tk-'), direct: true, hosts: [{ name: 'a' }, { name: 'b' }] });
  });
  afterAll(async () => {
    await lab.close();
  });

  it('joins two hosts directly', async () => {
    await mustPing(lab.host('a'), lab.host('b').address);
    expect(() => lab.ctl).toThrow(/no control node/);
    await expect(lab.faults.cut('a')).rejects.toThrow(/direct/);
  });

  it('gives a VM its MAC, addresses, MTU and route, and moves it to another host', async () => {
    const vm = await createVmNetns({
      name: 'a1',
      netns: `weft-${lab.name}-vm-a1`,
      hostNetns: lab.host('a').netns,
      hostDevice: 'vm-coke-a1',
      mac: '02:00:00:00:00:05',
      addresses: ['10.0.0.5/24', '2001:db8:1::5/64'],
      gateways: ['10.0.0.1', '2001:db8:1::1'],
      mtu: 1400,
      registry: lab.registry,
    });
    expect(vm.address()).toBe('10.0.0.5');
    expect(vm.address(6)).toBe('2001:db8:1::5');
    const check = async (): Promise<void> => {
      const [eth0] = await ipJson<{ address: string; mtu: number; addr_info: { local: string }[] }>(
        ['addr', 'show', 'dev', 'eth0'],
        vm.netns,
      );
      expect(eth0).toMatchObject({ address: '02:00:00:00:00:05', mtu: 1400 });
      expect(eth0!.addr_info.map((info) => info.local)).toEqual(['10.0.0.5', '2001:db8:1::5']);
      expect(await ipJson(['route', 'show', 'default'], vm.netns)).toMatchObject([{ gateway: '10.0.0.1' }]);
      expect(await ipJson(['-6', 'route', 'show', 'default'], vm.netns)).toMatchObject([{ gateway: '2001:db8:1::1' }]);
    };
    await check();
    // The host's end stands in for the datapath: it answers as the gateway.
    const answerAt = async (netns: string, device: string): Promise<void> => {
      await run('ip', ['-n', netns, 'link', 'set', device, 'arp', 'on']);
      await run('ip', ['-n', netns, 'addr', 'add', '10.0.0.1/24', 'dev', device]);
    };
    await answerAt(vm.hostNetns, vm.hostDevice);
    await mustPing(vm, '10.0.0.1');

    await vm.moveTo(lab.host('b').netns, 'vm-coke-b9');
    await check();
    expect(vm.hostDevice).toBe('vm-coke-b9');
    await answerAt(lab.host('b').netns, 'vm-coke-b9');
    await mustPing(vm, '10.0.0.1');
    expect(await ipJson(['link', 'show', 'type', 'veth'], lab.host('a').netns)).toHaveLength(1);
  });

  it('makes a VM of a TAP', async () => {
    const { netns } = lab.host('b');
    await run('ip', ['-n', netns, 'tuntap', 'add', 'tap-v2', 'mode', 'tap']);
    const vm = await tapIntoNetns({
      name: 'v2',
      netns: `weft-${lab.name}-vm-v2`,
      hostNetns: netns,
      hostDevice: 'tap-v2',
      mac: '02:00:00:00:00:06',
      addresses: ['10.0.0.6/24'],
      gateways: ['10.0.0.1'],
      registry: lab.registry,
    });
    expect(await ipJson(['link', 'show', 'tap-v2'], netns).catch(() => [])).toEqual([]);
    const [eth0] = await ipJson<{ address: string; addr_info: unknown[] }>(['addr', 'show', 'dev', 'eth0'], vm.netns);
    expect(eth0).toMatchObject({ address: '02:00:00:00:00:06', mtu: 1450, addr_info: [{ local: '10.0.0.6' }] });
    const { stdout } = await vm.exec(['ip', '-d', 'link', 'show', 'dev', 'eth0']);
    expect(stdout).toContain('tun type tap');
  });

  it('carries frames whole in veth mode, and cut to the MTU in wire mode', async () => {
    const largest = async (net: LabNet): Promise<number> => {
      const [a, b] = [net.host('a'), net.host('b')];
      const served = await httpServe(await net.worker(a), { host: a.address });
      const capture = await startCapture({ netns: b.netns, device: 'underlay0', needles: {}, direction: 'in', registry: net.registry });
      // Without GRO the receiver sees what came over the wire.
      await run('ethtool', ['-K', 'underlay0', 'gro', 'off'], { netns: b.netns });
      expect(await httpGet(await net.worker(b), `http://${a.address}/x/3000000`)).toMatchObject({ ok: true });
      await served.close();
      return (await capture.stop()).largestFrame;
    };
    expect(await largest(lab)).toBeGreaterThan(1514);
    const wire = await createLabNet({ name: uniqueName('tk-'), direct: true, mode: 'wire', hosts: [{ name: 'a' }, { name: 'b' }] });
    expect(await largest(wire)).toBe(1514);
    await wire.close();
  });

  it('leaves nothing behind when a lab cannot be made', async () => {
    const name = uniqueName('tk-');
    const netns = `weft-${name}-b`;
    await run('ip', ['netns', 'add', netns]);
    await expect(createLabNet({ name, hosts: [{ name: 'a' }, { name: 'b' }] })).rejects.toThrow(/File exists/);
    // What was there before is not the lab's to remove.
    const { stdout } = await run('ip', ['netns', 'list']);
    expect(stdout.match(new RegExp(`weft-${name}[^ \\n]*`, 'g'))).toEqual([netns]);
    await run('ip', ['netns', 'del', netns]);
    await expect(createLabNet({ name, hosts: [{ name: 'ctl' }] })).rejects.toThrow(/uses that name itself/);
    await expect(createLabNet({ name, hosts: [{ name: 'a' }, { name: 'a' }] })).rejects.toThrow(/used twice/);
    expect(new NetnsEndpoint('x', 'y').netns).toBe('y');
  });
});
