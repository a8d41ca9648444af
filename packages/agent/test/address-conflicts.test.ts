import { broadcastMac, buildAnnouncement, buildArpFrame, buildNeighborSolicitationFrame, parseIp } from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { claimedAddress } from '../src/gateway/address-conflicts.ts';

const OWN = ['203.0.113.16', '203.0.113.17', '2001:db8::16', '2001:db8::117'].map(parseIp);
const IMPOSTOR = '02:00:00:00:00:66';
/** What the packet path keeps of a frame. */
const head = (frame: Uint8Array): Uint8Array => frame.subarray(0, 64);

describe('claimedAddress()', () => {
  it('finds the address that an announcement is about', () => {
    for (const own of OWN) for (const frame of buildAnnouncement(IMPOSTOR, own)) expect(claimedAddress(head(frame), OWN)).toEqual(own);
  });

  it('finds the target of a question whether it is free, by its group', () => {
    const frame = buildNeighborSolicitationFrame({ sourceMac: IMPOSTOR, source: '::', target: '2001:db8::117' });
    expect(claimedAddress(head(frame), OWN)).toEqual(parseIp('2001:db8::117'));
  });

  it('says nothing of other addresses, nor of what it can not read', () => {
    const arp = buildArpFrame({
      senderMac: IMPOSTOR,
      senderIp: parseIp('203.0.113.99'),
      targetIp: parseIp('203.0.113.16'),
      destination: broadcastMac(),
      operation: 1,
    });
    expect(claimedAddress(head(arp), OWN)).toBeUndefined();
    for (let length = 0; length < 32; length++)
      expect(claimedAddress(buildAnnouncement(IMPOSTOR, OWN[0]!)[0]!.subarray(0, length), OWN)).toBeUndefined();
    expect(claimedAddress(new Uint8Array(64), OWN)).toBeUndefined();
  });
});
