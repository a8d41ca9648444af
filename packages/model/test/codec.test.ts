import { weft } from '@weft/proto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bindingCodec,
  type Change,
  changeCodec,
  envelopeCodec,
  hasCode,
  type Port,
  portCodec,
  principalCodec,
  type Request,
  recordCodec,
  requestCodec,
  responseCodec,
  type WeftRecord,
} from '../src/index.ts';
import { decodesOrRefuses } from './damage.ts';

const port: Port = {
  id: '0b8f5e0a-0000-4000-8000-000000000001',
  tenant: 'coke',
  network: 'net',
  routingDomainId: '0b8f5e0a-0000-4000-8000-00000000000a',
  subnet: 'front',
  vsid: 4096,
  name: 'web1',
  mac: '02:00:00:00:00:01',
  addresses: ['10.0.0.5'],
  placement: { mode: 'list', hosts: ['host-a'] },
};

const name = fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => !/\p{Surrogate}/u.test(text));
const u64 = fc.maxSafeNat();
const u32 = fc.nat({ max: 0xffff_ffff });
const placement = fc.record({ mode: fc.constantFrom('deny', 'any', 'list'), hosts: fc.array(name, { maxLength: 3 }) });
const portArbitrary: fc.Arbitrary<Port> = fc.record({
  id: name,
  tenant: name,
  network: name,
  routingDomainId: name,
  subnet: name,
  vsid: u32,
  name,
  mac: name,
  addresses: fc.array(name, { maxLength: 3 }),
  placement,
}) as fc.Arbitrary<Port>;
const recordArbitrary: fc.Arbitrary<WeftRecord> = fc.oneof(
  portArbitrary.map((value) => ({ kind: 'port', value }) as const),
  fc.record({ id: name, name }).map((value) => ({ kind: 'tenant', value }) as const),
  fc.record({ requestId: name, request: fc.uint8Array({ maxLength: 40 }) }).map((value) => ({ kind: 'intent', value }) as const),
  fc
    .record({
      id: name,
      tenant: name,
      name,
      networkId: u32,
      subnets: fc.array(fc.record({ name, vsid: u32, prefixes: fc.array(name), gateways: fc.array(name) }), { maxLength: 3 }),
      routes: fc.array(fc.record({ prefix: name, kind: fc.constantFrom('next-hop' as const, 'blackhole' as const), nextHop: name }), {
        maxLength: 3,
      }),
    })
    .map((value) => ({ kind: 'network', value }) as const),
);
const changeArbitrary: fc.Arbitrary<Change> = fc.record({
  bucket: fc.constantFrom('config', 'mapping', 'hosts'),
  key: name,
  tenant: name,
  replacesRevision: u64,
  operation: fc.constantFrom('put', 'delete'),
  before: fc.option(recordArbitrary, { nil: undefined }),
  after: fc.option(recordArbitrary, { nil: undefined }),
  authorKey: name,
  authorName: name,
  requestId: name,
  timeUnixMs: u64,
}) as fc.Arbitrary<Change>;

