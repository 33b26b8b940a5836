// SPDX-License-Identifier: Apache-2.0
//
// The yardsticks: how many operations and bytes a problem needs at least, and what the vendor says that a device can
// do.
#include <algorithm>
#include <cstring>

#include "measuring.hpp"
#include "visible_scores.hpp"

namespace flashcore::tools {
namespace {

// NVIDIA's data sheets state tensor rates with 2:4 sparsity; the dense rate is half of that. Devices are matched by
// their whole name: variants of one chip differ in clocks and memory, and a share of the wrong peak is worse than none.
constexpr VendorPeak peaks[] = {
    {"NVIDIA A100-SXM4-40GB", 80, 312, 1555, "NVIDIA A100 data sheet: 312 TFLOP/s dense, 1,555 GB/s"},
    {"NVIDIA A100-PCIE-40GB", 80, 312, 1555, "NVIDIA A100 data sheet: 312 TFLOP/s dense, 1,555 GB/s"},
    {"NVIDIA A100-SXM4-80GB", 80, 312, 2039, "NVIDIA A100 data sheet: 312 TFLOP/s dense, 2,039 GB/s"},
    {"NVIDIA A100 80GB PCIe", 80, 312, 1935, "NVIDIA A100 data sheet: 312 TFLOP/s dense, 1,935 GB/s"},
    {"NVIDIA A10", 86, 125, 600, "NVIDIA A10 data sheet: 250 TFLOP/s sparse, 600 GB/s"},
    {"NVIDIA GeForce RTX 3090", 86, 71, 936, "NVIDIA GA102 white paper: 71 TFLOP/s dense with float32 sums, 936 GB/s"},
    {"NVIDIA L4", 89, 121, 300, "NVIDIA L4 data sheet: 242 TFLOP/s sparse, 300 GB/s"},
    {"NVIDIA L40", 89, 181.05, 864, "NVIDIA L40 data sheet: 362.1 TFLOP/s sparse, 864 GB/s"},
    {"NVIDIA L40S", 89, 362.05, 864, "NVIDIA L40S data sheet: 362.05 TFLOP/s dense, 864 GB/s"},
    {"NVIDIA GeForce RTX 4090", 89, 165.2, 1008,
     "NVIDIA Ada white paper: 165.2 TFLOP/s dense with float32 sums, 1,008 GB/s"},
    {"NVIDIA H100 PCIe", 90, 756, 2000, "NVIDIA H100 data sheet: 1,513 TFLOP/s sparse, 2 TB/s"},
    {"NVIDIA H100 NVL", 90, 835.5, 3900, "NVIDIA H100 data sheet: 1,671 TFLOP/s sparse, 3.9 TB/s"},
    {"NVIDIA H100 80GB HBM3", 90, 989.5, 3350, "NVIDIA H100 data sheet: 1,979 TFLOP/s sparse, 3.35 TB/s"},
    {"NVIDIA H200", 90, 989.5, 4800, "NVIDIA H200 data sheet: 1,979 TFLOP/s sparse, 4.8 TB/s"},
    {"NVIDIA H200 NVL", 90, 835.5, 4800, "NVIDIA H200 data sheet: 1,671 TFLOP/s sparse, 4.8 TB/s"},
};

}  // namespace

double attention_flop(const Shape &shape) {
  const double scores =
      visible_scores(shape.seqlen_q, shape.seqlen_kv, causal_band(shape.causal, shape.seqlen_q, shape.seqlen_kv));
  return 4 * scores * static_cast<double>(shape.batch) * static_cast<double>(shape.heads_q) *
         static_cast<double>(shape.head_dim);
}

double attention_bytes(const Shape &shape) {
  const double rows = 2 * static_cast<double>(shape.heads_q) * static_cast<double>(shape.seqlen_q) +
                      2 * static_cast<double>(shape.heads_kv) * static_cast<double>(shape.seqlen_kv);
  return 2 * static_cast<double>(shape.batch) * rows * static_cast<double>(shape.head_dim);
}

Args attention_args(const Shape &shape, const std::string &kernel) {
  Args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = shape.batch;
  args.seqlen_q = shape.seqlen_q;
  args.seqlen_kv = shape.seqlen_kv;
  args.heads_q = static_cast<int32_t>(shape.heads_q);
  args.heads_kv = static_cast<int32_t>(shape.heads_kv);
  args.head_dim = static_cast<int32_t>(shape.head_dim);
  args.causal = shape.causal;
  args.query.dtype = shape.dtype == Float16Type::float16 ? FLASHCORE_DTYPE_FLOAT16 : FLASHCORE_DTYPE_BFLOAT16;
  std::memcpy(args.kernel, kernel.c_str(),
              std::min(kernel.size(), sizeof(args.kernel) - 1));  // names are checked before
  return args;
}

const VendorPeak *find_vendor_peak(const flashcore_device_info &device) {
  const auto *found = std::find_if(std::begin(peaks), std::end(peaks), [&](const VendorPeak &peak) {
    return peak.arch == device.arch && std::strcmp(peak.device_name, device.name) == 0;
  });
  return found == std::end(peaks) ? nullptr : found;
}

}  // namespace flashcore::tools
