// SPDX-License-Identifier: Apache-2.0
//
// Kernels with one deliberate mistake each, made by editing the product's own source: nothing broken is ever shipped, and
// an edit that no longer finds its place fails the test.
//
//   broken_kernels --check       every edit applies and compiles; with a GPU, every wrong answer is seen to be wrong
//   broken_kernels NAME          run one on the GPU and print its error beside float64 (under compute-sanitizer, say)
//   broken_kernels --list
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "float16.hpp"
#include "jit/kernel_compiler.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_call.hpp"
#include "runtime/context.hpp"
#include "runtime/gpu_device.hpp"

using namespace flashcore;

namespace {

struct Edit {
  const char *file;  // the kernel's own file name, or the name of a header in kernels/
  const char *find;  // must occur exactly once
  const char *replace;
};

struct Broken {
  const char *name;
  const char *kernel;
  const char *lesson;
  std::vector<Edit> edits;
  bool wrong_answer;               // the error is far above the gate; false: it may be right by luck
  int64_t shared_bytes_taken = 0;  // launch with this much less dynamic shared memory than the layout needs
};

const std::vector<Broken> &variants() {
  static const std::vector<Broken> list = {
      {"unmasked_tail",
       "fwd_wmma_64x64_async",
       "keys past seqlen_kv take part with score 0",
       {{"contract/visibility.h", "held((mask.end_moves && band.end < keys ? band.end : keys) - first_key)", "count"}},
       true},
      {"wrong_layout",
       "fwd_wmma_64x64_async",
       "K is read as if it were stored transposed",
       {{"parts/wmma_attention.cuh", "wmma_load_b_transposed(key,", "wmma_load_b(key,"}},
       true},
      {"missing_rescale",
       "fwd_wmma_64x64_async",
       "O stays behind when the row maximum moves",
       {{"parts/wmma_attention.cuh",
         "*output = make_float4(o.x * rescale, o.y * rescale, o.z * rescale, o.w * rescale);", "*output = o;"}},
       true},
      {"missing_barrier",
       "fwd_wmma_64x64_async",
       "the next copy lands in a stage that a slow warp still reads",
       {{"fwd_wmma_64x64_async.cu", "attention.multiply_probability_value(at.value_of(n));\n    __syncthreads();",
         "attention.multiply_probability_value(at.value_of(n));"}},
       false},
      {"missing_wait",
       "fwd_wmma_64x64_async",
       "the wait lets the group that is needed now stay under way",
       {{"fwd_wmma_64x64_async.cu", "copy_async_wait<1>();", "copy_async_wait<2>();"}},
       false},
      {"overrun",
       "fwd_wmma_64x64_async",
       "the launch asks for less shared memory than the layout uses",
       {},
       false,
       8192},
  };
  return list;
}

Result<std::string> apply(const Broken &broken, const std::string &file, std::string_view text) {
  std::string edited(text);
  for (const Edit &edit : broken.edits) {
    if (file != edit.file) continue;
    const size_t at = edited.find(edit.find);
    if (at == std::string::npos || edited.find(edit.find, at + 1) != std::string::npos)
      return Error{FLASHCORE_INTERNAL,
                   std::string(broken.name) + ": \"" + edit.find + "\" is not there exactly once in " + file};
    edited.replace(at, std::strlen(edit.find), edit.replace);
  }
  return edited;
}

// The first aligned float16 specialization without a causal mask.
kernels::Specialization plain_specialization(const kernels::Passport &passport) {
  kernels::Specialization s{};
  for (int32_t i = 0; passport.specialization(i, &s); ++i)
    if (passport.value(s, "dtype", 0) == kernels::dtype_float16 && passport.value(s, "causal", 0) == 0) return s;
  return s;
}

Result<CompiledKernel> compile(const Broken &broken, const std::string &arch) {
  const Environment environment = read_environment();
  FLASHCORE_TRY_ASSIGN(const NvrtcLibrary *nvrtc, NvrtcLibrary::load(environment.libnvrtc, environment.cuda_home));
  const KernelRow &row = kernel_table()[static_cast<size_t>(find_kernel(broken.kernel))];
  const std::string file = std::string(broken.kernel) + ".cu";
  FLASHCORE_TRY_ASSIGN(const std::string source, apply(broken, file, row.source));
  std::vector<std::string> texts;
  std::vector<NamedText> headers;
  texts.reserve(kernel_headers().size() + 1);
  for (const EmbeddedHeader &header : kernel_headers()) {
    FLASHCORE_TRY_ASSIGN(texts.emplace_back(), apply(broken, std::string(header.name), header.text));
    headers.push_back({header.name, texts.back()});
  }
  texts.push_back(specialization_header(*row.passport, plain_specialization(*row.passport)));
  headers.push_back({"specialization.h", texts.back()});
  return compile_kernel(*nvrtc, {file, source, headers, arch});
}

constexpr int32_t heads = 4, seqlen = 457, head_dim = 64;  // 457 = 7 tiles of 64 and 9 rows

struct Problem {
  std::vector<uint16_t> query, key, value;
  std::vector<double> expected;  // [row][column], head 0
};

Problem make_problem() {
  Problem problem;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (auto *tensor : {&problem.query, &problem.key, &problem.value})
    for (int32_t i = 0; i < heads * seqlen * head_dim; ++i) tensor->push_back(tools::double_to_float16(normal(random)));
  const auto at = [](const std::vector<uint16_t> &tensor, int32_t row, int32_t column) {
    return tools::float16_to_double(tensor[static_cast<size_t>((row * heads) * head_dim + column)]);
  };
  for (int32_t i = 0; i < seqlen; ++i) {
    std::vector<double> p(seqlen);
    double sum = 0;
    for (int32_t j = 0; j < seqlen; ++j) {
      double score = 0;
      for (int32_t c = 0; c < head_dim; ++c) score += at(problem.query, i, c) * at(problem.key, j, c);
      sum += p[j] = std::exp(score / std::sqrt(static_cast<double>(head_dim)));
    }
    for (int32_t c = 0; c < head_dim; ++c) {
      double o = 0;
      for (int32_t j = 0; j < seqlen; ++j) o += p[j] * at(problem.value, j, c);
      problem.expected.push_back(o / sum);
    }
  }
  return problem;
}

// Largest difference to float64 over head 0; NaN counts as infinite.
Result<double> run(const Broken &broken, Context &context, const Problem &problem) {
  const auto &gpu = dynamic_cast<const GpuDevice &>(*context.device);
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(gpu));
  FLASHCORE_TRY_ASSIGN(const CompiledKernel compiled, compile(broken, module_archs(gpu.properties().arch).front()));
  const kernels::Passport &passport = *kernel_table()[static_cast<size_t>(find_kernel(broken.kernel))].passport;
  const kernels::Specialization specialization = plain_specialization(passport);
  const int64_t shared_bytes = passport.dynamic_shared_bytes(specialization) - broken.shared_bytes_taken;
  FLASHCORE_TRY_ASSIGN(const CudaModule module, gpu.driver().module_load(compiled.cubin.data()));
  FLASHCORE_TRY_ASSIGN(const CudaFunction function, gpu.driver().module_function(module, broken.kernel));
  FLASHCORE_TRY(gpu.driver().set_max_dynamic_shared_bytes(function, static_cast<int32_t>(shared_bytes)));

