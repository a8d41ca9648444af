import type { Lab } from '@weft/lab';
import { type Gateway, gatewaySpecOf } from '@weft/model';

// What `weft gateway drain|undrain|move` ask a controller for, asked from here: the command is a process of its own, and starting it takes a processor away from the gateways for
// half a second, in the middle of what is measured.

/** Takes a member out of work, or gives it work again. @throws {LabError} When the controller refuses. */
export async function setDrained(lab: Lab, host: string, drain: boolean): Promise<void> {
  const spec = gatewaySpecOf(await onlyGateway(lab));
  const members = spec.members.map((one) => (one.host === host ? { ...one, drain } : one));
  const resources = [{ kind: 'gateway' as const, value: { ...spec, members } }];
  await lab.ask('controller', { kind: 'apply', value: { resources, dryRun: false } }, 'apply');
}

/** Makes a member the preferred owner of a shard. @throws {LabError} When the controller refuses. */
export async function moveShard(lab: Lab, shard: number, to: string): Promise<void> {
  const { id: gatewayId } = await onlyGateway(lab);
  const value = { gatewayId, assignmentRevision: 0, step: { kind: 'move' as const, value: { shards: [shard], to } } };
  await lab.ask('controller', { kind: 'gatewayStep', value }, 'gatewayStep');
}

async function onlyGateway(lab: Lab): Promise<Gateway> {
  const list = { kinds: ['Gateway'], tenant: '', network: '', name: '' };
  const { records } = await lab.ask('controller', { kind: 'list', value: list }, 'list');
  for (const { record } of records) if (record?.kind === 'gateway') return record.value;
  throw new Error('there is no gateway in this lab');
}
