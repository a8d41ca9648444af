import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, type Bus, type BusLogger, connectBus, createTrustFollower, isPublicKey, loadIdentity } from '@weft/bus';
import { WeftError } from '@weft/model';
import { CliError, CliErrorCode, messageOf } from './errors.ts';
import type { Io } from './io.ts';
import type { Session } from './session.ts';
import { type ConnectionSettings, connectionSettings, type GlobalOptions } from './settings.ts';

/**
 * Connects to NATS and waits for it.
 *
 * @throws {CliError} `WEFT_ERR_CLI_UNREACHABLE` when NATS does not answer within the time.
 */
export async function reachBus(
  nats: readonly string[],
  name: string,
  timeoutMs: number,
  signal?: AbortSignal,
  logger?: BusLogger,
): Promise<Bus> {
  const bus = connectBus({ servers: nats, name, ...(logger === undefined ? {} : { logger }) });
  const deadline = AbortSignal.timeout(timeoutMs);
  try {
    await bus.whenConnected({ signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]) });
    return bus;
  } catch (error) {
    const { reason } = bus.state;
    await bus.close();
    if (signal?.aborted === true) throw error;
    throw new CliError(
      CliErrorCode.Unreachable,
      `Cannot reach NATS at ${nats.join(', ')} within ${timeoutMs / 1_000} s${reason === '' ? '' : ` (${reason})`}: is it running, and is the URL right? Traffic that flows is not affected`,
      { cause: error },
    );
  }
}

/** Connects as the options, the environment and the context file say, and learns whom to believe. */
export async function connect(options: GlobalOptions, io: Pick<Io, 'env' | 'note'>, signal: AbortSignal): Promise<Session> {
  return connectAs(connectionSettings(options, io), signal);
}

/** The same with settings that are complete. */
export async function connectAs(settings: ConnectionSettings, signal: AbortSignal): Promise<Session> {
  const identity = loadIdentity(settings.identity);
  requireTrust(settings.trust);
  const bus = await reachBus(settings.nats, 'weft command', settings.timeoutMs, signal);
  try {
    const { store, follower } = await whileAnswersFail(settings.timeoutMs, signal, async () => {
      const opened = await bus.open({ replicas: 1, create: false });
      return { store: opened, follower: await createTrustFollower({ bus, store: opened, anchors: [settings.trust] }) };
    });
    return {
      bus,
      store,
      identity,
      trust: follower.trust,
      request: (target, command, requestOptions) => {
        const timeoutMs = requestOptions?.timeoutMs ?? settings.timeoutMs;
        return whileRefusedInPassing(timeoutMs, signal, (leftMs) =>
          bus.request(target, command, {
            identity,
            timeoutMs: leftMs,
            signal,
            mayAnswer: (asked, signer) => follower.trust.mayAnswer(asked, signer),
          }),
        );
      },
      close: async () => {
        await follower.stop();
        await bus.close();
      },
    };
  } catch (error) {
    await bus.close().catch((closing: unknown) => messageOf(closing));
    throw error;
  }
}

/** What is over in a moment: NATS or its leader does not answer. */
const PASSING: ReadonlySet<string> = new Set(['WEFT_ERR_BUS_TIMEOUT', 'WEFT_ERR_BUS_DISCONNECTED', 'WEFT_ERR_BUS_NO_RESPONDER']);

/** Asks again while a controller or host refuses only because NATS does not answer *it*: then nothing was changed, and the same may be asked. */
async function whileRefusedInPassing(timeoutMs: number, signal: AbortSignal, call: (leftMs: number) => Promise<Answer>): Promise<Answer> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await call(Math.max(500, deadline - performance.now()));
    const { problems } = answer.response;
    const passing = problems.length > 0 && problems.every((problem) => PASSING.has(problem.code));
    if (!passing || performance.now() + 500 >= deadline) return answer;
    await sleep(250, undefined, { signal });
  }
}

/** Repeats while JetStream does not answer, up to that long: the servers of a cluster need 4 to 9 s to agree on a new leader. */
async function whileAnswersFail<T>(timeoutMs: number, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const passing = error instanceof WeftError && PASSING.has(error.code);
      if (!passing || signal.aborted || performance.now() >= deadline) throw error;
    }
    await sleep(200, undefined, { signal });
  }
}

/**
 * Refuses a trust anchor that is no key.
 *
 * @throws {CliError} `WEFT_ERR_CLI_SETTING`
 */
export function requireTrust(key: string): void {
  if (isPublicKey(key) && key.startsWith('U')) return;
  throw new CliError(
    CliErrorCode.Setting,
    `Cannot trust "${key}": must be the first admin's public key (56 characters, beginning with U), as "weft init" printed it`,
  );
}