describe('codecs', () => {
  it('give back what they were given, for any change', () => {
    fc.assert(
      fc.property(changeArbitrary, (change) => {
        expect(changeCodec.decode(changeCodec.encode(change))).toEqual(change);
      }),
    );
  });

  it('never throw anything but WEFT_ERR_MODEL_DECODE on any bytes', () => {
    const codecs = [changeCodec, requestCodec, responseCodec, envelopeCodec, recordCodec];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: codecs.length - 1 }), (bytes, i) => {
        try {
          codecs[i]!.decode(bytes);
        } catch (error) {
          expect(hasCode(error, 'WEFT_ERR_MODEL_DECODE'), String(error)).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('never throw anything but WEFT_ERR_MODEL_DECODE on every truncation and every changed byte of a change', () => {
    const whole = changeCodec.encode({
      bucket: 'config',
      key: 'port.x',
      tenant: 'coke',
      replacesRevision: 3,
      operation: 'put',
      before: undefined,
      after: { kind: 'port', value: port },
      authorKey: 'U',
      authorName: 'alice',
      requestId: 'r',
      timeUnixMs: 1,
    });
    decodesOrRefuses(changeCodec, whole);
  });

  it('refuse numbers that their field would wrap or lose', () => {
    for (const vsid of [2 ** 32, -1, 1.5, Number.NaN, 5n as unknown as number, '5' as unknown as number]) {
      expect(() => portCodec.encode({ ...port, vsid })).toThrow(/Cannot encode Port: vsid/);
    }
    const binding = {
      portId: 'p',
      routingDomainId: 'r',
      vsid: 4096,
      hostId: 'h',
      providerAddress: '192.0.2.1',
      generation: Number.MAX_SAFE_INTEGER,
      state: 'bound',
      device: 'tap0',
      deviceKind: 'tap',
      previousHostId: '',
      previousProviderAddress: '',
    } as const;
    expect(bindingCodec.decode(bindingCodec.encode(binding)).generation).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => bindingCodec.encode({ ...binding, generation: 2 ** 53 })).toThrow(/generation is 9007199254740992/);
    // On the wire such a number can stand; it is refused, not rounded.
    const wire = weft.v1.PortBinding.encode({
      ...binding,
      state: 1,
      deviceKind: 1,
      generation: { low: 0, high: 0x200000, unsigned: true } as never,
    }).finish();
    expect(() => bindingCodec.decode(wire)).toThrow(/generation is 9007199254740992/);
  });

  it('refuse unknown enum numbers and the zero of those whose zero denies', () => {
    const principal = (role: number): Uint8Array => weft.v1.Principal.encode({ key: 'U', name: 'x', role }).finish();
    expect(principalCodec.decode(principal(0)).role).toBe('deny');
    expect(() => principalCodec.decode(principal(17))).toThrow(/role has the unknown value 17/);
    expect(() => bindingCodec.decode(weft.v1.PortBinding.encode({ portId: 'p', state: 0, deviceKind: 1 }).finish())).toThrow(
      /state has the unknown value 0/,
    );
    expect(() => portCodec.decode(weft.v1.Port.encode({ id: 'p', placement: { mode: 9 as never } }).finish())).toThrow(
      /placement.mode has the unknown value 9/,
    );
  });

  it('read an absent placement as deny', () => {
    expect(portCodec.decode(weft.v1.Port.encode({ id: 'p' }).finish()).placement).toEqual({ mode: 'deny', hosts: [] });
  });

  it('copy the bytes they keep, so that a reused buffer changes nothing', () => {
    const wire = Buffer.from(
      envelopeCodec.encode({ kind: 'change', signed: new Uint8Array([1, 2, 3]), keyId: 'U', signature: new Uint8Array([4]) }),
    );
    const envelope = envelopeCodec.decode(wire);
    wire.fill(0);
    expect([...envelope.signed, ...envelope.signature]).toEqual([1, 2, 3, 4]);
  });

  it('encode to bytes of their own, not to a part of a pool', () => {
    const bytes = portCodec.encode(port);
    expect(Buffer.isBuffer(bytes)).toBe(false);
    expect(bytes.buffer.byteLength).toBe(bytes.length);
  });

  it('refuse a request without a command, and one whose command this version does not know', () => {
    const request: Request = { requestId: 'request-1', timeUnixMs: 1, target: 'controller', command: { kind: 'status', value: {} } };
    expect(requestCodec.decode(requestCodec.encode(request))).toEqual(request);
    expect(() => requestCodec.decode(weft.v1.Request.encode({ requestId: 'request-1' }).finish())).toThrow(/command is absent/);
    // field 99, length-delimited, empty
    expect(() => requestCodec.decode(new Uint8Array([0x9a, 0x06, 0x00]))).toThrow(/command is absent/);
  });
});
