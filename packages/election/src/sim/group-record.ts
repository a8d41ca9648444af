import {
  type Assignment,
  type Host,
  moveShards,
  type OwnershipConfig,
  ownershipConfig,
  planAssignment,
  type ReleasedBlocks,
  recoverAssignment,
  refreshAssignment,
  settleSlices,
  settleVoters,
  voterOf,
  type WantedMember,
} from '@weft/model';

export const GROUP = 'group';
const EXTERNAL = { segment: 1, address: '203.0.113.16', pool: 1, sliced: true } as const;

export interface GroupRecordInit {
  readonly members: readonly string[];
  /** Named at first, of those there are. */
  readonly witnesses: readonly string[];
  readonly shards: readonly number[];
  /** What a machine's host record says of its memory. 0: nothing yet. */
  readonly instanceOf: (id: string) => number;
  readonly trace: (line: () => string) => void;
}

/**
 * The group's record in the store, and the controller's decisions about it: the real ones. Who is where in the orders, who votes, what is settled and whose
 * the NAT blocks of one external address are is all `@weft/model`'s.
 */
export class GroupRecord {
  readonly #init: GroupRecordInit;
  readonly #all: string[] = [];
  #assignment: Assignment | undefined;
  #revision = 0;
  /** Every one there was, in order; a new object only where it differs. */
  readonly configs: OwnershipConfig[] = [];

  constructor(init: GroupRecordInit) {
    this.#init = init;
    this.#all.push(...init.members);
  }

  /** The gateway is applied for the first time. */
  create(): void {
    const { members, witnesses } = this.#init;
    this.#put(this.#plan(undefined, members, new Set(), witnesses));
  }

  get assignment(): Assignment {
    return this.#assignment!;
  }
  /** Of the store: what a consent rests on. */
  get revision(): number {
    return this.#revision;
  }
  get newest(): OwnershipConfig {
    return this.configs[this.configs.length - 1]!;
  }
  get members(): readonly string[] {
    return this.newest.members.map(({ id }) => id);
  }
  get witnesses(): readonly string[] {
    return this.newest.voters.flatMap(({ id }) => (this.members.includes(id) ? [] : [id]));
  }

  /** Commits another preferred owner of a shard, as an operator's move does. A drained one is refused. */
  place(shard: number, first: string): void {
    if (this.newest.members.find(({ id }) => id === first)?.drain !== false) return;
    if (this.#put(moveShards(this.assignment, [shard], first))) this.#init.trace(() => `controller: shard ${shard} is placed on ${first}`);
  }

  /** Commits that a member is drained or not. */
  drain(id: string, drain: boolean): void {
    const drained = this.#drained();
    if (drain) drained.add(id);
    else drained.delete(id);
    if (this.#put(this.#plan(this.#assignment, this.members, drained, this.witnesses)))
      this.#init.trace(() => `controller: ${id} is ${drain ? 'drained' : 'active again'}`);
  }

  /** Commits another member: it votes, has its share of the shards, and its share of the blocks is marked as moving to it. */
  join(id: string): void {
    if (this.members.includes(id)) return;
    this.#all.push(id);
    this.#put(this.#plan(this.#assignment, [...this.members, id], this.#drained(), this.witnesses));
    this.#init.trace(() => `controller: ${id} is a member now, configuration ${this.newest.config}`);
  }

  /** Commits other witnesses. */
  nameWitnesses(witnesses: readonly string[]): void {
    // Of one that has no memory yet no vote would count.
    if (witnesses.some((id) => this.#init.instanceOf(id) === 0)) return;
    if (!this.#put(this.#plan(this.#assignment, this.members, this.#drained(), witnesses))) return;
    const { config, voters, previous } = this.newest;
    this.#init.trace(() => `controller: configuration ${config}, voters ${voters.map(({ id }) => id).join()}, after ${previous?.config}`);
  }

  /** Hosts say of themselves that they have another memory, or have one at last. */
  refresh(): void {
    const hosts = new Map([...this.members, ...this.newest.voters.map(({ id }) => id)].map((id) => [id, this.#host(id)]));
    if (!this.#put(refreshAssignment(this.assignment, hosts))) return;
    const { config, voters } = this.newest;
    this.#init.trace(() => `controller: configuration ${config}, memories ${voters.map(({ id, instance }) => `${id} ${instance}`).join()}`);
  }

  /** A grant in the new list was recorded: majorities of both have accepted it. */
  settle(configId: number): void {
    const after = settleVoters(this.assignment, configId);
    if (after !== undefined && this.#put(after)) this.#init.trace(() => `controller: configuration ${configId} took effect`);
  }

  recover(): void {
    this.#put(recoverAssignment(this.assignment));
    const { config, incarnation } = this.newest;
    this.#init.trace(() => `operator: weft gateway recover, incarnation ${incarnation}, configuration ${config}`);
  }

  /** A member's consent, good for the revision that it rests on. @returns Whether it was taken. */
  release(id: string, restsOn: number, blocks: readonly ReleasedBlocks[]): boolean {
    if (restsOn !== this.#revision) return false;
    this.#put(settleSlices(this.assignment, this.memberNumber(id), blocks));
    this.#init.trace(() => `controller: ${id} gives up ${blocks.map(({ first, count }) => `${first}+${count}`).join()}`);
    return true;
  }

  /** A member's number in the record; 0: it is none. */
  memberNumber(id: string, { members }: Pick<Assignment, 'members'> = this.assignment): number {
    return members.find(({ hostId }) => hostId === id)?.member ?? 0;
  }

  #put(after: Assignment): boolean {
    if (after === this.#assignment) return false;
    this.#assignment = after;
    this.#revision++;
    const config = ownershipConfig(after, keyOf);
    if (JSON.stringify(config) !== JSON.stringify(this.configs.at(-1))) this.configs.push(config);
    return true;
  }

  #drained(): Set<string> {
    return new Set(this.newest.members.flatMap(({ id, drain }) => (drain ? [id] : [])));
  }

  #plan(
    before: Assignment | undefined,
    members: readonly string[],
    drained: ReadonlySet<string>,
    witnesses: readonly string[],
  ): Assignment {
    const { shards } = this.#init;
    const voter = (id: string): WantedMember => {
      const host = this.#host(id);
      return { ...voterOf(host, GROUP), providerAddress: host.providerAddress, drain: drained.has(id) };
    };
    return planAssignment(before, {
      gatewayId: GROUP,
      gateway: GROUP,
      members: members.map(voter),
      witnesses: witnesses.map(voter),
      shards,
      addresses: [{ ...EXTERNAL, shard: shards[0]! }],
      number: () => 1,
    });
  }

  #host(id: string): Host {
    return {
      id,
      providerAddress: this.#all.includes(id) ? `192.0.2.${this.#all.indexOf(id) + 1}` : '192.0.2.100',
      publicKey: keyOf(id),
      encapsulations: [],
      engine: 'kernel',
      underlayMtu: 1_500,
      version: '',
      roles: [],
      bootId: '',
      memories: [{ gatewayId: GROUP, instance: this.#init.instanceOf(id) }],
      externalLinks: [],
    };
  }
}

export function keyOf(id: string): string {
  return `key-${id}`;
}
