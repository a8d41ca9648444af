/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* VXLAN over UDP over IPv4 (RFC 7348 section 5):
 *
 *   0   Ethernet 14
 *   14  IPv4 20
 *   34  UDP 8
 *   42  VXLAN 8: I flag, 24 reserved bits, VNI, 8 reserved bits
 *   50  inner frame */
#ifndef WEFT_VXLAN_H
#define WEFT_VXLAN_H

#include "eth.h"

#define OUTER_IP 14
#define OUTER_UDP 34
#define OUTER_VXLAN 42
#define OUTER_LEN 50 /* before the inner frame */
#define OUTER_HEADERS_LEN 36 /* IPv4, UDP and VXLAN */
#define INNER_IP (OUTER_LEN + ETH_HLEN)

#define VXLAN_FLAG_VNI 0x08

#endif
