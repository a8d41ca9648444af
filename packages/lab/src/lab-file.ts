import { isIP } from 'node:net';
import { isMap, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import { LabError } from './errors.ts';

/** How a VM is made: a network namespace with a veth pair, or a real QEMU guest on a TAP device. */
export type VmKind = 'netns' | 'qemu';

/** A host of the lab, as the lab file names it. */
export interface LabHostSpec {
  readonly name: string;
  /** Provider address (IPv4). Default: the next free one of 192.0.2.0/24. */
  readonly address?: string;
  readonly engine: 'kernel' | 'user' | 'auto';
  readonly roles: readonly ('host' | 'gateway')[];
}

/** A VM of the lab: which port it has and on which host it runs. */
export interface LabVmSpec {
  readonly name: string;
  readonly host: string;
  /** `tenant/network/port`. */
  readonly port: string;
  readonly kind: VmKind;
}

/** A physical network beyond the lab's gateways, with a router and servers behind it. */
export interface LabExternalSpec {
  readonly name: string;
  /** Hosts with a device `ext-NAME` on it. */
  readonly members: readonly string[];
  /** Addresses of servers behind the router. Empty: the test kit's. */
  readonly servers: readonly string[];
  /** The segment's IPv4 /24, as its first three bytes. Default: the test kit's, 203.0.113. */
  readonly prefix?: string;
  /** The segment's IPv6 /64, as the text before its `::`. Default: the test kit's, 2001:db8:ffff. */
  readonly prefix6?: string;
  /** The router's routes to what lies behind the gateways. */
  readonly routes: readonly { readonly prefix: string; readonly via: string }[];
}

/** What a lab file asks for, besides the resources. */
export interface LabSpec {
  readonly name: string | undefined;
  readonly underlay: {
    readonly mtuBytes: number;
    /** False: tunnel segmentation off at the sender, GRO on at the receiver, as a plain NIC does ("wire"). */
    readonly segmentationOffload: boolean;
    /** A second switch for NATS, which stays up when the underlay is cut. */
    readonly managementNetwork: boolean;
  };
  readonly natsServers: 1 | 3;
  readonly controllers: number;
  readonly hosts: readonly LabHostSpec[];
  readonly externalNetworks: readonly LabExternalSpec[];
  readonly vms: readonly LabVmSpec[];
}

/** A lab file taken apart: the `Lab` document, and the documents that `weft apply` gets. */
export interface LabFile {
  readonly spec: LabSpec;
  /** The resources, as `weft apply` takes them; line numbers are the lab file's. */
  readonly manifests: string;
}

/** A lab file that can't be used; `message` has one line per fault with file, line, path, value and rule. */
export class LabFileError extends LabError {
  override readonly name = 'LabFileError';

  constructor(problems: readonly string[]) {
    super('WEFT_ERR_LAB_FILE', `The lab file has ${problems.length} fault${problems.length === 1 ? '' : 's'}:\n  ${problems.join('\n  ')}`);
  }
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  '': ['apiVersion', 'kind', 'metadata', 'spec'],
  metadata: ['name'],
  spec: ['underlay', 'nats', 'controllers', 'hosts', 'externalNetworks', 'vms'],
  'spec.underlay': ['mtu', 'segmentationOffload', 'managementNetwork'],
  'spec.nats': ['servers'],
  'spec.hosts[]': ['name', 'address', 'engine', 'roles'],
  'spec.externalNetworks[]': ['name', 'members', 'servers', 'prefix', 'prefix6', 'routes'],
  'spec.externalNetworks[].routes[]': ['prefix', 'via'],
  'spec.vms[]': ['name', 'host', 'port', 'kind'],
};

/**
 * Reads a lab file: a YAML stream with one document of kind `Lab` and any number of Weft resources, which go to `weft apply` as they are.
 *
 * @param name Name of the file, for messages.
 * @throws {LabFileError} With every fault found, not only the first.
 */
export function parseLabFile(name: string, text: string): LabFile {
  const problems: string[] = [];
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true });
  let resources = text;
  let spec: LabSpec | undefined;
  for (const document of 'empty' in documents ? [] : documents) {
    for (const error of document.errors) problems.push(`${name}:${lines.linePos(error.pos[0]).line}: ${error.message.split('\n')[0]}`);
    if (document.errors.length > 0 || document.contents === null) continue;
    const [start, , end] = document.contents.range ?? [0, 0, 0];
    const isLab = isMap(document.contents) && String(document.contents.get('kind')) === 'Lab';
    if (!isLab) continue;
    // The resources keep their line numbers, so that what `weft apply` says of them is true of the lab file.
    resources = resources.slice(0, start) + resources.slice(start, end).replace(/[^\n]/g, ' ') + resources.slice(end);
    if (spec !== undefined) problems.push(`${name}:${lines.linePos(start).line}: a second document of kind Lab; a lab file has one`);
    const fault = (path: readonly (string | number)[], message: string): void => {
      const node = document.getIn(path, true) as { range?: [number, number, number] } | undefined;
      const at = node?.range?.[0] ?? start;
      problems.push(`${name}:${lines.linePos(at).line}: ${path.join('.') || 'document'}: ${message}`);
    };
    unknownKeys(document.contents, '', [], fault);
    spec = readSpec(document.toJS() as Raw, fault);
  }
  if (spec === undefined && problems.length === 0) problems.push(`${name}:1: no document of kind Lab (apiVersion: weft/v1, kind: Lab)`);
  if (problems.length > 0 || spec === undefined) throw new LabFileError(problems);
  return { spec, manifests: resources };
}

