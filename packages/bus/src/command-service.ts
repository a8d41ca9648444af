import { randomUUID } from 'node:crypto';
import {
  type Command,
  hasCode,
  type Problem,
  type Request,
  type Response,
  requestCodec,
  responseCodec,
  subjects,
  WeftError,
} from '@weft/model';
import type { Answer, HandlerResult, IncomingRequest, RequestOptions, ServeInit, Subscription } from './api.ts';
import { openEnvelope, signEnvelope } from './envelope.ts';
import { closedError, type Incoming, type Link } from './link.ts';

// Commands: signed requests, answered in signed responses, on core NATS. A request names its target inside the signed bytes and is
// good for five minutes; a server of commands carries out one id once and repeats its answer to whoever repeats the request.

const DEFAULT_TIMEOUT_MS = 10_000;
/** How far a request's clock may be off, either way. */
export const REQUEST_VALID_MS: number = 5 * 60_000;
const REMEMBERED_ANSWERS = 2_048;
const DEFAULT_CONCURRENT = 8;

export function targetSubject(target: string): string {
  return target === 'controller' ? subjects.controller : subjects.host(target);
}

/** See `Bus.request`. */
export async function sendCommand(link: Link, target: string, command: Command, options: RequestOptions): Promise<Answer> {
  const request: Request = { requestId: options.requestId ?? randomUUID(), timeUnixMs: link.now(), target, command };
  const envelope = signEnvelope(options.identity, 'request', requestCodec.encode(request));
  if (envelope.length > MAX_MESSAGE_BYTES) {
    throw new WeftError(
      'WEFT_ERR_BUS_API',
      `Cannot send the request: it has ${envelope.length} bytes, at most ${MAX_MESSAGE_BYTES} fit; send it in parts`,
      { size: envelope.length },
    );
  }
  const bytes = await link.request(targetSubject(target), envelope, {
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    signal: options.signal,
  });
  const { payload, signer } = openEnvelope(bytes, 'response');
  const refusal = options.mayAnswer?.(target, signer);
  if (refusal !== undefined) throw refusal;
  const response = responseCodec.decode(payload);
  if (response.requestId !== request.requestId) {
    throw new WeftError(
      'WEFT_ERR_TRUST_SIGNATURE',
      `Cannot accept the answer of ${signer}: it answers request ${response.requestId}, not ${request.requestId}`,
      { signer },
    );
  }
  return { response, signer };
}

/**
 * Opens a request: signature, target, time.
 * @throws {WeftError} `WEFT_ERR_MODEL_DECODE`, `WEFT_ERR_TRUST_SIGNATURE`, `_TARGET`, `_STALE_REQUEST`.
 */
export function openRequest(envelope: Uint8Array, target: string, nowMs: number): IncomingRequest {
  const { payload, signer } = openEnvelope(envelope, 'request');
  const request = requestCodec.decode(payload);
  if (request.target !== target) {
    throw new WeftError('WEFT_ERR_TRUST_TARGET', `Cannot carry out the request: it is for "${request.target}", this is "${target}"`, {
      target,
    });
  }
  const offMs = nowMs - request.timeUnixMs;
  if (Math.abs(offMs) > REQUEST_VALID_MS) {
    throw new WeftError(
      'WEFT_ERR_TRUST_STALE_REQUEST',
      `Cannot carry out the request: its time is ${Math.round(Math.abs(offMs) / 1000)} s ${offMs > 0 ? 'past' : 'ahead'}, at most ${REQUEST_VALID_MS / 1000} s are allowed; compare the clocks`,
      { offMs },
    );
  }
  return { request, signer, envelope };
}

