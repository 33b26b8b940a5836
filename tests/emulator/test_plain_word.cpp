// SPDX-License-Identifier: Apache-2.0
#include "test_plain_word.hpp"

// Not beside another sanitizer.
#ifdef __SANITIZE_THREAD__
const bool plain_accesses_are_seen = true;
#else
const bool plain_accesses_are_seen = false;
#endif

const int line_of_write = __LINE__ + 1;
void write_plainly(uint32_t *at) { *at = 1; }

const int line_of_read = __LINE__ + 1;
uint32_t read_plainly(const uint32_t *at) { return *at; }
