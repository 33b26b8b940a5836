// SPDX-License-Identifier: Apache-2.0
//
// Fields of the public struct that this build refuses, from not_built_fields.inc. The check that every call makes is
// one pass of bit masks over the struct; which field it was is asked only after that.
#pragma once

#include "base/error.hpp"
#include "flashcore/flashcore.h"

namespace flashcore {

// Is any byte set that must be zero in this build?
bool has_refused_field(const flashcore_attention_args &args);

// The error for the first such field. Only for args that have one.
Error refused_field_error(const flashcore_attention_args &args);

}  // namespace flashcore
