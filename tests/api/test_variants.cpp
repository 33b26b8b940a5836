// SPDX-License-Identifier: Apache-2.0
//
// Variants through the public interface, on the stand-in driver with the real compiler: faults in the user's own lines, what is compiled and
// how often, what threads and processes share, and what becomes of a call when its variant goes.
#define BOOST_TEST_MODULE variants
#include <sys/stat.h>
#include <boost/test/unit_test.hpp>

#include <cstring>
#include <fstream>
#include <thread>

#include "gpu_fixture.hpp"

using boost::unit_test::precondition;

namespace {

const std::string shift =
    "float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {\n"
    "  return score + params[head];\n}\n";
const std::string odd_keys =
    "bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) { return key % 2 != 0; }";

std::string create(flashcore_context context, const std::string &text, uint64_t *variant, int64_t params_bytes = 64) {
  flashcore_variant_options options = FLASHCORE_VARIANT_OPTIONS_INIT;
  options.params_bytes = params_bytes;
  flashcore_error error = fresh_error();
  const flashcore_status status =
      flashcore_variant_create(context, text.data(), static_cast<int64_t>(text.size()), &options, variant, &error);
  return status == FLASHCORE_OK ? "OK" : describe(status, error);
}
uint64_t made(flashcore_context context, const std::string &text, int64_t params_bytes = 64) {
  uint64_t variant = 0;
  if (const std::string said = create(context, text, &variant, params_bytes); said != "OK")
    throw std::runtime_error(said);
  return variant;
}
std::string destroy(flashcore_context context, uint64_t variant) {
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_variant_destroy(context, variant, &error);
  return status == FLASHCORE_OK ? "OK" : describe(status, error);
}

// The small problem with a variant, whose block lies where the queries do.
struct VariantProblem : GpuProblem {
  VariantProblem(flashcore_context context, uint64_t variant, const char *kernel = "")
      : GpuProblem(context, small_args(kernel)) {
    args.variant = variant;
    args.variant_params = args.query.data;
  }
};

std::string explain(const VariantProblem &problem) {
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_attention_explain(problem.context, &problem.args, &explanation, &error);
  return status == FLASHCORE_OK ? explanation.module : describe(status, error);
}

flashcore_context_info info_of(flashcore_context context) {
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  if (flashcore_context_describe(context, &info, nullptr) != FLASHCORE_OK) throw std::runtime_error("no context");
  return info;
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

// Ahead of all that starts CUDA in this process.
BOOST_AUTO_TEST_SUITE(processes, *precondition(modules_exist))

BOOST_AUTO_TEST_CASE(a_text_is_compiled_once_and_found_by_the_next_process) {
  const auto run = [](const std::string &text) {
    return run_in_child([text] {
             GpuContext context(FLASHCORE_JIT_ALLOWED);
             const VariantProblem problem(context.handle, made(context.handle, text));
             const std::string first = problem.forward(), second = problem.forward();
             const flashcore_context_info info = info_of(context.handle);
             return first + " " + second + " compiled " + std::to_string(info.modules_compiled) + ", cached " +
                    std::to_string(info.modules_from_user_cache);
           })
        .text;
  };
  const std::string text = shift + "// of this test\n";
  BOOST_TEST(run(text) == "OK OK compiled 1, cached 0");
  BOOST_TEST(run(text) == "OK OK compiled 0, cached 1");
  BOOST_TEST(run(text + "\n") == "OK OK compiled 1, cached 0");
}

BOOST_AUTO_TEST_CASE(threads_that_race_for_a_text_compile_it_once) {
  const ChildResult child = run_in_child([] {
    GpuContext context(FLASHCORE_JIT_ALLOWED);
    const uint64_t variant = made(context.handle, shift + "// raced for\n");
    std::string said[4];
    {
      std::vector<std::jthread> threads;
      for (std::string &text : said)
        threads.emplace_back([&] {
          const VariantProblem problem(context.handle, variant);
          text = problem.forward();
        });
    }
    return said[0] + said[1] + said[2] + said[3] + " compiled " +
           std::to_string(info_of(context.handle).modules_compiled);
  });
  BOOST_TEST(child.text == "OKOKOKOK compiled 1");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_CASE(arguments_are_checked) {
  const Books books;
  GpuContext context;
  uint64_t variant = 7;
  CHECK_TEXT(create(context.handle, "int x;", &variant), "INVALID_ARGUMENT 0 [text] text defines no function");
  BOOST_TEST(variant == 0u);
  CHECK_TEXT(create(context.handle, shift, &variant, 12), "INVALID_ARGUMENT 0 [params_bytes] params_bytes is 12");
  BOOST_TEST(flashcore_variant_create(context.handle, nullptr, 0, nullptr, &variant, nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_variant_create(context.handle, shift.c_str(), 0, nullptr, nullptr, nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_variant_create(context.handle, shift.c_str(), -1, nullptr, &variant, nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(flashcore_variant_create(nullptr, shift.c_str(), 0, nullptr, &variant, nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  flashcore_variant_options options = FLASHCORE_VARIANT_OPTIONS_INIT;
  options.reserved = 1;
  BOOST_TEST(flashcore_variant_create(context.handle, shift.c_str(), 0, &options, &variant, nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  options = {.struct_size = 4, .reserved = 0, .params_bytes = 0};
  BOOST_TEST(flashcore_variant_create(context.handle, shift.c_str(), 0, &options, &variant, nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  // Up to its zero.
  BOOST_TEST(flashcore_variant_create(context.handle, shift.c_str(), 0, nullptr, &variant, nullptr) == FLASHCORE_OK);
  BOOST_TEST(destroy(context.handle, variant) == "OK");
  BOOST_TEST(destroy(context.handle, 0) == "OK");
}

BOOST_AUTO_TEST_CASE(an_id_that_is_no_more_or_another_contexts_names_its_field) {
  const Books books;
  GpuContext context, other;
  const uint64_t gone = made(context.handle, shift), foreign = made(other.handle, shift);
  BOOST_TEST(destroy(context.handle, gone) == "OK");
  CHECK_TEXT(destroy(context.handle, gone), "INVALID_ARGUMENT 0 [variant] variant is ");
  CHECK_TEXT(destroy(context.handle, foreign), "INVALID_ARGUMENT 0 [variant] variant is ");
  for (const uint64_t variant : {gone, foreign, uint64_t{12345}}) {
    const VariantProblem problem(context.handle, variant);
    const std::string expected =
        "INVALID_ARGUMENT 0 [variant] variant is " + std::to_string(variant) + "; allowed: 0 for none";
    CHECK_TEXT(problem.forward(), expected);
    CHECK_TEXT(problem.prepare(), expected);
    CHECK_TEXT(explain(problem), expected);
  }
}

BOOST_AUTO_TEST_CASE(kernels_without_room_for_a_text_say_so) {
  const Books books;
  GpuContext context;
  const VariantProblem problem(context.handle, made(context.handle, shift), "fwd_scalar");
  CHECK_TEXT(problem.forward(), "UNSUPPORTED 0 [variant] ");
  CHECK_TEXT(problem.forward(), "fwd_scalar: variant must be 0, the kernel takes no variants");
}

BOOST_AUTO_TEST_CASE(without_a_compiler_the_field_is_named) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_FORBIDDEN);
  const VariantProblem problem(context.handle, made(context.handle, shift));
  CHECK_TEXT(problem.forward(), "COMPILER_UNAVAILABLE 0 [variant] no module folder and no cache holds ");
  CHECK_TEXT(problem.forward(), "variant needs a module that is not shipped but compiled on first need");
}

// ---- The CPU device, where the machine's own compiler does it.

namespace {

struct HostContext {
  flashcore_context handle = nullptr;
  explicit HostContext(int32_t jit_mode = FLASHCORE_JIT_ALLOWED) {
    flashcore_context_options options = gpu_options(jit_mode);
    options.device_kind = FLASHCORE_DEVICE_CPU;
    flashcore_error error = fresh_error();
    if (flashcore_context_create(&options, &handle, &error) != FLASHCORE_OK) throw std::runtime_error(error.message);
  }
  HostContext(const HostContext &) = delete;
  HostContext &operator=(const HostContext &) = delete;
  ~HostContext() { flashcore_context_destroy(handle); }
  std::string said(const std::string &text) const {
    const VariantProblem problem(handle, made(handle, text));
    const std::string first = problem.forward(), prepared = problem.prepare();
    return first == prepared ? first : first + ", prepared: " + prepared;
  }
};

boost::test_tools::assertion_result host_compiler_exists(boost::unit_test::test_unit_id) {
  const std::string said = HostContext().said(odd_keys);
  boost::test_tools::assertion_result result(!contains(said, "no C++ compiler is installed"));
  result.message() << said;
  return result;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_cpu_device_says_what_a_text_lacks) {
  setenv("FLASHCORE_CXX", "c++", 1);
  const std::string relative = HostContext().said(odd_keys);
  unsetenv("FLASHCORE_CXX");
  CHECK_TEXT(relative,
             "UNSUPPORTED 0 [variant] a variant on the CPU device needs a C++ compiler: FLASHCORE_CXX is \"c++\"");
  CHECK_TEXT(HostContext(FLASHCORE_JIT_FORBIDDEN).said(odd_keys),
             "COMPILER_UNAVAILABLE 0 [variant] a variant on the CPU device is compiled, and compiling is forbidden (");
}

BOOST_AUTO_TEST_CASE(the_cpu_device_compiles_a_text, *precondition(host_compiler_exists)) {
  const HostContext context;
  BOOST_TEST(context.said(shift) == "OK");
  const std::string undefined =
      context.said("\nfloat score(float s, int b, int h, int q, int k, const float *p) {\n  return t;\n}\n");
  CHECK_TEXT(undefined, "COMPILE_FAILED 0 [variant] ");
  CHECK_TEXT(undefined, "variant:3:");
  CHECK_TEXT(context.said("\n\nfloat score(float s, int b) {\n  return s;\n}\n"), "variant:3:");
}

// A compiler takes a while: a child that is forked meanwhile does not wait for what its parent has begun.
BOOST_AUTO_TEST_CASE(a_child_forked_while_a_text_is_compiled_is_told, *precondition(host_compiler_exists)) {
  const ChildResult outer = run_in_child([] {
    const std::string script = Sandbox::get().folder() + "/slow", mark = script + "-began";
    std::ofstream(script) << "#!/bin/sh\n: > " << mark << "\nsleep 3\nexit 1\n";
    chmod(script.c_str(), 0755);
    setenv("FLASHCORE_CXX", script.c_str(), 1);
    const HostContext context;
    const VariantProblem problem(context.handle, made(context.handle, shift));
    std::string said;
    std::thread compiling([&] { said = problem.forward(); });
    while (access(mark.c_str(), F_OK) != 0) std::this_thread::yield();
    const ChildResult inner = run_in_child([&] {
      alarm(2);
      return problem.forward();
    });
    compiling.join();
    return std::to_string(inner.signal) + " " + inner.text + " / " + said;
  });
  CHECK_TEXT(outer.text, "0 FORKED 0 [] this process was forked while another thread of its parent compiled a variant");
  CHECK_TEXT(outer.text, " / COMPILE_FAILED");
}

BOOST_AUTO_TEST_SUITE(compiled, *precondition(modules_exist))

BOOST_AUTO_TEST_CASE(faults_stand_in_the_users_own_lines) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  const auto said = [&](const std::string &text) {
    const VariantProblem problem(context.handle, made(context.handle, text));
    return problem.forward();
  };
  const std::string undefined = said(
      "// one\n\nfloat score(float s, int b, int h, int q, int k, const float *p) {\n  float x = 1;\n  return s + y;\n}\n");
  CHECK_TEXT(undefined, "COMPILE_FAILED 6 [variant] ");
  CHECK_TEXT(undefined, "variant(5): error: identifier \"y\" is undefined");
  // A call that does not fit is told where the function stands.
  CHECK_TEXT(said("\n\nfloat score(float s, int b, int h, int q, int k) {\n  return s;\n}\n"),
             "variant(3): error: too many arguments");
  CHECK_TEXT(said("#if 1\n" + shift), "variant(1): error: ");
  CHECK_TEXT(said("bool visible(int b, int h, int q, int k, const void *p) { return 1 }"), "variant(1): error: ");
  // Long warnings do not push the error out of the message.
  std::string warned;
  for (int i = 0; i < 40; ++i) warned += "int f" + std::to_string(i) + "() { int unused = 1; return 0; }\n";
  CHECK_TEXT(said(warned + "float score(float s, int b, int h, int q, int k, const float *p) { return z; }"),
             "variant(41): error: identifier \"z\"");
}

// The module's name has the text's digest, by which tools find it in the cache.
BOOST_AUTO_TEST_CASE(modules_of_texts_have_names_of_their_own) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  const VariantProblem one(context.handle, made(context.handle, shift)),
      other(context.handle, made(context.handle, odd_keys)), again(context.handle, made(context.handle, shift));
  const std::string name = explain(one), before = "-variant-";
  const size_t at = name.rfind(before);
  BOOST_REQUIRE(at != std::string::npos);
  BOOST_TEST(name.size() == at + before.size() + 16);
  BOOST_TEST(explain(other) != name);
  BOOST_TEST(explain(again) == name);
  BOOST_TEST(explain(other).substr(0, at) == name.substr(0, at));
  BOOST_TEST(one.forward() == "OK");
  flashcore_module_info info{};
  info.struct_size = sizeof(info);
  flashcore_error error = fresh_error();
  BOOST_TEST(flashcore_module_obtain(nullptr, name.c_str(), "sm_89", &info, nullptr, nullptr, &error) == FLASHCORE_OK,
             error.message);
  BOOST_TEST(info.module == name);
  // Of a text that nobody has compiled, all that there is is the name.
  const std::string unknown = name.substr(0, at) + before + "0123456789abcdef";
  BOOST_TEST(flashcore_module_obtain(nullptr, unknown.c_str(), "sm_89", &info, nullptr, nullptr, &error) ==
             FLASHCORE_COMPILER_UNAVAILABLE);
  CHECK_TEXT(error.message, "the text of its variant is not known here");
  // A call may name the module of its own text and no other.
  VariantProblem named(context.handle, one.args.variant, name.c_str());
  BOOST_TEST(named.forward() == "OK");
  named.args.variant = other.args.variant;
  CHECK_TEXT(named.forward(), "INVALID_ARGUMENT 0 [kernel] kernel is \"" + name + "\", a module with another text");
}

BOOST_AUTO_TEST_CASE(two_texts_of_one_shape_run_each_their_own_module) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  VariantProblem one(context.handle, made(context.handle, shift)),
      other(context.handle, made(context.handle, odd_keys));
  for (int round = 0; round < 3; ++round) {
    BOOST_TEST(one.forward() == "OK");
    BOOST_TEST(other.forward() == "OK");
    GpuProblem plain(context.handle);
    BOOST_TEST(plain.forward() == "OK");
  }
  BOOST_TEST(fake().fake_open("modules") == 3);
}

// Where it lies in what the kernel gets: calls that differ in this address alone are the same call.
BOOST_AUTO_TEST_CASE(the_block_of_each_call_reaches_the_kernel) {
  const Books books;
  fake().fake_set_option("params", 512);
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  VariantProblem problem(context.handle, made(context.handle, shift));
  const auto is_told = [&](uint64_t address) {
    const fake_launch *launch = fake().fake_get_launch(fake().fake_launch_count() - 1);
    for (size_t at = 160; at + 8 <= sizeof(launch->params); at += 8)  // behind the tensors
      if (std::memcmp(launch->params + at, &address, 8) == 0) return true;
    return false;
  };
  for (const uint64_t offset : {0, 8, 8192}) {
    problem.args.variant_params = problem.args.query.data + offset;
    BOOST_TEST(problem.forward() == "OK");
    BOOST_TEST(is_told(problem.args.variant_params));
  }
  problem.args.variant_params += 4;
  CHECK_TEXT(problem.forward(), "INVALID_ARGUMENT 0 [variant_params] variant_params is ");
}

// The call is known to the thread, and its variant is not any more.
BOOST_AUTO_TEST_CASE(a_call_that_was_warm_is_refused_when_its_variant_has_gone) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  const uint64_t variant = made(context.handle, shift), stays = made(context.handle, odd_keys);
  const VariantProblem problem(context.handle, variant), other(context.handle, stays);
  for (int i = 0; i < 2; ++i) {
    BOOST_TEST(problem.forward() == "OK");
    BOOST_TEST(other.forward() == "OK");
  }
  BOOST_TEST(destroy(context.handle, variant) == "OK");
  CHECK_TEXT(problem.forward(), "INVALID_ARGUMENT 0 [variant] ");
  CHECK_TEXT(problem.forward(), "INVALID_ARGUMENT 0 [variant] ");
  for (int i = 0; i < 3; ++i) BOOST_TEST(other.forward() == "OK");
  // What was captured may still run: the modules stay until the context goes.
  BOOST_TEST(fake().fake_open("modules") == 2);
  // The same text again is the same module.
  const VariantProblem again(context.handle, made(context.handle, shift));
  BOOST_TEST(again.forward() == "OK");
  BOOST_TEST(fake().fake_open("modules") == 2);
}

BOOST_AUTO_TEST_CASE(a_variant_has_to_be_prepared_before_a_capture) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  const VariantProblem problem(context.handle, made(context.handle, shift));
  void *stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
  fake().fake_set_capture(stream, 1);
  CHECK_TEXT(problem.forward(stream), "NOT_PREPARED 0 ");
  fake().fake_set_capture(stream, 0);
  BOOST_TEST(problem.prepare() == "OK");
  fake().fake_set_capture(stream, 1);
  BOOST_TEST(problem.forward(stream) == "OK");
  fake().fake_set_capture(stream, 0);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
}

// Calls of one thread, while another one makes and destroys: each runs, or is told that the variant has gone.
BOOST_AUTO_TEST_CASE(a_variant_may_go_while_calls_run) {
  const Books books;
  GpuContext context(FLASHCORE_JIT_ALLOWED);
  {
    const VariantProblem warm(context.handle, made(context.handle, shift));
    BOOST_REQUIRE(warm.forward() == "OK");
  }
  for (int round = 0; round < 20; ++round) {
    const uint64_t variant = made(context.handle, shift);
    std::string last;
    std::jthread caller([&] {
      const VariantProblem problem(context.handle, variant);
      for (int i = 0; i < 50; ++i) last = problem.forward();
    });
    std::this_thread::yield();
    BOOST_TEST(destroy(context.handle, variant) == "OK");
    caller.join();
    BOOST_TEST((last == "OK" || contains(last, "INVALID_ARGUMENT 0 [variant] ")), last);
  }
}

BOOST_AUTO_TEST_SUITE_END()
