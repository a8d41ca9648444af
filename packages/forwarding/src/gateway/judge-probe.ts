import { DropReason } from '@weft/model';
import { ETHER_TYPE, getU16, IP_PROTOCOL, internetChecksum, mapIpv4, setU16 } from '@weft/packet';
import type { ForwardingContext } from '../context.ts';
import { Action, drop, effectiveGso, type Gso, handOver, reply, type Verdict } from '../verdict.ts';
import { isLive } from './ownership.ts';
import { decodeProbe, encodeProbe, isProbe, ProbeType } from './probe.ts';
import { updateTransport } from './rewrite.ts';

const PROBE_PORT = 4790;
const IP_OFFSET = 14;
const UDP_OFFSET = 34;
const PAYLOAD_OFFSET = 42;
const REPLY_TTL = 64;

interface Input {
  readonly frame: Uint8Array;
  readonly gso?: Gso | undefined;
  readonly packetType?: 'host' | 'other';
  readonly tagged?: boolean;
}

/** Judges a frame of the underlay that is no tunnel's. @returns Undefined if it is no probe. */
export function judgeProbe(input: Input, context: ForwardingContext): Verdict | undefined {
  const { frame } = input;
  if (input.packetType === 'other' || input.tagged === true || !isProbeFrame(frame, context.pa)) return undefined;
  const totalLength = getU16(frame, IP_OFFSET + 2);
  const isWhole = totalLength <= frame.length - IP_OFFSET && getU16(frame, UDP_OFFSET + 4) === totalLength - 20;
  const end = IP_OFFSET + totalLength;
  const probe = isWhole && totalLength >= 20 + 8 ? decodeProbe(frame.subarray(PAYLOAD_OFFSET, end)) : undefined;
  const isSound = getU16(frame, UDP_OFFSET) === PROBE_PORT && effectiveGso(input.gso) === undefined;
  if (probe === undefined || !isSound) return drop(DropReason.PROBE_MALFORMED, 0);
  const { gateway } = context;
  const peer = mapIpv4(frame, IP_OFFSET + 12);
  if (gateway?.tables.peerGateway(peer) !== true) return drop(DropReason.PROBE_UNKNOWN_PEER, 0);
  if (probe.type === ProbeType.REPLY) {
    gateway.onProbeReply?.(peer, probe);
    return handOver(Action.PASS, frame, undefined);
  }
  const shards = probe.shards.map(({ shard }) => ({
    shard,
    epoch: gateway.tables.gatewayShard(shard)?.epoch ?? 0n,
    isForwarding: isLive(gateway.tables, shard, context.nowBootNs),
  }));
  return reply(gateway.underlayIfindex ?? 0, turned(frame.slice(0, end), encodeProbe({ ...probe, type: ProbeType.REPLY, shards })), 0);
}

/** Whether it is a whole UDP datagram to the agents' port, and says that it is a probe. */
function isProbeFrame(frame: Uint8Array, pa: Uint8Array): boolean {
  if (!isProbe(frame, PAYLOAD_OFFSET) || getU16(frame, 12) !== ETHER_TYPE.ipv4 || frame[IP_OFFSET] !== 0x45) return false;
  if (frame[IP_OFFSET + 9] !== IP_PROTOCOL.udp || (getU16(frame, IP_OFFSET + 6) & 0x3fff) !== 0) return false;
  for (let i = 0; i < 4; i++) if (frame[IP_OFFSET + 16 + i] !== pa[12 + i]) return false;
  return getU16(frame, UDP_OFFSET + 2) === PROBE_PORT;
}

/** The request as its own reply. */
function turned(frame: Uint8Array, payload: Uint8Array): Uint8Array {
  const source = frame.slice(IP_OFFSET + 12, IP_OFFSET + 16);
  frame.set(frame.slice(IP_OFFSET + 16, IP_OFFSET + 20), IP_OFFSET + 12);
  frame.set(source, IP_OFFSET + 16);
  setU16(frame, IP_OFFSET + 4, 0);
  setU16(frame, IP_OFFSET + 6, 0x4000);
  frame[IP_OFFSET + 8] = REPLY_TTL;
  setU16(frame, IP_OFFSET + 10, 0);
  setU16(frame, IP_OFFSET + 10, internetChecksum(frame, IP_OFFSET, 20));
  let difference = 0;
  for (let i = 0; i < payload.length; i += 2) difference += (getU16(frame, PAYLOAD_OFFSET + i) ^ 0xffff) + getU16(payload, i);
  frame.set(payload, PAYLOAD_OFFSET);
  updateTransport(frame, UDP_OFFSET + 6, IP_PROTOCOL.udp, difference);
  return frame;
}
