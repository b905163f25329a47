#include "study/guard.h"

#include "study/cgroup.h"
#include "study/system.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The address sanitizer maps far more than it uses: no limit on mappings then. */
#if defined(__SANITIZE_ADDRESS__)
#define LIMITS_MAPPINGS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LIMITS_MAPPINGS false
#endif
#endif
#if !defined(LIMITS_MAPPINGS)
#define LIMITS_MAPPINGS true
#endif

enum { THREAD_STACK = 8 << 20, WORKER_SOCKET = 3 };
static const double PROPORTIONAL_SECONDS =
    1;                                 /* between readings of the costlier proportional set */
static const double GOING_SECONDS = 2; /* to end after hanging up */
/* The published study's watcher killed the process when memory use passed 97 %. */
static const double SYSTEM_MEMORY_SHARE = 0.97;

struct tl_guard {
    tl_guard_limits limits;
    pid_t process; /* 0 once it is gone */
    int socket;
    tl_cgroup *cgroup;
    char method[160];
    double started, heard;
    double proportional_at; /* when the proportional set was last read, */
    int64_t resident_then;  /* and the resident set at that time */
    tl_system_memory before;
    tl_guard_outcome outcome;
};

/* Between fork and exec: nothing but system calls. */
static void become_worker(int socket, pid_t parent, const struct rlimit *data, const char *program,
                          char *const argv[]) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it died before the line above */
    /* Ctrl-C, timeout(1) and service managers reach the whole group: the parent decides. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0 && write(score, "1000", 4) < 0) close(score);
    if (data->rlim_cur != RLIM_INFINITY) setrlimit(RLIMIT_DATA, data);
    if (socket == WORKER_SOCKET)
        fcntl(socket, F_SETFD, 0);
    else
        dup2(socket, WORKER_SOCKET);
    execv(program, argv);
    _exit(127);
}

/* What the worker may allocate where no cgroup counts for it. */
static struct rlimit data_limit(const tl_guard *guard) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    if (LIMITS_MAPPINGS && guard->limits.memory > 0 && !guard->cgroup) {
        int threads = guard->limits.threads > 0 ? guard->limits.threads : tl_processors();
        /* The engine's threads, and those of a conversion that may not be unmapped yet. */
        rlim_t stacks = (rlim_t)(2 * threads + 1) * THREAD_STACK;
        limit.rlim_cur = limit.rlim_max = (rlim_t)guard->limits.memory + stacks;
    }
    return limit;
}

tl_guard *tl_guard_start(const tl_guard_limits *limits, tl_error *error) {
    tl_guard *guard = calloc(1, sizeof *guard);
    if (!guard) {
        tl_fail_memory(error, sizeof *guard, "a guard");
        return NULL;
    }
    guard->limits = *limits;
    guard->socket = -1;
    guard->outcome.peak_resident = guard->outcome.peak_proportional = -1;
    guard->outcome.swap_most = -1;
    snprintf(guard->method, sizeof guard->method, "watching");
    if (limits->memory > 0) {
        char why[100];
        guard->cgroup = tl_cgroup_new(limits->root, limits->memory, why, sizeof why);
        snprintf(guard->method, sizeof guard->method,
                 guard->cgroup ? "cgroup" : "rlimit and watching (%s)", why);
    }
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        tl_fail_errno(error, "cannot make a socket for the worker");
        tl_guard_free(guard);
        return NULL;
    }
    guard->socket = ends[0];
    struct rlimit data = data_limit(guard);
    char descriptor[8];
    snprintf(descriptor, sizeof descriptor, "%d", WORKER_SOCKET);
    char *const argv[] = {"tinyllm", "worker", descriptor, (char *)limits->label, NULL};
    tl_sys_memory(limits->root, &guard->before);
    pid_t parent = getpid();
    guard->process = fork();
    if (guard->process == 0) become_worker(ends[1], parent, &data, limits->program, argv);
    close(ends[1]);
    if (guard->process < 0) {
        guard->process = 0;
        tl_fail_errno(error, "cannot start a worker");
        tl_guard_free(guard);
        return NULL;
    }
    if (guard->cgroup && !tl_cgroup_add(guard->cgroup, guard->process)) {
        snprintf(guard->method, sizeof guard->method, "watching (cannot enter the cgroup: %s)",
                 strerror(errno));
        tl_cgroup_free(guard->cgroup);
        guard->cgroup = NULL;
    }
    guard->started = guard->heard = tl_clock_monotonic();
    return guard;
}

