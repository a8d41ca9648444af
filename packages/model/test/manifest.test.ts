import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ManifestError,
  nearest,
  networkManifest,
  type Port,
  parseManifests,
  portManifest,
  subnetManifest,
  tenantManifest,
  type VirtualNetwork,
} from '../src/index.ts';

const parse = (text: string) => parseManifests([{ name: 'net.yaml', text }]);
function problemsOf(text: string): readonly { at: string; code: string; path: string; hint: string; value: string; resource: string }[] {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof ManifestError) return error.problems;
    throw error;
  }
  return [];
}
const brief = (text: string): string[] => problemsOf(text).map(({ at, code, path }) => `${at} ${code} ${path}`);

const good = `# a network
apiVersion: weft/v1
kind: Tenant
metadata: { name: coke }
---
apiVersion: weft/v1
kind: VirtualNetwork
metadata: { name: net, tenant: coke }
spec:
  routes:
    - { prefix: 0.0.0.0/0, nextHop: 10.0.1.10 }
    - { prefix: 192.0.2.0/24, blackhole: true }
---
apiVersion: weft/v1
kind: VirtualSubnet
metadata: { name: blue, tenant: coke, network: net }
spec:
  vsid: 5001
  prefixes: [10.0.1.0/24, "2001:db8::/64"]
---
apiVersion: weft/v1
kind: Port
metadata: { name: web1, tenant: coke, network: net }
spec:
  subnet: blue
  mac: 02:00:00:00:00:01
  addresses: [10.0.1.10]
  placement: [host-a, host-b]
`;

