#include "study/names.h"

#include <string.h>

const char *tl_model_tail(const char *id, int parts) {
    /* in a hub id, what follows "@" is a revision, whatever it contains */
    size_t length = *id == '/' ? strlen(id) : strcspn(id, "@");
    while (length > 0)
        if (id[--length] == '/' && --parts == 0) return id + length + 1;
    return id;
}

int tl_model_parts(const char *id, const char *const *others, int count) {
    int parts = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(others[i], id) == 0) continue;
        if (parts == 0) parts = 1;
        while (strcmp(tl_model_tail(id, parts), tl_model_tail(others[i], parts)) == 0)
            parts++;
    }
    return parts;
}
