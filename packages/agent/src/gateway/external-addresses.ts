import { isOpen, TIMING } from '@weft/election';
import { type GatewayTableChange, type GatewayTableEntry, gatewayRowKey } from '@weft/forwarding';
import { buildAnnouncement, formatIp, formatMac } from '@weft/packet';
import { messageOf } from '../errors.ts';
import type { AgentParts } from '../role.ts';
import { AddressConflicts } from './address-conflicts.ts';
import { AddressDefence } from './address-defence.ts';
import { type Announced, Announcer } from './announcer.ts';
import type { ExternalDeviceState } from './external-devices.ts';
import { HandoverPause } from './handover-pause.ts';
import type { ExternalWires } from './packet-wires.ts';

type ExternalAddressRow = GatewayTableEntry & { readonly table: 'external_address' };

export interface ExternalAddressesInit {
  readonly parts: AgentParts;
  readonly wires: Pick<ExternalWires, 'send'>;
}

/**
 * Tells the outside whose the external addresses are: announces those of shards that this machine owns, is silent about the others, and notices when somebody
 * else claims one of them.
 */
export class ExternalAddresses {
  readonly #init: ExternalAddressesInit;
  readonly #announcer: Announcer;
  readonly #pause: HandoverPause;
  readonly #conflicts = new AddressConflicts();
  readonly #defence = new AddressDefence();
  /** By shard: what was announced, as text, and since when it is owned. */
  readonly #announced = new Map<number, string>();
  readonly #ownedSince = new Map<number, number>();
  /** By segment, the device that reaches it. */
  #devices: ReadonlyMap<number, ExternalDeviceState> = new Map();
  /** Device indexes by segment, as rows say. */
  readonly #segments = new Map<number, number>();
  readonly #addressRows = new Map<string, ExternalAddressRow>();
  #addresses: readonly ExternalAddressRow[] = [];
  #stopped = false;

