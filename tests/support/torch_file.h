/* Files of torch.save built by hand, opcode by opcode and record by record, so that tests can build
 * the wrong ones too. */
#ifndef TESTS_TORCH_FILE_H
#define TESTS_TORCH_FILE_H

#include "base/base.h"

/* Opcodes with their arguments, appended to a pickle. */
void pickle_raw(tl_buffer *pickle, const char *opcodes, size_t length);
#define PICKLE(pickle, opcodes) pickle_raw(pickle, opcodes, sizeof(opcodes) - 1)
void pickle_string(tl_buffer *pickle, const char *text);                     /* BINUNICODE */
void pickle_int(tl_buffer *pickle, int64_t number);                          /* LONG1 */
void pickle_global(tl_buffer *pickle, const char *module, const char *name); /* GLOBAL */
void pickle_ints(tl_buffer *pickle, int count, const int64_t *numbers);      /* a tuple */

/* What a storage and the tensor on it are said to be. */
typedef struct pickle_tensor {
    const char *storage; /* class in module torch: "FloatStorage" */
    const char *key;
    int64_t elements; /* of the storage */
    int64_t offset;
    int rank;
    int64_t shape[9], strides[9];
    bool legacy;                        /* six entries in the persistent id */
    int64_t view_offset, view_elements; /* legacy: a view of the storage, when there are any */
} pickle_tensor;

void pickle_put_tensor(tl_buffer *pickle, const pickle_tensor *tensor);

/* A zip under construction. */
typedef struct test_zip {
    tl_buffer file, directory;
    int count;
} test_zip;

/* What to do otherwise than a good archive has it. */
typedef struct zip_twist {
    bool deflate;
    bool descriptor;       /* sizes and CRC after the data, as torch has it */
    int64_t declared_size; /* when not 0 */
    uint32_t crc_change;
    uint16_t flags, method; /* added */
    int64_t header_shift;   /* of the directory's pointer */
    const char *local_name; /* another name in the local header */
    size_t padding;         /* bytes of extra field before the data */
} zip_twist;

void zip_add(test_zip *zip, const char *name, const void *data, size_t size, zip_twist twist);

/* Closes the archive: the whole file, to be freed with tl_buffer_free. `zip64` adds the wide end
 * records and fills the narrow one with ones. */
tl_buffer zip_finish(test_zip *zip, bool zip64);

/* The legacy container's pickles before the state dict. */
void legacy_preamble(tl_buffer *file);

/* A storage at the legacy container's end. */
void legacy_storage(tl_buffer *file, int64_t elements, const void *data, size_t size);

#endif
