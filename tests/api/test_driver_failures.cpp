// SPDX-License-Identifier: Apache-2.0
//
// Every driver call of every public function fails, one after the other, with every code that matters, once and for
// good: a documented status comes back with the code in the error, nothing leaks, nothing crashes, and when the failure
// was passing the next call works.
#define BOOST_TEST_MODULE driver_failures
#include <boost/test/unit_test.hpp>

#include <functional>
#include <memory>
#include <set>

#include "extent.hpp"
#include "gpu_fixture.hpp"

using boost::unit_test::precondition;

namespace {

constexpr int32_t codes[] = {1, 2, 3, 34, 100, 200, 209, 222, 304, 700, 719, 802, 803, 804, 900, 999};

// What the header allows a function to say about the device; OK where the failure was none of the caller's business.
const std::set<flashcore_status> opening_statuses = {FLASHCORE_OK,
                                                     FLASHCORE_NO_DRIVER,
                                                     FLASHCORE_DRIVER_TOO_OLD,
                                                     FLASHCORE_NO_DEVICE,
                                                     FLASHCORE_DEVICE_NOT_READY,
                                                     FLASHCORE_CUDA_ERROR,
                                                     FLASHCORE_FORKED,
                                                     FLASHCORE_OUT_OF_DEVICE_MEMORY,
                                                     FLASHCORE_CONTEXT_LOST};
const std::set<flashcore_status> working_statuses = {FLASHCORE_OK, FLASHCORE_OUT_OF_DEVICE_MEMORY, FLASHCORE_CUDA_ERROR,
                                                     FLASHCORE_CONTEXT_LOST};
// Where a module that the driver refuses is a miss and compiling is forbidden.
const std::set<flashcore_status> cold_statuses = {FLASHCORE_OK, FLASHCORE_OUT_OF_DEVICE_MEMORY, FLASHCORE_CUDA_ERROR,
                                                  FLASHCORE_CONTEXT_LOST, FLASHCORE_COMPILER_UNAVAILABLE};

// Calls whose failure has no one to be told to: the way out of a call, and the name of another error.
bool is_silent(const std::string &function) {
  return function == "cuCtxPopCurrent" || function == "cuModuleUnload" || function == "cuDevicePrimaryCtxRelease" ||
         function == "cuGetErrorName";
}

struct Outcome {
  flashcore_status status = FLASHCORE_OK;
  flashcore_error error = FLASHCORE_ERROR_INIT;
};

// One public operation; `restore` puts things back to where they were before it, without failures.
struct Operation {
  std::string name;
  const std::set<flashcore_status> &statuses;
  std::function<Outcome()> run;
  std::function<void()> restore = [] {};
};

// The calls of the second run: the first one of the process also starts CUDA.
int64_t count_calls(const Operation &operation) {
  int64_t calls = 0;
  for (int i = 0; i < 2; ++i) {
    fake().fake_reset_calls();
    const Outcome outcome = operation.run();
    calls = fake().fake_calls("");
    BOOST_REQUIRE_MESSAGE(outcome.status == FLASHCORE_OK,
                          operation.name << ": " << describe(outcome.status, outcome.error));
    operation.restore();
  }
  return calls;
}

void check_outcome(const Operation &operation, const Outcome &outcome, int32_t code, const std::string &failed_call) {
  BOOST_TEST(operation.statuses.count(outcome.status) == 1u, describe(outcome.status, outcome.error));
  if (outcome.status == FLASHCORE_OK) {
    BOOST_TEST(is_silent(failed_call), failed_call << " failed and nobody was told");
    return;
  }
  BOOST_TEST(outcome.error.status == outcome.status);
  BOOST_TEST(std::strlen(outcome.error.message) > 20u);
  if (outcome.status != FLASHCORE_COMPILER_UNAVAILABLE) {
    BOOST_TEST(outcome.error.driver_code == code);
    CHECK_TEXT(std::string(outcome.error.message), "(" + std::to_string(code) + ")");
  }
}

// Returns how many failures were tried.
int64_t fail_every_call(const Operation &operation) {
  const int64_t calls = count_calls(operation);
  int64_t tried = 0;
  BOOST_TEST(calls > 0);
  for (const int32_t code : codes)
    for (const int32_t sticky : {0, 1})
      for (int64_t nth = 1; nth <= calls; ++nth, ++tried) {
        const std::string open_before = fake().open_resources();
        fake().fake_reset_calls();
        fake().fake_fail_call(nth, code, sticky);
        const Outcome outcome = operation.run();
        const char *failed_call = fake().fake_call_name(nth - 1);
        fake().fake_clear_failures();
        BOOST_TEST_CONTEXT(operation.name << ": call " << nth << " (" << (failed_call != nullptr ? failed_call : "?")
                                          << ") with " << code << (sticky != 0 ? ", sticky" : ", once")) {
          BOOST_REQUIRE(failed_call != nullptr);
          check_outcome(operation, outcome, code, failed_call);
          operation.restore();
          BOOST_TEST(fake().open_resources() == open_before);
          const Outcome again = operation.run();
          BOOST_TEST(again.status == FLASHCORE_OK, describe(again.status, again.error));
          operation.restore();
        }
      }
  extent::figure(
      tried,
      (operation.name + ": failures of the driver, every call with each of 16 codes, once and for ever").c_str());
  return tried;
}

// Runs its steps until one fails; what a step made is given back whatever the others did.
class Steps {
 public:
  void step(const std::function<flashcore_status(flashcore_error *)> &call) {
    if (outcome_.status == FLASHCORE_OK) outcome_.status = call(&outcome_.error);
  }
  // Always called; its failure counts only if nothing failed before. A release that failed before it released anything
  // leaves the resource to its owner, and works when it is repeated.
  void release(const char *kind, const std::function<flashcore_status(flashcore_error *)> &call) {
    const int64_t open_before = fake().fake_open(kind);
    flashcore_error error = fresh_error();
    const flashcore_status status = call(&error);
    if (status == FLASHCORE_OK) return;
    if (outcome_.status == FLASHCORE_OK) {
      outcome_.status = status;
      outcome_.error = error;
    }
    if (fake().fake_open(kind) < open_before) return;
    fake().fake_clear_failures();
    BOOST_TEST(call(&error) == FLASHCORE_OK, error.message);
  }
  const Outcome &outcome() const { return outcome_; }

