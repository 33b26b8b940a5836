// SPDX-License-Identifier: Apache-2.0
//
// Are the caller's addresses memory of this process? A device pointer handed to the CPU device, or a stride that leads
// past the allocation, should be an error that names the tensor, not a fault. process_vm_readv on the own process asks
// the kernel to copy a byte and answers EFAULT where there is none.
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <string>

#include "cpu/cpu_attention.hpp"

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

struct NamedRange {
  const char *field;
  AddressRange range;
};

Error unreadable_range(const NamedRange &named) {
  char range[64];
  std::snprintf(range, sizeof(range), "0x%" PRIx64 " to 0x%" PRIx64, named.range.begin, named.range.end - 1);
  const std::string field = named.field;
  return {
      FLASHCORE_INVALID_ARGUMENT,
      field + " leads to bytes " + range +
          ", which are not all memory of this process; the CPU device takes host memory only. Check the address (is it "
          "a GPU's?), the sizes and the strides.",
      field};
}

Status check_range(const NamedRange &named) {
  if (named.range.begin == named.range.end) return success();
  for (uint64_t address : {named.range.begin, named.range.end - 1}) {
    switch (byte_is_readable(address)) {
      case Readable::no:
        return unreadable_range(named);
      case Readable::no_memory:
        return Error{FLASHCORE_OUT_OF_HOST_MEMORY, "the kernel has no memory to check the tensors' addresses"};
      case Readable::yes:
      case Readable::unknown:
        break;
    }
  }
  return success();
}

}  // namespace

bool is_host_memory(uint64_t address) { return byte_is_readable(address) == Readable::yes; }

Status check_host_addresses(const AttentionProblem &problem) {
  const kernels::ProblemKey &key = problem.key;
  const auto range = [&](const ProblemTensor &tensor, int64_t rows, int64_t heads, int64_t columns,
                         int64_t element_bytes) {
    return tensor.data == 0 ? AddressRange{} : tensor_range(tensor, key.batch, rows, heads, columns, element_bytes);
  };
  const NamedRange ranges[] = {
      {"query.data", range(problem.query, key.seqlen_q, key.heads_q, key.head_dim, 2)},
      {"key.data", range(problem.key_tensor, key.seqlen_kv, key.heads_kv, key.head_dim, 2)},
      {"value.data", range(problem.value, key.seqlen_kv, key.heads_kv, key.head_dim_v, 2)},
      {"output.data", range(problem.output, key.seqlen_q, key.heads_q, key.head_dim_v, 2)},
      {"lse.data", range(problem.lse, key.seqlen_q, key.heads_q, 1, sizeof(float))},
  };
  for (const NamedRange &named : ranges) FLASHCORE_TRY(check_range(named));
  return success();
}

}  // namespace flashcore
