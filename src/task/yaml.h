/* A YAML file as a tree: the little of YAML that a task file needs. Scalars are text; anchors,
 * aliases, tags, several documents and keys given twice are refused; depth and size are bounded. */
#ifndef TL_TASK_YAML_H
#define TL_TASK_YAML_H

#include "base/base.h"

typedef enum tl_yaml_kind { TL_YAML_TEXT, TL_YAML_LIST, TL_YAML_MAPPING } tl_yaml_kind;

typedef struct tl_yaml {
    tl_yaml_kind kind;
    int line;              /* where it begins, from 1 */
    const char *text;      /* TL_YAML_TEXT */
    int count;             /* entries of a list or mapping */
    const char **keys;     /* TL_YAML_MAPPING: [count] */
    struct tl_yaml *items; /* [count] */
} tl_yaml;

/* Parses one document; everything lives in `arena`. `where` names the file in messages, which also
 * give the line. */
const tl_yaml *tl_yaml_parse(const char *text, size_t length, const char *where, tl_arena *arena,
                             tl_error *error);

/* The entry of a mapping, or NULL. */
const tl_yaml *tl_yaml_get(const tl_yaml *mapping, const char *key);

/* Fails, naming the line, when `mapping` has a key that is not in `known` (ends with NULL). */
bool tl_yaml_check_keys(const tl_yaml *mapping, const char *const *known, const char *where,
                        tl_error *error);

/* The text of an entry; `*text` is left as it is when the key is absent. */
bool tl_yaml_get_text(const tl_yaml *mapping, const char *key, const char **text, const char *where,
                      tl_error *error);

#endif
