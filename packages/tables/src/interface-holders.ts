import type { Gateway } from '@weft/model';

/** Which gateway an interface of a host serves, and which others name it in vain. */
export interface InterfaceHolder {
  readonly interface: string;
  /** Id of the gateway that has it. */
  readonly gatewayId: string;
  /** Names of all gateways that name it, its own first. */
  readonly named: readonly string[];
}

/**
 * An interface is one segment's: a frame that comes in by it belongs there. Of several gateways that name it on one host the one whose segment is the
 * oldest has it (their numbers rise and are never given twice), so that a new gateway takes nothing from one that works.
 */
export function interfaceHolders(gateways: readonly Gateway[], hostId: string): ReadonlyMap<string, InterfaceHolder> {
  const wishes = gateways.flatMap((gateway) =>
    (gateway.members.find(({ host }) => host === hostId)?.interfaces ?? []).flatMap((one) => {
      const segment = gateway.segments.find(({ name }) => name === one.segment);
      return segment === undefined ? [] : [{ gateway, interface: one.interface, segment: segment.id }];
    }),
  );
  const holders = new Map<string, InterfaceHolder>();
  for (const wish of wishes.sort((a, b) => a.segment - b.segment)) {
    const holder = holders.get(wish.interface);
    holders.set(wish.interface, {
      interface: wish.interface,
      gatewayId: holder?.gatewayId ?? wish.gateway.id,
      named: [...(holder?.named ?? []), wish.gateway.name],
    });
  }
  return holders;
}
