import { DropReason } from '@weft/model';
import type { Nat, NatResult } from './nat.ts';

const NO_ADDRESS = new Uint8Array(16);

/** Without port mapping: every pool is unknown, and nothing is mapped. */
export const noNat: Nat = {
  outbound: () => refusal(DropReason.NAT_POOL_UNKNOWN),
  inbound: () => refusal(DropReason.NAT_NO_MAPPING),
};

function refusal(reason: DropReason): NatResult {
  return { reason, address: NO_ADDRESS, port: 0, networkId: 0 };
}
