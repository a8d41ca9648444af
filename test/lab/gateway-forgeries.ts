import { openEnvelope, type Subscription } from '@weft/bus';
import { gatewayMac, gatewayPortMac } from '@weft/forwarding';
import { type OwnershipCertificate, ownershipMessageCodec } from '@weft/model';
import { buildUdpFrame, buildVxlanFrame } from '@weft/packet';
import type { LabHost } from '@weft/testkit';
import { inNetns, openPacketSocket } from '@weft/tuntap';
import { type GatewayLab, SERVER, type Tenant, VM_ADDRESS, VM_MAC } from './gateway-support.ts';

/** A certificate as it went over NATS: message, envelope and all. */
export interface HeardGrant {
  readonly bytes: Uint8Array;
  readonly from: string;
  readonly certificate: OwnershipCertificate;
}

/** Keeps every certificate that is sent over NATS, so that it can be sent once more when it is worth nothing. */
export class GrantRecorder {
  readonly heard: HeardGrant[] = [];
  readonly #subscription: Subscription;

  constructor({ lab, networks }: GatewayLab) {
    const { gatewayId } = networks.get('coke')!.gateway!;
    this.#subscription = lab.bus.onOwnership('grants', gatewayId, (bytes) => {
      const { from, body } = ownershipMessageCodec.decode(openEnvelope(bytes, 'ownership').payload);
      if (body.kind === 'certificate') this.heard.push({ bytes, from, certificate: body.value });
    });
  }

  /** The grant of a shard's epoch. What tests repeat of old ones is heard, too, and comes after it. */
  newestOf(shard: number, epoch: bigint): HeardGrant {
    const found = this.heard.findLast(({ certificate: { ballot } }) => ballot.shards.includes(shard) && ballot.epoch === epoch);
    if (found === undefined) throw new Error(`No grant of shard ${shard} in epoch ${epoch}; ${this.story()}`);
    return found;
  }

  /** All that was heard, in order, for a failed case. */
  story(): string {
    const one = ({ from, certificate: { ballot } }: HeardGrant): string =>
      `${from}: shards ${ballot.shards}, list of voters ${ballot.config}, epoch ${ballot.epoch}`;
    return `heard of grants: ${this.heard.map(one).join('; ')}`;
  }

  async stop(): Promise<void> {
    await this.#subscription.stop();
  }
}

/** Puts frames on a host's wire, past all that its own packet path would say to them. */
export function putOnWire(netns: string, device: string, frames: readonly Uint8Array[]): void {
  const socket = inNetns(`/run/netns/${netns}`, () => openPacketSocket({ interfaceName: device }));
  try {
    for (const frame of frames) socket.write(frame);
  } finally {
    socket.close();
  }
}

/** An answer of the server to a tenant's VM, in a tunnel from a gateway, as it comes when that gateway was asked while it was the owner. */
export function lateAnswer(group: GatewayLab, tenant: Tenant, from: LabHost, mark: string): Uint8Array {
  const vsid = vsidOf(group, tenant, 'blue');
  const macs = { sourceMac: gatewayMac(vsid), destinationMac: VM_MAC };
  const inner = buildUdpFrame(
    { ...macs, source: SERVER, destination: VM_ADDRESS, sourcePort: 7, destinationPort: 9 },
    new TextEncoder().encode(mark),
  );
  return inTunnel(from, group.lab.host('h1'), vsid, inner);
}

/** A datagram of a tenant's VM to the server, in a tunnel to a gateway, as h1 sends it while it believes that gateway to be the owner. */
export function lateRequest(
  group: GatewayLab,
  tenant: Tenant,
  to: LabHost,
  ports: readonly [own: number, server: number],
  mark: string,
): Uint8Array {
  const vsid = vsidOf(group, tenant, 'weft-gateway');
  const macs = { sourceMac: gatewayMac(vsid), destinationMac: gatewayPortMac(vsid) };
  const [sourcePort, destinationPort] = ports;
  const inner = buildUdpFrame(
    { ...macs, source: VM_ADDRESS, destination: SERVER, sourcePort, destinationPort },
    new TextEncoder().encode(mark),
  );
  return inTunnel(group.lab.host('h1'), to, vsid, inner);
}

function vsidOf(group: GatewayLab, tenant: Tenant, subnet: string): number {
  return group.networks.get(tenant)!.subnets.find(({ name }) => name === subnet)!.vsid;
}

function inTunnel(from: LabHost, to: LabHost, vni: number, inner: Uint8Array): Uint8Array {
  const link = { sourceMac: from.underlayMac, destinationMac: to.underlayMac, source: from.address, destination: to.address };
  return buildVxlanFrame({ ...link, sourcePort: 50_000, vni }, inner);
}
