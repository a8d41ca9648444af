/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One object of all programs, so that they share one set of maps and are loaded as one. */
#include "from_external.bpf.c"
#include "from_port.bpf.c"
#include "from_tunnel.bpf.c"
#include "from_underlay.bpf.c"
#include "gateway_error.bpf.c"
#include "gateway_in.bpf.c"
#include "nat_sweep.bpf.c"
#include "to_gateway.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
