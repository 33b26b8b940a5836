// SPDX-License-Identifier: Apache-2.0
//
// Arguments of a call on the CPU device. An input is a flashcore_attention_args whose addresses are places in an arena of readable
// memory between pages that nobody may touch, so that a byte too far ends the process. On success nothing but elements of the outputs
// is written, and on failure nothing at all.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "flashcore/flashcore.h"
#include "fuzz_target.hpp"
#include "problem/attention_fwd_operands.hpp"

namespace {

// No power of two, nor a sum of two: strides that a flipped bit makes would lead over the guard into memory behind it.
constexpr size_t arena_bytes = 1 << 14, guard_bytes = (size_t{1} << 43) + (size_t{1} << 42) + (size_t{1} << 35);
constexpr int64_t most_work = 1 << 18;  // products of a query with a key, times columns

uint8_t *make_arena() {
  void *memory =
      mmap(nullptr, arena_bytes + 2 * guard_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  auto *arena = static_cast<uint8_t *>(memory) + guard_bytes;
  if (mprotect(arena, arena_bytes, PROT_READ | PROT_WRITE) != 0) std::abort();
  return arena;
}

std::vector<uint8_t> finite_numbers() {
  std::vector<uint8_t> bytes(arena_bytes);
  for (size_t i = 0; i < arena_bytes; ++i) bytes[i] = static_cast<uint8_t>(i * 37 % 61);
  return bytes;
}

flashcore_context make_context() {
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  options.device_kind = FLASHCORE_DEVICE_CPU;
  options.cpu_threads = 1;
  flashcore_context context = nullptr;
  if (flashcore_context_create(&options, &context, nullptr) != FLASHCORE_OK) std::abort();
  return context;
}

flashcore_attention_args small_args() {
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 2, args.heads_q = 2, args.heads_kv = 1, args.seqlen_q = 3, args.seqlen_kv = 5, args.head_dim = 8;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.query.data = 512, args.key.data = 1024, args.value.data = 2048, args.output.data = 4096, args.lse.data = 8192;
  return args;
}

// Numbers become addresses in the arena or in the guards around it: other memory is the sanitizer's, say, and may be writable.
void place(uint64_t &address, const uint8_t *arena) {
  if (address != 0)
    address = reinterpret_cast<uintptr_t>(arena) - arena_bytes + (address + arena_bytes) % (3 * arena_bytes);
}

struct Tensor {
  const flashcore_tensor &tensor;
  int64_t sizes[4], contiguous[4], element_bytes;
};

// Marks the bytes of the tensor's elements, which a call that succeeded has said to lie in the arena.
void mark(const Tensor &given, const uint8_t *arena, std::vector<bool> &own) {
  if (given.tensor.data == 0 || std::count(given.sizes, given.sizes + 4, 0) > 0) return;
  const bool all_zero =
      std::all_of(given.tensor.stride, given.tensor.stride + 4, [](int64_t stride) { return stride == 0; });
  const int64_t *stride = all_zero ? given.contiguous : given.tensor.stride;
  const auto base = static_cast<int64_t>(given.tensor.data - reinterpret_cast<uintptr_t>(arena));
  for (int64_t b = 0; b < given.sizes[0]; ++b)
    for (int64_t row = 0; row < given.sizes[1]; ++row)
      for (int64_t head = 0; head < given.sizes[2]; ++head)
        for (int64_t column = 0; column < given.sizes[3]; ++column) {
          const int64_t element = b * stride[0] + row * stride[1] + head * stride[2] + column;
          for (int64_t i = 0; i < given.element_bytes; ++i) {
            const int64_t byte = base + element * given.element_bytes + i;
            FUZZ_PROMISE(byte >= 0 && byte < static_cast<int64_t>(arena_bytes));
            own[static_cast<size_t>(byte)] = true;
          }
        }
}

bool is_small(const flashcore_attention_args &args) {
  int64_t work = 1;
  for (const int64_t size : {args.batch, args.seqlen_q, int64_t{args.heads_q}, std::max<int64_t>(args.seqlen_kv, 1),
                             int64_t{std::max(args.head_dim, args.head_dim_v)}}) {
    if (size <= 0) return true;
    if (size > most_work || (work *= size) > most_work) return false;
  }
  return true;
}

}  // namespace

std::vector<fuzz::Bytes> fuzz::seeds() {
  std::vector<Bytes> seeds;
  const auto add = [&seeds](const flashcore_attention_args &args) {
    Bytes bytes(sizeof(args));
    std::memcpy(bytes.data(), &args, sizeof(args));
    seeds.push_back(bytes);
  };
  flashcore_attention_args args = small_args();
  add(args);
  args.lse.data = 0, args.causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT, args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;
  add(args);
  args = small_args();
  const int64_t strides[] = {64, 16, 8, 1};
  for (flashcore_tensor *tensor : {&args.query, &args.output}) std::copy_n(strides, 4, tensor->stride);
  add(args);
  args.seqlen_kv = 0;
  add(args);
  args = small_args();
  args.causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT, args.window_left = 2, args.softcap = 3.0f;
  args.flags |= FLASHCORE_FLAG_WINDOW_LEFT;
  args.alibi_slopes = 12288, args.sinks.data = 13312;
  add(args);
  args = small_args();
  args.bias.data = 12288, args.bias.dtype = FLASHCORE_DTYPE_FLOAT32, args.mask.data = 14336;
  const int64_t of_bias[] = {0, 1, 15, 3}, of_mask[] = {5, 0, 0, 1};
  std::copy_n(of_bias, 4, args.bias.stride), std::copy_n(of_mask, 4, args.mask.stride);
  add(args);
  args = small_args();
  args.causal = FLASHCORE_CAUSAL_TOP_LEFT, args.attention_chunk = 2;
  add(args);
  args = small_args();
  args.seqlen_new = 2, args.new_key.data = 9216, args.new_value.data = 10240;
  add(args);
  args.rotary_dim = 4, args.rotary_cos = 11264, args.rotary_sin = 12288, args.rotary_table_rows = 3;
  args.flags = FLASHCORE_FLAG_ROTARY_INTERLEAVED, args.seqused_kv = 13312;
  add(args);
  args.page_table = 14336, args.page_size = 2, args.page_count = 4, args.rotary_positions = 15360;
  add(args);
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t *const arena = make_arena();
  static const flashcore_context context = make_context();
  flashcore_attention_args args{};
  std::memcpy(&args, data, std::min(size, sizeof(args)));
  if (args.struct_size > sizeof(args)) args.struct_size = sizeof(args);  // or it would say that the caller has more
  if (!is_small(args)) return 0;
  for (const flashcore::OperandRule &operand : flashcore::fwd::operands) {
    uint64_t address;
    std::memcpy(&address, reinterpret_cast<const char *>(&args) + operand.offset, sizeof(address));
    place(address, arena);
    std::memcpy(reinterpret_cast<char *>(&args) + operand.offset, &address, sizeof(address));
  }
  static const std::vector<uint8_t> before = finite_numbers();
  std::memcpy(arena, before.data(), arena_bytes);

  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = flashcore_attention_fwd(context, &args, nullptr, &error);
  std::vector<bool> own(arena_bytes, false);
  if (status == FLASHCORE_OK) {
    const int64_t heads = args.heads_q, columns = args.head_dim_v != 0 ? args.head_dim_v : args.head_dim;
    mark({args.output,
          {args.batch, args.seqlen_q, heads, columns},
          {args.seqlen_q * heads * columns, heads * columns, columns, 1},
          args.output.dtype == FLASHCORE_DTYPE_FLOAT32 ? 4 : 2},
         arena, own);
    if (args.seqlen_new > 0) {  // rows of the cache, wherever the arrays lead
      const bool paged = args.page_table != 0, in_line = args.cu_seqlens_kv != 0;
      const int64_t entries = paged                      ? args.page_count
                              : in_line                  ? 1
                              : args.kv_batch_index != 0 ? args.kv_batch_count
                                                         : args.batch;
      const int64_t rows = paged ? args.page_size : in_line ? args.total_kv : args.seqlen_kv;
      const int64_t heads_kv = args.heads_kv != 0 ? args.heads_kv : heads;
      const auto mark_cache = [&](const flashcore_tensor &cache, int64_t width) {
        const int64_t row = heads_kv * width;
        mark({cache, {entries, rows, heads_kv, width}, {rows * row, row, width, 1}, 2}, arena, own);
      };
      mark_cache(args.key, args.head_dim);
      mark_cache(args.value, columns);
    }
    args.lse.stride[3] = 0;  // nobody looks at it
    mark({args.lse, {args.batch, args.seqlen_q, heads, 1}, {heads * args.seqlen_q, 1, args.seqlen_q, 1}, 4}, arena,
         own);
  } else {
    FUZZ_PROMISE(status == FLASHCORE_INVALID_ARGUMENT || status == FLASHCORE_UNSUPPORTED);
    FUZZ_PROMISE(error.field[0] != '\0' && error.message[0] != '\0');
  }
  if (std::memcmp(arena, before.data(), arena_bytes) != 0)
    for (size_t i = 0; i < arena_bytes; ++i) FUZZ_PROMISE(own[i] || arena[i] == before[i]);
  FUZZ_PROMISE(flashcore_attention_prepare(context, &args, nullptr) != FLASHCORE_INTERNAL);
  return 0;
}