  AttentionProblem attention;
  attention.key = {1,  seqlen, seqlen, heads, heads, head_dim, head_dim, kernels::dtype_float16, kernels::causal_none,
                   16, -1};
  attention.softmax_scale = 1.0f / 8.0f;
  const int64_t bytes = int64_t{heads} * seqlen * head_dim * 2;
  ProblemTensor *tensors = attention.tensors.data();  // of query, key, value and output
  const std::vector<uint16_t> *inputs[] = {&problem.query, &problem.key, &problem.value};
  for (int32_t i = 0; i < 4; ++i) {
    FLASHCORE_TRY_ASSIGN(tensors[i].data, gpu.driver().memory_alloc(bytes));
    tensors[i].stride_batch = int64_t{heads} * seqlen * head_dim;
    tensors[i].stride_row = heads * head_dim;
    tensors[i].stride_head = head_dim;
    if (i < 3) FLASHCORE_TRY(gpu.driver().copy_to_device(tensors[i].data, inputs[i]->data(), bytes, nullptr));
  }
  alignas(64) unsigned char params[kernels::most_parameter_bytes];
  passport.pack(specialization, attention.key, attention_call(attention), gpu.limits(), params);
  const kernels::Launch launch = passport.plan(specialization, attention.key, gpu.limits()).main_stage();
  FLASHCORE_TRY(gpu.driver().launch(function,
                                    {{static_cast<uint32_t>(launch.grid.x), 1, 1},
                                     static_cast<uint32_t>(launch.threads),
                                     static_cast<uint32_t>(launch.dynamic_shared_bytes - broken.shared_bytes_taken)},
                                    nullptr, params));
  std::vector<uint16_t> output(static_cast<size_t>(bytes / 2));
  FLASHCORE_TRY(gpu.driver().copy_to_host(output.data(), attention.output().data, bytes, nullptr));
  double worst = 0;
  for (int32_t i = 0; i < seqlen; ++i)
    for (int32_t c = 0; c < head_dim; ++c) {
      const double o = tools::float16_to_double(output[static_cast<size_t>(i * heads * head_dim + c)]);
      const double difference = std::fabs(o - problem.expected[static_cast<size_t>(i * head_dim + c)]);
      worst = difference <= worst ? worst : std::isnan(difference) ? INFINITY : difference;
    }
  return worst;
}

