import { isLinkLocalIp } from '@weft/packet';

// Predicates of one family. The packet package's take an IPv4 address and its mapped form for one; here an IPv6 header that carries a
// mapped address is a case of its own, mostly a forgery.

/** True for 16 zero bytes: `::`, and how a table says that there is no address. 0.0.0.0 is another one. */
export function isNoAddress(address: Uint8Array): boolean {
  for (let i = 0; i < 16; i++) if (address[i] !== 0) return false;
  return true;
}

/** fe80::/10 only, not 169.254/16. */
export function isLinkLocal6(address: Uint8Array): boolean {
  return address[0] === 0xfe && isLinkLocalIp(address);
}

/** 0/8, 127/8, 224/4 and 240/4. */
export function isNotUnicast4(address: Uint8Array): boolean {
  const first = address[12]!;
  return first === 0 || first === 127 || first >= 224;
}

/** ff00::/8, ::, ::1 and ::ffff:0:0/96. */
export function isNotUnicast6(address: Uint8Array): boolean {
  if (address[0] === 0xff) return true;
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  if (address[10] === 0xff && address[11] === 0xff) return true;
  for (let i = 10; i < 15; i++) if (address[i] !== 0) return false;
  return address[15]! <= 1;
}
