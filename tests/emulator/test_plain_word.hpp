// SPDX-License-Identifier: Apache-2.0
//
// Plain accesses as a kernel makes them: compiled as modules are, which no test is.
#pragma once

#include <cstdint>

void write_plainly(uint32_t *at);
uint32_t read_plainly(const uint32_t *at);
extern const int line_of_write, line_of_read;
extern const bool plain_accesses_are_seen;
