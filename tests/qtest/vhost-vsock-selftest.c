/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests of the runner itself.
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "vhost-vsock-json.h"
#include "vhost-vsock-selftest.h"
#include "vhost-vsock-steps.h"

/* A script that must be refused, and what must be said of it. */
typedef struct WrongScript {
    const char *name;
    const char *text;
    const char *message;
} WrongScript;

static const WrongScript wrong_scripts[] = {
    { "no-array", "{}", "x.json:1: a script is an array: '[' expected" },
    { "not-closed", "[\n{}", "x.json:2: the array is not closed: ']' "
      "expected" },
    { "text-after", "[ {} ]\n]", "x.json:2: something follows the array" },
    { "element-missing", "[ {},\n]", "x.json:2: an element is missing here" },
    { "broken-json", "[ {},\n { 'op': } ]", "x.json:2: step 2: JSON parse "
      "error" },
    { "no-object", "[ {},\n 7 ]", "x.json:2: step 2: an object expected" },
    { "op-missing", "[ {},\n\n { 'ms': 1 } ]", "x.json:3: step 2: key \"op\" "
      "is missing" },
    { "op-misspelt", "[ {},\n { 'op': 'recieve' } ]", "x.json:2: step 2, key "
      "\"op\": there is no op \"recieve\"" },
    { "op-no-string", "[ {},\n { 'op': 3 } ]", "x.json:2: step 2, key "
      "\"op\": a string expected" },
    { "key-unknown", "[ {},\n { 'op': 'sleep',\n 'ms': 1,\n 'sm': 2 } ]",
      "x.json:4: step 2 (sleep), key \"sm\": unknown key" },
    { "key-of-another-op", "[ {},\n { 'op': 'sleep', 'ms': 1, 'hdr': {} } ]",
      "x.json:2: step 2 (sleep), key \"hdr\": \"sleep\" takes no such key" },
    { "key-missing", "[ {},\n { 'op': 'send' } ]", "x.json:2: step 2 (send): "
      "key \"hdr\" is missing" },
    { "number-too-large", "[ {},\n { 'op': 'sleep', 'ms': 600001 } ]",
      "x.json:2: step 2 (sleep), key \"ms\": 600001 is out of range, 0 to "
      "600000" },
    { "number-negative", "[ {},\n { 'op': 'sleep', 'ms': -1 } ]",
      "x.json:2: step 2 (sleep), key \"ms\": -1 is out of range" },
    { "number-fraction", "[ {},\n { 'op': 'sleep', 'ms': 1.5 } ]",
      "x.json:2: step 2 (sleep), key \"ms\": 1.5 is out of range" },
    { "number-as-text", "[ {},\n { 'op': 'sleep', 'ms': '1' } ]",
      "x.json:2: step 2 (sleep), key \"ms\": a number expected" },
    { "field-unknown", "[ {},\n { 'op': 'send',\n 'hdr': {\n 'dstport': 1 } "
      "} ]", "x.json:4: step 2 (send), key \"dstport\": a header has no such "
      "field" },
    { "field-too-large", "[ {},\n { 'op': 'send', 'hdr': { 'op': 65536 } } "
      "]", "x.json:2: step 2 (send), key \"op\": 65536 is out of range, 0 to "
      "65535" },
    { "packet-op-misspelt", "[ {},\n { 'op': 'send', 'hdr':\n { 'op': "
      "'VIRTIO_VSOCK_OP_REQEST' } } ]", "step 2 (send), key \"op\": "
      "\"VIRTIO_VSOCK_OP_REQEST\" is no value for it" },
    { "skip-misspelt", "[ {},\n { 'op': 'receive', 'hdr': {}, 'skip': "
      "['RW'] } ]", "x.json:2: step 2 (receive), key \"skip\": there is no "
      "packet op \"RW\"" },
    { "port-as-cid", "[ {},\n { 'op': 'send', 'hdr': { 'src_cid': "
      "'SOCK_PORT_a' } } ]", "key \"src_cid\": \"SOCK_PORT_a\" is no value "
      "for it" },
    { "flag-misspelt", "[ {},\n { 'op': 'send', 'hdr': { 'flags': "
      "'VIRTIO_VSOCK_SEQ_EOM|EOR' } } ]", "key \"flags\": "
      "\"VIRTIO_VSOCK_SEQ_EOM|EOR\" is no value for it" },
    { "send-needs-one-value", "[ {},\n { 'op': 'send', 'hdr': { 'len': "
      "[1, 2] } } ]", "key \"len\": what is sent needs one value" },
    { "range-misspelt", "[ {},\n { 'op': 'receive', 'hdr': { 'len': { "
      "'from': 1 } } } ]", "key \"len\": \"from\" in a range of \"min\" and "
      "\"max\"" },
    { "range-reversed", "[ {},\n { 'op': 'receive', 'hdr': { 'len': { "
      "'min': 2, 'max': 1 } } } ]", "key \"len\": \"min\" is larger than "
      "\"max\"" },
    { "errno-misspelt", "[ {},\n { 'op': 'sock-recv', 'sock_id': 'a', "
      "'expect': 'ERESET' } ]", "key \"expect\": \"ERESET\" is no errno's "
      "name, OK or EOF" },
    { "event-misspelt", "[ {},\n { 'op': 'sock-poll', 'sock_id': 'a', "
      "'poll_events': 'POLLUOT' } ]", "key \"poll_events\": \"POLLUOT\" is "
      "not one of POLLIN POLLPRI POLLOUT" },
    { "hex-odd", "[ {},\n { 'op': 'sock-send', 'sock_id': 'a', 'payload': "
      "'hex:123' } ]", "key \"payload\": \"hex:\" needs an even number of "
      "digits" },
    { "pattern-no-seed", "[ {},\n { 'op': 'sock-send', 'sock_id': 'a', "
      "'payload': 'pattern:12' } ]", "key \"payload\": a pattern is written" },
    { "requires-unknown", "[ { '_requires': ['sequence'] } ]", "x.json:1: "
      "step 1, key \"_requires\": \"sequence\" is nothing that can be "
      "required" },
    { "end-unknown", "[ { '_no_ends': {\n 'migrat': 'a reason' } } ]",
      "x.json:2: step 1, key \"migrat\": there is no such end" },
    { "end-without-a-reason", "[ { '_vhost_user_no_ends': {\n"
      " 'pauses': true } } ]", "x.json:2: step 1, key \"pauses\": a string "
      "or an array of strings expected" },
    { "ends-no-object", "[ {\n '_no_ends': 'migrate' } ]", "x.json:2: step "
      "1, key \"_no_ends\": an object expected: an end, and why not" },
    { "only-unknown", "[ {},\n { 'op': 'sleep', 'ms': 1, 'only': 'linux' } "
      "]", "key \"only\": \"linux\" is not one of emulator kernel" },
    { "place-misspelt", "[ {},\n { 'op': 'write', 'at': 'RAMS+4' } ]",
      "x.json:2: step 2 (write), key \"at\": \"RAMS+4\" is no address: a "
      "number, or one of DESC AVAIL USED RAM RAM_END ROM BAR NOWHERE with +N "
      "or -N behind it" },
    { "place-far-from-what", "[ {},\n { 'op': 'write', 'at': 'RAM+x' } ]",
      "key \"at\": \"RAM+x\" is no address" },
    { "descriptor-of-nothing", "[ {},\n { 'op': 'descs', 'descs': [] } ]",
      "key \"descs\": an array of descriptors expected" },
    { "descriptor-member-unknown", "[ {},\n { 'op': 'descs', 'descs': [ { "
      "'length': 4 } ] } ]", "key \"descs\": a descriptor has no \"length\"" },
    { "descriptor-packed-and-split", "[ {},\n { 'op': 'descs', 'descs': [ { "
      "'id': 4, 'next': 5 } ] } ]", "key \"descs\": a descriptor has no "
      "\"next\"" },
    { "descriptor-flag-unknown", "[ {},\n { 'op': 'descs', 'descs': [ { "
      "'flags': 'WRITEABLE' } ] } ]", "\"WRITEABLE\" is no flag of a "
      "descriptor" },
    { "recv-of-nothing", "[ {},\n { 'op': 'sock-recv', 'sock_id': 'a' } ]",
      "x.json:2: step 2 (sock-recv): one of \"payload\", \"expect\" is "
      "missing" },
};

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        g_test_message("expected in it: %s\ncame: %s", part, text);
        g_test_fail();
    }
}

