import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkInterfaceName } from '../src/names.ts';

test('checkInterfaceName() takes 1 to 15 bytes', () => {
  for (const name of ['a', 'tap-1234567890a', 'tap0.100', 'ü'.repeat(7)]) expect(() => checkInterfaceName(name)).not.toThrow();
  for (const name of ['', 'tap-1234567890ab', 'ü'.repeat(8)]) {
    expect(() => checkInterfaceName(name)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_BAD_NAME' }));
  }
});

test('checkInterfaceName() refuses what the kernel refuses or would rewrite', () => {
  for (const name of ['.', '..', 'a/b', 'a b', 'a\tb', 'a:1', 'tap%d', 'a\0b']) {
    expect(() => checkInterfaceName(name)).toThrow(/Cannot use interface name/);
  }
});

test('checkInterfaceName() never lets 16 bytes or a slash through', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 24 }), (name) => {
      let accepted = true;
      try {
        checkInterfaceName(name);
      } catch {
        accepted = false;
      }
      if (accepted) {
        expect(Buffer.byteLength(name)).toBeLessThan(16);
        expect(name).not.toMatch(/[/\s:%]/);
      }
    }),
  );
});
