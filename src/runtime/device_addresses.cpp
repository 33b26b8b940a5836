// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_addresses.hpp"

#include <cinttypes>
#include <cstdio>

#include "cpu/cpu_attention.hpp"

namespace flashcore {
namespace {

std::string hex(uint64_t address) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%" PRIx64, address);
  return text;
}

Error wrong(const NamedRange &named, const std::string &what) {
  return {FLASHCORE_INVALID_ARGUMENT, std::string(named.field) + " is " + hex(named.range.begin) + ", " + what,
          named.field};
}

Error unknown_address(const NamedRange &named) {
  return wrong(named, "which the CUDA driver does not know" +
                          std::string(is_host_memory(named.range.begin) ? ": it is ordinary host memory"
                                                                        : ": it was freed, or never was memory") +
                          "; allowed: device memory or pinned host memory of this process");
}

// Empty, or why kernels of the context's device do not reach memory that the driver knows.
std::string unreachable(int32_t ordinal, const NamedRange &named, const PointerInfo &info) {
  const std::string own = std::to_string(ordinal);
  if (info.kind == PointerInfo::managed || (info.kind == PointerInfo::device && info.ordinal == ordinal)) return {};
  const bool pinned = info.kind == PointerInfo::page_locked_host;
  const std::string where =
      pinned ? "page-locked host memory" : "memory of CUDA device " + std::to_string(info.ordinal);
  if (info.device_address == 0)
    return where + ", which kernels of device " + own + " do not reach; allowed: memory of device " + own +
           (pinned ? ", or host memory that is mapped for it"
                   : ", or of one whose memory it may use (cuCtxEnablePeerAccess, cuMemSetAccess)");
  if (info.device_address != named.range.begin)
    return where + ", which kernels reach at " + hex(info.device_address) +
           "; allowed: that address (cuMemHostGetDevicePointer)";
  return {};
}

Status check_range(const CudaDriver &driver, int32_t ordinal, const NamedRange &named) {
  const AddressRange &range = named.range;
  if (range.begin == range.end) return success();
  FLASHCORE_TRY_ASSIGN(const PointerInfo first, driver.pointer_info(range.begin));
  if (first.kind == PointerInfo::unknown) return unknown_address(named);
  if (std::string reason = unreachable(ordinal, named, first); !reason.empty()) return wrong(named, reason);
  const std::string bytes = "and the tensor takes " + std::to_string(range.end - range.begin) + " bytes from there: ";
  const char *advice = "; look at the sizes and strides";
  const uint64_t allocation_end = first.allocation + first.allocation_bytes;
  if (first.allocation_bytes != 0 && range.end > allocation_end)
    return wrong(named, bytes + "its allocation, " + std::to_string(first.allocation_bytes) + " bytes at " +
                            hex(first.allocation) + ", is " + std::to_string(range.end - allocation_end) +
                            " bytes too short" + advice);
  // A range of virtual memory may be mapped in part.
  FLASHCORE_TRY_ASSIGN(const PointerInfo last, driver.pointer_info(range.end - 1));
  if (last.kind == PointerInfo::unknown)
    return wrong(named, bytes + "the last of them, at " + hex(range.end - 1) +
                            ", are no memory that the CUDA driver knows" + advice);
  return success();
}

}  // namespace

Status check_known_addresses(const CudaDriver &driver, std::span<const NamedRange> ranges) {
  for (const NamedRange &named : ranges) {
    if (named.range.begin == named.range.end) continue;
    FLASHCORE_TRY_ASSIGN(const int32_t owner, driver.pointer_device(named.range.begin));
    if (owner < 0) return unknown_address(named);
  }
  return success();
}

Status check_addresses(const CudaDriver &driver, int32_t ordinal, std::span<const NamedRange> ranges) {
  for (const NamedRange &named : ranges) FLASHCORE_TRY(check_range(driver, ordinal, named));
  return success();
}

}  // namespace flashcore
