/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The names that sources tag with "#syscalls".
 */

#include <glib.h>
#include <seccomp.h>

#include "sandbox-syscalls.h"

/*
 * libseccomp has a number for each call of each machine, below zero for those
 * that this one has not.  A name without any is a misspelt tag, which the
 * program would pass over.
 */
static void test_names(void)
{
    g_assert_cmpint(seccomp_syscall_resolve_name("mmap2"), !=,
                    __NR_SCMP_ERROR);
    g_assert_cmpint(seccomp_syscall_resolve_name("mmapp"), ==,
                    __NR_SCMP_ERROR);
    for (size_t i = 0; i < G_N_ELEMENTS(sandbox_syscalls); i++) {
        const char *name = sandbox_syscalls[i];

        if (seccomp_syscall_resolve_name(name) == __NR_SCMP_ERROR) {
            g_test_message("#syscalls %s: no machine has that", name);
            g_test_fail();
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sandbox/names", test_names);
    return g_test_run();
}
