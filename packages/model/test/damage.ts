import { expect } from 'vitest';
import { hasCode, type Message } from '../src/index.ts';

/** Every truncation, and every byte changed three ways: a value, or the named error. */
export function decodesOrRefuses(codec: Pick<Message<unknown>, 'decode'>, whole: Uint8Array): void {
  const judge = (bytes: Uint8Array): void => {
    try {
      codec.decode(bytes);
    } catch (error) {
      expect(hasCode(error, 'WEFT_ERR_MODEL_DECODE'), String(error)).toBe(true);
    }
  };
  for (let length = 0; length < whole.length; length++) judge(whole.subarray(0, length));
  for (let at = 0; at < whole.length; at++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const mutated = whole.slice();
      mutated[at]! ^= flip;
      judge(mutated);
    }
  }
}
