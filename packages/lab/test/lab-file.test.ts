import { describe, expect, it } from 'vitest';
import { LabFileError, parseLabFile } from '../src/index.ts';

const file = (lines: readonly string[]): string =>
  [
    'apiVersion: weft/v1',
    'kind: Lab',
    'metadata: { name: x }',
    'spec:',
    '  hosts: [{ name: g1 }, { name: g2 }, { name: h1 }]',
    ...lines,
  ].join('\n');

function faults(lines: readonly string[]): string {
  try {
    parseLabFile('lab.yaml', file(lines));
  } catch (error) {
    if (error instanceof LabFileError) return error.message;
    throw error;
  }
  return '';
}

describe('a lab file', () => {
  it('names physical networks beyond the gateways', () => {
    const { spec } = parseLabFile(
      'lab.yaml',
      file(['  externalNetworks: [{ name: internet, members: [g1, g2], servers: [198.18.0.10] }]']),
    );
    expect(spec.externalNetworks).toEqual([{ name: 'internet', members: ['g1', 'g2'], servers: ['198.18.0.10'], routes: [] }]);
    const place = "prefix: 192.168.210.0/24, prefix6: '2001:db8:d2::/64', routes: [{ prefix: 10.9.0.0/24, via: 192.168.210.16 }]";
    expect(parseLabFile('lab.yaml', file([`  externalNetworks: [{ name: site, members: [g1], ${place} }]`])).spec.externalNetworks).toEqual(
      [
        {
          name: 'site',
          members: ['g1'],
          servers: [],
          prefix: '192.168.210',
          prefix6: '2001:db8:d2',
          routes: [{ prefix: '10.9.0.0/24', via: '192.168.210.16' }],
        },
      ],
    );
    expect(parseLabFile('lab.yaml', file([])).spec.externalNetworks).toEqual([]);
  });

  it.each([
    [
      'a member that is no host',
      ['  externalNetworks:', '    - { name: net, members: [g3] }'],
      'lab.yaml:7: spec.externalNetworks.0.members: "g3"',
    ],
    ['a name too long for a device', ['  externalNetworks:', '    - { name: abcdefghijkl }'], 'at most 11 long'],
    ['a name twice', ['  externalNetworks:', '    - { name: net }', '    - { name: net }'], 'used twice'],
    [
      'a server without an address',
      ['  externalNetworks:', '    - { name: net, servers: [web] }'],
      '"web": must be an IPv4 or IPv6 address',
    ],
    ['a segment of another size', ['  externalNetworks:', '    - { name: net, prefix: 10.0.0.0/16 }'], 'must be an IPv4 prefix of 24 bits'],
    [
      'an IPv6 segment of another size',
      ['  externalNetworks:', "    - { name: net, prefix6: '2001:db8::/48' }"],
      'must be an IPv6 prefix of 64 bits',
    ],
    [
      'a route that mixes families',
      ['  externalNetworks:', "    - { name: net, routes: [{ prefix: '2001:db8::/48', via: 203.0.113.16 }] }"],
      'a prefix and an address of the same family',
    ],
    ['members that are no list', ['  externalNetworks:', '    - { name: net, members: g1 }'], 'must be a list of texts'],
    ['an unknown key', ['  externalNetworks:', '    - { name: net, routers: [] }'], 'unknown key "routers"'],
  ])('is refused for %s', (_, lines, message) => {
    expect(faults(lines)).toContain(message);
  });
});
