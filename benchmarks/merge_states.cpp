// SPDX-License-Identifier: Apache-2.0
//
// How fast states are merged on a GPU: microseconds of a merge, and the bytes that it has to read and write in that time. Medians of rounds
// of launches between two events. `meson test --benchmark merge_states`, or the program alone; without a GPU it says so and ends.
#include <algorithm>
#include <cstdio>
#include <flashcore/flashcore.hpp>
#include <vector>

namespace {

constexpr int launches = 20, rounds = 31;

struct Shape {
  int64_t batch, seqlen_q;
  int32_t heads_q, head_dim_v, states;
};
struct Types {
  const char *name;
  int32_t states, output;
};

int64_t bytes_of(int32_t dtype) { return dtype == FLASHCORE_DTYPE_FLOAT32 ? 4 : 2; }

void measure(const flashcore::Context &context, const Shape &shape, const Types &types) {
  const int64_t rows = shape.batch * shape.seqlen_q * shape.heads_q, elements = rows * shape.head_dim_v;
  const int64_t state_bytes = elements * bytes_of(types.states), output_bytes = elements * bytes_of(types.output);
  const auto states = or_throw(context.allocate(shape.states * state_bytes)),
             logarithms = or_throw(context.allocate(shape.states * rows * 4)),
             output = or_throw(context.allocate(output_bytes)), lse = or_throw(context.allocate(rows * 4));
  or_throw(states.fill(0));  // numbers, and equal weights
  or_throw(logarithms.fill(0));
  flashcore::MergeStatesArgs args;
  args.state_count = shape.states;
  args.batch = shape.batch, args.seqlen_q = shape.seqlen_q;
  args.heads_q = shape.heads_q, args.head_dim_v = shape.head_dim_v;
  args.output_states.dtype = types.states, args.output.dtype = types.output;
  args.output_states.data = states.address(), args.lse_states.data = logarithms.address();
  args.output.data = output.address(), args.lse.data = lse.address();
  or_throw(context.prepare(args));
  const auto stream = or_throw(context.create_stream());
  const auto start = or_throw(context.create_event()), end = or_throw(context.create_event());
  or_throw(context.synchronize());
  std::vector<double> times_us;
  for (int round = 0; round < rounds; ++round) {
    or_throw(start.record(stream));
    for (int i = 0; i < launches; ++i) or_throw(context.merge_states(args, stream));
    or_throw(end.record(stream));
    or_throw(end.synchronize());
    times_us.push_back(or_throw(end.elapsed_us_since(start)) / launches);
  }
  std::nth_element(times_us.begin(), times_us.begin() + rounds / 2, times_us.end());
  const double us = times_us[rounds / 2];
  const auto moved = static_cast<double>(shape.states * (state_bytes + rows * 4) + output_bytes + rows * 4);
  std::printf("%-12s %2d states, %lld x %lld rows of %d heads of %d: %9.1f us, %7.1f MB, %7.0f GB/s\n", types.name,
              shape.states, static_cast<long long>(shape.batch), static_cast<long long>(shape.seqlen_q), shape.heads_q,
              shape.head_dim_v, us, moved / 1e6, moved / us / 1e3);
}

}  // namespace

int main() {
  const auto count = flashcore::device_count();
  if (!count || count.value() == 0) {
    std::printf("skipped: no GPU\n");
    return 77;
  }
  const auto context = or_throw(flashcore::Context::open(flashcore::Options::cuda()));
  const Types types[] = {{"fp16", FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_FLOAT16},
                         {"bf16 to fp32", FLASHCORE_DTYPE_BFLOAT16, FLASHCORE_DTYPE_FLOAT32},
                         {"fp32", FLASHCORE_DTYPE_FLOAT32, FLASHCORE_DTYPE_FLOAT32}};
  const Shape shapes[] = {{4, 4096, 32, 128, 2}, {4, 4096, 32, 128, 4}, {4, 4096, 32, 128, 8}, {4, 4096, 64, 64, 4},
                          {4, 4096, 32, 80, 4},  {64, 1, 32, 128, 8},   {1, 1, 32, 128, 64}};
  for (const Types &one : types)
    for (const Shape &shape : shapes) measure(context, shape, one);
  return 0;
}
