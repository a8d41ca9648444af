import type { Registry } from '../core/registry.ts';
import { checkDeviceName, ipBatch, setSysctls } from '../net/ip.ts';
import { createNetns, NetnsEndpoint } from '../net/netns.ts';

export interface VmNicInit {
  /** As the tenant sees it: `02:00:00:00:00:01`. */
  readonly mac: string;
  /** Addresses with prefix length, IPv4 and IPv6: `10.0.0.5/24`. */
  readonly addresses: readonly string[];
  /** Default routes' next hops, one of each family at most. */
  readonly gateways?: readonly string[];
  /** Of `eth0`, in bytes. Default 1450: an underlay of 1500 less VXLAN's 50. */
  readonly mtu?: number;
  /** Give `eth0` an IPv6 link-local address, as guests have, and with it the frames that go with one. Default false: only what is asked for. */
  readonly ipv6LinkLocal?: boolean;
}

export interface VmNetnsInit extends VmNicInit {
  readonly name: string;
  /** Namespace of the VM, to be made. */
  readonly netns: string;
  /** Namespace of the host that the VM runs on. */
  readonly hostNetns: string;
  /** Name of the device in the host's namespace (at most 15 long), which the host binds to the port. */
  readonly hostDevice: string;
  readonly registry: Registry;
  /**
   * Bring the host's end up. Default true. Its IPv6 and ARP are off in any case, so that the host's own stack doesn't speak to the VM
   * even while nothing else guards the device.
   */
  readonly hostDeviceUp?: boolean;
}

/** What identifies a VM that is already there. */
export type VmNetnsPlace = VmNicInit & Pick<VmNetnsInit, 'name' | 'netns' | 'hostNetns' | 'hostDevice'>;

/** A virtual machine in the shape of a network namespace with one NIC, `eth0`. */
export class VmNetns extends NetnsEndpoint {
  readonly nic: VmNicInit;
  #hostNetns: string;
  #hostDevice: string;

  /** A VM that is there already, perhaps made by another process; to make one use `createVmNetns` or `tapIntoNetns`. */
  constructor(place: VmNetnsPlace) {
    super(place.name, place.netns);
    this.#hostNetns = place.hostNetns;
    this.#hostDevice = place.hostDevice;
    this.nic = {
      mac: place.mac,
      addresses: place.addresses,
      ...(place.gateways === undefined ? {} : { gateways: place.gateways }),
      ...(place.mtu === undefined ? {} : { mtu: place.mtu }),
      ...(place.ipv6LinkLocal === undefined ? {} : { ipv6LinkLocal: place.ipv6LinkLocal }),
    };
  }

  /** Namespace of the host that the VM is on now. */
  get hostNetns(): string {
    return this.#hostNetns;
  }

  /** The VM's device in its host's namespace. */
  get hostDevice(): string {
    return this.#hostDevice;
  }

  /** The same as the constructor, beside `QemuVm.attach`. */
  static attach(place: VmNetnsPlace): VmNetns {
    return new VmNetns(place);
  }

  /** First address of the family, without prefix length. @throws {RangeError} When it has none. */
  address(family: 4 | 6 = 4): string {
    const found = this.nic.addresses.find((address) => address.includes(':') === (family === 6));
    if (found === undefined) throw new RangeError(`VM "${this.name}" has no IPv${family} address`);
    return found.split('/')[0]!;
  }

  /**
   * Moves the VM's NIC to another host (or to another device of the same one). The old veth pair goes, a new one with the same MAC, addresses
   * and routes comes: what a live migration looks like to the network. The VM's processes and their connections stay.
   */
  async moveTo(hostNetns: string, hostDevice: string, options: { readonly hostDeviceUp?: boolean } = {}): Promise<void> {
    checkDeviceName(hostDevice);
    await ipBatch([['link', 'del', 'eth0']], this.netns);
    this.#hostNetns = hostNetns;
    this.#hostDevice = hostDevice;
    await attachVeth({ ...options, ...this.nic, netns: this.netns, hostNetns, hostDevice });
  }
}

/**
 * Makes a VM as a namespace of its own, with a veth pair to its host.
 *
 * @throws {CommandError} When a name is taken. What was made until then is recorded, and removed with the lab.
 */
export async function createVmNetns(init: VmNetnsInit): Promise<VmNetns> {
  checkDeviceName(init.hostDevice);
  await createNetns(init.registry, [init.netns]);
  await init.registry.make([{ kind: 'device', name: init.hostDevice, netns: init.hostNetns }], () => attachVeth(init));
  return new VmNetns(init);
}

/**
 * The same VM with a TAP in place of the veth pair: the device `hostDevice`, made in the host's namespace by whoever holds its file
 * descriptor, is moved into the VM's namespace and becomes `eth0`. The holder goes on reading what the VM sends and writing what it
 * receives. Programs attached to the device move with it.
 */
export async function tapIntoNetns(init: VmNetnsInit): Promise<VmNetns> {
  checkDeviceName(init.hostDevice);
  await createNetns(init.registry, [init.netns]);
  await ipBatch([['link', 'set', init.hostDevice, 'down', 'netns', init.netns, 'name', 'eth0']], init.hostNetns);
  await configureEth0(init);
  return new VmNetns(init);
}

type NicPlace = Pick<VmNetnsInit, 'netns' | 'hostNetns' | 'hostDevice'>;

async function attachVeth(init: VmNicInit & NicPlace & { readonly hostDeviceUp?: boolean }): Promise<void> {
  const size = ['mtu', String(init.mtu ?? 1450)];
  await ipBatch([
    [
      ...['link', 'add', init.hostDevice, ...size, 'netns', init.hostNetns, 'type', 'veth'],
      ...['peer', 'name', 'eth0', ...size, 'address', init.mac, 'netns', init.netns],
    ],
  ]);
  await setSysctls(init.hostNetns, { [`net/ipv6/conf/${init.hostDevice}/disable_ipv6`]: 1 });
  await ipBatch([['link', 'set', init.hostDevice, 'arp', 'off', ...(init.hostDeviceUp === false ? [] : ['up'])]], init.hostNetns);
  await configureEth0(init);
}

async function configureEth0(init: VmNicInit & { readonly netns: string }): Promise<void> {
  const hasIpv6 = init.addresses.some((address) => address.includes(':'));
  await setSysctls(init.netns, {
    'net.ipv6.conf.eth0.addr_gen_mode': init.ipv6LinkLocal === true ? 0 : 1,
    'net.ipv6.conf.eth0.disable_ipv6': hasIpv6 || init.ipv6LinkLocal === true ? 0 : 1,
  });
  await ipBatch(
    [
      ['link', 'set', 'eth0', 'address', init.mac, 'mtu', String(init.mtu ?? 1450)],
      ...init.addresses.map((address) => ['address', 'add', address, 'dev', 'eth0', ...(address.includes(':') ? ['nodad'] : [])]),
      ['link', 'set', 'eth0', 'up'],
      ...(init.gateways ?? []).map((gateway) => ['route', 'add', gateway.includes(':') ? '::/0' : '0.0.0.0/0', 'via', gateway]),
    ],
    init.netns,
  );
}
