// SPDX-License-Identifier: Apache-2.0
//
// Exported functions: version, devices, contexts.
#include "api/api_guard.hpp"
#include "base/struct_size.hpp"
#include "runtime/gpu_device.hpp"

using namespace flashcore;

extern "C" {

uint32_t flashcore_version(void) { return FLASHCORE_VERSION; }

flashcore_status flashcore_device_count(int32_t *count, flashcore_error *error) {
  clear(count);
  return guarded(error, [&]() -> Status {
    if (count == nullptr) return null_argument("count");
    return store_result(count_gpus(read_environment().libcuda), count);
  });
}

flashcore_status flashcore_device_describe(int32_t ordinal, flashcore_device_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (info == nullptr) return null_argument("info");
    flashcore_device_info content{};
    FLASHCORE_TRY(describe_gpu(read_environment().libcuda, ordinal, &content));
    return write_sized_struct(info, content, "info", sizeof(flashcore_device_info));
  });
}

flashcore_status flashcore_context_create(const flashcore_context_options *options, flashcore_context *context,
                                          flashcore_error *error) {
  clear(context);
  return guarded(error, [&]() -> Status {
    if (context == nullptr) return null_argument("context");
    FLASHCORE_TRY_ASSIGN(std::unique_ptr<Context> created, create_context(options));
    *context = reinterpret_cast<flashcore_context>(created.release());
    return success();
  });
}

flashcore_status flashcore_context_synchronize(flashcore_context context, flashcore_error *error) {
  return with_context(context, error, [](Context &self) { return self.device->synchronize(); });
}

void flashcore_context_destroy(flashcore_context context) {
  const DeferredCancellation deferred;
  delete reinterpret_cast<Context *>(context);
}

flashcore_status flashcore_context_describe_device(flashcore_context context, flashcore_device_info *info,
                                                   flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    if (info == nullptr) return null_argument("info");
    flashcore_device_info content{};
    self.device->describe(&content);
    return write_sized_struct(info, content, "info", sizeof(flashcore_device_info));
  });
}

flashcore_status flashcore_context_describe(flashcore_context context, flashcore_context_info *info,
                                            flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    if (info == nullptr) return null_argument("info");
    flashcore_context_info content{};
    fill_context_info(self, &content);
    return write_sized_struct(info, content, "info", sizeof(flashcore_context_info));
  });
}

}  // extern "C"
