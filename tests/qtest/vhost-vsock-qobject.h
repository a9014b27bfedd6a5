/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU's JSON types, whose headers moved in QEMU 10.0.
 */

#ifndef VHOST_VSOCK_QOBJECT_H
#define VHOST_VSOCK_QOBJECT_H

#if QEMU_VERSION_MAJOR >= 10
#include "qobject/qbool.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#else
#include "qapi/qmp/qbool.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qstring.h"
#endif

#endif /* VHOST_VSOCK_QOBJECT_H */
