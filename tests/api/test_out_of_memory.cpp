// SPDX-License-Identifier: Apache-2.0
//
// Memory runs out at every place of every public operation that allocates, once and for good: the status says so, nothing crashes,
// hangs or leaks, no entry of the cache is lost for it, and when there is memory again the next call on the same context works.
#define BOOST_TEST_MODULE out_of_memory
#include <atomic>
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <functional>
#include <set>
#include <string_view>
#include <thread>

#include <sys/mman.h>
#include <sys/stat.h>

#include "extent.hpp"
#include "flashcore/flashcore_inspect.h"
#include "gpu_fixture.hpp"
#include "malloc_failures.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;
using malloc_failures::Then;

namespace malloc_failures {
std::ostream &operator<<(std::ostream &stream, Then then) {
  return stream << (then == Then::fail ? "and every later one" : "alone");
}
}  // namespace malloc_failures

namespace {

boost::test_tools::assertion_result memory_can_fail(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(malloc_failures::possible());
  result.message() << "a sanitizer's malloc must stay in place";
  return result;
}

// Before any stand-in is there.
struct Start {
  Start() {
    Sandbox::get().fill_cache();
    malloc_failures::know_libraries();
  }
};

// Which request was made to fail when a child ended.
int64_t *const failing =
    static_cast<int64_t *>(mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

std::set<std::string> cache_files() {
  std::set<std::string> files;
  for (const auto &entry : std::filesystem::recursive_directory_iterator(Sandbox::get().folder() + "/cache"))
    if (entry.path().extension() == ".fcm") files.insert(entry.path());
  return files;
}

struct Outcome {
  flashcore_status status;
  std::string text;
};

Outcome call(const std::function<flashcore_status(flashcore_error *)> &operation) {
  flashcore_error error = fresh_error();
  const flashcore_status status = operation(&error);
  return {status, status == FLASHCORE_OK ? "OK" : describe(status, error)};
}

// One operation on fresh state, which is made and destroyed with memory.
struct Trial {
  virtual ~Trial() = default;
  virtual flashcore_status run(flashcore_error *error) = 0;
  virtual bool keeps_the_cache() const { return true; }
  // Where the operation says OK although a request failed: what it could do without.
  virtual bool may_go_on_without(Then) const { return false; }
};

// Fail the first request, then the second, and so on, until the operation makes fewer. What went wrong, or "<requests> requests".
std::string sweep(Then then, const std::function<std::unique_ptr<Trial>()> &make) {
  const std::set<std::string> files = cache_files();
  int64_t refused = 0;
  for (int64_t nth = 1;; ++nth) {
    *failing = nth;
    alarm(20);
    const std::unique_ptr<Trial> trial = make();
    flashcore_error error = fresh_error();
    malloc_failures::fail_from(nth, then);
    const flashcore_status status = trial->run(&error);
    const int64_t requests = malloc_failures::stop();
    const std::string at = "request " + std::to_string(nth) + " of " + std::to_string(requests) + ": ";
    if (status != FLASHCORE_OK && status != FLASHCORE_OUT_OF_HOST_MEMORY) return at + describe(status, error);
    if (status == FLASHCORE_OK && then == Then::fail && requests >= nth && !trial->may_go_on_without(then))
      return at + "OK without memory";
    refused += status != FLASHCORE_OK;
    const Outcome again = call([&](flashcore_error *out) { return trial->run(out); });
    if (again.status != FLASHCORE_OK) return at + "and with memory again: " + again.text;
    if (trial->keeps_the_cache() && cache_files() != files) return at + "an entry of the cache is gone";
    if (requests >= nth) continue;
    if (refused == 0) return "no request ever failed the operation";
    return std::to_string(requests) + " requests";
  }
}

void check_sweep(Then then, const std::function<std::unique_ptr<Trial>()> &make) {
  const ChildResult child = run_in_child([&] {
    std::string text = sweep(then, make);
    if (fake().open_resources() != "") text += ", open: " + fake().open_resources();
    if (fake().fake_misuses() != 0) text += std::string(", misuse: ") + fake().fake_last_misuse();
    return text;
  });
  BOOST_TEST(child.signal == 0, "request " << *failing << " ended the process by signal " << child.signal);
  BOOST_TEST(contains(child.text, " requests"), child.text);
  BOOST_TEST(!contains(child.text, ","), child.text);
  extent::figure(std::atoll(child.text.c_str()), then == Then::fail ? "requests for memory refused from one on"
                                                                    : "requests for memory refused, each alone");
}

struct OnContext : Trial {
  GpuContext context;
  explicit OnContext(int32_t jit_mode = FLASHCORE_JIT_FORBIDDEN) : context(jit_mode) {}
};

struct Prepare : OnContext {
  flashcore_status run(flashcore_error *error) override {
    const flashcore_attention_args args = small_args();
    return flashcore_attention_prepare(context.handle, &args, error);
  }
};

struct Forward : OnContext {
  GpuProblem problem{context.handle};
  flashcore_status run(flashcore_error *error) override {
    return flashcore_attention_fwd(context.handle, &problem.args, nullptr, error);
  }
  // Where there is no memory to remember a launch in, it is not remembered.
  bool may_go_on_without(Then) const override { return true; }
};

struct CheckedForward : Trial {
  GpuContext context{FLASHCORE_JIT_FORBIDDEN, FLASHCORE_ADDRESS_CHECKS_ALWAYS};
  GpuProblem problem{context.handle};
  flashcore_status run(flashcore_error *error) override {
    return flashcore_attention_fwd(context.handle, &problem.args, nullptr, error);
  }
};

// The first call that appends and rotates.
struct Append : OnContext {
  flashcore_attention_args shape = appending_args();
  GpuProblem problem{context.handle, shape};
  Append() {
    problem.args.new_key.data = problem.args.new_value.data = problem.args.query.data;
    problem.args.rotary_dim = 32, problem.args.rotary_cos = problem.args.rotary_sin = problem.args.query.data;
  }
  flashcore_status run(flashcore_error *error) override {
    return flashcore_attention_fwd(context.handle, &problem.args, nullptr, error);
  }
  bool may_go_on_without(Then) const override { return true; }
};

// The same on the CPU device. A call that fails has written nothing to the cache.
struct AppendOnCpu : Trial {
  flashcore_context context = nullptr;
  flashcore_attention_args args = appending_args();
  std::vector<uint16_t> cache = std::vector<uint16_t>(2 * 128 * 2 * 64),
                        rows = std::vector<uint16_t>(128 * 2 * 64, uint16_t{0x3c00}), output = rows;
  int32_t used = 5;

  AppendOnCpu() {
    flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
    options.device_kind = FLASHCORE_DEVICE_CPU, options.cpu_threads = 2;
    if (flashcore_context_create(&options, &context, nullptr) != FLASHCORE_OK) std::abort();
    const auto address = [](const auto &memory) { return reinterpret_cast<uintptr_t>(memory); };
    args.key.data = address(cache.data()), args.value.data = address(cache.data() + cache.size() / 2);
    args.query.data = args.new_key.data = args.new_value.data = address(rows.data());
    args.output.data = address(output.data()), args.seqused_kv = address(&used);
    args.rotary_dim = 32, args.rotary_cos = args.rotary_sin = address(rows.data());
  }
  ~AppendOnCpu() override { flashcore_context_destroy(context); }
  flashcore_status run(flashcore_error *error) override {
    const flashcore_status status = flashcore_attention_fwd(context, &args, nullptr, error);
    for (const uint16_t bits : cache)
      if (status != FLASHCORE_OK && bits != 0) return FLASHCORE_INTERNAL;
    return status;
  }
};

// The first merge, which loads its module; and one whose addresses are checked.
struct Merge : Trial {
  GpuContext context;
  GpuMerge merge{context.handle};
  explicit Merge(int32_t address_checks) : context(FLASHCORE_JIT_FORBIDDEN, address_checks) {}
  flashcore_status run(flashcore_error *error) override {
    return flashcore_merge_states(context.handle, &merge.args, nullptr, error);
  }
};

struct List : Trial {
  flashcore_status run(flashcore_error *error) override {
    flashcore_module_list list = nullptr;
    const flashcore_status status = flashcore_module_list_create(nullptr, &list, error);
    flashcore_module_list_destroy(list);
    return status;
  }
};

struct Doctor : Trial {
  std::vector<char> text = std::vector<char>(16384);
  Doctor() { setenv("FLASHCORE_JIT", "off", 1); }
  flashcore_status run(flashcore_error *error) override {
    const flashcore_status status =
        flashcore_environment_describe(nullptr, text.data(), static_cast<int64_t>(text.size()), error);
    const bool right = std::strstr(text.data(), "driver: " FAKE_LIBCUDA) != nullptr &&
                       std::strstr(text.data(), "4 modules\n") != nullptr;
    return status == FLASHCORE_OK && !right ? FLASHCORE_INTERNAL : status;
  }
};

struct Compile : Trial {
  std::unique_ptr<GpuContext> context;
  Compile() {
    static FakeNvrtc compiler(FAKE_LIBNVRTC);
    static const std::vector<char> cubin = cubin_of_the_small_problem();
    compiler.fake_nvrtc_set_cubin(cubin.data(), static_cast<int64_t>(cubin.size()));
    const std::string folder = Sandbox::get().folder() + "/compiled";
    std::filesystem::remove_all(folder);
    setenv("FLASHCORE_CACHE_DIR", folder.c_str(), 1);
    setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
    context = std::make_unique<GpuContext>(FLASHCORE_JIT_ALLOWED);
  }
  flashcore_status run(flashcore_error *error) override {
    const flashcore_attention_args args = small_args();
    return flashcore_attention_prepare(context->handle, &args, error);
  }
  bool may_go_on_without(Then) const override { return true; }  // the module runs, and is not kept
};

struct MakeVariant : OnContext {
  flashcore_status run(flashcore_error *error) override {
    const std::string_view text =
        "float score(float score, int b, int h, int q, int k, const void *p) { return score; }";
    uint64_t variant = 0;
    const flashcore_status status = flashcore_variant_create(
        context.handle, text.data(), static_cast<int64_t>(text.size()), nullptr, &variant, error);
    return status == FLASHCORE_OK ? flashcore_variant_destroy(context.handle, variant, error) : status;
  }
};

// The machine's compiler is asked once, and what it made is copied in its place from then on.
struct HostVariant : Trial {
  flashcore_context context = nullptr;
  std::vector<uint16_t> numbers = std::vector<uint16_t>(4096);
  flashcore_attention_args args = small_args();
  HostVariant() {
    const std::string script = Sandbox::get().folder() + "/compiler", kept = Sandbox::get().folder() + "/kept.so";
    if (!std::filesystem::exists(script)) {
      std::ofstream(script) << "#!/bin/sh\n[ -f " << kept << " ] || /usr/bin/c++ \"$@\"\n[ -f " << kept
                            << " ] || cp \"$8\" " << kept << "\ncp " << kept << " \"$8\"\n";
      chmod(script.c_str(), 0700);
    }
    setenv("FLASHCORE_CXX", script.c_str(), 1);
    flashcore_context_options options = gpu_options(FLASHCORE_JIT_ALLOWED);
    options.device_kind = FLASHCORE_DEVICE_CPU, options.cpu_threads = 1;
    flashcore_error error = fresh_error();
    const std::string_view text =
        "float score(float score, int b, int h, int q, int k, const void *p) { return score; }";
    if (flashcore_context_create(&options, &context, &error) != FLASHCORE_OK ||
        flashcore_variant_create(context, text.data(), static_cast<int64_t>(text.size()), nullptr, &args.variant,
                                 &error) != FLASHCORE_OK)
      throw std::runtime_error(error.message);
    args.batch = args.heads_q = args.heads_kv = 1, args.seqlen_q = args.seqlen_kv = 2, args.head_dim = 16,
    args.head_dim_v = 16;
    args.query.data = args.key.data = args.value.data = reinterpret_cast<uint64_t>(numbers.data());
    args.output.data = args.query.data + 4096;
  }
  HostVariant(const HostVariant &) = delete;
  HostVariant &operator=(const HostVariant &) = delete;
  ~HostVariant() override { flashcore_context_destroy(context); }
  flashcore_status run(flashcore_error *error) override {
    return flashcore_attention_fwd(context, &args, nullptr, error);
  }
  bool may_go_on_without(Then) const override { return true; }  // the folder of the compiler may stay
};

std::string device_reason(flashcore_context context) {
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  return flashcore_context_describe(context, &info, nullptr) == FLASHCORE_OK ? info.device_reason : "?";
}

// The driver is loaded once per process, so every request has a child.
std::string create_auto(int64_t nth, Then then, int64_t *requests) {
  const ChildResult child = run_in_child([&] {
    alarm(20);
    std::string text;
    for (const bool failing_now : {true, false}) {
      flashcore_context context = nullptr;
      flashcore_device_info device{};
      device.struct_size = sizeof(device);
      flashcore_error error = fresh_error();
      if (failing_now) malloc_failures::fail_from(nth, then);
      const flashcore_status status = flashcore_context_create(nullptr, &context, &error);
      if (failing_now) *failing = malloc_failures::stop();
      text += status == FLASHCORE_OK ? "OK" : describe(status, error);
      if (context != nullptr && flashcore_context_describe_device(context, &device, nullptr) == FLASHCORE_OK)
        text += device.kind == FLASHCORE_DEVICE_CUDA ? " on CUDA" : " on the CPU: " + device_reason(context);
      flashcore_context_destroy(context);
      text += failing_now ? "|" : "";
    }
    if (fake().open_resources() != "") text += ", open: " + fake().open_resources();
    return text;
  });
  *requests = *failing;
  return child.signal == 0 ? child.text : "signal " + std::to_string(child.signal);
}

const auto both = data::make({Then::succeed, Then::fail});

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(Start);

BOOST_AUTO_TEST_SUITE(every_request, *precondition(memory_can_fail))

// A GPU that cannot be opened for want of memory is no reason to compute on the CPU.
BOOST_DATA_TEST_CASE(of_a_context_that_is_created, both, then) {
  int refused = 0;
  int64_t requests = 0;
  for (int64_t nth = 1; nth == 1 || requests >= nth - 1; ++nth) {
    const std::string text = create_auto(nth, then, &requests);
    const bool good =
        text == "OK on CUDA|OK on CUDA" || (text.rfind("OUT_OF_HOST_MEMORY ", 0) == 0 && text.ends_with("|OK on CUDA"));
    BOOST_TEST(good, "request " << nth << " of " << requests << ": " << text);
    refused += text.rfind("OUT_OF_HOST_MEMORY ", 0) == 0;
  }
  BOOST_TEST(refused > 20, refused << " refused");
  extent::figure(requests, then == Then::fail ? "requests for memory refused from one on"
                                              : "requests for memory refused, each alone");
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_module_that_is_loaded, both, then) {
  check_sweep(then, [] { return std::make_unique<Prepare>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_first_call, both, then) {
  check_sweep(then, [] { return std::make_unique<Forward>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_first_checked_call, both, then) {
  check_sweep(then, [] { return std::make_unique<CheckedForward>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_first_call_that_appends, both, then) {
  check_sweep(then, [] { return std::make_unique<Append>(); });
}

BOOST_DATA_TEST_CASE(of_a_call_that_appends_on_the_cpu, both, then) {
  check_sweep(then, [] { return std::make_unique<AppendOnCpu>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_first_merge, both, then) {
  for (const int32_t checks : {FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES, FLASHCORE_ADDRESS_CHECKS_ALWAYS})
    check_sweep(then, [checks] { return std::make_unique<Merge>(checks); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_module_that_is_compiled_and_kept, both, then) {
  check_sweep(then, [] { return std::make_unique<Compile>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_list_of_modules, both, then) {
  check_sweep(then, [] { return std::make_unique<List>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_report, both, then) {
  check_sweep(then, [] { return std::make_unique<Doctor>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_variant_that_is_made, both, then) {
  check_sweep(then, [] { return std::make_unique<MakeVariant>(); });
}

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(of_a_variant_on_the_cpu_device, both, then) {
  if (access("/usr/bin/c++", X_OK) != 0) return;
  check_sweep(then, [] { return std::make_unique<HostVariant>(); });
}

// Threads that wait for the load of one which has no memory are told so, and nobody waits for ever.
BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_AUTO_TEST_CASE(of_a_load_that_others_wait_for) {
  const ChildResult child = run_in_child([] {
    std::string text;
    for (int64_t nth = 1; nth < 400 && text.empty(); nth += 3) {
      *failing = nth;
      alarm(20);
      GpuContext context;
      std::atomic<int> started{0}, wrong{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
          const flashcore_attention_args args = small_args();
          flashcore_error error = fresh_error();
          fake().fake_get_current();  // what the stand-in keeps for each thread
          for (++started; started < 4;) std::this_thread::yield();
          if (i == 0) malloc_failures::fail_from(nth, Then::fail);
          const flashcore_status status = flashcore_attention_prepare(context.handle, &args, &error);
          if (i == 0) malloc_failures::stop();
          wrong += status != FLASHCORE_OK && status != FLASHCORE_OUT_OF_HOST_MEMORY;
        });
      for (std::thread &thread : threads) thread.join();
      const flashcore_attention_args args = small_args();
      const Outcome again =
          call([&](flashcore_error *error) { return flashcore_attention_prepare(context.handle, &args, error); });
      if (wrong != 0 || again.status != FLASHCORE_OK) text = "request " + std::to_string(nth) + ": " + again.text;
    }
    return text.empty() ? "all told" : text;
  });
  BOOST_TEST(child.signal == 0, "request " << *failing << " ended the process by signal " << child.signal);
  BOOST_TEST(child.text == "all told");
}

// It has nobody to tell.
BOOST_AUTO_TEST_CASE(of_a_context_that_is_destroyed) {
  const ChildResult child = run_in_child([] {
    for (int64_t nth = 1; nth < 20; ++nth) {
      *failing = nth;
      flashcore_context context = nullptr;
      const flashcore_context_options options = gpu_options(FLASHCORE_JIT_FORBIDDEN);
      if (flashcore_context_create(&options, &context, nullptr) != FLASHCORE_OK) return std::string("no context");
      fake().fake_fail_function("cuCtxPushCurrent", 1, 201, 0);  // an error has a text
      malloc_failures::fail_from(nth, Then::fail);
      flashcore_context_destroy(context);
      malloc_failures::stop();
      fake().fake_clear_failures();
    }
    return "done " + fake().open_resources();
  });
  BOOST_TEST(child.signal == 0, "request " << *failing << " ended the process by signal " << child.signal);
  BOOST_TEST(child.text == "done ");
}

BOOST_AUTO_TEST_SUITE_END()
