import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { EXTERNAL, EXTERNAL6, FORWARD_ADDRESS, flowOf, type NatBench, NETWORKS, SEGMENT } from './nat-bench.ts';

// Histories of port mapping: packets both ways, time, sweeps, quotas, port forwards, loss of ownership, until blocks run out.

const CAS = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(parseIp);
const CAS6 = ['fd00::1', 'fd00::2'].map(parseIp);
const REMOTES = ['198.51.100.1', '198.51.100.2'].map(parseIp);
const REMOTES6 = ['2001:db8:a::1', '2001:db8:a::2'].map(parseIp);
const TCP_FLAGS = [0x02, 0x12, 0x10, 0x11, 0x04, 0x18, 0x02, 0x10];
const STEPS_S = [0, 1, 20, 31, 61, 119, 121, 240, 301, 1900, 7441];

/** One step of a history. */
export type Op =
  | { readonly op: 'out'; readonly packet: Packet; readonly count: number }
  | { readonly op: 'in'; readonly packet: Packet; readonly answer: number; readonly isError: boolean }
  | { readonly op: 'outError'; readonly answer: number; readonly shift: number }
  | { readonly op: 'time'; readonly seconds: number }
  | { readonly op: 'sweep'; readonly budget: number }
  | {
      readonly op: 'quota';
      readonly network: number;
      readonly blocks: number;
      readonly perSource: number;
      readonly sessions: number;
      readonly perSecond: number;
    }
  | { readonly op: 'forward'; readonly port: number; readonly isTcp: boolean; readonly to: number }
  | { readonly op: 'share'; readonly sessions: number; readonly blocks: number; readonly keep: number }
  | { readonly op: 'own'; readonly isOwned: boolean }
  /** The network is on another segment than its flows, or back. */
  | { readonly op: 'place'; readonly network: number; readonly isElsewhere: boolean }
  /** Until every session is over and every holder about to give its blocks back, and so much longer; owned or not by then. */
  | { readonly op: 'mark'; readonly thenMs: number; readonly isOwned: boolean }
  /** Until every session is over and every block given back. */
  | { readonly op: 'drain' };

interface Packet {
  readonly network: number;
  readonly isIpv6: boolean;
  readonly ca: number;
  readonly port: number;
  readonly remote: number;
  readonly remotePort: number;
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'other';
  readonly flags: number;
  readonly fragment: 0 | 1 | 2;
}

const packet: fc.Arbitrary<Packet> = fc.record({
  network: fc.nat(1),
  isIpv6: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  ca: fc.nat(2),
  port: fc.oneof(fc.integer({ min: 1000, max: 1003 }), fc.integer({ min: 80, max: 81 })),
  remote: fc.nat(1),
  remotePort: fc.integer({ min: 440, max: 442 }),
  protocol: fc.constantFrom('tcp', 'tcp', 'udp', 'udp', 'icmp', 'other'),
  flags: fc.nat(TCP_FLAGS.length - 1),
  fragment: fc.constantFrom(0, 0, 0, 0, 1, 2),
});

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ op: fc.constant('out' as const), packet, count: fc.constantFrom(1, 1, 1, 2, 70) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('in' as const),
      packet,
      answer: fc.nat(400),
      isError: fc.constantFrom(false, false, false, true),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('outError' as const), answer: fc.nat(400), shift: fc.constantFrom(0, 0, 1) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('time' as const), seconds: fc.constantFrom(...STEPS_S) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('sweep' as const), budget: fc.constantFrom(1, 5, 100, 1000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('quota' as const),
      network: fc.nat(1),
      blocks: fc.constantFrom(0, 1, 4, 100),
      perSource: fc.constantFrom(1, 2, 100),
      sessions: fc.constantFrom(0, 20, 10_000),
      perSecond: fc.constantFrom(0, 0, 1, 3, 50),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('forward' as const),
      port: fc.integer({ min: 80, max: 82 }),
      isTcp: fc.boolean(),
      to: fc.nat(3),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('share' as const),
      sessions: fc.constantFrom(0, 0, 0, 1, 5, 40),
      blocks: fc.nat(3),
      keep: fc.nat(3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('own' as const), isOwned: fc.constantFrom(true, true, false) }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('place' as const), network: fc.nat(1), isElsewhere: fc.constantFrom(true, false, false) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('mark' as const),
      thenMs: fc.constantFrom(0, 0, 1, 249, 250),
      isOwned: fc.constantFrom(true, true, false),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('drain' as const) }) },
);

const NUMBER = { tcp: 6, udp: 17, icmp: 1, other: 47 } as const;

/** What came back for a packet that went out: whom answers go to. */
interface Seen {
  readonly out: Packet;
  readonly address: Uint8Array;
  readonly port: number;
}

/** Runs steps on a bench. */
export class History {
  readonly #bench: NatBench;
  readonly #seen: Seen[] = [];

  constructor(bench: NatBench) {
    this.#bench = bench;
  }

