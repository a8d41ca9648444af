import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BpfLink, BpfMap, BpfObject, BpfProgram, createMap, probeTcx, RingBuffer } from '../src/index.ts';
import { configured, reporting, unsafe } from './programs.ts';
import { openFdCount, Sandbox } from './sandbox.ts';

const loopback = 1;
let sandbox: Sandbox;
let path: string;
let reportingPath: string;
beforeAll(() => {
  sandbox = new Sandbox();
  path = sandbox.compile('configured', configured);
  reportingPath = sandbox.compile('reporting', reporting);
});
afterAll(() => sandbox.remove());

test('10,000 cycles of a pinned map, program and link leave no descriptor', () => {
  const object = BpfObject.open(path, { pinMapsUnder: sandbox.pins }).load();
  const [linkPin, programPin] = [join(sandbox.pins, 'link'), join(sandbox.pins, 'program')];
  const link = sandbox.run(() => object.program('first').attachTcx(loopback, 'ingress'));
  link.pin(linkPin);
  object.program('first').pin(programPin);
  const before = openFdCount();
  for (let i = 0; i < 10_000; i++) {
    BpfMap.fromPin(join(sandbox.pins, 'table')).close();
    BpfProgram.fromPin(programPin).close();
    BpfLink.fromPin(linkPin).close();
  }
  expect(openFdCount()).toBe(before);
  link.close();
  object.close();
});

// Fewer, since the kernel waits some milliseconds for packets on their way whenever a link is detached.
test('100 cycles of attaching and detaching leave no descriptor', () => {
  const object = BpfObject.open(path).load();
  const program = object.program('first');
  sandbox.run(() => {
    const before = openFdCount();
    for (let i = 0; i < 100; i++) program.attachTcx(loopback, i % 2 === 0 ? 'ingress' : 'egress').close();
    expect(openFdCount()).toBe(before);
  });
  object.close();
});

test('objects, failures and ring buffers leave no descriptor', () => {
  BpfObject.open(path).load().close();
  const unsafePath = sandbox.compile('unsafe', unsafe);
  const other = createMap({ name: 'other', type: 'hash', keySize: 1, valueSize: 1, maxEntries: 1 });
  other.pin(join(sandbox.pins, 'other'));
  const before = openFdCount();
  for (let i = 0; i < 50; i++) {
    const object = BpfObject.open(reportingPath).load();
    const ring = new RingBuffer(object.map('ring'), () => {});
    object.close();
    ring.close();
    expect(() => new RingBuffer(other, () => {})).toThrow();
    expect(() => BpfObject.open(unsafePath).load()).toThrow();
    expect(() => BpfObject.open(path, { reuseMaps: { table: join(sandbox.pins, 'other') } })).toThrow();
    expect(() => BpfObject.open(path, { reuseMaps: { table: other } })).toThrow();
    expect(() => BpfLink.fromPin(join(sandbox.pins, 'other'))).toThrow();
    expect(probeTcx()).toBe(true);
  }
  expect(openFdCount()).toBe(before);
  other.close();
});

test('a worker that ends while it reads a ring buffer harms nothing', async () => {
  const addon = new URL('../build/Release/weft_bpf.node', import.meta.url).pathname;
  for (let i = 0; i < 10; i++) {
    const worker = new Worker(
      `const native = require(${JSON.stringify(addon)});
       const fd = native.createMap(27, 'ring', 0, 0, 4096, 0);
       new native.RingBuffer(fd, () => {}, new Uint8Array(64), new Uint32Array(8));
       require('node:worker_threads').parentPort.postMessage(fd);`,
      { eval: true },
    );
    const fd = await new Promise<number>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    closeSync(fd);
  }
});
