// SPDX-License-Identifier: Apache-2.0
//
// What flashcore.hpp costs beside the C call: nanoseconds of a warm call on the CPU device, with an empty batch, so
// that the library checks all arguments and computes nothing. C and C++ take turns; medians of many batches. `meson
// test
// --benchmark`; docs/BINDINGS.md holds figures, and the same for the other languages.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <flashcore/flashcore.hpp>
#include <vector>

namespace {

constexpr int calls = 2000, batches = 301;

template <typename Call>
double batch_ns(Call call) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i)
    if (!call()) throw flashcore::Exception({FLASHCORE_INTERNAL, "", "a call that was timed failed"});
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / calls;
}

double median(std::vector<double> &times) {
  std::nth_element(times.begin(), times.begin() + batches / 2, times.end());
  return times[batches / 2];
}

void measure(const flashcore::Context &context) {
  const std::vector<std::uint16_t> zeros(8);
  const auto data = or_throw(context.upload(zeros)), output = or_throw(context.upload(zeros));
  flashcore::AttentionArgs args;
  args.heads_q = 1, args.seqlen_q = 1, args.seqlen_kv = 1, args.head_dim = 8;
  args.causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.query.data = args.key.data = args.value.data = data.address();
  args.output.data = output.address();
  flashcore_error error = FLASHCORE_ERROR_INIT;
  std::vector<double> c_ns, cpp_ns;
  for (int batch = 0; batch < batches; ++batch) {
    c_ns.push_back(
        batch_ns([&] { return flashcore_attention_fwd(context.get(), &args, nullptr, &error) == FLASHCORE_OK; }));
    cpp_ns.push_back(batch_ns([&] { return context.attention(args).ok(); }));
  }
  std::printf("C call %.0f ns, C++ call %.0f ns\n", median(c_ns), median(cpp_ns));
}

}  // namespace

int main() {
  try {
    measure(or_throw(flashcore::Context::open(flashcore::Options::cpu(1))));
    return 0;
  } catch (const flashcore::Exception &exception) {
    std::fprintf(stderr, "%s: %s\n", exception.error().name(), exception.what());
    return 1;
  }
}
