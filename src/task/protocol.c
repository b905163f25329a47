/* Names of the protocols. */
#include "task/task.h"

#include <string.h>

static const char *const names[TL_PROTOCOL_COUNT] = {
    [TL_PROTOCOL_STUDY] = "study",
    [TL_PROTOCOL_LETTER] = "letter",
    [TL_PROTOCOL_LOGLIKELIHOOD] = "loglikelihood",
};

const char *tl_protocol_name(tl_protocol protocol) {
    return (unsigned)protocol < TL_PROTOCOL_COUNT ? names[protocol] : "unknown";
}

bool tl_protocol_parse(const char *name, tl_protocol *protocol, tl_error *error) {
    for (int i = 0; i < TL_PROTOCOL_COUNT; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *protocol = (tl_protocol)i;
        return true;
    }
    return tl_fail(error, TL_ERROR_USAGE, "protocol '%s': expected study, letter or loglikelihood",
                   name);
}
