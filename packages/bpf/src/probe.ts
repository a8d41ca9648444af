import { release } from 'node:os';
import { native } from './native.ts';

/** What this kernel offers to BPF programs. */
export interface BpfFeatures {
  /** `uname -r` */
  readonly kernelRelease: string;
  /** Major and minor number. */
  readonly kernelVersion: readonly [number, number];
  /** Of the library that the addon runs with. */
  readonly libbpfVersion: string;
  /** tcx links (6.6). Also false without the capabilities to ask. */
  readonly tcx: boolean;
  /** The kernel tells its types (/sys/kernel/btf/vmlinux), which CO-RE needs. */
  readonly btf: boolean;
  /** BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (6.3): `bpf_skb_adjust_room` takes IPv6 out of IPv4. Its value, or `undefined` if unknown to the kernel. */
  readonly adjustRoomDecapL3Ipv6: number | undefined;
  /** BPF_F_ADJ_ROOM_DECAP_L4_UDP: `bpf_skb_adjust_room` takes the tunnel's gso type off. Its value, or `undefined` if unknown to the kernel. */
  readonly adjustRoomDecapL4Udp: number | undefined;
  /** BPF_F_ADJ_ROOM_DECAP_L4_GRE, as above. */
  readonly adjustRoomDecapL4Gre: number | undefined;
}

/** Whether tcx links can be made here. Attaches nothing. */
export function probeTcx(): boolean {
  return native().probeTcx() === 0;
}

let features: BpfFeatures | undefined;

/** Asks the kernel once; later calls repeat the answer. The first takes some tens of milliseconds. */
export function probeFeatures(): BpfFeatures {
  features ??= ask();
  return features;
}

function ask(): BpfFeatures {
  const flags = ['BPF_F_ADJ_ROOM_DECAP_L4_UDP', 'BPF_F_ADJ_ROOM_DECAP_L4_GRE', 'BPF_F_ADJ_ROOM_DECAP_L3_IPV6'] as const;
  const enumerators = native().kernelEnumerators(flags);
  const flag = (name: (typeof flags)[number]): number | undefined => {
    const value = enumerators?.[name] ?? -1;
    return value < 0 ? undefined : value;
  };
  const kernelRelease = release();
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(kernelRelease) ?? [];
  return {
    kernelRelease,
    kernelVersion: [Number(major), Number(minor)],
    libbpfVersion: native().libbpfVersion(),
    tcx: probeTcx(),
    btf: enumerators !== null,
    adjustRoomDecapL3Ipv6: flag(flags[2]),
    adjustRoomDecapL4Udp: flag(flags[0]),
    adjustRoomDecapL4Gre: flag(flags[1]),
  };
}
