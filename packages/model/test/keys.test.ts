import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressToken, BUCKETS, configKey, eventSubject, hasCode, hostKey, keyFits, mappingKey, parseKey, subjects } from '../src/index.ts';

const rdid = '0b8f5e0a-0000-4000-8000-00000000000a';
const id = '0b8f5e0a-0000-4000-8000-000000000001';
const publicKey = `U${'A'.repeat(55)}`;

describe('keys', () => {
  it('carry ids, hex for addresses and MACs, and parse back', () => {
    expect(configKey.port(rdid, id)).toBe(`port.${rdid}.${id}`);
    expect(configKey.addressClaim(rdid, '10.0.0.5')).toBe(`claim.ca.${rdid}.00000000000000000000ffff0a000005`);
    expect(configKey.macClaim(4096, '02:00:00:00:00:ab')).toBe('claim.mac.4096.0200000000ab');
    expect(addressToken('2001:db8::1')).toBe('20010db8000000000000000000000001');
    expect(parseKey('config', configKey.port(rdid, id))).toEqual({ kind: 'port', routingDomainId: rdid, portId: id });
    expect(parseKey('config', configKey.network(rdid))).toEqual({ kind: 'network', routingDomainId: rdid });
    expect(parseKey('config', configKey.tenant(id))).toEqual({ kind: 'tenant', id });
    expect(parseKey('config', configKey.principal(publicKey))).toEqual({ kind: 'principal', publicKey });
    expect(parseKey('config', configKey.intent('request-1'))).toEqual({ kind: 'intent', requestId: 'request-1' });
    expect(parseKey('config', configKey.vsidClaim(4096))).toEqual({ kind: 'claim', what: 'vsid', tokens: ['4096'] });
    expect(parseKey('mapping', mappingKey(rdid, 4096, id))).toEqual({ kind: 'binding', routingDomainId: rdid, vsid: 4096, portId: id });
    expect(parseKey('hosts', hostKey('host-a'))).toEqual({ kind: 'host', hostId: 'host-a' });
  });

  it('are refused for anything but ids: no name, no wildcard, no dot of a tenant gets into a subject', () => {
    for (const text of ['coke', '>', '*', '', `${rdid}.x`, rdid.toUpperCase(), `{${rdid}}`, '../x']) {
      for (const make of [configKey.tenant, configKey.network, subjects.configEvents, subjects.mappingEvents]) {
        expect(() => make(text)).toThrow(/Cannot make a key of/);
      }
    }
    for (const text of ['Host', 'a.b', '-a', 'a-', '', 'x'.repeat(64), 'a b']) expect(() => subjects.host(text)).toThrow(/host id/);
    for (const vsid of [0, -1, 1.5, Number.NaN, 2 ** 32])
      expect(() => configKey.vsidClaim(vsid)).toThrow(/Cannot make a key of the number/);
    try {
      configKey.tenant('coke');
    } catch (error) {
      expect(hasCode(error, 'WEFT_ERR_MODEL_KEY')).toBe(true);
    }
  });

  it('that no record has are undefined, never a throw', () => {
    fc.assert(
      fc.property(fc.constantFrom(...BUCKETS), fc.string(), (bucket, key) => {
        const parsed = parseKey(bucket, key);
        expect(parsed === undefined || typeof parsed.kind === 'string').toBe(true);
        eventSubject(bucket, key);
      }),
    );
    for (const key of [
      'claim.constructor.x',
      'claim.vsid',
      'claim.vsid.0',
      `claim.ca.${rdid}.00`,
      'port.x.y',
      `network.${rdid}.x`,
      'toString.x',
    ]) {
      expect(parseKey('config', key), key).toBeUndefined();
    }
  });

  it('keyFits() refuses a record under the key of another', () => {
    const tenant = { kind: 'tenant', value: { id, name: 'coke' } } as const;
    expect(keyFits('config', configKey.tenant(id), tenant)).toBe(true);
    expect(keyFits('config', configKey.tenant(rdid), tenant)).toBe(false);
    expect(keyFits('config', configKey.network(id), tenant)).toBe(false);
    expect(keyFits('hosts', 'host-a', tenant)).toBe(false);
  });

  it('eventSubject() tells of claims and intents nobody', () => {
    expect(eventSubject('config', configKey.port(rdid, id))).toBe(`weft.v1.event.config.${rdid}`);
    expect(eventSubject('mapping', mappingKey(rdid, 4096, id))).toBe(`weft.v1.event.mapping.${rdid}`);
    expect(eventSubject('config', configKey.vsidClaim(4096))).toBeUndefined();
    expect(eventSubject('config', configKey.intent('request-1'))).toBeUndefined();
  });
});
