/* The store of a run: what goes in comes out, who may open it, and what damage does. */
#include "study/store.h"
#include "support/support.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static tl_store *open_store(const char *name, bool write) {
    tl_error error = {0};
    tl_store *store = tl_store_open(test_scratch_path("%s", name), write, &error);
    assert_ok(store, error);
    return store;
}

static tl_store_cell plan_cell(tl_store *store, const char *task, const char *identity) {
    tl_error error = {0};
    int64_t device;
    assert_ok(tl_store_device(store, "board-1", "Board", "{\"cpu\":\"x\"}", &device, &error),
              error);
    tl_store_cell cell = {
        .device = device,
        .model = {.name = "tiny", .id = "org/tiny", .parameters_label = "1M", .parameters = 1000},
        .task = task,
        .task_title = "Task",
        .protocol = TL_PROTOCOL_LOGLIKELIHOOD,
        .dtype = "f32",
        .precision = "exact",
        .identity = identity,
        .examples = 100,
        .started = NAN,
        .finished = NAN,
    };
    assert_ok(tl_store_plan(store, &cell, &error), error);
    return cell;
}

static const char *const choices[2] = {" yes", " n\"o\n"};
static const char *const contexts[2] = {"Is it?", "Is it?"};
static const double scores[2] = {-1.25e-7, -INFINITY};
static const bool greedy[2] = {true, false};

static tl_example make_example(int64_t index) {
    return (tl_example){
        .protocol = TL_PROTOCOL_LOGLIKELIHOOD,
        .index = index,
        .document = "{\"question\":\"Is it?\"}",
        .prompt = "Is it?",
        .n_choices = 2,
        .choices = choices,
        .contexts = contexts,
        .continuations = choices,
        .scores = scores,
        .greedy = greedy,
        .gold = 1,
        .prediction = 0,
        .prediction_norm = 1,
        .prediction_bytes = -1,
        .forward_seconds = 0.125,
        .total_seconds = NAN,
        .tokens_computed = 7,
        .tokens_asked = 12,
    };
}

static void add_examples(tl_store *store, int64_t cell, int64_t count) {
    tl_error error = {0};
    for (int64_t i = 0; i < count; i++) {
        tl_example example = make_example(i);
        assert_ok(tl_store_add_example(store, cell, &example, &error), error);
    }
}

static bool check_example(void *context, const tl_example *example) {
    int64_t *next = context;
    assert_int_equal(example->index, (*next)++);
    assert_int_equal(example->protocol, TL_PROTOCOL_LOGLIKELIHOOD);
    assert_string_equal(example->document, "{\"question\":\"Is it?\"}");
    assert_string_equal(example->prompt, "Is it?");
    assert_int_equal(example->n_choices, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(example->choices[i], choices[i]);
        assert_string_equal(example->contexts[i], contexts[i]);
        assert_string_equal(example->continuations[i], choices[i]);
        assert_true(example->scores[i] == scores[i]);
        assert_int_equal(example->greedy[i], greedy[i]);
    }
    assert_int_equal(example->gold, 1);
    assert_int_equal(example->prediction, 0);
    assert_int_equal(example->prediction_norm, 1);
    assert_int_equal(example->prediction_bytes, -1);
    assert_true(example->forward_seconds == 0.125);
    assert_true(isnan(example->total_seconds));
    assert_int_equal(example->tokens_computed, 7);
    assert_int_equal(example->tokens_asked, 12);
    assert_null(example->skipped);
    return true;
}

static bool check_cell(void *context, const tl_store_cell *cell) {
    ++*(int *)context;
    assert_string_equal(cell->model.name, "tiny");
    assert_string_equal(cell->model.id, "org/tiny");
    assert_string_equal(cell->model.parameters_label, "1M");
    assert_int_equal(cell->model.parameters, 1000);
    assert_string_equal(cell->task, "arc_easy");
    assert_int_equal(cell->protocol, TL_PROTOCOL_LOGLIKELIHOOD);
    assert_int_equal(cell->verdict, TL_VERDICT_TIMEOUT);
    assert_string_equal(cell->reason, "too slow");
    assert_int_equal(cell->examples, 100);
    assert_true(cell->finished >= cell->started && cell->started > 1.6e9);
    return true;
}

