/**
 * The demo's lab: two tenants whose networks are the same to the last bit, spread over three hosts; and two gateways between them and a web server, which the
 * tenants get a way through only later.
 */

export const tenants = ['coke', 'pepsi'] as const;
export type Tenant = (typeof tenants)[number];

/** VM letter to subnet, host part of its address, and host; the same for both tenants. */
export const vms = [
  { letter: 'a', subnet: 'blue', address: '10.0.1.10', mac: '02:00:00:00:00:0a', host: 'h1' },
  { letter: 'b', subnet: 'blue', address: '10.0.1.11', mac: '02:00:00:00:00:0b', host: 'h2' },
  { letter: 'c', subnet: 'green', address: '10.0.2.10', mac: '02:00:00:00:00:0c', host: 'h2' },
  { letter: 'd', subnet: 'green', address: '10.0.2.11', mac: '02:00:00:00:00:0d', host: 'h3' },
] as const;

/** The members of the gateway group; h3 votes with them. */
export const gateways = ['g1', 'g2'] as const;
/** The physical network beyond them, and the web server's address behind its router. */
export const INTERNET = 'internet';
export const WEB_SERVER = '198.18.0.10';
/** Where the outside reaches coke's VM b. */
export const SHOP_ADDRESS = '203.0.113.23';

/** Name of a tenant's VM: `coke-a`. */
export function vmName(tenant: Tenant, letter: string): string {
  return `${tenant}-${letter}`;
}

export function labFileText(): string {
  const documents: string[] = [
    `apiVersion: weft/v1
kind: Lab
spec:
  underlay: { mtu: 1500 }
  hosts: [{ name: h1 }, { name: h2 }, { name: h3 }, ${gateways.map((name) => `{ name: ${name}, roles: [gateway] }`).join(', ')}]
  externalNetworks: [{ name: ${INTERNET}, members: [${gateways.join(', ')}], servers: [${WEB_SERVER}] }]
  vms:
${tenants.flatMap((tenant) => vms.map((vm) => `    - { name: ${vmName(tenant, vm.letter)}, host: ${vm.host}, port: ${tenant}/net/${vm.letter} }`)).join('\n')}
`,
  ];
  for (const tenant of tenants) {
    documents.push(
      `apiVersion: weft/v1\nkind: Tenant\nmetadata: { name: ${tenant} }\n`,
      `apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: { name: net, tenant: ${tenant} }\n`,
      ...[
        ['blue', '10.0.1.0/24'],
        ['green', '10.0.2.0/24'],
      ].map(
        ([name, prefix]) =>
          `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: { name: ${name}, tenant: ${tenant}, network: net }\nspec: { prefixes: [${prefix}] }\n`,
      ),
      ...vms.map(
        (vm) =>
          `apiVersion: weft/v1\nkind: Port\nmetadata: { name: ${vm.letter}, tenant: ${tenant}, network: net }\nspec: { subnet: ${vm.subnet}, mac: '${vm.mac}', addresses: [${vm.address}] }\n`,
      ),
    );
  }
  return documents.join('---\n');
}

/** The gateway group, and each tenant's way out by port mapping. */
export function gatewayText(): string {
  return [
    `apiVersion: weft/v1
kind: Gateway
metadata: { name: edge }
spec:
  members: [${gateways.map((host) => `{ host: ${host}, externalInterface: ext-${INTERNET} }`).join(', ')}]
  witnesses: [h3]
  shards: 2
  segments: [{ name: ${INTERNET}, onLink: [203.0.113.0/24], nextHops: [203.0.113.1] }]
  pools: [{ name: public, segment: ${INTERNET}, addresses: [203.0.113.16-${SHOP_ADDRESS}], shared: 4 }]
`,
    ...tenants.map(
      (tenant) =>
        `apiVersion: weft/v1\nkind: GatewayConnection\nmetadata: { name: out, tenant: ${tenant}, network: net }\nspec: { gateway: edge, mode: nat, pool: public }\n`,
    ),
  ].join('---\n');
}

/** An external address of coke's, whose port 80 leads to its VM b. */
export function portForwardText(): string {
  const of = 'tenant: coke, network: net';
  return [
    `apiVersion: weft/v1\nkind: ExternalAddress\nmetadata: { name: shop, ${of} }\nspec: { pool: public, use: reserved, address: ${SHOP_ADDRESS} }\n`,
    `apiVersion: weft/v1\nkind: NatRule\nmetadata: { name: shop, ${of} }\nspec: { forward: { externalAddress: shop, protocol: tcp, ports: 80, address: 10.0.1.11 } }\n`,
  ].join('---\n');
}
