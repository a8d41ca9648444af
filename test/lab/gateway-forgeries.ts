import { openEnvelope, type Subscription } from '@weft/bus';
import { gatewayMac } from '@weft/forwarding';
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
  const to = group.lab.host('h1');
  const { vsid } = group.networks.get(tenant)!.subnets.find(({ name }) => name === 'blue')!;
  const inner = buildUdpFrame(
    {
      sourceMac: gatewayMac(vsid),
      destinationMac: VM_MAC,
      source: SERVER,
      destination: VM_ADDRESS,
      sourcePort: 7,
      destinationPort: 9,
    },
    new TextEncoder().encode(mark),
  );
  const link = { sourceMac: from.underlayMac, destinationMac: to.underlayMac, source: from.address, destination: to.address };
  return buildVxlanFrame({ ...link, sourcePort: 50_000, vni: vsid }, inner);
}
