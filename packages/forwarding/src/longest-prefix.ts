import { ipKey } from '@weft/packet';

interface OneLength<V> {
  readonly prefixLength: number;
  readonly values: Map<string, V>;
}

/**
 * Longest prefixes per number (a network or a segment): number -> prefix lengths, longest first; per length: `ipKey(masked prefix)` -> value.
 */
export class LongestPrefixes<V> {
  readonly #lengths = new Map<number, OneLength<V>[]>();

  find(id: number, address: Uint8Array): V | undefined {
    const lengths = this.#lengths.get(id);
    if (lengths === undefined) return undefined;
    for (const { prefixLength, values } of lengths) {
      const found = values.get(prefixKey(address, prefixLength));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Sets a value, or removes it if undefined. */
  set(id: number, prefix: Uint8Array, prefixLength: number, value: V | undefined): void {
    const lengths = this.#lengths.get(id) ?? [];
    let one = lengths.find((candidate) => candidate.prefixLength === prefixLength);
    if (value === undefined) {
      one?.values.delete(prefixKey(prefix, prefixLength));
      const kept = lengths.filter(({ values }) => values.size > 0);
      if (kept.length > 0) this.#lengths.set(id, kept);
      else this.#lengths.delete(id);
      return;
    }
    if (one === undefined) {
      one = { prefixLength, values: new Map() };
      lengths.push(one);
      lengths.sort((a, b) => b.prefixLength - a.prefixLength);
      this.#lengths.set(id, lengths);
    }
    one.values.set(prefixKey(prefix, prefixLength), value);
  }
}

const maskBuffer = new Uint8Array(16);

function prefixKey(address: Uint8Array, prefixLength: number): string {
  return ipKey(maskPrefix(address, prefixLength, maskBuffer));
}

/** The address with the bits after the prefix zero: they take no part in a row's identity, as in the kernel's trie. */
export function maskPrefix(address: Uint8Array, prefixLength: number, target: Uint8Array = new Uint8Array(16)): Uint8Array {
  for (let i = 0; i < 16; i++) {
    const bits = prefixLength - i * 8;
    target[i] = bits >= 8 ? address[i]! : bits <= 0 ? 0 : address[i]! & (0xff00 >> bits);
  }
  return target;
}