static void wrong_script(gconstpointer data)
{
    const WrongScript *wrong = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = vvt_script_parse("x.json", wrong->text,
                                                   &error);

    g_assert_null(script);
    g_assert_error(error, VVT_SCRIPT_ERROR, 0);
    assert_contains(error->message, wrong->message);
}

static void right_script(void)
{
    const char *text =
        "[ { '_description': ['a', 'b'], '_rows': ['S1'],\n"
        "    '_requires': ['emulator'], '_no_ends': { 'quit': 'c' },\n"
        "    '_vhost_user_no_ends': { 'reset': ['d', 'e'], 'pauses': '' } },\n"
        "  { '_comment': 'no step' },\n"
        "  { 'op': 'sleep', 'ms': 1, '_why': 'a comment' } ]";
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = vvt_script_parse("x.json", text, &error);
    VvtStep *step;

    g_assert_no_error(error);
    g_assert_cmpstr(script->description, ==, "a b");
    g_assert_cmpuint(script->rows->len, ==, 1);
    g_assert_cmpuint(script->backends, ==, 1u << VVT_BACKEND_EMULATOR);
    g_assert_cmphex(script->no_ends, ==, 1u << VVT_END_QUIT);
    g_assert_cmphex(script->vhost_user_no_ends, ==,
                    1u << VVT_END_RESET | 1u << VVT_END_PAUSES);
    g_assert_cmpuint(script->steps->len, ==, 1);
    step = script->steps->pdata[0];
    g_assert_cmpuint(step->number, ==, 3);
    g_assert_cmpuint(step->line, ==, 5);
}

