import { join } from 'node:path';
import {
  createVmNetns,
  type Endpoint,
  type ExecOptions,
  ipBatch,
  ipJson,
  type LabHost,
  NetnsWorker,
  QemuVm,
  type Registry,
  type RunResult,
  setSysctls,
  VmNetns,
  type VmNicInit,
} from '@weft/testkit';
import type { LabVmSpec } from './lab-file.ts';

/** What is noted of a VM, so that another process finds it again. */
export interface LabVmNote {
  readonly spec: LabVmSpec;
  readonly nic: VmNicInit;
  /** Host it runs on now. */
  readonly host: string;
  /** Device on that host: the TAP, or the host's end of the veth pair. */
  readonly device: string;
}

/** A VM of a lab: a namespace, or a QEMU guest. */
export class LabVm implements Endpoint {
  readonly name: string;
  readonly spec: LabVmSpec;
  readonly nic: VmNicInit;
  readonly #registry: Registry;
  #note: LabVmNote;
  #netns: VmNetns | undefined;
  #guest: QemuVm | undefined;
  #worker: NetnsWorker | undefined;

  constructor(note: LabVmNote, registry: Registry) {
    this.name = note.spec.name;
    this.spec = note.spec;
    this.nic = note.nic;
    this.#note = note;
    this.#registry = registry;
  }

  get busybox(): boolean {
    return this.spec.kind === 'qemu';
  }

  /** Host it runs on now. */
  get host(): string {
    return this.#note.host;
  }

  /** Device on that host. */
  get device(): string {
    return this.#note.device;
  }

  get note(): LabVmNote {
    return this.#note;
  }

  /** First address of the family, without prefix length. */
  address(family: 4 | 6 = 4): string {
    const found = this.nic.addresses.find((address) => address.includes(':') === (family === 6));
    if (found === undefined) throw new RangeError(`VM "${this.name}" has no IPv${family} address`);
    return found.split('/')[0]!;
  }

  get mac(): string {
    return this.nic.mac;
  }

  /** Namespace of a VM of kind netns. @throws {RangeError} For a guest, which has none. */
  get netns(): VmNetns {
    if (this.spec.kind !== 'netns') throw new RangeError(`VM "${this.name}" is a QEMU guest: it has no network namespace`);
    this.#netns ??= VmNetns.attach({
      name: this.name,
      netns: `weft-${this.#registry.name}-vm-${this.name}`,
      hostNetns: `weft-${this.#registry.name}-${this.#note.host}`,
      hostDevice: this.#note.device,
      mac: this.nic.mac,
      addresses: this.nic.addresses,
    });
    return this.#netns;
  }

  get guest(): QemuVm | undefined {
    return this.#guest;
  }

  /** A helper process in the VM's namespace that opens sockets there; started at first use. */
  async worker(): Promise<NetnsWorker> {
    this.#worker ??= await NetnsWorker.start(this.netns.netns, { registry: this.#registry });
    return this.#worker;
  }

  async exec(argv: readonly string[], options?: ExecOptions): Promise<RunResult> {
    if (this.spec.kind === 'netns') return this.netns.exec(argv, options);
    return (await this.#attachGuest()).exec(argv, options);
  }

  /** Makes the VM; of a guest nothing is there before `boot`, as its TAP is made when the port is bound. */
  async create(host: LabHost): Promise<void> {
    if (this.spec.kind !== 'netns') return;
    this.#netns = await createVmNetns({
      ...this.nic,
      name: this.name,
      netns: `weft-${this.#registry.name}-vm-${this.name}`,
      hostNetns: host.netns,
      hostDevice: this.#note.device,
      registry: this.#registry,
    });
  }

  /** Boots a guest on its TAP, which must be there by now. */
  async boot(host: LabHost, cacheDir: string, outlive: boolean): Promise<void> {
    if (this.spec.kind !== 'qemu') return;
    this.#guest = await QemuVm.start({
      ...this.nic,
      name: this.name,
      tap: this.#note.device,
      hostNetns: host.netns,
      dir: join(host.dir, this.name),
      cacheDir,
      registry: this.#registry,
      outlive,
    });
  }

  async #attachGuest(): Promise<QemuVm> {
    this.#guest ??= await QemuVm.attach({
      ...this.nic,
      name: this.name,
      dir: join(`/run/weft/labs/${this.#registry.name}.d`, this.#note.host, this.name),
    });
    return this.#guest;
  }

  /**
   * The first half of a move as a live migration makes it: a second NIC, down, whose other end is `device` on the host to go to.
   */
  async prepareNic(host: LabHost, device: string): Promise<void> {
    const mtu = String(this.nic.mtu ?? 1450);
    await this.#registry.make([{ kind: 'device', name: device, netns: host.netns }], async () => {
      await ipBatch([
        [
          ...['link', 'add', device, 'mtu', mtu, 'netns', host.netns, 'type', 'veth'],
          ...['peer', 'name', 'eth1', 'mtu', mtu, 'address', this.nic.mac, 'netns', this.netns.netns],
        ],
      ]);
      await setSysctls(host.netns, { [`net/ipv6/conf/${device}/disable_ipv6`]: 1 });
      await ipBatch([['link', 'set', device, 'arp', 'off', 'up']], host.netns);
    });
  }

  /** The second half: the new NIC takes the old one's place, in one go. Processes and connections of the VM live on. */
  async switchNic(host: LabHost, device: string): Promise<void> {
    // A live migration carries the guest's memory over, its neighbour cache among it.
    const neighbours = await ipJson<{ dst: string; lladdr?: string }>(['neigh', 'show', 'dev', 'eth0'], this.netns.netns);
    await ipBatch(
      [
        ['link', 'del', 'eth0'],
        ['link', 'set', 'eth1', 'name', 'eth0'],
        ...this.nic.addresses.map((address) => ['address', 'add', address, 'dev', 'eth0', ...(address.includes(':') ? ['nodad'] : [])]),
        ['link', 'set', 'eth0', 'up'],
        ...neighbours.flatMap(({ dst, lladdr }) =>
          lladdr === undefined ? [] : [['neigh', 'replace', dst, 'lladdr', lladdr, 'dev', 'eth0', 'nud', 'stale']],
        ),
        ...(this.nic.gateways ?? []).map((gateway) => ['route', 'add', gateway.includes(':') ? '::/0' : 'default', 'via', gateway]),
      ],
      this.netns.netns,
    );
    this.#note = { ...this.#note, host: host.name, device };
    this.#netns = undefined;
    this.#registry.note(`vm.${this.name}`, this.#note);
  }

  /** Lets go of the VM, which runs on. */
  async close(): Promise<void> {
    await this.#guest?.detach();
    this.#guest = undefined;
    await this.#worker?.stop();
    this.#worker = undefined;
  }
}
