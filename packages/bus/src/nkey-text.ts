// The text of NATS nkeys, and no arithmetic: a prefix, 32 bytes and a checksum in base32 (RFC 4648 section 6, without padding).
//
//   public key   1 byte role                        │ 32 bytes key  │ CRC-16, low byte first     56 letters
//   seed         2 bytes: 5 bits "seed", 8 bits role │ 32 bytes seed │ CRC-16, low byte first     58 letters
//
// The checksum is CRC-16/XMODEM (polynomial 0x1021, from 0) over what stands before it. The last letter of a seed has two bits too many: they are 0.

/** The role bytes Weft uses: their upper five bits are the text's first letter. */
export const NkeyRole = { user: 0xa0, host: 0x68, controller: 0x10 } as const;
export type NkeyRole = (typeof NkeyRole)[keyof typeof NkeyRole];

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const SEED = 18 << 3;
const KEY_BYTES = 32;
const ROLES: ReadonlySet<number> = new Set(Object.values(NkeyRole));
const isRole = (byte: number): byte is NkeyRole => ROLES.has(byte);

/** @param key 32 bytes of an Ed25519 public key. */
export function encodePublicKey(role: NkeyRole, key: Uint8Array): string {
  return encode([role], key);
}

/** @returns The 32 bytes; undefined for a text that is no public key of a role Weft uses. */
export function decodePublicKey(text: string): Uint8Array | undefined {
  const bytes = decode(text);
  return bytes?.length === 1 + KEY_BYTES && isRole(bytes[0]!) ? bytes.subarray(1) : undefined;
}

/** @param seed 32 bytes of an Ed25519 private key (RFC 8032 section 5.1.5). */
export function encodeSeed(role: NkeyRole, seed: Uint8Array): string {
  return encode([SEED | (role >>> 5), (role & 31) << 3], seed);
}

/** @returns The role and the 32 bytes; undefined for a text that is no seed of a role Weft uses. */
export function decodeSeed(text: string): { readonly role: NkeyRole; readonly seed: Uint8Array } | undefined {
  const bytes = decode(text);
  if (bytes?.length !== 2 + KEY_BYTES) return undefined;
  const [first, second] = bytes as unknown as [number, number];
  const role = ((first & 7) << 5) | (second >>> 3);
  return (first & ~7) === SEED && (second & 7) === 0 && isRole(role) ? { role, seed: bytes.subarray(2) } : undefined;
}

function encode(prefix: readonly number[], key: Uint8Array): string {
  if (key.length !== KEY_BYTES) throw new RangeError(`Cannot write an nkey of ${key.length} bytes: must be ${KEY_BYTES}`);
  const body = Uint8Array.of(...prefix, ...key);
  const sum = crc16(body);
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of [...body, sum & 0xff, sum >>> 8]) {
    value = ((value << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += LETTERS[(value >>> bits) & 31];
    }
  }
  return bits === 0 ? text : text + LETTERS[(value << (5 - bits)) & 31];
}

/** What stands before the checksum; undefined when a letter, the rest bits or the checksum are wrong. A fresh buffer. */
function decode(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array((text.length * 5) >>> 3);
  if (bytes.length < 2 || Math.ceil((bytes.length * 8) / 5) !== text.length) return undefined;
  let bits = 0;
  let value = 0;
  let at = 0;
  for (const letter of text) {
    const five = LETTERS.indexOf(letter);
    if (five < 0) return undefined;
    value = ((value << 5) | five) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = value >>> bits;
    }
  }
  if ((value & ((1 << bits) - 1)) !== 0) return undefined;
  const body = bytes.subarray(0, -2);
  return crc16(body) === (bytes.at(-2)! | (bytes.at(-1)! << 8)) ? body : undefined;
}

function crc16(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) sum = (sum & 0x8000) !== 0 ? ((sum << 1) ^ 0x1021) & 0xffff : sum << 1;
  }
  return sum;
}
