/* SPDX-License-Identifier: Apache-2.0
 *
 * The second, unstable tier, for tools: list the kernels and modules, read a module file, compile modules ahead of time.
 * No GPU, no CUDA driver and no context is needed. These functions may change in any release (version node
 * FLASHCORE_INSPECT), unlike those of flashcore.h.
 */
#ifndef FLASHCORE_INSPECT_H
#define FLASHCORE_INSPECT_H

#include "flashcore.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a kernel is a kernel of. */
enum {
  FLASHCORE_OPERATION_ATTENTION_FWD = 0, /* flashcore_attention_fwd */
  FLASHCORE_OPERATION_MERGE_STATES = 1,  /* flashcore_merge_states */
  FLASHCORE_OPERATION_APPEND = 2         /* flashcore_attention_fwd, ahead of attention: new keys, rotary embedding */
};

/* One kernel of the kernel table. */
typedef struct flashcore_kernel_info {
  uint32_t struct_size;    /* set by the caller */
  int32_t minimum_arch;    /* 80 */
  int32_t maximum_arch;    /* inclusive; 0: open */
  int32_t specializations; /* how many modules the kernel has per architecture */
  char name[FLASHCORE_NAME_BYTES];
  char summary[256];
  int32_t by_name_only; /* 1: kept to learn from, never the library's own choice */
  int32_t choices;      /* how many compile-time choices it has */
  int32_t operation;    /* FLASHCORE_OPERATION_* */
} flashcore_kernel_info;

/* Number of kernels in the table. Cannot fail. */
FLASHCORE_API int32_t flashcore_kernel_count(void);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_kernel_describe(int32_t index, flashcore_kernel_info *info,
                                                                             flashcore_error *error);

/* Is this a kernel's name, or that of a module as its kernel can be compiled, shipped or not? Those of attention are what
 * flashcore_attention_args.kernel takes. INVALID_ARGUMENT (kernel) says which part is wrong and what may stand there. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_kernel_check_name(const char *name,
                                                                               flashcore_error *error);

enum {
  FLASHCORE_MOST_CHOICES = 14, /* of a kernel: the length of lists of values */
  FLASHCORE_MOST_TRIED = 16
};

/* One compile-time choice of a kernel. A module is a value for each of them. */
typedef struct flashcore_choice_info {
  uint32_t struct_size; /* set by the caller */
  int32_t least;        /* the range; which values go together, flashcore_kernel_check_name knows */
  int32_t most;
  int32_t tried_count;                 /* of `tried`; 0: the problem decides */
  int32_t tried[FLASHCORE_MOST_TRIED]; /* what a search tries, rising */
  char name[64];                       /* "tile_q" */
} flashcore_choice_info;

/* The index-th choice of a kernel, in the order of its modules' names. INVALID_ARGUMENT (kernel, index). */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_kernel_choice(const char *kernel, int32_t index,
                                                                           flashcore_choice_info *info,
                                                                           flashcore_error *error);

/* The values that a module's name says, in the order of its kernel's choices, zeros behind them; `values` has room for
 * FLASHCORE_MOST_CHOICES. Any name of the kernel's form is read; flashcore_kernel_check_name says whether there can be
 * such a module. INVALID_ARGUMENT (kernel). */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_choices(const char *module, int32_t *values,
                                                                            flashcore_error *error);

/* The reverse: the name of the kernel's module with these values; `name` has room for FLASHCORE_NAME_BYTES.
 * INVALID_ARGUMENT (kernel): there can be no such module, and why. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_name(const char *kernel, const int32_t *values,
                                                                         char *name, flashcore_error *error);

/* Resource usage of one kernel, read from the cubin's own ELF records. */
typedef struct flashcore_kernel_resources {
  char name[FLASHCORE_NAME_BYTES];
  int32_t registers; /* per thread, at launch */
  int32_t static_shared_bytes;
  int64_t dynamic_shared_bytes; /* per block, from the module's record; the cubin does not know it */
  int32_t stack_bytes;
  int32_t spill_store_bytes; /* as ptxas counts: bytes stored and loaded by spill instructions */
  int32_t spill_load_bytes;
  int32_t parameter_bytes;
  int32_t max_threads_per_block; /* launch bounds; 0: none */
  int32_t required_threads;      /* .reqntid; 0: none */
  int32_t barriers;
  int32_t constant_bytes; /* constant bank 0 */
  int64_t code_bytes;
} flashcore_kernel_resources;

