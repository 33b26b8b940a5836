// SPDX-License-Identifier: Apache-2.0
//
// Documents packed into one sequence, of which none sees another. params: for each query, the keys begin .. end - 1 of its document. Tiles
// of other documents are not read.
KeyRange key_range(int32_t batch, int32_t head, int32_t query, const KeyRange *params) { return params[query]; }