/** See `Bus.serve`. */
export function serveCommands(link: Link, target: string, init: ServeInit): Subscription {
  const logger = init.logger ?? link.logger;
  const answers = new Map<string, Promise<Uint8Array>>();
  const waiting: (() => void)[] = [];
  let running = 0;
  let stopped = false;
  const active = new Set<Promise<void>>();

  const turn = async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= (init.maxConcurrent ?? DEFAULT_CONCURRENT)) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
    try {
      return await work();
    } finally {
      running--;
      waiting.shift()?.();
    }
  };
  const sign = (response: Response): Uint8Array => signEnvelope(init.identity, 'response', responseCodec.encode(response));
  const reply = (response: Response): Uint8Array => {
    try {
      return sign(response);
    } catch (error) {
      // Who asks learns that the answer is at fault, instead of waiting for it.
      logger.error({ requestId: response.requestId, error: (error as Error).stack }, 'an answer can not be encoded');
      return sign({ requestId: response.requestId, problems: [problemOf(error)], result: undefined });
    }
  };
  const carryOut = async (incoming: IncomingRequest): Promise<Uint8Array> => {
    const { requestId } = incoming.request;
    let result: HandlerResult;
    try {
      result = await turn(() => init.handler(incoming));
    } catch (error) {
      if (!(error instanceof WeftError)) logger.error({ requestId, error: (error as Error).stack }, 'a command failed');
      result = { problems: [problemOf(error)], result: undefined };
    }
    const bytes = reply({ requestId, ...result });
    if (bytes.length <= MAX_MESSAGE_BYTES) return bytes;
    const tooLarge = new WeftError(
      'WEFT_ERR_BUS_API',
      `The answer has ${bytes.length} bytes, at most ${MAX_MESSAGE_BYTES} fit; ask for less (one tenant, one network)`,
    );
    return reply({ requestId, problems: [problemOf(tooLarge)], result: undefined });
  };
  const handle = async (message: Incoming): Promise<void> => {
    if (message.reply === undefined || message.reply === '') return;
    let incoming: IncomingRequest;
    try {
      incoming = openRequest(message.data, target, link.now());
    } catch (error) {
      logger.warn({ target, error: (error as Error).message }, 'request refused');
      // Only who can be named is answered; noise is not.
      if (hasCode(error, 'WEFT_ERR_MODEL_DECODE') || hasCode(error, 'WEFT_ERR_TRUST_SIGNATURE')) return;
      const { payload } = openEnvelope(message.data, 'request');
      const { requestId } = requestCodec.decode(payload);
      link.publish(message.reply, reply({ requestId, problems: [problemOf(error)], result: undefined }));
      return;
    }
    const id = `${incoming.signer} ${incoming.request.requestId}`;
    let answer = answers.get(id);
    if (answer === undefined) {
      answer = carryOut(incoming);
      answers.set(id, answer);
      if (answers.size > REMEMBERED_ANSWERS) answers.delete(answers.keys().next().value!);
    }
    link.publish(message.reply, await answer);
  };

  if (link.closed) throw closedError();
  const subscription = link.subscribe(
    targetSubject(target),
    (message) => {
      if (stopped) return;
      const work = handle(message).catch((error: Error) => logger.error({ error: error.stack }, 'answering a command failed'));
      active.add(work);
      void work.finally(() => active.delete(work));
    },
    // Any number of controllers share the requests; of two agents of one host (an upgrade), one takes each.
    target === 'controller' ? 'controller' : `host.${target}`,
  );
  return {
    async stop() {
      stopped = true;
      subscription.stop();
      await Promise.allSettled([...active]);
    },
  };
}

/** NATS refuses messages over 1 MB by default; room is left for the envelope. */
const MAX_MESSAGE_BYTES = 1_000_000;

/** An error as a problem in a response. */
export function problemOf(error: unknown): Problem {
  if (error instanceof WeftError) {
    const detail = (name: string): string => (typeof error.details[name] === 'string' ? (error.details[name] as string) : '');
    return {
      code: error.code,
      resource: detail('resource'),
      path: detail('path'),
      value: detail('value'),
      rule: error.message.slice(0, 4000),
      hint: detail('hint'),
    };
  }
  return {
    code: 'WEFT_ERR_CONTROLLER_INTERNAL',
    resource: '',
    path: '',
    value: '',
    rule: 'the program failed while it worked on the request',
    hint: 'see its log, and report it',
  };
}
