// SPDX-License-Identifier: Apache-2.0
//
// One program through NVRTC. How the library was found is load_nvrtc_library.cpp's business; which options make a
// compile hermetic is the jit room's.
#include "driver/nvrtc_library.hpp"

#include <pthread.h>

#include <csignal>

#include "driver/nvrtc_function_table.hpp"

namespace flashcore {
namespace {

class Program {
 public:
  explicit Program(const NvrtcFunctionTable &functions) : functions_(functions) {}
  Program(const Program &) = delete;
  Program &operator=(const Program &) = delete;
  ~Program() {
    if (program_ != nullptr) functions_.destroy_program(&program_);
  }
  nvrtcProgram get() const { return program_; }

  Status create(const std::string &name, const std::string &source, std::span<const NamedText> headers) {
    std::vector<std::string> names;
    std::vector<const char *> name_pointers, texts;
    names.reserve(headers.size());
    for (const NamedText &header : headers) {
      names.emplace_back(header.name);
      name_pointers.push_back(names.back().c_str());
      texts.push_back(header.text.data());
    }
    const nvrtcResult result = functions_.create_program(
        &program_, source.c_str(), name.c_str(), static_cast<int>(headers.size()), texts.data(), name_pointers.data());
    if (result == NVRTC_SUCCESS) return success();
    program_ = nullptr;
    return nvrtc_error(functions_, result, "nvrtcCreateProgram");
  }

  Result<std::string> log() const {
    size_t bytes = 0;
    nvrtcResult result = functions_.get_program_log_size(program_, &bytes);
    if (result != NVRTC_SUCCESS) return nvrtc_error(functions_, result, "nvrtcGetProgramLogSize");
    std::string text(bytes, '\0');
    if (bytes > 0) result = functions_.get_program_log(program_, text.data());
    if (result != NVRTC_SUCCESS) return nvrtc_error(functions_, result, "nvrtcGetProgramLog");
    while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.pop_back();
    return text;
  }

  Result<std::vector<uint8_t>> cubin() const {
    size_t bytes = 0;
    nvrtcResult result = functions_.get_cubin_size(program_, &bytes);
    if (result != NVRTC_SUCCESS) return nvrtc_error(functions_, result, "nvrtcGetCUBINSize");
    std::vector<uint8_t> cubin(bytes);
    if (bytes > 0) result = functions_.get_cubin(program_, reinterpret_cast<char *>(cubin.data()));
    if (result != NVRTC_SUCCESS) return nvrtc_error(functions_, result, "nvrtcGetCUBIN");
    return cubin;
  }

 private:
  const NvrtcFunctionTable &functions_;
  nvrtcProgram program_ = nullptr;
};

struct CompileJob {
  const NvrtcFunctionTable &functions;
  nvrtcProgram program;
  const std::vector<const char *> &options;
  nvrtcResult result = NVRTC_ERROR_INTERNAL_ERROR;
};

void *run_compile_job(void *argument) {
  auto &job = *static_cast<CompileJob *>(argument);
  job.result = job.functions.compile_program(job.program, static_cast<int>(job.options.size()), job.options.data());
  return nullptr;
}

// On a thread of its own: the compiler needs more stack than a caller's thread (a goroutine's, a Rust worker's) may
// have, and with --modify-stack-limit=false it takes what it finds. Signals stay with the caller's threads.
Status run_on_large_stack(CompileJob &job) {
  constexpr size_t stack_bytes = 16u << 20;
  pthread_attr_t attributes;
  sigset_t all_signals, previous_signals;
  pthread_t thread{};
  sigfillset(&all_signals);
  int failure = pthread_attr_init(&attributes);
  if (failure == 0) {
    failure = pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_sigmask(SIG_SETMASK, &all_signals, &previous_signals);
    if (failure == 0) failure = pthread_create(&thread, &attributes, &run_compile_job, &job);
    pthread_sigmask(SIG_SETMASK, &previous_signals, nullptr);
    pthread_attr_destroy(&attributes);
  }
  if (failure != 0)
    return Error{FLASHCORE_OUT_OF_HOST_MEMORY, "no thread with a stack of 16 MB could be made for NVRTC (errno " +
                                                   std::to_string(failure) +
                                                   "). Check the limits on threads and memory."};
  pthread_join(thread, nullptr);
  return success();
}

}  // namespace

const std::string &NvrtcLibrary::path() const { return path_; }
int32_t NvrtcLibrary::version() const { return version_; }
const std::string &NvrtcLibrary::compiler_id() const { return compiler_id_; }

Result<NvrtcOutput> NvrtcLibrary::compile(std::string_view program_name, std::string_view source,
                                          std::span<const NamedText> headers,
                                          std::span<const std::string> options) const {
  Program program(*functions_);
  FLASHCORE_TRY(program.create(std::string(program_name), std::string(source), headers));
  std::vector<const char *> option_pointers;
  for (const std::string &option : options) option_pointers.push_back(option.c_str());
  CompileJob job{*functions_, program.get(), option_pointers};
  FLASHCORE_TRY(run_on_large_stack(job));
  if (job.result == NVRTC_ERROR_OUT_OF_MEMORY) return nvrtc_error(*functions_, job.result, "nvrtcCompileProgram");

  NvrtcOutput output;
  output.nvrtc_result = static_cast<int32_t>(job.result);
  FLASHCORE_TRY_ASSIGN(output.log, program.log());
  if (job.result == NVRTC_ERROR_BUILTIN_OPERATION_FAILURE) {
    Error error = nvrtc_error(*functions_, job.result, "nvrtcCompileProgram");
    error.message +=
        " " + path_ + " cannot work without its companion libnvrtc-builtins, which belongs beside it: " + output.log;
    return error;
  }
  if (job.result != NVRTC_SUCCESS) {
    if (output.log.empty()) output.log = nvrtc_error(*functions_, job.result, "nvrtcCompileProgram").message;
    return output;
  }
  FLASHCORE_TRY_ASSIGN(output.cubin, program.cubin());
  output.compiled = !output.cubin.empty();
  if (!output.compiled)
    output.log += "NVRTC made no cubin: the architecture must be a real one (sm_89), not compute_89";
  return output;
}

Result<std::vector<int32_t>> NvrtcLibrary::supported_archs() const {
  int count = 0;
  nvrtcResult result = functions_->get_num_supported_archs(&count);
  if (result != NVRTC_SUCCESS) return nvrtc_error(*functions_, result, "nvrtcGetNumSupportedArchs");
  std::vector<int32_t> archs(static_cast<size_t>(count));
  result = functions_->get_supported_archs(archs.data());
  if (result != NVRTC_SUCCESS) return nvrtc_error(*functions_, result, "nvrtcGetSupportedArchs");
  return archs;
}

}  // namespace flashcore
