import { type RecordEntry, verifySignature } from '@weft/bus';
import { certificateFault, RULES } from '@weft/election';
import {
  type Assignment,
  assignmentKey,
  assignmentPrefix,
  type GatewayStepRequest,
  moveShards,
  type OwnershipCertificate,
  ownershipConfig,
  recoverAssignment,
  refreshAssignment,
  settleSlices,
  settleVoters,
  type TrustStore,
  WeftError,
} from '@weft/model';
import { untilUndisturbed } from './attempts.ts';
import { type Author, type ControllerComponents, Retry } from './components.ts';
import type { Records } from './records.ts';

// What changes an assignment besides applying a Gateway: consents of its members, and what its hosts say of themselves. Each is one write by
// CAS, and none is made over the write of a request that may still take it back.

const TENDING = 'tend-assignments';

/**
 * Takes a step. One that rests on a revision is taken on that revision or refused. One that rests on any (recover, move) is decided anew when somebody else
 * was faster: so two operators at once do not undo each other.
 * @returns The assignment's revision after it.
 * @throws {WeftError} `WEFT_ERR_TRUST_…` when the signer may not; `WEFT_ERR_CONTROLLER_STALE` when the assignment is gone, or another by now;
 *   `WEFT_ERR_CONTROLLER_CONFLICT` when others were faster again and again.
 */
export async function takeGatewayStep(
  { trust, random }: ControllerComponents,
  records: Records,
  request: GatewayStepRequest,
  author: Author,
): Promise<number> {
  const { gatewayId, assignmentRevision, step } = request;
  const restsOnAny = assignmentRevision === 0 && (step.kind === 'recover' || step.kind === 'move');
  const wasFaster = (reason: string): Error => (restsOnAny ? new Retry(reason) : stale(gatewayId, reason));
  const take = async (): Promise<number> => {
    const entry = await records.get(records.gateways, assignmentKey(gatewayId));
    if (entry?.record?.kind !== 'assignment') throw stale(gatewayId, 'it does not exist');
    const assignment = entry.record.value;
    checkSigner(trust, request, assignment, author.key);
    // The same request again, whose answer was lost.
    if (entry.change.requestId === author.requestId) return entry.revision;
    if (!restsOnAny && entry.revision !== assignmentRevision)
      throw stale(gatewayId, `its revision is ${entry.revision}, the step rests on ${assignmentRevision}`);
    if (await records.isUnderWay(entry.change.requestId)) throw wasFaster('a request is changing it');
    if (step.kind === 'votersSettled') checkSettled(trust, assignment, step.value);
    const after = afterStep(request, assignment, hostOf(trust, author.key));
    const written = await records.tryPut(author, entry.key, '', entry, { kind: 'assignment', value: after }, records.gateways);
    if (written === undefined) throw wasFaster('it was changed meanwhile');
    return written.revision;
  };
  return restsOnAny ? await untilUndisturbed(random, take) : await take();
}

/** Brings every assignment to what its hosts say of themselves: addresses, keys, memories of promises. */
export async function refreshAssignments({ trust, identity, logger }: ControllerComponents, records: Records): Promise<void> {
  const hosts = new Map(trust.hosts().map((host) => [host.id, host]));
  const author: Author = { key: identity.publicKey, name: trust.principal(identity.publicKey)?.name ?? '', requestId: TENDING };
  if (trust.roleOf(identity.publicKey) !== 'controller') return;
  for (const entry of await records.all(records.gateways, assignmentPrefix)) {
    if (entry.record?.kind !== 'assignment') continue;
    const after = refreshAssignment(entry.record.value, hosts);
    if (after === entry.record.value || (await records.isUnderWay(entry.change.requestId))) continue;
    await putQuietly(records, author, entry, after);
    logger.info({ gateway: after.gateway, voters: after.voters.configId }, 'the assignment follows what its hosts say of themselves');
  }
}

/** Several controllers tend at once: one of them writes. */
async function putQuietly(records: Records, author: Author, entry: RecordEntry, value: Assignment): Promise<void> {
  await records.tryPut(author, entry.key, '', entry, { kind: 'assignment', value }, records.gateways);
}

function checkSigner(trust: TrustStore, { step }: GatewayStepRequest, assignment: Assignment, signer: string): void {
  if (step.kind === 'recover' || step.kind === 'move') {
    const refusal = trust.mayAct(signer, '', 'write');
    if (refusal !== undefined) throw refusal;
    return;
  }
  const host = hostOf(trust, signer);
  const votes = [...assignment.voters.voters, ...(assignment.previousVoters?.voters ?? [])].some((voter) => voter.hostId === host);
  const isMember = assignment.members.some(({ hostId }) => hostId === host);
  if (host !== undefined && (step.kind === 'votersSettled' ? votes : isMember)) return;
  throw new WeftError(
    'WEFT_ERR_TRUST_HOST',
    `Cannot change the assignment of gateway ${assignment.gateway}: ${signer} is no ${step.kind === 'votersSettled' ? 'voter' : 'member'} of it`,
    { signer, gateway: assignment.gateway },
  );
}

/** Nobody's word is taken for it: a grant of the new list, with majorities of both. @throws {WeftError} `WEFT_ERR_TRUST_SIGNATURE`. */
function checkSettled(
  trust: TrustStore,
  assignment: Assignment,
  { configId, certificate }: { readonly configId: number; readonly certificate: OwnershipCertificate },
): void {
  if (assignment.previousVoters === undefined || assignment.voters.configId !== configId) return;
  const config = ownershipConfig(assignment, (hostId) => trust.host(hostId)?.publicKey);
  const fault =
    certificate.ballot.config === configId ? certificateFault(config, certificate, verifySignature, RULES) : 'another-configuration';
  if (fault === undefined) return;
  throw new WeftError(
    'WEFT_ERR_TRUST_SIGNATURE',
    `Cannot record list ${configId} of voters of gateway ${assignment.gateway} as settled: its proof does not hold (${fault}); see who sent it`,
    { gateway: assignment.gateway, configId, fault },
  );
}

function hostOf(trust: TrustStore, signer: string): string | undefined {
  const principal = trust.principal(signer);
  return principal?.role === 'host' ? principal.name : undefined;
}

function afterStep({ gatewayId, step }: GatewayStepRequest, assignment: Assignment, host: string | undefined): Assignment {
  switch (step.kind) {
    case 'recover':
      return recoverAssignment(assignment);
    case 'move':
      return moveShards(assignment, step.value.shards, step.value.to);
    case 'blocksReleased': {
      const member = assignment.members.find(({ hostId }) => hostId === host)?.member ?? 0;
      return settleSlices(assignment, member, step.value.blocks);
    }
    case 'votersSettled': {
      const settled = settleVoters(assignment, step.value.configId);
      if (settled === undefined) throw stale(gatewayId, `no change to list ${step.value.configId} of voters is under way`);
      return settled;
    }
  }
}

function stale(gatewayId: string, reason: string): WeftError {
  return new WeftError('WEFT_ERR_CONTROLLER_STALE', `Cannot change the assignment of gateway ${gatewayId}: ${reason}`, { gatewayId });
}
