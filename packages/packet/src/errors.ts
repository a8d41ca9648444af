/** Codes of the errors this package throws for text and files that a caller handed in. Packet contents never throw. */
export const PACKET_ERROR_CODES = [
  'WEFT_ERR_PACKET_MAC_INVALID',
  'WEFT_ERR_PACKET_IP_INVALID',
  'WEFT_ERR_PACKET_PREFIX_INVALID',
  'WEFT_ERR_PACKET_PREFIX_HOST_BITS',
  'WEFT_ERR_PACKET_PCAP_INVALID',
] as const;

export type PacketErrorCode = (typeof PACKET_ERROR_CODES)[number];

/** Refusal of an address, a prefix or a capture file. `code` is stable; the message tells value, rule and remedy. */
export class PacketError extends Error {
  override readonly name: string = 'PacketError';
  readonly code: PacketErrorCode;

  constructor(code: PacketErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
