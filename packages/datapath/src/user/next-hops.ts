import { formatIp, getU32 } from '@weft/packet';
import type { Neighbor, NeighborCommands } from './neighbor-commands.ts';

// Which MAC address a tunnel frame to a provider address gets.
//
//   unknown --frame--> wanted (frames wait) --found--> known --older than 2 s and used--> asked again, in use meanwhile
//                           \--3 s in vain--> unreachable for 1 s (frames dropped) --> unknown
//
// One look-up runs at a time and serves all that is wanted by then: two commands however many peers there are.

/**
 * Frames that wait for one peer's MAC address; more are dropped, as the kernel's own neighbour table does. That keeps some 256, for an answer
 * that takes it microseconds; a look-up here runs commands, which take hundreds of milliseconds on a busy machine.
 */
const WAITING_FRAMES_MAX = 1_024;
const WAITING_BYTES_MAX = 1 << 20;
const FRESH_MS = 2_000;
const ROUTE_FRESH_MS = 30_000;
/** The kernel asks three times, a second apart. */
const GIVE_UP_MS = 3_000;
const UNREACHABLE_MS = 1_000;
const LOOK_AGAIN_MS = [5, 10, 20, 50, 100, 200, 400];

/** What becomes of frames. */
export interface NextHopEvents {
  /** May be sent now. */
  send(mac: Uint8Array, frame: Uint8Array): void;
  /** Nobody answers, or too many wait. */
  drop(frame: Uint8Array): void;
}

interface Peer {
  readonly pa: string;
  hop: string | undefined;
  hopFoundAtMs: number;
  mac: Uint8Array | undefined;
  foundAtMs: number;
  wantedSinceMs: number | undefined;
  unreachableUntilMs: number;
  waiting: Uint8Array[];
  waitingBytes: number;
}

/** MAC addresses of the next hops towards peers, and the frames that wait for them. */
export class NextHops {
  readonly #commands: NeighborCommands;
  readonly #events: NextHopEvents;
  readonly #nowMs: () => number;
  /** By the IPv4 address as a number. */
  readonly #peers = new Map<number, Peer>();
  readonly #wanted = new Set<Peer>();
  #running = false;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wake: (() => void) | undefined;

  constructor(commands: NeighborCommands, events: NextHopEvents, nowMs: () => number = () => performance.now()) {
    this.#commands = commands;
    this.#events = events;
    this.#nowMs = nowMs;
  }

  /** Sends a frame to the next hop towards `pa` (16 bytes, IPv4 mapped), now or when its MAC address is found. The frame is kept. */
  send(pa: Uint8Array, frame: Uint8Array): void {
    if (this.#closed) return;
    const peer = this.#peer(pa);
    const now = this.#nowMs();
    if (peer.mac !== undefined) {
      this.#events.send(peer.mac, frame);
      if (now - peer.foundAtMs > FRESH_MS) this.#want(peer, now);
      return;
    }
    const isFull = peer.waiting.length >= WAITING_FRAMES_MAX || peer.waitingBytes + frame.length > WAITING_BYTES_MAX;
    if (isFull || now < peer.unreachableUntilMs) {
      this.#events.drop(frame);
      return;
    }
    peer.waiting.push(frame);
    peer.waitingBytes += frame.length;
    this.#want(peer, now);
  }

  /** Forgets all; waiting frames are gone, uncounted. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#wake?.();
    this.#peers.clear();
    this.#wanted.clear();
  }

  #peer(pa: Uint8Array): Peer {
    const key = getU32(pa, 12);
    let peer = this.#peers.get(key);
    if (peer === undefined) {
      peer = {
        pa: formatIp(pa),
        hop: undefined,
        hopFoundAtMs: 0,
        mac: undefined,
        foundAtMs: 0,
        wantedSinceMs: undefined,
        unreachableUntilMs: 0,
        waiting: [],
        waitingBytes: 0,
      };
      this.#peers.set(key, peer);
    }
    return peer;
  }

  #want(peer: Peer, now: number): void {
    if (peer.wantedSinceMs !== undefined) return;
    peer.wantedSinceMs = now;
    this.#wanted.add(peer);
    if (this.#running) return;
    this.#running = true;
    void this.#lookUp();
  }

  async #lookUp(): Promise<void> {
    const solicited = new Set<string>();
    for (let round = 0; this.#wanted.size > 0; round++) {
      // Those that come while commands run are served by the next round.
      const peers = [...this.#wanted];
      for (const peer of peers) await this.#findHop(peer);
      const neighbors = await this.#commands.neighbors();
      if (this.#closed) return;
      const unasked = new Set(peers.flatMap((peer) => this.#settle(peer, neighbors)).filter((hop) => !solicited.has(hop)));
      if (unasked.size > 0) await this.#commands.solicit([...unasked]);
      for (const hop of unasked) solicited.add(hop);
      if (this.#wanted.size > 0) await this.#pause(LOOK_AGAIN_MS[Math.min(round, LOOK_AGAIN_MS.length - 1)]!);
      if (this.#closed) return;
    }
    this.#running = false;
  }

  async #findHop(peer: Peer): Promise<void> {
    const now = this.#nowMs();
    if (peer.hop !== undefined && now - peer.hopFoundAtMs < ROUTE_FRESH_MS) return;
    peer.hop = await this.#commands.nextHop(peer.pa);
    peer.hopFoundAtMs = now;
  }

  /** Takes what the kernel knows. @returns The hop that the kernel should ask for, if it should. */
  #settle(peer: Peer, neighbors: ReadonlyMap<string, Neighbor>): string[] {
    const now = this.#nowMs();
    const neighbor = peer.hop === undefined ? undefined : neighbors.get(peer.hop);
    if (neighbor !== undefined) {
      this.#done(peer);
      peer.mac = neighbor.mac;
      peer.foundAtMs = now;
      for (const frame of this.#takeWaiting(peer)) this.#events.send(neighbor.mac, frame);
      // As the kernel does for its own packets: what is used is confirmed from time to time.
      return neighbor.isConfirmed ? [] : [peer.hop!];
    }
    if (peer.hop !== undefined && now - peer.wantedSinceMs! < GIVE_UP_MS) return [peer.hop];
    this.#done(peer);
    peer.mac = undefined;
    peer.unreachableUntilMs = now + UNREACHABLE_MS;
    for (const frame of this.#takeWaiting(peer)) this.#events.drop(frame);
    return [];
  }

  #done(peer: Peer): void {
    this.#wanted.delete(peer);
    peer.wantedSinceMs = undefined;
  }

  #takeWaiting(peer: Peer): Uint8Array[] {
    const { waiting } = peer;
    peer.waiting = [];
    peer.waitingBytes = 0;
    return waiting;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timer = setTimeout(resolve, ms);
      this.#timer.unref();
    });
  }
}
