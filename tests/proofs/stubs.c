/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The few functions of GLib that the proven files call, as far as proofs need
 * to know of them.  GLib's allocation never fails; it ends the process.
 */

#include "stubs.h"

#include <stdlib.h>
#include <string.h>

void *any_bytes(size_t size)
{
    void *bytes = malloc(size);

    assume(bytes);
    return bytes;
}

gpointer g_malloc(gsize n)
{
    return n ? any_bytes(n) : NULL;
}

gpointer g_malloc0(gsize n)
{
    gpointer p = n ? calloc(1, n) : NULL;

    assume(p || !n);
    return p;
}

gpointer g_malloc_n(gsize n, gsize size)
{
    prove(!size || n <= SIZE_MAX / size, "no overflow in g_new");
    return g_malloc(n * size);
}

gpointer g_malloc0_n(gsize n, gsize size)
{
    prove(!size || n <= SIZE_MAX / size, "no overflow in g_new0");
    return g_malloc0(n * size);
}

void g_free(gpointer p)
{
    free(p);
}

void g_assertion_message_expr(const char *domain, const char *file, int line,
                              const char *func, const char *expr)
{
    (void)domain;
    (void)file;
    (void)line;
    (void)func;
    (void)expr;
    prove(false, "a g_assert holds");
    assume(false);
}

/* CBMC brings the other functions of <string.h>, but not this one. */
void *memchr(const void *bytes, int c, size_t n)
{
    prove(__CPROVER_r_ok(bytes, n), "memchr reads what is there");
    for (size_t i = 0; i < n; i++) {
        if (((const uint8_t *)bytes)[i] == (uint8_t)c) {
            return (uint8_t *)bytes + i;
        }
    }
    return NULL;
}

gint g_ascii_strncasecmp(const gchar *a, const gchar *b, gsize n)
{
    for (gsize i = 0; i < n; i++) {
        int ca = a[i] >= 'A' && a[i] <= 'Z' ? a[i] + 32 : a[i];
        int cb = b[i] >= 'A' && b[i] <= 'Z' ? b[i] + 32 : b[i];

        if (ca != cb) {
            return ca - cb;
        }
        if (!ca) {
            break;
        }
    }
    return 0;
}
