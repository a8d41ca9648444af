import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createTap, inNetns, openPacketSocket, openTap, removeTap, startGenerator, startSink } from '../src/index.ts';
import { numberedFrame, openFdCount, Sandbox, soon, turns } from './sandbox.ts';

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

test('10,000 open and close cycles of a TAP leave no descriptor', { timeout: 300_000 }, () => {
  sandbox.run(() => {
    createTap({ name: 'tap0' });
    openTap({ name: 'tap0' }).close();
    const before = openFdCount();
    for (let i = 0; i < 10_000; i++) {
      const tap = openTap({ name: 'tap0' });
      if (i % 10 === 0) tap.start(() => {});
      tap.close();
    }
    expect(openFdCount()).toBe(before);
    removeTap('tap0');
  });
});

test('failures leave no descriptor', () => {
  const before = openFdCount();
  const failing: (() => unknown)[] = [
    () => openTap({ name: 'a-name-of-16-byt' }),
    () => openTap({ name: 'lo' }),
    () => openPacketSocket({ interfaceName: 'nope' }),
    () => inNetns('/run/netns/no-such-namespace', () => 1),
    () => inNetns('/etc/hostname', () => 1),
    () =>
      inNetns(sandbox.path, () => {
        throw new Error('from inside');
      }),
    () => startGenerator({ fd: 9999, frames: [numberedFrame(1)] }),
    () => startSink({ fd: 9999, vnetHdr: false }),
  ];
  for (const call of failing) expect(call).toThrow();
  expect(openFdCount()).toBe(before);
});

test('load threads leave no descriptor', async () => {
  const tap = sandbox.run(() => openTap({ name: 'tap0' }));
  const wire = sandbox.run(() => openPacketSocket({ interfaceName: 'tap0' }));
  sandbox.ip('link', 'set', 'tap0', 'up');
  const before = openFdCount();
  for (let i = 0; i < 50; i++) {
    const sink = startSink({ fd: tap.fd, vnetHdr: false });
    await startGenerator({ fd: wire.fd, frames: [numberedFrame(i)], count: 5 }).result();
    await sink.stop();
  }
  expect(openFdCount()).toBe(before);
  tap.close();
  wire.close();
});

test('a worker that ends in the middle of reading, sending and receiving harms nothing', async () => {
  sandbox.run(() => createTap({ name: 'tap0', multiQueue: true }));
  sandbox.ip('link', 'set', 'tap0', 'up');
  const before = openFdCount();
  const addon = new URL('../build/Release/weft_tuntap.node', import.meta.url).pathname;
  for (let i = 0; i < 10; i++) {
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads');
       const native = require(${JSON.stringify(addon)});
       const home = native.openNetns('/proc/thread-self/ns/net'), target = native.openNetns(${JSON.stringify(sandbox.path)});
       native.setNetns(target);
       const tap = native.openTun('tap0', 0x1102, 0, 0), second = native.openTun('tap0', 0x1102, 0, 0), wire = native.openPacket('tap0', 0);
       native.setNetns(home);
       for (const fd of [home, target]) native.closeFd(fd);
       const frame = new Uint8Array(60).fill(255);
       const poller = new native.FramePoller(tap.fd, new Uint8Array(1 << 20), new Uint32Array(128), () => {});
       poller.resume();
       const none = { cpu: -1, count: -1, durationNs: -1, ratePerSecond: 1000, sequenceOffset: -1 };
       const generator = new native.Generator({ ...none, fd: wire.fd, frames: [frame] }, () => {});
       const sink = new native.Sink({ fd: second.fd, cpu: -1, headerBytes: 0, matchOffset: 0, matchBytes: new Uint8Array(), sequenceOffset: -1 }, () => {});
       const check = () => generator.sent() > 10 ? parentPort.postMessage([tap.fd, second.fd, wire.fd]) : setImmediate(check);
       check();`,
      { eval: true },
    );
    const fds = await new Promise<number[]>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    // These are plain numbers to the addon; the copies that its threads made must be gone without help.
    for (const fd of fds) closeSync(fd);
  }
  await turns();
  await soon(() => expect(openFdCount()).toBe(before));
});
