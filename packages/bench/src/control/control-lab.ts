import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LAYOUT_VERSION } from '@weft/datapath';
import { Lab, parseLabFile, pinDirectory } from '@weft/lab';
import type { Port, PortBinding } from '@weft/model';
import type { BenchContext } from '../core/context.ts';

// Labs for what the control plane does: real agents, each its own process, a real NATS and a controller. All hosts are in one network.

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** How to run the `weft` command, as built. */
export const WEFT_COMMAND: readonly string[] = [process.execPath, `${root}packages/cli/bin/weft.js`];
/** For what is the same in every lab. */
export const CACHE_DIR: string = join(root, '.cache');

/** A port that a lab has from the beginning; its VM's address and MAC follow from its number. */
export interface LabPort {
  readonly name: string;
  readonly mac: string;
  readonly address: string;
}

/** Port number `index`, 0 to 4000: `10.0.x.y` in the subnet 10.0.0.0/16. */
export function labPort(index: number): LabPort {
  const number = index + 10;
  const [high, low] = [number >> 8, number & 0xff];
  const hex = (byte: number): string => byte.toString(16).padStart(2, '0');
  return { name: `p${index}`, mac: `02:00:00:00:${hex(high)}:${hex(low)}`, address: `10.0.${high}.${low}` };
}

export interface ControlLabInit {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly engine?: 'kernel' | 'user';
  readonly ports: readonly LabPort[];
  /** VMs that are namespaces: host and the port's number. */
  readonly vms?: readonly { readonly host: string; readonly port: LabPort }[];
  readonly controllers?: number;
  /** NATS and controllers on a network of their own. */
  readonly managementNetwork?: boolean;
  readonly segmentationOffload?: boolean;
  readonly progress: (text: string) => void;
}

/** A lab, and what the store says of its ports. */
export interface ControlLab {
  readonly lab: Lab;
  readonly networkId: number;
  readonly vsid: number;
  /** By name. */
  readonly ports: ReadonlyMap<string, Port>;
  bind(port: LabPort, host: string, device: string, move?: boolean): Promise<PortBinding>;
  prepare(port: LabPort, host: string, device: string): Promise<void>;
  unbind(port: LabPort, host: string): Promise<void>;
  /** A pinned map of a host's kernel engine. */
  mapPin(host: string, map: string): string;
}

/** Text of a lab file with one tenant, one network and one subnet. */
export function labFileText(init: ControlLabInit): string {
  const vms = (init.vms ?? []).map(
    (vm) => `    - { name: ${vm.port.name}, host: ${vm.host}, port: acme/net/${vm.port.name}, kind: netns }`,
  );
  return [
    'apiVersion: weft/v1',
    'kind: Lab',
    'spec:',
    `  underlay: { managementNetwork: ${init.managementNetwork ?? false}, segmentationOffload: ${init.segmentationOffload ?? true} }`,
    `  controllers: ${init.controllers ?? 1}`,
    '  hosts:',
    ...init.hosts.map((host) => `    - { name: ${host}, engine: ${init.engine ?? 'kernel'} }`),
    ...(vms.length > 0 ? ['  vms:', ...vms] : []),
    ...['---', 'apiVersion: weft/v1', 'kind: Tenant', 'metadata: { name: acme }'],
    ...['---', 'apiVersion: weft/v1', 'kind: VirtualNetwork', 'metadata: { name: net, tenant: acme }'],
    ...['---', 'apiVersion: weft/v1', 'kind: VirtualSubnet', 'metadata: { name: blue, tenant: acme, network: net }'],
    "spec: { prefixes: ['10.0.0.0/16'] }",
    ...init.ports.flatMap((port) => [
      ...['---', 'apiVersion: weft/v1', 'kind: Port', `metadata: { name: ${port.name}, tenant: acme, network: net }`],
      `spec: { subnet: blue, mac: '${port.mac}', addresses: ['${port.address}'] }`,
    ]),
    '',
  ].join('\n');
}

/** Brings a lab up. Whoever calls it takes it down. */
export async function startControlLab(init: ControlLabInit): Promise<ControlLab> {
  const lab = await Lab.up(parseLabFile('bench', labFileText(init)), {
    name: init.name,
    weft: WEFT_COMMAND,
    keep: false,
    cacheDir: CACHE_DIR,
    progress: init.progress,
    logLevel: 'info',
  });
  return await controlLab(lab);
}

/** What the store says of a lab's ports, and how to bind them. Ports have names of their own in the whole lab. */
export async function controlLab(lab: Lab): Promise<ControlLab> {
  // Of this network only: there may be ten thousand others, and an answer holds some 800 kB of records.
  const list = { kinds: ['VirtualNetwork', 'Port'], tenant: 'acme', network: 'net', name: '' };
  const { records } = await lab.ask('controller', { kind: 'list', value: list }, 'list');
  const ports = new Map<string, Port>();
  let networkId = 0;
  let vsid = 0;
  for (const { record } of records) {
    if (record?.kind === 'port') ports.set(record.value.name, record.value);
    if (record?.kind === 'network') {
      networkId = record.value.networkId;
      vsid = record.value.subnets[0]?.vsid ?? 0;
    }
  }
  const place = (port: LabPort): { routingDomainId: string; portId: string } => {
    const found = ports.get(port.name);
    if (found === undefined) throw new RangeError(`Lab ${lab.name} has no port ${port.name}`);
    return { routingDomainId: found.routingDomainId, portId: found.id };
  };
  return {
    lab,
    networkId,
    vsid,
    ports,
    bind: async (port, host, device, move = false) =>
      (
        await lab.ask(
          host,
          { kind: 'bindPort', value: { ...place(port), device, deviceKind: 'tap', expectedGeneration: 0, move } },
          'bindPort',
        )
      ).binding,
    prepare: async (port, host, device) => {
      const command = { kind: 'preparePort', value: { ...place(port), device, deviceKind: 'tap' } } as const;
      const { response } = await lab.bus.request(host, command, { identity: lab.admin });
      const [problem] = response.problems;
      if (problem !== undefined) throw new Error(`${host} refused to prepare ${port.name}: ${problem.code} ${problem.rule}`);
    },
    unbind: async (port, host) => {
      const { response } = await lab.bus.request(host, { kind: 'unbindPort', value: place(port) }, { identity: lab.admin });
      const [problem] = response.problems;
      if (problem !== undefined) throw new Error(`${host} refused to unbind ${port.name}: ${problem.code} ${problem.rule}`);
    },
    mapPin: (host, map) => join(pinDirectory(lab.name, host), `v${LAYOUT_VERSION}`, map),
  };
}

/** The same for a figure: removed when `work` is done, or when the bench is interrupted. */
export async function withControlLab<T>(
  context: BenchContext,
  init: Omit<ControlLabInit, 'name' | 'progress'> & { readonly suffix: string },
  work: (lab: ControlLab) => Promise<T>,
): Promise<T> {
  const made = await startControlLab({
    ...init,
    name: context.name(init.suffix),
    progress: (text) => context.progress(`${init.suffix}: ${text}`),
  });
  try {
    return await work(made);
  } finally {
    await made.lab.down();
  }
}
