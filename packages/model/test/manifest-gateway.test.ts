import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManifestError, parseManifests, type Resource } from '../src/index.ts';
import { doc, GATEWAY } from './gateway-world.ts';

const parse = (text: string): readonly Resource[] => parseManifests([{ name: 'g.yaml', text }]).resources;
/** Code, place and path of everything that is wrong. */
const wrong = (text: string): string[] => {
  try {
    parse(text);
    return [];
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    return error.problems.map(({ code, at, path }) => `${code.replace('WEFT_ERR_MANIFEST_', '')} ${at} ${path}`);
  }
};

describe('manifests of gateways', () => {
  it('are read whole, with what is left out said to be so', () => {
    const [gateway] = parse(GATEWAY);
    expect(gateway).toMatchObject({
      kind: 'gateway',
      value: {
        shards: 0,
        segments: [
          { name: 'internet', mtu: 0, access: { mode: 'deny' } },
          { name: 'mpls', access: { mode: 'list', tenants: ['coke'] } },
        ],
        pools: [
          { shared: 4, access: { mode: 'any' } },
          { shared: 0, access: { mode: 'list', tenants: ['pepsi'] } },
        ],
      },
    });
    const [bare] = parse(doc('GatewayConnection', 't/n/c', 'gateway: edge, mode: nat, pool: p'));
    expect(bare).toMatchObject({ kind: 'connection', value: { routes: undefined, ipv6: 'none', quota: { blocks: 0, flows: 0 } } });
    const [none] = parse(doc('GatewayConnection', 't/n/c', 'gateway: edge, mode: nat, pool: p, routes: []'));
    expect(none).toMatchObject({ value: { routes: [] } });
    const [rule] = parse(doc('NatRule', 't/n/r', 'forward: {externalAddress: e, protocol: udp, ports: 53, address: 10.0.0.5}'));
    expect(rule).toMatchObject({ value: { rule: { kind: 'forward', firstPort: 53, lastPort: 53, customerPort: 53, protocol: 'udp' } } });
    expect(parse(readFileSync(new URL('../../../docs/examples/gateway.yaml', import.meta.url), 'utf8')).length).toBe(18);
  });

  it('say file, line and path of what is wrong with their form', () => {
    expect(wrong(GATEWAY.replace('nextHops: [192.168.0.1]', 'nexthops: [192.168.0.1]'))).toEqual([
      'UNKNOWN_KEY g.yaml:12 spec.segments[1].nexthops',
    ]);
    expect(wrong(GATEWAY.replace('tenants: [coke]', 'tenants: some'))).toEqual(['VALUE g.yaml:12 spec.segments[1].tenants']);
    expect(wrong(GATEWAY.replace('interfaces: {internet: eth1, mpls: eth2}', 'interfaces: eth1'))).toEqual([
      'VALUE g.yaml:8 spec.members[1].interfaces',
    ]);
    expect(wrong(GATEWAY.replace('shared: 4', 'shared: -1'))).toEqual(['VALUE g.yaml:14 spec.pools[0].shared']);
    const at = (kind: string, spec: string): string[] => wrong(doc(kind, 't/n/x', spec).slice(4));
    expect(at('GatewayConnection', 'gateway: edge, mode: bridge')).toEqual(['VALUE g.yaml:4 spec.mode']);
    expect(at('GatewayConnection', 'mode: nat')).toEqual(['MISSING g.yaml:4 spec.gateway']);
    expect(at('GatewayConnection', 'gateway: e, mode: peering, peer: net')).toEqual(['VALUE g.yaml:4 spec.peer']);
    expect(at('ExternalAddress', 'pool: p, use: dnat')).toEqual(['VALUE g.yaml:4 spec.use']);
    expect(at('NatRule', 'snat: {source: 10.0.0.0/8, pool: p}, static: {externalAddress: e, address: 10.0.0.1}')).toEqual([
      'VALUE g.yaml:4 spec',
    ]);
    expect(at('NatRule', 'snat: {source: 10.0.0.0/8}')).toEqual(['VALUE g.yaml:4 spec.snat']);
    expect(at('NatRule', "forward: {externalAddress: e, protocol: sctp, ports: '80-', address: 10.0.0.1}")).toEqual([
      'VALUE g.yaml:4 spec.forward.ports',
      'VALUE g.yaml:4 spec.forward.protocol',
    ]);
    expect(at('CustomerRoute', 'prefix: 0.0.0.0/0, gateway: true, blackhole: true')).toEqual(['VALUE g.yaml:4 spec']);
    expect(at('CustomerRoute', 'prefix: 0.0.0.0/0, gateway: yes')).toEqual(['VALUE g.yaml:4 spec.gateway', 'VALUE g.yaml:4 spec']);
  });

  it('place what the rules find, too', () => {
    const { locate } = parseManifests([{ name: 'g.yaml', text: GATEWAY }]);
    expect(locate({ resource: 'Gateway edge', path: 'spec.members[1].interfaces.mpls' })).toBe('g.yaml:8');
    expect(locate({ resource: 'Gateway edge', path: 'spec.pools[1].addresses[0]' })).toBe('g.yaml:15');
  });

  it('throw nothing but ManifestError, whatever stands where', () => {
    const value = fc.constantFrom('[]', '{}', '5', 'text', 'null', '[[1]]', '{a: b}', 'true', '"10.0.0.0/8"', '[{}]', '{? [a] : b}');
    const field = fc.constantFrom(
      'members',
      'segments',
      'pools',
      'witnesses',
      'shards',
      'mode',
      'peer',
      'quota',
      'routes',
      'snat',
      'static',
      'forward',
      'use',
      'prefix',
      'gateway',
    );
    const kind = fc.constantFrom('Gateway', 'GatewayConnection', 'ExternalAddress', 'NatRule', 'CustomerRoute');
    fc.assert(
      fc.property(kind, fc.uniqueArray(fc.tuple(field, value), { selector: ([name]) => name, maxLength: 6 }), (one, fields) => {
        wrong(
          `apiVersion: weft/v1\nkind: ${one}\nmetadata: {name: a, tenant: b, network: c}\nspec: {${fields.map(([name, text]) => `${name}: ${text}`).join(', ')}}`,
        );
      }),
      { numRuns: 500 },
    );
  });
});