static void test_what_goes_in_comes_out(void **state) {
    (void)state;
    tl_error error = {0};
    tl_store *store = open_store("round", true);
    assert_ok(tl_store_set_fact(store, "command", "\"tinyllm run\"", &error), error);
    tl_store_cell cell = plan_cell(store, "arc_easy", "{\"limit\":100}");
    add_examples(store, cell.id, 5);
    add_examples(store, cell.id, 2); /* again: replaced, not doubled */
    assert_ok(tl_store_set_measure(store, cell.id, "energy_j", NAN, "J", "no sensor", &error),
              error);
    assert_ok(tl_store_set_measure(store, cell.id, "accuracy", 50, "%", NULL, &error), error);
    assert_ok(tl_store_set_verdict(store, cell.id, TL_VERDICT_RUNNING, NULL, &error), error);
    assert_ok(tl_store_set_verdict(store, cell.id, TL_VERDICT_TIMEOUT, "too slow", &error), error);

    /* A reader beside the writer sees it all. */
    tl_store *reader = open_store("round", false);
    int64_t next = 0;
    assert_ok(tl_store_each_example(reader, cell.id, check_example, &next, &error), error);
    assert_int_equal(next, 5);
    int cells = 0;
    assert_ok(tl_store_each_cell(reader, check_cell, &cells, &error), error);
    assert_int_equal(cells, 1);
    assert_true(tl_store_measure(reader, cell.id, "accuracy") == 50);
    assert_true(isnan(tl_store_measure(reader, cell.id, "energy_j")));
    char *command = tl_store_fact(reader, "command");
    assert_string_equal(command, "\"tinyllm run\"");
    free(command);
    assert_null(tl_store_fact(reader, "nothing"));
    tl_store_close(reader);
    tl_store_close(store);
}

static void test_another_identity_is_refused_by_name(void **state) {
    (void)state;
    tl_error error = {0};
    tl_store *store = open_store("identity", true);
    tl_store_cell cell = plan_cell(store, "piqa", "{\"rows\":\"a\",\"limit\":100}");
    int64_t id = cell.id;
    /* Without examples there is nothing to contradict. */
    cell = plan_cell(store, "piqa", "{\"rows\":\"b\",\"limit\":100}");
    assert_int_equal(cell.id, id);
    add_examples(store, id, 1);
    cell = plan_cell(store, "piqa", "{\"limit\":100,\"rows\":\"b\"}");
    assert_int_equal(cell.id, id);
    cell.identity = "{\"rows\":\"b\",\"limit\":20}";
    assert_false(tl_store_plan(store, &cell, &error));
    assert_int_equal(error.code, TL_ERROR_USAGE);
    test_assert_contains(error.message, "another limit: it was 100, and now it is 20");
    cell.identity = "{\"limit\":100,\"rows\":\"b\",\"bos\":\"on\"}";
    assert_false(tl_store_plan(store, &cell, &error));
    test_assert_contains(error.message, "another bos: it was absent, and now it is \"on\"");
    cell.identity = "{\"limit\":100}";
    assert_false(tl_store_plan(store, &cell, &error));
    test_assert_contains(error.message, "another rows: it was \"b\", and now it is absent");
    tl_store_close(store);
}