describe('parseManifests()', () => {
  it('reads each kind', () => {
    expect(parse(good).resources).toEqual([
      { kind: 'tenant', value: { name: 'coke' } },
      {
        kind: 'network',
        value: {
          tenant: 'coke',
          name: 'net',
          routingDomainId: '',
          routes: [
            { prefix: '0.0.0.0/0', kind: 'next-hop', nextHop: '10.0.1.10' },
            { prefix: '192.0.2.0/24', kind: 'blackhole', nextHop: '' },
          ],
        },
      },
      {
        kind: 'subnet',
        value: { tenant: 'coke', network: 'net', name: 'blue', vsid: 5001, prefixes: ['10.0.1.0/24', '2001:db8::/64'], gateways: [] },
      },
      {
        kind: 'port',
        value: {
          tenant: 'coke',
          network: 'net',
          subnet: 'blue',
          name: 'web1',
          mac: '02:00:00:00:00:01',
          addresses: ['10.0.1.10'],
          placement: { mode: 'list', hosts: ['host-a', 'host-b'] },
        },
      },
    ]);
  });

  it('locates what a controller complains of', () => {
    const { locate } = parse(good);
    expect(locate({ resource: 'Port coke/net/web1', path: 'spec.addresses[0]' })).toBe('net.yaml:27');
    expect(locate({ resource: 'Port coke/net/web1', path: 'spec.mac' })).toBe('net.yaml:26');
    expect(locate({ resource: 'VirtualNetwork coke/net', path: 'spec.routes[1].prefix' })).toBe('net.yaml:12');
    expect(locate({ resource: 'VirtualSubnet coke/net/blue', path: 'spec.gateways[0]' })).toBe('net.yaml:17');
    expect(locate({ resource: 'Port coke/net/other', path: 'spec' })).toBe('');
  });

  it('names the nearest known key, its line and its path', () => {
    const text = good.replace('prefixes:', 'prefix:').replace('subnet: blue', 'subent: blue').replace('kind: Tenant', 'kind: Tennant');
    expect(brief(text)).toEqual([
      'net.yaml:3 WEFT_ERR_MANIFEST_KIND kind',
      'net.yaml:19 WEFT_ERR_MANIFEST_UNKNOWN_KEY spec.prefix',
      'net.yaml:18 WEFT_ERR_MANIFEST_MISSING spec.prefixes',
      'net.yaml:25 WEFT_ERR_MANIFEST_UNKNOWN_KEY spec.subent',
      'net.yaml:25 WEFT_ERR_MANIFEST_MISSING spec.subnet',
    ]);
    const hints = problemsOf(text).map(({ hint }) => hint);
    expect([hints[0], hints[1], hints[3]]).toEqual(['write Tenant', 'did you mean prefixes?', 'did you mean subnet?']);
    expect(problemsOf(text)[1]!.resource).toBe('VirtualSubnet coke/net/blue');
    expect(nearest('adresses', ['addresses', 'subnet'])).toBe('addresses');
    expect(nearest('zzz', ['addresses', 'subnet'])).toBeUndefined();
    // Two letters in the wrong order are one slip.
    expect(nearest('wbe1', ['db1', 'web1'])).toBe('web1');
  });

  it('refuses values of a wrong type, with what to write', () => {
    const port = (spec: string): string =>
      `apiVersion: weft/v1\nkind: Port\nmetadata: {name: a, tenant: t, network: n}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;
    expect(problemsOf(port('subnet: 12\naddresses: [10.0.0.1]'))[0]).toMatchObject({
      at: 'net.yaml:5',
      path: 'spec.subnet',
      value: '12',
      hint: 'quote it: "12"',
    });
    expect(problemsOf(port('subnet: a\naddresses: 10.0.0.1'))[0]).toMatchObject({ path: 'spec.addresses', hint: 'write [10.0.0.1]' });
    expect(problemsOf(port('subnet: a\naddresses: [10.0.0.1]\nplacement: host-a'))[0]).toMatchObject({ path: 'spec.placement' });
    expect(problemsOf(port('subnet: {a: b}\naddresses: [[x]]')).map(({ path }) => path)).toEqual(['spec.subnet', 'spec.addresses[0]']);
    const subnet = (vsid: string): string =>
      `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {name: a, tenant: t, network: n}\nspec: {prefixes: [10.0.0.0/24], vsid: ${vsid}}\n`;
    for (const vsid of ['-1', '0', '1.5', '"5001"', '4294967296', '.nan', '1e400'])
      expect(problemsOf(subnet(vsid))[0], vsid).toMatchObject({ code: 'WEFT_ERR_RULE_VSID_RANGE', path: 'spec.vsid' });
    expect(brief('apiVersion: weft/v2\nkind: Tenant\nmetadata: {name: a}')).toEqual(['net.yaml:1 WEFT_ERR_MANIFEST_KIND apiVersion']);
    expect(brief('- 1\n- 2')).toEqual(['net.yaml:1 WEFT_ERR_MANIFEST_VALUE ']);
    expect(
      brief('apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {name: a, tenant: t}\nspec: {routes: [{prefix: 0.0.0.0/0}]}'),
    ).toEqual(['net.yaml:4 WEFT_ERR_MANIFEST_VALUE spec.routes[0]']);
  });

  it('refuses bad YAML, double keys, aliases and bombs, quickly', () => {
    expect(brief('a: [')[0]).toMatch(/^net\.yaml:\d+ WEFT_ERR_MANIFEST_SYNTAX/);
    expect(brief('apiVersion: weft/v1\nkind: Tenant\nkind: Port')[0]).toBe('net.yaml:3 WEFT_ERR_MANIFEST_SYNTAX ');
    expect(brief('apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: &x coke}\nspec: *x')[0]).toBe(
      'net.yaml:4 WEFT_ERR_MANIFEST_SYNTAX spec',
    );
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghij'
      .split('')
      .map((letter, i) => `${letter}: &${letter} [${Array(9).fill(`*${'abcdefghi'[i]}`)}]`)
      .join('\n')}`;
    const started = performance.now();
    expect(problemsOf(bomb).length).toBeGreaterThan(0);
    expect(problemsOf('['.repeat(100_000)).length).toBeGreaterThan(0);
    expect(problemsOf(`x: ${'y'.repeat(5_000_000)}`)[0]!.code).toBe('WEFT_ERR_MANIFEST_SYNTAX');
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('passes over empty documents, kinds of other readers, and status', () => {
    const text = `---\n---\napiVersion: weft/v1\nkind: Lab\nspec: {anything: [1, {x: 2}]}\n---\napiVersion: weft/v1\nkind: Tenant\nmetadata: {name: a}\nstatus: {id: x}\n`;
    expect(parseManifests([{ name: 'lab.yaml', text }], { otherKinds: ['Lab'] }).resources).toEqual([
      { kind: 'tenant', value: { name: 'a' } },
    ]);
    expect(parse('').resources).toEqual([]);
  });

  it('never throws anything but ManifestError, whatever the text', () => {
    const piece = fc.constantFrom(
      'apiVersion: weft/v1\n',
      'kind: Port\n',
      'metadata:\n',
      '  name: a\n',
      'spec: ',
      '{',
      '}',
      '[',
      ']',
      '&a ',
      '*a',
      '!!binary x',
      '? ',
      ': ',
      '- ',
      '---\n',
      '"',
      "'",
      '|\n',
      '\t',
      'null',
      '\u0000',
      '%YAML 1.1\n',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 15 }).map((pieces) => pieces.join('')),
        ),
        (text) => {
          problemsOf(text);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('manifests of records', () => {
  const network: VirtualNetwork = {
    id: '0b8f5e0a-0000-4000-8000-00000000000a',
    tenant: 'coke',
    name: 'net',
    networkId: 7,
    subnets: [{ name: 'blue', vsid: 5001, prefixes: ['10.0.1.0/24', '2001:db8::/64'], gateways: ['10.0.1.1', '2001:db8::1'] }],
    routes: [
      { prefix: '0.0.0.0/0', kind: 'next-hop', nextHop: '10.0.1.10' },
      { prefix: '192.0.2.0/24', kind: 'blackhole', nextHop: '' },
    ],
  };
  const port: Port = {
    id: '0b8f5e0a-0000-4000-8000-000000000001',
    tenant: 'coke',
    network: 'net',
    routingDomainId: network.id,
    subnet: 'blue',
    vsid: 5001,
    name: '1',
    mac: '02:00:00:00:00:01',
    addresses: ['10.0.1.10'],
    placement: { mode: 'list', hosts: ['true'] },
  };
  const read = (manifest: object): unknown => parse(JSON.stringify(manifest)).resources[0];

  it('are read back as the same resources', () => {
    const { tenant, network: net, subnet, name, mac, addresses, placement } = port;
    expect(read(tenantManifest({ name: 'coke' }))).toEqual({ kind: 'tenant', value: { name: 'coke' } });
    expect(read(networkManifest(network))).toEqual({
      kind: 'network',
      value: { tenant: 'coke', name: 'net', routingDomainId: network.id, routes: network.routes },
    });
    expect(read(networkManifest({ ...network, routes: [] }))).toMatchObject({ value: { routes: [] } });
    expect(read(subnetManifest(network, network.subnets[0]!))).toEqual({
      kind: 'subnet',
      value: { tenant: 'coke', network: 'net', ...network.subnets[0] },
    });
    expect(read(portManifest(port))).toEqual({ kind: 'port', value: { tenant, network: net, subnet, name, mac, addresses, placement } });
    const anywhere = portManifest({ ...port, placement: { mode: 'any', hosts: [] } });
    expect(read(anywhere)).toMatchObject({ value: { placement: undefined } });
  });

  it('never widen a placement that denies every host to any host', () => {
    const denied = portManifest({ ...port, placement: { mode: 'deny', hosts: [] } });
    expect(read(denied)).toMatchObject({ value: { placement: { mode: 'list', hosts: [] } } });
  });
});
