import { dropReasonName, dropReasonTexts } from '@weft/model';
import { formatIp, formatMac } from '@weft/packet';
import {
  type ForwardingTables,
  type PortEntry,
  PortFlag,
  type RouteEntry,
  RouteKind,
  type ShardEntry,
  SpeakerFlag,
  type SubnetEntry,
  type Target,
  TargetKind,
} from './tables.ts';
import { Action, actionName, type Verdict } from './verdict.ts';

// How `weft trace` explains a decision: the decision itself runs over tables that write down what they are asked (`TracedTables`) and
// notes the few facts that are no look-up. There is no second copy of the logic that could say something else.

/** One step of a decision, in an operator's words. */
export interface TraceStep {
  /** The table or rule, e.g. `customer route`. */
  readonly what: string;
  /** What was asked, e.g. `network 7, 10.0.2.5`. */
  readonly key: string;
  /** What came out, e.g. `on link, subnet 5002`. */
  readonly result: string;
}

/** Gathers the steps of one decision, or of several in a row (sender's host, receiver's host). */
export class Trace {
  readonly steps: TraceStep[] = [];

  note(what: string, key: string, result: string): void {
    this.steps.push({ what, key, result });
  }

  /** Adds the outcome as last step. */
  conclude(verdict: Verdict): void {
    this.note('verdict', actionName(verdict.action).toLowerCase(), describeVerdict(verdict));
  }

  /** One line a step: `what: key -> result`. */
  toString(): string {
    return this.steps.map(({ what, key, result }) => `${what}: ${key} -> ${result}`).join('\n');
  }
}

/** Tables that record each look-up in a trace. */
export class TracedTables implements ForwardingTables {
  readonly #tables: ForwardingTables;
  readonly #trace: Trace;

  constructor(tables: ForwardingTables, trace: Trace) {
    this.#tables = tables;
    this.#trace = trace;
  }

  port(ifindex: number): PortEntry | undefined {
    return this.#noted('port', `device ${ifindex}`, this.#tables.port(ifindex), describePort);
  }
  subnet(vsid: number): SubnetEntry | undefined {
    return this.#noted('subnet', `VSID ${vsid}`, this.#tables.subnet(vsid), describeSubnet);
  }
  lookup(networkId: number, ca: Uint8Array): Target | undefined {
    return this.#noted('lookup record', `network ${networkId}, ${formatIp(ca)}`, this.#tables.lookup(networkId, ca), describeTarget);
  }
  l2(vsid: number, mac: Uint8Array): Target | undefined {
    return this.#noted('MAC address', `VSID ${vsid}, ${formatMac(mac)}`, this.#tables.l2(vsid, mac), describeTarget);
  }
  route(networkId: number, address: Uint8Array): RouteEntry | undefined {
    return this.#noted(
      'customer route',
      `network ${networkId}, ${formatIp(address)}`,
      this.#tables.route(networkId, address),
      describeRoute,
    );
  }
  speaker(pa: Uint8Array, networkId: number): number | undefined {
    return this.#noted('speaker', `${formatIp(pa)}, network ${networkId}`, this.#tables.speaker(pa, networkId), describeSpeaker);
  }
  shard(id: number): ShardEntry | undefined {
    return this.#noted('gateway shard', `shard ${id}`, this.#tables.shard(id), describeShard);
  }

  #noted<T>(what: string, key: string, found: T | undefined, describe: (found: T) => string): T | undefined {
    this.#trace.note(what, key, found === undefined ? 'none' : describe(found));
    return found;
  }
}

function describePort(port: PortEntry): string {
  const ready = (port.flags & PortFlag.READY) === 0 ? 'not ready' : 'ready';
  return `network ${port.networkId}, subnet ${port.vsid}, MAC ${formatMac(port.mac)}, MTU ${port.mtuBytes}, ${ready}`;
}

function describeSubnet(subnet: SubnetEntry): string {
  return `network ${subnet.networkId}, gateways ${formatIp(subnet.gateway4)} and ${formatIp(subnet.gateway6)}`;
}

function describeTarget(target: Target): string {
  const where = `subnet ${target.vsid}, MAC ${formatMac(target.mac)}`;
  const before = target.prevUntilBootNs === 0n ? '' : `, before at ${formatIp(target.prevPa)}`;
  switch (target.kind) {
    case TargetKind.LOCAL:
      return `a port of this host, device ${target.ifindexOrShard}, ${where}${before}`;
    case TargetKind.PEER:
      return `at host ${formatIp(target.pa)}, ${where}${before}`;
    case TargetKind.SHARD:
      return `behind gateway shard ${target.ifindexOrShard}, ${where}${before}`;
    case TargetKind.GATEWAY:
      return `the gateway here, shard ${target.ifindexOrShard}, ${where}${before}`;
    case TargetKind.REDIRECT:
      return `moved to host ${formatIp(target.pa)}, ${where}${before}`;
    case TargetKind.DENY:
      return 'denied';
    default:
      return `of unknown kind ${target.kind satisfies never}`;
  }
}

function describeRoute(route: RouteEntry): string {
  switch (route.kind) {
    case RouteKind.ON_LINK:
      return `on link, subnet ${route.vsid}`;
    case RouteKind.NEXT_HOP:
      return `by way of ${formatIp(route.nextHop)}`;
    case RouteKind.BLACKHOLE:
      return 'blackhole';
    case RouteKind.DENY:
      return 'denied';
    default:
      return `of unknown kind ${route.kind satisfies never}`;
  }
}

function describeSpeaker(flags: number): string {
  const roles = [(flags & SpeakerFlag.HOST) !== 0 ? 'host' : '', (flags & SpeakerFlag.GATEWAY) !== 0 ? 'gateway' : ''];
  return `may speak as ${roles.filter((role) => role !== '').join(' and ') || 'nothing'}`;
}

function describeShard(shard: ShardEntry): string {
  return `owned by ${formatIp(shard.pa)}, epoch ${shard.epoch}`;
}

function describeVerdict(verdict: Verdict): string {
  const text = dropReasonTexts.get(verdict.reason);
  const why = `${dropReasonName(verdict.reason)}: ${text?.what ?? 'a reason of a newer version.'} Operator: ${text?.operator ?? 'look at that version.'}`;
  const told = verdict.reason === 0 ? '' : `${why} (the sender is told) `;
  switch (verdict.action) {
    case Action.DROP:
      return why;
    case Action.REPLY:
      return verdict.reason === 0 ? `answered from device ${verdict.ifindex}` : `${why} (the sender is told)`;
    case Action.LOCAL:
      return `${told}to device ${verdict.ifindex}`;
    case Action.TUNNEL:
      return `${told}to host ${formatIp(verdict.pa)} with VNI ${verdict.vsid}`;
    case Action.EXTERNAL:
      return `${told}out by device ${verdict.ifindex}, segment ${verdict.vsid}, next hop ${formatIp(verdict.pa)}`;
    case Action.GATEWAY:
      return "to the gateway's own decision";
    case Action.PASS:
      return "not Weft's: to the host's own stack";
    case Action.CLIMB:
      return 'to the VXLAN device, which checks it there';
  }
}
