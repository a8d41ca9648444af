import { existsSync, readdirSync } from 'node:fs';
import { parseIp } from '@weft/packet';
import { inNetns } from '@weft/tuntap';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKernelDatapath, createUserDatapath, type Datapath, type KernelDatapath, type PortDevice } from '../src/index.ts';
import { addHostNetns, netnsPath, RUN, sh, shIn } from './support/lab.ts';

let netns: string;
let count = 0;
let device: PortDevice;
let made: Datapath[];
beforeEach(() => {
  netns = `wdpa${RUN}${count++}`;
  made = [];
  addHostNetns(netns);
  sh(`ip -n ${netns} tuntap add under0 mode tap; ip -n ${netns} link set under0 up`);
  sh(`ip -n ${netns} addr add 192.0.2.1/24 dev under0; ip -n ${netns} tuntap add p0 mode tap; ip -n ${netns} link set lo up`);
  device = { name: 'p0', ifindex: Number(shIn(netns, 'ip -o link show p0 | cut -d: -f1')), kind: 'tap' };
});
afterEach(() => {
  for (const one of made) inside(() => one.destroy());
  sh(`ip netns del ${netns}`);
});

const inside = <T>(fn: () => T): T => inNetns(netnsPath(netns), fn);
const options = { pa: parseIp('192.0.2.1'), underlayInterface: 'under0' };
function kernel(more: object = {}): KernelDatapath {
  const datapath = inside(() => createKernelDatapath({ instance: netns, ...options, ...more }));
  made.push(datapath);
  return datapath;
}
const begin = (datapath: Datapath, one = device): Promise<void> => inside(() => ({ done: datapath.attachDeviceAsync(one) })).done;
const attached = (datapath: Datapath): number[] => inside(() => datapath.attachedDevices());
const links = (datapath: KernelDatapath): string[] => readdirSync(datapath.pinDirectory).filter((pin) => pin.startsWith('link_from_port'));

describe('attachDeviceAsync()', () => {
  it.each([
    ['kernel, tcx', () => kernel({ tcx: true })],
    [
      'kernel, clsact',
      () => {
        const datapath = kernel({ tcx: false });
        const value = { networkId: 1, vsid: 1, mtuBytes: 1450, flags: 0, mac: new Uint8Array(6) };
        datapath.apply([{ op: 'put', table: 'port', key: { ifindex: device.ifindex }, value }]);
        return datapath;
      },
    ],
    [
      'user',
      () => {
        const datapath = inside(() => createUserDatapath({ instance: netns, ...options }));
        made.push(datapath);
        return datapath;
      },
    ],
  ] as const)('attaches, is idempotent, and names a device that is not there (%s)', async (_, make) => {
    const datapath = make();
    await Promise.all([begin(datapath), begin(datapath)]);
    expect(attached(datapath)).toEqual([device.ifindex]);
    await begin(datapath);
    inside(() => datapath.attachDevice(device));
    expect(attached(datapath)).toEqual([device.ifindex]);
    await expect(begin(datapath, { name: 'nosuch0', ifindex: 99, kind: 'tap' })).rejects.toMatchObject({
      code: expect.stringMatching(/NO_DEVICE|NOT_FOUND/),
    });
    inside(() => datapath.detachDevice(device.ifindex));
    expect(attached(datapath)).toEqual([]);
  });

  it('replaces the program that a former process attached', async () => {
    const first = kernel();
    await begin(first);
    first.close();
    const second = kernel();
    await begin(second);
    expect(attached(second)).toEqual([device.ifindex]);
    expect(links(second)).toHaveLength(1);
  });

  it('leaves nothing when the device is detached meanwhile, and attaches when asked again', async () => {
    const datapath = kernel();
    const first = begin(datapath);
    inside(() => datapath.detachDevice(device.ifindex));
    await expect(first).rejects.toMatchObject({
      code: 'WEFT_ERR_DATAPATH_NO_DEVICE',
      message: expect.stringContaining('detached meanwhile'),
    });
    expect([attached(datapath), links(datapath)]).toEqual([[], []]);
    await begin(datapath);
    expect(attached(datapath)).toEqual([device.ifindex]);
  });

  it('leaves nothing when the engine is closed or destroyed meanwhile', async () => {
    const first = kernel();
    const one = begin(first);
    first.close();
    await expect(one).rejects.toMatchObject({ code: 'WEFT_ERR_DATAPATH_CLOSED' });
    expect(links(first)).toEqual([]);
    const second = kernel();
    expect(attached(second)).toEqual([]);
    const other = begin(second);
    inside(() => second.destroy());
    await expect(other).rejects.toMatchObject({ code: expect.stringMatching(/CLOSED/) });
    expect(existsSync(second.pinDirectory)).toBe(false);
  });

  it('fails when the device goes meanwhile', async () => {
    const datapath = kernel();
    for (let i = 0; i < 10; i++) {
      if (i > 0) {
        sh(`ip -n ${netns} tuntap add p0 mode tap`);
        device = { ...device, ifindex: Number(shIn(netns, 'ip -o link show p0 | cut -d: -f1')) };
      }
      const attaching = begin(datapath).catch((error: unknown) => error);
      sh(`ip -n ${netns} tuntap del p0 mode tap`);
      // First or second, depending on who was quicker in the kernel; attached it is in neither case.
      const error = await attaching;
      if (error !== undefined) expect(error).toMatchObject({ name: 'BpfError', code: 'WEFT_ERR_BPF_NOT_FOUND' });
      expect(attached(datapath)).toEqual([]);
    }
  });
});