void tl_guard_free(tl_guard *guard) {
    if (!guard) return;
    if (guard->process > 0) {
        kill(guard->process, SIGKILL);
        while (waitpid(guard->process, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (guard->socket >= 0) close(guard->socket);
    tl_cgroup_free(guard->cgroup);
    free(guard);
}

int tl_guard_socket(const tl_guard *guard) {
    return guard->socket;
}

pid_t tl_guard_process(const tl_guard *guard) {
    return guard->process;
}

const char *tl_guard_method(const tl_guard *guard) {
    return guard->method;
}

void tl_guard_heard(tl_guard *guard) {
    guard->heard = tl_clock_monotonic();
}

void tl_guard_kill(tl_guard *guard, tl_verdict verdict, const char *reason) {
    if (guard->outcome.fell) return;
    guard->outcome.fell = true;
    guard->outcome.verdict = verdict;
    snprintf(guard->outcome.reason, sizeof guard->outcome.reason, "%s", reason);
    if (guard->process > 0) kill(guard->process, SIGKILL);
}

static void watch_process(tl_guard *guard, double now) {
    tl_guard_outcome *seen = &guard->outcome;
    tl_process_memory memory;
    if (!tl_sys_process(guard->process, &memory)) return;
    if (memory.peak_resident > seen->peak_resident) seen->peak_resident = memory.peak_resident;
    bool suspicious = guard->limits.memory > 0 && memory.resident > guard->limits.memory;
    bool grown = memory.resident > guard->resident_then + guard->resident_then / 20;
    if (!suspicious && !grown && now - guard->proportional_at < PROPORTIONAL_SECONDS) return;
    guard->proportional_at = now;
    guard->resident_then = memory.resident;
    int64_t proportional = tl_sys_proportional(guard->process);
    if (proportional > seen->peak_proportional) seen->peak_proportional = proportional;
    if (guard->limits.memory <= 0 || proportional <= guard->limits.memory) return;
    char reason[200];
    snprintf(reason, sizeof reason, "killed at %.0f MB, over the memory limit of %.0f MB",
             (double)proportional / 1048576, (double)guard->limits.memory / 1048576);
    tl_guard_kill(guard, TL_VERDICT_OOM_KILLED, reason);
}

static void watch_system(tl_guard *guard) {
    tl_system_memory memory;
    tl_sys_memory(guard->limits.root, &memory);
    tl_guard_outcome *seen = &guard->outcome;
    int64_t swap = memory.swap_total - memory.swap_free;
    bool known = memory.swap_total >= 0 && memory.swap_free >= 0 && swap >= 0;
    if (known && swap > seen->swap_most) seen->swap_most = swap;
    if (memory.swapped_in >= 0 && guard->before.swapped_in >= 0)
        seen->swapped_in = memory.swapped_in - guard->before.swapped_in;
    seen->page_cache = memory.cached;
    if (memory.total <= 0 || memory.available < 0) return;
    double used = 1 - (double)memory.available / (double)memory.total;
    if (used <= SYSTEM_MEMORY_SHARE) return;
    char reason[200];
    snprintf(reason, sizeof reason, "killed when the system's memory use passed %.0f %%",
             100 * SYSTEM_MEMORY_SHARE);
    tl_guard_kill(guard, TL_VERDICT_OOM_KILLED, reason);
}

void tl_guard_watch(tl_guard *guard) {
    if (guard->process <= 0 || guard->outcome.fell) return;
    double now = tl_clock_monotonic();
    watch_process(guard, now);
    watch_system(guard);
    char reason[200];
    if (guard->limits.seconds > 0 && now - guard->started > guard->limits.seconds) {
        snprintf(reason, sizeof reason, "not finished within the time limit of %g s",
                 guard->limits.seconds);
        tl_guard_kill(guard, TL_VERDICT_TIMEOUT, reason);
    }
    if (guard->limits.stall > 0 && now - guard->heard > guard->limits.stall) {
        snprintf(reason, sizeof reason, "no progress for %g s", guard->limits.stall);
        tl_guard_kill(guard, TL_VERDICT_STALLED, reason);
    }
}

static const char *signal_name(int number) {
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},  {SIGABRT, "SIGABRT"},
                 {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"},  {SIGKILL, "SIGKILL"},
                 {SIGTERM, "SIGTERM"}, {SIGXCPU, "SIGXCPU"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number) return names[i].name;
    return "a signal";
}

/* A death that nobody here ordered. */
static void judge_signal(tl_guard *guard, int number) {
    tl_system_memory after;
    tl_sys_memory(NULL, &after);
    bool killed = number == SIGKILL;
    if (killed && guard->cgroup && tl_cgroup_kills(guard->cgroup) > 0) {
        char reason[200];
        snprintf(reason, sizeof reason, "killed by the kernel at the memory limit of %.0f MB",
                 (double)guard->limits.memory / 1048576);
        tl_guard_kill(guard, TL_VERDICT_OOM_KILLED, reason);
    } else if (killed && after.oom_kills > guard->before.oom_kills && !guard->limits.root) {
        tl_guard_kill(guard, TL_VERDICT_OOM_KILLED, "killed by the kernel: out of memory");
    } else {
        char reason[200];
        snprintf(reason, sizeof reason, "crashed (%s: %s)", signal_name(number), strsignal(number));
        tl_guard_kill(guard, TL_VERDICT_CRASHED, reason);
    }
}

void tl_guard_finish(tl_guard *guard, tl_guard_outcome *outcome) {
    int status = 0;
    pid_t process = guard->process;
    double deadline = tl_clock_monotonic() + GOING_SECONDS;
    pid_t gone = 0;
    while (process > 0 && (gone = waitpid(process, &status, WNOHANG)) != process) {
        if (gone < 0 && errno != EINTR) break;
        if (tl_clock_monotonic() > deadline) kill(process, SIGKILL);
        tl_clock_sleep(0.001);
    }
    watch_system(guard);
    guard->process = 0; /* before judging: there is nothing left to kill */
    if (gone == process && WIFSIGNALED(status)) {
        judge_signal(guard, WTERMSIG(status));
    } else if (gone == process && WEXITSTATUS(status) != 0) {
        char reason[64];
        snprintf(reason, sizeof reason, "crashed (exit status %d)", WEXITSTATUS(status));
        tl_guard_kill(guard, TL_VERDICT_CRASHED, reason);
    }
    *outcome = guard->outcome;
}
