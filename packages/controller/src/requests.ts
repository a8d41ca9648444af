import { type HandlerResult, type IncomingRequest, openEnvelope, problemOf, REQUEST_VALID_MS, type RecordEntry } from '@weft/bus';
import {
  type Command,
  configKey,
  type DrainRequest,
  isEmptyPlan,
  isRequestId,
  nameOfRef,
  nameOfResource,
  type Plan,
  type Problem,
  planApply,
  planDelete,
  planDrain,
  type ResourceChange,
  type ResourceRef,
  requestCodec,
  tenantOfRef,
  tenantOfResource,
  WeftError,
} from '@weft/model';
import { untilUndisturbed } from './attempts.ts';
import { sweepClaims } from './claims.ts';
import { Committer, claimKeys, holderClaim } from './committer.ts';
import { type Author, type ControllerComponents, isBusFailure } from './components.ts';
import { takeGatewayStep } from './gateway-steps.ts';
import { ids } from './ids.ts';
import { IntentLease } from './intent-lease.ts';
import { listRecords } from './list.ts';
import { Records } from './records.ts';
import { type LoadedWorld, WorldLoader } from './world-loader.ts';

/** Carries out requests, each from what stands in the buckets: nothing is kept from one to the next but verified signatures. */
export class RequestHandler {
  readonly records: Records;
  readonly #components: ControllerComponents;
  readonly #loader: WorldLoader;

  readonly #resumeAfterMs: number;

  constructor(components: ControllerComponents, resumeAfterMs: number) {
    this.#components = components;
    this.#resumeAfterMs = resumeAfterMs;
    this.records = new Records(components);
    this.#loader = new WorldLoader(this.records, components);
  }

  async handle(incoming: IncomingRequest): Promise<HandlerResult> {
    const { request, signer } = incoming;
    const { trust, identity } = this.#components;
    if (trust.principal(signer) === undefined || trust.roleOf(identity.publicKey) !== 'controller') await this.records.refreshTrust();
    // What it signed would be refused by every reader, and stand in the way of what another controller writes.
    if (trust.roleOf(identity.publicKey) !== 'controller') {
      throw new WeftError(
        'WEFT_ERR_TRUST_ROLE',
        `Cannot carry out the request: this controller's key ${identity.publicKey} is no controller of this installation; an admin adds it`,
        { signer: identity.publicKey },
      );
    }
    switch (request.command.kind) {
      case 'list':
        return {
          problems: [],
          result: { kind: 'list', value: await listRecords(this.#components, this.records, this.#loader, request.command.value, signer) },
        };
      case 'gatewayStep': {
        const author = this.#author(signer, request.requestId);
        const revision = await takeGatewayStep(this.#components, this.records, request.command.value, author);
        return { problems: [], result: { kind: 'gatewayStep', value: { revision } } };
      }
      case 'apply':
      case 'delete':
      case 'drain': {
        const { command } = request;
        const problems = this.#authorize(command, signer);
        if (problems.length > 0) return { problems, result: undefined };
        if (isDryRun(command)) {
          const { plan, problems: found } = await this.#plan(command, this.#author(signer, request.requestId));
          return answer(found, dryRun(plan));
        }
        return await this.#once(incoming, command);
      }
      default:
        throw new WeftError(
          'WEFT_ERR_CONTROLLER_COMMAND',
          `Cannot carry out "${request.command.kind}": a controller serves apply, delete, drain, list and gatewayStep`,
          { value: request.command.kind },
        );
    }
  }

  /**
   * Takes over a request that another controller left in the middle.
   * @returns False when someone else was faster.
   */
  async resume(intent: RecordEntry): Promise<boolean> {
    if (intent.record?.kind !== 'intent') return false;
    const { payload, signer } = openEnvelope(intent.record.value.request, 'request');
    const request = requestCodec.decode(payload);
    const author = { ...this.#author(signer, request.requestId), resumedSinceMs: request.timeUnixMs - REQUEST_VALID_MS };
    const taken = await this.records.tryPut(author, intent.key, '', intent, intent.record);
    if (taken === undefined) return false;
    const { command } = request;
    let problems: readonly Problem[] = [];
    if (command.kind === 'apply' || command.kind === 'delete' || command.kind === 'drain') {
      problems = this.#authorize(command, signer);
      if (problems.length === 0) problems = (await this.#underLease(taken, author, command)).problems;
      else await this.records.tryPut(author, intent.key, '', taken, undefined);
    }
    this.#components.logger.info(
      { requestId: request.requestId, signer, problems: problems.map((problem) => problem.code) },
      'a request left in the middle was resumed',
    );
    return true;
  }

  /** Writes the intent, works, marks it done: a request id is carried out once, by whichever controller. */
  async #once(incoming: IncomingRequest, command: Change): Promise<HandlerResult> {
    const { requestId } = incoming.request;
    if (!isRequestId(requestId))
      throw new WeftError(
        'WEFT_ERR_MODEL_KEY',
        `Cannot carry out request "${requestId}": its id must be 8 to 64 letters, digits, - and _`,
        { value: requestId },
      );
    const author = this.#author(incoming.signer, requestId);
    const key = configKey.intent(requestId);
    const intent = await this.records.tryPut(author, key, '', undefined, {
      kind: 'intent',
      value: { requestId, request: incoming.envelope },
    });
    if (intent === undefined) {
      throw new WeftError(
        'WEFT_ERR_CONTROLLER_REPEATED',
        `Cannot carry out request ${requestId} again: it was carried out, or is being carried out; see \`weft diff\``,
        { requestId },
      );
    }
    return await this.#underLease(intent, author, command);
  }

  /** Works while the intent is kept alive, and marks it done after; unless NATS failed in the middle, so that someone has to resume it. */
  async #underLease(intent: RecordEntry, author: Author, command: Change): Promise<HandlerResult> {
    const { clock, logger } = this.#components;
    const lease = new IntentLease(this.records, author, clock, intent, this.#resumeAfterMs);
    let done = true;
    try {
      const result = await this.#work(command, author, lease);
      if (author.resumedSinceMs !== undefined) await this.#sweep(command, author);
      return result;
    } catch (error) {
      if (isBusFailure(error)) {
        done = false;
        throw unknownOutcome(error as WeftError, author);
      }
      if (!(error instanceof WeftError)) logger.error({ requestId: author.requestId, error: (error as Error).stack }, 'a request failed');
      return { problems: [problemOf(error)], result: undefined };
    } finally {
      await lease.end(done);
    }
  }

  async #work(command: Change, author: Author, lease: IntentLease): Promise<HandlerResult> {
    const { random, logger } = this.#components;
    const work = async (): Promise<HandlerResult> => {
      const { world, plan, problems } = await this.#plan(command, author);
      const committer = new Committer(this.records, this.#loader, author, lease);
      if (problems.length > 0) {
        await committer.abandon(world);
        return { problems, result: undefined };
      }
      return answer([], isEmptyPlan(plan) ? plan.changes : await committer.carryOut(world, plan));
    };
    return await untilUndisturbed(random, work, (attempt, reason) =>
      logger.info({ requestId: author.requestId, attempt, reason }, 'planning again'),
    );
  }

  /** What the first controller of a resumed request claimed for nothing. */
  async #sweep(command: Change, author: Author): Promise<void> {
    const { ports } = await this.#load(command, author);
    await sweepClaims(this.records, this.#loader, author, (key) => {
      const holder = [...ports.values()].find(({ value }) => claimKeys(value).includes(key));
      return holder && holderClaim(holder.value, key);
    });
  }

  async #load(command: Change, author: Author): Promise<LoadedWorld> {
    switch (command.kind) {
      case 'apply':
        return await this.#loader.forResources(command.value.resources, author);
      case 'delete':
        return await this.#loader.forRefs(command.value.refs, author);
      case 'drain':
        return await this.#loader.forMembers(command.value.gateway, author);
    }
  }