Result<std::unique_ptr<Context>> open_context() {
  flashcore_context_options options{};
  options.struct_size = sizeof(options);
  options.device_kind = FLASHCORE_DEVICE_CUDA;
  return create_context(&options);
}

int32_t check_all() {
  constexpr double gate = 1e-3;
  const Environment environment = read_environment();
  if (const auto nvrtc = NvrtcLibrary::load(environment.libnvrtc, environment.cuda_home); !nvrtc.ok()) {
    std::printf("skipped: %s\n", nvrtc.error().message.c_str());
    return 77;
  }
  int32_t failures = 0;
  for (const Broken &broken : variants()) {
    const auto compiled = compile(broken, "sm_89");
    std::printf("%-16s %s\n", broken.name, compiled.ok() ? "compiles" : compiled.error().message.c_str());
    failures += compiled.ok() ? 0 : 1;
  }
  const auto context = open_context();
  if (!context.ok()) {
    std::printf("not run on a GPU: %s\n", context.error().message.c_str());
    return failures == 0 ? 0 : 1;
  }
  const Problem problem = make_problem();
  for (const Broken &broken : variants()) {
    if (!broken.wrong_answer) continue;
    const auto error = run(broken, *context.value(), problem);
    std::printf("%-16s error %.3g: %s\n", broken.name, error.ok() ? error.value() : NAN, broken.lesson);
    failures += error.ok() && error.value() > 10 * gate ? 0 : 1;
  }
  return failures == 0 ? 0 : 1;
}

int32_t run_one(const std::string &name) {
  for (const Broken &broken : variants()) {
    if (name != broken.name) continue;
    const auto context = open_context();
    if (!context.ok()) {
      std::fprintf(stderr, "%s\n", context.error().message.c_str());
      return 3;
    }
    const auto error = run(broken, *context.value(), make_problem());
    if (!error.ok()) {
      std::printf("%s: %s\n", broken.name, error.error().message.c_str());
      return 1;
    }
    std::printf("%s: largest error %.4g beside float64 (%s)\n", broken.name, error.value(), broken.lesson);
    return 0;
  }
  std::fprintf(stderr, "no broken kernel is called %s; --list shows them\n", name.c_str());
  return 2;
}

}  // namespace

int main(int argc, char **argv) {
  const std::string argument = argc == 2 ? argv[1] : "";
  if (argument == "--list") {
    for (const Broken &broken : variants()) std::printf("%-16s %s: %s\n", broken.name, broken.kernel, broken.lesson);
    return 0;
  }
  if (argument == "--check") return check_all();
  if (!argument.empty()) return run_one(argument);
  std::fprintf(stderr, "usage: broken_kernels --check | --list | NAME\n");
  return 2;
}
