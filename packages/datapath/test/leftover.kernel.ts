import { existsSync } from 'node:fs';
import { parseIp } from '@weft/packet';
import { inNetns } from '@weft/tuntap';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createKernelDatapath, ensureGuard, findKernelEngine, hasGuard, removeKernelEngine } from '../src/index.ts';
import { addHostNetns, netnsPath, RUN, sh, shIn } from './support/lab.ts';

let netns: string;
let count = 0;
beforeEach(() => {
  netns = `wdpr${RUN}${count++}`;
  addHostNetns(netns);
  sh(`ip -n ${netns} tuntap add under0 mode tap; ip -n ${netns} link set under0 up; ip -n ${netns} tuntap add p0 mode tap`);
});
afterEach(() => {
  inside(() => removeKernelEngine(place()));
  sh(`ip netns del ${netns}`);
});

const inside = <T>(fn: () => T): T => inNetns(netnsPath(netns), fn);
const place = () => ({ instance: netns, underlayInterface: 'under0', tunnelDevice: 'weft-tun0' });

it.each([true, false])('what a kernel engine left is found, and removed whole (tcx: %s)', (tcx) => {
  expect(inside(() => findKernelEngine(place()))).toEqual([]);
  const ifindex = Number(shIn(netns, 'ip -o link show p0 | cut -d: -f1'));
  inside(() => {
    ensureGuard();
    const datapath = createKernelDatapath({ instance: netns, pa: parseIp('192.0.2.1'), underlayInterface: 'under0', tcx });
    datapath.attachDevice({ name: 'p0', ifindex, kind: 'tap' });
    const value = { networkId: 1, vsid: 1, mtuBytes: 1450, flags: 0, mac: new Uint8Array(6) };
    datapath.apply([{ op: 'put', table: 'port', key: { ifindex }, value }]);
    datapath.close();
    const found = findKernelEngine(place());
    expect(found).toHaveLength(3);
    expect(found).toContain(tcx ? `/sys/fs/bpf/weft/${netns}/v1/link_from_port_${ifindex}` : `clsact filter of device ${ifindex}`);
    for (let i = 0; i < 2; i++) removeKernelEngine(place());
    expect(findKernelEngine(place())).toEqual([]);
    expect(hasGuard()).toBe(true);
  });
  expect(existsSync(`/sys/fs/bpf/weft/${netns}`)).toBe(false);
  expect(shIn(netns, 'tc filter show dev p0 ingress; tc filter show dev under0 ingress; ip -o link show type vxlan')).toBe('');
});
