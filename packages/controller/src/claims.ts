import type { RecordEntry } from '@weft/bus';
import { type Claim, configKey, configPrefix, parseKey, WeftError } from '@weft/model';
import { type Author, mapLimit, Retry } from './components.ts';
import { firstVsid, nextVsid } from './ids.ts';
import type { IntentLease } from './intent-lease.ts';
import type { Records } from './records.ts';
import type { WorldLoader } from './world-loader.ts';

// What must be unique across documents is claimed before it is used: `create` of the claim's key lets one of two racing controllers win.
//
//   claim ── create ──► ours ── document written ──► held            (released when the document no longer holds it)
//     │ exists                 └─ request given up ──► released
//     ├─ its document holds it ──────────► taken: a problem of the request
//     ├─ its request is still under way ─► busy: plan again a little later
//     └─ neither: a leftover ────────────► taken over by CAS
//
// Giving a value up is under way as well, until nobody can take it back: before a document is written without the value, the claim is put in the name
// of the request that does so. Else another one would take over what looks like a leftover, and the first, undone, hold it too.

const ATTEMPTS = 8;
const PARALLEL = 16;
const MAX_VSID_PROBES = 4_096;

export interface WantedClaim {
  readonly key: string;
  /** Routing domain id, or port id. */
  readonly owner: string;
  /** Config key of the document that will hold it. */
  readonly ownerKey: string;
}

interface Acquired {
  readonly entry: RecordEntry;
  /** The claim that was taken over from another port of the same request: put back when the request is given up. */
  readonly previous: Claim | undefined;
}

/** A value that a document loses. */
export interface UnusedClaim {
  readonly key: string;
  readonly owner: string;
}

/** The claims one attempt of a request makes. */
export class ClaimSet {
  readonly #records: Records;
  readonly #loader: WorldLoader;
  readonly #author: Author;
  readonly #lease: IntentLease;
  readonly #acquired: Acquired[] = [];
  readonly #givenUp: RecordEntry[] = [];
  readonly #yieldedBy: (key: string) => WantedClaim | undefined;

  /** @param yieldedBy Who gives the claimed value up in this very request. */
  constructor(
    records: Records,
    loader: WorldLoader,
    author: Author,
    lease: IntentLease,
    yieldedBy: (key: string) => WantedClaim | undefined,
  ) {
    this.#lease = lease;
    this.#records = records;
    this.#loader = loader;
    this.#author = author;
    this.#yieldedBy = yieldedBy;
  }

  /** @throws {Retry} When it is taken or busy: a new plan says which. */
  async acquire(wanted: WantedClaim): Promise<void> {
    const state = await this.#try(wanted);
    if (state !== 'ours') throw new Retry(`${wanted.key} is ${state}`);
  }

