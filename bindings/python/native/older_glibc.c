/* SPDX-License-Identifier: Apache-2.0
 *
 * For wheels (setup.py), on x86-64: what a newer C library has under newer versions, asked for under the versions of 2002. A library that
 * is linked on a machine of today would otherwise need the C library of today: since 2.34 the functions of libdl and libpthread, and
 * since 2.33 those of stat, carry those versions, although nothing about them has changed. These definitions are the library's own
 * (hidden), so they serve its code, zstd's and the C++ runtime's alike.
 */
#include <sys/types.h>

#define OWN __attribute__((visibility("hidden")))
#define OLD(name, version) __asm__(".symver older_" #name "," #name "@GLIBC_" version)
/* FORWARD(result, name, version, (parameters), (arguments)) */
#define FORWARD(result, name, version, parameters, arguments) \
  extern result older_##name parameters;                      \
  OLD(name, version);                                         \
  OWN result name parameters { return older_##name arguments; }

typedef unsigned long thread;
FORWARD(void *, dlopen, "2.2.5", (const char *file, int mode), (file, mode))
FORWARD(int, dlclose, "2.2.5", (void *library), (library))
FORWARD(void *, dlsym, "2.2.5", (void *library, const char *name), (library, name))
FORWARD(char *, dlerror, "2.2.5", (void), ())
FORWARD(int, dladdr, "2.2.5", (const void *address, void *info), (address, info))
FORWARD(int, dlinfo, "2.3.3", (void *library, int request, void *info), (library, request, info))
FORWARD(int, pthread_create, "2.2.5", (thread *made, const void *attributes, void *(*run)(void *), void *argument), (made, attributes, run, argument))
FORWARD(int, pthread_join, "2.2.5", (thread joined, void **result), (joined, result))
FORWARD(int, pthread_detach, "2.2.5", (thread left), (left))
FORWARD(int, pthread_mutex_trylock, "2.2.5", (void *mutex), (mutex))
FORWARD(int, pthread_once, "2.2.5", (int *control, void (*run)(void)), (control, run))
FORWARD(int, pthread_key_create, "2.2.5", (unsigned *key, void (*destroy)(void *)), (key, destroy))
FORWARD(int, __pthread_key_create, "2.2.5", (unsigned *key, void (*destroy)(void *)), (key, destroy))
FORWARD(int, pthread_key_delete, "2.2.5", (unsigned key), (key))
FORWARD(void *, pthread_getspecific, "2.2.5", (unsigned key), (key))
FORWARD(int, pthread_setspecific, "2.2.5", (unsigned key, const void *value), (key, value))
FORWARD(int, pthread_sigmask, "2.2.5", (int how, const void *set, void *before), (how, set, before))
FORWARD(int, pthread_attr_setstacksize, "2.2.5", (void *attributes, unsigned long bytes), (attributes, bytes))
FORWARD(double, log, "2.2.5", (double number), (number))

/* Before 2.33 the public names were not in the C library, but these were; 1 is the layout of struct stat, which is that of stat64. */
enum { stat_version = 1 };
extern int __xstat64(int version, const char *path, void *status);
extern int __lxstat64(int version, const char *path, void *status);
extern int __fxstat64(int version, int file, void *status);
extern int __fxstatat64(int version, int folder, const char *path, void *status, int flags);
__asm__(".symver __xstat64,__xstat64@GLIBC_2.2.5");
__asm__(".symver __lxstat64,__lxstat64@GLIBC_2.2.5");
__asm__(".symver __fxstat64,__fxstat64@GLIBC_2.2.5");
__asm__(".symver __fxstatat64,__fxstatat64@GLIBC_2.4");
OWN int stat64(const char *path, void *status) { return __xstat64(stat_version, path, status); }
OWN int lstat64(const char *path, void *status) { return __lxstat64(stat_version, path, status); }
OWN int fstat64(int file, void *status) { return __fxstat64(stat_version, file, status); }
OWN int fstatat64(int folder, const char *path, void *status, int flags) { return __fxstatat64(stat_version, folder, path, status, flags); }
OWN int stat(const char *path, void *status) { return stat64(path, status); }
OWN int lstat(const char *path, void *status) { return lstat64(path, status); }
OWN int fstat(int file, void *status) { return fstat64(file, status); }
OWN int fstatat(int folder, const char *path, void *status, int flags) { return fstatat64(folder, path, status, flags); }

/* The C++ runtime's: is there but one thread? No is always right. */
OWN char __libc_single_threaded = 0;
/* The C++ runtime's std::random_device, which nothing here uses; in the C library since 2.36. */
extern ssize_t getrandom(void *bytes, unsigned long count, unsigned flags);
OWN unsigned arc4random(void) {
  unsigned number = 0;
  while (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
  }
  return number;
}
