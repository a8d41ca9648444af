import type { Condition } from '@weft/model';
import type { AgentClock, AgentLogger } from './components.ts';

export type Severity = 'info' | 'warning' | 'critical';

/** What an operator should know of an agent, by code. */
export type ConditionCode =
  | 'NATS_DISCONNECTED'
  | 'STORE_NOT_OPEN'
  /** A bucket is another one than before, or lacks records that were seen: applying has stopped. */
  | 'STORE_LOST'
  | 'RECORD_REFUSED'
  /** This host's key is no principal of the installation. */
  | 'NOT_ADMITTED'
  | 'HOST_NOT_REGISTERED'
  | 'VSID_CLAIM'
  | 'DATAPATH_FAILED'
  | 'DEVICE_MISSING'
  /** A TAP to be removed is open in a VM. */
  | 'DEVICE_HELD'
  | 'RESYNC_FAILED'
  | 'STATE_NOT_SAVED'
  | 'GATEWAYS_NOT_READ'
  /** What ownership of a gateway group finds wrong; the subject says which group and what. */
  | 'GATEWAY_OWNERSHIP'
  | 'GATEWAY_TABLES'
  | 'EXTERNAL_DEVICE'
  /** Two gateways name one interface of this host; one of them has it. */
  | 'EXTERNAL_DEVICE_SHARED'
  /** Agents can't talk about ownership on the underlay. */
  | 'CONTROL_PORT'
  | 'STATE_PORT'
  /** Records of the NAT log wait for NATS. */
  | 'NAT_LOG_BEHIND'
  /** Records of the NAT log found no room to wait. Stands until the agent restarts. */
  | 'NAT_LOG_LOST'
  /** Records of the NAT log wait in memory only. */
  | 'NAT_LOG_NOT_SAVED';

export const CONDITIONS: Readonly<Record<ConditionCode, Severity>> = {
  NATS_DISCONNECTED: 'warning',
  STORE_NOT_OPEN: 'warning',
  STORE_LOST: 'critical',
  RECORD_REFUSED: 'warning',
  NOT_ADMITTED: 'critical',
  HOST_NOT_REGISTERED: 'critical',
  VSID_CLAIM: 'critical',
  DATAPATH_FAILED: 'critical',
  DEVICE_MISSING: 'warning',
  DEVICE_HELD: 'info',
  RESYNC_FAILED: 'warning',
  STATE_NOT_SAVED: 'warning',
  GATEWAYS_NOT_READ: 'warning',
  GATEWAY_OWNERSHIP: 'critical',
  GATEWAY_TABLES: 'critical',
  EXTERNAL_DEVICE: 'critical',
  EXTERNAL_DEVICE_SHARED: 'critical',
  CONTROL_PORT: 'critical',
  STATE_PORT: 'critical',
  NAT_LOG_BEHIND: 'warning',
  NAT_LOG_LOST: 'critical',
  NAT_LOG_NOT_SAVED: 'warning',
};

interface Raised {
  readonly message: string;
  readonly sinceMs: number;
  readonly count: number;
}

/**
 * Conditions that hold, by code and subject (a port, a bucket; '' for the agent as a whole). Raising one anew counts; each is logged when
 * it begins, when its message changes and when it ends, so a thousand refused records are one line and a number.
 */
export class Conditions {
  readonly #raised = new Map<string, Raised>();
  readonly #clock: AgentClock;
  readonly #logger: AgentLogger;

  constructor(clock: AgentClock, logger: AgentLogger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  raise(code: ConditionCode, message: string, subject = ''): void {
    const key = `${code} ${subject}`;
    const held = this.#raised.get(key);
    this.#raised.set(key, { message, sinceMs: held?.sinceMs ?? this.#clock.now(), count: (held?.count ?? 0) + 1 });
    if (held !== undefined) return;
    const level = CONDITIONS[code] === 'critical' ? 'error' : CONDITIONS[code] === 'warning' ? 'warn' : 'info';
    this.#logger[level]({ condition: code, severity: CONDITIONS[code], subject, reason: message }, `condition raised: ${message}`);
  }

  clear(code: ConditionCode, subject = ''): void {
    if (!this.#raised.delete(`${code} ${subject}`)) return;
    this.#logger.info({ condition: code, subject }, 'condition cleared');
  }

  has(code: ConditionCode, subject = ''): boolean {
    return this.#raised.has(`${code} ${subject}`);
  }

  /** Worst first. `sinceMs` is how long each has held. */
  list(): Condition[] {
    return this.entries().map(({ subject: _, ...condition }) => condition);
  }

  /** The same with what each is about. */
  entries(): (Condition & { readonly code: ConditionCode; readonly subject: string })[] {
    const now = this.#clock.now();
    const rank = { critical: 0, warning: 1, info: 2 };
    return [...this.#raised]
      .map(([key, { message, sinceMs, count }]) => {
        const space = key.indexOf(' ');
        const code = key.slice(0, space) as ConditionCode;
        const subject = key.slice(space + 1);
        return { code, subject, severity: CONDITIONS[code], message, sinceMs: Math.max(0, Math.round(now - sinceMs)), count };
      })
      .sort((a, b) => rank[a.severity] - rank[b.severity] || a.code.localeCompare(b.code));
  }
}
