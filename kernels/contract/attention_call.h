// SPDX-License-Identifier: Apache-2.0
//
// A call of attention as kernels are told of it, beside the problem's key: where its tensors lie and what its numbers are.
// A kernel's passport packs it into the struct that the kernel itself takes, once for calls that differ in addresses alone:
// these are patched into the struct.
#pragma once

#include "contract/tensor_view.h"

namespace flashcore::kernels {

enum AttentionOperand : int32_t {
  operand_query,
  operand_key,
  operand_value,
  operand_output,
  operand_lse,           // float32
  operand_alibi_slopes,  // float32, a number for each batch entry and head
  operand_sinks,         // float32, a number for each head
  // Integers of the problem's index_dtype: where sequences begin, how many rows they have, what of them is left out, and where they lie.
  operand_cu_seqlens_q,
  operand_cu_seqlens_kv,
  operand_seqused_q,
  operand_seqused_kv,
  operand_leftpad_kv,
  operand_kv_batch_index,
  // int32: the pages of each sequence's keys, a row for each
  operand_page_table,
  operand_page_table_value,
  operand_bias,            // a number for each score
  operand_mask,            // a byte for each score
  operand_variant_params,  // a block of bytes for a user's text
  attended_count,  // these are what kernels of attention read or write; the others are read ahead of it (append.h)
  operand_new_key = attended_count,
  operand_new_value,
  operand_rotary_cos,
  operand_rotary_sin,
  operand_rotary_positions,  // integers of the problem's index_dtype
  operand_count
};
// What has an address in a call: the operands, then what the library adds.
enum AttentionAddress : int32_t {
  address_workspace = operand_count,
  address_rotated_query,  // these lie in the workspace, where the launch ahead of attention leaves them
  address_kept_keys,
  address_count
};

struct AttentionCall {
  TensorView operands[operand_count];
  int64_t bias_stride_key, mask_stride_key;  // elements between keys
  int32_t bias_dtype;                        // float16, bfloat16 or float32
  float softmax_scale;
  float softcap;               // 0: none
  int32_t lse_base2;           // 1: logarithms of base 2 are wanted, 0: natural ones
  int32_t rotary_interleaved;  // 1: rotated pairs of columns are neighbours, 0: they are half of rotary_dim apart
  int32_t rotary_by_row;       // 1: each query has a position of its own, 0: all have the first one's
  // Device memory of as many bytes as the plan asks for, at a multiple of 16; 0: the plan asks for none. It is the call's own until the
  // last stage of the plan has ended: a stage that may begin before the launch ahead of it has ended waits for that one first.
  uint64_t workspace;
};

// Where an address lies in the struct.
struct AddressPatch {
  int32_t address;  // AttentionOperand or AttentionAddress
  int32_t byte_offset;
};

}  // namespace flashcore::kernels
