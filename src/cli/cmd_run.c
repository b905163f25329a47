/* tinyllm run: models × tasks, each cell in a process of its own, into a store that any later run
 * of the same command continues. */
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/quantities.h"
#include "kernels/backend.h"
#include "report/report.h"
#include "study/device.h"
#include "study/slurm.h"

#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double STALL_SECONDS = 900;

typedef struct run_options {
    cli_list models, tasks, protocols, dtypes;
    const char *output, *data_file, *data_dir, *bos, *order, *shard;
    const char *memory_limit, *time_limit, *stall_limit, *root, *device;
    double cooldown;
    int64_t threads, limit, shots;
    bool fast, shots_first, batched, latency, slurm;
} run_options;

/* ---- signals ---- */

/* The one thing a signal handler can reach. */
static volatile sig_atomic_t stop_requests;

/* The second one ends at once: workers die with their parent, the store is whole at any moment. */
static void on_stop(int number) {
    (void)number;
    if (++stop_requests > 1) _exit(130);
}

static void catch_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_stop};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before;
        bool ignored = sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        if (!ignored) sigaction(numbers[i], &action, NULL); /* nohup has its way */
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at the size limit is an error like a full disk */
}

/* ---- options ---- */

static int parse_protocols(const cli_command *command, const run_options *o,
                           tl_plan_options *plan) {
    tl_error error = {0};
    if (o->protocols.count == 0) plan->protocols[TL_PROTOCOL_STUDY] = true;
    for (int i = 0; i < o->protocols.count; i++) {
        tl_protocol protocol;
        if (!tl_protocol_parse(o->protocols.items[i], &protocol, &error))
            return cli_usage(command, "%s", error.message);
        plan->protocols[protocol] = true;
    }
    return 0;
}

static int parse_shard(const cli_command *command, const char *text, tl_plan_options *plan) {
    int used = 0;
    if (!text) return 0;
    if (sscanf(text, "%d/%d%n", &plan->shard, &plan->shards, &used) == 2 && !text[used] &&
        plan->shard >= 1 && plan->shard <= plan->shards && plan->shards <= 100000)
        return 0;
    return cli_usage(command, "--shard %s: expected i/n with 1 ≤ i ≤ n", text);
}

static int parse_plan(const cli_command *command, const run_options *o, tl_plan_options *plan) {
    tl_error error = {0};
    tl_dtype dtype;
    if (o->models.count == 0) return cli_usage(command, "no model: give -m MODELS");
    if (o->tasks.count == 0) return cli_usage(command, "no task: give -t TASKS");
    for (int i = 0; i < o->dtypes.count; i++)
        if (!tl_dtype_parse(o->dtypes.items[i], &dtype, &error))
            return cli_usage(command, "--dtype: %s", error.message);
    if (o->batched && o->latency)
        return cli_usage(command, "--batched and --latency exclude each other");
    if (o->data_file && o->tasks.count > 1)
        return cli_usage(command,
                         "--data FILE holds one task's rows: give one task, or --data-dir");
    const char *device = o->slurm ? o->device : tl_backend_resolve(o->device, &error);
    if (error.code) return cli_fail(command, &error);
    *plan = (tl_plan_options){
        .models = (const char *const *)o->models.items,
        .model_count = o->models.count,
        .tasks = (const char *const *)o->tasks.items,
        .task_count = o->tasks.count,
        .dtypes = (const char *const *)o->dtypes.items,
        .dtype_count = o->dtypes.count,
        .fast = o->fast,
        .device = device,
        .limit = o->limit,
        .shots = (int32_t)o->shots,
        .shots_first = o->shots_first,
        .batched = o->batched,
        .data_file = o->data_file,
        .data_dir = o->data_dir,
        .by_model = strcmp(o->order, "by-model") == 0,
    };
    if (!plan->by_model && strcmp(o->order, "interleaved") != 0)
        return cli_usage(command, "--order %s: expected by-model or interleaved", o->order);
    if (!tl_bos_parse(o->bos, &plan->bos, &error)) return cli_usage(command, "%s", error.message);
    int status = parse_protocols(command, o, plan);
    if (status == 0) status = parse_shard(command, o->shard, plan);
    if (status == 0 && plan->shots > 0 && !plan->protocols[TL_PROTOCOL_LOGLIKELIHOOD])
        status = cli_usage(command, "--shots is for the loglikelihood protocol: add --protocol "
                                    "loglikelihood");
    return status;
}

