// SPDX-License-Identifier: Apache-2.0
//
// Kernels with one deliberate mistake each, made by editing the product's own source: nothing broken is ever shipped, and
// an edit that no longer finds its place fails the test.
//
//   broken_kernels --check       every edit applies and compiles; with a GPU, every wrong answer is seen to be wrong
//   broken_kernels NAME          run one on the GPU and print its error beside float64 (under compute-sanitizer, say)
//   broken_kernels --list
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "broken_list.hpp"
#include "plan/kernel_table.hpp"
#include "runtime/module_builder.hpp"

using namespace flashcore;

namespace {

int32_t check_all() {
  constexpr double gate = 1e-3;
  const Environment environment = read_environment();
  if (const auto nvrtc = NvrtcLibrary::load(environment.libnvrtc, environment.cuda_home); !nvrtc.ok()) {
    std::printf("skipped: %s\n", nvrtc.error().message.c_str());
    return 77;
  }
  int32_t failures = 0;
  for (const Broken &broken : broken_kernels()) {
    const kernels::Passport &passport = passport_at(find_kernel(broken.kernel));
    const auto compiled = compile(edited(broken), module_archs(std::max(89, passport.minimum_arch)).front());
    std::printf("%-24s %s\n", broken.name, compiled.ok() ? "compiles" : compiled.error().message.c_str());
    failures += compiled.ok() ? 0 : 1;
  }
  const auto context = open_gpu_context();
  if (!context.ok()) {
    std::printf("not run on a GPU: %s\n", context.error().message.c_str());
    return failures == 0 ? 0 : 1;
  }
  const EditedProblem problem = make_problem();
  for (const Broken &broken : broken_kernels()) {
    if (!broken.wrong_answer) continue;
    const auto error = largest_error(edited(broken), *context.value(), problem);
    std::printf("%-24s error %.3g: %s\n", broken.name, error.ok() ? error.value() : NAN, broken.lesson);
    failures += error.ok() && error.value() > 10 * gate ? 0 : 1;
  }
  return failures == 0 ? 0 : 1;
}

int32_t run_one(const std::string &name) {
  for (const Broken &broken : broken_kernels()) {
    if (name != broken.name) continue;
    if (!is_attention(passport_at(find_kernel(broken.kernel)))) {
      std::fprintf(stderr, "%s computes no attention; a test of tests/emulator runs it\n", broken.name);
      return 2;
    }
    const auto context = open_gpu_context();
    if (!context.ok()) {
      std::fprintf(stderr, "%s\n", context.error().message.c_str());
      return 3;
    }
    const auto error = largest_error(edited(broken), *context.value(), make_problem());
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
    for (const Broken &broken : broken_kernels())
      std::printf("%-24s %s: %s\n", broken.name, broken.kernel, broken.lesson);
    return 0;
  }
  if (argument == "--check") return check_all();
  if (!argument.empty()) return run_one(argument);
  std::fprintf(stderr, "usage: broken_kernels --check | --list | NAME\n");
  return 2;
}
