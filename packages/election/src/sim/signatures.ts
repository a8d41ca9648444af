import type { Signer, Verify } from '../statement.ts';

// Signatures for the simulator: a hash of key and statement. Nobody in it forges; what has to be found is a statement that differs from what was signed.

function hash(key: string, bytes: Uint8Array): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) h = Math.imul(h ^ key.charCodeAt(i), 0x01000193);
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
  return h >>> 0;
}
export function simSigner(key: string): Signer {
  return {
    sign: (statement) => {
      const h = hash(key, statement);
      return new Uint8Array([h >>> 24, h >>> 16, h >>> 8, h]);
    },
  };
}
export const simVerify: Verify = (key, statement, signature) => {
  const h = hash(key, statement);
  return (
    signature.length === 4 &&
    signature[0] === h >>> 24 &&
    signature[1] === ((h >>> 16) & 255) &&
    signature[2] === ((h >>> 8) & 255) &&
    signature[3] === (h & 255)
  );
};
