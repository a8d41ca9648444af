/** The demo's lab: two tenants whose networks are the same to the last bit, spread over three hosts. */

export const tenants = ['coke', 'pepsi'] as const;
export type Tenant = (typeof tenants)[number];

/** VM letter to subnet, host part of its address, and host; the same for both tenants. */
export const vms = [
  { letter: 'a', subnet: 'blue', address: '10.0.1.10', mac: '02:00:00:00:00:0a', host: 'h1' },
  { letter: 'b', subnet: 'blue', address: '10.0.1.11', mac: '02:00:00:00:00:0b', host: 'h2' },
  { letter: 'c', subnet: 'green', address: '10.0.2.10', mac: '02:00:00:00:00:0c', host: 'h2' },
  { letter: 'd', subnet: 'green', address: '10.0.2.11', mac: '02:00:00:00:00:0d', host: 'h3' },
] as const;

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
  hosts: [{ name: h1 }, { name: h2 }, { name: h3 }]
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