static void test_one_writer_at_a_time(void **state) {
    (void)state;
    tl_error error = {0};
    tl_store *store = open_store("locked", true);
    pid_t child = fork();
    if (child == 0) {
        bool opened = tl_store_open(test_scratch_path("locked"), true, &error) != NULL;
        char expected[64];
        snprintf(expected, sizeof expected, "in use by another run (process %ld)", (long)getppid());
        _exit(opened ? 1 : strstr(error.message, expected) ? 0 : 2);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
    tl_store_close(store);

    /* The lock dies with its holder, however it dies. */
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        tl_store_open(test_scratch_path("locked"), true, NULL);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_null(tl_store_open(test_scratch_path("locked"), true, &error));
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    tl_store_close(open_store("locked", true));
    close(ready[0]), close(ready[1]);
}

/* Opens the stores `busy/0`.. as they come into being, as a page that waits for a run does. Ends
 * with what a reader was told that is neither "not yet" nor a store. */
static void watch_stores(int stores) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    tl_error error = {0};
    for (int i = 0; i < stores; i++) {
        for (bool opened = false; !opened;) {
            tl_store *reader = tl_store_open(test_scratch_path("busy/%d", i), false, &error);
            opened = reader != NULL;
            tl_store_close(reader);
            bool early = !opened && (strstr(error.message, "no run was stored there") ||
                                     strstr(error.message, "nothing was stored in it yet"));
            if (!opened && !early) {
                fprintf(stderr, "a reader: %s\n", error.message);
                _exit(1);
            }
        }
    }
    _exit(0);
}

/* A reader that comes while a run begins is in nobody's way, and sees all of the schema or none. */
static void test_readers_may_watch_a_store_begin(void **state) {
    (void)state;
    enum { STORES = 60, READERS = 3 };
    tl_error error = {0};
    pid_t readers[READERS];
    assert_ok(tl_dir_create(test_scratch_path("busy"), &error), error);
    for (int i = 0; i < READERS; i++) {
        readers[i] = fork();
        if (readers[i] == 0) watch_stores(STORES);
    }
    for (int i = 0; i < STORES; i++) {
        char name[32];
        snprintf(name, sizeof name, "busy/%d", i);
        tl_store_close(open_store(name, true));
    }
    for (int i = 0; i < READERS; i++) {
        int status;
        waitpid(readers[i], &status, 0);
        assert_int_equal(status, 0);
    }
}

static void test_newer_and_foreign_files_are_refused(void **state) {
    (void)state;
    tl_error error = {0};
    tl_store_close(open_store("newer", true));
    sqlite3 *database;
    sqlite3_open(test_scratch_path("newer/run.sqlite"), &database);
    sqlite3_exec(database, "PRAGMA user_version=99", NULL, NULL, NULL);
    sqlite3_close(database);
    for (int write = 0; write < 2; write++) {
        assert_null(tl_store_open(test_scratch_path("newer"), write, &error));
        assert_int_equal(error.code, TL_ERROR_UNSUPPORTED);
        test_assert_contains(error.message, "a store of version 99");
    }
    sqlite3_open(test_scratch_path("newer/run.sqlite"), &database);
    sqlite3_exec(database, "PRAGMA application_id=7", NULL, NULL, NULL);
    sqlite3_close(database);
    assert_null(tl_store_open(test_scratch_path("newer"), true, &error));
    test_assert_contains(error.message, "not a tinyllm store");

    test_write_text(test_scratch_path("text/run.sqlite"), "this is not a database at all, no");
    assert_null(tl_store_open(test_scratch_path("text"), false, &error));
    assert_int_equal(error.code, TL_ERROR_FORMAT);
    assert_null(tl_store_open(test_scratch_path("text"), true, &error));
    test_assert_contains(error.message, "damaged");
    assert_null(tl_store_open(test_scratch_path("nothing-here"), false, &error));
    test_assert_contains(error.message, "no run was stored there");
}

