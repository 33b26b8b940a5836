// SPDX-License-Identifier: Apache-2.0
//
// Are the caller's addresses memory of this process? A device pointer handed to the CPU device, or a stride that leads
// past the allocation, should be an error that names the tensor, not a fault. process_vm_readv on the own process asks
// the kernel to copy a byte and answers EFAULT where there is none. Of inputs the first and the last byte are asked for;
// of outputs, which may lie in a file that is mapped to be read, or have a hole, one byte on each page.
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <string>
#include <utility>

#include "contract/append.h"
#include "cpu/cpu_attention.hpp"
#include "problem/attention_call.hpp"

namespace flashcore {
namespace {

enum class Readable { yes, no, unknown, no_memory };

Readable byte_is_readable(uint64_t address) {
  char byte;
  const iovec local = {&byte, 1};
  const iovec remote = {reinterpret_cast<void *>(address), 1};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1) return Readable::yes;
  if (errno == EFAULT) return Readable::no;
  if (errno == ENOMEM) return Readable::no_memory;
  // ENOSYS and EPERM: a sandbox or a kernel without the call (CROSS_MEMORY_ATTACH). The check is then skipped, for it
  // only turns a fault into an error; a good address works either way. Nothing else is specified for one's own process.
  return Readable::unknown;
}

Error unreadable_range(const ProblemOperand &operand) {
  char range[64];
  std::snprintf(range, sizeof(range), "0x%" PRIx64 " to 0x%" PRIx64, operand.range.begin, operand.range.end - 1);
  const std::string field = operand.rule->address;
  return {
      FLASHCORE_INVALID_ARGUMENT,
      field + " leads to bytes " + range +
          ", which are not all memory of this process; the CPU device takes host memory only. Check the address (is it "
          "a GPU's?), the sizes and the strides.",
      field};
}

Status check_ends(const ProblemOperand &operand) {
  if (operand.range.begin == operand.range.end) return success();
  for (uint64_t address : {operand.range.begin, operand.range.end - 1}) {
    switch (byte_is_readable(address)) {
      case Readable::no:
        return unreadable_range(operand);
      case Readable::no_memory:
        return Error{FLASHCORE_OUT_OF_HOST_MEMORY, "the kernel has no memory to check the tensors' addresses"};
      case Readable::yes:
      case Readable::unknown:
        break;
    }
  }
  return success();
}

// Bytes of an output that are its own elements, one on each page, a hundred or so at a time. Each is read and written back: only this
// call may use them now, and it will write them.
class OutputPages {
 public:
  explicit OutputPages(const char *field) : field_(field) {}

  Status add(uint64_t begin, uint64_t end) {
    while (begin < end) {
      const uint64_t page = begin / page_bytes_;
      if (page != last_page_) {
        remote_[count_++] = {reinterpret_cast<void *>(begin), 1};
        last_page_ = page;
        if (count_ == capacity) FLASHCORE_TRY(ask());
      }
      begin = (page + 1) * page_bytes_;
    }
    return success();
  }
  Status ask() {
    const int count = std::exchange(count_, 0);
    if (count == 0 || !kernel_answers_) return success();
    char bytes[capacity];
    const iovec local = {bytes, static_cast<size_t>(count)};
    FLASHCORE_TRY(judge(process_vm_readv(getpid(), &local, 1, remote_, static_cast<unsigned long>(count), 0), count,
                        "is no memory of this process"));
    if (!kernel_answers_) return success();
    return judge(process_vm_writev(getpid(), &local, 1, remote_, static_cast<unsigned long>(count), 0), count,
                 "is memory that this process may not write to");
  }

 private:
  // The kernel stops at the first byte that it cannot copy.
  Status judge(ssize_t copied, int count, const char *problem) {
    if (copied == count) return success();
    if (copied < 0 && errno == ENOMEM)
      return Error{FLASHCORE_OUT_OF_HOST_MEMORY, "the kernel has no memory to check the tensors' addresses"};
    if (copied < 0 && errno != EFAULT) {  // as above
      kernel_answers_ = false;
      return success();
    }
    char address[32];
    std::snprintf(address, sizeof(address), "0x%" PRIx64,
                  static_cast<uint64_t>(reinterpret_cast<uintptr_t>(remote_[std::max<ssize_t>(copied, 0)].iov_base)));
    return Error{
        FLASHCORE_INVALID_ARGUMENT,
        std::string(field_) + " leads to byte " + address + ", which " + problem +
            "; the CPU device takes host memory only, and outputs must be writable from the first element to the last. Check the "
            "address, the sizes and the strides.",
        field_};
  }

