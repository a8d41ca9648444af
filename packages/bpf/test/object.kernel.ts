import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BpfError, BpfObject, type BpfObjectOptions, createMap } from '../src/index.ts';
import { cbOffset, skBuffSize, u32Offsets, u64Offsets } from '../src/sk-buff.ts';
import { configured, unsafe } from './programs.ts';
import { readU64, Sandbox } from './sandbox.ts';

let sandbox: Sandbox;
let path: string;
beforeAll(() => {
  sandbox = new Sandbox();
  path = sandbox.compile('configured', configured);
});
afterAll(() => sandbox.remove());

const frame = new Uint8Array(64);
function loaded<T>(options: BpfObjectOptions, use: (object: BpfObject) => T): T {
  const object = BpfObject.open(path, options).load();
  try {
    return use(object);
  } finally {
    object.close();
  }
}

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof BpfError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}

describe('BpfObject.open()', () => {
  test('takes a path or bytes', () => {
    expect(loaded({}, (object) => object.program('first').testRun({ data: frame }).retval)).toBe(7);
    const object = BpfObject.open(new Uint8Array(readFileSync(path))).load();
    expect(object.program('first').testRun({ data: frame }).retval).toBe(7);
    object.close();
  });

  test('sets constants by name, of every width', () => {
    const address = new Uint8Array(16).fill(9);
    const { retval, ctx } = loaded({ rodata: { answer: -5, port: 4789, flag: true, wide: 0x1234n << 32n, address } }, (object) =>
      object.program('first').testRun({ data: frame }),
    );
    expect(retval).toBe(-5);
    expect(ctx.cb).toEqual([4789, 1, 9, 0x1234, 0]);
  });

  test('lists variables, maps and programs', () => {
    const object = BpfObject.open(path);
    expect(object.programNames()).toEqual(['first', 'second']);
    expect(object.mapNames().sort()).toEqual(['counters', 'table']);
    expect(object.variables()).toContainEqual(expect.objectContaining({ section: '.rodata', name: 'port', size: 2 }));
    expect(object.variables()).toContainEqual({ section: '.bss', name: 'runs', offset: 0, size: 4 });
    object.close();
  });

  test.each<[string, () => unknown, string]>([
    ['a missing file', () => BpfObject.open('/nowhere/none.bpf.o'), 'WEFT_ERR_BPF_NOT_FOUND'],
    ['bytes that are no ELF file', () => BpfObject.open(new Uint8Array(100)), 'WEFT_ERR_BPF_BAD_OBJECT'],
    ['no bytes', () => BpfObject.open(new Uint8Array()), 'WEFT_ERR_BPF_BAD_OBJECT'],
    ['an unknown variable', () => BpfObject.open(path, { rodata: { nope: 1 } }), 'WEFT_ERR_BPF_NOT_FOUND'],
    ['a number too large', () => BpfObject.open(path, { rodata: { port: 65536 } }), 'WEFT_ERR_BPF_BAD_ARGUMENT'],
    ['bytes of the wrong size', () => BpfObject.open(path, { rodata: { address: frame } }), 'WEFT_ERR_BPF_BAD_ARGUMENT'],
    ['a number for an array', () => BpfObject.open(path, { rodata: { address: 1 } }), 'WEFT_ERR_BPF_BAD_ARGUMENT'],
    ['an unknown map', () => BpfObject.open(path, { maxEntries: { nope: 1 } }), 'WEFT_ERR_BPF_NOT_FOUND'],
    ['an unknown program', () => BpfObject.open(path, { programs: ['nope'] }), 'WEFT_ERR_BPF_NOT_FOUND'],
  ])('refuses %s', (_, call, code) => expect(codeOf(call)).toBe(code));

  test('survives truncated and corrupted objects', () => {
    const whole = new Uint8Array(readFileSync(path));
    for (let size = 0; size < whole.length; size += 97)
      expect(codeOf(() => BpfObject.open(whole.subarray(0, size)))).not.toBe('nothing thrown');
  });
});

