// SPDX-License-Identifier: Apache-2.0
//
// The example of README.md in C++17; the same problem stands beside it in C, Rust, Go and Python.
//
//     c++ -std=c++17 ten_lines.cpp $(pkg-config --cflags --libs flashcore) && ./a.out [auto|cpu|cuda]
//
// Errors are values; or_throw makes exceptions of them. All keys are zero, so every key gets the same weight and every
// output is the mean of the values 0, 1, 2, 3: 1.5.
#include <algorithm>
#include <cstdio>
#include <flashcore/flashcore.hpp>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t heads = 8, seqlen = 512, head_dim = 64, elements = heads * seqlen * head_dim;

int run(const flashcore::Options &options) {
  constexpr std::uint16_t float16_of[] = {0x0000, 0x3c00, 0x4000, 0x4200};  // 0, 1, 2, 3
  std::vector<std::uint16_t> query_host(elements, float16_of[1]), key_host(elements), value_host(elements),
      result(elements);
  for (std::size_t i = 0; i < elements; ++i)
    value_host[i] = float16_of[i / (heads * head_dim) % 4];  // by sequence position

  // [ten lines]
  const auto context = or_throw(flashcore::Context::open(options));
  const auto query = or_throw(context.upload(query_host)), key = or_throw(context.upload(key_host));
  const auto value = or_throw(context.upload(value_host)), output = or_throw(context.allocate(query.bytes()));
  flashcore::AttentionArgs args;
  args.batch = 1, args.heads_q = 8, args.seqlen_q = 512, args.seqlen_kv = 512, args.head_dim = 64;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;  // of key, value and output too; strides of 0: contiguous
  args.query.data = query.address(), args.key.data = key.address();
  args.value.data = value.address(), args.output.data = output.address();
  or_throw(context.attention(args));  // on the default stream
  or_throw(output.download(result));
  std::printf("output[0] is 0x%04x, 1.5 is 0x3e00\n", result[0]);
  // [end]

  const auto right = std::count(result.begin(), result.end(), std::uint16_t{0x3e00});
  if (right != static_cast<std::ptrdiff_t>(elements))
    std::fprintf(stderr, "only %td of %zu elements are 1.5\n", right, elements);
  return right == static_cast<std::ptrdiff_t>(elements) ? 0 : 1;
}

}  // namespace

// auto: the first usable GPU, else the CPU. cuda: a GPU or an error.
int main(int argc, char **argv) {
  const std::string_view device = argc > 1 ? argv[1] : "auto";
  if (argc > 2 || (device != "auto" && device != "cpu" && device != "cuda")) {
    std::fprintf(stderr, "the device is \"%s\"; usage: ten_lines [auto|cpu|cuda]\n", device.data());
    return 2;
  }
  try {
    return run(device == "cpu"    ? flashcore::Options::cpu()
               : device == "cuda" ? flashcore::Options::cuda()
                                  : flashcore::Options());
  } catch (const flashcore::Exception &exception) {
    std::fprintf(stderr, "%s: %s\n", exception.error().name(), exception.what());
    return 1;
  }
}