  constructor(init: ExternalAddressesInit) {
    this.#init = init;
    const { clock, datapath } = init.parts;
    this.#pause = new HandoverPause(clock, datapath, () => {
      if (!this.#stopped) this.announce();
    });
    this.#announcer = new Announcer({
      clock,
      isOpen: (shard) => this.#isOpen(shard),
      send: (device, frame) => init.wires.send(device, frame),
      onError: (device, error) => this.#warn(device, error),
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#announcer.stop();
  }

  /**
   * Takes what has changed of what there is to tell of: around it stand tens of thousands of rows of networks.
   *
   * @param changes Of the gateway's rows, as records have them: of these, segments and external addresses count.
   * @param known The external devices that are there.
   */
  takeRows(changes: Iterable<GatewayTableChange>, known: Iterable<ExternalDeviceState>): void {
    let areOthers = false;
    for (const change of changes) {
      if (change.table === 'segment') {
        if (change.op === 'put') this.#segments.set(change.key.segment, change.value.ifindex);
        else this.#segments.delete(change.key.segment);
      } else if (change.table === 'external_address') {
        areOthers = true;
        if (change.op === 'put') this.#addressRows.set(gatewayRowKey(change), change);
        else this.#addressRows.delete(gatewayRowKey(change));
      }
    }
    if (areOthers) this.#addresses = [...this.#addressRows.values()];
    const byIndex = new Map([...known].map((device) => [device.ifindex, device]));
    this.#devices = new Map(
      [...this.#segments].flatMap(([segment, ifindex]) => {
        const device = byIndex.get(ifindex);
        return device === undefined ? [] : [[segment, device] as const];
      }),
    );
  }

  /** Announces the addresses of shards that are owned, and keeps quiet about the others. */
  announce(): void {
    const { gateways, clock } = this.#init.parts;
    const now = clock.now();
    const open = new Map(
      [...gateways.fences()].flatMap((row) =>
        isOpen(row, now) && gateways.isConfirmed(row.shard) ? [[row.shard, row.epoch] as const] : [],
      ),
    );
    const addresses = new Map<number, Announced[]>();
    for (const { key, value } of this.#addresses) {
      const device = this.#devices.get(key.segment);
      if (device === undefined || !open.has(value.shard)) continue;
      const what = { device: device.name, mac: device.mac, addresses: [key.address] };
      addresses.set(value.shard, [...(addresses.get(value.shard) ?? []), what]);
    }
    for (const shard of this.#announced.keys()) {
      if (addresses.has(shard)) continue;
      this.#announcer.withdraw(shard);
      this.#announced.delete(shard);
      this.#ownedSince.delete(shard);
    }
    const waiting = this.#pause.waiting(new Map([...open].filter(([shard]) => !this.#announced.has(shard))));
    for (const [shard, what] of addresses) {
      if (waiting.has(shard)) continue;
      const mark = `${open.get(shard)} ${what.map((one) => `${one.device}/${formatMac(one.mac)}/${one.addresses.map(formatIp)}`).join(' ')}`;
      if (this.#announced.get(shard) === mark) continue;
      this.#announced.set(shard, mark);
      if (!this.#ownedSince.has(shard)) this.#ownedSince.set(shard, now);
      this.#announcer.announce(shard, what);
    }
  }

  /** Notices other machines' claims of addresses: answers for those that are ours, and tells the groups. Called once a second. */
  watchClaims(): void {
    const { clock, datapath, gateways, trust } = this.#init.parts;
    const now = clock.now();
    const rowsOn = (ifindex: number): ExternalAddressRow[] =>
      this.#addresses.filter((row) => this.#devices.get(row.key.segment)?.ifindex === ifindex);
    const ownOn = (ifindex: number): Uint8Array[] => rowsOn(ifindex).map((row) => row.key.address);
    for (const { ifindex, address, mac } of this.#conflicts.look(datapath.drops(), ownOn)) {
      const rows = rowsOn(ifindex);
      const row = rows.find(({ key }) => address !== undefined && Buffer.compare(key.address, address) === 0);
      const since = row === undefined ? undefined : this.#ownedSince.get(row.value.shard);
      const claimed = address === undefined ? undefined : formatIp(address);
      const owned = rows.filter(({ value }) => this.#isOpen(value.shard)).map(({ key }) => formatIp(key.address));
      this.#defence.claimed(ifindex, claimed, owned);
      if (row === undefined || claimed === undefined || since === undefined) continue;
      const isMember = trust.hosts().some(({ externalLinks }) => externalLinks.some((link) => link.mac === formatMac(mac)));
      // The former owner's last word, put on the wire before it knew, is no reason for an alarm.
      if (isMember && now - since < TIMING.handoverMs) continue;
      for (const { id, assignment } of gateways.memberships()) {
        if (assignment?.shards.some((shard) => shard.id === row.value.shard) !== true) continue;
        gateways.driver(id)?.step({ kind: 'external-conflict', address: claimed });
      }
    }
    for (const [ifindex, addresses] of this.#defence.take(now)) this.#defend(rowsOn(ifindex), new Set(addresses));
  }

  /** Says once more whose addresses are: to neighbours that have just heard something else. */
  #defend(rows: readonly ExternalAddressRow[], addresses: ReadonlySet<string>): void {
    for (const { key, value } of rows) {
      const device = this.#devices.get(key.segment)!;
      if (!addresses.has(formatIp(key.address)) || !this.#isOpen(value.shard)) continue;
      try {
        for (const frame of buildAnnouncement(device.mac, key.address)) this.#init.wires.send(device.name, frame);
      } catch (error) {
        this.#warn(device.name, error);
        return;
      }
    }
  }

  #warn(device: string, error: unknown): void {
    this.#init.parts.logger.warn({ device, reason: messageOf(error) }, 'external addresses not announced');
  }

  /** Whether the packet path forwards for a shard now, by a grant that this process has heard of. */
  #isOpen(shard: number): boolean {
    const { gateways, clock } = this.#init.parts;
    const row = gateways.fences().find((one) => one.shard === shard);
    return isOpen(row, clock.now()) && gateways.isConfirmed(shard);
  }
}