describe('load()', () => {
  test('loads the chosen programs only', () => {
    loaded({ programs: ['second'] }, (object) => {
      expect(object.program('second').testRun({ data: frame }).retval).toBe(-1);
      expect(codeOf(() => object.program('first'))).toBe('WEFT_ERR_BPF_CLOSED');
    });
  });

  test('sizes maps', () => {
    loaded({ maxEntries: { table: 5 } }, (object) => expect(object.map('table').maxEntries).toBe(5));
  });

  test('keeps the verifier log of a refused program', () => {
    const object = BpfObject.open(sandbox.compile('unsafe', unsafe));
    try {
      object.load();
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        name: 'BpfError',
        code: 'WEFT_ERR_BPF_VERIFIER_REJECTED',
        errnoName: 'EACCES',
        syscall: 'bpf_object__load',
      });
      expect((error as BpfError).message).toContain('R1 offset is outside of the packet');
      expect((error as BpfError).verifierLog).toMatch(
        /r0 = \*\(u8 \*\)\(r1 \+0\)[\s\S]*invalid access to packet[\s\S]*processed \d+ insns/,
      );
    }
    object.close();
    const fine = BpfObject.open(sandbox.compile('unsafe', unsafe), { programs: ['fine'], verifierLogLevel: 1 }).load();
    expect(fine.verifierLog).toMatch(/processed \d+ insns/);
    expect(fine.program('fine').info()).toMatchObject({ name: 'fine', type: 3 });
    fine.close();
  });

  test('happens once, before parts are taken, and not after close()', () => {
    const object = BpfObject.open(path);
    expect(codeOf(() => object.map('table'))).toBe('WEFT_ERR_BPF_CLOSED');
    object.load();
    expect(codeOf(() => object.load())).toBe('WEFT_ERR_BPF_CLOSED');
    expect(codeOf(() => object.map('nope'))).toBe('WEFT_ERR_BPF_NOT_FOUND');
    expect(codeOf(() => object.program('nope'))).toBe('WEFT_ERR_BPF_NOT_FOUND');
    const [map, program] = [object.map('table'), object.program('first')];
    expect(object.map('table')).toBe(map);
    object.close();
    object.close();
    expect(codeOf(() => map.lookup(new Uint8Array(8)))).toBe('WEFT_ERR_BPF_CLOSED');
    expect(codeOf(() => program.testRun({ data: frame }))).toBe('WEFT_ERR_BPF_CLOSED');
    expect(codeOf(() => object.variables())).toBe('WEFT_ERR_BPF_CLOSED');
  });

  test('gives out data sections as maps', () => {
    loaded({}, (object) => {
      object.program('first').testRun({ data: frame, repeat: 5 });
      expect(new DataView(object.map('.bss').lookup(new Uint8Array(4))!.buffer).getUint32(0, true)).toBe(5);
      expect(readU64(object.map('counters').lookup(new Uint8Array(4))!)).toBe(5n);
    });
  });
});

describe('keepPinnedSizes', () => {
  const under = (name: string, options: BpfObjectOptions = {}): BpfObjectOptions => ({
    pinMapsUnder: `${sandbox.pins}/${name}`,
    ...options,
  });
  const sizes = (options: BpfObjectOptions): number[] =>
    loaded(options, (object) => ['table', 'counters'].map((name) => object.map(name).maxEntries));

  test('takes the sizes of pinned maps, of those that are asked for too only if equal', () => {
    loaded(under('sizes', { maxEntries: { table: 10 } }), () => {});
    expect(codeOf(() => loaded(under('sizes'), () => {}))).toBe('WEFT_ERR_BPF_PIN_MISMATCH');
    expect(sizes(under('sizes', { keepPinnedSizes: true }))).toEqual([10, 8]);
    expect(sizes(under('sizes', { keepPinnedSizes: true, maxEntries: { table: 10 } }))).toEqual([10, 8]);
    const other = under('sizes', { keepPinnedSizes: true, maxEntries: { table: 20 } });
    expect(codeOf(() => loaded(other, () => {}))).toBe('WEFT_ERR_BPF_PIN_MISMATCH');
  });

  test('lets pins be that are no maps of the object', () => {
    createMap({ name: 'later', type: 'hash', keySize: 1, valueSize: 1, maxEntries: 3 }).pin(`${sandbox.pins}/strange/later`);
    expect(sizes(under('strange', { keepPinnedSizes: true }))).toEqual([1000, 8]);
    expect(readdirSync(`${sandbox.pins}/strange`).sort()).toEqual(['counters', 'later', 'table']);
  });
});

describe('structLayout()', () => {
  test('reads offsets and sizes from BTF', () => {
    const object = BpfObject.open(path);
    expect(object.structLayout('key')).toEqual({
      size: 8,
      fields: [
        { name: 'network', offset: 0, size: 4 },
        { name: 'port', offset: 4, size: 2 },
        { name: 'pad', offset: 6, size: 2 },
      ],
    });
    expect(object.structLayout('value')).toEqual({
      size: 32,
      fields: [
        { name: 'counter', offset: 0, size: 8 },
        { name: 'low', offset: 8, size: 4, bitOffset: 0, bitSize: 4 },
        { name: 'high', offset: 8, size: 4, bitOffset: 4, bitSize: 28 },
        { name: 'address', offset: 12, size: 16 },
        { name: 'first', offset: 28, size: 1 },
        { name: 'second', offset: 29, size: 1 },
      ],
    });
    expect(codeOf(() => object.structLayout('nope'))).toBe('WEFT_ERR_BPF_NOT_FOUND');
    object.close();
  });

  test('agrees with the test context of this package, offset by offset', () => {
    const object = BpfObject.open(path);
    const { size, fields } = object.structLayout('__sk_buff');
    object.close();
    const offsets = new Map(fields.map((field) => [field.name, field.offset]));
    expect(size).toBe(skBuffSize);
    expect(offsets.get('cb')).toBe(cbOffset);
    const toC = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    for (const [name, offset] of Object.entries({ ...u32Offsets, ...u64Offsets })) {
      expect([name, offsets.get(toC(name))]).toEqual([name, offset]);
    }
  });
});