static void test_read_only_directories_can_be_read(void **state) {
    (void)state;
    if (geteuid() == 0) {
        /* Root is not held back by modes: ask as nobody. */
        chmod(test_scratch(), 0755);
    }
    tl_store *store = open_store("frozen", true);
    tl_store_cell cell = plan_cell(store, "piqa", "{}");
    add_examples(store, cell.id, 3);
    tl_store_close(store);
    chmod(test_scratch_path("frozen"), 0555);
    chmod(test_scratch_path("frozen/run.sqlite"), 0444);
    chmod(test_scratch_path("frozen/lock"), 0444);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && seteuid(65534) != 0) _exit(9);
        tl_error error = {0};
        tl_store *reader = tl_store_open(test_scratch_path("frozen"), false, &error);
        if (!reader || tl_store_count_examples(reader, cell.id) != 3) _exit(1);
        tl_store_close(reader);
        if (tl_store_open(test_scratch_path("frozen"), true, &error)) _exit(2);
        _exit(error.code == TL_ERROR_IO ? 0 : 3);
    }
    int status;
    waitpid(child, &status, 0);
    chmod(test_scratch_path("frozen"), 0755);
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool count_example(void *context, const tl_example *example) {
    if (example->n_choices == 2 && *example->document) ++*(int64_t *)context;
    return true;
}

enum { EXAMPLES = 400, PAGE = 4096 };

/* A store of EXAMPLES examples in "damaged": its file, and its one cell. */
static char *file_to_damage(size_t *length, int64_t *id) {
    tl_error error = {0};
    tl_store *store = open_store("damaged", true);
    tl_store_cell cell = plan_cell(store, "piqa", "{}");
    for (int64_t i = 0; i < EXAMPLES; i++) {
        char document[400];
        snprintf(document, sizeof document, "{\"question\":\"%0300d\"}", (int)i);
        tl_example example = make_example(i);
        example.document = document;
        assert_ok(tl_store_add_example(store, cell.id, &example, &error), error);
    }
    assert_ok(tl_store_set_verdict(store, cell.id, TL_VERDICT_DONE, NULL, &error), error);
    tl_store_close(store);
    *id = cell.id;
    char *whole = tl_file_read(test_scratch_path("damaged/run.sqlite"), 1 << 24, length, &error);
    assert_ok(whole, error);
    return whole;
}

/* How many examples are salvaged of a file that is not to be opened. */
static int64_t refused_and_salvaged(const char *data, size_t length) {
    test_write_file(test_scratch_path("damaged/run.sqlite"), data, length);
    tl_error error = {0};
    assert_null(tl_store_open(test_scratch_path("damaged"), false, &error));
    test_assert_contains(error.message, "--salvage");
    tl_store_salvaged found = {0};
    tl_store *rest = tl_store_salvage(test_scratch_path("damaged"), &found, &error);
    assert_ok(rest, error);
    tl_store_close(rest);
    return found.examples;
}

static void test_a_file_cut_short_is_salvaged(void **state) {
    (void)state;
    size_t length;
    int64_t cell;
    char *whole = file_to_damage(&length, &cell);
    int64_t all = refused_and_salvaged(whole, length - PAGE);
    int64_t half = refused_and_salvaged(whole, length / 2 + 100);
    assert_true(all >= EXAMPLES - 60 && half >= EXAMPLES / 4 && half < all);
    free(whole);
    assert_int_equal(unlink(test_scratch_path("damaged/run.sqlite")), 0);
}

/* A sound page in the place of another: as a disk leaves it that writes where it was not told. */
static void test_a_misplaced_page_is_found(void **state) {
    (void)state;
    size_t length;
    int64_t cell;
    char *whole = file_to_damage(&length, &cell);
    for (size_t page = 12; (page + 2) * PAGE <= length; page += 7) {
        char *copy = malloc(length);
        memcpy(copy, whole, length);
        memcpy(copy + page * PAGE, whole + (page + 1) * PAGE, PAGE);
        refused_and_salvaged(copy, length);
        free(copy);
    }
    free(whole);
    assert_int_equal(unlink(test_scratch_path("damaged/run.sqlite")), 0);
}

