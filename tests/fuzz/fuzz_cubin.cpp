// SPDX-License-Identifier: Apache-2.0
//
// ELF images: what the reader says of any bytes, and the steady loop of any machine code in them.
#include "cubin/cubin_reader.hpp"
#include "cubin/steady_loop.hpp"
#include "fuzz_target.hpp"
#include "unit/cubin/synthetic_cubin.hpp"

namespace {

// A loop of products with loads, maxima and a masked branch, as instructions of 16 bytes.
fuzz::Bytes loop_code() {
  fuzz::Bytes code;
  const auto add = [&code](uint64_t low, uint64_t high) {
    synthetic::append(code, low);
    synthetic::append(code, high);
  };
  constexpr uint64_t always = 7u << 12;
  for (const uint64_t opcode : {0x03bu, 0x03cu, 0x108u, 0x023u, 0x009u, 0x03cu}) add(opcode | always, 0);
  add(0x147u | 3u << 12 | uint64_t{4} << 34, 0);  // a forward branch, taken at times
  add(0x03cu | always, 0);
  add(0x147u | 2u << 12 | (uint64_t{0} - 36) << 34, 0x3ffff);  // nine instructions back
  add(0x14du | always, 0);
  return code;
}

}  // namespace

std::vector<fuzz::Bytes> fuzz::seeds() {
  std::vector<Bytes> seeds;
  for (const uint32_t arch : {80u, 89u, 90u, 120u})
    for (const uint8_t abi : {uint8_t{7}, uint8_t{8}}) {
      synthetic::Cubin cubin;
      cubin.arch = arch, cubin.abi = abi, cubin.arch_specific = arch == 90;
      cubin.kernels[0].constant_bytes = 16;
      cubin.kernels[0].stack_bytes = 16;
      cubin.kernels[0].spills = {{true, 4}, {false, 16}};
      cubin.kernels[0].max_threads = {128, 1, 1};
      seeds.push_back(cubin.image());
    }
  synthetic::Cubin with_loop;
  with_loop.kernels[0].name = "loop";
  with_loop.more_sections.push_back({".text.more", 1, 6, loop_code(), 0, 0});
  seeds.push_back(with_loop.image());
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::span<const uint8_t> image(data, size);
  const flashcore::Result<flashcore::CubinInfo> info = flashcore::read_cubin(image);
  if (!info.ok()) {
    FUZZ_PROMISE(info.error().status == FLASHCORE_MODULE_CORRUPT && !info.error().message.empty());
  } else {
    for (const flashcore::KernelResources &kernel : info.value().kernels) {
      FUZZ_PROMISE(kernel.registers >= 0 && kernel.static_shared_bytes >= 0 && kernel.stack_bytes >= 0);
      FUZZ_PROMISE(kernel.spill_store_bytes >= -1 && kernel.spill_load_bytes >= -1 && kernel.code_bytes >= 0);
      const flashcore::Result<std::span<const uint8_t>> code = flashcore::kernel_code(image, kernel.name);
      if (!code.ok()) continue;
      FUZZ_PROMISE(code.value().empty() ||
                   (code.value().data() >= data && code.value().data() + code.value().size() <= data + size));
      static_cast<void>(flashcore::find_steady_loop(code.value(), info.value().arch));
    }
  }
  // The bytes themselves as machine code.
  for (const int32_t arch : {89, 90}) {
    const std::optional<flashcore::SteadyLoop> loop = flashcore::find_steady_loop(image, arch);
    if (!loop) continue;
    FUZZ_PROMISE(loop->products() > 0 && loop->first_byte >= 0 && loop->bytes > 0);
    FUZZ_PROMISE(loop->first_byte + loop->bytes <= static_cast<int64_t>(size));
    FUZZ_PROMISE(int64_t{16} * (loop->products() + loop->ldsm + loop->mufu + loop->ffma + loop->fmnmx + loop->other +
                                loop->skipped) ==
                 loop->bytes);
  }
  return 0;
}
