import { type HandlerResult, type IncomingRequest, openEnvelope, problemOf, type RecordEntry } from '@weft/bus';
import {
  type ApplyRequest,
  configKey,
  type DeleteRequest,
  isEmptyPlan,
  isRequestId,
  nameOfRef,
  nameOfResource,
  type Plan,
  type Problem,
  planApply,
  planDelete,
  type ResourceChange,
  requestCodec,
  tenantOfRef,
  tenantOfResource,
  WeftError,
} from '@weft/model';
import { Committer } from './committer.ts';
import { type Author, type ControllerComponents, isBusFailure, Retry } from './components.ts';
import { ids } from './ids.ts';
import { listRecords } from './list.ts';
import { Records } from './records.ts';
import { type LoadedWorld, WorldLoader } from './world-loader.ts';

const ATTEMPTS = 12;
const BACKOFF_MS = 25;
/**
 * How long one request is worked on. After that nothing more is written, so that a controller that resumes it (`RESUME_AFTER_MS` later than it
 * saw it begin) does not meet the first one: 20 s < 45 s, with room for a write that is under way (5 s) and a machine that stood still.
 */
const WORK_MS = 20_000;
export const RESUME_AFTER_MS = 45_000;

/** Carries out requests, each from what stands in the buckets: nothing is kept from one to the next but verified signatures. */
export class RequestHandler {
  readonly records: Records;
  readonly #components: ControllerComponents;
  readonly #loader: WorldLoader;

  constructor(components: ControllerComponents) {
    this.#components = components;
    this.records = new Records(components);
    this.#loader = new WorldLoader(this.records, components);
  }

  async handle(incoming: IncomingRequest): Promise<HandlerResult> {
    const { request, signer } = incoming;
    if (this.#components.trust.principal(signer) === undefined) await this.records.refreshTrust();
    switch (request.command.kind) {
      case 'list':
        return {
          problems: [],
          result: { kind: 'list', value: await listRecords(this.#components, this.records, this.#loader, request.command.value, signer) },
        };
      case 'apply':
      case 'delete': {
        const { command } = request;
        const problems = this.#authorize(command, signer);
        if (problems.length > 0) return { problems, result: undefined };
        if (command.value.dryRun) {
          const { plan, problems: found } = await this.#plan(command);
          return answer(found, dryRun(plan));
        }
        return await this.#once(incoming, command);
      }
      default:
        throw new WeftError(
          'WEFT_ERR_CONTROLLER_COMMAND',
          `Cannot carry out "${request.command.kind}": a controller serves apply, delete and list`,
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
    const author = this.#author(signer, request.requestId);
    const taken = await this.records.tryPut(author, intent.key, '', intent, intent.record);
    if (taken === undefined) return false;
    const { command } = request;
    let problems: readonly Problem[] = [];
    if (command.kind === 'apply' || command.kind === 'delete') {
      problems = this.#authorize(command, signer);
      try {
        if (problems.length === 0) problems = (await this.#work(command, author)).problems;
      } catch (error) {
        if (isBusFailure(error)) throw error;
        problems = [problemOf(error)];
      }
    }
    await this.records.tryPut(author, intent.key, '', taken, undefined);
    this.#components.logger.info(
      { requestId: request.requestId, signer, problems: problems.map((problem) => problem.code) },
      'a request left in the middle was resumed',
    );
    return true;
  }

  /** Writes the intent, works, marks it done: a request id is carried out once, by whichever controller. */
  async #once(incoming: IncomingRequest, command: ApplyOrDelete): Promise<HandlerResult> {
    const { requestId } = incoming.request;
    if (!isRequestId(requestId))
      throw new WeftError(
        'WEFT_ERR_MODEL_KEY',
        `Cannot carry out request "${requestId}": its id must be 8 to 64 letters, digits, - and _`,
        { value: requestId },
      );
    const author = this.#author(incoming.signer, requestId);
    let left = false;
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
    try {
      return await this.#work(command, author);
    } catch (error) {
      if (!isBusFailure(error)) throw error;
      left = true;
      throw new WeftError(
        'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME',
        `Cannot say what of request ${requestId} was carried out (${(error as Error).message}): it is resumed when NATS is back; see \`weft diff\``,
        { requestId },
        { cause: error },
      );
    } finally {
      // Whoever resumed it meanwhile has marked it, or will.
      if (!left) await this.records.tryPut(author, key, '', intent, undefined);
    }
  }

  async #work(command: ApplyOrDelete, author: Author): Promise<HandlerResult> {
    const { clock, random, logger } = this.#components;
    const deadline = clock.monotonic() + WORK_MS;
    const mayGoOn = (): void => {
      if (clock.monotonic() > deadline) throw new Retry('the request took too long');
    };
    let reason = '';
    for (let attempt = 0; attempt < ATTEMPTS && clock.monotonic() < deadline; attempt++) {
      if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS * 2 ** Math.min(attempt, 5) * (0.5 + random())));
      const { world, plan, problems } = await this.#plan(command);
      if (problems.length > 0) return { problems, result: undefined };
      if (isEmptyPlan(plan)) return answer([], plan.changes);
      try {
        const committer = new Committer(this.records, this.#loader, author, mayGoOn);
        return answer([], await committer.carryOut(world, plan));
      } catch (error) {
        if (!(error instanceof Retry)) throw error;
        reason = error.message;
        logger.info({ requestId: author.requestId, attempt, reason }, 'planning again');
      }
    }
    throw new WeftError(
      'WEFT_ERR_CONTROLLER_CONFLICT',
      `Cannot carry out the request: others changed the same resources again and again (${reason}); nothing was changed, try again`,
      { reason },
    );
  }

  async #plan(command: ApplyOrDelete): Promise<{ world: LoadedWorld; plan: Plan; problems: readonly Problem[] }> {
    if (command.kind === 'apply') {
      const world = await this.#loader.forResources(command.value.resources);
      return { world, ...planApply(world, command.value, ids) };
    }
    const world = await this.#loader.forRefs(command.value.refs);
    return { world, ...planDelete(world, command.value) };
  }

  #authorize(command: ApplyOrDelete, signer: string): Problem[] {
    const items =
      command.kind === 'apply'
        ? command.value.resources.map((resource) => ({ tenant: tenantOfResource(resource), name: nameOfResource(resource) }))
        : command.value.refs.map((ref) => ({ tenant: tenantOfRef(ref), name: nameOfRef(ref) }));
    // Who asks for nothing must be someone, too.
    if (items.length === 0 && this.#components.trust.principal(signer) === undefined) items.push({ tenant: '', name: '' });
    return items.flatMap(({ tenant, name }): Problem[] => {
      const refusal = this.#components.trust.mayAct(signer, tenant, command.value.dryRun ? 'read' : 'write');
      if (refusal === undefined) return [];
      return [{ code: refusal.code, resource: name, path: '', value: '', rule: refusal.message, hint: 'ask an admin' }];
    });
  }

  #author(signer: string, requestId: string): Author {
    return { key: signer, name: this.#components.trust.principal(signer)?.name ?? '', requestId };
  }
}

type ApplyOrDelete = { readonly kind: 'apply'; readonly value: ApplyRequest } | { readonly kind: 'delete'; readonly value: DeleteRequest };

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
