/* What goes between a worker and its parent, cgroups on a tree of our own, words for a shell. */
#include "study/cgroup.h"
#include "study/slurm.h"
#include "study/wire.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const choices[3] = {"one", "", "th\"ree\n"};
static const double scores[3] = {-1.5, INFINITY, 0.1};
static const bool greedy[3] = {true, false, true};

static tl_example full_example(void) {
    return (tl_example){
        .protocol = TL_PROTOCOL_LOGLIKELIHOOD,
        .index = 1234567890123,
        .document = "{\"a\":1}",
        .prompt = "what?",
        .n_choices = 3,
        .choices = choices,
        .contexts = choices,
        .continuations = choices,
        .scores = scores,
        .greedy = greedy,
        .gold = 2,
        .prediction = 1,
        .prediction_norm = -1,
        .prediction_bytes = 0,
        .truncated = true,
        .forward_seconds = NAN,
        .total_seconds = 0.25,
        .tokens_computed = 5,
        .tokens_asked = 9,
    };
}

static void test_examples_arrive_as_they_were_sent(void **state) {
    (void)state;
    tl_error error = {0};
    tl_arena *arena = tl_arena_new();
    tl_example sent[2] = {full_example(), {.document = "{}", .skipped = "no gold answer"}};
    for (int i = 0; i < 2; i++) {
        tl_buffer bytes = {0};
        tl_wire_put_example(&bytes, &sent[i]);
        tl_example got;
        assert_ok(tl_wire_get_example(bytes.data, bytes.length, arena, &got, &error), error);
        assert_int_equal(got.index, sent[i].index);
        assert_string_equal(got.document, sent[i].document);
        assert_int_equal(got.n_choices, sent[i].n_choices);
        for (int k = 0; k < got.n_choices; k++) {
            assert_string_equal(got.choices[k], choices[k]);
            assert_string_equal(got.continuations[k], choices[k]);
            assert_true(got.scores[k] == scores[k]);
            assert_int_equal(got.greedy[k], greedy[k]);
        }
        assert_int_equal(got.gold, sent[i].gold);
        assert_int_equal(got.prediction_norm, sent[i].prediction_norm);
        assert_int_equal(got.truncated, sent[i].truncated);
        assert_int_equal(isnan(got.forward_seconds), isnan(sent[i].forward_seconds));
        if (sent[i].skipped)
            assert_string_equal(got.skipped, sent[i].skipped);
        else
            assert_null(got.skipped);
        /* Cut anywhere, or longer than it should be, it is refused. */
        for (size_t length = 0; length < bytes.length; length++)
            assert_false(tl_wire_get_example(bytes.data, length, arena, &got, NULL));
        tl_buffer_append_byte(&bytes, 0);
        assert_false(tl_wire_get_example(bytes.data, bytes.length, arena, &got, &error));
        tl_buffer_free(&bytes);
    }
    tl_arena_free(arena);
}

static void test_frames_are_whole_or_not_there(void **state) {
    (void)state;
    int ends[2];
    tl_error error = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_ok(tl_wire_send(ends[0], TL_FRAME_STAGE, "loading", 7, &error), error);
    assert_ok(tl_wire_send(ends[0], TL_FRAME_GO, NULL, 0, &error), error);
    tl_buffer heard = {0};
    tl_frame frame;
    bool closed;
    assert_ok(tl_wire_receive(ends[1], &heard, &frame, &closed, &error), error);
    assert_int_equal(frame.kind, TL_FRAME_STAGE);
    assert_string_equal(frame.payload, "loading");
    assert_ok(tl_wire_receive(ends[1], &heard, &frame, &closed, &error), error);
    assert_int_equal(frame.kind, TL_FRAME_GO);
    close(ends[0]);
    assert_false(tl_wire_receive(ends[1], &heard, &frame, &closed, &error));
    assert_true(closed);
    close(ends[1]);

    /* Byte by byte, as a socket may deliver them. */
    static const unsigned char bytes[] = {TL_FRAME_ACK, 0, 0, 0, 1, 0, 0, 0, 7, 99, 0, 0, 0};
    tl_buffer_clear(&heard);
    size_t at = 0;
    for (int i = 0; i < 9; i++) {
        assert_false(tl_wire_next(&heard, &at, &frame, &error));
        tl_buffer_append_byte(&heard, (char)bytes[i]);
    }
    error = (tl_error){0};
    assert_true(tl_wire_next(&heard, &at, &frame, &error));
    assert_int_equal(frame.payload[0], 7);
    tl_buffer_append(&heard, bytes + 9, 4);
    tl_buffer_append(&heard, "\xff\xff\xff\xff", 4);
    assert_false(tl_wire_next(&heard, &at, &frame, &error)); /* no such kind, no such length */
    assert_int_equal(error.code, TL_ERROR_FORMAT);
    tl_buffer_free(&heard);
}