/* Overwrites every page of the file in turn: opening reports the damage (or the page did not
 * matter), and salvage never reads less than everything but what lay on that page. */
static void test_damage_is_found_and_the_rest_salvaged(void **state) {
    (void)state;
    tl_error error = {0};
    size_t length;
    int64_t cell;
    char *whole = file_to_damage(&length, &cell);
    int pages = (int)(length / PAGE), detected = 0, salvaged = 0;
    assert_true(pages > 40);
    for (int page = 0; page < pages; page++) {
        char *copy = malloc(length);
        memcpy(copy, whole, length);
        memset(copy + page * PAGE, 0xa5, PAGE);
        test_write_file(test_scratch_path("damaged/run.sqlite"), copy, length);
        free(copy);
        tl_store *opened = tl_store_open(test_scratch_path("damaged"), false, &error);
        if (opened) {
            tl_store_close(opened);
            continue;
        }
        assert_int_equal(error.code, TL_ERROR_FORMAT);
        detected++;
        tl_store_salvaged found;
        tl_store *rest = tl_store_salvage(test_scratch_path("damaged"), &found, &error);
        if (!rest) continue;
        int64_t readable = 0;
        assert_ok(tl_store_each_example(rest, cell, count_example, &readable, &error), error);
        assert_true(readable <= found.examples && found.examples <= EXAMPLES);
        if (readable >= EXAMPLES - 60) salvaged++;
        tl_store_close(rest);
    }
    /* Some pages are roots of trees: with one of those its table is gone. */
    assert_true(detected >= pages - 2);
    assert_true(salvaged >= pages * 3 / 4);
    test_write_file(test_scratch_path("damaged/run.sqlite"), whole, length);
    tl_store_close(open_store("damaged", true));
    free(whole);
}

/* Fills a small disk: the failing write says so, and everything before it is there afterwards. */
static void test_a_full_disk_loses_nothing_stored(void **state) {
    (void)state;
    const char *disk = test_scratch_path("disk");
    tl_error error = {0};
    assert_ok(tl_dir_create(disk, &error), error);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=2m") != 0) {
        printf("no right to mount a small disk: skipped\n");
        skip();
    }
    tl_store *store = open_store("disk/run", true);
    tl_store_cell cell = plan_cell(store, "piqa", "{}");
    int64_t stored = 0;
    for (; stored < 100000; stored++) {
        char document[600];
        snprintf(document, sizeof document, "{\"question\":\"%0500d\"}", (int)stored);
        tl_example example = make_example(stored);
        example.document = document;
        if (!tl_store_add_example(store, cell.id, &example, &error)) break;
    }
    assert_int_equal(error.code, TL_ERROR_IO);
    test_assert_contains(error.message, "no space left");
    assert_true(stored > 20 && stored < 100000);
    tl_store_close(store);
    store = open_store("disk/run", false);
    int64_t readable = 0;
    assert_ok(tl_store_each_example(store, cell.id, count_example, &readable, &error), error);
    assert_int_equal(readable, stored);
    tl_store_close(store);
}

static int unmount_disk(void **state) {
    (void)state;
    umount2(test_scratch_path("disk"), MNT_DETACH);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_in_comes_out),
        cmocka_unit_test(test_another_identity_is_refused_by_name),
        cmocka_unit_test(test_one_writer_at_a_time),
        cmocka_unit_test(test_readers_may_watch_a_store_begin),
        cmocka_unit_test(test_newer_and_foreign_files_are_refused),
        cmocka_unit_test(test_read_only_directories_can_be_read),
        cmocka_unit_test(test_a_file_cut_short_is_salvaged),
        cmocka_unit_test(test_a_misplaced_page_is_found),
        cmocka_unit_test(test_damage_is_found_and_the_rest_salvaged),
        cmocka_unit_test_teardown(test_a_full_disk_loses_nothing_stored, unmount_disk),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