/* --- Cases that need a child ---------------------------------------------- */

static void end_at_once(VvtCase *c, const void *opaque)
{
    vvt_case_now(c, "an abort");
    abort();
}

static void never_end(VvtCase *c, const void *opaque)
{
    vvt_case_now(c, "an endless wait");
    for (;;) {
        pause();
    }
}

static void aborted_case(void)
{
    g_autoptr(GString) text = g_string_new(NULL);

    g_assert_cmpint(vvt_case_run(end_at_once, NULL, 10, false, text), ==,
                    VVT_FAIL);
    assert_contains(text->str, "the case ended by signal 6");
    assert_contains(text->str, "that was during an abort");
}

static void stuck_case(void)
{
    g_autoptr(GString) text = g_string_new(NULL);

    g_assert_cmpint(vvt_case_run(never_end, NULL, 1, false, text), ==,
                    VVT_FAIL);
    assert_contains(text->str, "nothing more happened within 1 seconds");
    assert_contains(text->str, "that was during an endless wait");
}

/* --- Daemons that misbehave ----------------------------------------------- */

/* Run a shell's @command as the daemon; it must say something. */
static VvtDaemon *start_shell(VvtCase *c, const char *command)
{
    static char *argv[] = { (char *)"/bin/sh", (char *)"-c", NULL, NULL };
    static VvtConfig config = { .slow = 1, .patience_ms = 200,
                                .daemon = argv };
    g_autofree char *path = g_build_filename(c->dir, VVT_VHOST_SOCKET, NULL);
    g_autofree char *log = g_build_filename(c->dir, VVT_CASE_DAEMON_LOG, NULL);
    g_autofree char *said = NULL;
    g_autoptr(GString) why = g_string_new(NULL);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VvtDaemon *daemon;

    /* Listens in its place: a shell cannot. */
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    argv[2] = (char *)command;
    daemon = vvt_daemon_start(&config, 3, c->dir, why);
    g_assert_nonnull(daemon);
    while (!g_file_get_contents(log, &said, NULL, NULL) || !said[0]) {
        g_clear_pointer(&said, g_free);
        g_usleep(1000);
    }
    return daemon;
}

static void ends_early(VvtCase *c, const void *opaque)
{
    vvt_case_now(c, "an endless wait");
    start_shell(c, "echo last words; kill -SEGV $$");
    for (;;) {
        pause();
    }
}

static void ignores_sigterm(VvtCase *c, const void *opaque)
{
    VvtDaemon *daemon = start_shell(c, "trap '' TERM; echo stubborn;"
                                    "while :; do sleep 1; done");
    g_autoptr(GString) why = g_string_new(NULL);

    vvt_case_qemu_may_exit(true);
    vvt_daemon_end(daemon, why);
    vvt_case_fail(c, why->str);
}

static void daemon_ends_early(void)
{
    g_autoptr(GString) text = g_string_new(NULL);

    g_assert_cmpint(vvt_case_run(ends_early, NULL, 20, false, text), ==,
                    VVT_FAIL);
    assert_contains(text->str, "the daemon ended by signal 11\n"
                    "  that was during an endless wait\n");
    assert_contains(text->str, "  The daemon said:\n    last words");
}

static void daemon_ignores_sigterm(void)
{
    g_autoptr(GString) text = g_string_new(NULL);

    g_assert_cmpint(vvt_case_run(ignores_sigterm, NULL, 20, false, text), ==,
                    VVT_FAIL);
    assert_contains(text->str, "the daemon does not end within 200 ms of "
                    "SIGTERM");
    assert_contains(text->str, "the daemon ended and left /");
}

/* --- Cases that need a device --------------------------------------------- */