/* ---- cgroup v2 on a tree: what is written where; the kernel's part is test_guard's ---- */

static char *read_file(const char *path) {
    return tl_file_read(path, 4096, NULL, NULL);
}

static void assert_file(const char *path, const char *expected) {
    char *text = read_file(path);
    if (!text) fail_msg("%s is not there", path);
    assert_string_equal(text, expected);
    free(text);
}

static void test_cgroup_v2_is_limited_where_it_is_delegated(void **state) {
    (void)state;
    const char *own = "v2/sys/fs/cgroup/user.slice/run.scope";
    test_write_text(test_scratch_path("v2/proc/self/cgroup"), "0::/user.slice/run.scope\n");
    test_write_text(test_scratch_path("%s/cgroup.subtree_control", own), "memory\n");
    /* The group as the kernel would fill it. */
    char group[128];
    snprintf(group, sizeof group, "%s/tinyllm-%ld-cell", own, (long)getpid());
    static const char *const files[] = {"memory.max", "memory.swap.max", "cgroup.procs"};
    for (int i = 0; i < 3; i++)
        test_write_text(test_scratch_path("%s/%s", group, files[i]), "");
    test_write_text(test_scratch_path("%s/memory.events", group),
                    "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n");
    char why[128];
    tl_cgroup *made = tl_cgroup_new(test_scratch_path("v2"), 6 << 20, why, sizeof why);
    if (!made) fail_msg("not made: %s", why);
    assert_file(test_scratch_path("%s/memory.max", group), "6291456");
    assert_file(test_scratch_path("%s/memory.swap.max", group), "0");
    assert_true(tl_cgroup_add(made, 4321));
    assert_file(test_scratch_path("%s/cgroup.procs", group), "4321");
    assert_int_equal(tl_cgroup_kills(made), 1);
    tl_cgroup_free(made);
    assert_null(tl_cgroup_new(test_scratch_path("nothing"), 1, why, sizeof why));
    test_assert_contains(why, "cgroup v2: ");
    test_assert_contains(why, "cgroup v1: ");
}

/* ---- words ---- */

static void test_words_survive_a_shell(void **state) {
    (void)state;
    static const char *const words[] = {"plain", "two words", "it's", "$HOME `id` \"x\"",
                                        "",      "-*?"};
    tl_buffer command = {0};
    tl_buffer_append_string(&command, "printf '%s\\n'");
    tl_buffer expected = {0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        tl_buffer_append_byte(&command, ' ');
        tl_shell_quote(&command, words[i]);
        tl_buffer_append_format(&expected, "%s\n", words[i]);
    }
    FILE *shell = popen(command.data, "r");
    char text[256];
    size_t got = fread(text, 1, sizeof text - 1, shell);
    text[got] = 0;
    assert_int_equal(pclose(shell), 0);
    assert_string_equal(text, expected.data);
    tl_buffer_free(&command);
    tl_buffer_free(&expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_arrive_as_they_were_sent),
        cmocka_unit_test(test_frames_are_whole_or_not_there),
        cmocka_unit_test(test_cgroup_v2_is_limited_where_it_is_delegated),
        cmocka_unit_test(test_words_survive_a_shell),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
