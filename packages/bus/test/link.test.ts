import { once } from 'node:events';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { waitFor } from '@weft/testkit';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Link } from '../src/link.ts';

// What a link does while it is made, on a connection that is none.

const nats = vi.hoisted(() => ({ connect: async (): Promise<unknown> => undefined }));
vi.mock('@nats-io/transport-node', async (original) => ({ ...(await original<object>()), connect: () => nats.connect() }));

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class FakeConnection {
  readonly subjects: string[] = [];
  readonly protocol: { readonly transport: { readonly socket: Socket | undefined } };
  #close: () => void = () => {};
  readonly #closed = new Promise<void>((resolve) => {
    this.#close = resolve;
  });
  isOver = false;
  /** Called with each subscription. */
  onSubscribe: () => void = () => {};

  constructor(socket?: Socket) {
    this.protocol = { transport: { socket } };
  }
  subscribe(subject: string): { unsubscribe(): void } {
    this.subjects.push(subject);
    this.onSubscribe();
    return { unsubscribe: () => {} };
  }
  status(): AsyncIterable<never> {
    const next = async (): Promise<IteratorReturnResult<undefined>> => {
      await this.#closed;
      return { done: true, value: undefined };
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }
  closed(): Promise<void> {
    return this.#closed;
  }
  isClosed(): boolean {
    return this.isOver;
  }
  getServer(): string {
    return 'fake:4222';
  }
  async drain(): Promise<void> {
    await this.close();
  }
  async close(): Promise<void> {
    this.isOver = true;
    this.#close();
  }
}

describe('Link', () => {
  let dial: (connection: FakeConnection) => void;
  let link: Link;
  beforeEach(() => {
    const dialled = new Promise<FakeConnection>((resolve) => {
      dial = resolve;
    });
    nats.connect = () => dialled;
    link = new Link({ servers: 'fake:4222', name: 'test' });
  });
  afterEach(() => link.close());

  it('makes thousands of subscriptions bit by bit, those asked for meanwhile among them, and is connected when all are made', async () => {
    const count = 3_000;
    const later: string[] = [];
    for (let n = 0; n < count; n++) link.subscribe(`subject.${n}`, () => {});
    link.subscribe('stopped', () => {}).stop();
    const connection = new FakeConnection();
    let [atOnce, most] = [0, 0];
    connection.onSubscribe = () => {
      most = Math.max(most, ++atOnce);
    };
    const everyTurn = (): void => {
      atOnce = 0;
      if (link.state.state !== 'connected') setImmediate(everyTurn);
    };
    everyTurn();
    dial(connection);
    await waitFor(
      async () => {
        if (link.state.state !== 'connected' && later.length < 3 && connection.subjects.length > 500 * (later.length + 1)) {
          const subject = `later.${later.length}`;
          later.push(subject);
          link.subscribe(subject, () => {});
        }
        return link.state.state === 'connected';
      },
      { what: 'the link to be connected', deadlineMs: 20_000, intervalMs: 1 },
    );
    expect([...connection.subjects].sort()).toEqual([...Array.from({ length: count }, (_, n) => `subject.${n}`), ...later].sort());
    expect(later.length).toBe(3);
    expect(most).toBeLessThanOrEqual(129);
  });

  it('is connected at once where subscriptions are few', async () => {
    for (let n = 0; n < 100; n++) link.subscribe(`subject.${n}`, () => {});
    dial(new FakeConnection());
    await link.whenConnected();
  });

  it('is not connected if the connection goes while they are made', async () => {
    for (let n = 0; n < 3_000; n++) link.subscribe(`subject.${n}`, () => {});
    const connection = new FakeConnection();
    const states: string[] = [];
    link.onState(({ state }) => void states.push(state));
    nats.connect = () => new Promise(() => {});
    connection.onSubscribe = () => {
      if (connection.subjects.length === 1_000) void connection.close();
    };
    dial(connection);
    await waitFor(async () => link.state.reason === 'connection closed', {
      what: 'the link to hear of it',
      deadlineMs: 20_000,
      intervalMs: 1,
    });
    expect(states).not.toContain('connected');
    expect(connection.subjects.length).toBeLessThan(1_200);
    nats.connect = async () => new FakeConnection();
  });

  it('takes one piece of what has come in at a time, then whoever is due', async () => {
    const server = createServer((socket) => void socket.end(Buffer.alloc(4 << 20)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const socket = connectTcp(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.pause();
    dial(new FakeConnection(socket));
    await link.whenConnected();
    let [bytes, atOnce, most] = [0, 0, 0];
    socket.on('data', (piece) => {
      bytes += piece.length;
      most = Math.max(most, ++atOnce);
    });
    // Megabytes wait in the kernel by the time anybody reads.
    for (let i = 0; i < 100; i++) await new Promise((resolve) => setTimeout(resolve, 1));
    socket.resume();
    for (let isOver = false; !isOver; isOver = socket.destroyed) {
      await turn();
      atOnce = 0;
    }
    server.close();
    expect([bytes, most]).toEqual([4 << 20, 1]);
  });
});
