#include "study/memory_account.h"

#include "study/system.h"

#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMAPS_LIMIT = 64 << 20 };

struct tl_memory_account {
    tl_process_memory start, loaded, prepared, end;
    int64_t pss_peak;
    int64_t mapped_resident; /* of the checkpoint's files, at the end */
    int64_t tokenizer;
    int64_t allocator; /* kept by it, at the end */
    int64_t major_faults_before, major_faults;
    tl_memory engine;
    char *files[64]; /* of the checkpoint, as the kernel names them */
    int file_count;
};

tl_memory_account *tl_account_new(tl_error *error) {
    tl_memory_account *account = calloc(1, sizeof *account);
    if (!account) {
        tl_fail_memory(error, sizeof *account, "the account of memory");
        return NULL;
    }
    tl_sys_process(getpid(), &account->start);
    return account;
}

void tl_account_free(tl_memory_account *account) {
    if (!account) return;
    for (int i = 0; i < account->file_count; i++)
        free(account->files[i]);
    free(account);
}

static void note_proportional(tl_memory_account *account) {
    int64_t pss = tl_sys_proportional(getpid());
    if (pss > account->pss_peak) account->pss_peak = pss;
}

void tl_account_loaded(tl_memory_account *account, const tl_model *model) {
    tl_sys_process(getpid(), &account->loaded);
    note_proportional(account);
    int most = (int)(sizeof account->files / sizeof *account->files);
    const char *file;
    for (size_t i = 0;
         account->file_count < most && (file = tl_checkpoint_file(model->checkpoint, i)); i++) {
        char *resolved = realpath(file, NULL);
        if (resolved) account->files[account->file_count++] = resolved;
    }
}

void tl_account_prepared(tl_memory_account *account, const tl_tokenizer *tokenizer) {
    account->tokenizer = (int64_t)tl_tokenizer_bytes(tokenizer);
    tl_sys_process(getpid(), &account->prepared);
    account->major_faults_before = tl_sys_major_faults(getpid());
}

static bool is_ours(const tl_memory_account *account, const char *line, size_t length) {
    for (int i = 0; i < account->file_count; i++) {
        size_t name = strlen(account->files[i]);
        if (length >= name && memcmp(line + length - name, account->files[i], name) == 0)
            return true;
    }
    return false;
}

/* Resident bytes of the mappings of the checkpoint's files. A mapping's lines begin with one of
 * addresses and the file's name; the others have a name and a colon. */
static int64_t mapped_resident(const tl_memory_account *account) {
    char *text = tl_file_read("/proc/self/smaps", SMAPS_LIMIT, NULL, NULL);
    int64_t total = 0;
    bool ours = false;
    for (const char *line = text; line && *line;) {
        size_t length = strcspn(line, "\n");
        size_t word = strcspn(line, " \n");
        if (word > 0 && line[word - 1] != ':')
            ours = is_ours(account, line, length);
        else if (ours && strncmp(line, "Rss:", 4) == 0)
            total += strtoll(line + 4, NULL, 10) * 1024;
        line += length + (line[length] == '\n');
    }
    free(text);
    return total;
}

/* What the C library keeps of freed memory, to give out again. */
static int64_t kept_by_allocator(void) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    return (int64_t)mallinfo2().fordblks;
#else
    return 0;
#endif
}

void tl_account_finish(tl_memory_account *account, const tl_engine *engine,
                       const tl_tokenizer *tokenizer) {
    tl_sys_process(getpid(), &account->end);
    account->allocator = kept_by_allocator();
    note_proportional(account);
    account->tokenizer = (int64_t)tl_tokenizer_bytes(tokenizer);
    account->major_faults = tl_sys_major_faults(getpid());
    account->mapped_resident = mapped_resident(account);
    tl_engine_memory(engine, &account->engine);
}

void tl_measure_append(tl_buffer *out, const char *name, double value, const char *unit,
                       const char *note) {
    tl_json_open(out, NULL, '{');
    tl_json_put_string(out, "name", name);
    tl_json_put_double(out, "value", value);
    tl_json_put_string(out, "unit", unit);
    if (note) tl_json_put_string(out, "note", note);
    tl_buffer_append_byte(out, '}');
}

static double megabytes(int64_t bytes) {
    return bytes < 0 ? NAN : (double)bytes / 1048576;
}

static int64_t grown(int64_t from, int64_t to) {
    return from < 0 || to < from ? 0 : to - from;
}

void tl_account_append(const tl_memory_account *a, tl_buffer *out) {
    int64_t weights = a->mapped_resident + (int64_t)a->engine.weights_owned;
    int64_t kv = (int64_t)a->engine.kv, scratch = (int64_t)a->engine.scratch;
    int64_t activations = (int64_t)a->engine.activations;
    int64_t questions = grown(a->loaded.anonymous, a->prepared.anonymous);
    int64_t code = grown(a->mapped_resident, a->end.file);
    int64_t program = code + (a->start.anonymous > 0 ? a->start.anonymous : 0);
    int64_t loading = grown(a->end.resident, a->end.peak_resident);
    int64_t total = weights + kv + activations + scratch + a->tokenizer + questions + program +
                    a->allocator + loading;
    tl_measure_append(out, "peak_rss_mb", megabytes(a->end.peak_resident), "MB", NULL);
    tl_measure_append(out, "peak_pss_mb", megabytes(a->pss_peak), "MB", NULL);
    tl_measure_append(out, "weights_mapped_mb", megabytes((int64_t)a->engine.weights_mapped), "MB",
                      NULL);
    tl_measure_append(out, "account_weights_mb", megabytes(weights), "MB", NULL);
    tl_measure_append(out, "account_kv_mb", megabytes(kv), "MB", NULL);
    tl_measure_append(out, "account_activations_mb", megabytes(activations), "MB", NULL);
    tl_measure_append(out, "account_scratch_mb", megabytes(scratch), "MB", NULL);
    tl_measure_append(out, "account_tokenizer_mb", megabytes(a->tokenizer), "MB", NULL);
    tl_measure_append(out, "account_questions_mb", megabytes(questions), "MB", NULL);
    tl_measure_append(out, "account_program_mb", megabytes(program), "MB", NULL);
    tl_measure_append(out, "account_allocator_mb", megabytes(a->allocator), "MB", NULL);
    tl_measure_append(out, "account_loading_mb", megabytes(loading), "MB", NULL);
    tl_measure_append(out, "account_total_mb", megabytes(total), "MB", NULL);
    if (a->engine.device_peak > 0) {
        const double gigabyte = 1024.0 * 1024.0 * 1024.0;
        tl_measure_append(out, "peak_gpu_gb", (double)a->engine.device_peak / gigabyte, "GB", NULL);
        tl_measure_append(out, "gpu_driver_gb", (double)a->engine.device_driver / gigabyte, "GB",
                          NULL);
        tl_measure_append(out, "gpu_adopted_mb", megabytes((int64_t)a->engine.device_adopted), "MB",
                          NULL);
    }
    tl_measure_append(out, "major_faults", (double)grown(a->major_faults_before, a->major_faults),
                      "", NULL);
}
