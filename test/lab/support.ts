import { fileURLToPath } from 'node:url';
import { Lab, parseLabFile } from '@weft/lab';
import { cleanLab, uniqueName } from '@weft/testkit';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The `weft` command as built; processes of a lab run from dist. */
export const weft: readonly string[] = [process.execPath, `${root}packages/cli/bin/weft.js`];
export const cacheDir = `${root}.cache`;
export const projectRoot: string = root;

/** A port of the plan below. */
export interface PlanPort {
  readonly tenant: string;
  readonly subnet: string;
  readonly name: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly host: string;
  readonly kind?: 'netns' | 'qemu';
}

export interface Plan {
  readonly hosts: readonly string[];
  readonly engines?: Readonly<Record<string, string>>;
  readonly subnets: readonly { readonly name: string; readonly prefixes: readonly string[] }[];
  readonly ports: readonly PlanPort[];
  readonly underlay?: string;
}

/** A lab file of a plan: every tenant that has a port gets a network `net` with all the subnets. VMs are called TENANT-PORT. */
export function labText(plan: Plan): string {
  const tenants = [...new Set(plan.ports.map((port) => port.tenant))];
  const documents = [
    [
      'apiVersion: weft/v1',
      'kind: Lab',
      'spec:',
      ...(plan.underlay === undefined ? [] : [`  underlay: ${plan.underlay}`]),
      '  hosts:',
      ...plan.hosts.map((host) => `    - { name: ${host}, engine: ${plan.engines?.[host] ?? 'kernel'} }`),
      '  vms:',
      ...plan.ports.map(
        (port) =>
          `    - { name: ${port.tenant}-${port.name}, host: ${port.host}, port: ${port.tenant}/net/${port.name}, kind: ${port.kind ?? 'netns'} }`,
      ),
      '',
    ].join('\n'),
    ...tenants.flatMap((tenant) => [
      `apiVersion: weft/v1\nkind: Tenant\nmetadata: { name: ${tenant} }\n`,
      `apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: { name: net, tenant: ${tenant} }\n`,
      ...plan.subnets.map(
        (subnet) =>
          `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: { name: ${subnet.name}, tenant: ${tenant}, network: net }\nspec: { prefixes: [${subnet.prefixes.map((prefix) => `'${prefix}'`).join(', ')}] }\n`,
      ),
    ]),
    ...plan.ports.map(
      (port) =>
        `apiVersion: weft/v1\nkind: Port\nmetadata: { name: ${port.name}, tenant: ${port.tenant}, network: net }\nspec: { subnet: ${port.subnet}, mac: '${port.mac}', addresses: [${port.addresses.map((address) => `'${address}'`).join(', ')}] }\n`,
    ),
  ];
  return documents.join('---\n');
}

/** Brings a lab up under a name of its own. */
export function startLab(plan: Plan): Promise<Lab> {
  return Lab.up(parseLabFile('test', labText(plan)), { name: uniqueName('t'), weft, keep: false, cacheDir });
}

/** Whatever happened, nothing stays. */
export async function endLab(lab: Lab | undefined): Promise<void> {
  if (lab === undefined) return;
  // A failed test shows what it expected; why is often here.
  for (const death of lab.deaths()) console.error(death);
  await lab.down();
  await cleanLab(lab.name);
}

/** Two tenants with the same addresses and MACs: a and b in one subnet, c and d in another, over three hosts. */
export const twinTenants: Plan = {
  hosts: ['h1', 'h2', 'h3'],
  subnets: [
    { name: 'blue', prefixes: ['10.0.1.0/24', '2001:db8:1::/64'] },
    { name: 'green', prefixes: ['10.0.2.0/24'] },
  ],
  ports: ['coke', 'pepsi'].flatMap((tenant): PlanPort[] => [
    { tenant, subnet: 'blue', name: 'a', mac: '02:00:00:00:00:0a', addresses: ['10.0.1.10', '2001:db8:1::10'], host: 'h1' },
    { tenant, subnet: 'blue', name: 'b', mac: '02:00:00:00:00:0b', addresses: ['10.0.1.11', '2001:db8:1::11'], host: 'h2' },
    { tenant, subnet: 'green', name: 'c', mac: '02:00:00:00:00:0c', addresses: ['10.0.2.10'], host: 'h2' },
    { tenant, subnet: 'green', name: 'd', mac: '02:00:00:00:00:0d', addresses: ['10.0.2.11'], host: 'h3' },
  ]),
};
