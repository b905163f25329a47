/* tinyllm export: a run in the formats of others. */
#include "base/file.h"
#include "cli/cli.h"
#include "report/export.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct choices {
    const char *directory, *out, *uri, *project;
} choices;

static bool to_wandb(const choices *chosen, tl_error *error) {
    int count;
    const char *out = chosen->out;
    if (!tl_export_wandb(chosen->directory, out, chosen->project, &count, error)) return false;
    fprintf(stderr, "%d runs in %s; upload them with: wandb sync %s/offline-run-*\n", count, out,
            out);
    return true;
}

static bool to_mlflow(const choices *chosen, tl_error *error) {
    int count;
    if (!chosen->uri)
        return tl_fail(error, TL_ERROR_USAGE, "--to mlflow needs --uri, as http://127.0.0.1:5000");
    if (!tl_export_mlflow(chosen->directory, chosen->uri, chosen->project, &count, error))
        return false;
    fprintf(stderr, "%d runs are at %s in experiment %s\n", count, chosen->uri, chosen->project);
    return true;
}

static bool to_csv(const choices *chosen, tl_error *error) {
    const char *out = chosen->out;
    if (!tl_export_csv(chosen->directory, out, error)) return false;
    fprintf(stderr, "%s/cells.csv and %s/examples.csv are written\n", out, out);
    return true;
}

static bool to_lmeval(const choices *chosen, tl_error *error) {
    const char *out = chosen->out;
    if (!tl_export_lmeval(chosen->directory, out, error)) return false;
    fprintf(stderr, "%s holds results_*.json and samples_*.jsonl for each model\n", out);
    return true;
}

typedef struct target {
    const char *name;
    bool (*function)(const choices *chosen, tl_error *error);
    bool writes; /* into a directory, by default of its name */
} target;

static const target targets[] = {{"wandb", to_wandb, true},
                                 {"mlflow", to_mlflow, false},
                                 {"csv", to_csv, true},
                                 {"lm-eval", to_lmeval, true}};

/* Two that write into one directory would mix their files. */
static bool export_alone(const target *to, choices *chosen, tl_error *error) {
    if (!to->writes) return to->function(chosen, error);
    if (!chosen->out) chosen->out = to->name;
    bool new = !tl_dir_exists(chosen->out);
    if (!tl_dir_create(chosen->out, error)) return false;
    int lock = tl_dir_lock(chosen->out, error);
    bool good = lock >= 0 && to->function(chosen, error);
    if (!good && new) rmdir(chosen->out); /* where nothing was written */
    if (lock >= 0) close(lock);
    return good;
}

static int export_to(const cli_command *command, const char *name, choices *chosen) {
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (strcmp(targets[i].name, name) != 0) continue;
        tl_error error = {0};
        return export_alone(&targets[i], chosen, &error) ? 0 : cli_fail(command, &error);
    }
    return cli_usage(command, "--to %s: expected wandb, mlflow, csv or lm-eval", name);
}

static int run(const cli_command *command, int argc, char **argv) {
    const char *to = NULL;
    choices chosen = {.project = "tinyllm"};
    const cli_option options[] = {
        {"to", 't', CLI_STRING, &to, "FORMAT", "wandb, mlflow, csv or lm-eval"},
        {"out", 'o', CLI_STRING, &chosen.out, "OUT",
         "directory to write into (default: the format's name)"},
        {"uri", 0, CLI_STRING, &chosen.uri, "URI", "mlflow: the tracking server"},
        {"project", 0, CLI_STRING, &chosen.project, "NAME",
         "wandb: project, mlflow: experiment (default tinyllm)"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands != 1) return cli_usage(command, "expected the directory of one run");
    if (!to) return cli_usage(command, "--to says which format");
    chosen.directory = argv[0];
    return export_to(command, to, &chosen);
}

const cli_command cmd_export = {
    .name = "export",
    .summary = "a run for W&B, MLflow, lm-eval's readers or a spreadsheet",
    .usage = "DIR --to FORMAT [options]",
    .examples =
        "  tinyllm export runs/pi --to wandb -o wandb        offline runs, one a cell\n"
        "  tinyllm export runs/pi --to mlflow --uri http://127.0.0.1:5000\n"
        "  tinyllm export runs/pi --to csv -o tables         cells.csv and examples.csv\n"
        "  tinyllm export runs/pi --to lm-eval -o results    as lm-evaluation-harness writes them\n"
        "MLflow's MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN are used where they are set.\n",
    .run = run,
};