  /** A free VSID for a subnet, claimed. */
  async acquireVsid(rdid: string, subnet: string, used: ReadonlySet<number>): Promise<number> {
    let vsid = firstVsid(rdid, subnet);
    for (let probe = 0; probe < MAX_VSID_PROBES; probe++, vsid = nextVsid(vsid)) {
      if (used.has(vsid)) continue;
      const key = configKey.vsidClaim(vsid);
      if ((await this.#try({ key, owner: rdid, ownerKey: configKey.network(rdid) })) === 'ours') return vsid;
    }
    throw new WeftError(
      'WEFT_ERR_CONTROLLER_VSIDS_EXHAUSTED',
      `Cannot find a VSID for subnet ${subnet}: ${MAX_VSID_PROBES} in a row are taken; name a free one`,
      { subnet },
    );
  }

  /** A network id: the one this request claimed before it was resumed, else the next one. Ids are never given back. */
  async acquireNetworkId(rdid: string): Promise<number> {
    const ownerKey = configKey.network(rdid);
    const { own, highest } = await this.#records.networkIds.of(rdid, this.#author.requestId);
    if (own !== undefined) return own;
    for (let id = highest + 1; id <= 0xffff_ffff; id++) {
      const claim: Claim = { owner: rdid, ownerKey, requestId: this.#author.requestId };
      const entry = await this.#records.tryPut(this.#author, configKey.networkIdClaim(id), '', undefined, { kind: 'claim', value: claim });
      if (entry !== undefined) return id;
    }
    throw new WeftError('WEFT_ERR_CONTROLLER_CONFLICT', 'Cannot allocate a network id: all are used');
  }

  /** A number that the plan has chosen. It is never given back, whatever becomes of the request. @throws {Retry} When it is taken. */
  async acquireNumber(number: number, owner: string, ownerKey: string): Promise<void> {
    this.#lease.check();
    const claim: Claim = { owner, ownerKey, requestId: this.#author.requestId };
    const key = configKey.numberClaim(number);
    const entry = await this.#records.tryPut(this.#author, key, '', undefined, { kind: 'claim', value: claim });
    if (entry === undefined) throw new Retry(`${key} is taken`);
  }

  /** To be called before the documents are written without these values. @throws {Retry} When one was taken meanwhile. */
  async giveUp(unused: UnusedClaim): Promise<void> {
    this.#lease.check();
    const current = await this.#records.get(this.#records.config, unused.key);
    // Another one's: a port of this request has taken it over.
    if (current?.record?.kind !== 'claim' || current.record.value.owner !== unused.owner) return;
    const value: Claim = { ...current.record.value, requestId: this.#author.requestId };
    const mine = current.record.value.requestId === value.requestId;
    this.#givenUp.push(mine ? current : await this.#records.put(this.#author, unused.key, '', current, { kind: 'claim', value }));
  }

  /** Removes what was given up, once nothing can be undone any more. */
  async dropGivenUp(): Promise<void> {
    await mapLimit(this.#givenUp, PARALLEL, async ({ key, revision }) => await this.#records.config.purge(key, revision));
    this.#givenUp.length = 0;
  }

  /**
   * Gives back what this attempt took, once its documents are undone; what a document holds all the same stays claimed. Failures are left to whoever
   * meets the leftover. @throws {WeftError} When the lease is lost.
   */
  async release(): Promise<void> {
    for (const { entry, previous } of this.#acquired.reverse()) {
      this.#lease.check();
      try {
        if (entry.record?.kind === 'claim' && (await this.#loader.holds(entry.key, entry.record.value))) continue;
        if (previous === undefined) await this.#records.config.purge(entry.key, entry.revision);
        else await this.#records.tryPut(this.#author, entry.key, '', entry, { kind: 'claim', value: previous });
      } catch (error) {
        if (!(error instanceof WeftError)) throw error;
      }
    }
    this.#acquired.length = 0;
  }

  async #try(wanted: WantedClaim): Promise<'ours' | 'taken' | 'busy'> {
    const { key, owner, ownerKey } = wanted;
    const value: Claim = { owner, ownerKey, requestId: this.#author.requestId };
    let current: RecordEntry | undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      this.#lease.check();
      // At first the key is taken to be free: it mostly is.
      if (current?.record?.kind !== 'claim') {
        const made = await this.#records.tryPut(this.#author, key, '', current, { kind: 'claim', value });
        if (made !== undefined) {
          this.#acquired.push({ entry: made, previous: undefined });
          return 'ours';
        }
      } else {
        const claim = current.record.value;
        const mine = claim.owner === owner && claim.ownerKey === ownerKey;
        const yielder = this.#yieldedBy(key);
        if (mine && claim.requestId === this.#author.requestId) {
          // Made by this request before it was resumed: this attempt's to give back.
          const previous = yielder && { owner: yielder.owner, ownerKey: yielder.ownerKey, requestId: this.#author.requestId };
          this.#acquired.push({ entry: current, previous });
          return 'ours';
        }
        // In this order: an intent ends only after its documents stand, so whoever is not under way any more is seen to hold the value.
        const underWay = claim.requestId !== this.#author.requestId && (await this.#records.isUnderWay(claim.requestId));
        const held = await this.#loader.holds(key, claim);
        if (held && mine) return 'ours';
        const yielded = held && yielder?.owner === claim.owner;
        if (held && !yielded) return 'taken';
        if (!held && underWay) return 'busy';
        const taken = await this.#records.tryPut(this.#author, key, '', current, { kind: 'claim', value });
        if (taken !== undefined) {
          this.#acquired.push({ entry: taken, previous: yielded ? claim : undefined });
          return 'ours';
        }
      }
      current = await this.#records.get(this.#records.config, key);
    }
    return 'busy';
  }
}

/**
 * After a request was resumed, and ended: what its first controller claimed, and the request did not come to use, goes back to the port that has the
 * value, or to nobody.
 */
export async function sweepClaims(
  records: Records,
  loader: WorldLoader,
  author: Author,
  holderOf: (key: string) => WantedClaim | undefined,
): Promise<void> {
  for (const entry of await records.all(records.config, configPrefix.claims)) {
    if (entry.record?.kind !== 'claim' || entry.record.value.requestId !== author.requestId) continue;
    const parsed = parseKey('config', entry.key);
    // Network ids are never given back.
    if (parsed?.kind !== 'claim' || parsed.what === 'network-id' || (await loader.holds(entry.key, entry.record.value))) continue;
    const holder = holderOf(entry.key);
    if (holder === undefined) await records.config.purge(entry.key, entry.revision);
    else {
      const { owner, ownerKey } = holder;
      await records.tryPut(author, entry.key, '', entry, { kind: 'claim', value: { owner, ownerKey, requestId: author.requestId } });
    }
  }
}
