#include "report/results.h"

#include "tokenizer/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

tl_results *tl_results_new(tl_error *error) {
    tl_results *results = calloc(1, sizeof *results);
    if (results) results->arena = tl_arena_new();
    if (results && results->arena) return results;
    free(results);
    tl_fail_memory(error, sizeof *results, "results");
    return NULL;
}

void tl_results_free(tl_results *results) {
    if (!results) return;
    for (int i = 0; i < results->run_count; i++)
        tl_store_close(results->runs[i].store);
    tl_arena_free(results->arena);
    tl_buffer_free(&results->salvaged);
    free(results->runs);
    free(results->devices);
    free(results->cells);
    free(results);
}

/* Makes room for one more of `size` bytes in a growing array. */
static bool grow(void **items, int count, int *capacity, size_t size, tl_error *error) {
    if (count < *capacity) return true;
    int wanted = *capacity ? *capacity * 2 : 8;
    void *bigger = realloc(*items, (size_t)wanted * size);
    if (!bigger) return tl_fail_memory(error, (size_t)wanted * size, "results");
    *items = bigger;
    *capacity = wanted;
    return true;
}

/* A store is a file like others: what is no text in it becomes U+FFFD here, for all reports. */
const char *tl_results_string(tl_results *results, const char *text, tl_error *error) {
    size_t length = text ? strlen(text) : 0;
    if (length == 0) return "";
    if (tl_utf8_valid(text, length) == length)
        return tl_arena_strndup(results->arena, text, length, error);
    tl_buffer lossy = {0};
    tl_utf8_lossy(text, length, &lossy);
    const char *kept = lossy.failed ? NULL : tl_arena_strdup(results->arena, lossy.data, error);
    if (lossy.failed) tl_fail_memory(error, length, "a text");
    tl_buffer_free(&lossy);
    return kept;
}

bool tl_results_keep(tl_results *results, const char **strings[], int count, tl_error *error) {
    for (int i = 0; i < count; i++) {
        *strings[i] = tl_results_string(results, *strings[i], error);
        if (!*strings[i]) return false;
    }
    return true;
}

int tl_results_new_run(tl_results *results, const tl_result_run *run, tl_error *error) {
    if (!grow((void **)&results->runs, results->run_count, &results->run_capacity, sizeof *run,
              error))
        return -1;
    tl_result_run *kept = &results->runs[results->run_count];
    *kept = *run;
    const char **strings[] = {&kept->name, &kept->directory, &kept->facts};
    if (!tl_results_keep(results, strings, 3, error)) return -1;
    return results->run_count++;
}

int tl_results_new_device(tl_results *results, const tl_result_device *device, tl_error *error) {
    for (int i = 0; i < results->device_count; i++)
        if (strcmp(results->devices[i].fingerprint, device->fingerprint) == 0) return i;
    if (!grow((void **)&results->devices, results->device_count, &results->device_capacity,
              sizeof *device, error))
        return -1;
    tl_result_device *kept = &results->devices[results->device_count];
    *kept = *device;
    const char **strings[] = {&kept->fingerprint, &kept->name, &kept->facts};
    if (!tl_results_keep(results, strings, 3, error)) return -1;
    return results->device_count++;
}

tl_result_cell *tl_results_new_cell(tl_results *results, tl_error *error) {
    if (!grow((void **)&results->cells, results->cell_count, &results->cell_capacity,
              sizeof *results->cells, error))
        return NULL;
    tl_result_cell *cell = &results->cells[results->cell_count++];
    *cell = (tl_result_cell){.started = NAN, .finished = NAN};
    cell->model = (tl_store_model){"", "", "", "", "", 0};
    const char **strings[] = {&cell->task,   &cell->task_title, &cell->protocol,
                              &cell->dtype,  &cell->precision,  &cell->identity,
                              &cell->reason, &cell->memory_kind};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        *strings[i] = "";
    for (int i = 0; i < TL_MEASURE_COUNT; i++)
        cell->values[i] = NAN;
    return cell;
}

bool tl_cell_done(const tl_result_cell *cell) {
    return cell->verdict == TL_VERDICT_DONE;
}

bool tl_cell_waiting(const tl_result_cell *cell) {
    return tl_verdict_waits(cell->verdict);
}

void tl_cell_id(const tl_results *results, const tl_result_cell *cell, char id[TL_CELL_ID + 1]) {
    tl_buffer key = {0};
    tl_buffer_append_format(&key, "%s|%s|%s|%s|%s|%s|%d|%.3f",
                            results->devices[cell->device].fingerprint, cell->model.id, cell->task,
                            cell->protocol, cell->dtype, cell->precision, cell->shots,
                            isfinite(cell->started) ? cell->started : 0.0);
    uint64_t hash = tl_hash(tl_buffer_string(&key), key.length);
    tl_buffer_free(&key);
    for (int i = 0; i < TL_CELL_ID; i++, hash /= 36)
        id[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[hash % 36];
    id[TL_CELL_ID] = 0;
}
