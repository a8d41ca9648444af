const NONE: readonly number[] = [];

/** Which networks each shard serves, and the other way round: changed network by network, as a member may serve ten thousand of which one changes. */
export class ShardNetworks {
  readonly #shardOf = new Map<number, number>();
  readonly #networks = new Map<number, Set<number>>();
  /** As they were asked for last. */
  readonly #lists = new Map<number, readonly number[]>();

  /** The shard serves the network, and no other does. */
  set(networkId: number, shard: number): void {
    if (this.#shardOf.get(networkId) === shard) return;
    this.delete(networkId);
    this.#shardOf.set(networkId, shard);
    const networks = this.#networks.get(shard);
    if (networks === undefined) this.#networks.set(shard, new Set([networkId]));
    else networks.add(networkId);
    this.#lists.delete(shard);
  }

  delete(networkId: number): void {
    const shard = this.#shardOf.get(networkId);
    if (shard === undefined) return;
    this.#shardOf.delete(networkId);
    this.#lists.delete(shard);
    const networks = this.#networks.get(shard)!;
    networks.delete(networkId);
    if (networks.size === 0) this.#networks.delete(shard);
  }

  clear(): void {
    for (const known of [this.#shardOf, this.#networks, this.#lists]) known.clear();
  }

  /** The same array until a network of the shard comes or goes. */
  networksOf(shard: number): readonly number[] {
    const networks = this.#networks.get(shard);
    if (networks === undefined) return NONE;
    let list = this.#lists.get(shard);
    if (list === undefined) {
      list = [...networks];
      this.#lists.set(shard, list);
    }
    return list;
  }

  shardOf(networkId: number): number | undefined {
    return this.#shardOf.get(networkId);
  }
}
