import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPair, fromPublic, fromSeed, Prefix } from '@nats-io/nkeys';
import { type EnvelopeKind, envelopeCodec, envelopeKindNumbers, hasCode } from '@weft/model';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  createIdentity,
  identityFromSeed,
  isPublicKey,
  loadIdentity,
  loadOrCreateIdentity,
  openEnvelope,
  saveIdentity,
  signEnvelope,
  verifySignature,
} from '../src/index.ts';
import { decodePublicKey, decodeSeed, encodePublicKey, encodeSeed, NkeyRole } from '../src/nkey-text.ts';

const dir = mkdtempSync(join(tmpdir(), 'weft-identity-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const refused = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'accepted';
};

describe('identity', () => {
  it('has the letter of its kind, and signs as nkeys does', () => {
    for (const [kind, letter] of [
      ['user', 'U'],
      ['host', 'N'],
      ['controller', 'C'],
    ] as const) {
      const identity = createIdentity(kind);
      expect(identity.publicKey[0]).toBe(letter);
      const theirs = fromSeed(bytes(identity.seed()));
      expect(theirs.getPublicKey()).toBe(identity.publicKey);
      expect(theirs.sign(bytes('x'))).toEqual(identity.sign(bytes('x')));
      expect(fromPublic(identity.publicKey).verify(bytes('x'), identity.sign(bytes('x')))).toBe(true);
      expect(verifySignature(identity.publicKey, bytes('x'), theirs.sign(bytes('x')))).toBe(true);
    }
  });

  it('of any seed is what nkeys makes of it', () => {
    const text = new TextDecoder();
    for (const prefix of [Prefix.User, Prefix.Server, Prefix.Cluster]) {
      for (let i = 0; i < 30; i++) {
        const theirs = createPair(prefix);
        const seed = text.decode(theirs.getSeed());
        const ours = identityFromSeed(seed);
        expect(ours.publicKey).toBe(theirs.getPublicKey());
        expect(ours.seed()).toBe(seed);
        expect(isPublicKey(ours.publicKey)).toBe(true);
      }
    }
    for (const prefix of [Prefix.Account, Prefix.Operator]) {
      const theirs = createPair(prefix);
      expect(refused(() => identityFromSeed(text.decode(theirs.getSeed())))).toBe('WEFT_ERR_IDENTITY_FILE');
      expect(isPublicKey(theirs.getPublicKey())).toBe(false);
    }
  });

  it("text is nkeys' for any 32 bytes, and is refused with any letter changed", () => {
    const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(bytes32, fc.constantFrom(...Object.values(NkeyRole)), (raw, role) => {
        const key = encodePublicKey(role, raw);
        const seed = encodeSeed(role, raw);
        const theirs = fromSeed(bytes(seed)) as ReturnType<typeof fromSeed> & { getRawSeed(): Uint8Array };
        expect(new Uint8Array(theirs.getRawSeed())).toEqual(raw);
        fromPublic(key);
        expect(decodePublicKey(key)).toEqual(raw);
        expect(decodeSeed(seed)).toEqual({ role, seed: raw });
        expect(decodePublicKey(seed)).toBeUndefined();
        expect(decodeSeed(key)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(bytes32, fc.nat({ max: 57 }), fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567a0='), (raw, at, letter) => {
        const seed = encodeSeed(NkeyRole.host, raw);
        const key = encodePublicKey(NkeyRole.host, raw);
        const change = (whole: string): string => whole.slice(0, at) + letter + whole.slice(at + 1);
        if (change(seed) !== seed) expect(decodeSeed(change(seed))).toBeUndefined();
        if (at < 56 && change(key) !== key) expect(decodePublicKey(change(key))).toBeUndefined();
        expect(decodeSeed(seed.slice(0, at))).toBeUndefined();
        expect(decodePublicKey(key.slice(0, Math.min(at, 55)))).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.string(), (noise) => {
        expect(decodeSeed(noise) ?? decodePublicKey(noise)).toBeUndefined();
      }),
    );
  });

  it('is kept in a file of mode 600, and refused from one that others may read', () => {
    const path = join(dir, 'a.nk');
    const identity = loadOrCreateIdentity(path, 'host');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(loadIdentity(path).publicKey).toBe(identity.publicKey);
    expect(loadOrCreateIdentity(path, 'host').publicKey).toBe(identity.publicKey);
    chmodSync(path, 0o640);
    expect(refused(() => loadIdentity(path))).toBe('WEFT_ERR_IDENTITY_FILE');
    expect(refused(() => loadIdentity(join(dir, 'absent')))).toBe('WEFT_ERR_IDENTITY_FILE');
    expect(refused(() => saveIdentity(join(dir, 'no', 'such', 'dir'), identity))).toBe('WEFT_ERR_IDENTITY_FILE');
    writeFileSync(join(dir, 'b.nk'), 'not a seed', { mode: 0o600 });
    expect(refused(() => loadIdentity(join(dir, 'b.nk')))).toBe('WEFT_ERR_IDENTITY_FILE');
    expect(refused(() => identityFromSeed(identity.publicKey))).toBe('WEFT_ERR_IDENTITY_FILE');
  });

  it('isPublicKey() refuses another letter, a wrong checksum and noise', () => {
    const { publicKey } = createIdentity('user');
    expect(isPublicKey(publicKey)).toBe(true);
    const other = publicKey[20] === 'A' ? 'B' : 'A';
    for (const text of [
      '',
      'U',
      publicKey.toLowerCase(),
      `A${publicKey.slice(1)}`,
      `${publicKey}A`,
      publicKey.slice(0, 20) + other + publicKey.slice(21),
    ])
      expect(isPublicKey(text), text).toBe(false);
    expect(verifySignature('nonsense', bytes('x'), new Uint8Array(64))).toBe(false);
  });
});

describe('envelope', () => {
  const identity = createIdentity('user');
  const payload = bytes('payload');

  it('opens as what it was signed as, and as nothing else', () => {
    const envelope = signEnvelope(identity, 'request', payload);
    expect(openEnvelope(envelope, 'request')).toEqual({ payload, signer: identity.publicKey });
    expect(refused(() => openEnvelope(envelope, 'change'))).toBe('WEFT_ERR_TRUST_SIGNATURE');
    // The same bytes and signature under another kind: the signature covers the kind.
    const relabelled = envelopeCodec.encode({ ...envelopeCodec.decode(envelope), kind: 'change' });
    expect(refused(() => openEnvelope(relabelled, 'change'))).toBe('WEFT_ERR_TRUST_SIGNATURE');
  });

  it('is written as the codec writes it, whatever the length', () => {
    const kinds = Object.keys(envelopeKindNumbers) as EnvelopeKind[];
    const around = [0x7f, 0x80, 0x3fff, 0x4000, 70_000];
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        fc.oneof(fc.nat({ max: 300 }), fc.constantFrom(...around)),
        fc.nat(255),
        (kind, length, fill) => {
          const signed = new Uint8Array(length).fill(fill);
          const envelope = signEnvelope(identity, kind, signed);
          const { signature } = envelopeCodec.decode(envelope);
          expect(Buffer.compare(envelope, envelopeCodec.encode({ kind, signed, keyId: identity.publicKey, signature }))).toBe(0);
          expect(openEnvelope(envelope, kind).payload).toHaveLength(length);
        },
      ),
    );
  });

  it('does not open with another key, payload or signature', () => {
    const whole = envelopeCodec.decode(signEnvelope(identity, 'change', payload));
    const stranger = createIdentity('user');
    for (const forged of [
      { ...whole, keyId: stranger.publicKey },
      { ...whole, keyId: '' },
      { ...whole, signed: bytes('payloae') },
      { ...whole, signature: whole.signature.slice(0, 63) },
      { ...whole, signature: new Uint8Array(0) },
      { ...whole, signature: stranger.sign(payload) },
      // Signed without the domain.
      { ...whole, signature: identity.sign(payload) },
    ]) {
      expect(refused(() => openEnvelope(envelopeCodec.encode(forged), 'change'))).toBe('WEFT_ERR_TRUST_SIGNATURE');
    }
  });

  it('with any byte changed is refused by name, never by a crash', () => {
    const envelope = signEnvelope(identity, 'change', payload);
    fc.assert(
      fc.property(fc.nat({ max: envelope.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = envelope.slice();
        changed[at]! ^= flip;
        try {
          // A changed byte outside of what is signed may leave the meaning as it was (an unknown field); never another payload.
          expect(openEnvelope(changed, 'change')).toEqual({ payload, signer: identity.publicKey });
        } catch (error) {
          expect(hasCode(error, 'WEFT_ERR_TRUST_SIGNATURE') || hasCode(error, 'WEFT_ERR_MODEL_DECODE'), String(error)).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
