import { join } from 'node:path';
import { openTap, type TapDevice } from '@weft/tuntap';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BpfLink, BpfMap, BpfObject, type BpfProgram, detachClsact, probeFeatures, probeTcx, queryClsact } from '../src/index.ts';
import { configured, context } from './programs.ts';
import { readU64, Sandbox } from './sandbox.ts';

//   test ── TAP ──▶ tap0 [tcx or clsact ingress: counts] ──▶ stack of the namespace, which drops the frame

let sandbox: Sandbox;
let tap: TapDevice;
let echo: BpfObject;
let counting: BpfObject;
let replacement: BpfObject;
beforeAll(() => {
  sandbox = new Sandbox();
  tap = sandbox.run(() => openTap({ name: 'tap0' }));
  sandbox.ip('link', 'set', 'tap0', 'up');
  sandbox.ip('link', 'set', 'lo', 'up');
  echo = BpfObject.open(sandbox.compile('context', context)).load();
  const path = sandbox.compile('configured', configured);
  // 2 is TC_ACT_SHOT, -1 TC_ACT_UNSPEC: go on with the next program.
  counting = BpfObject.open(path, { rodata: { answer: 2 } }).load();
  replacement = BpfObject.open(path, { rodata: { answer: -1 } }).load();
});
afterAll(() => {
  for (const object of [echo, counting, replacement]) object.close();
  tap.close();
  sandbox.remove();
});

const frame = new Uint8Array(64).fill(0xff);
const countOf = (object: BpfObject): bigint => readU64(object.map('counters').lookup(new Uint8Array(4))!);
/** How often `object`'s program ran for three frames. */
function runsFor(object: BpfObject): number {
  const before = countOf(object);
  tap.writeBatch([frame, frame, frame]);
  return Number(countOf(object) - before);
}

describe('testRun()', () => {
  test('passes data and context in and out', () => {
    const { retval, data, ctx, durationNs } = echo.program('echo').testRun({
      data: frame,
      ctx: { mark: 41, priority: 6, gsoSize: 1400, gsoSegs: 3, wireLen: 64, tstamp: 5n, cb: [0, 0, 0, 0, 10] },
    });
    expect(retval).toBe(6);
    expect([data[0], data[1], data.byteLength]).toEqual([0xaa, 0xff, 64]);
    expect(ctx).toMatchObject({ mark: 42, priority: 6, gsoSize: 1400, gsoSegs: 3, tstamp: 5n, wireLen: 64 });
    expect(ctx.cb).toEqual([1, 0, 1400, 3, 11]);
    expect(durationNs).toBeGreaterThan(0);
    // The input is not touched.
    expect(frame[0]).toBe(0xff);
  });

  test('takes interfaces of the namespace it is called in', () => {
    const { ctx } = sandbox.run(() =>
      echo.program('echo').testRun({ data: frame, ctx: { ifindex: tap.ifindex, ingressIfindex: tap.ifindex } }),
    );
    expect(ctx.cb.slice(0, 2)).toEqual([tap.ifindex, tap.ifindex]);
  });

  test('returns frames that grew', () => {
    const { data } = echo.program('grow').testRun({ data: frame, dataOutBytes: 164 });
    expect(data.byteLength).toBe(164);
    expect(() => echo.program('grow').testRun({ data: frame, dataOutBytes: 100 })).toThrow(/set dataOutBytes/);
  });

  test('runs XDP programs', () => {
    expect(echo.program('pass').testRun({ data: frame })).toMatchObject({ retval: 2 });
  });

  test.each([0, 5, 13, 5000, 70_000])('refuses a frame of %i bytes', (size) => {
    expect(() => echo.program('echo').testRun({ data: new Uint8Array(size) })).toThrow(
      expect.objectContaining({ code: 'WEFT_ERR_BPF_TEST_RUN_REFUSED' }),
    );
  });

  test('refuses an unknown interface and impossible fields', () => {
    expect(() => echo.program('echo').testRun({ data: frame, ctx: { ifindex: 999_999 } })).toThrow(
      expect.objectContaining({ name: 'BpfError' }),
    );
    expect(() => echo.program('echo').testRun({ data: frame, ctx: { protocol: 8 } as object })).toThrow(
      /Cannot set protocol of a test context/,
    );
    expect(() => echo.program('echo').testRun({ data: frame, ctx: { gsoSegs: 3_000_000_000 } })).toThrow(
      expect.objectContaining({ name: 'BpfError' }),
    );
  });
});

