// SPDX-License-Identifier: Apache-2.0
//
// Names of kernels and modules: what is read is what it says, to the letter, or an error that says what is wrong.
#include "flashcore/flashcore_inspect.h"
#include "fuzz_target.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

std::vector<fuzz::Bytes> fuzz::seeds() {
  std::vector<Bytes> seeds;
  for (const auto &kernel : flashcore::kernel_table()) {
    seeds.push_back(bytes_of(kernel.passport->name));
    flashcore::kernels::Specialization specialization;
    for (int32_t i = 0; kernel.passport->specialization(i, &specialization) && i < 6; ++i)
      for (const uint64_t variant : {uint64_t{0}, 0x0123456789abcdef + static_cast<uint64_t>(i)})
        seeds.push_back(bytes_of(flashcore::module_name(*kernel.passport, specialization, variant)));
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string name = fuzz::text_of(data, size);
  const flashcore::Result<flashcore::ModuleName> read = flashcore::parse_module_name(name);
  if (read.ok()) {
    const flashcore::kernels::Passport &passport =
        *flashcore::kernel_table()[static_cast<size_t>(read.value().kernel_index)].passport;
    FUZZ_PROMISE(flashcore::module_name(passport, read.value().specialization, read.value().variant) == name);
    static_cast<void>(flashcore::check_specialization(passport, read.value().specialization));
  } else {
    FUZZ_PROMISE(read.error().status == FLASHCORE_INVALID_ARGUMENT && !read.error().message.empty());
  }
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = flashcore_kernel_check_name(name.c_str(), &error);
  FUZZ_PROMISE(status == FLASHCORE_OK || status == FLASHCORE_INVALID_ARGUMENT || status == FLASHCORE_UNSUPPORTED);
  FUZZ_PROMISE(status == FLASHCORE_OK || error.message[0] != '\0');
  return 0;
}
