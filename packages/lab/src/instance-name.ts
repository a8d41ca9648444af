/** Name of a lab host's agent instance: all hosts of a machine share one bpffs, so it holds the lab's name. */
export function instanceName(lab: string, host: string): string {
  return `${lab}-${host}`;
}

/** Where a lab host's pins are. */
export function pinDirectory(lab: string, host: string): string {
  return `/sys/fs/bpf/weft/${instanceName(lab, host)}`;
}