static int parse_sweep(const cli_command *command, const run_options *o,
                       const tl_plan_options *plan, tl_sweep_options *sweep) {
    *sweep = (tl_sweep_options){
        .threads = (int)o->threads,
        .stall_limit = STALL_SECONDS,
        .cooldown = o->cooldown,
        .root = o->root,
        .program = "/proc/self/exe",
        .stop = &stop_requests,
        .shots = plan->shots,
        .shots_first = plan->shots_first,
        .fast = plan->fast,
        .device = plan->device,
        .batched = plan->batched,
        .bos = plan->bos,
        .data_file = o->data_file,
        .data_dir = o->data_dir,
    };
    if (o->memory_limit &&
        !cli_parse_memory(o->memory_limit, &sweep->memory_limit, &sweep->memory_share))
        return cli_usage(command, "--memory-limit %s: expected a size (6G, 512M) or a share (80%%)",
                         o->memory_limit);
    if (o->time_limit && !cli_parse_duration(o->time_limit, &sweep->time_limit))
        return cli_usage(command, "--time-limit %s: expected a duration (90s, 15m, 2h)",
                         o->time_limit);
    if (o->stall_limit && !cli_parse_duration(o->stall_limit, &sweep->stall_limit))
        return cli_usage(command, "--stall-limit %s: expected a duration (90s, 15m, 2h)",
                         o->stall_limit);
    return 0;
}

/* ---- provenance ---- */

static void append_command(tl_buffer *out, int argc, char **argv) {
    tl_buffer_append_string(out, "[\"tinyllm\",\"run\"");
    for (int i = 0; i < argc; i++)
        tl_json_put_string(out, NULL, argv[i]);
    tl_buffer_append_byte(out, ']');
}

/* Notes how and in what state of the machine this sitting began, beside those before it. */
static bool record_sitting(tl_store *store, const char *root, const char *command,
                           tl_error *error) {
    tl_buffer sittings = {0};
    char *before = tl_store_fact(store, "sittings");
    size_t length = before ? strlen(before) : 0;
    if (length > 2)
        tl_buffer_append_format(&sittings, "%.*s,", (int)length - 1, before);
    else
        tl_buffer_append_byte(&sittings, '[');
    free(before);
    tl_buffer_append_format(&sittings, "{\"command\":%s,\"state\":", command);
    tl_device_state(root, &sittings);
    tl_buffer_append_string(&sittings, "}]");
    char started[40];
    snprintf(started, sizeof started, "%.3f", tl_clock_wall());
    char *first = tl_store_fact(store, "started");
    bool good = !sittings.failed && tl_store_set_fact(store, "command", command, error) &&
                tl_store_set_fact(store, "version", "\"" TINYLLM_VERSION "\"", error) &&
                tl_store_set_fact(store, "sittings", sittings.data, error) &&
                (first || tl_store_set_fact(store, "started", started, error));
    free(first);
    tl_buffer_free(&sittings);
    return good;
}

static bool record_device(tl_store *store, const char *root, int64_t *id, tl_error *error) {
    tl_device device;
    if (!tl_device_read(root, &device, error)) return false;
    bool good =
        tl_store_device(store, device.fingerprint, device.name, device.facts.data, id, error);
    tl_device_free(&device);
    return good;
}

/* ---- the run ---- */

static int show_tables(const cli_command *command, const char *directory) {
    tl_buffer tables = {0};
    tl_error error = {0};
    const char *const operands[] = {directory};
    if (!tl_report_tables(operands, 1, "md", &tables, &error)) {
        tl_buffer_free(&tables);
        return cli_fail(command, &error);
    }
    fputs(tl_buffer_string(&tables), stdout);
    tl_buffer_free(&tables);
    return 0;
}

static bool sweep_store(tl_plan *plan, tl_store *store, const tl_sweep_options *options,
                        const char *command, cli_progress *progress, tl_sweep_result *result,
                        tl_error *error) {
    int64_t device;
    char finished[40];
    tl_identify_listener reading = {cli_progress_reading, progress, options->stop};
    bool good = record_device(store, options->root, &device, error) &&
                record_sitting(store, options->root, command, error) &&
                tl_plan_record(plan, store, device, &reading, error);
    cli_progress_end(progress);
    good = good && tl_sweep(plan, store, options, result, error);
    cli_progress_end(progress);
    snprintf(finished, sizeof finished, "%.3f", tl_clock_wall());
    return good && tl_store_set_fact(store, "finished", finished, error);
}

