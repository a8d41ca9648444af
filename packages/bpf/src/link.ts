import { Descriptor } from './descriptor.ts';
import { guard } from './errors.ts';
import { native } from './native.ts';
import { openPinned } from './pins.ts';
import type { BpfProgram } from './program.ts';

/** What the kernel says of a link. */
export interface BpfLinkInfo {
  /** `tcx`, or `type <n>` (`enum bpf_link_type`) for another. */
  readonly type: string;
  readonly id: number;
  readonly programId: number;
  /** Only of tcx links. 0 once detached or once the interface is gone. */
  readonly ifindex?: number;
  /** Only of tcx links. */
  readonly direction?: 'ingress' | 'egress';
}

/** `BPF_LINK_TYPE_TCX`, linux/bpf.h */
const tcxLinkType = 11;
export const tcxAttachTypes = { ingress: 46, egress: 47 } as const;

/** An attached program. It stays attached while a descriptor or a pin of the link lives. */
export class BpfLink extends Descriptor {
  protected readonly label: string = 'link';

  private constructor(fd: number) {
    super(fd);
  }

  /** Takes over a descriptor. */
  static fromFd(fd: number): BpfLink {
    return new BpfLink(fd);
  }

  /** @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`, `WEFT_ERR_BPF_PIN_KIND`. */
  static fromPin(path: string): BpfLink {
    return new BpfLink(openPinned(path, 'link'));
  }

  /** Replaces the program in one step: each packet meets the old one or the new one. The types must be equal. */
  update(program: BpfProgram): void {
    guard(`replace the program of a link by "${program.name}"`, () => native().updateLink(this.fd, program.fd));
  }

  /** Detaches the program, pinned or not. The link lives on, attached to nothing. */
  detach(): void {
    guard('detach a link', () => native().detachLink(this.fd));
  }

  info(): BpfLinkInfo {
    const { type, id, programId, ifindex, attachType } = guard('inspect a link', () => native().linkInfo(this.fd));
    if (type !== tcxLinkType) return { type: `type ${type}`, id, programId };
    return { type: 'tcx', id, programId, ifindex, direction: attachType === tcxAttachTypes.ingress ? 'ingress' : 'egress' };
  }
}
