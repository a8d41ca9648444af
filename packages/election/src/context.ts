import type { OwnershipBody, OwnershipCertificate, OwnershipConfig } from '@weft/model';
import { certificateFault } from './certificate.ts';
import type { DurableQueue } from './durable.ts';
import type { AlarmCode, Output, Path } from './io.ts';
import type { Observer } from './observer.ts';
import type { Rules } from './rules.ts';
import type { Signer, Verify } from './statement.ts';
import type { Timing } from './timing.ts';

/** What comes in from outside. */
export interface Components {
  readonly signer: Signer;
  readonly verify: Verify;
  /** 53 random bits, unpredictable: nonces, rounds, instances; and spread. */
  readonly random: () => number;
  readonly timing: Timing;
  readonly rules: Rules;
}

const BOTH: readonly Path[] = ['nats', 'underlay'];
export const ALL_PATHS: readonly Path[] = ['nats', 'underlay', 'external'];
const RANDOM_RANGE = 2 ** 53;

/** Configurations known, by id. Older ones than the newest and those it names go. */
export class Configs {
  readonly #known = new Map<number, OwnershipConfig>();
  newest: OwnershipConfig | undefined;

  get(id: number): OwnershipConfig | undefined {
    return this.#known.get(id);
  }
  /** Newest first. */
  list(): OwnershipConfig[] {
    return [...this.#known.values()].sort((a, b) => b.config - a.config);
  }
  /** Takes the adapter's newest word on a configuration. @returns False if it is older than what is known, or contradicts it. */
  add(config: OwnershipConfig): boolean {
    if (this.contradicts(config) || this.#known.get(config.config) === config) return false;
    this.#known.set(config.config, config);
    if (this.newest === undefined || config.config >= this.newest.config) this.newest = config;
    const oldest = Math.min(this.newest.config, this.newest.previous?.config ?? this.newest.config);
    for (const id of this.#known.keys()) if (id < oldest) this.#known.delete(id);
    return true;
  }

  /** True: a list that took effect is to be passed over, or taken back. A store that lost writes says such things. */
  contradicts(config: OwnershipConfig): boolean {
    const known = this.#known.get(config.config);
    if (known !== undefined && (config.incarnation < known.incarnation || (known.previous === undefined && config.previous !== undefined)))
      return true;
    const { newest } = this;
    if (newest === undefined || newest.previous !== undefined || config.config <= newest.config) return false;
    return config.previous !== undefined && config.previous.config < newest.config;
  }
}

/** What voter and member of one node share. */
export class Context {
  readonly self: string;
  readonly timing: Timing;
  readonly rules: Rules;
  readonly signer: Signer;
  readonly verify: Verify;
  readonly configs: Configs = new Configs();
  readonly observer: Observer;
  durable!: DurableQueue;
  /** The record is known as it was in the store at this time, or later. */
  recordReadAt: number = -Infinity;
  now: number;
  outputs: Output[] = [];
  /** What this node says to itself, handled at the end of the step. */
  readonly loop: OwnershipBody[] = [];
  readonly #random: () => number;
  readonly #alarms = new Set<string>();
  /** Certificates verified already: copies come on both paths, again and again. */
  readonly #verified = new Set<string>();

  constructor(self: string, components: Components, observer: Observer, now: number) {
    this.self = self;
    this.timing = components.timing;
    this.rules = components.rules;
    this.signer = components.signer;
    this.verify = components.verify;
    this.#random = components.random;
    this.observer = observer;
    this.now = now;
  }

  /** 53 random bits. */
  nonce(): number {
    return this.#random();
  }
  /** A random time below `ms`. */
  spread(ms: number): number {
    return (this.#random() / RANDOM_RANGE) * ms;
  }

  put(output: Output): void {
    this.outputs.push(output);
  }

  send(to: string, body: OwnershipBody, paths: readonly Path[] = BOTH): void {
    if (to === this.self) this.loop.push(body);
    else this.outputs.push({ kind: 'send', to, paths, body });
  }

  alarm(code: AlarmCode, about: string, active: boolean, message: () => string): void {
    if (!active && this.#alarms.size === 0) return;
    const key = `${code} ${about}`;
    if (active === this.#alarms.has(key)) return;
    if (active) this.#alarms.add(key);
    else this.#alarms.delete(key);
    this.put({ kind: 'alarm', code, about, active, message: active ? message() : '' });
  }

  /** True if the certificate is what it says. Asks for the configuration when that is unknown. */
  verified(certificate: OwnershipCertificate, from: string): boolean {
    const { ballot } = certificate;
    const config = this.configs.get(ballot.config);
    if (config === undefined) {
      if (ballot.config > (this.configs.newest?.config ?? 0)) this.put({ kind: 'need-config', config: ballot.config, from });
      return false;
    }
    const key = certificateKey(certificate);
    if (this.#verified.has(key)) return true;
    const fault = certificateFault(config, certificate, this.verify, this.rules);
    if (fault === 'no-majority' && config.previous !== undefined) {
      // Counted by the new list alone: the record may say meanwhile that it took effect.
      this.put({ kind: 'need-config', config: ballot.config, from });
      return false;
    }
    if (fault !== undefined) {
      this.alarm('certificate-refused', from, true, () => `A certificate that ${from} sent is refused (${fault}): find out who made it`);
      return false;
    }
    this.#verified.add(key);
    if (this.#verified.size > 64) {
      for (const oldest of this.#verified) {
        this.#verified.delete(oldest);
        break;
      }
    }
    return true;
  }
}

/** The same certificate, byte for byte, has the same key. */
export function certificateKey({ ballot, votes }: OwnershipCertificate): string {
  let key = `${ballot.config} ${ballot.epoch} ${ballot.round} ${ballot.candidate} ${ballot.kind} ${ballot.providerAddress} ${ballot.leaseMs} ${ballot.shards.join()}`;
  const { consent } = ballot;
  if (consent !== undefined) key += ` ${consent.epoch} ${consent.from} ${consent.to} ${consent.shards.join()} ${hex(consent.signature)}`;
  for (const { voter, instance, signature } of votes) key += ` ${voter} ${instance} ${hex(signature)}`;
  return key;
}
function hex(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}