static int run_plan(const cli_command *command, const run_options *o, tl_plan *plan,
                    tl_sweep_options *options, const char *command_line) {
    tl_error error = {0};
    cli_progress progress;
    tl_sweep_result result = {0};
    catch_signals();
    cli_progress_start(&progress);
    options->listener = cli_progress_listener(&progress);
    tl_store *store = tl_store_open(o->output, true, &error);
    bool good =
        store && sweep_store(plan, store, options, command_line, &progress, &result, &error);
    tl_store_close(store);
    result.interrupted |= !good && error.code == TL_ERROR_INTERRUPTED;
    if (!good && !result.interrupted) return cli_fail(command, &error);
    if (result.interrupted) {
        fprintf(stderr,
                "tinyllm run: interrupted; the same command continues at the next example\n");
        return 130;
    }
    int status = show_tables(command, o->output);
    if (status != 0) return status;
    /* Limits of the device are results; when nothing at all could be read, the input was bad. */
    return result.unreadable > 0 && result.unreadable == result.done + result.failed ? 1 : 0;
}

/* The plan, or NULL after telling every problem. */
static tl_plan *make_plan(const cli_command *command, const tl_plan_options *options) {
    tl_error error = {0};
    tl_buffer problems = {0};
    tl_plan *plan = tl_plan_new(options, &problems, &error);
    if (!plan && problems.length == 0) cli_fail(command, &error);
    char *rest = plan ? NULL : problems.data;
    for (char *line; (line = strsep(&rest, "\n")) && *line;)
        fprintf(stderr, "tinyllm run: %s\n", line);
    tl_buffer_free(&problems);
    return plan;
}

/* ---- for a cluster ---- */

/* Options that each task of the array has of its own, and the word that asked for the script. */
static bool is_per_task(const char *argument, bool *takes_next) {
    static const char *const names[] = {"--output", "--shard", "-o"};
    *takes_next = false;
    if (strcmp(argument, "--slurm") == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(argument, names[i], length) != 0) continue;
        bool is_long = argument[1] == '-';
        *takes_next = argument[length] == 0;
        if (*takes_next || !is_long || argument[length] == '=') return true;
    }
    return false;
}

/* Prints the script, after looking at every model and task as a run would. `words` is the command
 * line as it was given. */
static int print_slurm(const cli_command *command, const run_options *o,
                       tl_plan_options *plan_options, char **words, int count) {
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return cli_usage(command, "/proc/self/exe cannot be read");
    program[length] = 0;
    int tasks = plan_options->shards, kept = 0;
    plan_options->shard = plan_options->shards = 0;
    tl_plan *plan = make_plan(command, plan_options);
    if (!plan) return 1;
    if (tasks == 0) tasks = plan->model_count;
    tl_plan_free(plan);
    bool takes_next;
    for (int i = 0; i < count; i++) {
        if (is_per_task(words[i], &takes_next))
            i += takes_next;
        else
            words[kept++] = words[i];
    }
    tl_slurm_job job = {program,        (const char *const *)words, kept, o->output, tasks,
                        (int)o->threads};
    tl_buffer script = {0};
    tl_slurm_script(&job, &script);
    fputs(tl_buffer_string(&script), stdout);
    tl_buffer_free(&script);
    return 0;
}

/* Does what was asked. `words` is the command line as it was given. */
static int carry_out(const cli_command *command, const run_options *o, char **words, int count) {
    tl_plan_options options;
    tl_sweep_options sweep;
    int status = parse_plan(command, o, &options);
    if (status == 0) status = parse_sweep(command, o, &options, &sweep);
    if (status != 0) return status;
    if (o->slurm) return print_slurm(command, o, &options, words, count);
    tl_plan *plan = make_plan(command, &options);
    if (!plan) return 1;
    tl_buffer command_line = {0};
    append_command(&command_line, count, words);
    status = run_plan(command, o, plan, &sweep, tl_buffer_string(&command_line));
    tl_buffer_free(&command_line);
    tl_plan_free(plan);
    return status;
}

