/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Packet headers as scripts write them: what each field may be, how a packet
 * is compared with it, and how both are shown to a reader.
 *
 * A header is an array of numbers in host byte order, one for each field of
 * struct virtio_vsock_hdr, so that parsing, matching and reporting are loops
 * over one table.
 */

#ifndef VHOST_VSOCK_MATCH_H
#define VHOST_VSOCK_MATCH_H

#include "standard-headers/linux/virtio_vsock.h"

#define VVT_HDR_SIZE sizeof(struct virtio_vsock_hdr)
#define VVT_HOST_CID 2

typedef enum VvtField {
    VVT_SRC_CID,
    VVT_DST_CID,
    VVT_SRC_PORT,
    VVT_DST_PORT,
    VVT_LEN,
    VVT_TYPE,
    VVT_OP,
    VVT_FLAGS,
    VVT_BUF_ALLOC,
    VVT_FWD_CNT,
    VVT_FIELD_NUM
} VvtField;

typedef struct VvtHdr {
    uint64_t field[VVT_FIELD_NUM];
} VvtHdr;

/* One value a script may write for a field. */
typedef enum VvtTermKind {
    VVT_TERM_NUMBER,
    VVT_TERM_MY_CID,    /* the guest's CID */
    VVT_TERM_SOCK_PORT, /* the local port of a host socket */
    VVT_TERM_TX_CNT,    /* payload bytes the guest sent in this flow */
    VVT_TERM_RX_CNT,    /* payload bytes the guest received in this flow */
} VvtTermKind;

typedef struct VvtTerm {
    VvtTermKind kind;
    uint64_t number;
    char *sock_id;
} VvtTerm;

typedef enum VvtSpecKind {
    VVT_SPEC_UNSET,  /* the script does not mention the field */
    VVT_SPEC_ANY,
    VVT_SPEC_ONE_OF, /* @terms; one of them where the script has one value */
    VVT_SPEC_RANGE,  /* @min … @max, both included */
} VvtSpecKind;

typedef struct VvtSpec {
    VvtSpecKind kind;
    VvtTerm *terms;
    unsigned n_terms;
    uint64_t min;
    uint64_t max;
} VvtSpec;

typedef struct VvtHdrSpec {
    VvtSpec field[VVT_FIELD_NUM];
} VvtHdrSpec;

/*
 * Tell what @term stands for in a packet with the header @hdr.  False: it is
 * not known yet, which is so for the port of a host socket until the device
 * chose one.
 */
typedef bool (*VvtResolve)(void *opaque, const VvtTerm *term,
                           const VvtHdr *hdr, uint64_t *ret_value);

const char *vvt_field_name(VvtField field);
uint64_t vvt_field_max(VvtField field);

/*
 * The number behind a constant's name, e.g. VIRTIO_VSOCK_OP_RW; of flags,
 * behind several with "|" between.
 */
bool vvt_field_constant(VvtField field, const char *name,
                        uint64_t *ret_value);

void vvt_hdr_encode(const VvtHdr *hdr, uint8_t wire[VVT_HDR_SIZE]);
void vvt_hdr_decode(const uint8_t wire[VVT_HDR_SIZE], VvtHdr *ret_hdr);

/* "RESPONSE (2)" where the number has a name, else "2". */
char *vvt_field_format(VvtField field, uint64_t value);

/* The whole header on one line. */
char *vvt_hdr_format(const VvtHdr *hdr);

void vvt_hdr_spec_clear(VvtHdrSpec *spec);

/*
 * Compare @hdr with @spec.  If @ret_report is given, a table of all fields
 * the script mentions is appended to it when they differ.  A term that is not
 * known yet fits any number.
 */
bool vvt_hdr_match(const VvtHdrSpec *spec, const VvtHdr *hdr,
                   VvtResolve resolve, void *opaque, GString *ret_report);

#endif /* VHOST_VSOCK_MATCH_H */