 private:
  Outcome outcome_;
};

Operation buffer_operation(flashcore_context context) {
  return {"buffers and copies", working_statuses, [context] {
            Steps steps;
            uint64_t first = 0, second = 0;
            void *locked = nullptr;
            char pageable[64] = {};
            steps.step([&](flashcore_error *error) { return flashcore_buffer_alloc(context, 64, &first, error); });
            steps.step([&](flashcore_error *error) { return flashcore_buffer_alloc(context, 64, &second, error); });
            steps.step([&](flashcore_error *error) { return flashcore_host_alloc(context, 64, &locked, error); });
            steps.step([&](flashcore_error *error) {
              return flashcore_copy_to_device(context, first, pageable, 64, nullptr, error);
            });
            steps.step([&](flashcore_error *error) {
              return flashcore_copy_on_device(context, second, first, 64, nullptr, error);
            });
            steps.step(
                [&](flashcore_error *error) { return flashcore_buffer_fill(context, second, 3, 64, nullptr, error); });
            steps.step([&](flashcore_error *error) {
              return flashcore_copy_to_host(context, locked, second, 64, nullptr, error);
            });
            steps.step([&](flashcore_error *error) {
              return flashcore_copy_to_host(context, pageable, second, 64, nullptr, error);
            });
            if (locked != nullptr)
              steps.release("host_memory",
                            [&](flashcore_error *error) { return flashcore_host_free(context, locked, error); });
            if (second != 0)
              steps.release("device_memory",
                            [&](flashcore_error *error) { return flashcore_buffer_free(context, second, error); });
            if (first != 0)
              steps.release("device_memory",
                            [&](flashcore_error *error) { return flashcore_buffer_free(context, first, error); });
            return steps.outcome();
          }};
}

Operation stream_operation(flashcore_context context) {
  return {"streams and events", working_statuses, [context] {
            Steps steps;
            void *stream = nullptr, *start = nullptr, *end = nullptr;
            double elapsed_us = 0;
            steps.step([&](flashcore_error *error) { return flashcore_stream_create(context, &stream, error); });
            steps.step([&](flashcore_error *error) { return flashcore_event_create(context, &start, error); });
            steps.step([&](flashcore_error *error) { return flashcore_event_create(context, &end, error); });
            steps.step([&](flashcore_error *error) { return flashcore_event_record(context, start, stream, error); });
            steps.step([&](flashcore_error *error) { return flashcore_event_record(context, end, stream, error); });
            steps.step([&](flashcore_error *error) { return flashcore_event_synchronize(context, end, error); });
            steps.step([&](flashcore_error *error) {
              return flashcore_event_elapsed_us(context, start, end, &elapsed_us, error);
            });
            steps.step([&](flashcore_error *error) { return flashcore_stream_synchronize(context, stream, error); });
            steps.step([&](flashcore_error *error) { return flashcore_context_synchronize(context, error); });
            if (end != nullptr)
              steps.release("events",
                            [&](flashcore_error *error) { return flashcore_event_destroy(context, end, error); });
            if (start != nullptr)
              steps.release("events",
                            [&](flashcore_error *error) { return flashcore_event_destroy(context, start, error); });
            if (stream != nullptr)
              steps.release("streams",
                            [&](flashcore_error *error) { return flashcore_stream_destroy(context, stream, error); });
            return steps.outcome();
          }};
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_FIXTURE_TEST_SUITE(driver_failures, Books)

BOOST_AUTO_TEST_CASE(device_describe) {
  flashcore_device_info info{};
  fail_every_call({"flashcore_device_describe", opening_statuses, [&info] {
                     Outcome outcome;
                     info = {};
                     info.struct_size = sizeof(info);
                     outcome.status = flashcore_device_describe(0, &info, &outcome.error);
                     return outcome;
                   }});
  BOOST_TEST(info.arch == 89);
}

// No device is an answer, not a failure: the error is left alone, and flashcore_device_describe has the reason.
BOOST_AUTO_TEST_CASE(device_count) {
  flashcore_error error;
  std::memset(&error, 0x5a, sizeof(error));
  error.struct_size = sizeof(error);
  const flashcore_error untouched = error;
  int32_t count = -1;
  for (const int32_t code : codes) {
    fake().fake_fail_function("cuDeviceGetCount", 1, code, 0);
    BOOST_TEST(flashcore_device_count(&count, &error) == FLASHCORE_OK);
    BOOST_TEST(count == 0);
    BOOST_TEST(flashcore_device_count(&count, &error) == FLASHCORE_OK);
    BOOST_TEST(count == 1);
  }
  BOOST_TEST(std::memcmp(&error, &untouched, sizeof(error)) == 0);
}

// A driver that starts and then shows nothing: "allowed: 0 to -1" would help nobody.
BOOST_AUTO_TEST_CASE(no_device_is_the_answer_for_every_ordinal) {
  { const GpuContext started; }
  fake().fake_set_option("devices", 0);
  for (const int32_t ordinal : {-1, 0, 1}) {
    flashcore_device_info info{};
    info.struct_size = sizeof(info);
    flashcore_error error = fresh_error();
    BOOST_TEST(flashcore_device_describe(ordinal, &info, &error) == FLASHCORE_NO_DEVICE);
    CHECK_TEXT(error.message, "CUDA_VISIBLE_DEVICES");
    flashcore_context_options options = gpu_options(FLASHCORE_JIT_FORBIDDEN);
    options.device_ordinal = ordinal;
    flashcore_context context = nullptr;
    BOOST_TEST(flashcore_context_create(&options, &context, &error) == FLASHCORE_NO_DEVICE);
  }
}

BOOST_AUTO_TEST_CASE(context_create) {
  flashcore_context context = nullptr;
  fail_every_call({"flashcore_context_create", opening_statuses,
                   [&context] {
                     Outcome outcome;
                     const flashcore_context_options options = gpu_options(FLASHCORE_JIT_FORBIDDEN);
                     outcome.status = flashcore_context_create(&options, &context, &outcome.error);
                     BOOST_TEST((context != nullptr) == (outcome.status == FLASHCORE_OK));
                     return outcome;
                   },
                   [&context] {
                     flashcore_context_destroy(context);
                     context = nullptr;
                   }});
}

BOOST_AUTO_TEST_CASE(attention_prepare_cold, *precondition(modules_exist)) {
  auto context = std::make_unique<GpuContext>();
  const flashcore_attention_args args = small_args(large_shared_kernel);
  fail_every_call({"flashcore_attention_prepare, cold", cold_statuses,
                   [&] {
                     Outcome outcome;
                     outcome.status = flashcore_attention_prepare(context->handle, &args, &outcome.error);
                     return outcome;
                   },
                   [&] {
                     context.reset();
                     context = std::make_unique<GpuContext>();
                   }});
}

BOOST_AUTO_TEST_CASE(attention_fwd_cold, *precondition(modules_exist)) {
  std::unique_ptr<GpuContext> context;
  std::unique_ptr<GpuProblem> problem;
  const auto renew = [&] {
    problem.reset();
    context.reset();
    context = std::make_unique<GpuContext>();
    problem = std::make_unique<GpuProblem>(context->handle, small_args(large_shared_kernel));
  };
  renew();
  fail_every_call({"flashcore_attention_fwd, cold", cold_statuses,
                   [&] {
                     Outcome outcome;
                     outcome.status = flashcore_attention_fwd(context->handle, &problem->args, nullptr, &outcome.error);
                     return outcome;
                   },
                   renew});
}

BOOST_AUTO_TEST_CASE(attention_fwd_warm, *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  fail_every_call({"flashcore_attention_fwd, warm", working_statuses, [&] {
                     Outcome outcome;
                     outcome.status = flashcore_attention_fwd(context.handle, &problem.args, nullptr, &outcome.error);
                     return outcome;
                   }});
}

BOOST_AUTO_TEST_CASE(merge_states_cold_and_warm, *precondition(modules_exist)) {
  std::unique_ptr<GpuContext> context;
  std::unique_ptr<GpuMerge> merge;
  const auto renew = [&] {
    merge.reset();
    context.reset();
    context = std::make_unique<GpuContext>();
    merge = std::make_unique<GpuMerge>(context->handle);
  };
  const auto run = [&] {
    Outcome outcome;
    outcome.status = flashcore_merge_states(context->handle, &merge->args, nullptr, &outcome.error);
    return outcome;
  };
  renew();
  fail_every_call({"flashcore_merge_states, cold", cold_statuses, run, renew});
  BOOST_REQUIRE_EQUAL(merge->run(), "OK");
  fail_every_call({"flashcore_merge_states, warm", working_statuses, run});
}

BOOST_AUTO_TEST_CASE(buffers_copies_streams_events) {
  GpuContext context;
  fail_every_call(buffer_operation(context.handle));
  fail_every_call(stream_operation(context.handle));
}

// Nobody can be told, but everything must be given back: the books count a release that fails as a release.
BOOST_AUTO_TEST_CASE(context_destroy, *precondition(modules_exist)) {
  const auto loaded_context = [] {
    auto context = std::make_unique<GpuContext>();
    const flashcore_attention_args args = small_args();
    flashcore_error error = fresh_error();
    const flashcore_status status = flashcore_attention_prepare(context->handle, &args, &error);
    BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, error.message);
    return context;
  };
  auto context = loaded_context();
  fake().fake_reset_calls();
  context.reset();
  const int64_t calls = fake().fake_calls("");
  BOOST_TEST(fake().open_resources() == "");
  for (const int32_t code : codes)
    for (const int32_t sticky : {0, 1})
      for (int64_t nth = 1; nth <= calls; ++nth) {
        context = loaded_context();
        fake().fake_fail_call(nth, code, sticky);
        context.reset();
        fake().fake_clear_failures();
        BOOST_TEST_CONTEXT("call " << nth << " with " << code << (sticky != 0 ? ", sticky" : ", once"))
        BOOST_TEST(fake().open_resources() == "");
      }
  fake().fake_reset();  // where the push fails, the unload is tried without a context: that is no misuse of ours
}

// A passing failure while the module was loaded is not kept as the module's: the next call loads it.
BOOST_AUTO_TEST_CASE(a_passing_failure_is_not_remembered, *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle);
  fake().fake_fail_function("cuModuleLoadData", 1, 2, 0);
  CHECK_TEXT(problem.forward(), "OUT_OF_DEVICE_MEMORY 2 ");
  BOOST_TEST(problem.forward() == "OK");
}

BOOST_AUTO_TEST_SUITE_END()