describe('attachTcx()', () => {
  let program: BpfProgram;
  beforeAll(() => {
    program = counting.program('first');
  });

  test('runs the program on frames until close()', () => {
    expect(runsFor(counting)).toBe(0);
    const link = sandbox.run(() => program.attachTcx(tap.ifindex, 'ingress'));
    expect(link.info()).toMatchObject({ type: 'tcx', programId: program.info().id, ifindex: tap.ifindex, direction: 'ingress' });
    expect(runsFor(counting)).toBe(3);
    link.close();
    link.close();
    expect(runsFor(counting)).toBe(0);
    expect(() => link.info()).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_CLOSED' }));
  });

  test('replaces the program in one step', () => {
    const link = sandbox.run(() => program.attachTcx(tap.ifindex, 'ingress'));
    const { id } = link.info();
    link.update(replacement.program('first'));
    expect(link.info()).toMatchObject({ id, programId: replacement.program('first').info().id });
    expect([runsFor(counting), runsFor(replacement)]).toEqual([0, 3]);
    expect(() => link.update(echo.program('pass'))).toThrow(expect.objectContaining({ name: 'BpfError' }));
    link.close();
  });

  test('stays by its pin, and can be taken up again', () => {
    const pin = join(sandbox.pins, 'link');
    const link = sandbox.run(() => program.attachTcx(tap.ifindex, 'ingress'));
    link.pin(pin);
    link.close();
    expect(runsFor(counting)).toBe(3);
    const again = BpfLink.fromPin(pin);
    again.detach();
    expect(again.info()).toMatchObject({ type: 'tcx', ifindex: 0 });
    expect(runsFor(counting)).toBe(0);
    again.close();
    expect(() => BpfMap.fromPin(pin)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_PIN_KIND' }));
  });

  test('orders programs', () => {
    const links = sandbox.run(() => [
      program.attachTcx(tap.ifindex, 'ingress'),
      // It says "next", so both run only if it is before the one that drops.
      replacement.program('first').attachTcx(tap.ifindex, 'ingress', { position: 'first' }),
    ]);
    expect([runsFor(replacement), runsFor(counting)]).toEqual([3, 3]);
    for (const link of links) link.close();
    const reversed = sandbox.run(() => [
      program.attachTcx(tap.ifindex, 'ingress'),
      replacement.program('first').attachTcx(tap.ifindex, 'ingress', { position: 'last' }),
    ]);
    expect([runsFor(replacement), runsFor(counting)]).toEqual([0, 3]);
    for (const link of reversed) link.close();
  });

  test('refuses an interface that is not there', () => {
    expect(() => program.attachTcx(999_999, 'egress')).toThrow(
      expect.objectContaining({ code: 'WEFT_ERR_BPF_NOT_FOUND', errnoName: 'ENODEV' }),
    );
  });
});

test('attachClsact() runs the program until detachClsact(), and replaces', () => {
  sandbox.run(() => {
    expect(queryClsact(tap.ifindex, 'ingress')).toBeUndefined();
    expect(detachClsact(tap.ifindex, 'ingress')).toBe(false);
    counting.program('first').attachClsact(tap.ifindex, 'ingress');
    expect(queryClsact(tap.ifindex, 'ingress')).toBe(counting.program('first').info().id);
    expect(queryClsact(tap.ifindex, 'egress')).toBeUndefined();
    expect(runsFor(counting)).toBe(3);
    replacement.program('first').attachClsact(tap.ifindex, 'ingress');
    expect([runsFor(counting), runsFor(replacement)]).toEqual([0, 3]);
    counting.program('first').attachClsact(tap.ifindex, 'ingress', { handle: 2, priority: 7 });
    expect([runsFor(counting), runsFor(replacement)]).toEqual([3, 3]);
    expect(detachClsact(tap.ifindex, 'ingress')).toBe(true);
    expect(detachClsact(tap.ifindex, 'ingress')).toBe(false);
    expect(detachClsact(tap.ifindex, 'ingress', { handle: 2, priority: 7 })).toBe(true);
    expect(runsFor(counting)).toBe(0);
    expect(() => counting.program('first').attachClsact(999_999, 'ingress')).toThrow(expect.objectContaining({ name: 'BpfError' }));
  });
});

test('probes tell what the kernel did above', () => {
  const features = probeFeatures();
  expect(features.tcx).toBe(probeTcx());
  expect(features.kernelVersion[0]).toBeGreaterThanOrEqual(5);
  expect(features.kernelRelease).toMatch(new RegExp(`^${features.kernelVersion.join('\\.')}`));
  // tcx came with 6.6.
  expect(features.tcx).toBe(features.kernelVersion[0] > 6 || (features.kernelVersion[0] === 6 && features.kernelVersion[1] >= 6));
});
