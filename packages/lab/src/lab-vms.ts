import type { PortBinding } from '@weft/model';
import type { LabNet } from '@weft/testkit';
import type { LabClient } from './client.ts';
import { LabError } from './errors.ts';
import type { LabSpec } from './lab-file.ts';
import { LabVm, type LabVmNote } from './lab-vm.ts';

/** Makes the lab file's VMs, each with its port bound, four at a time. */
export async function makeVms(
  net: LabNet,
  spec: LabSpec,
  client: LabClient,
  init: { readonly keep: boolean; readonly cacheDir: string },
): Promise<ReadonlyMap<string, LabVm>> {
  const vms = new Map<string, LabVm>();
  const records = await client.list();
  const networks = new Map(records.flatMap(({ record }) => (record?.kind === 'network' ? [[record.value.id, record.value]] : [])));
  await eachAtMost(spec.vms, 4, async (vmSpec) => {
    const port = await client.port(vmSpec.port, records);
    const subnet = networks.get(port.routingDomainId)?.subnets.find((one) => one.vsid === port.vsid);
    if (subnet === undefined)
      throw new LabError('WEFT_ERR_LAB_START', `Port ${vmSpec.port} lies in VSID ${port.vsid}, which its network lacks`);
    const lengths = new Map(subnet.prefixes.map((prefix) => [prefix.includes(':'), prefix.split('/')[1]!]));
    const note: LabVmNote = {
      spec: vmSpec,
      host: vmSpec.host,
      device: `vm-${vmSpec.name}`,
      nic: {
        mac: port.mac,
        addresses: port.addresses.map(
          (address) => `${address}/${lengths.get(address.includes(':')) ?? (address.includes(':') ? '128' : '32')}`,
        ),
        gateways: subnet.gateways.filter((gateway) => port.addresses.some((address) => address.includes(':') === gateway.includes(':'))),
        mtu: spec.underlay.mtuBytes - 50,
      },
    };
    const vm = new LabVm(note, net.registry);
    net.registry.note(`vm.${vmSpec.name}`, note);
    const host = net.host(vmSpec.host);
    await vm.create(host);
    await client.ask(
      vmSpec.host,
      {
        kind: 'bindPort',
        value: {
          routingDomainId: port.routingDomainId,
          portId: port.id,
          device: note.device,
          deviceKind: vmSpec.kind === 'qemu' ? 'tap' : 'netdev',
          expectedGeneration: 0,
          move: false,
        },
      },
      'bindPort',
    );
    vms.set(vmSpec.name, vm);
    if (vmSpec.kind === 'qemu') await vm.boot(host, init.cacheDir, init.keep);
  });
  return vms;
}

/**
 * Moves a VM of kind netns to another host as a live migration does: everything is made there first, then the host claims the port and the VM's NIC
 * is switched over. Returns when the new host has the port.
 */
export async function migrateVm(net: LabNet, client: LabClient, vm: LabVm, toHost: string): Promise<PortBinding> {
  const port = await client.port(vm.spec.port);
  const host = net.host(toHost);
  const device = vm.device;
  await vm.prepareNic(host, device);
  const place = { routingDomainId: port.routingDomainId, portId: port.id, device, deviceKind: 'netdev' as const };
  await client.bus.request(toHost, { kind: 'preparePort', value: place }, { identity: client.admin });
  const bound = await client.ask(toHost, { kind: 'bindPort', value: { ...place, expectedGeneration: 0, move: true } }, 'bindPort');
  await vm.switchNic(host, device);
  return bound.binding;
}

async function eachAtMost<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  await Promise.all(
    Array.from({ length: limit }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
    }),
  );
}
