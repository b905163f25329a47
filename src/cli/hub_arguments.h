/* What pull and pack take as arguments: models, tasks, datasets and the lists of them. */
#ifndef TL_CLI_HUB_ARGUMENTS_H
#define TL_CLI_HUB_ARGUMENTS_H

#include "cli/cli.h"

/* Called for each thing an argument stands for. */
typedef struct cli_hub_visitor {
    void *context;
    const char *config;     /* of datasets/ORG/NAME; may be NULL */
    const cli_list *splits; /* the same; none: validation */
    void (*model)(void *context, const char *model);
    void (*dataset)(void *context, const char *dataset, const char *config, const char *revision,
                    const char *const *splits, int n_splits);
    void (*failed)(void *context, const tl_error *error);
    bool (*stopped)(void); /* true ends lists early */
} cli_hub_visitor;

/* MODEL → itself; TASK (a name, or a .yaml file) → the datasets and splits its protocols read;
 * @tasks → all tasks; @study → the registry's models and all tasks; datasets/ORG/NAME[@REVISION] →
 * that. */
void cli_hub_visit(const char *argument, const cli_hub_visitor *visitor);

/* From now on SIGINT and SIGTERM only set what cli_interrupted tells. */
void cli_catch_interrupts(void);
bool cli_interrupted(void);

#endif
