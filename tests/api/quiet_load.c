// SPDX-License-Identifier: Apache-2.0
//
// Loading the library and asking for its version and its statuses touches nothing: no thread, no CUDA library, no file,
// no environment, not one system call. The calls run in a child that the kernel kills at its first system call
// (seccomp's strict mode) and whose environment cannot be read. Prints TAP. usage: quiet_load LIBRARY
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint32_t (*VersionFunction)(void);
typedef const char *(*TextFunction)(int32_t);
typedef int32_t (*CountFunction)(void);

static VersionFunction version;
static TextFunction status_name, status_sentence;
static CountFunction kernel_count;
static volatile uintptr_t sink;

static int cases, failed;

static void report(int ok, const char *name) {
  failed += !ok;
  printf("%s %d - %s\n", ok ? "ok" : "not ok", ++cases, name);
}

static void quiet_calls(void) {
  sink += version();
  sink += (uintptr_t)kernel_count();
  for (int32_t status = -1; status <= 100; ++status)
    sink += (uintptr_t)status_name(status)[0] + (uintptr_t)status_sentence(status)[0];
}

static void call_the_kernel(void) { sink += (uintptr_t)syscall(SYS_getppid); }
static void read_the_environment(void) { sink += (uintptr_t)getenv("HOME"); }
static void do_nothing(void) {}

// Run `work` in a child without system calls and without an environment. 1: it came back; 0: it was killed; -1: this
// machine has no strict mode.
static int survives(void (*work)(void)) {
  fflush(NULL);
  const pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) {
    extern char **environ;
    environ = (char **)(uintptr_t)8;  // reading it is a segmentation fault
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(77);
    work();
    syscall(SYS_exit, 0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? 1 : -1;
  return 0;
}

static int thread_count(void) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == NULL) return -1;
  for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

static int is_mapped(const char *word) {
  char line[4096];
  int found = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  if (maps == NULL) return -1;
  while (fgets(line, sizeof line, maps) != NULL) found |= strstr(line, word) != NULL;
  fclose(maps);
  return found;
}

static void *symbol(void *library, const char *name) {
  void *address = dlsym(library, name);
  if (address == NULL) {
    printf("Bail out! %s has no %s\n", "the library", name);
    exit(1);
  }
  return address;
}

int main(int argc, char **argv) {
  void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL) {
    printf("Bail out! usage: quiet_load LIBRARY; %s\n", argc == 2 ? dlerror() : "");
    return 1;
  }
  // POSIX promises that a function pointer survives the trip through void *.
  *(void **)&version = symbol(library, "flashcore_version");
  *(void **)&status_name = symbol(library, "flashcore_status_name");
  *(void **)&status_sentence = symbol(library, "flashcore_status_sentence");
  *(void **)&kernel_count = symbol(library, "flashcore_kernel_count");

  report(thread_count() == 1, "loading starts no thread");
  report(is_mapped("libflashcore") == 1, "self-test: the library is seen in the memory map");
  report(is_mapped("libcuda") == 0 && is_mapped("libnvrtc") == 0, "loading loads neither the driver nor NVRTC");
  const int strict = survives(do_nothing);
  if (strict == 1) {
    report(survives(call_the_kernel) == 0, "self-test: a system call is caught");
    report(survives(read_the_environment) == 0, "self-test: a look at the environment is caught");
    report(survives(quiet_calls) == 1,
           "version, statuses and kernel count make no system call and read no environment");
  } else {
    printf("ok %d - no system call # SKIP seccomp's strict mode is not available here\n", ++cases);
  }
  report(is_mapped("libcuda") == 0 && is_mapped("libnvrtc") == 0, "still neither the driver nor NVRTC is loaded");
  printf("1..%d\n", cases);
  return failed ? 1 : 0;
}
