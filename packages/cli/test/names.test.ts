import { describe, expect, it } from 'vitest';
import { parseDevice } from '../src/commands/port.ts';
import { chooseHost } from '../src/core/local-host.ts';
import { chooseLab } from '../src/lab/choose-lab.ts';
import { notFound } from '../src/resources/catalog.ts';
import { parseKind } from '../src/resources/kinds.ts';
import { formatReference, parseReference } from '../src/resources/reference.ts';

describe('parseKind()', () => {
  it.each([
    ['ports', 'Port'],
    ['port', 'Port'],
    ['net', 'VirtualNetwork'],
    ['VirtualSubnet', 'VirtualSubnet'],
    ['bindings', 'PortBinding'],
    ['HOSTS', 'Host'],
  ])('%s is %s', (word, kind) => expect(parseKind(word)).toBe(kind));

  it('names the kinds there are when it knows none', () => {
    expect(() => parseKind('vm')).toThrow(/Unknown kind "vm": must be one of tenants, networks/);
  });
});

describe('parseReference()', () => {
  it('takes names apart and together again', () => {
    const reference = parseReference('Port', 'coke/net/web1');
    expect(reference).toEqual({ kind: 'Port', tenant: 'coke', network: 'net', name: 'web1' });
    expect(formatReference(reference)).toBe('coke/net/web1');
    expect(formatReference(parseReference('VirtualNetwork', 'coke/net'))).toBe('coke/net');
    expect(parseReference('Host', 'host-a')).toEqual({ kind: 'Host', tenant: '', network: '', name: 'host-a' });
  });

  it('fills leading parts from --tenant and --network', () => {
    expect(parseReference('Port', 'web1', { tenant: 'coke', network: 'net' })).toEqual(parseReference('Port', 'coke/net/web1'));
    expect(parseReference('Port', 'net/web1', { tenant: 'coke' })).toEqual(parseReference('Port', 'coke/net/web1'));
    expect(parseReference('Port', 'pepsi/n/w', { tenant: 'coke', network: 'net' }).tenant).toBe('pepsi');
  });

  it.each([
    ['Port', 'web1', /3 parts are needed .*write TENANT\/NETWORK\/PORT/],
    ['Port', 'a/b/c/d', /4 parts are too many/],
    ['Port', 'a//c', /a part of the name is empty/],
    ['Tenant', 'a/b', /2 parts are too many/],
    ['VirtualNetwork', '', /empty/],
  ] as const)('refuses %s "%s"', (kind, text, rule) => {
    expect(() => parseReference(kind, text)).toThrow(rule);
  });
});

describe('parseDevice()', () => {
  it('tells TAP from netdev and refuses names the kernel refuses', () => {
    expect(parseDevice({ tap: 'web1' })).toEqual({ device: 'web1', deviceKind: 'tap' });
    expect(parseDevice({ netdev: 'veth0' })).toEqual({ device: 'veth0', deviceKind: 'netdev' });
    expect(parseDevice({})).toBeUndefined();
    expect(() => parseDevice({ tap: 'a', netdev: 'b' })).toThrow(/both --tap and --netdev/);
    for (const bad of ['', 'sixteen-chars-xx', 'a b', 'a/b', '.', '..', 'a:b'])
      expect(() => parseDevice({ tap: bad })).toThrow(/1 to 15 characters/);
  });
});

describe('chooseHost()', () => {
  const hosts = (...ids: string[]) => ({
    hosts: ids.map((id) => ({ value: { id } as never, revision: 1, timeUnixMs: 0, authorName: '' })),
  });

  it("takes the one named, else this machine's, else the only one", () => {
    expect(chooseHost(hosts('a', 'b'), 'b', ['a'])).toBe('b');
    expect(chooseHost(hosts('a', 'b'), undefined, ['a'])).toBe('a');
    expect(chooseHost(hosts('a'), undefined, [])).toBe('a');
  });

  it('asks for --host when it is not clear', () => {
    expect(() => chooseHost(hosts('a', 'b'), undefined, [])).toThrow(/several hosts \(a, b\).*--host/);
    expect(() => chooseHost(hosts('a', 'b'), undefined, ['a', 'b'])).toThrow(/Several agents run on this machine/);
    expect(() => chooseHost(hosts('a'), 'z', [])).toThrow(/There is no host "z": did you mean "a"\? Registered are a;/);
    expect(() => chooseHost(hosts(), undefined, [])).toThrow(/No host is registered/);
  });
});

describe('notFound()', () => {
  it('names what was probably meant, or where to look', () => {
    expect(notFound('Port', 'coke/net/wbe1', ['coke/net/web1', 'pepsi/net/db']).message).toBe(
      'There is no Port "coke/net/wbe1": did you mean "coke/net/web1"?',
    );
    expect(notFound('Port', 'x/y/z', ['coke/net/web1']).message).toBe('There is no Port "x/y/z": see "weft get port"');
    expect(notFound('Host', 'a', []).message).toBe('There is no Host "a": there is none yet');
  });
});

describe('chooseLab()', () => {
  it('takes the one named, the only one, the default one', () => {
    expect(chooseLab('b', ['a'])).toBe('b');
    expect(chooseLab(undefined, ['playground'])).toBe('playground');
    expect(chooseLab(undefined, ['a', 'lab'])).toBe('lab');
    expect(chooseLab(undefined, [])).toBe('lab');
  });

  it('asks which one when several are there', () => {
    expect(() => chooseLab(undefined, ['a', 'b'])).toThrow(/Several labs .*\(a, b\): say which with --name/);
  });
});
