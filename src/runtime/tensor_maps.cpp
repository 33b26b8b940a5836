// SPDX-License-Identifier: Apache-2.0
#include "runtime/tensor_maps.hpp"

namespace flashcore {
namespace {

TensorMapLayout layout_of(const ProblemOperand &operand, const kernels::TensorMapRule &rule,
                          const kernels::ProblemKey &key) {
  const auto bytes = [&](int64_t stride) { return static_cast<uint64_t>(stride * operand.element_bytes); };
  const TensorShape &shape = operand.shape;
  const ProblemTensor &tensor = operand.tensor;
  const bool bfloat16 = key.dtype == kernels::dtype_bfloat16;
  if (rule.packed) {
    const int32_t heads = key.heads_q / key.heads_kv;
    return {
        bfloat16,
        {static_cast<uint64_t>(shape.columns), static_cast<uint64_t>(shape.heads), static_cast<uint64_t>(shape.rows),
         static_cast<uint64_t>(shape.batch)},
        {bytes(tensor.stride_head), bytes(tensor.stride_row), bytes(tensor.stride_batch)},
        {kernels::tensor_map_columns, static_cast<uint32_t>(heads), static_cast<uint32_t>(rule.box_rows / heads), 1}};
  }
  const int32_t box_rows = rule.in_pages ? kernels::rows_of_box(key.page_size, rule.box_rows) : rule.box_rows;
  return {bfloat16,
          {static_cast<uint64_t>(shape.columns), static_cast<uint64_t>(shape.rows), static_cast<uint64_t>(shape.heads),
           static_cast<uint64_t>(shape.batch)},
          {bytes(tensor.stride_row), bytes(tensor.stride_head), bytes(tensor.stride_batch)},
          {kernels::tensor_map_columns, static_cast<uint32_t>(box_rows), 1, 1}};
}

}  // namespace

TensorMaps::TensorMaps(const kernels::Passport &passport, const kernels::Specialization &specialization,
                       const AttentionProblem &problem) {
  if (passport.tensor_maps == nullptr) return;
  kernels::TensorMapRule rules[kernels::most_tensor_maps];
  count_ = passport.tensor_maps(specialization, rules);
  const auto operands = operands_of(problem);
  for (int32_t i = 0; i < count_; ++i)
    maps_[static_cast<size_t>(i)] = {
        rules[i], layout_of(operands[static_cast<size_t>(rules[i].operand)], rules[i], problem.key), 0};
}

Status TensorMaps::encode_moved(const CudaDriver &driver, const uint64_t *addresses, void *parameters) {
  for (int32_t i = 0; i < count_; ++i) {
    Map &map = maps_[static_cast<size_t>(i)];
    const uint64_t address = addresses[map.rule.operand];
    if (map.address == address) continue;
    map.address = 0;
    FLASHCORE_TRY(
        driver.encode_tensor_map(map.layout, address, static_cast<unsigned char *>(parameters) + map.rule.byte_offset));
    map.address = address;
  }
  return success();
}

}  // namespace flashcore
