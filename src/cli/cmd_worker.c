/* tinyllm worker: one cell's process, started by tinyllm run and by nobody else (not listed). */
#include "cli/cli.h"
#include "study/worker.h"

#include <stdlib.h>
#include <sys/socket.h>

static int run(const cli_command *command, int argc, char **argv) {
    int socket = argc > 0 ? atoi(argv[0]) : -1, type = 0;
    socklen_t size = sizeof type;
    if (socket < 3 || getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0)
        return cli_usage(command, "it is started by tinyllm run");
    return tl_worker_main(socket);
}

const cli_command cmd_worker = {.name = "worker", .run = run};
