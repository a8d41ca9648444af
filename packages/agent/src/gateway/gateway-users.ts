/** Which gateways the followed networks use, counted network by network: an agent may follow ten thousand, and each of them reports by itself. */
export class GatewayUsers {
  readonly #gatewayOf = new Map<string, string>();
  readonly #counts = new Map<string, number>();

  /** Gateway ids. */
  get used(): ReadonlySet<string> {
    return new Set(this.#counts.keys());
  }

  /** A network uses this gateway now; undefined: none, or it is followed no more. @returns Whether `used` is another set than before. */
  note(rdid: string, gatewayId: string | undefined): boolean {
    const before = this.#gatewayOf.get(rdid);
    if (before === gatewayId) return false;
    if (gatewayId === undefined) this.#gatewayOf.delete(rdid);
    else this.#gatewayOf.set(rdid, gatewayId);
    const [gone, come] = [this.#add(before, -1), this.#add(gatewayId, 1)];
    return gone || come;
  }

  #add(id: string | undefined, step: 1 | -1): boolean {
    if (id === undefined) return false;
    const count = (this.#counts.get(id) ?? 0) + step;
    if (count === 0) this.#counts.delete(id);
    else this.#counts.set(id, count);
    return count === 0 || (count === 1 && step === 1);
  }
}
