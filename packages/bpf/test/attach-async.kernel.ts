import { spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { openTap, type TapDevice } from '@weft/tuntap';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BpfLink, type BpfMap, BpfObject, type BpfProgram, type TcDirection, type TcxOptions } from '../src/index.ts';
import { configured } from './programs.ts';
import { openFdCount, readU64, Sandbox } from './sandbox.ts';

//   test ── TAP ──▶ tap0 [tcx ingress: counts, drops], attached by a thread of libuv's pool

const addon = fileURLToPath(new URL('../build/Release/weft_bpf.node', import.meta.url));
const ownNetns = '/proc/thread-self/ns/net';
const tcxIngress = 46;

let sandbox: Sandbox;
let tap: TapDevice;
let path: string;
let object: BpfObject;
let program: BpfProgram;
/** The kernel takes each program once at a place: several, for attaches at the same time. They let frames through to the next. */
let spares: BpfObject[];
beforeAll(() => {
  sandbox = new Sandbox();
  tap = sandbox.run(() => openTap({ name: 'tap0' }));
  sandbox.ip('link', 'set', 'tap0', 'up');
  path = sandbox.compile('configured', configured);
  object = BpfObject.open(path, { rodata: { answer: 2 } }).load();
  program = object.program('first');
  spares = Array.from({ length: 6 }, () => BpfObject.open(path, { rodata: { answer: -1 } }).load());
  spares.forEach((spare, i) => {
    spare.program('first').pin(join(sandbox.pins, `program-${i}`));
  });
});
afterAll(() => {
  for (const spare of spares) spare.close();
  object.close();
  tap.close();
  sandbox.remove();
});

const frame = new Uint8Array(64).fill(0xff);
/** Begins in the sandbox; what is waited for is not the namespace's matter. */
function attach(one: BpfProgram, direction: TcDirection, options: TcxOptions = {}): Promise<BpfLink> {
  return sandbox.run(() => ({ attaching: one.attachTcxAsync(tap.ifindex, direction, options) })).attaching;
}

/** How often the program that counts in `counters` runs for three frames. */
function runsFor(counters: BpfMap): number {
  const read = (): bigint => readU64(counters.lookup(new Uint8Array(4))!);
  const before = read();
  tap.writeBatch([frame, frame, frame]);
  return Number(read() - before);
}
const runs = (): number => runsFor(object.map('counters'));
const spareRuns = (): number[] => spares.map((spare) => runsFor(spare.map('counters')));
const idle = [0, 0, 0, 0, 0, 0];

/** Which network namespaces the pool's threads are in. */
async function poolNamespaces(): Promise<Set<string>> {
  return new Set(await Promise.all(Array.from({ length: 64 }, () => readlink(ownNetns))));
}

test("attaches in the caller's namespace, while the caller goes on, and leaves the pool's threads in theirs", async () => {
  let turns = 0;
  const clock = setInterval(() => turns++, 1);
  const attaching = attach(program, 'ingress');
  const link = await attaching;
  clearInterval(clock);
  expect(turns).toBeGreaterThan(0);
  expect(link.info()).toMatchObject({ type: 'tcx', programId: program.info().id, ifindex: tap.ifindex, direction: 'ingress' });
  expect(runs()).toBe(3);
  link.close();
  expect(runs()).toBe(0);
  await Promise.all(spares.map(async (spare) => (await attach(spare.program('first'), 'ingress')).close()));
  expect(await poolNamespaces()).toEqual(new Set([readlinkSync(ownNetns)]));
});

test('goes on when the program is closed meanwhile, and its number given away', async () => {
  const other = BpfObject.open(path, { rodata: { answer: 2 } }).load();
  const attaching = attach(other.program('first'), 'ingress');
  const { id } = other.program('first').info();
  other.close();
  // What is opened now gets the numbers that were freed.
  const squatters = Array.from({ length: 8 }, () => BpfObject.open(path).load());
  const link = await attaching;
  expect(link.info().programId).toBe(id);
  link.close();
  for (const squatter of squatters) squatter.close();
});

test('keeps the order that is asked for', async () => {
  const passing = BpfObject.open(path, { rodata: { answer: -1 } }).load();
  const first = await attach(program, 'ingress');
  const last = await attach(passing.program('first'), 'ingress', { position: 'last' });
  expect([runs(), runsFor(passing.map('counters'))]).toEqual([3, 0]);
  last.close();
  const ahead = await attach(passing.program('first'), 'ingress', { position: 'first' });
  expect([runs(), runsFor(passing.map('counters'))]).toEqual([3, 3]);
  for (const link of [first, ahead]) link.close();
  passing.close();
});

test('refuses as attachTcx() does', async () => {
  await expect(program.attachTcxAsync(999_999, 'ingress')).rejects.toMatchObject({
    name: 'BpfError',
    code: 'WEFT_ERR_BPF_NOT_FOUND',
    errnoName: 'ENODEV',
    syscall: 'BPF_LINK_CREATE',
    message: expect.stringContaining('Cannot attach program "first" to tcx ingress of interface 999999'),
  });
  const closed = BpfObject.open(path).load();
  const gone = closed.program('first');
  closed.close();
  await expect(gone.attachTcxAsync(tap.ifindex, 'ingress')).rejects.toMatchObject({ code: 'WEFT_ERR_BPF_CLOSED' });
});

test('10,000 cycles leave no descriptor', async () => {
  const refused = async (): Promise<void> => {
    const error = await program.attachTcxAsync(999_999, 'ingress').catch((reason: unknown) => reason);
    if (!(error instanceof Error)) throw new Error('attached to nothing');
  };
  // The kernel is quick to refuse; when it attaches, it waits.
  const attached = async (): Promise<void> => (await attach(program, 'egress')).close();
  await Promise.all([refused(), attached()]);
  const before = openFdCount();
  for (let i = 0; i < 100; i++) await Promise.all([attached(), ...Array.from({ length: 99 }, refused)]);
  expect(openFdCount()).toBe(before);
});

test('a process that ends meanwhile leaves nothing attached', () => {
  for (const ending of ['process.exit(0)', "process.kill(process.pid, 'SIGKILL')", 'undefined']) {
    const { stderr } = sandbox.run(() =>
      spawnSync(process.execPath, [
        '-e',
        `const native = require(${JSON.stringify(addon)});
         for (let i = 0; i < 6; i++)
           native.createLinkAsync(native.openPin(${JSON.stringify(join(sandbox.pins, 'program-'))} + i).fd, ${tap.ifindex}, ${tcxIngress}, 0);
         ${ending};`,
      ]),
    );
    expect(stderr.toString()).toBe('');
    expect(spareRuns()).toEqual(idle);
  }
});

test('a worker that ends meanwhile leaves nothing attached, and no descriptor', async () => {
  const script = `const native = require(${JSON.stringify(addon)});
    const { parentPort, workerData } = require('node:worker_threads');
    for (const fd of workerData) native.createLinkAsync(fd, ${tap.ifindex}, ${tcxIngress}, 0);
    parentPort.postMessage('begun');
    setInterval(() => {}, 1000);`;
  // Threads are in the namespace of whoever makes them.
  const once = async (): Promise<void> => {
    const worker = sandbox.run(() => new Worker(script, { eval: true, workerData: spares.map((spare) => spare.program('first').fd) }));
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
  };
  await once();
  const before = openFdCount();
  for (let i = 0; i < 5; i++) await once();
  expect(openFdCount()).toBe(before);
  expect(spareRuns()).toEqual(idle);
});