type Raw = Readonly<Record<string, unknown>>;
type Fault = (path: readonly (string | number)[], message: string) => void;

function unknownKeys(node: unknown, shape: string, path: readonly (string | number)[], fault: Fault): void {
  if (isSeq(node)) for (const [index, item] of node.items.entries()) unknownKeys(item, `${shape}[]`, [...path, index], fault);
  const known = KEYS[shape];
  if (!isMap(node) || known === undefined) return;
  for (const pair of node.items) {
    const key = String(pair.key);
    if (!known.includes(key)) fault([...path, key], `unknown key "${key}": known here are ${known.join(', ')}`);
    else unknownKeys(pair.value, shape === '' ? key : `${shape}.${key}`, [...path, key], fault);
  }
}

function readSpec(document: Raw, fault: Fault): LabSpec {
  if (document['apiVersion'] !== 'weft/v1') fault(['apiVersion'], `${JSON.stringify(document['apiVersion'])}: must be weft/v1`);
  const spec = (document['spec'] ?? {}) as Raw;
  const underlay = (spec['underlay'] ?? {}) as Raw;
  const mtu = underlay['mtu'] ?? 1500;
  if (typeof mtu !== 'number' || !Number.isInteger(mtu) || mtu < 1330 || mtu > 65_000) {
    fault(['spec', 'underlay', 'mtu'], `${JSON.stringify(mtu)}: must be a whole number of bytes, 1330 to 65000 (IPv6 needs 1280 inside)`);
  }
  const servers = ((spec['nats'] ?? {}) as Raw)['servers'] ?? 1;
  if (servers !== 1 && servers !== 3) fault(['spec', 'nats', 'servers'], `${JSON.stringify(servers)}: must be 1 or 3`);
  const controllers = spec['controllers'] ?? 1;
  if (typeof controllers !== 'number' || controllers < 1 || controllers > 5)
    fault(['spec', 'controllers'], `${JSON.stringify(controllers)}: must be 1 to 5`);
  const hosts = list(spec['hosts']).map((host, index): LabHostSpec => {
    const engine = host['engine'] ?? 'kernel';
    if (engine !== 'kernel' && engine !== 'user' && engine !== 'auto') {
      fault(['spec', 'hosts', index, 'engine'], `${JSON.stringify(engine)}: must be kernel, user or auto`);
    }
    const address = host['address'];
    const roles = host['roles'] === undefined ? ['host'] : strings(host['roles'], ['spec', 'hosts', index, 'roles'], fault);
    for (const role of roles) {
      if (role !== 'host' && role !== 'gateway') fault(['spec', 'hosts', index, 'roles'], `"${role}": must be host or gateway`);
    }
    return {
      name: labelled(host['name'], ['spec', 'hosts', index, 'name'], fault),
      engine: engine as LabHostSpec['engine'],
      roles: roles as LabHostSpec['roles'],
      ...(typeof address === 'string' ? { address } : {}),
    };
  });
  if (hosts.length === 0) fault(['spec', 'hosts'], 'a lab needs at least one host');
  const names = new Set(hosts.map((host) => host.name));
  if (names.size !== hosts.length) fault(['spec', 'hosts'], 'a host name is used twice');
  const externalNetworks = list(spec['externalNetworks']).map((network, index): LabExternalSpec => {
    const at = ['spec', 'externalNetworks', index];
    const members = strings(network['members'], [...at, 'members'], fault);
    for (const member of members) {
      if (!names.has(member)) fault([...at, 'members'], `"${member}": must be one of the lab's hosts (${[...names].join(', ')})`);
    }
    const servers = strings(network['servers'], [...at, 'servers'], fault);
    for (const server of servers) if (isIP(server) === 0) fault([...at, 'servers'], `"${server}": must be an IPv4 or IPv6 address`);
    const name = labelled(network['name'], [...at, 'name'], fault);
    if (name.length > 11) fault([...at, 'name'], `"${name}": must be at most 11 long, as the hosts' device is ext-NAME`);
    const [, prefix] = /^(\d+\.\d+\.\d+)\.0\/24$/.exec(String(network['prefix'] ?? '')) ?? [];
    if (network['prefix'] !== undefined && (prefix === undefined || isIP(`${prefix}.0`) !== 4))
      fault([...at, 'prefix'], `${JSON.stringify(network['prefix'])}: must be an IPv4 prefix of 24 bits`);
    const [, prefix6] = /^([0-9a-f:]+)::\/64$/.exec(String(network['prefix6'] ?? '')) ?? [];
    if (network['prefix6'] !== undefined && (prefix6 === undefined || isIP(`${prefix6}::`) !== 6))
      fault([...at, 'prefix6'], `${JSON.stringify(network['prefix6'])}: must be an IPv6 prefix of 64 bits that ends in "::/64"`);
    const routes = list(network['routes']).map((route, number) => {
      const [destination, via] = [String(route['prefix'] ?? ''), String(route['via'] ?? '')];
      const family = isIP(via);
      const place = [...at, 'routes', number];
      if (family === 0 || isIP(destination.split('/')[0]!) !== family || !/\/\d+$/.test(destination))
        fault(place, `"${destination}" via "${via}": must be a prefix and an address of the same family`);
      return { prefix: destination, via };
    });
    return { name, members, servers, routes, ...(prefix === undefined ? {} : { prefix }), ...(prefix6 === undefined ? {} : { prefix6 }) };
  });
  if (new Set(externalNetworks.map(({ name }) => name)).size !== externalNetworks.length)
    fault(['spec', 'externalNetworks'], 'the name of an external network is used twice');
  const vms = list(spec['vms']).map((vm, index): LabVmSpec => {
    const kind = vm['kind'] ?? 'netns';
    if (kind !== 'netns' && kind !== 'qemu') fault(['spec', 'vms', index, 'kind'], `${JSON.stringify(kind)}: must be netns or qemu`);
    const host = String(vm['host'] ?? '');
    if (!names.has(host)) fault(['spec', 'vms', index, 'host'], `"${host}": must be one of the lab's hosts (${[...names].join(', ')})`);
    const port = String(vm['port'] ?? '');
    if (port.split('/').length !== 3) fault(['spec', 'vms', index, 'port'], `"${port}": must be tenant/network/port`);
    return { name: labelled(vm['name'], ['spec', 'vms', index, 'name'], fault), host, port, kind: kind as VmKind };
  });
  const vmNames = new Set(vms.map((vm) => vm.name));
  if (vmNames.size !== vms.length) fault(['spec', 'vms'], 'a VM name is used twice');
  if (new Set(vms.map((vm) => vm.port)).size !== vms.length) fault(['spec', 'vms'], 'a port is given to two VMs');
  const name = ((document['metadata'] ?? {}) as Raw)['name'];
  return {
    name: typeof name === 'string' ? name : undefined,
    underlay: {
      mtuBytes: mtu as number,
      segmentationOffload: underlay['segmentationOffload'] !== false,
      managementNetwork: underlay['managementNetwork'] === true,
    },
    natsServers: servers as 1 | 3,
    controllers: controllers as number,
    hosts,
    externalNetworks,
    vms,
  };
}

function strings(value: unknown, path: readonly (string | number)[], fault: Fault): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value as string[];
  fault(path, `${JSON.stringify(value)}: must be a list of texts`);
  return [];
}

function list(value: unknown): readonly Raw[] {
  return Array.isArray(value) ? (value as unknown[]).map((item) => (typeof item === 'object' && item !== null ? (item as Raw) : {})) : [];
}

/** VM and host names become parts of device and namespace names. */
function labelled(value: unknown, path: readonly (string | number)[], fault: Fault): string {
  const name = String(value ?? '');
  if (!/^[a-z0-9][a-z0-9-]{0,11}$/.test(name)) fault(path, `"${name}": must be 1 to 12 of a-z, 0-9 and "-", and not begin with "-"`);
  return name;
}
