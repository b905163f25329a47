#include "support/run_fixture.h"

#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *title;
    int options;
} tasks[] = {{"arc_easy", "ARC-e", 4},     {"boolq", "BoolQ", 2},
             {"openbookqa", "OBQA", 4},    {"piqa", "PIQA", 2},
             {"social_iqa", "SIQA", 3},    {"winogrande", "WinoGrande", 2},
             {"hellaswag", "HellaSwag", 4}};

static const char *const families[] = {"llama", "gpt2", "qwen2", "opt", "gpt_neox"};

static const char hostile_text[] =
    "</script><script>window.hacked = 1</script><img src=x onerror=\"window.hacked=2\"> "
    "\xe2\x80\xae rtl \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xf0\x9f\xa6\x99 <!-- & ]]> \xe2\x80\xa8";

static uint64_t mix(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t key[3] = {a, b, c};
    return tl_hash(key, sizeof key);
}

bool run_fixture_right(int model, int task, int example) {
    int options = tasks[task].options;
    int skill = 100 / options + (model % 5) * 9; /* every fifth model guesses */
    return (int)(mix((uint64_t)model, (uint64_t)task, (uint64_t)example) % 100) < skill;
}

const char *run_fixture_model(int model) {
    static char names[4][64];
    static int next;
    char *name = names[next++ % 4];
    snprintf(name, sizeof names[0], "tiny-%c-%dM", 'a' + model % 26, 20 * (model + 1));
    return name;
}

tl_store *run_fixture_open(const char *directory, int64_t *device) {
    tl_error error = {0};
    assert_ok(tl_dir_create(directory, &error), error);
    tl_store *store = tl_store_open(directory, true, &error);
    assert_ok(store, error);
    assert_ok(tl_store_device(store, "board-1", "Board 2C",
                              "{\"cpu\":\"Test core\",\"processors\":2,\"memory_mb\":7620}", device,
                              &error),
              error);
    assert_ok(tl_store_set_fact(store, "command", "\"tinyllm run -m @demo -t @demo\"", &error),
              error);
    assert_ok(tl_store_set_fact(store, "version", "\"0.1.0\"", &error), error);
    assert_ok(tl_store_set_fact(store, "started", "1700000000", &error), error);
    return store;
}

int64_t run_fixture_plan(tl_store *store, int64_t device, const char *model, const char *task,
                         const char *title, tl_protocol protocol, const char *dtype,
                         int64_t examples) {
    tl_error error = {0};
    char id[256];
    snprintf(id, sizeof id, "org/%s", model);
    tl_store_cell cell = {
        .device = device,
        .model = {.name = model,
                  .id = id,
                  .path = id,
                  .family = families[strlen(model) % 5],
                  .parameters_label = "20M",
                  .parameters = 20000000},
        .task = task,
        .task_title = title,
        .protocol = protocol,
        .dtype = dtype,
        .precision = "exact",
        .order = 0,
        .identity = "{\"weights\":\"0123\"}",
        .examples = examples,
        .started = NAN,
        .finished = NAN,
    };
    for (int i = 0; i < (int)(sizeof tasks / sizeof *tasks); i++)
        if (strcmp(tasks[i].name, task) == 0) cell.order = i;
    assert_ok(tl_store_plan(store, &cell, &error), error);
    return cell.id;
}

void run_fixture_answer(tl_store *store, int64_t cell, tl_protocol protocol, int64_t index,
                        int options, int gold, int prediction, double seconds, const char *text) {
    static const char *const letters[] = {"the first one", "the second one", "the third one",
                                          "the fourth one"};
    const char *contexts[4] = {text, text, text, text};
    double scores[4];
    bool greedy[4] = {false};
    for (int i = 0; i < options; i++)
        scores[i] = i == prediction ? 5.25 : -(double)i;
    bool likelihood = protocol == TL_PROTOCOL_LOGLIKELIHOOD;
    tl_buffer document = {0};
    tl_buffer_append_string(&document, "{\"question\":");
    tl_json_append_string(&document, text, strlen(text));
    tl_buffer_append_byte(&document, '}');
    tl_example example = {
        .protocol = protocol,
        .index = index,
        .document = tl_buffer_string(&document),
        .prompt = text,
        .n_choices = options,
        .choices = letters,
        .contexts = likelihood ? contexts : NULL,
        .continuations = likelihood ? letters : NULL,
        .scores = scores,
        .greedy = likelihood ? greedy : NULL,
        .gold = gold,
        .prediction = prediction,
        .prediction_norm = likelihood ? prediction : -1,
        .prediction_bytes = -1,
        .forward_seconds = seconds,
        .total_seconds = seconds * 1.25,
        .tokens_computed = 40,
        .tokens_asked = 44,
    };
    tl_error error = {0};
    assert_ok(tl_store_add_example(store, cell, &example, &error), error);
    tl_buffer_free(&document);
}

