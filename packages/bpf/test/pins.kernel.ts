import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BpfLink, BpfMap, BpfObject, BpfProgram, createMap, isBpffs, mountBpffs, unmountBpffs } from '../src/index.ts';
import { configured, reporting } from './programs.ts';
import { readU64, Sandbox, u64 } from './sandbox.ts';

let sandbox: Sandbox;
let path: string;
beforeAll(() => {
  sandbox = new Sandbox();
  path = sandbox.compile('configured', configured);
});
afterAll(() => sandbox.remove());

const frame = new Uint8Array(64);

describe('pinMapsUnder', () => {
  test('makes pins at the first load and shares maps from the second on', () => {
    const pinMapsUnder = join(sandbox.pins, 'shared', 'v1');
    const first = BpfObject.open(path, { pinMapsUnder }).load();
    expect(existsSync(join(pinMapsUnder, 'table'))).toBe(true);
    expect(existsSync(join(pinMapsUnder, '.rodata'))).toBe(false);
    first.program('first').testRun({ data: frame, repeat: 3 });
    const id = first.map('counters').id;
    first.close();

    const second = BpfObject.open(path, { pinMapsUnder }).load();
    expect(second.map('counters').id).toBe(id);
    second.program('first').testRun({ data: frame });
    expect(readU64(second.map('counters').lookup(new Uint8Array(4))!)).toBe(4n);
    second.close();
  });

  test('reuses a ring buffer whose size the kernel rounds', () => {
    const source = sandbox.compile('reporting', reporting.replace('65536', '5000'));
    const pinMapsUnder = join(sandbox.pins, 'rings');
    const first = BpfObject.open(source, { pinMapsUnder }).load();
    const { id, maxEntries } = first.map('ring');
    expect(maxEntries).toBe(8192);
    first.close();
    const second = BpfObject.open(source, { pinMapsUnder }).load();
    expect(second.map('ring').id).toBe(id);
    second.close();
  });

  test.each([
    ['type', { type: 'lru_hash' }],
    ['keySize', { keySize: 12 }],
    ['valueSize', { valueSize: 40 }],
    ['maxEntries', { maxEntries: 999 }],
    ['flags', { flags: 1 }],
  ] as const)('refuses a pin of another %s, and names it', (field, difference) => {
    const folder = join(sandbox.pins, `other_${field}`);
    const other = createMap({ name: 'other', type: 'hash', keySize: 8, valueSize: 32, maxEntries: 1000, flags: 0, ...difference });
    other.pin(join(folder, 'table'));
    other.close();
    const open = (): BpfObject => BpfObject.open(path, { pinMapsUnder: folder });
    expect(open).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_PIN_MISMATCH' }));
    expect(open).toThrow(new RegExp(`Cannot reuse ${folder}/table as map "table": ${field} is \\d+, must be \\d+; remove`));
  });

  test('refuses a pin of another kind', () => {
    const object = BpfObject.open(path).load();
    object.program('first').pin(join(sandbox.pins, 'program'));
    expect(() => BpfObject.open(path, { reuseMaps: { table: join(sandbox.pins, 'program') } })).toThrow(
      expect.objectContaining({ code: 'WEFT_ERR_BPF_PIN_KIND' }),
    );
    expect(() => BpfMap.fromPin(join(sandbox.pins, 'program'))).toThrow(/it is a prog/);
    object.close();
  });
});

