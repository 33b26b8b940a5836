// SPDX-License-Identifier: Apache-2.0
//
// Attention with a few lines of one's own: each head sees every fourth key, from another one on.
//
//     c++ -std=c++17 04_variant.cpp $(pkg-config --cflags --libs flashcore) && ./a.out [auto|cpu|cuda]
//
// All keys are zero, so that each head's output is the mean of the values that it sees, which are all the same. The text is compiled by NVRTC,
// and on the CPU device by the machine's C++ compiler; where there is none, the program says so and ends with 77.
#include <array>
#include <cstdio>
#include <flashcore/flashcore.hpp>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t heads = 4, seqlen = 128, head_dim = 64, elements = heads * seqlen * head_dim;
constexpr std::uint16_t float16_of[] = {0x0000, 0x3c00, 0x4000, 0x4200};  // 0, 1, 2, 3

int run(const flashcore::Options &options) {
  const auto context = or_throw(flashcore::Context::open(options));
  std::vector<std::uint16_t> zeros(elements), values(elements), result(elements);
  for (std::size_t i = 0; i < elements; ++i) values[i] = float16_of[i / (heads * head_dim) % 4];
  const auto query = or_throw(context.upload(zeros)), value = or_throw(context.upload(values));
  const auto output = or_throw(context.allocate(query.bytes()));
  flashcore::AttentionArgs args;
  args.batch = 1, args.heads_q = heads, args.seqlen_q = args.seqlen_kv = seqlen, args.head_dim = head_dim;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.query.data = args.key.data = query.address();
  args.value.data = value.address(), args.output.data = output.address();

  // [variant]
  const std::array<std::int32_t, heads> first_keys = {3, 1, 0, 2};
  const auto params = or_throw(context.upload(first_keys));
  constexpr const char *text = R"(
      bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const int32_t *params) {
        return key % 4 == params[head];
      })";
  const auto every_fourth = or_throw(context.create_variant(text, params.bytes()));
  args.variant = every_fourth.id(), args.variant_params = params.address();
  or_throw(context.attention(args));  // the first call of a shape compiles
  // [end]

  or_throw(output.download(result));
  for (std::size_t head = 0; head < heads; ++head) {
    const std::uint16_t mean = result[head * head_dim], right = float16_of[first_keys[head]];
    std::printf("head %zu: 0x%04x\n", head, mean);
    if (mean != right) return std::fprintf(stderr, "it should be 0x%04x\n", right), 1;
  }
  return 0;
}

}  // namespace

// auto: the first usable GPU, else the CPU. cuda: a GPU or an error.
int main(int argc, char **argv) {
  if (argc > 2) return std::fprintf(stderr, "usage: 04_variant [auto|cpu|cuda]\n"), 2;
  const std::string_view device = argc > 1 ? argv[1] : "auto";
  if (device != "auto" && device != "cpu" && device != "cuda") {
    std::fprintf(stderr, "the device is \"%s\"; usage: 04_variant [auto|cpu|cuda]\n", argv[1]);
    return 2;
  }
  try {
    return run(device == "cpu"    ? flashcore::Options::cpu()
               : device == "cuda" ? flashcore::Options::cuda()
                                  : flashcore::Options());
  } catch (const flashcore::Exception &exception) {
    std::fprintf(stderr, "%s: %s\n", exception.error().name(), exception.what());
    const auto status = exception.error().status();
    return status == FLASHCORE_UNSUPPORTED || status == FLASHCORE_COMPILER_UNAVAILABLE ? 77 : 1;
  }
}
