// SPDX-License-Identifier: Apache-2.0
//
// flashcore.hpp in a program that has neither exceptions nor run-time type information: the simple path, and that
// using what is closed, moved from or failed is an error. Prints TAP.
#include <cstdio>
#include <flashcore/flashcore.hpp>
#include <utility>
#include <vector>

#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "this test is about a program without exceptions and RTTI"
#endif

namespace {

int cases = 0, failures = 0;

void report(bool ok, const char *name) {
  failures += !ok;
  std::printf("%s %d - %s\n", ok ? "ok" : "not ok", ++cases, name);
}

bool computes(const flashcore::Context &context) {
  const std::vector<std::uint16_t> ones(16, 0x3c00), zeros(16);
  std::vector<std::uint16_t> read(16);
  flashcore::Result<flashcore::Buffer> query = context.upload(ones), key = context.upload(zeros),
                                       output = context.upload(zeros);
  if (!query || !key || !output) return false;
  flashcore::AttentionArgs args;
  args.batch = 1, args.heads_q = 1, args.seqlen_q = 2, args.seqlen_kv = 2, args.head_dim = 8;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.query.data = args.value.data = query->address();
  args.key.data = key->address();
  args.output.data = output->address();
  return context.attention(args).ok() && output->download(read).ok() && read == ones;
}

}  // namespace

int main() {
  flashcore::Result<flashcore::Context> opened = flashcore::Context::open(flashcore::Options::cpu(1));
  report(opened.ok(), "the CPU device opens");
  flashcore::Context context = std::move(opened).value();
  report(computes(context), "attention of ones over equal keys is one");
  report(!opened->is_open() && opened->describe().error().status() == FLASHCORE_INVALID_ARGUMENT,
         "a context that was moved from is refused");

  flashcore::Options wrong;
  wrong.device_kind = 99;
  flashcore::Result<flashcore::Context> failed = flashcore::Context::open(wrong);
  report(!failed && failed.error().field()[0] != '\0' && !failed.value().allocate(16).ok(),
         "the value of a failure is empty, and refused");

  flashcore::Buffer buffer = context.allocate(16).value();
  context.close();
  report(buffer.fill(1).ok() && !context.allocate(16).ok(), "a closed context is refused, its buffer is not");
  report(buffer.close().ok() && !buffer.fill(1).ok(), "a closed buffer is refused");
  std::printf("1..%d\n", cases);
  return failures == 0 ? 0 : 1;
}