describe('reuseMaps', () => {
  test('takes a map object', () => {
    const table = createMap({ name: 'mine', type: 'hash', keySize: 8, valueSize: 32, maxEntries: 1000 });
    const value = new Uint8Array(32);
    value.set(u64(77n));
    table.update(new Uint8Array(8), value);
    const object = BpfObject.open(path, { reuseMaps: { table } }).load();
    expect(object.program('second').testRun({ data: frame }).retval).toBe(77);
    object.close();
    expect(table.lookup(new Uint8Array(8))).toEqual(value);
    table.close();
  });

  test('takes a path, makes the pin that is missing, and overrides pinMapsUnder', () => {
    const [folder, elsewhere] = [join(sandbox.pins, 'folder'), join(sandbox.pins, 'elsewhere')];
    const object = BpfObject.open(path, { pinMapsUnder: folder, reuseMaps: { table: elsewhere } }).load();
    expect([existsSync(elsewhere), existsSync(join(folder, 'table')), existsSync(join(folder, 'counters'))]).toEqual([true, false, true]);
    object.close();
    const again = BpfMap.fromPin(elsewhere);
    expect(again).toMatchObject({ name: 'table', maxEntries: 1000 });
    again.close();
  });

  test('refuses a map object that does not match', () => {
    const table = createMap({ name: 'mine', type: 'hash', keySize: 4, valueSize: 32, maxEntries: 7 });
    expect(() => BpfObject.open(path, { reuseMaps: { table } })).toThrow(/keySize is 4, must be 8; maxEntries is 7, must be 1000/);
    table.close();
  });
});

test('load() closes the object when another process made the pin meanwhile', () => {
  const pinMapsUnder = join(sandbox.pins, 'race');
  const [winner, loser] = [BpfObject.open(path, { pinMapsUnder }), BpfObject.open(path, { pinMapsUnder })];
  winner.load();
  expect(() => loser.load()).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_EXISTS' }));
  expect(() => loser.map('table')).toThrow(/closed/);
  winner.close();
});

describe('pins', () => {
  test('outlive the process that made them', () => {
    const pin = join(sandbox.pins, 'child');
    const addon = new URL('../build/Release/weft_bpf.node', import.meta.url).pathname;
    execFileSync(process.execPath, [
      '-e',
      `const native = require(${JSON.stringify(addon)});
       const fd = native.createMap(2, 'child', 4, 8, 1, 0);
       native.mapUpdate(fd, new Uint8Array(4), new Uint8Array(8).fill(3), 0);
       native.pin(fd, ${JSON.stringify(pin)});`,
    ]);
    const map = BpfMap.fromPin(pin);
    expect(map.lookup(new Uint8Array(4))).toEqual(new Uint8Array(8).fill(3));
    expect(() => map.pin(pin)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_EXISTS' }));
    map.close();
  });

  test('are refused where they can not be', () => {
    const map = createMap({ name: 'map', type: 'array', keySize: 4, valueSize: 4, maxEntries: 1 });
    expect(() => map.pin(join(sandbox.files, 'map'))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_NO_BPFFS' }));
    expect(() => map.pin(join(sandbox.pins, 'a.b'))).toThrow(/must not contain "\."/);
    expect(() => map.pin(join(sandbox.pins, 'a.b', 'c'))).toThrow(/must not contain "\."/);
    map.close();
    expect(() => map.pin(join(sandbox.pins, 'late'))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_CLOSED' }));
  });

  test.each([
    ['BpfMap', BpfMap.fromPin],
    ['BpfProgram', BpfProgram.fromPin],
    ['BpfLink', BpfLink.fromPin],
  ])('%s.fromPin() says that there is none', (_, fromPin) => {
    expect(() => fromPin(join(sandbox.pins, 'none'))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_NOT_FOUND' }));
  });
});

test('mountBpffs() mounts once', () => {
  expect(isBpffs()).toBe(true);
  expect(mountBpffs()).toBe(false);
  const place = join(sandbox.files, 'bpf', 'fs');
  expect(isBpffs(place)).toBe(false);
  expect(mountBpffs(place)).toBe(true);
  try {
    expect(mountBpffs(place)).toBe(false);
    const map = createMap({ name: 'map', type: 'array', keySize: 4, valueSize: 4, maxEntries: 1 });
    map.pin(join(place, 'map'));
    map.close();
    BpfMap.fromPin(join(place, 'map')).close();
  } finally {
    unmountBpffs(place);
  }
  expect(() => mountBpffs('/proc/no/such')).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_NO_BPFFS' }));
});
