import type { Lab, LabVm } from '@weft/lab';
import { createNetns, ipBatch, NetnsEndpoint, NetnsWorker, setSysctls } from '@weft/testkit';

// Networks that no lab file has: behind a VM that routes, and far out behind another router.

/** A namespace of its own behind a VM, by the VM's second interface, with all of `addresses`. The way there takes packets of `mtu` at most. */
export async function branchBehind(lab: Lab, vm: LabVm, addresses: readonly string[], mtu = 1450): Promise<NetnsEndpoint> {
  const netns = `weft-${lab.name}-branch-${vm.name}`;
  const router = vm.netns.netns;
  await createNetns(lab.net.registry, [netns]);
  await ipBatch([['link', 'add', 'eth1', 'mtu', String(mtu), 'netns', router, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns]]);
  await setSysctls(router, { 'net.ipv4.ip_forward': 1 });
  await ipBatch(
    [
      ['address', 'add', '172.16.5.1/24', 'dev', 'eth1'],
      ['link', 'set', 'eth1', 'up'],
    ],
    router,
  );
  await ipBatch(
    [
      ...addresses.map((address) => ['address', 'add', `${address}/24`, 'dev', 'eth0']),
      ['link', 'set', 'eth0', 'up'],
      ['route', 'add', 'default', 'via', '172.16.5.1'],
    ],
    netns,
  );
  return new NetnsEndpoint(`branch-${vm.name}`, netns);
}

/** Behind the Internet's router, by a link that takes 1,300 bytes, though both its ends think of 1,500: hosts learn of it by ICMP only. */
export async function farNetwork(lab: Lab, outside: NetnsEndpoint): Promise<NetnsEndpoint> {
  const [middle, far] = [`weft-${lab.name}-middle`, `weft-${lab.name}-far`];
  const narrow = ['mtu', '1300'];
  await createNetns(lab.net.registry, [middle, far]);
  await ipBatch([
    ['link', 'add', 'far0', ...narrow, 'netns', outside.netns, 'type', 'veth', 'peer', 'name', 'eth0', ...narrow, 'netns', middle],
    ['link', 'add', 'eth1', 'netns', middle, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far],
  ]);
  await setSysctls(middle, { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  const join = async (
    netns: string,
    device: string,
    addresses: readonly string[],
    routes: readonly (readonly string[])[],
  ): Promise<void> => {
    await ipBatch(
      [
        ...addresses.map((address) => ['address', 'add', address, 'dev', device, ...(address.includes(':') ? ['nodad'] : [])]),
        ['link', 'set', device, 'up'],
        ...routes.map(([prefix, via]) => ['route', 'add', prefix!, 'via', via!]),
      ],
      netns,
    );
  };
  await join(
    outside.netns,
    'far0',
    ['198.18.8.1/24', '2001:db8:8::1/64', 'fe80::1/64'],
    [
      ['198.18.9.0/24', '198.18.8.2'],
      ['2001:db8:9::/64', '2001:db8:8::2'],
    ],
  );
  await join(
    middle,
    'eth0',
    ['198.18.8.2/24', '2001:db8:8::2/64', 'fe80::2/64'],
    [
      ['default', '198.18.8.1'],
      ['::/0', '2001:db8:8::1'],
    ],
  );
  await join(middle, 'eth1', ['198.18.9.1/24', '2001:db8:9::1/64', 'fe80::1/64'], []);
  await join(
    far,
    'eth0',
    ['198.18.9.10/24', '2001:db8:9::10/64', 'fe80::2/64'],
    [
      ['default', '198.18.9.1'],
      ['::/0', '2001:db8:9::1'],
    ],
  );
  return new NetnsEndpoint('far', far);
}

/** Workers, one a namespace. */
export class Workers {
  readonly #lab: Lab;
  readonly #all = new Map<string, Promise<NetnsWorker>>();

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  at(place: NetnsEndpoint | LabVm): Promise<NetnsWorker> {
    const netns = place.netns instanceof NetnsEndpoint ? place.netns.netns : place.netns;
    const worker = this.#all.get(netns) ?? NetnsWorker.start(netns, { registry: this.#lab.net.registry });
    this.#all.set(netns, worker);
    return worker;
  }
}
