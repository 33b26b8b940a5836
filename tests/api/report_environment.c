/* SPDX-License-Identifier: Apache-2.0
 *
 * What the library in LIBRARY would use, in its own words, for tests that give a program other rights or another working directory.
 *
 * usage: report_environment LIBRARY [--folder FOLDER] [--obtain MODULE ARCH]
 *   --folder: change to it after the library was loaded      --obtain: then get the module, and print its path or the error
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "flashcore/flashcore_inspect.h"

#define FIND(name)                                   \
  __typeof__(&name) name##_found = NULL;             \
  *(void **)(&name##_found) = dlsym(library, #name); \
  if (name##_found == NULL) return fprintf(stderr, "no %s\n", #name), 1

int main(int count, char **arguments) {
  static char text[65536];
  void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
  if (library == NULL) return fprintf(stderr, "%s\n", count > 1 ? dlerror() : "no library"), 1;
  FIND(flashcore_environment_describe);
  FIND(flashcore_module_obtain);
  for (int i = 2; i + 1 < count; ++i)
    if (strcmp(arguments[i], "--folder") == 0 && chdir(arguments[i + 1]) != 0) return perror(arguments[i + 1]), 1;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_environment_describe_found(NULL, text, sizeof(text), &error) != FLASHCORE_OK)
    return puts(error.message), 1;
  printf("privileged: %lu\n%s", getauxval(AT_SECURE), text);
  for (int i = 2; i + 2 < count; ++i) {
    if (strcmp(arguments[i], "--obtain") != 0) continue;
    flashcore_module_info info = {.struct_size = sizeof(info)};
    const flashcore_status status =
        flashcore_module_obtain_found(NULL, arguments[i + 1], arguments[i + 2], &info, NULL, NULL, &error);
    printf("module: %s\n", status == FLASHCORE_OK ? (info.path[0] != '\0' ? info.path : "not kept") : error.message);
  }
  return 0;
}
