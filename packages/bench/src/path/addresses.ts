/** The two VMs of every path, and the flow between them. */
export const vmA = { mac: '02:00:00:00:00:0a', address: '10.0.0.10' } as const;
export const vmB = { mac: '02:00:00:00:00:0b', address: '10.0.0.11' } as const;
export const VSID = 5001;
export const NETWORK_ID = 7;

/** MAC of a subnet's gateway: docs/datapath-contract.md section 1. */
export function gatewayMac(vsid: number): string {
  const hex = vsid.toString(16).padStart(6, '0');
  return `02:57:46:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`;
}