  run(step: Op): void {
    const bench = this.#bench;
    switch (step.op) {
      case 'out':
        for (let i = 0; i < step.count; i++) this.#out({ ...step.packet, port: step.packet.port + i });
        return;
      case 'in':
        this.#in(step);
        return;
      case 'outError':
        this.#outError(step);
        return;
      case 'time':
        bench.advance(step.seconds);
        return;
      case 'sweep':
        bench.sweep(step.budget);
        return;
      case 'quota':
        bench.setQuota(NETWORKS[step.network]!, {
          blocks: step.blocks,
          blocksPerSource: step.perSource,
          sessions: step.sessions,
          newFlowsPerSecond: step.perSecond,
        });
        return;
      case 'forward': {
        const to = step.to === 3 ? undefined : { networkId: NETWORKS[step.to & 1]!, port: 80, ca: CAS[step.to]! };
        bench.forward(step.port, step.isTcp ? 6 : 17, to);
        return;
      }
      case 'share':
        bench.shareSessions(step.sessions);
        bench.shareBlocks(1, step.keep === 0 ? undefined : step);
        return;
      case 'own':
        bench.own(step.isOwned);
        return;
      case 'place':
        bench.place(NETWORKS[step.network]!, step.isElsewhere ? SEGMENT + 1 : SEGMENT);
        return;
      case 'mark':
        this.#sweepAfter(7441, 121);
        bench.own(step.isOwned);
        this.#sweepAfter(step.thenMs / 1000);
        bench.own(true);
        return;
      case 'drain':
        this.#sweepAfter(7441, 121, 1, 1);
    }
  }

  #sweepAfter(...seconds: number[]): void {
    for (const one of seconds) {
      this.#bench.advance(one);
      this.#bench.sweep(3000);
    }
  }

  #out(of: Packet): void {
    const { reason, address, port } = this.#bench.outbound(outFlow(of), of.isIpv6 ? 2 : 1);
    if (reason === 0) this.#seen.push({ out: of, address, port });
  }

  /** An answer to something that went out, sometimes from elsewhere; or something that nobody asked for, often for a port forward. */
  #in({ packet: of, answer, isError }: Extract<Op, { op: 'in' }>): void {
    const seen = answer < 300 ? this.#seen[this.#seen.length - 1 - (answer % Math.max(1, this.#seen.length))] : undefined;
    const basis = seen === undefined ? of : { ...seen.out, flags: of.flags, ...(answer % 5 === 0 && { remotePort: of.remotePort }) };
    const flow = outFlow(basis);
    const isIcmp = basis.protocol === 'icmp';
    const outside = of.isIpv6 ? EXTERNAL6[of.ca & 1]! : answer % 3 === 0 ? EXTERNAL[of.ca]! : FORWARD_ADDRESS;
    this.#bench.inbound({
      ...flow,
      networkId: 0,
      near: seen?.address ?? outside,
      nearPort: seen?.port ?? (isIcmp ? 1024 + of.port : of.port),
      remotePort: isIcmp ? (seen?.port ?? 1024 + of.port) : flow.remotePort,
      icmpType: isIcmp && !isError ? (answer % 7 === 0 ? 8 : basis.isIpv6 ? 129 : 0) : 0,
      isError: isError && flow.hasL4Header,
      tcpFlags: isError ? 0 : flow.tcpFlags,
    });
  }

  #outError({ answer, shift }: Extract<Op, { op: 'outError' }>): void {
    const seen = this.#seen[answer % Math.max(1, this.#seen.length)];
    if (seen === undefined || seen.out.fragment === 2) return;
    const flow = outFlow(seen.out);
    this.#bench.outbound(
      { ...flow, isError: true, tcpFlags: 0, icmpType: 3, remotePort: flow.remotePort + shift },
      seen.out.isIpv6 ? 2 : 1,
    );
  }
}

function outFlow(of: Packet): ReturnType<typeof flowOf> {
  const protocol = of.protocol === 'icmp' && of.isIpv6 ? 58 : NUMBER[of.protocol];
  const isLater = of.fragment === 2;
  const isIcmp = of.protocol === 'icmp';
  return flowOf({
    networkId: NETWORKS[of.network]!,
    isIpv6: of.isIpv6,
    near: of.isIpv6 ? CAS6[of.ca & 1]! : CAS[of.ca]!,
    remote: of.isIpv6 ? REMOTES6[of.remote]! : REMOTES[of.remote]!,
    nearPort: isLater ? 0 : of.port,
    remotePort: isLater ? 0 : isIcmp ? of.port : of.remotePort,
    protocol,
    icmpType: isIcmp && !isLater ? (of.isIpv6 ? 128 : 8) : 0,
    tcpFlags: of.protocol === 'tcp' && !isLater ? TCP_FLAGS[of.flags]! : 0,
    isFragment: of.fragment !== 0,
    hasL4Header: !isLater,
    fragmentId: of.fragment === 0 ? 0 : 77,
  });
}

/** Histories long enough to run out of ports. */
export const histories: fc.Arbitrary<Op[]> = fc.array(op, { minLength: 50, maxLength: 150, size: 'max' });
