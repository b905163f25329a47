/* A plugin for qemu's user emulation that counts how often each instruction runs: at the end it
 * writes "COUNT ADDRESS" for every instruction of every block that ran to the file given as
 * out=FILE. bench/count_instructions.py builds and reads it.
 *
 * Distributions ship no header for plugins: what is used of the interface is declared here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct qemu_plugin_tb translated_block;
typedef struct qemu_plugin_insn instruction;
typedef void translated_function(uint64_t plugin, translated_block *block);
typedef void executed_function(unsigned processor, void *context);
typedef void exit_function(uint64_t plugin, void *context);

extern size_t qemu_plugin_tb_n_insns(const translated_block *block);
extern instruction *qemu_plugin_tb_get_insn(const translated_block *block, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const instruction *instruction);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, translated_function *function);
extern void qemu_plugin_register_vcpu_tb_exec_cb(translated_block *block,
                                                 executed_function *function, int flags,
                                                 void *context);
extern void qemu_plugin_register_atexit_cb(uint64_t plugin, exit_function *function, void *context);

/* Of the interface: qemu 7.2 speaks 1; the script asks for others where that is refused. */
#if !defined(PLUGIN_VERSION)
#define PLUGIN_VERSION 1
#endif
EXPORT int qemu_plugin_version = PLUGIN_VERSION;

typedef struct block {
    struct block *next;
    uint64_t executions;
    size_t count;
    uint64_t addresses[];
} block;

static block *blocks;
static const char *output;

/* The emulated program has one thread that counts: no lock. */
static void executed(unsigned processor, void *context) {
    (void)processor;
    ((block *)context)->executions++;
}

static void translated(uint64_t plugin, translated_block *source) {
    (void)plugin;
    size_t count = qemu_plugin_tb_n_insns(source);
    block *new = calloc(1, sizeof *new + count * sizeof new->addresses[0]);
    if (!new) return;
    new->count = count;
    for (size_t i = 0; i < count; i++)
        new->addresses[i] = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(source, i));
    new->next = blocks;
    blocks = new;
    qemu_plugin_register_vcpu_tb_exec_cb(source, executed, 0, new);
}

static void finished(uint64_t plugin, void *context) {
    (void)plugin, (void)context;
    FILE *file = fopen(output, "w");
    if (!file) {
        perror(output);
        return;
    }
    for (const block *b = blocks; b; b = b->next)
        for (size_t i = 0; b->executions && i < b->count; i++)
            fprintf(file, "%" PRIu64 " %" PRIx64 "\n", b->executions, b->addresses[i]);
    fclose(file);
}

EXPORT int qemu_plugin_install(uint64_t plugin, const void *information, int count,
                               char **arguments);
EXPORT int qemu_plugin_install(uint64_t plugin, const void *information, int count,
                               char **arguments) {
    (void)information;
    if (count != 1 || strncmp(arguments[0], "out=", 4) != 0) return -1;
    output = strdup(arguments[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
    qemu_plugin_register_atexit_cb(plugin, finished, NULL);
    return 0;
}
