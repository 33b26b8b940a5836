// SPDX-License-Identifier: Apache-2.0
#include "api/inspect_info.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/copy_text.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {
namespace {

static_assert(int{kernels::operation_attention_fwd} == int{FLASHCORE_OPERATION_ATTENTION_FWD});
static_assert(int{kernels::operation_merge_states} == int{FLASHCORE_OPERATION_MERGE_STATES});
static_assert(int{kernels::operation_append} == int{FLASHCORE_OPERATION_APPEND});

int32_t specialization_count(const kernels::Passport &passport) {
  kernels::Specialization unused;
  int32_t count = 0;
  while (passport.specialization(count, &unused)) ++count;
  return count;
}

void fill_resources(const ModuleEntry &entry, flashcore_kernel_resources *out) {
  const auto found = std::find_if(entry.cubin_info.kernels.begin(), entry.cubin_info.kernels.end(),
                                  [&](const KernelResources &kernel) { return kernel.name == entry.record.kernel; });
  if (found == entry.cubin_info.kernels.end()) return;  // decode_module_entry refuses such an entry
  copy_text(out->name, found->name);
  out->registers = found->registers;
  out->static_shared_bytes = found->static_shared_bytes;
  out->dynamic_shared_bytes = entry.record.dynamic_shared_bytes;
  out->stack_bytes = found->stack_bytes;
  out->spill_store_bytes = found->spill_store_bytes;
  out->spill_load_bytes = found->spill_load_bytes;
  out->parameter_bytes = found->parameter_bytes;
  out->max_threads_per_block = found->max_threads_per_block;
  out->required_threads = found->required_threads;
  out->barriers = found->barriers;
  out->constant_bytes = found->constant_bytes;
  out->code_bytes = found->code_bytes;
}

}  // namespace

flashcore_kernel_info kernel_info(const kernels::Passport &passport) {
  flashcore_kernel_info info{};
  info.minimum_arch = passport.minimum_arch;
  info.maximum_arch = passport.maximum_arch;
  info.specializations = specialization_count(passport);
  info.by_name_only = passport.by_name_only ? 1 : 0;
  info.choices = passport.choices.count;
  info.operation = passport.operation;
  copy_text(info.name, passport.name);
  copy_text(info.summary, passport.summary);
  return info;
}

flashcore_model_info model_info(const Selection &selection) {
  const kernels::Cost &cost = selection.plan.cost;
  flashcore_model_info info{};
  info.blocks_per_multiprocessor = static_cast<int32_t>(cost.blocks_per_multiprocessor);
  copy_text(info.module, module_name(passport_at(selection.kernel_index), selection.specialization));
  info.waves = cost.waves, info.launch_us = cost.launch_us;
  info.tensor_us = cost.tensor_us, info.mufu_us = cost.mufu_us, info.issue_us = cost.issue_us;
  info.shared_us = cost.shared_us, info.l2_us = cost.l2_us;
  info.throughput_us = cost.throughput_us, info.latency_us = cost.latency_us;
  info.merge_us = cost.merge_us, info.total_us = cost.total_us;
  return info;
}

flashcore_module_info module_info(const KnownModule &module) {
  const ListedModule &listed = module.file;
  flashcore_module_info info{};
  info.origin = listed.origin == ModuleOrigin::shipped ? FLASHCORE_ORIGIN_SHIPPED : FLASHCORE_ORIGIN_USER_CACHE;
  info.file_bytes = listed.file_bytes;
  info.modified_unix_seconds = listed.modified_unix_seconds;
  copy_text(info.path, listed.path);
  if (!listed.entry.ok()) {
    info.status = listed.entry.error().status;
    copy_text(info.problem, listed.entry.error().message);
    return info;
  }
  const ModuleEntry &entry = listed.entry.value();
  info.current = module.current ? 1 : 0;
  copy_text(info.module, entry.record.module);
  copy_text(info.kernel, entry.record.kernel);
  copy_text(info.arch, entry.record.arch);
  copy_text(info.key, entry.record.key);
  copy_text(info.compiler, entry.record.compiler);
  copy_text(info.compiler_id, entry.record.compiler_id);
  copy_text(info.cubin_sha256, entry.record.cubin_sha256);
  info.compressed_bytes = entry.compressed_bytes;
  info.cubin_bytes = entry.record.cubin_bytes;
  info.compile_us = entry.record.compile_us;
  fill_resources(entry, &info.resources);
  return info;
}

flashcore_loop_info loop_info(const ModuleLoop &loop) {
  flashcore_loop_info info{};
  info.score_tiles = loop.score_tiles;
  info.hmma = loop.counts.hmma, info.hgmma = loop.counts.hgmma, info.ldsm = loop.counts.ldsm,
  info.mufu = loop.counts.mufu, info.ffma = loop.counts.ffma;
  info.fmnmx = loop.counts.fmnmx, info.other = loop.counts.other, info.skipped = loop.counts.skipped;
  info.first_byte = loop.counts.first_byte, info.bytes = loop.counts.bytes;
  return info;
}

MallocCopy malloc_copy(const void *bytes, size_t size, size_t extra) {
  MallocCopy copy(static_cast<char *>(std::malloc(size + extra)));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy.get(), bytes, size);
  std::memset(copy.get() + size, 0, extra);
  return copy;
}

}  // namespace flashcore