static void write_text(char *text, size_t size, int task, int example, bool hostile) {
    snprintf(text, size, "Question %d of %s: which of these %d words number%d comes first? %s",
             example, tasks[task].name, example * 7 % 13, example, hostile ? hostile_text : "");
}

enum { LONG_TEXT = 100000 };

/* A passage as long as they come, for the second example. */
static const char *long_text(void) {
    static char text[LONG_TEXT + 1];
    for (int i = 0; i < LONG_TEXT; i++)
        text[i] = "A long passage. "[i % 16];
    return text;
}

static void fill_cell(tl_store *store, int64_t cell, tl_protocol protocol, int model, int task,
                      int examples, bool hostile) {
    int options = tasks[task].options;
    for (int i = 0; i < examples; i++) {
        char text[512];
        write_text(text, sizeof text, task, i, hostile);
        int gold = (int)(mix(9, (uint64_t)task, (uint64_t)i) % (uint64_t)options);
        int wrong = (gold + 1) % options;
        int prediction = run_fixture_right(model, task, i) ? gold : wrong;
        double seconds = 0.004 * (model + 1) * (1 + (double)(i % 17) / 10);
        run_fixture_answer(store, cell, protocol, i, options, gold, prediction, seconds,
                           hostile && i == 1 ? long_text() : text);
    }
}

static void set_measures(tl_store *store, int64_t cell, int model) {
    tl_error error = {0};
    const struct {
        const char *name, *unit;
        double value;
    } measures[] = {
        {"model_size_mb", "MB", 76.0 * (model + 1)},
        {"peak_rss_mb", "MB", 102.4 + 81.92 * (model + 1)},
        {"energy_per_example_j", "J", 0.05 * (model + 1)},
    };
    for (int i = 0; i < 3; i++)
        assert_ok(tl_store_set_measure(store, cell, measures[i].name, measures[i].value,
                                       measures[i].unit, NULL, &error),
                  error);
}

static void write_cell(tl_store *store, int64_t device, const run_fixture *fixture, int model,
                       int task, tl_protocol protocol) {
    tl_error error = {0};
    char name[160];
    snprintf(name, sizeof name, "%s%s", run_fixture_model(model),
             fixture->hostile && model == 0 ? "</td><b onmouseover=alert(1)>|x`" : "");
    int64_t cell = run_fixture_plan(store, device, name, tasks[task].name, tasks[task].title,
                                    protocol, "f32", fixture->examples);
    bool last = fixture->troubled && model == fixture->models - 1;
    if (last && task == 1) {
        assert_ok(tl_store_set_verdict(store, cell, TL_VERDICT_OOM_KILLED,
                                       "97 % of the system's memory was in use", &error),
                  error);
        return;
    }
    int done = last && task == 2 ? fixture->examples / 4 : fixture->examples;
    assert_ok(tl_store_set_verdict(store, cell, TL_VERDICT_RUNNING, NULL, &error), error);
    fill_cell(store, cell, protocol, model, task, done, fixture->hostile);
    if (done < fixture->examples) return;
    set_measures(store, cell, model);
    assert_ok(tl_store_set_verdict(store, cell, TL_VERDICT_DONE, NULL, &error), error);
}

void run_fixture_write(const char *directory, const run_fixture *fixture) {
    int64_t device;
    tl_store *store = run_fixture_open(directory, &device);
    tl_error error = {0};
    for (int model = 0; model < fixture->models; model++) {
        for (int task = 0; task < fixture->tasks; task++) {
            assert_ok(tl_store_begin(store, &error), error);
            write_cell(store, device, fixture, model, task, TL_PROTOCOL_STUDY);
            if (fixture->loglikelihood)
                write_cell(store, device, fixture, model, task, TL_PROTOCOL_LOGLIKELIHOOD);
            assert_ok(tl_store_end(store, true, &error), error);
        }
    }
    tl_store_close(store);
}