  async #plan(command: Change, author: Author): Promise<{ world: LoadedWorld; plan: Plan; problems: readonly Problem[] }> {
    const world = await this.#load(command, author);
    switch (command.kind) {
      case 'apply':
        return { world, ...planApply(world, command.value, ids) };
      case 'delete':
        return { world, ...planDelete(world, command.value) };
      case 'drain':
        return { world, ...planDrain(world, command.value, ids) };
    }
  }

  #authorize(command: Change, signer: string): Problem[] {
    const items =
      command.kind === 'apply'
        ? command.value.resources.map((resource) => ({ tenant: tenantOfResource(resource), name: nameOfResource(resource) }))
        : (command.kind === 'drain' ? [gatewayOf(command.value)] : command.value.refs).map((ref) => ({
            tenant: tenantOfRef(ref),
            name: nameOfRef(ref),
          }));
    // Who asks for nothing must be someone, too.
    if (items.length === 0 && this.#components.trust.principal(signer) === undefined) items.push({ tenant: '', name: '' });
    return items.flatMap(({ tenant, name }): Problem[] => {
      const refusal = this.#components.trust.mayAct(signer, tenant, isDryRun(command) ? 'read' : 'write');
      if (refusal === undefined) return [];
      return [{ code: refusal.code, resource: name, path: '', value: '', rule: refusal.message, hint: 'ask an admin' }];
    });
  }

  #author(signer: string, requestId: string): Author {
    return { key: signer, name: this.#components.trust.principal(signer)?.name ?? '', requestId };
  }
}

/** What changes documents, and is planned anew while others change them, too. */
type Change = Extract<Command, { readonly kind: 'apply' | 'delete' | 'drain' }>;

function isDryRun(command: Change): boolean {
  return command.kind !== 'drain' && command.value.dryRun;
}

function gatewayOf({ gateway }: DrainRequest): ResourceRef {
  return { kind: 'Gateway', tenant: '', network: '', name: gateway };
}

function unknownOutcome(error: WeftError, { requestId }: Author): WeftError {
  if (error.code === 'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME') return error;
  return new WeftError(
    'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME',
    `Cannot say what of request ${requestId} was carried out (${error.message}): it is resumed when NATS is back; see \`weft diff\``,
    { requestId },
    { cause: error },
  );
}

function answer(problems: readonly Problem[], changes: readonly ResourceChange[]): HandlerResult {
  return problems.length > 0 ? { problems, result: undefined } : { problems: [], result: { kind: 'apply', value: { changes } } };
}

/** What is not known before it is done is said so. */
function dryRun(plan: Plan): ResourceChange[] {
  return plan.changes.map((change) => ({
    ...change,
    fields: change.fields.map((field) => (field.path === 'spec.vsid' && field.after === '0' ? { ...field, after: '(allocated)' } : field)),
  }));
}