/* Run @script, which must fail; NULL: no script can run here. */
static GString *failing_run(const char *script_text)
{
    const VvtConfig *config = vvt_config_get();
    g_autoptr(GError) error = NULL;
    g_autoptr(VvtScript) script = vvt_script_parse("x.json", script_text,
                                                   &error);
    GString *text;

    g_assert_no_error(error);
    if (!vvt_config_usable(config)) {
        return NULL;
    }
    text = g_string_new(NULL);
    g_assert_cmpint(vvt_case_run(vvt_run_script, script, 20 * config->slow,
                                 false, text), ==, VVT_FAIL);
    return text;
}

static void wrong_expectation(void)
{
    g_autoptr(GString) text = failing_run(
        "[ {},\n"
        "  { 'op': 'send', 'hdr': { 'src_port': 1025, 'dst_port': 1234,\n"
        "    'op': 'VIRTIO_VSOCK_OP_REQUEST' } },\n"
        "  { 'op': 'receive', 'hdr': { 'src_port': 1234,\n"
        "    'op': 'VIRTIO_VSOCK_OP_RESPONSE' } } ]");

    if (text) {
        assert_contains(text->str, "x.json:4: step 3 (receive): the packet "
                        "is not the one expected");
        assert_contains(text->str, "  * op         RESPONSE (2)        "
                        "               RST (3)");
        assert_contains(text->str, "    src_port   1234          ");
        assert_contains(text->str, " 1 from guest ");
        assert_contains(text->str, ":1025 -> 2:1234 STREAM REQUEST len 0 "
                        "flags 0 buf_alloc 262144 fwd_cnt 0");
        assert_contains(text->str, " 2 to guest   2:1234 -> ");
    }
}

static void nothing_came(void)
{
    g_autoptr(GString) text = failing_run(
        "[ {},\n"
        "  { 'op': 'receive', 'hdr': {}, 'timeout_ms': 10 } ]");

    if (text) {
        assert_contains(text->str, "x.json:2: step 2 (receive): no packet "
                        "came");
        assert_contains(text->str, "no packet had been seen");
    }
}

static void silence_broken(void)
{
    g_autoptr(GString) text = failing_run(
        "[ {},\n"
        "  { 'op': 'send', 'hdr': { 'op': 'VIRTIO_VSOCK_OP_RW' } },\n"
        "  { 'op': 'expect-none' } ]");

    if (text) {
        assert_contains(text->str, "x.json:3: step 3 (expect-none): silence "
                        "expected, but this came: 2:0 -> ");
    }
}

static void qemu_dies(void)
{
    g_autoptr(GString) text = failing_run(
        "[ {},\n"
        "  { 'op': 'qmp', 'execute': 'quit' },\n"
        "  { 'op': 'sleep', 'ms': 5000 },\n"
        "  { 'op': 'receive', 'hdr': {} } ]");

    if (text) {
        assert_contains(text->str, "QEMU ended by itself, exit status 0");
        assert_contains(text->str, "  that was during x.json:");
    }
}

static void qemu_does_not_start(void)
{
    g_autoptr(GString) text = failing_run("[ { '_guest_cid': 1 } ]");

    if (text && vvt_config_get()->backend == VVT_BACKEND_VHOST_USER) {
        assert_contains(text->str, "the daemon ended by itself, exit status ");
        assert_contains(text->str, "that was during the start of the daemon");
        assert_contains(text->str, "  The daemon said:\n");
    } else if (text) {
        assert_contains(text->str, "QEMU ended by itself, exit status 1");
        assert_contains(text->str, "that was during the start of QEMU");
        assert_contains(text->str, "guest-cid property must be greater than "
                        "2");
    }
}

void vvt_selftest_add(void)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(wrong_scripts); i++) {
        g_autofree char *name =
            g_strdup_printf("/vhost-vsock/selftest/wrong-script/%s",
                            wrong_scripts[i].name);

        g_test_add_data_func(name, &wrong_scripts[i], wrong_script);
    }
    g_test_add_func("/vhost-vsock/selftest/right-script", right_script);
    g_test_add_func("/vhost-vsock/selftest/aborted-case", aborted_case);
    g_test_add_func("/vhost-vsock/selftest/stuck-case", stuck_case);
    g_test_add_func("/vhost-vsock/selftest/daemon-ends-early",
                    daemon_ends_early);
    g_test_add_func("/vhost-vsock/selftest/daemon-ignores-sigterm",
                    daemon_ignores_sigterm);
    g_test_add_func("/vhost-vsock/selftest/wrong-expectation",
                    wrong_expectation);
    g_test_add_func("/vhost-vsock/selftest/nothing-came", nothing_came);
    g_test_add_func("/vhost-vsock/selftest/silence-broken", silence_broken);
    g_test_add_func("/vhost-vsock/selftest/qemu-dies", qemu_dies);
    g_test_add_func("/vhost-vsock/selftest/qemu-does-not-start",
                    qemu_does_not_start);
}
