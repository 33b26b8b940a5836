/* SPDX-License-Identifier: Apache-2.0
 *
 * For wheels (setup.py), on x86-64: functions of the C library, asked for under the versions of 2002 and 2003.
 *
 * A library that is linked on a machine of today would need the C library of today: since 2.34 the functions of libdl and libpthread,
 * and since 2.33 those of stat, carry those versions, although nothing about them has changed. What stands here is the library's own
 * (hidden) and jumps to the older name, so it serves the library's code, zstd's and the C++ runtime's alike.
 */
  .text

  .macro own name
  .globl \name
  .hidden \name
  .type \name, @function
\name:
  .endm

  .macro forward name, version=2.2.5
  .symver older_\name, \name\()@GLIBC_\version
  own \name
  jmp older_\name\()@PLT
  .size \name, . - \name
  .endm

  forward dlopen
  forward dlclose
  forward dlsym
  forward dlerror
  forward dladdr
  forward dlinfo, 2.3.3
  forward pthread_create
  forward pthread_join
  forward pthread_detach
  forward pthread_once
  forward pthread_mutex_trylock
  forward pthread_key_create
  forward __pthread_key_create
  forward pthread_key_delete
  forward pthread_getspecific
  forward pthread_setspecific
  forward pthread_sigmask
  forward pthread_attr_setstacksize
  forward log

/* Before 2.33 the public names were not in the C library, but these were, with the layout of struct stat as their first argument:
 * 1, which on this machine is that of struct stat64 too. */
  .symver older_xstat, __xstat64@GLIBC_2.2.5
  .symver older_lxstat, __lxstat64@GLIBC_2.2.5
  .symver older_fxstat, __fxstat64@GLIBC_2.2.5
  .symver older_fxstatat, __fxstatat64@GLIBC_2.4

  .macro with_layout name, older
  own \name
  mov %rsi, %rdx
  mov %rdi, %rsi
  mov $1, %edi
  jmp \older\()@PLT
  .size \name, . - \name
  .endm

  with_layout stat, older_xstat
  with_layout stat64, older_xstat
  with_layout lstat, older_lxstat
  with_layout lstat64, older_lxstat
  with_layout fstat, older_fxstat
  with_layout fstat64, older_fxstat

  .macro with_layout_and_flags name, older
  own \name
  mov %ecx, %r8d
  mov %rdx, %rcx
  mov %rsi, %rdx
  mov %edi, %esi
  mov $1, %edi
  jmp \older\()@PLT
  .size \name, . - \name
  .endm

  with_layout_and_flags fstatat, older_fxstatat
  with_layout_and_flags fstatat64, older_fxstatat

/* The C++ runtime's std::random_device; in the C library since 2.36. Four bytes of getrandom, which is there since 2.25. */
  own arc4random
  .cfi_startproc
  sub $24, %rsp
  .cfi_adjust_cfa_offset 24
1:
  lea 12(%rsp), %rdi
  mov $4, %esi
  xor %edx, %edx
  call getrandom@PLT
  cmp $4, %rax
  jne 1b
  mov 12(%rsp), %eax
  add $24, %rsp
  .cfi_adjust_cfa_offset -24
  ret
  .cfi_endproc
  .size arc4random, . - arc4random

/* The C++ runtime's question whether there is but one thread; in the C library since 2.32. No is always right. */
  .bss
  .globl __libc_single_threaded
  .hidden __libc_single_threaded
  .type __libc_single_threaded, @object
__libc_single_threaded:
  .zero 1
  .size __libc_single_threaded, 1

  .section .note.GNU-stack, "", @progbits
