import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createLabNet,
  httpGet,
  httpGetFromGuest,
  httpServe,
  ipBatch,
  type LabNet,
  mustPing,
  ping,
  QemuVm,
  type QemuVmInit,
  tempDir,
  uniqueName,
} from '../src/index.ts';

/*
 *   weft-LAB-a:  tap-g1 (10.0.0.1/24, stands in for the datapath)  ====  eth0 10.0.0.5 in the guest
 */
describe('a QEMU guest on a TAP', () => {
  const cache = tempDir('weft-guest-');
  let lab: LabNet;
  let guest: QemuVm;
  let init: QemuVmInit;
  beforeAll(async () => {
    lab = await createLabNet({ name: uniqueName('tk-'), hosts: [{ name: 'a' }], controlNodeCount: 0 });
    const { netns, dir } = lab.host('a');
    await ipBatch(
      [
        ['tuntap', 'add', 'tap-g1', 'mode', 'tap', 'vnet_hdr'],
        ['address', 'add', '10.0.0.1/24', 'dev', 'tap-g1'],
        ['address', 'add', '2001:db8:1::1/64', 'dev', 'tap-g1', 'nodad'],
        ['link', 'set', 'tap-g1', 'mtu', '1400', 'up'],
      ],
      netns,
    );
    init = {
      name: 'g1',
      tap: 'tap-g1',
      hostNetns: netns,
      dir: join(dir, 'g1'),
      cacheDir: cache.path,
      registry: lab.registry,
      mac: '02:00:00:00:00:05',
      addresses: ['10.0.0.5/24', '2001:db8:1::5/64'],
      gateways: ['10.0.0.1', '2001:db8:1::1'],
      mtu: 1400,
      files: { '/www/index.html': 'woven\n' },
    };
    guest = await QemuVm.start(init);
  });
  afterAll(async () => {
    await lab?.close();
    expect(guest?.process?.alive).toBe(false);
    cache.remove();
  });

  it('answers ping from its host, IPv4 and IPv6, and pings back', async () => {
    const host = lab.host('a');
    await mustPing(host, guest.address(), { count: 3, intervalMs: 10 });
    await mustPing(host, guest.address(6));
    expect(await ping(host, guest.address(), { size: 1400 - 28, dontFragment: true })).toMatchObject({ received: 1 });
    expect(await ping(guest, '10.0.0.1', { count: 2 })).toMatchObject({ sent: 2, received: 2 });
    expect(await ping(guest, '10.0.0.77', { timeoutMs: 1_000 })).toMatchObject({ sent: 1, received: 0 });
  });

  it('runs commands: output, status, input, quoting, several at once', async () => {
    expect(await guest.exec(['sh', '-c', 'echo out; echo err >&2; exit 3'], { allowFailure: true })).toEqual({
      stdout: 'out\n',
      stderr: 'err\n',
      code: 3,
    });
    await expect(guest.exec(['false'])).rejects.toMatchObject({ code: 'WEFT_ERR_TESTKIT_COMMAND', exitCode: 1, timedOut: false });
    expect((await guest.exec(['sha256sum'], { input: 'abc' })).stdout).toContain(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    const awkward = `a 'quoted' "$HOME" \\ line\nend`;
    expect((await guest.exec(['printf', '%s', awkward])).stdout).toBe(awkward);
    const answers = await Promise.all(
      Array.from({ length: 5 }, (_, index) => guest.exec(['sh', '-c', `usleep ${50_000 - index * 10_000}; echo ${index}`])),
    );
    expect(answers.map(({ stdout }) => stdout)).toEqual(['0\n', '1\n', '2\n', '3\n', '4\n']);
    const { stdout } = await guest.exec(['sh', '-c', 'dd if=/dev/zero bs=1024 count=300 2>/dev/null | tr "\\0" x']);
    expect(stdout).toBe('x'.repeat(300 * 1024));
  });

  it('ends a command at its deadline and goes on', async () => {
    await expect(guest.exec(['sleep', '60'], { timeoutMs: 1_000 })).rejects.toMatchObject({ timedOut: true });
    expect((await guest.exec(['cat', '/proc/sys/kernel/ostype'])).stdout).toBe('Linux\n');
  });

  it('serves and fetches over TCP', async () => {
    await guest.exec(['httpd', '-p', '80', '-h', '/www']);
    const worker = await lab.worker(lab.host('a'));
    expect(await httpGet(worker, 'http://10.0.0.5/index.html', { keepText: true })).toMatchObject({ ok: true, text: 'woven\n' });
    const served = await httpServe(worker, { host: '10.0.0.1' });
    expect(await httpGetFromGuest(guest, 'http://10.0.0.1/guest/3000000')).toMatchObject({ ok: true, size: 3_000_000 });
    await served.close();
    await expect(httpGetFromGuest(guest, 'http://10.0.0.1/guest/3000000')).rejects.toThrow(/refused/);
  });

  it('can be left and attached to again', async () => {
    guest.detach();
    const again = await QemuVm.attach({ ...init });
    expect((await again.exec(['hostname'])).stdout).toBe('g1\n');
    again.detach();
    expect(() => guest.exec(['true'])).toThrow(/has been left/);
  });

  it('says why it could not start: no such TAP, TAP in use', async () => {
    const second = { ...init, name: 'g2', dir: join(lab.host('a').dir, 'g2') };
    await expect(QemuVm.start(second)).rejects.toThrow(/QEMU ended \(1\).*could not (configure|open)/s);
    expect(readdirSync(cache.path)).toHaveLength(1);
    expect(existsSync(join(second.dir, 'initramfs.cpio'))).toBe(true);
  });
});
