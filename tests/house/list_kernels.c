// SPDX-License-Identifier: Apache-2.0
//
// Prints the kernel table of the built library, one line per kernel: name, minimum and maximum arch, summary, separated
// by tabs. check_docs.py compares README.md with it.
#include <flashcore/flashcore_inspect.h>
#include <stdio.h>

int main(void) {
  for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
    flashcore_kernel_info info = {.struct_size = sizeof(flashcore_kernel_info)};
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_kernel_describe(index, &info, &error) != FLASHCORE_OK) {
      fprintf(stderr, "kernel %d: %s\n", (int)index, error.message);
      return 1;
    }
    printf("%s\t%d\t%d\t%s\n", info.name, (int)info.minimum_arch, (int)info.maximum_arch, info.summary);
  }
  return 0;
}
