// SPDX-License-Identifier: Apache-2.0
//
// Tables of tuned rows, as fc-tune reads back what it wrote.
#include "fuzz_target.hpp"
#include "tune.hpp"

namespace tools = flashcore::tools;

std::vector<fuzz::Bytes> fuzz::seeds() {
  tools::Row row;
  row.dtype = "fp16", row.causal = "none", row.head_dim = row.head_dim_v = 64;
  row.batch_heads = {6, 11}, row.seqlen_q = {362, 724}, row.seqlen_kv = {512, 512};
  row.module = "sm80_fwd_mma-fp16-d64-128x64-w4", row.measured_us = 4, row.default_us = 5.25;
  tools::Row other = row;
  other.dtype = "bf16", other.causal = "causal", other.module = "sm80_fwd_mma-bf16-d64-causal-128x64-w4";
  return {bytes_of(tools::table_text({})), bytes_of(tools::table_text({row})),
          bytes_of(tools::table_text({row, other})), bytes_of(tools::table_text({row, row}))};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const auto read = tools::parse_table(fuzz::text_of(data, size), "t.tsv");
  if (!read.ok()) {
    FUZZ_PROMISE(read.failure().message.starts_with("t.tsv"));
    return 0;
  }
  const std::string text = tools::table_text(read.value());
  const auto again = tools::parse_table(text, "t.tsv");
  FUZZ_PROMISE(again.ok() && tools::table_text(again.value()) == text);
  for (size_t i = 0; i < read.value().size(); ++i)
    for (size_t j = 0; j < i; ++j) FUZZ_PROMISE(!tools::overlap(read.value()[i], read.value()[j]));
  return 0;
}
