// SPDX-License-Identifier: Apache-2.0
#include "edited_kernel.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include "base/options.hpp"
#include "float16.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_call.hpp"
#include "runtime/gpu_device.hpp"
#include "runtime/tensor_maps.hpp"

namespace flashcore {
namespace {

constexpr int32_t heads = EditedProblem::heads, seqlen = EditedProblem::seqlen, head_dim = EditedProblem::head_dim;
constexpr size_t row_elements = size_t{heads} * head_dim;

kernels::ProblemKey problem_key() {
  kernels::ProblemKey key{
      1, seqlen, seqlen, heads, heads, head_dim, head_dim, kernels::dtype_float16, kernels::causal_none, 16, -1};
  key.kv_batches = key.batch;
  return key;
}

kernels::Specialization specialization_for_problem(const kernels::Passport &passport) {
  kernels::Specialization s{};
  for (int32_t i = 0; passport.specialization(i, &s); ++i)
    if (!is_attention(passport) || passport.serves(s, problem_key())) return s;
  return s;
}

// [row][head][column]
double element(const std::vector<uint16_t> &tensor, int32_t row, int32_t head, int32_t column) {
  return tools::float16_to_double(tensor[static_cast<size_t>((row * heads + head) * head_dim + column)]);
}

template <typename Element>
int64_t bytes_of(const std::vector<Element> &elements) {
  return static_cast<int64_t>(elements.size() * sizeof(Element));
}

Result<uint64_t> copy_to_gpu(const CudaDriver &driver, const void *source, int64_t bytes) {
  FLASHCORE_TRY_ASSIGN(const uint64_t address, driver.memory_alloc(bytes));
  FLASHCORE_TRY(driver.copy_to_device(address, source, bytes, nullptr));
  return address;
}

// The rows of a tensor where the table says, among rows of others, which are NaN.
std::vector<uint16_t> pool_of(const std::vector<int32_t> &table, const std::vector<uint16_t> &tensor) {
  if (table.empty()) return tensor;
  constexpr uint16_t nan = 0x7e00;
  std::vector<uint16_t> pool(EditedProblem::pool_rows * row_elements, nan);
  for (size_t row = 0; row < table.size(); ++row)
    std::memcpy(pool.data() + static_cast<size_t>(table[row]) * row_elements, tensor.data() + row * row_elements,
                row_elements * sizeof(uint16_t));
  return pool;
}

}  // namespace

Result<std::string> edited_text(const EditedKernel &edited, const std::string &file, std::string_view text) {
  std::string result(text);
  for (const Edit &edit : edited.edits) {
    if (file != edit.file) continue;
    const size_t at = result.find(edit.find);
    if (at == std::string::npos || result.find(edit.find, at + 1) != std::string::npos)
      return Error{FLASHCORE_INTERNAL, edited.name + ": \"" + edit.find + "\" is not there exactly once in " + file};
    result.replace(at, edit.find.size(), edit.replace);
  }
  return result;
}

Result<CompiledKernel> compile(const EditedKernel &edited, const std::string &arch) {
  const Environment environment = read_environment();
  FLASHCORE_TRY_ASSIGN(const NvrtcLibrary *nvrtc, NvrtcLibrary::load(environment.libnvrtc, environment.cuda_home));
  const KernelRow &row = kernel_table()[static_cast<size_t>(find_kernel(edited.kernel))];
  const std::string file = edited.kernel + ".cu";
  FLASHCORE_TRY_ASSIGN(const std::string source, edited_text(edited, file, row.source));
  std::vector<std::string> texts;
  std::vector<NamedText> headers = edited.further_headers;
  texts.reserve(kernel_headers().size() + 1);
  for (const EmbeddedHeader &header : kernel_headers()) {
    FLASHCORE_TRY_ASSIGN(texts.emplace_back(), edited_text(edited, std::string(header.name), header.text));
    headers.push_back({header.name, texts.back()});
  }
  texts.push_back(specialization_header(*row.passport, specialization_for_problem(*row.passport)));
  headers.push_back({"specialization.h", texts.back()});
  return compile_kernel(*nvrtc, {file, source, headers, arch});
}

EditedProblem make_problem() {
  return make_problem([](double score, int32_t, int32_t, int32_t) { return score; });
}

EditedProblem make_problem(const std::function<double(double, int32_t, int32_t, int32_t)> &change) {
  EditedProblem problem;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (auto *tensor : {&problem.query, &problem.key, &problem.value})
    for (size_t i = 0; i < seqlen * row_elements; ++i) tensor->push_back(tools::double_to_float16(normal(random)));
  for (int32_t i = 0; i < seqlen; ++i)
    for (int32_t head = 0; head < heads; ++head) {
      std::vector<double> p(seqlen);
      double sum = 0;
      for (int32_t j = 0; j < seqlen; ++j) {
        double product = 0;
        for (int32_t c = 0; c < head_dim; ++c)
          product += element(problem.query, i, head, c) * element(problem.key, j, head, c);
        sum += p[static_cast<size_t>(j)] = std::exp(change(product * EditedProblem::scale, head, i, j));
      }
      for (int32_t c = 0; c < head_dim; ++c) {
        double o = 0;
        for (int32_t j = 0; j < seqlen; ++j) o += p[static_cast<size_t>(j)] * element(problem.value, j, head, c);
        problem.expected.push_back(o / sum);
      }
    }
  return problem;
}

Result<double> largest_error(const EditedKernel &edited, Context &gpu_context, const EditedProblem &problem) {
  const auto &gpu = dynamic_cast<const GpuDevice &>(*gpu_context.device);
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(gpu));
  FLASHCORE_TRY_ASSIGN(const CompiledKernel compiled, compile(edited, module_archs(gpu.properties().arch).front()));
  const kernels::Passport &passport = *kernel_table()[static_cast<size_t>(find_kernel(edited.kernel))].passport;
  const kernels::Specialization specialization = specialization_for_problem(passport);
  const int64_t shared_bytes = passport.dynamic_shared_bytes(specialization) - edited.shared_bytes_taken;
  FLASHCORE_TRY_ASSIGN(const CudaModule module, gpu.driver().module_load(compiled.cubin.data()));
  FLASHCORE_TRY_ASSIGN(const CudaFunction function, gpu.driver().module_function(module, edited.kernel.c_str()));
  FLASHCORE_TRY(gpu.driver().set_max_dynamic_shared_bytes(function, static_cast<int32_t>(shared_bytes)));

