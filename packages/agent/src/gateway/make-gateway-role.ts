import type { NatKey } from '@weft/forwarding';
import { AgentError } from '../errors.ts';
import type { AgentParts } from '../role.ts';
import { GatewayRole } from './gateway-role.ts';
import { makeNatLog } from './make-nat-log.ts';
import { NatSetupControl } from './nat-control.ts';
import { StateKeeper } from './state/keeper.ts';

/** @throws {AgentError} `WEFT_ERR_AGENT_CONFIG` with the user-space engine, which forwards for nobody once its process is gone. */
export function makeGatewayRole(parts: AgentParts): GatewayRole {
  const { datapath, clock } = parts;
  if (datapath.engine === 'user') {
    throw new AgentError(
      'WEFT_ERR_AGENT_CONFIG',
      'Cannot take the role gateway with the user-space engine: start with engine kernel, or without that role; the log says why the kernel engine did not start',
      { path: 'roles', value: 'gateway' },
    );
  }
  const isServed = ({ segment, address }: NatKey<'free'>): boolean => {
    const row = datapath.gateway
      .entries('external_address')
      .find((one) => one.table === 'external_address' && one.key.segment === segment && Buffer.compare(one.key.address, address) === 0);
    const now = BigInt(Math.floor(clock.now() * 1e6));
    return datapath.gateway
      .entries('gateway_shard')
      .some(
        (one) =>
          one.table === 'gateway_shard' &&
          row?.table === 'external_address' &&
          one.key.shard === row.value.shard &&
          now < one.value.deadlineBootNs,
      );
  };
  const { gateways, init, identity, logger, conditions } = parts;
  return new GatewayRole(parts, {
    nat: new NatSetupControl({
      store: datapath.gateway.nat,
      runSweep: (steps) => datapath.gateway.sweepNat(steps).steps,
      sessionsMax: () => datapath.gateway.natSessionsMax(),
      shareSessions: (share) => datapath.gateway.shareNatSessions(share),
      isServed,
      resize: (key, own) => void datapath.gateway.sliceNat(key, own),
    }),
    log: makeNatLog(parts),
    makeState: (of) =>
      new StateKeeper({
        ...of,
        ...{ self: init.hostId, providerAddress: init.providerAddress, clock, logger, conditions, identity, store: datapath.gateway.nat },
        successions: () => gateways.successions(),
        own: () => new Set(gateways.successions().map(({ shard }) => shard)),
        ownerOf: (shard) => gateways.obeyed(shard),
        isForeign: (shard, segment) => gateways.isForeign(shard, segment),
        member: (hostId) => gateways.member(hostId),
        isMemberAddress: (address) => gateways.isMemberAddress(address),
      }),
  });
}
