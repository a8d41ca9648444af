import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { chmodSync, closeSync, fsyncSync, openSync, readFileSync, renameSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { WeftError } from '@weft/model';
import { decodePublicKey, decodeSeed, encodePublicKey, encodeSeed, NkeyRole } from './nkey-text.ts';

// Keys are NATS nkeys (so the same key can log in to NATS), the arithmetic is node:crypto's: OpenSSL derives and signs in about 30 µs,
// the JavaScript of NATS's own package needs milliseconds for a signature and tens of them for a public key.

/** What a key is for. Only the first letter of its text follows from it; what a key may do stands in principal records. */
export type IdentityKind = 'user' | 'host' | 'controller';

/** An Ed25519 key pair. */
export interface Identity {
  /** Public nkey: `U…` user, `N…` host, `C…` controller. */
  readonly publicKey: string;
  /** Ed25519 signature (64 bytes) of exactly these bytes. */
  sign(bytes: Uint8Array): Uint8Array;
  /** The seed as text. Secret: for files and for NATS log-in only. */
  seed(): string;
}

/** DER of an Ed25519 key up to its 32 bytes (RFC 8410 sections 4 and 7). */
const SPKI_HEADER = Buffer.from('302a300506032b6570032100', 'hex');
const PKCS8_HEADER = Buffer.from('302e020100300506032b657004220420', 'hex');

export function createIdentity(kind: IdentityKind): Identity {
  return identityFromSeed(encodeSeed(NkeyRole[kind], randomBytes(32)));
}

/** @throws {WeftError} `WEFT_ERR_IDENTITY_FILE` if the text is no user, host or controller seed. */
export function identityFromSeed(seedText: string): Identity {
  const text = seedText.trim();
  const decoded = decodeSeed(text);
  if (decoded === undefined) {
    throw new WeftError(
      'WEFT_ERR_IDENTITY_FILE',
      'Cannot read an nkey seed: must be that of a user, host or controller key (SU…, SN… or SC…), whole',
    );
  }
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_HEADER, decoded.seed]), format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return {
    publicKey: encodePublicKey(decoded.role, spki.subarray(SPKI_HEADER.length)),
    sign: (bytes) => new Uint8Array(sign(null, bytes, key)),
    seed: () => text,
  };
}

/**
 * Reads an identity from a seed file.
 * @throws {WeftError} `WEFT_ERR_IDENTITY_FILE` when it is absent, not a seed, or readable for group or others.
 */
export function loadIdentity(path: string): Identity {
  let text: string;
  try {
    const mode = statSync(path).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      throw new WeftError(
        'WEFT_ERR_IDENTITY_FILE',
        `Cannot use the seed file ${path}: its mode is ${mode.toString(8)}, must be 600 or less; chmod 600 it, and make a new key if others may have read it`,
        { path },
      );
    }
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof WeftError) throw error;
    throw new WeftError(
      'WEFT_ERR_IDENTITY_FILE',
      `Cannot read the seed file ${path}: ${(error as Error).message}`,
      { path },
      { cause: error },
    );
  }
  return identityFromSeed(text);
}

/** Writes the seed with mode 0600; whole or not at all. Replaces what is there. */
export function saveIdentity(path: string, identity: Identity): void {
  const draft = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(draft, 'wx', 0o600);
    try {
      writeSync(file, `${identity.seed()}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    chmodSync(draft, 0o600);
    renameSync(draft, path);
  } catch (error) {
    try {
      unlinkSync(draft);
    } catch {
      // It was never made; the first error tells.
    }
    throw new WeftError(
      'WEFT_ERR_IDENTITY_FILE',
      `Cannot write the seed file ${path}: ${(error as Error).message}`,
      { path },
      { cause: error },
    );
  }
}

/** Loads the identity of a file, or makes one and saves it there. */
export function loadOrCreateIdentity(path: string, kind: IdentityKind): Identity {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return loadIdentity(path);
  const identity = createIdentity(kind);
  saveIdentity(path, identity);
  return identity;
}

/** True if the text is a public key that Weft uses, with a right checksum. */
export function isPublicKey(text: string): boolean {
  return publicKeyObject(text) !== undefined;
}

/** Verifies an Ed25519 signature. False for an unreadable key too: never throws on what others sent. */
export function verifySignature(publicKey: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  const key = publicKeyObject(publicKey);
  return key !== undefined && signature.length === 64 && verify(null, bytes, key, signature);
}

// An installation has few keys and many signatures; strangers' keys must not fill the memory.
const KEY_CACHE_SIZE = 4096;
const keyCache = new Map<string, KeyObject>();

function publicKeyObject(text: string): KeyObject | undefined {
  const cached = keyCache.get(text);
  if (cached !== undefined) return cached;
  const raw = decodePublicKey(text);
  if (raw === undefined) return undefined;
  const key = createPublicKey({ key: Buffer.concat([SPKI_HEADER, raw]), format: 'der', type: 'spki' });
  if (keyCache.size >= KEY_CACHE_SIZE) keyCache.clear();
  keyCache.set(text, key);
  return key;
}