enum {
  FLASHCORE_ORIGIN_SHIPPED = 1,   /* a read-only module folder */
  FLASHCORE_ORIGIN_USER_CACHE = 2 /* the user cache */
};

/* One module file (.fcm). Every module of this version holds one kernel. */
typedef struct flashcore_module_info {
  uint32_t struct_size;    /* set by the caller */
  int32_t origin;          /* FLASHCORE_ORIGIN_* */
  flashcore_status status; /* OK, or why it is not usable; then only path, origin, file_bytes and problem are set */
  int32_t current;         /* 1: its key is one that this library can ask for; 0: left by another version */
  char path[4096];
  char problem[512];                 /* the check that failed */
  char module[FLASHCORE_NAME_BYTES]; /* "sm80_fwd_mma-fp16-d64-causal-128x64-w4" */
  char kernel[FLASHCORE_NAME_BYTES];
  char arch[16];        /* "sm_89", "sm_90a" */
  char key[65];         /* logical key, SHA-256 in hex */
  char compiler[128];   /* "NVRTC 13.0, ptxas V13.0.88" */
  char compiler_id[33]; /* second half of the key */
  char cubin_sha256[65];
  int64_t file_bytes;       /* compressed, with its records */
  int64_t compressed_bytes; /* of the cubin */
  int64_t cubin_bytes;
  int64_t modified_unix_seconds;
  int64_t compile_us;
  flashcore_kernel_resources resources;
} flashcore_module_info;

/* A snapshot of the modules found, sorted by architecture and name. */
typedef struct flashcore_module_list_s *flashcore_module_list;

/* Look through the folders that a context with these options would use (NULL: defaults). IO_ERROR when a configured
 * folder exists but cannot be read. The list is owned by the caller. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_list_create(
    const flashcore_context_options *options, flashcore_module_list *list, flashcore_error *error);
FLASHCORE_API int64_t flashcore_module_list_count(flashcore_module_list list);
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_list_get(flashcore_module_list list, int64_t index,
                                                                             flashcore_module_info *info,
                                                                             flashcore_error *error);
FLASHCORE_API void flashcore_module_list_destroy(flashcore_module_list list);

/* Read and check one module file. IO_ERROR: it cannot be read; MODULE_CORRUPT: which check it failed. `cubin` and `record`
 * (may be NULL) receive malloc'ed copies of the cubin and of its JSON record, to be freed with flashcore_inspect_free. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_read(const char *path, flashcore_module_info *info,
                                                                         void **cubin, char **record,
                                                                         flashcore_error *error);
FLASHCORE_API void flashcore_inspect_free(void *memory);

/* What one pass of a tensor-core kernel's steady loop (without masks) is made of, counted in the machine code. */
typedef struct flashcore_loop_info {
  uint32_t struct_size; /* set by the caller */
  int32_t score_tiles;  /* scores that a warp computes per pass, in tiles of 16 queries x 8 keys */
  int32_t hmma;         /* mma.sync */
  int32_t ldsm;         /* ldmatrix */
  int32_t mufu;         /* exp2 and its kind */
  int32_t ffma;         /* fused multiply-adds */
  int32_t fmnmx;        /* maxima */
  int32_t other;
  int32_t skipped;    /* jumped over in most passes, in no class above: the lazy rescale */
  int32_t hgmma;      /* wgmma: a product of four warps, counted in each */
  int64_t first_byte; /* where the loop begins in the kernel's code, and its size */
  int64_t bytes;
} flashcore_loop_info;

/* IO_ERROR and MODULE_CORRUPT as flashcore_module_read; UNSUPPORTED: the kernel has no loop with mma.sync or wgmma
 * instructions. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_loop(const char *path, flashcore_loop_info *info,
                                                                         flashcore_error *error);

/* The module of this name ("sm80_fwd_mma-fp16-d64-128x64-w4", shipped or not) for one architecture ("sm_89"): from the
 * folders or the user cache that a context with these options has, else compiled now and kept in the user cache. `path` of
 * the info is empty where the module is in no file. `cubin` and `record` as flashcore_module_read. INVALID_ARGUMENT (kernel,
 * arch), COMPILER_UNAVAILABLE, COMPILE_FAILED. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_module_obtain(const flashcore_context_options *options,
                                                                           const char *module, const char *arch,
                                                                           flashcore_module_info *info, void **cubin,
                                                                           char **record, flashcore_error *error);

/* What the cost model says of a call: the busiest multiprocessor's time if only one unit were slow, and what follows. It was
 * fitted on an H200 and is a prediction everywhere else. Units that a kernel's model does not know are 0. */
