import { type Bucket, getRecord } from '@weft/bus';
import { configKey, type TrustStore, type VirtualNetwork, WeftError } from '@weft/model';

/** Told when a VSID's claim refuses it, and (message undefined) when it is cured. */
export type Alarm = (vsid: number, message: string | undefined) => void;

/**
 * Which of a network's VSIDs are its own: the record `claim.vsid.<vsid>`, made by `create` before use, names the network.
 *
 * Two networks with one VSID would be one segment. The document alone doesn't tell, since each is written by itself; so a VSID without a
 * claim for this network gets no row. A claim is never handed to another network while its document stands, so once read it holds until
 * the document changes.
 */
export class ClaimChecker {
  readonly #rdid: string;
  readonly #alarm: Alarm;
  #allowed: ReadonlySet<number> = new Set();

  constructor(rdid: string, alarm: Alarm) {
    this.#rdid = rdid;
    this.#alarm = alarm;
  }

  get allowed(): ReadonlySet<number> {
    return this.#allowed;
  }

  /** True if every VSID of the document is known to be this network's. */
  knows(network: VirtualNetwork): boolean {
    return network.subnets.every((subnet) => this.#allowed.has(subnet.vsid));
  }

  restore(vsids: readonly number[]): void {
    this.#allowed = new Set(vsids);
  }

  /** Reads the claims of the document's VSIDs. @throws What `Bucket.get` throws. */
  async read(network: VirtualNetwork, config: Pick<Bucket, 'name' | 'get'>, trust: TrustStore): Promise<void> {
    const vsids = network.subnets.map((subnet) => subnet.vsid);
    const verdicts = await Promise.all(vsids.map((vsid) => this.#read(vsid, config, trust)));
    const allowed = new Set<number>();
    vsids.forEach((vsid, i) => {
      const message = verdicts[i];
      if (message === undefined) allowed.add(vsid);
      this.#alarm(vsid, message);
    });
    this.#allowed = allowed;
  }

  async #read(vsid: number, config: Pick<Bucket, 'name' | 'get'>, trust: TrustStore): Promise<string | undefined> {
    const deny = (why: string): string => `Cannot use VSID ${vsid} in network ${this.#rdid}: ${why}; apply the network again`;
    try {
      const entry = await getRecord(config, configKey.vsidClaim(vsid));
      if (entry?.record?.kind !== 'claim') return deny('nobody has claimed it');
      const refusal = trust.mayWrite(entry.change, entry.signer);
      if (refusal !== undefined) return deny(refusal.message);
      const { owner } = entry.record.value;
      return owner === this.#rdid ? undefined : deny(`network ${owner} has claimed it`);
    } catch (error) {
      if (error instanceof WeftError && !error.code.startsWith('WEFT_ERR_BUS')) return deny(error.message);
      throw error;
    }
  }
}
