import { type Bus, commitRecord, getRecord, type Identity, readEntry, type Store } from '@weft/bus';
import { grantKey, grantPrefix, type OwnershipCertificate, type TrustStore, WeftError } from '@weft/model';
import type { AgentClock, AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';

const RETRY_MS = 5_000;

export interface GrantLogInit {
  readonly hostId: string;
  readonly bus: Bus;
  readonly identity: Identity;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  /** Whether a certificate verifies by the group's present configuration: what does not is overwritten, whatever its epoch. */
  readonly isGenuine: (group: string, certificate: OwnershipCertificate) => boolean;
}

/**
 * The newest grant of each shard in bucket `gateways`: for a group whose machines all start anew, and for who asks later who owned what (the audit stream
 * has every one). Written after the fact, one at a time; nothing waits for it, and a grant that was replaced meanwhile is passed over.
 */
export class GrantLog {
  readonly #init: GrantLogInit;
  /** By group and shard. */
  readonly #waiting = new Map<string, { readonly group: string; readonly shard: number; readonly certificate: OwnershipCertificate }>();
  #store: Store | undefined;
  #writing = false;
  #timer: unknown;
  #stopped = false;

  constructor(init: GrantLogInit) {
    this.#init = init;
  }

  stop(): void {
    this.#stopped = true;
    this.#init.clock.clearTimeout(this.#timer);
  }

  /** The store of the present connection. */
  setStore(store: Store): void {
    this.#store = store;
    void this.#write();
  }

  record(group: string, certificate: OwnershipCertificate): void {
    for (const shard of certificate.ballot.shards) {
      const key = `${group} ${shard}`;
      const waiting = this.#waiting.get(key);
      if (waiting === undefined || waiting.certificate.ballot.epoch <= certificate.ballot.epoch)
        this.#waiting.set(key, { group, shard, certificate });
    }
    void this.#write();
  }

  /** What is written down of a group: claims, each to be verified. */
  async recorded(group: string): Promise<readonly OwnershipCertificate[]> {
    const { trust, logger } = this.#init;
    const entries = (await this.#store?.gateways.snapshot(grantPrefix(group)))?.entries ?? [];
    return entries.flatMap((raw) => {
      try {
        const entry = readEntry('gateways', raw);
        const refusal = trust.mayWrite(entry.change, entry.signer);
        if (refusal !== undefined) throw refusal;
        return entry.record?.kind === 'grant' ? [entry.record.value.certificate] : [];
      } catch (error) {
        if (!(error instanceof WeftError)) throw error;
        logger.warn({ key: raw.key, code: error.code, reason: error.message }, 'recorded grant refused');
        return [];
      }
    });
  }

  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    this.#init.clock.clearTimeout(this.#timer);
    while (!this.#stopped && this.#store !== undefined) {
      const [next] = this.#waiting;
      if (next === undefined) break;
      const [key, one] = next;
      try {
        await this.#commit(this.#store, one);
        if (this.#waiting.get(key) === one) this.#waiting.delete(key);
      } catch (error) {
        this.#init.logger.info({ gateway: one.group, shard: one.shard, reason: messageOf(error) }, 'grant not recorded; later');
        this.#timer = this.#init.clock.setTimeout(() => void this.#write(), RETRY_MS);
        break;
      }
    }
    this.#writing = false;
  }

  async #commit(
    store: Store,
    { group, shard, certificate }: { readonly group: string; readonly shard: number; readonly certificate: OwnershipCertificate },
  ): Promise<void> {
    const { bus, identity, hostId, clock } = this.#init;
    const { epoch, config } = certificate.ballot;
    const key = grantKey(group, shard);
    const current = await getRecord(store.gateways, key);
    const known = current?.record?.kind === 'grant' ? current.record.value.certificate : undefined;
    if (known !== undefined && this.#init.isGenuine(group, known)) {
      const { ballot } = known;
      if (ballot.epoch > epoch || (ballot.epoch === epoch && ballot.config >= config)) return;
    }
    const { outcome } = await commitRecord({
      bus,
      bucket: store.gateways,
      identity,
      key,
      tenant: '',
      current,
      after: { kind: 'grant', value: { gatewayId: group, shard, certificate } },
      authorKey: identity.publicKey,
      authorName: hostId,
      requestId: `grant-${hostId}-${shard}-${epoch}`,
      nowMs: clock.unixMs(),
    });
    if (outcome.status !== 'committed') throw new Error(`another wrote it meanwhile (${outcome.status})`);
  }
}