  AttentionProblem attention;
  attention.key = problem_key();
  attention.softmax_scale = EditedProblem::scale;
  const std::vector<uint16_t> inputs[] = {problem.query, pool_of(problem.table, problem.key),
                                          pool_of(problem.table, problem.value), problem.query};
  ProblemTensor *tensors = attention.tensors.data();  // of query, key, value and output
  for (int32_t i = 0; i < 4; ++i) {
    FLASHCORE_TRY_ASSIGN(tensors[i].data, copy_to_gpu(gpu.driver(), inputs[i].data(), bytes_of(inputs[i])));
    tensors[i].stride_batch = int64_t{heads} * seqlen * head_dim;
    tensors[i].stride_row = heads * head_dim;
    tensors[i].stride_head = head_dim;
  }
  if (!problem.table.empty()) {
    FLASHCORE_TRY_ASSIGN(const uint64_t table,
                         copy_to_gpu(gpu.driver(), problem.table.data(), bytes_of(problem.table)));
    tensors[1].stride_batch = tensors[2].stride_batch = static_cast<int64_t>(table);
  }
  alignas(64) unsigned char params[kernels::most_parameter_bytes];
  passport.pack(specialization, attention.key, attention_call(attention), gpu.limits(), params);
  const uint64_t addresses[] = {tensors[0].data, tensors[1].data, tensors[2].data, tensors[3].data};
  FLASHCORE_TRY(TensorMaps(passport, specialization, attention).encode(gpu.driver(), addresses, params));
  const kernels::Launch launch = passport.plan(specialization, attention.key, gpu.limits()).main_stage();
  FLASHCORE_TRY(gpu.driver().launch(function,
                                    {{static_cast<uint32_t>(launch.grid.x), 1, 1},
                                     static_cast<uint32_t>(launch.threads),
                                     static_cast<uint32_t>(launch.dynamic_shared_bytes - edited.shared_bytes_taken)},
                                    nullptr, params));
  std::vector<uint16_t> output(seqlen * row_elements);
  FLASHCORE_TRY(gpu.driver().copy_to_host(output.data(), attention.output().data, bytes_of(output), nullptr));
  double worst = 0;
  for (size_t i = 0; i < output.size(); ++i) {
    const double difference = std::fabs(tools::float16_to_double(output[i]) - problem.expected[i]);
    worst = difference <= worst ? worst : std::isnan(difference) ? INFINITY : difference;
  }
  return worst;
}

Result<std::unique_ptr<Context>> open_gpu_context() {
  flashcore_context_options options{};
  options.struct_size = sizeof(options);
  options.device_kind = FLASHCORE_DEVICE_CUDA;
  return create_context(&options);
}

}  // namespace flashcore
