/* tinyllm serve: the page of a run, live. */
#include "cli/cli.h"
#include "report/serve.h"

#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stopped;

static void stop(int signal_number) {
    (void)signal_number;
    stopped = 1;
}

static int run(const cli_command *command, int argc, char **argv) {
    int64_t port = 8080;
    tl_serve_options chosen = {0};
    const cli_option options[] = {
        {"port", 'p', CLI_INT, &port, "N", "port to listen on; 0 for any free one (default 8080)",
         0, 65535},
        {"address", 'a', CLI_STRING, &chosen.address, "IP",
         "address to listen on (default 127.0.0.1: this machine alone)"},
        {0},
    };
    int operands, status;
    if (!cli_parse(command, options, argc, argv, &operands, &status)) return status;
    if (operands != 1) return cli_usage(command, "expected the directory of one run");
    chosen.port = (int)port;
    tl_error error = {0};
    if (!tl_dir_exists(argv[0])) {
        tl_fail(&error, TL_ERROR_IO, "%s: no such directory", argv[0]);
        return cli_fail(command, &error);
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    tl_server *server = tl_serve(argv[0], &chosen, &error);
    if (!server) return cli_fail(command, &error);
    printf("%s\n", tl_server_url(server));
    fflush(stdout);
    if (chosen.address) fprintf(stderr, "everyone who reaches this address can read the run\n");
    while (!stopped)
        tl_clock_sleep(0.25);
    tl_server_stop(server);
    return 0;
}

const cli_command cmd_serve = {
    .name = "serve",
    .summary = "the page of a run in a browser, live while it goes on",
    .usage = "DIR [options]",
    .examples = "  tinyllm serve runs/pi                       then open http://127.0.0.1:8080/\n"
                "  tinyllm serve runs/pi --address 0.0.0.0     a headless board, seen from a "
                "laptop\n"
                "  ssh -L 8080:127.0.0.1:8080 board            the same without opening the port\n",
    .run = run,
};