  static constexpr int capacity = 128;
  const char *field_;
  const uint64_t page_bytes_ = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t last_page_ = UINT64_MAX;
  int count_ = 0;
  bool kernel_answers_ = true;
  iovec remote_[capacity];
};

// Rows in the order in which they lie in memory, so that each page comes up once: `shape` of them, from element `origin` on.
Status check_output_rows(const ProblemOperand &operand, const TensorShape &shape, int64_t origin) {
  const ProblemTensor &tensor = operand.tensor;
  const int64_t element_bytes = operand.element_bytes;
  struct Axis {
    int64_t size, stride;
  };
  Axis axes[] = {
      {shape.batch, tensor.stride_batch}, {shape.rows, tensor.stride_row}, {shape.heads, tensor.stride_head}};
  std::sort(std::begin(axes), std::end(axes), [](const Axis &a, const Axis &b) { return a.stride > b.stride; });
  OutputPages pages(operand.rule->address);
  for (int64_t i = 0; i < axes[0].size; ++i)
    for (int64_t j = 0; j < axes[1].size; ++j)
      for (int64_t k = 0; k < axes[2].size; ++k) {
        const int64_t first = origin + i * axes[0].stride + j * axes[1].stride + k * axes[2].stride;
        const uint64_t begin = tensor.data + static_cast<uint64_t>(first * element_bytes);
        FLASHCORE_TRY(pages.add(begin, begin + static_cast<uint64_t>(shape.columns * element_bytes)));
      }
  return pages.ask();
}

// Of ragged batches the rows in use: what lies between them may be another call's to write, or nobody's.
Status check_output_pages(const ProblemOperand &operand, const kernels::RaggedRows *ragged, int64_t batch) {
  if (operand.range.begin == operand.range.end) return success();
  if (ragged == nullptr) return check_output_rows(operand, operand.shape, 0);
  for (int64_t b = 0; b < batch; ++b) {
    const kernels::Sequence sequence = kernels::sequence_of(*ragged, static_cast<int32_t>(b));
    TensorShape shape = operand.shape;
    shape.batch = 1, shape.rows = sequence.queries;
    const ProblemTensor &tensor = operand.tensor;
    FLASHCORE_TRY(check_output_rows(
        operand, shape, sequence.query_batch * tensor.stride_batch + sequence.first_query_row * tensor.stride_row));
  }
  return success();
}

Status check_operands(std::span<const ProblemOperand> operands, const kernels::RaggedRows *ragged, int64_t batch) {
  for (const ProblemOperand &operand : operands) FLASHCORE_TRY(check_ends(operand));
  for (const ProblemOperand &operand : operands)
    if (is_output(operand.rule->role)) FLASHCORE_TRY(check_output_pages(operand, ragged, batch));
  return success();
}

}  // namespace

bool is_host_memory(uint64_t address) { return byte_is_readable(address) == Readable::yes; }

Status check_host_addresses(const MergeStatesProblem &problem) { return check_operands(problem.operands, nullptr, 0); }

Status check_host_addresses(const AttentionProblem &problem) {
  const kernels::ProblemKey &key = problem.key;
  const kernels::RaggedRows rows = kernels::ragged_rows_of(key, attention_call(problem));
  return check_operands(operands_of(problem), key.rows == kernels::rows_dense ? nullptr : &rows, key.batch);
}

// Of the cache alone these rows: others are read, and may be another call's to write.
Status check_appended_rows(const AttentionProblem &problem) {
  const kernels::ProblemKey &key = problem.key;
  if (key.seqlen_new == 0) return success();
  const kernels::RaggedRows rows = kernels::ragged_rows_of(key, attention_call(problem));
  const uint64_t value_table = rows.page_table_value != 0 ? rows.page_table_value : rows.page_table;
  const auto seqlen_new = static_cast<int32_t>(key.seqlen_new);
  for (const fwd::Operand operand : {fwd::key, fwd::value}) {
    const ProblemTensor &tensor = problem.tensors[operand];
    const int64_t row_bytes =
        int64_t{operand == fwd::key ? key.head_dim : key.head_dim_v} * kernels::element_bytes(key.dtype);
    OutputPages pages(fwd::operands[operand].address);
    for (int32_t batch = 0; batch < key.batch; ++batch) {
      const kernels::CacheRows cache = kernels::cache_rows_of(rows, seqlen_new, batch);
      for (int32_t row = 0; row < seqlen_new; ++row) {
        const int64_t place = place_of_new_row(rows, cache, batch, row, tensor_view(tensor),
                                               operand == fwd::key ? rows.page_table : value_table);
        for (int64_t head = 0; place != kernels::nowhere && head < key.heads_kv; ++head) {
          const int64_t first = (place + head * tensor.stride_head) * kernels::element_bytes(key.dtype);
          const uint64_t begin = tensor.data + static_cast<uint64_t>(first);
          FLASHCORE_TRY(pages.add(begin, begin + static_cast<uint64_t>(row_bytes)));
        }
      }
    }
    FLASHCORE_TRY(pages.ask());
  }
  return success();
}

}  // namespace flashcore