typedef struct flashcore_model_info {
  uint32_t struct_size;              /* set by the caller */
  int32_t blocks_per_multiprocessor; /* thread blocks that are resident at once */
  char module[FLASHCORE_NAME_BYTES]; /* what is chosen, or what args.kernel names */
  double waves;                      /* of thread blocks */
  double launch_us;
  double tensor_us;     /* tensor cores */
  double mufu_us;       /* exponentials */
  double issue_us;      /* issue slots */
  double shared_us;     /* shared memory */
  double l2_us;         /* L2 bytes */
  double throughput_us; /* all units together, with what they cost each other */
  double latency_us;    /* the steps of a block one after the other */
  double total_us;      /* launch, the larger of the two, and the merge */
  double merge_us;      /* a second launch, where keys are split over the grid; 0: there is none */
} flashcore_model_info;

/* The model's figures for these arguments on a device that need not be there: arch, multiprocessors and
 * shared_memory_per_block_optin_bytes of `device` count. The choice is the model's, without tuned rows.
 * INVALID_ARGUMENT and UNSUPPORTED as flashcore_attention_fwd; INVALID_ARGUMENT (device). */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_kernel_model(const flashcore_attention_args *args,
                                                                          const flashcore_device_info *device,
                                                                          flashcore_model_info *info,
                                                                          flashcore_error *error);

/* Called after each module; `done` of `total`. compile_us is 0 where the module was there and kept. Return 0 to go on, anything
 * else to stop. */
typedef int32_t (*flashcore_compile_progress)(void *user, int32_t done, int32_t total,
                                              const flashcore_module_info *module, int64_t compile_us);

/* Compile the modules that are shipped for one architecture ("sm_89", "sm_90a") with NVRTC and keep them in `directory`/<arch>,
 * which is made if needed; entries that are there and current are kept. `directory` NULL: those that neither the module folders nor the
 * user cache of a context with these options have go into that cache. `kernel`: NULL or empty for those of every kernel, the
 * name of a kernel for its own (none where it does not run on the architecture), or the whole name of a module, shipped or not,
 * for that one. Options, with a directory: nvrtc_library only. COMPILER_UNAVAILABLE, COMPILE_FAILED, IO_ERROR, INVALID_ARGUMENT (arch,
 * kernel; cache_directory or cache_mode where there is no user cache to write to). */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_modules_compile(const flashcore_context_options *options,
                                                                             const char *kernel, const char *arch,
                                                                             const char *directory,
                                                                             flashcore_compile_progress progress,
                                                                             void *user, flashcore_error *error);

/* Write the module of a file, which is checked, to `directory`/<arch>, which is made if needed: a folder that FLASHCORE_MODULE_PATH and
 * module_path may name, here or on another machine. A sound one that is there is kept. IO_ERROR, MODULE_CORRUPT. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_modules_export(const char *path, const char *directory,
                                                                            flashcore_error *error);

enum {
  FLASHCORE_REMOVE_UNUSABLE = 1, /* damaged or unreadable, or made from other sources than this library's */
  FLASHCORE_REMOVE_ALL = 2
};

/* Modules of the user cache: what was removed, or would be, and what stays. */
typedef struct flashcore_removal_info {
  uint32_t struct_size; /* set by the caller */
  int32_t reserved;     /* 0 */
  int64_t removed_files;
  int64_t removed_bytes;
  int64_t kept_files;
  int64_t kept_bytes;
} flashcore_removal_info;

/* Remove modules from the user cache of a context with these options: FLASHCORE_REMOVE_*, then the oldest until no more than most_bytes
 * are left (negative: as many as there are), and what killed writers left an hour ago. dry_run other than 0: tell only. Other processes
 * may use the cache meanwhile. INVALID_ARGUMENT (what; cache_directory or cache_mode where there is no user cache to write to), IO_ERROR. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_modules_remove(const flashcore_context_options *options,
                                                                            int32_t what, int64_t most_bytes,
                                                                            int32_t dry_run,
                                                                            flashcore_removal_info *info,
                                                                            flashcore_error *error);

/* What the process would use: one line each for the driver, NVRTC, the module folders and the user cache, and what to do
 * where one is missing. Zero-terminated, cut to `capacity`. */
FLASHCORE_API FLASHCORE_NODISCARD flashcore_status flashcore_environment_describe(
    const flashcore_context_options *options, char *text, int64_t capacity, flashcore_error *error);

#ifdef __cplusplus
}
#endif

#endif
