/** Agents' control port on the provider address: probes, votes and grants. docs/datapath-contract.md section 6. */
export const CONTROL_PORT = 4790;
