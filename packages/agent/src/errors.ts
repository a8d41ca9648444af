import { type Problem, WeftError } from '@weft/model';

/** Code to what it means and what to do. Codes are never given another meaning. */
export const AGENT_ERRORS = {
  WEFT_ERR_AGENT_CONFIG: 'The agent’s configuration is wrong. The message names key, value and rule.',
  WEFT_ERR_AGENT_NATS_DOWN:
    'The agent has no connection to NATS, so it can not claim or release. What forwards keeps forwarding; try again.',
  WEFT_ERR_AGENT_NO_SUCH_PORT: 'No such port is configured in that network. Apply it first.',
  WEFT_ERR_AGENT_NO_SUCH_NETWORK: 'No such network is configured. Apply it first.',
  WEFT_ERR_AGENT_BOUND_ELSEWHERE: 'Another host has the port. Unbind it there, or ask for a move.',
  WEFT_ERR_AGENT_GENERATION: 'The binding has changed since it was looked at. Look again, then repeat.',
  WEFT_ERR_AGENT_PLACEMENT: 'The port’s placement leaves this host out. Bind it on another host, or change the placement.',
  WEFT_ERR_AGENT_DEVICE_MISSING: 'There is no such device on the host. Create it first, or let the agent make a TAP (`--tap`).',
  WEFT_ERR_AGENT_DEVICE_KIND: 'The device is of another kind than asked for.',
  WEFT_ERR_AGENT_DEVICE_IN_USE: 'The device belongs to another port. Unbind that one first, or name another device.',
  WEFT_ERR_AGENT_DEVICE_RESERVED: 'The device is in the host’s own use: as underlay, with addresses, or in a bridge. Name another.',
  WEFT_ERR_AGENT_DEVICE_NAME: 'A device name must have 1 to 15 characters, without space, slash or colon, and not be "." or "..".',
  WEFT_ERR_AGENT_DEVICE_SETUP: 'The device could not be made ready. No claim stands, or it is being released; the message has the cause.',
  WEFT_ERR_AGENT_NOT_BOUND_HERE: 'The port is not bound on this host.',
  WEFT_ERR_AGENT_NOT_ADMITTED: 'This host is no principal of the installation, so others refuse what it writes. An admin adds it.',
  WEFT_ERR_AGENT_VSID_CLAIM: 'The VSID is not claimed by this network; the host denies it. Apply the network again.',
  WEFT_ERR_AGENT_STORE_LOST:
    'The store is another one than before, or lost records. Find out what happened to NATS, then start the agents with --accept-new-store.',
  WEFT_ERR_AGENT_CONFLICT: 'Others claimed the port again and again meanwhile. Nothing was changed; try again.',
  WEFT_ERR_AGENT_UNKNOWN_OUTCOME: 'NATS did not say whether the claim was written. Repeat the request: it is idempotent.',
  WEFT_ERR_AGENT_COMMAND: 'The request holds no command that an agent serves.',
  WEFT_ERR_AGENT_UNDERLAY: 'The underlay interface, or the provider address on it, is not there.',
  WEFT_ERR_AGENT_CONTROL_PORT: 'The UDP port on which agents talk about gateway ownership can not be opened: 4790 on the provider address.',
  WEFT_ERR_AGENT_KERNEL_ENGINE:
    'The kernel engine of this instance is at work, so the user-space engine may not start. Take it down with --remove-kernel-engine, or use it.',
  WEFT_ERR_AGENT_STATE: 'The state directory can not be read or written.',
  WEFT_ERR_AGENT_INTERNAL: 'The agent failed while it worked on the request: a fault of Weft. Its log has the details; report it.',
} as const;

export type AgentErrorCode = keyof typeof AGENT_ERRORS;

/** An error of the agent that a caller can act on; `message` says action, value, rule and what to do. */
export class AgentError extends Error {
  override readonly name: string = 'AgentError';
  readonly code: AgentErrorCode;
  readonly details: { readonly resource?: string; readonly path?: string; readonly value?: string; readonly hint?: string };

  constructor(code: AgentErrorCode, message: string, details: AgentError['details'] = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** The answer's form of whatever was thrown. Strangers' errors keep their message and become `WEFT_ERR_AGENT_INTERNAL`. */
export function problemOf(error: unknown): Problem {
  if (error instanceof AgentError) {
    const { resource = '', path = '', value = '', hint } = error.details;
    return { code: error.code, resource, path, value, rule: error.message, hint: hint ?? AGENT_ERRORS[error.code] };
  }
  const message = error instanceof Error ? error.message : String(error);
  const code = codeOf(error) ?? 'WEFT_ERR_AGENT_INTERNAL';
  const hint = error instanceof WeftError || code !== 'WEFT_ERR_AGENT_INTERNAL' ? '' : AGENT_ERRORS.WEFT_ERR_AGENT_INTERNAL;
  return { code, resource: '', path: '', value: '', rule: message, hint };
}

/** `WEFT_ERR_…` of any Weft error. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && code.startsWith('WEFT_ERR_') ? code : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
