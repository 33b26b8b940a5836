// SPDX-License-Identifier: Apache-2.0
//
// The driver's opaque handles under our names, so that rooms above can hold them without cuda.h.
#pragma once

struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;

namespace flashcore {
using CudaContext = CUctx_st *;
using CudaModule = CUmod_st *;
using CudaFunction = CUfunc_st *;
using CudaStream = CUstream_st *;
using CudaEvent = CUevent_st *;
}  // namespace flashcore