static int run(const cli_command *command, int argc, char **argv) {
    run_options o = {.output = "tinyllm-run",
                     .bos = "auto",
                     .order = "by-model",
                     .limit = TL_LIMIT_STUDY,
                     .cooldown = NAN};
    const cli_option table[] = {
        {"models", 'm', CLI_LIST, &o.models, "MODELS",
         "hub ids, directories, @study, @demo; comma lists, repeatable"},
        {"tasks", 't', CLI_LIST, &o.tasks, "TASKS", "names, YAML files, @study, @demo"},
        {"output", 'o', CLI_STRING, &o.output, "DIR", "the run's directory (tinyllm-run)"},
        {"protocol", 0, CLI_LIST, &o.protocols, "LIST", "study (default), letter, loglikelihood"},
        {"dtype", 0, CLI_LIST, &o.dtypes, "LIST", "f32, f16, bf16, q8, q4 (default: as stored)"},
        {"fast", 0, CLI_FLAG, &o.fast, NULL, "low-precision products instead of exact f32"},
        {"device", 0, CLI_STRING, &o.device, "DEVICE",
         "cpu (default), cuda, cuda:N or auto: a GPU where there is one"},
        {"threads", 0, CLI_INT, &o.threads, "N", "threads (0: all processors)", 0, 1024},
        {"data", 0, CLI_STRING, &o.data_file, "FILE", "rows of the one task, instead of the hub's"},
        {"data-dir", 0, CLI_STRING, &o.data_dir, "DIR", "rows as DIR/TASK/SPLIT.jsonl"},
        {"limit", 0, CLI_INT, &o.limit, "N",
         "first N rows of each task; 0: all (default: as many as the study asked)", 0, INT64_MAX},
        {"shots", 0, CLI_INT, &o.shots, "K", "few-shot examples (loglikelihood)", 0, 1000},
        {"shots-first", 0, CLI_FLAG, &o.shots_first, NULL,
         "the first K of the few-shot split, not the harness's draw"},
        {"bos", 0, CLI_STRING, &o.bos, "WHEN", "auto, on or off (loglikelihood)"},
        {"batched", 0, CLI_FLAG, &o.batched, NULL,
         "questions share passes: quicker, but not timed one by one"},
        {"latency", 0, CLI_FLAG, &o.latency, NULL, "one question at a time, timed (default)"},
        {"memory-limit", 0, CLI_STRING, &o.memory_limit, "SIZE", "of each cell: 6G, 512M, 80%"},
        {"time-limit", 0, CLI_STRING, &o.time_limit, "TIME", "of each cell: 90s, 15m, 2h"},
        {"stall-limit", 0, CLI_STRING, &o.stall_limit, "TIME", "without progress (15m)"},
        {"cooldown", 0, CLI_DOUBLE, &o.cooldown, "°C", "wait before each cell until this cool"},
        {"order", 0, CLI_STRING, &o.order, "ORDER", "by-model (default) or interleaved"},
        {"shard", 0, CLI_STRING, &o.shard, "i/n", "this machine's share of the cells"},
        {"slurm", 0, CLI_FLAG, &o.slurm, NULL,
         "print an sbatch script instead: a task for each model (--shard 1/N: N tasks)"},
        {"sysroot", 0, CLI_STRING, &o.root, "DIR", "read /proc and /sys below DIR (tests)"},
        {0},
    };
    int operands = 0, status = 0;
    char **words = calloc((size_t)argc + 1, sizeof *words); /* parsing moves them about */
    if (words) memcpy(words, argv, (size_t)argc * sizeof *words);
    if (words && cli_parse(command, table, argc, argv, &operands, &status)) {
        status = operands > 0 ? cli_usage(command, "unexpected argument '%s'", argv[0])
                              : carry_out(command, &o, words, argc);
    }
    free(words);
    cli_list_free(&o.models);
    cli_list_free(&o.tasks);
    cli_list_free(&o.protocols);
    cli_list_free(&o.dtypes);
    return status;
}

const cli_command cmd_run = {
    .name = "run",
    .summary = "run models on tasks, and show the study's tables",
    .usage = "-m MODELS -t TASKS [-o DIR] [options]",
    .examples =
        "  tinyllm run -m @demo -t @demo -o demo-run\n"
        "  tinyllm run -m HuggingFaceTB/SmolLM-135M,EleutherAI/pythia-160m -t @study -o run\n"
        "  tinyllm run -m ./my-model -t arc_easy --data validation.jsonl --limit 100\n"
        "  tinyllm run -m @study -t @study -o night --memory-limit 80% --time-limit 2h\n"
        "  tinyllm run -m @study -t @study -o cluster --slurm > job && sbatch job\n",
    .run = run,
};
