/** What happens when: a binary heap, ordered by time and then by order of arrival. */
export class EventQueue {
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #events: (() => void)[] = [];
  #order = 0;

  get length(): number {
    return this.#events.length;
  }
  get nextAt(): number {
    return this.#times[0] ?? Number.POSITIVE_INFINITY;
  }

  at(time: number, event: () => void): void {
    let i = this.#events.length;
    const order = this.#order++;
    this.#times.push(time);
    this.#orders.push(order);
    this.#events.push(event);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (this.#times[parent]! <= time) break;
      this.#copy(parent, i);
      i = parent;
    }
    this.#set(i, time, order, event);
  }

  take(): () => void {
    const first = this.#events[0]!;
    const time = this.#times.pop()!;
    const order = this.#orders.pop()!;
    const event = this.#events.pop()!;
    const length = this.#events.length;
    if (length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (child + 1 < length && this.#before(child + 1, child)) child++;
      const childTime = this.#times[child]!;
      if (childTime > time || (childTime === time && this.#orders[child]! > order)) break;
      this.#copy(child, i);
      i = child;
    }
    this.#set(i, time, order, event);
    return first;
  }

  #before(a: number, b: number): boolean {
    const [x, y] = [this.#times[a]!, this.#times[b]!];
    return x < y || (x === y && this.#orders[a]! < this.#orders[b]!);
  }
  #copy(from: number, to: number): void {
    this.#set(to, this.#times[from]!, this.#orders[from]!, this.#events[from]!);
  }
  #set(i: number, time: number, order: number, event: () => void): void {
    this.#times[i] = time;
    this.#orders[i] = order;
    this.#events[i] = event;
  }
}
